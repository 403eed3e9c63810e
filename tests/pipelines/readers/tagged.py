"""Named variants of tagging: one record in every spelling that data in the wild has of it, and what is refused."""

from typing import Any

THOUGHT = "First add 2 and 2.\n\nThat is 4, or so I think."
ANSWER = "The answer is 4."
QUESTION = "What is 2 + 2?"

_T, _A = THOUGHT, ANSWER
_FIRST, _SECOND = THOUGHT.split("\n\n")


def _qa(reply: str) -> dict[str, Any]:
    return {"question": QUESTION, "response": reply}


def _turns(**turn: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}, {"role": "assistant", **turn}]}


def _shared(human: str, model: str, reply: str) -> dict[str, Any]:
    return {"conversations": [{"from": human, "value": QUESTION}, {"from": model, "value": reply}]}


_TAGGED = f"<think>\n{_T}\n</think>\n\n{_A}"
_HARMONY = f"<|channel|>analysis<|message|>{_T}<|end|><|start|>assistant<|channel|>final<|message|>{_A}<|return|>"

# Each reads as the same two turns; beside the record the repairs that it takes.
SAME: dict[str, tuple[dict[str, Any], set[str]]] = {
    "canonical": (_qa(_TAGGED), set()),
    "tight tags": (_qa(f"<think>{_T}</think>{_A}"), set()),
    "white space around tags": (_qa(f" \n<think>\n\n{_T}\n\n</think>\n \n{_A}"), set()),
    "reasoning in a column": ({"question": QUESTION, "reasoning": _T, "response": _A}, set()),
    "reasoning column in tags": (
        {"question": QUESTION, "reasoning": f"<think>\n{_T}\n</think>", "response": _A},
        {"tagged_reasoning"},
    ),
    "reasoning column with an opener alone": (
        {"question": QUESTION, "reasoning": f"<think>\n{_T}\n", "response": _A},
        {"tagged_reasoning"},
    ),
    "reasoning column with a closer alone": (
        {"question": QUESTION, "reasoning": f"{_T}\n</think>", "response": _A},
        {"tagged_reasoning"},
    ),
    "the thought in a column and in tags": (
        {"question": QUESTION, "reasoning": _T, "response": _TAGGED},
        {"repeated_reasoning"},
    ),
    "list of steps in a column": (
        {"question": QUESTION, "thinking_trajectories": [_FIRST, _SECOND], "attempt": _A},
        set(),
    ),
    "orphan closer": (_qa(f"{_T}\n</think>\n\n{_A}"), {"orphan_closer"}),
    "orphan closer of another spelling": (_qa(f"{_T}\n</thinking>\n\n{_A}"), {"orphan_closer", "other_tags"}),
    "upper case": (_qa(f"<THINK>\n{_T}\n</THINK>\n{_A}"), {"other_tags"}),
    "mixed case": (_qa(f"<Think>\n{_T}\n</Think>\n{_A}"), {"other_tags"}),
    "blanks in tags": (_qa(f"< think >\n{_T}\n</ think >\n{_A}"), {"other_tags"}),
    "thinking": (_qa(f"<thinking>\n{_T}\n</thinking>\n\n{_A}"), {"other_tags"}),
    "reasoning": (_qa(f"<reasoning>\n{_T}\n</reasoning>\n\n{_A}"), {"other_tags"}),
    "thought": (_qa(f"<thought>\n{_T}\n</thought>\n\n{_A}"), {"other_tags"}),
    "cohere": (_qa(f"<|START_THINKING|>{_T}<|END_THINKING|>{_A}"), {"other_tags"}),
    "cohere with its response": (
        _qa(f"<|START_THINKING|>{_T}<|END_THINKING|><|START_RESPONSE|>{_A}<|END_RESPONSE|>"),
        {"other_tags", "response_tags"},
    ),
    "start of thought": (
        _qa(f"<|start_of_thought|>{_T}<|end_of_thought|>\n<|start_of_solution|>{_A}<|end_of_solution|>"),
        {"other_tags", "solution_tags"},
    ),
    "an attribute": (_qa(f'<think type="x">{_T}</think>{_A}'), {"other_tags"}),
    "an attribute without quotes": (_qa(f"<think time=5 lang=en-GB>{_T}</think>{_A}"), {"other_tags"}),
    "carriage returns around tags": (_qa(f"<think>\r\n{_T}\r\n</think>\r\n\r\n{_A}"), set()),
    "seed": (_qa(f"<seed:think>{_T}</seed:think>{_A}"), {"other_tags"}),
    "kimi": (_qa(f"◁think▷{_T}◁/think▷{_A}"), {"other_tags"}),
    "magistral": (_qa(f"[THINK]{_T}[/THINK]{_A}"), {"other_tags"}),
    "openthoughts": (
        _qa(
            f"<|begin_of_thought|>\n\n{_T}\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n{_A}\n\n<|end_of_solution|>"
        ),
        {"other_tags", "solution_tags"},
    ),
    "openthoughts without the last tag": (
        _qa(f"<|begin_of_thought|>\n{_T}\n<|end_of_thought|>\n<|begin_of_solution|>\n{_A}"),
        {"other_tags", "unclosed_answer"},
    ),
    "harmony": (_qa(_HARMONY), {"channels", "end_of_turn"}),
    "harmony in two analyses": (
        _qa(
            f"<|channel|>analysis<|message|>{_FIRST}<|end|><|start|>assistant<|channel|>analysis<|message|>{_SECOND}"
            f"<|end|><|start|>assistant<|channel|>final<|message|>{_A}<|return|>"
        ),
        {"channels", "end_of_turn"},
    ),
    "harmony without special tokens": (_qa(f"analysis{_T}assistantfinal{_A}"), {"bare_channels"}),
    "harmony transcript": (
        {"transcript": f"<|start|>user<|message|>{QUESTION}<|end|><|start|>assistant{_HARMONY}"},
        {"channels", "end_of_turn"},
    ),
    "chatml transcript": (
        {"transcript": f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n{_TAGGED}<|im_end|>\n"},
        set(),
    ),
    "answer tags": (_qa(f"<think>\n{_T}\n</think>\n<answer>\n{_A}\n</answer>"), {"answer_tags"}),
    "answer tags in the other case": (_qa(f"<think>{_T}</think> <ANSWER> {_A} </ANSWER>"), {"answer_tags"}),
    "answer tag without its closer": (_qa(f"<think>{_T}</think> <answer> {_A}"), {"unclosed_answer"}),
    "doubled tags": (_qa(f"<think>\n<think>\n{_T}\n</think>\n</think>\n\n{_A}"), {"nested_thoughts"}),
    "doubled opener": (_qa(f"<think>\n<think>\n{_T}\n</think>\n\n{_A}"), {"repeated_opener"}),
    "doubled closer": (_qa(f"<think>\n{_T}\n</think>\n\n</think>\n\n{_A}"), {"repeated_closer"}),
    "two thoughts in a row": (
        _qa(f"<think>{_FIRST}</think>\n<think>{_SECOND}</think>\n{_A}"),
        {"repeated_thoughts"},
    ),
    "an empty thought before": (_qa(f"<think></think>\n<think>\n{_T}\n</think>\n{_A}"), {"repeated_thoughts"}),
    "closed by another name": (_qa(f"<think>\n{_T}\n</thinking>\n\n{_A}"), {"mixed_tags", "other_tags"}),
    "end of turn": (_qa(f"{_TAGGED}<|im_end|>"), {"end_of_turn"}),
    "a whole turn of chatml": (_qa(f"<|im_start|>assistant\n{_TAGGED}<|im_end|>"), {"whole_turn"}),
    "a whole turn that is not closed": (_qa(f"<|im_start|>assistant\n<think>{_T}</think>{_A}\n"), {"whole_turn"}),
    "a whole turn beside a column": (
        {"question": QUESTION, "reasoning": _T, "response": f"<|im_start|>assistant\n{_A}<|im_end|>\n"},
        {"whole_turn"},
    ),
    "end of sequence": (_qa(f"{_TAGGED}<｜end▁of▁sentence｜>"), {"end_of_turn"}),
    "messages with tags": (_turns(content=_TAGGED), set()),
    "messages with reasoning": (_turns(content=_A, reasoning=_T), set()),
    "messages with reasoning_content": (_turns(content=_A, reasoning_content=f"\n{_T}\n"), set()),
    "messages with thinking": (_turns(content=_A, thinking=_T), set()),
    "typed parts": (
        _turns(content=[{"type": "thinking", "thinking": _T}, {"type": "text", "text": _A}]),
        set(),
    ),
    "typed parts of reasoning": (
        _turns(content=[{"type": "reasoning", "text": _T}, {"type": "output_text", "text": _A}]),
        set(),
    ),
    "sharegpt": (_shared("human", "gpt", _TAGGED), set()),
    "sharegpt of other names": (_shared("user", "assistant", _TAGGED), set()),
    "prompt as turns": (
        {"prompt": [{"role": "user", "content": QUESTION}], "completion": [{"role": "assistant", "content": _TAGGED}]},
        set(),
    ),
}

# Replies that have no one meaning, with the reason.
REFUSED: dict[str, tuple[str, str]] = {
    "text before the thought": ("Sure! <think>steps</think>4", "text before the thought"),
    "interleaved": ("<think>a</think>one<think>b</think>two", "thoughts between parts of the answer"),
    "a second thought that is not closed": ("<think>a</think>one<think>b", "thoughts between parts of the answer"),
    "two closers with text between": ("<think>a</think>b</think>c", "two closing tags with text between them"),
    "two orphan closers": ("a</think>b</think>c", "two closing tags with text between them"),
    "a thought behind an orphan closer": ("a</think>b<think>c</think>d", "thoughts between parts of the answer"),
    "openers between closers": ("<think>a<think>b</think>c<think>d</think>e", "do not pair up"),
    "two kinds of thought": ("<think>a</think>b<reasoning>c</reasoning>", "thoughts between parts of the answer"),
    "a mention of an open tag": ("a < b and <thinking> is another tag", "text before the thought"),
    "closers in code alone": ("<think>a\n```\n</think>\n</think>\n```\nb", "every closing tag stands in fenced code"),
    "harmony calls a tool": (
        "<|channel|>commentary to=functions.f<|message|>{}<|call|>",
        "calls a tool",
    ),
    "harmony says more than one final": (
        "<|channel|>final<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
        "final has no place",
    ),
    "harmony with text between": (
        "<|channel|>analysis<|message|>a<|end|>x<|start|>assistant<|channel|>final<|message|>b",
        "text between the messages",
    ),
    "bare channels twice": ("analysis a assistantfinal b assistantfinal c", "where each ends cannot be told"),
    "two turns of chatml": (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>",
        "<|im_start|> in a reply: its ChatML is not one turn",
    ),
    "a turn of chatml and text behind it": ("<|im_start|>assistant\nb<|im_end|>\nc", "is not one turn"),
    "nothing but an empty thought": ("<think>\n</think>\n", "the assistant's, is empty"),
}

# Tags that are content: what is read of each, reasoning and content.
QUOTED: dict[str, tuple[str, str | None, str]] = {
    "inline code": ("The tag `</think>` ends it.", None, "The tag `</think>` ends it."),
    "fenced code": ("Write\n```\n<think>x</think>\n```\nso.", None, "Write\n```\n<think>x</think>\n```\nso."),
    "tildes": ("~~~xml\n</think>\n~~~", None, "~~~xml\n</think>\n~~~"),
    "in a thought": ("<think>It ends with `</think>`.</think>Yes.", "It ends with `</think>`.", "Yes."),
    "fenced in a thought": ("<think>\n```\n</think>\n```\n</think>\n\nb", "```\n</think>\n```", "b"),
    "in an answer": ("<think>a</think>Use ``<think>``.", "a", "Use ``<think>``."),
    "a word of a thought": (
        "<think>In HTML write <think> to open.\nSo.</think>42",
        "In HTML write <think> to open.\nSo.",
        "42",
    ),
    "a quoted word at a line's start": ('<think>a\n"<think>" opens it.</think>42', 'a\n"<think>" opens it.', "42"),
    "two words of a thought": ("<think>a <think> b <think> c</think>d", "a <think> b <think> c", "d"),
    "a word of a thought that never ends": ("<think>Write <think> to open.", "Write <think> to open.", ""),
    "a word of a thought that is opened twice": ("<think>\n<think>\na <think> b</think>c", "a <think> b", "c"),
    "an odd fence in a thought": ("<think>\n```\nx = 1\n</think>\n\nb", "```\nx = 1", "b"),
    "an odd backtick in a thought": ("<think>a ` b</think>c", "a ` b", "c"),
    "a fence of the thought closed by the answer's": (
        "<think>\n```\nx\n</think>\n\n```py\ny\n```",
        "```\nx",
        "```py\ny\n```",
    ),
}

"""Published corpora are known by their columns, one that could be two is refused, and a recipe may name either."""

from typing import Any

import pytest
from midtrain.pipelines.readers.reasoning import row
from midtrain.pipelines.readers.reasoning_layouts import GSM8K, NAMED, detect, names
from midtrain.pipelines.readers.records import Unreadable

Q, T, A = "What is 2 + 2?", "Add them.", "It is 4."
TAGGED = f"<think>\n{T}\n</think>\n\n{A}"
MESSAGES = [{"role": "user", "content": Q}, {"role": "assistant", "content": TAGGED}]
SHARED = [{"from": "user", "value": Q}, {"from": "assistant", "value": TAGGED}]

# A record of each corpus, with the columns that it has on the Hub or in its repository.
CORPORA: dict[str, dict[str, Any]] = {
    "openthoughts": {"system": "Think first.", "conversations": SHARED},
    "openthoughts_metadata": {
        "problem": Q, "deepseek_reasoning": T, "deepseek_solution": A, "ground_truth_solution": "4", "domain": "math",
        "source": "x", "test_cases": None, "starter_code": None,
    },
    "openthoughts_math": {
        "source": "x", "problem": Q, "solution": "4", "messages": MESSAGES, "system": "Think.", "conversations": SHARED,
        "generated_token_count": 9, "correct": True,
    },
    "openmathreasoning": {
        "expected_answer": "4", "problem_type": "has_answer_extracted", "problem_source": "aops", "problem": Q,
        "generation_model": "DeepSeek-R1", "pass_rate_72b_tir": "0.9", "generated_solution": TAGGED,
        "inference_mode": "cot", "used_in_kaggle": True,
    },
    "rstar_coder": {"question_id": "q1", "question": Q, "response": TAGGED, "code": "print(4)"},
    "openr1_math": {
        "problem": Q, "solution": "4", "answer": "4", "problem_type": "Algebra", "question_type": "math-word-problem",
        "source": "x", "uuid": "u", "is_reasoning_complete": [True], "generations": [TAGGED],
        "correctness_math_verify": [True], "correctness_llama": None, "finish_reasons": None, "correctness_count": 1,
        "messages": MESSAGES,
    },
    "mixture_of_thoughts": {"messages": MESSAGES, "num_tokens": 12, "source": "x"},
    "numinamath_cot": {"source": "x", "problem": Q, "solution": A, "messages": MESSAGES},
    "numinamath_1_5": {
        "problem": Q, "solution": A, "answer": "4", "problem_type": "Algebra", "question_type": "math-word-problem",
        "problem_is_valid": "Yes", "solution_is_valid": "Yes", "source": "x", "synthetic": False,
    },
    "s1k": {
        "solution": "4", "question": Q, "cot_type": "math", "source_type": "x", "metadata": "{}", "cot": None,
        "thinking_trajectories": [T], "attempt": A,
    },
    "gsm8k": {"question": Q, "answer": "Add them.\n#### 4"},
    "aqua": {"question": Q, "options": ["A)3", "B)4"], "rationale": A, "correct": "B"},
    "prm800k": {"id": "p", "text": "x", "question": Q, "steps": ["Add them.", "It is 4."], "source": "x"},
    "alpaca": {"instruction": "Add.", "input": Q, "output": A, "text": "Below is an instruction …"},
    "math": {"problem": Q, "level": "1", "type": "Algebra", "solution": "Not \\boxed{3}: $\\boxed{\\frac{8}{2}}$."},
    "strategyqa": {"question": Q, "facts": [T], "decomposition": ["How?"], "answer": True},
}  # fmt: skip
S1K_1_1 = {
    "solution": "4", "question": Q, "cot_type": "math", "source_type": "x", "metadata": "{}",
    "gemini_thinking_trajectory": "Gemini adds.", "gemini_attempt": A,
    "deepseek_thinking_trajectory": T, "deepseek_attempt": A,
}  # fmt: skip


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_known_by_its_columns(name: str):
    found = row(CORPORA[name])
    assert found.layout == name
    assert found.messages is not None
    prompts = {"aqua": f"{Q}\nA)3\nB)4", "alpaca": f"Add.\n\n{Q}"}
    assert found.messages[-2]["content"] == prompts.get(name, Q)
    last = found.messages[-1]
    expected = {"gsm8k": (T, "4"), "strategyqa": (T, "True"), "prm800k": (None, f"{T}\n\n{A}")}
    expected |= {"aqua": (None, A), "alpaca": (None, A), "numinamath_1_5": (None, A)}
    expected |= {"math": (None, CORPORA["math"]["solution"])}
    assert (last["reasoning"], last["content"]) == expected.get(name, (T, A))
    answers = {"openmathreasoning": "4", "openr1_math": "4", "numinamath_1_5": "4", "gsm8k": "4", "aqua": "B"}
    assert found.answer == (answers | {"strategyqa": "True", "math": "\\frac{8}{2}"}).get(name)


def test_every_layout_is_tried_here():
    assert {*CORPORA, "s1k_deepseek", "s1k_gemini"} == set(names())
    assert len(names()) == len(NAMED) + 2


def test_ids_are_the_corpus_own():
    assert row(CORPORA["rstar_coder"]).id == "q1"
    assert row(CORPORA["openr1_math"]).id == "u"
    assert row({key: value for key, value in CORPORA["rstar_coder"].items() if key != "question_id"}).id is None


def test_two_traces_of_a_problem_are_not_chosen_between():
    with pytest.raises(Unreadable, match=r"several layouts fit \(s1k_deepseek, s1k_gemini\)"):
        row(S1K_1_1)
    assert row(S1K_1_1, "s1k_deepseek").text == f"{Q}\n\n{T}\n\n{A}"
    assert row(S1K_1_1, "s1k_gemini").text == f"{Q}\n\nGemini adds.\n\n{A}"
    assert row(S1K_1_1, "s1k_gemini").layout == "s1k_gemini"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"text": "x"}, "no layout fits the columns text: set fields"),
        ({"id": 1, "messages": []}, "field messages is an empty list: the conversation has no turns"),
        ({"question": Q}, "no layout fits"),
        ({"question": Q, "response": None}, "no layout fits"),
        ({"question": Q, "problem": Q, "response": A}, r"question and response, problem and response"),
        ({"question": Q, "response": A, "solution": "4"}, r"question and response, question and solution"),
        ({"messages": MESSAGES, "conversations": SHARED}, r"\(messages, conversations\)"),
        ({"messages": MESSAGES, "prompt": Q, "response": A}, r"\(messages, prompt and response\)"),
        ({"question": Q, "response": A, "thinking": T, "cot": T}, r"\(thinking, cot\)"),
        ({"question": Q, "response": A, "answer": 4, "ground_truth": 5}, r"\(answer, ground_truth\)"),
        ({"question": Q, "solution": A, "options": ["3", "4"]}, "the column options belongs to the prompt"),
    ],
)
def test_what_could_be_two_things_is_refused(record: dict[str, Any], error: str):
    with pytest.raises(Unreadable, match=error):
        row(record)


def test_columns_of_other_corpora_are_taken_by_their_names():
    assert detect({"instruction": Q, "output": A, "system": "s", "x": 1})[1] == {
        "prompt": "instruction", "response": "output", "system": "system",
    }  # fmt: skip
    assert detect({"problem": Q, "thinking": T, "solution": A, "final_answer": 4})[1]["answer"] == "final_answer"
    assert detect({"question": Q, "thought": T})[1] == {"prompt": "question", "reasoning": "thought"}
    assert detect({"messages": MESSAGES, "system": "s"})[1] == {"messages": "messages", "system": "system"}


def test_an_answer_is_the_reply_where_there_is_no_other():
    found = row({"question": Q, "reasoning": T, "answer": 4})
    assert found.messages is not None
    assert found.messages[1] == {"role": "assistant", "content": "4", "reasoning": T}
    assert found.answer == "4"


def test_fields_that_are_spelled_out_win():
    found = row(CORPORA["openr1_math"], {"prompt": "problem", "response": "solution"})
    assert found.text == f"{Q}\n\n4"
    assert found.layout == ""


def test_gsm8k_is_not_taken_for_questions_and_answers():
    assert not GSM8K.also
    with pytest.raises(Unreadable, match="no layout fits"):
        row({"question": Q, "answer": "4"})


def test_an_instruction_without_an_input_is_the_prompt():
    found = row({"instruction": Q, "input": "", "output": A})
    assert found.messages == [
        {"role": "user", "content": Q, "reasoning": None},
        {"role": "assistant", "content": A, "reasoning": None},
    ]
    assert found.metadata is None


def test_a_box_is_the_answer_only_where_no_column_is():
    solution = "It is $\\boxed{4}$."
    assert row({"problem": Q, "solution": solution}).answer == "4"
    assert row({"problem": Q, "solution": solution, "answer": "four"}).answer == "four"
    assert row({"problem": Q, "solution": "It is 4."}).answer is None
    assert row({"problem": Q, "level": 1, "type": "x", "solution": solution}).metadata == '{"level":1,"type":"x"}'
    with pytest.raises(Unreadable, match="no answer is marked"):
        row({"problem": Q, "solution": "It is 4."}, "math")


CODE = "    return 2 * x"


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": Q, "completion": f"<think>t</think>\n{CODE}"},
        {"prompt": Q, "completion": f"<think>t</think>\n\n{CODE}\n<|im_end|>"},
        {"prompt": Q, "completion": f"<|im_start|>assistant\n<think>t</think>\n{CODE}<|im_end|>"},
        {"prompt": Q, "completion": f"t\n</think>\n{CODE}"},
        {"prompt": Q, "reasoning": "t", "completion": CODE},
        {"prompt": Q, "reasoning": "t", "completion": f"\n{CODE}"},
        {"prompt": Q, "completion": f"<think>t</think>{CODE}"},
        {"messages": [MESSAGES[0], {"role": "assistant", "content": f"\n\n{CODE}", "reasoning_content": "t"}]},
        {"messages": [MESSAGES[0], {"role": "assistant", "content": f"<think>t</think>\n{CODE}"}]},
        {"conversations": [SHARED[0], {"from": "gpt", "value": f"<think>t</think>\n\n{CODE}"}]},
        {"prompt": Q, "completion": f"<|channel|>analysis<|message|>t<|end|><|channel|>final<|message|>{CODE}"},
        {"prompt": Q, "completion": f"<think>t</think><answer>\n{CODE}\n</answer>"},
        {"prompt": Q, "completion": f"<think>t</think><answer>{CODE}"},
        {"prompt": Q, "completion": f"analysist assistantfinal\n{CODE}"},
    ],
)
def test_a_program_keeps_its_indentation(record: dict[str, Any]):
    found = row(record)
    assert found.messages is not None
    last = found.messages[-1]
    assert (last["reasoning"], str(last["content"]).rstrip("\n")) == ("t", CODE)

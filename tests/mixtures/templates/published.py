"""What the twelve published chat templates do, written by hand from their text: an expectation that runs none of them.

How a turn of the assistant begins and ends, what is done to white space, where reasoning goes, and what of a
conversation each cannot express.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midtrain.mixtures.templates import Message, Template, open_template

DATA = Path(os.environ.get("MIDTRAIN_DATA", "")) / "templates"
IM = "<|im_end|>"
OPTIONS = {"bos_token": "<s>", "eos_token": "</s>"}


def as_it_is(text: str) -> str:
    return text


def lines(text: str) -> str:
    return text.strip("\n")


@dataclass(frozen=True)
class Published:
    """A template's text before and behind what an assistant says, and what it makes of it."""

    header: str
    end: str
    cannot: str
    content: Callable[[str], str] = as_it_is
    reasoning: Callable[[str], str] = as_it_is
    earlier: bool = False  # reasoning before the last user turn is written
    same_tool_turn: bool = True  # reasoning before a tool's answer is written
    other_headers: tuple[str, ...] = ()


HEAD = "<|im_start|>assistant\n"
BLOCK = HEAD + "<think>\n\n</think>\n\n"
ALTERNATING = "tool mid_system developer same_role reasoning"
PUBLISHED = {
    "chatml": Published(HEAD, IM, "reasoning"),
    "cohere": Published("<|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>", ALTERNATING, str.strip),
    "deepseek_v3": Published(
        "<｜Assistant｜>",
        "<｜end▁of▁sentence｜>",
        "mid_system developer reasoning closing_tag",
        other_headers=("<｜tool▁outputs▁end｜>",),
    ),
    "exaone4": Published(
        "[|assistant|]\n<think>\n\n</think>\n\n",
        "[|endofturn|]",
        "developer empty_turn truncated closing_tag",
        same_tool_turn=False,
        other_headers=("[|assistant|]\n",),
    ),
    "gemma3": Published("<start_of_turn>model\n", "<end_of_turn>", ALTERNATING, str.strip),
    "llama3": Published("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", "reasoning", str.strip),
    "mistral_v3_tekken": Published("[/INST]", "</s>", ALTERNATING + " system empty_system"),
    "nemotron_h": Published(HEAD, IM, "tool mid_system developer reasoning"),
    "phi_4": Published("<|im_start|>assistant<|im_sep|>", IM, "tool mid_system developer", earlier=True),
    "qwen3": Published(HEAD, IM, "developer", reasoning=lines, other_headers=(BLOCK,)),
    "qwen3_5": Published(HEAD, IM, "developer", reasoning=lines, other_headers=(BLOCK,)),
    "qwen_25": Published(HEAD, IM, "developer reasoning"),
}
FROM_THE_LAST_QUERY = ("qwen3", "qwen3_5")  # content loses the line breaks that it begins with there


def opened(name: str, tokens: Mapping[str, str] = OPTIONS, **more: Any) -> Template:
    """A template with the tokens that begin and end a text; ExaOne's writes reasoning only where it is told to."""
    options = {**tokens, **({"skip_think": False} if name == "exaone4" else {})}
    return open_template(str(DATA / f"{name}.jinja"), options=options, **more)


def says(name: str, messages: tuple[Message, ...]) -> dict[int, tuple[str, str]]:
    """Reasoning ('' where none is written) and content of each assistant turn, as the template has them."""
    rules = PUBLISHED[name]
    last_user = max(at for at, message in enumerate(messages) if message.role == "user")
    turns = {}
    for at, message in enumerate(messages):
        if message.role != "assistant":
            continue
        content = rules.content(message.content)
        if name in FROM_THE_LAST_QUERY and at > last_user and (at == len(messages) - 1 or message.reasoning):
            content = content.lstrip("\n")
        shown = rules.earlier or (at > last_user and (rules.same_tool_turn or at == len(messages) - 1))
        turns[at] = (rules.reasoning(message.reasoning or "") if shown else "", content)
    return turns


def trained_texts(name: str, messages: tuple[Message, ...]) -> list[str]:
    """What is trained of each assistant turn: its reasoning in its tags, its content, its end of turn."""
    turns = says(name, messages).values()
    blocks = [f"<think>\n{reasoning}\n</think>\n\n" if reasoning else "" for reasoning, _ in turns]
    return [block + content + PUBLISHED[name].end for block, (_, content) in zip(blocks, turns, strict=True)]

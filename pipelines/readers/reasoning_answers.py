r"""The answer of a record where no field holds it: behind GSM8K's `####`, in MATH's `\boxed`, in <answer> tags.

The mark says what the writer means by the answer, so it is taken from there and nowhere else; no last number is
guessed at. GSM8K's calculator marks (`<<48/2=24>>`) are kept unless the recipe asks for a text without them.
Costs a search from the end of the reply.
"""

import re
from typing import Final

from .reasoning_turns import Message
from .records import Unreadable

MARKS: Final = ("####", "\\boxed", "<answer>")
"""What `fields.answer` may name beside a field."""

CALCULATOR: Final = re.compile(r"<<[^<>\n]*\d[^<>\n]*=[^<>\n]*>>")
_HASHES: Final = re.compile(r"^[ \t]*####[ \t]*(\S[^\n]*)$", re.MULTILINE)
_TAG: Final = re.compile(r"<[ \t]{0,3}(/?)[ \t]{0,3}answer[ \t]{0,3}>", re.IGNORECASE)
_BOX: Final = re.compile(r"\\(?:boxed|fbox)[ \t]*(?=[{\w])")

REPAIRS: Final = {
    "answer_mark": "the line #### and the answer behind steps that are a thought, made the reply",
    "calculator_marks": "calculator marks (<<48/2=24>>) taken out, as the recipe asks",
}


def marked(messages: list[Message], mark: str) -> str:
    """The answer that the last assistant turn marks.

    Raises:
        Unreadable: it marks none.
    """
    last = next(message for message in reversed(messages) if message["role"] == "assistant")
    for part in (last["content"], last["reasoning"]):
        found = _find(part or "", mark)
        if found is not None:
            return found
    raise Unreadable(f"no answer is marked by {mark}")


def solved(solution: str) -> tuple[str, str] | None:
    """Steps and answer of a solution that ends in `#### 18`; None where it does not."""
    found = list(_HASHES.finditer(solution))
    if not found or solution[found[-1].end() :].strip():
        return None
    return solution[: found[-1].start()].rstrip(), found[-1][1].rstrip()


def without_calculator(messages: list[Message]) -> tuple[list[Message], bool]:
    """The messages without calculator marks, and whether there were any."""
    cleaned = [
        {name: CALCULATOR.sub("", text) if text and name != "role" else text for name, text in message.items()}
        if message["role"] == "assistant"
        else message
        for message in messages
    ]
    return cleaned, cleaned != messages


def _find(text: str, mark: str) -> str | None:
    if mark == "####":
        found = _HASHES.findall(text)
        return found[-1].rstrip() if found else None
    if mark == "<answer>":
        return _tagged(text)
    for box in reversed(list(_BOX.finditer(text))[-20:]):
        if (inner := _boxed(text, box.end())) is not None:
            return inner
    return None


def _tagged(text: str) -> str | None:
    """What the last pair of answer tags holds."""
    tags = list(_TAG.finditer(text))
    for opener, closer in zip(tags[-2::-1], tags[:0:-1], strict=True):
        if not opener[1] and closer[1]:
            return text[opener.end() : closer.start()].strip() or None
    return None


def _boxed(text: str, start: int) -> str | None:
    r"""What a box holds whose braces close; `\boxed 5` holds one character's word."""
    if text[start] != "{":
        bare = re.compile(r"\w+").match(text, start)
        return bare[0] if bare else None
    depth, place = 0, start
    while place < len(text):
        if text[place] == "\\":
            place += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start + 1 : place].strip() or None
        place += 1
    return None

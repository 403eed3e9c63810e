"""Questions with one right answer (GSM8K, MATH): how they are asked, and the last number or box of a reply.

Matching is plain: the last number, or the content of the last box, equal or not; two spellings of one value that
differ in more than digits' commas and white space count as different. Costs nothing beside the replies.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from ...mixtures.tasks.problem import THINK_END, THINK_START
from .verdicts import Verdict

STOPS = ("\nQuestion:",)
"""What ends a reply to a question that is asked without a template."""

_NUMBER = re.compile(r"(?:(?<![\w)])-)?\d+(?:,\d{3})*(?:\.\d+)?")
_BOXED = re.compile(r"\\boxed\s*")


@dataclass(frozen=True)
class Question:
    """One question; `by` says what of a reply is compared with `answer`."""

    id: str
    text: str
    answer: str
    by: Literal["number", "boxed"]

    @property
    def plain(self) -> str:
        """The question for a model that knows no template."""
        return f"Question: {self.text}\nAnswer:"

    def judge(self, reply: str) -> Verdict:
        """Whether the reply gives the answer; `reply` ended by itself."""
        given = final_number(reply) if self.by == "number" else final_box(reply)
        if given is None:
            return Verdict("no answer", f"no {'number' if self.by == 'number' else 'box'} in the reply")
        return Verdict("passed" if _same(given, self.answer) else "wrong", f"{given}, expected {self.answer}")


def from_record(record: Mapping[str, Any], identity: str) -> Question | None:
    """A question of a record with `question` or `problem`, and `answer` or `solution`; None where it has no answer.

    GSM8K's published answers end in `#### 18`, MATH's solutions hold the answer in a box.
    """
    text = record.get("question", record.get("problem"))
    answer, solution = record.get("answer"), record.get("solution")
    if not isinstance(text, str):
        return None
    if isinstance(answer, str) and answer.strip():
        gold = answer.rpartition("####")[2].strip()
        return Question(identity, text, gold, "number" if _NUMBER.fullmatch(gold) else "boxed")
    box = final_box(solution) if isinstance(solution, str) else None
    return None if box is None else Question(identity, text, box, "boxed")


def final_number(reply: str) -> str | None:
    """The last number of a reply behind its reasoning, None where it has none or the reasoning was never closed."""
    said = _said(reply)
    found = _NUMBER.findall(said) if said is not None else []
    return str(found[-1]) if found else None


def final_box(reply: str) -> str | None:
    """What stands in the last box of a reply behind its reasoning, its braces balanced."""
    said = _said(reply)
    if said is None:
        return None
    for match in reversed(list(_BOXED.finditer(said))):
        rest = said[match.end() :]
        if not rest.startswith("{"):
            bare = re.match(r"[^\s$.,{}\\]+", rest)  # \boxed 5, as TeX allows
            if bare is not None:
                return bare.group()
            continue
        depth = 0
        for at, character in enumerate(rest):
            depth += (character == "{") - (character == "}")
            if depth == 0:
                return rest[1:at]
    return None


def _said(reply: str) -> str | None:
    _, closed, after = reply.rpartition(THINK_END)
    return None if not closed and THINK_START in reply else after


def _same(given: str, expected: str) -> bool:
    if _NUMBER.fullmatch(given) and _NUMBER.fullmatch(expected):
        return Decimal(given.replace(",", "")) == Decimal(expected.replace(",", ""))
    return "".join(given.split()) == "".join(expected.split())

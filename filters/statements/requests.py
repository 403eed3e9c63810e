"""What a user's message says beside the problem: a label before it, and how it is to be answered.

Corpora put the same problem under other requests, which are no part of it. Costs two microseconds a message.
"""

import re
from typing import Final

_ASKED: Final = re.compile(
    r"\bstep[\s-]+by[\s-]+step\b|\\boxed\s*\{\s*\}|\bfinal answer (?:within|inside|in)\b", re.IGNORECASE
)
_END: Final = re.compile(r"[.?!\n]|\Z")
_ROLE: Final = re.compile(
    r"\A\s*you are an? [^.!?\n\d]*\b(?:assistant|tutor|expert|mathematician|solver)\b[^.!?\n\d]*[.!\n]", re.I
)
_TASK: Final = re.compile(
    r"\A\s*(?:please\s+)?(?:solve|answer) (?:the following|this) (?:[a-z]+ )?(?:problem|question|exercise|task)"
    r"(?: carefully| correctly| below)?\s*[.:\n]",
    re.I,
)
_LABEL: Final = re.compile(r"\A\s*(?:\*\*|#+\s*)?(?:question|problem|q|user)(?:\s*\d+)?\s*[:.](?:\*\*)?\s+", re.I)


def stated(message: str) -> str:
    """A user's message without what asks for a manner of answering, and without a label; whole if nothing is left."""
    kept, start = [], 0
    for asked in _ASKED.finditer(message):
        if asked.start() >= start:
            opens = max(message.rfind(mark, start, asked.start()) for mark in ".?!\n") + 1
            kept.append(message[start : max(opens, start)])
            end = _END.search(message, asked.end())
            start = end.end() if end else len(message)
    found = " ".join([*kept, message[start:]])
    for said in (_ROLE, _TASK, _LABEL):
        found = said.sub("", found)
    return found if found.strip() else message

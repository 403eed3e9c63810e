"""Whether the records of a template can be trimmed: a few are, letter by letter, and must be what the template writes.

Trimming takes an earlier reasoning out with what stands around it, up to the turn's content. Where a template writes
something else in a turn that has no reasoning, or parts two turns by nothing, it would leave turns that no prompt will
ever have. An empty thought that is written instead of one may go. Costs some twenty small renderings.
"""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np

from ...errors import RunError
from ..text_spans import NONE, PARTS, TextSpans
from ..trimming import Text, trim
from .messages import ASSISTANT, Message, Piece
from .template import Template

_ASKED, _ANSWER, _LAST = Message("user", "a"), Message(ASSISTANT, "b", "c"), Message(ASSISTANT, "d", "e")
_TRIALS: Final[Sequence[tuple[Message, ...]]] = (
    (_ASKED, _ANSWER, Message("user", "f"), _LAST),
    (_ASKED, _ANSWER, Message("user", "f"), Message(ASSISTANT, "d")),
    (_ASKED, _ANSWER, Message("tool", "f"), _LAST),
    (_ASKED, _ANSWER, _LAST),
    (_ASKED, _ANSWER, _ANSWER, _LAST),
)
_NO_CHARACTER_IS_CUT: Final = np.zeros(0x110000 // 8, np.uint8)


def untrimmable(template: Template) -> str | None:
    """Why records of a template, bound to its tokenizer, cannot be trimmed; None where they can."""
    for turns in _TRIALS:
        pieces = _rendered(template, turns)
        trimmed = _trimmed(pieces)
        expected = _rendered(template, [Message(one.role, one.content) for one in turns[:-1]] + [turns[-1]])
        if trimmed is None or not expected:
            continue
        told = _without_empty(expected, pieces)
        if trimmed not in ("".join(piece.text for piece in expected), told):
            return (
                f"without the earlier reasonings of {', '.join(one.role for one in turns)} it would leave "
                f"{trimmed!r}, and it writes {told!r} of turns that have none"
            )
    return None


def _trimmed(pieces: Sequence[Piece]) -> str | None:
    """The text without its earlier reasonings, each letter taken for a token; None where it has none."""
    text = "".join(piece.text for piece in pieces)
    lengths = np.array([*(len(piece.text) for piece in pieces), 1], np.int64)
    parts = np.array([*(PARTS.get(piece.part, NONE) for piece in pieces), NONE], np.uint8)
    turns = np.array([*(piece.turn for piece in pieces), 0], np.uint32)
    spans = TextSpans.of_pieces(parts, turns, lengths, np.array([len(pieces)]))
    mask = np.packbits(np.repeat([*(piece.trained for piece in pieces), True], lengths), bitorder="little")
    ids = np.array([*map(ord, text), 0], np.uint32)
    # One letter too long, and the last reasoning may lose none.
    found = trim(np.array([len(ids)]), spans, Text(ids, mask, _NO_CHARACTER_IS_CUT), len(ids) - 1, len(ids))
    ranges = zip(found.starts.tolist(), found.stops.tolist(), strict=True)
    return "".join(text[start:stop] for start, stop in ranges) or None


def _without_empty(pieces: Sequence[Piece], others: Sequence[Piece]) -> str:
    """The text of turns without reasoning, less the empty thoughts that stand where `others` have reasonings."""
    text = ""
    for piece in pieces:
        thought = [at for at, one in enumerate(others) if (one.part, one.turn) == ("reasoning", piece.turn)]
        said = [at for at, one in enumerate(others) if (one.part, one.turn) == ("content", piece.turn)]
        if piece.part == "content" and thought and said:
            first = thought[0]
            while first and others[first - 1].trained:
                first -= 1
            before, behind = (
                "".join(one.text for one in others[start:stop])
                for start, stop in ((first, thought[0]), (thought[-1] + 1, said[0]))
            )
            block = re.escape(before.rstrip()) + r"\s*" + re.escape(behind.lstrip())
            text = re.sub(rf"(?:{block})\Z", "", text)
        text += piece.text
    return text


def _rendered(template: Template, turns: Sequence[Message]) -> Sequence[Piece]:
    """The pieces of a conversation; none where the template refuses it, so that no record of its kind comes."""
    try:
        return template.render(turns).pieces
    except RunError:
        return ()

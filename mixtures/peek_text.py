"""A look at a batch as text: trained tokens in colour on a terminal, between marks where the text goes on elsewhere."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import asdict

from ..tables import Table, clipped
from .peek import Excerpt, Peek, Row, Text

LONGEST = 120  # characters of an id or an address
MARKS = ("\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}")
BOLD, GREEN, DIM, PLAIN = "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
)


def visible(text: str) -> str:
    """Text of the input in which control characters can be seen and do nothing; line breaks and tabs stay."""
    return UNSEEN.sub(_picture, text)


def table(found: Peek, colour: bool, whole: bool = True) -> Table:
    """The batch for a person, and as data.

    Args:
        found: what was looked at.
        colour: whether a terminal shows it.
        whole: with the text, not its summary alone.
    """
    if not whole:
        return Table(summary(found), asdict(found))
    lines = [summary(found)]
    legend = (
        f"{GREEN}trained{PLAIN}, {DIM}not trained{PLAIN}" if colour else f"{MARKS[0]}trained{MARKS[1]}, not trained"
    )
    lines += [legend] if found.rows else []
    for row in found.rows:
        lines += ["", f"=== {row_head(row, found.sequence_length)}"]
        for excerpt in row.excerpts:
            lines += [f"--- {excerpt_head(excerpt)}", "".join(_coloured(excerpt, colour))]
        lines += [f"--- padding: {row.padding:,} tokens"] if row.padding else []
    return Table("\n".join(lines), asdict(found))


def summary(found: Peek) -> str:
    """The batch in a line."""
    last, tokens = found.first + found.sequences - 1, found.sequences * found.sequence_length
    places = f"sequence {found.first:,}" if found.sequences == 1 else f"sequences {found.first:,} to {last:,}"
    parts = f"{tokens:,} tokens, of them {found.trained_tokens:,} trained and {found.padding:,} padding"
    shown = f"; {len(found.rows):,} of {found.sequences:,} shown" if len(found.rows) < found.sequences else ""
    return f"phase {found.phase}, {places}: {parts}; batch {found.digest}{shown}"


def row_head(row: Row, length: int) -> str:
    """A sequence in a line."""
    real = length - row.padding
    return f"sequence {row.sequence:,} of source {row.source}: {real:,} tokens, {row.trained_tokens:,} of them trained"


def excerpt_head(excerpt: Excerpt) -> str:
    """A piece of a document in a line."""
    piece = excerpt.piece
    whole = piece.stop - piece.start == piece.tokens
    span = f"all {piece.tokens:,} tokens" if whole else f"tokens {piece.start:,}:{piece.stop:,} of {piece.tokens:,}"
    facts = [span, f"positions {excerpt.first_position:,} to {excerpt.last_position:,}"]
    facts += [f"recipe source {clipped(piece.recipe_source)}", piece.part]
    facts += [clipped(piece.url, LONGEST)] if piece.url else []
    return f"document {clipped(piece.id, LONGEST)}: {', '.join(facts)}"


def _coloured(excerpt: Excerpt, colour: bool) -> Iterator[str]:
    if colour:
        yield from map(_in_colour, excerpt.texts)
        return
    for trained, texts in itertools.groupby(excerpt.texts, lambda text: text.trained):
        run = visible("".join(text.text for text in texts))
        yield f"{MARKS[0]}{run}{MARKS[1]}" if trained else run


def _in_colour(text: Text) -> str:
    # A terminal may end a colour with the line.
    style = (BOLD if text.control else "") + (GREEN if text.trained else DIM)
    return "\n".join(f"{style}{line}{PLAIN}" if line else "" for line in visible(text.text).split("\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\N{SYMBOL FOR DELETE}" if code == 0x7F else f"<U+{code:04X}>"

"""Tables: rows of cells as aligned lines of text, and a result as text and as data.

Every verb prints people a table and machines JSON of the same numbers. Costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_CONTROLS: Final = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if code not in (ord("\n"), ord("\t"))
}


@dataclass(frozen=True)
class Table:
    """A result as text, and as plain data for `--json`."""

    text: str
    data: dict[str, Any]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned lines: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def safe(text: str) -> str:
    """Text with something of the input in it, such as an id, without what a terminal would take for commands."""
    return text.translate(_CONTROLS)


def clipped(text: str, most: int = 40) -> str:
    """Text of the input that is safe on a terminal: one line, without control characters."""
    text = text[: most + 1]
    plain = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return plain if len(plain) <= most else plain[: most - 1] + "…"

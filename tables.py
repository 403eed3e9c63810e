"""Tables: rows of cells as aligned lines of text, and a result as text and as data.

Every verb prints people a table and machines JSON of the same numbers. Costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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

"""The rows in which the benchmarks of filters say what they measured: a line of a table, and a record of a JSON file.

One form for all, so that the tables can be read side by side. Costs nothing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

WIDTH = 50


@dataclass(frozen=True)
class Row:
    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: float
    holds: bool


def heading() -> None:
    """Prints what the numbers of the rows are."""
    print(f"{'':{WIDTH}}{'ours':>10}{'peer':>10}{'ratio':>10}{'target':>10}")


def show(row: Row) -> Row:
    """Prints a row, and hands it on."""
    numbers = "".join(f"{number:10.4g}" for number in (row.ours, row.peer, row.ratio, row.target))
    print(f"{row.name:{WIDTH}}{numbers}   {row.unit}{'' if row.holds else '  MISSED'}", flush=True)
    return row


def write(rows: Sequence[Row], path: Path | None) -> None:
    """Writes the rows as JSON, where a file is named."""
    if path:
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")

"""The joint table of a source: how many records of which length and difficulty were read, and how many were kept.

A filter on length is one on difficulty too, and a mean shows neither; the table shows the corner that a recipe cuts.
It is read from the stages' counts, which are compared with the funnel's. Costs nothing.
"""

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from ..tables import clipped
from .cells import MEASURED, OTHER, SHORT
from .curation import Curation
from .funnel import must_be_equal

NOT_STATED = "not stated"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Count:
    """A number of records, and the characters of what was measured of them."""

    documents: int = 0
    characters: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(self.documents + other.documents, self.characters + other.characters)


@dataclass(frozen=True)
class Place:
    """Where in the table: what was measured, the length's band, the metadata's field and what it says.

    Both are empty where no field says how difficult a record is.
    """

    of: str
    low: int
    field: str
    difficulty: str

    @property
    def row(self) -> tuple[str, int, int]:
        """What was measured, the band's first length and the one behind its last."""
        return self.of, self.low, 2 * self.low or SHORT

    @property
    def column(self) -> tuple[str, str]:
        """Field and difficulty."""
        return self.field, self.difficulty


@dataclass(frozen=True)
class JointTable:
    """A source's table.

    Args:
        source: its name.
        unread: records that could not be read, which have no place.
        cells: read and kept by place, in the order of the rows, then of the columns; none are empty.
    """

    source: str
    unread: int
    cells: tuple[tuple[Place, Count, Count], ...]

    def sums(
        self, row: tuple[str, int, int] | None = None, columns: Collection[tuple[str, str]] | None = None
    ) -> tuple[Count, Count]:
        """What was read and kept in a row, in some columns; in all where none are given."""
        came, left = Count(), Count()
        for place, read, kept in self.cells:
            if row in (None, place.row) and (columns is None or place.column in columns):
                came, left = came + read, left + kept
        return came, left

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        """Those of the places, thoughts and short ones first."""
        return list(dict.fromkeys(place.row for place, _, _ in self.cells))

    @property
    def columns(self) -> list[tuple[str, str]]:
        """Fields and what they say, numbers upwards, what is not stated last."""
        return sorted({place.column for place, _, _ in self.cells}, key=_rank)

    def data(self) -> dict[str, Any]:
        """The table as JSON values."""
        read, kept = self.sums()
        cells = [
            {
                "of": place.of,
                "low": place.low,
                "high": place.row[2],
                "field": place.field or None,
                "difficulty": place.difficulty or None,
                "read": asdict(count),
                "kept": asdict(left),
            }
            for place, count, left in self.cells
        ]
        return {
            "source": self.source,
            "unread": self.unread,
            "read": asdict(read),
            "kept": asdict(kept),
            "cells": cells,
        }


def read(curation: Curation) -> tuple[JointTable, ...]:
    """The tables of the sources whose documents have messages or pass rates, by name.

    Raises:
        RunError: a table does not add up to the source's funnel.
    """
    first, last = curation.stages[0], curation.stages[-1]
    found = []
    for source, own in first.counts["sources"].items():
        if "cells" not in own:
            continue
        end = last.counts["sources"].get(source, {"kept": 0})
        reads, keeps = _places(own["cells"]["read"]), _places(end.get("cells", {}).get("kept", {}))
        places = sorted(reads.keys() | keeps.keys(), key=_order)
        cells = tuple((place, reads.get(place, Count()), keeps.get(place, Count())) for place in places)
        table = JointTable(source, own["cells"]["unread"], cells)
        came, left = table.sums()
        where = f"source {source} by length and difficulty"
        must_be_equal(f"{first.folder}, {where}", came.documents + table.unread, own["documents"])
        must_be_equal(f"{last.folder}, {where}", left.documents, end["kept"])
        more = [place for place, one, two in cells if two.documents > one.documents or two.characters > one.characters]
        must_be_equal(f"{last.folder}, {where}, of which more was kept than read", more, [])
        found.append(table)
    return tuple(found)


def grid(table: JointTable, most: int) -> list[list[str]]:
    """The table as text: a row a length, a column a difficulty, `read → kept`, and the shares that are kept.

    Args:
        table: the source's.
        most: columns of difficulties; the emptiest of the others are one.
    """
    columns, rest = _shown(table, most)
    several = len({name for name, _ in columns if name}) > 1
    heads = [_head(one, several) for one in columns] if any(name for name, _ in table.columns) else []
    rows = [["characters of the", *heads, *([f"{len(rest)} others"] if rest else []), "all", "kept"]]

    def cells(row: tuple[str, int, int] | None) -> list[tuple[Count, Count]]:
        apart = [[one] for one in columns] if heads else []
        return [*(table.sums(row, own) for own in [*apart, *([rest] if rest else [])]), table.sums(row)]

    for of, low, high in table.rows:
        found = cells((of, low, high))
        rows.append([f"{of}, {low:,} to {high - 1:,}", *map(_pair, found), _share(found[-1])])
    total = cells(None)
    rows.append(["all", *map(_pair, total), _share(total[-1])])
    if heads:
        rows.append(["kept", *map(_share, total), ""])
    return rows


def title(table: JointTable) -> str:
    """What a table is of, and which fields say how difficult a record is."""
    fields = [name for name, _ in table.columns if name]
    stated = f"difficulty by {', '.join(map(clipped, dict.fromkeys(fields)))}" if fields else "no difficulty stated"
    unread = f"; {table.unread:,} records could not be read" if table.unread else ""
    return f"{clipped(table.source)}: records by length and difficulty, read → kept; {stated}{unread}"


def _places(counts: dict[str, Any]) -> dict[Place, Count]:
    return {
        Place(of, int(low), name, label): Count(own["documents"], own["characters"])
        for of, names in counts.items()
        for name, labels in names.items()
        for label, lows in labels.items()
        for low, own in lows.items()
    }


def _order(place: Place) -> tuple[object, ...]:
    return (MEASURED.index(place.of), place.low, _rank(place.column))


def _rank(column: tuple[str, str]) -> tuple[object, ...]:
    """Numbers in their order, of equal ones a bound before the band that it is a bound of; then names, the unknown."""
    name, label = column
    number = _NUMBER.search(label)
    at = float(number.group()) if number else 0.0
    return (not name, name, label == OTHER, number is None, at, label.startswith("("), label)


def _shown(table: JointTable, most: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The columns that are shown, and those that are one."""
    columns = table.columns
    stated = [one for one in columns if one[0]]
    if len(stated) <= most + 1:
        return columns, []
    rest = sorted(stated, key=lambda one: -table.sums(columns=[one])[0].documents)[most:]
    return [one for one in columns if one not in rest], [one for one in stated if one in rest]


def _head(column: tuple[str, str], several: bool) -> str:
    name, label = column
    if not name:
        return NOT_STATED
    told = "other" if label == OTHER else clipped(label)
    return f"{clipped(name)} {told}" if several else told


def _pair(counts: tuple[Count, Count]) -> str:
    came, left = counts
    return f"{came.documents:,} → {left.documents:,}" if came.documents else ""


def _share(counts: tuple[Count, Count]) -> str:
    came, left = counts
    return f"{100 * left.documents / came.documents:.1f} %" if came.documents else ""

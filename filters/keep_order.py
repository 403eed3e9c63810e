"""The order in which documents are to be kept, of those that are the same: by source, length, date and scores.

Which copy survives must not depend on how the files were split or in which order they were read; so ties end in the
content and the id of a document, and its place counts only between documents that agree in everything.
Costs a sort of the rows, about 0.5 µs per row, and 1 µs per different date.
"""

import datetime
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..config import did_you_mean
from .document import SCORE_PREFIX

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]

NAMES: Final = ("source", "length", "date")


def check(keep: Sequence[str]) -> None:
    """Raises a ValueError unless every entry is one of `NAMES` or a score column, each named once."""
    seen: set[str] = set()
    for entry in keep:
        name = entry.removeprefix("-")
        if (name not in NAMES and not name.removeprefix(SCORE_PREFIX).strip(".")) or name.startswith("-"):
            raise ValueError(f"{entry!r} names no order")
        if name not in NAMES and not name.startswith(SCORE_PREFIX):
            hint = did_you_mean(name, NAMES, f"write {SCORE_PREFIX}{name} if it is a score column")
            raise ValueError(f"{entry!r} is none of {', '.join(NAMES)} and no score column ({hint})")
        if name in seen:
            raise ValueError(f"{name} stands twice: the second could never tell two documents apart")
        seen.add(name)


def columns(keep: Sequence[str]) -> tuple[str, ...]:
    """The score columns that the order reads, in its order."""
    return tuple(entry.removeprefix("-") for entry in keep if entry.removeprefix("-").startswith(SCORE_PREFIX))


def order(keep: Sequence[str], table: pa.Table) -> Int64:
    """The rows of a table of documents in the order in which they are to be kept, the best first: int64[n].

    Args:
        keep: what is compared, one after the other: `source` (smaller first), `length` (more bytes first), `date`
            (later first) or a score column (higher first). A minus turns one round; no date, no score and NaN are
            last either way.
        table: the documents: `source` int32, the place of the source in the recipe; `bytes` int64, of the text; `date`
            string, nullable; the score columns, float64, nullable; and what decides between documents that agree in
            those, smaller first: `high` and `low` uint64, the halves of the content hash; `id` string; `part` and
            `row` int32.
    """
    groups = ranks(keep, table)
    if not table.num_rows:
        return np.empty(0, np.int64)
    found = np.lexsort(groups[::-1]).astype(np.int64)
    same = np.ones(len(found) - 1, np.bool_)
    for key in groups:
        ordered = key[found]
        same &= ordered[1:] == ordered[:-1]
    return _settle(found, same, table) if same.any() else found


def ranks(keep: Sequence[str], table: pa.Table) -> list[Float64 | UInt64]:
    """What decides between documents before their ids do, what counts first first: float64[n], at last uint64[n].

    Args:
        keep, table: as for `order`.
    """
    return [*(_ranks(entry, table) for entry in keep), *(table.column(name).to_numpy() for name in ("high", "low"))]


def as_numbers(rank: Float64 | UInt64) -> UInt64:
    """uint64[n] that stand in the order of a rank (n)."""
    if rank.dtype == np.uint64:
        return np.asarray(rank, np.uint64)
    bits = (rank + 0.0).view(np.int64)  # of two zeros one
    return np.asarray(np.where(bits < 0, ~bits, bits ^ np.int64(-(2**63))), np.int64).view(np.uint64)


def _settle(found: Int64, same: npt.NDArray[np.bool_], table: pa.Table) -> Int64:
    """`found` with the rows that are the same as the one before them (bool[n - 1]) in the order of id and place."""
    tied = np.zeros(len(found), np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    run = np.cumsum(np.concatenate([[True], ~same]))[tied]
    rows = found[tied]
    ids = pc.rank(table.column("id").take(pa.array(rows)).combine_chunks(), tiebreaker="dense").to_numpy()
    places = [table.column(name).to_numpy()[rows] for name in ("row", "part", "source")]
    found[tied] = rows[np.lexsort((*places, ids, run))]
    return found


def _ranks(entry: str, table: pa.Table) -> Float64:
    """float64[n]: what is kept first is smallest; infinite where there is nothing to compare by."""
    name = entry.removeprefix("-")
    if name == "source":
        ranks = table.column("source").to_numpy().astype(np.float64)
    elif name == "length":
        ranks = -table.column("bytes").to_numpy().astype(np.float64)
    elif name == "date":
        ranks = -_instants(table.column("date"))
    else:
        # Arrow gives nulls as NaN.
        ranks = -table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    ranks = -ranks if entry.startswith("-") else ranks
    return np.where(np.isnan(ranks), np.inf, ranks)


def _instants(dates: pa.ChunkedArray) -> Float64:
    """float64[n]: seconds since 1970, UTC; NaN where a date is null or none."""
    encoded = dates.combine_chunks().dictionary_encode()
    encoded = encoded if isinstance(encoded, pa.DictionaryArray) else encoded.chunk(0)
    instants = np.array([instant(date) for date in encoded.dictionary.to_pylist()] + [math.nan], np.float64)
    indices = encoded.indices.fill_null(len(instants) - 1).to_numpy(zero_copy_only=False)
    return np.asarray(instants[indices.astype(np.int64)], np.float64)


def instant(date: str) -> float:
    """Seconds since 1970 of a date as ISO 8601 writes it, UTC where it names no zone; NaN where it is none.

    A year or a month alone is its first instant.
    """
    text = date.strip()
    if text.isascii() and text.replace("-", "", 1).isdigit() and len(text) in (4, 7):
        text = f"{text}-01-01" if len(text) == 4 else f"{text}-01"
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        return math.nan
    if found.tzinfo is None:
        found = found.replace(tzinfo=datetime.UTC)
    return (found - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)).total_seconds()

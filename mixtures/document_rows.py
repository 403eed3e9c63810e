"""Single documents of token shards: the rows of given numbers, and the places of a given id.

What a document was stands beside its tokens, in the order of the ids' hash, so one is found by three binary searches
(part, row group, row) and read without the rest. Costs 1 to 2 ms a part that is looked into, whatever its size.
"""

import bisect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from ..errors import RunError
from .repair import mending_of
from .shards import Shards

COLUMNS = ("id", "source", "url", "start", "tokens")


class DocumentRow(NamedTuple):
    """A row of documents.parquet; `source` is the recipe's, `start` counts tokens from the part's first."""

    id: str
    source: str
    url: str | None
    start: int
    tokens: int


def read_rows(shards: Shards, part: int, rows: Sequence[int]) -> dict[int, DocumentRow]:
    """Some documents of a part, by their numbers in it.

    Raises:
        RunError: the table is unreadable, or contradicts the ends of the documents.
    """
    documents = _Documents(shards, part)
    wanted = sorted(set(rows))
    found = {}
    groups = sorted({documents.group_of(row) for row in wanted})
    table = documents.read(groups, COLUMNS)
    first = {group: sum(documents.sizes[one] for one in groups[:at]) for at, group in enumerate(groups)}
    for row in wanted:
        group = documents.group_of(row)
        values = table.slice(first[group] + row - documents.starts[group], 1).to_pylist()[0]
        found[row] = DocumentRow(**values)
    _check(shards, part, found)
    return found


def find_rows(shards: Shards, identity: str) -> Iterator[tuple[int, int]]:
    """Part and row of every document of an id.

    Raises:
        RunError: a table is unreadable.
    """
    wanted = xxhash.xxh3_128_intdigest(identity.encode())
    firsts, high = shards.table["first_high"], wanted >> 64
    first = bisect.bisect_left(firsts, high)  # equal halves may stand on both sides of a part's beginning
    for part in range(max(first - 1, 0), bisect.bisect_right(firsts, high)):
        documents = _Documents(shards, part)
        # The group before the first that begins at the hash may hold it, and so may those that begin at it.
        group = max(bisect.bisect_left(range(len(documents.sizes)), wanted, key=documents.first_hash) - 1, 0)
        while group < len(documents.sizes) and documents.first_hash(group) <= wanted:
            for row, one in enumerate(documents.ids(group), start=documents.starts[group]):
                if one == identity:
                    yield part, row
            group += 1


class _Documents:
    """A part's documents.parquet, read by row groups."""

    def __init__(self, shards: Shards, part: int) -> None:
        self.path = shards.folder / f"{shards.stem(part)}.documents.parquet"
        try:
            self._file = pq.ParquetFile(self.path, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from None
        metadata = self._file.metadata
        self.sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self.starts = [sum(self.sizes[:group]) for group in range(len(self.sizes))]
        documents = int(shards.table["documents"][part])
        if metadata.num_rows != documents:
            seen, expected = f"{metadata.num_rows:,}", f"{documents:,}"
            raise RunError("not as many documents as ends", where=str(self.path), seen=seen, expected=expected)
        self._ids: dict[int, list[str]] = {}

    def group_of(self, row: int) -> int:
        return bisect.bisect_right(self.starts, row) - 1

    def read(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        try:
            return self._file.read_row_groups(list(groups), columns=list(columns)).select(list(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise self._unreadable(error) from None

    def ids(self, group: int) -> list[str]:
        if group not in self._ids:
            self._ids[group] = self.read([group], ["id"]).column("id").to_pylist()
        return self._ids[group]

    def first_hash(self, group: int) -> int:
        return xxhash.xxh3_128_intdigest(self.ids(group)[0].encode())

    def _unreadable(self, error: Exception) -> RunError:
        return RunError(f"cannot be read: {error}", where=str(self.path), fix=mending_of(self.path))


def _check(shards: Shards, part: int, found: dict[int, DocumentRow]) -> None:
    """Whether rows say of their tokens what the ends say."""
    ends = shards.ends_unchecked(part)
    for row, document in found.items():
        start, stop = int(ends[row - 1]) if row else 0, int(ends[row])
        if (document.start, document.tokens) != (start, stop - start):
            raise RunError(
                "a document's row contradicts the ends",
                where=f"{shards.folder / shards.stem(part)}, row {row:,}",
                seen=f"{document.tokens:,} tokens from {document.start:,}",
                expected=f"{stop - start:,} from {start:,}",
                fix=mending_of(shards.folder / shards.stem(part)),
            )

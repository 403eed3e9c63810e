"""What a choice among documents came to: how large its clusters are, which sources share copies, clusters to look at.

A cluster is a document that is kept with all that are dropped for it. A task of a choice sees its clusters whole, so
the counts of tasks add up, and of the clusters to look at, those whose keepers' ids have the smallest hashes, each task
gives its first: they are the same however the work is divided. Costs a few passes over the rows, some at a time, and a
hash a cluster.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ... import storage
from ...errors import RunError
from ...manifest import OutputFile
from ...storage import Location
from ..dropped import DUPLICATE
from ..stage import Counts
from . import sizes

Int64 = npt.NDArray[np.int64]

FOLDER = "clusters"  # below a choice's: a file a task
SAMPLED = 20  # clusters to look at
MEMBERS = 5  # dropped documents of each: those that are least like the one kept
SINGLE_SIZES = 16  # sizes of clusters up to this are counted one by one, larger ones by powers of two


@dataclass(frozen=True, eq=False)
class Compared:
    """The m documents that a task of a choice compared.

    Args:
        ids: string[m].
        sources: string[m].
        part: int32[m], the number of the part that each stands in; negative where it stands in an index.
        row: int32[m], its number there.
        keeper: int64[m], which of the m is kept in its place: itself, where it is kept.
        similarity: float64[m] to that one; None where documents are the same or not.
        order: int64[m], in which they are told of; None for that in which they stand.
        zeros: makes an array of so many zeros of a kind; one a document is asked for.
        rules: the names of rules by which documents are dropped.
        rule: uint8[m], the place there of the one that drops each; None where all are dropped by the first.
    """

    ids: pa.Array
    sources: pa.Array
    part: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    keeper: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64] | None = None
    order: Int64 | None = None
    zeros: Callable[[int, npt.DTypeLike], npt.NDArray[Any]] = np.zeros
    rules: tuple[str, ...] = (DUPLICATE,)
    rule: npt.NDArray[np.uint8] | None = None

    def rules_of(self, rows: Int64) -> pa.Array:
        """string[k]: the rules that drop these (int64[k])."""
        own = np.zeros(len(rows), np.int64) if self.rule is None else self.rule[rows].astype(np.int64)
        return pa.array(self.rules, pa.string()).take(pa.array(own))

    def stretches(self) -> Iterator[Int64]:
        """int64[k]: all documents, some at a time."""
        for start in range(0, len(self.keeper), sizes.RUN_ROWS):
            stop = min(start + sizes.RUN_ROWS, len(self.keeper))
            yield np.arange(start, stop) if self.order is None else self.order[start:stop]

    def gone(self) -> Iterator[Int64]:
        """int64[k]: those that are not kept, some at a time."""
        for rows in self.stretches():
            yield rows[self.keeper[rows] != rows]

    @cached_property
    def dropped(self) -> Int64:
        """int64[m]: how many are dropped for each."""
        found = self.zeros(len(self.keeper), np.int64)
        for gone in self.gone():
            np.add.at(found, self.keeper[gone], 1)
        return np.asarray(found, np.int64)


@dataclass(frozen=True)
class Document:
    """A document of a cluster.

    Args:
        id, source: its own.
        part, row: where it stands among the documents that were compared; None where it stands in an index.
        similarity: to the one kept; None for that one, and where documents are the same or not.
    """

    id: str
    source: str
    part: int | None
    row: int | None
    similarity: float | None = None


@dataclass(frozen=True)
class Cluster:
    """A kept document, a few of those dropped for it (the least similar first), and how many they are with it."""

    size: int
    keeper: Document
    members: tuple[Document, ...]

    @property
    def order(self) -> tuple[int, str, int, int]:
        """By which clusters are taken to look at, the smallest first."""
        return _hash(self.keeper.id), self.keeper.source, self.keeper.part or 0, self.keeper.row or 0


@dataclass(frozen=True)
class Clusters:
    """The clusters to look at, in their order, and the largest one; None where there is no cluster."""

    sampled: tuple[Cluster, ...]
    largest: Cluster | None


def counts(compared: Compared) -> Counts:
    """What a task's clusters come to, in numbers that add up over tasks.

    Returns:
        `documents` (but those of an index), `duplicates`, `cluster_sizes` (clusters by size: "2", …, "16", "17-32", …)
        and `between` (dropped documents by their source and by the source of those kept).
    """
    by_size: dict[str, int] = {}
    documents = duplicates = 0
    for rows in compared.stretches():
        documents += int((compared.part[rows] >= 0).sum())
        dropped = compared.dropped[rows]
        duplicates += int(dropped.sum())
        for size, count in zip(*np.unique(dropped[dropped > 0] + 1, return_counts=True), strict=True):
            name = size_name(int(size))
            by_size[name] = by_size.get(name, 0) + int(count)
    return {
        "documents": documents,
        "duplicates": duplicates,
        "cluster_sizes": by_size,
        "between": _between(compared),
    }


def write(folder: Location, task: int, compared: Compared) -> OutputFile:
    """Writes a task's first clusters to look at, and its largest, below a choice's folder."""
    found = _clusters(compared)
    name = f"{FOLDER}/{task:05d}.json"
    with storage.atomic_write(folder / name) as stream:
        stream.write(orjson.dumps(asdict(found)))
        return OutputFile.written(name, stream, len(found.sampled))


def read(folder: Location, files: Iterable[OutputFile]) -> Clusters:
    """The clusters of all tasks of a choice: the first to look at, and the largest.

    Raises:
        RunError: a file is gone or damaged.
    """
    sampled: list[Cluster] = []
    largest: list[Cluster] = []
    paths = [folder / file.path for file in files if file.path.startswith(f"{FOLDER}/")]
    for path, data in zip(paths, storage.read_all(paths), strict=True):
        try:
            content = orjson.loads(data)
            sampled += [_cluster(one) for one in content["sampled"]]
            largest += [_cluster(content["largest"])] if content["largest"] else []
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise RunError(
                f"the file is damaged: {error}", where=str(path), fix="remove its folder and run again"
            ) from None
        sampled = sorted(sampled, key=lambda one: one.order)[:SAMPLED]
        largest = sorted(largest, key=lambda one: (-one.size, one.order))[:1]
    return Clusters(tuple(sampled), largest[0] if largest else None)


def size_name(size: int) -> str:
    """Where clusters of a size are counted: "16", "17-32", "33-64", …"""
    if size <= SINGLE_SIZES:
        return str(size)
    last = 1 << (size - 1).bit_length()
    return f"{last // 2 + 1}-{last}"


def largest_of(name: str) -> int:
    """The largest size that is counted under a name."""
    return int(name.rpartition("-")[2])


def _between(compared: Compared) -> Counts:
    coded = compared.sources
    coded = coded if isinstance(coded, pa.DictionaryArray) else coded.dictionary_encode()
    code, names = coded.indices.to_numpy(zero_copy_only=False), coded.dictionary.to_pylist()
    found: Counts = {}
    for gone in compared.gone():
        both = code[gone].astype(np.int64) * len(names) + code[compared.keeper[gone]]
        for pair, number in zip(*map(np.ndarray.tolist, np.unique(both, return_counts=True)), strict=True):
            dropped, kept = (names[place] for place in divmod(pair, len(names)))
            own = found.setdefault(dropped, {})
            own[kept] = own.get(kept, 0) + number
    return found


def _clusters(compared: Compared) -> Clusters:
    most = max((int(compared.dropped[rows].max()) for rows in compared.stretches()), default=0)
    if not most:
        return Clusters((), None)
    sampled, largest = _First(compared, SAMPLED), _First(compared, 1)
    for rows in compared.stretches():
        keepers = rows[compared.dropped[rows] > 0]
        ids = compared.ids.take(pa.array(keepers)).to_pylist()
        hashes = np.fromiter(map(_hash, ids), np.uint64, len(ids))
        sampled.add(keepers, hashes)
        large = compared.dropped[keepers] == most
        largest.add(keepers[large], hashes[large])
    (first,), looked_at = largest.keepers.tolist(), sampled.keepers.tolist()
    members = _least_similar(compared, np.unique([first, *looked_at]))

    def cluster(keeper: int) -> Cluster:
        return Cluster(int(compared.dropped[keeper]) + 1, _document(compared, keeper), members[keeper])

    return Clusters(tuple(map(cluster, looked_at)), cluster(first))


class _First:
    """The first of some clusters in their order (`Cluster.order`), of which some come at a time.

    Args:
        compared: the documents.
        most: so many at most.
    """

    def __init__(self, compared: Compared, most: int) -> None:
        self._compared, self._most = compared, most
        self.keepers, self._hashes = np.empty(0, np.int64), np.empty(0, np.uint64)

    def add(self, keepers: Int64, hashes: npt.NDArray[np.uint64]) -> None:
        """Takes clusters by their keepers (int64[k]) and the hashes of the ids of these; many may share an id."""
        keepers, hashes = np.concatenate([self.keepers, keepers]), np.concatenate([self._hashes, hashes])
        if len(hashes) > self._most:
            near = hashes <= np.partition(hashes, self._most - 1)[self._most - 1]
            keepers, hashes = keepers[near], hashes[near]
        sources = self._compared.sources.take(pa.array(keepers)).to_pylist()
        known = self._compared.part[keepers] < 0
        part, row = (np.where(known, 0, own[keepers]).tolist() for own in (self._compared.part, self._compared.row))
        orders = list(zip(hashes.tolist(), sources, part, row, strict=True))
        first = sorted(range(len(orders)), key=orders.__getitem__)[: self._most]
        self.keepers, self._hashes = keepers[first], hashes[first]


def _least_similar(compared: Compared, keepers: Int64) -> dict[int, tuple[Document, ...]]:
    """Some of the dropped documents of clusters, by their keepers (int64[k], ascending)."""
    found = dict.fromkeys(keepers.tolist(), np.empty(0, np.int64))
    for gone in compared.gone():
        own = gone[np.isin(compared.keeper[gone], keepers)]
        for keeper in np.unique(compared.keeper[own]).tolist():
            members = np.concatenate([found[keeper], own[compared.keeper[own] == keeper]])
            found[keeper] = members[_least(compared, members)]
    return {keeper: tuple(_document(compared, row) for row in own.tolist()) for keeper, own in found.items()}


def _least(compared: Compared, members: Int64) -> Int64:
    """Which of a cluster's dropped documents are the least similar to the one kept, of equal ones the first by id."""
    taken = pa.array(members)
    similarity = np.zeros(len(members)) if compared.similarity is None else compared.similarity[members]
    columns = [similarity, compared.ids.take(taken), compared.sources.take(taken).cast(pa.string())]
    names = ["similarity", "id", "source", "part", "row"]
    rows = pa.table([*columns, compared.part[members], compared.row[members]], names=names)
    first = pc.select_k_unstable(rows, MEMBERS, sort_keys=[(name, "ascending") for name in names])
    return np.asarray(first.to_numpy(), np.int64)


def _document(compared: Compared, row: int) -> Document:
    known = int(compared.part[row]) < 0
    similar = None if compared.similarity is None else float(compared.similarity[row])
    return Document(
        compared.ids[row].as_py(),
        compared.sources[row].as_py(),
        None if known else int(compared.part[row]),
        None if known else int(compared.row[row]),
        None if compared.keeper[row] == row else similar,
    )


def _cluster(content: dict[str, Any]) -> Cluster:
    members = tuple(Document(**one) for one in content["members"])
    return Cluster(int(content["size"]), Document(**content["keeper"]), members)


def _hash(identity: str) -> int:
    return xxhash.xxh3_64_intdigest(identity.encode())

"""The buckets of near-duplicates: documents that share a key, joined to trees within a partition of keys.

A bucket of n documents gives n - 1 links and not n² pairs, since what is similar is verified later. Of a partition's
links a spanning forest is written. One task a partition. Costs a sort of its keys, and 32 bytes a link on disk.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import exchange, footprints
from ..recipe import Step
from ..stage import Stage, TaskResult
from . import index_join, sizes
from .bands import KEYS, WriteBands, minhash
from .index_layer import Layer
from .numbers import INDEXED, UInt64, parts_of, spread

if TYPE_CHECKING:
    from ..documents import DocumentStage

LINKS = pa.schema([pa.field("document", pa.uint64()), pa.field("root", pa.uint64())])


@dataclass(frozen=True)
class Buckets(Stage):
    """Links between the documents of one step that share keys, one task a partition of keys.

    Args:
        upstream: the stage whose documents are compared.
        step: the barrier.
        bands: their keys.
        index: whose documents are linked as well, where they have one of these keys.
    """

    scratch: ClassVar[bool] = True
    upstream: "DocumentStage"
    step: Step
    bands: WriteBands
    index: Layer | None = None

    @property
    def name(self) -> str:
        """`<step>-buckets`."""
        return f"{self.step.name}-buckets"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The documents, for the sources of their parts, and the keys."""
        return (self.upstream, self.bands)

    def options(self) -> dict[str, Any]:
        """Whether documents of one source are compared, and the version of the index."""
        return {"across": minhash(self.step).across, **(self.index.record if self.index else {})}

    def memory(self) -> int:
        """As `footprints.buckets`, of an even share of the keys."""
        return footprints.buckets(int(self.bands.finished().counts.get("keys", 0)) // self.bands.partitions())

    def tasks(self) -> int:
        """One a partition of keys."""
        return self.bands.partitions()

    def partitions(self) -> int:
        """Those of the documents that are linked."""
        return sizes.node_partitions(int(self.upstream.finished().counts["kept"]))

    def run(self, task: int) -> TaskResult:
        """Links the documents of each bucket to the first of them, and writes what is left of it as a forest."""
        from ...filters.kernels import union_kernels

        rows = exchange.read([self.bands.folder / file.path for file in self.bands.finished().files], task, KEYS)
        keys, documents = rows.column("key").to_numpy(), rows.column("document").to_numpy()
        if self.index is not None:
            keys, documents = index_join.with_known(self.index, keys, documents)
        keys, documents = in_order(keys, documents)
        links = union_kernels.link_runs(keys, documents, self._sources(documents))
        del rows, keys, documents
        nodes, roots = union_kernels.forest(*links)
        linked = nodes != roots
        with exchange.Writer(self.folder, f"buckets-{task:05d}.arrow", LINKS, self.partitions()) as writer:
            write_links(writer, nodes[linked], roots[linked], both=True)
            return TaskResult((writer.finish(),), {"linked": len(nodes), "links": writer.rows})

    def _sources(self, documents: UInt64) -> npt.NDArray[np.int32]:
        """int32[m], the place of each document's source; empty where documents of one source are compared too."""
        if not minhash(self.step).across:
            return np.empty(0, np.int32)
        parts, order = self.upstream.parts, self.upstream.source_order
        places = np.array([order.index(part.source) for part in parts], np.int32)
        if self.index is None:
            return places[parts_of(documents, len(parts))]
        found = np.empty(len(documents), np.int32)
        known = documents >= INDEXED
        found[~known] = places[parts_of(documents[~known], len(parts))]
        found[known] = index_join.places_of(self.index, documents[known], order)
        return found


def in_order(keys: UInt64, documents: UInt64) -> tuple[UInt64, UInt64]:
    """Those that share a key with others, sorted by it."""
    order = np.argsort(keys)
    keys = keys[order]
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), np.bool_)
    shared[1:] |= same
    shared[:-1] |= same
    return keys[shared], documents[order[shared]]


def write_links(writer: exchange.Writer, documents: UInt64, roots: UInt64, both: bool) -> None:
    """Writes links to the partition of the larger document, or of both documents.

    Args:
        writer: of `LINKS`.
        documents, roots: uint64[m], each root smaller than its document.
        both: whether the root's partition has the link too.
    """
    partition = spread(documents, writer.partitions)
    if both:
        of_root = spread(roots, writer.partitions)
        apart = of_root != partition
        documents, roots = (np.concatenate([one, one[apart]]) for one in (documents, roots))
        partition = np.concatenate([partition, of_root[apart]])
    rows = pa.record_batch([pa.array(documents), pa.array(roots)], schema=LINKS)
    writer.write(rows, partition)

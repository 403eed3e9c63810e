"""What a deduplication made of the planted corpus: which documents are kept, and which of them stands for each other.

Read from the files that anybody reads, manifest and dropped parts, so that tests see what a person gets. Costs a read
of the ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import xxhash
from midtrain.manifest import Manifest
from midtrain.pipelines.read_parts import read_part

from tests.planted.corpus import SOURCES, Document


@dataclass(frozen=True)
class Gone:
    """Why a document is not kept."""

    partner: str
    similarity: float
    threshold: float


@dataclass(frozen=True)
class Outcome:
    """Ids of kept documents, and what was dropped by id."""

    kept: frozenset[str]
    dropped: dict[str, Gone]

    @property
    def hash(self) -> str:
        """xxh3-128 of the sorted ids of what is kept."""
        return hash_of(self.kept)


def hash_of(ids: Iterable[str]) -> str:
    """xxh3-128 of sorted ids."""
    return xxhash.xxh3_128_hexdigest("\n".join(sorted(ids)).encode())


def kept_ids(output: Path) -> list[str]:
    """The ids of what is kept."""
    return [
        identity
        for file in Manifest.read(output).files
        for batch in read_part(output / file.path, ["id"])
        for identity in batch.column("id").to_pylist()
    ]


def outcome(output: Path) -> Outcome:
    """Reads an output of which every document has an id of its own."""
    kept = kept_ids(output)
    dropped = {}
    for entry in Manifest.read(output).counts["funnel"]:
        for path in sorted((output / "stages" / entry["stage"] / "dropped").glob("part-*.parquet")):
            for row in pq.read_table(path).to_pylist():
                assert (row["step"], row["rule"]) == ("minhash_dedup", "duplicate")
                assert row["id"] not in dropped
                dropped[row["id"]] = Gone(row["partner"], row["value"], row["threshold"])
    assert len(kept) == len(set(kept))
    assert not dropped.keys() & set(kept)
    return Outcome(frozenset(kept), dropped)


def rank(document: Document) -> tuple[object, ...]:
    """Smaller outranks: `keep: [source, length, date]`, then the hash of the text, then the id."""
    day = -int(document.date.replace("-", "")) if document.date else 0
    text = document.text.encode()
    return (SOURCES.index(document.source), -len(text), day, xxhash.xxh3_128_intdigest(text), document.id)

"""What the benchmarks of filters measure with: a stratified slice of real text, and user seconds.

A rate depends on the text, so all of them take the same documents; and on what the chunk cache has seen, so the slice
knows how to bring it to where a long run has it.
Costs the reading of the corpora, about 250 MB, and a second to warm the cache.
"""

import gzip
import io
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import zstandard
from midtrain.filters import chunk_cache
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.kernels.view_kernels import count_words_of

SLICE_BYTES = 12_000_000


def user_seconds(run: Callable[[], object]) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    run()
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime - before


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a .jsonl, .jsonl.gz or .jsonl.zst file."""
    return (record["text"] for record in records_of(path))


def records_of(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a .jsonl, .jsonl.gz or .jsonl.zst file."""
    opener = {".gz": gzip.open, ".zst": zstandard.open}.get(path.suffix, Path.open)
    with opener(path, "rb") as stream:
        for line in io.BufferedReader(stream):
            yield orjson.loads(line)


def corpora(folder: Path) -> list[Path]:
    """The JSONL files of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if ".jsonl" in path.suffixes)


def stratified(folder: Path, size: int) -> tuple[list[str], list[str]]:
    """Every k-th document of all files, about `size` bytes of text in all, and the other documents."""
    texts = [text for path in corpora(folder) for text in texts_of(path)]
    every = max(sum(len(text.encode()) for text in texts) // size, 1)
    first = every // 2
    return texts[first::every], [text for number, text in enumerate(texts) if number % every != first]


def batch_of(texts: Sequence[str]) -> DocumentBatch:
    """Documents with these texts; the id is the number."""
    columns = {"id": list(map(str, range(len(texts)))), "text": list(texts), "source": ["benchmark"] * len(texts)}
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))


def batches(texts: Iterable[str], size: int = 16_000_000) -> Iterator[DocumentBatch]:
    """Batches of about `size` characters."""
    held: list[str] = []
    characters = 0
    for text in texts:
        held.append(text)
        characters += len(text)
        if characters >= size:
            yield batch_of(held)
            held, characters = [], 0
    if held:
        yield batch_of(held)


class Slice:
    """The text that is measured, and the other text by which the cache is brought to its steady state."""

    def __init__(self, texts: Sequence[str], others: Sequence[str]) -> None:
        self.texts = texts
        self.others = list(batches(others))
        self._record_batch = batch_of(texts).record_batch
        self.megabytes = sum(len(text.encode()) for text in texts) / 1e6
        self.other_megabytes = sum(len(text.encode()) for text in others) / 1e6

    def fresh(self) -> DocumentBatch:
        """The documents, with nothing computed yet."""
        return DocumentBatch(self._record_batch)

    def segment(self) -> None:
        """What every rule that asks for words cannot do without."""
        _segment(self.fresh())

    def warm(self) -> None:
        """Leaves the cache as it is behind all of the other text, and none of the slice."""
        chunk_cache.clear()
        for batch in self.others:
            _segment(batch)


def _segment(batch: DocumentBatch) -> None:
    with chunk_cache.opened(batch) as words:
        count_words_of(batch.text_bytes, batch.text_offsets, words)

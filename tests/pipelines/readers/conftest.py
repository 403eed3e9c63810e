"""Files of every compression, and what the readers make of them."""

import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers.records import Chunk
from midtrain.pipelines.reading import read
from midtrain.pipelines.recipe import SourceSpec

Documents = list[dict[str, Any]]
Aside = list[tuple[str, str]]


def compress(content: bytes, ending: str) -> bytes:
    """The content as a file with that ending holds it; streams of two members where there is enough of it."""
    half = len(content) // 2
    if ending.endswith(".gz"):
        return gzip.compress(content[:half], 1) + gzip.compress(content[half:], 1)
    if ending.endswith(".zst"):
        return b"".join(zstandard.ZstdCompressor(level=1).compress(part) for part in (content[:half], content[half:]))
    return content


@pytest.fixture(scope="session", name="compress")
def _compress() -> Callable[[bytes, str], bytes]:
    return compress


@pytest.fixture
def reading(tmp_path: Path) -> Callable[..., tuple[Documents, Aside]]:
    """Writes a file and reads it as a source of these options: documents, and (place, error) of what was set aside."""

    def run(name: str, content: bytes, cuts: Sequence[int] = (), **options: Any) -> tuple[Documents, Aside]:
        path = tmp_path / name
        path.write_bytes(compress(content, name))
        bounds = [0, *cuts, -1]
        splits = [Split("web", str(path), name, *bounds[i : i + 2]) for i in range(len(bounds) - 1)]
        chunks: list[Chunk] = list(read(tuple(splits), SourceSpec(name="web", path=name, **options)))
        documents = [row for chunk in chunks for row in chunk.batch.to_pylist()]
        return documents, [(entry.place, entry.error) for chunk in chunks for entry in chunk.quarantined]

    return run

"""What the readers make of a file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers.records import Chunk
from midtrain.pipelines.reading import read
from midtrain.pipelines.recipe import SourceSpec

Documents = list[dict[str, Any]]
Aside = list[tuple[str, str]]


@pytest.fixture
def reading(tmp_path: Path, compress: Callable[[bytes, str], bytes]) -> Callable[..., tuple[Documents, Aside]]:
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

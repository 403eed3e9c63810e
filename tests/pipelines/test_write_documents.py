"""Documents of an output as plain files: all of them, in order, and nothing that was there before is harmed."""

import io
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import zstandard
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines import write_documents
from midtrain.pipelines.curate import curate
from midtrain.pipelines.processes import local
from midtrain.pipelines.read_parts import read_part
from midtrain.pipelines.recipe import load
from midtrain.pipelines.stage import Stage
from midtrain.progress import Progress


@pytest.fixture(params=[False, True], ids=["documents", "row numbers"])
def output(request: pytest.FixtureRequest, workshop: Any) -> Path:
    """A curated output, with scores or without: with them it holds row numbers."""
    workshop.corpus()
    recipe = load(workshop.yaml("recipe.yaml", workshop.recipe()))
    curate(recipe, local(0), Progress(shown=False), scores=request.param)
    return Path(workshop.root / "out")


def kept(output: Path) -> list[dict[str, Any]]:
    files = orjson.loads((output / "manifest.json").read_bytes())["files"]
    return [row for file in files for batch in read_part(output / file["path"]) for row in batch.to_pylist()]


def written(output: Path, folder: Path, form: write_documents.Format = "parquet", **options: Any) -> int:
    _, tasks = write_documents.write(str(output), str(folder), form, local(0), Progress(shown=False), **options)
    return tasks


def lines(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.glob("part-*.jsonl.zst")):
        with zstandard.open(path, "rb") as stream:
            found += [orjson.loads(line) for line in io.BufferedReader(stream)]
    return found


def test_parquet_holds_the_kept_documents_in_order(output: Path, tmp_path: Path) -> None:
    assert written(output, tmp_path / "w") > 0
    rows = [row for path in sorted((tmp_path / "w").glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()]
    assert rows == kept(output)
    assert written(output, tmp_path / "w") == 0


def test_json_lines_hold_what_the_documents_have(output: Path, tmp_path: Path) -> None:
    written(output, tmp_path / "w", "jsonl.zst")
    documents = kept(output)
    rows = lines(tmp_path / "w")
    assert [row["id"] for row in rows] == [document["id"] for document in documents]
    for row, document in zip(rows, documents, strict=True):
        scores = {f"score.{name}": value for name, value in row.pop("scores", {}).items()}
        metadata = orjson.dumps(row.pop("metadata")).decode() if "metadata" in row else None
        assert {**dict.fromkeys(document), **row, **scores, "metadata": metadata} == document


def test_other_documents_and_other_files_are_not_replaced(output: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    written(output, folder)
    with pytest.raises(ConfigError, match="in another format"):
        written(output, folder, "jsonl.zst")
    assert written(output, folder, "jsonl.zst", overwrite=True) > 0
    assert not list(folder.glob("*.parquet"))
    assert len(lines(folder)) == len(kept(output))
    (folder / "part-mine.jsonl.zst").write_text("mine")
    assert written(output, folder, overwrite=True) > 0
    assert (folder / "part-mine.jsonl.zst").read_text() == "mine"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        written(output, mine, overwrite=True)
    assert [path.name for path in mine.iterdir()] == ["notes.txt"]


def test_a_killed_run_goes_on_only_with_the_same(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "w"
    with monkeypatch.context() as killed:
        killed.setattr(Stage, "complete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            written(output, folder)
    with pytest.raises(ConfigError, match="in another format"):
        written(output, folder, "jsonl.zst")
    assert written(output, folder) == 0
    assert (folder / "manifest.json").exists()


def test_an_output_that_keeps_nothing_is_not_written(workshop: Any, tmp_path: Path) -> None:
    workshop.corpus()
    steps = [{"length": {"min_characters": 10**9}}]
    recipe = load(workshop.yaml("recipe.yaml", workshop.recipe(steps=steps)))
    with pytest.raises(RunError, match="nothing is left"):
        curate(recipe, local(0), Progress(shown=False))
    with pytest.raises(ConfigError, match="nothing to write"):
        written(workshop.root / "out", tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_what_is_no_output_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no curated output"):
        written(tmp_path / "nothing", tmp_path / "w")
    assert not (tmp_path / "w").exists()

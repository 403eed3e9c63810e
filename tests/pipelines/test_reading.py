"""A task's splits as batches of documents: order, ids, batch sizes, and what is set aside."""

import gzip
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers import records
from midtrain.pipelines.readers.records import derived_id
from midtrain.pipelines.readers.selection import Selection
from midtrain.pipelines.reading import read
from midtrain.pipelines.recipe import SourceSpec

WEB = SourceSpec(name="web", path="*")


def split(path: Path, start: int = 0, stop: int = -1, source: str = "web") -> Split:
    return Split(source, str(path), path.name, start, stop)


def jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    content = b"".join(orjson.dumps(row) + b"\n" for row in rows)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def texts(*splits: Split, spec: SourceSpec = WEB) -> list[str]:
    return [text for chunk in read(splits, spec) for text in chunk.batch.column("text").to_pylist()]


def test_splits_of_different_containers_are_read_in_order_into_common_batches(tmp_path):
    first = jsonl(tmp_path / "1.jsonl", [{"text": "a"}, {"text": "b"}])
    second = tmp_path / "2.parquet"
    pq.write_table(pa.table({"text": ["c"]}), second)
    third = tmp_path / "3.txt"
    third.write_text("d\n")
    fourth = jsonl(tmp_path / "4.jsonl.gz", [{"text": "e"}])
    (chunk,) = read(tuple(split(path) for path in (first, second, third, fourth)), WEB)
    assert chunk.batch.schema == SCHEMA
    assert chunk.batch.column("text").to_pylist() == ["a", "b", "c", "d\n", "e"]
    assert set(chunk.batch.column("source").to_pylist()) == {"web"}
    assert chunk.bytes > 0


def test_ids_are_the_inputs_own_or_come_of_source_path_and_position(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x", "id": "own"}, {"text": "y"}, {"text": "z", "id": ""}])
    (chunk,) = read((split(path),), WEB)
    second = len(orjson.dumps({"text": "x", "id": "own"})) + 1
    third = second + len(orjson.dumps({"text": "y"})) + 1
    expected = ["own", derived_id("web", "a.jsonl", second), derived_id("web", "a.jsonl", third)]
    assert chunk.batch.column("id").to_pylist() == expected


def test_ids_do_not_depend_on_compression_or_where_the_file_lies(tmp_path):
    rows = [{"text": str(i)} for i in range(5)]
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    one, other = jsonl(tmp_path / "x" / "a.jsonl", rows), jsonl(tmp_path / "y" / "a.jsonl", rows)
    (first,) = read((split(one),), WEB)
    (second,) = read((split(other),), WEB)
    assert first.batch == second.batch


def test_batches_are_cut_by_size_and_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    rows = [{"text": str(i)} if i % 4 else {"body": "x"} for i in range(20)]
    path = jsonl(tmp_path / "a.jsonl", rows)
    chunks = list(read((split(path), split(path)), WEB))
    assert [chunk.batch.num_rows for chunk in chunks] == [3] * 10
    assert sum(len(chunk.quarantined) for chunk in chunks) == 10
    assert texts(split(path), split(path)) == [row["text"] for row in rows if "text" in row] * 2


def test_records_that_cannot_be_read_have_the_id_and_place_they_would_have_had(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"text": 5}])
    (chunk,) = read((split(path),), WEB)
    (aside,) = chunk.quarantined
    assert aside.id == derived_id("web", "a.jsonl", 13)
    assert (aside.source, aside.step, aside.error) == ("web", "read", "field text is a number, not text")
    assert aside.place == "a.jsonl, byte 13"


def test_a_container_named_by_format_is_placed_by_rows_whatever_the_files_ending(tmp_path):
    path = tmp_path / "data.bin"
    pq.write_table(pa.table({"text": ["x", None]}), path)
    spec = SourceSpec(name="web", path="*", format="parquet")
    (chunk,) = read((split(path),), spec)
    assert chunk.batch.column("text").to_pylist() == ["x"]
    assert [aside.place for aside in chunk.quarantined] == ["data.bin, row 1"]


def test_a_piece_of_a_file_has_the_ids_and_places_of_the_file(tmp_path):
    whole = jsonl(tmp_path / "a.jsonl", [{"text": "x"}, {"text": 5}, {"text": "y"}])
    (expected,) = read((split(whole),), WEB)
    lines = whole.read_bytes().splitlines(keepends=True)
    pieces = []
    for number, content in enumerate((lines[0], lines[1] + lines[2])):
        piece = tmp_path / f"piece-{number}.bin"
        piece.write_bytes(content)
        pieces.append(Split("web", str(piece), "a.jsonl", 0, -1, number * len(lines[0])))
    (found,) = read(tuple(pieces), WEB)
    assert found == expected


def test_records_are_numbered_through_the_splits_and_not_parsed_where_they_are_poisoned(tmp_path):
    first = jsonl(tmp_path / "1.jsonl", [{"text": "a"}, {"text": "b"}])
    table = tmp_path / "2.parquet"
    pq.write_table(pa.table({"text": ["c", "d"]}), table)
    third = jsonl(tmp_path / "3.jsonl.gz", [{"text": "e"}])
    splits = tuple(map(split, (first, table, third)))
    (chunk,) = read(splits, WEB, Selection(poisoned={1: "died", 3: "died", 4: "died"}))
    assert chunk.batch.column("text").to_pylist() == ["a", "c"]
    assert [(one.id, one.step, one.error, one.place) for one in chunk.quarantined] == [
        (derived_id("web", "1.jsonl", 13), "process", "died", "1.jsonl, byte 13"),
        (derived_id("web", "2.parquet", 1), "process", "died", "2.parquet, row 1"),
        (derived_id("web", "3.jsonl.gz", 0), "process", "died", "3.jsonl.gz, byte 0"),
    ]
    trial = Selection.trial(1, 4, {2: "died"})
    assert [chunk.batch.column("text").to_pylist() for chunk in read(splits, WEB, trial)] == [["b", "d"]]
    assert trial.seen == 5


def test_generated_problems_are_numbered_too():
    spec = SourceSpec(name="g", format="generated", tasks=("modular_chain",), steps=(4,), count=6)
    task = (Split("g", "", "", 2, 5),)
    (whole,) = read(task, spec)
    (chunk,) = read(task, spec, Selection(poisoned={1: "died"}))
    assert chunk.batch.column("id").to_pylist() == [whole.batch.column("id")[row].as_py() for row in (0, 2)]
    assert [one.id for one in chunk.quarantined] == [whole.batch.column("id")[1].as_py()]
    (trial,) = read(task, spec, Selection.trial(2, 3, {}))
    assert trial.batch == whole.batch.slice(2, 1)


def test_a_text_that_no_file_can_hold_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LARGEST", 100)
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x" * 100}, {"text": "é" * 51}, {"text": "x", "more": "y" * 100}])
    (chunk,) = read((split(path),), WEB)
    assert chunk.batch.num_rows == 1
    assert [one.error for one in chunk.quarantined] == [
        "the text is larger than 100 bytes",
        "the metadata is larger than 100 bytes",
    ]


def test_a_file_that_went_away_ends_the_run(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", [{"text": "x"}])
    with pytest.raises(RunError, match="cannot be opened") as wrong:
        list(read((split(path), split(tmp_path / "b.jsonl")), WEB))
    assert wrong.value.where == str(tmp_path / "b.jsonl")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.fixed_dictionaries({"text": st.text(max_size=20)}, optional={"id": st.text(max_size=3)}), max_size=10),
    st.sets(st.integers(1, 400), max_size=4),
)
def test_cuts_change_neither_documents_nor_ids(tmp_path_factory, rows: list[dict[str, object]], cuts: set[int]):
    path = jsonl(tmp_path_factory.mktemp("cuts") / "a.jsonl", rows)
    whole = [chunk.batch.to_pylist() for chunk in read((split(path),), WEB)]
    bounds = [0, *sorted(cuts), -1]
    parts = tuple(split(path, bounds[i], bounds[i + 1]) for i in range(len(bounds) - 1))
    assert [chunk.batch.to_pylist() for chunk in read(parts, WEB)] == whole
    assert [row["text"] for batch in whole for row in batch] == [row["text"] for row in rows]

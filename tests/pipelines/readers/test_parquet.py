"""Parquet: rows of row groups, of any type, readable or not."""

import datetime
import io
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midtrain.errors import RunError
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers import parquet
from midtrain.pipelines.readers.selection import Selection


def written(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def test_rows_become_documents_with_their_columns(reading):
    table = pa.table({"text": ["a", "b"], "id": [7, None], "url": [None, "u"], "score": [0.5, None]})
    documents, aside = reading("a.parquet", written(table))
    assert aside == []
    assert [document["text"] for document in documents] == ["a", "b"]
    assert documents[0]["id"] == "7"
    assert len(documents[1]["id"]) == 32
    assert [document["url"] for document in documents] == [None, "u"]
    assert [orjson.loads(document["metadata"]) for document in documents] == [{"score": 0.5}, {"score": None}]


def test_a_number_that_is_not_one_is_missing(reading):
    """pandas makes NaN of a missing number: it is no id that all such documents share, and no answer."""
    nan = float("nan")
    documents, aside = reading(
        "a.parquet", written(pa.table({"text": ["a", "b"], "id": [nan, nan], "url": [nan, 1.5]}))
    )
    assert aside == []
    assert len({document["id"] for document in documents} - {"nan"}) == 2
    assert [document["url"] for document in documents] == [None, "1.5"]


def test_splits_are_row_groups_and_positions_row_numbers(tmp_path):
    table = pa.table({"text": [f"{i}" for i in range(2500)]})
    path = tmp_path / "a.parquet"
    path.write_bytes(written(table, row_group_size=600))
    whole = list(parquet.records(Split("s", str(path), "a.parquet", 0, -1)))
    assert [record.position for record in whole] == list(range(2500))
    assert [record.value for record in whole] == table.to_pylist()
    bounds = [0, 1, 3, -1]
    parts = [parquet.records(Split("s", str(path), "a.parquet", *bounds[i : i + 2])) for i in range(3)]
    assert [(one.position, one.value) for part in parts for one in part] == [(one.position, one.value) for one in whole]


@pytest.mark.parametrize(("start", "stop"), [(0, 2500), (700, 701), (1199, 1900), (0, 0), (2400, 9999)])
def test_a_selection_has_its_rows_and_says_why_others_are_set_aside(tmp_path, start, stop):
    table = pa.table({"text": [f"{i}" for i in range(2500)]})
    path = tmp_path / "a.parquet"
    path.write_bytes(written(table, row_group_size=600))
    split = Split("s", str(path), "a.parquet", 0, -1)
    trial = Selection.trial(start, stop, {700: "why", 1500: "why"})
    seen = [record.position for record in parquet.records(split, trial)]
    assert seen == [row for row in range(2500)[start:stop] if row not in (700, 1500)]
    assert trial.seen == 2500
    records = list(parquet.records(split, Selection(poisoned={700: "why", 701: "why", 2499: "else"})))
    assert [record.position for record in records] == list(range(2500))
    aside = {record.position: (record.error, record.step) for record in records if record.value is None}
    assert aside == {700: ("why", "process"), 701: ("why", "process"), 2499: ("else", "process")}


def test_large_rows_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH_BYTES", 50_000)
    path = tmp_path / "a.parquet"
    path.write_bytes(written(pa.table({"text": ["x" * 10_000 + str(i) for i in range(40)]}), use_dictionary=False))
    sizes = []
    original = parquet._rows
    monkeypatch.setattr(parquet, "_rows", lambda batch, *more: sizes.append(batch.num_rows) or original(batch, *more))
    assert len(list(parquet.records(Split("s", str(path), "a.parquet", 0, -1)))) == 40
    assert max(sizes) <= 5


def test_a_file_without_rows_has_no_documents(reading):
    assert reading("a.parquet", written(pa.table({"text": pa.array([], pa.string())}))) == ([], [])


def test_nested_and_odd_types_are_kept_as_metadata(reading):
    table = pa.table(
        {
            "text": ["x"],
            "tags": [["a", "b"]],
            "nested": [{"deep": {"list": [1, None]}}],
            "when": [datetime.datetime(2024, 1, 2, 3, 4, 5)],
            "price": [Decimal("1.50")],
            "large": pa.array([2**63 + 5], pa.uint64()),
            "nothing": pa.nulls(1),
        }
    )
    documents, aside = reading("a.parquet", written(table))
    assert aside == []
    assert orjson.loads(documents[0]["metadata"]) == {
        "tags": ["a", "b"],
        "nested": {"deep": {"list": [1, None]}},
        "when": "2024-01-02T03:04:05",
        "price": "1.50",
        "large": 2**63 + 5,
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([datetime.date(2024, 1, 2)]), "2024-01-02"),
        (pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5)], pa.timestamp("ms")), "2024-01-02T03:04:05"),
        (pa.array([datetime.datetime(2024, 1, 2)], pa.timestamp("us", "UTC")), "2024-01-02T00:00:00+00:00"),
        (pa.array([20240102]), "20240102"),
    ],
)
def test_dates_are_written_out(reading, values: pa.Array, text: str):
    documents, aside = reading("a.parquet", written(pa.table({"text": ["x"], "date": values})))
    assert aside == []
    assert documents[0]["date"] == text


def test_two_columns_of_one_name_end_the_run(reading):
    table = pa.table([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(RunError, match="several columns called text"):
        reading("a.parquet", written(table))


def test_text_of_another_type_is_set_aside_with_its_row(reading):
    documents, aside = reading("a.parquet", written(pa.table({"text": [[1], None, [2]]})))
    assert documents == []
    assert aside[0] == ("a.parquet, row 0", "field text is a list, not text")
    assert aside[1] == ("a.parquet, row 1", "field text is null, not text")


def test_a_row_that_has_no_python_value_is_set_aside_alone(reading):
    raw = pa.array([b"good", b"caf\xe9", b"fine"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    documents, aside = reading("a.parquet", written(pa.table({"text": text})))
    assert [document["text"] for document in documents] == ["good", "fine"]
    assert len(aside) == 1
    assert aside[0][0] == "a.parquet, row 1"
    assert "the row cannot be read" in aside[0][1]
    far = pa.array([0, 10**15], pa.int64()).cast(pa.timestamp("s"))
    documents, aside = reading("b.parquet", written(pa.table({"text": ["a", "b"], "when": far})))
    assert [document["text"] for document in documents] == ["a"]
    assert [place for place, _ in aside] == ["b.parquet, row 1"]


@pytest.mark.parametrize("where", [10, -200])
def test_a_damaged_file_ends_the_run_or_is_set_aside_never_lost(tmp_path, where: int):
    table = pa.table({"text": [f"{i} {'x' * 50}" for i in range(3000)]})
    content = bytearray(written(table))
    at = where if where > 0 else len(content) + where
    content[at : at + 8] = b"\xff" * 8
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(RunError, match="Parquet file is damaged") as wrong:
        list(parquet.records(Split("s", str(path), "a.parquet", 0, -1)))
    assert wrong.value.where == str(path)


def test_a_file_cut_short_ends_the_run(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(written(pa.table({"text": ["x"] * 100}))[:-20])
    with pytest.raises(RunError, match="Parquet file is damaged"):
        list(parquet.records(Split("s", str(path), "a.parquet", 0, -1)))


def test_what_arrow_has_not_learned_to_read_ends_the_run_with_its_reason(tmp_path, monkeypatch):
    """As with turns of more than 2 GiB in one row group, which would take as much to write here."""

    def unable(*arguments: object, **options: object) -> None:
        raise pa.ArrowNotImplementedError("Nested data conversions not implemented for chunked array outputs")

    path = tmp_path / "a.parquet"
    path.write_bytes(written(pa.table({"text": ["x"]})))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", unable)
    with pytest.raises(RunError, match="Arrow cannot read: Nested data conversions") as wrong:
        list(parquet.records(Split("s", str(path), "a.parquet", 0, -1)))
    assert wrong.value.where == str(path)

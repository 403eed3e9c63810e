"""Columns come to what rows come to, or say that they cannot."""

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.document import SCHEMA
from midtrain.pipelines.readers import columns, parquet, records
from midtrain.pipelines.readers.documents import row
from midtrain.pipelines.readers.records import Builder, derived_id

TEXT = st.text(max_size=5)
VALUES = st.one_of(
    st.lists(TEXT | st.none(), min_size=6, max_size=6),
    st.lists(st.integers(-5, 2**40) | st.none(), min_size=6, max_size=6),
    st.lists(st.floats(allow_infinity=False) | st.none(), min_size=6, max_size=6),
    st.lists(st.booleans() | st.none(), min_size=6, max_size=6),
    st.lists(st.lists(TEXT, max_size=2) | st.none(), min_size=6, max_size=6),
    st.lists(st.dates() | st.datetimes() | st.none(), min_size=6, max_size=6),
    st.just([None] * 6),
)
NAMES = st.sampled_from(["id", "url", "date", "language", "body", "note", "tags", "text "])


def by_rows(rows: pa.RecordBatch, fields: dict[str, str]) -> pa.RecordBatch:
    builder = Builder("web")
    for number, value in enumerate(rows.to_pylist()):
        builder.add(derived_id("web", "f.parquet", 40 + number), row(value, fields), 1)
    return builder.take().batch


def taken(rows: pa.RecordBatch, fields: dict[str, str] | None = None) -> pa.RecordBatch | None:
    return columns.documents(rows, 40, "web", "f.parquet", fields or {})


@given(st.lists(TEXT, min_size=6, max_size=6), st.dictionaries(NAMES, VALUES, max_size=5), st.booleans())
def test_as_the_rows_say(texts: list[str], more: dict[str, list[Any]], mapped: bool):
    fields = {"url": "note"} if mapped and "note" in more else {}
    try:
        rows = pa.record_batch({"text": texts, **more})
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return  # dates and times in one column
    found = taken(rows, fields)
    if found is None:
        assert any(
            isinstance(value, list)
            for name in ("id", "url", "date", "language", "note")
            for value in more.get(name, [])
        )
    else:
        assert found.schema == SCHEMA
        found.validate(full=True)
        assert found.to_pylist() == by_rows(rows, fields).to_pylist()


@pytest.mark.parametrize(
    ("rows", "fields"),
    [
        ({"text": ["a", None]}, {}),
        ({"text": [1, 2]}, {}),
        ({"body": ["a", "b"]}, {}),
        ({"text": ["a", "b"]}, {"url": "link"}),
        ({"text": ["a", "b"], "id": [["x"], None]}, {}),
    ],
)
def test_rows_that_need_a_look_are_left(rows: dict[str, list[Any]], fields: dict[str, str]):
    assert taken(pa.record_batch(rows), fields) is None


def test_bytes_that_are_no_text_are_left():
    raw = pa.array([b"good", b"caf\xe9"])
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    assert taken(pa.record_batch({"text": text})) is None
    assert taken(pa.record_batch({"text": ["a", "b"], "url": text})) is None


def test_what_no_file_of_ours_can_hold_is_left(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(columns, "LARGEST", 10)
    assert taken(pa.record_batch({"text": ["a" * 10]})) is not None
    assert taken(pa.record_batch({"text": ["a" * 11]})) is None
    assert taken(pa.record_batch({"text": ["a"], "note": ["b" * 10]})) is None


def test_a_file_of_plain_documents_is_read_without_rows(reading, monkeypatch: pytest.MonkeyPatch, tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"text": [f"{number}" for number in range(3000)], "n": list(range(3000))}), path)
    expected, _ = reading("a.parquet", path.read_bytes())
    monkeypatch.setattr(parquet, "_rows", None)
    monkeypatch.setattr(records, "BATCH_BYTES", 1000)
    documents, aside = reading("a.parquet", path.read_bytes())
    assert aside == []
    assert documents == expected
    assert [document["metadata"] for document in documents[:2]] == ['{"n":0}', '{"n":1}']

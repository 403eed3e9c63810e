"""Parts: what is written is read back and counted, and nothing stands under its name before it is whole."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain import storage
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines import parts, read_parts
from midtrain.pipelines.dropped import DROPPED
from midtrain.pipelines.parts import PartWriter
from midtrain.pipelines.readers.records import Quarantined


def documents(texts, start=0):
    columns = {"id": [f"d{start + i}" for i in range(len(texts))], "text": list(texts), "source": ["web"] * len(texts)}
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA)


def dropped(rows):
    return pa.RecordBatch.from_pylist(
        [
            {"id": name, "source": "web", "step": "s", "rule": rule, "value": 1.0, "threshold": 2.0, "partner": None}
            | {"language": None, "bytes": len(name)}
            for name, rule in rows
        ],
        schema=DROPPED,
    )


def write(folder, texts=("one", "two", "three")):
    """Three documents kept, two dropped, one set aside."""
    with PartWriter(folder, 7, "web", SCHEMA) as writer:
        writer.read(6, 1000, 30)
        writer.keep(documents(texts))
        writer.drop("s", dropped([("x", "short"), ("y", "long")]))
        writer.set_aside([Quarantined("z", "web", "read", "not JSON", "file, byte 3")])
        return writer.finish()


def test_what_becomes_of_each_document_is_written_and_counted(tmp_path):
    result = write(tmp_path)
    assert [file.path for file in result.files] == [
        "part-00007.parquet",
        "dropped/part-00007.parquet",
        "quarantine/part-00007.jsonl",
    ]
    assert [(file.rows, file.source) for file in result.files] == [(3, "web"), (2, "web"), (1, "web")]
    for file in result.files:
        assert file == OutputFile.of(tmp_path, file.path, file.rows, "web")
    own = {
        "documents": 6,
        "kept": 3,
        "dropped": {"s.long": 1, "s.short": 1},
        "quarantined": 1,
        "bytes": 1000,
        "read_text_bytes": 30,
        "text_bytes": len("onetwothree"),
        "dropped_text_bytes": len("xy"),
    }
    languages = {"": {"kept": 3, "text_bytes": len("onetwothree")}}
    assert result.counts == {**own, "sources": {"web": {**own, "languages": languages}}}
    assert pq.read_table(tmp_path / "part-00007.parquet").to_pylist() == documents(("one", "two", "three")).to_pylist()
    assert pq.read_table(tmp_path / "dropped/part-00007.parquet").column("rule").to_pylist() == ["short", "long"]
    assert read_parts.quarantine_sample(tmp_path, result.files) == [
        {"id": "z", "source": "web", "step": "read", "error": "not JSON", "place": "file, byte 3"}
    ]


def test_equal_documents_give_equal_bytes(tmp_path):
    assert write(tmp_path / "one") == write(tmp_path / "two")


def test_a_task_without_documents_writes_nothing(tmp_path):
    with PartWriter(tmp_path, 0, "web", SCHEMA) as writer:
        writer.keep(documents(()))
        result = writer.finish()
    assert result.files == ()
    assert result.counts["sources"]["web"]["documents"] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [5, 7])
def test_documents_that_do_not_add_up_fail_the_task(tmp_path, read):
    with PartWriter(tmp_path, 0, "web", SCHEMA) as writer:
        writer.read(read, 10, 24)
        writer.keep(documents(["text"] * 6))
        with pytest.raises(RunError, match="lost or doubled") as caught:
            writer.finish()
    assert str(caught.value.expected) == f"{read} read"
    assert str(caught.value.seen).startswith("6 ")


def begun(folder):
    """A writer that has one row in each of its files."""
    writer = PartWriter(folder, 0, "web", SCHEMA)
    writer.keep(documents(["one"]))
    writer.drop("s", dropped([("x", "short")]))
    return writer


@pytest.mark.usefixtures("no_temporary")
@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_a_task_that_fails_leaves_nothing(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1)  # so that files have been begun

    def fail():
        with begun(tmp_path):
            assert len(list(tmp_path.rglob(".*.tmp"))) == 2
            raise kind

    with pytest.raises(kind):
        fail()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("no_temporary")
def test_where_closing_fails_too_the_other_file_is_abandoned_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1)

    def close(self):
        self.is_open = False
        raise OSError(28, "No space left on device")

    def fail():
        with begun(tmp_path):
            monkeypatch.setattr(pq.ParquetWriter, "close", close)
            raise RuntimeError

    with pytest.raises(OSError, match="No space"):
        fail()


@pytest.mark.parametrize("most", [1, 300, 1 << 20])
def test_row_groups_change_nothing_but_themselves(tmp_path, monkeypatch, most):
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", most)
    batches = [documents([f"text {start} {i}" for i in range(5)], start) for start in range(0, 50, 5)]
    with PartWriter(tmp_path, 0, "web", SCHEMA) as writer:
        for batch in batches:
            writer.read(batch.num_rows, 0, 0)
            writer.keep(batch)
        writer.finish()
    path = tmp_path / "part-00000.parquet"
    groups = pq.ParquetFile(path).num_row_groups
    assert groups == 10 if most == 1 else 1 if most > 10**6 else 1 < groups < 10
    found = pa.Table.from_batches(list(read_parts.read_part(path)), schema=SCHEMA)
    assert found.equals(pa.Table.from_batches(batches))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=8),
    st.data(),
)
def test_bytes_of_text_are_those_of_the_rows_kept(tmp_path_factory, texts, data):
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    writer = PartWriter(tmp_path_factory.getbasetemp(), 0, "web", SCHEMA)
    writer.keep(documents(texts).slice(start, stop - start))
    assert writer.text_bytes == sum(len(text.encode()) for text in texts[start:stop])


@pytest.mark.parametrize("cut", [1, 100])
def test_a_part_cut_short_is_an_error_that_names_it(tmp_path, cut):
    write(tmp_path)
    path = tmp_path / "part-00007.parquet"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RunError, match="damaged") as caught:
        list(read_parts.read_part(path))
    assert caught.value.where == str(path)


def test_a_part_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(RunError) as caught:
        list(read_parts.read_part(tmp_path / "part-00000.parquet"))
    assert caught.value.where == str(tmp_path / "part-00000.parquet")


def test_a_part_is_read_with_the_columns_asked_for(tmp_path):
    write(tmp_path)
    (batch,) = read_parts.read_part(tmp_path / "part-00007.parquet", ["id", "text"])
    assert batch.schema.names == ["id", "text"]


def test_kept_parts_are_told_from_the_rest_and_keep_their_order(tmp_path):
    names = ["part-00001.parquet", "dropped/part-00001.parquet", "quarantine/part-00001.jsonl", "part-00003.parquet"]
    files = tuple(OutputFile(name, 1, 1, "0") for name in names)
    found = read_parts.kept_parts(Manifest("s", 1, "f", files=files))
    assert [file.path for file in found] == ["part-00001.parquet", "part-00003.parquet"]


def test_a_sample_of_the_quarantine_is_bounded_and_in_order(tmp_path):
    files = []
    for task, count in enumerate((1, 0, 5)):
        with PartWriter(tmp_path, task, "web", SCHEMA) as writer:
            writer.read(count, 0, 0)
            writer.set_aside([Quarantined(f"{task}-{i}", "web", "read", "e", "p") for i in range(count)])
            files.extend(writer.finish().files)
    assert [row["id"] for row in read_parts.quarantine_sample(tmp_path, files, 3)] == ["0-0", "2-0", "2-1"]
    assert storage.exists(tmp_path / "quarantine")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 60), st.data())
def test_some_rows_are_read_of_parts_and_of_row_numbers(tmp_path_factory, count, data):
    folder = tmp_path_factory.mktemp("stages") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROW_GROUP_BYTES", 500)
        patch.setattr(read_parts, "SLICE_ROWS", 3)
        batch = documents([f"text {number}" for number in range(count)])
        with parts.PartWriter(folder, 0, "web", SCHEMA) as writer:
            writer.read(count, 0, 0)
            for row in range(count):
                writer.keep(batch.slice(row, 1))
            writer.finish()
        if not count:
            return
        path = folder / "part-00000.parquet"
        rows = data.draw(st.lists(st.integers(0, count - 1), unique=True).map(sorted))
        found = list(read_parts.read_rows(path, np.array(rows, np.int32), ["text"]))
        assert [text for one in found for text in one.column("text").to_pylist()] == [f"text {row}" for row in rows]
        kept = data.draw(st.lists(st.integers(0, count - 1), unique=True, min_size=1).map(sorted))
        other = folder.parent / "fewer"
        with parts.PartWriter(other, 0, "web", SCHEMA, rows_of=f"{folder.name}/part-00000.parquet") as writer:
            writer.read(len(kept), 0, 0)
            writer.keep_rows(np.array(kept, np.int32), batch.take(pa.array(kept)))
            writer.finish()
        some = data.draw(st.lists(st.integers(0, len(kept) - 1), unique=True).map(sorted))
        found = list(read_parts.read_rows(other / "rows/part-00000.parquet", np.array(some, np.int32), ["text"]))
        assert [text for one in found for text in one.column("text").to_pylist()] == [
            f"text {kept[row]}" for row in some
        ]

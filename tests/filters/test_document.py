"""DocumentBatch holds what it promises: its columns, zero-copy views of sliced batches, and shared views."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA, DocumentBatch

Make = Callable[[Sequence[str]], DocumentBatch]
TEXTS = ["hello wide  world\n", "", "zweiter Text\r\nmit Zeilen", "\u3000", "ein\u2028ende…"]


def texts_of(batch: DocumentBatch) -> list[str]:
    offsets = batch.text_offsets.tolist()
    return [batch.text_bytes[a:b].tobytes().decode() for a, b in pairwise(offsets)]


@pytest.mark.parametrize(("start", "length"), [(0, 5), (2, 3), (1, 1), (4, 1), (5, 0), (0, 0)])
def test_views_of_a_sliced_batch_are_those_of_its_documents(make_batch: Make, start: int, length: int) -> None:
    batch = DocumentBatch(make_batch(TEXTS).record_batch.slice(start, length))
    texts = TEXTS[start : start + length]
    assert len(batch) == length
    assert texts_of(batch) == texts
    assert np.diff(batch.chunks.ends, prepend=0).tolist() == [len(text.split()) for text in texts]
    assert np.diff(batch.lines.ends, prepend=0).tolist() == [len(text.splitlines()) for text in texts]
    digests = [xxhash.xxh3_128_intdigest(text.encode()) for text in texts]
    assert [low | high << 64 for low, high in batch.hashes.tolist()] == digests
    assert batch.hashes.shape == (length, 2)
    assert batch.hashes.dtype == np.uint64


def test_text_is_not_copied(make_batch: Make) -> None:
    batch = make_batch(TEXTS)
    address = batch.column("text").buffers()[2].address
    assert batch.text_bytes.ctypes.data == address
    assert not batch.text_bytes.flags.writeable
    assert not batch.text_offsets.flags.writeable


def test_views_are_computed_once_and_shared_when_another_column_changes(make_batch: Make) -> None:
    batch = make_batch(TEXTS)
    words, hashes = batch.chunks, batch.hashes
    scored = batch.with_column("score.test.one", np.arange(5.0))
    assert scored.chunks is words
    assert scored.hashes is hashes
    assert scored.column("score.test.one").to_pylist() == [0, 1, 2, 3, 4]
    assert "score.test.one" not in batch.record_batch.schema.names
    again = scored.with_column("score.test.one", np.zeros(5))
    assert again.column("score.test.one").to_pylist() == [0] * 5
    assert again.record_batch.schema.names == scored.record_batch.schema.names


def test_a_new_text_column_has_new_views(make_batch: Make) -> None:
    batch = make_batch(["one two", "three"])
    assert len(batch.chunks) == 3
    changed = batch.with_column("text", pa.array(["a b c d", ""], pa.large_string()))
    assert len(changed.chunks) == 4
    with pytest.raises(RunError, match="null"):
        batch.with_column("text", pa.array(["a", None], pa.large_string()))


def test_keep_takes_the_documents_in_order(make_batch: Make) -> None:
    batch = make_batch(TEXTS)
    kept = batch.keep(np.array([True, False, True, False, True]))
    assert kept.column("id").to_pylist() == ["d0", "d2", "d4"]
    assert texts_of(kept) == [TEXTS[0], TEXTS[2], TEXTS[4]]
    assert batch.keep(np.ones(5, bool)) is batch
    assert len(batch.keep(np.zeros(5, bool))) == 0
    for mask in (np.ones(4, bool), np.ones(5, np.int64)):
        with pytest.raises(RunError, match="mask"):
            batch.keep(mask)


def test_columns_are_checked(make_batch: Make) -> None:
    record_batch = make_batch(TEXTS).record_batch
    with pytest.raises(RunError, match="column url once"):
        DocumentBatch(record_batch.drop_columns(["url"]))
    with pytest.raises(RunError, match="column text has the wrong type"):
        DocumentBatch(record_batch.set_column(1, "text", pa.array(TEXTS, pa.string())))
    with pytest.raises(RunError, match="column id once"):
        DocumentBatch(record_batch.append_column("id", record_batch.column("id")))
    with pytest.raises(RunError, match=r"score\.a\.b has the wrong type"):
        DocumentBatch(record_batch.append_column("score.a.b", pa.array([1] * 5)))
    with pytest.raises(RunError, match="one name"):
        DocumentBatch(record_batch.append_column("x", pa.array(TEXTS)).append_column("x", pa.array(TEXTS)))
    batch = DocumentBatch(record_batch)
    with pytest.raises(RunError, match="did you mean language"):
        batch.column("langauge")
    with pytest.raises(RunError, match="5"):
        batch.with_column("score.a.b", np.zeros(4))
    with pytest.raises(RunError, match="language has the wrong type"):
        batch.with_column("language", np.zeros(5))


@pytest.mark.parametrize("name", ["id", "text", "source"])
def test_a_null_where_none_may_be_is_an_error_that_names_the_document(make_batch: Make, name: str) -> None:
    record_batch = make_batch(TEXTS).record_batch
    place = record_batch.schema.get_field_index(name)
    values = record_batch.column(name).to_pylist()
    values[3] = None
    field = pa.field(name, SCHEMA.field(name).type)
    broken = record_batch.set_column(place, field, pa.array(values, field.type))
    with pytest.raises(RunError, match=f"{name} of 1 of 5 documents is null") as raised:
        DocumentBatch(broken)
    assert ("d3" in raised.value.where) == (name != "id")


def test_text_that_is_not_utf8_is_an_error_that_names_the_document(make_batch: Make) -> None:
    record_batch = make_batch(["ok", "bad", "ok"]).record_batch
    offsets = pa.py_buffer(np.array([0, 2, 5, 7], np.int64))
    text = pa.Array.from_buffers(pa.large_string(), 3, [None, offsets, pa.py_buffer(b"okb\xffdok")])
    broken = record_batch.set_column(1, SCHEMA.field("text"), text)
    with pytest.raises(RunError, match="UTF-8") as raised:
        DocumentBatch(broken)
    assert raised.value.where == "document d1 of source test"
    # One broken document does not take its neighbours with it: each can be tried on its own.
    assert texts_of(DocumentBatch(broken.slice(2, 1))) == ["ok"]


def test_parquet_gives_back_a_batch(make_batch: Make, tmp_path: object) -> None:
    import pyarrow.parquet as pq

    batch = make_batch(TEXTS).with_column("score.a.b", np.linspace(0, 1, 5))
    path = f"{tmp_path}/part.parquet"
    pq.write_table(pa.Table.from_batches([batch.record_batch]), path)
    (read,) = pq.read_table(path).to_batches()
    assert texts_of(DocumentBatch(read)) == TEXTS


def test_a_column_that_is_replaced_stays_as_nullable_as_it_was(make_batch: Make) -> None:
    batch = make_batch(["a", "b"])
    changed = batch.with_column("text", pa.array(["c", "d"], pa.large_string()))
    assert changed.record_batch.schema == batch.record_batch.schema
    assert changed.column("text").to_pylist() == ["c", "d"]

"""Shards: what is written is read back, loss bits are those of plain Python, and every damaged file is noticed."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.manifest import OutputFile
from midtrain.mixtures import shard_writer
from midtrain.mixtures import shards as shards_module
from midtrain.mixtures.parts_table import PART, TABLES, part_records, write_table
from midtrain.mixtures.shard_writer import write_part
from midtrain.mixtures.shards import DOCUMENTS, Shards
from midtrain.mixtures.text_spans import SPANS

END = 3
UINT16, UINT32 = np.dtype(np.uint16), np.dtype(np.uint32)


def tabled(folder: Path, dtype=UINT16) -> None:
    """Writes the tables of the parts that lie in a folder."""
    files = [OutputFile.of(folder, path.name, rows_of(path)) for path in sorted(folder.glob("*-*.*"))]
    for kind in TABLES:
        highs = {path.name[len(kind) + 1 :].partition(".")[0]: 7 for path in folder.glob(f"{kind}-*.tokens")}
        write_table(folder, kind, part_records(kind, files, highs, dtype.itemsize))


def rows_of(path: Path) -> int:
    return (path.parent / f"{path.name.partition('.')[0]}.ends").stat().st_size // 8


def opened(folder: Path, dtype=UINT16, kind="part") -> Shards:
    """The parts that lie in a folder, with a table made of them."""
    tabled(folder, dtype)
    return Shards.open(folder, dtype, kind)


def documents_of(ends: np.ndarray) -> pa.Table:
    starts = np.concatenate([[0], ends[:-1].astype(np.int64)])
    count = len(ends)
    columns = {
        "id": [f"id{i}" for i in range(count)],
        "mixture_source": ["web"] * count,
        "source": ["docs"] * count,
        "url": [None if i % 2 else f"https://example.org/{i}" for i in range(count)],
        "start": starts,
        "tokens": ends.astype(np.int64) - starts,
        "bytes": list(range(count)),
        "spans": [[]] * count,
    }
    return pa.table(columns, schema=DOCUMENTS)


def batch(lengths: list[int], seed: int = 0, words: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens of documents of these lengths (end of document included), and their ends."""
    ends = np.cumsum(lengths).astype(np.uint64)
    tokens = np.random.default_rng(seed).integers(END + 1, words, int(ends[-1])).astype(np.uint32)
    tokens[ends.astype(np.int64) - 1] = END
    return tokens, ends


def write(folder: Path, lengths=(5, 1, 9), dtype=UINT16, loss=None, stem="part-00000", seed=0, words=1000):
    tokens, ends = batch(list(lengths), seed, words)
    loss = np.ones(len(tokens), np.bool_) if loss is None else np.array(loss, np.bool_)
    paths = write_part(folder, stem, dtype, tokens, ends, loss, documents_of(ends), end_of_document=END)
    return tokens, ends, paths


@pytest.mark.parametrize(("dtype", "words"), [(UINT16, 65_536), (UINT32, 150_000)])
def test_what_is_written_is_read_back(tmp_path, dtype, words):
    tokens, ends, paths = write(tmp_path, (40, 1, 7), dtype, words=words)
    assert [path.name for path in paths] == ["part-00000.tokens", "part-00000.ends", "part-00000.documents.parquet"]
    shards = opened(tmp_path, dtype)
    assert [(part.tokens, part.documents, part.masked) for part in shards.parts] == [(48, 3, False)]
    assert shards.tokens(0).tolist() == tokens.tolist()
    assert shards.ends(0).tolist() == ends.tolist()
    assert shards.read(0, 40, 8).tolist() == tokens[40:48].tolist()
    assert shards.read(0, 0, 5).dtype == dtype
    assert shards.documents(0).equals(documents_of(ends))
    assert shards.documents(0, ["tokens", "id"]).to_pydict() == {"tokens": [40, 1, 7], "id": ["id0", "id1", "id2"]}


def test_the_bytes_on_disk_are_the_documented_ones(tmp_path):
    tokens = np.array([258, END, 65_535, END], np.uint32)
    ends = np.array([2, 4], np.uint64)
    loss = np.array([False, True, True, False])
    write_part(tmp_path, "part-00000", UINT16, tokens, ends, loss, documents_of(ends), end_of_document=END)
    assert (tmp_path / "part-00000.tokens").read_bytes() == bytes([2, 1, 3, 0, 255, 255, 3, 0])
    assert (tmp_path / "part-00000.ends").read_bytes() == bytes([2, *[0] * 7, 4, *[0] * 7])
    assert (tmp_path / "part-00000.loss").read_bytes() == bytes([0b0110])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"part-00000.{ending}" for ending in ("tokens", "ends", "loss", "documents.parquet")
    )


def test_tokens_are_a_view_of_the_map_and_cannot_be_written(tmp_path):
    write(tmp_path)
    shards = opened(tmp_path, UINT16)
    view = shards.read(0, 3, 6)
    assert np.shares_memory(view, shards.tokens(0))
    assert not view.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1


@settings(deadline=None, max_examples=80)
@given(st.lists(st.booleans(), min_size=1, max_size=70).filter(lambda bits: not all(bits)), st.data())
def test_loss_bits_are_those_of_plain_python(tmp_path_factory, bits, data):
    folder = tmp_path_factory.mktemp("loss")
    write(folder, [len(bits)], loss=bits)
    reference = bytearray((len(bits) + 7) // 8)
    for position, bit in enumerate(bits):
        reference[position // 8] |= bit << (position % 8)
    assert (folder / "part-00000.loss").read_bytes() == bytes(reference)
    shards = opened(folder, UINT16)
    start = data.draw(st.integers(0, len(bits)))
    length = data.draw(st.integers(0, len(bits) - start))
    seen = shards.loss(0, start, length)
    assert seen.dtype == np.bool_
    assert seen.tolist() == bits[start : start + length]


def test_where_all_is_trained_there_is_no_mask_and_a_stale_one_goes(tmp_path):
    write(tmp_path, [4], loss=[True, False, True, True])
    assert (tmp_path / "part-00000.loss").exists()
    write(tmp_path, [4])
    assert not (tmp_path / "part-00000.loss").exists()
    assert opened(tmp_path, UINT16).loss(0, 1, 3).tolist() == [True] * 3


def test_spans_of_an_index_file_are_unsigned_scalars(tmp_path):
    tokens, _, _ = write(tmp_path, [20], loss=[True] * 19 + [False])
    shards = opened(tmp_path, UINT16)
    assert shards.read(0, np.uint64(17), np.uint32(3)).tolist() == tokens[17:].tolist()
    assert shards.loss(0, np.uint64(17), np.uint32(3)).tolist() == [True, True, False]


@pytest.mark.parametrize(("start", "length"), [(-1, 2), (14, 2), (16, 0), (3, -1), (np.uint64(15), np.uint32(1))])
def test_a_span_outside_its_part_is_an_error_and_not_shorter(tmp_path, start, length):
    write(tmp_path, loss=[True] * 14 + [False])
    shards = opened(tmp_path, UINT16)
    for read in (shards.read, shards.loss):
        with pytest.raises(RunError, match="reaches outside its part"):
            read(0, start, length)


def test_parts_and_held_out_lie_side_by_side(tmp_path):
    first, _, _ = write(tmp_path, seed=1)
    second, _, _ = write(tmp_path, [3], seed=2, stem="part-00001", loss=[False, True, True])
    apart, _, _ = write(tmp_path, [6, 2], seed=3, stem="held_out-00000")
    trained = opened(tmp_path, UINT16)
    held_out = opened(tmp_path, UINT16, "held_out")
    assert [(p.stem, p.masked) for p in trained.parts] == [("part-00000", False), ("part-00001", True)]
    assert [trained.tokens(i).tolist() for i in (0, 1)] == [first.tolist(), second.tolist()]
    assert [p.stem for p in held_out.parts] == ["held_out-00000"]
    assert held_out.tokens(0).tolist() == apart.tolist()


def test_no_parts_of_a_kind_are_no_parts(tmp_path):
    write(tmp_path)
    assert len(opened(tmp_path, UINT16, "held_out").parts) == 0
    (tmp_path / "parts").unlink()
    with pytest.raises(RunError, match="their table is missing"):
        Shards.open(tmp_path, UINT16)


def test_a_copy_in_another_process_maps_the_files_anew(tmp_path):
    tokens, _, _ = write(tmp_path, [50_000, 2])
    shards = opened(tmp_path, UINT16)
    shards.tokens(0)
    shards.ends(0)
    packed = pickle.dumps(shards)
    assert len(packed) < 1_000
    assert pickle.loads(packed).read(0, 49_990, 12).tolist() == tokens[49_990:].tolist()


ENDINGS = ["tokens", "ends", "loss", "documents.parquet"]


@pytest.mark.parametrize("checked", [4096, 0])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("change", ["cut short", "grown", "missing", "empty"])
def test_a_file_that_is_not_as_recorded_is_named(tmp_path, ending, change, checked, monkeypatch):
    """When it is opened; of many parts, when one is first read."""
    monkeypatch.setattr(shards_module, "CHECKED_PARTS", checked)
    write(tmp_path, loss=[False] * 15)
    tabled(tmp_path)
    path = tmp_path / f"part-00000.{ending}"
    content = path.read_bytes()
    new = {"cut short": content[:-1], "grown": content + b"\0", "missing": None, "empty": b""}[change]
    path.unlink()
    if new is not None:
        path.write_bytes(new)
    expected = {"empty": "cut short"}.get(change, change)
    shards = None if checked else Shards.open(tmp_path, UINT16)
    with pytest.raises(RunError, match=f"shard {expected}") as error:
        shards.tokens(0) if shards else Shards.open(tmp_path, UINT16)
    message = str(error.value)
    assert str(path) in message
    assert f"{len(content):,} bytes, as recorded" in message
    assert ("no file" if new is None else f"{len(new):,} bytes\n") in message
    assert "build again" in message


@pytest.mark.parametrize("ending", ["tokens", "ends", "documents.parquet"])
def test_a_part_without_one_of_its_files_gets_no_record(tmp_path, ending):
    write(tmp_path)
    files = [OutputFile.of(tmp_path, path.name, 3) for path in tmp_path.iterdir() if not path.name.endswith(ending)]
    with pytest.raises(RunError, match=f"not part-00000.{ending}"):
        part_records("part", files, {"00000": 7}, 2)


def test_parts_with_a_gap_get_no_table(tmp_path):
    write(tmp_path)
    write(tmp_path, stem="part-00002")
    with pytest.raises(RunError, match="gaps"):
        tabled(tmp_path)


def test_the_table_is_the_documented_one(tmp_path):
    write(tmp_path, (40, 1, 7))
    write(tmp_path, (5,), stem="part-00001", loss=[False, True, True, True, False])
    opened(tmp_path)
    sizes = [(tmp_path / f"part-0000{part}.documents.parquet").stat().st_size for part in (0, 1)]
    records = [(48, 3, 0, sizes[0], 7), (5, 1, 1, sizes[1], 7)]
    assert PART.itemsize == 33
    assert (tmp_path / "parts").read_bytes() == b"".join(
        value.to_bytes(1 if place == 2 else 8, "little") for row in records for place, value in enumerate(row)
    )
    assert (tmp_path / "held_out.parts").read_bytes() == b""


@pytest.mark.parametrize(
    ("column", "value", "complaint"),
    [("tokens", 0, "0 tokens, 3"), ("documents", 0, "15 tokens, 0"), ("tokens", 2**28 + 1, "268,435,457 tokens")],
)
def test_a_table_of_parts_that_cannot_be_is_refused(tmp_path, column, value, complaint):
    write(tmp_path)
    tabled(tmp_path)
    table = np.fromfile(tmp_path / "parts", PART)
    table[column] = value
    table.tofile(tmp_path / "parts")
    with pytest.raises(RunError, match=complaint):
        Shards.open(tmp_path, UINT16)
    (tmp_path / "parts").write_bytes(bytes(34))
    with pytest.raises(RunError, match="whole records"):
        Shards.open(tmp_path, UINT16)


def test_opening_looks_at_no_file_of_a_part_where_there_are_many(tmp_path):
    table = np.zeros(100_001, PART)
    table["tokens"], table["documents"], table["documents_bytes"] = 15, 3, 1000
    write_table(tmp_path, "part", table)
    shards = Shards.open(tmp_path, UINT16)
    assert len(shards.parts) == 100_001
    assert shards.parts[-1].stem == shards.stem(100_000) == "part-100000"
    assert [part.stem for part in shards.parts[99_998:100_000]] == ["part-99998", "part-99999"]
    assert shards.part_tokens.sum() == 1_500_015
    with pytest.raises(RunError, match=r"part-100000\.tokens[\s\S]*no file"):
        shards.read(100_000, 0, 3)
    write(tmp_path, stem="part-100000")
    size = (tmp_path / "part-100000.documents.parquet").stat().st_size
    table["documents_bytes"][100_000] = size
    write_table(tmp_path, "part", table)
    assert Shards.open(tmp_path, UINT16).read(100_000, 0, 3).shape == (3,)


@pytest.mark.parametrize("ending", ["tokens", "ends", "loss"])
def test_files_of_equal_record_but_unequal_parts_contradict_one_another(tmp_path, ending):
    write(tmp_path, loss=[False] * 15)
    write(tmp_path / "other", [5, 1, 9, 8], loss=[False] * 23)
    name = f"part-00000.{ending}"
    (tmp_path / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(RunError, match=r"shard (cut short|grown)|does not end with the last token"):
        opened(tmp_path)


def test_ends_of_another_part_with_as_many_documents_are_refused(tmp_path):
    write(tmp_path)
    tabled(tmp_path)
    np.array([5, 6, 14], "<u8").tofile(tmp_path / "part-00000.ends")
    with pytest.raises(RunError, match="does not end with the last token"):
        Shards.open(tmp_path, UINT16)


def test_tokens_read_with_another_width_are_refused(tmp_path):
    write(tmp_path)
    tabled(tmp_path)
    with pytest.raises(RunError, match="shard cut short"):
        Shards.open(tmp_path, UINT32)


def test_ends_that_do_not_ascend_are_refused(tmp_path):
    write(tmp_path)
    np.array([6, 5, 15], "<u8").tofile(tmp_path / "part-00000.ends")
    shards = opened(tmp_path, UINT16)
    with pytest.raises(RunError, match="do not ascend"):
        shards.ends(0)


def test_documents_that_contradict_the_ends_are_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "part-00000.documents.parquet"
    pq.write_table(documents_of(np.array([5, 7, 15], np.uint64)), path)
    with pytest.raises(RunError, match=r"documents.parquet, row 2: a document's start contradicts"):
        opened(tmp_path, UINT16).documents(0)
    assert opened(tmp_path, UINT16).documents(0, ["id"]).num_rows == 3
    pq.write_table(documents_of(np.array([5, 15], np.uint64)), path)
    with pytest.raises(RunError, match="not as many documents as ends"):
        opened(tmp_path, UINT16).documents(0, ["id"])
    pq.write_table(pa.table({"id": [1, 2, 3]}), path)
    with pytest.raises(RunError, match="columns are not those"):
        opened(tmp_path, UINT16).documents(0, ["id"])
    path.write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    with pytest.raises(RunError, match=r"cannot be read"):
        opened(tmp_path, UINT16).documents(0)


def test_equal_parts_are_equal_bytes_however_the_table_is_chunked(tmp_path):
    tokens, ends = batch([3] * 60_000)
    loss = np.zeros(len(tokens), np.bool_)
    long_ids = pa.array([f"{i * 2_654_435_761 % 2**32:032x}" for i in range(60_000)])  # more than a Parquet page
    whole = documents_of(ends).set_column(0, DOCUMENTS.field("id"), long_ids)
    pieces = pa.concat_tables([whole.slice(i, 77) for i in range(0, 60_000, 77)])
    assert pieces["id"].num_chunks > 1
    for name, table in (("a", whole), ("b", pieces.replace_schema_metadata({"made": "today"}))):
        write_part(tmp_path / name, "part-00000", UINT16, tokens, ends, loss, table, end_of_document=END)
    for ending in ENDINGS:
        name = f"part-00000.{ending}"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def broken(what: str) -> dict[str, object]:
    """A part's arguments with one thing wrong."""
    tokens, ends = batch([5, 1, 9])
    loss = np.ones(15, np.bool_)
    documents = documents_of(ends)
    dtype: object = UINT16
    match what:
        case "descend":
            ends = np.array([6, 5, 15], np.uint64)
        case "empty document":
            ends = np.array([5, 5, 15], np.uint64)
        case "starts empty":
            ends = np.array([0, 5, 15], np.uint64)
        case "not to the end":
            ends = np.array([5, 6, 14], np.uint64)
        case "no ends":
            ends = np.zeros(0, np.uint64)
        case "no tokens":
            tokens, ends, loss = tokens[:0], ends[:0], loss[:0]
        case "wide":
            tokens[1] = 65_536
        case "no end of document":
            tokens[5] = 9
        case "end inside":
            tokens[2] = END
        case "loss":
            loss = loss[:-1]
        case "dtype":
            dtype = np.dtype(np.int32)
        case "signed":
            tokens = tokens.astype(np.int64)
        case "rows":
            documents = documents.slice(1)
        case "starts":
            documents = documents_of(np.array([5, 7, 15], np.uint64))
        case "columns":
            documents = documents.drop_columns(["url"])
        case "null":
            column = pa.array(["a", None, "c"])
            arrays = [column if name == "id" else documents[name] for name in documents.column_names]
            documents = pa.Table.from_arrays(arrays, schema=DOCUMENTS)
    return {"dtype": dtype, "tokens": tokens, "ends": ends, "loss": loss, "documents": documents}


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("descend", "do not ascend"),
        ("empty document", "do not ascend"),
        ("starts empty", "do not ascend"),
        ("not to the end", "the last 14"),
        ("no ends", "0 ends, the last missing"),
        ("no tokens", "0 tokens"),
        ("wide", r"does not fit uint16[\s\S]*65,536"),
        ("no end of document", r"document 1: a document does not end[\s\S]*seen:     9"),
        ("end inside", r"inside documents[\s\S]*4 of them[\s\S]*3, one a document"),
        ("loss", "not a loss bit for every token"),
        ("dtype", "not a width"),
        ("signed", "int64, uint64, bool"),
        ("rows", "not as many documents"),
        ("starts", "row 1: a document's tokens|row 2: a document's start"),
        ("columns", "columns are not those"),
        ("null", "documents without id"),
    ],
)
def test_a_part_that_contradicts_itself_is_not_written(tmp_path, what, complaint):
    with pytest.raises(RunError, match=complaint) as error:
        write_part(tmp_path, "part-00000", **broken(what), end_of_document=END)
    assert str(tmp_path / "part-00000") in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "stem", ["part-0", "part-000000", "part-012345", "../part-00000", "part-00000.tokens", "other-00000"]
)
def test_a_stem_is_part_or_held_out_and_five_digits(tmp_path, stem):
    with pytest.raises(RunError, match="not a part's name"):
        write(tmp_path, stem=stem)


def test_a_part_holds_so_many_tokens_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "MAX_TOKENS", 15)
    write(tmp_path)
    with pytest.raises(RunError, match=r"16 tokens[\s\S]*1 to 15"):
        write(tmp_path, (5, 1, 10), stem="part-00001")


def test_the_largest_part_is_2_to_the_28_tokens():
    assert shard_writer.MAX_TOKENS == 268_435_456


def test_a_write_that_fails_leaves_no_file_under_a_final_name(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_writer.pq, "write_table", lambda *_, **__: full())
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part-00000.ends", "part-00000.tokens"]


@pytest.mark.skipif(sys.byteorder != "little", reason="compares with the machine's own layout")
def test_a_part_of_another_machine_is_the_same_file(tmp_path):
    tokens, _, _ = write(tmp_path)
    assert (tmp_path / "part-00000.tokens").read_bytes() == tokens.astype(np.uint16).tobytes()


@pytest.mark.parametrize(
    "spans",
    [[(1, 1)], [(2, 1)], [(0, 5)], [(1, 3), (2, 4)], [(2, 3), (0, 1)]],
    ids=["empty", "back", "end", "over", "order"],
)
def test_spans_that_do_not_follow_one_another_within_a_document_are_refused(tmp_path, spans):
    tokens, ends = batch([3, 5, 4])
    loss = np.ones(len(tokens), np.bool_)

    def documents(given):
        rows = [{"turn": 0, "part": 2, "start": start, "stop": stop} for start, stop in given]
        column = pa.array([[], rows, []], SPANS)
        return documents_of(ends).set_column(7, DOCUMENTS.field("spans"), column)

    with pytest.raises(RunError, match="do not follow one another within their document") as caught:
        write_part(tmp_path, "part-00000", UINT16, tokens, ends, loss, documents(spans), end_of_document=END)
    assert caught.value.where.endswith("document 1")
    write_part(tmp_path, "part-00000", UINT16, tokens, ends, loss, documents([(0, 2), (2, 4)]), end_of_document=END)

"""Files of tokens of others: what datatrove itself writes comes back document by document, and damage is named."""

import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import token_files
from midtrain.mixtures.token_files import find

DOCUMENTS = st.lists(st.lists(st.integers(0, 65_000), min_size=0, max_size=9), min_size=1, max_size=12)


def write_datatrove(folder: Path, name: str, documents, width: int = 2, loss=None) -> Path:
    """As datatrove's own writer does."""
    from datatrove.pipeline.tokens.tokenizer import TokenizedFile

    file = TokenizedFile(str(folder), name, save_loss_metadata=loss is not None, token_size=width)
    for number, document in enumerate(documents):
        file.write(document, None if loss is None else np.array(loss[number], np.bool_))
    file.close()
    return folder / name


def write_megatron(folder: Path, name: str, documents, width: int = 2) -> Path:
    """As datatrove's own writer for Megatron does: a sequence a document."""
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronTokenizedFile

    file = MegatronTokenizedFile(str(folder), name, token_size=width)
    for document in documents:
        file.write(document)
    file.close()
    return folder / f"{name}.bin"


def write_index(path: Path, lengths, first, code=8, version=1, places=None, width=2, modes=b"") -> None:
    """An .idx by hand: several sequences a document, and what is wrong on purpose."""
    starts = np.cumsum([0, *lengths[:-1]]) * width if places is None else places
    head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", version, code, len(lengths), len(first))
    arrays = [np.array(lengths, "<i4"), np.array(starts, "<i8"), np.array(first, "<i8")]
    path.write_bytes(head + b"".join(one.tobytes() for one in arrays) + modes)


def read(file):
    """All documents of a file as lists, and their losses."""
    found = file.read(0, len(file.ends))
    edges = [0, *found.ends.tolist()]
    pairs = list(pairwise(edges))
    documents = [found.ids[a:b].tolist() for a, b in pairs]
    return documents, None if found.loss is None else [found.loss[a:b].tolist() for a, b in pairs]


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.sampled_from([2, 4]), st.booleans(), st.integers(0, 11), st.integers(0, 12))
def test_what_datatrove_writes_comes_back(tmp_path_factory, documents, width, trained, first, stop):
    folder = tmp_path_factory.mktemp("ds")
    loss = [[token % 3 == 0 for token in document] for document in documents] if trained else None
    write_datatrove(folder, "x.ds", documents, width, loss)
    (file,) = find(str(folder))
    assert read(file) == (documents, loss)
    assert file.dtype.itemsize == (width if any(documents) else 2)
    first, stop = min(first, len(documents)), min(max(first, stop), len(documents))
    some = file.read(first, stop)
    assert some.ids.tolist() == [token for document in documents[first:stop] for token in document]
    assert some.ends.tolist() == np.cumsum([len(one) for one in documents[first:stop]]).tolist()


@settings(max_examples=40, deadline=None)
@given(DOCUMENTS, st.sampled_from([2, 4]))
def test_what_is_written_for_megatron_comes_back(tmp_path_factory, documents, width):
    folder = tmp_path_factory.mktemp("bin")
    path = write_megatron(folder, "x", documents, width)
    (file,) = find(str(folder))
    assert read(file) == (documents, None)
    assert file.dtype == (np.uint16 if width == 2 else np.int32)
    for name in (path, str(path).removesuffix(".bin")):
        assert [one.path for one in find(str(name))] == [str(path)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=9),
    st.integers(1, 5),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_any_stretch_of_an_index_is_read_whatever_is_looked_at_at_a_time(tmp_path_factory, documents, block, one, two):
    """Documents of several sequences, some of them empty, and what datatrove's index has of the same."""
    folder = tmp_path_factory.mktemp("both")
    lengths = [length for document in documents for length in document]
    first = np.cumsum([0, *map(len, documents)])
    ends = np.cumsum([sum(document) for document in documents])
    (folder / "x.bin").write_bytes(bytes(2 * sum(lengths)))
    write_index(folder / "x.idx", lengths, first, places=np.cumsum([0, *lengths])[:-1] * 2)
    (folder / "x.ds").write_bytes(bytes(2 * sum(lengths)))
    ends.astype("<u8").tofile(folder / "x.ds.index")
    start, stop = min(one, two, len(documents)), min(max(one, two), len(documents))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_files, "_BLOCK", block)
        for file in (*find(str(folder / "x.bin")), *find(str(folder / "x.ds"))):
            assert file.documents == len(documents)
            assert file.ends.tolist() == ends.tolist()
            before = int(ends[start - 1]) if start else 0
            assert file.read(start, stop).ends.tolist() == (ends[start:stop] - before).tolist()


@pytest.mark.parametrize("block", [1, 2, 3, 100])
@pytest.mark.parametrize("at", range(1, 7))
def test_an_end_before_the_one_in_front_of_it_is_seen_wherever_it_stands(tmp_path, monkeypatch, block, at):
    monkeypatch.setattr(token_files, "_BLOCK", block)
    ends = np.arange(1, 8, dtype="<u8") * 3
    ends[at - 1 : at + 1] = ends[at - 1 : at + 1][::-1].copy()
    ends.tofile(tmp_path / "x.ds.index")
    (tmp_path / "x.ds").write_bytes(bytes(42))
    with pytest.raises(RunError, match="do not ascend"):
        find(str(tmp_path))[0].read(0, 1)


@pytest.mark.parametrize("block", [1, 2, 100])
@pytest.mark.parametrize("at", range(6))
def test_a_sequence_that_stands_elsewhere_is_seen_wherever_it_is(tmp_path, monkeypatch, block, at):
    monkeypatch.setattr(token_files, "_BLOCK", block)
    (tmp_path / "x.bin").write_bytes(bytes(36))
    places = np.arange(6) * 6
    places[at] += 2
    write_index(tmp_path / "x.idx", [3] * 6, range(7), places=places)
    with pytest.raises(RunError, match="do not stand one behind the other"):
        find(str(tmp_path))[0].read(0, 1)


@pytest.mark.parametrize("form", ["datatrove", "megatron"])
def test_no_list_of_all_documents_is_held(tmp_path, form):
    """A worker goes through the files of a source, and a driver looks at all of them."""
    count = 100_000
    for number in range(12):
        if form == "datatrove":
            (tmp_path / f"{number}.ds").write_bytes(bytes(2 * count))
            np.arange(1, count + 1, dtype="<u8").tofile(tmp_path / f"{number}.ds.index")
        else:
            (tmp_path / f"{number}.bin").write_bytes(bytes(2 * count))
            write_index(tmp_path / f"{number}.idx", np.ones(count, int), range(count + 1))
    files = find(str(tmp_path))
    tracemalloc.start()
    try:
        for file in files:
            file.check()
            assert len(file.read(count - 9, count).ends) == 9
            assert int(file.ends[-1]) == count
        assert tracemalloc.get_traced_memory()[0] < 8 * count
    finally:
        tracemalloc.stop()


def test_an_index_that_was_written_anew_is_read_anew(tmp_path):
    write_datatrove(tmp_path, "x.ds", [[1, 2, 3], [4]])
    (file,) = find(str(tmp_path))
    assert file.ends.tolist() == [3, 4]
    write_datatrove(tmp_path, "y.ds", [[1], [2], [3, 4]])
    for ending in ("", ".index"):
        (tmp_path / f"y.ds{ending}").replace(tmp_path / f"x.ds{ending}")
    assert file.ends.tolist() == [1, 2, 4]


def test_a_document_of_several_sequences_is_one(tmp_path):
    (tmp_path / "x.bin").write_bytes(np.arange(10, dtype="<i8").tobytes())
    write_index(tmp_path / "x.idx", [3, 2, 0, 4, 1], [0, 2, 2, 4, 5], code=5, width=8)
    (file,) = find(str(tmp_path))
    assert read(file)[0] == [[0, 1, 2, 3, 4], [], [5, 6, 7, 8], [9]]


def test_files_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.ds", "a.ds"):
        write_datatrove(tmp_path, name, [[1, 2]])
    assert [Path(file.path).name for file in find(str(tmp_path))] == ["a.ds", "b.ds"]


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ([], "no tokens stand there"),
        (["x.ds"], "tokens without their index"),
        (["x.bin"], "tokens without their index"),
        (["x.ds", "x.ds.index", "y.bin", "y.idx"], "both datatrove and Megatron"),
    ],
)
def test_what_is_not_there_is_an_error(tmp_path, files, what):
    for name in files:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match=what):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "damage", "what"),
    [
        ("x.ds", lambda data: data[:-1], "does not hold the tokens that its index counts"),
        ("x.ds", lambda data: data + b"\0\0\0\0", "does not hold the tokens that its index counts"),
        ("x.ds.index", lambda data: data[:-3], "does not hold whole records"),
        ("x.ds.index", lambda data: data[8:16] + data[:8] + data[16:], "ends of documents do not ascend"),
        ("x.ds.loss", lambda data: data[:-1], "not a byte of loss for every token"),
        ("x.ds.loss", lambda data: b"\2" + data[1:], "neither 0 nor 1"),
    ],
)
def test_a_damaged_file_of_datatrove_is_named(tmp_path, name, damage, what):
    write_datatrove(tmp_path, "x.ds", [[1, 2, 3], [4], [5, 6]], 2, [[True] * 3, [False], [True, True]])
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    (file,) = find(str(tmp_path))
    with pytest.raises(RunError, match=what) as wrong:
        file.read(0, len(file.ends))
    assert wrong.value.where == str(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"version": 2}, "cannot be read"),
        ({"code": 6}, "cannot be read"),
        ({"code": 4}, "do not stand one behind the other"),
        ({"lengths": [3, 2, 4]}, "does not hold the tokens that its index counts"),
        ({"first": [0, 2, 1, 3]}, "do not stand one behind the other"),
        ({"first": [1, 3]}, "do not stand one behind the other"),
        ({"first": [0, 2]}, "do not stand one behind the other"),
        ({"modes": b"\0\0\0"}, "of images as well"),
        ({"modes": b"\0"}, "does not have the size that it says"),
    ],
)
def test_an_index_of_megatron_that_cannot_be_is_named(tmp_path, change, what):
    (tmp_path / "x.bin").write_bytes(np.arange(8, dtype="<u2").tobytes())
    values = {"lengths": [3, 2, 3], "first": [0, 1, 3], **change}
    values.setdefault("places", [0, 6, 10])
    write_index(tmp_path / "x.idx", **values)
    (file,) = find(str(tmp_path))
    with pytest.raises(RunError, match=what):
        file.read(0, len(file.ends))


def test_another_header_is_no_index(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\0\0")
    (tmp_path / "x.idx").write_bytes(b"TNTIDX\0\0" + b"\0" * 40)
    with pytest.raises(RunError, match="no index of Megatron's"):
        find(str(tmp_path))[0].read(0, 1)

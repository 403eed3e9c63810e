"""Plain text: files or lines as documents."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers import text
from midtrain.pipelines.readers.selection import Selection


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_a_file_is_a_document_byte_for_byte(reading, name: str):
    content = "  Zeile eins\r\n\nzwei 😀\t\n\n"
    documents, aside = reading(name, content.encode())
    assert [document["text"] for document in documents] == [content]
    assert documents[0]["metadata"] is None
    assert aside == []


def test_every_line_that_is_not_blank_is_a_document(reading):
    documents, aside = reading("a.txt", b"one\r\n\n  two \n\t\nthree", document="line")
    assert [document["text"] for document in documents] == ["one", "  two ", "three"]
    assert len({document["id"] for document in documents}) == 3
    assert aside == []


def test_what_is_not_utf_8_is_set_aside_with_the_byte(reading):
    content = b"good\ncaf\xe9 au lait\nfine\n"
    documents, aside = reading("a.txt.gz", content, document="line")
    assert [document["text"] for document in documents] == ["good", "fine"]
    assert aside == [("a.txt.gz, byte 5", "not UTF-8 at byte 8")]
    assert reading("a.txt", content) == ([], [("a.txt, byte 0", "not UTF-8 at byte 8")])


def test_a_byte_order_mark_is_no_text(reading):
    assert reading("a.txt", b"\xef\xbb\xbfx")[0][0]["text"] == "x"
    documents, _ = reading("a.txt", b"\xef\xbb\xbfx\ny", document="line")
    assert [document["text"] for document in documents] == ["x", "y"]
    documents, _ = reading("a.txt", b"\xef\xbb\xbf\n\nx", document="line")
    assert [document["text"] for document in documents] == ["x"]
    assert reading("a.txt", b"\xef\xbb\xbfcaf\xe9")[1] == [("a.txt, byte 0", "not UTF-8 at byte 6")]


LINES = st.lists(st.text("ab é\r", max_size=6), max_size=8).map(lambda lines: "\n".join(lines).encode())


@settings(max_examples=60, deadline=None)
@given(content=LINES, cuts=st.sets(st.integers(1, 60), max_size=4))
def test_the_splits_of_a_file_have_its_lines_once(tmp_path_factory, content: bytes, cuts: set[int]):
    path = tmp_path_factory.mktemp("splits") / "a.txt"
    path.write_bytes(content)
    bounds = [0, *sorted(cuts), -1]
    splits = [Split("s", str(path), "a.txt", *bounds[i : i + 2]) for i in range(len(bounds) - 1)]
    found = [record for split in splits for record in text.records(split, "line")]
    lines = [line.rstrip("\r") for line in content.decode().split("\n")]
    assert [record.value for record in found] == [{"text": line} for line in lines if line.strip()]


@settings(max_examples=30, deadline=None)
@given(content=LINES, name=st.sampled_from(["a.txt.gz", "a.txt.zst"]))
def test_compression_changes_no_line(tmp_path_factory, compress, content: bytes, name: str):
    folder = tmp_path_factory.mktemp("compressed")
    (folder / name).write_bytes(compress(content, name))
    (folder / "a.txt").write_bytes(content)
    found = [list(text.records(Split("s", str(folder / one), one, 0, -1), "line")) for one in (name, "a.txt")]
    assert found[0] == found[1]


@pytest.mark.parametrize(("document", "records"), [("file", 1), ("line", 3)])
def test_a_selection_passes_records_by_unread_or_sets_them_aside(tmp_path, document, records):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\ntwo\nthree\n")
    split = Split("s", str(path), "a.txt", 0, -1)
    trial = Selection(start=records)
    assert list(text.records(split, document, trial)) == []
    assert trial.seen == records
    *before, last = text.records(split, document, Selection(poisoned={records - 1: "why"}))
    assert [record.error for record in before] == [""] * (records - 1)
    assert (last.position, last.value, last.error, last.step) == (9 if records == 3 else 0, None, "why", "process")


def test_a_text_that_is_passed_by_is_not_opened(tmp_path):
    split = Split("s", str(tmp_path / "gone.txt"), "gone.txt", 0, -1)
    assert list(text.records(split, "file", Selection(0, 0))) == []


def test_a_stream_cut_short_ends_the_run(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"x" * 10_000)[:-5])
    with pytest.raises(RunError, match="damaged or cut short") as wrong:
        list(text.records(Split("s", str(path), "a.txt.gz", 0, -1), "file"))
    assert wrong.value.where == f"{path} after byte 0"

"""JSON lines: every record once whatever the cuts, and what cannot be read with its place."""

import gzip
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers import jsonl, streams
from midtrain.pipelines.readers.selection import Selection

RECORDS = st.dictionaries(st.text(max_size=3), st.text(max_size=12) | st.integers(-9, 9), max_size=2)
LINES = st.one_of(
    RECORDS.map(lambda record: json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    RECORDS.map(lambda record: json.dumps(record).encode()),
    st.sampled_from(
        [b"", b"   ", b"\r", b"\t ", b"not json", b"[1]", b"\xff\xfe", b"{", b'{"long": "' + b"x" * 3000 + b'"}']
    ),
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\r\n"])


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Lines of all sorts with all sorts of ends, the last one perhaps without."""
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=8))
    whole = b"".join(line + end for line, end in lines)
    return whole.rstrip(b"\n") if draw(st.booleans()) else whole


def plain_lines(content: bytes) -> list[tuple[int, bytes]]:
    """The reference: (byte offset, line) of every line that is not blank."""
    offset, found = 0, []
    for line in content.split(b"\n"):
        if line.strip():
            found.append((offset, line))
        offset += len(line) + 1
    return found


def records(path: Path, *bounds: int) -> list[jsonl.Record]:
    cuts = [0, *bounds, -1]
    splits = [Split("s", str(path), path.name, *cuts[i : i + 2]) for i in range(len(cuts) - 1)]
    return [record for split in splits for record in jsonl.records(split)]


@settings(max_examples=80, deadline=None)
@given(content=contents(), data=st.data())
@example(content=b'{"a": 1}\r\n{"b": 2}', data=None)
@example(content=b'\n\n{"a": 1}\n\n', data=None)
def test_the_splits_of_a_file_have_its_records_once(tmp_path_factory, content: bytes, data):
    path = tmp_path_factory.mktemp("splits") / "a.jsonl"
    path.write_bytes(content)
    most = len(content) + 10
    cuts = sorted(set(data.draw(st.lists(st.integers(1, most), max_size=6)))) if data else range(1, most)
    whole = records(path)
    assert records(path, *cuts) == whole
    assert [(record.position, record.size) for record in whole] == [
        (offset, len(line) + (offset + len(line) < len(content))) for offset, line in plain_lines(content)
    ]
    for record, (_, line) in zip(whole, plain_lines(content), strict=True):
        assert record.value == _parsed(line)


def _parsed(line: bytes) -> dict[str, object] | None:
    try:
        value = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def test_a_buffer_longer_than_the_readers_own_is_no_border(tmp_path, compress, monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 16)
    content = b"".join(b'{"n": %d, "x": "%s"}\n' % (i, b"y" * (i % 40)) for i in range(50))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        path = tmp_path / name
        path.write_bytes(compress(content, name))
        assert [record.value["n"] for record in records(path)] == list(range(50))
    for cut in range(1, len(content), 7):
        assert [record.value["n"] for record in records(tmp_path / "a.jsonl", cut)] == list(range(50))


def test_of_a_long_line_that_is_passed_by_only_the_beginning_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "BUFFER", 16)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(b'{"n": %d, "x": "%s"}\n' % (i, b"y" * (i * 7)) for i in range(12)) + b'{"n": 12')
    split, held = Split("s", str(path), "a.jsonl", 0, -1), []
    for chosen in range(12):
        trial = Selection.trial(chosen, chosen + 1, {})
        assert [record.value["n"] for record in jsonl.records(split, trial)] == [chosen]
        assert trial.seen == 13
        held += [len(line) for _, line in streams.lines(split, Selection.trial(20, 21, {}))]
    assert max(held) == 16


def test_what_cannot_be_read_is_set_aside_with_its_place(reading):
    lines = [
        b'{"text": "good"}',
        b'  {"text": "caf\xe9"}',
        b'{"text": "cut',
        b"[1, 2]",
        b'"text"',
        b"null",
        b'{"text": 5}',
        b'{"body": "x"}',
        b'{"text": "\\ud800"}',
        b'{"text": "also good"}',
    ]
    documents, aside = reading("a.jsonl.zst", b"\n".join(lines))
    assert [document["text"] for document in documents] == ["good", "also good"]
    starts = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
    assert [place for place, _ in aside] == [f"a.jsonl.zst, byte {starts[i]}" for i in range(1, 9)]
    errors = [error for _, error in aside]
    assert errors[0] == f"not UTF-8 at byte {lines[1].index(0xE9)} of the line"
    assert errors[1].startswith("not JSON: ")
    assert errors[1].endswith(" of the line")
    assert errors[2:7] == [
        "the line is a list, not a JSON object",
        "the line is text, not a JSON object",
        "the line is null, not a JSON object",
        "field text is a number, not text",
        "no field text",
    ]
    assert errors[7].startswith("not JSON: ")


def test_a_byte_order_mark_is_no_part_of_the_first_record(reading):
    content = b'\xef\xbb\xbf{"text": "x", "id": "1"}\n\xef\xbb\xbf{"text": "y"}\n'
    documents, aside = reading("a.jsonl", content)
    assert [document["id"] for document in documents] == ["1"]
    assert len(aside) == 1
    documents, aside = reading("b.jsonl", b'\xef\xbb\xbf\r\n{"text": "x", "id": "1"}\n')
    assert ([document["id"] for document in documents], aside) == (["1"], [])


def test_only_line_feeds_end_a_line(reading):
    documents, aside = reading("a.jsonl", '{"text": "a\u2028b\u2029c\x85d"}\r\n{"text": "e"}'.encode())
    assert [document["text"] for document in documents] == ["a\u2028b\u2029c\x85d", "e"]
    assert aside == []


@pytest.mark.parametrize(("name", "squeeze"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)])
def test_a_stream_cut_short_ends_the_run(tmp_path, name: str, squeeze):
    content = b"".join(b'{"text": "%d"}\n' % i for i in range(5000))
    path = tmp_path / name
    path.write_bytes(squeeze(content)[:-20])
    with pytest.raises(RunError, match=r"damaged or cut short") as wrong:
        list(jsonl.records(Split("s", str(path), name, 0, -1)))
    assert wrong.value.where.startswith(f"{path} after byte ")
    assert "replace the file" in wrong.value.fix


def test_a_file_that_is_gone_ends_the_run(tmp_path):
    with pytest.raises(RunError, match="cannot be opened"):
        list(jsonl.records(Split("s", str(tmp_path / "none.jsonl"), "none.jsonl", 0, -1)))


@given(content=contents(), origin=st.integers(1, 99))
def test_a_piece_counts_its_positions_from_where_it_begins(tmp_path_factory, content: bytes, origin: int):
    path = tmp_path_factory.mktemp("piece") / "a.jsonl"
    path.write_bytes(content)
    piece = [*jsonl.records(Split("s", str(path), "a.jsonl", 0, -1, origin))]
    assert [(record.position - origin, record.size) for record in piece] == [
        (record.position, record.size) for record in records(path)
    ]


@given(content=contents(), start=st.integers(0, 9), count=st.integers(0, 9), poisoned=st.sets(st.integers(0, 9)))
def test_a_selection_has_its_records_and_says_why_others_are_set_aside(
    tmp_path_factory, content: bytes, start: int, count: int, poisoned: set[int]
):
    path = tmp_path_factory.mktemp("selection") / "a.jsonl"
    path.write_bytes(content)
    whole, split = records(path), Split("s", str(path), "a.jsonl", 0, -1)
    trial = Selection.trial(start, start + count, dict.fromkeys(poisoned, "why"))
    inside = range(start, start + count)
    assert list(jsonl.records(split, trial)) == [
        record for number, record in enumerate(whole) if number in inside and number not in poisoned
    ]
    assert trial.seen == len(whole)
    for number, record in enumerate(jsonl.records(split, Selection(poisoned=dict.fromkeys(poisoned, "why")))):
        if number in poisoned:
            position, size = whole[number].position, whole[number].size
            assert record == jsonl.Record(position, size, None, "why", "process")
        else:
            assert record == whole[number]

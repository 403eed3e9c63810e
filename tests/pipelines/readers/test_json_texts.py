"""Blocks of JSON lines come to what the lines come to one by one, or say that they cannot."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.filters.document import SCHEMA
from midtrain.pipelines.readers import documents, json_texts, jsonl, records
from midtrain.pipelines.readers.records import Builder, Unreadable, derived_id

NAMES = st.sampled_from(["text", "id", "url", "body", "te\\u0078t", "te xt", 'te"xt', "ключ"])
STRINGS = st.text(max_size=90) | st.text('"\\/\b\f\n\r\t\0é漢😀 a', max_size=40)
VALUES = st.recursive(
    STRINGS | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
# What no writer of JSON makes, and what some do.
ODD = [
    '{"text": "\\ud83d\\ude00"}',
    '{"text": "\\ud83d"}',
    '{"text": "\\ude00\\ud83d"}',
    '{"text": "\\ud83dx\\ude00"}',
    '{"text": "\\u00"}',
    '{"text": "\\u00zz"}',
    '{"text": "\\x41"}',
    '{"text": "\\',
    '{"text": "a',
    '{"text": "a"',
    '{"text": "a"]',
    '{"text": "a"}}',
    '{"text": "a"} {"text": "b"}',
    '{"text": "a"},{"text": "b"}',
    '{"text": "a", "text": "b"}',
    '{"te\\u0078t": "b", "text": "a"}',
    '{"text": "a", "te\\u0078t": "b"}',
    '{"text": null}',
    '{"text" : \t"a" , "id":"" }',
    '{"text": "a\tb"}',
    '{"text": "a\x7fb"}',
    '{"text": "a" "b": 1}',
    '{"text" "a"}',
    '{"text":, "a"}',
    '{,"text": "a"}',
    '{"a": "text", "text": "b"}',
    '{"a": {"text": "c"}, "text": "b"}',
    '{"a": ["text", "c"], "text": "b"}',
    '{"a": {"text": "c"}}',
    '["text", "a"]',
    '{"text": "a", "id": 3}',
    '{"text": "a", "id": [3]}',
    '{"text": "a", "n": 01}',
    '{"text": "a", "n": NaN}',
    '{"text": "a", "n": 123456789012345678901234567890}',
    '{"text": "a", "id": 123456789012345678901}',
    '{"id": -9223372036854775809, "text": "a"}',
    '{"text": "a", "id": 1234567890123456789}',
    "{}",
    " \t",
    "",
    "\f",
    "\ufeff{}",
]


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A record, with its text first, last or nowhere, written in one of the ways that JSON allows."""
    record: dict[str, Any] = draw(st.dictionaries(NAMES, VALUES, max_size=3))
    if draw(st.integers(0, 9)):
        own = {"text": draw(STRINGS)}
        record = {**own, **record, **own} if draw(st.booleans()) else {**record, **own}
    written = json.dumps(record, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([None, (",", ":")])))
    return written.encode()


def by_lines(block: bytes, offset: int, fields: dict[str, str]) -> list[dict[str, Any]] | None:
    builder = Builder("web")
    for record in jsonl.records_of(offset, block):
        if record.value is None:
            return None
        try:
            row = documents.row(record.value, fields)
        except Unreadable:
            return None
        builder.add(row.id or derived_id("web", "f.jsonl", record.position), row, record.size)
    chunk = builder.take()
    return [*chunk.batch.to_pylist(), {"bytes": chunk.bytes}]


def by_block(block: bytes, offset: int, fields: dict[str, str]) -> list[dict[str, Any]] | None:
    found = json_texts.batches(block, offset, "web", "f.jsonl", fields)
    if found is None:
        return None
    for batch, _ in found:
        assert batch.schema == SCHEMA
        batch.validate(full=True)
    return [*(row for batch, _ in found for row in batch.to_pylist()), {"bytes": sum(size for _, size in found)}]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(lines() | st.sampled_from(ODD).map(str.encode) | st.binary(max_size=5), max_size=5),
    st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    st.booleans(),
    st.sampled_from([{}, {}, {"text": "body"}, {"url": "body"}, {"text": "ключ"}, {"id": "text"}]),
)
@example([line.encode() for line in ODD[:1]], b"\n", True, {})
def test_as_the_lines_say(found: list[bytes], end: bytes, ended: bool, fields: dict[str, str]):
    block = end.join(found) + end * ended
    block = block if not ended else block.removesuffix(b"\n") + b"\n"
    said = by_block(block, 40, fields)
    assert said is None or said == by_lines(block, 40, fields)


@pytest.mark.parametrize("line", ODD)
@pytest.mark.parametrize("around", [b"", b'{"text": "other"}'])
def test_what_a_parser_refuses_is_left_to_it(line: str, around: bytes):
    block = b"\n".join([around, line.encode(), around]) + b"\n"
    said = by_block(block, 0, {})
    assert said is None or said == by_lines(block, 0, {})


@given(st.lists(st.dictionaries(st.sampled_from(["id", "url", "more", "date"]), STRINGS, max_size=3), min_size=1))
def test_plain_records_are_taken_whatever_is_in_their_texts(found: list[dict[str, str]]):
    """The other way round: where nothing is odd, no line is read by itself."""
    for number, record in enumerate(found):
        record["text"] = "".join(record.values()) * (number % 4)
    block = b"".join(orjson.dumps(record) + b"\n" for record in found)
    said = by_block(block, 7, {})
    assert said is not None
    assert said == by_lines(block, 7, {})
    assert [row["text"] for row in said[:-1]] == [record["text"] for record in found]


def test_batches_have_no_more_rows_than_others(monkeypatch):
    monkeypatch.setattr(json_texts, "BATCH_ROWS", 4)
    block = b"".join(b'{"text":"%d"}\n' % number for number in range(10))
    found = json_texts.batches(block, 0, "web", "f.jsonl", {})
    assert found is not None
    assert [batch.num_rows for batch, _ in found] == [4, 4, 2]
    assert sum(size for _, size in found) == len(block)


def test_a_block_that_could_hold_a_text_larger_than_a_file_of_ours_is_left(monkeypatch):
    monkeypatch.setattr(records, "LARGEST", 100)
    assert json_texts.batches(b'{"text":"%s"}\n' % (b"x" * 20), 0, "web", "f.jsonl", {}) is None
    assert json_texts.batches(b'{"text":"x"}\n', 0, "web", "f.jsonl", {}) is not None

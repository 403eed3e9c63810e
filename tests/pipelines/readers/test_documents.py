"""Plain records onto the documents' columns, nothing of the input lost."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.pipelines.readers.documents import row
from midtrain.pipelines.readers.records import Unreadable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=3), below, max_size=2),
    max_leaves=6,
)


def test_known_fields_become_columns_and_the_rest_metadata():
    found = row({"text": "x", "id": "7", "url": "u", "date": "2024", "language": "en", "b": [1], "a": None}, {})
    assert (found.text, found.id, found.url, found.date, found.language) == ("x", "7", "u", "2024", "en")
    assert found.metadata == '{"b":[1],"a":null}'
    assert (found.messages, found.answer) == (None, None)
    assert row({"text": ""}, {}).metadata is None


def test_mapped_fields_are_taken_and_what_they_displace_is_kept():
    found = row({"body": "x", "text": "kept", "link": "u", "url": "kept too"}, {"text": "body", "url": "link"})
    assert (found.text, found.url) == ("x", "u")
    assert orjson.loads(found.metadata or "") == {"text": "kept", "url": "kept too"}


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5), st.text(max_size=5))
def test_nothing_of_a_record_is_lost(record: dict[str, object], text: str):
    columns = {"id", "url", "date", "language"}
    record = {key: value for key, value in record.items() if key not in columns} | {"text": text}
    found = row(record, {})
    assert {"text": found.text, **orjson.loads(found.metadata or "{}")} == record


@pytest.mark.parametrize(
    ("value", "text"), [(5, "5"), (1.5, "1.5"), (True, "True"), (None, None), ("", ""), ("x", "x")]
)
def test_numbers_become_text_in_the_small_columns(value: object, text: str | None):
    assert row({"text": "x", "url": value}, {}).url == text


@pytest.mark.parametrize(
    ("record", "fields", "error"),
    [
        ({}, {}, "no field text"),
        ({"text": None}, {}, "field text is null, not text"),
        ({"text": 5}, {}, "field text is a number, not text"),
        ({"text": ["x"]}, {}, "field text is a list, not text"),
        ({"text": {"x": 1}}, {}, "field text is a mapping, not text"),
        ({"text": True}, {}, "field text is a truth value, not text"),
        ({"text": "x"}, {"text": "body"}, "no field body"),
        ({"text": "x"}, {"url": "link"}, "no field link"),
        ({"text": "x", "id": {"$oid": "1"}}, {}, "field id is a mapping, not text"),
        ({"text": "x", "url": ["u"]}, {}, "field url is a list, not text"),
    ],
)
def test_what_cannot_become_a_document(record: dict[str, object], fields: dict[str, str], error: str):
    with pytest.raises(Unreadable, match=error.replace("$", r"\$")):
        row(record, fields)


def test_numbers_of_any_length_are_kept_to_the_last_digit(reading):
    """orjson reads a whole number of more than 64 bits as if it had a point, and cannot write it."""
    lines = [
        b'{"text": "a", "id": 123456789012345678901}',
        b'{"text": "b", "id": 123456789012345678902, "n": [-9223372036854775809, {"m": 36893488147419103233}]}',
        b'{"text": "c", "id": 18446744073709551615, "n": 1e400, "m": 0.12345678901234567890123}',
        b'{"text": "d", "id": 18446744073709551616}',
        b'{"text": "e", "id": -9223372036854775808, "f": 1e20, "g": 100000000000000000000.0}',
    ]
    documents, aside = reading("a.jsonl", b"\n".join(lines))
    assert [document["id"] for document in documents] == [
        "123456789012345678901",
        "123456789012345678902",
        "18446744073709551616",
        "-9223372036854775808",
    ]
    kept = json.loads(documents[1]["metadata"])
    assert kept == {"n": [-9223372036854775809, {"m": 36893488147419103233}]}
    assert json.loads(documents[3]["metadata"]) == {"f": 1e20, "g": 1e20}
    assert [place for place, _ in aside] == [f"a.jsonl, byte {len(lines[0]) + len(lines[1]) + 2}"]  # 1e400 is no number


def test_json_nested_too_deep_to_be_written_is_set_aside(reading):
    deep = b'{"text": "x", "m": ' + b"[" * 300 + b"]" * 300 + b"}"
    documents, aside = reading("a.jsonl", deep + b'\n{"text": "y"}\n')
    assert [document["text"] for document in documents] == ["y"]
    assert aside[0][0] == "a.jsonl, byte 0"
    assert "cannot be kept as JSON" in aside[0][1]

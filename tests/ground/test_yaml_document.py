"""YAML read strictly, with line numbers, and written so that it reads back equal."""

import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.yaml_document import dotted, override, parse, write

TEXT = """\
# a comment
name: web
sources:
  - name: docs
    path: "a.jsonl"
  - {name: more, path: b.jsonl,
     steps: [4, 5]}
empty:
"""


def test_every_key_path_knows_its_line():
    document = parse(TEXT, "f.yaml")
    assert document.data == {
        "name": "web",
        "sources": [{"name": "docs", "path": "a.jsonl"}, {"name": "more", "path": "b.jsonl", "steps": [4, 5]}],
        "empty": None,
    }
    lines = {dotted(path): line for path, line in document.lines.items()}
    assert lines == {
        "": 1,
        "name": 2,
        "sources": 3,
        "sources.0": 4,
        "sources.0.name": 4,
        "sources.0.path": 5,
        "sources.1": 6,
        "sources.1.name": 6,
        "sources.1.path": 6,
        "sources.1.steps": 7,
        "sources.1.steps.0": 7,
        "sources.1.steps.1": 7,
        "empty": 8,
    }
    assert document.place(("sources", 1, "steps", 9, "deeper")) == "f.yaml:7"
    assert document.place(("nothing",)) == "f.yaml:1"
    assert document.value(("sources", 1, "steps", 1)) == 5
    assert document.value(("sources", 7)) is None
    assert document.value(("name", "x")) is None


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e4", 1e4),
        ("1e-3", 1e-3),
        ("-1.5E+2", -150.0),
        (".5", 0.5),
        ("1_000", 1000),
        ("+7", 7),
        ("010", 10),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("'yes'", "yes"),
        ('"no"', "no"),
        ("0x1F", "0x1F"),
        ("1.2.3", "1.2.3"),
        ("2020-01-01", "2020-01-01"),
        ("12:30", "12:30"),
        ("64Ki", "64Ki"),
        ("'5'", "5"),
        ("|\n  5\n", "5\n"),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_scalars_are_those_of_yaml_1_2(scalar: str, value: object):
    found = parse(f"a: {scalar}", "f").data["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: 2\na: 3", 3, "a: the key a stands twice"),
        ("x:\n  a: 1\n  b: {c: 1,\n  c: 2}", 4, "x.b.c: the key c stands twice"),
        ("a: yes", 1, "a: yes can be read as a truth value"),
        ("a: 1\nb: [on]", 2, "b.0: on can be read as a truth value"),
        ("a: 1\nb: Off", 2, "Off can be read as a truth value"),
        ("a: N", 1, "N can be read as a truth value"),
        ("a:\n\tb: 1", 2, "indent with spaces, not tabs"),
        ("a: b\n\tc: d", 2, "indent with spaces, not tabs"),
        ("a: &x 1\nb: *x", 2, "b: aliases are not supported"),
        ("a: &x [*x]", 1, "a.0: aliases are not supported"),
        ("a: 1\nb: *x", 2, "undefined alias"),
        ("<<: {a: 1}", 1, "merge keys are not supported"),
        ("a: !foo 5", 1, "a: tags are not supported"),
        ("a: 1\nb: !!python/object:os.system x", 2, "b: tags are not supported"),
        ("a: 1\n? [x, y]\n: 2", 2, "a key must be a text"),
        ("a: 1\nb: 99999999999999999999", 2, "b: the number is too large for 64 bits"),
        ("a: " + "9" * 5000, 1, "a: the number is too large for 64 bits"),
        ("a: 1e999", 1, "a: the number is too large"),
        ("a: 1\nb: 'x\nc: 1\n", 2, "unexpected end of stream"),
        ("a: 1\nb: c: d", 2, "mapping values are not allowed"),
        ("a: 1\nb: [1,\n b: c", 2, "'<stream end>'"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("%YAML 3.0\n---\na: 1", 1, "incompatible YAML document"),
        ("a: 1\nb: \x07", 2, "U+0007 cannot stand in it"),
        ('a: "\\ud800"', 1, "half a surrogate pair"),
        ("- 1\n- 2", 1, "is not a mapping"),
        ("just text", 1, "is not a mapping"),
    ],
)
def test_what_is_refused_names_its_line(text: str, line: int, problem: str):
    with pytest.raises(ConfigError) as wrong:
        parse(text, "f.yaml")
    assert wrong.value.where == f"f.yaml:{line}"
    assert problem in str(wrong.value)


def test_depth_without_end_is_an_error_too():
    with pytest.raises(ConfigError, match="nested too deep"):
        parse("a: " + "[" * 1500, "f")


@given(st.text(st.sampled_from(string.printable + "é中😀\u2028\ufeff\x85\x07&*!|>%@`"), max_size=60))
@example("%YAML 1.1\n---\na: 1")
@example("? ? ?\n: :")
@example("a: !<tag> x")
@example("%TAG ! tag:x,2000:\n---\na: !b c")
@example("a: |9\n x")
def test_no_text_makes_the_reader_raise_anything_else(text: str):
    try:
        document = parse(text, "f")
    except ConfigError:
        return
    assert parse(write(document.data), "f").data == document.data


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(
        ["yes", "off", "1e5", "1_0", "~", "<<", "- a", "a: b", "#", "\x85", "\u2028", "\x00", "\ufeff", "."]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_what_is_written_reads_back_equal(data: dict[str, Any]):
    read = parse(write(data), "f").data
    assert read == data
    assert repr(read) == repr(data)  # 1 and 1.0 and True are equal


def test_written_yaml_is_what_a_person_would_write():
    data = {"name": "a-b.c", "rate": 1e-8, "on": "off", "list": [1, 2], "deep": [{"x": 1, "y": {"z": None}}], "no": {}}
    assert write(data) == (
        'name: a-b.c\nrate: 1e-08\n"on": "off"\nlist: [1, 2]\ndeep:\n  - x: 1\n    "y":\n      z: null\n"no": {}\n'
    )


class TestOverride:
    def test_a_setting_replaces_a_value_and_takes_its_place_in_errors(self):
        document = override(parse(TEXT, "f.yaml"), ["sources.1.path=c.jsonl", "name=x", "new.deep={a: [1, 2]}"])
        assert document.value(("sources", 1, "path")) == "c.jsonl"
        assert document.value(("sources", 0, "path")) == "a.jsonl"
        assert document.value(("new", "deep", "a", 1)) == 2
        assert document.place(("sources", 1, "path")) == "--set sources.1.path"
        assert document.place(("new", "deep", "a", 1)) == "--set new.deep.a.1"
        assert document.place(("sources", 1, "name")) == "f.yaml:6"

    def test_lines_below_a_replaced_value_are_forgotten(self):
        document = override(parse(TEXT, "f.yaml"), ["sources=[{name: x}]"])
        assert document.place(("sources", 0, "name")) == "--set sources.0.name"
        assert document.place(("sources", 1, "path")) == "--set sources"

    def test_the_document_is_not_changed(self):
        document = parse(TEXT, "f.yaml")
        override(document, ["sources.0.name=other"])
        assert document.value(("sources", 0, "name")) == "docs"

    @pytest.mark.parametrize(
        ("setting", "problem"),
        [
            ("name", "not a setting"),
            ("=5", "not a setting"),
            ("sources.2.name=x", "there is no entry 2"),
            ("sources.1.steps.0.x=1", "x cannot be set"),
            ("sources.name=x", "name cannot be set"),
            ("name=yes", "can be read as a truth value"),
            ("name=[1", "not YAML"),
            ("name=1\nother: 2", "more than one setting"),
            ("sources.².name=x", "² cannot be set"),
        ],
    )
    def test_what_cannot_be_set(self, setting: str, problem: str):
        with pytest.raises(ConfigError, match=problem):
            override(parse(TEXT, "f.yaml"), [setting])


def test_a_part_of_a_document_keeps_its_lines_and_full_paths():
    part = parse(TEXT, "f.yaml").at(("sources", 1), without=("name",))
    assert part.data == {"path": "b.jsonl", "steps": [4, 5]}
    assert part.place(("steps", 0)) == "f.yaml:7"
    assert part.full(("steps", 0)) == "sources.1.steps.0"
    assert override(parse(TEXT, "f.yaml"), ["sources.1.path=x"]).at(("sources", 1)).place(("path",)) == (
        "--set sources.1.path"
    )

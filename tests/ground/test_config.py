"""Sections: types, units, unknown keys, and complaints that name file:line, key path, value and nearest key."""

import subprocess
import sys
from typing import Annotated, Literal

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain import config
from midtrain.config import Count, LocalFolder, Section, ShareOrCount
from midtrain.errors import ConfigError
from midtrain.yaml_document import parse
from pydantic import Field


class Part(Section):
    size: Count = 5
    kind: Literal["whole", "chunk"] = "whole"
    rate: float = 0.5


class Whole(Section):
    name: str
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    weights: dict[str, Annotated[float, Field(ge=0)] | Part] = Field(default_factory=dict)
    held_out: ShareOrCount = Field(default=0, ge=0)
    output: LocalFolder = "out"
    flag: bool = False
    words: tuple[str, ...] = Field(default=("a",), min_length=1)


def read(text: str) -> config.Loaded[Whole]:
    return config.validate(parse(text, "f.yaml"), Whole)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as wrong:
        read(text)
    assert wrong.value.exit_code == 2
    return str(wrong.value)


def test_a_file_becomes_a_frozen_section(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_text("name: é\nparts:\n  - size: 10K\n  - {}\nweights: {a: 1, b: {rate: 1e-3}}\nwords: [x, z]\n")
    value = config.load(file, Whole, ["part.size=3", "flag=true"]).value
    assert value.name == "é"
    assert (value.parts[0].size, value.parts[1].size, value.part.size) == (10_000, 5, 3)
    assert value.weights == {"a": 1.0, "b": Part(rate=0.001)}
    assert value.words == ("x", "z")
    assert value.flag
    with pytest.raises(pydantic.ValidationError):
        value.part.size = 4


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("10K", 10**4),
        ("1.5M", 1_500_000),
        ("2B", 2 * 10**9),
        ("2G", 2 * 10**9),
        ("1T", 10**12),
        ("64Ki", 65536),
        ("1Mi", 2**20),
        ("0.5Gi", 2**29),
        ("2Ti", 2**41),
        ("3 K", 3000),
        ("1_000", 1000),
        ("'7'", 7),
        ("0.001K", 1),
    ],
)
def test_counts_have_units(written: str, count: int):
    assert read(f"name: x\npart: {{size: {written}}}").value.part.size == count


@pytest.mark.parametrize("written", ["10k", "5Q", "1.5", "0.5K3", "-5K", "K", "5 %", "1e-3", "true", "1.0001K", "''"])
def test_what_is_no_count(written: str):
    assert "f.yaml:2: part.size: " in refused(f"name: x\npart: {{size: {written}}}")


def test_counts_beyond_64_bits_are_refused():
    assert "too large for 64 bits" in refused("name: x\npart: {size: 9999999999T}")


@given(st.integers(0, 10**6), st.sampled_from(["", "K", "M", "B", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_a_count_is_number_times_unit(number: int, unit: str):
    scale = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
    assert config.parse_count(f"{number}{unit}") == number * scale.get(unit, 2**40)


@pytest.mark.parametrize(
    ("written", "value"),
    [("0.5%", 0.005), ("0.7 %", 0.007), ("99.9%", 0.999), ("0%", 0.0), ("0.25", 0.25), ("200", 200), ("2K", 2000)],
)
def test_shares_and_counts_are_told_apart(written: str, value: float):
    found = read(f"name: x\nheld_out: {written}").value.held_out
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("written", ["100%", "150%", "1.0", "1.5", "-0.5", "-3", "5 percent", "true", "[1]"])
def test_what_is_neither_share_nor_count(written: str):
    assert "f.yaml:2: held_out: " in refused(f"name: x\nheld_out: {written}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nmae: x", "f.yaml:1: nmae: unknown key nmae\n  seen:     x\n  expected: one of flag,"),
        ("nmae: x", "did you mean name?"),
        ("name: x\nqqq: 1", "f.yaml:2: qqq: unknown key qqq"),
        ("name: x\nqqq: 1", "fix:      remove the key"),
        ("part: {}", "f.yaml:1: name: the key name is missing"),
        ("name: x\npart:\n  sise: 1", "f.yaml:3: part.sise: unknown key sise"),
        ("name: x\nparts:\n - {}\n - rate: 1\n   kin: whole", "f.yaml:5: parts.1.kin: unknown key kin"),
        ("name: x\nparts:\n - {}\n - kind: hole", "f.yaml:4: parts.1.kind: Input should be 'whole' or 'chunk'"),
        ("name: x\nparts:\n - {}\n - kind: hole", "did you mean whole?"),
        ("name: 5", "f.yaml:1: name: must be text\n  seen:     5"),
        ("name:", "f.yaml:1: name: must be text\n  seen:     nothing"),
        ("name: x\npart: 5", "f.yaml:2: part: must be a mapping of keys to values\n  seen:     5"),
        ("name: x\nparts: {a: 1}", "f.yaml:2: parts: must be a list"),
        ("name: x\nflag: 1", "f.yaml:2: flag: must be true or false"),
        ("name: x\npart: {rate: fast}", "f.yaml:2: part.rate: must be a number\n  seen:     fast"),
        ("name: x\nwords: []", "f.yaml:2: words: must not be empty"),
        ("name: x\nweights:\n  a: high", "f.yaml:3: weights.a: must be a number or a mapping of keys to values"),
        ("name: x\nweights:\n  a: -1", "f.yaml:3: weights.a: Input should be greater than or equal to 0"),
        ("name: x\noutput: s3://b/out", "f.yaml:2: output: an output is a folder on this machine"),
        ("name: x\noutput: ''", "f.yaml:2: output: "),
    ],
)
def test_complaints_name_place_path_value_and_nearest_key(text: str, expected: str):
    assert expected in refused(text)


def test_only_the_branch_of_a_union_that_was_meant_complains():
    said = refused("name: x\nweights:\n  a: 1\n  b: {rat: 3}")
    assert said.splitlines()[0] == "f.yaml:4: weights.b.rat: unknown key rat"
    assert said.count("f.yaml") == 1


def test_a_list_with_a_wrong_entry_is_not_called_empty_too():
    said = refused("name: x\nwords: [5]")
    assert said.count("f.yaml") == 1
    assert "f.yaml:2: words.0: must be text" in said


def test_all_complaints_of_a_file_are_shown_up_to_eight():
    said = refused("name: 5\nflag: x\npart: {size: x, rate: x}")
    assert [line.split(": ")[0] for line in said.splitlines() if line.startswith("f")] == [
        "f.yaml:1",
        "f.yaml:3",
        "f.yaml:3",
        "f.yaml:2",
    ]
    many = refused("name: x\nparts:" + "".join(f"\n  - kind: k{i}" for i in range(11)))
    assert many.count("f.yaml") == 8
    assert many.endswith("and 3 more")


def test_long_values_are_shortened():
    said = refused(f"name: [{', '.join(['word'] * 500)}]")
    assert len(said) < 400


def test_a_wrong_override_names_itself():
    with pytest.raises(ConfigError, match=r"^--set part\.size: part\.size: not a count"):
        config.validate(config.override(parse("name: x", "f"), ["part.size=5x"]), Whole)
    with pytest.raises(ConfigError, match=r"^--set part\.sise: part\.sise: unknown key sise"):
        config.validate(config.override(parse("name: x", "f"), ["part.sise=5"]), Whole)


def test_errors_found_later_name_the_place_too():
    loaded = read("name: x\nparts:\n  - size: 5")
    error = loaded.error(("parts", 0, "size"), "too small", expected="6", fix="raise it")
    assert str(error) == "f.yaml:3: parts.0.size: too small\n  seen:     5\n  expected: 6\n  fix:      raise it"


@pytest.mark.parametrize(
    ("name", "problem"), [("none.yaml", "no such file"), ("", "cannot be read"), ("f.yaml/x", "cannot be read")]
)
def test_a_file_that_cannot_be_read(tmp_path, name: str, problem: str):
    (tmp_path / "f.yaml").write_text("name: x")
    with pytest.raises(ConfigError, match=problem) as wrong:
        config.load(f"{tmp_path}/{name}", Whole)
    assert str(tmp_path) in wrong.value.where


def test_a_file_that_is_not_utf_8_names_the_byte(tmp_path):
    file = tmp_path / "f.yaml"
    file.write_bytes(b"name: caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 at byte 9"):
        config.load(file, Whole)


NAMES = st.text(min_size=1, max_size=6)


@given(
    st.builds(
        Whole,
        name=st.text(max_size=8),
        parts=st.lists(st.builds(Part, size=st.integers(0, 2**62), rate=st.floats(0, 1e300)), max_size=2).map(tuple),
        weights=st.dictionaries(NAMES, st.floats(0, 1), max_size=3),
        words=st.lists(st.text(max_size=4), min_size=1, max_size=3).map(tuple),
        flag=st.booleans(),
    )
)
def test_what_is_dumped_reads_back_equal(section: Whole):
    assert read(config.dump(section)).value == section


def test_configurations_are_read_without_the_heavy_libraries():
    heavy = "torch pyarrow ray numba transformers numpy"
    code = f"import sys, midtrain.config, midtrain.cli; sys.exit(any(m in sys.modules for m in '{heavy}'.split()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

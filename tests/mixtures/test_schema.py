"""Mixtures: what loads, what `where` means, and what cannot be trained on is refused with its line."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures import schema
from midtrain.mixtures.conditions import where_conditions, where_record
from midtrain.mixtures.schema import Weight

MIXTURE = """\
name: mixed
output: out/shards
tokenizer: tokenizer.json
sources:
  - name: web
    documents: out/web
    held_out: 0.5%
  - name: sums
    documents: out/web
    where:
      source: gsm8k
      score.language.en: ">0.8"
    template: chatml
phases:
  - name: first
    sequence_length: 4096
    tokens: 10M
    weights: {web: 1}
  - name: second
    sequence_length: 32Ki
    tokens: 3M
    weights:
      web: 0.25
      sums: {share: 0.75, loss: all, max_epochs: 4}
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(old: str = "", new: str = "") -> schema.MixtureSpec:
        assert MIXTURE.count(old) == 1 or not old
        (tmp_path / "m.yaml").write_text(MIXTURE.replace(old, new) if old else MIXTURE)
        return schema.load(tmp_path / "m.yaml").value

    return load


def test_a_mixture_is_loaded(load):
    spec = load()
    assert spec.tokenizer_spec.path == "tokenizer.json"
    assert [source.packing for source in spec.sources] == ["chunk", "whole"]
    assert [source.held_out for source in spec.sources] == [0.005, 0]
    first, second = spec.phases
    assert (first.sequence_length, second.sequence_length, second.tokens) == (4096, 32768, 3_000_000)
    assert first.entries() == {"web": Weight(share=1)}
    assert second.entries() == {"web": Weight(share=0.25), "sums": Weight(share=0.75, loss="all", max_epochs=4)}


def test_the_packing_follows_the_template_unless_it_is_written(load):
    spec = load("    template: chatml\n", "    template: chatml\n    pack: chunk\n    too_long: drop\n")
    assert (spec.sources[1].packing, spec.sources[1].too_long) == ("chunk", "drop")
    assert load("    held_out: 0.5%\n", "    pack: whole\n").sources[0].packing == "whole"


def test_a_source_without_share_is_not_in_the_phase(load):
    spec = load("weights: {web: 1}", "weights: {web: 1, sums: 0}")
    assert list(spec.phases[0].entries()) == ["web"]


def test_a_tokenizer_may_be_trained(load):
    trained = "tokenizer: {train: {vocab_size: 8K, sources: [web]}, end_of_document: <|end|>}"
    spec = load("tokenizer: tokenizer.json", trained)
    assert spec.tokenizer_spec.train is not None
    assert spec.tokenizer_spec.train.vocab_size == 8000
    assert spec.tokenizer_spec.end_of_document == "<|end|>"


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=6))
def test_weights_that_sum_to_one_within_rounding_are_taken(parts: list[int]):
    weights = {f"s{i}": part / sum(parts) for i, part in enumerate(parts)}
    phase = schema.PhaseSection(name="x", sequence_length=8, tokens=100, weights=weights)
    assert {name: weight.share for name, weight in phase.entries().items()} == weights


@pytest.mark.parametrize(
    ("old", "new", "line", "problem"),
    [
        ("web: 0.25", "web: 0.2501", 22, "phase second: the weights do not sum to 1"),
        ("web: 0.25", "web: 1.25", 23, "a share is a number from 0 to 1, or rest, or size"),
        ("{share: 0.75,", "{share: -0.75,", 24, "a share is a number from 0 to 1"),
        ("max_epochs: 4", "max_epochs: 0", 24, "greater than or equal to 1"),
        ("web: 0.25", "wbe: 0.25", 23, "did you mean web?"),
        ("weights: {web: 1}", "weights: {}", 18, "must not be empty"),
        ("name: second", "name: first", 19, "first stands twice"),
        ("name: sums", "name: web", 8, "web stands twice"),
        ("name: second", "name: a/b", 19, "should match pattern"),
        ("tokens: 3M", "tokens: 0", 21, "greater than or equal to 1"),
        ("sequence_length: 4096", "sequence_length: 1", 16, "greater than or equal to 2"),
        ("phases:\n  - name: first", "phases: []\nother:\n  - name: first", 15, "unknown key other"),
        ("tokenizer: tokenizer.json", "tokenizer: {}", 3, "either path: FILE or train:"),
        ("tokenizer: tokenizer.json", "tokenizer: {path: x, train: {vocab_size: 5, sources: [web]}}", 3, "either path"),
        ("tokenizer: tokenizer.json", "tokenizer: {train: {vocab_size: 9, sources: [wbe]}}", 3, "did you mean web?"),
        ("tokenizer: tokenizer.json", "tokenizer: {train: {vocab_size: 9, sources: []}}", 3, "must not be empty"),
        ("held_out: 0.5%", "held_out: -1", 7, "greater than or equal to 0"),
        ("held_out: 0.5%", "held_out: 1.0", 7, "a share is from 0 to below 1"),
        ("source: gsm8k", "source: []", 11, "must not be empty"),
        ("source: gsm8k", "source: [5]", 11, "must be text"),
        ("source: gsm8k", "source: true", 11, "must be text or a number or a list"),
        ("sequence_length: 4096", "sequence_length: 1T", 16, "less than or equal to 16777216"),
        ('score.language.en: ">0.8"', 'date: ">=hello"', 12, "is compared with what is no date"),
        ('">0.8"', '">high"', 12, "compared with what is no number"),
        ('">0.8"', '"=>0.8"', 12, "there is no comparison =>"),
        ('">0.8"', '"!=0.8"', 12, "there is no comparison !="),
        ("template: chatml", "template: llama", 13, "chatml"),
        ("output: out/shards", "output: gs://bucket/x", 2, "a folder on this machine"),
        ("documents: out/web\n    where", "documents: ''\n    where", 9, "sources.1.documents"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_line(load, old: str, new: str, line: int, problem: str):
    with pytest.raises(ConfigError) as wrong:
        load(old, new)
    assert f"m.yaml:{line}: " in str(wrong.value)
    assert problem in str(wrong.value)


def test_a_source_that_is_neither_drawn_nor_held_out_is_an_error(load):
    with pytest.raises(ConfigError, match=r"m\.yaml:8: sources\.1\.name: no phase draws from sums"):
        load("      web: 0.25\n      sums: {share: 0.75, loss: all, max_epochs: 4}\n", "      web: 1\n")


@pytest.mark.parametrize(
    ("where", "conditions"),
    [
        ({}, []),
        ({"source": "a"}, [("source", "in", ["a"])]),
        ({"source": ("a", "b")}, [("source", "in", ["a", "b"])]),
        ({"score.x": 5}, [("score.x", "==", 5.0)]),
        ({"score.x": 0.5, "language": "en"}, [("score.x", "==", 0.5), ("language", "in", ["en"])]),
        ({"score.x": ">0.8"}, [("score.x", ">", 0.8)]),
        ({"score.x": ">=0.8"}, [("score.x", ">=", 0.8)]),
        ({"score.x": "< -1e-3"}, [("score.x", "<", -0.001)]),
        ({"score.x": " <= .5 "}, [("score.x", "<=", 0.5)]),
        ({"date": ">2020"}, [("date", ">", "2020")]),
        ({"date": "<= 2020-05-01"}, [("date", "<=", "2020-05-01")]),
        ({"url": "https://x/?a>=5"}, [("url", "in", ["https://x/?a>=5"])]),
        ({"text": "a\n>b"}, [("text", "in", ["a\n>b"])]),
    ],
)
def test_where_becomes_conditions(where: dict[str, Any], conditions: list[tuple[str, str, Any]]):
    assert where_conditions(where) == conditions


@pytest.mark.parametrize(
    "wanted", [">", "<=", "> x", ">0.8.1", ">nan", "<inf", ">1_0", "==5", "!=5", "=5", "=<5", "!x"]
)
def test_a_comparison_that_is_none_is_an_error(wanted: str):
    with pytest.raises(ConfigError, match=r"no number|no comparison") as wrong:
        where_conditions({"score.x": wanted})
    assert wrong.value.seen == wanted
    with pytest.raises(ConfigError):
        where_conditions({"date": ">"})


@given(st.sampled_from([">", ">=", "<", "<="]), st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_can_be_compared_with(operator: str, number: float):
    assert where_conditions({"score.x": f"{operator}{number!r}"}) == [("score.x", operator, number)]


def test_what_is_written_otherwise_and_means_the_same_is_recorded_the_same():
    one = {"source": "a", "score.x": ">0.5, <=0.9", "date": ">=2020"}
    other = {"date": ">= 2020", "score.x": "<=.9,>0.50", "source": ("a", "a")}
    assert where_record(one) == where_record(other)
    assert where_record(one) != where_record({**one, "score.x": ">0.5, <0.9"})
    assert where_record({"source": ("b", "a")}) == where_record({"source": ("a", "b")}) == {"source": ["a", "b"]}
    assert where_record({"score.x": 1}) == {"score.x": ["==1.0"]}

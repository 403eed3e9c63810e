"""All forms of sources and weights in a YAML: what they mean, and that a wrong one is named with its line."""

from pathlib import Path

import pytest
from midtrain.errors import ConfigError
from midtrain.mixtures import schema
from midtrain.mixtures.plans.weights import Group, PhaseWeight

MIXTURE = """\
name: mixed
output: out/shards
tokenizer: tokenizer.json
total_tokens: 20M
sources:
  - {name: web, documents: [out/a, out/b], where: {source: docs, score.x: ">0.5, <=0.9"}}
  - name: rated
    documents: out/a
    buckets: {column: score.q, edges: [0.3, 0.7], weights: [0.5, 0, 3]}
  - {name: old, shards: out/other/tokens/web-0123, held_out: 10}
  - {name: python, shards: data/python, end_of_document: <|endoftext|>}
phases:
  - name: stable
    sequence_length: 4096
    fraction: 0.8
    weights:
      web: 60%
      old: {tokens: 300K}
      code:
        share: rest
        loss: all
        max_epochs: 3
        temperature: 2
        sources: {python: size, rated: {share: size, max_epochs: 1}}
  - name: anneal
    sequence_length: 4096
    sequences: 2500
    change: linear
    weights:
      web: {from: 0.8, to: 0.2}
      python: {from: 0.2, to: 0.8, min_tokens: 10K}
  - name: last
    sequence_length: 512
    weights: {old: {epochs: 1.5}, python: {epochs: 2, max_epochs: 7}}
"""


@pytest.fixture
def load(tmp_path: Path):
    def load(old: str = "", new: str = ""):
        assert MIXTURE.count(old) == 1 or not old
        (tmp_path / "m.yaml").write_text(MIXTURE.replace(old, new) if old else MIXTURE)
        return schema.load(tmp_path / "m.yaml")

    return load


def test_shards_that_are_trimmed_are_packed_whole(load):
    sources = {one.name: one for one in load("held_out: 10", "too_long: trim, min_reasoning: 64").value.sources}
    assert (sources["old"].packing, sources["old"].min_reasoning) == ("whole", 64)
    assert load().value.sources[2].packing == "chunk"


def test_weights_are_written_out(load, tmp_path):
    loaded = load()
    stable, anneal, last = schema.phase_specs(loaded)
    place = f"{tmp_path / 'm.yaml'}:"
    assert (stable.tokens, stable.fraction, stable.sequences) == (20_000_000, 0.8, None)
    web, old, code = stable.weights
    assert web == PhaseWeight("web", 0.6, where=f"{place}17")
    assert old == PhaseWeight("old", None, tokens=300_000, where=f"{place}18")
    assert isinstance(code, Group)
    assert (code.share, code.temperature, code.where) == ("rest", 2, f"{place}19")
    python, rated = code.members
    assert python == PhaseWeight("python", "size", "all", 3, where=f"{place}24")
    assert isinstance(rated, Group)
    buckets = [("rated@0", 0.5), ("rated@2", 3.0)]
    assert [(one.source, one.factor, one.share, one.max_epochs, one.loss) for one in rated.members] == [
        (name, factor, "size", 1, "all") for name, factor in buckets
    ]
    assert (anneal.sequences, anneal.tokens, anneal.change) == (2500, None, "linear")
    assert [(one.share, one.to, one.min_tokens) for one in anneal.sources()] == [(0.8, 0.2, 0), (0.2, 0.8, 10_000)]
    assert (last.tokens, last.sequences) == (None, None)
    assert [(one.epochs, one.max_epochs) for one in last.sources()] == [(1.5, None), (2.0, 7)]


def test_sources_are_written_out(load):
    spec = load().value
    names = [source.name for _, source in spec.bucketed]
    assert names == ["web", "rated@0", "rated@1", "rated@2", "old", "python"]
    assert spec.sources[0].outputs == ("out/a", "out/b")
    assert [one[:] for one in spec.sources[0].conditions[1:]] == [("score.x", ">", 0.5), ("score.x", "<=", 0.9)]
    ranges = [source.where["score.q"] for _, source in spec.bucketed if "score.q" in source.where]
    assert ranges == ["<0.3", ">=0.3, <0.7", ">=0.7"]


def test_a_bucket_keeps_what_its_source_selects(load):
    spec = load("    buckets: {column", '    where: {score.q: ">0.1", language: en}\n    buckets: {column').value
    lowest = next(source for _, source in spec.bucketed if source.name == "rated@0")
    assert [one[:] for one in lowest.conditions] == [
        ("score.q", ">", 0.1),
        ("score.q", "<", 0.3),
        ("language", "in", ["en"]),
    ]


WRONG = [
    ("documents: [out/a, out/b]", "documents: []", 6, "must not be empty"),
    ("documents: [out/a, out/b], where", "where", 6, "either documents: of curated outputs, or shards: of tokens"),
    ("documents: [out/a, out/b]", "documents: out/a, shards: out/b", 6, "either documents: of curated outputs"),
    ("documents: [out/a, out/b]", "documents: out/a, end_of_document: none", 6, "end_of_document is of shards"),
    ('">0.5, <=0.9"', '">0.9, <=0.5"', 6, "nothing lies between the bounds"),
    ('">0.5, <=0.9"', '">0.5, <0.5"', 6, "nothing lies between the bounds"),
    ('">0.5, <=0.9"', '">0.5, 0.9"', 6, "there is no comparison 0.9"),
    ('">0.5, <=0.9"', '">0.5, <=x"', 6, "compared with what is no number"),
    ("edges: [0.3, 0.7]", "edges: [0.7, 0.3]", 9, "the edges must ascend"),
    ("edges: [0.3, 0.7]", "edges: [0.3]", 9, "1 edges make 2 buckets: as many weights"),
    ("weights: [0.5, 0, 3]", "weights: [0, 0, 0]", 9, "no bucket has a weight above 0"),
    ("column: score.q", "column: date", 9, "score"),
    ("column: score.q", "colum: score.q", 9, "did you mean column?"),
    (
        "    documents: out/a\n",
        "    documents: out/a\n    held_out: 10\n",
        7,
        "of a source in buckets a share is held out",
    ),
    ("held_out: 10", "template: chatml", 10, "template is of documents"),
    ("held_out: 10", "too_long: trim, pack: chunk", 10, "too_long: trim is of whole conversations"),
    ("documents: [out/a, out/b]", "documents: out/a, too_long: trim", 6, "too_long: trim is of whole conversations"),
    ("fraction: 0.8", "fraction: 0.8\n    tokens: 5M", 13, "one of tokens, sequences and fraction"),
    ("fraction: 0.8", "fraction: 1.5", 15, "less than or equal to 1"),
    ("    sequences: 2500", "    fraction: 0.3", 27, "the fractions of the phases sum to 1.1"),
    ("total_tokens: 20M\n", "", 14, "a fraction of what? total_tokens is missing"),
    ("fraction: 0.8", "tokens: 16M", 4, "no phase is a fraction of it"),
    ("web: 60%", "web: 160%", 17, "a share is a number from 0 to 1, or rest, or size"),
    ("web: 60%", "web: x%", 17, "not a share"),
    ("web: 60%", "web: most", 17, "a share is a number from 0 to 1, or rest, or size"),
    ("web: 60%", "web: true", 17, "a share is a number"),
    ("web: 60%", "web: {}", 17, "a weight is one of share, tokens and epochs, or from and to"),
    ("web: 60%", "web: {share: 0.6, tokens: 5}", 17, "a weight is one of share, tokens and epochs"),
    ("web: 60%", "web: {shar: 0.6}", 17, "did you mean share?"),
    ("temperature: 2", "temperature: 0.0001", 23, "greater than or equal to 0.01"),
    ("web: 60%", "web: {share: 0.6, temperature: 2}", 17, "a temperature is of a group"),
    ("web: 60%", "web: {from: 0.6}", 17, "has both from and to"),
    ("web: 60%", "web: {from: 0.6, to: 0.5}", 17, "the phase does not change"),
    ("web: 60%", "web: rest", 17, "only one weight can take the rest"),
    ("web: 60%", "web: size", 19, "only one weight can take the rest"),
    ("old: {tokens: 300K}", "old: {epochs: 0}", 18, "greater than 0"),
    ("old: {tokens: 300K}", "old: {tokens: 1.5}", 18, "must be a whole number"),
    ("old: {tokens: 300K}", "old: {tokens: 9M}", 19, "nothing is left for code"),
    ("python: size,", "pyhton: size,", 24, "did you mean python?"),
    ("python: size,", "python: size, web: size,", 24, "web has two weights in this phase"),
    ("      code:", "      old2:", 0, ""),
    ("      code:", "      python:", 19, "python is a source: a group has a name of its own"),
    ("        loss: all", "        epochs: 2", 19, "a weight is one of share, tokens and epochs"),
    ("        loss: all", "        min_tokens: 2", 19, "epochs and min_tokens are of a source, not of a group"),
    ("rated: {share: size, max_epochs: 1}", "rated: {epochs: 1}", 24, "this is a group of buckets"),
    ("{python: size,", "{python: {from: 0.1, to: 0.2},", 24, "the phase does not change"),
    ("change: linear", "change: linaer", 28, "did you mean linear?"),
    ("    change: linear\n", "", 29, "the phase does not change"),
    ("python: {from: 0.2, to: 0.8,", "python: {from: 0.2, to: 0.7,", 29, "the weights do not sum to 1"),
    ("    weights: {old: {epochs: 1.5}", "    weights: {web: 0.5, old: {epochs: 1.5}", 0, ""),
    ("  - name: last\n", "  - name: last\n    change: cosine\n", 33, "none has from and to"),
]


@pytest.mark.parametrize(("old", "new", "line", "problem"), [one for one in WRONG if one[2]])
def test_what_cannot_be_right_is_refused_with_its_line(load, old: str, new: str, line: int, problem: str):
    with pytest.raises(ConfigError) as wrong:
        load(old, new)
    assert problem in str(wrong.value)
    assert f"m.yaml:{line}: " in str(wrong.value)


@pytest.mark.parametrize(("old", "new"), [one[:2] for one in WRONG if not one[2]])
def test_what_only_sizes_can_tell_is_loaded(load, old: str, new: str):
    assert load(old, new).value.name == "mixed"

"""Every form of a mixture, built from real stages on little data: what is realised is what was written."""

import re
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from datatrove.pipeline.tokens.tokenizer import TokenizedFile
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import schema
from midtrain.mixtures.built import Built
from midtrain.mixtures.plans.weights import Group
from midtrain.pipelines import build as builds

EXAMPLE = Path(__file__).parents[2] / "examples/mixtures/every_form.yaml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory, curated_workshop, built_workshop):
    """A workshop with two curated outputs that have scores, dates and languages, and a tokenizer that is a file."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("forms"))
    texts = found.texts(160, seed=9)
    german = [text.replace("the", "die").replace("and", "und").replace("river", "Fluss Ufer Weg") for text in texts]
    both = [text for pair in zip(texts[:80], german[:80], strict=True) for text in pair]
    dated = [{**one, "date": f"{2018 + i % 6}-0{1 + i % 9}-11"} for i, one in enumerate(found.records("p", both))]
    found.jsonl("pages.jsonl", dated)
    found.jsonl("more.jsonl", found.records("m", texts[80:]))
    found.jsonl("twins.jsonl", found.problems("twin", 150))
    step = [{"language": {"keep": ["en", "de"], "min_score": 0}}]
    data = found.root / "data"
    for output, name in (("one", "pages"), ("two", "more")):
        source = {"name": name, "path": f"{data}/{name}.jsonl", "format": "jsonl"}
        found.curate(output=str(found.root / output), sources=[source], steps=step)
    (tokenizer,) = built_workshop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
    found.tokenizer = {"path": str(tokenizer), "end_of_document": "<|end|>"}
    return found


def build(shop, tmp_path, sources, phases, **more):
    """Rows of a build by phase and source, and the built mixture."""
    output = str(tmp_path / "shards")
    given = {"output": output, "tokenizer": shop.tokenizer, "sources": sources, "phases": phases, "seed": 3, **more}
    base = {"name": "forms", **given}
    loaded = schema.load(shop.yaml(f"{tmp_path.name}.yaml", base))
    from midtrain.pipelines.executor import InProcess
    from midtrain.progress import Progress

    result = builds.build(loaded, InProcess(), Progress(shown=False))
    return {(row["phase"], row["source"]): row for row in result.rows}, Built.open(output)


def source(shop, name, *outputs, **more):
    documents = [str(shop.root / one) for one in outputs or ("one",)]
    return {"name": name, "documents": documents if len(documents) > 1 else documents[0], **more}


def phase(weights, name="p", **more):
    return {"name": name, "sequence_length": 64, "weights": weights, **more}


def ids_of(built, name):
    shards = built.shards(name)
    return [one for part in range(len(shards.parts)) for one in shards.documents(part).column("id").to_pylist()]


def realised(built, name="p"):
    """Sequences and non-padding tokens of each source, counted from the batches that a trainer gets."""
    found = built.phases[name]
    batch = built.batch(name, 0, found.sequences)
    tokens = (batch.segments >= 0).sum(axis=1)
    sources = [found.source_names[i] for i in batch.sources]
    counted = Counter()
    for one, count in zip(sources, tokens.tolist(), strict=True):
        counted[one] += count
    return Counter(sources), counted


def assert_realised(rows, built, name="p", extra=0):
    """The batches are the table, and the table is what was asked for to half a sequence."""
    sequences, tokens = realised(built, name)
    for (of, source_name), row in rows.items():
        if of == name:
            assert (sequences[source_name], tokens[source_name]) == (row["sequences"], row["tokens"])
            assert abs(row["tokens"] - row["planned_tokens"]) <= built.phases[name].sequence_length / 2 + extra


def test_several_outputs_are_one_source(shop, tmp_path):
    rows, built = build(shop, tmp_path, [source(shop, "all", "one", "two")], [phase({"all": 1}, tokens=4000)])
    expected = {row["id"] for output in ("one", "two") for row in shop.rows(output)}
    assert set(ids_of(built, "all")) == expected
    assert {one[0] for one in expected} == {"p", "m"}
    assert_realised(rows, built)


def test_outputs_that_hold_the_same_documents_are_refused(shop, tmp_path):
    """Curated anew by another recipe: the outputs differ, the documents are the same."""
    data = shop.root / "data/more.jsonl"
    again = {"name": "more", "path": str(data), "format": "jsonl"}
    shop.curate(output=str(shop.root / "again"), sources=[again], steps=[{"length": {"min_chunks": 1}}])
    with pytest.raises(RunError, match="its outputs hold the same documents") as wrong:
        build(shop, tmp_path, [source(shop, "all", "two", "again")], [phase({"all": 1}, tokens=1000)])
    assert re.search(r"such as m\d+", wrong.value.seen)


def test_the_order_of_outputs_changes_no_shard(shop, tmp_path):
    found = []
    for number, outputs in enumerate((("one", "two"), ("two", "one"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        _, built = build(shop, folder, [source(shop, "all", *outputs)], [phase({"all": 1}, tokens=2000)])
        found.append(built.batch("p", 0, 20).tokens.tolist())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ({"date": ">=2019, <2021-05"}, lambda row: "2019" <= (row["date"] or "") < "2021-05"),
        ({"score.language.en": ">0.2, <=0.9"}, lambda row: 0.2 < row["score.language.en"] <= 0.9),
        (
            {"score.language.en": ">=0.5", "date": "<2021"},
            lambda row: row["score.language.en"] >= 0.5 and row["date"] < "2021",
        ),
        ({"language": ["de"]}, lambda row: row["language"] == "de"),
    ],
)
def test_ranges_select_what_lies_in_them(shop, tmp_path, where, holds):
    _, built = build(shop, tmp_path, [source(shop, "some", where=where)], [phase({"some": {"epochs": 1}})])
    rows = shop.rows("one")
    expected = {row["id"] for row in rows if holds(row)}
    assert set(ids_of(built, "some")) == expected
    assert 0 < len(expected) < len(rows)


def test_buckets_are_drawn_by_weight_times_tokens(shop, tmp_path):
    buckets = {"column": "score.language.en", "edges": [0.3, 0.8], "weights": [1, 0, 4]}
    one = source(shop, "rated", buckets=buckets)
    weights = {"rated": {"share": 0.75, "max_epochs": 9}, "plain": {"share": 0.25, "max_epochs": 9}}
    rows, built = build(shop, tmp_path, [one, source(shop, "plain", "two")], [phase(weights, tokens=6000)])
    scores = {row["id"]: row["score.language.en"] for row in shop.rows("one")}
    borders = [-1.0, 0.3, 0.8, 2.0]
    for bucket in range(3):
        low, high = borders[bucket : bucket + 2]
        inside = {name for name, score in scores.items() if low <= score < high}
        assert set(ids_of(built, f"rated@{bucket}")) == inside if inside else True
    sizes = [built.shards(f"rated@{bucket}").part_tokens.sum() for bucket in (0, 2)]
    total = Fraction(int(sizes[0])) + 4 * int(sizes[1])
    for bucket, factor in ((0, 1), (2, 4)):
        expected = 4500 * factor * int(sizes[bucket // 2]) / total
        assert rows["p", f"rated@{bucket}"]["planned_tokens"] == round(expected)
    assert ("p", "rated@1") not in rows
    assert_realised(rows, built)


def test_a_document_without_the_score_of_its_buckets_is_an_error(shop, tmp_path, workshop):
    texts = workshop.texts(12)
    workshop.jsonl("a.jsonl", workshop.records("a", texts[:6]))
    workshop.jsonl("b.jsonl", workshop.records("b", texts[6:]))
    data = workshop.root / "data"
    workshop.curate(
        sources=[{"name": name, "path": f"{data}/{name}.jsonl", "format": "jsonl"} for name in "ab"],
        steps=[{"language": {"keep": ["en"], "min_score": 0, "sources": ["a"]}}],
    )
    buckets = {"column": "score.language.en", "edges": [0.5], "weights": [1, 1]}
    one = {"name": "rated", "documents": str(workshop.root / "out"), "buckets": buckets}
    with pytest.raises(RunError, match=r"a document has no score\.language\.en") as wrong:
        build(shop, tmp_path, [one], [phase({"rated": 1}, tokens=100)])
    assert "document b" in wrong.value.where
    scored = {**one, "where": {"source": "a"}}
    rows, _ = build(shop, tmp_path / "a", [scored], [phase({"rated": {"share": 1, "max_epochs": 9}}, tokens=400)])
    assert sum(row["tokens"] for row in rows.values()) == pytest.approx(400, abs=64)


def test_tokens_epochs_rest_and_groups_in_one_phase(shop, tmp_path):
    sources = [source(shop, name, where={"source": "pages"}) for name in ("web", "old", "x", "y")]
    sources += [source(shop, "fi", "two"), source(shop, "ko", where={"language": "de"})]
    weights = {
        "web": 0.4,
        "old": {"tokens": 700},
        "x": {"share": "rest", "max_epochs": 9},
        "langs": {"share": 0.2, "temperature": 2, "max_epochs": 9, "sources": {"fi": "size", "ko": "size"}},
        "group": {"share": 0.1, "sources": {"y": 1}},
    }
    rows, built = build(shop, tmp_path, sources, [phase(weights, tokens=9000)])
    planned = {name: row["planned_tokens"] for (_, name), row in rows.items()}
    fi, ko = (float(built.shards(name).part_tokens.sum()) ** 0.5 for name in ("fi", "ko"))
    expected = {"web": 3600, "old": 700, "y": 900, "x": 9000 - 3600 - 700 - 900 - 1800}
    assert planned == {**expected, "fi": round(1800 * fi / (fi + ko)), "ko": round(1800 * ko / (fi + ko))}
    assert_realised(rows, built)


def test_epochs_are_all_tokens_so_often(shop, tmp_path):
    one = [source(shop, "web"), source(shop, "more", "two")]
    phases = [
        phase({"web": {"epochs": 0.5}, "more": {"tokens": 500}}, "first"),
        phase({"web": {"epochs": 2}}, "second", sequence_length=128),
    ]
    rows, built = build(shop, tmp_path, one, phases)
    total = int(built.shards("web").part_tokens.sum())
    assert rows["first", "web"]["planned_tokens"] == round(total / 2)
    assert rows["second", "web"]["planned_tokens"] == 2 * total
    assert rows["second", "web"]["epochs"] == pytest.approx(2.5, abs=0.03)
    assert_realised(rows, built, "first")
    assert_realised(rows, built, "second")


@pytest.mark.parametrize("sequences", [17, 60])
def test_a_phase_is_exactly_so_many_sequences(shop, tmp_path, sequences):
    one = [source(shop, "web"), source(shop, "more", "two", pack="whole", too_long="split")]
    rows, built = build(shop, tmp_path, one, [phase({"web": 0.7, "more": 0.3}, sequences=sequences)])
    assert built.phases["p"].sequences == sequences
    assert_realised(rows, built, extra=1)


def test_fractions_are_of_all_tokens(shop, tmp_path):
    one = [source(shop, "web"), source(shop, "more", "two")]
    phases = [phase({"web": 0.5, "more": 0.5}, "a", fraction=0.75), phase({"more": 1}, "b", fraction=0.25)]
    rows, built = build(shop, tmp_path, one, phases, total_tokens="4K")
    assert [rows[key]["planned_tokens"] for key in (("a", "more"), ("a", "web"), ("b", "more"))] == [1500, 1500, 1000]
    assert_realised(rows, built, "a")
    assert_realised(rows, built, "b")


@pytest.mark.parametrize(("change", "early"), [("linear", 0.725), ("cosine", 0.79)])
def test_shares_change_within_a_phase(shop, tmp_path, change, early):
    """In the first quarter a source that falls from 0.8 to 0.2 has its mean there, not that of the phase."""
    one = [source(shop, "web"), source(shop, "more", "two")]
    weights = {"web": {"from": 0.8, "to": 0.2, "max_epochs": 9}, "more": {"share": "rest", "max_epochs": 9}}
    rows, built = build(shop, tmp_path, one, [phase(weights, tokens=64 * 400, change=change)])
    assert [row["share"] for row in rows.values()] == [0.5, 0.5]
    assert_realised(rows, built)
    found = built.phases["p"]
    sources = built.batch("p", 0, found.sequences).sources == found.source_names.index("web")
    quarter = found.sequences // 4
    expected = {"linear": 0.8 - 0.6 / 8, "cosine": 0.5 + 0.3 * np.sin(np.pi / 4) / (np.pi / 4)}[change]
    assert expected == pytest.approx(early, abs=0.02)
    assert sources[:quarter].mean() == pytest.approx(expected, abs=2 / quarter)
    assert sources[-quarter:].mean() == pytest.approx(1 - expected, abs=2 / quarter)


def test_loss_and_max_epochs_of_a_group_are_its_sources(shop, tmp_path, curated_workshop):
    out = str(curated_workshop.root / "out")
    talk = {"name": "talk", "documents": out, "where": {"source": "worked"}, "template": "chatml", "too_long": "split"}
    weights = {
        "web": 0.5,
        "rest": {
            "share": 0.5,
            "loss": "all",
            "max_epochs": 50,
            "sources": {"talk": 0.5, "more": {"share": 0.5, "max_epochs": 1}},
        },
    }
    sources = [source(shop, "web"), source(shop, "more", "two"), talk]
    _, built = build(shop, tmp_path, sources, [phase(weights, tokens=4000)])
    order = built.order.phase("p")
    assert dict(zip(order.sources, order.loss, strict=True)) == {"more": "all", "talk": "all", "web": "assistant"}
    with pytest.raises(ConfigError, match=r"source more: the source would repeat") as wrong:
        build(shop, tmp_path / "more", sources, [phase(weights, tokens=80_000)])
    assert "source talk" not in str(wrong.value)


def test_the_example_loads_and_has_every_form():
    loaded = schema.load(EXAMPLE)
    spec, phases = loaded.value, schema.phase_specs(loaded)
    weights = [weight for section in spec.phases for weight in section.weights.values()]
    below = [inner for weight in weights if weight.sources for inner in weight.sources.values()]
    every = [*weights, *below, *(last for one in below if one.sources for last in one.sources.values())]
    for key in ("share", "tokens", "epochs", "start", "to", "sources", "loss", "max_epochs"):
        assert any(getattr(weight, key) is not None for weight in every), key
    assert any(weight.min_tokens for weight in every)
    assert any(weight.temperature != 1 for weight in every)
    assert {"rest", "size"} <= {weight.share for weight in every}
    assert [section.sequences is not None for section in spec.phases] == [False, True, False]
    assert [section.fraction for section in spec.phases] == [0.6, None, None]
    assert [section.tokens for section in spec.phases] == [None] * 3
    assert spec.phases[1].change == "cosine"
    assert {source.too_long for source in spec.sources} == {"error", "drop", "split"}
    assert any(len(source.outputs) > 1 for source in spec.sources)
    assert {source.end_of_document for source in spec.sources if source.shards} == {None, "<|endoftext|>", "none"}
    assert [name for _, source in spec.bucketed for name in [source.name] if "@" in name] == [
        f"rated@{i}" for i in range(3)
    ]
    assert any(isinstance(weight, Group) and weight.name == "rated" for weight in phases[0].weights)
    used = {weight.source.partition("@")[0] for one in phases for weight in one.sources()}
    assert used == {source.name for source in spec.sources}


def test_tokens_of_others_are_mixed_with_documents(shop, tmp_path):
    folder = tmp_path / "tokens"
    folder.mkdir()
    file = TokenizedFile(str(folder), "x.ds", token_size=2)
    for number in range(60):
        file.write([10 + (number * 7 + i) % 200 for i in range(5 + number % 9)], None)
    file.close()
    sources = [source(shop, "web"), {"name": "old", "shards": str(folder), "end_of_document": "none"}]
    weights = {"web": 0.8, "old": {"share": "rest", "max_epochs": 4}}
    rows, built = build(shop, tmp_path, sources, [phase(weights, tokens=3000)])
    assert rows["p", "old"]["planned_tokens"] == 600
    assert rows["p", "old"]["available"] == sum(6 + number % 9 for number in range(60))
    assert_realised(rows, built)

"""The plan of a mixture: exact where tokens stand, near where they do not, refusals with the table, nothing written."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain import storage
from midtrain.mixtures import schema
from midtrain.mixtures.schema import MixtureSource
from midtrain.mixtures.trimming import Trimmed, joined
from midtrain.pipelines import plan_mixture, token_sample
from midtrain.pipelines.existing_tokens import select_tokens
from midtrain.pipelines.known_files import KnownFiles

ROWS = (
    "phase",
    "source",
    "available",
    "planned_tokens",
    "sequences",
    "tokens",
    "padding",
    "dropped_documents",
    "epochs",
)


def rows_of(said, *names):
    return [tuple(row[name] for name in names or ROWS) for row in orjson.loads(said.out)["rows"]]


def test_where_tokens_stand_the_plan_is_the_build(shop, midtrain):
    built = shop.build()
    before = shop.hashes("shards")
    said = midtrain("plan", shop.yaml("mixture.yaml", shop.mixture()), "--json")
    assert (said.code, said.err) == (0, "")
    assert rows_of(said) == [tuple(row[name] for name in ROWS) for row in built.rows]
    assert not any(row["estimated"] for row in orjson.loads(said.out)["rows"])
    assert shop.hashes("shards") == before
    text = midtrain("plan", shop.root / "mixture.yaml").out
    assert "exact: all tokens stand" in text
    assert "~" not in text


def test_another_mixture_over_tokens_that_stand_is_planned_exactly_too(shop, midtrain):
    shop.build()
    first, second = shop.mixture()["phases"]
    phases = [{**first, "sequence_length": 96}, {**second, "name": "third", "tokens": 900}]
    said = midtrain("plan", shop.yaml("other.yaml", shop.mixture(phases=phases)), "--json")
    planned = rows_of(said)
    built = shop.build(phases=phases, overwrite=True)
    assert planned == [tuple(row[name] for name in ROWS) for row in built.rows]


def test_a_plan_of_documents_is_estimated_and_writes_nothing(shop, midtrain):
    mixture = shop.yaml("mixture.yaml", shop.mixture())
    said = midtrain("plan", mixture, "--json")
    assert said.code == 0
    assert not (shop.root / "shards").exists()
    planned = {(row["phase"], row["source"]): row for row in orjson.loads(said.out)["rows"]}
    assert all(row["estimated"] for row in planned.values())
    built = {(row["phase"], row["source"]): row for row in shop.build().rows}
    assert planned.keys() == built.keys()
    for key, row in built.items():
        assert planned[key]["planned_tokens"] == row["planned_tokens"]
        for name in ("available", "sequences", "epochs"):  # of 140 short documents, by a tokenizer trained on half
            assert planned[key][name] == pytest.approx(row[name], rel=0.35)
    text = midtrain("plan", shop.yaml("again.yaml", shop.mixture(output=str(shop.root / "other")))).out
    assert "~ is estimated from a sample" in text
    assert "a tokenizer trained on it" in text


def test_what_cannot_be_is_refused_with_the_table(shop, midtrain):
    first, second = shop.mixture()["phases"]
    phases = [{**first, "weights": {"web": 0.9, "worked": 0.099, "twins": 0.001}}, {**second, "tokens": "10M"}]
    wrong = shop.yaml("wrong.yaml", shop.mixture(phases=phases))
    said = midtrain("plan", wrong)
    assert said.code == 2
    assert [line.split()[0] for line in said.out.splitlines()[1:5]] == ["first"] * 4
    assert "source twins: the source would not appear" in said.err
    assert "would repeat more often" in said.err
    assert f"{wrong}:" in said.err
    assert "Traceback" not in said.err
    shop.build()
    exact = midtrain("plan", wrong, "--json")
    data = orjson.loads(exact.out)
    assert exact.code == 2
    assert len(data["refusals"]) >= 2
    assert next(row["sequences"] for row in data["rows"] if row["source"] == "twins") == 0


def test_a_request_within_the_error_of_an_estimate_is_not_refused(shop, midtrain):
    """A sample may be a tenth wrong: only the tokens themselves decide whether 99 % of them are there."""
    total = shop.build().rows[0]["available"]
    first = shop.mixture()["phases"][0]
    for tokens, code in ((int(total * 0.99), 0), (2 * total, 2)):
        phases = [{**first, "tokens": tokens, "weights": {"twins": 1}}]
        other = shop.mixture(phases=phases, output=str(shop.root / "elsewhere"))
        other["sources"] = [one for one in other["sources"] if one["name"] == "twins"]
        (tokenizer,) = shop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
        other["tokenizer"] = {"path": str(tokenizer), "end_of_document": "<|end|>"}
        assert midtrain("plan", shop.yaml("other.yaml", other)).code == code


def test_a_recipe_and_a_mixture_are_told_apart(shop, midtrain, corpus):
    assert schema.is_mixture(shop.yaml("mixture.yaml", shop.mixture()))
    assert not schema.is_mixture(corpus.yaml("recipe.yaml", corpus.recipe()))
    assert not schema.is_mixture(shop.root / "none.yaml")
    said = midtrain("plan", shop.root / "mixture.yaml", "--workers", 2)
    assert (said.code, "--workers is of a recipe's plan" in said.err) == (2, True)
    assert midtrain("plan", shop.root / "none.yaml").code == 2


def test_a_large_source_is_looked_through_in_parts(shop, monkeypatch):
    """Stretched from a few parts, and a few documents of them, it comes near to what all of it says."""
    loaded = schema.load(shop.yaml("mixture.yaml", shop.mixture()))
    whole = {row.source: row.available for row in plan_mixture.plan(loaded).rows}
    monkeypatch.setattr(token_sample, "LOOK_BYTES", 4000)
    monkeypatch.setattr(token_sample, "SAMPLE_BYTES", 2000)
    few = {row.source: row.available for row in plan_mixture.plan(loaded).rows}
    assert few != whole
    for name, tokens in whole.items():
        assert few[name] == pytest.approx(tokens, rel=0.5)


def every_second(path, shop):
    """A corpus of half the size, of which a sample is a part all the same."""
    with storage.open_stream(str(path)) as stream:
        return shop.jsonl("mail.jsonl", stream.read().splitlines()[::2])


@pytest.fixture(scope="module")
def real(tmp_path_factory, curated_workshop):
    if "MIDTRAIN_DATA" not in os.environ:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    data, shop = Path(os.environ["MIDTRAIN_DATA"]), type(curated_workshop)(tmp_path_factory.mktemp("real"))
    reasoning = {"prompt": "question", "reasoning": "solution", "response": "answer", "answer": "answer"}
    shop.curate(
        sources=[
            {"name": "mail", "path": every_second(data / "text/spam_assassin.jsonl.zst", shop)},
            {"name": "traces", "path": f"{data}/cot/r1_distill_long_think.jsonl.gz"},
            {"name": "gsm8k", "path": f"{data}/cot/gsm8k_train.jsonl.gz", "format": "reasoning", "fields": reasoning},
        ],
        steps=[{"language": {"keep": ["en"], "min_score": 0, "sources": ["mail"]}}],
    )
    return shop, data


@pytest.mark.slow
@pytest.mark.parametrize("trained", [False, True])
def test_estimates_are_within_a_tenth_of_real_builds(real, tmp_path, trained):
    shop, data = real
    out = str(shop.root / "out")
    whole = {"pack": "whole", "too_long": "drop", "max_lost": "100%"}
    given = {"path": f"{data}/tokenizers/gpt2.tokenizer.json"}
    made = {"train": {"vocab_size": 8192, "sources": ["mail", "gsm8k"]}}
    mixture = {
        "output": str(tmp_path / "shards"),
        "tokenizer": made if trained else given,
        "sources": [
            {"name": "mail", "documents": out, "where": {"source": "mail"}, "held_out": "1%"},
            {"name": "clear", "documents": out, "where": {"source": "mail", "score.language.en": ">0.9, <=1"}},
            {"name": "traces", "documents": out, "where": {"source": "traces"}, **whole},
            {"name": "gsm8k", "documents": out, "where": {"source": "gsm8k"}, "pack": "whole", "held_out": 300},
        ],
        "phases": [
            {
                "name": "a",
                "sequence_length": 1024,
                "tokens": "2M",
                "weights": {"mail": 0.6, "clear": 0.3, "gsm8k": 0.1},
            },
            {"name": "b", "sequence_length": 4096, "weights": {"traces": {"epochs": 1}, "gsm8k": {"epochs": 2}}},
            {
                "name": "c",
                "sequence_length": 2048,
                "sequences": 400,
                "weights": {"mail": 0.5, "traces": {"share": 0.5, "max_epochs": 9}},
            },
        ],
    }
    planned = plan_mixture.plan(schema.load(shop.yaml("mixture.yaml", shop.mixture(**mixture)))).rows
    built = shop.build(**mixture).rows
    assert [(row.phase, row.source) for row in planned] == [(row["phase"], row["source"]) for row in built]
    for row, real_row in zip(planned, built, strict=True):
        assert row.estimated
        for name in ("available", "planned_tokens", "sequences", "tokens", "epochs"):
            assert getattr(row, name) == pytest.approx(real_row[name], rel=0.1), (row.phase, row.source, name)
        padding = [one["padding"] / (one["padding"] + one["tokens"]) for one in (vars(row), real_row)]
        assert abs(padding[0] - padding[1]) < 0.02
    dropped = [(row.dropped_documents, other["dropped_documents"]) for row, other in zip(planned, built, strict=True)]
    assert max(other for _, other in dropped) > 0
    for ours, other in dropped:
        assert abs(ours - other) <= 0.25 * other + 3


@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 7))
def test_every_so_many_th_is_that_of_all_together(sizes: list[int], step: int):
    numbers = np.arange(sum(sizes))
    parts = np.split(numbers, np.cumsum(sizes)[:-1]) if sizes else []
    found = [number for part in plan_mixture._every(step, parts) for number in part.tolist()]
    assert found == numbers[::step].tolist()


@pytest.mark.parametrize("most", [1 << 20, 7, 1])
@pytest.mark.parametrize("end", ["none", "</s>"])
def test_of_tokens_elsewhere_a_sample_of_the_lengths_is_taken_through_all_files(tmp_path, monkeypatch, most, end):
    monkeypatch.setattr(plan_mixture, "MOST_LENGTHS", most)
    rng = np.random.default_rng(2)
    lengths = [rng.integers(0, 9, size) for size in (5, 1, 13, 8)]
    for number, own in enumerate(lengths):
        np.zeros(own.sum(), "<u2").tofile(tmp_path / f"{number}.ds")
        np.cumsum(own).astype("<u8").tofile(tmp_path / f"{number}.ds.index")
    source = MixtureSource(name="s", shards=str(tmp_path), end_of_document=end)
    selection = select_tokens(source, "m.yaml:1", KnownFiles(tmp_path / "inputs.json"))
    found = plan_mixture._standing_elsewhere(selection)
    whole = np.concatenate(lengths)
    whole = whole[whole > 0] + (end == "none")
    every = -(-len(whole) // most)
    assert found.lengths.tolist() == whole[::every].tolist()
    assert (found.documents, found.tokens) == (len(whole), int(whole.sum()))


@pytest.mark.parametrize("every", [1, 2, 3, 10])
def test_every_so_many_th_document_is_trimmed_as_it_is_among_all(monkeypatch, every):
    """Part by part, so that no more is held than what is looked at."""
    rng = np.random.default_rng(4)
    parts = []
    for documents in (4, 1, 7, 6):
        ranges = rng.integers(0, 3, documents)
        offsets = np.append(0, np.cumsum(ranges))
        starts = np.arange(offsets[-1]) * 10
        parts.append(Trimmed(offsets, starts, starts + 5, rng.integers(0, 9, documents), rng.integers(0, 9, documents)))
    monkeypatch.setattr(plan_mixture, "Trimming", lambda *_: SimpleNamespace(part=lambda part, limit: parts[part]))
    shards = SimpleNamespace(part_documents=np.array([4, 1, 7, 6], np.uint64))
    selection = SimpleNamespace(shards=shards, source=SimpleNamespace(min_reasoning=0))
    found = plan_mixture._trimming(selection, every)(64)
    expected = joined(parts).of(np.arange(0, 18, every))
    for name in ("offsets", "starts", "stops", "reasoning", "kept"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))

"""Exact deduplication through its stages, against a loop over a dictionary: the first in the recipe's order stays."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain import errors
from midtrain.pipelines import choose_duplicates, inputs

TEXTS = ["a", "b", "ab", "", " ", "é", "é", "long " * 40, "c\n", "c", "日本"]


def reference(sources, compared):
    """Which ids stay, and which of them stands for each that goes."""
    first, kept, partner = {}, [], {}
    for name, documents in sources:
        for identity, text in documents:
            if name in compared and text in first:
                partner[identity] = first[text]
                continue
            if name in compared:
                first[text] = identity
            kept.append(identity)
    return kept, partner


def run(workshop, sources, step):
    for name, documents in sources:
        workshop.jsonl(f"{name}.jsonl", [{"id": identity, "text": text} for identity, text in documents])
    specs = [
        {"name": name, "path": str(workshop.root / f"data/{name}.jsonl"), "format": "jsonl"} for name, _ in sources
    ]
    workshop.curate(sources=specs, steps=[{"exact_dedup": step}])
    gone = {row["id"]: row for row in workshop.rows("out", "dropped")}
    return [row["id"] for row in workshop.rows("out")], gone


@pytest.fixture
def small_pieces(monkeypatch):
    """Many parts and several partitions, of very little text."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 120)
    monkeypatch.setattr(choose_duplicates, "ROWS_PER_PARTITION", 5)


@pytest.mark.usefixtures("small_pieces")
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=12), min_size=1, max_size=3), st.data())
def test_the_first_of_equal_texts_stays(workshop, many, data):
    names = [f"s{number}" for number in range(len(many))]
    compared = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    sources = [
        (name, [(f"{name}-{i}", text) for i, text in enumerate(texts)]) for name, texts in zip(names, many, strict=True)
    ]
    with tempfile.TemporaryDirectory(dir=workshop.root) as folder:
        kept, gone = run(type(workshop)(Path(folder)), sources, {"sources": compared})
    assert (kept, {name: row["partner"] for name, row in gone.items()}) == reference(sources, compared)
    for row in gone.values():
        assert (row["step"], row["rule"], row["value"], row["threshold"]) == ("exact_dedup", "duplicate", None, None)
        assert row["source"] == row["id"].partition("-")[0]


@pytest.mark.usefixtures("small_pieces")
def test_parts_and_partitions_change_nothing(workshop, monkeypatch):
    texts = workshop.texts(60)
    sources = [
        ("x", [(f"x{i}", text) for i, text in enumerate(texts)]),
        ("y", [(f"y{i}", t) for i, t in enumerate(texts[::-1])]),
    ]
    cut = run(workshop, sources, {})
    manifest = (workshop.root / "out" / "manifest.json").read_bytes()
    assert manifest.count(b"part-") > 10
    monkeypatch.undo()
    whole_shop = type(workshop)(workshop.root / "whole")
    whole = run(whole_shop, sources, {})
    assert cut == whole
    assert set(whole[1]) >= {f"y{i}" for i in range(60)}
    kept = set(whole[0])
    assert all(row["partner"] in kept for row in whole[1].values())


def test_what_only_the_exchange_needed_is_removed(workshop):
    run(workshop, [("x", [("x0", "same"), ("x1", "same")])], {})
    assert sorted(path.name.rpartition("-")[0] for path in (workshop.root / "out/stages").iterdir()) == [
        "exact_dedup",
        "read",
    ]


def test_two_deduplications_stand_in_one_recipe(workshop):
    workshop.jsonl("x.jsonl", workshop.records("x", ["one", "two", "one"]))
    specs = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    result = workshop.curate(sources=specs, steps=[{"exact_dedup": {}}, {"exact_dedup": {}}])
    assert [counts["kept"] for _, counts in result.stages] == [3, 2, 2]


def test_nothing_to_compare_is_no_fault(workshop):
    workshop.jsonl("x.jsonl", workshop.records("x", ["one two"]))
    specs = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    steps = [{"gopher_quality": {"min_words": 30}}, {"exact_dedup": {}}]
    with pytest.raises(errors.RunError, match="nothing is left") as caught:
        workshop.curate(sources=specs, steps=steps)
    assert caught.value.seen == "gopher_quality.words 1"

"""Exact deduplication through its stages, against a loop over a dictionary: the order of keep, then ids, decide."""

import random
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain import errors
from midtrain.pipelines import inputs
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.duplicates import exact

TEXTS = ["a", "b", "ab", "", " ", "é", "é", "long " * 40, "c\n", "c", "日本"]


def reference(sources, compared):
    """Which ids stay, and which of them stands for each that goes: of the first source, the smallest."""
    first = {}
    for name, documents in sources:
        if name in compared:
            own = {}
            for identity, text in documents:
                own[text] = min(own.get(text, identity), identity)
            first = {**own, **first}
    kept, partner = [], {}
    for name, documents in sources:
        for identity, text in documents:
            if name in compared and first[text] != identity:
                partner[identity] = first[text]
            else:
                kept.append(identity)
    return kept, partner


def run(workshop, sources, step, **options):
    records = [(name, [{"id": identity, "text": text} for identity, text in own]) for name, own in sources]
    return run_records(workshop, records, step, **options)


def run_records(workshop, sources, step, workers=0):
    for name, records in sources:
        workshop.jsonl(f"{name}.jsonl", records)
    specs = [
        {"name": name, "path": str(workshop.root / f"data/{name}.jsonl"), "format": "jsonl"} for name, _ in sources
    ]
    workshop.curate(sources=specs, steps=[{"exact_dedup": {"max_loss": None, **step}}], workers=workers)
    gone = {row["id"]: row for row in workshop.rows("out", "dropped")}
    return [row["id"] for row in workshop.rows("out")], gone


@pytest.fixture
def small_pieces(monkeypatch):
    """Many parts and several partitions, of very little text."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 120)
    monkeypatch.setattr(exact, "ROWS_PER_PARTITION", 5)


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
@pytest.mark.slow
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
    for workers in (0, 1, 2, 4):
        rng = random.Random(workers)
        shop = type(workshop)(workshop.root / f"whole-{workers}")
        whole = run(shop, [(name, rng.sample(own, len(own))) for name, own in sources], {}, workers=workers)
        assert (sorted(cut[0]), cut[1]) == (sorted(whole[0]), whole[1])
    assert set(whole[1]) >= {f"y{i}" for i in range(60)}
    kept = set(whole[0])
    assert all(row["partner"] in kept for row in whole[1].values())


def test_what_only_the_exchange_needed_is_removed(workshop):
    run(workshop, [("x", [("x0", "same"), ("x1", "same")])], {})
    assert sorted(path.name.rpartition("-")[0] for path in (workshop.root / "out/stages").iterdir()) == [
        "exact_dedup",
        "exact_dedup-choice",
        "read",
    ]


def test_two_deduplications_stand_in_one_recipe(workshop):
    workshop.jsonl("x.jsonl", workshop.records("x", ["one", "two", "one"]))
    specs = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    result = workshop.curate(sources=specs, steps=[{"exact_dedup": {}}, {"exact_dedup": {"normalize": True}}])
    assert [counts["kept"] for _, counts in result.stages] == [3, 2, 2]


def test_nothing_to_compare_is_no_fault(workshop):
    workshop.jsonl("x.jsonl", workshop.records("x", ["one two"]))
    specs = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    steps = [{"gopher_quality": {"min_words": 30}}, {"exact_dedup": {}}]
    with pytest.raises(errors.RunError, match="nothing is left") as caught:
        workshop.curate(sources=specs, steps=steps)
    assert caught.value.seen == "gopher_quality.words 1"


def test_the_copy_that_keep_asks_for_stays(workshop):
    """Ten copies that differ in what is between their words, in two sources."""
    records = [
        {"id": f"c{i}", "text": "The same" + "." * (i % 4) + " text", "date": f"2020-01-{10 + i * 3 % 10}"}
        for i in range(10)
    ]
    sources = [("x", records[:5]), ("y", records[5:])]
    orders = {
        ("source",): "c4",
        ("-source",): "c8",
        ("length",): "c3",
        ("-length", "date"): "c4",
        ("date",): "c3",
        ("-date", "source"): "c0",
    }
    best = {}
    for keep in orders:
        shop = type(workshop)(workshop.root / "-".join(keep))
        kept, gone = run_records(shop, sources, {"normalize": True, "keep": list(keep)})
        assert len(kept) == 1
        assert {row["partner"] for row in gone.values()} == set(kept)
        assert len(gone) == 9
        best[keep] = kept[0]
    assert best[("length",)] in {"c3", "c7"}
    assert best[("-length", "date")] == max(("c0", "c4", "c8"), key=lambda one: records[int(one[1])]["date"])
    assert best[("date",)] == max(records, key=lambda one: one["date"])["id"]
    assert best[("-date", "source")] == min(records, key=lambda one: one["date"])["id"]
    assert best[("source",)] in {f"c{i}" for i in range(5)}
    assert best[("-source",)] in {f"c{i}" for i in range(5, 10)}


@pytest.mark.parametrize("scores", [False, True])
def test_the_copy_with_the_better_score_stays(workshop, scores):
    """A score of an earlier step: a column that it adds, or, where a run keeps them, a rule's value."""
    texts = [
        "Same, same text for all of us here. It has some words.",
        "same same text for all of us here it has some words",
    ]
    workshop.jsonl("x.jsonl", [{"id": f"c{i}", "text": texts[i % 2]} for i in range(6)])
    specs = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    length = {"length": {"min_characters": 1}}
    step = {"exact_dedup": {"normalize": True, "keep": ["score.length.characters"], "max_loss": None}}
    if not scores:
        with pytest.raises(errors.ConfigError, match=r"score\.length\.characters") as caught:
            workshop.curate(sources=specs, steps=[length, step])
        assert "--scores" in str(caught.value.fix)
        return
    workshop.curate(sources=specs, steps=[length, step], scores=True)
    (path,) = (workshop.root / "out/stages").glob("exact_dedup-*/dropped/*.parquet")
    dropped = pq.read_table(path).to_pylist()
    assert sorted(row["id"] for row in dropped) == ["c1", "c2", "c3", "c4", "c5"]
    assert {row["partner"] for row in dropped} == {"c0"}


def test_a_score_that_no_earlier_step_has_is_refused_with_its_line(workshop):
    workshop.corpus()
    step = {"exact_dedup": {"keep": ["score.lenght.characters"]}}
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(steps=[{"length": {"min_characters": 1}}, step]))
    with pytest.raises(errors.ConfigError, match=r"score\.lenght\.characters") as caught:
        recipes.load(recipe)
    assert "score.length.characters" in str(caught.value.expected)
    assert str(caught.value.where).startswith(f"{recipe}:")


@pytest.mark.parametrize(("steps", "told"), [([], True), ([{"length": {"min_characters": 1}}], False)])
def test_an_output_of_row_numbers_says_how_to_get_plain_files(workshop, midtrain, steps, told):
    workshop.jsonl("x.jsonl", [{"id": f"x{i}", "text": f"text {i % 3}"} for i in range(5)])
    sources = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(sources=sources, steps=[{"exact_dedup": {}}, *steps]))
    out = workshop.root / "out"
    said = midtrain("curate", recipe, "--workers", 0)
    assert said.code == 0, said.err
    assert (f"midtrain write {out} FOLDER" in said.out) == told
    assert [path.name for path in (out / "stages").glob("*/rows/part-*.parquet")] == ["part-00000.parquet"] * told
    said = midtrain("write", out, workshop.root / "plain", "--workers", 0)
    assert said.code == 0, said.err
    written = [row for path in (workshop.root / "plain").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert sorted(row["id"] for row in written) == ["x0", "x1", "x2"]
    assert not any(name.startswith("scoring.") for row in written for name in row)

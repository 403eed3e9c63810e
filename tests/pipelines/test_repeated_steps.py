"""Steps of the same name in one recipe: each has its own bounds, its own scores, and its own verdicts."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from midtrain.pipelines import decide as deciding
from midtrain.pipelines import inputs, report
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.explain import explain
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

LEAST = {"a": 30, "b": 55}  # words


@pytest.fixture
def twins(workshop, monkeypatch):
    """Two sources of pages whose lines are sentences or menus; c4 sees both, twice."""
    for name, seed in (("a", 1), ("b", 2)):
        pages = []
        for number, text in enumerate(workshop.texts(90, seed)):
            lines = [line + "." * ((number + place) % 3 > 0) for place, line in enumerate(text.splitlines())]
            pages.append("\n".join(["Home | News", *lines, "This was the end of it."]))
        workshop.jsonl(f"{name}.jsonl", workshop.records(name, pages))
    sources = [{"name": name, "path": f"{workshop.root}/data/{name}.jsonl"} for name in LEAST]
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)
    workshop.sources = sources
    return workshop


def steps(least=None, second=3):
    least = least or LEAST
    return [
        *({"gopher_quality": {"sources": [name], "min_words": words}} for name, words in least.items()),
        {"c4": {"min_sentences": 1, "terminal_marks": False, "min_line_words": 4}},
        {"c4": {"min_sentences": second}},
    ]


def run(workshop, output, scores=False, **changed):
    chosen = {"sources": workshop.sources, "output": str(workshop.root / output), "steps": steps(), **changed}
    return workshop.curate(scores=scores, **chosen)


def everything(folder, outcome):
    """What became of each document, with the sizes of those that were dropped."""
    paths = sorted((folder / "stages").glob("*/dropped/*.parquet"))
    sizes = sorted((row["id"], row["step"], row["bytes"]) for path in paths for row in pq.read_table(path).to_pylist())
    return outcome(folder), sizes


def test_scores_decide_as_no_scores_and_each_step_by_its_own_bounds(twins, outcome):
    run(twins, "out")
    run(twins, "scored", scores=True)
    plain, scored = (everything(twins.root / name, outcome) for name in ("out", "scored"))
    assert scored == plain
    bounds = Counter((row[1], row[2], row[5]) for row in plain[0].dropped if row[3] in ("words", "sentences"))
    assert {("a", "gopher_quality", 30.0), ("b", "gopher_quality", 55.0), ("a", "c4", 3.0)} <= set(bounds)
    assert ("b", "gopher_quality", 30.0) not in bounds
    assert len(plain[0].kept) > 10


@pytest.mark.parametrize(
    "changed",
    [steps({"a": 30, "b": 40}), steps({"a": 40, "b": 55}), steps(second=2)],
    ids=["the second source", "the first source", "the second c4"],
)
def test_a_bound_of_one_of_them_is_decided_as_in_a_fresh_run(twins, outcome, changed):
    run(twins, "scored", scores=True)
    before = everything(twins.root / "scored", outcome)
    recipe = twins.recipe(sources=twins.sources, output=str(twins.root / "scored"), steps=changed)
    loaded = recipes.load(twins.yaml("recipe.yaml", recipe))
    deciding.decide(loaded, local(0), Progress(shown=False), overwrite=True)
    run(twins, "fresh", steps=changed)
    found = outcome(twins.root / "scored")
    assert found == outcome(twins.root / "fresh")
    assert found != before[0]


@pytest.mark.parametrize("scores", [False, True])
def test_explain_tells_them_apart(twins, outcome, scores):
    run(twins, "out", scores=scores)
    found = outcome(twins.root / "out")
    labels = {
        "a": ["gopher_quality", "c4", "c4.2"],
        "b": ["gopher_quality.2", "c4", "c4.2"],
    }
    seen = set()
    for row in [*found.dropped[::3], *((one["id"], one["source"], None, None) for one in found.kept[::8])]:
        (trail,) = explain(twins.root / "out", row[0])
        assert [step.label for step in trail.steps] == labels[row[1]]
        if row[2] is None:
            assert trail.ended == "kept"
            continue
        last = next(step for step in trail.steps if step.outcome == "dropped")
        (rule,) = (one for one in last.rules if one.verdict == "dropped")
        assert (last.step, rule.rule, rule.value) == (row[2], row[3], row[4])
        assert row[5] in (rule.low, rule.high)
        assert trail.ended == f"dropped by {last.label}.{row[3]}"
        seen.add(last.label)
    assert {"gopher_quality", "gopher_quality.2", "c4.2"} <= seen


@pytest.mark.parametrize("scores", [False, True])
def test_the_report_counts_each_bound_by_itself(twins, outcome, scores):
    run(twins, "out", scores=scores)
    found = report.read(twins.root / "out")
    rows = outcome(twins.root / "out").dropped
    dropped = Counter((row[2], row[3]) for row in rows)
    counted = {(step.step, rule): amount.documents for step in found.funnel.total.steps for rule, amount in step.rules}
    assert {key: count for key, count in counted.items() if count} == dict(dropped)
    (words,) = [one for one in found.rules if (one.reason.step, one.reason.rule) == ("gopher_quality", "words")]
    broken = {one.bound: one.broken for one in words.thresholds if one.side == "low"}
    assert broken == {
        float(LEAST[name]): count
        for name, count in Counter(row[1] for row in rows if row[2:4] == ("gopher_quality", "words")).items()
    }
    assert words.dropped == dropped["gopher_quality", "words"]

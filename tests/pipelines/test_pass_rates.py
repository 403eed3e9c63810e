"""difficulty from answers: rates of problems across sources, parts and partitions, and what a run says of them."""

import gzip
import json
import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.filters.answer_agreement import AnswerAgreement
from midtrain.filters.difficulty import SOLVED, TRACES
from midtrain.manifest import Manifest
from midtrain.pipelines import curate as curation
from midtrain.pipelines import decide as deciding
from midtrain.pipelines import inputs, pass_rates, read_parts
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.explain import explain
from midtrain.pipelines.pass_rates import totals
from midtrain.pipelines.processes import local
from midtrain.pipelines.verification import vouched
from midtrain.progress import Progress

ROOTS = r"Find the sum of the roots of $\frac{x^2}{2} - 1{,}000x + 3 = 0$."
ROOTS_AGAIN = r"find the sum of the roots of \(\dfrac{x^{2}}{2}-1000x+3=0\)"
CLIPS = "Natalia sold clips to 48 of her friends in April, and then 24 in May. How many clips did she sell altogether?"
TERM = "What is 2(3 + 4)?"
OTHER_TERM = "What is (2 + 3) 4?"


def trace(name, prompt, answer, gold):
    reply = (
        "This is hard. Let me look at it again.\n\nIt is not clear yet what to do here, and I go on and on."
        if answer is None
        else f"So the answer is \\boxed{{{answer}}}."
    )
    return {"id": name, "question": prompt, "reply": reply, "answer": gold}


A = [
    *(trace(f"a{number}", ROOTS, answer, "2000") for number, answer in enumerate(["2000", "2{,}000", "7"])),
    *(trace(f"a{number}", CLIPS, "72", "72") for number in (3, 4)),
    trace("a5", TERM, "14", "14"),
    trace("a6", "Why?", "1", "1"),
    trace("a7", ROOTS, "5", None),
]
B = [
    trace("b0", ROOTS_AGAIN, None, "2000"),
    *(trace(f"b{number}", OTHER_TERM, "21", "20") for number in (1, 2)),
    trace("b3", TERM, "13", "14"),
    trace("b4", "?", "13", "14"),
]


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Several parts, partitions and batches."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 400)
    monkeypatch.setattr(pass_rates, "ROWS_PER_PARTITION", 3)
    monkeypatch.setattr(pass_rates, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(read_parts, "SLICE_ROWS", 2)


def sources(workshop, **records):
    fields = {"prompt": "question", "response": "reply", "answer": "answer"}
    made = {name: workshop.jsonl(f"{name}.jsonl", own) for name, own in (records or {"a": A, "b": B}).items()}
    return [{"name": name, "path": path, "format": "reasoning", "fields": fields} for name, path in made.items()]


def curate(workshop, of=None, behind=(), scores=False, **step):
    workshop.curate(
        sources=of or sources(workshop), steps=[{"difficulty": {"from": "answers", **step}}, *behind], scores=scores
    )
    rows = {row["id"]: row for row in workshop.rows("out")}
    return rows, {row["id"]: (row["rule"], row["value"], row["threshold"]) for row in workshop.rows("out", "dropped")}


def test_a_problem_has_the_rate_of_all_of_its_traces(workshop):
    kept, gone = curate(workshop, missing="keep", high=1)
    assert not gone
    rates = {name: (row[SOLVED], row[TRACES]) for name, row in kept.items()}
    roots = dict.fromkeys(["a0", "a1", "a2", "a7", "b0"], (0.5, 4))  # one gives no answer, one has no gold answer
    clips, term = dict.fromkeys(["a3", "a4"], (1, 2)), dict.fromkeys(["a5", "b3"], (0.5, 2))
    other, alone = dict.fromkeys(["b1", "b2"], (0, 2)), {"a6": (1, 1), "b4": (None, 0)}
    assert rates == {**roots, **clips, **term, **other, **alone}
    manifest = Manifest.read(workshop.root / "out")
    (folder,) = manifest.options["rates"].values()
    counts = Manifest.read(workshop.root / "out" / "stages" / folder).counts
    assert counts["problems"] == 5
    assert counts["outcomes"] == {
        "a": {"no_gold": 1, "right": 6, "wrong": 1},
        "b": {"no_answer": 1, "no_problem": 1, "wrong": 3},
    }


def test_a_band_keeps_or_drops_all_traces_of_a_problem(workshop):
    kept, gone = curate(workshop, low=0.25, high=0.75)
    assert set(kept) == {"a0", "a1", "a2", "a7", "b0", "a5", "b3"}
    assert gone == {
        **dict.fromkeys(["a3", "a4"], ("pass_rate", 1, 0.75)),
        **dict.fromkeys(["b1", "b2"], ("pass_rate", 0, 0.25)),
        **dict.fromkeys(["a6", "b4"], ("known", 0, 1)),
    }


def test_what_gives_no_answer_may_be_left_out_and_few_traces_are_no_rate(workshop):
    kept, gone = curate(workshop, no_answer="left_out", min_traces=3, low=0.6)
    assert {name: (row[SOLVED], row[TRACES]) for name, row in kept.items()} == dict.fromkeys(
        ["a0", "a1", "a2", "a7", "b0"], (pytest.approx(2 / 3), 3)
    )
    assert {rule for rule, *_ in gone.values()} == {"known"}
    kept, gone = curate(workshop.twin("twin"), min_traces=3, low=0.6, missing="keep")
    assert set(gone) == {"a0", "a1", "a2", "a7", "b0"}


def test_sources_of_a_step_alone_are_counted_and_judged(workshop):
    kept, gone = curate(workshop, sources=["a"], low=0.7)
    assert {name: rule for name, (rule, *_) in gone.items()} == {
        **dict.fromkeys(["a0", "a1", "a2", "a7"], "pass_rate"),
        **dict.fromkeys(["a5", "a6"], "known"),
    }
    assert all(kept[record["id"]][SOLVED] is None and kept[record["id"]][TRACES] is None for record in B)


@pytest.mark.parametrize("scores", [False, True])
def test_neither_workers_nor_cuts_nor_scores_move_a_byte_or_a_document(workshop, monkeypatch, scores, outcome):
    first, _ = curate(workshop, low=0.25, scores=scores, behind=[{"exact_dedup": {"max_loss": None}}])
    for parts in (1, 4_000_000):
        monkeypatch.setattr(pass_rates, "ROWS_PER_PARTITION", parts)
        twin = workshop.twin(f"twin{parts}")
        again, _ = curate(
            twin, sources(workshop), low=0.25, scores=scores, behind=[{"exact_dedup": {"max_loss": None}}]
        )
        assert again == first
        assert outcome(twin.root / "out").dropped == outcome(workshop.root / "out").dropped
    plain, _ = curate(workshop.twin("plain"), sources(workshop), low=0.25)
    assert {name: plain[name][SOLVED] for name in first} == {name: row[SOLVED] for name, row in first.items()}


def test_scores_hold_the_rates_and_another_band_judges_nothing_again(workshop, monkeypatch):
    given = sources(workshop)
    kept, _ = curate(workshop, given, scores=True, missing="keep", behind=[{"thought_length": {"max_words": 999}}])
    assert {row["score.difficulty.pass_rate"] for row in kept.values()} == {0, 0.5, 1, -1}
    assert [row["score.difficulty.known"] for name, row in kept.items() if name in ("a6", "b4")] == [0, 0]

    def judged(*_):
        raise AssertionError("the answers are judged again")

    monkeypatch.setattr(pass_rates, "_outcome", judged)
    steps = [{"difficulty": {"from": "answers", "low": 0.25, "high": 0.75}}, {"thought_length": {"max_words": 999}}]
    loaded = recipes.load(workshop.yaml("recipe.yaml", workshop.recipe(sources=given, steps=steps)))
    assert [len(deciding.look(loaded).stages), deciding.look(loaded).behind] == [3, ""]
    done = deciding.decide(loaded, local(0), Progress(shown=False), overwrite=True)
    assert done.manifest.counts["funnel"][-1]["kept"] == 7
    steps[0]["difficulty"] = {"from": "answers", "min_traces": 4}
    loaded = recipes.load(workshop.yaml("recipe.yaml", workshop.recipe(sources=given, steps=steps)))
    again = curation.curate(loaded, local(0), Progress(shown=False), overwrite=True)
    assert again.manifest.counts["funnel"][-1]["kept"] == 5


@pytest.mark.parametrize("scores", [False, True])
def test_explain_says_the_rate_of_what_went_and_of_what_stayed(workshop, scores):
    curate(workshop, low=0.25, high=0.75, scores=scores, behind=[{"thought_length": {"max_words": 999}}])
    for identity, ended, rate in (("a3", "dropped by difficulty.pass_rate", 1), ("b0", "kept", 0.5)):
        (trail,) = explain(workshop.root / "out", identity)
        assert trail.ended == ended
        assert [step.step for step in trail.steps] == ["difficulty", "thought_length"]
        assert [(rule.rule, rule.value) for rule in trail.steps[0].rules] == [("known", 1), ("pass_rate", rate)]


def test_a_plan_foresees_the_stages_and_drops_nothing(workshop, midtrain):
    steps = [{"exact_dedup": {}}, {"difficulty": {"from": "answers", "low": 0.9}}, {"problem_dedup": {}}]
    recipe = workshop.yaml("planned.yaml", workshop.recipe(sources=sources(workshop), steps=steps))
    for scores in ([], ["--scores"]):
        stages = {one["stage"]: one for one in orjson.loads(midtrain("plan", recipe, *scores, "--json").out)["stages"]}
        assert {"difficulty-verdicts", "difficulty-rates"} < set(stages)
        assert stages["difficulty-rates"]["documents"] == stages["difficulty"]["kept"] == len(A) + len(B)


def test_a_source_without_messages_is_refused_with_the_recipe(workshop):
    given = [*sources(workshop), {"name": "web", "path": workshop.jsonl("web.jsonl", [{"text": "x"}])}]
    with pytest.raises(ConfigError, match="the documents of web are no messages") as raised:
        curate(workshop, given)
    assert raised.value.fix == "add sources: [a, b] to the step"
    curate(workshop, given, sources=["a", "b"])


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ({"answer_agreement": {}}, "every rate would be 1"),
        ({"problem_dedup": {"max_traces": 2}}, "problem_dedup in front of it keeps 2 of a problem, and a rate takes 3"),
    ],
)
def test_a_step_that_spoils_the_rates_is_refused_in_front(workshop, before, said):
    step = {"difficulty": {"from": "answers", "min_traces": 3, "sources": ["a"]}}
    for steps in ([before, step], [step, before], [{next(iter(before)): {"sources": ["b"]}}, step]):
        recipe = workshop.yaml("recipe.yaml", workshop.recipe(sources=sources(workshop), steps=steps))
        if steps[0] is before:
            with pytest.raises(ConfigError, match=said) as raised:
                recipes.load(recipe)
            assert raised.value.fix == f"put difficulty in front of {next(iter(before))}"
        else:
            recipes.load(recipe)


def test_a_trace_that_makes_code_raise_is_in_no_rate(workshop, monkeypatch):
    verdicts = AnswerAgreement.verdicts

    def raising(step, batch):
        if "a2" in batch.column("id").to_pylist():
            raise RecursionError("too deep")
        return verdicts(step, batch)

    monkeypatch.setattr(AnswerAgreement, "verdicts", raising)
    kept, _ = curate(workshop, missing="keep")
    assert (kept["a0"][SOLVED], kept["a0"][TRACES]) == (pytest.approx(2 / 3), 3)
    assert kept["a2"][TRACES] == 0
    (folder,) = Manifest.read(workshop.root / "out").options["rates"].values()
    assert Manifest.read(workshop.root / "out" / "stages" / folder).counts["outcomes"]["a"]["raised"] == 1


def test_options_of_another_origin_and_names_mistyped_are_refused(workshop):
    for step, said in (
        ({"from": "answer"}, "answers"),
        ({"from": "metadata", "min_traces": 3}, "min_traces belongs to from: answers"),
        ({"field": "rate"}, "field belongs to from: metadata"),
        ({"min_trace": 3}, "min_traces"),
        ({"min_traces": 0}, "greater than or equal to 1"),
    ):
        with pytest.raises(ConfigError) as raised:
            curate(workshop, **step)
        assert said in str(raised.value)


def test_a_document_without_messages_ends_the_run_with_its_name(workshop):
    import pyarrow as pa
    from midtrain.filters.document import SCHEMA

    batch = pa.RecordBatch.from_pylist([{"id": "x", "text": "y", "source": "web"}], schema=SCHEMA)
    with pytest.raises(RunError, match="no trace of a problem") as raised:
        pass_rates._statements(batch)
    assert raised.value.where == "document x of source web"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans(), st.booleans(), st.booleans())))
def test_totals_are_those_of_counting(rows):
    low, high = (np.array([row[place] for row in rows], np.uint64) for place in (0, 1))
    right, told, alone = (np.array([row[place] for row in rows], bool) for place in (2, 3, 4))
    found, traces, problems = totals(low, high, right, told, alone)
    counted = defaultdict(Counter)
    for one, two, correct, counts, nothing in rows:
        if not nothing:
            counted[one, two].update(right=correct and counts, told=counts)
    expected = [(0, 0) if row[4] else (counted[row[:2]]["right"], counted[row[:2]]["told"]) for row in rows]
    assert list(zip(found.tolist(), traces.tolist(), strict=True)) == expected
    assert problems == len(counted)


def labelled(path, outcome):
    """The share of a problem's solutions whose label says that they are right, by the problem."""
    rates = defaultdict(list)
    with gzip.open(path) as lines:
        for record in map(json.loads, lines):
            rates[record["question"]].append(float(record[outcome]))
    return {question: sum(own) / len(own) for question, own in rates.items()}


def of_question(kept):
    return {row["messages"][0]["content"]: row[SOLVED] for row in kept.values()}


@pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ, reason="MIDTRAIN_DATA names no corpora")
def test_rates_of_real_solutions_are_those_of_their_labels(workshop, monkeypatch):
    """OpenAI's four models on the 1,319 problems of GSM8K's test set."""
    monkeypatch.setattr(pass_rates, "ROWS_AT_ONCE", 1024)
    monkeypatch.setattr(pass_rates, "ROWS_PER_PARTITION", 2_000)
    monkeypatch.setattr(read_parts, "SLICE_ROWS", 8192)
    monkeypatch.setattr(inputs, "MIN_SPLIT", 1_000_000)
    path = Path(os.environ["MIDTRAIN_DATA"]) / "cot" / "gsm8k_gpt3_model_solutions.jsonl.gz"
    fields = {"prompt": "question", "response": "solution", "answer": "gold"}
    given = [{"name": "models", "path": str(path), "format": "reasoning", "fields": fields}]
    kept, gone = curate(workshop, given)
    assert not gone
    assert {row[TRACES] for row in kept.values()} == {4}
    assert of_question(kept) == labelled(path, "is_correct")


@pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ, reason="MIDTRAIN_DATA names no corpora")
def test_rollouts_that_were_rewarded_are_right(workshop, monkeypatch):
    """Rewards of a small model on MATH are given for the form too, so many right answers have none: rates are higher.

    Of 42 rewarded rollouts one has an answer that cannot be told from the gold one.
    """
    monkeypatch.setattr(pass_rates, "ROWS_AT_ONCE", 1024)
    monkeypatch.setattr(pass_rates, "ROWS_PER_PARTITION", 500)
    monkeypatch.setattr(read_parts, "SLICE_ROWS", 8192)
    monkeypatch.setattr(inputs, "MIN_SPLIT", 1_000_000)
    path = Path(os.environ["MIDTRAIN_DATA"]) / "cot" / "math_qwen15b_rollouts.jsonl.gz"
    source = {"name": "qwen", "path": str(path), "format": "reasoning", "opened": True}
    workshop.curate(
        sources=[source], steps=[{"difficulty": {"from": "answers", "missing": "keep"}}], max_quarantined=0.1
    )
    kept = {row["id"]: row for row in workshop.rows("out")}
    rewarded = labelled(path, "reward")
    rates = of_question(kept)
    lower = [question for question, rate in rates.items() if (rate or 0) < rewarded[question]]
    assert len(lower) <= 1
    assert sum(rate or 0 for rate in rates.values()) > 3 * sum(rewarded.values())
    counted = Counter(int(row[TRACES]) for row in kept.values())
    print(f"{len(rates)} problems, traces that are told: {dict(counted)}, lower than the rewards: {lower}")
    assert max(counted) == 3


def test_a_report_counts_what_is_in_no_rate(workshop, midtrain):
    curate(workshop, low=0.25, high=0.75)
    data = orjson.loads(midtrain("report", workshop.root / "out", "--json").out)
    (found,) = data["outcomes"]
    assert (found["step"], found["problems"]) == ("difficulty", 5)
    assert found["sources"]["b"] == {"no_answer": 1, "no_problem": 1, "wrong": 3}
    assert [(one["source"], one["read"]["documents"], one["kept"]["documents"]) for one in data["joint"]] == [
        ("a", 8, 5),
        ("b", 5, 2),
    ]
    text = midtrain("report", workshop.root / "out").out
    assert [line.split() for line in text.splitlines() if line.startswith("  b ")] == [
        ["b", "3", "0", "1", "0", "0", "1", "0"]
    ]
    page = workshop.root / "page.html"
    assert midtrain("report", workshop.root / "out", "--html", page).code == 0
    assert "what cannot be told is in no rate" in page.read_text()


def test_workers_and_reruns_change_no_byte(workshop, monkeypatch):
    monkeypatch.undo()  # workers have the sizes of every day
    records = [trace(f"{n}", CLIPS.replace("48", str(n % 40)), n % 3, "1") for n in range(400)]
    given = sources(workshop, a=records[:250], b=records[250:])
    twin = workshop.twin("elsewhere")
    steps = [{"difficulty": {"from": "answers", "low": 0.35}}]
    for shop, workers in ((workshop, 0), (twin, 2)):
        own = [{**source, "path": f"{shop.root}/data/{source['name']}.jsonl"} for source in given]
        shop.curate(sources=own, steps=steps, workers=workers)
        assert shop.curate(sources=own, steps=steps, workers=workers).tasks_run == 0
    one, other = (
        {name: (shop.root / "out" / name).read_bytes() for name in vouched.listing(shop.root / "out")}
        for shop in (workshop, twin)
    )
    assert {name for name in one if name not in vouched.BESIDE and one[name] != other.get(name)} == set()
    assert any("difficulty-rates" in name for name in one)
    assert 0 < len(workshop.rows("out")) < 400

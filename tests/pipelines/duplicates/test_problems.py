"""problem_dedup through all of its stages: which records of a problem go, by which rule, and for whom."""

import pytest
from midtrain.errors import RunError
from midtrain.filters.statements import Statement
from midtrain.pipelines import inputs
from midtrain.pipelines.duplicates import sizes
from midtrain.pipelines.duplicates.problems import Problem, another, suspects

CLIPS = "Natalia sold clips to 48 of her friends in April, and then 24 in May. How many clips did she sell altogether?"
AGAIN = "Question: Ingrid sold clips to $48$ of her friends in April, and then 24 in May. How many clips did she sell?"
ROOTS = r"Find the sum of the roots of $\frac{x^2}{2} - 1{,}000x + 3 = 0$ for all $x \le 5$."
ROOTS_AGAIN = r"find the sum of the roots of \(\dfrac{x^{2}}{2}-1000x+3=0\) for all \(x\leq5\)"
OTHER = ROOTS.replace("+ 3", "- 3")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several parts and partitions."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 600)
    monkeypatch.setattr(sizes, "KEYS_PER_PARTITION", 100)
    monkeypatch.setattr(sizes, "NODES_PER_PARTITION", 4)
    monkeypatch.setattr(sizes, "RUN_ROWS", 3)


def record(name, prompt, reply="The answer is 72.", answer="72"):
    return {"id": name, "question": prompt, "reply": reply, "answer": answer}


def run(workshop, sources, **step):
    specs = []
    for name, records in sources.items():
        path = workshop.jsonl(f"{name}.jsonl", records)
        fields = {"prompt": "question", "response": "reply", "answer": "answer"}
        specs.append({"name": name, "path": path, "format": "reasoning", "fields": fields})
    workshop.curate(sources=specs, steps=[{"problem_dedup": {"max_loss": None, **step}}])
    gone = {row["id"]: (row["rule"], row["partner"], row["partner_source"]) for row in workshop.rows("out", "dropped")}
    return {row["id"] for row in workshop.rows("out")}, gone


def test_a_problem_in_other_words_goes_and_names_the_first(workshop):
    sources = {
        "a": [record("a0", CLIPS), record("a1", ROOTS), record("a2", OTHER)],
        "b": [record("b0", AGAIN), record("b1", ROOTS_AGAIN), record("b2", CLIPS.replace("24", "23"))],
    }
    kept, gone = run(workshop, sources)
    assert kept == {"a0", "a1", "a2", "b2"}
    assert gone == {"b0": ("same_problem", "a0", "a"), "b1": ("same_problem", "a1", "a")}


@pytest.mark.parametrize(
    ("one", "other", "golds", "two"),
    [
        ("Ann is 3 years older than Bob, who is 9.", "Ann is 3 years younger than Bob, who is 9.", ("12", "6"), True),
        ("Ann is 3 years older than Bob, who is 9.", "Ann is 3 years older than Bob who is 9", ("12", "13"), False),
        (
            "Ann is 3 years older than Bob, who is 9.",
            "Ann is three years older than Rob, who is 9.",
            ("12", "$12$"),
            False,
        ),
        ("Ann is 3 years older than Bob, who is 9.", "Ann is 3 years younger than Bob, who is 9.", ("12", None), True),
        ("Ann is 3 years older than Bob, who is 9.", "Eve is 3 years older than Bob, who is 9.", ("12", None), False),
        ("Ann is 3 years older than Bob, who is 9.", "Eve is 3 years older than Bob, who is 9.", ("12", "13"), True),
        ("From 4 take 3 and 2.", "From 3 take 4 and 2.", (None, None), True),
    ],
)
def test_gold_answers_that_differ_make_two_problems(one, other, golds, two):
    assert another(Problem(Statement(one), golds[0]), Problem(Statement(other), golds[1])) == two


def test_what_is_similar_to_one_problem_and_another_one_is_compared_with_the_others(workshop):
    older = "Ann is 3 years older than Bob, who will be 20 in 5 years. How old is Ann?"
    younger, last = older.replace("older", "younger"), older.replace("years. How", "months. How")
    twins = [younger.replace("Ann", "Eve"), "Question: " + younger.replace("who will", "and he will")]
    a = [record("a0", older), record("a1", younger), record("a2", last)]
    b = [record("b0", twins[0]), record("b1", last.replace("who will", "and he will")), record("b2", twins[1])]
    kept, gone = run(workshop, {"a": a, "b": b})
    assert kept == {"a0", "a1", "a2"}
    assert {name: partner for name, (_, partner, _) in gone.items()} == {"b0": "a1", "b1": "a2", "b2": "a1"}
    own = [{**one, "id": f"o{number}"} for number, one in enumerate((*a, *b))]
    kept, gone = run(workshop.twin("across"), {"c": own}, across=True)
    assert not gone


def test_so_many_traces_of_a_problem_stay_the_best_first(workshop):
    a = [record(f"a{number}", ROOTS, "x" * (10 + number)) for number in range(5)]
    b = [record(f"b{number}", ROOTS_AGAIN, "x" * (50 + number)) for number in range(3)]
    kept, gone = run(workshop, {"a": a, "b": b}, max_traces=3, keep=["length", "source"])
    assert kept == {"b2", "b1", "b0"}
    assert gone == {f"a{number}": ("trace_cap", "b2", "b") for number in range(5)}
    kept, gone = run(workshop.twin("twin"), {"a": a, "b": b}, max_traces=6, keep=["-length"])
    assert set(gone) == {"b1", "b2"}
    assert {rule for rule, *_ in gone.values()} == {"trace_cap"}


def test_a_suspected_gold_answer_takes_its_records(workshop):
    says = ["The answer is 72.", "So it is 72. #### 72", r"Thus \boxed{72}", "The answer is 70."]
    a = [record(f"a{number}", CLIPS, reply, "70") for number, reply in enumerate(says)]
    b = [record("b0", AGAIN, "I think the answer is 72.", "72")]
    kept, gone = run(workshop, {"a": a, "b": b}, max_traces=2, suspect_gold="drop")
    assert kept == {"b0"}
    assert {name: rule for name, (rule, *_) in gone.items()} == dict.fromkeys(
        ("a0", "a1", "a2", "a3"), "gold_suspected"
    )
    assert all(partner != name for name, (_, partner, _) in gone.items())
    kept, gone = run(workshop.twin("off"), {"a": a, "b": b}, max_traces=9)
    assert len(kept) == 5
    assert not gone


def test_copies_of_a_trace_are_one_voice():
    hashes = [1, 1, 1, 2]
    assert not list(suspects([0, 1, 2, 3], ["7"] * 4, ["8"] * 4, hashes, hashes))
    found = dict(suspects([0, 1, 2, 3], ["7"] * 4, ["8", "7", "8", "8"], [1, 2, 3, 4], [1, 2, 3, 4]))
    assert set(found) == {0, 2, 3}
    assert all(record != other for record, other in found.items())


def test_documents_without_messages_are_an_error(workshop):
    path = workshop.jsonl("plain.jsonl", [{"id": "p0", "text": "some text of a page"}])
    specs = [{"name": "plain", "path": path, "format": "jsonl"}]
    with pytest.raises(RunError, match="no messages"):
        workshop.curate(sources=specs, steps=[{"problem_dedup": {}}])

"""code_passes and difficulty in a recipe: what is dropped is named, and nothing is kept where nothing can be run."""

import pytest
from midtrain import sandbox
from midtrain.errors import RunError

HEAD = 'def add(a, b):\n    """The sum."""\n'
TEST = "def check(f):\n    assert f(1, 2) == 3"


def sources(workshop):
    replies = {"right": "    return a + b", "wrong": "    return a - b", "prose": "It is easy."}
    records = [
        {"id": name, "prompt": HEAD, "reply": reply, "test": TEST, "entry_point": "add", "pass_rate": rate}
        for (name, reply), rate in zip(replies.items(), (0.5, 0.5, 1.0), strict=True)
    ]
    path = workshop.jsonl("code.jsonl", records)
    fields = {"prompt": "prompt", "response": "reply"}
    return [{"name": "code", "path": path, "format": "reasoning", "fields": fields}]


@pytest.mark.skipif(sandbox.isolation() is not None, reason="programs cannot be isolated here")
def test_programs_of_a_source_are_run(workshop):
    workshop.curate(sources=sources(workshop), steps=[{"code_passes": {"seconds": 2}}])
    assert {row["id"] for row in workshop.rows("out")} == {"right"}
    dropped = {row["id"]: (row["step"], row["rule"]) for row in workshop.rows("out", "dropped")}
    assert dropped == {"wrong": ("code_passes", "passes"), "prose": ("code_passes", "code")}


def test_a_run_fails_where_programs_cannot_be_isolated(workshop, monkeypatch):
    monkeypatch.setattr(sandbox, "isolation", lambda: "the test says so")
    with pytest.raises(RunError, match="cannot be isolated"):
        workshop.curate(sources=sources(workshop), steps=[{"code_passes": {}}])


def test_problems_that_are_always_solved_go(workshop):
    workshop.curate(sources=sources(workshop), steps=[{"difficulty": {"low": 0.1, "high": 0.9}}])
    dropped = {row["id"]: (row["rule"], row["value"], row["threshold"]) for row in workshop.rows("out", "dropped")}
    assert dropped == {"prose": ("pass_rate", 1.0, 0.9)}

"""What the plan says of near-duplicates: the stages that a run goes through, and never less for more text."""

import pytest
from midtrain.errors import ConfigError
from midtrain.filters.kernels.similar_kernels import MOST
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.filters.problem_dedup import ProblemDedup
from midtrain.pipelines import plan, recipe
from midtrain.pipelines.duplicates import estimates
from midtrain.pipelines.duplicates.barriers import choice_of
from midtrain.pipelines.duplicates.estimates import Compared
from midtrain.pipelines.estimates import in_order
from midtrain.pipelines.recipe import Step

STAGES = ("bands", "buckets", "labels", "members", "choice")


class Upstream:
    """In place of the documents."""

    fingerprint = "documents"
    parents = ()


def stages(folder):
    found = in_order(choice_of(folder, Upstream(), Step("minhash_dedup", MinhashDedup(), ("web",))))
    return [stage for stage in found if not isinstance(stage, Upstream)]


def test_a_plan_names_the_stages_that_a_run_goes_through(workshop, monkeypatch):
    texts = workshop.texts(200)
    workshop.jsonl("a.jsonl", workshop.records("a", texts))
    specs = [{"name": "a", "path": str(workshop.root / "data/a.jsonl"), "format": "jsonl"}]
    content = workshop.recipe(sources=specs, steps=[{"minhash_dedup": {}}])
    loaded = recipe.load(workshop.yaml("recipe.yaml", content))
    planned = plan.table(plan.plan(loaded, 1, None)).data["stages"]
    assert [one["stage"] for one in planned] == ["read", *(f"minhash_dedup-{name}" for name in STAGES), "minhash_dedup"]
    assert all(one["estimated"] and one["tasks"] == 1 and 0 < one["memory"] < 512 << 20 for one in planned)
    workshop.curate(sources=specs, steps=[{"minhash_dedup": {}}])
    ran = [event["stage"] for event in workshop.events("out") if event["event"] == "stage_started"]
    assert ran == [one["stage"] for one in planned]
    assert "nothing to do" in plan.table(plan.plan(loaded, 1, None)).text


def test_more_text_never_takes_less_and_no_worker_more(tmp_path):
    made = stages(tmp_path)
    before = {}
    for power in range(12, 40, 3):
        documents = 1 << power
        parts = max(documents // 16_000, 1)
        came = Compared(documents, documents * 4_000, parts, (64 << 20, 16_000), 40.0)
        for stage in made:
            taken = estimates.taken(stage, came)
            assert taken.memory < 512 << 20
            if stage.name in before:
                last = before[stage.name]
                assert (taken.tasks, taken.documents) >= (last.tasks, last.documents)
                assert taken.disk >= last.disk
                assert taken.seconds >= last.seconds
            before[stage.name] = taken
    assert before["minhash_dedup-components-00"].tasks > 1


def test_problems_cost_by_the_record_and_not_by_their_traces(tmp_path):
    step = Step("problem_dedup", ProblemDedup(), ("web",))
    made = [one for one in in_order(choice_of(tmp_path, Upstream(), step)) if not isinstance(one, Upstream)]
    came = [Compared(100_000, text, 4, (text // 4, 25_000), 40.0) for text in (10**8, 10**9)]
    short, long = ({one.name: estimates.taken(one, these) for one in made} for these in came)
    for stage in ("bands", "members"):
        assert long[f"problem_dedup-{stage}"].seconds == short[f"problem_dedup-{stage}"].seconds
    assert long["problem_dedup-members"].disk == short["problem_dedup-members"].disk
    assert 8 < short["problem_dedup-bands"].seconds < 16  # 14.9 s were measured of 119,576 records
    assert 7 < short["problem_dedup-members"].seconds < 14  # 7.9 s of 52,268
    plain = {one.name: estimates.taken(one, came[0]) for one in stages(tmp_path)}
    assert short["problem_dedup-choice"].memory > plain["minhash_dedup-choice"].memory
    assert short["problem_dedup-choice"].seconds > plain["minhash_dedup-choice"].seconds


def test_documents_that_fit_one_partition_take_no_rounds(tmp_path):
    came = Compared(100_000, 10**8, 4, (64 << 20, 30_000), 40.0)
    tasks = {stage.name: estimates.taken(stage, came).tasks for stage in stages(tmp_path)}
    assert {name: count for name, count in tasks.items() if count} == {
        "minhash_dedup-bands": 4,
        "minhash_dedup-buckets": 1,
        "minhash_dedup-labels": 1,
        "minhash_dedup-members": 4,
        "minhash_dedup-choice": 1,
    }


def test_a_component_that_no_task_can_look_up_is_refused(tmp_path):
    choice = stages(tmp_path)[-1]
    came = Compared(2_500_000_000, 10**13, 37_252, (64 << 20, 16_000), 40.0)  # 10 TB
    estimates.refuse(choice, estimates.taken(choice, came).documents)
    with pytest.raises(ConfigError, match="too large for one task"):
        estimates.refuse(choice, 3 * estimates.taken(choice, came).documents)
    assert (estimates.MOST_KEYS + 1) * 3 // 2 + 1 >= MOST > estimates.MOST_KEYS * 3 // 2

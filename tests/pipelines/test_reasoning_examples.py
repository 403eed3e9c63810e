"""`examples/reasoning` on the real sets: what is read, repaired, set aside, dropped and built is what the files say."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.manifest import Manifest
from midtrain.mixtures import schema
from midtrain.pipelines import build as builds
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines import report as reports
from midtrain.pipelines.curation import open_curation
from midtrain.pipelines.processes import local
from midtrain.pipelines.read_parts import read_part
from midtrain.pipelines.report import Report
from midtrain.progress import Progress
from midtrain.storage import location

EXAMPLES = Path(__file__).parents[2] / "examples/reasoning"
RECIPES = ("solutions", "traces", "samples", "rollouts")
READ_AND_KEPT = {
    "gsm8k_test": (1_319, 1_319),
    "math_test": (5_000, 4_996),
    "gsm8k": (7_473, 7_463),
    "aqua": (508, 462),
    "aime": (975, 923),
    "strategyqa": (2_290, 2_289),
    "prm800k": (1_733, 551),
    "math": (7_474, 6_715),
    "r1": (500, 405),
    "tora": (2_638, 2_171),
    "gpt3": (5_276, 2_001),
    "qwen": (1_500, 116),
}


@dataclass(frozen=True)
class Found:
    """What an example's curation came to."""

    report: Report
    rows: list[dict[str, Any]]

    @property
    def dropped(self) -> Counter[str]:
        """Documents by step and rule."""
        steps = self.report.funnel.total.steps
        return Counter({f"{step.step}.{rule}": own.documents for step in steps for rule, own in step.rules})


Curated = Callable[[str], Found]


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Curated]:
    """Curates an example, once, below a folder that is the current one while this module's tests run."""
    data = os.environ.get("MIDTRAIN_DATA")
    if not data:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    root = tmp_path_factory.mktemp("examples")
    (root / "data").symlink_to(data)
    found: dict[str, Found] = {}

    def run(name: str) -> Found:
        if name not in found:
            curation.curate(recipes.load(EXAMPLES / f"{name}.yaml"), local(0), Progress(shown=False))
            output = location(f"out/reasoning/{name}")
            parts = Manifest.read(output).files
            rows = [row for part in parts for batch in read_part(output / part.path) for row in batch.to_pylist()]
            found[name] = Found(reports.read(output), rows)
        return found[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield run


@pytest.mark.parametrize("name", RECIPES)
def test_every_example_loads(name: str) -> None:
    recipe = recipes.load(EXAMPLES / f"{name}.yaml")
    assert recipe.spec.name == name
    assert all(source.format == "reasoning" for source in recipe.spec.sources)


def test_every_set_goes_through_one_example() -> None:
    assert {path.stem for path in EXAMPLES.iterdir()} == {*RECIPES, "mixture"}
    read = [Path(str(one.path)) for name in RECIPES for one in recipes.load(EXAMPLES / f"{name}.yaml").spec.sources]
    assert len(set(read)) == len(read)
    data = os.environ.get("MIDTRAIN_DATA")
    if data:
        assert {path.name for path in read if path.parent.name == "cot"} == {
            path.name for path in Path(data, "cot").iterdir()
        }


def test_traces_without_an_answer_are_dropped(curated: Curated) -> None:
    found = curated("traces")
    assert found.dropped["thought_truncated.answered"] == 94
    assert len(found.rows) == 405
    for row in found.rows:
        (turn,) = row["messages"]
        assert "think>" not in row["text"]
        assert row["text"] == f"{turn['reasoning']}\n\n{turn['content']}"


@pytest.mark.slow
def test_rollouts_are_repaired_or_set_aside_and_counted(curated: Curated) -> None:
    found = curated("rollouts")
    assert found.report.funnel.total.quarantined == 80
    (reading,) = found.report.reasoning
    assert reading.layouts == {"prompt_response": 1420}
    assert reading.repairs["orphan_closer"] + reading.repairs["unclosed_thought"] == 1420
    assert found.dropped["thought_truncated.closed"] == reading.repairs["unclosed_thought"] == 723
    named = [orjson.loads(row["metadata"]).get("repairs", []) for row in found.rows]
    assert all("orphan_closer" in repairs for repairs in named)
    for row in found.rows:
        assert row["answer"]
        assert row["messages"][1]["reasoning"]
        assert row["messages"][1]["content"]


@pytest.mark.slow
def test_right_samples_are_those_that_their_labels_call_right(curated: Curated) -> None:
    found = curated("samples")
    kept = [orjson.loads(row["metadata"])["is_correct"] for row in found.rows if row["source"] == "gpt3"]
    assert (len(kept), sum(kept)) == (2_001, 2_001)
    assert not any("<<" in row["text"] for row in found.rows if row["source"] == "gpt3")
    same = [orjson.loads(row["metadata"])["pred"] for row in found.rows if row["source"] == "tora"]
    assert len(same) == 2_171


@pytest.mark.slow
def test_solutions_are_read_by_their_layouts(curated: Curated) -> None:
    found = curated("solutions")
    readings = {reading.source: reading for reading in found.report.reasoning}
    assert {source: list(reading.layouts) for source, reading in readings.items()} == {
        "gsm8k": [], "aime": ["prompt_response"], "strategyqa": ["strategyqa"], "prm800k": ["prm800k"],
    }  # fmt: skip
    assert readings["gsm8k"].repairs["calculator_marks"] > 7000
    assert not any("<<" in row["text"] for row in found.rows if row["source"] == "gsm8k")
    assert found.report.funnel.total.quarantined == 4  # without an answer
    first = next(row for row in found.rows if row["id"] == "aqua-dev-0")
    assert first["messages"][0]["content"].endswith("\nA)32400\nB)6000\nC)600\nD)60000\nE)10")


@pytest.mark.slow
def test_no_problem_of_a_test_set_is_left_in_what_is_trained_on(curated: Curated) -> None:
    found = curated("solutions")
    asked: dict[bool, set[str]] = {True: set(), False: set()}
    for row in found.rows:
        asked[row["source"].endswith("_test")].add("".join(row["messages"][0]["content"].split()).lower())
    assert len(asked[True]) > 6_000
    assert not asked[True] & asked[False]
    (copies,) = found.report.copies
    of_tests = Counter[str]()
    for one in copies.between:
        if one.kept == "math_test" and one.dropped != "math_test":
            of_tests[one.dropped] += one.documents
    assert of_tests["prm800k"] >= 420


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_what_is_read_and_kept_of_every_source_is_exact_and_the_joint_table_adds_up(
    curated: Curated, name: str
) -> None:
    report = curated(name).report
    tables = {table.source: table for table in report.joint}
    for group in report.funnel.sources:
        counts = (group.read.documents, group.kept.documents)
        assert (group.name, counts) == (group.name, READ_AND_KEPT[group.name])
        came, left = tables[group.name].sums()
        assert (came.documents + tables[group.name].unread, left.documents) == counts


@pytest.mark.slow
def test_the_joint_table_shows_the_corners_that_are_cut(curated: Curated) -> None:
    def counts(name: str, source: str, row: tuple[str, int, int] | None, columns: list[tuple[str, str]] | None) -> Any:
        table = next(one for one in curated(name).report.joint if one.source == source)
        return tuple(one.documents for one in table.sums(row, columns))

    hardest = counts("solutions", "math", None, [("difficulty", "5")])
    assert hardest == (2_296, 1_871)  # many are of AIME, whose solutions stand before them
    assert counts("solutions", "math", None, [("difficulty", "1")]) == (564, 528)
    assert counts("rollouts", "qwen", ("thought", 2048, 4096), None) == (175, 0)
    assert counts("rollouts", "qwen", ("thought", 128, 256), None)[0] == 212


@pytest.mark.slow
def test_the_mixture_builds_all_of_them(curated: Curated, midtrain: Any) -> None:
    for name in RECIPES:
        curated(name)
    loaded = schema.load(EXAMPLES / "mixture.yaml")
    built = builds.build(loaded, local(0), Progress(shown=False))
    counts = built.manifest.counts
    _check_sources(counts)
    _check_proportions(built.rows)
    lost = counts["traces"]["lost"]
    at_512, at_1024 = lost["at_512"], lost["at_1024"]
    assert (at_512["trimmed_documents"], at_1024["trimmed_documents"]) == (261, 145)
    assert 0.3 < at_512["kept_reasoning"] < at_1024["kept_reasoning"] < 1
    assert at_512["dropped_tokens"] > 20 * at_1024["dropped_tokens"]
    assert midtrain("verify", "out/reasoning/shards").code == 0


def _check_sources(counts: dict[str, Any]) -> None:
    """Every kept document of a set that may be trained on stands in the shards, every other is held out."""
    given = {
        "gsm8k": ("gsm8k",),
        "competition": ("aqua", "aime", "prm800k"),
        "facts": ("strategyqa",),
        "answers": ("math",),
        "traces": ("r1",),
        "samples": ("tora", "gpt3"),
        "rollouts": ("qwen",),
    }
    assert set(counts) == set(given)
    for name, sets in given.items():
        part, held = counts[name]["part"], counts[name]["held_out"]
        assert part["documents"] + held["documents"] == sum(READ_AND_KEPT[one][1] for one in sets)
        assert held["documents"] == {"gsm8k": 200, "samples": 4_172, "rollouts": 116}.get(name, 0)
        for own in (part, held):
            assert 0 < own["supervised"] < own["tokens"] or own["documents"] == 0


def _check_proportions(rows: Any) -> None:
    """The share of every source is what the mixture asks for, to half a sequence, and no test problem is drawn."""
    shares = {
        "at_512": (512, {"gsm8k": 0.45, "facts": 0.1, "answers": 0.2, "traces": 0.25}),
        "at_1024": (1024, {"gsm8k": 0.35, "competition": 0.2, "facts": 0.05, "answers": 0.1, "traces": 0.3}),
    }
    tokens = {"at_512": 400_000, "at_1024": 600_000}
    assert Counter((row["phase"], row["source"]) for row in rows) == Counter(
        (phase, source) for phase, (_, own) in shares.items() for source in own
    )
    for row in rows:
        length, own = shares[row["phase"]]
        asked = own[row["source"]] * tokens[row["phase"]]
        assert abs(row["tokens"] - asked) <= length // 2


@pytest.mark.slow
def test_a_second_run_of_an_example_does_nothing(curated: Curated) -> None:
    before = curated("solutions")
    recipe = recipes.load(EXAMPLES / "solutions.yaml")
    assert curation.curate(recipe, local(0), Progress(shown=False)).tasks_run == 0
    again = reports.read(open_curation("out/reasoning/solutions").root)
    assert again.joint == before.report.joint

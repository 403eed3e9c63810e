"""Documents that kill their process: each is found and set aside with its place, and all others come through."""

import importlib
import multiprocessing
import os
import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from midtrain import storage
from midtrain.errors import RunError
from midtrain.pipelines import inputs
from midtrain.pipelines.readers.records import derived_id

from tests.sizes import whole_only

HERE = Path(__file__).parent
PATIENCE = 150.0  # seconds


@pytest.fixture
def deadly(monkeypatch):
    """The module of the deadly filter, importable in workers too; splits are small."""
    monkeypatch.syspath_prepend(str(HERE))
    found = importlib.import_module("toy_filters")
    monkeypatch.setattr(inputs, "MIN_SPLIT", found.SMALL_SPLIT)
    return found


@pytest.fixture
def poisoned(corpus, deadly):
    """A function that puts words into documents of source a, by their number, and returns the recipe's file."""

    def poison(**words):
        texts = corpus.texts(140)[:90]
        for document, word in words.items():
            texts[int(document[1:])] += f" {word}"
        corpus.jsonl("a.jsonl", corpus.records("a", texts))
        return corpus.yaml("recipe.yaml", corpus.recipe())

    return poison


def tables(root):
    """xxh3-128 of every table of documents and of dropped ones below a folder."""
    paths = sorted(path for path in root.rglob("*.parquet"))
    return {str(path.relative_to(root)): storage.hash_file(path) for path in paths}


def set_aside(root):
    """The rows of all quarantines below a folder whose step is not reading, by the id of the record at their place."""
    rows = [orjson.loads(line) for path in root.rglob("quarantine/*") for line in path.read_bytes().splitlines()]
    content = (root.parent / "data" / "a.jsonl").read_bytes()
    found = {}
    for row in rows:
        if row["step"] != "read":
            name, _, position = row["place"].partition(", byte ")
            assert row["id"] == derived_id(row["source"], name, int(position))
            found[orjson.loads(content[int(position) :].partition(b"\n")[0])["id"]] = row
    return found


@pytest.fixture
def as_if_raised(corpus, deadly, monkeypatch, tmp_path):
    """A function that runs a recipe in another folder with documents that raise instead, and returns its tables."""

    def reference(recipe):
        other = corpus.yaml("reference.yaml", {**orjson.loads(recipe.read_bytes()), "output": str(tmp_path / "ref")})
        with monkeypatch.context() as patched:
            patched.setenv("DEADLY", "raise")
            deadly.curate(other, 0)
        return tables(tmp_path / "ref")

    return reference


def told(root, event):
    lines = (root / "out" / "events.jsonl").read_bytes().splitlines()
    return [found for found in map(orjson.loads, lines) if found["event"] == event]


@pytest.mark.parametrize("workers", [pytest.param(1, marks=[pytest.mark.slow, whole_only]), 2])
def test_a_document_that_crashes_its_process_is_set_aside(corpus, deadly, poisoned, as_if_raised, workers):
    recipe = poisoned(a17=deadly.SEGFAULT)
    result = deadly.curate(recipe, workers)
    out = corpus.root / "out"
    assert tables(out) == as_if_raised(recipe)
    ((identity, found),) = set_aside(out).items()
    assert (identity, found["source"], found["step"]) == ("a17", "a", "process")
    assert "process died" in found["error"]
    assert result.stages[0][1]["sources"]["a"]["quarantined"] == 1
    assert multiprocessing.active_children() == []
    assert len(told(corpus.root, "task_lost")) >= 3
    (event,) = told(corpus.root, "document_poisoned")
    assert (event["stage"], event["why"]) == (told(corpus.root, "stage_started")[0]["stage"], found["error"])


@pytest.mark.slow
def test_behind_a_barrier_it_is_a_row_of_a_part(corpus, deadly, poisoned):
    """Number 20 repeats 14: of two that would kill, one is a duplicate and gone before the step sees it."""
    texts = corpus.texts(90)
    alone = next(number for number in range(50, 90) if number % 7 in (2, 3) and len(texts[number].split()) > 40)
    result = deadly.curate(poisoned(a14=deadly.KILL, a20=deadly.KILL, **{f"a{alone}": deadly.KILL}), 1, last=True)
    out = corpus.root / "out"
    rows = [row for path in out.rglob("quarantine/*") for row in map(orjson.loads, path.read_bytes().splitlines())]
    found = {row["id"]: row["place"] for row in rows if row["step"] == "process"}
    first = next(path for path in (out / "stages").iterdir() if path.name.startswith("gopher"))
    parts = {path.name: pq.read_table(path).column("id").to_pylist() for path in first.glob("part-*.parquet")}
    assert found.keys() == {"a14", f"a{alone}"}
    for identity, place in found.items():
        part, _, row = place.partition(", row ")
        assert parts[part][int(row)] == identity
    counts = result.stages[-1][1]
    assert counts["quarantined"] == len(found)
    assert counts["documents"] == counts["kept"] + counts["quarantined"] + sum(counts["dropped"].values())


@pytest.mark.slow
def test_a_second_run_leaves_it_aside(corpus, deadly, poisoned):
    recipe = poisoned(a17=deadly.KILL)
    deadly.curate(recipe, 1)
    before = tables(corpus.root / "out")
    assert deadly.curate(recipe, 0).tasks_run == 0
    assert tables(corpus.root / "out") == before


@pytest.mark.slow
def test_documents_that_kill_in_one_task_and_in_two_are_all_found(corpus, deadly, poisoned, as_if_raised):
    recipe = poisoned(a3=deadly.KILL, a5=deadly.SEGFAULT, a80=deadly.KILL)
    deadly.curate(recipe, 2)
    assert set(set_aside(corpus.root / "out")) == {"a3", "a5", "a80"}
    assert len({event["task"] for event in told(corpus.root, "document_poisoned")}) == 2
    assert tables(corpus.root / "out") == as_if_raised(recipe)


@pytest.mark.slow
def test_documents_that_only_kill_together_are_not_blamed_alone(corpus, deadly, poisoned):
    with pytest.raises(RunError, match="no single document is the cause") as caught:
        deadly.curate(poisoned(a3=deadly.TOGETHER, a5=deadly.TOGETHER), 1)
    assert "fewer workers" in caught.value.fix
    assert not list((corpus.root / "out").rglob("*.poison"))


def test_no_document_is_blamed_for_what_does_not_happen_again(corpus, deadly, poisoned, losing):
    """Memory is short for all: task 0 is lost, and of its probes of more than one document two of three."""
    probes = 0

    def why(job):
        nonlocal probes
        probes += job.probe
        lost = job.task == 0 and (not job.probe or (job.stop > job.start and probes % 3))
        return "its process was ended" if lost else ""

    with pytest.raises(RunError, match="no single document is the cause"):
        deadly.curate(poisoned(a80="harmless"), losing(why))
    assert not list((corpus.root / "out").rglob("*.poison"))


def test_a_task_whose_reading_kills_is_given_up(corpus, deadly, poisoned, losing):
    """Every process that touches task 0 dies, also one that judges no document."""
    with pytest.raises(RunError, match="reading its input alone does it") as caught:
        deadly.curate(poisoned(a80="harmless"), losing(lambda job: "its process died" if job.task == 0 else ""))
    assert "its process died" in caught.value.what


@pytest.mark.slow
def test_more_than_may_be_set_aside_fail_the_run(corpus, deadly, poisoned):
    recipe = poisoned(a3=deadly.KILL)
    corpus.yaml("recipe.yaml", {**orjson.loads(recipe.read_bytes()), "max_quarantined": 0})
    with pytest.raises(RunError, match="source a: too many documents had to be set aside") as caught:
        deadly.curate(recipe, 1)
    assert "a.jsonl, byte " in caught.value.seen


@pytest.mark.slow
def test_too_many_in_one_task_are_a_fault_of_the_code(corpus, deadly, poisoned, monkeypatch):
    monkeypatch.setattr("midtrain.pipelines.runner.MOST_POISONED", 1)
    with pytest.raises(RunError, match="also after 1 of its documents were set aside"):
        deadly.curate(poisoned(a3=deadly.KILL, a5=deadly.KILL), 1)


@pytest.mark.slow
def test_a_driver_killed_while_it_looks_goes_on_where_it_stopped(
    corpus, deadly, poisoned, as_if_raised, processes, wait_until
):
    recipe = poisoned(a3=deadly.KILL, a5=deadly.KILL)
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    events = corpus.root / "out" / "events.jsonl"
    for _ in range(10):
        driver = processes.start(f"{HERE}/toy_filters.py", str(recipe), "1", PYTHONPATH=path)
        wait_until(lambda: events.exists() and b"document_poisoned" in events.read_bytes(), 4 * PATIENCE)
        processes.kill(driver, whole_group=False)
        assert processes.left() == []
        if len(list((corpus.root / "out").rglob("*.poison"))) == len(told(corpus.root, "document_poisoned")) == 1:
            break
        shutil.rmtree(corpus.root / "out")  # both were found before this process had its turn
    assert len(list((corpus.root / "out").rglob("*.poison"))) == 1
    done = {event["task"] for event in told(corpus.root, "task_finished")}
    events.rename(events.with_suffix(".first"))
    deadly.curate(recipe, 1)
    assert len(told(corpus.root, "document_poisoned")) == 1
    started = told(corpus.root, "stage_started")[0]["folder"]
    again = {event["task"] for event in told(corpus.root, "task_finished") if event["folder"] == started}
    assert done.isdisjoint(again)
    assert set(set_aside(corpus.root / "out")) == {"a3", "a5"}
    assert tables(corpus.root / "out") == as_if_raised(recipe)

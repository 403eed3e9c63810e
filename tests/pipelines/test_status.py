"""The state of an output: told from its files, with the run at work, done or dead."""

import dataclasses
import fcntl
import os
import signal
import time
from pathlib import Path

import orjson
import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines.output import Output
from midtrain.pipelines.stage import remove_scratch
from midtrain.pipelines.status import status


@pytest.fixture
def squares(toys, tmp_path):
    return toys.Squares(tmp_path / "out")


def run(toys, stage, workers=0):
    with Output(stage.root, "curate").opened():
        return toys.run(stage, workers)


def stage_of(root, place=0):
    return status(root).data["stages"][place]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no run of curate or build"):
        status(tmp_path)


def test_a_run_that_ended_early_shows_what_is_done_and_what_is_not(squares, toys):
    with pytest.raises(RunError):
        run(toys, dataclasses.replace(squares, faults=((4, "error once"),)))
    table = status(squares.root)
    assert table.data["state"] == "stopped"
    (stage,) = table.data["stages"]
    assert (stage["stage"], stage["done"], stage["tasks"], stage["documents"]) == ("squares", 4, 6, 4)
    assert not stage["complete"]
    assert "4/6" in table.text
    assert "goes on where it stopped" in table.text
    run(toys, squares)
    stage = stage_of(squares.root)
    assert (stage["done"], stage["tasks"], stage["documents"], stage["complete"]) == (6, 6, 6, True)


def test_lost_tasks_are_counted(squares, toys):
    run(toys, dataclasses.replace(squares, faults=((2, "die once"),)), 1)
    assert stage_of(squares.root)["retries"] >= 1


def test_what_is_on_its_way_into_the_events_is_left_for_the_next_look(squares, toys):
    run(toys, squares)
    before = status(squares.root).data
    with open(squares.root / "events.jsonl", "ab") as stream:
        stream.write(b'{"time": 1, "event": "task_fin')
    assert status(squares.root).data == before


def test_scratch_that_was_removed_still_counts_as_done(toys, tmp_path):
    first = toys.Scratch(tmp_path / "out", label="first")
    run(toys, toys.Squares(tmp_path / "out", label="last", before=(first,)))
    remove_scratch([first])
    found = status(tmp_path / "out").data["stages"]
    assert [(stage["stage"], stage["done"], stage["complete"]) for stage in found] == [
        ("first", 6, True),
        ("last", 6, True),
    ]


def test_a_curation_is_told_with_its_numbers(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    assert midtrain("curate", recipe, "--workers", 0).code == 0
    said = midtrain("status", corpus.root / "out", "--json")
    assert said.code == 0
    data = orjson.loads(said.out)
    assert data["state"] == "complete"
    first = data["stages"][0]
    funnel = orjson.loads((corpus.root / "out" / "manifest.json").read_bytes())["counts"]["funnel"][0]
    assert {name: first[name] for name in ("documents", "kept", "quarantined")} == {
        name: funnel[name] for name in ("documents", "kept", "quarantined")
    }
    assert first["quarantined"] == 1
    assert first["documents_per_second"] > 0
    assert all(stage["complete"] for stage in data["stages"])
    assert ": complete" in midtrain("status", corpus.root / "out").out


def test_the_lock_tells_a_run_at_work_from_a_dead_one(processes, tmp_path, wait_until, squares):
    folder = Path(__file__).parent
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    driver = processes.start(f"{folder}/toy_stages.py", str(squares.root), "1", "3=wait", PYTHONPATH=path)
    wait_until(lambda: (squares.root / "runs.log").exists() and len((squares.root / "runs.log").read_text()) > 35)
    assert status(squares.root).data["state"] == "running"
    wait_until(lambda: stage_of(squares.root)["done"] >= 3)  # the driver hears of a task when the next one has begun
    stage = stage_of(squares.root)
    assert (stage["done"], stage["tasks"]) == (3, 6)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_until(lambda: status(squares.root).data["state"] == "stopped")
    assert stage_of(squares.root)["done"] == 3


def test_looking_does_not_keep_a_run_out(squares, monkeypatch):
    squares.root.mkdir()
    with Output(squares.root, "curate").opened():
        pass
    with open(squares.root / ".lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: fcntl.flock(held, fcntl.LOCK_UN))
        with Output(squares.root, "curate").opened():
            assert status(squares.root).data["state"] == "running"

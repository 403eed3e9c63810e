"""The runner: equal results whatever the processes, no task twice, and no process left when something dies."""

import dataclasses
import importlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import orjson
import pytest
from midtrain.errors import RunError
from midtrain.pipelines import runner
from midtrain.pipelines.runner import IN_FLIGHT_PER_WORKER, Runner
from midtrain.progress import Events, Progress

QUICK = 45  # seconds, against tasks that wait for 120


@pytest.fixture
def squares(toys, tmp_path):
    return toys.Squares(tmp_path)


def ran(root):
    """How often each task ran, by stage and number."""
    log = root / "runs.log"
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def folder_bytes(stage):
    return {path.name: path.read_bytes() for path in sorted(stage.folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_any_number_of_processes_writes_the_same(toys, tmp_path, workers):
    made = toys.Squares(tmp_path / "made")
    made.root.mkdir()
    reference = toys.Squares(tmp_path / "reference")
    reference.root.mkdir()
    toys.run(reference, 0)
    manifest, tasks_run = toys.run(made, workers)
    assert tasks_run == 6
    assert folder_bytes(made) == folder_bytes(reference)
    assert manifest.counts["documents"] == 6
    assert set(ran(made.root).values()) == {1}
    assert multiprocessing.active_children() == []


def test_what_is_done_is_left_alone(squares, toys):
    toys.run(squares, 0)
    before = folder_bytes(squares)
    events = (squares.root / "events.jsonl").read_bytes()
    _, tasks_run = toys.run(dataclasses.replace(squares), 0)
    assert tasks_run == 0
    assert set(ran(squares.root).values()) == {1}
    assert folder_bytes(squares) == before
    assert (squares.root / "events.jsonl").read_bytes() == events


def test_parents_come_first(toys, tmp_path):
    first = toys.Squares(tmp_path, label="first")
    last = toys.Squares(tmp_path, label="last", before=(first,))
    toys.run(last, 0)
    assert first.manifest() is not None
    order = (tmp_path / "runs.log").read_text().splitlines()
    assert order == [f"{label} {task}" for label in ("first", "last") for task in range(6)]


def test_parents_of_a_finished_stage_are_not_asked_for(toys, tmp_path):
    first = toys.Scratch(tmp_path, label="first")
    last = toys.Squares(tmp_path, label="last", before=(first,))
    toys.run(last, 0)
    runner.storage.remove_tree(first.folder)
    _, tasks_run = toys.run(last, 0)
    assert tasks_run == 0


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_keeps_what_is_finished(squares, toys, workers):
    failing = dataclasses.replace(squares, faults=((3, "error once"),))
    with pytest.raises(RunError) as caught:
        toys.run(failing, workers)
    error = caught.value
    assert (error.what, error.where, error.seen, error.fix) == ("no square", "task 3", 3, "another task")
    kept = [task for task in range(6) if squares.read_marker(task) is not None]
    assert 3 not in kept
    before = ran(squares.root)
    _, tasks_run = toys.run(failing, workers)
    assert tasks_run == 6 - len(kept)
    assert set(ran(squares.root) - before) == {f"squares {task}" for task in range(6) if task not in kept}
    assert squares.manifest() is not None


def test_in_this_process_tasks_run_in_order_up_to_the_one_that_fails(squares, toys):
    with pytest.raises(RunError):
        toys.run(dataclasses.replace(squares, faults=((3, "error"),)), 0)
    assert [task for task in range(6) if squares.read_marker(task)] == [0, 1, 2]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_ours_is_not_disguised(squares, toys, workers):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        toys.run(dataclasses.replace(squares, faults=((0, "bug"),)), workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_full_disk_is_an_error_that_says_where(squares, toys, workers):
    with pytest.raises(RunError, match="squares, task 2: No space left on device") as caught:
        toys.run(dataclasses.replace(squares, faults=((2, "disk once"),)), workers)
    assert caught.value.where == str(squares.folder)
    toys.run(squares, workers)
    assert squares.manifest() is not None


def test_an_error_ends_the_tasks_beside_it(squares, toys):
    started = time.monotonic()
    with pytest.raises(RunError, match="no square"):
        toys.run(dataclasses.replace(squares, faults=((0, "wait"), (1, "error"))), 2)
    assert time.monotonic() - started < QUICK
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_is_an_error_and_the_next_run_completes(squares, toys):
    dying = dataclasses.replace(squares, faults=((2, "die once"),))
    with pytest.raises(RunError, match="a worker process died") as caught:
        toys.run(dying, 2)
    assert "squares" in caught.value.where
    assert "run again" in caught.value.fix
    assert multiprocessing.active_children() == []
    kept = [task for task in range(6) if squares.read_marker(task)]
    _, tasks_run = toys.run(dying, 2)
    assert tasks_run == 6 - len(kept)
    reference = dataclasses.replace(squares, root=squares.root / "reference")
    reference.root.mkdir()
    toys.run(reference, 0)
    assert folder_bytes(squares) == folder_bytes(reference)


def test_a_pool_found_dead_when_a_task_is_handed_in_is_the_same_error(squares, toys):
    with Runner(1, Events(None), Progress(shown=False)) as running:
        for stage in (dataclasses.replace(squares, faults=((0, "die"),)), squares):
            with pytest.raises(RunError, match="a worker process died"):
                running.ensure(stage)


def test_no_more_tasks_are_in_flight_than_the_workers_need(squares, toys):
    toys.run(dataclasses.replace(squares, count=12), 2)
    flying = most = 0
    for line in (squares.root / "events.jsonl").read_text().splitlines():
        flying += ('"task_started"' in line) - ('"task_finished"' in line)
        most = max(most, flying)
    assert flying == 0
    assert 2 <= most <= 2 * IN_FLIGHT_PER_WORKER


def test_what_killed_tasks_half_wrote_is_swept(squares, toys):
    squares.folder.mkdir(parents=True)
    half = squares.folder / ".000.txt.0123456789ab.tmp"
    half.write_bytes(b"half")
    toys.run(squares, 0)
    assert not half.exists()


def test_a_finished_stage_is_checked_again(squares, toys, monkeypatch):
    toys.run(squares, 0)

    def refuse(self, counts, files):
        assert counts["documents"] == len(files) == 6
        raise RunError("a lower limit")

    monkeypatch.setattr(toys.Squares, "check", refuse)
    with pytest.raises(RunError, match="a lower limit"):
        toys.run(squares, 0)


def test_events_tell_of_every_task_once(squares, toys):
    with pytest.raises(RunError):
        toys.run(dataclasses.replace(squares, faults=((4, "error once"),)), 0)
    toys.run(squares, 0)
    events = [orjson.loads(line) for line in (squares.root / "events.jsonl").read_bytes().splitlines()]
    finished = [(event["folder"], event["task"]) for event in events if event["event"] == "task_finished"]
    assert sorted(finished) == [(squares.folder.name, task) for task in range(6)]
    assert [event["reused"] for event in events if event["event"] == "stage_started"] == [0, 4]


def test_the_fork_server_finds_what_it_is_told_to_import(monkeypatch):
    told = []
    context = multiprocessing.get_context("forkserver")
    monkeypatch.setattr(type(context), "set_forkserver_preload", lambda self, names: told.extend(names))
    runner.start_fork_server()
    assert told
    for name in told:
        importlib.import_module(name)  # the server itself says nothing where it cannot


def start(processes, tmp_path, workers, *faults):
    folder = Path(__file__).parent
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return processes.start(f"{folder}/toy_stages.py", str(tmp_path), str(workers), *faults, PYTHONPATH=path)


def test_workers_end_with_their_driver(processes, tmp_path, wait_until):
    driver = start(processes, tmp_path, 2, "0=wait", "1=wait")
    wait_until(lambda: len(ran(tmp_path)) == 2)
    assert len(processes.workers(driver)) == 2
    processes.kill(driver, whole_group=False)
    assert processes.left() == []


def test_an_interrupt_ends_all_at_once_and_only_the_driver_speaks(processes, tmp_path, wait_until):
    driver = start(processes, tmp_path, 2, "0=wait")
    wait_until(lambda: len(ran(tmp_path)) == 6)  # one worker waits in its task, the other for one
    time.sleep(0.5)
    for worker in processes.workers(driver):
        os.kill(worker, signal.SIGINT)
    time.sleep(0.5)
    assert driver.poll() is None  # a worker does not answer
    started = time.monotonic()
    os.killpg(driver.pid, signal.SIGINT)
    said = processes.end(driver)
    assert time.monotonic() - started < QUICK
    assert (said.code, said.err) == (130, "")
    assert processes.left() == []


def test_a_worker_killed_from_outside_is_an_error_without_a_traceback(processes, tmp_path, wait_until):
    driver = start(processes, tmp_path, 2, "0=wait once", "1=wait once")
    wait_until(lambda: len(ran(tmp_path)) == 2)
    os.kill(processes.workers(driver)[0], signal.SIGKILL)
    said = processes.end(driver)
    assert said.code == 1
    assert "a worker process died" in said.err
    assert "Traceback" not in said.err
    assert processes.left() == []
    assert processes.end(start(processes, tmp_path, 2, "0=wait once", "1=wait once")).code == 0
    again = ran(tmp_path)
    assert again["squares 0"] == again["squares 1"] == 2

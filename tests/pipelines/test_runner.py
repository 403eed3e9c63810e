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
from midtrain.pipelines import processes as workers_of
from midtrain.pipelines import runner
from midtrain.pipelines.executor import IN_FLIGHT_PER_WORKER, Outcome
from midtrain.pipelines.processes import local
from midtrain.pipelines.runner import LOSSES, Runner
from midtrain.progress import Events, Progress

QUICK = 200  # seconds, against tasks that wait for 600


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


def told(root, event):
    """The events of a kind, from `events.jsonl`."""
    lines = (root / "events.jsonl").read_bytes().splitlines()
    return [found for found in map(orjson.loads, lines) if found["event"] == event]


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_whose_process_dies_run_again(squares, toys, workers):
    _, tasks_run = toys.run(dataclasses.replace(squares, faults=((2, "die once"), (4, "die once"))), workers)
    assert tasks_run == 6
    assert multiprocessing.active_children() == []
    reference = dataclasses.replace(squares, root=squares.root / "reference")
    reference.root.mkdir()
    toys.run(reference, 0)
    assert folder_bytes(squares) == folder_bytes(reference)
    lost = told(squares.root, "task_lost")
    assert [event["task"] for event in sorted(lost, key=lambda event: event["task"])] == [2, 4]
    assert all("process died (SIGKILL" in event["why"] for event in lost)
    assert len(told(squares.root, "task_finished")) == 6


def test_a_task_that_always_kills_its_process_is_given_up_and_the_others_are_kept(squares, toys):
    with pytest.raises(RunError, match=r"squares, task 2: its process died .* cannot be divided") as caught:
        toys.run(dataclasses.replace(squares, faults=((2, "die"),)), 2)
    assert caught.value.where == str(squares.folder)
    assert "finished tasks are kept" in caught.value.fix
    assert multiprocessing.active_children() == []
    assert [task for task in range(6) if squares.read_marker(task) is None] == [2]
    assert ran(squares.root)["squares 2"] == LOSSES
    assert {event["task"] for event in told(squares.root, "task_lost")} == {2}
    _, tasks_run = toys.run(squares, 2)
    assert tasks_run == 1


def test_two_tasks_that_kill_their_process_are_told_apart_from_their_neighbours(squares, toys):
    with pytest.raises(RunError, match=r"task [25]: its process died"):
        toys.run(dataclasses.replace(squares, count=12, faults=((2, "die"), (5, "die"))), 2)
    finished = {event["task"] for event in told(squares.root, "task_finished")}
    assert finished == set(range(12)) - {2, 5}


def test_a_task_that_dies_behind_its_last_step_is_not_done_again(squares, toys):
    last = dataclasses.replace(squares, faults=((3, "die behind"),))
    _, tasks_run = toys.run(last, 1)
    assert tasks_run == 6
    assert ran(squares.root)["squares 3"] == 1
    assert told(squares.root, "task_lost") == []


def test_nodes_that_come_and_go_are_not_held_against_a_task_but_not_for_ever(squares, losing):
    tries: Counter[int] = Counter()

    def why(job):
        tries[job.task] += 1
        return "the node went" if tries[job.task] <= 2 * LOSSES else ""

    with Runner(losing(why, blamed=False), Events(None), Progress(shown=False)) as running:
        running.ensure(squares)
    assert set(tries.values()) == {2 * LOSSES + 1}
    other = dataclasses.replace(squares, label="other")
    with (
        Runner(losing(lambda _: "the node went", blamed=False), Events(None), Progress(shown=False)) as running,
        pytest.raises(RunError, match=f"the node went, {runner.MOST_LOSSES} times over"),
    ):
        running.ensure(other)


def test_a_run_in_which_nothing_ends_is_given_up_and_says_what_it_waits_for(squares, toys):
    toys.run(dataclasses.replace(squares, label="before"), 2)  # the first processes may take seconds to load all
    stuck = dataclasses.replace(squares, faults=((4, "wait"), (5, "wait")))
    started = time.monotonic()
    with (
        pytest.raises(RunError, match=r"squares: no task ended for 5\.0 s; it waits for task 4, 5\n") as caught,
        Runner(local(2), Events(None), Progress(shown=False), stall=5.0) as running,
    ):
        running.ensure(stuck)
    assert caught.value.where == str(squares.folder)
    assert time.monotonic() - started < QUICK
    assert multiprocessing.active_children() == []
    assert [task for task in range(6) if squares.read_marker(task) is None] == [4, 5]


def test_code_that_never_lets_go_of_the_interpreter_is_ended_too(squares, toys):
    started = time.monotonic()
    with (
        pytest.raises(RunError, match="waits for task 0"),
        Runner(local(1), Events(None), Progress(shown=False), stall=1.5) as running,
    ):
        running.ensure(dataclasses.replace(squares, faults=((0, "hold"),)))
    assert time.monotonic() - started < QUICK
    assert multiprocessing.active_children() == []


def test_a_task_that_runs_for_long_is_overtaken_by_its_copy(squares, toys, monkeypatch):
    monkeypatch.setattr(runner, "COPY_AFTER", 3.0)  # more than any other task takes on a slow disk
    started = time.monotonic()
    _, tasks_run = toys.run(dataclasses.replace(squares, faults=((1, "wait once"),)), 2)
    assert time.monotonic() - started < QUICK
    assert tasks_run == 6
    assert ran(squares.root) == {f"squares {task}": 1 + (task == 1) for task in range(6)}
    assert [event["task"] for event in told(squares.root, "task_copied")] == [1]
    assert Counter(event["task"] for event in told(squares.root, "task_finished")) == Counter(range(6))
    assert multiprocessing.active_children() == []
    assert not (squares.folder / "tasks").exists()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_task_and_its_copy_that_end_in_one_look_count_once(squares, toys, monkeypatch, lost):
    monkeypatch.setattr(runner, "COPY_AFTER", 0.2)
    executor, held = local(2), []
    look = executor.wait

    def wait(seconds):
        found = look(seconds)
        held.extend(outcome for outcome in found if outcome.job.task == 1)
        others = [outcome for outcome in found if outcome.job.task != 1]
        if len(held) < 2:
            return others
        if lost:
            held[0] = Outcome(held[0].job, None, "its process died")
        return [*others, *held]

    monkeypatch.setattr(executor, "wait", wait)
    with Runner(executor, Events(squares.root / "events.jsonl"), Progress(shown=False)) as running:
        manifest = running.ensure(dataclasses.replace(squares, faults=((1, "until copied"),)))
    assert len(held) == 2
    assert manifest.counts["documents"] == running.tasks_run == 6
    assert sorted(file.path for file in manifest.files) == [f"{task:03}.txt" for task in range(6)]
    assert not told(squares.root, "task_lost")


def test_a_task_that_is_overtaken_leaves_no_half_of_a_file(squares, toys, monkeypatch):
    monkeypatch.setattr(runner, "COPY_AFTER", 3.0)
    toys.run(dataclasses.replace(squares, faults=((1, "half once"),)), 2)
    assert [event["task"] for event in told(squares.root, "task_copied")] == [1]
    assert [path.name for path in squares.folder.iterdir() if path.name.endswith(".tmp")] == []


def test_a_copy_whose_process_dies_leaves_the_first_at_work(squares, toys, monkeypatch):
    monkeypatch.setattr(runner, "COPY_AFTER", 0.5)
    _, tasks_run = toys.run(dataclasses.replace(squares, faults=((1, "wait for a copy that dies"),)), 2)
    assert tasks_run == 6
    assert ran(squares.root)["squares 1"] == 2
    assert told(squares.root, "task_lost") == []
    assert [(event["task"], "died" in event["why"]) for event in told(squares.root, "copy_lost")] == [(1, True)]


def test_no_copy_is_begun_where_others_wait_or_no_process_is_free(squares, toys, monkeypatch):
    monkeypatch.setattr(runner, "COPY_AFTER", 0.0)
    monkeypatch.setattr(runner, "COPY_TIMES", 0.0)
    toys.run(dataclasses.replace(squares, faults=((5, "slow"),)), 1)
    assert told(squares.root, "task_copied") == []


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
    workers_of.start_fork_server()
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


def test_a_worker_killed_from_outside_costs_only_its_tasks(processes, tmp_path, wait_until):
    driver = start(processes, tmp_path, 2, "0=until lost once", "1=until lost once")
    wait_until(lambda: len(ran(tmp_path)) == 2)
    os.kill(processes.workers(driver)[0], signal.SIGKILL)
    said = processes.end(driver)
    assert (said.code, said.err) == (0, "")
    assert processes.left() == []
    again = ran(tmp_path)
    (lost,) = (event["task"] for event in told(tmp_path, "task_lost"))
    assert {again["squares 0"], again["squares 1"]} == {1, 2}
    assert again[f"squares {lost}"] == 2

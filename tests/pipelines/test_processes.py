"""Worker processes: each has its own pipe and its own death."""

import dataclasses
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines import budget, executor, processes
from midtrain.pipelines.executor import InProcess, Job
from midtrain.pipelines.processes import LocalProcesses, local

PATIENCE = 120  # seconds


@pytest.fixture
def squares(toys, tmp_path):
    return toys.Squares(tmp_path)


@pytest.fixture
def pool():
    """Makes pools that are ended with the test."""
    made = []

    def make(workers, memory=None):
        made.append(LocalProcesses(workers, memory))
        return made[-1]

    yield make
    for one in made:
        one.close(failed=True)
    assert multiprocessing.active_children() == []


def outcomes(pool, count):
    """So many outcomes by task, in the order in which they came."""
    found, deadline = [], time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < deadline
        found += pool.wait(1.0)
    return {outcome.job.task: outcome for outcome in found}


def test_no_worker_is_this_process_and_one_a_core_the_default():
    assert isinstance(local(0), InProcess)
    assert local().slots == executor.default_workers()


def test_a_death_costs_the_job_that_ran_and_no_other(squares, pool):
    running = pool(1)
    faulty = dataclasses.replace(squares, faults=((0, "die"),))
    for task in range(3):
        running.submit(Job(faulty, task))
    found = outcomes(running, 3)
    assert [task for task, outcome in found.items() if outcome.done is None] == [0]
    assert found[0].lost.startswith("its process died (SIGKILL")
    assert found[2].done.result.counts["documents"] == 1
    assert found[2].done.seconds >= 0


def test_an_idle_process_that_died_is_replaced(squares, pool):
    running = pool(1)
    running.submit(Job(squares, 0))
    outcomes(running, 1)
    (worker,) = running._alive
    os.kill(worker.process.pid, signal.SIGKILL)
    worker.process.join()
    running.submit(Job(squares, 1))
    assert outcomes(running, 1)[1].done is not None


def test_a_cancelled_job_is_never_heard_of_and_its_process_is_gone(squares, pool):
    running = pool(2)
    held = Job(dataclasses.replace(squares, faults=((0, "hold"),)), 0)
    running.submit(held)
    time.sleep(0.2)
    first = running._alive[0].process
    running.cancel(held)
    assert not first.is_alive()
    for task in (1, 2):
        running.submit(Job(squares, task))
    assert set(outcomes(running, 2)) == {1, 2}


def test_a_job_cancelled_while_it_waits_does_not_run(squares, pool):
    running = pool(1)
    slow = Job(dataclasses.replace(squares, faults=((0, "slow"),)), 0)
    waiting = Job(squares, 1)
    running.submit(slow)
    running.submit(waiting)
    running.cancel(waiting)
    assert set(outcomes(running, 1)) == {0}
    assert "squares 1" not in (squares.root / "runs.log").read_text()


def test_an_error_tells_where_in_the_worker_it_was_raised(squares, pool):
    running = pool(1)
    running.submit(Job(dataclasses.replace(squares, faults=((0, "bug"),)), 0))
    with pytest.raises(ZeroDivisionError, match="a bug") as caught:
        outcomes(running, 1)
    assert "toy_stages.py" in str(caught.value.__cause__)


def test_an_error_that_cannot_travel_is_told_by_its_text(squares, pool):
    running = pool(1)
    running.submit(Job(dataclasses.replace(squares, faults=((0, "unpicklable"),)), 0))
    with pytest.raises(RunError, match="Unpicklable: stays here"):
        outcomes(running, 1)


def test_a_large_stage_goes_to_each_process_once(squares, pool, monkeypatch):
    monkeypatch.setattr(processes, "WITH_THE_JOB", 10)
    running = pool(2)
    for task in range(6):
        running.submit(Job(squares, task))
    assert set(outcomes(running, 6)) == set(range(6))
    folder = Path(running._folder.name)
    assert len(list(folder.iterdir())) == 1
    running.close(failed=False)
    assert not folder.exists()


GRABS = 400 << 20  # bytes


def test_a_process_that_takes_more_than_the_run_may_use_is_ended_alone(squares, pool):
    running = pool(2, budget.DRIVER + GRABS)
    greedy = dataclasses.replace(squares, faults=((0, "grab"), (1, "slow")))
    for task in range(2):
        running.submit(Job(greedy, task))
    found = outcomes(running, 2)
    assert found[0].done is None
    assert found[0].lost.startswith("its process was ended: it held ")
    assert found[0].blamed
    assert found[1].done is not None
    assert running.slots == 1


@pytest.mark.parametrize(("gib", "slots"), [(1.3, 1), (2.3, 2), (9, 3)])
def test_as_many_processes_run_as_fit(squares, pool, monkeypatch, gib, slots):
    monkeypatch.setattr(type(squares), "memory", lambda self: 1 << 30)
    running = pool(3, int(gib * 2**30))
    running.begin(squares)
    assert running.slots == slots


@pytest.mark.parametrize("workers", [0, 2])
def test_a_memory_in_which_no_task_fits_is_refused_with_what_would_do(squares, monkeypatch, workers):
    monkeypatch.setattr(type(squares), "memory", lambda self: 1 << 30)
    with pytest.raises(ConfigError, match="squares: the memory is too small") as caught:
        local(workers, 10**9).begin(squares)
    assert "at least 1." in caught.value.expected


@pytest.mark.measures
def test_what_a_task_held_is_told(squares, pool):
    running = pool(1)
    for task, fault in enumerate(("", "hold 100 MB")):
        running.submit(Job(dataclasses.replace(squares, faults=((task, fault),)), task))
    found = outcomes(running, 2)
    assert 90e6 < found[1].done.memory - found[0].done.memory < 130e6


def test_a_temporary_folder_too_long_for_a_socket_is_said(workshop, tmp_path):
    """Workers are forked by a server that is called through a socket below TMPDIR."""
    long = tmp_path / ("x" * processes.LONGEST_FOLDER)
    long.mkdir()
    source = {"name": "web", "path": str(workshop.jsonl("a.jsonl", [{"text": "some words"}]))}
    content = {"name": "n", "output": str(workshop.root / "out"), "sources": [source], "steps": []}
    command = [sys.executable, "-m", "midtrain", "curate", str(workshop.yaml("r.yaml", content)), "--workers", "1"]
    environment = {**os.environ, "TMPDIR": str(long)}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode == 2
    assert "set TMPDIR to a shorter path, or work with --workers 0" in ended.stderr
    assert "Traceback" not in ended.stderr
    again = subprocess.run([*command[:-1], "0"], capture_output=True, text=True, check=False, env=environment)
    assert again.returncode == 0

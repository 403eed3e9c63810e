"""Worker processes: each has its own pipe and its own death."""

import dataclasses
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from midtrain.errors import RunError
from midtrain.pipelines import executor, processes
from midtrain.pipelines.executor import InProcess, Job
from midtrain.pipelines.processes import LocalProcesses, local

QUICK = 45  # seconds


@pytest.fixture
def squares(toys, tmp_path):
    return toys.Squares(tmp_path)


@pytest.fixture
def pool():
    """Makes pools that are ended with the test."""
    made = []

    def make(workers):
        made.append(LocalProcesses(workers))
        return made[-1]

    yield make
    for one in made:
        one.close(failed=True)
    assert multiprocessing.active_children() == []


def outcomes(pool, count):
    """So many outcomes by task, in the order in which they came."""
    found, deadline = [], time.monotonic() + QUICK
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

"""Deaths on the way: a run that is killed at any moment goes on where it stopped and comes to the same files."""

import contextlib
import itertools
import os
import random
import shutil
import signal
import time

import pytest
from midtrain.pipelines import inputs

from tests.sizes import sized

DRIVER = """
import sys
from midtrain import cli
from midtrain.pipelines import inputs
if __name__ == "__main__":  # workers import the main module too
    inputs.MIN_SPLIT = 4000  # many small tasks out of a small corpus
    cli.main()
"""


@pytest.fixture
def undisturbed(corpus, monkeypatch):
    """The result of a run that nothing befell."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)
    found = corpus.twin("undisturbed")
    found.curate()
    return found


def start(workshop, processes):
    """Curates in other processes."""
    driver, recipe = workshop.root / "driver.py", workshop.yaml("recipe.yaml", workshop.recipe())
    driver.write_text(DRIVER)
    return processes.start(str(driver), "curate", str(recipe), "--workers", "2")


def kill_in_the_middle(workshop, processes, wait_until, tasks, seconds=0.0, whole_group=True):
    """Kills a run some seconds after so many tasks; returns whether it was still going on."""
    process = start(workshop, processes)
    wait_until(lambda: len(workshop.finished("out")) >= tasks or process.poll() is not None)
    time.sleep(seconds)
    running = process.poll() is None
    processes.kill(process, whole_group)
    assert processes.left() == []
    return running


def check_same(made, reference, output):
    assert made.hashes(output) == reference.hashes(output)
    assert made.files(output) == reference.files(output)
    assert len(set(made.finished(output))) == len(made.finished(output))
    assert [str(path) for path in (made.root / output).rglob("*.tmp")] == []


def check_resumed(workshop, processes, reference):
    said = processes.end(start(workshop, processes))
    assert said.code == 0, said.err
    check_same(workshop, reference, "out")


def test_a_killed_run_goes_on_where_it_stopped(corpus, undisturbed, processes, wait_until):
    total = len(undisturbed.finished("out"))
    for _ in range(10):
        running = kill_in_the_middle(corpus, processes, wait_until, 5)
        begun = any((corpus.root / "out").glob("stages/*/tasks/*"))  # a stage that is not complete has tasks that are
        if running and begun and len(corpus.finished("out")) < total:
            break
        shutil.rmtree(corpus.root / "out")  # a run of less than a second had ended before this process had its turn
    done = corpus.finished("out")
    check_resumed(corpus, processes, undisturbed)
    assert len(corpus.finished("out")) > len(done) >= 5
    assert corpus.finished("out")[: len(done)] == done
    assert sum(event.get("reused", 0) for event in corpus.events("out")) > 0


@pytest.mark.slow
def test_runs_killed_again_and_again_at_any_moment_come_to_the_same(corpus, undisturbed, processes, wait_until):
    rng = random.Random(5)
    total = len(undisturbed.finished("out"))
    killed = rounds = 0
    # A run of less than a second may have ended before this process has its turn.
    while rounds < sized(4, 2) or killed < sized(6, 3):
        rounds += 1
        assert rounds < 20, killed
        for tasks in sorted(rng.sample(range(total), sized(3, 2))):
            seconds, group = rng.random() / 50, rng.random() < 0.5
            killed += kill_in_the_middle(corpus, processes, wait_until, tasks, seconds, whole_group=group)
        check_resumed(corpus, processes, undisturbed)
        shutil.rmtree(corpus.root / "out")


@pytest.mark.slow
@pytest.mark.alone  # a run of less than a second must be caught at work
def test_a_worker_killed_in_the_middle_costs_only_its_task(corpus, undisturbed, processes, wait_until):
    for _ in range(10):
        process = start(corpus, processes)
        wait_until(lambda: corpus.finished("out"))
        with contextlib.suppress(IndexError, ProcessLookupError):
            os.kill(processes.workers(process)[-1], signal.SIGKILL)
            break
        processes.end(process)
        shutil.rmtree(corpus.root / "out")  # it had ended before this process had its turn
    said = processes.end(process)
    assert said.code == 0
    assert "Traceback" not in said.err
    assert processes.left() == []
    check_resumed(corpus, processes, undisturbed)


@pytest.mark.slow
@pytest.mark.alone  # a run of less than a second must be caught at work
def test_an_interrupted_run_says_so_and_goes_on(corpus, undisturbed, processes, wait_until):
    for _ in range(10):
        process = start(corpus, processes)
        wait_until(lambda: corpus.finished("out"))
        processes.workers(process)
        os.killpg(process.pid, signal.SIGINT)
        said = processes.end(process)
        if said.code != 0:
            break
        shutil.rmtree(corpus.root / "out")  # a run of less than a second had ended before this process had its turn
    assert said.code == 130
    assert said.err.strip().endswith(
        "midtrain: interrupted; run the same command again to go on (train: with --resume; demo: it starts anew)"
    )
    assert "Traceback" not in said.err
    assert processes.left() == []
    check_resumed(corpus, processes, undisturbed)


@pytest.mark.parametrize(("first", "every"), [(1, 9), pytest.param(1, sized(1, 3), marks=pytest.mark.slow)])
def test_a_curation_that_dies_at_any_write_is_made_good(corpus, dying, first, every):
    reference = corpus.twin("reference")
    writes = dying(None)
    reference.curate()
    total = writes()
    assert total > 25
    for at, behind in itertools.product(range(first, total + 1, every), (False, True)):
        shutil.rmtree(corpus.root / "out", ignore_errors=True)
        dying(at, behind)
        with pytest.raises(BaseException, match=r"^$") as death:
            corpus.curate()
        assert death.type.__name__ == "Died"
        dying(None)
        corpus.curate()
        check_same(corpus, reference, "out")


@pytest.mark.parametrize(("first", "every"), [(2, 11), pytest.param(1, sized(1, 5), marks=pytest.mark.slow)])
def test_a_build_that_dies_at_any_write_is_made_good(shop, built_workshop, dying, first, every):
    writes = dying(None)
    shop.build()
    total = writes()
    assert total > 40
    for at, behind in itertools.product(range(first, total + 1, every), (False, True)):
        shutil.rmtree(shop.root / "shards")
        dying(at, behind)
        with pytest.raises(BaseException, match=r"^$") as death:
            shop.build()
        assert death.type.__name__ == "Died"
        dying(None)
        shop.build()
        check_same(shop, built_workshop, "shards")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "when"),
    sized([("group", (3, 12, 30)), ("driver", (3, 12, 30)), ("worker", (3,))], [("group", (3,)), ("driver", (30,))]),
)
def test_a_killed_build_goes_on_where_it_stopped(corpus, processes, wait_until, monkeypatch, what, when):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 2000)
    corpus.curate()
    reference = type(corpus)(corpus.root / "reference")
    reference.root.mkdir()
    reference.mixture = lambda **changed: corpus.mixture(**{"output": str(reference.root / "shards"), **changed})
    reference.build()
    command = ("-m", "midtrain", "build", str(corpus.yaml("mixture.yaml", corpus.mixture())), "--workers", "2")
    for tasks in when:
        process = processes.start(*command)
        wait_until(lambda tasks=tasks: len(corpus.finished("shards")) >= tasks)
        if what == "worker":
            with contextlib.suppress(IndexError, ProcessLookupError):  # it may have ended before this process' turn
                os.kill(processes.workers(process)[0], signal.SIGKILL)
            said = processes.end(process)
            assert (said.code, "Traceback" in said.err) == (0, False)  # its task ran again
        else:
            processes.kill(process, whole_group=what == "group")
        assert processes.left() == []
    assert processes.end(processes.start(*command)).code == 0
    check_same(corpus, reference, "shards")


def test_a_full_disk_ends_with_an_error_and_the_next_run_completes(corpus, processes):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe())
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))"
    program = f"{limit}\nfrom midtrain.cli import main\nmain()"
    reference = corpus.twin("reference")
    reference.curate()  # kernels are compiled, whose files are larger than the limit
    said = processes.end(processes.start("-c", program, "curate", str(recipe), "--workers", "0"))
    assert said.code == 1
    assert said.err.startswith("midtrain: run error\n")
    assert "File too large" in said.err
    assert "Traceback" not in said.err
    assert [str(path) for path in corpus.root.rglob("*.tmp")] == []
    corpus.curate()
    check_same(corpus, reference, "out")

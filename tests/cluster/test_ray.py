"""On Ray: the same files as in one process, whatever is killed; workers get the package from the driver."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from midtrain.pipelines import inputs

from tests.cluster.processes import below, free_port, title, token
from tests.sizes import whole_only

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1500)]

SMALL_SPLIT = 2_000  # bytes: tasks enough to be killed among them
# Workers without an install compile what they run: of all rule sets this one has the least.
STEPS = [{"length": {"sources": ["a", "b"], "min_chunks": 30}}, {"exact_dedup": {}}]
MAIN = f"""
import sys
from midtrain import cli
from midtrain.pipelines import inputs
inputs.MIN_SPLIT = {SMALL_SPLIT}
sys.argv[0] = "midtrain"
cli.main()
"""


@pytest.fixture
def undisturbed(workshop, monkeypatch):
    """The standard corpus with more documents in a, curated in this process in a folder of its own."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", SMALL_SPLIT)
    workshop.corpus()
    workshop.jsonl("a.jsonl", workshop.records("a", workshop.texts(400, seed=3)))
    other = workshop.twin("other")
    other.curate(workers=0, steps=STEPS)
    return other


@pytest.fixture
def start(workshop, processes, head):
    """Starts a curation on a cluster."""
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(steps=STEPS))
    shown = token(head.folder / "token")
    return lambda address: processes.start("-c", MAIN, "curate", str(recipe), "--ray", address, **shown)


def test_workers_without_an_install_curate_and_build_the_same(workshop, undisturbed, processes, head, start):
    bare = subprocess.run([head.python, "-c", "import midtrain"], cwd="/", capture_output=True, text=True, env={})
    assert "ModuleNotFoundError" in bare.stderr
    said = processes.end(start(head.address))
    assert (said.code, workshop.hashes("out")) == (0, undisturbed.hashes("out")), said.err
    shipped = list(head.folder.glob("ray/session_latest/runtime_resources/py_modules_files/*/midtrain/__init__.py"))
    assert shipped or list(head.folder.rglob("runtime_resources/py_modules_files/*/midtrain/__init__.py"))
    undisturbed.build(workers=0)
    mixture = workshop.yaml("mixture.yaml", workshop.mixture())
    said = processes.end(
        processes.start("-c", MAIN, "build", str(mixture), "--ray", head.address, **token(head.folder / "token"))
    )
    assert (said.code, workshop.hashes("shards")) == (0, undisturbed.hashes("shards")), said.err


@whole_only
def test_a_worker_that_is_killed_costs_its_task_alone(workshop, undisturbed, processes, head, start):
    driver = start(head.address)
    deadline, kill_again = time.monotonic() + 600, 0.0
    while not any(event["event"] == "task_lost" for event in workshop.events("out")):
        assert time.monotonic() < deadline
        if driver.poll() is not None:  # before a worker could be killed at work
            assert processes.end(driver).code == 0
            shutil.rmtree(workshop.root / "out")
            driver, kill_again = start(head.address), 0.0
        if time.monotonic() > kill_again and (busy := head.busy()):  # the task of the last one may just have ended
            os.kill(busy[0], signal.SIGKILL)
            kill_again = time.monotonic() + 5
        time.sleep(0.01)
    said = processes.end(driver)
    assert (said.code, workshop.hashes("out")) == (0, undisturbed.hashes("out")), said.err
    lost = [event for event in workshop.events("out") if event["event"] == "task_lost"]
    assert all("WorkerCrashedError" in event["why"] for event in lost)


@whole_only
def test_a_killed_driver_goes_on_where_it_stopped(workshop, undisturbed, processes, head, start, wait_until):
    driver = start(head.address)
    wait_until(lambda: len(workshop.finished("out")) >= 5, 400)
    processes.kill(driver, whole_group=False)
    before = set(workshop.finished("out"))
    said = processes.end(start(head.address))
    assert (said.code, workshop.hashes("out")) == (0, undisturbed.hashes("out")), said.err
    finished = workshop.finished("out")
    assert len(finished) == len(set(finished)) > len(before)


def test_a_run_whose_node_is_gone_ends_and_goes_on_elsewhere(workshop, undisturbed, processes, mortal_head, wait_until):
    recipe = str(workshop.yaml("recipe.yaml", workshop.recipe(steps=STEPS)))
    shown = token(mortal_head.folder / "token")
    command = ("-c", MAIN, "curate", recipe, "--ray", mortal_head.address, "--stall", "0.6")
    driver = processes.start(*command, **shown)
    wait_until(lambda: len(workshop.finished("out")) >= 3, 400)
    os.kill(mortal_head.raylet(), signal.SIGKILL)
    said = processes.end(driver, 600)
    assert said.code == 1, said.err
    # Ray may end a driver whose node is gone before the driver can say what it waits for.
    assert "no task ended for 36 s; it waits for task" in said.err or "Raylet is terminated" in said.err
    before = set(workshop.finished("out"))
    said = processes.end(processes.start("-c", MAIN, "curate", recipe, "--workers", "1"))
    assert (said.code, workshop.hashes("out")) == (0, undisturbed.hashes("out")), said.err
    finished = workshop.finished("out")
    assert len(finished) == len(set(finished)) > len(before)


@pytest.mark.measures
def test_no_cluster_at_the_address_is_said_at_once(workshop, midtrain):
    workshop.corpus()
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(steps=STEPS))
    for address, what in ((f"127.0.0.1:{free_port()}", "no Ray cluster answers"), ("nowhere", "is no address")):
        started = time.monotonic()
        said = midtrain("curate", recipe, "--ray", address)
        assert said.code == 2
        assert f"--ray {address}: {what}" in said.err
        assert "Traceback" not in said.err
        assert time.monotonic() - started < 20


def test_a_token_that_is_refused_is_said_with_what_to_set(workshop, processes, head, tmp_path):
    workshop.corpus()
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(steps=STEPS))
    (tmp_path / "token").write_text("0" * 64)
    said = processes.end(
        processes.start("-c", MAIN, "curate", str(recipe), "--ray", head.address, **token(tmp_path / "token"))
    )
    assert said.code == 2
    assert said.err.startswith(
        f"midtrain: configuration error\n--ray {head.address}: no Ray cluster answers: it refused the token\n"
    )
    assert "RAY_AUTH_TOKEN_PATH" in said.err
    assert "0" * 64 not in said.err


def test_a_cluster_of_this_machine_makes_the_same_and_is_gone_at_the_end(workshop, undisturbed, processes, start):
    driver = start("local")
    seen: set[int] = set()
    folders: set[str] = set()
    while driver.poll() is None:
        for pid in below(driver.pid):
            seen.add(pid)
            folders.update(re.findall(r"/tmp/midtrain-\w+", title(pid)))
        time.sleep(0.05)
    said = processes.end(driver)
    assert (said.code, workshop.hashes("out")) == (0, undisturbed.hashes("out")), said.err
    assert not re.search(r"warning|Traceback|\[20\d\d-", said.err, re.IGNORECASE)
    deadline = time.monotonic() + 60
    while (left := [title(pid) for pid in seen if title(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(seen) > 3
    assert left == []
    assert len(folders) == 1
    assert not Path(folders.pop()).exists()

"""The golden run: the same losses to the last bit on one machine, also after a kill, and near stored ones elsewhere."""

import json
import os
import random
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from midtrain.trainer.checkpoints import checkpoint, checkpoint_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

GOLDEN = runpy.run_path(str(Path(__file__).with_name("golden_run.py")))
STEPS = GOLDEN["STEPS"]
PATIENCE = 900  # seconds that a run may take on a machine that is busy elsewhere
TOLERANCES = ((100, 0.01), (300, 0.05))
"""Nats that a loss may be away from the stored one, up to a step; docs/log.md has what they are chosen from."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The mixture, and the undisturbed run in `run`."""
    if "MIDTRAIN_DATA" not in os.environ:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    folder = tmp_path_factory.mktemp("golden")
    shards = GOLDEN["build"](Path(os.environ["MIDTRAIN_DATA"]), folder)
    GOLDEN["midtrain"]("train", GOLDEN["run_file"](folder, shards))
    return folder


def test_killed_and_resumed_its_losses_and_weights_are_bitwise_the_same(folder):
    expected = GOLDEN["losses"](folder / "run")
    assert len(expected) == STEPS
    kill = random.Random(time.time_ns()).randrange(60, STEPS - 60)  # seconds before it ends by itself
    print("killed after step", kill)
    file = GOLDEN["run_file"](folder, folder / "shards", "killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "midtrain", "train", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    metrics, deadline = folder / "killed/metrics.jsonl", time.monotonic() + PATIENCE
    while not metrics.exists() or metrics.read_bytes().count(b'"kind":"step"') < kill:
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 50 <= checkpoint_folder.find(folder / "killed").contents.position.step < STEPS
    GOLDEN["midtrain"]("train", file, "--resume")
    assert GOLDEN["losses"](folder / "killed") == expected
    one, other = (
        checkpoint.load_model(checkpoint_folder.find(folder / name)).state_dict() for name in ("run", "killed")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_its_curve_is_the_stored_one(folder):
    stored = json.loads(GOLDEN["CURVE"].read_text())
    assert (stored["steps"], stored["every"], stored["threads"]) == (STEPS, GOLDEN["EVERY"], GOLDEN["THREADS"])
    found = GOLDEN["thinned"](GOLDEN["losses"](folder / "run"))
    steps = [1, *range(stored["every"], STEPS + 1, stored["every"])]
    for step, loss, expected in zip(steps, found, stored["losses"], strict=True):
        tolerance = next(tolerance for last, tolerance in TOLERANCES if step <= last)
        assert loss == pytest.approx(expected, abs=tolerance), f"step {step}"
    assert found[0] == pytest.approx(stored["losses"][0], abs=1e-4)  # before anything was trained

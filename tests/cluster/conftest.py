"""A Ray cluster whose workers have no install of midtrain, started once for a module and ended by pid."""

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import kernels
from tests.cluster.processes import BUSY, bare_python, below, end, free_port, packages_of, title, token

START_WITHIN = 90.0  # seconds
SMALL_STORE = 100 << 20  # bytes


@dataclass(frozen=True)
class Head:
    """The head of a cluster: its address, its folder, the Python of its workers, its first process, its dashboard."""

    address: str
    folder: Path
    python: Path
    pid: int
    dashboard: int  # its port, 0 where there is none

    def busy(self) -> list[int]:
        """The worker processes that run a task of ours at this moment."""
        return [pid for pid in below(self.pid) if BUSY.match(title(pid))]

    def raylet(self) -> int:
        """The process that runs the node's workers."""
        return next(pid for pid in below(self.pid) if "/raylet/raylet" in title(pid).split(" ")[0])


@contextlib.contextmanager
def one_node(dashboard: int = 0, compiles: bool = False) -> Iterator[Head]:
    """A cluster of one node of two CPUs, on loopback; with a dashboard where a port is given for it.

    Args:
        dashboard: its port; 0 for none.
        compiles: its workers compile their kernels, as they would elsewhere; else they take the checkout's.
    """
    folder = Path(tempfile.mkdtemp(prefix="mt-ray-", dir="/tmp"))
    python, port = bare_python(folder / "venv"), free_port()
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RAY_ADDRESS")}
    (folder / "token").write_text(secrets.token_hex(32))
    if not compiles:
        environment |= kernels.put(packages_of(python))
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **token(folder / "token")}
    command = [str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", f"--object-store-memory={SMALL_STORE}"]
    command += [f"--temp-dir={folder}/ray", "--disable-usage-stats", f"--include-dashboard={bool(dashboard)}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"] if dashboard else []
    with open(folder / "log", "wb") as log:
        started = subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_WITHIN
        while "Ray runtime started" not in (folder / "log").read_text():
            assert started.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield Head(f"127.0.0.1:{port}", folder, python, started.pid, dashboard)
    finally:
        end([*below(started.pid), started.pid])
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One node that serves all tests of a module."""
    with one_node(compiles=True) as found:
        yield found


@pytest.fixture
def mortal_head() -> Iterator[Head]:
    """One node for a test that breaks it."""
    with one_node() as found:
        yield found

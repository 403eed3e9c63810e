"""A Ray cluster whose workers have no install of midtrain, started once for a module and ended by pid."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_WITHIN = 90.0  # seconds
SMALL_STORE = 100 << 20  # bytes


@dataclass(frozen=True)
class Head:
    """The head of a cluster: its address, its folder, the Python of its workers and its first process."""

    address: str
    folder: Path
    python: Path
    pid: int

    def busy(self) -> list[int]:
        """The worker processes that run a task of ours at this moment."""
        titles = {pid: title(pid) for pid in below(self.pid)}
        return [pid for pid, found in titles.items() if re.match(r"ray::[a-z_-]+ \d+", found)]  # no agent of Ray's

    def raylet(self) -> int:
        """The process that runs the node's workers."""
        return next(pid for pid in below(self.pid) if "/raylet/raylet" in title(pid).split(" ")[0])


def title(pid: int) -> str:
    """The command line of a process, empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def below(pid: int) -> list[int]:
    """All processes below one."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [found for child in map(int, listed) for found in (child, *below(child))]


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bare_python(folder: Path) -> Path:
    """A Python with this one's packages but without midtrain: a .pth in a folder named by a .pth is not followed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    Path(site, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def token(path: Path) -> dict[str, str]:
    """The environment that shows the token in a file: without one of its own, `ray start` makes one for the user."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def end(pids: list[int]) -> None:
    """Ends processes by pid, and waits until they are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(title(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)


@contextlib.contextmanager
def one_node() -> Iterator[Head]:
    """A cluster of one node of two CPUs, on loopback."""
    folder = Path(tempfile.mkdtemp(prefix="mt-ray-", dir="/tmp"))
    python, port = bare_python(folder / "venv"), free_port()
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RAY_ADDRESS")}
    (folder / "token").write_text(secrets.token_hex(32))
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", **token(folder / "token")}
    command = [str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--node-ip-address=127.0.0.1", "--num-cpus=2", f"--object-store-memory={SMALL_STORE}"]
    command += ["--include-dashboard=false", f"--temp-dir={folder}/ray", "--disable-usage-stats"]
    with open(folder / "log", "wb") as log:
        started = subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + START_WITHIN
        while "Ray runtime started" not in (folder / "log").read_text():
            assert started.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield Head(f"127.0.0.1:{port}", folder, python, started.pid)
    finally:
        end([*below(started.pid), started.pid])
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One node that serves all tests of a module."""
    with one_node() as found:
        yield found


@pytest.fixture
def mortal_head() -> Iterator[Head]:
    """One node for a test that breaks it."""
    with one_node() as found:
        yield found

"""What tests of a cluster need to know of processes: their titles, what is below them, and how to end them by pid.

Ray's own `ray stop` ends every Ray of the machine, also other people's. Costs a few reads below `/proc`.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

BUSY = re.compile(r"ray::[a-z_-]+ \d+")  # the title of a worker that runs a task of ours; no agent of Ray's


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


def end(pids: Iterable[int]) -> None:
    """Ends processes by pid, and waits until they are gone."""
    pids = list(pids)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while any(title(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether nothing listens at a port now."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def bare_python(folder: Path) -> Path:
    """A Python with this one's packages but without midtrain: a .pth in a folder named by a .pth is not followed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    (packages_of(python) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def packages_of(python: Path) -> Path:
    """The folder that a Python's own packages lie in."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())


def token(path: Path) -> dict[str, str]:
    """The environment that shows the token in a file: without one of its own, `ray start` makes one for the user."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}

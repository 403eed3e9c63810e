"""Untrusted Python code in a process apart, with limits: code that a model wrote runs here or nowhere.

A reply is checked by running it, and a reply may loop, fill the memory, delete files or call home. The code gets its
own users, mounts, network and processes (Linux namespaces), an empty folder and no environment; where the kernel does
not allow that, `run` refuses. Costs about 0.1 s a run; nothing of it touches the caller's signals or threads.

Memory has three bounds, for `memory` = m bytes. A process maps at most m. All processes together hold at most 2 m
(`TOGETHER`; a page that they share since a fork counts for each): a look every 50 ms ends them all. What they fill
between two looks comes on top, and never more than `PROCESSES` times m. Files take at most `DISK`, pairs of sockets 14
MiB a process, pipes 64 MiB (Linux's default for a user). What else could hold memory is refused (sandbox_filter.py):
System V and memory files, shared anonymous mappings, message queues, other sockets, namespaces of its own. Small tables
of the kernel are not counted.
"""

import functools
import json
import math
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from .errors import ConfigError, RunError
from .sandbox_filter import program

MEMORY = 512 << 20  # bytes of address space for each process of the code
TOGETHER = 2  # times that: what all its processes may hold
OUTPUT = 1 << 20  # bytes of each of its files, standard output and error among them
DISK = 64 << 20  # bytes that all files in its folder may take; they are held in memory
PROCESSES = 16  # processes and threads at once, two of ours among them
SETUP_SECONDS = 60.0  # for the sandbox itself; it takes 0.1 s, but the machine may be busy
LEAST_MEMORY = 64 << 20  # Python itself takes about 20 MiB
LOOK_MS = 50  # between two looks at whether a run is to be ended, where it can be

# Beside Python's own folders: what its shared libraries are found in.
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/nix/store")


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Args:
        status: `ok` (exit code 0), `failed` (another), `timeout` (wall clock or CPU), `memory` (a MemoryError that was
            not caught, or too much in all processes together), `killed` (by a signal).
        returncode: the exit code, the signal's number negated, None where we ended it.
        stdout, stderr: what was written, undecodable bytes replaced.
        seconds: wall time of the code, without the sandbox's own.
    """

    status: Literal["ok", "failed", "timeout", "memory", "killed"]
    returncode: int | None
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True)
class _Limits:
    seconds: float
    cpu_seconds: int
    memory: int
    output: int


def run(
    code: str,
    *,
    stdin: str = "",
    seconds: float = 10,
    cpu_seconds: int | None = None,
    memory: int = MEMORY,
    output: int = OUTPUT,
    allow_without_isolation: bool = False,
    cancel: threading.Event | None = None,
) -> Result:
    """Runs Python source with the standard library alone; returns when all of its processes are gone.

    Args:
        code: the source.
        stdin: what it reads from its standard input.
        seconds: of wall clock. More ends it.
        cpu_seconds: of CPU time of each of its processes; by default somewhat more than `seconds`. A limit that does
            not depend on what else the machine does, where `seconds` is well above it.
        memory: bytes of address space a process (of at most `PROCESSES`). More raises MemoryError in it. Where all of
            them hold more than `TOGETHER` times as much, they are ended; with isolation only.
        output: bytes of standard output, of standard error, and of any file it writes. More raises OSError in it.
        allow_without_isolation: run with the limits alone where isolation cannot be had. The code then has all that
            the caller's user has, files and network included.
        cancel: ends the run within 0.1 s of being set, whatever its limits leave it.

    Raises:
        ConfigError: a limit that no program could keep.
        RunError: isolation cannot be had and was not waived, the sandbox could not be set up, or `cancel` was set.
    """
    cpu = cpu_seconds
    if not 0 < seconds < math.inf or memory < LEAST_MEMORY or output < 0 or (cpu is not None and cpu < 1):
        raise ConfigError(
            "the sandbox's limits leave no room for a program",
            seen=f"{seconds:g} s, {cpu} s of CPU, {memory:,} bytes of memory, {output:,} bytes of output",
            expected=f"more than 0 s, 1 s of CPU or more, at least {LEAST_MEMORY:,} bytes of memory and 0 of output",
        )
    missing = isolation()
    if missing is not None and not allow_without_isolation:
        raise RunError(
            f"untrusted code cannot be isolated here: {missing}",
            fix="run on Linux with user namespaces allowed (in a container: --security-opt seccomp=unconfined), or "
            "waive isolation (allow_without_isolation) in a machine that holds nothing of value",
        )
    limits = _Limits(seconds, math.ceil(seconds) + 1 if cpu is None else cpu, memory, output)
    return _run(code, stdin, limits, isolated=missing is None, cancel=cancel)


@functools.cache
def isolation() -> str | None:
    """What is missing for isolation on this machine; None where it can be had. Tried once in a process."""
    if sys.platform != "linux":
        return f"{sys.platform} has no namespaces"
    try:
        result = _run("pass", "", _Limits(SETUP_SECONDS, int(SETUP_SECONDS), MEMORY, OUTPUT), isolated=True)
    except RunError as error:
        return str(error.seen)
    return None if result.status == "ok" else f"Python does not start in it: {result.stderr.strip()[-300:]}"


def _run(code: str, stdin: str, limits: _Limits, isolated: bool, cancel: threading.Event | None = None) -> Result:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="midtrain-", ignore_cleanup_errors=True))
        source, given = stack.enter_context(_file(code)), stack.enter_context(_file(stdin))
        out, err = stack.enter_context(_file("")), stack.enter_context(_file(""))
        reading, writing = os.pipe()
        stack.callback(os.close, reading)
        python = os.path.realpath(sys.executable)
        refused = program(platform.machine())
        if isolated and refused is None:
            seen = f"the numbers of system calls on {platform.machine()} are not known"
            raise RunError("the sandbox could not be set up", seen=seen)
        plan = _plan(python, folder, source.fileno(), writing, limits, isolated) | {"filter": (refused or b"").hex()}
        try:
            process = subprocess.Popen(
                [python, "-I", "-S", "-B", str(Path(__file__).with_name("sandbox_child.py")), json.dumps(plan)],
                stdin=given,
                stdout=out,
                stderr=err,
                cwd="/",
                env={},
                pass_fds=(writing, source.fileno()),
                start_new_session=True,
            )
        except OSError as error:
            raise RunError("the sandbox could not be set up", seen=str(error)) from None
        finally:
            os.close(writing)
        try:
            told, took = _follow(reading, limits.seconds, cancel)
        finally:
            with suppress(ProcessLookupError):  # its group; what left the group goes with its namespace
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        texts = [_text(stream, limits.output) for stream in (out, err)]
    return _result(told, took, texts[0], texts[1])


def _plan(python: str, folder: str, code: int, status: int, limits: _Limits, isolated: bool) -> dict[str, object]:
    """What the child is told: where it works, what it may see, what bounds it."""
    visible = [python, *(str(Path(sys.base_prefix, name)) for name in ("lib", "lib64")), *LIBRARIES]
    return {
        "python": python,
        "folder": folder,
        "visible": list(dict.fromkeys(visible)),
        "code": code,
        "status": status,
        "isolated": isolated,
        "disk": DISK,
        "together": TOGETHER * limits.memory,
        "limits": {
            "memory": limits.memory,
            "seconds": limits.cpu_seconds,
            "output": limits.output,
            "processes": PROCESSES,
        },
    }


def _follow(status: int, seconds: float, cancel: threading.Event | None) -> tuple[list[str], float]:
    """Reads what the child reports until the code ended or its time is over.

    Returns:
        The lines (`ready`, then `ended CODE` or `exceeded`; `error TEXT`), and the wall time since `ready`.

    Raises:
        RunError: `cancel` was set.
    """
    poll = select.poll()
    poll.register(status, select.POLLIN)
    told, begun, deadline = b"", time.monotonic(), time.monotonic() + SETUP_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if cancel is not None and cancel.is_set():
            raise RunError("the run was ended by its caller", where="sandbox")
        wait = math.ceil(left * 1000)
        if not poll.poll(wait if cancel is None else min(wait, LOOK_MS)):
            continue
        was_ready = told.startswith(b"ready\n")
        block = os.read(status, 4096)
        told += block
        if not was_ready and told.startswith(b"ready\n"):
            begun = time.monotonic()
            deadline = begun + seconds
        if not block or any(word in told for word in (b"ended ", b"exceeded", b"error ")):
            break
    return told.decode(errors="replace").splitlines(), time.monotonic() - begun


def _result(told: list[str], took: float, stdout: str, stderr: str) -> Result:
    failure = next((line.removeprefix("error ") for line in told if line.startswith("error ")), None)
    if failure is not None or not told:
        reason = failure or stderr.strip()[-300:] or f"nothing was heard of it in {took:.0f} s"
        raise RunError("the sandbox could not be set up", seen=reason)
    ended = next((int(line.removeprefix("ended ")) for line in told if line.startswith("ended ")), None)
    if ended is None and "exceeded" in told:
        return Result("memory", None, stdout, stderr, took)
    if ended is None or ended == -signal.SIGXCPU:
        return Result("timeout", ended, stdout, stderr, took)
    if ended < 0:
        return Result("killed", ended, stdout, stderr, took)
    if ended > 0 and stderr.rstrip().rpartition("\n")[2].startswith("MemoryError"):
        return Result("memory", ended, stdout, stderr, took)
    return Result("ok" if ended == 0 else "failed", ended, stdout, stderr, took)


def _file(text: str) -> IO[bytes]:
    """An unnamed file that holds the text, to be read from its start."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    stream.write(text.encode("utf-8", "surrogatepass"))
    stream.seek(0)
    return stream


def _text(stream: IO[bytes], most: int) -> str:
    stream.seek(0)
    return stream.read(most).decode("utf-8", "replace")

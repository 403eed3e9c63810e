"""Programs that test themselves, in sandboxes of their own, several at once: how each ended, in a word.

A program that a model wrote is right if it passes its problem's tests, so it has to be run, and it is run isolated or
not at all. Filters and evaluation judge by the same words. A run takes about 40 ms of a core beside the program's own
time; as many go on at once as there are cores.
"""

import os
import re
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from . import sandbox
from .errors import RunError

CPU_SECONDS = 10
"""CPU time of one program: the slowest published solution (MBPP 123) takes a few seconds, all others under one."""

WALL = 4.0
"""Wall clock of one program, in multiples of its CPU time, so that a busy machine makes no program wrong."""

Kind = Literal["passed", "wrong", "error", "timeout", "memory", "refused"]
"""`wrong`: a test disagrees. `error`: the code raised something else, or crashed. `timeout`, `memory`: its limits.
`refused`: the sandbox did not let it touch files, network or processes."""

# Errors of the system behind which the sandbox stands: permission, read-only, full, too large, too many, no network.
_REFUSED = {1, 11, 13, 24, 27, 28, 30, 97, 99, 101, 111, 113, -2, -3}
_ERRNO = re.compile(r"\[Errno (-?\d+)\]")


@dataclass(frozen=True)
class Ended:
    """How a program ended, and why in a few words."""

    kind: Kind
    detail: str = ""


def require_isolation(where: str) -> None:
    """Whether programs can be run apart here.

    Raises:
        RunError: they cannot; says what is missing.
    """
    missing = sandbox.isolation()
    if missing is not None:
        raise RunError(
            "programs that a model wrote cannot be isolated here, so they are not run",
            where=where,
            seen=missing,
            expected="Linux namespaces for users, mounts, processes and network",
            fix="allow user namespaces (in a container: --security-opt seccomp=unconfined), or leave the benchmark out",
        )


def run_programs(
    programs: Sequence[str], *, seconds: int = CPU_SECONDS, memory: int = sandbox.MEMORY, at_once: int | None = None
) -> list[Ended]:
    """Runs programs in sandboxes of their own, several at once, and says how each ended.

    A program passes if it ends with exit code 0 and says at its end a word that was drawn for it: one that exits before
    its tests are through does not. No signal, thread or file of a program reaches the caller. An exception in the
    caller's thread (a signal's, say) ends those that run within 0.1 s.

    Args:
        programs: Python source with its tests.
        seconds: CPU time of each; it may take WALL times as long by the clock.
        memory: bytes of address space of each.
        at_once: sandboxes that run together, as many as cores by default.

    Raises:
        RunError: isolation cannot be had, or a sandbox could not be set up.
    """
    if not programs:
        return []
    require_isolation("sandbox")
    cancel = threading.Event()
    threads = ThreadPoolExecutor(min(at_once or cores(), len(programs)), thread_name_prefix="sandbox")
    try:
        return list(threads.map(lambda program: run_test(program, seconds, memory, cancel), programs))
    finally:
        cancel.set()
        threads.shutdown(cancel_futures=True)


def run_test(program: str, seconds: int, memory: int, cancel: threading.Event | None = None) -> Ended:
    """Runs one program that tests itself; `cancel` as of `sandbox.run`."""
    word = secrets.token_hex(16)
    source = f"{program}\nprint('\\n{word}')\n"
    wall = WALL * seconds
    result = sandbox.run(source, seconds=wall, cpu_seconds=seconds, memory=memory, cancel=cancel)
    if result.status == "ok":
        return Ended("passed") if word in result.stdout else Ended("wrong", "it ended before its tests did")
    return _broken(result, seconds, memory)


def run_with_input(program: str, given: str, expected: str, seconds: int, memory: int) -> Ended:
    """Runs one program on an input; it passes if it prints what is expected, white space at ends of lines aside."""
    output = max(sandbox.OUTPUT, 2 * len(expected.encode()))
    result = sandbox.run(
        program, stdin=given, seconds=WALL * seconds, cpu_seconds=seconds, memory=memory, output=output
    )
    if len(result.stdout.encode()) >= output:
        return Ended("wrong", "it prints far more")
    if result.status != "ok":
        return _broken(result, seconds, memory)
    said, wanted = ([line.rstrip() for line in text.rstrip().splitlines()] for text in (result.stdout, expected))
    return Ended("passed") if said == wanted else Ended("wrong", "it prints something else")


def _broken(result: sandbox.Result, seconds: int, memory: int) -> Ended:
    last = result.stderr.rstrip().rpartition("\n")[2]
    if result.status == "timeout":
        return Ended("timeout", f"more than {seconds} s of CPU, or {WALL * seconds:g} s")
    if result.status == "memory":
        return Ended("memory", f"more than {memory >> 20:,} MiB")
    if result.status == "killed":
        return Ended("error", f"killed by signal {-(result.returncode or 0)}")
    if last.startswith("AssertionError"):
        return Ended("wrong", last)
    return Ended("refused" if _refused(last) else "error", last or f"exit code {result.returncode}")


def _refused(last: str) -> bool:
    numbers = {int(number) for number in _ERRNO.findall(last)}
    return bool(numbers & _REFUSED) or last == "RuntimeError: can't start new thread"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

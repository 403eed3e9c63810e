"""The process that keeps the workers of a `Checker`: it forks them, hands them pairs, and kills those that overstay.

A library's own limit of time is a signal, which needs the main thread and is deaf in native code; killing a process
needs neither. The caller may have threads and so must not fork; this process has none, has imported sympy once (1.5 s),
and replaces a killed worker by a fork (5 ms). It runs no comparison itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import select
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

from .compare import agree
from .verdict import cannot_tell

SET_PARENT_DEATH_SIGNAL = 1  # Linux, include/uapi/linux/prctl.h


@dataclass
class Worker:
    """A forked process, our ends of its pipes, and the job that it has."""

    pid: int
    jobs: int
    answers: int
    job: int | None = None
    deadline: float = 0.0


def main(workers: int, seconds: float, memory: int) -> None:
    """Reads a job a line from standard input and writes a verdict a line, until its input ends.

    Args:
        workers: processes.
        seconds: of wall clock for a job; more ends its process.
        memory: bytes of address space of a worker beyond what it begins with.
    """
    from . import symbolic  # noqa: F401 - loaded before the first fork, so that all share it

    logging.disable(logging.CRITICAL)  # math-verify warns of every limit that is switched off
    pool = [_fork(memory) for _ in range(workers)]
    _say(["ready", 0])
    waiting: list[Any] = []
    left, data = True, b""
    while left or waiting or any(worker.job is not None for worker in pool):
        ready = _ready(pool, left)
        if 0 in ready:
            block = os.read(0, 1 << 16)
            left, data = bool(block), data + block
            *lines, data = data.split(b"\n")
            waiting += [json.loads(line) for line in lines]
        for place, worker in enumerate(pool):
            if worker.job is not None and not _settled(worker, worker.answers in ready):
                _end(worker)
                pool[place] = _fork(memory)
        for worker in pool:
            if worker.job is None and waiting:
                number, reply, gold = waiting.pop(0)
                worker.job, worker.deadline = number, time.monotonic() + seconds
                with contextlib.suppress(BrokenPipeError):  # it died idle: the next look at its pipe says so
                    os.write(worker.jobs, json.dumps([reply, gold]).encode() + b"\n")
    for worker in pool:
        _end(worker)


def _ready(pool: list[Worker], left: bool) -> set[int]:
    """The descriptors that have something to say, waited for until the first deadline."""
    busy = [worker for worker in pool if worker.job is not None]
    poll = select.poll()
    for descriptor in [0] * left + [worker.answers for worker in busy]:
        poll.register(descriptor, select.POLLIN)
    until = min((worker.deadline for worker in busy), default=None)
    wait = None if until is None else max(until - time.monotonic(), 0) * 1000 + 1
    return {descriptor for descriptor, _ in poll.poll(wait)}


def _settled(worker: Worker, heard: bool) -> bool:
    """Passes on what became of a worker's job, if anything did; False where the worker has to be replaced."""
    if not heard and time.monotonic() < worker.deadline:
        return True
    line = os.read(worker.answers, 4096) if heard else b""  # a line is shorter than a pipe's atomic write
    lost = ["cannot_tell", "crash" if heard else "time", "symbolic"]
    verdict = json.loads(line) if line else lost
    _say([worker.job, *verdict])
    worker.job = None
    return bool(line) and verdict[1] != "memory"


def _fork(memory: int) -> Worker:
    theirs_jobs, jobs = os.pipe()
    answers, theirs_answers = os.pipe()
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        os.close(theirs_jobs)
        os.close(theirs_answers)
        return Worker(pid, jobs, answers)
    code = 1
    try:
        os.close(0)
        os.close(1)
        _bind(memory, keeper)
        _work(theirs_jobs, theirs_answers)
        code = 0
    finally:
        os._exit(code)


def _bind(memory: int, keeper: int) -> None:
    """Ends this process with its keeper, and bounds what it may hold."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != keeper:
            os._exit(1)
        with open("/proc/self/statm", "rb") as file:
            memory += int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _work(jobs: int, answers: int) -> None:
    from .symbolic import Algebra

    symbols = Algebra()
    with os.fdopen(jobs, "rb") as lines:
        for line in lines:
            reply, gold = json.loads(line)
            try:
                verdict = agree(reply, gold, symbols)
            except MemoryError:
                verdict = cannot_tell("memory", "symbolic")
            except Exception:  # noqa: BLE001 - sympy raises anything, and none of it is a reason to lose a worker
                verdict = cannot_tell("unreadable", "symbolic")
            os.write(answers, json.dumps([verdict.value, verdict.reason, verdict.rule]).encode() + b"\n")


def _end(worker: Worker) -> None:
    os.close(worker.jobs)
    os.close(worker.answers)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGKILL)
    os.waitpid(worker.pid, 0)


def _say(line: list[Any]) -> None:
    os.write(1, json.dumps(line).encode() + b"\n")

"""A pool of processes that compare formulas with limits of time and memory; a bomb costs its own pair and no other.

Answers come from models, and one `9^{9^{9^9}}` hangs whoever evaluates it, so nothing symbolic runs in the caller. The
fast path decides most pairs without leaving the process; the others go to workers that are killed and replaced when
they overstay. No signal reaches the caller or the workers but the kill. Costs 1.5 s to start, on the first formula.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import IO, Final

from ...errors import ConfigError, RunError
from .compare import agree
from .verdict import Verdict

SECONDS: Final = 3.0  # of wall clock for a pair
MEMORY: Final = 1 << 30  # bytes of address space for a worker, beyond sympy itself

_PER_WORKER: Final = 2  # pairs in flight, so that none waits for the caller
_PACKAGE: Final = __name__.rpartition(".")[0]
_PROGRAM: Final = (
    "import sys, json, importlib\n"
    "sys.path[:] = json.loads(sys.argv[1])\n"
    "importlib.import_module(sys.argv[2]).main(int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))\n"
)


class Checker:
    """Says of pairs whether they agree; a context manager, whose processes end with it.

    Args:
        workers: processes for formulas.
        seconds: of wall clock for a pair with formulas; more is `cannot_tell` with the reason `time`.
        memory: bytes that a worker may take for it; more is `cannot_tell` with the reason `memory`.

    Raises:
        ConfigError: math-verify is not installed, or a limit leaves no room.
    """

    def __init__(self, workers: int = 1, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        if workers < 1 or not seconds > 0 or memory < 1 << 26:
            raise ConfigError(
                "the checker's limits leave no room for a comparison",
                seen=f"{workers} workers, {seconds:g} s, {memory:,} bytes",
                expected=f"at least 1 worker, more than 0 s, at least {1 << 26:,} bytes",
            )
        if importlib.util.find_spec("math_verify") is None:
            raise ConfigError(
                "comparing formulas needs the package math-verify, which is not installed",
                fix='pip install "midtrain[answers]"',
            )
        self.workers, self.seconds, self.memory = workers, seconds, memory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def agree(self, reply: str | None, gold: str | None) -> Verdict:
        """Whether one pair agrees."""
        return self.agree_all([(reply, gold)])[0]

    def agree_all(self, pairs: Iterable[tuple[str | None, str | None]]) -> list[Verdict]:
        """A verdict for each pair of a reply's final answer and the gold one, in their order.

        Raises:
            RunError: the process that keeps the workers died.
        """
        asked = list(pairs)
        verdicts = [agree(reply, gold) for reply, gold in asked]
        formulas = [place for place, verdict in enumerate(verdicts) if verdict.reason == "needs symbols"]
        for place, verdict in self._symbolic([(place, *asked[place]) for place in formulas]):
            verdicts[place] = verdict
        return verdicts

    def close(self) -> None:
        """Ends the processes at once."""
        if self._process is not None:
            self._process.kill()  # its workers die with it
            self._process.communicate()
            self._process = None

    def _symbolic(self, jobs: Sequence[tuple[int, str | None, str | None]]) -> Iterable[tuple[int, Verdict]]:
        if not jobs:
            return
        given, said = self._begun()
        sent = 0
        for heard in range(len(jobs)):
            while sent < len(jobs) and sent - heard < self.workers * _PER_WORKER:
                self._send(given, jobs[sent])
                sent += 1
            place, *verdict = self._hear(said)
            yield int(str(place)), Verdict(*verdict)  # type: ignore[arg-type]

    def _begun(self) -> tuple[IO[bytes], IO[bytes]]:
        limits = (str(self.workers), str(self.seconds), str(self.memory))
        process = self._process or subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), f"{_PACKAGE}.keeper", *limits],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            start_new_session=True,  # Ctrl-C is the caller's to answer
        )
        given, said = process.stdin, process.stdout
        if given is None or said is None:
            raise RunError("the process that compares formulas has no pipes", seen=process.args)
        if self._process is None:
            self._process = process
            self._hear(said)
        return given, said

    def _send(self, given: IO[bytes], job: tuple[int, str | None, str | None]) -> None:
        try:
            given.write(json.dumps(job).encode() + b"\n")
            given.flush()
        except BrokenPipeError:
            raise self._died() from None

    def _hear(self, said: IO[bytes]) -> list[object]:
        line = said.readline()
        if not line:
            raise self._died()
        found: list[object] = json.loads(line)
        return found

    def _died(self) -> RunError:
        code = self._process.wait() if self._process is not None else None
        self._process = None
        return RunError(
            "the process that compares formulas died",
            seen=f"exit code {code}",
            fix="see its error above; where it is -9, the machine ran out of memory: take fewer workers",
        )

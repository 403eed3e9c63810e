"""One output on a cluster, and the drivers that are started, killed and started again until it is complete.

Nothing is asked of a driver but its exit code, what it prints and the files that it leaves. Costs a process a driver.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import corpora
from tests.cluster.corpora import MAIN, Corpus
from tests.cluster.nodes import Cluster
from tests.cluster.store import Store

BEGINS_WITHIN = 400.0  # seconds, workers may have to compile kernels first
ENDS_WITHIN = 150.0  # seconds
LOOK_EVERY = 0.01  # seconds
ASK_EVERY = 0.3  # seconds, where a store is asked
STALL = 2.0  # minutes: a run that waits in vain says so before it is taken for hung


@dataclass
class Attempt:
    """One output, and the runs that it takes to complete it.

    Args:
        output: a folder; where there is a store, what lies below `out` in that is copied into it to be looked at.
        store: holds the inputs, below `in`, and the output.
    """

    cluster: Cluster
    corpus: Corpus
    output: Path
    folder: Path
    runs: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    struck: float = 0.0  # seconds since the epoch
    node: int | None = None  # that was struck
    codes: list[int] = field(default_factory=list)
    store: Store | None = None
    note: str = ""  # what else there is to say

    def start(self) -> None:
        """Starts a driver beside the head."""
        self.runs += 1
        recipe = self.folder / "recipe.json"
        where = (f"{self.store.address}/out", f"{self.store.address}/in") if self.store else (self.output, "")
        recipe.write_text(json.dumps(self.corpus.recipe(*where)))
        command = [*self.cluster.enter, sys.executable, "-c", MAIN, "curate", str(recipe)]
        command += ["--ray", self.cluster.address, "--stall", str(STALL)]
        with open(self.said, "wb") as said:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", **self.cluster.environment},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    @property
    def said(self) -> Path:
        """What the newest driver prints."""
        return self.folder / f"said-{self.runs}"

    def reach(self, share: float, *nodes: int) -> None:
        """Waits until so much of all tasks is done, at least one, and one of the nodes, if any are named, works on one.

        The node becomes `node`: the first that does, since one that came back a moment ago may still compile kernels.
        """
        wanted = max(int(share * len(corpora.finished(self.corpus.undisturbed))), 1)
        deadline = time.monotonic() + BEGINS_WITHIN
        while self._finished() < wanted or (nodes and not self._find_busy(nodes)):
            assert self.driver.poll() is None, f"ended before the fault: {self.said.read_text()}"
            assert time.monotonic() < deadline, f"{wanted} tasks were not reached: {self.said.read_text()}"
            time.sleep(ASK_EVERY if self.store else LOOK_EVERY)
        self.strike()

    def _finished(self) -> int:
        if self.store:
            self.store.copy("out/events", self.output / "events")
        return len(corpora.finished(self.output))

    def _find_busy(self, nodes: tuple[int, ...]) -> bool:
        self.node = next((number for number in nodes if self.cluster.nodes[number].busy()), None)
        return self.node is not None

    def strike(self) -> None:
        """Notes that something breaks now."""
        self.struck = time.time()

    @property
    def driver(self) -> "subprocess.Popen[bytes]":
        """The newest driver."""
        assert self.process is not None
        return self.process

    def kill(self) -> None:
        """SIGKILL to the driver."""
        self.driver.kill()
        self.codes.append(self.driver.wait())

    def finish(self, code: int = 0) -> str:
        """Sees the driver to its end, which must have this exit code; what it said."""
        try:
            found = self.driver.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            self.abandon()
            raise AssertionError(f"hung for {ENDS_WITHIN:.0f} s: {self.said.read_text()}") from None
        self.codes.append(found)
        said = self.said.read_text()
        assert found == code, f"exit code {found}, not {code}: {said}"
        return said

    def again(self) -> None:
        """Runs the same command once more, to the end."""
        self.start()
        self.finish()

    def abandon(self) -> None:
        """Ends a driver that still runs."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

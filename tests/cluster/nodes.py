"""A Ray cluster of three nodes on one machine, each with a network, a limit of memory and a folder of its own.

What a cluster survives is shown only on one that can lose a node, a link or its head, and be mended for the next run.
Costs about 15 s to start, 0.4 GB a node, and nothing of the machine's network; all of it goes when the block ends.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from midtrain.pipelines.cluster import SETTINGS

from tests.cluster import kernels, poison, store
from tests.cluster.memory import limited
from tests.cluster.network import Network, Place, network
from tests.cluster.processes import BUSY, bare_python, below, end, packages_of, title, token

NODES = 3
START_WITHIN = 90.0  # seconds
STORE = 80 << 20  # bytes of a node's object store: the least that Ray takes is 75 MiB
MEMORY = 1400 << 20  # bytes of a node, its object store included
GCS_PORT = 6379
SMALL_DISK = 64 << 20  # bytes, at most
HEADLESS = {"RAY_gcs_rpc_server_reconnect_timeout_s": "8"}  # nodes and drivers outlive their head no longer; Ray: 60
ENVIRONMENT = {
    **SETTINGS,
    **HEADLESS,
    **kernels.ENVIRONMENT,
    "RAY_memory_usage_threshold": "0.8",
    "RAY_memory_monitor_refresh_ms": "100",
    "OMP_NUM_THREADS": "1",
}


@dataclass
class Node:
    """One node: where it is, what limits it, and its processes while it runs."""

    number: int
    place: Place
    limit: tuple[str, ...]
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    seen: set[int] = field(default_factory=set)
    cut: bool = False  # from the others, once since it was started

    @property
    def runs(self) -> bool:
        """Whether `ray start` still stands: it ends with its raylet."""
        return self.process is not None and self.process.poll() is None

    def pids(self) -> list[int]:
        """The processes of the node, also of those whose parents are gone, if they were seen before."""
        if self.process is not None:
            self.seen.update(below(self.process.pid), [self.process.pid])
        return [pid for pid in self.seen if title(pid)]

    def busy(self) -> list[int]:
        """The worker processes that run a task of ours at this moment."""
        return [pid for pid in self.pids() if BUSY.match(title(pid))]

    def workers(self) -> list[int]:
        """All worker processes, at work or idle."""
        return [pid for pid in self.pids() if title(pid).startswith("ray::") and "agent" not in title(pid).lower()]

    def raylet(self) -> int:
        """The process that runs the node's workers."""
        return self._one("/raylet/raylet")

    def gcs(self) -> int:
        """The process that knows of all nodes; on the head alone."""
        return self._one("/gcs/gcs_server")

    def _one(self, path: str) -> int:
        return next(pid for pid in self.pids() if path in title(pid).split(" ")[0])

    def stop(self) -> None:
        """Ends all of the node, at once."""
        end(self.pids())
        if self.process is not None:
            self.process.wait()
        self.process = None
        self.cut = False
        self.seen.clear()


class Cluster:
    """Three nodes of one CPU; the first is the head, and drivers run beside it."""

    def __init__(self, folder: Path, net: Network, limits: list[tuple[str, ...]], no_links: str, no_memory: str):
        self.folder = folder
        self.net = net
        self.no_links, self.no_memory, self.no_disk = no_links, no_memory, ""  # why links cannot be cut, and so on
        self.python = bare_python(folder / "venv")
        packages = packages_of(self.python)  # a sitecustomize.py would stand behind that which Debian's Python brings
        kernels.put(packages)
        shutil.copyfile(poison.__file__, packages / "midtrain_poison.py")
        (packages / "midtrain_poison.pth").write_text("import midtrain_poison; midtrain_poison.install()\n")
        (folder / "token").write_text(secrets.token_hex(32))
        self.secret = f"made-up-{secrets.token_hex(16)}"  # of the store beside the head, where one is started
        self.disk = folder / "disk"
        self.nodes = [Node(n, net.places[n], limits[n], folder / f"n{n}") for n in range(NODES)]

    @property
    def address(self) -> str:
        """The head's."""
        return f"{self.net.places[0].address}:{GCS_PORT}"

    @property
    def enter(self) -> tuple[str, ...]:
        """The words before a driver's command."""
        return self.net.places[0].enter

    @property
    def environment(self) -> Mapping[str, str]:
        """What a driver must know: to be let in, where a store would be, how long to wait for a head that is gone."""
        head = self.net.places[0].address
        return {**token(self.folder / "token"), **HEADLESS, **store.environment(head, self.secret)}

    def mend(self) -> None:
        """Makes the cluster whole: links, head, nodes."""
        for node in self.nodes:
            if node.cut:
                self.join(node)
                node.stop()  # nobody knows what it holds for true
        if not self.nodes[0].runs:
            for node in self.nodes:
                node.stop()
            self.wait_for(self.begin(self.nodes[0]))
        begun = [self.begin(node) for node in self.nodes if not node.runs]
        for node in begun:
            self.wait_for(node)

    def restart(self, node: Node) -> None:
        """Brings back a node that has lost a process."""
        node.stop()
        self.wait_for(self.begin(node))

    def cut(self, node: Node) -> None:
        """Cuts a node's link; its workers stand still, as they would on a shared file system that is gone."""
        self.net.link(node.number, up=False)
        for pid in node.workers():
            os.kill(pid, signal.SIGSTOP)
        node.cut = True

    def join(self, node: Node) -> None:
        """Mends a node's link; what its workers were about to write, they write now."""
        self.net.link(node.number, up=True)
        for pid in node.workers():
            os.kill(pid, signal.SIGCONT)

    def begin(self, node: Node) -> Node:
        """Starts a node's processes."""
        node.stop()
        node.folder.mkdir(exist_ok=True)
        ports = 11000 + 1000 * node.number  # on loopback all nodes share the ports
        command = [*node.limit, *node.place.enter, str(self.python), "-m", "ray.scripts.scripts", "start", "--block"]
        command += [f"--node-ip-address={node.place.address}", "--num-cpus=1", f"--object-store-memory={STORE}"]
        command += [f"--min-worker-port={ports}", f"--max-worker-port={ports + 999}", "--disable-usage-stats"]
        command += [f"--temp-dir={node.folder}/ray"]
        if node.number == 0:
            command += ["--head", f"--port={GCS_PORT}", "--include-dashboard=false"]
        else:
            command += [f"--address={self.address}"]
        kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "RAY_ADDRESS")}
        with open(node.folder / "log", "wb") as log:
            node.process = subprocess.Popen(
                command,
                cwd="/",
                env={**kept, **ENVIRONMENT, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return node

    def wait_for(self, node: Node) -> None:
        """Waits until a node has joined."""
        deadline = time.monotonic() + START_WITHIN
        log = node.folder / "log"
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert node.runs, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.1)
        node.pids()


@contextlib.contextmanager
def three_nodes() -> Iterator[Cluster]:
    """A cluster for the block."""
    folder = Path(tempfile.mkdtemp(prefix="mt3-", dir="/tmp"))  # short: sockets below it have paths of 107 bytes
    try:
        with limited(NODES, MEMORY) as (limits, no_memory), network(NODES) as (net, no_links):
            cluster = Cluster(folder, net, limits, no_links, no_memory)
            with _small_disk(cluster.disk) as cluster.no_disk:
                try:
                    cluster.mend()
                    yield cluster
                finally:
                    for node in cluster.nodes:
                        node.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _small_disk(path: Path) -> Iterator[str]:
    """A file system that can be made small, for the block; or why there is none.

    It is mounted before the nodes begin, which have mounts of their own.
    """
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", path]
    said = subprocess.run(mount, capture_output=True, text=True)
    try:
        yield f"no small disk can be mounted: {said.stderr.strip()}" if said.returncode else ""
    finally:
        if said.returncode == 0:
            subprocess.run(["umount", "--lazy", path], check=True)


def resize(disk: Path, size: int) -> None:
    """Makes the small disk as large as said: no smaller than what lies on it."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True, capture_output=True)

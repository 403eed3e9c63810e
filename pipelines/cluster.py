"""Ray as the place where tasks run: the one file of curation and building that imports it.

Jobs read files and write files, so nothing is held by an actor or in the object store, and the loss of a node costs the
tasks that ran on it. Retries are counted by the runner: Ray's own are switched off, since it repeats tasks killed for
memory without end. Costs Ray's start (3 to 8 s) and about 1 ms a task.
"""

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from ..errors import ConfigError, RunError
from . import budget
from .executor import IN_FLIGHT_PER_WORKER, WITH_THE_JOB, Done, Job, Outcome, default_workers, pack, run_job, unpack
from .stage import Stage

PACKAGE = Path(__file__).parents[1]
SHIPPED = ("*.py", "*.yaml", "*.jinja", "*.npz", "py.typed")
LEFT_OUT = {"tests", "benchmarks", "experiments", "docs", "examples", "build", "dist"}
SETTINGS = {
    # A node that vanishes without closing its connections is noticed within about half a minute.
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_period_ms": "5000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody unless the user asks for it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
}
OBJECT_STORE = 128 << 20  # bytes, of a cluster started here: all that goes through it is a stage and small results
LOOK_FOR_NODES_EVERY = 10.0  # seconds
REACHED_WITHIN = 10.0  # seconds
LEFT_WITHIN = 10.0  # seconds
REFUSED = "it refused the token"
STANDARD_ERROR = 2
SHORT_TEMPORARY = "/tmp"  # noqa: S108 - the sockets below it have paths of at most 107 bytes


class RayCluster:
    """Carries jobs to a Ray cluster, which it joins or starts when the first stage begins.

    Args:
        address: `local` starts Ray on this machine, `auto` finds the cluster that this machine belongs to, else the
            address of a cluster (`HOST:6379`, or `ray://HOST:10001` from outside).
        workers: how many jobs are under way at a time; by default two a CPU of the cluster, one of them waiting.
        memory: bytes that a cluster started here may hold; None for what the machine leaves. Nodes that were started
            elsewhere say themselves how much they have.
        say: prints a line, once: where the dashboard is.

    Raises:
        ConfigError: Ray is not installed, or the address has not the form of one.
    """

    def __init__(self, address: str, workers: int | None, memory: int | None, say: Callable[[str], None]) -> None:
        if find_spec("ray") is None:
            raise ConfigError("--ray needs the package ray, which is not installed", fix="pip install ray")
        if workers == 0:
            raise ConfigError("Ray's workers are processes of their own", where="--workers 0", fix="leave it out")
        if address not in ("local", "auto"):
            _host_and_port(address)
        if address != "local" and memory is not None:
            raise ConfigError(
                "the nodes of a cluster say how much memory they have",
                where=f"--ray {address} --memory",
                fix="leave --memory out, and start nodes with `ray start --memory BYTES`",
            )
        self._address, self._workers, self._memory, self._say = address, workers, memory, say
        self._ray: Any = None
        self._remote: Any = None
        self._jobs: dict[Any, Job] = {}
        self._packed: tuple[Stage, str, Any] | None = None
        self._need = (1.0, 0)  # CPUs and bytes of a task
        self._room = 0  # tasks that the nodes hold at a time
        self._looked = 0.0
        self._heard = 0.0  # when a job last ended: a head that may be gone is not asked, it would not answer
        self._staging: tempfile.TemporaryDirectory[str] | None = None

    @property
    def slots(self) -> int:
        """As many as the cluster, whose nodes come and go, has CPUs and memory for; or as were asked for."""
        if not self._room or (self._heard > self._looked + LOOK_FOR_NODES_EVERY):
            self._room = max(sum(self._fit(node) for node in self._nodes()), 1)
            self._looked = time.monotonic()
        return self._room if self._address == "local" or self._workers is None else min(self._room, self._workers)

    @property
    def capacity(self) -> int:
        """Two jobs a slot, or as many as were asked for."""
        if self._address == "local" or self._workers is None:
            return self.slots * IN_FLIGHT_PER_WORKER
        return self._workers

    def check(self, stage: Stage, tasks: int) -> None:
        """What the nodes have is known when the cluster is joined."""

    def begin(self, stage: Stage) -> None:
        """Joins the cluster, or starts it.

        Raises:
            ConfigError: no cluster answers, it refuses the token, or no node has the memory that a task needs.
        """
        if self._ray is None:
            self._connect()
        self._need, self._room = (stage.num_cpus or 1.0, stage.memory()), 0
        largest = max((int(node.get("memory", 0)) for node in self._nodes()), default=0)
        if 0 < largest < stage.memory():
            raise budget.refusal(f"{stage.name}, on the largest node", largest, stage.memory())

    def _nodes(self) -> list[dict[str, float]]:
        """What each node that is alive has."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _fit(self, node: dict[str, float]) -> int:
        cpus, memory = self._need
        by_memory = node["memory"] // memory if memory and "memory" in node else float("inf")
        return int(min(node.get("CPU", 0.0) // cpus, by_memory))

    def submit(self, job: Job) -> None:
        """Hands the job to the scheduler, with what its stage says that it needs."""
        stage = job.stage
        needs = {"num_cpus": stage.num_cpus, "num_gpus": stage.num_gpus, "memory": self._need[1]}
        key, parcel = self._parcel(stage)
        carried = self._remote.options(**needs, name=f"{stage.name} {job.task}")
        self._jobs[carried.remote(key, parcel, job.task, job.start, job.stop)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """What has ended, after at most so many seconds; a lost worker is an outcome, our own errors are raised."""
        ended, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        if ended:
            self._heard = time.monotonic()
        return [self._outcome(reference) for reference in ended]

    def cancel(self, job: Job) -> None:
        """Has the job's worker ended; nothing waits for that."""
        for reference in [reference for reference, found in self._jobs.items() if found is job]:
            del self._jobs[reference]
            self._ray.cancel(reference, force=True)

    def close(self, failed: bool) -> None:
        """Leaves the cluster; what still runs is ended. Without a head it would wait: it is given seconds."""
        if self._ray is not None:
            leaving = threading.Thread(target=self._leave, daemon=True)
            leaving.start()
            leaving.join(LEFT_WITHIN)
        if self._staging is not None:
            self._staging.cleanup()
        self._ray = self._staging = None

    def _leave(self) -> None:
        ray = self._ray
        for reference in self._jobs:
            ray.cancel(reference, force=True)
        ray.shutdown()

    def _connect(self) -> None:
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        import ray

        parent = SHORT_TEMPORARY if Path(SHORT_TEMPORARY).is_dir() else None
        self._staging = tempfile.TemporaryDirectory(prefix="midtrain-", dir=parent, ignore_cleanup_errors=True)
        if self._address == "local":
            own = self._memory or budget.machine()
            _start(ray, self._workers or default_workers(), own - budget.DRIVER, self._staging.name)
        else:
            dashboard = _join(ray, self._address, Path(self._staging.name))
            if dashboard:
                self._say(f"Ray dashboard: http://{dashboard}")
        self._remote = ray.remote(max_retries=0)(_carried)
        self._ray = ray

    def _parcel(self, stage: Stage) -> tuple[str, Any]:
        """A stage's key, and its bytes or, in a list so that Ray does not fetch it for every task, where they are."""
        if self._packed is None or self._packed[0] is not stage:
            key, data = pack(stage)
            self._packed = (stage, key, data if len(data) <= WITH_THE_JOB else [self._ray.put(data)])
        return self._packed[1:]

    def _outcome(self, reference: Any) -> Outcome:
        job = self._jobs.pop(reference)
        errors = self._ray.exceptions
        try:
            done: Done = self._ray.get(reference)
            return Outcome(job, done)
        except errors.RayTaskError as failed:
            raise failed.cause from None  # the job's own error, as it comes from local processes
        except errors.RuntimeEnvSetupError as failed:
            raise RunError(
                f"{job.stage.name}: a worker could not be set up: {_first_line(failed)}",
                where=str(job.stage.folder),
                fix="see the runtime_env logs of the node",
            ) from None
        except errors.LocalRayletDiedError:  # every further job would be lost too
            raise RunError(
                "the node of Ray on this machine has died: nothing can be handed to the cluster any more",
                where=str(job.stage.folder),
                fix="see raylet.out in Ray's folder, start the node, and run again: finished tasks are kept",
            ) from None
        except errors.RayError as lost:
            by_node = isinstance(lost, errors.NodeDiedError | errors.ObjectLostError)
            why = f"its worker was lost: {type(lost).__name__}: {_first_line(lost)}"
            return Outcome(job, None, why, blamed=not by_node)


def _start(ray: Any, cpus: int, memory: int, temporary: str) -> None:
    """Starts a cluster of this machine that ends with this process."""
    with _kept_quiet():
        ray.init(
            address="local",
            num_cpus=cpus,
            _memory=memory,
            object_store_memory=OBJECT_STORE,
            include_dashboard=False,
            logging_level="ERROR",
            log_to_driver=False,
            _temp_dir=temporary,
        )


def _join(ray: Any, address: str, staging: Path) -> str:
    """Joins a cluster, whose workers need no install of the package: they get the driver's.

    Returns:
        Where its dashboard is, empty where it has none.
    """
    if address != "auto":
        _check_reachable(address)
    with _kept_quiet() as said:
        try:
            context = ray.init(
                address=address,
                runtime_env={"py_modules": [str(_staged(staging))]},
                logging_level="ERROR",
                log_to_driver=False,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            said.seek(0)
            why = REFUSED if b"AuthToken" in said.read() else _first_line(error)
            raise _no_cluster(address, why) from None
    return str(context.dashboard_url or "")


@contextlib.contextmanager
def _kept_quiet() -> Iterator[IO[bytes]]:
    """Keeps what native code writes to standard error in a file: one warning a second while a head is asked."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(STANDARD_ERROR)
        os.dup2(said.fileno(), STANDARD_ERROR)
        try:
            yield said
        finally:
            sys.stderr.flush()
            os.dup2(kept, STANDARD_ERROR)
            os.close(kept)


def _host_and_port(address: str) -> tuple[str, int]:
    """Host and port of a cluster's address.

    Raises:
        ConfigError: it has not the form of one.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdigit()):
        raise ConfigError("is no address of a cluster", where=f"--ray {address}", expected="local, auto or HOST:PORT")
    return host.strip("[]"), int(port)


def _check_reachable(address: str) -> None:
    """Ray itself tries for many minutes to reach a head that is not there.

    Raises:
        ConfigError: nothing listens at the address.
    """
    try:
        socket.create_connection(_host_and_port(address), timeout=REACHED_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, _first_line(error)) from None


def _no_cluster(address: str, why: str) -> ConfigError:
    return ConfigError(
        f"no Ray cluster answers: {why}",
        where=f"--ray {address}",
        fix="start one with `ray start --head`, or give the head's address; where it demands a token, set "
        "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH",
    )


def _staged(staging: Path) -> Path:
    """A copy of the package in a folder of its name: Ray ships it to workers that have no install of it."""
    target = staging / "midtrain"
    for pattern in SHIPPED:
        for file in PACKAGE.rglob(pattern):
            inside = file.relative_to(PACKAGE)
            if inside.parts[0] in LEFT_OUT or inside.parts[0].startswith("."):
                continue
            (target / inside).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target / inside)
    return target


def _carried(key: str, stage: bytes | list[Any], task: int, start: int, stop: int) -> Done:
    """What a worker of the cluster runs."""
    return run_job(Job(unpack(key, lambda: _fetched(stage)), task, start, stop))


def _fetched(stage: bytes | list[Any]) -> bytes:
    if isinstance(stage, bytes):
        return stage
    import ray

    data: bytes = ray.get(stage[0])
    return data


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

"""Ray as the place where tasks run: the one file of curation and building that imports it.

Jobs read files and write files, so nothing is held by an actor or in the object store, and the loss of a node costs the
tasks that ran on it. Retries are counted by the runner: Ray's own are switched off, since it repeats tasks killed for
memory without end. Costs Ray's start (3 to 8 s) and about 1 ms a task.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MidtrainError, RunError
from .executor import IN_FLIGHT_PER_WORKER, Job, Outcome, default_workers, run_job
from .stage import TaskResult

PACKAGE = Path(__file__).parents[1]
SHIPPED = ("*.py", "*.yaml", "*.jinja", "py.typed")
LEFT_OUT = {"tests", "benchmarks", "experiments", "docs", "examples", "build", "dist"}
SETTINGS = {
    # A node that vanishes without closing its connections is noticed within about half a minute.
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_period_ms": "5000",
    "RAY_health_check_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "3",
}


class RayCluster:
    """Carries jobs to a Ray cluster. Make one with `connect`."""

    def __init__(self, ray: Any, workers: int) -> None:
        self._ray = ray
        self._workers = workers
        self._jobs: dict[Any, Job] = {}
        self._remote = ray.remote(max_retries=0)(_carried)

    @property
    def capacity(self) -> int:
        """Two jobs a CPU of the cluster."""
        return self._workers * IN_FLIGHT_PER_WORKER

    def submit(self, job: Job) -> None:
        """Hands the job to the scheduler, with what its stage says that it needs."""
        carried = self._remote.options(num_cpus=job.stage.num_cpus, name=f"{job.stage.name} {job.task}")
        self._jobs[carried.remote(job)] = job

    def wait(self, seconds: float) -> list[Outcome]:
        """What has ended, after at most so many seconds; a lost worker is an outcome, our own errors are raised."""
        ended, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=seconds)
        return [self._outcome(reference) for reference in ended]

    def close(self, failed: bool) -> None:
        """Leaves the cluster; what still runs is ended."""
        for reference in self._jobs:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        job = self._jobs.pop(reference)
        errors = self._ray.exceptions
        try:
            result: TaskResult = self._ray.get(reference)
            return Outcome(job, result)
        except errors.RayTaskError as failed:
            if isinstance(failed.cause, MidtrainError):
                raise failed.cause from None
            raise RunError(
                f"{job.stage.name}, task {job.task}: {failed.cause}",
                where=str(job.stage.folder),
                fix="please report it",
            ) from failed
        except errors.RayError as lost:
            why = str(lost).strip().splitlines()
            return Outcome(job, None, f"its worker was lost: {type(lost).__name__}: {why[0] if why else ''}")


@contextlib.contextmanager
def connect(address: str, workers: int | None) -> Iterator[RayCluster]:
    """A cluster to carry jobs to, for the block.

    Args:
        address: `local` starts Ray on this machine, `auto` finds the cluster that this machine belongs to, else the
            address of a cluster (`HOST:6379`, or `ray://HOST:10001` from outside).
        workers: how many jobs run at a time; by default one a CPU of the cluster.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise ConfigError("--ray needs the package ray, which is not installed", fix="pip install ray") from None
    with tempfile.TemporaryDirectory(prefix="midtrain-") as staging:
        _start(ray, address, workers, Path(staging))
        cpus = int(ray.cluster_resources().get("CPU", 1))
        cluster = RayCluster(ray, workers or cpus)
        try:
            yield cluster
        finally:
            if ray.is_initialized():
                cluster.close(failed=True)


def _start(ray: Any, address: str, workers: int | None, staging: Path) -> None:
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    if address == "local":
        ray.init(address="local", num_cpus=workers or default_workers(), include_dashboard=False, **quiet)
        return
    environment = {"py_modules": [str(_staged(staging))], "env_vars": {"NUMBA_CACHE_DIR": "/tmp/midtrain-numba"}}  # noqa: S108
    try:
        ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        text = str(error).strip().splitlines()
        raise ConfigError(
            f"no Ray cluster answers: {text[0] if text else type(error).__name__}",
            where=f"--ray {address}",
            fix="start one with `ray start --head`, or give the head's address; where it demands a token, set "
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH",
        ) from None


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


def _carried(job: Job) -> TaskResult:
    """What a worker of the cluster runs."""
    return run_job(job)

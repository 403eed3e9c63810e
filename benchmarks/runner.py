"""What the runner costs: the driver a task, a second worker's share of the machine, Ray against one process.

A job of a million tasks lives or dies by the driver's own cost; and workers are only worth having if each does nearly
what one alone does. Costs about a quarter of an hour of two cores that do nothing else.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from empty_stage import Empty
from midtrain.pipelines import curate, inputs, recipe
from midtrain.pipelines.cluster import RayCluster
from midtrain.pipelines.executor import Executor
from midtrain.pipelines.processes import local
from midtrain.pipelines.runner import Runner
from midtrain.progress import Events, Progress
from workers import recipe as recipe_over
from workers import write_corpus

EMPTY_TASKS = 100_000
DRIVER_TARGET = 3.0  # ms a task
SHARE_TARGET = 0.95  # MB per CPU second of two workers, of one's
RAY_TARGET = 1.05  # times the wall time in one process
SPLIT = 64 << 20
ROUNDS = 3
QUIET = Progress(shown=False)


@dataclass(frozen=True)
class Row:
    name: str
    ours: float
    peer: float | None
    unit: str
    ratio: float | None
    target: float
    holds: bool


def driver_cost(name: str, executor: Executor, tasks: int) -> Row:
    """CPU time of this process for each of so many tasks that do nothing, after a few that start the workers."""
    with tempfile.TemporaryDirectory() as folder, Runner(executor, Events(Path(folder) / "e.jsonl"), QUIET) as runner:
        begun = time.perf_counter()
        runner.ensure(Empty(Path(folder), 4 * executor_width(executor), "start"))
        started = time.perf_counter() - begun
        wall, cpu = time.perf_counter(), time.process_time()
        runner.ensure(Empty(Path(folder), tasks))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"  {name}: {tasks:,} tasks in {wall:.1f} s after a start of {started:.1f} s")
    cost = 1000 * cpu / tasks
    return Row(f"driver, {name}", cost, None, "ms a task", None, DRIVER_TARGET, cost < DRIVER_TARGET)


def executor_width(executor: Executor) -> int:
    """Enough tasks for every worker to start on one, before the executor can say how many there are."""
    return getattr(executor, "workers", None) or 2


def curation(path: Path, executor: Executor, folder: Path) -> tuple[float, float]:
    """The reading stage of a recipe: MB per CPU second of its workers, and wall seconds once they have started.

    A small stage of the same steps comes first, so that kernels are compiled and files are in the page cache; the
    workers of the large one are new, as those of every stage, and their start counts.
    """
    folder.mkdir()
    stages = []
    for name, corpus in (("small", path.with_name("small-*.jsonl")), ("large", path.with_name("web*.jsonl"))):
        (folder / name).mkdir()
        stages.append(curate.plan(recipe.load(path, [f"output={folder / name}", f"sources.0.path={corpus}"]))[0])
    log = folder / "events.jsonl"
    with Runner(executor, Events(log), QUIET) as runner:
        runner.ensure(stages[0])
        started = time.perf_counter()
        runner.ensure(stages[1])
        wall = time.perf_counter() - started
    told = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    done = [one for one in told if one["event"] == "task_finished" and one["folder"] == stages[1].folder.name]
    return sum(one["bytes"] for one in done) / 1e6 / sum(one["cpu"] for one in done), wall


def against(
    name: str, path: Path, rounds: int, ours: Callable[[], Executor], peer: Callable[[], Executor], wall: bool
) -> Row:
    """Medians of both in turn: wall seconds, or MB per CPU second."""
    found: list[tuple[float, float]] = []
    for _ in range(rounds):
        pair = []
        for make in (ours, peer):
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                pair.append(curation(path, make(), Path(folder) / "out")[wall])
        found.append((pair[0], pair[1]))
    mine, other = (statistics.median(column) for column in zip(*found, strict=True))
    target = RAY_TARGET if wall else SHARE_TARGET
    ratio = mine / other
    return Row(name, mine, other, "s" if wall else "MB/CPU s", ratio, target, (ratio < target) == wall)


def ray(workers: int) -> RayCluster:
    return RayCluster("local", workers, None, print)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each; fewer only to try the script")
    parser.add_argument("--tasks", type=int, default=EMPTY_TASKS, help="that do nothing")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    if (cores := len(os.sched_getaffinity(0))) < 2:
        parser.error(f"two workers need two cores, and this process may use {cores}")
    inputs.MIN_SPLIT = inputs.MAX_SPLIT = SPLIT
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "web.jsonl"
        megabytes = write_corpus(arguments.data, corpus, 4 * SPLIT) / 1e6
        path = recipe_over(Path(folder), corpus)
        # Twice, or the half second of CPU in which a second worker starts were .03 of all that is measured.
        shutil.copy(corpus, Path(folder) / "web-again.jsonl")
        head = b"".join(corpus.read_bytes()[: 2 << 20].splitlines(keepends=True)[:-1])
        for number in range(4):
            (Path(folder) / f"small-{number}.jsonl").write_bytes(head)
        rounds, tasks = arguments.rounds, arguments.tasks
        contests: dict[str, Callable[[str], Row]] = {
            "driver, processes": lambda _: driver_cost("processes", local(2), tasks),
            "driver, Ray": lambda _: driver_cost("Ray", ray(2), tasks),
            "2 workers of 1, processes": lambda name: against(
                name, path, rounds, lambda: local(2), lambda: local(1), wall=False
            ),
            "2 workers of 1, Ray": lambda name: against(name, path, rounds, lambda: ray(2), lambda: ray(1), wall=False),
            "Ray of in process": lambda name: against(name, path, rounds, lambda: ray(1), lambda: local(0), wall=True),
        }
        chosen = {name: contest for name, contest in contests.items() if name.startswith(arguments.only)}
        if not chosen:
            parser.error(f"no row begins with {arguments.only}")
        print(f"{megabytes:.1f} MB, twice, of {arguments.data}; medians of {rounds}; load {os.getloadavg()[0]:.1f}")
        for name, contest in chosen.items():
            rows.append(contest(name))
            row = rows[-1]
            peer = f"{row.peer:10.2f}{row.ratio:8.3f}" if row.peer is not None else " " * 18
            print(f"{name:28}{row.ours:10.3f}{peer}{row.target:8.2f}  {row.unit}{'' if row.holds else '   MISSED'}")
            sys.stdout.flush()
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Faults, each done to a cluster while it curates, and what the run must come to all the same.

The slow tests and `benchmarks/faults.py` share this: a fault is a function that starts a run, breaks something at a
moment, and sees the run (or the one that must follow it) to its end. Costs 10 to 60 s a fault.
"""

import contextlib
import itertools
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import corpora, poison
from tests.cluster import store as stores
from tests.cluster.attempt import LOOK_EVERY, Attempt
from tests.cluster.corpora import Corpora
from tests.cluster.nodes import SMALL_DISK, Cluster, Node, resize
from tests.cluster.processes import end

AFTERMATH = 3.0  # seconds in which workers that were cut off write what they were about to
STRIKE_AGAIN = 5.0  # seconds
LEAST_DISK = 64 << 10  # bytes
FAILING = 0.15  # of a store's requests
OTHERS = 1, 2  # the nodes that have no driver beside them


class Unfit(Exception):
    """Why a fault cannot be done on this machine."""


@dataclass(frozen=True)
class Moment:
    """When a fault strikes.

    Args:
        share: of all tasks that are finished, or of the disk that a whole run needs; between 0 and 1.
        node: which of the nodes 1 and 2, if it is at work.
        seconds: after which what was broken comes back, where it does.
    """

    share: float
    node: int = 1
    seconds: float = 10.0


@dataclass(frozen=True)
class Row:
    """What a fault came to."""

    fault: str
    when: str
    lost: int  # losses of tasks that were told
    reruns: int
    seconds: float  # from the first start to the last end
    gap: float  # the longest time in which no task finished, from the fault on, in seconds; with the re-run's start
    same: bool
    note: str = ""


def worker_killed(attempt: Attempt, moment: Moment) -> None:
    """A worker's process is killed while it runs a task."""
    node = _struck(attempt, moment)
    while attempt.driver.poll() is None and not _lost(attempt):
        if not (busy := node.busy()[:1]):  # between two tasks
            time.sleep(LOOK_EVERY)
            continue
        end(busy)  # whose task may just have ended
        deadline = time.monotonic() + STRIKE_AGAIN
        while attempt.driver.poll() is None and not _lost(attempt) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY)
    attempt.finish()


def raylet_killed(attempt: Attempt, moment: Moment) -> None:
    """A node's raylet is killed, and the node stays away."""
    node = _struck(attempt, moment)
    end([node.raylet()])
    attempt.finish()


def node_returns(attempt: Attempt, moment: Moment) -> None:
    """A node's raylet is killed, and the node comes back while the run goes on."""
    node = _struck(attempt, moment)
    end([node.raylet()])
    attempt.cluster.restart(node)
    attempt.finish()


def link_down(attempt: Attempt, moment: Moment) -> None:
    """A node's link is cut without a word, and stays so."""
    _cut(attempt, moment)
    attempt.finish()


def link_flaps(attempt: Attempt, moment: Moment) -> None:
    """A node's link is cut, and mended some seconds later: before the node is given up or after."""
    node = _cut(attempt, moment)
    with contextlib.suppress(subprocess.TimeoutExpired):
        attempt.driver.wait(moment.seconds)
    attempt.cluster.join(node)
    time.sleep(AFTERMATH)
    attempt.finish()


def driver_killed(attempt: Attempt, moment: Moment) -> None:
    """The driver is killed, and the same command runs again."""
    attempt.start()
    attempt.reach(moment.share)
    attempt.kill()
    attempt.again()


def head_killed(attempt: Attempt, moment: Moment) -> None:
    """The head's server is killed: its driver ends; on a new cluster the same command runs again."""
    attempt.start()
    attempt.reach(moment.share)
    end([attempt.cluster.nodes[0].gcs()])
    attempt.finish(1)
    for node in attempt.cluster.nodes:
        node.stop()
    attempt.cluster.mend()
    attempt.again()


def disk_full(attempt: Attempt, moment: Moment) -> None:
    """The disk of the output fills up, is made larger, and the same command runs again."""
    needed = sum(path.stat().st_size for path in attempt.corpus.undisturbed.rglob("*") if path.is_file())
    if attempt.cluster.no_disk:
        raise Unfit(attempt.cluster.no_disk)
    for left in attempt.cluster.disk.iterdir():
        shutil.rmtree(left)
    resize(attempt.cluster.disk, LEAST_DISK + int(moment.share * needed))
    attempt.output = attempt.cluster.disk / attempt.folder.name
    attempt.start()
    attempt.strike()
    said = attempt.finish(1)
    assert "No space left on device" in said, said
    assert "make room" in said, said
    assert "Traceback" not in said, said
    resize(attempt.cluster.disk, SMALL_DISK)
    attempt.again()


def store_fails(attempt: Attempt, moment: Moment) -> None:
    """Of the requests to a store that holds inputs and output, one in seven fails or is slow, to the end."""
    if stores.MISSING:
        raise Unfit(f"not installed: {', '.join(stores.MISSING)}")
    with stores.served(attempt.cluster.nodes[0].place, attempt.folder / "store-log") as store:
        attempt.store = store
        store.put(attempt.corpus.files, "in")
        attempt.start()
        attempt.reach(moment.share)
        sound = store.happened()["requests"]
        store.fail(FAILING)
        attempt.finish()
        happened = store.happened()
        store.copy("", attempt.folder / "bucket")
        store.copy("out", attempt.output)
    requests, failures = happened.pop("requests") - sound, sum(happened.values())
    assert happened.keys() == set(stores.KINDS), f"not all that was to happen has happened: {happened}"
    attempt.note = f"{failures} of {requests} requests"
    logs = [path for node in attempt.cluster.nodes for path in node.folder.glob("ray/session_*/logs/worker-*")]
    assert logs, "no worker has a log"
    for path in [*logs, *(path for path in attempt.folder.rglob("*") if path.is_file())]:
        assert attempt.cluster.secret.encode() not in path.read_bytes(), f"{path} holds the secret"


def document_raises(attempt: Attempt, moment: Moment) -> None:
    """A document makes a step raise: it is set aside."""
    _poison(attempt, "raises")


def document_crashes(attempt: Attempt, moment: Moment) -> None:
    """A document makes native code crash: it is found and set aside."""
    _poison(attempt, "crashes")


def document_eats(attempt: Attempt, moment: Moment) -> None:
    """A document makes its worker take more memory than its node has: it is found and set aside."""
    if attempt.cluster.no_memory:
        raise Unfit(attempt.cluster.no_memory)
    _poison(attempt, "eats")


def _poison(attempt: Attempt, kind: str) -> None:
    attempt.start()
    attempt.strike()
    attempt.finish()
    (row,) = corpora.quarantined(attempt.output)
    assert (row["source"], row["step"]) == ("web", "gopher_quality" if kind == "raises" else "process")
    named = row["id"] if kind == "raises" else attempt.corpus.at(row["place"])  # what kills its reader is never parsed
    assert named == attempt.corpus.marked


def _lost(attempt: Attempt) -> bool:
    return any(event["event"] == "task_lost" for event in corpora.events(attempt.output))


def _struck(attempt: Attempt, moment: Moment) -> Node:
    """Starts a run; at the moment, the node that is to be struck."""
    attempt.start()
    attempt.reach(moment.share, moment.node, *(node for node in OTHERS if node != moment.node))
    assert attempt.node is not None
    return attempt.cluster.nodes[attempt.node]


def _cut(attempt: Attempt, moment: Moment) -> Node:
    if not attempt.cluster.net.links:
        raise Unfit(f"no link can be cut: {attempt.cluster.no_links}")
    node = _struck(attempt, moment)
    attempt.cluster.cut(node)
    return node


# A fault takes an attempt and a moment; whatever it broke but nodes and links, it mends; it may
# change where the output lies before it starts.
FAULTS: dict[str, Callable[[Attempt, Moment], None]] = {
    "worker killed": worker_killed,
    "raylet killed": raylet_killed,
    "node returns": node_returns,
    "link down": link_down,
    "link flaps": link_flaps,
    "driver killed": driver_killed,
    "head killed": head_killed,
    "disk full": disk_full,
    "store fails": store_fails,
    "document raises": document_raises,
    "document crashes": document_crashes,
    "document eats": document_eats,
}
MARKS = {"document raises": poison.RAISES, "document crashes": poison.CRASHES, "document eats": poison.EATS}
PROCESS_DIES = {"document crashes", "document eats"}  # what the quarantine says is not what a single process would


def do(fault: str, moment: Moment, cluster: Cluster, made: Corpora, folder: Path) -> Row:
    """Does a fault and checks all that must hold.

    Raises:
        AssertionError: something does not.
        Unfit: the machine does not allow it.
    """
    cluster.mend()
    folder.mkdir(parents=True)
    attempt = Attempt(cluster, made.get(MARKS.get(fault, "")), folder / "out", folder)
    expected = corpora.hashes(attempt.corpus.undisturbed, fault in PROCESS_DIES)
    began = time.time()
    try:
        FAULTS[fault](attempt, moment)
    finally:
        attempt.abandon()
    ended = time.time()
    events = corpora.events(attempt.output)
    check_once(events)
    found = corpora.hashes(attempt.output, fault in PROCESS_DIES)
    lost = sum(event["event"] == "task_lost" for event in events)
    gap = longest_gap(events, attempt.struck)
    different = sorted(path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path))
    note = f"other than undisturbed: {', '.join(different[:5])}" if different else attempt.note
    if fault == "link flaps" and all(_late(path, attempt) for path in different):
        different, note = [], f"written late: {', '.join(different)}" if different else ""
    return Row(
        fault, _when(fault, moment, attempt.node), lost, attempt.runs - 1, ended - began, gap, not different, note
    )


def _late(path: str, attempt: Attempt) -> bool:
    """Whether a file lies where an undisturbed run leaves nothing: in a stage that was removed, or beside a manifest.

    A worker that was cut off writes its task's files when it is let go, also where the run is complete by then.
    """
    stage = Path(path).parents[-3]  # after `.` and `stages`
    removed = not (attempt.corpus.undisturbed / stage).exists()
    return removed or Path(path).relative_to(stage).parts[0] == "tasks"


def check_once(events: list[dict[str, object]]) -> None:
    """No task that has finished ran, or finished, again.

    Raises:
        AssertionError: one did.
    """
    done: set[tuple[object, object]] = set()
    for event in events:
        task = (event.get("folder"), event.get("task"))
        if event["event"] in ("task_started", "task_finished"):
            assert task not in done, f"{task} had finished before {event}"
        if event["event"] == "task_finished":
            done.add(task)


def longest_gap(events: list[dict[str, object]], struck: float) -> float:
    """The longest time in which no task finished, from the fault to the last task, in seconds."""
    times = [float(str(event["time"])) for event in events if event["event"] == "task_finished"]
    after = [struck, *(one for one in times if one > struck)]
    return max((later - sooner for sooner, later in itertools.pairwise(after)), default=0.0)


def _when(fault: str, moment: Moment, node: int | None) -> str:
    if fault in MARKS:
        return ""
    share = f"at {100 * moment.share:.0f} %"
    if fault == "disk full":
        return f"{share} of its need"
    for_seconds = f", for {moment.seconds:.0f} s" if fault == "link flaps" else ""
    return share + (f", node {node}" if node is not None else "") + for_seconds

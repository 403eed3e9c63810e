"""`midtrain verify`: whether an output is, byte for byte, what was written, and whether what was written adds up.

Damage has to be found before a run trains on it, and by the file's name. Every file that a manifest lists is read once,
several at a time; of a built mixture tokens, packs and order are counted as well. Costs the disk's time for the files,
and about 20 ns a sequence for the order.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from ... import storage
from ...errors import ConfigError, RunError
from ...manifest import EMPTY, NAME
from ...progress import Progress
from . import verify_files, vouched
from .verify_build import BuildCheck, Counted
from .vouched import Problem, Vouched

Job = Callable[[], tuple[int, list[Problem]]]  # bytes read, what was found


@dataclass(frozen=True)
class Verified:
    """What was found.

    Args:
        output: the folder, as it was given.
        kind: what it is an output of: curate, build, index, write.
        files: how many were read.
        bytes: in them.
        seconds: that reading took.
        problems: by file, in the order of paths.
        unlisted: files in it that no manifest lists.
        unfinished: folders of stages that are not complete.
        counted: of a built mixture, what its tokens, packs and order came to.
    """

    output: str
    kind: str
    files: int
    bytes: int
    seconds: float
    problems: tuple[Problem, ...]
    unlisted: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    counted: Counted = field(default_factory=Counted)

    def refuse(self) -> None:
        """Ends the command where something is wrong.

        Raises:
            RunError: naming the first file and how to repair it.
        """
        if not self.problems:
            return
        first, more = self.problems[0], len({problem.path for problem in self.problems}) - 1
        raise RunError(
            first.what + (f" (and {more:,} more files are wrong)" if more else ""),
            where=f"{self.output}/{first.path}",
            seen=first.seen or None,
            expected=first.expected or None,
            fix=first.fix,
        )


def verify(output: str, workers: int, progress: Progress) -> Verified:
    """Verifies the output of curate, build, write or index.

    Args:
        output: its folder.
        workers: files that are read at a time.
        progress: what the person sees.

    Raises:
        ConfigError: nothing of ours lies there.
    """
    root = storage.location(output)
    if not storage.exists(root / NAME) and not storage.exists(root / EMPTY) and not storage.exists(root / "stages"):
        raise ConfigError(
            f"there is no output of midtrain (no {NAME})", where=output, fix="name the folder of a result"
        )
    started = time.monotonic()
    found = vouched.read(root)
    build = BuildCheck.of(found) if found.result is not None and found.result.stage == "build" else None
    jobs = build.token_jobs() if build else []
    taken = build.taken if build else frozenset[str]()
    jobs += [_file_job(found, path) for path in found.whole if path not in taken]
    size = _run("bytes", jobs, workers, progress, found.problems)
    if build:
        _run("packs", build.pack_jobs(), workers, progress, build.problems)
        build.order()
        found.problems += build.problems
    if found.result is not None and found.result.stage == "index":
        found.problems += _index(found)
    if found.problems and vouched.changed(found):
        raise RunError(
            "the output was changed while it was verified", where=output, fix="verify it again when no run is at work"
        )
    return Verified(
        output,
        found.result.stage if found.result else "",
        len(found.whole),
        size,
        time.monotonic() - started,
        tuple(sorted(found.problems, key=lambda problem: problem.path)),
        tuple(found.unlisted()),
        tuple(found.unfinished()),
        build.counted if build else Counted(),
    )


def _file_job(found: Vouched, path: str) -> Job:
    return lambda: (found.records[path].bytes, verify_files.check_file(found, path))


def _run(name: str, jobs: Sequence[Job], workers: int, progress: Progress, problems: list[Problem]) -> int:
    """Does the jobs, several at a time; gives the bytes that they read."""
    shown, total = progress.begin(name, len(jobs)), 0
    with ThreadPoolExecutor(max(workers, 1)) as threads:
        for size, wrong in threads.map(lambda job: job(), jobs):
            problems += wrong
            total += size
            progress.advance(shown, {"bytes": size})
    progress.end(shown)
    return total


def _index(found: Vouched) -> list[Problem]:
    """An index names its stages by the hashes of their manifests."""
    from ..duplicates import index

    try:
        index.open_index(str(found.root))
    except (ConfigError, RunError) as error:
        path = error.where.removeprefix(f"{found.root}/")
        return [Problem(path, error.what, str(error.seen or ""), str(error.expected or ""), error.fix)]
    return []

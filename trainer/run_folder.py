"""The folder of a run: made once, never overwritten unasked, gone on with only by the same run.

`config.yaml` in it is the run as it was resolved (sizes, vocabulary and precision written out), with which a resumed
run is compared, so that a changed setting is an error and not a different model. Costs one small file.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .. import config, locks, storage
from ..config import Loaded
from ..errors import ConfigError
from ..yaml_document import KeyPath, dotted
from .run import RunConfig

CONFIG = "config.yaml"
_MAY_CHANGE = {
    *("output", "shards", "threads", "kernels", "checkpoint", "evaluate", "metrics"),
    *("micro_batch_tokens", "batch_tokens", "capacity"),
}
"""Keys that a resumed run may change: none moves the order (shards are compared by fingerprint), and no weight but two.
With another `batch_tokens` the run goes on where it stands, and the history says from which step on; `capacity` is the
way out where the load of experts fills the memory."""


@contextlib.contextmanager
def opened(
    run: Loaded[RunConfig], resolved: RunConfig, resume: bool, overwrite: bool, begun: int | None = None
) -> Iterator[Path]:
    """Makes or opens the run's folder, writes its config.yaml, and keeps other runs out of it for the block.

    Of a run that is still going on nothing is swept or removed: the lock comes first, and stays when the rest goes.

    Args:
        run: the run as it was read, for line numbers.
        resolved: the same with everything worked out.
        resume: go on in a folder that is there.
        overwrite: remove a run that is there.
        begun: how many of its phases the run has begun, where its shards were extended: the others may be replaced.

    Raises:
        ConfigError: the folder cannot be made; or it is there and neither was asked for, is no run's, holds what the
            run needs (its file, the checkpoint that it is to start from, its shards), or holds another run.
        RunError: another run is at work in it.
    """
    folder = Path(resolved.output)
    if folder.exists() and not folder.is_dir():
        raise run.error(("output",), "is a file", fix="name another folder")
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locks.locked(folder))
            _take(run, resolved, folder, resume, overwrite, begun)
            with storage.atomic_write(folder / CONFIG) as stream:
                stream.write(config.dump(resolved).encode())
        except OSError as error:
            what = f"the folder cannot be made or written: {error.strerror}"
            raise run.error(("output",), what, fix="name another folder") from None
        yield folder


def _take(
    run: Loaded[RunConfig], resolved: RunConfig, folder: Path, resume: bool, overwrite: bool, begun: int | None
) -> None:
    """Sees to what lies in the folder, whose lock is held."""
    inside = [path for path in folder.iterdir() if path.name != locks.LOCK]
    if not inside:
        return
    if resume:
        storage.sweep_temporary(folder)
        _require_same_run(run, resolved, folder / CONFIG, begun)
    elif overwrite:
        _check_removable(run, resolved, folder)
        for path in inside:
            (storage.remove_tree if path.is_dir() and not path.is_symlink() else storage.remove)(path)
    else:
        raise run.error(("output",), "the folder is there already", fix="--resume to go on, --overwrite to start anew")


def stored(folder: str | Path) -> RunConfig:
    """The run that a folder holds.

    Raises:
        ConfigError: it holds none, or its config.yaml is not one of this version's.
    """
    return config.load(Path(folder) / CONFIG, RunConfig).value


def _check_removable(run: Loaded[RunConfig], resolved: RunConfig, folder: Path) -> None:
    if not (folder / CONFIG).exists():
        raise run.error(
            ("output",), f"the folder holds no {CONFIG}, so it is not removed", fix="name another folder, or empty it"
        )
    begin = resolved.init_from
    needed = {"init_from": begin.path if begin else None, "shards": resolved.shards}
    for key, path in needed.items():
        if path is not None and _lies_in(path, folder):
            raise run.error((key,), "lies in the folder that --overwrite would remove", fix="name another output")
    if Path(run.document.name).is_file() and _lies_in(run.document.name, folder):
        raise run.error(
            ("output",),
            "is the folder of the run file itself, and --overwrite would remove it",
            fix="name another folder",
        )


def _lies_in(path: str, folder: Path) -> bool:
    return Path(path).resolve().is_relative_to(folder.resolve())


def _require_same_run(run: Loaded[RunConfig], resolved: RunConfig, path: Path, begun: int | None) -> None:
    """Compares key by key; phases may be added at the end, and those replaced that an extension has left unbegun."""
    old = config.load(path, RunConfig).value.model_dump(mode="json")
    new = resolved.model_dump(mode="json")
    old["phases"] = old["phases"][:begun]
    new["phases"] = new["phases"][: len(old["phases"])]
    for key, was, now in _differences((), old, new):
        if key[-1] in _MAY_CHANGE or key[0] in _MAY_CHANGE:
            continue
        raise ConfigError(
            f"{dotted(key)}: a resumed run keeps its configuration, and this key differs",
            where=run.document.place(key),
            seen=now,
            expected=f"{was}, as {path} says",
            fix="set it back, or start a new run with init_from",
        )


def _differences(path: KeyPath, was: Any, now: Any) -> Iterator[tuple[KeyPath, Any, Any]]:
    """The deepest key paths at which two plain values differ."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in sorted(was.keys() | now.keys()):
            yield from _differences((*path, key), was.get(key), now.get(key))
    elif isinstance(was, list) and isinstance(now, list):
        for index, (old, new) in enumerate(itertools.zip_longest(was, now)):
            yield from _differences((*path, index), old, new)
    elif was != now:
        yield path, was, now

"""How much memory a run may use, what this process did use, and what to say where the one does not hold the other.

A process that takes more than its control group leaves is killed without a word, so workers are counted before they
start. Costs a few small files of /proc and /sys; a measured task costs one look at its own status every 50 ms.
"""

import contextlib
import ctypes
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import PydanticCustomError

from .. import config
from ..errors import ConfigError

SHARE = (
    0.8  # of what the machine leaves; the rest is for page cache, which the exchange lives on, and for errors of plans
)
DRIVER = 110 << 20  # bytes: the driver (47 MiB) and its fork server (56 MiB), measured as `peak` does
DRIVER_TASK = 4 << 10  # bytes that the driver holds a task: its result, its split, its name in the manifest
SPREAD = 1.1  # a budget that surely does, of what one sample needs: of 24 samples the most took 1.02 of the least
LOOK_EVERY = 0.05  # seconds
_PROC = Path("proc/self")


@dataclass(frozen=True)
class Budget:
    """Bytes that a whole run may hold, and in words where the number comes from."""

    bytes: int
    origin: str


@dataclass(frozen=True)
class _Hierarchy:
    """The files of one version of control groups: limit, use, and how the statistics name the page cache."""

    limit: str
    use: str
    cache: tuple[str, ...]


_V2 = _Hierarchy("memory.max", "memory.current", ("active_file", "inactive_file"))
_V1 = _Hierarchy("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))


def of(memory: str | None, root: Path = Path("/")) -> Budget:
    """The budget that `--memory` names, or a share of what the machine leaves.

    Args:
        memory: `8GiB`, `500MB`, a number of bytes; None for the default.
        root: where `proc` and `sys` stand.

    Raises:
        ConfigError: not a size in bytes.
    """
    if memory is None:
        found = left(root)
        return Budget(int(found.bytes * SHARE), f"{SHARE:.0%} of the {spelled(found.bytes)} that {found.origin}")
    try:
        size = int(str(config.parse_bytes(memory)))
    except PydanticCustomError as wrong:
        raise ConfigError(
            wrong.message(), where="--memory", seen=memory, expected="for example 8GiB or 500MB"
        ) from None
    if size == 0:
        raise ConfigError("no memory is not enough", where="--memory", seen=memory, expected="for example 8GiB")
    return Budget(size, "--memory")


def machine(root: Path = Path("/")) -> int:
    """Bytes that this process and those that it starts may hold; see `left`."""
    return left(root).bytes


def left(root: Path = Path("/")) -> Budget:
    """The smallest of what the machine has available and what each control group above this process leaves.

    A group leaves its limit less what it holds that is not page cache of files, which makes room when it must. What
    this process holds already is its own: it is added again.

    Args:
        root: where `proc` and `sys` stand.
    """
    own = _anonymous(_fields(root / _PROC / "status"))
    available = _fields(root / "proc/meminfo").get("MemAvailable", 0)
    found = [Budget(available + own, "the machine has available")] if available else []
    for group, files in _groups(root):
        limit = _number(group / files.limit)
        if limit is None or limit >= _total(root):  # "max", or version 1's "none": the largest whole number of pages
            continue
        used = _number(group / files.use) or 0
        statistics = _fields(group / "memory.stat")
        cache = sum(statistics.get(name, 0) for name in files.cache)
        free = max(limit - max(used - cache, 0) + own, 0)
        found.append(Budget(min(free, limit), f"the control group's limit ({spelled(limit)}) leaves"))
    if not found:
        raise ConfigError("the memory of this machine is not known", fix="say how much may be used: --memory 8GiB")
    return min(found, key=lambda one: one.bytes)


def _total(root: Path) -> int:
    return _fields(root / "proc/meminfo").get("MemTotal", 1 << 60)


def _groups(root: Path) -> Iterator[tuple[Path, _Hierarchy]]:
    """The folders of this process' control group and of all above it, in each hierarchy that holds memory."""
    with contextlib.suppress(FileNotFoundError):
        mounts = [_mount(line) for line in (root / _PROC / "mountinfo").read_text().splitlines()]
        for line in (root / _PROC / "cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            for kind, inside, point, options in mounts:
                if number == "0" and kind == "cgroup2":
                    yield from ((folder, _V2) for folder in _upwards(root, path, inside, point))
                elif kind == "cgroup" and "memory" in controllers.split(",") and "memory" in options.split(","):
                    yield from ((folder, _V1) for folder in _upwards(root, path, inside, point))


def _mount(line: str) -> tuple[str, str, str, str]:
    """Type of the file system, folder inside it, mount point, options, of a line of mountinfo (man 5 proc)."""
    before, _, after = line.partition(" - ")
    inside, point = (re.sub(r"\\(\d{3})", lambda o: chr(int(o[1], 8)), field) for field in before.split()[3:5])
    kind, *_, options = [*after.split(), "", ""][:3]
    return kind, inside, point, options


def _upwards(root: Path, path: str, inside: str, point: str) -> Iterator[Path]:
    """From the group's folder up to the mount point.

    A container sees a part of the hierarchy: its group's path is below the folder that is mounted, or it is the path
    on the host while the mount shows the container's own group at its top.
    """
    top = root / point.lstrip("/")
    below = path if inside == "/" else path.removeprefix(inside) if path.startswith(inside) else "/"
    parts = [part for part in below.split("/") if part]
    folder = top.joinpath(*parts)
    if ".." in parts or not folder.is_dir():
        folder = top
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file of `name: value` lines; those in kB as bytes."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        words = line.replace(":", " ").split()
        if len(words) >= 2 and words[1].isdigit():
            found[words[0]] = int(words[1]) * (1024 if words[2:] == ["kB"] else 1)
    return found


def driver(tasks: int) -> int:
    """Bytes of a driver that runs a stage of so many tasks, with its fork server."""
    return DRIVER + DRIVER_TASK * tasks


def workers(budget: int, memory: int, driver: int, wanted: int) -> int:
    """How many workers fit.

    Args:
        budget: bytes that the whole run may hold.
        memory: bytes of a worker at its peak.
        driver: bytes of the driver and its fork server.
        wanted: at most so many.

    Returns:
        0 where not even one does.
    """
    return max(min((budget - driver) // memory, wanted), 0)


def needed(memory: int, driver: int) -> int:
    """The smallest budget that would do: one worker beside the driver."""
    return memory + driver


def refusal(stage_name: str, budget: int, needed: int) -> ConfigError:
    """The error for a budget in which not even one worker fits, with the smallest that would do.

    What is needed is measured anew by each command, so that the budget to ask for lies above what this one measured.
    """
    enough = spelled(int(needed * SPREAD), up=True)
    return ConfigError(
        f"{stage_name}: the memory is too small for a single worker",
        seen=spelled(budget, up=False),
        expected=f"at least {spelled(needed, up=True)}",
        fix=f"--memory {enough}, on a machine or in a control group that has it",
    )


def spelled(size: int, up: bool | None = None) -> str:
    """A number of bytes in two or three digits, as `--memory` takes it: `1.3GB`, `640MB`.

    Args:
        size: bytes.
        up: whether it is rounded up, as what is needed is, or down, as what is there; None to the nearest.
    """
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= scale:
            step = scale // 10 if size < 100 * scale else scale
            whole = (size + {True: step - 1, False: 0, None: step // 2}[up]) // step * step
            return f"{whole / scale:.1f}".removesuffix(".0") + unit
    return f"{size}B"


def reset_peak() -> None:
    """Begins to measure this process' memory anew, until `peak` is called."""
    _watch.begin()


def peak() -> int:
    """The most memory that this process held since `reset_peak`, in bytes, without page cache; 0 where nobody tells.

    Linux' own mark (VmHWM) counts the pages of mapped files too, which the system takes back when it needs them, and
    what is sampled (RssAnon, RssShmem) misses what is allocated and freed between two looks, as long as native code
    holds the interpreter's lock. So the mark is read at every look, less the mapped pages at that time, and set back
    (Linux 4.0, /proc/self/clear_refs): what is wrong is at most by how much the mapped pages changed between two looks.
    """
    return _watch.end()


def release() -> None:
    """Gives memory that was freed back to the system, which allocators keep for what may come.

    What one task needed would else be held while the worker does others, of another stage too. Costs about a
    millisecond.
    """
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # where the C library is not glibc
        ctypes.CDLL(None).malloc_trim(0)


def held(process: int | None) -> int:
    """Bytes that a process holds now, without page cache; 0 where it has ended."""
    return _anonymous(_fields(Path("/proc") / str(process) / "status"))


class _Watch:
    """Looks at this process' memory from a thread, between `begin` and `end`."""

    def __init__(self) -> None:
        self._most = self._mapped = 0
        self._stop: threading.Event | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Forgets what was; starts to look."""
        self.end()
        _set_back()
        self._most, self._mapped = 0, 0
        self._look()
        self._stop = threading.Event()
        threading.Thread(target=self._watch, args=(self._stop,), daemon=True).start()

    def end(self) -> int:
        """Looks once more, and stops."""
        if self._stop is not None:
            self._stop.set()
            self._look()
            self._stop = None
        return self._most

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY):
            self._look()

    def _look(self) -> None:
        with self._lock:
            now = _fields(Path("/") / _PROC / "status")
            mapped = now.get("RssFile", 0)
            mark = now.get("VmHWM", 0) - max(mapped, self._mapped) if _set_back() else 0
            self._most = max(self._most, _anonymous(now), mark)
            self._mapped = mapped


def _anonymous(status: dict[str, int]) -> int:
    return status.get("RssAnon", 0) + status.get("RssShmem", 0)


def _set_back() -> bool:
    """Sets the system's mark to what is held now; False where it has none."""
    try:
        (Path("/") / _PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


_watch = _Watch()

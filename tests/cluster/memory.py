"""A limit on the memory of one node: a memory cgroup (version 1) that the node takes for the machine's.

A document that eats memory must not eat the machine's, and Ray must see the limit to enforce it: it reads the root of
the cgroup's tree, so that the node's own cgroup is mounted there, in a mount namespace of the node's. Costs two mounts.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup/memory")
SCRIPT = 'echo $$ > "$0/cgroup.procs" && mount --bind "$0" {root} && exec "$@"'


@contextlib.contextmanager
def limited(nodes: int, limit: int) -> Iterator[tuple[list[tuple[str, ...]], str]]:
    """For each node the words before a command that limit its memory, for the block, and why there are none if so.

    Args:
        nodes: how many.
        limit: bytes that each may use, with its share of /dev/shm.
    """
    groups = [ROOT / f"mt{os.getpid()}-{node}" for node in range(nodes)]
    try:
        if why := _permitted(groups, limit):
            yield [()] * nodes, why
            return
        script = SCRIPT.format(root=ROOT)
        yield [("unshare", "--mount", "sh", "-c", script, str(group)) for group in groups], ""
    finally:
        for group in groups:
            _remove(group)


def _permitted(groups: list[Path], limit: int) -> str:
    if not (ROOT / "memory.limit_in_bytes").exists():
        return f"there is no memory cgroup of version 1 at {ROOT}"
    try:
        for group in groups:
            group.mkdir()
            (group / "memory.limit_in_bytes").write_text(str(limit))
        subprocess.run(["unshare", "--mount", "mount", "--bind", groups[0], ROOT], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as refused:
        return f"no memory cgroup can be made: {refused}"
    return ""


def _remove(group: Path) -> None:
    deadline = time.monotonic() + 10
    while group.exists() and time.monotonic() < deadline:  # busy until its last process is gone
        with contextlib.suppress(OSError):
            group.rmdir()
        time.sleep(0.1)

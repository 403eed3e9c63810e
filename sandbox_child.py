"""What a sandbox does in its own process before the untrusted code: namespaces, a root of its own, limits, exec.

A fresh interpreter has to do it, since a caller with threads (Arrow, torch) must not run Python between fork and exec.
It is started by its path, imports the standard library alone, and costs about 50 ms and two processes: one waits, one
looks 20 times a second at the memory of the code's processes (0.1 to 1 ms a look).
"""

import ctypes
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# Linux, include/uapi: sched.h, mount.h, prctl.h.
NEW_MOUNTS, NEW_UTS, NEW_IPC, NEW_USER = 0x00020000, 0x04000000, 0x08000000, 0x10000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
NO_ATIME, NO_DIR_ATIME, RELATIVE_ATIME = 1 << 10, 1 << 11, 1 << 21
REMOUNT, BIND, RECURSIVE, PRIVATE = 1 << 5, 1 << 12, 1 << 14, 1 << 18
DETACH = 2
SET_PARENT_DEATH_SIGNAL, SET_SECCOMP, SET_NO_NEW_PRIVILEGES = 1, 22, 38
FILTER = 2  # SECCOMP_MODE_FILTER
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}  # glibc has no function for it

INSIDE_ID = 1000  # user and group of the code, as it sees them; not 0, so that exec takes every capability away
NOBODY = 65534  # who that is outside where root starts a sandbox; a limit on processes does not bind root
DEVICES = ("/dev/null", "/dev/random", "/dev/urandom")  # without zero: shared mappings of it are memory
FILES_OPEN = 64
WORK_INODES = 4096
LOOK_SECONDS = 0.05  # between two looks at the memory of all processes


def call(name: str, *arguments: object) -> None:
    """Calls a function of the C library that returns 0 or -1.

    Raises:
        OSError: it returned -1.
    """
    converted = [one.encode() if isinstance(one, str) else one for one in arguments]
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*(ctypes.c_ulong(one) if isinstance(one, int) else one for one in converted)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_namespaces() -> None:
    """Leaves the caller's users, mounts, network, processes, names and shared memory.

    Raises:
        OSError: the kernel, or what confines the caller, does not allow it.
    """
    user, group, process = os.geteuid(), os.getegid(), os.getpid()
    ready_end, go_end = os.pipe()
    if user == 0 and os.fork() == 0:  # root maps two users, which only a process outside may do
        os.close(go_end)
        os.read(ready_end, 1)
        os._exit(0 if all(_map_two(f"/proc/{process}/{kind}_map") for kind in ("uid", "gid")) else 1)
    os.close(ready_end)
    call("unshare", NEW_USER | NEW_MOUNTS | NEW_NETWORK | NEW_PROCESSES | NEW_IPC | NEW_UTS)
    os.close(go_end)
    if user == 0:
        _, how = os.wait()
        if how != 0:
            raise OSError("its user cannot be mapped")
        return
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{INSIDE_ID} {user} 1\n", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{INSIDE_ID} {group} 1\n", encoding="ascii")


def _map_two(path: str) -> bool:
    """Maps root and nobody; root alone in a container that has no nobody, whose root is an ordinary user outside."""
    for lines in (f"0 0 1\n{INSIDE_ID} {NOBODY} 1\n", f"{INSIDE_ID} 0 1\n"):
        with suppress(OSError):
            Path(path).write_text(lines, encoding="ascii")
            return True
    return False


def build_root(folder: str, visible: list[str], code: bytes, disk: int) -> None:
    """Makes a root of its own: what Python needs, read-only, `/main.py`, and an empty `/work` in memory.

    Raises:
        OSError: a mount is refused.
    """
    number = PIVOT_ROOT.get(platform.machine())
    if number is None:
        raise OSError(f"pivot_root has no known number on {platform.machine()}")
    call("mount", None, "/", None, RECURSIVE | PRIVATE, None)
    call("mount", "tmpfs", folder, "tmpfs", NO_SUID | NO_DEVICES, f"size={len(code) + (1 << 20)},mode=755")
    for path in (*visible, *DEVICES):
        _show(path, folder + path)
    (Path(folder) / "main.py").write_bytes(code)
    (Path(folder) / "work").mkdir()
    options = f"size={disk},nr_inodes={WORK_INODES},mode=777"
    call("mount", "tmpfs", folder + "/work", "tmpfs", NO_SUID | NO_DEVICES, options)
    os.chdir(folder)
    call("syscall", number, ".", ".")  # stacks the old root on the new one, where it is let go
    call("umount2", ".", DETACH)
    os.chdir("/")
    call("mount", None, "/", None, REMOUNT | BIND | READ_ONLY | NO_SUID | NO_DEVICES, None)


def _show(path: str, target: str) -> None:
    """Mounts a file or folder of the caller's at the target, read-only; one that is not there is left out."""
    source = Path(path)
    if not source.exists():
        return
    if source.is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    call("mount", path, target, None, BIND | RECURSIVE, None)
    seen = os.statvfs(path).f_flag  # a namespace may not take back what the caller's own mount forbids
    flags = seen & (NO_SUID | NO_DEVICES | NO_EXEC | NO_ATIME | NO_DIR_ATIME)
    flags |= RELATIVE_ATIME if seen & 4096 else 0
    call("mount", None, target, None, flags | REMOUNT | BIND | READ_ONLY | NO_SUID, None)


def limit(limits: dict[str, int]) -> None:
    """Binds this process: address space and files in bytes, CPU in seconds, processes, no core dumps."""
    for kind, most in (
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["output"]),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, FILES_OPEN),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (bound, bound))
    # The signal of the soft limit says why it ended; the hard one ends what does not heed it.
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = limits["seconds"] if hard == resource.RLIM_INFINITY else min(limits["seconds"], hard)
    resource.setrlimit(resource.RLIMIT_CPU, (most, most + 1 if hard == resource.RLIM_INFINITY else min(most + 1, hard)))


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_char_p))


def refuse_calls(program: bytes) -> None:
    """Has the kernel refuse system calls from here on, in this process and all that come of it.

    Args:
        program: an array of `struct sock_filter`.

    Raises:
        OSError: the kernel has no such filters.
    """
    asked = _Program(len(program) // 8, program)
    call("prctl", SET_SECCOMP, FILTER, ctypes.byref(asked), 0, 0)


def become(plan: dict[str, Any], script: str, folder: str) -> None:
    """Turns this process into the untrusted code; does not return."""
    os.chdir(folder)
    if plan["isolated"] and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
        os.setresuid(INSIDE_ID, INSIDE_ID, INSIDE_ID)
    call("prctl", SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    call("prctl", SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    limit(plan["limits"])
    if plan["isolated"]:
        refuse_calls(bytes.fromhex(plan["filter"]))
    os.write(plan["status"], b"ready\n")
    os.execve(plan["python"], [plan["python"], "-I", "-S", "-B", "-X", "utf8", script], {})  # noqa: S606 - no shell is wanted


def supervise(plan: dict[str, Any], script: str, folder: str) -> None:
    """Starts the untrusted code and reports how it ended; as process 1 it takes all that is left with it."""
    child = os.fork()
    if child == 0:
        attempt(plan, lambda: become(plan, script, folder))
    ended = -1
    while ended != child:
        ended, how = os.wait()
    os.write(plan["status"], f"ended {os.waitstatus_to_exitcode(how)}\n".encode())


def watch(plan: dict[str, Any], first: int, processes: int) -> None:
    """Waits for process 1 of the code; ends it with all the others when they hold too much memory together."""
    while os.waitpid(first, os.WNOHANG) == (0, 0):
        if held(first, processes) > plan["together"]:
            os.kill(first, signal.SIGKILL)  # the kernel ends what else is in its namespace before it is gone
            os.waitpid(first, 0)
            os.write(plan["status"], b"exceeded\n")
            return
        time.sleep(LOOK_SECONDS)


def held(first: int, processes: int) -> int:
    """Bytes that a process and all below it hold of their own, in memory or swapped out.

    A page that processes share since a fork counts for each of them. Every thread is asked, since the first of them may
    have ended, and has children of its own.

    Args:
        first: its number.
        processes: an open folder: /proc as it is outside.
    """
    total, waiting = 0, [first]
    while waiting:
        process, most = waiting.pop(), 0
        for thread in _threads(processes, process):
            fields = dict(line.split(":", 1) for line in _read(processes, f"{thread}/status").splitlines())
            most = max(most, sum(int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "VmSwap")))
            waiting += map(int, _read(processes, f"{thread}/children").split())
        total += most << 10
    return total


def _threads(processes: int, process: int) -> list[str]:
    """The folders of a process's threads; none if it ended."""
    try:
        folder = os.open(f"{process}/task", os.O_RDONLY | os.O_DIRECTORY, dir_fd=processes)
    except (FileNotFoundError, ProcessLookupError):
        return []
    try:
        return [f"{process}/task/{thread.name}" for thread in os.scandir(folder)]
    except (FileNotFoundError, ProcessLookupError):
        return []
    finally:
        os.close(folder)


def _read(processes: int, path: str) -> str:
    """A file of /proc; empty if its thread ended."""
    try:
        with open(os.open(path, os.O_RDONLY, dir_fd=processes), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def attempt(plan: dict[str, Any], work: Callable[[], None]) -> None:
    """Does the work and ends the process; an error of the system is reported to the caller."""
    try:
        work()
        os._exit(0)
    except OSError as error:
        os.write(plan["status"], f"error {error}\n".encode())
    os._exit(1)


def start(plan: dict[str, Any]) -> None:
    """Isolates where that was asked for, and supervises."""
    call("prctl", SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
    with open(plan["code"], "rb") as stream:
        code = stream.read()
    folder = plan["folder"]
    if not plan["isolated"]:
        (Path(folder) / "main.py").write_bytes(code)
        (Path(folder) / "work").mkdir()
        supervise(plan, folder + "/main.py", folder + "/work")
        return
    processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    os.stat(f"self/task/{os.getpid()}/children", dir_fd=processes)  # a kernel may be built without it
    enter_namespaces()
    build_root(folder, plan["visible"], code, plan["disk"])
    first = os.fork()
    if first == 0:
        os.close(processes)
        call("prctl", SET_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0)
        attempt(plan, lambda: supervise(plan, "/main.py", "/work"))
    watch(plan, first, processes)


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    os.set_inheritable(asked["status"], False)
    attempt(asked, lambda: start(asked))

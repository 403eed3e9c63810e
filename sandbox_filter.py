"""The system calls that untrusted code does not get: a seccomp program that the kernel runs before each of its calls.

Limits on address space bind what a process maps. System V segments, memory files, anonymous mappings that processes
share, messages that wait and full buffers of sockets outlive their mappings, and a namespace of its own brings mounts
without a bound; so they are not to be had. About 90 instructions, a fraction of a microsecond a call.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Linux, include/uapi: asm-generic/errno*.h, linux/bpf_common.h, linux/seccomp.h.
REFUSED, NOT_THERE, NO_SUCH_FAMILY = 1, 38, 97
LOAD, EQUAL, AT_LEAST, MASK, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
ALLOW, ERROR, KILL = 0x7FFF0000, 0x00050000, 0x80000000
CALL, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # where they stand in struct seccomp_data
OTHER_ABI = 0x40000000  # x32 on x86-64; no call has so high a number elsewhere

# linux/audit.h, and the place in `Rule.numbers`; all but x86-64 share the generic table.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "riscv64": (0xC00000F3, 1)}

NAMESPACES = 0x7E020000  # sched.h: CLONE_NEW*
SHARED_ANONYMOUS, HUGE_PAGES = 0x21, 0x40000  # mman.h: MAP_SHARED and MAP_SHARED_VALIDATE, MAP_ANONYMOUS, MAP_HUGETLB
LOCAL = 1  # socket.h: AF_UNIX


@dataclass(frozen=True)
class Rule:
    """A call that fails, or fails unless the masked argument has one of some values.

    Args:
        numbers: of the call, on x86-64 and in the generic table; None where it does not exist.
        error: what it fails with.
        argument: which one is looked at, its low 32 bits; None refuses every call.
        mask, allowed: what of it counts, and what it may then be.
    """

    numbers: tuple[int | None, int | None]
    error: int = REFUSED
    argument: int | None = None
    mask: int = 0xFFFFFFFF
    allowed: tuple[int, ...] = ()


RULES = {
    # Memory that belongs to no process, or that no limit of a process counts.
    "shmget": Rule((29, 194)),
    "semget": Rule((64, 190)),
    "msgget": Rule((68, 186)),
    "mq_open": Rule((240, 180)),
    "memfd_create": Rule((319, 279)),
    "memfd_secret": Rule((447, 447)),
    "vmsplice": Rule((278, 75)),  # a pipe would hold pages that are mapped no more
    "userfaultfd": Rule((323, 282)),
    "io_uring_setup": Rule((425, 425)),  # it would also make calls that no filter sees
    "add_key": Rule((248, 217)),
    "request_key": Rule((249, 218)),
    "keyctl": Rule((250, 219)),
    "bpf": Rule((321, 280)),
    "perf_event_open": Rule((298, 241)),
    "inotify_init": Rule((253, None)),
    "inotify_init1": Rule((294, 26)),
    "fanotify_init": Rule((300, 262)),
    "landlock_create_ruleset": Rule((444, 444)),
    # Parts of an anonymous shared mapping stay in memory when they are unmapped, until the last part is.
    "mmap": Rule((9, 222), REFUSED, 3, SHARED_ANONYMOUS | HUGE_PAGES, (0x00, 0x01, 0x20)),
    # A pair for talk between processes holds 0.2 MiB each; connections that wait and larger buffers hold more.
    "socket": Rule((41, 198), NO_SUCH_FAMILY),
    "socketpair": Rule((53, 199), NO_SUCH_FAMILY, 0, 0xFFFFFFFF, (LOCAL,)),
    "setsockopt": Rule((54, 208)),
    # Namespaces, in which it could mount file systems in memory; and other processes' insides.
    "unshare": Rule((272, 97)),
    "setns": Rule((308, 268)),
    "clone": Rule((56, 220), REFUSED, 0, NAMESPACES, (0,)),
    "clone3": Rule((435, 435), NOT_THERE),  # its flags are behind a pointer; the C library then takes clone
    "ptrace": Rule((101, 117)),
}


def program(machine: str) -> bytes | None:
    """The filter as an array of `struct sock_filter` for a machine, as `platform.machine` names it; None if unknown."""
    if machine not in MACHINES:
        return None
    architecture, column = MACHINES[machine]
    steps = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, CALL),
        (AT_LEAST, 0, 1, OTHER_ABI),
        (RETURN, 0, 0, ERROR | NOT_THERE),
    ]
    for rule in RULES.values():
        number = rule.numbers[column]
        if number is not None:
            body = list(_body(rule))
            steps += [(EQUAL, 0, len(body), number), *body]
    steps.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


def _body(rule: Rule) -> Iterator[tuple[int, int, int, int]]:
    """What is done with a call of the rule's number; it always returns."""
    if rule.argument is not None:
        yield LOAD, 0, 0, ARGUMENTS + 8 * rule.argument  # the low half: these machines are little-endian
        yield MASK, 0, 0, rule.mask
        for left, value in zip(range(len(rule.allowed), 0, -1), rule.allowed, strict=True):
            yield EQUAL, left, 0, value
    yield RETURN, 0, 0, ERROR | rule.error
    if rule.argument is not None:
        yield RETURN, 0, 0, ALLOW

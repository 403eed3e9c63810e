"""The filter of system calls, run by a plain interpreter of its instructions, for machines other than this one too."""

import re
import struct
from pathlib import Path

import pytest
from midtrain.sandbox_filter import ALLOW, ERROR, KILL, MACHINES, RULES, program

HEADERS = {
    0: (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+)\s+(\d+)"),
    1: (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+)\s+(\d+)"),
}


def verdict(machine: str, call: int, *arguments: int, architecture: int | None = None) -> int:
    """What the kernel would do with a call: the classic BPF machine with the six instructions that are used."""
    steps = list(struct.iter_unpack("=HBBI", program(machine) or b""))
    word = MACHINES[machine][0] if architecture is None else architecture
    seen = struct.pack("<IIQ6Q", call, word, 0, *arguments, *[0] * (6 - len(arguments)))
    at, held = 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            held = struct.unpack_from("<I", seen, value)[0]
        elif code == 0x54:
            held &= value
        else:
            at += yes if (held == value if code == 0x15 else held >= value) else no


@pytest.mark.parametrize("machine", MACHINES)
def test_each_call_has_its_verdict_and_all_others_go_on(machine: str):
    column = MACHINES[machine][1]
    ruled = {rule.numbers[column]: rule for rule in RULES.values() if rule.numbers[column] is not None}
    for call in range(600):
        rule = ruled.get(call)
        if rule is None:
            assert verdict(machine, call) == ALLOW
        elif rule.argument is None:
            assert verdict(machine, call) == ERROR | rule.error
    assert len(ruled) >= len(RULES) - 1


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide(machine: str):
    column = MACHINES[machine][1]

    def ends(name: str, *arguments: int) -> int:
        return verdict(machine, RULES[name].numbers[column] or 0, *arguments)

    for flags in (0x02, 0x01, 0x22, 0x20022, 0x802, 0x4022):  # private, a file's, a stack, an allocator's
        assert ends("mmap", 0, 1 << 20, 3, flags) == ALLOW
    for flags in (0x21, 0x23, 0x8021, 0x40022, 0x40021, 0x1_0000_0021):
        assert ends("mmap", 0, 1 << 20, 3, flags) == ERROR | 1
    assert ends("clone", 0x003D0F00) == ALLOW  # a thread of the C library
    assert ends("clone", 0x01200011) == ALLOW  # its fork
    assert ends("clone", 0x4111) == ALLOW  # a vfork
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert ends("clone", 17 | 1 << bit) == ERROR | 1
    assert [ends("socketpair", family) for family in (1, 2, 30)] == [ALLOW, ERROR | 97, ERROR | 97]


def test_another_architecture_ends_the_process_and_another_abi_has_no_calls():
    assert verdict("x86_64", 1, architecture=0x40000003) == KILL  # int 0x80
    assert verdict("aarch64", 1, architecture=0x40000028) == KILL
    assert verdict("x86_64", 0x40000000 | 1) == ERROR | 38
    assert program("sparc64") is None


@pytest.mark.parametrize("column", HEADERS)
def test_the_numbers_are_the_systems(column: int):
    header, pattern = HEADERS[column]
    if not header.exists():
        pytest.skip(f"{header} is not there")
    known = {name: int(number) for name, number in re.findall(pattern, header.read_text())}
    ours = {name: rule.numbers[column] for name, rule in RULES.items()}
    assert {name: known.get(name) for name in ours} == ours

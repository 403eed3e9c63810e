"""The budget: what control groups and the machine leave, how many workers fit, and what a process has held."""

import mmap
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.pipelines import budget

MIB = 1 << 20
GIB = 1 << 30
UNLIMITED_V1 = 9223372036854771712
V1 = "32 31 0:29 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw\n"


class Tree:
    """A made `/` with `proc` and `sys`: 16 GiB, of which 12 are available."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal: {16 * MIB} kB\nMemFree: 5 kB\nMemAvailable: {12 * MIB} kB\n")
        self.write("proc/self/status", "Name:\tpython\nRssAnon:\t   0 kB\nRssShmem:\t   0 kB\n")
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n")
        self.write("proc/self/cgroup", "")

    def write(self, path: str, content: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n" if not isinstance(content, str) else content)

    def group(self, folder: str, version: int, limit: object, used: int = 0, cache: int = 0) -> None:
        limit_name, use_name = (
            ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
        )
        prefix = "" if version == 2 else "total_"
        self.write(f"{folder}/{limit_name}", f"{limit}\n")
        self.write(f"{folder}/{use_name}", f"{used}\n")
        self.write(
            f"{folder}/memory.stat", f"{prefix}active_file {cache // 4}\n{prefix}inactive_file {3 * cache // 4}\n"
        )

    @property
    def left(self) -> int:
        return budget.machine(self.root)


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_without_groups_it_is_what_the_machine_has_available(tree):
    assert tree.left == 12 * GIB
    found = budget.of(None, tree.root)
    assert found.bytes == int(12 * GIB * 0.8)
    assert "80%" in found.origin
    assert "available" in found.origin


def test_version_2_takes_the_smallest_limit_of_all_ancestors(tree):
    tree.write("proc/self/mountinfo", V2)
    tree.write("proc/self/cgroup", "0::/a/b/c\n")
    tree.group("sys/fs/cgroup/a/b/c", 2, "max")
    tree.group("sys/fs/cgroup/a/b", 2, 2 * GIB)
    tree.group("sys/fs/cgroup/a", 2, 3 * GIB)
    assert tree.left == 2 * GIB
    tree.group("sys/fs/cgroup/a", 2, 1 * GIB)
    assert tree.left == 1 * GIB
    assert "control group" in budget.left(tree.root).origin


def test_page_cache_is_not_held_and_the_rest_is(tree):
    tree.write("proc/self/mountinfo", V2)
    tree.write("proc/self/cgroup", "0::/a\n")
    tree.group("sys/fs/cgroup/a", 2, 4 * GIB, used=3 * GIB, cache=2 * GIB)
    assert tree.left == 3 * GIB
    tree.write("proc/self/status", f"RssAnon:\t {512 * 1024} kB\nRssShmem:\t 0 kB\n")
    assert tree.left == 3 * GIB + 512 * MIB  # what this process holds is its own


def test_more_used_than_allowed_leaves_nothing(tree):
    tree.write("proc/self/mountinfo", V2)
    tree.write("proc/self/cgroup", "0::/a\n")
    tree.group("sys/fs/cgroup/a", 2, 1 * GIB, used=2 * GIB)
    assert tree.left == 0


def test_version_1_and_its_number_for_no_limit(tree):
    tree.write("proc/self/mountinfo", V1)
    tree.write("proc/self/cgroup", "4:memory:/jobs/one\n3:cpuset:/\n")
    tree.group("sys/fs/cgroup/memory", 1, UNLIMITED_V1)
    tree.group("sys/fs/cgroup/memory/jobs", 1, UNLIMITED_V1)
    tree.group("sys/fs/cgroup/memory/jobs/one", 1, UNLIMITED_V1)
    assert tree.left == 12 * GIB
    tree.group("sys/fs/cgroup/memory/jobs", 1, 3 * GIB, used=2 * GIB, cache=1 * GIB)
    assert tree.left == 2 * GIB


def test_hybrid_reads_both(tree):
    tree.write("proc/self/mountinfo", V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"))
    tree.write("proc/self/cgroup", "4:memory:/one\n0::/two\n")
    tree.group("sys/fs/cgroup/memory/one", 1, 5 * GIB)
    tree.write("sys/fs/cgroup/unified/two/cgroup.procs", "1\n")
    assert tree.left == 5 * GIB
    tree.group("sys/fs/cgroup/unified/two", 2, 2 * GIB)
    assert tree.left == 2 * GIB


@pytest.mark.parametrize(
    ("inside", "path"),
    [
        ("/docker/abc", "/docker/abc"),  # the host's path, and a mount that shows the container's own group
        ("/", "/docker/abc"),  # the host's path, and nothing of it to be seen
        ("/", "/"),  # a name space of control groups
        ("/docker/abc", "/elsewhere"),
        ("/", "/../../outside"),
    ],
)
def test_a_container_sees_its_own_group_at_the_top(tree, inside, path):
    tree.write("proc/self/mountinfo", V1.replace(" / ", f" {inside} ", 1))
    tree.write("proc/self/cgroup", f"4:memory:{path}\n")
    tree.group("sys/fs/cgroup/memory", 1, 1 * GIB)
    tree.group("sys/fs/outside", 1, 1 * MIB)  # what `..` would reach
    assert tree.left == 1 * GIB


def test_a_group_below_the_containers_own(tree):
    tree.write("proc/self/mountinfo", V2.replace(" / ", " /docker/abc ", 1))
    tree.write("proc/self/cgroup", "0::/docker/abc/job\n")
    tree.group("sys/fs/cgroup", 2, 3 * GIB)
    tree.group("sys/fs/cgroup/job", 2, 2 * GIB)
    assert tree.left == 2 * GIB


def test_a_mount_point_with_a_space(tree):
    tree.write("proc/self/mountinfo", V2.replace("/sys/fs/cgroup", r"/sys/fs/control\040groups"))
    tree.write("proc/self/cgroup", "0::/\n")
    tree.group("sys/fs/control groups", 2, 2 * GIB)
    assert tree.left == 2 * GIB


def test_a_system_that_tells_nothing_asks_for_the_option(tmp_path):
    with pytest.raises(ConfigError, match="not known") as wrong:
        budget.of(None, tmp_path)
    assert "--memory" in wrong.value.fix
    assert budget.of("2GiB", tmp_path).bytes == 2 * GIB


def test_this_machine_leaves_something():
    assert 100 * MIB < budget.machine() < 1 << 50


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * GIB), ("500MB", 500 * 10**6), ("1.5G", 1_500_000_000), ("2 Ki", 2048), ("4096", 4096), ("12B", 12)],
)
def test_sizes(text, size):
    assert budget.of(text).bytes == size


@pytest.mark.parametrize("text", ["", "much", "8 GiX", "-1", "0", "1.5", "GB", "8gb"])
def test_what_is_no_size_is_an_error_that_shows_the_form(text):
    with pytest.raises(ConfigError) as wrong:
        budget.of(text)
    assert wrong.value.where == "--memory"
    assert "8GiB" in str(wrong.value.expected)
    assert wrong.value.exit_code == 2


@given(st.integers(1, 1 << 50), st.sampled_from([True, False, None]))
def test_sizes_are_spelled_as_they_are_read(size, up):
    again = budget.of(budget.spelled(size, up) if budget.spelled(size, up) != "0B" else "1B").bytes
    assert abs(again - size) <= max(size * 0.1, 1)
    assert up is not True or again >= size
    assert up is not False or again <= size


@given(st.integers(0, 100_000), st.integers(1, 1000), st.integers(0, 1000), st.integers(1, 64))
def test_workers_fit_and_one_more_would_not(total, memory, driver, wanted):
    count = budget.workers(total, memory, driver, wanted)
    assert 0 <= count <= wanted
    assert count == 0 or driver + count * memory <= total
    assert count == wanted or driver + (count + 1) * memory > total
    least = budget.needed(memory, driver)
    assert budget.workers(least, memory, driver, wanted) == 1
    assert budget.workers(least - 1, memory, driver, wanted) == 0


def test_the_refusal_names_what_would_do():
    error = budget.refusal("tokenize-web", 512 * 10**6, 1_234_567_890)
    assert "tokenize-web" in error.what
    assert error.seen == "512MB"
    assert "1.3GB" in str(error.expected)
    assert error.fix.startswith("--memory 1.4GB")  # a tenth more: the next plan takes a sample of its own
    assert error.exit_code == 2


# What a process has held


def held(do) -> int:
    budget.reset_peak()
    do()
    return budget.peak()


@pytest.mark.measures
def test_what_was_freed_again_counts():
    nothing = held(lambda: None)

    def briefly():
        array = np.ones(200 * MIB, np.uint8)
        del array

    assert held(briefly) - nothing == pytest.approx(200 * MIB, rel=0.1)
    assert held(lambda: None) < nothing + 50 * MIB  # and is forgotten


@pytest.mark.measures
def test_what_is_allocated_and_freed_under_the_lock_between_two_looks_counts():
    nothing = held(lambda: None)
    # A call that holds the interpreter's lock from the first byte to the last.
    assert held(lambda: b"x" * (150 * MIB) == b"") - nothing >= 140 * MIB


@pytest.mark.measures
def test_pages_of_a_mapped_file_do_not_count(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\1" * (256 * MIB))
    nothing = held(lambda: None)

    def read():
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            array = np.frombuffer(mapped, np.uint8)
            assert int(array[::4096].sum()) == 65536
            time.sleep(3 * budget.LOOK_EVERY)
            del array

    assert held(read) - nothing < 40 * MIB


@pytest.mark.measures
def test_memory_beside_a_mapped_file_counts(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\1" * (128 * MIB))
    nothing = held(lambda: None)

    def read():
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            array = np.frombuffer(mapped, np.uint8)
            copy = array.copy()
            time.sleep(3 * budget.LOOK_EVERY)  # so that one look sees both
            del array, copy

    assert held(read) - nothing == pytest.approx(128 * MIB, rel=0.3)


def test_without_the_system_it_is_unknown(monkeypatch):
    monkeypatch.setattr(budget, "_PROC", Path("proc/none"))
    assert held(lambda: None) == 0


# A control group of this machine


@pytest.mark.slow
def test_the_default_follows_the_control_group(control_group):
    group = control_group(600 * MIB)
    code = "from midtrain.pipelines import budget; f = budget.of(None); print(f.bytes, f.origin)"
    said = subprocess.run(
        ["sh", "-c", f'echo $$ > {group / "cgroup.procs"}; exec {sys.executable} -c "{code}"'],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    ).stdout
    size, _, origin = said.partition(" ")
    assert 0.6 * 600 * MIB < int(size) <= 0.8 * 600 * MIB
    assert "control group" in origin

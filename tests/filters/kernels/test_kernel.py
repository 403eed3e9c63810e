"""Compiled code is kept, and forgotten when a file is newer that may have been compiled into it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import midtrain
import numpy as np
import pytest
from midtrain.filters.kernels.kernel import fixed, forget_stale, inlined, leaf, view_leaf
from numba import njit

RUN = """
import numpy as np
from midtrain.filters.kernels import probe
print(int(probe.twice(np.int64(3))), sum(probe.twice.stats.cache_hits.values()))
"""
PROBE = """
from .kernel import kernel
from .probe_leaf import changed

@kernel
def twice(number):
    return changed(number)
"""
LEAF = """
from .kernel import leaf

@leaf
def changed(number):
    return number * {factor}
"""


def test_only_older_code_of_that_name_is_forgotten(tmp_path: Path) -> None:
    for name, time in (("a.f-1.nbi", 10), ("a.f-2.nbi", 30), ("a.g-1.nbi", 10), ("a.f-1.1.nbc", 10)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time, time))
    forget_stale(tmp_path, "a.f-", 20.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.f-1.1.nbc", "a.f-2.nbi", "a.g-1.nbi"]


@pytest.mark.slow
def test_an_edited_leaf_is_compiled_into_kernels_of_other_files(tmp_path: Path) -> None:
    root = tmp_path / "midtrain"
    package = Path(midtrain.__file__).parent
    shutil.copytree(package / "filters", root / "filters", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "errors.py", "config.py", "yaml_document.py"):
        shutil.copy(package / name, root / name)
    kernels = root / "filters" / "kernels"
    (kernels / "probe.py").write_text(PROBE)
    (kernels / "probe_leaf.py").write_text(LEAF.format(factor=2))

    def run() -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", RUN]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert run() == ["6", "0"]
    assert run() == ["6", "1"]
    (kernels / "probe_leaf.py").write_text(LEAF.format(factor=5))
    assert run() == ["15", "0"]
    assert run() == ["15", "1"]


@pytest.mark.parametrize("decorator", [leaf, view_leaf, inlined])
def test_a_leaf_is_for_kernels_alone(decorator: Callable[..., Any]) -> None:
    """It has no code for callers outside: Python would jump nowhere."""
    successor = decorator(lambda number: number + 1)
    for _ in range(2):  # before it is compiled, and behind
        with pytest.raises(TypeError, match="is called by kernels alone"):
            successor(3)
        assert njit(lambda number: 2 * successor(number))(3) == 8


def test_a_fixed_array_is_one_kind_and_the_callers_stays_as_it_is() -> None:
    owned = np.arange(6)
    for array in (owned, owned.view(np.memmap), owned[::2], fixed(owned)):
        view = fixed(array)
        assert type(view) is np.ndarray
        assert view.flags.c_contiguous
        assert not view.flags.writeable
        assert view.tolist() == array.tolist()
    assert np.shares_memory(fixed(owned), owned)
    assert owned.flags.writeable

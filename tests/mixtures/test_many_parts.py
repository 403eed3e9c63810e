"""Mixtures of a thousand parts and of very many: a fresh process opens either at once and reads its first sequences."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.errors import RunError
from midtrain.mixtures.built import Built

from tests.sizes import sized

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from midtrain.mixtures.built import Built
import orjson
started = time.process_time()
built = Built.open(sys.argv[1])
first = int(sys.argv[2]) % built.phases["only"].sequences
spans = [built.order.spans("only", first + place)[1] for place in range(8)]
told = {"seconds": time.process_time() - started, "tokens": sum(int(one["length"].sum()) for one in spans)}
print(orjson.dumps(told).decode())
"""


def helper() -> Any:
    """`benchmarks/many_parts.py`, which is no package."""
    spec: Any = importlib.util.spec_from_file_location("many_parts", ROOT / "benchmarks/many_parts.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(root: Path, first: int) -> dict[str, Any]:
    """What a fresh process takes to open a mixture and to find eight sequences, in processor time; page cache warm."""
    command = [sys.executable, "-c", PROGRAM, str(root), str(first)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return orjson.loads(said.stdout)


@pytest.mark.measures
def test_a_thousand_parts_open_at_once(tmp_path):
    """Of those all sizes are compared."""
    many = helper()
    many.parts_on_paper(tmp_path, 1_000, 10**10, 4096)
    with pytest.raises(RunError, match="shard missing"):
        Built.open(tmp_path)
    many.make_all_parts(tmp_path)
    opened(tmp_path, 0)  # numba's caches
    for first in (0, -8):
        told = opened(tmp_path, first)
        assert told["tokens"] > 7 * 4096
        assert told["seconds"] < 2.5  # half a second, most of it for numba's caches; three quarters where others work


@pytest.mark.measures
@pytest.mark.slow
def test_very_many_parts_open_as_a_thousand_do(tmp_path):
    """Ten trillion tokens, in CI a fifth of it: tables and order are whole, of the parts only those read lie there."""
    many = helper()
    parts = sized(1_000_000, 200_000)
    many.parts_on_paper(tmp_path, parts, parts * 10**7, 4096)
    length = Built.open(tmp_path).phases["only"].sequences
    assert length > 2_400 * parts
    many.make_parts(tmp_path, [(0, 8), (length - 8, length)])
    opened(tmp_path, 0)
    told = [opened(tmp_path, first) for first in (0, -8)]
    print(told)
    assert all(one["tokens"] > 7 * 4096 for one in told)
    assert max(one["seconds"] for one in told) < 2.5
    with pytest.raises(RunError, match="shard missing"):
        Built.open(tmp_path).order.spans("only", length // 2)

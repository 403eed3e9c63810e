"""The exchange of ten times the memory there is: page cache comes and goes, what is held stays small."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

CAP = 400 << 20  # bytes that the control group allows, page cache and all
TASKS, ROWS = 64, 16_000  # of 4 KiB: 62.5 MiB a task, 4 GB in all
PROGRAM = Path(__file__).parent / "exchange_stages.py"


def oom_kills(group: Path) -> int:
    """How often the system killed a process of the group for its memory."""
    path = next(group / name for name in ("memory.events", "memory.oom_control") if (group / name).exists())
    return {key: int(value) for key, value in map(str.split, path.read_text().splitlines())}["oom_kill"]


def exchanged(folder: Path, tasks: int, rows: int, group: Path | None = None):
    """What the program tells, in a control group where there is one."""
    join = f"echo $$ > {group / 'cgroup.procs'} && " if group else ""
    command = f'{join}exec "{sys.executable}" "{PROGRAM}" "{folder}" {tasks} {rows}'
    environment = {**os.environ, "PYTHONPATH": f"{PROGRAM.parent}:{os.environ.get('PYTHONPATH', '')}"}
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert said.returncode == 0, f"{said.returncode}: {said.stderr}"
    return orjson.loads(said.stdout)


def test_what_is_scattered_is_gathered(tmp_path):
    told = exchanged(tmp_path, 3, 300)
    assert told["read"] == told["written"]
    assert told["read"]["documents"] == 900


@pytest.mark.slow
@pytest.mark.measures
def test_ten_times_the_memory_goes_through(tmp_path, control_group):
    if shutil.disk_usage(tmp_path).free < 12 * CAP:
        pytest.skip("no room for the exchange")
    group = control_group(CAP)
    told = exchanged(tmp_path, TASKS, ROWS, group)
    shutil.rmtree(tmp_path, ignore_errors=True)
    assert told["bytes"] > 9.9 * CAP
    assert told["read"] == told["written"]
    assert told["read"]["documents"] == TASKS * ROWS
    assert oom_kills(group) == 0
    print(told)
    assert told["peak"] < CAP
    # A task's rows, and the same grouped by partition, beside the libraries; nothing grows with the whole.
    assert told["peak"] < 130 * (1 << 20) + 2.2 * 4096 * ROWS

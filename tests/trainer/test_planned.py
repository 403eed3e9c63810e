"""A run against its shards before torch is loaded: the table, and errors that name the line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from midtrain.config import load
from midtrain.errors import ConfigError
from midtrain.trainer import planned
from midtrain.trainer.run import RunConfig

RUN = """\
name: tiny
output: {root}/run
shards: {root}/shards
model: zaya-tiny
phases:
  - {{phase: first, batch_tokens: 512, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}}}}
  - {{phase: second, batch_tokens: 512, steps: 3, schedule: {{name: constant}}, rope_theta: 1e6}}
"""


def plan(built_workshop: Any, tmp_path: Path, second: str = "second") -> Any:
    (tmp_path / "run.yaml").write_text(
        RUN.format(root=built_workshop.root).replace("phase: second", f"phase: {second}")
    )
    return planned.table(planned.phases(load(tmp_path / "run.yaml", RunConfig)))


def test_a_plan_shows_the_phases_against_the_shards(built_workshop: Any, tmp_path: Path) -> None:
    table = plan(built_workshop, tmp_path)
    first, second = table.data["phases"]
    assert first["phase"] == "first"
    assert first["steps"] == -(-first["sequences"] // 4)
    assert second == {"phase": "second", "steps": 3, "sequences": 6, "batch_tokens": 512}
    cells = [line.split() for line in table.text.splitlines()]
    assert cells[1] == ["first", str(first["steps"]), str(first["sequences"]), "128", "512", "10000"]
    assert cells[2] == ["second", "3", "6", "256", "512", "1e+06"]


def test_a_plan_that_does_not_fit_names_the_line(built_workshop: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml:7: phases\.1\.phase: the shards have no such phase"):
        plan(built_workshop, tmp_path, "third")


def test_shards_that_are_not_there_name_the_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN.format(root=tmp_path))
    with pytest.raises(ConfigError, match=r"run\.yaml:3: shards: there are no built shards") as caught:
        planned.phases(load(tmp_path / "run.yaml", RunConfig))
    assert caught.value.fix == "run midtrain build first"


def test_a_plan_loads_no_torch() -> None:
    look = "import sys, midtrain.trainer.planned; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0

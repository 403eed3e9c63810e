"""What the demo's commands said, kept together for its claims and its report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from .. import storage

TEXT_SOURCES = ("topics", "docstrings", "readmes")
MIXTURE_SOURCES = ("text", "facts", "short", "worked", "twins")
SOLVED_SHOWN = 3
SMOOTHING = 0.1  # weight of the newest loss in the curves' running mean

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class Results:
    """What the demo's commands printed, and the loss curves."""

    curated: dict[str, Any]
    built: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    control: dict[str, Any]
    curves: dict[str, Curve]

    @property
    def evaluations(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Before midtraining, after it, the control."""
        return self.before, self.after, self.control

    @property
    def solved(self) -> list[dict[str, Any]]:
        """The first solved problems of the midtrained model, families in turn."""
        right = [[example for example in task["examples"] if example["correct"]] for task in self.after["tasks"]]
        mixed = [family[i] for i in range(max(map(len, right), default=0)) for family in right if i < len(family)]
        return mixed[:SOLVED_SHOWN]


def losses(run: Path) -> Curve:
    """Step and loss of a run, smoothed; from its metrics.jsonl."""
    curve: Curve = []
    mean: float | None = None
    for line in storage.read_bytes(run / "metrics.jsonl").splitlines():
        row = orjson.loads(line)
        if row["kind"] == "step":
            mean = row["loss"] if mean is None else mean + SMOOTHING * (row["loss"] - mean)
            curve.append((int(row["step"]), float(mean)))
    return curve

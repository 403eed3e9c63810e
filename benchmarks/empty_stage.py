"""A stage whose tasks do nothing; a module of its own, so that workers, also Ray's, can import it."""

from dataclasses import dataclass
from typing import Any

from midtrain.pipelines.stage import Stage, TaskResult


@dataclass(frozen=True)
class Empty(Stage):
    """So many tasks, each of which leaves its marker and nothing else."""

    count: int
    label: str = "empty"

    @property
    def name(self) -> str:
        return self.label

    def options(self) -> dict[str, Any]:
        return {"count": self.count}

    def tasks(self) -> int:
        return self.count

    def run(self, task: int) -> TaskResult:
        return TaskResult((), {"documents": 0})

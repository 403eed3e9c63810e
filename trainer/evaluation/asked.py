"""The benchmarks that one `midtrain eval` asks: read and checked before the model is, their replies kept as they come.

An evaluation may take hours, so all that can be wrong with files, options and sandbox is found before the first reply,
and what was replied to one benchmark is on the disk before the next begins. Costs one read of every file.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ConfigError
from . import benchmark_score, benchmarks, verdicts
from .benchmark_score import BenchmarkScore, Manner
from .benchmarks import Benchmark
from .verdicts import Sample

if TYPE_CHECKING:
    from ..trained import Trained


@dataclass(frozen=True)
class Asked:
    """Benchmarks, and the file that their replies are written to, in place of another or not."""

    benchmarks: tuple[Benchmark, ...]
    output: str | None
    overwrite: bool = False

    @classmethod
    def read(cls, named: Sequence[str], samples: int | None, output: str | None, overwrite: bool) -> "Asked":
        """Reads benchmarks named as `NAME=FILE`.

        Raises:
            ConfigError: a name without a file, or given twice; a file that is not there or of no known form; an output
                that is there, or that nothing would be written to.
        """
        pairs = [one.partition("=") for one in named]
        names = [name for name, _, _ in pairs]
        for one, (name, _, path) in zip(named, pairs, strict=True):
            if not name or not path:
                raise ConfigError(
                    "a benchmark needs a name and a file", where="--benchmark", seen=one, expected="humaneval=FILE"
                )
            if names.count(name) > 1:
                raise ConfigError("a benchmark's name stands twice", where="--benchmark", seen=name)
        if output is not None and not named:
            raise ConfigError("there is nothing to write", where="--output", fix="name a --benchmark, or leave it out")
        if output is not None and Path(output).exists() and not overwrite:
            raise ConfigError("the file is there already", where=output, fix="--overwrite to replace it")
        return cls(tuple(benchmarks.read(name, path, samples) for name, _, path in pairs), output, overwrite)

    def check(self, trained: "Trained", manner: Manner) -> None:
        """Whether all of them can be asked here; raises as `benchmark_score.check`."""
        for benchmark in self.benchmarks:
            benchmark_score.check(benchmark, trained.tokenizer, trained.manner(manner))

    def scores(self, trained: "Trained", manner: Manner) -> list[BenchmarkScore]:
        """Asks them one after the other, in the template of the model's shards.

        Raises:
            ConfigError, RunError: as `benchmark_score.score`.
        """
        found: list[BenchmarkScore] = []
        samples: list[Sample] = []
        place: Path | None = None
        for benchmark in self.benchmarks:
            found.append(trained.benchmark(benchmark, manner))
            samples += found[-1].samples
            if self.output is not None:
                place = place or self._place(Path(self.output))
                verdicts.write(place, samples)
        return found

    def _place(self, wanted: Path) -> Path:
        """The file to write, taken; a name beside it where another evaluation has written that one meanwhile."""
        place, number = wanted, 1
        while not (_taken(place) or self.overwrite):
            number += 1
            place = wanted.with_stem(f"{wanted.stem}-{number}")
        if place != wanted:
            print(f"{wanted} was written meanwhile, so these replies are in {place}", file=sys.stderr)
        return place


def _taken(path: Path) -> bool:
    """Whether the file was not there, and is ours now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True

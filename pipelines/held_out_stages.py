"""Held-out documents, chosen before anything is tokenized, so that no tokenizer is trained on them either.

Two stages: each part gives the keys of its selected documents, one task takes the smallest of each source and unites
them, since what is held out in one source is held out in all. Costs 8 bytes a document of the sources that hold out.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import storage
from ..errors import ConfigError
from ..manifest import OutputFile
from ..mixtures import held_out
from ..mixtures.schema import MixtureSource
from . import footprints
from .curated import Selection
from .stage import LocalStage, Stage, TaskResult


def batch_keys(seed: int, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """uint64[n]: the held-out key of each document of a batch that has `id` and `messages`."""
    return held_out.keys(seed, batch.column("id").to_pylist(), batch.column("messages").to_pylist())


@dataclass(frozen=True)
class HeldOutKeys(LocalStage):
    """The keys of every document of the sources that hold some out; one task a part."""

    scratch: ClassVar[bool] = True
    seed: int
    selections: tuple[Selection, ...]

    @property
    def name(self) -> str:
        """`held-out-keys`."""
        return "held-out-keys"

    def options(self) -> dict[str, Any]:
        """The seed and the selections; where nothing is held out the seed chooses nothing."""
        seed = self.seed if self.selections else None
        return {"seed": seed, "selections": [one.record() for one in self.selections]}

    @cached_property
    def work(self) -> list[tuple[int, int]]:
        """Each task's selection and part."""
        return [(number, part) for number, one in enumerate(self.selections) for part in range(len(one.parts))]

    def memory(self) -> int:
        """As `footprints.held_out_keys`; messages are read only where there are some."""
        text, rows = max((one.largest for one in self.selections), default=(0, 0))
        return footprints.held_out_keys(text, rows, any(one.source.template is not None for one in self.selections))

    def tasks(self) -> int:
        """One a part of each selection."""
        return len(self.work)

    def run(self, task: int) -> TaskResult:
        """Hashes the documents of a part."""
        number, part = self.work[task]
        found = [batch_keys(self.seed, batch) for batch in self.selections[number].read(part, ["id", "messages"])]
        keys = np.concatenate(found) if found else np.empty(0, np.uint64)
        name = f"keys-{task:05d}.u64"
        with storage.atomic_write(self.folder / name) as stream:
            stream.write(keys.astype("<u8").tobytes())
        return TaskResult((OutputFile.of(self.folder, name, len(keys)),), {"documents": len(keys)})


@dataclass(frozen=True)
class HeldOut(LocalStage):
    """The keys of all documents that are held out, sorted, in one file."""

    keys: HeldOutKeys

    @property
    def name(self) -> str:
        """`held-out`."""
        return "held-out"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The keys to choose from."""
        return (self.keys,)

    def options(self) -> dict[str, Any]:
        """How much of each source."""
        return {"held_out": [one.source.held_out for one in self.keys.selections]}

    def memory(self) -> int:
        """As `footprints.held_out`, of all keys."""
        return footprints.held_out(int(self.keys.finished().counts.get("documents", 0)))

    def tasks(self) -> int:
        """One: the choice needs all keys of a source."""
        return 1

    def run(self, task: int) -> TaskResult:
        """Takes the smallest keys of each source.

        Raises:
            ConfigError: the share of a source is less than half a document.
        """
        files = self.keys.finished().files
        chosen = [np.empty(0, np.uint64)]
        for number, selection in enumerate(self.keys.selections):
            own = [file for file, (owner, _) in zip(files, self.keys.work, strict=True) if owner == number]
            found = np.concatenate([np.fromfile(self.keys.folder / file.path, "<u8") for file in own])
            smallest = held_out.smallest(found.astype(np.uint64), selection.source.held_out)
            if len(found) and not len(smallest):
                raise _nothing(selection.source, len(found))
            chosen.append(smallest)
        union = np.unique(np.concatenate(chosen))
        with storage.atomic_write(self.folder / "keys.u64") as stream:
            stream.write(union.astype("<u8").tobytes())
        return TaskResult((OutputFile.of(self.folder, "keys.u64", len(union)),), {"keys": len(union)})

    @cached_property
    def chosen(self) -> npt.NDArray[np.uint64]:
        """The sorted keys, once the stage is done."""
        return np.fromfile(self.folder / self.finished().files[0].path, "<u8").astype(np.uint64)

    def contains(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """bool[n]: which documents of a batch (with `id` and `messages`) are held out."""
        if len(self.chosen) == 0:
            return np.zeros(batch.num_rows, np.bool_)
        return np.isin(batch_keys(self.keys.seed, batch), self.chosen)


def _nothing(source: MixtureSource, documents: int) -> ConfigError:
    return ConfigError(
        "nothing would be held out: the share is less than half a document",
        where=f"source {source.name}, held_out",
        seen=f"{source.held_out:.4g} of {documents:,} documents",
        expected="at least one document",
        fix="a larger share, or a number of documents such as held_out: 10; 0 holds nothing out",
    )

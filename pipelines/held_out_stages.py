"""Held-out documents, chosen before anything is tokenized, so that no tokenizer is trained on them either.

Two stages: each part gives the keys of its selected documents, one task takes the smallest of each source and unites
them, since what is held out in one source is held out in all. Costs 8 bytes a document of the sources that hold out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .. import storage
from ..errors import ConfigError
from ..manifest import OutputFile, canonical
from ..mixtures import held_out
from ..mixtures.schema import MixtureSource
from . import footprints
from .curated import Selection
from .existing_tokens import TokenSelection
from .stage import LocalStage, Stage, TaskResult


def batch_keys(seed: int, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
    """uint64[n]: the held-out key of each document of a batch that has `id` and `messages`."""
    return held_out.keys(seed, batch.column("id").to_pylist(), batch.column("messages").to_pylist())


def holding(selections: Iterable[Selection | TokenSelection]) -> tuple[Selection | TokenSelection, ...]:
    """Those that hold documents out, in an order that neither their names nor their places in the mixture change."""
    chosen = (one for one in selections if one.source.held_out)
    return tuple(sorted(chosen, key=lambda one: canonical([one.record(), one.source.held_out])))


@dataclass(frozen=True)
class HeldOutKeys(LocalStage):
    """The keys of every document of the sources that hold some out; one task a part."""

    scratch: ClassVar[bool] = True
    seed: int
    selections: tuple[Selection | TokenSelection, ...]

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
        """As `footprints.held_out_keys`, of whose documents messages are read where there are some; of tokens, whose
        ids are their hashes, as `footprints.reading_tokens`."""
        return max(map(_memory, self.selections), default=footprints.held_out_keys(0, 0, False))

    def tasks(self) -> int:
        """One a part of each selection."""
        return len(self.work)

    def file_name(self, task: int) -> str:
        """The file of a task's keys, below the folder: sorted as text these are not in the order of the tasks."""
        return f"keys-{task:05d}.u64"

    def run(self, task: int) -> TaskResult:
        """Hashes the documents of a part."""
        number, part = self.work[task]
        found = [batch_keys(self.seed, batch) for batch in self.selections[number].read(part, ["id", "messages"])]
        keys = np.concatenate(found) if found else np.empty(0, np.uint64)
        name = self.file_name(task)
        with storage.atomic_write(self.folder / name) as stream:
            stream.write(keys.astype("<u8").tobytes())
        return TaskResult((OutputFile.of(self.folder, name, len(keys)),), {"documents": len(keys)})


def _memory(selection: Selection | TokenSelection) -> int:
    if isinstance(selection, TokenSelection):
        return footprints.reading_tokens(*selection.largest)
    return footprints.held_out_keys(*selection.largest, selection.source.template is not None)


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
        """How much of what is selected; what the keys depend on too, since they are gone when the build is done."""
        chosen = [{**one.record(), "held_out": one.source.held_out} for one in self.keys.selections]
        return {"seed": self.keys.options()["seed"], "selections": chosen}

    def memory(self) -> int:
        """As `footprints.held_out`, of all keys."""
        documents = self.keys.finished().counts["documents"] if self.keys.selections else 0
        return footprints.held_out(int(documents))

    def tasks(self) -> int:
        """One: the choice needs all keys of a source."""
        return 1

    def run(self, task: int) -> TaskResult:
        """Takes the smallest keys of each source.

        Raises:
            ConfigError: the share of a source is less than half a document.
        """
        chosen = [np.empty(0, np.uint64)]
        for number, selection in enumerate(self.keys.selections):
            own = [self.keys.file_name(task) for task, (owner, _) in enumerate(self.keys.work) if owner == number]
            found = np.concatenate([np.fromfile(self.keys.folder / name, "<u8") for name in own])
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
        keys = batch_keys(self.keys.seed, batch)
        return np.asarray(self.chosen.take(np.searchsorted(self.chosen, keys), mode="clip") == keys)


def _nothing(source: MixtureSource, documents: int) -> ConfigError:
    return ConfigError(
        "nothing would be held out: the share is less than half a document",
        where=f"source {source.name}, held_out",
        seen=f"{source.held_out:.4g} of {documents:,} documents",
        expected="at least one document",
        fix="a larger share, or a number of documents such as held_out: 10; 0 holds nothing out",
    )

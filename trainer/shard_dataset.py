"""The batches of a phase as an IterableDataset: those that a rank reads, from any sequence on.

All that going on needs is one integer, the place of the next sequence, because the order is a pure function of it: no
worker, rank or micro-batch has a state. Costs one batch in memory.
"""

import operator
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch.utils.data import IterableDataset, get_worker_info

from ..errors import ConfigError, MidtrainError, RunError
from ..mixtures.windows import Share
from .batch import Batch, Sequences, to_batch, unsupervised
from .run import PhaseOfShards

State = dict[str, int]


class Mixture(Protocol):
    """What training asks of a built mixture (`mixtures.built.Built` is one)."""

    @property
    def root(self) -> Path: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def tokenizer_hash(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def phases(self) -> Mapping[str, PhaseOfShards]: ...
    def extends(self, shards: str, phase: str, sequences: int) -> bool: ...
    def batches(
        self, phase: str, first: int, sequences: int, *, stop: int | None = None, share: Share = ...
    ) -> Iterator[Sequences]: ...


class ShardDataset(IterableDataset[Batch]):
    """The batches of a phase that a rank reads, from the sequence that the state names to the end.

    Going through it moves the state; going through it again goes on from there. In a worker process of a DataLoader,
    the state is of that worker, and fits a loader with as many workers.

    Args:
        mixture: the built shards; pickled, it is opened anew where it arrives.
        phase: name of the phase.
        sequences: of a step's batch, all ranks together; the last may have fewer.
        first: place of the first sequence.
        end: place behind the last one, the phase's end by default.
        rank: which ranks' rows are read.
        world_size: how many ranks there are.
        digest: whether batches carry the digest of their arrays.

    Raises:
        ConfigError: there is no such phase, rank, or place.
    """

    def __init__(
        self,
        mixture: Mixture,
        phase: str,
        sequences: int,
        *,
        first: int = 0,
        end: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        digest: bool = False,
    ) -> None:
        if phase not in mixture.phases:
            known = ", ".join(mixture.phases)
            raise ConfigError(f"no phase is called {phase}", where=str(mixture.root), expected=known)
        numbers = [_whole(number) for number in (sequences, rank, world_size)]
        if None in numbers or sequences < 1 or not 0 <= rank < world_size:
            raise ConfigError(
                "there is no such part of a batch",
                where=f"{mixture.root}, phase {phase}",
                seen=f"rank {rank!r} of {world_size!r}, batches of {sequences!r} sequences",
                expected="whole numbers: a rank from 0 to world_size - 1, and at least one sequence",
            )
        self.mixture = mixture
        self.phase = phase
        self.sequences = sequences
        self.end = mixture.phases[phase].sequences if end is None else end
        self.rank = rank
        self.world_size = world_size
        self.digest = digest
        self.carries_errors = False  # out of a worker as a value, which a DataLoader does not wrap in its own
        self._sequence = 0
        self.load_state_dict({"sequence": first})

    def __len__(self) -> int:
        """How many batches are left."""
        return -(-(self.end - self._sequence) // self.sequences)

    def state_dict(self) -> State:
        """Where to go on: `{"sequence": place}`, behind the batch that was handed out last."""
        return {"sequence": self._sequence}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on at a place of the phase, whatever ranks, workers and batches the state was saved with.

        Raises:
            ConfigError: the state is not one, or lies outside the phase.
        """
        given = state.get("sequence") if isinstance(state, Mapping) else state
        place = _whole(given)
        phase_end = self.mixture.phases[self.phase].sequences
        if place is None or not 0 <= place <= self.end <= phase_end:
            raise ConfigError(
                "there is no such place in the phase",
                where=f"{self.mixture.root}, phase {self.phase}",
                seen=f"from {given!r} to {self.end}",
                expected=f"a whole number from 0, to at most {phase_end}",
            )
        self._sequence = place

    def __iter__(self) -> Generator[Batch, None, None]:
        """The batches, from the state on.

        Raises:
            RunError: the shards are damaged, or not one token of a batch of one rank is trained.
        """
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            yield from self._batches(Share(self.rank, self.world_size, number, workers))
        except MidtrainError as error:
            if worker is None or not self.carries_errors:
                raise
            yield Failed(error)  # type: ignore[misc]

    def _batches(self, share: Share) -> Iterator[Batch]:
        base = self._sequence
        rows = self.mixture.batches(self.phase, base, self.sequences, stop=self.end, share=share)
        round_of_all = self.sequences * share.workers
        for number, read in enumerate(rows):
            start = base + number * round_of_all + share.worker * self.sequences
            batch = to_batch(read, self.digest)
            self._check(batch, start)
            self._sequence = min(base + (number + 1) * round_of_all, self.end)
            yield batch

    def _check(self, batch: Batch, start: int) -> None:
        size = min(self.sequences, self.end - start)
        first, stop = (start + (self.rank + more) * size // self.world_size for more in (0, 1))
        if (batch.first_index, len(batch)) != (first, stop - first):
            raise RunError(
                "the shards gave other sequences than were asked for",
                where=f"{self.mixture.root}, phase {self.phase}",
                seen=f"{len(batch)} from {batch.first_index}",
                expected=f"{stop - first} from {first}",
            )
        if batch.supervised == 0 and self.world_size == 1:
            raise unsupervised(self.phase, first, stop - first)


@dataclass(frozen=True)
class Failed:
    """An error on its way out of a worker process."""

    error: MidtrainError


def _whole(value: object) -> int | None:
    """A whole number of whatever type; None of anything else."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    return operator.index(value)  # type: ignore[arg-type]

"""The torch face of the shards: batches of a phase, from any sequence on, in the one order there is.

All that a resumed run needs is one integer, the place of the next sequence, because the order is a pure function of it:
no worker, rank or micro-batch has a state, and a run may go on with other numbers of them. Costs the batches that are
read ahead in memory, and one thread, or as many processes as are asked for.

A step's batch is `sequences` consecutive places of the phase; rank r of R reads those from r·n/R to (r + 1)·n/R, and
worker w of W reads the batches w, w + W, …, which the DataLoader hands out in turn, so they come in order.

Another trainer uses it so, here on rank 3 of 8:

    from midtrain.mixtures.built import Built
    from midtrain.trainer.loader import loader

    read = loader(Built.open("out/shards"), "pretrain", sequences=256, rank=3, world_size=8, workers=2)
    read.load_state_dict({"sequence": 51_200})            # from a checkpoint; every rank has the same
    for batch in read:                                    # 32 rows: the places 51,200 + 96 to 51,200 + 127
        logits_BTV = model(batch.tokens_BT.cuda(), batch.positions_BT.cuda(), batch.segments_BT.cuda())
        loss = F.cross_entropy(logits_BTV.flatten(0, 1), batch.targets_BT.cuda().flatten(), reduction="sum")
        (loss / supervised_of_all_ranks).backward()
        checkpoint["data"] = read.state_dict()            # {"sequence": 51_456}

`ShardDataset` alone is an IterableDataset for a DataLoader of one's own, with `batch_size=None`.
"""

import sys
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import torch
from torch.utils.data import DataLoader

from ..errors import ConfigError, RunError
from .batch import Batch
from .shard_dataset import Failed, Mixture, ShardDataset, State


class ShardLoader(DataLoader[Batch]):
    """A DataLoader over a `ShardDataset` whose state is that of what was handed out, not of what was read ahead."""

    def __init__(
        self,
        dataset: ShardDataset,
        *,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
        context: Literal["fork", "spawn", "forkserver"] | None = None,
    ) -> None:
        if workers < 0 or prefetch < 0:
            raise ConfigError(
                "there are no fewer than no workers or batches", seen=f"workers {workers}, prefetch {prefetch}"
            )
        super().__init__(
            dataset,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=max(prefetch, 1) if workers else None,
            pin_memory=pin_memory,
            multiprocessing_context=context if workers else None,
        )
        dataset.carries_errors = True
        self._shards = dataset
        self._ahead = 0 if workers else prefetch
        self._sequence = dataset.state_dict()["sequence"]
        self._turn = 0  # which going through the loader has its state
        self._reading: Generator[Batch, None, None] | None = None  # what it reads ahead with

    def __len__(self) -> int:
        """How many batches are left."""
        return -(-(self._shards.end - self._sequence) // self._shards.sequences)

    def state_dict(self) -> State:
        """`{"sequence": place}`, behind the batch that was handed out last; the same on all ranks."""
        return {"sequence": self._sequence}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """As `ShardDataset.load_state_dict`, for the next iterator; one that is in use ends with an error."""
        self._turn += 1
        if self._reading is not None:
            self._reading.close()  # its thread would move the dataset's state on
            self._reading = None
        self._shards.load_state_dict(state)
        self._sequence = self._shards.state_dict()["sequence"]

    def __iter__(self) -> Generator[Batch, None, None]:  # type: ignore[override]
        """The batches in order.

        Raises:
            RunError: as the dataset, or a worker process died; the state was set, or another iterator begun, meanwhile.
        """
        self.load_state_dict(self.state_dict())
        turn = self._turn
        read: Iterator[Any] = super().__iter__()
        if self._ahead:
            read = self._reading = read_ahead(read, self._ahead)
        failed: Exception | None = None
        try:
            for batch in read:
                if turn != self._turn:
                    raise self._overtaken()
                if isinstance(batch, Failed):
                    raise batch.error
                self._sequence = min(self._sequence + self._shards.sequences, self._shards.end)
                yield batch
            if turn != self._turn:
                raise self._overtaken()
        except RuntimeError as error:
            failed = self._died(error)
        finally:
            if isinstance(read, Generator):
                read.close()
        if failed is not None:
            # Nothing may hold torch's iterator: while it lives, each child that ends raises the same error again.
            del read
            raise failed

    def _overtaken(self) -> RunError:
        return RunError(
            "the loader's state was set, or another iterator begun, while this one is in use: both would move it",
            where=f"{self._shards.mixture.root}, phase {self._shards.phase}",
            fix="take a new iterator of the loader; two at once need two loaders",
        )

    def _died(self, error: RuntimeError) -> Exception:
        """torch tells the death of a worker, and nothing else of ours, as a RuntimeError that begins so."""
        if not str(error).startswith("DataLoader worker"):
            return error
        return RunError(
            "a process that read the shards ended before its work did",
            where=f"{self._shards.mixture.root}, phase {self._shards.phase}",
            seen=str(error).splitlines()[0],
            fix=f"more memory or fewer workers; nothing is lost: go on at sequence {self._sequence}",
        )


def loader(
    mixture: Mixture,
    phase: str,
    sequences: int,
    *,
    first: int = 0,
    end: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    prefetch: int = 2,
    pin_memory: bool | None = None,
    context: Literal["fork", "spawn", "forkserver"] | None = None,
) -> ShardLoader:
    """A DataLoader of a phase's batches.

    Args:
        mixture: the built shards.
        phase: name of the phase.
        sequences: of a step's batch, all ranks together; the last may have fewer.
        first: place of the first sequence.
        end: place behind the last one, the phase's end by default.
        rank: whose rows are read; of a last batch that is shorter than the ranks are many, it may have none.
        world_size: how many ranks there are.
        workers: processes that read; 0 reads in a thread, which is enough where a step takes milliseconds.
        prefetch: batches that are read ahead, by each worker.
        pin_memory: whether batches lie in memory that a GPU reads by itself; where there is CUDA by default.
        context: how workers are started, torch's way by default.

    Raises:
        ConfigError: there is no such phase, rank, or place.
    """
    dataset = ShardDataset(mixture, phase, sequences, first=first, end=end, rank=rank, world_size=world_size)
    pinned = torch.cuda.is_available() if pin_memory is None else pin_memory
    return ShardLoader(dataset, workers=workers, prefetch=prefetch, pin_memory=pinned, context=context)


def batches(
    built: Mixture,
    phase: str,
    first_index: int,
    batch_sequences: int,
    *,
    end: int | None = None,
    device: torch.device | None = None,
) -> Generator[Batch, None, None]:
    """The phase's batches from a sequence on, with digests; the next one is read while the last is used.

    Args:
        built: the shards.
        phase: name of the phase.
        first_index: index of the first sequence in the phase's order; the loader's whole state.
        batch_sequences: sequences a batch; the last may have fewer.
        end: index after the last sequence, that of the phase's end by default.
        device: where the tensors go, the CPU by default.

    Raises:
        RunError: as `ShardDataset`.
    """
    place = device or torch.device("cpu")
    dataset = ShardDataset(built, phase, batch_sequences, first=first_index, end=end, digest=True)
    read = (batch.pin_memory() if place.type == "cuda" else batch for batch in dataset)
    ahead = read_ahead(read, 1)
    try:
        for batch in ahead:
            yield batch.to(place)
    finally:
        ahead.close()


def read_ahead(read: Iterator[Batch], depth: int) -> Generator[Batch, None, None]:
    """What an iterator gives, taken from it by a thread, up to `depth` items before they are asked for."""
    pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader")
    interpreter_ends = sys.is_finalizing  # kept: module names are gone by then
    try:
        ahead = deque(pool.submit(next, read, None) for _ in range(depth))
        while (batch := ahead.popleft().result()) is not None:
            ahead.append(pool.submit(next, read, None))
            yield batch
    finally:
        if not interpreter_ends():
            pool.shutdown(wait=True, cancel_futures=True)

"""Which sequences a person means: some of a phase, or a step's batch, of shards or of a run.

A batch has a size only where one is trained, so a step of shards needs it said, and a step of a run does not. Costs a
look at the run's record.
"""

from dataclasses import dataclass

from ..config import parse_count
from ..errors import ConfigError
from ..mixtures.built import Built
from ..mixtures.lineage import check_places, rank_places
from . import seen


@dataclass(frozen=True)
class Which:
    """`count` sequences of a phase from `first` on."""

    built: Built
    phase: str
    first: int
    count: int


def of_run(run: str, shards: str | None, step: int | None, rank: int, world_size: int) -> Which:
    """The batch of a step of a run.

    Raises:
        ConfigError: no step was given, or the run has none such; or it has no such rank.
        RunError: a record was cut or altered.
    """
    if step is None:
        raise ConfigError("of a run, a step is looked at", where=run, fix="--step N, or name its shards instead")
    record = seen.open_run(run, shards)
    stretch = record.stretch(step)
    return _share(record.built, stretch.phase, stretch.batch(step), rank, world_size)


def of_step(shards: str, phase: str | None, step: int, batch_tokens: str | None, rank: int, world_size: int) -> Which:
    """The batch that a step of a phase would have; steps count from 1.

    Raises:
        ConfigError: there is no such phase, step or rank, or no such batch.
        RunError: a file was cut or altered.
    """
    built = Built.open(shards)
    name = _phase(built, phase)
    length, sequences = built.phases[name].sequence_length, built.phases[name].sequences
    if batch_tokens is None:
        fix = f"--batch-tokens N, a multiple of {length:,}; or name a run, which knows its own"
        raise ConfigError("a step is so many tokens, and nothing says how many", where=shards, fix=fix)
    try:
        tokens = parse_count(batch_tokens)
    except ValueError:
        tokens = None
    if not isinstance(tokens, int) or tokens < 1 or tokens % length:
        expected = f"a multiple of the phase's sequence_length, {length:,}"
        raise ConfigError("--batch-tokens is no size of a batch", seen=batch_tokens, expected=expected)
    batch = tokens // length
    last = -(-sequences // batch)
    if not 1 <= step <= last:
        raise ConfigError(f"the phase {name} has no such step", where=shards, seen=step, expected=f"from 1 to {last:,}")
    first = (step - 1) * batch
    return _share(built, name, (first, min(batch, sequences - first)), rank, world_size)


def of_phase(shards: str, phase: str | None, first: int, count: int) -> Which:
    """Sequences of a phase, the first one by default.

    Raises:
        ConfigError: there is no such phase or sequence.
        RunError: a file was cut or altered.
    """
    built = Built.open(shards)
    name = _phase(built, phase)
    check_places(built, name, first, count)
    return Which(built, name, first, count)


def _share(built: Built, phase: str, batch: tuple[int, int], rank: int, world_size: int) -> Which:
    """What one rank reads of a batch."""
    first, count = rank_places(*batch, rank, world_size)
    if not count:
        batch_of, expected = f"rank {rank} of {world_size}", f"at most {batch[1]} ranks"
        raise ConfigError(
            "the rank has no sequence of this batch", where=f"phase {phase}", seen=batch_of, expected=expected
        )
    return Which(built, phase, first, count)


def _phase(built: Built, phase: str | None) -> str:
    name = next(iter(built.phases)) if phase is None else phase
    if name not in built.phases:
        expected = ", ".join(built.phases)
        raise ConfigError("the shards have no such phase", where=str(built.root), seen=name, expected=expected)
    return name

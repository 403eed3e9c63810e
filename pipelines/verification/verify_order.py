"""The order of a built mixture against its quotas, its counts, its packs, and what chance would look like.

Resuming anywhere rests on the counts, and an epoch without repetition on each source's draws going on where the phase
before left them; so both are replayed. Costs a pass over the places of each phase.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import RunError
from ...mixtures import order_checks
from ...mixtures.order import Order
from ...mixtures.permutation import Draws, epoch_key
from ...mixtures.phases import PhaseOrder, PhaseRef, SourceEntry
from ...mixtures.shards import Shards
from ...mixtures.shuffle import Shuffle, measure
from .vouched import Problem, Vouched, repaired


@dataclass(frozen=True)
class PhaseRow:
    """A phase: the most that a source is from its share at any place, in sequences, and how well it is shuffled."""

    phase: str
    sequences: int
    sources: int
    segments: int
    gap: float
    shuffle: Shuffle | None  # None for a phase of less than two batches


@dataclass
class _Cursor:
    """Where a source stands behind a phase."""

    length: int
    indexes: tuple[str | None, str | None]
    draws: Draws
    drawn: int


def check(
    found: Vouched, refs: Sequence[PhaseRef], shards: Mapping[str, Shards], problems: list[Problem]
) -> list[PhaseRow]:
    """Replays each phase.

    Args:
        found: the output; the files of the order are as they were written.
        refs: the phases, in the order in which they are trained.
        shards: by source.
        problems: gets what is wrong.
    """
    rows = []
    cursors: dict[str, _Cursor] = {}
    for ref in refs:
        try:
            order = PhaseOrder.open(Path(str(found.root)), ref)
            replayed = order_checks.replayed(order)
        except RunError as error:
            _add(found, problems, f"{ref.order}.counts", str(error))
            continue
        if replayed.wrong_row >= 0:
            what = f"row {replayed.wrong_row:,} of the counts does not follow from the row before"
            _add(found, problems, f"{ref.order}.counts", what)
        if replayed.gap >= 1:
            _add(found, problems, f"{ref.order}.counts", f"a source is {replayed.gap:.2f} sequences from its share")
        for what in _draws(found, order, cursors):
            _add(found, problems, f"{ref.order}.json", what)
        shuffle = _shuffle(found, ref, shards)
        segments = len(order.starts) - 1
        rows.append(PhaseRow(ref.name, ref.sequences, len(order.sources), segments, replayed.gap, shuffle))
    return rows


def _shuffle(found: Vouched, ref: PhaseRef, shards: Mapping[str, Shards]) -> Shuffle | None:
    return measure(Order.open(Path(str(found.root)), [ref], shards.__getitem__), ref.name)


def _draws(found: Vouched, order: PhaseOrder, cursors: dict[str, _Cursor]) -> list[str]:
    """Whether every source goes on where it stood, and draws each sequence of an epoch once; moves the cursors."""
    wrong = []
    for number, entry in enumerate(order.entries):
        if not entry.quota:
            continue
        draws = order.draws[number]
        before = cursors.get(entry.name)
        indexes = tuple(order.indexes[pool.index] if pool else None for pool in (entry.rest, entry.full))
        wrong += _goes_on(found, order, entry, indexes, before)
        for epoch, _, size in draws.epochs(entry.first_draw, entry.quota):
            if not order_checks.permutes(draws.seed, draws.source, epoch, size):
                wrong.append(f"source {entry.name}: the draws of epoch {epoch} are no permutation")
        taken = entry.quota if order.sequences == order.planned else _taken(order, number)
        cursors[entry.name] = _Cursor(order.sequence_length, (indexes[0], indexes[1]), draws, entry.first_draw + taken)
    return wrong


def _taken(order: PhaseOrder, number: int) -> int:
    """How many sequences of a source stand before the place at which a phase was cut short."""
    row = order.row_of(order.sequences)
    if row >= len(order.counts):
        return int(order.quotas[number])
    sources, _ = order.replay_row(row)
    inside = sources[: order.sequences - order.row_bounds(row)[0]]
    return int(order.counts[row][number]) + int((inside == number).sum())


def _goes_on(
    found: Vouched,
    order: PhaseOrder,
    entry: SourceEntry,
    indexes: tuple[str | None, ...],
    before: _Cursor | None,
) -> list[str]:
    """A source that was drawn from before: the same indexes go on, a rest was made of what had been drawn."""
    name = f"source {entry.name}"
    if before is None or not before.drawn:
        return [] if entry.first_draw == 0 else [f"{name} begins at draw {entry.first_draw:,}"]
    if set(indexes) & set(before.indexes) - {None}:
        expected = before.drawn
        return [] if entry.first_draw == expected else [f"{name} goes on at {entry.first_draw:,}, not {expected:,}"]
    if entry.rest is None or indexes[0] is None:
        return []
    manifest = found.of(indexes[0])
    if manifest is None or entry.first_draw:
        return [f"{name} does not begin at the rest of its epoch"]
    epoch = before.draws.epoch(before.drawn - 1)
    full = before.drawn > before.draws.rest_size
    size = before.draws.full_size if full else before.draws.rest_size
    count = size + 1 - before.draws.left_in_epoch(before.drawn - 1)
    key = f"{epoch_key(order.draws[0].seed, entry.name, epoch):016x}"
    last = manifest.options["drawn"][-1]
    expected_last = [before.indexes[1] if full else before.indexes[0], key, count]
    return [] if last == expected_last else [f"{name}: the rest was made after {last}, not {expected_last}"]


def _add(found: Vouched, problems: list[Problem], path: str, what: str) -> None:
    problems.append(Problem(path, what, fix=repaired(found, path)))

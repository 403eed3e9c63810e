"""What `seen` prints of a step: its pieces as a table, and the same as data."""

from ..mixtures.lineage_text import piece_table
from ..tables import Table
from .seen import Record, Seen


def table(found: Seen, record: Record) -> Table:
    """The documents of a step."""
    last = found.first + found.count - 1
    places = f"sequences {found.first:,} to {last:,}" if found.count else "no sequence of it for this rank"
    head = f"step {found.step:,} of {found.run}: phase {found.phase}, {places}"
    if not found.trained:
        head += f"; not taken yet: the run stands at step {record.step:,}"
    facts = {
        "run": found.run,
        "step": found.step,
        "phase": found.phase,
        "first_sequence": found.first,
        "sequences": found.count,
        "trained": found.trained,
    }
    return piece_table(head, facts, found.pieces)

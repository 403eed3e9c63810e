"""What a run would do, worked out from its file and the shards' manifest alone, before torch is loaded.

A run that cannot start says so in a second. Costs one look at the manifest and at the order of each phase.
"""

from collections.abc import Sequence

from ..config import Loaded
from ..errors import ConfigError
from ..mixtures.built import Built
from ..tables import Table, columns
from .run import PhasePlan, RunConfig, plan_phases


def phases(run: Loaded[RunConfig]) -> tuple[PhasePlan, ...]:
    """The phases of a run against its shards.

    Raises:
        ConfigError: there are no shards, or they do not fit; with file and line.
        RunError: a file of the shards was cut short.
    """
    return plan_phases(run, open_shards(run).phases)


def open_shards(run: Loaded[RunConfig]) -> Built:
    """The shards that a run names.

    Raises:
        ConfigError: there are none; with file and line.
        RunError: a file of them was cut short.
    """
    try:
        return Built.open(run.value.shards)
    except ConfigError as wrong:
        raise run.error(("shards",), wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None


def table(plans: Sequence[PhasePlan]) -> Table:
    """The phases as rows."""
    rows = [["phase", "steps", "sequences", "sequence length", "batch", "rope theta"]]
    data = []
    for plan in plans:
        batch = plan.batch_sequences * plan.sequence_length
        cells = [plan.steps, plan.sequences, plan.sequence_length, batch]
        rows.append([plan.name, *(f"{cell:,}" for cell in cells), f"{plan.rope_theta:g}"])
        data.append({"phase": plan.name, "steps": plan.steps, "sequences": plan.sequences, "batch_tokens": batch})
    return Table(columns(rows), {"phases": data})

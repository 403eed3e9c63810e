"""What `midtrain plan --why` prints: a line a stage for people, the same as data for machines."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from ..mixtures import schema
from ..tables import Table, clipped
from .why import Reason, of_stages

SHOWN = 6  # changes of a stage, for people; the data has all
_FRACTION = re.compile(r"-?[0-9]+/[0-9]+")


def of_file(path: str, overrides: Sequence[str], scores: bool) -> Table:
    """What a recipe or a mixture would do, and why.

    Args:
        path: the YAML file.
        overrides: as for every verb.
        scores: of a recipe, whether it would run with `--scores`.

    Raises:
        ConfigError: the file is wrong, or names what is not there.
    """
    if schema.is_mixture(path):
        from .why_build import of_mixture

        loaded = schema.load(path, overrides)
        return table(of_mixture(loaded), loaded.value.output)
    from . import recipe as recipes
    from .curate import plan

    recipe = recipes.load(path, overrides)
    return table(of_stages(plan(recipe, scores)), str(recipe.output))


def table(reasons: Sequence[Reason], output: str) -> Table:
    """The stages as lines: name, state, reason."""
    width = max(len(reason.stage) for reason in reasons)
    lines = [f"{reason.stage.ljust(width)}  {_state(reason)}" for reason in reasons]
    to_do = sum(not reason.done for reason in reasons)
    lines.append(f"\n{output}: {to_do} of {len(reasons)} stages to do" if to_do else f"\n{output}: nothing to do")
    data = {"output": output, "stages": [asdict(reason) for reason in reasons]}
    return Table("\n".join(lines), data)


def _state(reason: Reason) -> str:
    told = [f"{change.field}: {_value(change.was)} -> {_value(change.now)}" for change in reason.changes[:SHOWN]]
    if len(reason.changes) > SHOWN:
        told.append(f"and {len(reason.changes) - SHOWN} more changes")
    if reason.because:
        told.append(f"made from {', '.join(reason.because)}")
    if reason.note:
        told.append(reason.note)
    if reason.done:
        return "done" + (f" ({'; '.join(told)}: written anew, and nothing else)" if reason.changes else "")
    return "to do  " + "; ".join(told)


def _value(value: Any) -> str:
    if isinstance(value, str) and _FRACTION.fullmatch(value):  # as exact numbers are kept
        return f"{float(Fraction(value)):g}"
    return clipped("none" if value is None else str(value))

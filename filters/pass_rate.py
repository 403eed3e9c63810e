"""Pass rates as corpora state them: how often a problem was solved when it was sampled.

Numbers, the same as text, or a list with the outcome of each sample; one place reads them, so that what is filtered by
a rate and what is counted by it agree. Costs less than a microsecond a value.
"""

from typing import Final

# Of published corpora; spelled in small letters.
_NOT_STATED: Final = frozenset(["", "n/a", "na", "nan", "none", "null", "-"])


def is_stated(value: object) -> bool:
    """Whether a field says anything: not where it is empty, no number, or says that it does not."""
    if isinstance(value, str):
        return value.strip().lower() not in _NOT_STATED
    return value is not None and value != [] and value == value


def pass_rate(value: object, whole: float = 1.0) -> float | None:
    """The share of samples that solved the problem, from 0 to 1; None where the value is no pass rate.

    Args:
        value: a number from 0 to `whole`, the same as text, truth, or a list of these, of which it is the mean.
        whole: the value of a problem that is always solved.
    """
    listed = value if isinstance(value, list) else [value]
    total = 0.0
    for one in listed:
        if not isinstance(one, int | float | str):
            return None
        try:
            share = float(one) if isinstance(one, bool) else float(one) / whole
        except ValueError:
            return None
        if not 0 <= share <= 1:  # also of nan
            return None
        total += share
    return total / len(listed) if listed else None

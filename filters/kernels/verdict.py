"""Numba leaves with which a deciding kernel writes down what a rule says about a document.

Every fused decision is held to the same scores, so a share of nothing and a broken bound must mean the same in each.
Costs two comparisons per rule that is asked.
"""

import numpy as np
import numpy.typing as npt

from .kernel import view_leaf

Float64 = npt.NDArray[np.float64]


@view_leaf
def share(part: int, whole: int) -> float:
    """part / whole, and 0 for a share of nothing."""
    return float(part) / float(whole) if whole else 0.0


@view_leaf
def judge(
    document: int,
    rule: int,
    score: float,
    bounds: Float64,
    rules: npt.NDArray[np.int16],
    values: Float64,
    thresholds: Float64,
) -> bool:
    """Whether the score breaks a bound of the rule (float64[rules, 2]); if so it is written down for the document."""
    low, high = bounds[rule, 0], bounds[rule, 1]
    if low <= score <= high:
        return False
    rules[document] = rule
    values[document] = score
    thresholds[document] = low if score < low else high
    return True

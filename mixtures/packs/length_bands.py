"""What becomes of records when they are packed, by how long they are: which stay whole, are trimmed, are dropped.

A share of tokens lost says nothing of whose they are; long records are other problems than short ones. Costs a few
passes over the lengths of a part's documents.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
Bands = dict[str, dict[str, int]]

SHORT = 128  # tokens below which lengths are one band; then each ends at twice its beginning
COUNTED = (
    "documents", "tokens", "trimmed_documents", "trimmed_tokens", "dropped_documents", "dropped_tokens",
)  # fmt: skip


def bands(whole: Int64s, kept: Int64s) -> Bands:
    """`COUNTED` by the first length of each band, as text.

    Args:
        whole: int64[n], tokens of each document.
        kept: int64[n], how many of them stand in sequences: none of one that is dropped.
    """
    power = np.frexp(whole.astype(np.float64))[1].astype(np.int64) - 1
    exponent = np.where(whole < SHORT, 0, power)
    dropped, trimmed = kept == 0, (kept > 0) & (kept < whole)
    columns = (np.ones_like(whole), whole, trimmed, np.where(trimmed, whole - kept, 0), dropped, whole * dropped)
    sums = np.zeros((len(COUNTED), 64), np.int64)
    for row, column in zip(sums, columns, strict=True):
        np.add.at(row, exponent, column.astype(np.int64))
    return {
        str(1 << place if place else 0): dict(zip(COUNTED, sums[:, place].tolist(), strict=True))
        for place in np.flatnonzero(sums[0]).tolist()
    }


def add(total: Bands, more: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds the counts of other documents."""
    for low, own in more.items():
        sums = total.setdefault(low, dict.fromkeys(COUNTED, 0))
        for name, count in own.items():
            sums[name] += count

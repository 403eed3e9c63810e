"""Exact deduplication: of documents with the same text, byte for byte, the first is kept.

Copies are what a model memorises first, and finding them by hash costs so little that it comes before anything fuzzy.
The pipeline brings rows of equal hash together; what is here names them and chooses among them.
Costs 16 bytes per document and about 0.4 µs per row for the choice; hashing runs at about 3 GB/s.
"""

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from .document import DocumentBatch
from .rules import Barrier


class ExactDedup(Barrier):
    """Keeps the first document of every set whose texts are equal byte for byte."""

    version: ClassVar[int] = 1


def hash_key(batch: DocumentBatch) -> npt.NDArray[np.uint64]:
    """uint64[n, 2]: the key by which documents are the same, the xxh3-128 of the text (low half, high half).

    Equal keys are taken for equal texts. By the birthday bound n texts that were not made to collide have two with
    equal keys with a probability of about n² / 2^129: 1.5e-19 for ten billion documents. xxh3 is no cryptographic hash
    (Collet, xxHash: tested with SMHasher, not against an adversary), so a text can be made on purpose to equal another
    one's key; such a text is then dropped as its copy, or displaces it where it comes first.
    """
    return batch.hashes


def keepers(
    low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64], position: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """For every row the row that is kept in its place: the one of its key with the smallest position.

    Args:
        low, high: uint64[m], the two halves of each row's key.
        position: int64[m], the order of the documents; of equal positions the earlier row counts as smaller.

    Returns:
        int64[m]; a row is kept where it is its own keeper.
    """
    order = np.lexsort((position, high, low))
    sorted_low, sorted_high = low[order], high[order]
    opens = np.ones(len(order), np.bool_)
    opens[1:] = (sorted_low[1:] != sorted_low[:-1]) | (sorted_high[1:] != sorted_high[:-1])
    result = np.empty(len(order), np.int64)
    result[order] = order[opens][np.cumsum(opens) - 1]
    return result


def first_of_each(
    low: npt.NDArray[np.uint64], high: npt.NDArray[np.uint64], order: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """bool[m]: the rows that are kept, one for every key; arguments as for `keepers`."""
    return np.equal(keepers(low, high, order), np.arange(len(low)))

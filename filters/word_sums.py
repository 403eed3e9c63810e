"""Sums over the words of documents, from the chunk cache, one kernel for all rule sets that ask no more than that.

Each kernel that looks chunks up has the whole tokenizer compiled into it, which takes seconds; one that sums documents
serves them all, and a rule set's own kernel is left with bytes and lines.
Costs what `word_kernels.sum_words` costs, and 40 bytes per document.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .chunk_cache import opened
from .document import DocumentBatch
from .kernels.kernel import kernel
from .kernels.word_kernels import SUMS, count_stop_words, sum_words, word_hashes

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]


@kernel
def _sum_documents(text: Bytes, offsets: Int64, documents: Int64, words: Any) -> Int64:
    sums = np.empty((len(documents), SUMS), np.int64)
    for row in range(len(documents)):
        document = documents[row]
        sum_words(text, offsets[document], offsets[document + 1], words, sums[row])
    return sums


@kernel
def _count_stop_words(text: Bytes, offsets: Int64, documents: Int64, words: Any, hashes: UInt64, enough: int) -> Int64:
    counts, seen = np.empty(len(documents), np.int64), np.empty(len(hashes), np.bool_)
    for row in range(len(documents)):
        document = documents[row]
        counts[row] = count_stop_words(text, offsets[document], offsets[document + 1], words, hashes, seen, enough)
    return counts


def sum_documents(batch: DocumentBatch, documents: Int64) -> Int64:
    """int64[m, SUMS]: the sums that `word_kernels` names, for the documents (int64[m]) of the batch."""
    with opened(batch) as words:
        return np.asarray(_sum_documents(batch.text_bytes, batch.text_offsets, documents, words))


def count_words_among(batch: DocumentBatch, documents: Int64, among: tuple[str, ...], enough: int) -> Int64:
    """int64[m]: how many different words of `among` each of the documents (int64[m]) has, at most `enough`."""
    with opened(batch) as words:
        return np.asarray(
            _count_stop_words(batch.text_bytes, batch.text_offsets, documents, words, word_hashes(among), enough)
        )

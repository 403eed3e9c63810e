"""Reads a fastText model file into the arrays that the kernels take.

The library's own prediction is what a language filter waits for; its files are simple, and what is in them is enough.
Costs the rows of a quantized model as float32 (lid.176.ftz: 3 MB); those of another stay in the file, which is mapped.
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

_MAGIC: Final = (793712314, 12)  # of fastText 0.2 to 0.9
_SUPERVISED, _HIERARCHICAL = 3, 1
_LINE_END: Final = b"</s>"
LABEL_PREFIX: Final = "__label__"


@dataclass(frozen=True, eq=False)
class FastText:
    """A model whose labels hang in a tree (hierarchical softmax), as lid.176 is.

    Args:
        labels: their names without the prefix, in the model's order.
        inputs: what `fasttext_kernels.means` takes after the lines and borders.
        tree: float32[labels - 1, dim].
        children: int32[labels - 1, 2], as `best_labels` takes them.
    """

    labels: tuple[str, ...]
    inputs: tuple[Any, ...]
    tree: npt.NDArray[np.float32]
    children: npt.NDArray[np.int32]

    def ask(
        self, lines: npt.NDArray[np.uint8], borders: npt.NDArray[np.int64], wanted: Sequence[str]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """For n lines the best label's number, its probability, and those of the wanted ones.

        Args:
            lines: as `means` takes them; written over.
            borders: int64[n + 1].
            wanted: k labels of the model.

        Returns:
            int64[n], float64[n], float64[k, n].
        """
        from .kernels import fasttext_kernels as kernels

        mean = kernels.means(lines, borders, *self.inputs)
        label, probability = kernels.best_labels(mean, self.tree, self.children)
        scores = [kernels.label_scores(mean, self.tree, *self._path(name)) for name in wanted]
        return label, probability, np.array(scores).reshape(len(wanted), len(mean))

    def _path(self, label: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """From the label up to the root."""
        parents = {
            int(below): (node, side) for node, pair in enumerate(self.children) for side, below in enumerate(pair)
        }
        at, nodes, sides = -1 - self.labels.index(label), [], []
        while at in parents:
            at, side = parents[at]
            nodes.append(at)
            sides.append(side)
        return np.array(nodes, np.int32), np.array(sides, np.uint8)


class _File:
    """A model file, read from its start."""

    def __init__(self, path: str) -> None:
        self.data = np.memmap(path, np.uint8, "r")
        self.at = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize("<" + form)
        self.at += size
        return struct.unpack("<" + form, self.data[self.at - size : self.at].tobytes())

    def array(self, kind: str, count: int) -> npt.NDArray[Any]:
        start, self.at = self.at, self.at + count * np.dtype(kind).itemsize
        return np.frombuffer(self.data, kind, count, start)

    def text(self) -> bytes:
        size = 64
        while (stop := self.data[self.at : self.at + size].tobytes().find(b"\0")) < 0:
            size *= 2
        start, self.at = self.at, self.at + stop + 1
        return self.data[start : start + stop].tobytes()


@functools.cache
def read(path: str) -> FastText | None:
    """The model in a file that the library has loaded; None where it is of a kind that only the library knows."""
    file = _File(path)
    if file.numbers("ii") != _MAGIC:
        return None
    dim, _, _, _, _, word_ngrams, loss, kind, bucket, shortest, longest, _ = file.numbers("12i")
    if (kind, loss, word_ngrams) != (_SUPERVISED, _HIERARCHICAL, 1) or longest == 0 or shortest == 0:
        return None
    file.numbers("d")
    size, words, labels = file.numbers("3i")
    _, kept = file.numbers("2q")
    entries = [(file.text(), *file.numbers("qb")) for _ in range(size)]
    pruned = file.array("<i4", 2 * max(kept, 0)).reshape(-1, 2)
    vectors = _matrix(file, bool(file.numbers("?")[0]))
    tree = _matrix(file, bool(file.numbers("?")[0]))
    names = [name for name, _, _ in entries]
    rows = [row if entries[row][2] == 0 else -1 for row in range(size)]
    line_end = names.index(_LINE_END) if _LINE_END in names else -1
    present = np.zeros(bucket // 8 + 1 if kept >= 0 else 0, np.uint8)
    np.bitwise_or.at(present, pruned[:, 0] >> 3, (1 << (pruned[:, 0] & 7)).astype(np.uint8))
    grams = _table(pruned[:, 0].astype(np.uint64) + np.uint64(1), pruned[:, 1] + words)
    inputs = (vectors, *_table(_keys(names), rows), line_end, words, bucket, shortest, longest, present, *grams)
    counts = [count for _, count, kind in entries if kind == 1]
    if len(counts) != labels or vectors.shape[1] != dim:
        return None
    decoded = tuple(name.decode().removeprefix(LABEL_PREFIX) for name, _, kind in entries if kind == 1)
    return FastText(decoded, inputs, np.ascontiguousarray(tree[: labels - 1]), _tree(counts))


def _keys(words: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    from .kernels.fasttext_kernels import word_keys

    ends = np.cumsum([0, *map(len, words)], dtype=np.int64)
    return np.asarray(word_keys(np.frombuffer(b"".join(words), np.uint8), ends), np.uint64)


def _table(keys: npt.NDArray[np.uint64], rows: Any) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    from .kernels.fasttext_kernels import fill

    slots = 1 << (2 * len(keys) + 1).bit_length()
    table, values = np.zeros(slots, np.uint64), np.zeros(slots, np.int32)
    fill(table, values, keys, np.asarray(rows, np.int32))
    return table, values


def _matrix(file: _File, quantized: bool) -> npt.NDArray[np.float32]:
    """float32[rows, columns]; of a product quantizer each row decoded."""
    if not quantized:
        rows, columns = file.numbers("2q")
        return file.array("<f4", rows * columns).reshape(rows, columns)
    (normed,) = file.numbers("?")
    rows, columns, size = file.numbers("qqi")
    codes = file.array("u1", size).reshape(rows, -1)
    _, parts, width, last = file.numbers("4i")
    centroids = file.array("<f4", columns * 256)
    matrix = np.empty((rows, columns), np.float32)
    for part in range(parts):
        own = last if part == parts - 1 else width
        table = centroids[part * 256 * width : part * 256 * width + 256 * own].reshape(256, own)
        matrix[:, part * width : part * width + own] = table[codes[:, part]]
    if normed:
        norms = file.array("u1", rows)
        file.numbers("4i")
        matrix *= file.array("<f4", 256)[norms][:, None]
    return matrix


def _tree(counts: Sequence[int]) -> npt.NDArray[np.int32]:
    """Huffman's tree of the labels, which the library builds anew from their counts, the most frequent first."""
    labels = len(counts)
    weights = [*counts, *[10**15] * (labels - 1)]
    children = np.empty((labels - 1, 2), np.int32)
    leaf, node = labels - 1, labels
    for new in range(labels, 2 * labels - 1):
        chosen = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                chosen.append(leaf)
                leaf -= 1
            else:
                chosen.append(node)
                node += 1
        weights[new] = weights[chosen[0]] + weights[chosen[1]]
        children[new - labels] = [-1 - one if one < labels else one - labels for one in chosen]
    return children

"""fastText's prediction as a kernel over UTF-8 bytes: words and their n-grams to a mean vector, down the labels' tree.

The library makes a string of every n-gram and decodes a product quantizer's row each time that it is wanted; with rows
decoded once the same sums come two to three times as fast, and no Python object is made for a text.
Costs about 20 ns per byte; importing this module imports Numba.

Source: Joulin et al. 2016, arXiv 1607.01759; Bojanowski et al. 2017, arXiv 1607.04606 (n-grams); what the library
0.9.2 does is followed to the order of its sums.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from .kernel import kernel, leaf

Bytes = npt.NDArray[np.uint8]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_0, _1 = np.uint64(0), np.uint64(1)
_LOW = np.uint64(0xFFFFFFFF)
_BASIS, _PRIME = np.uint64(2166136261), np.uint64(16777619)  # FNV-1a, 32 bit
_WIDE_BASIS, _WIDE_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SMALL = 1e-5  # what the library adds before it takes a logarithm


@leaf
def _separates(byte: Any) -> Any:
    return byte == 0x20 or (byte >= 0x09 and byte <= 0x0D) or byte == 0


@leaf
def _find(keys: Any, key: Any) -> Any:
    """The slot of a key, or of the free one (0) where it would stand."""
    mask = np.uint64(len(keys) - 1)
    at = (key * _SPREAD) >> np.uint64(32) & mask
    while keys[at] != key and keys[at] != _0:
        at = (at + _1) & mask
    return at


@kernel
def word_keys(text: Bytes, offsets: Int64) -> npt.NDArray[np.uint64]:
    """uint64[n]: the key of each word, never 0."""
    found = np.empty(len(offsets) - 1, np.uint64)
    for word in range(len(found)):
        state = _WIDE_BASIS
        for at in range(offsets[word], offsets[word + 1]):
            state = (state ^ np.uint64(text[at])) * _WIDE_PRIME
        found[word] = state | _1
    return found


@kernel
def fill(keys: npt.NDArray[np.uint64], rows: Int32, new: npt.NDArray[np.uint64], values: Int32) -> None:
    """Puts keys (never 0) with their rows into a table of 2^k slots."""
    for place in range(len(new)):
        at = _find(keys, new[place])
        keys[at], rows[at] = new[place], values[place]


@leaf
def _add(total: Any, vectors: Any, row: Any) -> Any:
    for place in range(len(total)):
        total[place] += vectors[row, place]


@leaf
def _is_label(text: Any, start: Any, stop: Any) -> Any:
    """Whether a word begins with `__label__`: such a one is left out."""
    if stop - start < np.uint64(9) or text[start] != 0x5F or text[start + _1] != 0x5F:
        return False
    for place, byte in enumerate((0x5F, 0x5F, 0x6C, 0x61, 0x62, 0x65, 0x6C, 0x5F, 0x5F)):
        if text[start + np.uint64(place)] != byte:
            return False
    return True


@kernel
def means(
    lines: Bytes,
    borders: Int64,
    vectors: Float32,
    words: npt.NDArray[np.uint64],
    word_rows: Int32,
    line_end: int,
    first_ngram: int,
    bucket: int,
    shortest: int,
    longest: int,
    present: Bytes,
    ngrams: npt.NDArray[np.uint64],
    ngram_rows: Int32,
) -> Float32:
    """float32[n, dim]: the mean vector of each line.

    Args:
        lines: uint8[...], UTF-8, with a byte to spare before the first line and a line's end at the end of each; white
            space is written over.
        borders: int64[n + 1].
        vectors: float32[rows, dim].
        words, word_rows: the table of words.
        line_end: the row of the word that stands for a line's end, -1 for none.
        first_ngram: the row of the first n-gram.
        bucket: what n-grams' hashes are taken modulo.
        shortest, longest: characters of an n-gram.
        present: uint8[bucket / 8 + 1], which n-grams the model has kept; empty where it has all.
        ngrams, ngram_rows: the table of those kept, by hash + 1.
    """
    result = np.zeros((len(borders) - 1, vectors.shape[1]), np.float32)
    inverse, modulus = 1.0 / bucket, np.int64(bucket)
    for line in range(len(result)):
        total, count = result[line], 0
        at, end = np.uint64(borders[line]), np.uint64(borders[line + 1])
        while at < end:
            while at < end and _separates(lines[at]):
                at += _1
            if at == end:
                break
            start, key = at, _WIDE_BASIS
            while at < end and not _separates(lines[at]):
                key = (key ^ np.uint64(lines[at])) * _WIDE_PRIME
                at += _1
            if _is_label(lines, start, at):
                continue
            slot = _find(words, key | _1)
            if words[slot] != _0:
                if word_rows[slot] < 0:  # a label in the text is none of its words
                    continue
                if word_rows[slot] == line_end:  # written out in the text: the library reads no further
                    break
                _add(total, vectors, np.uint64(word_rows[slot]))
                count += 1
            kept, lines[start - _1] = lines[at], np.uint8(0x3C)
            lines[at] = np.uint8(0x3E)
            first = start - _1
            while first <= at:
                state, place, size = _BASIS, first, 0
                while place <= at and size < longest:
                    state = ((state ^ (np.uint64(np.int8(lines[place])) & _LOW)) * _PRIME) & _LOW
                    place += _1
                    while place <= at and lines[place] & 0xC0 == 0x80:
                        state = ((state ^ (np.uint64(np.int8(lines[place])) & _LOW)) * _PRIME) & _LOW
                        place += _1
                    size += 1
                    if size < shortest or (size == 1 and (first < start or place > at)):
                        continue
                    whole = np.int64(state)
                    rest = whole - np.int64(whole * inverse) * modulus  # a division would take ten times as long
                    if rest < 0:
                        rest += modulus
                    elif rest >= modulus:
                        rest -= modulus
                    gram = np.uint64(rest)
                    if len(present) == 0:
                        _add(total, vectors, np.uint64(first_ngram) + gram)
                        count += 1
                    elif (present[gram >> np.uint64(3)] >> (gram & np.uint64(7))) & 1:
                        _add(total, vectors, np.uint64(ngram_rows[_find(ngrams, gram + _1)]))
                        count += 1
                first += _1
                while first <= at and lines[first] & 0xC0 == 0x80:
                    first += _1
            lines[at] = kept
        if line_end >= 0:
            _add(total, vectors, np.uint64(line_end))
            count += 1
        if count:
            total *= np.float32(1.0 / count)
    return result


@leaf
def _right(mean: Any, tree: Any, node: Any) -> Any:
    """The probability of a node's right branch."""
    dot = np.float32(0)
    for place in range(len(mean)):
        dot += tree[node, place] * mean[place]
    return 1.0 / (1.0 + np.exp(-np.float64(dot)))


@kernel
def best_labels(mean: Float32, tree: Float32, children: Int32) -> tuple[Int64, Float64]:
    """The most probable label of each text, and its probability: int64[n], float64[n].

    Args:
        mean: float32[n, dim].
        tree: float32[labels - 1, dim], the inner nodes' vectors, the root last.
        children: int32[labels - 1, 2], left and right; a label is -1 less its number.
    """
    labels, scores = np.zeros(len(mean), np.int64), np.full(len(mean), -np.inf)
    waiting, reached = np.empty(2 * len(tree) + 2, np.int64), np.empty(2 * len(tree) + 2)
    for text in range(len(mean)):
        waiting[0], reached[0], size = len(tree) - 1, 0.0, 1
        while size:
            size -= 1
            node, score = waiting[size], reached[size]
            if score < scores[text]:
                continue
            if node < 0:
                labels[text], scores[text] = -1 - node, score
                continue
            right = _right(mean[text], tree, node)
            waiting[size], reached[size] = children[node, 1], score + np.log(right + _SMALL)
            waiting[size + 1], reached[size + 1] = children[node, 0], score + np.log(1 - right + _SMALL)
            size += 2
    return labels, np.minimum(np.exp(scores), 1.0)


@kernel
def label_scores(mean: Float32, tree: Float32, nodes: Int32, sides: Bytes) -> Float64:
    """float64[n]: the probability of the label at the end of a path (inner nodes, and 1 where it goes right)."""
    found = np.empty(len(mean), np.float64)
    for text in range(len(mean)):
        score = 0.0
        for step in range(len(nodes)):
            right = _right(mean[text], tree, nodes[step])
            score += np.log((right if sides[step] else 1 - right) + _SMALL)
        found[text] = min(np.exp(score), 1.0)
    return found

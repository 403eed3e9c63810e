"""Numba kernels that count what Gopher's quality rules ask about, and decide by it.

All counts of a document come from one walk over its words, one over its bytes and one over its lines; the decision
takes the walks in the order of the rules and leaves the document at the first rule that it fails.
Costs about 2.5 ns per byte for all counts, where Python takes 90; importing this module imports Numba.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
from numba import njit

from .characters import ALPHABETIC, PUNCTUATION

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

# Columns of the counts of a document.
WORDS: Final = 0
PLAIN_WORDS: Final = 1  # words that are not all punctuation
PLAIN_CHARACTERS: Final = 2  # code points in them
ALPHABETIC_WORDS: Final = 3  # words with at least one alphabetic character
HASHES: Final = 4
ELLIPSES: Final = 5  # "..." (not overlapping) and "…"
LINES: Final = 6
BULLET_LINES: Final = 7
ELLIPSIS_LINES: Final = 8
STOP_WORDS: Final = 9  # distinct stop words that occur
COUNTS: Final = 10

# Rows of the table of bounds: the rules in the order in which they are applied.
RULES: Final = (
    "words",
    "mean_word_length",
    "hash_ratio",
    "ellipsis_ratio",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
)

_HASH: Final = 0x23
_DOT: Final = 0x2E
_HYPHEN: Final = 0x2D


@njit(cache=True, nogil=True)
def _word_class(text: Bytes, start: int, stop: int, classes: Bytes) -> int:
    """`ALPHABETIC` where a character of the word is, or-ed with `PUNCTUATION` where all characters are."""
    found, all_punctuation, at = 0, PUNCTUATION, start
    while at < stop:
        point = np.int64(text[at])
        if point < 0x80:
            at += 1
        elif point < 0xE0:
            point = (point & 0x1F) << 6 | (text[at + 1] & 0x3F)
            at += 2
        elif point < 0xF0:
            point = (point & 0x0F) << 12 | np.int64(text[at + 1] & 0x3F) << 6 | (text[at + 2] & 0x3F)
            at += 3
        else:
            point = (point & 0x07) << 18 | np.int64(text[at + 1] & 0x3F) << 12
            point |= np.int64(text[at + 2] & 0x3F) << 6 | (text[at + 3] & 0x3F)
            at += 4
        kind = classes[point]
        found |= kind & ALPHABETIC
        all_punctuation &= kind
        if found and not all_punctuation:
            break
    return found | all_punctuation


@njit(cache=True, nogil=True)
def _continuations(text: Bytes) -> int:
    """Bytes that go on with a code point: as many fewer are the code points than the bytes."""
    count = 0
    for at in range(len(text)):
        count += text[at] & 0xC0 == 0x80
    return count


@njit(cache=True, nogil=True)
def _count_words(text: Bytes, start: Int64, stop: Int64, first: int, last: int, classes: Bytes) -> tuple[int, int, int]:
    """Of the words `first` to `last`: (plain words, code points in them, alphabetic words).

    Continuation bytes are counted over all of the words at once, and taken off again for what is between plain words:
    a loop over the few bytes of each word takes twice as long.
    """
    if first == last:
        return 0, 0, 0
    continuations = _continuations(text[start[first] : stop[last - 1]])
    wide = continuations > 0
    plain, size, alphabetic, previous = 0, 0, 0, start[first]
    for word in range(first, last):
        begin, end = start[word], stop[word]
        byte = text[begin]
        # Most words begin with a letter of ASCII, and then both questions are answered.
        if byte < 0x80 and classes[byte] == ALPHABETIC:
            kind = ALPHABETIC
        else:
            kind = _word_class(text, begin, end, classes)
        alphabetic += kind & ALPHABETIC
        if wide and begin - previous > 1:
            continuations -= _continuations(text[previous:begin])
        if kind & PUNCTUATION == 0:
            plain += 1
            size += end - begin
        elif wide:
            continuations -= _continuations(text[begin:end])
        previous = end
    return plain, size - continuations, alphabetic


@njit(cache=True, nogil=True)
def _count_symbols(text: Bytes, begin: int, end: int) -> tuple[int, int]:
    """Of the bytes `begin` to `end`: (hash characters, ellipses)."""
    hashes, ellipses, at = 0, 0, begin
    while at < end:
        byte = text[at]
        at += 1
        if byte == _HASH:
            hashes += 1
        elif byte == _DOT:
            run = at - 1
            while at < end and text[at] == _DOT:
                at += 1
            ellipses += (at - run) // 3
        elif byte == 0xE2 and at + 1 < end and text[at] == 0x80 and text[at + 1] == 0xA6:
            ellipses += 1
    return hashes, ellipses


@njit(cache=True, nogil=True)
def _count_lines(
    text: Bytes, start: Int64, stop: Int64, first: int, last: int, line_stop: Int64, first_line: int, last_line: int
) -> tuple[int, int]:
    """Of the lines: (lines whose first word begins with a bullet, lines whose last word ends with an ellipsis).

    Stripping a line of white space leaves the line from its first word to its last, and no word crosses a line's end.
    """
    bullets, ellipses, word = 0, 0, first
    for line in range(first_line, last_line):
        head = word
        while word < last and start[word] < line_stop[line]:
            word += 1
        if word == head:
            continue
        at, end = start[head], stop[word - 1]
        bullet = text[at] == 0xE2 and text[at + 1] == 0x80 and text[at + 2] == 0xA2
        bullets += text[at] == _HYPHEN or bullet
        if end - start[word - 1] >= 3:
            third, second, byte = text[end - 3], text[end - 2], text[end - 1]
            dots = third == _DOT and second == _DOT and byte == _DOT
            ellipses += dots or (third == 0xE2 and second == 0x80 and byte == 0xA6)
    return bullets, ellipses


@njit(cache=True, nogil=True)
def _count_stop_words(
    text: Bytes,
    start: Int64,
    stop: Int64,
    first: int,
    last: int,
    stop_text: Bytes,
    stop_ends: Int64,
    stop_first: Int64,
    stop_sizes: npt.NDArray[np.uint64],
    enough: int,
) -> int:
    """Distinct stop words among the words `first` to `last`; stops looking at `enough` of them."""
    seen = np.zeros(len(stop_ends), np.bool_)
    distinct = 0
    for word in range(first, last):
        begin, size = start[word], stop[word] - start[word]
        byte = text[begin]
        if (stop_sizes[byte] >> np.uint64(min(size, 63))) & np.uint64(1) == 0:
            continue
        for candidate in range(stop_first[byte], stop_first[byte + 1]):
            base = stop_ends[candidate - 1] if candidate > 0 else 0
            if stop_ends[candidate] - base != size or seen[candidate]:
                continue
            same = 0
            while same < size and stop_text[base + same] == text[begin + same]:
                same += 1
            if same == size:
                seen[candidate] = True
                distinct += 1
                if distinct >= enough:
                    return distinct
                break
    return distinct


@njit(cache=True, nogil=True)
def count(
    text: Bytes,
    word_start: Int64,
    word_stop: Int64,
    word_ends: Int64,
    line_stop: Int64,
    line_ends: Int64,
    offsets: Int64,
    classes: Bytes,
    stop_text: Bytes,
    stop_ends: Int64,
    stop_first: Int64,
    stop_sizes: npt.NDArray[np.uint64],
) -> Int64:
    """All counts of n documents.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.
        word_start, word_stop, word_ends, line_stop, line_ends: their words and lines, as in `Spans`.
        classes: uint8[0x110000], `characters.classes()`.
        stop_text, stop_ends, stop_first, stop_sizes: the stop words, as `gopher_quality.StopWords` has them.

    Returns:
        int64[n, COUNTS], the columns named above.
    """
    documents = len(offsets) - 1
    counts = np.empty((documents, COUNTS), np.int64)
    word, line = 0, 0
    for document in range(documents):
        last_word, last_line = word_ends[document], line_ends[document]
        row = counts[document]
        row[WORDS], row[LINES] = last_word - word, last_line - line
        row[PLAIN_WORDS], row[PLAIN_CHARACTERS], row[ALPHABETIC_WORDS] = _count_words(
            text, word_start, word_stop, word, last_word, classes
        )
        row[HASHES], row[ELLIPSES] = _count_symbols(text, offsets[document], offsets[document + 1])
        row[BULLET_LINES], row[ELLIPSIS_LINES] = _count_lines(
            text, word_start, word_stop, word, last_word, line_stop, line, last_line
        )
        row[STOP_WORDS] = _count_stop_words(
            text, word_start, word_stop, word, last_word, stop_text, stop_ends, stop_first, stop_sizes, len(stop_ends)
        )
        word, line = last_word, last_line
    return counts


@njit(cache=True, nogil=True)
def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@njit(cache=True, nogil=True)
def _judge(
    document: int,
    rule: int,
    score: float,
    bounds: Float64,
    rules: npt.NDArray[np.int16],
    values: Float64,
    thresholds: Float64,
) -> bool:
    """Whether the score breaks a bound of the rule; if so it is written down."""
    low, high = bounds[rule, 0], bounds[rule, 1]
    if low <= score <= high:
        return False
    rules[document] = rule
    values[document] = score
    thresholds[document] = low if score < low else high
    return True


@njit(cache=True, nogil=True)
def decide(
    text: Bytes,
    word_start: Int64,
    word_stop: Int64,
    word_ends: Int64,
    line_stop: Int64,
    line_ends: Int64,
    offsets: Int64,
    classes: Bytes,
    stop_text: Bytes,
    stop_ends: Int64,
    stop_first: Int64,
    stop_sizes: npt.NDArray[np.uint64],
    bounds: Float64,
    enough: int,
) -> tuple[npt.NDArray[np.int16], Float64, Float64]:
    """For each document the first of `RULES` that it breaks, and no work for the rules after it.

    Args:
        bounds: float64[rules, 2], lowest and highest score that is kept, infinite where there is no bound.
        enough: the number of distinct stop words at which counting them can end.
        others: as for `count`.

    Returns:
        rule int16[n] (-1 where none is broken), score float64[n] and broken bound float64[n] (NaN where none is).
    """
    documents = len(offsets) - 1
    rules = np.full(documents, -1, np.int16)
    values, thresholds = np.full(documents, np.nan), np.full(documents, np.nan)
    word, line = 0, 0
    # The numbers of the rules are their places in RULES.
    for document in range(documents):
        first, first_line = word, line
        word, line = word_ends[document], line_ends[document]
        words, lines = word - first, line - first_line
        plain, size, alphabetic = _count_words(text, word_start, word_stop, first, word, classes)
        if _judge(document, 0, float(plain), bounds, rules, values, thresholds):
            continue
        if _judge(document, 1, _share(size, plain), bounds, rules, values, thresholds):
            continue
        hashes, ellipses = _count_symbols(text, offsets[document], offsets[document + 1])
        if _judge(document, 2, _share(hashes, words), bounds, rules, values, thresholds):
            continue
        if _judge(document, 3, _share(ellipses, words), bounds, rules, values, thresholds):
            continue
        bullets, ends = _count_lines(text, word_start, word_stop, first, word, line_stop, first_line, line)
        if _judge(document, 4, _share(bullets, lines), bounds, rules, values, thresholds):
            continue
        if _judge(document, 5, _share(ends, lines), bounds, rules, values, thresholds):
            continue
        if _judge(document, 6, _share(alphabetic, words), bounds, rules, values, thresholds):
            continue
        stops = _count_stop_words(
            text, word_start, word_stop, first, word, stop_text, stop_ends, stop_first, stop_sizes, enough
        )
        _judge(document, 7, float(stops), bounds, rules, values, thresholds)
    return rules, values, thresholds

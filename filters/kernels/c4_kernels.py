"""The Numba kernel of C4's filter: one walk over the lines of a document, which decides it and writes its new text.

Lines that are kept and stand together are copied together, and sentences are counted only in documents that have too
few kept lines to be sure of enough.
Costs about 1 ns a byte; importing this module imports Numba.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from . import c4_citations as citations
from . import c4_scan as scanning
from .c4_scan import BLOCK, CURLY, JAVASCRIPT, LOREM, POLICY, SQUARE
from .kernel import kernel, view_leaf
from .machine import lowest_bit
from .word_kernels import count_sentences

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

# Columns of the counts of a document, which are the rules in their order.
RULES: Final = (
    "lorem_ipsum",
    "curly_bracket",
    "sentences",
    "lines",
    "removed_long_word",
    "removed_no_terminal_mark",
    "removed_few_words",
    "removed_javascript",
    "removed_policy",
)
(
    LOREM_LINES,
    CURLY_LINES,
    SENTENCES,
    LINES,
    LONG_WORD,
    NO_MARK,
    FEW_WORDS,
    JAVASCRIPT_LINES,
    POLICY_LINES,
) = range(len(RULES))
COLUMNS: Final = len(RULES)

# Options of a walk, by their places in one array.
(
    BY_SENTENCE,  # pieces are sentences, given as spans, and not lines
    REMOVE_CITATIONS,
    TERMINAL_MARKS,
    MIN_WORDS,  # of a line; 0 for no bound
    MAX_WORD,  # characters; -1 for no bound
    CHECKS,  # bits of LOREM, CURLY, JAVASCRIPT and POLICY: what is looked for
    ENOUGH,  # sentences at which counting them can end
    KEEP_ALL,  # the texts of documents that break a rule are written too
) = range(8)
OPTIONS: Final = 8

_KEPT: Final = -1  # what becomes of a line, if not the place of a rule
_HELD: Final = 256  # lines whose sentences are counted in one call
_0, _1, _2 = np.uint64(0), np.uint64(1), np.uint64(2)
_BLOCK: Final = np.uint64(BLOCK)
_LANES: Final = np.uint64(32)


@view_leaf
def _line_stop(text: Bytes, at: Any, end: Any, line_ends: npt.NDArray[np.uint32], base: Any) -> tuple[Any, Any]:
    """Of the line that begins at `at`, in a document that stops at `end`: its stop, and where the next one begins."""
    lane = at % _LANES
    place = at // _LANES - base * _2
    mask = line_ends[place] >> np.uint32(lane) << np.uint32(lane)
    last = (end - _1) // _LANES - base * _2
    while mask == 0:
        if place == last:
            return end, end
        place += _1
        mask = line_ends[place]
    stop = (place + base * _2) * _LANES + lowest_bit(np.uint64(mask))
    if stop >= end:
        return end, end
    byte = text[stop]
    if byte == 0x0D and stop + _1 < end and text[stop + _1] == 0x0A:
        return stop, stop + _2
    if byte < 0x80:
        return stop, stop + _1
    return stop, stop + np.uint64(2 if byte == 0xC2 else 3)


@view_leaf
def _hints_of(hints: Bytes, start: Any, stop: Any, base: Any) -> Any:
    """The hints of all blocks that `start` to `stop` touches, together."""
    found = np.uint8(0)
    if start < stop:
        for block in range(start // _BLOCK - base, (stop - _1) // _BLOCK - base + _1):
            found |= hints[block]
    return found


@view_leaf
def _found(text: Bytes, start: Any, stop: Any, hints: Bytes, base: Any, wanted: Any) -> int:
    """What the line holds of what is wanted, and perhaps other bits: only blocks with a hint of it are read."""
    found = 0
    if start == stop:
        return found
    for block in range(start // _BLOCK, (stop - _1) // _BLOCK + _1):
        if hints[block - base] & wanted:
            first, last = max(start, block * _BLOCK), min(stop, (block + _1) * _BLOCK)
            found |= scanning.find(text, first, last, start, stop)
    return found


@view_leaf
def _cause(
    text: Bytes,
    start: Any,
    stop: Any,
    read: Bytes,
    new_start: Any,
    new_stop: Any,
    edited: bool,
    options: Int64,
    hints: Bytes,
    base: Any,
) -> int:
    """The place of the rule that removes the line or drops its document, or `_KEPT`.

    The line is `text[start:stop]`; if it is edited, `read[new_start:new_stop]` is what is left of it.
    """
    if edited:
        marked = scanning.ends_sentence(read, new_start, new_stop)
    else:
        marked = scanning.ends_sentence(text, start, stop)
    if options[TERMINAL_MARKS] and not marked:
        return NO_MARK
    if options[MIN_WORDS] > 0 and not scanning.has_words(text, start, stop, options[MIN_WORDS]):
        return FEW_WORDS
    if edited:
        found = scanning.find(read, new_start, new_stop, new_start, new_stop)
    else:
        found = _found(text, start, stop, hints, base, np.uint8(options[CHECKS]))
    found &= options[CHECKS]
    if found & LOREM:
        return LOREM_LINES
    if found & JAVASCRIPT:
        return JAVASCRIPT_LINES
    if found & CURLY:
        return CURLY_LINES
    return POLICY_LINES if found & POLICY else _KEPT


@kernel
def walk(
    text: Bytes,
    offsets: Int64,
    piece_start: Int64,
    piece_stop: Int64,
    piece_ends: Int64,
    options: Int64,
    digits: Bytes,
    out: Bytes,
    read: Bytes,
    words: Any,
) -> tuple[Int64, Int64, npt.NDArray[np.int16]]:
    """Walks n documents; a document is left at the line that drops it.

    Args:
        text, offsets: the documents, as in `DocumentBatch`.
        piece_start, piece_stop, piece_ends: with `BY_SENTENCE` their sentences, as in `Spans`; else not read.
        options: int64[OPTIONS], by their places.
        digits: `c4_citations.digits()`.
        out: uint8[...], is filled with the new texts; as long as the documents, and with `BY_SENTENCE` one byte more a
            sentence.
        read: the same memory, read-only, so that what reads it is compiled once.
        words: as `chunk_cache.opened` gives them.

    Returns:
        counts int64[n, rules], offsets of the new texts int64[n + 1], the place of the rule that drops the document
        int16[n] (-1: none).
    """
    documents = len(offsets) - 1
    counts = np.zeros((documents, COLUMNS), np.int64)
    new_offsets = np.zeros(documents + 1, np.int64)
    rules = np.full(documents, -1, np.int16)
    by_sentence = options[BY_SENTENCE] != 0
    glue = np.uint8(0x20) if by_sentence else np.uint8(0x0A)
    max_word, enough = options[MAX_WORD], options[ENOUGH]
    square = np.uint8(SQUARE if options[REMOVE_CITATIONS] else 0)

    base = np.uint64(offsets[0]) // _BLOCK
    blocks = (np.uint64(offsets[documents]) + _BLOCK - _1) // _BLOCK - base
    line_ends, hints = np.empty(blocks * _2, np.uint32), np.empty(blocks, np.uint8)
    scanned = base
    held_start, held_stop = np.empty(_HELD, np.int64), np.empty(_HELD, np.int64)

    put, piece = _0, 0
    for document in range(documents):
        at, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        row = counts[document]
        need = (end + _BLOCK - _1) // _BLOCK
        if need > scanned:
            scanning.scan(text, scanned, need, line_ends, hints, base)
            scanned = need
        last_piece = piece_ends[document] if by_sentence else 0
        begin, held, sentences = put, 0, 0
        running, run_start, run_stop = False, _0, _0  # kept lines that are copied together, to `put`
        over = False  # the document is left, or has no more pieces
        while True:
            over = over or bool(piece >= last_piece if by_sentence else at >= end)
            if over or held == _HELD:
                if running:
                    put = citations.copy(text, run_start, run_stop, out, put)
                    running = False
                if sentences + held < enough and (rules[document] < 0 or options[KEEP_ALL]):
                    sentences += count_sentences(read, held_start, held_stop, 0, held, enough - sentences, words)
                    held = 0
                if over:
                    break
            if by_sentence:
                start, stop = np.uint64(piece_start[piece]), np.uint64(piece_stop[piece])
                piece += 1
            else:
                start = at
                stop, at = _line_stop(text, at, end, line_ends, base)
            start = scanning.strip_left(text, start, stop)
            stop = scanning.strip_right(text, start, stop)
            row[LINES] += 1
            if max_word >= 0 and scanning.has_longer_word(text, start, stop, np.uint64(max_word)):
                row[LONG_WORD] += 1
                continue
            edited: Any = _hints_of(hints, start, stop, base) & square != 0
            new_start, new_stop = _0, _0  # of an edited line, in `read`
            if edited:
                if running:
                    put = citations.copy(text, run_start, run_stop, out, put)
                    running = False
                new_start = put + _1 if put > begin else put
                new_stop = citations.copy_without_citations(text, start, stop, digits, out, new_start)
            cause = _cause(text, start, stop, read, new_start, new_stop, edited, options, hints, base)
            if cause != _KEPT:
                row[cause] += 1
                if cause in (LOREM_LINES, CURLY_LINES):
                    rules[document], over = cause, True
                continue
            sentences += by_sentence
            # The line is kept: it goes on a run, or begins one, or stands in `out` already.
            if edited:
                if new_start == begin:
                    first = scanning.strip_left(read, new_start, new_stop)
                    if first > begin:
                        new_stop = citations.copy(read, first, new_stop, out, begin)
                else:
                    out[put] = glue
                put = new_stop
            elif running and start == run_stop + _1 and text[run_stop] == glue:
                new_start = put + (start - run_start)
                run_stop = stop
                new_stop = new_start + (stop - start)
            else:
                if running:
                    put = citations.copy(text, run_start, run_stop, out, put)
                    running = False
                if put > begin:
                    out[put] = glue
                    put += _1
                if put > begin or start < stop:  # blank lines at the start would be stripped again
                    running, run_start, run_stop = True, start, stop
                new_start, new_stop = put, put + (stop - start)
            if not by_sentence and sentences + held < enough:
                held_start[held], held_stop[held] = new_start, new_stop
                held += 1
        if by_sentence:
            piece = last_piece
        row[SENTENCES] = sentences + held
        if rules[document] < 0 and row[SENTENCES] < options[ENOUGH]:
            rules[document] = SENTENCES
        if rules[document] >= 0 and not options[KEEP_ALL]:
            put = begin
        put = scanning.strip_right(read, begin, put)
        new_offsets[document + 1] = put
    return counts, new_offsets, rules

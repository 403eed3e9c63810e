"""spaCy's last step: runs of tokens that together are an exception are cut anew as the exception says.

A suffix can leave half of an exception behind, as in ":)." or "8a.m.)"; spaCy looks for the exceptions' tokens again
in all it has found, the longest run first.
Costs about 3 ns per token where no run of tokens can be an exception, and no memory: where one is, the marks stand in
place of the stops, since its tokens are short.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..kernels.kernel import view_leaf
from .strings import LONGEST, PATTERN, RULE, find, lengths_from

Bytes = npt.NDArray[np.uint8]

MOST_TOKENS: Final = 15  # of a run

# A token of a run is stored as -1 - (bytes << 16 | marks). Bit r of the marks from 2 on: a run of r tokens that starts
# here is an exception.
_SEEN: Final = 1
_TAKEN: Final = 2
_MARKS: Final = 0xFFFF
_BYTES: Final = 16

_0, _1, _32 = np.uint64(0), np.uint64(1), np.uint64(32)
_LONGEST = np.uint64(LONGEST)


@view_leaf
def _runs_at(
    text: Bytes,
    start: Any,
    begin: Any,
    token: Any,
    tokens: Any,
    lengths: Any,
    slots: Any,
    strings: Any,
    masks: Any,
    stops: Any,
) -> Any:
    """Bit set of the numbers of tokens, two or more from `token`, that together are an exception's pattern: int64.

    `begin` is where the token begins, counted from the chunk's `start`.
    """
    runs = np.int64(0)
    length = np.uint64(stops[token]) - begin
    candidates = lengths_from(text, start + begin, start + begin + length + _1, lengths) >> _32
    if candidates == _0 or length > _LONGEST:
        return runs
    pattern = _1 << length
    last = token + _1
    while last < tokens and last < token + np.uint64(MOST_TOKENS):
        length = np.uint64(stops[last]) - begin
        if length > _LONGEST:
            break
        pattern |= _1 << length
        if candidates >> length & _1:
            number = find(text, start + begin, start + begin + length, slots, strings, masks)
            if number >= 0 and np.uint64(masks[number, PATTERN]) == pattern:
                runs |= np.int64(1) << np.int64(last - token + _1)
        last += _1
    return runs


@view_leaf
def write_rule(rule: Any, begin: Any, stops: Any, tokens: Any) -> Any:
    """Writes the token stops of an exception that starts at `begin` to `stops[tokens:]`; gives their new number."""
    at = _1
    rule = np.uint64(rule) >> _1
    while rule:
        if rule & _1:
            stops[tokens] = begin + at
            tokens += _1
        rule >>= _1
        at += _1
    return tokens


@view_leaf
def _longest_run(runs: Any) -> Any:
    """The highest bit of a bit set of numbers of tokens, 0 for an empty one: uint64."""
    length = _0
    while runs >> np.int64(length + _1):
        length += _1
    return length


@view_leaf
def _mark(
    text: Bytes,
    start: Any,
    begin: Any,
    first: Any,
    tokens: Any,
    lengths: Any,
    slots: Any,
    strings: Any,
    masks: Any,
    stops: Any,
) -> None:
    """Replaces the stops of all tokens of runs, from the token `first` on, which begins at `begin`, by their marks."""
    covered = first
    for token in range(first, tokens):
        stop = np.uint64(stops[token])
        runs = np.int64(0)
        if token + _1 < tokens:
            runs = _runs_at(text, start, begin, token, tokens, lengths, slots, strings, masks, stops)
        if runs:
            covered = max(covered, token + _longest_run(runs))
        if token < covered:
            stops[token] = np.int64(-1) - (np.int64(stop - begin) << _BYTES | runs)
        begin = stop


@view_leaf
def _choose(first: Any, tokens: Any, stops: Any) -> Any:
    """Marks the runs that are taken, in spaCy's order: the most tokens first, then the earliest. Gives their number.

    A run is refused when its first or last token was seen in an earlier one, also in one that was refused.
    """
    taken = _0
    for length in range(MOST_TOKENS, 1, -1):
        bit = 1 << length
        for token in range(first, tokens):
            if stops[token] >= 0:
                continue
            marks = np.int64(-1) - stops[token]
            if not marks & bit or marks & _TAKEN:
                continue
            end = token + np.uint64(length)
            if not (marks | (np.int64(-1) - stops[end - _1])) & _SEEN:
                stops[token] = np.int64(-1) - ((marks & ~_MARKS) | bit | _TAKEN)
                taken += _1
            for inner in range(token, end):
                stops[inner] = np.int64(-1) - ((np.int64(-1) - stops[inner]) | _SEEN)
    return taken


@view_leaf
def _rewrite(
    text: Bytes,
    start: Any,
    begin: Any,
    first: Any,
    tokens: Any,
    growth: Any,
    slots: Any,
    strings: Any,
    masks: Any,
    stops: Any,
) -> Any:
    """Replaces the runs that are taken and puts the stops back; gives the new number of tokens.

    An exception can have more tokens than its run ("°", "C." is "°", "C", "."), so the tokens are first moved up by as
    many as can be added.
    """
    for token in range(tokens - first):
        stops[tokens - _1 - token + growth] = stops[tokens - _1 - token]
    token, written = first + growth, first
    while token < tokens + growth:
        if stops[token] >= 0:
            begin = np.uint64(stops[token])
            stops[written] = begin
            written, token = written + _1, token + _1
            continue
        marks = np.int64(-1) - stops[token]
        if not marks & _TAKEN:
            begin += np.uint64(marks >> _BYTES)
            stops[written] = begin
            written, token = written + _1, token + _1
            continue
        end, stop = token + _longest_run(marks & _MARKS), begin
        while token < end:
            stop += np.uint64((np.int64(-1) - stops[token]) >> _BYTES)
            token += _1
        number = find(text, start + begin, start + stop, slots, strings, masks)
        written = write_rule(masks[number, RULE], begin, stops, written)
        begin = stop
    return written


@view_leaf
def apply_special_cases(
    text: Bytes, start: Any, tokens: Any, lengths: Any, slots: Any, strings: Any, masks: Any, stops: Any
) -> Any:
    """Cuts anew what is an exception among the `tokens` tokens of the chunk at `start`; gives their new number."""
    first, begin = _0, _0
    while first + _1 < tokens and not _runs_at(
        text, start, begin, first, tokens, lengths, slots, strings, masks, stops
    ):
        begin = np.uint64(stops[first])
        first += _1
    if first + _1 >= tokens:
        return tokens
    _mark(text, start, begin, first, tokens, lengths, slots, strings, masks, stops)
    growth = min(_choose(first, tokens, stops), np.uint64(len(stops)) - tokens)
    return _rewrite(text, start, begin, first, tokens, growth, slots, strings, masks, stops)

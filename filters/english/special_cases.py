"""spaCy's last step: runs of tokens that together are an exception are cut anew as the exception says.

A suffix can leave half of an exception behind, as in ":)." or "8a.m.)"; spaCy looks for the exceptions' tokens again
in all it has found, the longest run first.
Costs about 3 ns per token where no run of tokens can be an exception, and 2 bytes per token where one is.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..kernel import leaf
from .strings import LONGEST, PATTERN, RULE, find, lengths_from

Bytes = npt.NDArray[np.uint8]

MOST_TOKENS: Final = 15  # of a run, so that a bit set of run lengths fits 16 bits beside two marks
_SEEN, _TAKEN = np.uint16(1), np.uint16(2)  # bit r from 2 on: a run of r tokens that starts here is an exception

_0, _1, _2, _32 = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(32)
_LONGEST = np.uint64(LONGEST)


@leaf
def _runs_at(
    text: Bytes, start: Any, token: Any, tokens: Any, lengths: Any, slots: Any, strings: Any, masks: Any, stops: Any
) -> Any:
    """Bit set of the numbers of tokens, two or more, that together are an exception's pattern: uint16."""
    begin = np.uint64(stops[token - _1]) if token > _0 else _0
    candidates = lengths_from(text, start + begin, start + np.uint64(stops[tokens - _1]), lengths) >> _32
    runs = np.uint16(0)
    if candidates == _0:
        return runs
    pattern = _1 << (np.uint64(stops[token]) - begin) if np.uint64(stops[token]) - begin <= _LONGEST else _0
    last = token + _1
    while last < tokens and pattern:
        length = np.uint64(stops[last]) - begin
        if length > _LONGEST:
            break
        pattern |= _1 << length
        if candidates >> length & _1:
            number = find(text, start + begin, start + begin + length, slots, strings, masks)
            if number >= 0 and np.uint64(masks[number, PATTERN]) == pattern:
                runs |= np.uint16(1) << np.uint16(last - token + _1)
        last += _1
    return runs


@leaf
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


@leaf
def _choose(runs: Any) -> None:
    """Marks the runs that are taken, in spaCy's order: the most tokens first, then the earliest.

    A run is refused when its first or last token was seen in an earlier one, also in one that was refused.
    """
    for length in range(MOST_TOKENS, 1, -1):
        bit = np.uint16(1 << length)
        for token in range(len(runs)):
            if not runs[token] & bit or runs[token] & _TAKEN:
                continue
            if not (runs[token] | runs[token + length - 1]) & _SEEN:
                runs[token] = bit | _TAKEN
            for inner in range(token, token + length):
                runs[inner] |= _SEEN


@leaf
def _run_length(run: Any) -> Any:
    length = _0
    run = np.uint64(run) >> _2
    while run:
        length += _1
        run >>= _1
    return length + _1


@leaf
def _rewrite(
    text: Bytes, start: Any, first: Any, tokens: Any, runs: Any, slots: Any, strings: Any, masks: Any, stops: Any
) -> Any:
    """Replaces the runs that are taken; gives the new number of tokens. `runs[0]` is of the token `first`.

    An exception can have more tokens than its run ("°", "C." is "°", "C", "."), so the tokens are first moved up by as
    many as can be added.
    """
    growth = _0
    for token in range(first, tokens):
        if runs[token - first] & _TAKEN:
            growth += _1
    room = np.uint64(len(stops)) - tokens
    growth = min(growth, room)
    for token in range(tokens - first):
        stops[tokens - _1 - token + growth] = stops[tokens - _1 - token]
    token, written = first, first
    begin = np.uint64(stops[first - _1]) if first > _0 else _0
    while token < tokens:
        run = runs[token - first]
        if run & _TAKEN:
            last = token + _run_length(run) - _1
            stop = np.uint64(stops[last + growth])
            number = find(text, start + begin, start + stop, slots, strings, masks)
            written = write_rule(masks[number, RULE], begin, stops, written)
            token, begin = last + _1, stop
        else:
            begin = np.uint64(stops[token + growth])
            stops[written] = begin
            written += _1
            token += _1
    return written


@leaf
def apply_special_cases(
    text: Bytes, start: Any, tokens: Any, lengths: Any, slots: Any, strings: Any, masks: Any, stops: Any
) -> Any:
    """Cuts anew what is an exception among the `tokens` tokens of the chunk at `start`; gives their new number."""
    first = _0
    while first + _1 < tokens:
        if _runs_at(text, start, first, tokens, lengths, slots, strings, masks, stops):
            break
        first += _1
    if first + _1 >= tokens:
        return tokens
    runs = np.empty(tokens - first, np.uint16)
    for token in range(first, tokens):
        runs[token - first] = _runs_at(text, start, token, tokens, lengths, slots, strings, masks, stops)
    _choose(runs)
    return _rewrite(text, start, first, tokens, runs, slots, strings, masks, stops)

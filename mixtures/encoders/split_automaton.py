"""Patterns compiled to a table that finds the next piece of a text in one pass, byte by byte.

A backtracking engine costs most of a tokenizer's time on ordinary text. The table finds the very same matches: its
states are the threads of a backtracking search in the order in which it would try them (Cox 2010, "Regular Expression
Matching in the Wild"; leftmost-first determinization). Costs about 50 ms to make and 1.2 MB.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from .character_classes import CODE_POINTS, Mask
from .split_patterns import Ahead, Choice, Node, NotUnderstoodError, Repeat, Sequence, Set

DEAD: Final = 0
_LARGEST: Final = 4_000  # states; the patterns in use need fewer than 60


@dataclass(frozen=True)
class Splits:
    """How texts are cut: by each pattern in turn, the pieces of one by the next.

    `classes` uint8[CODE_POINTS]: what a character is to the patterns. `table` int32[states, classes + 1]: at a state,
    before a character of a class (the last column: before the end), twice the next state, plus 1 where what was read
    so far is a match. `starts` int32[levels]: each pattern's first state. State 0 is the end of all matching.
    """

    classes: npt.NDArray[np.uint8]
    table: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]

    def covers(self, level: int) -> bool:
        """Whether a piece of any text begins with a match: no text is left between matches."""
        after = {int(entry) >> 1 for entry in self.table[self.starts[level], :-1]}
        return all(state != DEAD and bool((self.table[state] & 1).all()) for state in after)


@dataclass(frozen=True)
class _Step:
    """What a thread does next: consumes a character of set `mask`, looks ahead, forks, or (without either) matches."""

    mask: int = -1
    ahead: bool = False
    at_end: bool = False
    to: int = -1
    forks: tuple[int, ...] = ()

    @property
    def matches(self) -> bool:
        return self.mask < 0 and not self.forks


class _Program:
    """Threads' steps, and the sets that they name."""

    def __init__(self) -> None:
        self.steps: list[_Step] = [_Step()]  # 0: a match
        self.masks: list[Mask] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, node: Node, behind: int) -> int:
        """The number of the step that does a node and goes on at `behind`."""
        if isinstance(node, Set):
            return self._new(_Step(mask=self._number(node.mask), to=behind))
        if isinstance(node, Ahead):
            return self._new(_Step(mask=self._number(node.mask), ahead=True, at_end=node.at_end, to=behind))
        if isinstance(node, Sequence):
            for item in reversed(node.items):
                behind = self.add(item, behind)
            return behind
        if isinstance(node, Choice):
            return self._new(_Step(forks=tuple(self.add(option, behind) for option in node.options)))
        return self._repeat(node, behind)

    def _repeat(self, node: Repeat, behind: int) -> int:
        if _may_be_empty(node.node):
            raise NotUnderstoodError("a repetition of what may be empty")
        if node.high is None:
            loop = self._new(_Step())
            self.steps[loop] = _Step(forks=(self.add(node.node, loop), behind))
            behind = loop
        else:
            last = behind
            for _ in range(node.high - node.low):
                behind = self._new(_Step(forks=(self.add(node.node, behind), last)))
        for _ in range(node.low):
            behind = self.add(node.node, behind)
        return behind

    def _new(self, step: _Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _number(self, mask: Mask) -> int:
        key = np.packbits(mask).tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.masks)
            self.masks.append(mask)
        return self._numbers[key]

    def threads(self, starts: Iterable[int], seen: set[int]) -> list[int]:
        """The consuming, looking and matching steps that lie behind forks, in the order of trying."""
        found: list[int] = []
        waiting = list(starts)[::-1]
        while waiting:
            number = waiting.pop()
            if number in seen:
                continue
            seen.add(number)
            if self.steps[number].forks:
                waiting.extend(self.steps[number].forks[::-1])
            else:
                found.append(number)
        return found


def compile_splits(nodes: tuple[Node, ...]) -> Splits:
    """The table of patterns that are applied one within the other.

    Raises:
        NotUnderstoodError: a pattern that may match nothing, or that needs too many states.
    """
    program = _Program()
    starts = [program.add(node, 0) for node in nodes]
    classes, members = _classes(program.masks)
    rows: list[list[int]] = [[0] * (members.shape[1] + 1)]
    numbers: dict[tuple[int, ...], int] = {(): DEAD}
    states: list[tuple[int, ...]] = [()]

    def number_of(threads: list[int]) -> int:
        key = tuple(threads)
        if key not in numbers:
            numbers[key] = len(states)
            states.append(key)
        return numbers[key]

    first = [number_of(program.threads([start], set())) for start in starts]
    done = 1
    while done < len(states):
        if len(states) > _LARGEST:
            raise NotUnderstoodError("a pattern of too many states")
        row = []
        for column in range(members.shape[1] + 1):
            is_end = column == members.shape[1]
            matched, following = _advance(program, states[done], None if is_end else members[:, column])
            row.append(number_of(following) << 1 | matched)
        rows.append(row)
        done += 1
    table = np.array(rows, np.int32).reshape(len(rows), -1)
    if (table[first] & 1).any():
        raise NotUnderstoodError("a pattern that may match nothing")
    return Splits(classes, table, np.array(first, np.int32))


def _advance(program: _Program, state: tuple[int, ...], member: Mask | None) -> tuple[bool, list[int]]:
    """Whether a state has matched before a character, and the threads behind it; `member` is None at the end."""
    waiting = list(state)[::-1]
    tried: set[int] = set()
    seen: set[int] = set()
    following: list[int] = []
    while waiting:
        number = waiting.pop()
        if number in tried:
            continue
        tried.add(number)
        step = program.steps[number]
        if step.matches:
            return True, following
        holds = step.at_end if member is None and step.ahead else member is not None and bool(member[step.mask])
        if not holds:
            continue
        if step.ahead:
            waiting.extend(program.threads([step.to], set())[::-1])
        else:
            following.extend(program.threads([step.to], seen))
    return False, following


def _classes(masks: list[Mask]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Characters that no set tells apart are one class: uint8[CODE_POINTS], and bool[sets, classes]."""
    edges = np.unique(np.concatenate([[0], *(np.flatnonzero(mask[1:] != mask[:-1]) + 1 for mask in masks)]))
    runs = np.stack([mask[edges] for mask in masks] or [np.zeros(len(edges), np.bool_)])
    members, of_run = np.unique(runs, axis=1, return_inverse=True)
    if members.shape[1] > np.iinfo(np.uint8).max:
        raise NotUnderstoodError("a pattern that tells too many kinds of characters apart")
    return np.repeat(of_run.ravel().astype(np.uint8), np.diff(edges, append=CODE_POINTS)), members


def _may_be_empty(node: Node) -> bool:
    if isinstance(node, Set):
        return False
    if isinstance(node, Ahead):
        return True
    if isinstance(node, Sequence):
        return all(map(_may_be_empty, node.items))
    if isinstance(node, Choice):
        return any(map(_may_be_empty, node.options))
    return node.low == 0 or _may_be_empty(node.node)

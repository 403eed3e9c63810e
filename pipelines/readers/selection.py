"""Which records of a task are read: all of them, but for those that kill their process, or a range that is tried.

Records are numbered through a task's splits as they lie there (lines that are not blank, rows, files), before anything
parses them, so that a record which kills the parser can be passed by. A task without such records has no selection, and
pays nothing.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby

SKIP = ""  # the verdict on a record that is passed by without a word


class Selection:
    """Gives a verdict on one record after the other; one object serves one reading of one task.

    Args:
        start: the first record that is read.
        stop: one past the last.
        poisoned: records that are not read, each with what is said of it: why it is set aside, or `SKIP`.
    """

    def __init__(self, start: int = 0, stop: int = sys.maxsize, poisoned: Mapping[int, str] | None = None) -> None:
        self.start, self.stop = start, stop
        self.poisoned = poisoned or {}
        self.seen = 0

    @classmethod
    def trial(cls, start: int, stop: int, poisoned: Mapping[int, str]) -> "Selection":
        """A range alone, without the records that are known to kill."""
        return cls(start, stop, dict.fromkeys(poisoned, SKIP))

    @property
    def wanted(self) -> bool:
        """Whether the next record is one to read."""
        return self.start <= self.seen < self.stop and self.seen not in self.poisoned

    def next(self) -> str | None:
        """The verdict on the next record: None to read it, `SKIP`, or why it is set aside."""
        number = self.seen
        self.seen += 1
        return self.poisoned.get(number) if self.start <= number < self.stop else SKIP

    def passes(self, count: int) -> bool:
        """Passes by the next records at once where none of them is in the range."""
        outside = self.seen >= self.stop or self.seen + count <= self.start
        self.seen += count * outside
        return outside

    def runs(self, count: int) -> Sequence[tuple[str | None, int, int]]:
        """The verdicts on the next `count` records, as runs of equal ones: verdict, first and one past the last."""
        verdicts = [self.next() for _ in range(count)]
        return [
            (verdict, numbers[0], numbers[-1] + 1)
            for verdict, group in groupby(range(count), verdicts.__getitem__)
            if (numbers := list(group))
        ]

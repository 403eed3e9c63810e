"""The limits of time and size of a template's rendering.

A value that is too large is refused where it is made, or before, where it can be told. Costs a clock read, or a look at
a length.
"""

import time
from collections.abc import Iterable
from typing import Any, Final

from . import growth

SECONDS: Final = 10.0
"""Of the processor that a rendering may take: a machine that is busy with others is no reason to stop."""

GROWTH, SLACK = 8, 1 << 20
"""A rendering, and each value on its way, has at most this many characters for each of the messages, and as many
more."""


class LimitError(Exception):
    """A rendering took too long, grew too large, or would be another one tomorrow."""


class Limits:
    """The deadline and the size of the rendering that is going on in this process."""

    def __init__(self) -> None:
        self.deadline = 0.0
        self.size = 0

    def start(self, characters: int) -> None:
        """A rendering of messages with so many characters begins."""
        self.deadline = time.thread_time() + SECONDS
        self.size = GROWTH * characters + SLACK

    def tick(self) -> None:
        """Raises LimitError where its time is over."""
        if time.thread_time() > self.deadline:
            raise LimitError(f"the template took more than {SECONDS:g} seconds")

    def check(self, value: Any) -> Any:
        """The value, which somebody made.

        Raises:
            LimitError: it is too large.
        """
        if isinstance(value, str | bytes | list | tuple) and len(value) > self.size:
            raise LimitError(f"the template made a value of {len(value):,} characters, {self.size:,} at most")
        return value

    def numbers(self, values: Iterable[Any], where: str) -> None:
        """Raises LimitError where one of some arguments is a number that may be a size, and too large for one."""
        for value in values:
            if isinstance(value, int) and abs(value) > self.size:
                raise LimitError(f"the template passes the number {value:,} to {where}")

    def foresee(self, characters: int, where: str) -> None:
        """Raises LimitError where so many characters are too many."""
        if characters > self.size:
            raise LimitError(f"the template would make a text of more than {self.size:,} characters by {where}")

    def written(self, *values: Any) -> None:
        """Foresees what values come to as text; a text is one already."""
        for value in values:
            if not isinstance(value, str):
                self.foresee(growth.written(value, self.size), f"writing a {type(value).__name__}")

    def output(self, value: Any) -> Any:
        """A value that the template writes, foreseen."""
        if self.deadline:  # else the template is being compiled
            self.written(value)
        return value

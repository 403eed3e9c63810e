"""Pairs of a reply and a gold answer that a person labelled: 600 before the checker was written, the others later."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAIRS = Path(__file__).with_name("pairs.txt")


SIGNS = {" == ": "right", " != ": "wrong", " ?? ": "cannot_tell"}


class Pair(NamedTuple):
    """A reply and a gold answer of one kind, and what a person says of them without the question."""

    kind: str
    label: str
    reply: str
    gold: str


def read() -> Iterator[Pair]:
    """The pairs of the file: a line without a sign names the kind of those below it."""
    kind = ""
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        sign = next((sign for sign in SIGNS if sign in line), None)
        if sign is None:
            kind = line
            continue
        reply, gold = line.replace("⏎", "\n").split(sign, 1)
        yield Pair(kind, SIGNS[sign], reply, gold)

"""Verdicts on replies, and the replies kept for people to read.

A score says how often a model is right; what it said when it was wrong, and how it failed, says what to do about it.
Costs one line of JSON a reply.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

from ... import storage

Kind = Literal["passed", "wrong", "no answer", "cut off", "error", "timeout", "memory", "refused"]
"""`wrong`: a test or the answer disagrees. `error`: the code raised something else, or crashed. `timeout`, `memory`:
its limits. `refused`: the sandbox did not let it touch files, network or processes. `cut off`: it did not end."""


@dataclass(frozen=True)
class Verdict:
    """What a reply is worth, and why in a few words."""

    kind: Kind
    detail: str = ""


@dataclass(frozen=True)
class Sample:
    """One reply to one problem of a benchmark, with its verdict."""

    benchmark: str
    problem: str
    prompt: str
    reply: str
    verdict: Kind
    detail: str


def write(path: str | Path, samples: Iterable[Sample]) -> None:
    """Writes samples as lines of JSON; the file appears when it is complete."""
    with storage.atomic_write(Path(path)) as stream:
        stream.writelines(orjson.dumps(asdict(sample)) + b"\n" for sample in samples)

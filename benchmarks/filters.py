"""The rule sets against datatrove's: MB of text per second of one core's user time, in one process, in turn.

A claim of speed counts for what it was measured beside, on text that others can name, and with the same decisions. Each
rule set runs with an empty chunk cache, and again when the cache has seen about 250 MB of other text but not this one.
Costs about 10 minutes: three rounds over a slice of 12 MB, of which datatrove takes nearly all.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datatrove.data import Document
from midtrain.filters import chunk_cache
from published_filters import Pair, decide, pairs, their_verdict, verdicts
from rows import Row, heading, show, write
from slices import SLICE_BYTES, Slice, stratified, user_seconds

ROUNDS = 3
# Ratio to datatrove's decisions, from an empty cache, when every value is written.
ALL_VALUES = {"gopher_repetition": 65.0, "fineweb_quality": 33.0}


@dataclass(frozen=True)
class Seconds:
    """User seconds of one round, and what the empty cache met."""

    empty: float
    steady: float
    values: float
    segmentation: float
    segmentation_steady: float
    peer: float
    missed: int
    missed_steady: int


def measure(pair: Pair, text: Slice) -> Seconds:
    """One round: with an empty cache, with every value, steady, and the peer."""

    def run() -> object:
        return decide(pair.ours, text.fresh())

    def score() -> object:
        return [step.scores(text.fresh()) for step in pair.ours]

    documents = [Document(text=one, id=str(number)) for number, one in enumerate(text.texts)]
    chunk_cache.clear()
    empty = user_seconds(run)
    missed = chunk_cache.figures().missed
    peer = user_seconds(lambda: [their_verdict(pair.theirs, document) for document in documents])
    chunk_cache.clear()
    values = user_seconds(score) if pair.name in ALL_VALUES else float("nan")
    chunk_cache.clear()
    segmentation = user_seconds(text.segment)
    text.warm()
    before = chunk_cache.figures().missed
    steady = user_seconds(run)
    missed_steady = chunk_cache.figures().missed - before
    text.warm()
    return Seconds(empty, steady, values, segmentation, user_seconds(text.segment), peer, missed, missed_steady)


def rows_of(pair: Pair, text: Slice) -> list[Row]:
    """Medians of ROUNDS rounds, after the kernels were compiled or loaded; prints what the table does not hold."""
    decide(pair.ours, text.fresh())
    if pair.name in ALL_VALUES:
        [step.scores(text.fresh()) for step in pair.ours]
    rounds = [measure(pair, text) for _ in range(ROUNDS)]

    def speed(of: Callable[[Seconds], float]) -> float:
        return text.megabytes / statistics.median(map(of, rounds))

    peer = speed(lambda seconds: seconds.peer)
    empty, steady = speed(lambda seconds: seconds.empty), speed(lambda seconds: seconds.steady)
    raw, raw_steady = speed(lambda seconds: seconds.segmentation), speed(lambda seconds: seconds.segmentation_steady)
    made = [(f"{pair.name}, empty cache", empty, pair.empty), (f"{pair.name}, steady", steady, pair.steady)]
    if pair.name in ALL_VALUES:
        made.append((f"{pair.name}, all values", speed(lambda seconds: seconds.values), ALL_VALUES[pair.name]))
    rows = [
        Row(name, ours, peer, "MB/s of user time", ours / peer, target, ours / peer >= target)
        for name, ours, target in made
    ]
    for row in rows:
        show(row)
    new, new_steady = (statistics.median(getattr(one, name) for one in rounds) for name in ("missed", "missed_steady"))
    print(
        f"    new chunks per MB {new / text.megabytes:,.0f} and {new_steady / text.megabytes:,.0f}; "
        f"of the raw segmentation's speed ({raw:.0f} and {raw_steady:.0f} MB/s) {empty / raw:.2f} and "
        f"{steady / raw_steady:.2f}; cache {chunk_cache.figures().memory_bytes / 2**20:.0f} MiB",
        flush=True,
    )
    return rows


def agreement(pair: Pair, text: Slice) -> Row:
    """The share of documents with the same decision, reason and text."""
    ours = verdicts(pair.ours, text.fresh())
    theirs = [their_verdict(pair.theirs, Document(text=one, id="")) for one in text.texts]
    same = sum(mine == their for mine, their in zip(ours, theirs, strict=True)) / len(ours)
    row = Row(f"{pair.name}, same decisions", same, 1.0, "share of documents", same, 0.999, same >= 0.999)
    return show(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="rule sets whose name begins so")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    chosen = [pair for pair in pairs() if pair.name.startswith(arguments.only)]
    if not chosen:
        parser.error(f"no rule set begins with {arguments.only}")
    text = Slice(*stratified(arguments.data, SLICE_BYTES))
    print(
        f"{len(text.texts)} documents, {text.megabytes:.1f} MB of every file of {arguments.data}, steady after "
        f"{text.other_megabytes:.0f} MB of the others; medians of {ROUNDS}; peer: datatrove 0.10.1"
    )
    heading()
    rows = [row for pair in chosen for row in (agreement(pair, text), *rows_of(pair, text))]
    write(rows, arguments.json)


if __name__ == "__main__":
    main()

"""Every document of every corpus: our decisions, reasons, texts and values beside those of datatrove.

A sample can miss the documents that differ; this looks at all, and prints those that do so that they can be explained
(docs/parity.md).
Costs about 15 minutes of two cores for 250 MB, nearly all of it datatrove's.
"""

import argparse
import functools
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import reference_values
from datatrove.data import Document
from datatrove.utils.word_tokenizers import SpaCyTokenizer
from midtrain.filters.rules import Filter
from published_filters import Pair, pairs, their_verdict, verdicts
from slices import batch_of, corpora, texts_of

BATCH = 256  # documents
SHOWN = 20
TOLERANCE = 1e-9
LEAST_DECISIONS, LEAST_VALUES = 0.999, 0.995
VALUES: dict[str, Callable[[str], dict[str, float]]] = {
    "gopher_quality": reference_values.gopher_quality,
    "gopher_repetition": reference_values.gopher_repetition,
    "fineweb_quality": reference_values.fineweb_quality,
}


@dataclass
class Found:
    """Documents looked at and documents that differ, by what was compared."""

    looked_at: Counter[str] = field(default_factory=Counter)
    differ: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    shown: list[str] = field(default_factory=list)

    def add(self, other: "Found") -> None:
        self.looked_at.update(other.looked_at)
        self.differ.update(other.differ)
        self.kept.update(other.kept)
        self.shown += other.shown

    def note(self, what: str, same: bool, difference: str) -> None:
        self.looked_at[what] += 1
        if not same:
            self.differ[what] += 1
            self.shown.append(f"{what}: {difference}")


def compare(job: tuple[str, int, list[str], str]) -> Found:
    """Looks at some documents of a file, the first of them its number `first`."""
    name, first, texts, only = job
    found = Found()
    for pair in _pairs():
        if pair.name.startswith(only):
            _decisions(pair, name, first, texts, found)
            if pair.name in VALUES:
                _values(pair.name, pair.ours[0], name, first, texts, found)
    return found


def _decisions(pair: Pair, name: str, first: int, texts: list[str], found: Found) -> None:
    for number, (text, ours) in enumerate(zip(texts, verdicts(pair.ours, batch_of(texts)), strict=True)):
        try:
            theirs = their_verdict(pair.theirs, Document(text=text, id=""))
        except ZeroDivisionError:
            found.differ[f"{pair.name}, datatrove divides by zero"] += 1
            continue
        difference = f"{name} {first + number}: {ours.reason or 'kept'} for {theirs.reason or 'kept'}"
        found.note(pair.name, ours == theirs, difference)
        found.kept[pair.name] += not theirs.reason


def _values(pair: str, step: Filter, name: str, first: int, texts: list[str], found: Found) -> None:
    ours = step.scores(batch_of(texts))
    for number, text in enumerate(texts):
        for rule, value in VALUES[pair](text).items():
            mine = float(ours[rule][number])
            same = abs(mine - value) <= TOLERANCE
            found.note(f"{pair}.{rule}", same, f"{name} {first + number}: {mine!r} for {value!r}")


_made: list[Pair] = []


def _pairs() -> list[Pair]:
    if not _made:
        _split_once()
        _made.extend(pairs())
    return _made


def _split_once() -> None:
    """Has spaCy split a text once for all of datatrove's blocks that look at it: most of the time goes there."""
    for name in ("word_tokenize", "sent_tokenize", "span_tokenize"):
        split = functools.lru_cache(2 * BATCH)(getattr(SpaCyTokenizer, name))
        setattr(SpaCyTokenizer, name, lambda self, text, split=split: list(split(self, text)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--json", type=Path, help="write the counts there")
    parser.add_argument("--only", default="", help="rule sets whose name begins so")
    parser.add_argument("--every", type=int, default=1, help="look at every k-th batch of documents alone")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("give --data DIR or set MIDTRAIN_DATA")
    total = Found()
    with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
        jobs = _jobs(arguments.data, arguments.every, arguments.only)
        for number, found in enumerate(pool.imap_unordered(compare, jobs), 1):
            total.add(found)
            if number % (len(jobs) // 10 + 1) == 0:  # half an hour is long enough to want to know
                print(f"{number} of {len(jobs)} batches, {sum(total.differ.values())} differences", flush=True)
    _report(total)
    if arguments.json:
        rows = [
            {"name": name, "documents": number, "differ": total.differ[name]}
            for name, number in total.looked_at.items()
        ]
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def _jobs(folder: Path, every: int, only: str) -> list[tuple[str, int, list[str], str]]:
    jobs = []
    for path in corpora(folder):
        texts = list(texts_of(path))
        starts = range(0, len(texts), BATCH)
        jobs += [(path.name, start, texts[start : start + BATCH], only) for start in starts]
    return jobs[::every]


def _report(total: Found) -> None:
    print(f"{'':50}{'documents':>10}{'kept':>10}{'differ':>8}{'same':>12}")
    for name in sorted(total.looked_at):
        number, differ = total.looked_at[name], total.differ[name]
        least = LEAST_VALUES if "." in name else LEAST_DECISIONS
        kept = f"{total.kept[name]:,}" if name in total.kept else ""
        missed = "" if (number - differ) / number >= least else "  MISSED"
        print(f"{name:50}{number:10,}{kept:>10}{differ:8,}{(number - differ) / number:12.6f}{missed}")
    for name in sorted(set(total.differ) - set(total.looked_at)):
        print(f"{name:50}{total.differ[name]:10,} documents, left out above")
    for line in total.shown[:SHOWN]:
        print("   ", line)


if __name__ == "__main__":
    main()

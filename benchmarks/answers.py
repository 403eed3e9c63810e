"""The checker of final answers: verifications a second of one core, errors on labelled pairs, and hostile answers.

A checker is in the way of every sampled trace, so it has to be fast where answers are plain and must not hang where
they are not; math-verify, on whose parser of LaTeX ours stands, is asked the same in turn.
Costs about a minute, half of it for the hostile answers, which only ours is asked; the peer's limit is a signal.
"""

import argparse
import logging
import os
import random
import runpy
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from math_verify import parse, verify
from midtrain.filters.answers import Checker, agree, extract
from midtrain.filters.answers.symbolic import Algebra
from rows import Row, heading, show, write
from slices import records_of, user_seconds

TESTS = Path(__file__).resolve().parent.parent / "tests" / "filters" / "answers"
PLAIN, PEER_PLAIN = 100_000, 1_000  # pairs of plain numbers; the peer is slower
PER_CORE = 1_000  # verifications a second that are asked for
FALSE_ACCEPTS, FALSE_REJECTS, UNTOLD = 0.005, 0.02, 0.02
SLOWEST = 5.0  # seconds for a hostile pair
# Kinds of pairs that are words, which the peer does not claim to compare.
WORDS = frozenset(
    (
        *("text", "yes and no", "dates and times", "multiple choice", "numbers in words", "alternatives"),
        *("sentences around a number", "answers in sentences", "ranges and bounds", "parts of a question", "money"),
        *("other languages", "choices and words", "whole replies"),
    )
)


class Judged(NamedTuple):
    """A pair's kind, what a person says of it, and what each checker does."""

    kind: str
    label: str
    ours: str
    peer: str


def peer(reply: str, gold: str) -> str:
    """What math-verify says of two final answers, each in a box, as models and data sets write them."""
    sides = [parse(f"\\boxed{{{text}}}") for text in (gold, reply)]
    return "right" if verify(*sides) else "wrong"


def plain() -> list[Row]:
    """Pairs of plain numbers, half of them equal, in other spellings."""
    draw = random.Random(1)
    pairs = []
    for _ in range(PLAIN):
        value = draw.randrange(10 ** draw.randrange(1, 7))
        spelling = draw.choice((f"{value}", f"{value:,}", f"{value}.0", f"${value}$"))
        pairs.append((spelling, str(value + draw.randrange(2))))
    wrong = Counter[str]()

    def ours() -> None:
        for reply, gold in pairs:
            same = float(reply.replace(",", "").strip("$")) == float(gold)
            wrong["ours"] += agree(reply, gold).right != same

    def theirs() -> None:
        for reply, gold in pairs[:PEER_PLAIN]:
            peer(reply, gold)

    theirs()  # its first call compiles its patterns
    speed, other = PLAIN / user_seconds(ours), PEER_PLAIN / user_seconds(theirs)
    unit = "verifications/s of user time"
    return [
        show(Row("plain numbers", speed, other, unit, speed / other, 1.0, speed >= other)),
        show(Row("plain numbers, asked for", speed, PER_CORE, unit, speed / PER_CORE, 1.0, speed >= PER_CORE)),
        show(Row("plain numbers, errors", wrong["ours"], 0, "pairs", wrong["ours"], 0, not wrong["ours"])),
    ]


def labelled() -> list[Row]:
    """The pairs that the tests have labels for: speed and errors of both, and of the peer without those of words."""
    pairs = [pair for pair in runpy.run_path(str(TESTS / "labelled.py"))["read"]() if pair.label != "cannot_tell"]
    finals = [(_final(one.reply), _final(one.gold)) for one in pairs]
    ours, theirs, algebra = list[str](), list[str](), Algebra()
    agree("\\sqrt{8}", "2\\sqrt{2}", algebra)  # loads the parser
    spent = user_seconds(lambda: ours.extend(agree(*final, algebra).value for final in finals))
    other = user_seconds(lambda: theirs.extend(peer(*final) for final in finals))
    found = [Judged(one.kind, one.label, *said) for one, *said in zip(pairs, ours, theirs, strict=True)]
    speed, their_speed = len(pairs) / spent, len(pairs) / other
    rows = [show(Row("labelled pairs", speed, their_speed, "verifications/s of user time", other / spent, 1.0, True))]
    formulas = [one for one in found if one.kind not in WORDS]
    for name, judged in (("all", found), ("numbers and formulas", formulas)):
        print(f"{len(judged)} labelled pairs, {name}; ratio: less than the peer's")
        rows += _errors(name, judged)
    return rows


def _final(text: str) -> str:
    found = extract(text)
    return found.answer if found else ""


def _errors(name: str, judged: Sequence[Judged]) -> list[Row]:
    labels = Counter(one.label for one in judged)
    kinds = (
        ("false accepts", "wrong", "right", FALSE_ACCEPTS, labels["wrong"]),
        ("false rejects", "right", "wrong", FALSE_REJECTS, labels["right"]),
        ("not told", "", "cannot_tell", UNTOLD, len(judged)),
    )
    rows = []
    for what, label, said, most, of in kinds:
        ours, theirs = (
            sum(value == said and one.label in (label or one.label) for one in judged for value in [getattr(one, side)])
            for side in ("ours", "peer")
        )
        share, other = ours / of, theirs / of
        rows.append(show(Row(f"{name}: {what}", share, other, "share", share - other, most, share <= most)))
    return rows


def bombs() -> list[Row]:
    """Hostile pairs, one after the other: the slowest, and whether the pool's workers live on."""
    hostile = runpy.run_path(str(TESTS / "bombs.py"))["BOMBS"]
    took = {}
    with Checker(1) as checker:
        checker.agree("\\sqrt{8}", "2\\sqrt{2}")
        for name, pair in hostile.items():
            begun = time.monotonic()
            accepted = checker.agree(*pair).right
            took[name] = time.monotonic() - begun
            if accepted:
                print(f"    {name}: taken for right")
        alive = checker.agree("\\sqrt{8}", "2\\sqrt{2}").right
    name, slowest = max(took.items(), key=lambda item: item[1])
    print(f"{len(took)} hostile pairs, the slowest: {name}")
    holds = alive and slowest <= SLOWEST
    return [show(Row("hostile pairs, slowest", slowest, SLOWEST, "s by the clock", slowest / SLOWEST, 1.0, holds))]


def labels(folder: Path) -> list[Row]:
    """Whether model solutions of GSM8K that are labelled right or wrong are judged as they are labelled."""
    records = list(records_of(folder / "cot/gsm8k_gpt3_model_solutions.jsonl.gz"))
    finals = [(_final(one["solution"]), _final(one["gold"])) for one in records]
    same = sum(agree(*final).right == one["is_correct"] for final, one in zip(finals, records, strict=True))
    share = same / len(records)
    print(f"{same} of {len(records)} model solutions are judged as their labels say")
    return [show(Row("GSM8K labels", share, 1.0, "share of solutions", share, 0.99, share >= 0.99))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="folder that holds cot/")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="parts whose name begins so: plain, labelled, bombs, labels")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # the peer tells of each answer that it cannot parse
    heading()
    rows = []
    for part in (plain, labelled, bombs):
        if part.__name__.startswith(arguments.only):
            rows += part()
    if arguments.data is not None and "labels".startswith(arguments.only):
        rows += labels(arguments.data)
    write(rows, arguments.json)


if __name__ == "__main__":
    main()

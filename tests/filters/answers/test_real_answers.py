"""The answers of a real corpus agree with themselves in another spelling, and with none whose digit was changed."""

import gzip
import json
import os
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from midtrain.filters.answers import Checker, extract

AROUND = ("${}$", "\\boxed{{{}}}", "The answer is ${}$.", "\\({}\\)", " {} ")


@pytest.fixture(scope="module")
def answers() -> list[str]:
    """2,078 different answers of the MATH training set, integers left out."""
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    with gzip.open(Path(folder) / "cot/math_train_answers.jsonl.gz", "rt", encoding="utf-8") as lines:
        found = dict.fromkeys(json.loads(line)["answer"] for line in lines)
    return [answer for answer in found if answer and not answer.lstrip("-").isdigit()]


def respelled(answer: str, rng: random.Random) -> str:
    if "\\dfrac" in answer:
        answer = answer.replace("\\dfrac", "\\frac")
    else:
        answer = answer.replace("\\frac", "\\dfrac")
    if "\\left" in answer:
        answer = re.sub(r"\\left|\\right", "", answer)
    else:
        answer = answer.replace("(", "\\left(").replace(")", "\\right)")
    return rng.choice(AROUND).format(answer.replace("+", " + "))


def mutated(answer: str, rng: random.Random) -> str | None:
    """The answer with one digit changed; None where it has none that counts."""
    places = [match.start() for match in re.finditer("[0-9]", answer.partition("\\approx")[0])]
    if not places:
        return None
    place = rng.choice(places)
    digit = rng.choice([digit for digit in "123456789" if digit != answer[place]])
    return answer[:place] + digit + answer[place + 1 :]


def pair(reply: str, gold: str) -> tuple[str | None, str | None]:
    first, second = extract(reply), extract(gold)
    return first and first.answer, second and second.answer


def test_another_spelling_agrees(answers: list[str]) -> None:
    rng = random.Random(5)
    pairs = [pair(respelled(answer, rng), answer) for answer in answers]
    with Checker(2, seconds=60) as checker:
        verdicts = checker.agree_all(pairs)
    against = [(*asked, verdict) for asked, verdict in zip(pairs, verdicts, strict=True) if not verdict.right]
    assert len(against) <= 0.005 * len(pairs), against


@pytest.mark.slow
def test_another_digit_does_not(answers: list[str]) -> None:
    rng = random.Random(5)
    asked = [(answer, changed) for answer in answers if (changed := mutated(answer, rng)) is not None]
    with Checker(2, seconds=60) as checker:
        verdicts = checker.agree_all([pair(changed, answer) for answer, changed in asked])
    counts = Counter(verdict.value for verdict in verdicts)
    right = [pair for pair, verdict in zip(asked, verdicts, strict=True) if verdict.right]
    assert counts["right"] <= 0.001 * len(asked), right
    assert counts["cannot_tell"] <= 0.01 * len(asked), counts

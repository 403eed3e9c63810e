"""The checker against answers that were labelled by hand: 600 before it was written, the others as they were found."""

from collections import Counter

import pytest
from midtrain.filters.answers import Checker, Verdict, agree, extract

from .labelled import Pair, read

# Right answers that are known to be taken for wrong ones: a denial before the number, words beside a box or another
# number, a number in words of another language.
KNOWN = {
    "The answer is not 5 but 6.",
    "January 31 falls on a Friday.",
    "**Yes**, such a configuration exists.",
    "The smaller number is $\\boxed{12}$ and the larger is $\\boxed{15}$.",
    "The mean is 4 and the median is 3.",
    "There are 48 boys and 52 girls.",
    "The precipitate is **CaCO3**.",
    "答案：二分之一",
}


def answer(text: str) -> str | None:
    found = extract(text)
    return found and found.answer


@pytest.fixture(scope="module")
def judged() -> list[tuple[Pair, Verdict]]:
    pairs = list(read())
    with Checker(2, seconds=60) as checker:
        verdicts = checker.agree_all([(answer(pair.reply), answer(pair.gold)) for pair in pairs])
    return list(zip(pairs, verdicts, strict=True))


def test_the_set_is_large_and_balanced() -> None:
    pairs = list(read())
    labels = Counter(pair.label for pair in pairs)
    assert len(pairs) >= 800
    assert 0.4 < labels["right"] / len(pairs) < 0.6
    assert labels["wrong"] > 0.4 * len(pairs)
    assert len({pair.kind for pair in pairs}) == 43
    assert len(set(pairs)) == len(pairs)


def test_few_are_judged_against_their_label(judged: list[tuple[Pair, Verdict]]) -> None:
    counts = Counter((pair.label, verdict.value) for pair, verdict in judged)
    labels = Counter(pair.label for pair, _ in judged)
    wrongly = [f"{pair} {verdict}" for pair, verdict in judged if verdict.value != pair.label]
    assert counts["wrong", "right"] + counts["cannot_tell", "right"] <= 0.005 * labels["wrong"], wrongly
    assert counts["right", "wrong"] <= 0.02 * labels["right"], wrongly
    untold = counts["right", "cannot_tell"] + counts["wrong", "cannot_tell"]
    assert untold <= 0.02 * (labels["right"] + labels["wrong"]), wrongly
    assert counts["cannot_tell", "cannot_tell"] == labels["cannot_tell"], wrongly


def test_the_fast_path_alone_is_never_against_a_label_but_may_need_symbols() -> None:
    wrongly = []
    for pair in read():
        verdict = agree(answer(pair.reply), answer(pair.gold))
        if verdict.value != pair.label and verdict.reason not in ("needs symbols", "needs options", "ambiguous"):
            wrongly.append((pair, verdict))
    assert [str(pair) for pair, _ in wrongly if pair.reply not in KNOWN] == []
    assert {pair.reply for pair, _ in wrongly} == KNOWN


@pytest.mark.slow
def test_sides_may_change_places(judged: list[tuple[Pair, Verdict]]) -> None:
    with Checker(2, seconds=60) as checker:
        turned = checker.agree_all([(answer(pair.gold), answer(pair.reply)) for pair, _ in judged])
    assert [pair for (pair, verdict), other in zip(judged, turned, strict=True) if verdict.value != other.value] == []

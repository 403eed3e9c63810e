"""Pairs of problems that only look alike, and pairs of one problem in other words, without gold answers."""

import json
from pathlib import Path

import pytest
from midtrain.filters.problem_dedup import ProblemDedup
from midtrain.filters.statements import Statement, stated, told_apart

PAIRS = [json.loads(line) for line in (Path(__file__).parent / "pairs.jsonl").read_text().splitlines()]


def merged(pair: dict[str, str]) -> bool:
    """Whether problem_dedup would take the two for one."""
    one, other = Statement(stated(pair["one"])), Statement(stated(pair["other"]))
    mine, theirs = set(one.units()), set(other.units())
    return len(mine & theirs) >= ProblemDedup().threshold * len(mine | theirs) and told_apart(one, other) is None


@pytest.mark.parametrize(("kind", "count"), [("siblings", 277), ("paraphrases", 232)])
def test_pairs_are_told(kind: str, count: int) -> None:
    pairs = [pair for pair in PAIRS if pair["are"] == kind]
    assert len(pairs) == count
    assert len({pair["one"] + pair["other"] for pair in pairs}) == count
    found = [pair for pair in pairs if merged(pair)]
    print(f"{kind}: {len(found)} of {len(pairs)} taken for one")
    if kind == "siblings":
        assert len(found) <= 1, found
    else:
        assert len(found) >= 192, [pair for pair in pairs if pair not in found]


def test_the_order_of_a_pair_tells_nothing() -> None:
    turned = [{"one": pair["other"], "other": pair["one"]} for pair in PAIRS]
    assert [merged(pair) for pair in turned] == [merged(pair) for pair in PAIRS]

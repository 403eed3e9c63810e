"""Replays of orders: right ones are right, and each kind of damage is found; gaps against plain Python."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures import order_checks
from midtrain.mixtures.order_checks import _largest_gap, permutes, replayed
from midtrain.mixtures.phases import PhaseFile, PhaseOrder, Pool, SourceEntry, write_phase
from midtrain.mixtures.plans.segments import Curve, phase_counts


def written(root, quotas, curve=None):
    """The order of a phase with these quotas, written and opened."""
    counts, segments = phase_counts(np.array(quotas, np.int64), curve)
    entries = tuple(
        SourceEntry(
            name=f"s{number}",
            share=quota / sum(quotas),
            loss="all",
            quota=quota,
            first_draw=0,
            rest=None,
            full=Pool(index=number, sequences=quota, epoch=0),
        )
        for number, quota in enumerate(quotas)
    )
    file = PhaseFile(
        version=2,
        phase="p",
        seed=1,
        sequence_length=8,
        sequences=sum(quotas),
        segments=segments,
        indexes=tuple(f"packs/s{number}-8-whole-{number:016x}" for number in range(len(quotas))),
        sources=entries,
    )
    return PhaseOrder.open(root, write_phase(root, file, counts))


@pytest.mark.parametrize(
    ("quotas", "curve"),
    [
        ([5, 3, 2], None),
        ([1], None),
        ([150_000, 33_000, 7, 90_001], None),
        (
            [300, 700, 50],
            Curve(
                (Fraction(1, 2), Fraction(2, 5), Fraction(1, 10)),
                (Fraction(0), Fraction(9, 10), Fraction(1, 10)),
                "cosine",
            ),
        ),
    ],
)
def test_a_right_order_is_found_right(tmp_path, quotas, curve):
    found = replayed(written(tmp_path, quotas, curve))
    assert found.wrong_row == -1
    assert 0 <= found.gap < 1


def test_counts_of_another_order_are_found(tmp_path):
    order = written(tmp_path, [150_000, 33_000, 7, 90_001])
    counts = order.counts.copy()
    counts[2, 0] += 1
    counts[2, 1] -= 1
    assert replayed(replace(order, counts=counts)).wrong_row == 2
    counts[2, 1] += 1  # no longer as many as places before it
    assert replayed(replace(order, counts=counts)).wrong_row == 2
    counts[0, 0] = 5  # before the first place
    with pytest.raises(RunError, match="do not belong to this place"):
        replayed(replace(order, counts=counts))


@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.randoms())
def test_the_largest_gap_is_that_of_all_places(quotas, rng):
    sources = [number for number, quota in enumerate(quotas) for _ in range(quota)]
    rng.shuffle(sources)
    total, counts, worst = len(sources), [0] * len(quotas), Fraction(0)
    for place, source in enumerate(sources, start=1):
        counts[source] += 1
        gaps = [abs(Fraction(quota * place, total) - count) for quota, count in zip(quotas, counts, strict=True)]
        worst = max(worst, *gaps)
    start = rng.randrange(total + 1)
    given_quotas, arranged = np.array(quotas, np.int64), np.array(sources, np.int32)
    before = np.bincount(arranged[:start], minlength=len(quotas))
    parts = [
        _largest_gap(given_quotas, total, np.zeros(len(quotas), np.int64), arranged[:start]),
        _largest_gap(given_quotas, total, given_quotas * start - total * before, arranged[start:]),
    ]
    assert Fraction(int(max(parts)), total) == worst


def test_draws_are_permutations_looked_at_whole_or_in_a_sample(monkeypatch):
    assert permutes(1, "web", 0, 1000)
    monkeypatch.setattr(order_checks, "WHOLE", 10)
    assert permutes(1, "web", 0, 1000)
    monkeypatch.setattr(order_checks, "permute", lambda places, size, key: places // 2)
    assert not permutes(1, "web", 0, 1000)
    monkeypatch.setattr(order_checks, "WHOLE", 1 << 20)
    assert not permutes(1, "web", 0, 1000)

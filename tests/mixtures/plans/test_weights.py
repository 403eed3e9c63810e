"""Weights to targets: every form, held to arithmetic by hand, and the smallest number that is more than something."""

from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.plans.targets import resolve, root
from midtrain.mixtures.plans.weights import Group, PhaseSpec, PhaseWeight, exact

SIZES = {"a": 100, "b": 400, "c": 900, "d": 1600, "empty": 0}


def phase(*weights, tokens=1000, **more):
    return PhaseSpec("p", 64, tokens, weights, **more)


def targets(*weights, sizes=SIZES, **more):
    """What each source is to have, by name."""
    found = resolve(phase(*weights, **more), sizes)
    tokens = found.tokens if found.tokens is not None else Fraction(1000)
    return {leaf.source: leaf.target(tokens) for leaf in found.leaves}


def share(source, number, **more):
    return PhaseWeight(source, number, **more)


def test_a_share_is_taken_as_it_is_written():
    assert 0.1 * 3 != 0.3
    assert targets(share("a", 0.1), share("b", 0.9), tokens=3) == {"a": Fraction(3, 10), "b": Fraction(27, 10)}
    assert exact(1e-06) == Fraction(1, 10**6)
    assert exact(Fraction(1, 3)) == Fraction(1, 3)


FORMS = [
    ((share("a", 0.25), share("b", 0.75)), {"a": 250, "b": 750}),
    ((share("a", 0.25), share("b", "rest")), {"a": 250, "b": 750}),
    ((PhaseWeight("a", tokens=300), share("b", "rest")), {"a": 300, "b": 700}),
    ((PhaseWeight("a", tokens=300), share("b", 0.7)), {"a": 300, "b": 700}),
    ((PhaseWeight("a", epochs=2.5), share("b", "rest")), {"a": 250, "b": 750}),
    ((share("a", "size"), share("b", "size")), {"a": 200, "b": 800}),
    ((share("a", "size"), share("b", "size"), share("c", 0.5)), {"a": 100, "b": 400, "c": 500}),
    ((share("a", 1), share("b", 0)), {"a": 1000, "b": 0}),
    ((share("a", 0.5), Group("g", (share("b", 0.3), share("c", 0.7)), 0.5)), {"a": 500, "b": 150, "c": 350}),
    ((share("a", 0.5), Group("g", (share("b", "size"), share("c", "size")), "rest", temperature=2)), None),
    (
        (share("a", 0.4), Group("g", (PhaseWeight("b", tokens=60), share("c", "rest")), 0.6)),
        {"a": 400, "b": 60, "c": 540},
    ),
    ((share("a", "rest"), Group("g", (PhaseWeight("b", tokens=60), PhaseWeight("c", epochs=0.1)))), None),
    ((share("a", "rest"), Group("g", (share("b", 0.5), share("c", 0.5)), tokens=10)), {"a": 990, "b": 5, "c": 5}),
    (
        (Group("g", (Group("h", (share("a", 0.5), share("b", 0.5)), 0.2), share("c", 0.8)), 1),),
        {"a": 100, "b": 100, "c": 800},
    ),
    ((share("a", "rest"), Group("buckets", (share("b", "size", factor=3), share("c", "size", factor=1)), 0.21)), None),
]
OTHERS = {9: {"a": 500, "b": 200, "c": 300}, 11: {"a": 850, "b": 60, "c": 90}, 14: {"a": 790, "b": 120, "c": 90}}


@pytest.mark.parametrize(("number", "weights", "expected"), [(i, *one) for i, one in enumerate(FORMS)])
def test_every_form_comes_to_what_it_says(number, weights, expected):
    assert targets(*weights) == (expected or OTHERS[number])


def test_a_phase_without_length_is_as_long_as_its_weights():
    weights = (PhaseWeight("a", epochs=2), PhaseWeight("b", tokens=77), Group("g", (PhaseWeight("c", epochs=1),)))
    found = resolve(phase(*weights, tokens=None), SIZES)
    assert found.tokens == 200 + 77 + 900
    assert targets(*weights, tokens=None) == {"a": 200, "b": 77, "c": 900}


def test_a_fraction_is_of_all_tokens():
    found = resolve(phase(share("a", 0.5), share("b", 0.5), tokens=3000, fraction=0.1), SIZES)
    assert found.tokens == 300
    assert [leaf.target(found.tokens) for leaf in found.leaves] == [150, 150]
    assert found.leaves[0].smallest(Fraction(31)) == 621  # total_tokens


def test_a_change_has_the_mean_and_both_ends():
    weights = (share("a", 0.8, to=0.2), share("b", 0.1, to=0.6), share("c", "rest"))
    found = resolve(phase(*weights, change="cosine"), SIZES)
    assert [leaf.target(found.tokens) for leaf in found.leaves] == [500, 350, 150]
    tenths = [tuple(10 * one for one in leaf.shares(found.tokens)) for leaf in found.leaves]
    assert tenths == [(8, 2), (1, 6), (1, 2)]


def test_parts_by_size_are_roots_of_sizes():
    assert root(400, Fraction(2)) == 20
    assert root(7, Fraction(1)) == 7
    assert float(root(1000, Fraction(3))) == pytest.approx(10, abs=1e-30)
    assert float(root(10, Fraction(1, 2))) == 100


@pytest.mark.parametrize(
    ("weights", "more", "what"),
    [
        ((share("a", 0.5), share("b", 0.4)), {}, "do not sum to 1"),
        ((share("a", 0.5), share("b", 0.500002)), {}, "do not sum to 1"),
        ((share("a", 0.5), PhaseWeight("b", tokens=400)), {}, "do not sum to 1"),
        ((Group("g", (share("a", 0.5), share("b", 0.4)), 1),), {}, "in the group g do not sum to 1"),
        ((share("a", 0.5, to=0.2), share("b", 0.5)), {"change": "linear"}, "do not sum to 1"),
        ((share("a", 0.7), share("b", "rest"), PhaseWeight("c", tokens=301)), {}, "nothing is left for b"),
        ((share("a", 0.7), share("b", "size"), PhaseWeight("c", tokens=300)), {}, "nothing is left for b"),
        ((share("a", 0.5, to=1), share("b", "rest"), share("c", 0.1)), {"change": "linear"}, "nothing is left for b"),
        ((share("a", 0.5), PhaseWeight("b", epochs=1)), {"tokens": None}, "the phase has no length"),
        ((share("a", "rest"), PhaseWeight("b", epochs=1)), {"tokens": None}, "the phase has no length"),
        (
            (share("a", 0.5), PhaseWeight("b", tokens=9)),
            {"tokens": None, "sequences": 9},
            "no weight takes what tokens",
        ),
        ((share("a", 0.5), share("b", 0.4)), {"tokens": None, "sequences": 9}, "do not sum to 1"),
        ((share("empty", "size"), share("a", "size")), {}, "empty has nothing to be drawn in sequences of"),
        ((share("a", "rest"), PhaseWeight("empty", epochs=3)), {}, "empty has nothing to be drawn in sequences of"),
    ],
)
def test_what_cannot_be_is_said(weights, more, what):
    with pytest.raises(ConfigError, match=what):
        resolve(phase(*weights, **more), SIZES)


def test_an_error_names_the_line_of_its_weight():
    weights = (share("a", "rest", where="m.yaml:7"), share("b", 1, where="m.yaml:8"))
    with pytest.raises(ConfigError) as wrong:
        resolve(phase(*weights, where="m.yaml:5"), SIZES)
    assert str(wrong.value).startswith("m.yaml:7: phase p, source a: nothing is left for a")


@given(
    st.lists(st.fractions(Fraction(1, 100), 1, max_denominator=100), min_size=1, max_size=4),
    st.integers(0, 500),
    st.integers(1000, 10**9),
    st.fractions(0, 2000, max_denominator=2),
)
def test_the_smallest_number_is_the_first_above(parts, fixed, tokens, above):
    assume(sum(parts) > 0)
    shares = [part / sum(parts) for part in parts]
    members = tuple(PhaseWeight(f"s{i}", share) for i, share in enumerate(shares))
    weights = (Group("g", members, "rest"), PhaseWeight("f", tokens=max(fixed, 1)))
    sizes = {f"s{i}": 1 for i in range(len(parts))} | {"f": 1}

    def at(number):
        found = resolve(PhaseSpec("p", 8, number, weights), sizes)
        return [leaf.target(found.tokens) for leaf in found.leaves]

    found = resolve(PhaseSpec("p", 8, tokens, weights), sizes)
    assert sum(at(tokens)) == tokens
    for number, leaf in enumerate(found.leaves[:-1]):
        smallest = leaf.smallest(above)
        assert at(smallest)[number] > above
        if smallest - 1 > max(fixed, 1):
            assert at(smallest - 1)[number] <= above


def test_records_hold_what_counts_and_no_places():
    one = phase(share("a", 0.5, where="x:1"), share("b", 0.5, where="x:2"), where="x")
    two = phase(share("b", 0.5, where="y:2"), share("a", 0.5, where="y:1"), where="y")
    assert one.record() == two.record()
    assert one.record() != phase(share("a", 0.4), share("b", 0.6)).record()
    assert one.record() != phase(share("a", 0.5, max_epochs=2), share("b", 0.5)).record()

"""Selections: a verdict on every record, one at a time, in runs, or passed by together."""

from hypothesis import given
from hypothesis import strategies as st
from midtrain.pipelines.readers.selection import SKIP, Selection

NUMBERS = st.integers(0, 12)


def test_all_are_read_but_the_poisoned():
    selection = Selection(poisoned={1: "died", 3: "burst"})
    assert [selection.next() for _ in range(5)] == [None, "died", None, "burst", None]
    assert selection.seen == 5


def test_a_trial_reads_its_range_and_says_nothing_of_the_rest():
    selection = Selection.trial(1, 4, {2: "died"})
    assert [selection.next() for _ in range(5)] == [SKIP, None, SKIP, None, SKIP]


@given(NUMBERS, NUMBERS, st.sets(NUMBERS), st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=5))
def test_runs_and_passing_by_are_the_verdicts_one_at_a_time(start, stop, poisoned, groups):
    reasons = {number: f"why {number % 2}" for number in poisoned}
    single, other = Selection(start, stop, reasons), Selection(start, stop, reasons)
    for together, count in groups:
        expected = [single.next() for _ in range(count)]
        if together and other.passes(count):
            assert set(expected) <= {SKIP}
        else:
            found = other.runs(count)
            assert [verdict for verdict, first, last in found for _ in range(first, last)] == expected
            assert [place for _, first, last in found for place in range(first, last)] == list(range(count))
        assert other.seen == single.seen

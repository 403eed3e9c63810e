"""Cells: what is measured and what a record says of its difficulty are what plain Python says, however it is cut."""

from itertools import pairwise

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.filters.difficulty import Difficulty
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.pipelines import cells
from midtrain.pipelines.cells import BETWEEN, CELL_TYPE, MOST, OTHER, Cells, Measurer, Rated, level, rate
from midtrain.pipelines.stage import add_counts

RATED = Rated("s", "solved", 4.0)
TEXTS = st.sampled_from(["", "a", "été", "𓀀" * 3, "b" * 127, "c" * 128, "d" * 129, "e" * 255, "f" * 256])
TURNS = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": TEXTS,
        "reasoning": st.one_of(st.none(), TEXTS),
    }
)
STATED = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "pass_rate": st.sampled_from([0, 0.2, 1, [1, 0], "n/a", None]),
            "difficulty": st.sampled_from([1, 2.0, 2.5, 3.3, "hard", "", None, [], True]),
            "level": st.sampled_from(["Level 1", "Level 5"]),
            "solved": st.sampled_from([0, 1, 4, 5, [True, False]]),
            "beside": st.just('"pass_rate": 1'),
        },
    ),
)
RECORDS = st.lists(st.tuples(TEXTS, st.one_of(st.none(), st.lists(TURNS, max_size=3)), STATED), max_size=12)


def batch_of(records):
    """A batch of (text, messages or None, metadata or None), cut out of a larger one: offsets do not begin at 0."""
    records = [("before", [{"role": "assistant", "content": "x", "reasoning": "y"}], {"level": "no"}), *records]
    columns = {
        "id": [f"d{i}" for i in range(len(records))],
        "source": ["s"] * len(records),
        "text": [text for text, _, _ in records],
        "messages": [turns for _, turns, _ in records],
        "metadata": [None if stated is None else orjson.dumps(stated).decode() for _, _, stated in records],
    }
    arrays = [pa.array(columns.get(field.name, [None] * len(records)), field.type) for field in SCHEMA]
    return pa.record_batch(arrays, schema=SCHEMA).slice(1)


def measured(record):
    """What `Measurer` says, in plain Python."""
    text, turns, _ = record
    own = [turn for turn in turns or () if turn["role"] == "assistant"]
    thought = sum(len(turn["reasoning"] or "") for turn in own)
    if turns is None:
        return 2, len(text)
    return (0, thought) if thought else (1, sum(len(turn["content"]) for turn in own))


def stated(record, rated):
    names = (*cells.RATES, *cells.LEVELS) if rated is None else (rated.field,)
    for name in names:
        value = (record[2] or {}).get(name)
        if value is not None and value != "" and value != [] and value != "n/a":
            if rated is not None:
                return name, rate(value, rated.of)
            return name, level(value) if name in cells.LEVELS else rate(value)
    return "", ""


def counted(records, rated):
    """The counts of records, one by one."""
    total = {}
    for record in records:
        (of, length), (name, label) = measured(record), stated(record, rated)
        low = 0
        while length >= max(2 * low, 128):
            low = max(2 * low, 128)
        own = {str(low): {"documents": 1, "characters": length}}
        add_counts(total, {cells.MEASURED[of]: {name: {label: own}}})
    return total


@settings(deadline=None)
@given(RECORDS, st.sampled_from([None, RATED]))
@example([("", [], None), ("", None, {"level": "Level 5"})], None)
def test_cells_are_those_of_plain_python(records, rated):
    measurer, batch = Measurer(rated), batch_of(records)
    found = measurer.cells(batch)
    assert found.type == CELL_TYPE
    numbers = [measurer.number(stated or {}) for _, _, stated in records]
    assert measurer.cells(batch, numbers) == found
    assert found.field("characters").to_pylist() == [measured(record)[1] for record in records]
    places = [place.split(BETWEEN) for place in found.field("place").to_pylist()]
    assert [(of, name, label) for of, _, name, label in places] == [
        (cells.MEASURED[measured(record)[0]], *stated(record, rated)) for record in records
    ]
    sums = Cells()
    sums.add(found)
    assert sums.counts() == counted(records, rated)


@settings(deadline=None)
@given(RECORDS, st.lists(st.integers(0, 12), max_size=4), st.randoms())
def test_sums_are_the_same_however_records_are_cut_and_in_whatever_order_they_come(records, places, random):
    ends = sorted({0, len(records), *(place for place in places if place < len(records))})
    pieces = [records[start:stop] for start, stop in pairwise(ends)]
    random.shuffle(pieces)
    total, one = {}, Cells()
    for piece in pieces:
        own = Cells()
        own.add(Measurer(None).cells(batch_of(piece)))
        one.add(Measurer(None).cells(batch_of(piece)))
        add_counts(total, own.counts())
    assert total == one.counts() == counted(records, None)


def test_documents_without_a_cell_are_not_counted():
    place = BETWEEN.join(("reply", "0", "", ""))
    column = pa.array([None, {"place": place, "characters": 5}, None], CELL_TYPE)
    sums = Cells()
    sums.add(column)
    assert sums.counts() == {"reply": {"": {"": {"0": {"documents": 1, "characters": 5}}}}}
    assert not Cells()


@pytest.mark.parametrize(
    ("value", "whole", "band"),
    [
        (0, 1, "0"),
        (1, 1, "1"),
        (0.001, 1, "(0, 0.25]"),
        (0.25, 1, "(0, 0.25]"),
        (0.2500001, 1, "(0.25, 0.5]"),
        (0.75, 1, "(0.5, 0.75]"),
        (0.999, 1, "(0.75, 1)"),
        ("0.65625", 1, "(0.5, 0.75]"),
        (100, 100, "1"),
        (3, 8, "(0.25, 0.5]"),
        ([True, False, False, True], 8, "(0.25, 0.5]"),
        ([1.0, 0.0, 0.0], 1, "(0.25, 0.5]"),
        (1.1, 1, OTHER),
        (-0.1, 1, OTHER),
        ("often", 1, OTHER),
        ({"a": 1}, 1, OTHER),
        (float("nan"), 1, OTHER),
    ],
)
def test_a_pass_rate_has_a_band(value, whole, band):
    assert rate(value, whole) == band


@settings(deadline=None)
@given(st.one_of(st.floats(0, 1), st.lists(st.booleans(), min_size=1, max_size=9)))
def test_a_rate_is_the_one_that_the_step_difficulty_compares(value):
    batch = DocumentBatch(batch_of([("", [], {"pass_rate": value})]))
    (share,) = Difficulty().scores(batch)["pass_rate"]
    assert rate(value) == (f"{share:g}" if share in (0, 1) else cells.BANDS[int(np.ceil(share * 4)) - 1])


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("Level 5", "Level 5"),
        (" very\n hard ", "very hard"),
        (5, "5"),
        (5.0, "5"),
        (5.5, "5.5"),
        (-1, "-1"),
        (5.3, "[5, 6)"),
        (-0.2, "[-1, 0)"),
        (2100, "2100"),
        ("x" * 24, "x" * 24),
        ("x" * 25, OTHER),
        ("\0", OTHER),
        (True, OTHER),
        ({}, OTHER),
        (1e300, OTHER),
    ],
)
def test_a_level_is_as_it_is(value, label):
    assert level(value) == label


def test_nothing_is_stated_by_no_number_nor_by_a_field_that_is_something_else():
    assert Measurer(None).number({"difficulty": float("nan"), "level": None}) == 0
    assert Measurer(None, ["level"]).number({"level": 3}) == 0
    assert Measurer(RATED, ["solved"]).number({"solved": 3}) == 0


def test_a_truth_value_is_no_level_where_one_was_seen_before():
    measurer = Measurer(None)
    numbers = [measurer.number({"level": value}) for value in (1, True, 1.0, "1", True)]
    assert len(set(numbers)) == 2
    assert numbers[1] == numbers[4] != numbers[0] == numbers[2] == numbers[3]


def test_a_field_of_thousands_of_levels_fills_no_manifest():
    records = [("", [], {"difficulty": number}) for number in range(1000)]
    measurer, sums = Measurer(None), Cells()
    for start in range(0, 1000, 100):
        sums.add(measurer.cells(batch_of(records[start : start + 100])))
    (found,) = sums.counts()["reply"].values()
    assert set(found) == {*map(str, range(MOST)), OTHER}
    assert found[OTHER]["0"]["documents"] == 1000 - MOST

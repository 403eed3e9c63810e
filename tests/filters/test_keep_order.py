"""The best copy comes first, by what the recipe says, then by content and id, never by where it was read."""

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import keep_order

SCHEMA = pa.schema(
    [
        ("source", pa.int32()),
        ("bytes", pa.int64()),
        ("date", pa.string()),
        ("score.quality", pa.float64()),
        ("high", pa.uint64()),
        ("low", pa.uint64()),
        ("id", pa.string()),
        ("part", pa.int32()),
        ("row", pa.int32()),
    ]
)
DATES = ["2020-01-01", "2020-01-01T00:00:00Z", "2021", "2021-03", "2020-01-01T01:00:00+01:00", "yesterday", "", None]
DATES += ["2024-02-30", "0001-01-01", "9999-12-31T23:59:59.999999Z", "20200102", " 2022-05-05 ", "²⁰²⁰"]
ROW = st.fixed_dictionaries(
    {
        "source": st.integers(0, 2),
        "bytes": st.sampled_from([0, 5, 5, 2**40]),
        "date": st.sampled_from(DATES),
        "score.quality": st.sampled_from([None, 0.0, -0.0, 1.5, -2.0, math.nan, math.inf, -math.inf]),
        "high": st.sampled_from([0, 1, 2**64 - 1]),
        "low": st.sampled_from([0, 2**63]),
        "id": st.sampled_from(["a", "b", "é", "z", ""]),
        "part": st.integers(0, 1),
    }
)
KEEP = st.lists(st.sampled_from(["source", "length", "date", "score.quality"]), unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names))
)


def plain_key(keep: tuple[str, ...], row: dict[str, Any]) -> tuple[Any, ...]:
    key: list[Any] = []
    for entry in keep:
        name = entry.removeprefix("-")
        turned = -1 if entry.startswith("-") else 1
        if name == "source":
            key.append(turned * row["source"])
            continue
        values = {"length": row["bytes"], "score.quality": row["score.quality"]}
        value = keep_order.instant(row["date"] or "") if name == "date" else values[name]
        missing = value is None or math.isnan(value)
        key.append(math.inf if missing else -turned * value)
    return (*key, row["high"], row["low"], row["id"].encode(), row["source"], row["part"], row["row"])


@settings(max_examples=400, deadline=None)
@given(KEEP, st.lists(ROW, max_size=25), st.randoms())
def test_the_order_is_that_of_plain_python(keep: tuple[str, ...], rows: list[dict[str, Any]], random: Any) -> None:
    rows = [{**row, "row": number} for number, row in enumerate(rows)]
    random.shuffle(rows)
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    chunked = pa.concat_tables([table.slice(0, 7), table.slice(7)])
    expected = sorted(range(len(rows)), key=lambda number: plain_key(keep, rows[number]))
    assert keep_order.order(keep, table).tolist() == expected
    assert keep_order.order(keep, chunked).tolist() == expected


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970", 0),
        ("1970-02", 31 * 86400),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01 02:00:00+02:00", 0),
        ("1969-12-31T23:59:59", -1),
        ("19700102", 86400),
    ],
)
def test_dates_are_instants(date: str, seconds: float) -> None:
    assert keep_order.instant(date) == seconds


@pytest.mark.parametrize("date", ["", "soon", "2020-13-01", "12/31/2020", "20", "99999", "-2020", "１９７０"])
def test_what_is_no_date_comes_last(date: str) -> None:
    assert math.isnan(keep_order.instant(date))


def test_columns_are_the_scores() -> None:
    keep = ("source", "-score.a.b", "length", "score.c", "date")
    assert keep_order.columns(keep) == ("score.a.b", "score.c")


@pytest.mark.parametrize(
    ("keep", "complaint"),
    [
        (("lenght",), "did you mean length"),
        (("source", "-source"), "stands twice"),
        (("quality",), "write score.quality"),
        (("score.",), "names no order"),
        (("",), "names no order"),
        (("--date",), "names no order"),
    ],
)
def test_wrong_entries_are_named(keep: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        keep_order.check(keep)


def test_right_entries_pass() -> None:
    keep_order.check(("source", "-length", "date", "score.gopher_quality.words"))
    keep_order.check(())

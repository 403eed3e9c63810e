"""One of every set of equal texts is kept, the same in whatever order rows come; normalised texts are folded ones."""

import datetime
import random
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.exact_dedup import ExactDedup, keepers
from midtrain.filters.texts import hash_texts

Make = Callable[[Sequence[str]], DocumentBatch]

# Few values, so that halves are often equal: rows may share a low half and not the high one.
HALF = st.sampled_from([0, 1, 2**63, 2**64 - 1])
ROW = st.fixed_dictionaries(
    {
        "low": HALF,
        "high": HALF,
        "source": st.integers(0, 2),
        "bytes": st.integers(0, 2),
        "date": st.sampled_from([None, "2020-01-01", "2021-05-05"]),
        "score.a.b": st.sampled_from([None, 0.5, float("nan"), 2.0]),
        "id": st.sampled_from(["a", "b", "é", "ab"]),
    }
)
KEEPS = [("source",), ("source", "length", "date"), ("-length", "date"), ("score.a.b", "source"), ("-score.a.b",)]
TYPES = {"low": pa.uint64(), "high": pa.uint64(), "source": pa.int32(), "bytes": pa.int64(), "date": pa.string()}
TYPES |= {"score.a.b": pa.float64(), "id": pa.string(), "part": pa.int32(), "row": pa.int32()}


def table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()})


def rank(row: dict[str, Any], keep: Sequence[str]) -> tuple[Any, ...]:
    """What is smallest is kept."""
    if row["part"] < 0:
        return (0,)
    found: list[Any] = [1]
    for entry in keep:
        name, turned = entry.removeprefix("-"), entry.startswith("-")
        value = row["bytes"] if name == "length" else row[name]
        if value is None or value != value:
            found.append((1, 0))
            continue
        if name == "date":
            value = datetime.datetime.fromisoformat(value).timestamp()
        best_first = value if name == "source" else -value
        found.append((0, -best_first if turned else best_first))
    return (*found, row["id"].encode(), row["source"], row["row"])


@pytest.mark.parametrize("keep", KEEPS)
def test_the_first_of_each_key_in_the_order_of_keep_stands_for_all(keep: tuple[str, ...]) -> None:
    @settings(max_examples=150, deadline=None)
    @given(st.lists(ROW, max_size=25), st.randoms(use_true_random=False))
    def check(rows: list[dict[str, Any]], rng: random.Random) -> None:
        rows = [{**row, "part": 0, "row": number} for number, row in enumerate(rows)]
        rng.shuffle(rows)
        found = keepers(
            *(np.array([row[half] for row in rows], np.uint64) for half in ("low", "high")), table(rows), keep
        )
        best: dict[Any, dict[str, Any]] = {}
        for row in sorted(rows, key=lambda row: rank(row, keep)):
            best.setdefault((row["low"], row["high"]), row)
        assert [rows[place]["row"] for place in found] == [best[row["low"], row["high"]]["row"] for row in rows]

    check()


def test_what_stands_in_an_index_comes_first() -> None:
    row = {"low": 1, "high": 1, "bytes": 0, "date": None, "score.a.b": None}
    rows = [
        {**row, "id": "a", "source": 0, "part": 0, "row": 0},
        {**row, "id": "z", "source": -1, "part": -1, "row": 0},
        {**row, "id": "b", "source": 0, "part": 3, "row": 1},
    ]
    same = np.ones(3, np.uint64)
    assert keepers(same, same, table(rows), ("-source",)).tolist() == [1, 1, 1]


def keys(step: ExactDedup, batch: DocumentBatch) -> list[tuple[int, int]]:
    return [tuple(key) for key in step.keyed(batch.text_bytes, batch.text_offsets).tolist()]


def test_copies_are_the_same_byte_for_byte(make_batch: Make) -> None:
    texts = ["a", "b", "a", "A", "a ", "b", "", "é", "e\u0301", ""]
    batch = make_batch(texts)
    found = keys(ExactDedup(), batch)
    assert [[one == other for other in found] for one in found] == [[one == other for other in texts] for one in texts]
    assert np.array_equal(ExactDedup().keyed(batch.text_bytes, batch.text_offsets), batch.hashes)


def folded(text: str) -> str:
    """ASCII and Latin with accents alone: what `normalize` compares."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    return " ".join("".join(c if c.isalnum() else "" if c in "\u0301\u0308\u00ad" else " " for c in plain).split())


def test_normalised_copies_differ_in_case_accents_and_what_is_between_words(make_batch: Make) -> None:
    pieces = st.sampled_from(
        ["a", "A", "é", "e\u0301", "É", "ü", "ﬁ", "１", "1", "x-y", "x y", ".", " ", "\n", "\u00ad", ""]
    )

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.lists(pieces, max_size=5).map("".join), max_size=12))
    def check(texts: list[str]) -> None:
        found = keys(ExactDedup(normalize=True), make_batch(texts))
        same = [folded(text) or text.encode() for text in texts]  # without a word, byte for byte
        assert [[one == other for other in found] for one in found] == [
            [one == other for other in same] for one in same
        ]

    check()


def test_a_slice_has_the_keys_of_its_own_texts(make_batch: Make) -> None:
    batch = make_batch(["before", "One, two.", "one two", "…", "behind"])
    column = DocumentBatch(batch.record_batch.slice(1, 3))
    for step in (ExactDedup(), ExactDedup(normalize=True)):
        assert keys(step, column) == keys(step, batch)[1:4]
    one, two, three = keys(ExactDedup(normalize=True), column)
    assert one == two != three
    text = np.frombuffer("…".encode(), np.uint8)
    assert three == tuple(hash_texts(text, np.array([0, 3], np.int64))[0].tolist())


def test_what_keys_depend_on_is_told(make_batch: Make) -> None:
    assert ExactDedup(keep=("date",), max_loss=None).parameters == ExactDedup().parameters
    assert set(ExactDedup(normalize=True).parameters) > set(ExactDedup().parameters)

"""Counting by language: every document and byte in one language's sum, whatever stands in the column."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.pipelines.languages import OTHER, UNKNOWN, ByLanguage

VALUES = st.one_of(st.none(), st.sampled_from(["en", "de", "zh-Hans", "eng_Latn", "", "*"]), st.text(max_size=8))


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, st.integers(0, 2**40)), max_size=40), st.integers(0, 40), st.booleans())
def test_sums_are_those_of_the_rows(rows, cut, encoded):
    counter = ByLanguage()
    for part in (rows[:cut], rows[cut:]):
        column = pa.array([value for value, _ in part], pa.string())
        column = column.dictionary_encode() if encoded else column
        counter.add(column, np.array([size for _, size in part], np.int64))
    counts = counter.counts()
    assert sum(own["kept"] for own in counts.values()) == len(rows)
    assert sum(own["text_bytes"] for own in counts.values()) == sum(size for _, size in rows)
    for language in ("en", "zh-Hans"):
        own = [size for value, size in rows if value == language]
        assert counts.get(language, {"kept": 0, "text_bytes": 0}) == {"kept": len(own), "text_bytes": sum(own)}
    assert counts.get(UNKNOWN, {"kept": 0})["kept"] == sum(not value for value, _ in rows)
    assert list(counts) == sorted(counts)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("en", "en"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("eng_Latn", "eng_Latn"),
        ("be-x-old", "be-x-old"),
        ("english", "english"),
        (None, UNKNOWN),
        ("", UNKNOWN),
        ("https://example.org/", OTHER),
        ("<script>", OTHER),
        ("en us", OTHER),
        ("en\n", OTHER),
        ("a", OTHER),
        ("averylonglanguage", OTHER),
    ],
)
def test_what_is_no_language_tag_is_counted_as_such(value, name):
    assert ByLanguage().name(value) == name


def test_a_column_of_anything_does_not_fill_a_manifest():
    counter = ByLanguage(most=3)
    words = ["aa", "bb", "cc", "dd", "ee", "aa", "dd"]
    counter.add(pa.array(words), np.ones(len(words), np.int64))
    assert counter.documents == {"aa": 2, "bb": 1, "cc": 1, OTHER: 3}

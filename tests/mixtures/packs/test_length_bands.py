"""Bands of lengths: sums are those of plain Python, and parts add up in any order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.packs import length_bands
from midtrain.mixtures.packs.length_bands import COUNTED

DOCUMENTS = st.lists(
    st.sampled_from([1, 127, 128, 129, 255, 256, 1000, 1 << 20]).flatmap(
        lambda whole: st.tuples(st.just(whole), st.sampled_from(sorted({0, 1, whole // 2, whole})))
    ),
    max_size=30,
)


def bands(documents):
    whole, kept = (np.array([one[place] for one in documents], np.int64) for place in (0, 1))
    return length_bands.bands(whole, kept)


def counted(documents):
    found = {}
    for whole, kept in documents:
        low = 0 if whole < 128 else 1 << (whole.bit_length() - 1)
        own = found.setdefault(str(low), dict.fromkeys(COUNTED, 0))
        own["documents"] += 1
        own["tokens"] += whole
        if kept == 0:
            own["dropped_documents"] += 1
            own["dropped_tokens"] += whole
        elif kept < whole:
            own["trimmed_documents"] += 1
            own["trimmed_tokens"] += whole - kept
    return found


@settings(deadline=None)
@given(DOCUMENTS)
def test_sums_are_those_of_plain_python(documents):
    assert bands(documents) == counted(documents)


@settings(deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_parts_add_up(one, other):
    total = {}
    length_bands.add(total, bands(other))
    length_bands.add(total, bands(one))
    assert total == bands([*one, *other])

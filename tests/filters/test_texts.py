"""Texts of Arrow's buffers: bytes and offsets of slices, slices by size, hashes."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.texts import hash_texts, text_slices, text_view

TEXTS = ["hello", "", "größer", "\u3000"]


@pytest.mark.parametrize(("start", "length"), [(0, 4), (1, 2), (2, 2), (3, 0), (0, 0)])
def test_bytes_offsets_and_hashes_are_those_of_the_slice(start: int, length: int) -> None:
    data, offsets = text_view(pa.array(TEXTS, pa.large_string()).slice(start, length))
    assert not data.flags.writeable
    assert not offsets.flags.writeable
    encoded = [text.encode() for text in TEXTS[start : start + length]]
    bounds = offsets.tolist()
    assert [data[begin:end].tobytes() for begin, end in pairwise(bounds)] == encoded
    hashes = hash_texts(data, offsets)
    assert hashes.shape == (length, 2)
    assert hashes.dtype == np.uint64
    assert [low | high << 64 for low, high in hashes.tolist()] == [xxhash.xxh3_128_intdigest(one) for one in encoded]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.text(max_size=12), max_size=8), max_size=4), st.integers(1, 30), st.integers(0, 3))
def test_slices_of_text_are_all_of_it(many, size, skipped):
    batches = [pa.record_batch([pa.array(texts, pa.large_string())], names=["text"]).slice(skipped) for texts in many]
    slices = list(text_slices(batches, size))
    expected = [text for texts in many for text in texts[skipped:]]
    assert [text for one in slices for text in one.column("text").to_pylist()] == expected
    for one in slices:
        sizes = [len(text.encode()) for text in one.column("text").to_pylist()]
        assert len(sizes) == 1 or sum(sizes) <= size

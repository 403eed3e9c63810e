"""Keys and sets of shingles are those of plain Python, and candidates are found as often as the curve says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.filters.kernels import minhash_kernels
from midtrain.filters.kernels.minhash_kernels import TABLE, band_keys, fill_sets, shingle_sets, table_room

MASK = 2**64 - 1
BASE, FACTOR = 0x9FB21C651E98DF25, 0xD6E8FEB86659FD93

# Few different units, so that shingles repeat within a document and between them.
UNITS = st.one_of(st.sampled_from([0, 1, 2**32, MASK, MASK - 1]), st.integers(0, MASK))
DOCUMENTS = st.lists(st.lists(UNITS, max_size=40), max_size=8)


def mix(state: int) -> int:
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD & MASK
    state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return state ^ state >> 33


def plain_shingles(units: list[int], ngram: int) -> list[int]:
    found = []
    for at in range(len(units) - ngram + 1):
        state = 0
        for unit in units[at : at + ngram]:
            state = (state * BASE + unit) & MASK
        found.append(mix(state))
    return found


def plain_keys(shingles: list[int], factors: Any, terms: Any, bands: int, rows: int) -> list[int]:
    if not shingles:
        return [0] * bands
    values = [shingle >> 32 for shingle in shingles]
    minima = [
        min((value * int(factor) + int(term)) & 0xFFFFFFFF for value in values)
        for factor, term in zip(factors, terms, strict=True)
    ]
    keys = []
    for band in range(bands):
        state = mix(band + 1)
        for minimum in minima[band * rows : (band + 1) * rows]:
            state = (state ^ minimum) * FACTOR & MASK
            state ^= state >> 32
        keys.append(mix(state))
    return keys


def packed(documents: list[list[int]]) -> tuple[Any, Any]:
    flat = [unit for document in documents for unit in document]
    return np.array(flat, np.uint64), np.cumsum([len(document) for document in documents], dtype=np.int64)


def functions(hashes: int, seed: int = 3) -> tuple[Any, Any]:
    drawn = np.random.default_rng(seed).integers(0, 2**32, (2, hashes), np.uint32)
    return drawn[0] | np.uint32(1), drawn[1]


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(1, 7), st.integers(1, 40), st.integers(1, 9))
def test_keys_are_those_of_plain_python(documents: list[list[int]], ngram: int, bands: int, rows: int) -> None:
    factors, terms = functions(bands * rows)
    keys = band_keys(*packed(documents), ngram, factors, terms, bands, rows)
    assert keys.shape == (len(documents), bands)
    expected = [plain_keys(plain_shingles(units, ngram), factors, terms, bands, rows) for units in documents]
    assert keys.tolist() == expected


@pytest.mark.parametrize(("bands", "rows"), [(1, 1), (14, 8), (9, 13), (20, 20), (17, 15), (2, 128)])
def test_every_width_of_the_lanes_is_computed(bands: int, rows: int) -> None:
    rng = np.random.default_rng(bands)
    documents = [rng.integers(0, 2**64, size, np.uint64).tolist() for size in (5, 700, 4096 + 4, 4096 + 5, 0, 4)]
    factors, terms = functions(bands * rows)
    keys = band_keys(*packed(documents), 5, factors, terms, bands, rows)
    values = [np.array([shingle >> 32 for shingle in plain_shingles(units, 5)], np.uint32) for units in documents]
    for document, value in enumerate(values[:4]):
        minima = (value[:, None] * factors + terms).min(axis=0)
        one = plain_keys([0], np.zeros(bands * rows, np.uint32), minima, bands, rows)  # minima as if of one hash each
        assert keys[document].tolist() == one
    assert not keys[4:].any()


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(1, 7))
def test_sets_are_those_of_plain_python(documents: list[list[int]], ngram: int) -> None:
    shingles, ends = shingle_sets(*packed(documents), ngram)
    expected = [sorted(set(plain_shingles(units, ngram))) for units in documents]
    starts = [0, *ends.tolist()][:-1]
    assert [shingles[a:b].tolist() for a, b in zip(starts, ends.tolist(), strict=True)] == expected


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS, st.integers(1, 4), st.integers(1, 8))
def test_large_sets_are_made_piece_by_piece(documents: list[list[int]], ngram: int, most: int) -> None:
    hashes, ends = packed(documents)
    table, set_ends = np.full(table_room(most), 2**64 - 1, np.uint64), np.empty(len(ends), np.int64)
    shingles = np.empty(len(hashes) + 1, np.uint64)
    count = fill_sets(hashes, ends, ngram, most, np.empty(7, np.uint64), table, shingles, set_ends)
    expected = [sorted(set(plain_shingles(units, ngram))) for units in documents]
    assert shingles[:count].tolist() == [shingle for found in expected for shingle in found]
    assert set_ends.tolist() == np.cumsum([len(found) for found in expected], dtype=np.int64).tolist()
    assert (table == 2**64 - 1).all()


def test_a_set_of_millions_is_sorted_and_distinct() -> None:
    hashes = np.random.default_rng(1).integers(0, 2**64, TABLE * 5 // 2, np.uint64)
    ends = np.array([len(hashes), 2 * len(hashes)], np.int64)
    shingles, set_ends = shingle_sets(np.concatenate([hashes, hashes[::-1]]), ends, 1)
    with np.errstate(over="ignore"):
        state = (hashes ^ hashes >> np.uint64(33)) * np.uint64(0xFF51AFD7ED558CCD)
        state = (state ^ state >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    expected = np.unique(state ^ state >> np.uint64(33))
    assert set_ends.tolist() == [len(expected), 2 * len(expected)]
    assert np.array_equal(shingles, np.concatenate([expected, expected]))


def test_shingles_made_to_agree_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # What `mix` takes to numbers with 40 leading zeros: it is one to one, and undone step by step.
    wanted = np.arange(1, 300, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = wanted.copy()
        for factor in (0xC4CEB9FE1A85EC53, 0xFF51AFD7ED558CCD):
            state = (state ^ state >> np.uint64(33)) * np.uint64(pow(factor, -1, 2**64))
        state ^= state >> np.uint64(33)
    ends = np.array([len(state)], np.int64)
    assert shingle_sets(state, ends, 1)[0].tolist() == wanted.tolist()
    monkeypatch.setattr(minhash_kernels, "TABLE", 8)
    with pytest.raises(RunError, match="like hashes"):
        shingle_sets(state, ends, 1)


@pytest.mark.parametrize("jaccard", [0.6, 0.72, 0.8, 0.86, 0.92])
def test_pairs_share_a_band_as_often_as_the_curve_says(jaccard: float) -> None:
    pairs, size, bands, rows = 3000, 300, 14, 8
    rng = np.random.default_rng(int(jaccard * 100))
    common = round(2 * size * jaccard / (1 + jaccard))
    documents = []
    for _ in range(pairs):
        shared = rng.integers(0, 2**64, common, np.uint64)
        for _ in range(2):
            document = np.concatenate([shared, rng.integers(0, 2**64, size - common, np.uint64)])
            documents.append(rng.permutation(document))
    true = common / (2 * size - common)
    expected = 1 - (1 - true**rows) ** bands
    ends = np.arange(1, 2 * pairs + 1, dtype=np.int64) * size
    keys = band_keys(np.concatenate(documents), ends, 1, *functions(bands * rows, 11), bands, rows)
    same = keys[0::2] == keys[1::2]
    # Four standard deviations of a coin tossed for every pair: passed by chance in all but 6 of 100,000 cases.
    seen, spread = same.any(axis=1).mean(), np.sqrt(expected * (1 - expected) / pairs)
    assert abs(seen - expected) < 4 * spread + 1e-4, (seen, expected)
    # And every band alone as often as J^rows; bands are tosses of their own.
    alone, spread = same.mean(), np.sqrt(true**rows * (1 - true**rows) / pairs / bands)
    assert abs(alone - true**rows) < 4 * spread + 1e-4, (alone, true**rows)


def test_keys_of_different_bands_differ() -> None:
    factors, terms = np.full(112, 5, np.uint32), np.full(112, 7, np.uint32)  # the same minima in every band
    keys = band_keys(*packed([[1, 2, 3, 4, 5, 6]]), 5, factors, terms, 14, 8)
    assert len(np.unique(keys)) == 14

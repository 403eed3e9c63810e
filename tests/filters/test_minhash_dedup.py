"""The step's options, its curve, and what documents are compared by."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pydantic
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels import minhash_kernels, similar_kernels, unit_kernels
from midtrain.filters.kernels.minhash_kernels import band_keys, shingle_sets
from midtrain.filters.kernels.similar_kernels import choose
from midtrain.filters.kernels.unit_kernels import units
from midtrain.filters.minhash_dedup import MinhashDedup, probability

Make = Callable[[Sequence[str]], DocumentBatch]

KEYS = [0x30FDB1989299438F, 0x8CBC1733B6744FAB, 0x127012D5E9DFDE89]
SHINGLES = [0x3BAAA0070FD0A756, 0xD5BE77710D9B3CA9]


def lists(values: Any, ends: Any) -> list[list[int]]:
    starts = [0, *ends.tolist()][:-1]
    return [values[start:end].tolist() for start, end in zip(starts, ends.tolist(), strict=True)]


def signed(options: MinhashDedup, batch: DocumentBatch) -> list[list[int]]:
    found = options.signed(batch.text_bytes, batch.text_offsets)
    return lists(found.keys, found.key_ends)


def shingled(options: MinhashDedup, batch: DocumentBatch) -> list[list[int]]:
    return lists(*options.shingled(batch.text_bytes, batch.text_offsets))


@pytest.mark.parametrize(("jaccard", "expected"), [(0.72, 0.650), (0.80, 0.924), (0.82, 0.959), (1.0, 1.0), (0.0, 0.0)])
def test_the_curve(jaccard: float, expected: float) -> None:
    assert probability(jaccard, 14, 8) == pytest.approx(expected, abs=5e-4)


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 20))
def test_the_curve_is_the_formula(jaccard: float, bands: int, rows: int) -> None:
    assert probability(jaccard, bands, rows) == pytest.approx(1 - (1 - jaccard**rows) ** bands, abs=1e-12)


def test_too_low_a_recall_is_refused_with_what_would_do() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        MinhashDedup(threshold=0.72)
    said = str(refused.value)
    for piece in ("14 bands of 8 rows", "65.0 %", "0.72", "min_recall 0.9", "18 bands of 6 rows (93.3 %)"):
        assert piece in said
    assert "31 bands of 8 rows (90.2 %)" in said
    assert MinhashDedup(threshold=0.72, bands=18, rows=6).recall == pytest.approx(0.933, abs=5e-4)
    assert MinhashDedup(threshold=0.72, bands=31).recall >= 0.9
    assert MinhashDedup(threshold=0.72, min_recall=0.649).recall >= 0.649


def test_bands_and_rows_that_would_do_are_named_at_the_extremes() -> None:
    with pytest.raises(pydantic.ValidationError) as refused:
        MinhashDedup(threshold=0.9, bands=1024, rows=128)
    named = re.findall(r"(\d+) bands of (\d+) rows \(", str(refused.value))
    assert named
    for bands, rows in named:
        assert MinhashDedup(threshold=0.9, bands=int(bands), rows=int(rows)).recall >= 0.9


def test_an_index_is_an_address() -> None:
    with pytest.raises(pydantic.ValidationError, match="at least 1 character"):
        MinhashDedup(index="")


def test_the_recall_of_containment_is_that_of_equal_sizes() -> None:
    options = MinhashDedup(similarity="containment", min_recall=0)
    assert options.recall == pytest.approx(probability(0.8 / 1.2, 14, 8))


def test_every_document_has_its_bands_or_its_text(
    make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]
) -> None:
    options = MinhashDedup(ngram=3, bands=5, rows=2, threshold=0.8)

    @settings(max_examples=200, deadline=None)
    @given(hostile_texts, st.integers(0, 2))
    def check(texts: list[str], skipped: int) -> None:
        batch = make_batch(texts)
        batch = DocumentBatch(batch.record_batch.slice(min(skipped, len(batch))))
        keys, sets = signed(options, batch), shingled(options, batch)
        hashes, ends = units(batch.text_bytes, batch.text_offsets)
        plain_sets = lists(*shingle_sets(hashes, ends, 3))
        for document, text in enumerate(texts[skipped:]):
            if plain_sets[document]:
                assert len(keys[document]) == 5
                assert sets[document] == plain_sets[document]
            else:
                digest = xxhash.xxh3_128_intdigest(text.encode())
                assert keys[document] == [digest & 2**64 - 1]
                assert sets[document] == sorted([digest & 2**64 - 1, digest >> 64])

    check()


def test_keys_are_those_of_the_kernel_and_of_the_seed(make_batch: Make) -> None:
    batch = make_batch(["one two three four five six seven", "a b", "Seven six five four three two one!"])
    keys = signed(MinhashDedup(), batch)
    assert [len(found) for found in keys] == [14, 1, 14]
    assert signed(MinhashDedup(), batch) == keys
    assert not set(keys[0]) & set(signed(MinhashDedup(seed=1), batch)[0])
    whole = band_keys(*units(batch.text_bytes, batch.text_offsets), 5, *_functions(0), 14, 8)
    assert whole[[0, 2]].tolist() == [keys[0], keys[2]]


def test_keys_and_shingles_do_not_change_with_a_release(make_batch: Make) -> None:
    # An index on disk holds them: if these change, raise the version of the kernel that changed.
    batch = make_batch(["The café of Zürich, 中文 and カタカナ: 12 units.", "short"])
    keys, sets = signed(MinhashDedup(), batch), shingled(MinhashDedup(), batch)
    assert [keys[0][0], keys[0][13], keys[1][0]] == KEYS
    assert [sets[0][0], sets[0][-1]] == SHINGLES


def test_case_accents_width_and_punctuation_do_not_matter(make_batch: Make) -> None:
    texts = [
        "Die STRASSE nach Ｆｉｒｅｎｚｅ: é, à — ok?",
        "die straße nach firenze e\u0301 a\u0300 OK",
        "die straße nach firenze x a ok",
    ]
    keys, sets = signed(MinhashDedup(), make_batch(texts)), shingled(MinhashDedup(), make_batch(texts))
    assert keys[0] == keys[1] != keys[2]
    assert sets[0] == sets[1] != sets[2]


def test_parameters_name_all_that_keys_depend_on() -> None:
    names = {"ngram", "bands", "rows", "seed", "folding", "units", "keys"}
    assert set(MinhashDedup().parameters) == names
    assert MinhashDedup(keep=("date",), max_loss=None, threshold=0.9).parameters == MinhashDedup().parameters


def test_options_are_checked() -> None:
    for wrong in ({"keep": ("lenght",)}, {"threshold": 0.0}, {"bands": 0}, {"ngram": 0}, {"similarity": "cosine"}):
        with pytest.raises(pydantic.ValidationError):
            MinhashDedup(**wrong)
    assert MinhashDedup().keep == ("source", "length", "date")
    assert MinhashDedup(max_loss=None, max_cluster=None, allow_loss=("web",)).max_loss is None
    assert {"max_loss", "allow_loss", "max_cluster", "index"} <= MinhashDedup.unrecorded


def _functions(seed: int) -> tuple[Any, Any]:
    drawn = np.frombuffer(hashlib.shake_128(f"minhash {seed}".encode()).digest(8 * 112), "<u4")
    return drawn[0::2] | np.uint32(1), drawn[1::2].copy()


def test_no_kernel_is_compiled_for_another_kind_of_arrays() -> None:
    data, bounds = np.frombuffer(b"one two three four five six", np.uint8), np.array([0, 27])
    compiled = (unit_kernels._fill_units, minhash_kernels._fill_keys, minhash_kernels.fill_sets)

    def run(options: MinhashDedup, text: Any, bounds: Any) -> list[int]:
        found = options.signed(text, bounds)
        shingles, ends = options.shingled(text, bounds)
        rows = np.zeros(len(ends), np.int64)
        facts = (rows.astype(np.int32), rows.astype(np.bool_))
        choose(rows, found.keys, found.key_ends, shingles, ends, *facts, 0.8, False, False)
        return [len(kernel.signatures) for kernel in (*compiled, similar_kernels._fill_choice)]

    before = run(MinhashDedup(), data, bounds)
    for options in (MinhashDedup(), MinhashDedup(ngram=9)):  # with shingles, and without
        assert run(options, data.copy(), bounds) == before
        assert run(options, data[:0], np.zeros(1, np.int64)) == before


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize("piece", ["a", ")", "a ", "中文字", "ж", "\u0301", "か\u3099", "½", None])
def test_a_giant_document_takes_seconds(piece: str | None) -> None:
    size = 50_000_000
    if piece is None:
        points = np.random.default_rng(1).integers(0x4E00, 0x9FFF, size // 3).astype("<u4")
        text = points.tobytes().decode("utf-32-le")
    else:
        text = piece * (size // len(piece.encode()))
    data = np.frombuffer(text.encode(), np.uint8)
    offsets, options = np.array([0, len(data)], np.int64), MinhashDedup()
    options.signed(data[:0], np.zeros(1, np.int64))  # compiled before it is timed
    options.shingled(data[:0], np.zeros(1, np.int64))
    start = time.process_time()
    keys = options.signed(data, offsets).keys
    shingles, _ = options.shingled(data, offsets)
    assert time.process_time() - start < 20  # up to 5 on a busy machine
    assert len(keys) in (1, 14)
    assert (np.diff(shingles.astype(np.float64)) >= 0).all()

"""Counts of a part of tokens while its bytes go by, against plain Python."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.part_checks import CHECKED, PartCheck
from midtrain.mixtures.shards import DOCUMENTS

END = 7
VOCABULARY = 50
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)
DTYPES = st.sampled_from([np.dtype(np.uint16), np.dtype(np.uint32)])


def part(lengths, rng, dtype):
    """Tokens, ends, mask of documents of these lengths, as they would be written."""
    tokens = rng.integers(8, VOCABULARY, sum(lengths)).astype(dtype)
    ends = np.cumsum(lengths).astype(np.uint64)
    tokens[ends.astype(np.int64) - 1] = END
    mask = rng.random(len(tokens)) < 0.5
    mask[ends.astype(np.int64) - 1] = True
    return tokens, ends, mask


def checked(tokens, ends, mask=None, *, cuts=(), documents=None):
    """A part looked at in blocks that end at these tokens."""
    check = PartCheck(tokens.dtype, len(tokens), len(ends) if documents is None else documents, END, VOCABULARY, "web")
    check.ends(ends.astype("<u8").view(np.uint8))
    edges = sorted({0, len(tokens), *(cut % (len(tokens) + 1) for cut in cuts)})
    for start, stop in pairwise(edges):
        check.take(tokens[start:stop].astype(tokens.dtype.newbyteorder("<")).view(np.uint8))
    check.end_of_tokens()
    if mask is not None:
        check.loss(np.packbits(mask, bitorder="little"))
    return check


@settings(deadline=None)
@given(LENGTHS, st.lists(st.integers(0, 500), max_size=5), st.integers(0, 99), DTYPES)
def test_a_right_part_is_right_however_it_is_cut_into_blocks(lengths, cuts, seed, dtype):
    tokens, ends, mask = part(lengths, np.random.default_rng(seed), dtype)
    check = checked(tokens, ends, mask if not mask.all() else None, cuts=cuts)
    assert check.wrong == []
    assert check.ends_of_document == len(lengths)
    assert check.largest == tokens.max()
    assert check.trained == mask.sum()


@settings(deadline=None)
@given(LENGTHS, st.data(), st.integers(0, 99), DTYPES)
def test_one_wrong_token_is_found_where_it_is_wrong(lengths, data, seed, dtype):
    tokens, ends, _ = part(lengths, np.random.default_rng(seed), dtype)
    place = data.draw(st.integers(0, len(tokens) - 1))
    value = data.draw(st.integers(0, 200))
    cuts = data.draw(st.lists(st.integers(0, 500), max_size=5))
    right = (tokens == END).sum() == len(ends)
    tokens[place] = value
    at_end = place + 1 in ends.tolist()
    expected = set()
    if at_end and value != END:
        expected |= {"a document does not end with the end-of-document token"}
    if (at_end and value != END) or (not at_end and value == END):
        expected |= {"not as many end-of-document tokens as documents"}
    if value >= VOCABULARY:
        expected |= {"a token is outside the vocabulary"}
    assert right
    assert {one.what for one in checked(tokens, ends, cuts=cuts).wrong} == expected


@settings(deadline=None)
@given(LENGTHS, st.data(), st.integers(0, 99))
def test_masks_are_counted_document_by_document(lengths, data, seed):
    rng = np.random.default_rng(seed)
    tokens, ends, _ = part(lengths, rng, np.dtype(np.uint16))
    mask = rng.random(len(tokens)) < data.draw(st.sampled_from([0.05, 0.5, 0.95]))
    check = checked(tokens, ends, mask)
    starts = np.concatenate([[0], ends[:-1].astype(np.int64)])
    counts = [int(mask[start:stop].sum()) for start, stop in zip(starts, ends.astype(np.int64), strict=True)]
    untrained = next((number for number, count in enumerate(counts) if not count), None)
    said = [one for one in check.wrong if one.what == "a document has no trained token"]
    assert [one.seen for one in said] == ([] if untrained is None else [f"document {untrained:,}"])
    assert check.trained == mask.sum()
    assert any("all tokens are trained" in one.what for one in check.wrong) == bool(mask.all())


@pytest.mark.parametrize(
    ("ends", "what"),
    [
        ([3, 3, 9], "do not ascend"),
        ([0, 3, 9], "do not ascend"),
        ([3, 9], "not as many ends"),
        ([3, 6, 8], "does not end with the last token"),
    ],
)
def test_ends_that_are_wrong_are_told(ends, what):
    tokens = np.full(9, END, np.uint16)
    check = checked(tokens, np.array(ends, np.uint64), documents=3)
    assert any(what in one.what and one.ending == "ends" for one in check.wrong)


def test_bits_behind_the_last_token_and_masks_of_another_size_are_told():
    tokens, ends, _ = part([3], np.random.default_rng(0), np.dtype(np.uint16))
    check = checked(tokens, ends)
    check.loss(np.array([0b1001], np.uint8))
    assert [one.what for one in check.wrong] == ["bits behind the last token are set"]
    check = checked(tokens, ends)
    check.loss(np.zeros(2, np.uint8))
    assert [one.what for one in check.wrong] == ["not a loss bit for every token"]


def take(check, identities, lengths, source="web"):
    """Shows a table of documents to a check."""
    whole = table(identities, lengths, source)
    check.table(whole.select(CHECKED), whole.schema)


def table(identities, lengths, source="web"):
    ends = np.cumsum(lengths).astype(np.uint64)
    rows = len(identities)
    columns = [identities, [source] * rows, ["a"] * rows, [None] * rows]
    columns += [(ends - np.array(lengths, np.uint64)).tolist(), lengths, [1] * rows, [[]] * rows]
    return pa.table([pa.array(one, f.type) for one, f in zip(columns, DOCUMENTS, strict=True)], schema=DOCUMENTS)


def test_documents_stand_in_the_order_of_their_ids_hashes():
    identities = sorted((f"d{i}" for i in range(9)), key=lambda identity: xxhash.xxh3_128_digest(identity.encode()))
    identities.insert(4, identities[4])  # one id twice
    tokens, ends, _ = part([3] * 10, np.random.default_rng(0), np.dtype(np.uint16))
    check = checked(tokens, ends)
    take(check, identities, [3] * 10)
    assert check.wrong == []
    assert (check.first, check.last) == tuple(xxhash.xxh3_128_digest(identities[i].encode()) for i in (0, -1))
    take(check, [*identities[1:], identities[0]], [3] * 10)
    assert [one.what for one in check.wrong] == ["the documents do not stand in the order of their ids' hashes"]
    check = checked(tokens, ends)
    take(check, identities, [3] * 10, "other")
    assert [one.what for one in check.wrong] == ["documents of another source of the mixture"]
    check = checked(tokens, ends)
    take(check, identities, [3] * 9 + [4])
    assert "contradicts the ends" in check.wrong[0].what
    check = checked(tokens, ends)
    whole = table(identities, [3] * 10)
    check.table(whole.select(CHECKED), whole.schema.remove(3))
    assert [one.what for one in check.wrong] == ["the documents' columns are not those of the format"]

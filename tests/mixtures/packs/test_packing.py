"""Packing of a part: every token accounted for, held to plain Python; what is left after some was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.packs import packing
from midtrain.mixtures.packs.packing import SPAN, document_spans, pack_chunk, pack_whole, remaining

LENGTHS = st.lists(st.integers(1, 40), max_size=40)
PART = 3


def ends_of(lengths):
    return np.cumsum(np.array(lengths, dtype=np.uint64))


def spans_of(lengths):
    return document_spans(PART, ends_of(lengths))


def tokens_of(spans):
    """Every token of the spans, in order, as (part, position)."""
    return [(int(p), t) for p, start, length, _ in spans.tolist() for t in range(start, start + length)]


def sequences_of(packed):
    ends = packed.sequences.tolist()
    return [packed.spans[start:stop] for start, stop in zip([0, *ends][:-1], ends, strict=True)]


def document_of(lengths):
    """(part, position) to the number of the document."""
    owners = [number for number, length in enumerate(lengths) for _ in range(length)]
    return {(PART, position): number for position, number in enumerate(owners)}


def assert_spans_keep_to_documents(spans, owner):
    for span in spans.reshape(-1, 1):
        assert len({owner[token] for token in tokens_of(span)}) == 1


def test_the_span_is_twenty_little_endian_bytes():
    assert SPAN.itemsize == 20
    span = np.array([(1, 2, 3, 1)], dtype=SPAN)
    assert span.tobytes().hex() == "01000000" + "0200000000000000" + "03000000" + "01000000"


@given(LENGTHS)
def test_document_spans_are_the_documents(lengths):
    expected = [(PART, sum(lengths[:i]), length, 0) for i, length in enumerate(lengths)]
    assert spans_of(lengths).tolist() == expected


@pytest.mark.parametrize(
    ("ends", "where"),
    [([3, 3], "document 1"), ([4, 9, 8], "document 2"), ([0], "document 0"), ([2**32], "document 0")],
)
def test_ends_that_are_not_ends_are_errors(ends, where):
    with pytest.raises(RunError, match=f"part 3, {where}"):
        document_spans(PART, np.array(ends, dtype=np.uint64))
    assert document_spans(PART, np.array([2**32 - 1], dtype=np.uint64))["length"][0] == 2**32 - 1


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 50))
def test_chunk_concatenates_and_cuts(lengths, sequence_length):
    spans = spans_of(lengths)
    packed = pack_chunk(spans, sequence_length)
    tokens = tokens_of(spans)
    expected = [tokens[i : i + sequence_length] for i in range(0, len(tokens), sequence_length)]
    assert [tokens_of(sequence) for sequence in sequences_of(packed)] == expected
    assert_spans_keep_to_documents(packed.spans, document_of(lengths))
    assert (packed.spans["length"] > 0).all()
    assert (packed.dropped_documents, packed.dropped_tokens) == (0, 0)
    assert packed.cut_documents == documents_in_pieces(packed, document_of(lengths))


def documents_in_pieces(packed, owner):
    """How many documents stand in more than one sequence."""
    found = {}
    for number, sequence in enumerate(sequences_of(packed)):
        for token in tokens_of(sequence):
            found.setdefault(owner[token], set()).add(number)
    return sum(len(sequences) > 1 for sequences in found.values())


def plain_best_fit_decreasing(lengths, capacity):
    """Bins as lists of item numbers; among bins of equal room the one changed last."""
    bins, rooms, changed = [], [], []
    for step, item in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fitting = [b for b in range(len(bins)) if rooms[b] >= lengths[item]]
        if fitting:
            chosen = min(fitting, key=lambda b: (rooms[b], -changed[b]))
        else:
            chosen = len(bins)
            bins.append([])
            rooms.append(capacity)
            changed.append(0)
        bins[chosen].append(item)
        rooms[chosen] -= lengths[item]
        changed[chosen] = step
    return bins


def assert_best(packed, best_fit, sequence_length):
    """The sequences of best-fit-decreasing; where that leaves some half empty, perhaps fewer, of the same spans."""
    found = [sequence.tolist() for sequence in sequences_of(packed)]
    fewest = -(-sum(length for sequence in best_fit for _, _, length, _ in sequence) // sequence_length)
    if len(found) == len(best_fit):
        assert found == best_fit
    else:
        assert fewest <= len(found) < len(best_fit)
        assert sorted(span for one in found for span in one) == sorted(span for one in best_fit for span in one)


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 60))
def test_whole_is_best_fit_decreasing_or_better(lengths, sequence_length):
    spans = spans_of(lengths)
    packed = pack_whole(spans, sequence_length, "drop", "web")
    kept = [span for span in spans.tolist() if span[2] <= sequence_length]
    dropped = [span for span in spans.tolist() if span[2] > sequence_length]
    bins = plain_best_fit_decreasing([span[2] for span in kept], sequence_length)
    assert_best(packed, [[kept[item] for item in items] for items in bins], sequence_length)
    assert packed.dropped_documents == len(dropped)
    assert packed.dropped_tokens == sum(span[2] for span in dropped)
    if dropped:
        with pytest.raises(ConfigError, match="web"):
            pack_whole(spans, sequence_length, "error", "web")
    else:
        assert pack_whole(spans, sequence_length, "error", "web").spans.tolist() == packed.spans.tolist()


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 60))
def test_split_packs_the_pieces_of_what_is_too_long(lengths, sequence_length):
    spans = spans_of(lengths)
    packed = pack_whole(spans, sequence_length, "split", "web")
    pieces = [
        (PART, start + skipped, min(length - skipped, sequence_length), 0)
        for _, start, length, _ in spans.tolist()
        for skipped in range(0, length, sequence_length)
    ]
    bins = plain_best_fit_decreasing([piece[2] for piece in pieces], sequence_length)
    assert_best(packed, [[pieces[item] for item in items] for items in bins], sequence_length)
    assert sorted(tokens_of(packed.spans)) == tokens_of(spans)
    assert (packed.dropped_documents, packed.dropped_tokens) == (0, 0)
    assert packed.cut_documents == sum(length > sequence_length for length in lengths)


def test_whole_takes_the_fewer_of_two_ways():
    lengths = np.random.default_rng(1).lognormal(6.8, 0.35, 5_000).astype(np.int64) + 1
    packed = pack_whole(spans_of(lengths), 4096, "drop", "web")
    assert packed.sequences.size == -(-int(lengths[lengths <= 4096].sum()) // 4096)
    kept = spans_of(lengths)[lengths <= 4096]
    assert sorted(packed.spans.tolist()) == kept.tolist()


def test_whole_fills_its_sequences():
    lengths = np.random.default_rng(1).lognormal(5, 1, 20_000).astype(np.int64) + 1
    packed = pack_whole(spans_of(lengths), 4096, "drop", "web")
    kept = int(lengths[lengths <= 4096].sum())
    assert packed.sequences.size == -(-kept // 4096)  # not one sequence more than the tokens need


@settings(deadline=None)  # the first call compiles
@given(
    LENGTHS,
    st.integers(1, 50),
    st.integers(1, 50),
    st.sampled_from([None, "drop", "split"]),
    st.randoms(use_true_random=False),
)
def test_remaining_is_what_was_not_drawn_and_packs_again(lengths, first_length, second_length, too_long, random):
    available = spans_of(lengths)
    owner = document_of(lengths)
    seen = []
    for sequence_length in (first_length, second_length):
        packed = (
            pack_whole(available, sequence_length, too_long, "web")
            if too_long
            else pack_chunk(available, sequence_length)
        )
        drawn = np.array([random.random() < 0.4 for _ in packed.sequences], dtype=bool)
        taken = [
            token
            for sequence, one in zip(sequences_of(packed), drawn, strict=True)
            if one
            for token in tokens_of(sequence)
        ]
        left = remaining(available, packed.spans, packed.sequences, drawn)
        assert tokens_of(left) == sorted(set(tokens_of(available)) - set(taken))
        assert_spans_keep_to_documents(left, owner)
        joined = {(part, start + length) for part, start, length, _ in left.tolist()}
        touching = [s for s in left.tolist() if (s[0], s[1]) in joined]
        assert all(owner[(part, start)] != owner[(part, start - 1)] for part, start, *_ in touching)
        seen += taken
        available = left
    assert sorted(seen + tokens_of(available)) == sorted(owner)


def test_spans_that_were_never_available_are_an_error():
    spans = spans_of([5, 4])
    packed = pack_chunk(spans, 3)
    everything = np.ones(3, dtype=bool)
    with pytest.raises(RunError, match="outside the source or overlap"):
        remaining(spans[1:], packed.spans, packed.sequences, everything)
    of_another_part = packed.spans.copy()
    of_another_part["part"] += 1
    with pytest.raises(RunError, match="outside the source or overlap"):
        remaining(spans, of_another_part, packed.sequences, everything)


def test_a_packing_that_loses_a_token_is_an_error(monkeypatch):
    monkeypatch.setattr(packing, "_bins", lambda lengths, capacity: np.zeros_like(lengths))
    with pytest.raises(RunError, match="lost or repeated tokens"):
        pack_whole(spans_of([5, 4]), 6, "drop", "web")
    monkeypatch.setattr(packing, "_split", lambda spans, length: spans[:-1])
    with pytest.raises(RunError, match="5 kept"):
        pack_whole(spans_of([5, 4]), 6, "split", "web")

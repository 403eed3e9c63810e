"""Packing: every token accounted for, held to plain Python; the index on disk; what is left after some was drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.packing import (
    PACK_FILES,
    SPAN,
    PackIndex,
    document_spans,
    pack_chunk,
    pack_whole,
    remaining,
)

LENGTHS = st.lists(st.lists(st.integers(1, 40), max_size=15), max_size=4)


def ends_of(lengths_by_part):
    return [np.cumsum(np.array(lengths, dtype=np.uint64)) for lengths in lengths_by_part]


def tokens_of(spans):
    """Every token of the spans, in order, as (part, position)."""
    return [(int(p), t) for p, start, length in spans.tolist() for t in range(start, start + length)]


def sequences_of(packed):
    ends = packed.sequences.tolist()
    return [packed.spans[start:stop] for start, stop in zip([0, *ends][:-1], ends, strict=True)]


def document_of(ends_by_part):
    """(part, position) to the number of the document."""
    owner, number = {}, 0
    for part, ends in enumerate(ends_by_part):
        for start, stop in zip([0, *ends.tolist()][:-1], ends.tolist(), strict=True):
            owner |= {(part, position): number for position in range(start, stop)}
            number += 1
    return owner


def assert_spans_keep_to_documents(spans, owner):
    for span in spans.reshape(-1, 1):
        assert len({owner[token] for token in tokens_of(span)}) == 1


def test_the_span_is_sixteen_little_endian_bytes():
    assert SPAN.itemsize == 16
    span = np.array([(1, 2, 3)], dtype=SPAN)
    assert span.tobytes().hex() == "01000000" + "0200000000000000" + "03000000"


@settings(deadline=None)  # the first call compiles
@given(LENGTHS)
def test_document_spans_are_the_documents(lengths):
    spans = document_spans(ends_of(lengths))
    assert spans.tolist() == [
        (part, sum(documents[:i]), length)
        for part, documents in enumerate(lengths)
        for i, length in enumerate(documents)
    ]


@pytest.mark.parametrize(
    ("ends", "where"),
    [
        ([[3, 3]], "part 0, document 1"),
        ([[5], [4, 9, 8]], "part 1, document 2"),
        ([[0]], "part 0"),
        ([[2**32]], "part 0"),
    ],
)
def test_ends_that_are_not_ends_are_errors(ends, where):
    with pytest.raises(RunError, match=where):
        document_spans([np.array(part, dtype=np.uint64) for part in ends])
    assert document_spans([np.array([2**32 - 1], dtype=np.uint64)])["length"][0] == 2**32 - 1


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 50))
def test_chunk_concatenates_and_cuts(lengths, sequence_length):
    ends = ends_of(lengths)
    spans = document_spans(ends)
    packed = pack_chunk(spans, sequence_length)
    tokens = tokens_of(spans)
    expected = [tokens[i : i + sequence_length] for i in range(0, len(tokens), sequence_length)]
    assert [tokens_of(sequence) for sequence in sequences_of(packed)] == expected
    assert_spans_keep_to_documents(packed.spans, document_of(ends))
    assert (packed.spans["length"] > 0).all()
    assert (packed.dropped_documents, packed.dropped_tokens) == (0, 0)


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


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 60))
def test_whole_is_best_fit_decreasing(lengths, sequence_length):
    spans = document_spans(ends_of(lengths))
    packed = pack_whole(spans, sequence_length, "drop", "web")
    kept = [span for span in spans.tolist() if span[2] <= sequence_length]
    dropped = [span for span in spans.tolist() if span[2] > sequence_length]
    bins = plain_best_fit_decreasing([span[2] for span in kept], sequence_length)
    assert [sequence.tolist() for sequence in sequences_of(packed)] == [
        [kept[item] for item in items] for items in bins
    ]
    assert packed.dropped_documents == len(dropped)
    assert packed.dropped_tokens == sum(span[2] for span in dropped)
    if dropped:
        with pytest.raises(ConfigError, match="web"):
            pack_whole(spans, sequence_length, "error", "web")
    else:
        assert pack_whole(spans, sequence_length, "error", "web").spans.tolist() == packed.spans.tolist()


def test_whole_fills_its_sequences():
    lengths = np.random.default_rng(1).lognormal(5, 1, 20_000).astype(np.int64) + 1
    packed = pack_whole(document_spans([np.cumsum(lengths).astype(np.uint64)]), 4096, "drop", "web")
    kept = int(lengths[lengths <= 4096].sum())
    assert packed.sequences.size == -(-kept // 4096)  # not one sequence more than the tokens need


def test_packing_does_not_depend_on_how_documents_are_cut_into_parts():
    lengths = np.random.default_rng(2).integers(1, 300, 700)
    one = document_spans([np.cumsum(lengths).astype(np.uint64)])
    seven = document_spans(ends_of(lengths.reshape(7, 100)))
    for pack in (lambda spans: pack_chunk(spans, 256), lambda spans: pack_whole(spans, 256, "drop", "web")):
        assert pack(one).sequences.tolist() == pack(seven).sequences.tolist()
        assert pack(one).spans["length"].tolist() == pack(seven).spans["length"].tolist()


@settings(deadline=None)  # the first call compiles
@given(LENGTHS, st.integers(1, 50), st.integers(1, 50), st.booleans(), st.randoms(use_true_random=False))
def test_remaining_is_what_was_not_drawn_and_packs_again(lengths, first_length, second_length, whole, random):
    ends = ends_of(lengths)
    available = document_spans(ends)
    owner = document_of(ends)
    seen = []
    for sequence_length in (first_length, second_length):
        packed = (
            pack_whole(available, sequence_length, "drop", "web") if whole else pack_chunk(available, sequence_length)
        )
        drawn = np.array([random.random() < 0.4 for _ in packed.sequences], dtype=bool)
        taken = [
            token
            for sequence, one in zip(sequences_of(packed), drawn, strict=True)
            if one
            for token in tokens_of(sequence)
        ]
        left = remaining(available, packed, drawn)
        assert tokens_of(left) == sorted(set(tokens_of(available)) - set(taken))
        assert_spans_keep_to_documents(left, owner)
        joined = {(part, start + length) for part, start, length in left.tolist()}
        touching = [s for s in left.tolist() if (s[0], s[1]) in joined]
        assert all(owner[(part, start)] != owner[(part, start - 1)] for part, start, _ in touching)
        seen += taken
        available = left
    assert sorted(seen + tokens_of(available)) == sorted(owner)


def test_spans_that_were_never_available_are_an_error():
    spans = document_spans([np.array([5, 9], dtype=np.uint64)])
    packed = pack_chunk(spans, 3)
    with pytest.raises(RunError, match="outside the source or overlap"):
        remaining(spans[1:], packed, np.ones(3, dtype=bool))


@settings(deadline=None)  # the first call compiles
@given(LENGTHS.filter(lambda parts: any(parts)), st.integers(1, 60))
def test_the_index_on_disk_is_the_packing(tmp_path_factory, lengths, sequence_length):
    folder = tmp_path_factory.mktemp("packs") / "web-x"
    packed = pack_chunk(document_spans(ends_of(lengths)), sequence_length)
    PackIndex.write(folder, packed)
    index = PackIndex.open(folder)
    assert len(index) == packed.sequences.size
    for number, sequence in enumerate(sequences_of(packed)):
        assert index.sequence(number).tolist() == sequence.tolist()
        assert index.tokens[number] == sequence["length"].sum()
    assert sorted(path.name for path in folder.iterdir()) == sorted(PACK_FILES)
    assert (folder / "spans").read_bytes() == packed.spans.tobytes()
    assert (folder / "sequences").read_bytes() == packed.sequences.astype("<u8").tobytes()
    for outside in (-1, len(index)):
        with pytest.raises(IndexError):
            index.sequence(outside)


def written(folder):
    packed = pack_whole(document_spans([np.array([5, 9, 30], dtype=np.uint64)]), 10, "drop", "web")
    PackIndex.write(folder, packed)
    return packed


def test_the_index_keeps_what_was_dropped(tmp_path):
    written(tmp_path / "a")
    index = PackIndex.open(tmp_path / "a")
    assert (index.dropped_documents, index.dropped_tokens, index.sequence_length) == (1, 21, 10)


@pytest.mark.parametrize("name", ["spans", "sequences"])
def test_a_file_cut_short_is_an_error_that_names_it(tmp_path, name):
    written(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[:-1])
    with pytest.raises(RunError, match=f"{name}.*cut short"):
        PackIndex.open(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=f"{name}.*missing"):
        PackIndex.open(tmp_path)


def test_without_its_manifest_there_is_no_index(tmp_path):
    written(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(RunError):
        PackIndex.open(tmp_path)


def test_a_packing_without_a_sequence_is_not_written(tmp_path):
    packed = pack_whole(document_spans([np.array([50], dtype=np.uint64)]), 10, "drop", "web")
    assert packed.sequences.size == 0
    with pytest.raises(RunError, match="without a sequence"):
        PackIndex.write(tmp_path / "a", packed)
    assert not (tmp_path / "a").exists()

"""Masks of all kernels against a loop over pairs."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models import masks
from midtrain.trainer.models.layout import PADDING, segment_starts
from torch import Tensor

ROWS = st.lists(st.lists(st.integers(-1, 2), min_size=6, max_size=6), min_size=1, max_size=3)
WINDOWS = st.none() | st.integers(1, 7)


def seen_in(row: list[int], query: int, key: int, window: int | None) -> bool:
    """Whether a query sees a key: the same value all the way between, none after it, none beyond the window."""
    between = row[min(query, key) : query + 1]
    near = window is None or query - key < window
    return key <= query and near and set(between) == {row[query]}


@given(ROWS, st.integers(0, 5), WINDOWS)
def test_a_token_sees_its_segment_before_it_within_the_window(
    rows: list[list[int]], offset: int, window: int | None
) -> None:
    runs = masks.run_numbers(segment_starts(torch.tensor(rows)))
    mask = masks.visible(runs, 6 - offset, window)
    for b, row in enumerate(rows):
        for t in range(6 - offset):
            expected = [seen_in(row, t + offset, s, window) for s in range(6)]
            assert mask[b, 0, t].tolist() == expected
            assert expected[t + offset]


@given(ROWS)
def test_causal_rows_are_those_whose_tokens_see_all_before_them(rows: list[list[int]]) -> None:
    segments = torch.tensor(rows)
    mask = masks.visible(masks.run_numbers(segment_starts(segments)), 6, None)
    tokens = segments != PADDING
    lower = torch.ones(6, 6, dtype=torch.bool).tril()
    expected = all(torch.equal(mask[b, 0][tokens[b]], lower[tokens[b]]) for b in range(len(rows)))
    assert masks.is_causal(segment_starts(segments), ~tokens) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_added_is_zero_or_minus_infinity(dtype: torch.dtype) -> None:
    added = masks.additive(torch.tensor([[True, False]]), dtype)
    assert added.tolist() == [[0.0, float("-inf")]]
    assert added.dtype == dtype


LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=8)


def rows_of(lengths: list[list[int]], total: int) -> Tensor:
    """A row for each list: segments of these lengths, the last one to the end."""
    rows = []
    for row in lengths:
        numbers = torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row))
        rows.append(torch.cat([numbers, torch.full((total,), len(row))])[:total])
    return torch.stack(rows)


def whole_blocks(mask_BTS: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """Which pairs of blocks have any pair to see, and which see all, [B, N, N]; tokens beyond the row count as seen."""
    B, T, _ = mask_BTS.shape
    size = blocks * masks.BLOCK
    grown = torch.zeros(B, size, size, dtype=torch.bool)
    grown[:, :T, :T] = mask_BTS
    full = torch.ones(B, size, size, dtype=torch.bool)
    full[:, :T, :T] = mask_BTS
    shape = (B, blocks, masks.BLOCK, blocks, masks.BLOCK)
    return grown.view(shape).any(4).any(2), full.view(shape).all(4).all(2)


@settings(max_examples=30, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=2), st.integers(1, 600), st.none() | st.integers(1, 400))
def test_blocks_are_exactly_those_with_something_to_see(
    lengths: list[list[int]], total: int, window: int | None
) -> None:
    runs = masks.run_numbers(segment_starts(rows_of(lengths, total)))
    mask = masks.visible(runs, total, window)[:, 0]
    blocks = masks.blocks(runs, window)
    count = -(-total // masks.BLOCK)
    some, every = whole_blocks(mask, count)
    assert torch.equal(blocks.to_dense()[:, 0].bool(), some)
    diagonal = torch.eye(count, dtype=torch.bool)
    for b in range(len(lengths)):
        for i in range(count):
            listed = blocks.full_kv_indices[b, 0, i, : blocks.full_kv_num_blocks[b, 0, i]].tolist()
            whole = torch.nonzero(every[b, i] & ~diagonal[i]).flatten().tolist()
            # A short last block of queries may see all of a block that one of full length would not.
            assert set(listed) <= set(whole) if i == count - 1 else listed == whole
    t, s = torch.meshgrid(torch.arange(total), torch.arange(total), indexing="ij")
    for b in range(len(lengths)):
        rule = blocks.mask_mod(torch.tensor(b), torch.tensor(0), t, s)
        assert torch.equal(rule, mask[b])

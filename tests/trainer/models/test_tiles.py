"""Attention in tiles against masks and float64 attention, over any packing, window and grouping of heads."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.trainer.models import masks
from midtrain.trainer.models.layout import segment_starts
from midtrain.trainer.models.tiles import QUERIES, attend_in_tiles, tiles
from torch import Tensor

ROWS = st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=8), min_size=1, max_size=2)
LENGTHS = st.integers(1, 600)
WINDOWS = st.none() | st.integers(1, 400)


def runs_of(rows: list[list[int]], total: int) -> Tensor:
    """Runs of these lengths, the last of each row to the end."""
    numbers = []
    for row in rows:
        run = torch.repeat_interleave(torch.arange(len(row)), torch.tensor(row))
        numbers.append(torch.cat([run, torch.full((total,), len(row))])[:total])
    return masks.run_numbers(segment_starts(torch.stack(numbers)))


@settings(max_examples=60, deadline=None)
@given(ROWS, LENGTHS, WINDOWS)
def test_tiles_show_what_the_mask_shows(rows: list[list[int]], total: int, window: int | None) -> None:
    """Every query is in one tile and sees there what it may see; no tile begins with 128 keys that none of it sees."""
    runs = runs_of(rows, total)
    shown = torch.zeros(len(rows), total, total, dtype=torch.int8)
    for tile in tiles(runs, window):
        scores = torch.zeros(tile.last - tile.first, tile.last - tile.key)
        for place, hidden in tile.masked:
            scores[:, place : place + hidden.shape[1]] += hidden
        shown[tile.row, tile.first : tile.last, tile.key : tile.last] += (scores == 0).to(torch.int8)
        assert tile.key % QUERIES == 0
        assert (scores[:, :QUERIES] == 0).any()
    assert torch.equal(shown, masks.visible(runs, total, window)[:, 0].to(torch.int8))


@pytest.mark.parametrize("strided", [False, True])
@settings(max_examples=25, deadline=None)
@given(ROWS, LENGTHS, WINDOWS, st.sampled_from([(4, 2), (4, 1), (2, 2), (6, 2)]))
def test_output_and_gradients_are_those_of_attention(
    strided: bool, rows: list[list[int]], total: int, window: int | None, heads: tuple[int, int]
) -> None:
    runs = runs_of(rows, total)
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int) -> Tensor:
        x = torch.randn(len(rows), total, count, 16, generator=generator).transpose(1, 2)
        return (x if strided else x.contiguous()).requires_grad_()

    inputs, weights = [drawn(heads[0]), drawn(heads[1]), drawn(heads[1])], drawn(heads[0]).detach()
    ours = attend_in_tiles(*inputs, tiles(runs, window))
    q, k, v = (x.double() for x in inputs)
    k, v = (x.repeat_interleave(heads[0] // heads[1], dim=1) for x in (k, v))
    scores = (q @ k.transpose(2, 3) / 4).masked_fill(~masks.visible(runs, total, window), float("-inf"))
    theirs = scores.softmax(-1) @ v
    torch.testing.assert_close(ours.double(), theirs, atol=5e-6, rtol=0)
    gradients = torch.autograd.grad((ours * weights).sum(), inputs)
    expected = torch.autograd.grad((theirs * weights).sum(), inputs)
    for gradient, true in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, true, atol=5e-5, rtol=0)


def test_causal_tiles_share_one_mask() -> None:
    masked = [tile.masked for tile in tiles(torch.ones(3, 512, dtype=torch.int32), None)]
    assert len(masked) == 12
    assert all(len(pieces) == 1 for pieces in masked)
    assert len({pieces[0][1].data_ptr() for pieces in masked}) == 1


def test_the_same_input_gives_the_same_bits() -> None:
    q, k, v = (torch.randn(2, 4, 700, 16).requires_grad_() for _ in range(3))
    split = tiles(runs_of([[100, 300], [699]], 700), None)

    def computed() -> list[Tensor]:
        output = attend_in_tiles(q, k[:, :2], v[:, :2], split)
        return [output, *torch.autograd.grad(output.square().sum(), (q, k, v))]

    assert all(torch.equal(a, b) for a, b in zip(computed(), computed(), strict=True))

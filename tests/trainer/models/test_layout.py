"""Where tokens stand: views of both kinds of layer, starts of segments, and the compute type."""

import pytest
import torch
from midtrain.trainer.models.attend import Blocked, Fused, Plain
from midtrain.trainer.models.cache import Cache
from midtrain.trainer.models.layout import lay_out, rotary_tables
from midtrain.trainer.models.products import compute_type

from .small import CONFIG

SLIDING = CONFIG.model_copy(update={"sliding_layers": (0, 2), "sliding_window": 4, "sliding_rope_theta": 17.0})
ALL_SLIDING = SLIDING.model_copy(update={"sliding_layers": (0, 1, 2)})
POSITIONS = torch.arange(10).expand(2, 10)
ONE = torch.zeros(2, 10, dtype=torch.int64)
TWO = (POSITIONS >= 6).long()


def test_there_is_a_view_for_each_kind_of_layer() -> None:
    assert set(lay_out(POSITIONS, ONE, CONFIG).views) == {False}
    assert set(lay_out(POSITIONS, ONE, SLIDING).views) == {False, True}
    assert set(lay_out(POSITIONS, ONE, ALL_SLIDING).views) == {True}


def test_each_kind_has_its_base_and_a_phase_changes_that_of_full_layers() -> None:
    views = lay_out(POSITIONS, ONE, SLIDING, rope_theta=123.0).views
    assert torch.equal(views[False].cos_BT1R, rotary_tables(POSITIONS, 4, 123.0)[0])
    assert torch.equal(views[True].sin_BT1R, rotary_tables(POSITIONS, 4, 17.0)[1])
    assert torch.equal(lay_out(POSITIONS, ONE, SLIDING).views[False].cos_BT1R, rotary_tables(POSITIONS, 4, 1e4)[0])


@pytest.mark.parametrize("tail", [0, 3], ids=["no padding", "padding behind"])
def test_rows_of_one_segment_have_no_mask(tail: int) -> None:
    segments = ONE.clone()
    segments[0, 10 - tail :] = -1
    views = lay_out(POSITIONS, segments, SLIDING, kernel="sdpa").views
    assert views[False].mask == Fused(None)
    assert isinstance(views[True].mask, Fused)
    assert views[True].mask.additive_B1TS is not None
    padded_before = lay_out(POSITIONS, segments.flip(1), SLIDING, kernel="sdpa").views[False].mask
    assert (padded_before == Fused(None)) == (tail == 0)


def test_masks_are_those_of_the_kernel_in_the_compute_type() -> None:
    assert isinstance(lay_out(POSITIONS, TWO, CONFIG, kernel="eager").views[False].mask, Plain)
    with torch.no_grad():
        assert isinstance(lay_out(POSITIONS, TWO, CONFIG, kernel="flex").views[False].mask, Blocked)
    mask = lay_out(POSITIONS, TWO, CONFIG, kernel="sdpa", dtype=torch.bfloat16).views[False].mask
    assert isinstance(mask, Fused)
    assert mask.additive_B1TS is not None
    assert mask.additive_B1TS.dtype == torch.bfloat16


@torch.no_grad()
def test_a_sliding_layer_reads_its_window_of_the_cache_alone() -> None:
    cache = Cache.empty(SLIDING, 2, 30)
    lay_out(POSITIONS, ONE, SLIDING, cache=cache)
    cache.length = 10
    layout = lay_out(POSITIONS[:, :2] + 10, ONE[:, :2], SLIDING, cache=cache)
    assert layout.offset == 10
    assert not layout.starts_BT.any()
    assert [layout.views[kind].first_key for kind in (False, True)] == [0, 7]
    masks = [layout.views[kind].mask for kind in (False, True)]
    assert [mask.additive_B1TS.shape[2:] for mask in masks] == [(2, 12), (2, 5)]  # type: ignore[union-attr]


def test_the_compute_type_is_that_of_the_weights_or_of_autocast() -> None:
    assert compute_type(torch.zeros(1)) == torch.float32
    assert compute_type(torch.zeros(1, dtype=torch.bfloat16)) == torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compute_type(torch.zeros(1)) == torch.bfloat16

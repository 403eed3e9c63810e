"""What a source may lose to documents that are dropped: exactly, and as far as a sample can tell."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.packs.packing import TooLong
from midtrain.mixtures.plans.losses import check_sample


@dataclass(frozen=True)
class Source:
    name: str = "traces"
    too_long: TooLong = "drop"
    max_lost: float = 0.01


def refused(lengths: list[int], limit: int, max_lost: float) -> bool:
    sizes = np.array(lengths, np.int64)
    try:
        check_sample(Source(max_lost=max_lost), limit, sizes, np.where(sizes <= limit, sizes, 0))
    except ConfigError:
        return True
    return False


def test_the_error_names_source_cause_share_and_what_would_allow_it():
    sizes = np.array([100] * 90 + [900] * 10, np.int64)
    with pytest.raises(ConfigError) as caught:
        check_sample(Source(), 512, sizes, np.where(sizes <= 512, sizes, 0))
    said = caught.value.render()
    for part in ("50.00%", "too_long", "source traces", "10 of 100 sampled documents", "0.01", "max_lost: 50%"):
        assert part in said


def test_one_long_document_of_a_sample_leaves_doubt():
    assert not refused([100] * 500 + [3000], 512, 0.01)
    assert refused(([100] * 500 + [3000]) * 40, 512, 0.01)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=300), st.integers(1, 2000), st.floats(0, 1))
def test_what_the_sample_itself_would_not_lose_is_not_refused(lengths: list[int], limit: int, max_lost: float):
    share = sum(one for one in lengths if one > limit) / sum(lengths)
    assert not refused(lengths, limit, max(share, max_lost))

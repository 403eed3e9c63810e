"""What all steps of deduplication take: an order, and the losses that stop a run."""

import pydantic
import pytest
from midtrain.filters.deduplication import Deduplication
from midtrain.filters.minhash_dedup import MinhashDedup


def test_defaults_are_half_of_a_source_and_ten_thousand_copies() -> None:
    options = Deduplication()
    assert (options.keep, options.max_loss, options.allow_loss, options.max_cluster) == (("source",), 0.5, (), 10_000)


def test_bounds_can_be_taken_away() -> None:
    options = Deduplication(max_loss=None, max_cluster=None, allow_loss=("web", "books"))
    assert options.max_loss is None
    assert options.max_cluster is None


@pytest.mark.parametrize(
    "wrong",
    [{"keep": ["size"]}, {"keep": ["date", "-date"]}, {"max_loss": 1.5}, {"max_loss": -0.1}, {"max_cluster": 0}],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        Deduplication(**wrong)


@pytest.mark.parametrize("kind", [Deduplication, MinhashDedup])
def test_what_only_stops_a_run_is_an_option(kind: type[Deduplication]) -> None:
    assert set(kind.model_fields) >= kind.unrecorded >= {"max_loss", "allow_loss", "max_cluster"}
    assert "keep" not in kind.unrecorded

"""Draws against their definition, and what cannot be drawn from."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.trainer.evaluation import sampling
from midtrain.trainer.evaluation.sampling import Sampling, draw, uniforms


def reference_draw(logits: list[float], uniform: float, temperature: float, top_p: float, top_k: int | None) -> int:
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    ranked = sorted(((weight, -token) for token, weight in enumerate(weights)), reverse=True)[:top_k]
    total = math.fsum(weight for weight, _ in ranked)
    nucleus: list[tuple[float, int]] = []
    for weight, token in ranked:
        if math.fsum(p for p, _ in nucleus) >= top_p:
            break
        nucleus.append((weight / total, -token))
    if top_p == 1 and top_k is None:
        nucleus.sort(key=lambda one: one[1])
    threshold = uniform * math.fsum(p for p, _ in nucleus)
    reached = 0.0
    for probability, token in nucleus:
        reached += probability
        if reached > threshold:
            return token
    return nucleus[-1][1]


@given(
    logits=st.lists(st.integers(-300, 300), min_size=1, max_size=30, unique=True),
    uniform=st.floats(0, 1, exclude_max=True),
    temperature=st.sampled_from([0.3, 1.0, 2.5]),
    top_p=st.sampled_from([0.05, 0.37, 0.9, 1.0]),
    top_k=st.sampled_from([None, 1, 3, 7, 100]),
)
@settings(max_examples=400)
def test_a_draw_inverts_the_cumulative_distribution_of_what_is_kept(
    logits: list[int], uniform: float, temperature: float, top_p: float, top_k: int | None
) -> None:
    values = [logit / 100 for logit in logits]
    logits_NV = torch.tensor([values], dtype=torch.float32)
    token = int(draw(logits_NV, torch.tensor([uniform], dtype=torch.float64), temperature, top_p, top_k))
    # Within rounding of a boundary either neighbour is right.
    near = {
        reference_draw(logits_NV[0].tolist(), min(max(uniform + d, 0.0), 1 - 1e-16), temperature, p, top_k)
        for d in (-1e-12, 0.0, 1e-12)
        for p in ((1.0,) if top_p == 1 else (top_p - 1e-12, top_p, top_p + 1e-12))
    }
    assert token in near


@given(
    seed=st.integers(0, 10_000),
    spread=st.sampled_from([0.0, 1.0, 4.0]),
    top_p=st.sampled_from([0.1, 0.8, 0.95]),
    top_k=st.sampled_from([None, 2, 6]),
    steps=st.sampled_from([0.5, 0.001]),
)
def test_a_few_best_tokens_give_what_the_whole_vocabulary_gives(
    seed: int, spread: float, top_p: float, top_k: int | None, steps: float
) -> None:
    """With logits on a grid, so that many are equal, also at the place where the few end."""
    generator = torch.Generator().manual_seed(seed)
    logits_NV = (torch.randn(5, 40, generator=generator) * spread / steps).round() * steps
    uniform_N = torch.rand(5, generator=generator, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sampling, "HEAD", 8)
        few = draw(logits_NV, uniform_N, 0.9, top_p, top_k)
        patch.setattr(sampling, "HEAD", 40)
        assert torch.equal(few, draw(logits_NV, uniform_N, 0.9, top_p, top_k))


@pytest.mark.parametrize(("top_p", "top_k"), [(1.0, None), (1.0, 5), (0.999999, None)])
def test_draws_are_as_frequent_as_probable(top_p: float, top_k: int | None) -> None:
    logits_V = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    uniform_N = torch.rand(40_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    counts = torch.bincount(draw(logits_V.expand(40_000, 5), uniform_N, 0.7, top_p, top_k), minlength=5)
    expected = torch.softmax(logits_V / 0.7, dim=-1) * 40_000
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 99.9th percentile of chi-square with 4 degrees of freedom.
    assert float(chi_square) < 18.47


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]]).expand(3, 5)
    edges = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    for top_p, top_k in ((1.0, None), (0.5, None), (1.0, 4)):
        assert set(draw(logits, edges, 1.0, top_p, top_k).tolist()) <= {1, 3}
    assert draw(logits, edges, 1.0).tolist() == [1, 3, 3]


def test_random_numbers_belong_to_seed_reply_and_step() -> None:
    table = uniforms(3, [0, 1, 7], 6)
    assert table.shape == (3, 6)
    assert table.dtype == torch.float64
    assert ((table >= 0) & (table < 1)).all()
    assert torch.equal(uniforms(3, [7], 4)[0], table[2, :4])
    assert len(torch.unique(torch.cat([table, uniforms(4, [0, 1, 7], 6)]))) == 36
    many = uniforms(1, range(4000), 5)
    assert abs(float(many.mean()) - 0.5) < 4 * math.sqrt(1 / 12 / 20_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": math.nan},
        {"temperature": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"top_k": 0, "temperature": 1.0},
        {"top_k": -3},
    ],
)
def test_no_distribution(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="no distribution to sample from"):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_several_replies_need_a_temperature() -> None:
    with pytest.raises(ConfigError, match=r"one reply again and again[^$]*n 2"):
        Sampling(n=2)
    with pytest.raises(ConfigError, match="n 0"):
        Sampling(n=0)

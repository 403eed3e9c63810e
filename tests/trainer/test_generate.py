"""Decoding against its definition: one prompt, the whole sequence through the model for every token."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.trainer import generate
from midtrain.trainer.generate import draw, greedy, sample
from midtrain.trainer.model import MoEModel
from midtrain.trainer.presets import ModelConfig

VOCAB = 61
NO_STOP = VOCAB + 1
CONFIG = ModelConfig(
    vocab_size=VOCAB,
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    num_experts=4,
    expert_size=24,
    router_size=8,
)


@pytest.fixture(scope="module")
def model() -> MoEModel:
    """Weights far from their initial values, so that every part of the cache changes the tokens."""
    model = MoEModel(CONFIG)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(noise * 0.1)
            else:
                parameter.copy_(noise * (0.6 if "router" in name else 0.3))
    return model


def prompts_of(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCAB, (length,), generator=generator).tolist() for length in lengths]


PROMPTS = prompts_of(7, 1, 12, 3, 2, 12, 5)


@torch.no_grad()
def continued(model: MoEModel, prompt: list[int], count: int, theta: float | None = None) -> list[int]:
    """The definition: the whole sequence through the model for every token, one prompt at a time."""
    tokens = list(prompt)
    for _ in range(count):
        tokens_BT = torch.tensor([tokens])
        positions_BT = torch.arange(len(tokens))[None]
        logits = model(tokens_BT, positions_BT, torch.zeros_like(tokens_BT), rope_theta=theta).logits_BTV[0, -1]
        tokens.append(int(logits.argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_a_padded_batch_gives_the_tokens_of_each_prompt_alone(
    model: MoEModel, use_cache: bool, batch_size: int
) -> None:
    replies = greedy(model, PROMPTS, 12, NO_STOP, batch_size=batch_size, use_cache=use_cache)
    assert replies == [continued(model, prompt, 12) for prompt in PROMPTS]
    assert len(set(map(tuple, replies))) == len(PROMPTS)
    assert len({token for reply in replies for token in reply}) > 10


def test_long_prompts_are_read_in_pieces_with_the_same_result(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = greedy(model, PROMPTS, 8, NO_STOP)
    widths = []
    monkeypatch.setattr(generate, "PREFILL_LOGITS", 3 * VOCAB * len(PROMPTS))
    model_forward = model.forward

    def forward(tokens_BT: torch.Tensor, *rest: torch.Tensor, **options: object) -> object:
        widths.append(tokens_BT.shape[1])
        return model_forward(tokens_BT, *rest, **options)

    monkeypatch.setattr(model, "forward", forward)
    assert greedy(model, PROMPTS, 8, NO_STOP) == whole
    assert widths == [3, 3, 3, 3] + [1] * 7


def test_the_base_of_the_rotary_embeddings_can_be_that_of_a_phase(model: MoEModel) -> None:
    replies = greedy(model, PROMPTS, 10, NO_STOP, rope_theta=30.0)
    assert replies == [continued(model, prompt, 10, theta=30.0) for prompt in PROMPTS]
    assert replies != greedy(model, PROMPTS, 10, NO_STOP)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_reply_ends_before_its_stop_token_whenever_the_others_end(model: MoEModel, use_cache: bool) -> None:
    endless = greedy(model, PROMPTS, 16, NO_STOP)
    common = [token for token, _ in Counter(token for reply in endless for token in reply).most_common(3)]
    stop = set(common)
    expected = [reply[: next((at for at, token in enumerate(reply) if token in stop), len(reply))] for reply in endless]
    assert len({len(reply) for reply in expected}) > 2
    assert greedy(model, PROMPTS, 16, stop, use_cache=use_cache) == expected
    one = [reply[: reply.index(common[0])] if common[0] in reply else reply for reply in endless]
    assert greedy(model, PROMPTS, 16, common[0], batch_size=4, use_cache=use_cache) == one


def test_finished_rows_are_not_computed_on(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = greedy(model, PROMPTS, 4, NO_STOP)
    # Whatever the first reply does not say ends a reply, so most others end soon.
    stop = set(range(VOCAB)) - set(endless[0])
    sizes = []
    model_forward = model.forward

    def forward(tokens_BT: torch.Tensor, *rest: torch.Tensor, **options: object) -> object:
        sizes.append(tokens_BT.shape[0])
        return model_forward(tokens_BT, *rest, **options)

    monkeypatch.setattr(model, "forward", forward)
    assert greedy(model, PROMPTS, 4, stop)[0] == endless[0]
    assert sizes[0] == len(PROMPTS)
    assert sizes[-1] <= len(PROMPTS) // 2


def test_no_prompts_no_replies(model: MoEModel) -> None:
    assert greedy(model, [], 3, 0) == []


def test_training_mode_and_gradients_are_left_alone(model: MoEModel) -> None:
    assert torch.is_grad_enabled()
    model.train()
    greedy(model, PROMPTS[:2], 3, NO_STOP)
    assert torch.is_grad_enabled()
    assert model.training


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([[1], []], r"prompt 1: .*\n.*no tokens"), ([[1, VOCAB]], f"expected: .*0 to {VOCAB - 1}"), ([[-1]], "prompt 0")],
)
def test_prompts_that_cannot_be_read(model: MoEModel, prompts: list[list[int]], message: str) -> None:
    with pytest.raises(RunError, match=message):
        greedy(model, prompts, 3, 0)


def test_requests_without_sense(model: MoEModel) -> None:
    with pytest.raises(ConfigError, match="max_new_tokens 0"):
        greedy(model, PROMPTS, 0, 0)
    with pytest.raises(ConfigError, match="batch_size 0"):
        greedy(model, PROMPTS, 1, 0, batch_size=0)
    with pytest.raises(ConfigError, match="no token ends a reply"):
        greedy(model, PROMPTS, 1, set())
    for temperature, top_p in ((-1.0, 1.0), (1.0, 0.0), (1.0, 1.1), (math.nan, 1.0), (1.0, math.nan)):
        with pytest.raises(ConfigError, match="no distribution to sample from"):
            sample(model, PROMPTS, 1, 0, temperature=temperature, top_p=top_p, generator=torch.Generator())


def test_a_model_that_diverged_is_an_error_not_a_reply() -> None:
    model = MoEModel(CONFIG)
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    with pytest.raises(RunError, match="the model's logits are not finite"):
        greedy(model, PROMPTS, 1, 0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_samples_depend_on_the_seed_and_not_on_the_batch(model: MoEModel) -> None:
    def drawn(seed: int, batch_size: int = 64, use_cache: bool = True, stop: int = 3) -> list[list[int]]:
        options = {"temperature": 0.8, "top_p": 0.9, "batch_size": batch_size, "use_cache": use_cache}
        return sample(model, PROMPTS, 12, stop, generator=seeded(seed), **options)

    assert drawn(1) == drawn(1, batch_size=2) == drawn(1, use_cache=False)
    assert drawn(1) != drawn(2)
    endless = drawn(1, stop=NO_STOP)
    assert drawn(1) == [reply[: reply.index(3)] if 3 in reply else reply for reply in endless]


def test_temperature_zero_and_a_small_nucleus_are_greedy(model: MoEModel) -> None:
    expected = greedy(model, PROMPTS, 10, NO_STOP)
    assert sample(model, PROMPTS, 10, NO_STOP, temperature=0.0, generator=seeded(1)) == expected
    assert sample(model, PROMPTS, 10, NO_STOP, temperature=1.0, top_p=1e-6, generator=seeded(1)) == expected
    assert sample(model, PROMPTS, 10, NO_STOP, temperature=1e-4, generator=seeded(1)) == expected


def reference_draw(logits: list[float], uniform: float, temperature: float, top_p: float) -> int:
    weights = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    total = math.fsum(weights)
    ranked = sorted(((weight / total, -token) for token, weight in enumerate(weights)), reverse=True)
    nucleus: list[tuple[float, int]] = []
    for probability, token in ranked:
        if math.fsum(p for p, _ in nucleus) >= top_p:
            break
        nucleus.append((probability, -token))
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
)
@settings(max_examples=300)
def test_a_draw_inverts_the_cumulative_distribution_of_the_nucleus(
    logits: list[int], uniform: float, temperature: float, top_p: float
) -> None:
    values = [logit / 100 for logit in logits]
    logits_NV = torch.tensor([values], dtype=torch.float32)
    token = int(draw(logits_NV, torch.tensor([uniform], dtype=torch.float64), temperature, top_p))
    # Within rounding of a boundary either neighbour is right.
    near = {
        reference_draw(logits_NV[0].tolist(), min(max(uniform + d, 0.0), 1 - 1e-16), temperature, top_p + e)
        for d in (-1e-12, 0.0, 1e-12)
        for e in (-1e-12, 0.0, 1e-12)
    }
    assert token in near


def test_draws_are_as_frequent_as_probable() -> None:
    logits_V = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5])
    uniform_N = torch.rand(40_000, generator=seeded(3), dtype=torch.float64)
    counts = torch.bincount(draw(logits_V.expand(40_000, 5), uniform_N, 0.7, 1.0), minlength=5)
    expected = torch.softmax(logits_V / 0.7, dim=-1) * 40_000
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # 99.9th percentile of chi-square with 4 degrees of freedom.
    assert float(chi_square) < 18.47

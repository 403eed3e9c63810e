"""Decoding against its definition: one prompt, the whole sequence through the model for every token."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import tokenizer_training
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import generate as decoding
from midtrain.trainer.evaluation import rows
from midtrain.trainer.evaluation.generate import StopTexts, generate, greedy
from midtrain.trainer.evaluation.sampling import Sampling
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel

from ..prefixed_tokenizer import prefixed_tokenizer, reply_ids

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
    return randomised(CONFIG)


def randomised(config: ModelConfig) -> MoEModel:
    """Weights far from their initial values, so that every part of the cache changes the tokens."""
    model = MoEModel(config).eval()
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


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_layers": (0, 2), "sliding_window": 4},
        {"attention": "gqa"},
        {"attention": "gqa", "sliding_layers": (1,), "sliding_window": 3},
        {"moe": {"kind": "linear"}},
        {"moe": {"kind": "dense"}},
    ],
)
def test_every_kind_of_layer_is_continued(changes: dict[str, object]) -> None:
    other = randomised(ModelConfig.model_validate({**CONFIG.model_dump(), **changes}))
    expected = [continued(other, prompt, 9) for prompt in PROMPTS]
    assert greedy(other, PROMPTS, 9, NO_STOP) == expected
    thrice = generate(other, PROMPTS, 9, NO_STOP, sampling=replace(SAMPLED, n=3), batch_size=5)
    assert thrice == generate(other, PROMPTS, 9, NO_STOP, sampling=replace(SAMPLED, n=3), use_cache=False)


def test_long_prompts_are_read_in_pieces_with_the_same_result(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = greedy(model, PROMPTS, 8, NO_STOP)
    widths = []
    monkeypatch.setattr(decoding, "PREFILL_LOGITS", 3 * VOCAB * len(PROMPTS))
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


def test_a_model_that_diverged_is_an_error_not_a_reply() -> None:
    model = MoEModel(CONFIG)
    with torch.no_grad():
        model.norm.weight[0] = math.nan
    with pytest.raises(RunError, match="the model's logits are not finite"):
        greedy(model, PROMPTS, 1, 0)


SAMPLED = Sampling(temperature=0.8, top_p=0.9, seed=1)


def test_samples_depend_on_the_seed_and_not_on_the_batch(model: MoEModel) -> None:
    def drawn(seed: int, stop: int = 3, **options: object) -> list[list[int]]:
        return generate(model, PROMPTS, 12, stop, sampling=replace(SAMPLED, seed=seed), **options)  # type: ignore[arg-type]

    assert drawn(1) == drawn(1, batch_size=2) == drawn(1, use_cache=False)
    assert drawn(1) != drawn(2)
    endless = drawn(1, stop=NO_STOP)
    assert drawn(1) == [reply[: reply.index(3)] if 3 in reply else reply for reply in endless]


def test_temperature_zero_and_a_small_nucleus_are_greedy(model: MoEModel) -> None:
    expected = greedy(model, PROMPTS, 10, NO_STOP)
    for sampling in (
        Sampling(),
        Sampling(temperature=1.0, top_p=1e-6),
        Sampling(temperature=1.0, top_k=1),
        Sampling(temperature=1e-4),
    ):
        assert generate(model, PROMPTS, 10, NO_STOP, sampling=sampling) == expected


def recorded(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and tokens of every forward pass from here on."""
    shapes: list[tuple[int, int]] = []
    model_forward = model.forward

    def forward(tokens_BT: torch.Tensor, *rest: torch.Tensor, **options: object) -> object:
        shapes.append(tuple(tokens_BT.shape))  # type: ignore[arg-type]
        return model_forward(tokens_BT, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model, "forward", forward)
    return shapes


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
def test_several_replies_are_those_of_prompts_named_several_times(
    model: MoEModel, batch_size: int, use_cache: bool
) -> None:
    """Replies are numbered in the order of prompts, so naming a prompt three times asks for the same draws."""
    several = replace(SAMPLED, n=3)
    thrice = [prompt for prompt in PROMPTS for _ in range(3)]
    expected = generate(model, thrice, 9, 3, sampling=SAMPLED)
    assert generate(model, PROMPTS, 9, 3, sampling=several, batch_size=batch_size, use_cache=use_cache) == expected
    assert len(set(map(tuple, expected))) > 2 * len(PROMPTS)


def test_the_replies_to_a_prompt_share_its_reading(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = recorded(model, monkeypatch)
    generate(model, [PROMPTS[2]], 3, NO_STOP, sampling=replace(SAMPLED, n=10), batch_size=6)
    assert shapes == [(1, 12), (5, 1), (5, 1), (5, 1), (5, 1)]


def test_the_memory_of_a_batch_is_bounded(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    a_token = 2 * CONFIG.num_layers * CONFIG.num_kv_heads * CONFIG.head_dim * 4
    whole = greedy(model, PROMPTS, 8, NO_STOP)
    several = generate(model, PROMPTS, 8, NO_STOP, sampling=replace(SAMPLED, n=3))
    monkeypatch.setattr(rows, "CPU_CACHE_BYTES", 45 * a_token)
    shapes = recorded(model, monkeypatch)
    assert greedy(model, PROMPTS, 8, NO_STOP) == whole
    read = [shape for shape in shapes if shape[1] > 1 or shape[0] == 1]
    assert max(count * (width + 8) for count, width in read) <= 45
    assert generate(model, PROMPTS, 8, NO_STOP, sampling=replace(SAMPLED, n=3)) == several
    monkeypatch.setattr(rows, "CPU_CACHE_BYTES", 19 * a_token)
    with pytest.raises(RunError, match=r"prompt 2: the prompt is too long[^$]*12 tokens and 8 new[^$]*most 19 tokens"):
        greedy(model, PROMPTS, 8, NO_STOP)
    assert greedy(model, PROMPTS, 7, NO_STOP) == [reply[:7] for reply in whole]
    with pytest.raises(RunError, match="2 at once"):
        generate(model, PROMPTS, 7, NO_STOP, sampling=replace(SAMPLED, n=2))


def test_the_attention_mask_of_a_long_prompt_is_bounded(model: MoEModel, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = greedy(model, [PROMPTS[2]], 4, NO_STOP)
    monkeypatch.setattr(decoding, "PREFILL_PAIRS", 5 * 12)
    shapes = recorded(model, monkeypatch)
    assert greedy(model, [PROMPTS[2]], 4, NO_STOP) == whole
    assert shapes == [(1, 5), (1, 5), (1, 2), (1, 1), (1, 1), (1, 1)]


def test_a_reply_can_be_ended_by_what_it_says(model: MoEModel) -> None:
    endless = greedy(model, PROMPTS, 16, NO_STOP)
    end = endless[0][5]
    expected = [reply[: reply.index(end) + 1] if end in reply else reply for reply in endless]
    assert greedy(model, PROMPTS, 16, NO_STOP) != expected
    assert generate(model, PROMPTS, 16, NO_STOP, ended=lambda reply: reply[-1] == end) == expected


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    return tokenizer_training.train(["def two():\n    return 2\n\n\ndef one(): pass # fünf"] * 20, 300, "<|end|>", path)


def test_a_stop_text_may_begin_with_the_space_that_the_last_tokens_begin_with(tmp_path: Path) -> None:
    tokenizer = prefixed_tokenizer(tmp_path)
    reply = reply_ids(tokenizer, "the cat", " and the hat")
    spelled = [tokenizer.decode(reply[: count + 1], continued=True) for count in range(len(reply))]
    for text in (" hat", " and", " and the hat"):
        stop = StopTexts(tokenizer, [text])
        ended = [stop(reply[: count + 1]) for count in range(len(reply))]
        assert ended.index(True) == [text in so_far for so_far in spelled].index(True)


@given(st.lists(st.sampled_from(["\n", "def", " ", "x", "\ndef", "ü", "\n\n", "return 2", "#"]), max_size=12))
@settings(max_examples=200, deadline=None)
def test_stop_texts_end_a_reply_with_the_token_that_completes_one(tokenizer: Tokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    stop = StopTexts(tokenizer, ("\ndef", "\n#", "ü"))
    ids = tokenizer.encode_texts([text]).ids[:-1].tolist()
    over = [count for count in range(1, len(ids) + 1) if stop(ids[:count])]
    holds = [c for c in range(1, len(ids) + 1) if stop.cut(tokenizer.decode(ids[:c])) != tokenizer.decode(ids[:c])]
    assert over[:1] == holds[:1]
    kept = stop.cut(text)
    assert text.startswith(kept)
    assert not any(end in kept for end in ("\ndef", "\n#", "ü"))
    assert (kept == text) == (not holds)

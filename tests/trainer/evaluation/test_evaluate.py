"""Held-out loss against one document at a time, and scores of replies that are known."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import templates, tokenizer_training
from midtrain.mixtures.built import HeldOutDocument
from midtrain.mixtures.tasks import Problem, evaluation_problems
from midtrain.mixtures.templates import Message, Template
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import evaluate
from midtrain.trainer.evaluation.evaluate import cut, held_out_loss, task_accuracy
from midtrain.trainer.evaluation.sampling import Sampling
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel

BOTH = ["modular_chain", "word_problem"]
VOCAB = 53


def config(vocab_size: int, layers: int = 2) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        num_layers=layers,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        num_experts=2,
        expert_size=48,
        router_size=8,
    )


@pytest.fixture(scope="module")
def model() -> MoEModel:
    model = MoEModel(config(VOCAB))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def documents(*lengths: int, supervised: float = 0.6) -> list[HeldOutDocument]:
    rng = np.random.default_rng(3)
    return [
        HeldOutDocument(rng.integers(0, VOCAB, n).astype(np.uint32), rng.random(n) < supervised, 3 * n + 1)
        for n in lengths
    ]


@torch.no_grad()
def reference(model: MoEModel, document: HeldOutDocument, length: int, theta: float | None = None) -> list[float]:
    """Nats of the supervised tokens of one document, each piece through the model alone."""
    tokens, found = document.tokens.astype(np.int64), []
    start = 0
    while True:
        piece = torch.from_numpy(tokens[start : start + length])[None]
        positions = torch.arange(piece.shape[1])[None]
        logits = model(piece, positions, torch.zeros_like(piece), rope_theta=theta).logits_BTV[0]
        logs = torch.log_softmax(logits.double(), dim=-1)
        found += [-float(logs[at - 1, piece[0, at]]) for at in range(1, piece.shape[1]) if document.loss[start + at]]
        if start + length >= len(tokens):
            return found
        start += length - 1


@pytest.mark.parametrize(("length", "rows"), [(16, 1), (16, 3), (40, 2), (5, 4)])
def test_packed_documents_are_scored_as_if_alone(model: MoEModel, length: int, rows: int) -> None:
    held_out = documents(7, 16, 2, 40, 17, 1, 9, 31)
    expected = [nats for document in held_out for nats in reference(model, document, length)]
    result = held_out_loss(model, iter(held_out), length, rows, source="web")
    assert result.source == "web"
    assert result.documents == 8
    assert result.tokens == len(expected) == sum(int(document.loss[1:].sum()) for document in held_out)
    assert result.loss == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    total_bytes = sum(document.bytes for document in held_out)
    assert result.bits_per_byte == pytest.approx(sum(expected) / math.log(2) / total_bytes, rel=1e-5)


def test_the_base_of_the_rotary_embeddings_is_passed_on(model: MoEModel) -> None:
    held_out = documents(30, 12)
    expected = [nats for document in held_out for nats in reference(model, document, 30, theta=20.0)]
    result = held_out_loss(model, held_out, 30, 2, source="web", rope_theta=20.0)
    assert result.loss == pytest.approx(sum(expected) / len(expected), abs=1e-5)
    assert result.loss != pytest.approx(held_out_loss(model, held_out, 30, 2, source="web").loss, abs=1e-5)


def test_a_model_that_knows_nothing_has_the_loss_of_a_uniform_guess() -> None:
    model = MoEModel(config(VOCAB))
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    held_out = documents(20, 20, supervised=1.0)
    result = held_out_loss(model, held_out, 32, 2, source="web")
    assert result.tokens == 38
    assert result.loss == pytest.approx(math.log(VOCAB))
    assert result.bits_per_byte == pytest.approx(38 * math.log2(VOCAB) / 122)


@given(count=st.integers(1, 60), length=st.integers(2, 20))
def test_every_token_but_the_first_has_a_predecessor_in_exactly_one_piece(count: int, length: int) -> None:
    tokens = np.arange(count, dtype=np.uint32)
    pieces = list(cut(tokens, tokens % 2 == 0, length))
    assert [token for ids, _ in pieces for token in ids[1:]] == list(range(1, count))
    assert all(1 <= len(ids) <= length for ids, _ in pieces)
    assert all((loss == (ids % 2 == 0)).all() for ids, loss in pieces)


def test_nothing_to_score_is_an_error_not_a_loss_of_zero(model: MoEModel) -> None:
    for held_out in ([], documents(9, 9, supervised=0.0), documents(1, 1, supervised=1.0)):
        with pytest.raises(RunError, match="web: no token to score"):
            held_out_loss(model, held_out, 8, 2, source="web")
    textless = [HeldOutDocument(document.tokens, document.loss, 0) for document in documents(9)]
    with pytest.raises(RunError, match="without a byte of supervised text"):
        held_out_loss(model, textless, 8, 2, source="web")


def test_bad_sizes_tokens_and_models(model: MoEModel) -> None:
    for length, rows in ((1, 2), (8, 0)):
        with pytest.raises(ConfigError, match=f"sequence_length {length}, rows {rows}"):
            held_out_loss(model, documents(9), length, rows, source="web")
    foreign = HeldOutDocument(np.array([1, VOCAB], np.uint32), np.ones(2, np.bool_), 4)
    with pytest.raises(RunError, match=f"outside the model's vocabulary\n.*{VOCAB}\n.*below {VOCAB}"):
        held_out_loss(model, [foreign], 8, 2, source="web")
    diverged = MoEModel(config(VOCAB))
    with torch.no_grad():
        diverged.norm.weight[0] = math.nan
    with pytest.raises(RunError, match="the loss is not finite"):
        held_out_loss(diverged, documents(9), 8, 2, source="web")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = [
        "\n".join([problem.statement, *problem.steps, problem.answer])
        for name in BOTH
        for problem in evaluation_problems(name, [2, 3], 60, seed=9)
    ]
    return tokenizer_training.train(texts, 360, "<|endoftext|>", path)


def worked(problem: Problem) -> str:
    return "\n".join(problem.steps) + f"\n</think>\n\n{problem.answer}"


def scripted(
    monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, replies: Sequence[list[int]]
) -> list[dict[str, object]]:
    """Lets `generate` say the replies; returns what it was asked."""
    calls: list[dict[str, object]] = []

    def say(model: MoEModel, prompts: Sequence[Sequence[int]], limit: int, stop: set[int], **rest: object) -> object:
        calls.append({"prompts": [tokenizer.decode(ids) for ids in prompts], "limit": limit, "stop": stop, **rest})
        return [list(reply) for reply in replies]

    monkeypatch.setattr(evaluate, "generate", say)
    return calls


def encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    """Text with the template's special tokens, as a model would write it."""
    before, closing, after = text.partition("</think>")
    pieces = [templates.Piece(before, False, False)] if before else []
    pieces += [templates.Piece(closing, True, False), templates.Piece(after, False, False)] if closing else []
    return tokenizer.encode_prompt(templates.Rendered(tuple(pieces)))


def test_replies_are_scored_by_their_answers(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    problems = {name: evaluation_problems(name, [3], 4, seed=2) for name in BOTH}
    chains, stories = problems.values()
    texts = [
        worked(chains[0]),
        worked(chains[1]).replace("</think>\n\n", "</think>\n\n1"),
        "\n".join(chains[2].steps),
        worked(chains[3]) + " or so",
        *(worked(story) for story in stories),
    ]
    calls = scripted(monkeypatch, tokenizer, [encoded(tokenizer, text) for text in texts])
    model = MoEModel(config(tokenizer.vocab_size))
    chain_score, story_score = task_accuracy(model, tokenizer, BOTH, "reasoning", 4, [3], 2, max_new_tokens=400)
    assert (chain_score.task, chain_score.prompt, chain_score.problems) == ("modular_chain", "reasoning", 4)
    assert (chain_score.correct, chain_score.parsed, chain_score.accuracy) == (1, 2, 0.25)
    assert (story_score.correct, story_score.parsed, story_score.accuracy) == (4, 4, 1.0)
    assert [example.correct for example in chain_score.examples] == [True, False, False, False]
    assert chain_score.examples[0].statement == chains[0].statement
    assert chain_score.examples[0].answer == chains[0].answer
    assert chain_score.examples[0].reply == "<think>\n" + worked(chains[0])
    assert calls[0]["prompts"] == [
        f"<|im_start|>user\n{problem.statement}<|im_end|>\n<|im_start|>assistant\n<think>\n"
        for problem in (*chains, *stories)
    ]
    assert {tokenizer.decode([token]) for token in calls[0]["stop"]} == {"<|im_end|>", "<|endoftext|>"}


def test_several_replies_to_a_problem_give_pass_at_k(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    problems = evaluation_problems("word_problem", [3], 2, seed=2)
    right, wrong = [encoded(tokenizer, worked(problem)) for problem in problems], encoded(tokenizer, "no")
    calls = scripted(monkeypatch, tokenizer, [wrong, right[0], wrong, right[1], right[1], right[0]])
    model, sampling = MoEModel(config(tokenizer.vocab_size)), Sampling(temperature=1.0, n=3)
    (score,) = task_accuracy(
        model, tokenizer, ["word_problem"], "reasoning", 2, [3], 2, max_new_tokens=400, sampling=sampling, ks=(1, 2, 3)
    )
    assert calls[0]["sampling"] == sampling
    assert (score.problems, score.replies, score.correct) == (2, 6, 3)
    assert score.pass_at == pytest.approx({1: 1 / 2, 2: (2 / 3 + 1) / 2, 3: 1.0})
    assert score.accuracy == score.pass_at[1]
    assert [example.correct for example in score.examples] == [False, True]
    with pytest.raises(ConfigError, match="pass@4 cannot be estimated from 3 replies"):
        task_accuracy(model, tokenizer, ["word_problem"], "answer", 2, [3], 2, sampling=sampling, ks=(4,))


def test_a_reply_that_was_cut_off_has_no_answer(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer) -> None:
    problems = evaluation_problems("word_problem", [2], 3, seed=2)
    replies = [encoded(tokenizer, problem.answer) for problem in problems]
    calls = scripted(monkeypatch, tokenizer, replies)
    model = MoEModel(config(tokenizer.vocab_size))

    def score(limit: int) -> evaluate.TaskScore:
        return task_accuracy(model, tokenizer, ["word_problem"], "answer", 3, [2], 2, max_new_tokens=limit)[0]

    longest = max(map(len, replies))
    assert (score(longest + 1).correct, score(longest + 1).parsed) == (3, 3)
    finished = sum(len(reply) < longest for reply in replies)
    assert (score(longest).correct, score(longest).parsed) == (finished, finished)
    assert finished < 3
    assert all(str(prompt).endswith("<|im_start|>assistant\n") for prompt in calls[0]["prompts"])


def test_bad_requests(tokenizer: Tokenizer) -> None:
    model = MoEModel(config(tokenizer.vocab_size))
    with pytest.raises(ConfigError, match="unknown prompt"):
        task_accuracy(model, tokenizer, BOTH, "think", 4, [3], 2)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no problem to answer"):
        task_accuracy(model, tokenizer, BOTH, "answer", 0, [3], 2)
    with pytest.raises(ConfigError, match=r"did you mean modular_chain\?"):
        task_accuracy(model, tokenizer, ["modular_chian"], "answer", 4, [3], 2)
    with pytest.raises(RunError, match="a prompt that the model cannot read"):
        task_accuracy(MoEModel(config(64)), tokenizer, BOTH, "answer", 4, [3], 2)


@pytest.mark.parametrize("prompt", ["answer", "reasoning"])
def test_a_model_that_learned_the_replies_by_heart_scores_them_all(tokenizer: Tokenizer, prompt: str) -> None:
    """The whole way: problems, template, tokens, training as the trainer would, decoding, verification."""
    torch.manual_seed(1)
    problems = [problem for name in BOTH for problem in evaluation_problems(name, [2], 2, seed=4)]
    rendered = [
        templates.render(
            "chatml", [Message("user", problem.statement), Message("assistant", problem.answer, reasoning)]
        )
        for problem in problems
        for reasoning in ["\n".join(problem.steps) if prompt == "reasoning" else None]
    ]
    batch = tokenizer.encode_rendered(rendered, [problem.statement for problem in problems])
    tokens = torch.from_numpy(batch.ids.astype(np.int64))[None]
    lengths = np.diff(batch.ends.astype(np.int64), prepend=0)
    positions = torch.cat([torch.arange(int(length)) for length in lengths])[None]
    segments = torch.repeat_interleave(torch.arange(len(problems)), torch.from_numpy(lengths))[None]
    trained = torch.from_numpy(batch.loss)[None, 1:]
    model = MoEModel(config(tokenizer.vocab_size, layers=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    before = task_accuracy(model, tokenizer, BOTH, prompt, 2, [2], 4, max_new_tokens=80)
    for _ in range(120):
        optimizer.zero_grad()
        logits = model(tokens, positions, segments).logits_BTV[:, :-1]
        F.cross_entropy(logits[trained], tokens[:, 1:][trained]).backward()
        optimizer.step()
    after = task_accuracy(model, tokenizer, BOTH, prompt, 2, [2], 4, max_new_tokens=80)
    assert [score.correct for score in before] == [0, 0]
    assert [(score.correct, score.parsed) for score in after] == [(2, 2), (2, 2)]
    if prompt == "answer":
        assert all(score.twin_loss < 0.1 < 3 < earlier.twin_loss for score, earlier in zip(after, before, strict=True))


def test_the_loss_on_the_twins_is_that_of_the_bare_answers(model: MoEModel, tokenizer: Tokenizer) -> None:
    large = MoEModel(config(tokenizer.vocab_size))
    problems = evaluation_problems("modular_chain", [3], 40, seed=6)
    expected: list[float] = []
    for problem in problems:
        turns = [Message("user", problem.statement), Message("assistant", problem.answer)]
        ids = tokenizer.encode_rendered([templates.render("chatml", turns)], ["x"])
        expected += reference(large, HeldOutDocument(ids.ids, ids.loss, 1), len(ids.ids))
    assert len(expected) == 80
    for prompt in ("answer", "reasoning"):
        score = task_accuracy(large, tokenizer, ["modular_chain"], prompt, 40, [3], 6, max_new_tokens=2)[0]
        assert score.twin_loss == pytest.approx(sum(expected) / 80, abs=1e-5)


def test_problems_are_asked_in_a_jinja_template(tokenizer):
    """Prompts are the template's own, and replies end with what ends its turns."""
    text = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}</think>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    template = Template("own.jinja", text, earlier_reasoning="template")
    assert tokenizer.check(template).turn_ends == ("</think>",)
    model = MoEModel(config(tokenizer.vocab_size))
    (score,) = task_accuracy(
        model, tokenizer, ["word_problem"], "answer", 3, [2], 2, template=template, max_new_tokens=4
    )
    assert score.replies == 3
    assert score.twin_loss > 0

"""What a model is measured by: loss and bits per byte on held-out documents, and exact answers to generated problems.

A falling training loss does not say whether a model reasons, so problems that nobody trained on are answered freely and
checked by their own solver, and the answer-only twins' loss tells a model that cannot solve them from one that never
learned how to answer. Costs a forward pass over the held-out tokens, and one decoding step a token of the longest reply
in every batch of problems.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from ..errors import ConfigError, RunError
from ..mixtures import tasks, templates
from ..mixtures.built import HeldOutDocument
from ..mixtures.templates import Message
from ..mixtures.tokenizers import Tokenizer
from .attention import PADDING
from .generate import greedy
from .model import MoEModel

Prompt = Literal["answer", "reasoning"]

TWIN_ROWS = 16
EXAMPLES = 10

Piece = tuple[npt.NDArray[np.uint32], npt.NDArray[np.bool_]]
"""Tokens that see each other, at most a row of them, and which of them are scored."""


@dataclass(frozen=True)
class HeldOutLoss:
    """Loss on a source's held-out documents.

    `loss` is in nats per scored token; `bits_per_byte` is the nats of all documents / ln 2 / UTF-8 bytes of their
    supervised text; `tokens` are those scored.
    """

    source: str
    loss: float
    bits_per_byte: float
    tokens: int
    documents: int


@dataclass(frozen=True)
class Example:
    """One problem and what the model said; `answer` is the right one."""

    statement: str
    reply: str
    answer: str
    correct: bool


@dataclass(frozen=True)
class TaskScore:
    """How a model does on the problems of one family that belong to evaluation.

    `parsed` replies ended by themselves and gave an answer, `correct` ones the right one. `twin_loss` is the loss of
    the bare answers behind the bare statements, in nats per supervised token, whatever the prompt. `examples` are the
    first problems, not chosen ones.
    """

    task: str
    prompt: Prompt
    problems: int
    correct: int
    parsed: int
    twin_loss: float
    examples: tuple[Example, ...]

    @property
    def accuracy(self) -> float:
        """Share of correct replies, 0 to 1."""
        return self.correct / self.problems


def held_out_loss(
    model: MoEModel,
    documents: Iterable[HeldOutDocument],
    sequence_length: int,
    rows: int,
    *,
    source: str,
    rope_theta: float | None = None,
) -> HeldOutLoss:
    """Scores the supervised tokens of held-out documents, packed but apart from each other.

    A document longer than `sequence_length` is cut into pieces that share one token, the last of a piece being the
    context of the next, so every supervised token but a document's first is scored exactly once.

    Args:
        documents: tokens uint32[n], loss bool[n] and bytes each.
        sequence_length: tokens a row, 2 or more.
        rows: rows of one forward pass.
        source: the name that the documents go by.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Raises:
        ConfigError: `sequence_length` below 2 or `rows` below 1.
        RunError: no token can be scored, a token is outside the vocabulary, or the loss is not finite.
    """
    seen = bytes_ = 0

    def pieces() -> Iterator[Piece]:
        nonlocal seen, bytes_
        for document in documents:
            seen += 1
            bytes_ += document.bytes
            yield from cut(document.tokens, document.loss, sequence_length)

    nats, tokens = _score(model, pieces(), sequence_length, rows, source, rope_theta)
    if not bytes_:
        raise RunError("held-out documents without a byte of supervised text", where=source, seen=f"{seen} documents")
    return HeldOutLoss(source, nats / tokens, nats / math.log(2) / bytes_, tokens, seen)


def task_accuracy(
    model: MoEModel,
    tokenizer: Tokenizer,
    names: Sequence[str],
    prompt: Prompt,
    samples: int,
    steps: Sequence[int],
    seed: int,
    *,
    template: str = "chatml",
    max_new_tokens: int = 128,
    batch_size: int = 64,
    rope_theta: float | None = None,
) -> list[TaskScore]:
    """Exact-match accuracy by greedy decoding on `samples` problems of every family that belong to evaluation.

    Args:
        names: the families.
        prompt: `answer` leaves the model to answer at once, `reasoning` opens its reasoning.
        samples: problems of each family, all distinct.
        steps: numbers of steps to draw from.
        seed: chooses the problems; equal seeds give every model the same ones.
        template: what the model was trained with.
        max_new_tokens: a reply that does not end within these counts as one without an answer.
        batch_size: problems answered together.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Raises:
        ConfigError: an unknown family, prompt or template, a tokenizer without the template's tokens, or too few
            problems of these numbers of steps.
        RunError: a tokenizer with more tokens than the model, or logits that are not finite.
    """
    if prompt not in get_args(Prompt):
        raise ConfigError("unknown prompt", where="prompt", seen=prompt, expected=", ".join(get_args(Prompt)))
    if samples < 1:
        raise ConfigError("no problem to answer", where="samples", seen=samples, expected="1 or more")
    tokenizer.check(template)
    drawn = [(tasks.task(name), tasks.evaluation_problems(name, steps, samples, seed)) for name in names]
    asked = [[Message("user", problem.statement)] for _, problems in drawn for problem in problems]
    rendered = [templates.prompt(template, turns, answer_directly=prompt == "answer") for turns in asked]
    prompts = [tokenizer.encode_prompt(one) for one in rendered]
    stop = {tokenizer.end_of_document, tokenizer.special_id(templates.TURN_END)}
    replies = greedy(model, prompts, max_new_tokens, stop, batch_size=batch_size, rope_theta=rope_theta)
    opening = f"{templates.REASONING_START}\n" if prompt == "reasoning" else ""
    texts = [(opening + tokenizer.decode(reply), len(reply) < max_new_tokens) for reply in replies]
    scores = []
    for number, (family, problems) in enumerate(drawn):
        answered = texts[number * samples : (number + 1) * samples]
        twin_loss = _twin_loss(model, tokenizer, problems, template, rope_theta)
        scores.append(_task_score(family, problems, answered, prompt, twin_loss))
    return scores


def _task_score(
    family: tasks.Task,
    problems: Sequence[tasks.Problem],
    answered: Sequence[tuple[str, bool]],
    prompt: Prompt,
    twin_loss: float,
) -> TaskScore:
    """`answered` holds every reply and whether it ended by itself."""
    parsed = 0
    examples = []
    for problem, (reply, ended) in zip(problems, answered, strict=True):
        parsed += ended and family.parse(reply) is not None
        correct = ended and family.verify(problem, reply)
        examples.append(Example(problem.statement, reply, problem.answer, correct))
    solved = sum(example.correct for example in examples)
    return TaskScore(family.name, prompt, len(problems), solved, parsed, twin_loss, tuple(examples[:EXAMPLES]))


def _twin_loss(
    model: MoEModel,
    tokenizer: Tokenizer,
    problems: Sequence[tasks.Problem],
    template: str,
    rope_theta: float | None,
) -> float:
    """Loss of the answers without reasoning, in nats per supervised token."""
    turns = [(Message("user", problem.statement), Message("assistant", problem.answer)) for problem in problems]
    rendered = [templates.render(template, messages) for messages in turns]
    encoded = tokenizer.encode_rendered(rendered, [problem.statement for problem in problems])
    ends = [int(end) for end in encoded.ends]
    starts = [0, *ends[:-1]]
    pieces = [(encoded.ids[a:b], encoded.loss[a:b]) for a, b in zip(starts, ends, strict=True)]
    longest = max(len(ids) for ids, _ in pieces)
    nats, tokens = _score(model, pieces, longest, TWIN_ROWS, problems[0].task, rope_theta)
    return nats / tokens


def cut(tokens: npt.NDArray[np.uint32], loss: npt.NDArray[np.bool_], sequence_length: int) -> Iterator[Piece]:
    """A document in pieces of at most `sequence_length` tokens, each starting with the last token of the one before.

    The first token of a piece is never scored: it has no predecessor there, or was scored in the piece before.
    """
    for start in range(0, max(len(tokens) - 1, 1), sequence_length - 1):
        yield tokens[start : start + sequence_length], loss[start : start + sequence_length]


def _score(
    model: MoEModel, pieces: Iterable[Piece], length: int, rows: int, where: str, rope_theta: float | None
) -> tuple[float, int]:
    """The nats of all scored tokens, and their number."""
    if length < 2 or rows < 1:
        seen = f"sequence_length {length}, rows {rows}"
        raise ConfigError("nothing can be scored", where=where, seen=seen, expected="2 and 1 or more")
    nats, tokens = 0.0, 0
    for batch in _packed(pieces, length, rows):
        batch_nats, batch_tokens = _score_rows(model, batch, length, where, rope_theta)
        nats += batch_nats
        tokens += batch_tokens
    if not tokens:
        raise RunError("no token to score", where=where, expected="held-out documents with supervised tokens")
    if not math.isfinite(nats):
        raise RunError("the loss is not finite", where=where, seen=nats, fix="take an earlier checkpoint")
    return nats, tokens


def _packed(pieces: Iterable[Piece], length: int, rows: int) -> Iterator[list[list[Piece]]]:
    """Batches of rows of pieces: each piece in the first row that has room; a batch ends where none has."""
    batch: list[list[Piece]] = [[] for _ in range(rows)]
    room = [length] * rows
    for piece in pieces:
        size = len(piece[0])
        row = next((row for row in range(rows) if room[row] >= size), None)
        if row is None:
            yield batch
            batch, room, row = [[] for _ in range(rows)], [length] * rows, 0
        batch[row].append(piece)
        room[row] -= size
    if any(batch):
        yield [row for row in batch if row]


@torch.no_grad()
def _score_rows(
    model: MoEModel, rows: Sequence[Sequence[Piece]], length: int, where: str, rope_theta: float | None
) -> tuple[float, int]:
    tokens_BT = np.zeros((len(rows), length), np.int64)
    positions_BT = np.zeros_like(tokens_BT)
    segments_BT = np.full_like(tokens_BT, PADDING)
    scored_BT = np.zeros(tokens_BT.shape, np.bool_)
    for row, pieces in enumerate(rows):
        at = 0
        for segment, (ids, loss) in enumerate(pieces):
            part = slice(at, at + len(ids))
            tokens_BT[row, part] = ids
            positions_BT[row, part] = np.arange(len(ids))
            segments_BT[row, part] = segment
            scored_BT[row, part][1:] = loss[1:]
            at += len(ids)
    words = model.embed_tokens.num_embeddings
    if tokens_BT.max() >= words:
        raise RunError(
            "a token is outside the model's vocabulary", where=where, seen=tokens_BT.max(), expected=f"below {words}"
        )
    device = model.embed_tokens.weight.device
    tokens, scored = torch.from_numpy(tokens_BT).to(device), torch.from_numpy(scored_BT).to(device)
    positions, segments = torch.from_numpy(positions_BT).to(device), torch.from_numpy(segments_BT).to(device)
    logits_BTV = model(tokens, positions, segments, rope_theta=rope_theta).logits_BTV
    # The logits at t are about the token at t + 1.
    nats_N = F.cross_entropy(logits_BTV[:, :-1][scored[:, 1:]], tokens[:, 1:][scored[:, 1:]], reduction="none")
    return float(nats_N.double().sum()), len(nats_N)

"""What a model is measured by: loss and bits per byte on held-out documents, and exact answers to generated problems.

A falling training loss does not say whether a model reasons, so problems that nobody trained on are answered freely and
checked by their own solver, and the answer-only twins' loss tells a model that cannot solve them from one that never
learned how to answer. Costs a forward pass over the held-out tokens, and one decoding step a token of the longest reply
in every batch of problems.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from ...errors import ConfigError, RunError
from ...mixtures import tasks
from ...mixtures.built import HeldOutDocument
from ...mixtures.templates import CHATML, Message, Template
from ...mixtures.tokenizers import Tokenizer
from ..models.model import MoEModel
from .generate import generate
from .pass_at_k import check_ks, mean_pass_at_k
from .sampling import GREEDY, Sampling
from .scoring import Piece, cut, total

Prompt = Literal["answer", "reasoning"]

TWIN_ROWS = 16
EXAMPLES = 10


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

    There are `replies` to all problems together: `parsed` ones ended by themselves and gave an answer, `correct` ones
    the right one. `pass_at` is the estimate of pass@k by k. `twin_loss` is the loss of the bare answers behind the bare
    statements, in nats per supervised token, whatever the prompt. `examples` are the first reply to each of the first
    problems, not chosen ones.
    """

    task: str
    prompt: Prompt
    problems: int
    replies: int
    correct: int
    parsed: int
    pass_at: Mapping[int, float]
    twin_loss: float
    examples: tuple[Example, ...]

    @property
    def accuracy(self) -> float:
        """Share of correct replies, 0 to 1."""
        return self.correct / self.replies


def held_out_loss(
    model: MoEModel,
    documents: Iterable[HeldOutDocument],
    sequence_length: int,
    rows: int,
    *,
    source: str,
    row: int | None = None,
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
        row: tokens of a row, `sequence_length` by default; a longer piece stands alone in a forward pass.
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

    nats, tokens = total(model, pieces(), row or sequence_length, rows, source, rope_theta)
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
    template: Template = CHATML,
    max_new_tokens: int = 128,
    sampling: Sampling = GREEDY,
    ks: Sequence[int] = (1,),
    batch_size: int = 64,
    rope_theta: float | None = None,
) -> list[TaskScore]:
    """Exact-match accuracy of replies to `samples` problems of every family that belong to evaluation.

    Args:
        names: the families.
        prompt: `answer` leaves the model to answer at once, `reasoning` opens its reasoning.
        samples: problems of each family, all distinct.
        steps: numbers of steps to draw from.
        seed: chooses the problems; equal seeds give every model the same ones.
        template: what the model was trained with.
        max_new_tokens: a reply that does not end within these counts as one without an answer.
        sampling: how replies are drawn, and how many to each problem; greedily, and one, by default.
        ks: which pass@k are estimated, each at most sampling.n.
        batch_size: replies written together.
        rope_theta: base of the rotary embeddings, that of the model's config by default.

    Raises:
        ConfigError: an unknown family, prompt or template, a tokenizer without the template's tokens, a k above n, or
            too few problems of these numbers of steps.
        RunError: a tokenizer with more tokens than the model, or logits that are not finite.
    """
    check_prompt(prompt)
    if samples < 1:
        raise ConfigError("no problem to answer", where="samples", seen=samples, expected="1 or more")
    check_ks(ks, sampling.n)
    template = tokenizer.check(template)
    drawn = [(tasks.task(name), tasks.evaluation_problems(name, steps, samples, seed)) for name in names]
    asked = [[Message("user", problem.statement)] for _, problems in drawn for problem in problems]
    rendered = [template.prompt(turns, answer_directly=prompt == "answer") for turns in asked]
    prompts = [tokenizer.encode_prompt(one) for one in rendered]
    stop = {tokenizer.end_of_document, *map(tokenizer.special_id, template.turn_ends)}
    replies = generate(
        model, prompts, max_new_tokens, stop, sampling=sampling, batch_size=batch_size, rope_theta=rope_theta
    )
    opening = template.opening(prompt == "answer")
    said = [opening + tokenizer.decode(reply, continued=True) for reply in replies]
    texts = [(template.read(text), len(reply) < max_new_tokens) for text, reply in zip(said, replies, strict=True)]
    scores = []
    each = samples * sampling.n
    for number, (family, problems) in enumerate(drawn):
        answered = texts[number * each : (number + 1) * each]
        twin_loss = _twin_loss(model, tokenizer, problems, template, rope_theta)
        scores.append(_task_score(family, problems, answered, prompt, twin_loss, ks))
    return scores


def check_prompt(prompt: str) -> Prompt:
    """The prompt, if generated problems can be asked so.

    Raises:
        ConfigError: they cannot: they are asked in a template.
    """
    if prompt not in get_args(Prompt):
        raise ConfigError("unknown prompt", where="prompt", seen=prompt, expected=", ".join(get_args(Prompt)))
    return cast(Prompt, prompt)


def _task_score(
    family: tasks.Task,
    problems: Sequence[tasks.Problem],
    answered: Sequence[tuple[str, bool]],
    prompt: Prompt,
    twin_loss: float,
    ks: Sequence[int],
) -> TaskScore:
    """`answered` holds every reply and whether it ended by itself, those to one problem in a row."""
    n = len(answered) // len(problems)
    parsed, right, examples = 0, [], []
    for number, problem in enumerate(problems):
        replies = answered[number * n : (number + 1) * n]
        parsed += sum(ended and family.parse(reply) is not None for reply, ended in replies)
        correct = [ended and family.verify(problem, reply) for reply, ended in replies]
        right.append(sum(correct))
        examples.append(Example(problem.statement, replies[0][0], problem.answer, correct[0]))
    return TaskScore(
        family.name,
        prompt,
        len(problems),
        len(answered),
        sum(right),
        parsed,
        mean_pass_at_k(n, right, ks),
        twin_loss,
        tuple(examples[:EXAMPLES]),
    )


def _twin_loss(
    model: MoEModel,
    tokenizer: Tokenizer,
    problems: Sequence[tasks.Problem],
    template: Template,
    rope_theta: float | None,
) -> float:
    """Loss of the answers without reasoning, in nats per supervised token."""
    turns = [(Message("user", problem.statement), Message("assistant", problem.answer)) for problem in problems]
    rendered = [template.render(messages) for messages in turns]
    encoded = tokenizer.encode_rendered(rendered, [problem.statement for problem in problems])
    ends = [int(end) for end in encoded.ends]
    starts = [0, *ends[:-1]]
    pieces = [(encoded.ids[a:b], encoded.loss[a:b]) for a, b in zip(starts, ends, strict=True)]
    longest = max(len(ids) for ids, _ in pieces)
    nats, tokens = total(model, pieces, longest, TWIN_ROWS, problems[0].task, rope_theta)
    return nats / tokens

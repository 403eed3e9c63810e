"""Multiple choice (ARC, HellaSwag, MMLU): which choice a model finds the most probable continuation.

The convention is lm-evaluation-harness's, without examples shown: `accuracy` takes the choice with the largest log
probability, `accuracy_per_byte` the largest one divided by the choice's UTF-8 bytes (its `acc_bytes`; its `acc_norm`
divides by characters), and ARC, HellaSwag and MMLU are put into the same words. Costs one forward pass over every
question with each of its choices.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...mixtures.tokenizers import Tokenizer
from ..models.model import MoEModel
from .scoring import Piece, scored

LENGTH = 1024  # tokens of a row; a longer question stands alone
ROWS_TOKENS = 16_384  # tokens of one forward pass

_BRACKETS = re.compile(r"\[.*?\]")


@dataclass(frozen=True)
class ChoiceQuestion:
    """What is continued, its continuations (each begins with a space), and which of them is right."""

    id: str
    context: str
    choices: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Chosen:
    """The choice of the largest log probability, and that of the largest per byte."""

    most_probable: int
    most_probable_per_byte: int
    log_probabilities: tuple[float, ...]


def from_record(record: Mapping[str, Any], identity: str) -> ChoiceQuestion | None:
    """A question of a record in the form of HellaSwag, ARC or MMLU; None where right and choices do not fit together.

    HellaSwag: `ctx_a`, `ctx_b`, `activity_label`, `endings`, `label`. ARC: `question` or `query`, `choices` with texts
    and labels (or texts alone behind a `query`), `answer`, `answerKey` or `gold`; the texts are scored. MMLU:
    `question`, `choices` as texts, `answer` as letter or number; the choices are shown, and their letters are scored.
    """
    if "endings" in record:
        context = f"{record.get('ctx_a', record.get('ctx', ''))} {str(record.get('ctx_b', '')).capitalize()}"
        shown = _hellaswag(f"{record.get('activity_label', '')}: {context}")
        return _question(identity, shown, [_hellaswag(one) for one in record["endings"]], None, record.get("label"))
    texts, labels = _texts(record["choices"])
    right = next((record[key] for key in ("answer", "answerKey", "gold") if key in record), None)
    if "query" in record:
        return _question(identity, f"{record['query']}\nAnswer:", texts, labels, right)
    if labels is not None:
        return _question(identity, f"Question: {record['question']}\nAnswer:", texts, labels, right)
    letters = [chr(ord("A") + number) for number in range(len(texts))]
    lines = [f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)]
    shown = "\n".join([str(record["question"]).strip(), *lines, "Answer:"])
    return _question(identity, shown, letters, letters, right)


def _question(
    identity: str, context: str, texts: Sequence[str], labels: Sequence[str] | None, right: object
) -> ChoiceQuestion | None:
    if labels is not None and str(right) in labels:
        number = labels.index(str(right))
    elif str(right).isdecimal():
        number = int(str(right))
    else:
        return None
    if not context.strip() or len(texts) < 2 or number >= len(texts):
        return None
    return ChoiceQuestion(identity, context, tuple(f" {text}" for text in texts), number)


def _texts(choices: Any) -> tuple[list[str], list[str] | None]:
    """Texts and labels of choices as ARC or MMLU write them; ARC's own files have two lists, others a list of pairs."""
    if isinstance(choices, Mapping):
        return [str(text) for text in choices["text"]], [str(label) for label in choices["label"]]
    if choices and all(isinstance(choice, Mapping) for choice in choices):
        return [str(choice["text"]) for choice in choices], [str(choice["label"]) for choice in choices]
    return [str(choice) for choice in choices], None


def _hellaswag(text: str) -> str:
    """WikiHow's marks taken out, as lm-evaluation-harness does."""
    return _BRACKETS.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def choose(
    model: MoEModel, tokenizer: Tokenizer, questions: Sequence[ChoiceQuestion], where: str, rope_theta: float | None
) -> list[Chosen]:
    """The model's choices; a choice's tokens are those behind what it shares with the context encoded alone.

    Raises:
        RunError: a token outside the model's vocabulary, or a loss that is not finite.
    """
    pieces: list[Piece] = []
    for question in questions:
        texts = [question.context, *(question.context + choice for choice in question.choices)]
        encoded = tokenizer.encode_texts(texts)
        ends = encoded.ends.tolist()
        context, *wholes = [encoded.ids[a : b - 1] for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        for whole in wholes:
            common = min(len(context), len(whole))
            differs = np.flatnonzero(context[:common] != whole[:common])
            pieces.append((whole, np.arange(len(whole)) >= (differs[0] if len(differs) else common)))
    log_probabilities = [0.0] * len(pieces)
    for place, nats, _ in scored(model, pieces, LENGTH, ROWS_TOKENS // LENGTH, where, rope_theta):
        log_probabilities[place] = -nats
    chosen, at = [], 0
    for question in questions:
        logs = np.array(log_probabilities[at : at + len(question.choices)])
        sizes = np.array([max(len(choice[1:].encode()), 1) for choice in question.choices])
        chosen.append(Chosen(int(logs.argmax()), int((logs / sizes).argmax()), tuple(logs.tolist())))
        at += len(question.choices)
    return chosen

"""The mixture: which documents, which tokenizer, which phases with which weights, as the YAML says it.

Weights are shares of tokens and must sum to 1: a mixture that is normalised in silence is not the one that was asked
for. Checked when the file is loaded, before any document is read.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from .. import config
from ..config import Address, Count, Loaded, LocalFolder, Section, ShareOrCount
from ..errors import ConfigError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
WEIGHT_TOLERANCE = 1e-6
_COMPARISON = re.compile(r"\s*(=[<>]|[<>=!]=?)(.*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
Share = Annotated[float, Field(ge=0, le=1)]


class TrainTokenizer(Section):
    """A byte-level BPE to be trained on the first 100 MB of some sources, held-out documents left out."""

    vocab_size: Count = Field(gt=0)
    sources: tuple[str, ...] = Field(min_length=1)


class TokenizerSpec(Section):
    """A tokenizer file, or one to be trained, and its end-of-document token."""

    path: str | None = None
    train: TrainTokenizer | None = None
    end_of_document: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "TokenizerSpec":
        if (self.path is None) == (self.train is None):
            raise ValueError("a tokenizer is either path: FILE or train: {vocab_size: …, sources: […]}")
        return self


class MixtureSource(Section):
    """Documents of a curated output that are trained on under one name.

    `where` maps a column to what it must be: a text, a list of texts, or a comparison such as ">0.8".
    """

    name: str = Field(pattern=NAME)
    documents: Address
    where: dict[str, str | float | Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    held_out: ShareOrCount = Field(default=0, ge=0)
    template: Literal["chatml"] | None = None
    pack: Literal["whole", "chunk"] | None = None
    too_long: Literal["drop", "error"] = "error"

    @property
    def packing(self) -> Literal["whole", "chunk"]:
        """As written; else whole documents where a template renders them, chunks of plain text."""
        return self.pack or ("whole" if self.template else "chunk")


class Weight(Section):
    """A source's part in a phase: its share of the tokens, what is trained on, how often its data may be seen.

    `max_epochs` counts over this phase and all before it.
    """

    share: Share
    loss: Literal["all", "assistant"] = "assistant"
    max_epochs: int = Field(default=1, ge=1)


class PhaseSection(Section):
    """A phase: so many tokens in sequences of one length, drawn from sources by weight."""

    name: str = Field(pattern=NAME)
    sequence_length: Count = Field(ge=2)
    tokens: Count = Field(ge=1)
    weights: dict[str, Share | Weight] = Field(min_length=1)

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: dict[str, float | Weight]) -> dict[str, float | Weight]:
        total = sum(weight.share if isinstance(weight, Weight) else weight for weight in weights.values())
        if abs(total - 1) > WEIGHT_TOLERANCE:
            raise ValueError(f"the weights sum to {total:g}, not to 1")
        return weights

    def entries(self) -> dict[str, Weight]:
        """Every source with a positive share, its weight written out."""
        full = {
            name: weight if isinstance(weight, Weight) else Weight(share=float(weight))
            for name, weight in self.weights.items()
        }
        return {name: weight for name, weight in full.items() if weight.share > 0}


class MixtureSpec(Section):
    """A mixture as the YAML holds it."""

    name: str = Field(pattern=NAME)
    output: LocalFolder
    seed: int = Field(default=0, ge=0)
    tokenizer: str | TokenizerSpec
    sources: tuple[MixtureSource, ...] = Field(min_length=1)
    phases: tuple[PhaseSection, ...] = Field(min_length=1)

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        """The tokenizer written out."""
        return TokenizerSpec(path=self.tokenizer) if isinstance(self.tokenizer, str) else self.tokenizer


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded[MixtureSpec]:
    """Loads and checks a mixture.

    Raises:
        ConfigError: a key, a type, a name that stands twice or that nothing has.
    """
    loaded = config.load(path, MixtureSpec, overrides)
    spec = loaded.value
    sources = [source.name for source in spec.sources]
    _distinct(loaded, "sources", sources)
    _distinct(loaded, "phases", [phase.name for phase in spec.phases])
    for index, phase in enumerate(spec.phases):
        for name in phase.weights:
            _known(loaded, ("phases", index, "weights", name), name, sources)
    train = spec.tokenizer_spec.train
    for index, name in enumerate(train.sources if train else ()):
        _known(loaded, ("tokenizer", "train", "sources", index), name, sources)
    for index, source in enumerate(spec.sources):
        for column in source.where:
            try:
                where_conditions({column: source.where[column]})
            except ConfigError as wrong:
                place = ("sources", index, "where", column)
                raise loaded.error(place, wrong.what, expected=wrong.expected) from None
        if not any(source.name in phase.entries() for phase in spec.phases) and not source.held_out:
            raise loaded.error(
                ("sources", index, "name"),
                f"no phase draws from {source.name} and nothing of it is held out",
                fix="give it a weight in a phase, or remove it",
            )
    return loaded


def _distinct(loaded: Loaded[MixtureSpec], key: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise loaded.error((key, index, "name"), f"{name} stands twice")


def _known(loaded: Loaded[MixtureSpec], path: tuple[str | int, ...], name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise loaded.error(
            path,
            f"no source is called {name}",
            expected=", ".join(known),
            fix=config.did_you_mean(name, known),
        )


def where_conditions(where: dict[str, Any]) -> list[tuple[str, str, Any]]:
    """The conditions as (column, operator, value) with operators `in`, `>`, `>=`, `<`, `<=`, `==`.

    A number means `==`; the bound of a date stays text, since `2020` is the beginning of a year there.

    Raises:
        ConfigError: a comparison with something that is no number, or no comparison at all.
    """
    conditions: list[tuple[str, str, Any]] = []
    for column, wanted in where.items():
        if isinstance(wanted, tuple):
            conditions.append((column, "in", list(wanted)))
        elif isinstance(wanted, (int, float)):
            conditions.append((column, "==", float(wanted)))
        else:
            conditions.append(_condition(column, wanted))
    return conditions


def _condition(column: str, wanted: str) -> tuple[str, str, Any]:
    match = _COMPARISON.fullmatch(wanted)
    if match is None:
        return column, "in", [wanted]
    operator, bound = match[1], match[2].strip()
    if operator not in (">=", "<=", ">", "<"):
        raise ConfigError(
            f"where: there is no comparison {operator}",
            seen=wanted,
            expected=">, >=, < or <= with a number, a bare number, or a text to be equal to",
        )
    if column == "date" and bound:
        return column, operator, bound
    if not _NUMBER.fullmatch(bound):
        raise ConfigError(f"where: {column} is compared with what is no number", seen=wanted, expected='such as ">0.8"')
    return column, operator, float(bound)

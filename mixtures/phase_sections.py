"""The phases of a mixture, as the YAML has them: how long, and with which weights.

A weight has many forms, and two of them at once are an error. Costs nothing.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ..config import Count, Section
from .source_sections import NAME

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1e6  # below, the largest source takes all; above, all are alike
MOST_TOKENS = 1 << 24  # of a sequence: what packing keeps is so many numbers


def _share(value: object) -> object:
    """A number from 0 to 1, `60%`, `rest` or `size`."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            value = float(Decimal(value.strip()[:-1]) / 100)
        except ArithmeticError:
            raise ValueError("not a share") from None
    if value in ("rest", "size") or (
        isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    ):
        return value
    raise ValueError("a share is a number from 0 to 1, or rest, or size")


Share = Annotated[float | str, BeforeValidator(_share)]
Part = Annotated[float, Field(ge=0, le=1)]


class Weight(Section):
    """A source's part in a phase, or a group's: how much is drawn, what is trained on, how often it may be seen.

    One of `share`, `tokens`, `epochs`, or `from` and `to` in a phase that changes; a number alone is a share.
    `max_epochs` counts over this phase and all before it. What a group says of `loss` and `max_epochs` is said of its
    sources.
    """

    share: Share | None = None
    tokens: Count | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    start: Part | None = Field(default=None, alias="from")
    to: Part | None = None
    sources: "dict[str, Weight] | None" = Field(default=None, min_length=1)
    temperature: float = Field(default=1, ge=LEAST_TEMPERATURE, le=MOST_TEMPERATURE)
    loss: Literal["all", "assistant"] | None = None
    max_epochs: int | None = Field(default=None, ge=1)
    min_tokens: Count = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _from_share(cls, value: object) -> object:
        return value if isinstance(value, dict) else {"share": value}

    @model_validator(mode="after")
    def _one_amount(self) -> "Weight":
        if (self.start is None) != (self.to is None):
            raise ValueError("a share that changes has both from and to")
        given = [name for name in ("share", "tokens", "epochs", "start") if getattr(self, name) is not None]
        if len(given) > 1 or not (given or self.sources):
            raise ValueError("a weight is one of share, tokens and epochs, or from and to")
        if self.sources is None and self.temperature != 1:
            raise ValueError("a temperature is of a group: it has sources")
        if self.sources is not None and (self.epochs is not None or self.min_tokens):
            raise ValueError("epochs and min_tokens are of a source, not of a group")
        return self


class PhaseSection(Section):
    """A phase: so long, in sequences of one length, drawn from sources by weight."""

    name: str = Field(pattern=NAME)
    sequence_length: Count = Field(ge=2, le=MOST_TOKENS)
    tokens: Count | None = Field(default=None, ge=1)
    sequences: Count | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0, le=1)
    temperature: float = Field(default=1, ge=LEAST_TEMPERATURE, le=MOST_TEMPERATURE)
    change: Literal["linear", "cosine"] | None = None
    weights: dict[str, Weight] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_length(self) -> "PhaseSection":
        if sum(length is not None for length in (self.tokens, self.sequences, self.fraction)) > 1:
            raise ValueError("a phase is so long: one of tokens, sequences and fraction")
        return self

    def entries(self) -> dict[str, Weight]:
        """The weights that are not 0."""
        return {name: weight for name, weight in self.weights.items() if weight.share != 0}

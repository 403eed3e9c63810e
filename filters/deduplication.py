"""The options that all steps of deduplication share: which copy is kept, and the losses that stop a run.

A deduplication that goes wrong does so silently and at a large scale, by a chain of clusters or a signature that many
texts share; so every such step says how much a source may lose before a person has to look.
Costs nothing: these are bounds on counts that a run makes anyway.
"""

from typing import ClassVar

from pydantic import Field, field_validator

from ..config import Count
from . import keep_order
from .rules import Barrier


class LossLimited(Barrier):
    """A step of which a source must not lose too much; more than that stops the run until the recipe allows it."""

    # Options that say when a run stops and not what is kept: they are no part of what the step's output depends on.
    unrecorded: ClassVar[frozenset[str]] = frozenset({"max_loss", "allow_loss"})

    max_loss: float | None = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of a source's documents, or of its bytes of text where pieces are cut out, whose loss stops "
        "the run; null for none",
    )
    allow_loss: tuple[str, ...] = Field(default=(), description="sources that may lose any share")


class Deduplication(LossLimited):
    """A step that keeps one of every set of documents that are the same or nearly so."""

    unrecorded: ClassVar[frozenset[str]] = LossLimited.unrecorded | {"max_cluster"}

    keep: tuple[str, ...] = Field(
        default=("source",),
        description="which copy is kept, the first that tells two apart: source (the recipe's order), length (longer), "
        "date (later; ISO 8601, any other form is no date) or the name of a score column (higher); a minus before it "
        "turns it round",
    )
    max_cluster: Count | None = Field(
        default=10_000, ge=1, description="documents that may be dropped for one that is kept, itself counted"
    )

    @property
    def folds(self) -> bool:
        """Whether texts are compared by folded units, which hold no signs: 5 + 4 is then the same as 5 * 4."""
        return False

    @field_validator("keep")
    @classmethod
    def _is_an_order(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        keep_order.check(keep)
        return keep

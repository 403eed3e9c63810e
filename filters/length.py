"""The step `length`: bounds on the characters, bytes and white-space delimited chunks of a document.

A page of ten characters or of fifty megabytes is seldom prose, and saying so is cheaper than any other rule, so that
this comes first where it is wanted.
Costs about 1 ns per byte where characters or chunks are bounded; bytes alone are free.
"""

from functools import partial
from typing import ClassVar, Final

import numpy as np
from pydantic import Field, model_validator

from ..config import Count
from .document import DocumentBatch
from .rules import Filter, Rule, Scores

SOURCE: Final = "the recipe"
_BOUNDS: Final = (
    ("characters", "min_characters", "max_characters"),
    ("bytes", "min_bytes", "max_bytes"),
    ("chunks", "min_chunks", "max_chunks"),
)


class Length(Filter):
    """Keeps a document whose length lies within every bound, the bounds included; at least one has to be given.

    Characters are Unicode code points. Bytes are those of the UTF-8 encoding. Chunks are what stands between white
    space, as `str.split()` has it: words in many languages, but not in Chinese, Japanese or Thai.
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = tuple(option for _, *ends in _BOUNDS for option in ends)

    min_characters: Count | None = Field(default=None, ge=0, description="Unicode code points")
    max_characters: Count | None = Field(default=None, ge=0)
    min_bytes: Count | None = Field(default=None, ge=0, description="bytes of UTF-8")
    max_bytes: Count | None = Field(default=None, ge=0)
    min_chunks: Count | None = Field(default=None, ge=0, description="pieces between white space")
    max_chunks: Count | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _can_judge(self) -> "Length":
        if all(getattr(self, option) is None for _, *options in _BOUNDS for option in options):
            raise ValueError("no bound is given: set at least one, such as min_characters: 200")
        for name, low, high in _BOUNDS:
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"no document can pass {name}: {low} {least} is above {high} {most}")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Three rules, those without bounds among them, so that a rule's number means the same in every recipe."""
        return tuple(
            Rule(name, partial(self._score, name), getattr(self, low), getattr(self, high), SOURCE)
            for name, low, high in _BOUNDS
        )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, from one pass over the text."""
        from .kernels import length_kernels

        characters, chunks = length_kernels.count(batch.text_bytes, batch.text_offsets)
        return {
            "characters": characters.astype(np.float64),
            "bytes": np.diff(batch.text_offsets).astype(np.float64),
            "chunks": chunks.astype(np.float64),
        }

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]

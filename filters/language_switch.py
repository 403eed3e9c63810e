"""The step `language_switch`: drops records that think in another script than they are asked in, or another language.

Models trained by reinforcement slide from the prompt's language into another in the middle of a thought, and a few
hundred such traces are enough for a model to learn it.
Costs about 2 ns a byte of thought and prompt; the language model, where it is asked, 15 to 20 ns a byte of at most
4 KiB of each.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ..config import Count
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .document import DocumentBatch, Spans

SOURCE: Final = "the recipe"
_OWN: Final = 0.1  # share of the prompt's letters from which a script is the prompt's own


class LanguageSwitch(Filter):
    """Keeps a record whose thoughts are in the scripts of its prompts and, where it is asked for, in their language.

    `other_script` is the share of the thoughts' letters in scripts that are not the prompts': those with a tenth of
    the prompts' letters, or the thoughts' own main script where prompts have no letters. Greek is notation and counts
    nowhere. `same_language` (1 or 0) compares the languages of thoughts and prompts by lid.176, and is 1 without
    `identify`, and where either has fewer than `min_letters` letters. Records without a thought are kept.
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = ("max_other_script",)

    max_other_script: float | None = Field(default=0.1, ge=0, le=1, description="share of the thoughts' letters")
    identify: bool = Field(default=False, description="whether the languages are identified and have to be the same")
    min_letters: Count = Field(default=40, ge=1, description="letters below which no language is told")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Two rules."""
        return (
            Rule("other_script", partial(self._score, "other_script"), None, self.max_other_script, SOURCE),
            Rule("same_language", partial(self._score, "same_language"), 1.0, None, SOURCE),
        )

    @property
    def files(self) -> tuple[str, ...]:
        """The language model's path, where languages are identified.

        Raises:
            ConfigError: none is installed.
        """
        return self._model().files if self.identify else ()

    @property
    def memory(self) -> int:
        """The language model."""
        return self._model().memory if self.identify else 0

    def check(self) -> None:
        """Looks whether languages can be identified.

        Raises:
            ConfigError: there is no model.
        """
        if self.identify:
            self._model().check()

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name."""
        turns = batch.turns
        thoughts, prompts = _letters(turns.thoughts), _letters(turns.prompts)
        asked = prompts.sum(axis=1, keepdims=True)
        own = prompts >= np.maximum(asked * _OWN, 1)
        main = thoughts == np.maximum(thoughts.max(axis=1, keepdims=True, initial=0), 1)
        other = np.where(np.where(asked > 0, own, main), 0, thoughts).sum(axis=1)
        found = {"other_script": other / np.maximum(thoughts.sum(axis=1), 1), "same_language": np.ones(len(batch))}
        if self.identify:
            enough = np.minimum(thoughts.sum(axis=1), asked[:, 0]) >= self.min_letters
            rows = np.flatnonzero(enough)
            one, two = (self._languages(spans, rows) for spans in (turns.thoughts, turns.prompts))
            found["same_language"][rows] = [first == second for first, second in zip(one, two, strict=True)]
        return found

    def _languages(self, spans: Spans, rows: npt.NDArray[np.int64]) -> list[str | None]:
        """The language of some documents' pieces, which are joined by line feeds."""
        import pyarrow as pa

        from .document import SCHEMA, DocumentBatch
        from .turns import texts

        ends = np.concatenate([[0], spans.ends])
        joined = ["\n".join(texts(spans, np.arange(ends[row], ends[row + 1]))) for row in rows.tolist()]
        columns: dict[str, Any] = {"id": [""] * len(joined), "text": joined, "source": [""] * len(joined)}
        arrays = [pa.array(columns.get(field.name, [None] * len(joined)), field.type) for field in SCHEMA]
        documents = DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        found: list[str | None] = self._model().annotate(documents).column("language").to_pylist()
        return found

    @staticmethod
    def _model() -> Any:
        from .language import Language

        return Language(keep=("en",))

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


def _letters(spans: Spans) -> npt.NDArray[np.int64]:
    """int64[n, scripts]: the letters of each document's pieces, by script."""
    from .kernels import script_kernels

    found = np.zeros((len(spans), len(script_kernels.SCRIPTS)), np.int64)
    script_kernels.count(spans.text, spans.start, spans.stop, found)
    total = np.concatenate([np.zeros((1, found.shape[1]), np.int64), np.cumsum(found, axis=0)])
    return np.asarray(np.diff(total[np.concatenate([[0], spans.ends])], axis=0))

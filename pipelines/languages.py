"""Documents and bytes of text by language, counted while parts are written and while a report reads what was dropped.

A funnel by language must add up without reading any text again, so what is kept is counted where the text is at hand.
Costs about 0.1 ms a batch, and a few numbers a language in a task's marker and in the manifest.
"""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

UNKNOWN = ""  # the documents have no language, or it was not identified before they left
OTHER = "*"  # values that are no language tags, or one too many of them
MOST = 256  # languages that one counter tells apart: a column that holds no languages must not fill a manifest
TAG = re.compile(r"[A-Za-z]{2,12}(?:[-_][A-Za-z0-9]{1,8}){0,3}")  # en, zh-Hans, eng_Latn, be-x-old, english


class ByLanguage:
    """Sums of documents and of their bytes of text for each language.

    Args:
        most: how many languages are told apart; further ones count as `OTHER`.
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.documents: dict[str, int] = {}
        self.text_bytes: dict[str, int] = {}

    def name(self, value: str | None) -> str:
        """What a value of the language column is counted as: itself, `UNKNOWN` or `OTHER`."""
        if not value:
            return UNKNOWN
        if value in self.documents:
            return value
        return value if TAG.fullmatch(value) and len(self.documents) < self.most else OTHER

    def add(self, languages: pa.Array, sizes: npt.NDArray[np.int64]) -> None:
        """Counts documents: n values of the language column (null where unknown), and int64[n] bytes of text."""
        encoded = languages if pa.types.is_dictionary(languages.type) else languages.dictionary_encode()
        values = [*encoded.dictionary.to_pylist(), None]
        codes = encoded.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
        documents = np.bincount(codes, minlength=len(values))
        total = np.zeros(len(values), np.int64)
        np.add.at(total, codes, sizes)
        for value, count, size in zip(values, documents.tolist(), total.tolist(), strict=True):
            if count:
                name = self.name(value)
                self.documents[name] = self.documents.get(name, 0) + count
                self.text_bytes[name] = self.text_bytes.get(name, 0) + size

    def counts(self) -> dict[str, Any]:
        """`{language: {kept, text_bytes}}`, sorted by language."""
        return {
            name: {"kept": self.documents[name], "text_bytes": self.text_bytes[name]} for name in sorted(self.documents)
        }

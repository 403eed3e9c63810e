"""The step `url`: drops documents by their address: domain, address, expression, or words in it.

The name of a site says what no rule about its prose can, and lists of millions of names are public: UT1 of the
Université Toulouse Capitole keeps one, in folders of categories. The word rules are those of datatrove's URLFilter.
Costs .5 to 1 µs per address; a list of five million domains loads in two seconds and takes 70 MB of each process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from pydantic import Field, model_validator

from ..config import Count
from ..errors import ConfigError
from . import url_list_files as list_files
from . import url_lists as lists
from .rules import Filter, Rule, Scores
from .url_list_files import Listed

if TYPE_CHECKING:
    import numpy.typing as npt
    import pyarrow as pa

    from .document import DocumentBatch

UT1: Final = "UT1, dsi.ut-capitole.fr/blacklists, or the recipe"
DATATROVE: Final = "datatrove's URLFilter (FineWeb, arXiv 2406.17557); lists from the recipe"
_KINDS: Final = ("domains", "urls", "expressions", "words", "soft_words", "subwords")

_Table = Any


@dataclass(frozen=True, eq=False)
class _Tables:
    """What the kernels look up; None where a list is not given."""

    domains: _Table
    urls: _Table
    expression: str | None
    words: _Table
    soft: _Table
    moves: _Table
    accepts: _Table


class Url(Filter):
    """Drops a document whose address a list names; every comparison takes capital letters of ASCII for small ones.

    - `domains`: the host is the domain or below it. An entry of one label (`localhost`) and an IP address mean that
      host alone. Scheme, user, port and dots at the ends do not count; a host outside ASCII is compared as punycode.
    - `urls`: the address is the entry or goes on behind it with `/`, `?` or `&`. Scheme, user, port, `www.` and
      fragment do not count.
    - `expressions`: found anywhere in the address as it is given (RE2's syntax).
    - `words`: a run of letters and digits of ASCII in the address is one of them; of `soft_words`, which mean little
      alone, `soft_word_threshold` different ones have to be there; `subwords` are found within the address without all
      that is no letter or digit.

    Each of these takes entries here and, as `…_files`, files with an entry a line: `#` begins a comment, `.gz` and
    `.zst` are decompressed. A list without entries, or with one that could never be found, is an error.
    """

    version: ClassVar[int] = 2
    bounds: ClassVar[tuple[str, ...]] = ("soft_word_threshold", "missing")

    folder: str | None = Field(default=None, min_length=1, description="a folder of categories in the layout of UT1")
    categories: tuple[str, ...] = Field(default=(), description="of the folder: adult, gambling, …")
    domains: tuple[str, ...] = ()
    domain_files: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    url_files: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    expression_files: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    word_files: tuple[str, ...] = ()
    soft_words: tuple[str, ...] = ()
    soft_word_files: tuple[str, ...] = ()
    soft_word_threshold: Count = Field(default=2, ge=1, description="different soft words that drop a document")
    subwords: tuple[str, ...] = ()
    subword_files: tuple[str, ...] = ()
    datatrove_lists: bool = Field(
        default=False, description="take the lists of domains, addresses and words that datatrove brings, too"
    )
    case_sensitive_words: bool = Field(
        default=False, description="words and soft words match small letters alone, as in datatrove"
    )
    missing: Literal["keep", "drop"] = Field(default="keep", description="a document without an address")

    @model_validator(mode="after")
    def _names_lists(self) -> Url:
        if (self.folder is None) != (not self.categories):
            raise ValueError(
                "folder and categories belong together: name the categories of the folder that are blocked"
            )
        named = self.folder is not None or self.datatrove_lists or any(self._given(kind) for kind in _KINDS)
        if not named and self.missing == "keep":
            raise ValueError("no list is given: nothing would ever be dropped")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Seven rules, in the order of datatrove's; a rule without a list drops nothing."""
        none = 0.0 if self.missing == "drop" else None
        soft = float(self.soft_word_threshold - 1)
        bounds = (
            ("missing", none, "the recipe"),
            ("domain", 0.0, UT1),
            ("url", 0.0, UT1),
            ("expression", 0.0, UT1),
            ("word", 0.0, DATATROVE),
            ("soft_words", soft, DATATROVE),
            ("subword", 0.0, DATATROVE),
        )
        return tuple(Rule(name, partial(self._score, name), None, high, source) for name, high, source in bounds)

    @property
    def files(self) -> tuple[str, ...]:
        """Every list.

        Raises:
            ConfigError: the folder or a category is missing.
        """
        return list_files.on_disk([path for kind in _KINDS for path in self._listed(kind).files])

    @property
    def memory(self) -> int:
        """The two tables of hashes; the others are small."""
        return sum(8 * lists.slots(listed) for kind in ("domains", "urls") if (listed := self._listed(kind)))

    def check(self) -> None:
        """Reads every list.

        Raises:
            ConfigError: a folder, category or file is missing, a list is empty, an expression is broken, an entry can
                never be found, or there are not so many soft words as drop a document.
        """
        for kind in _KINDS:
            given = self._given(kind)
            lists.check(given, kind, entries_needed=True)
            brought = tuple(path for path in self._listed(kind).files if path not in given.files)
            lists.check(Listed(brought, ()), kind, entries_needed=False)
        soft = self._listed("soft_words")
        if soft and (different := len(lists.normalised(soft))) < self.soft_word_threshold:
            raise ConfigError(
                f"soft_word_threshold {self.soft_word_threshold} is more than the {different} different soft_words",
                fix="lower it, or take the soft words out",
            )

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name: 1 where a list names the address, 0 where none does; soft words counted."""
        import pyarrow.compute as pc

        from .kernels import url_kernels as kernels

        tables = _tables(self)
        column = batch.column("url")
        text, offsets = _layout(column)
        nothing = np.zeros(len(batch))
        scores = dict.fromkeys((rule.name for rule in self.rules), nothing)
        scores["missing"] = (np.diff(offsets) == 0).astype(np.float64)
        if tables.domains is not None or tables.urls is not None:
            hosts = _ascii_hosts(column, text, offsets)
            if tables.domains is not None:
                scores["domain"] = kernels.in_domains(*hosts, tables.domains).astype(np.float64)
            if tables.urls is not None:
                scores["url"] = kernels.in_addresses(*hosts, tables.urls).astype(np.float64)
        if tables.expression is not None:
            found = pc.match_substring_regex(column, tables.expression, ignore_case=True)
            scores["expression"] = pc.fill_null(found, False).to_numpy(zero_copy_only=False).astype(np.float64)
        if tables.words is not None:
            fold = not self.case_sensitive_words
            counts = kernels.count_words(text, offsets, fold, tables.words, tables.soft, tables.moves, tables.accepts)
            for place, name in enumerate(("word", "soft_words", "subword")):
                scores[name] = counts[:, place].astype(np.float64)
        return scores

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]

    def _given(self, kind: str) -> Listed:
        return Listed(getattr(self, f"{kind[:-1]}_files"), getattr(self, kind))

    def _listed(self, kind: str) -> Listed:
        given = self._given(kind)
        files = given.files
        if self.folder is not None and kind in list_files.LAYOUT:
            files = (*list_files.categories(self.folder, self.categories)[kind], *files)
        if self.datatrove_lists:
            files = (*list_files.datatrove_lists().get(kind, ()), *files)
        return Listed(files, given.entries)


@lru_cache(maxsize=4)
def _tables(step: Url) -> _Tables:
    """The lists of a step as the kernels read them, made once per process."""
    domains, urls, words, soft, subwords = (
        step._listed(kind) for kind in ("domains", "urls", "words", "soft_words", "subwords")
    )
    any_words = bool(words or soft or subwords)
    moves, accepts = lists.automaton(lists.normalised(subwords)) if any_words else (None, None)
    return _Tables(
        domains=lists.table(domains, whole=False) if domains else None,
        urls=lists.table(urls, whole=True) if urls else None,
        expression=lists.expression(step._listed("expressions")),
        words=lists.word_table(lists.normalised(words)) if any_words else None,
        soft=lists.word_table(lists.normalised(soft)) if any_words else None,
        moves=moves,
        accepts=accepts,
    )


def _layout(column: pa.Array[Any]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """UTF-8 bytes and int64[n + 1] offsets of a column of text, nothing for null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    filled = pc.fill_null(column, "").cast(pa.large_string())
    if len(filled) == 0:
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    offsets = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
    data = filled.buffers()[2]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), offsets


def _ascii_hosts(
    column: pa.Array[Any], text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The layout with hosts outside ASCII as punycode: they are rare, and are taken one by one."""
    import pyarrow as pa

    from .kernels import url_kernels as kernels

    wide = kernels.wide_hosts(text, offsets)
    if not wide.any():
        return text, offsets
    addresses = column.to_pylist()
    for row in np.flatnonzero(wide).tolist():
        addresses[row] = lists.punycode(addresses[row])
    return _layout(pa.array(addresses, pa.string()))

"""Tokens that stand somewhere already as a mixture reads them: a `tokens/` folder of a built mixture, or others' files.

What is ours says which tokenizer made it and keeps its documents' ids; what is not, does not, so the mixture says how
its documents end, and a document's id is the hash of its tokens. Costs a hash of others' files once; then their stamps
are compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from .. import listing, manifest
from ..errors import ConfigError
from ..manifest import Manifest
from ..mixtures import token_files
from ..mixtures.repair import mending_of
from ..mixtures.schema import MixtureSource
from ..mixtures.shards import INSIDE_CHARACTERS, Shards
from ..mixtures.templates import Template
from ..mixtures.text_spans import TextSpans
from ..mixtures.token_files import TokenFile
from ..mixtures.tokenizers import Tokenizer
from .known_files import KnownFiles

TASK_TOKENS = 1 << 24  # that one task reads, but for a larger document
DOCUMENT_TOKENS = 64  # as many more a document: what stands beside its tokens
NO_END = "none"  # in `end_of_document`: no token ends a document there


class Piece(NamedTuple):
    """Consecutive documents of one file, or of one part: its number, the documents from `first` to `stop`."""

    file: int
    first: int
    stop: int


class Documents(NamedTuple):
    """Documents as they stand there: ids of tokens [t], exclusive ends int64[n], what is trained bool[t] (None: all),
    of n rows id, source, url and bytes of trained text, the last None where it is not known, and of ours `spans`."""

    ids: npt.NDArray[Any]
    ends: npt.NDArray[np.int64]
    loss: npt.NDArray[np.bool_] | None
    rows: pa.Table
    bytes: npt.NDArray[np.int64] | None
    spans: TextSpans | None = None


@dataclass(frozen=True)
class TokenSelection:
    """What a mixture's source takes of tokens that stand already: all of them.

    Args:
        source: the mixture's source.
        fingerprint: of the shards, or of the files' contents.
        place: the folder of ours; empty where the files are others'.
        files: others' files.
        tokenizer: of ours, the record of the tokenizer that made them.
        template: of ours, what rendered them; None where nothing did.
        parts: what a task each reads.
        tokens: all that stand there.
        largest: bytes at four a token and documents that one holds to read a part, at most.
    """

    source: MixtureSource
    fingerprint: str
    place: str
    files: tuple[TokenFile, ...]
    tokenizer: tuple[tuple[str, Any], ...] = ()
    template: Template | None = None
    parts: tuple[Piece, ...] = ()
    tokens: int = 0
    largest: tuple[int, int] = (0, 0)

    def record(self) -> dict[str, Any]:
        """What the shards made of them depend on."""
        return {"shards": self.fingerprint, "end_of_document": self.source.end_of_document}

    def __reduce__(self) -> tuple[object, ...]:
        # What was read is read again where it is needed: a stage travels to every worker.
        return TokenSelection, tuple(getattr(self, one.name) for one in fields(self))

    @cached_property
    def shards(self) -> Shards:
        """Ours."""
        return Shards.open(self.place, np.dtype(dict(self.tokenizer)["dtype"]))

    def sizes(self) -> Iterator[npt.NDArray[np.int64]]:
        """Tokens of every document, file by file or part by part: int64[n] each."""
        if self.place:
            for part in range(len(self.shards.parts)):
                yield np.asarray(np.diff(self.shards.ends(part).astype(np.int64), prepend=0), np.int64)
        else:
            for file in self.files:
                yield np.diff(file.ends, prepend=0)

    def cut(self) -> "TokenSelection":
        """The same with its parts: whole documents, about TASK_TOKENS together."""
        parts: list[Piece] = []
        tokens, most, documents = 0, 0, 0
        for number, sizes in enumerate(self.sizes()):
            tokens += int(sizes.sum())
            before = np.cumsum(sizes + DOCUMENT_TOKENS) - sizes - DOCUMENT_TOKENS
            first = 0
            while first < len(sizes):
                stop = max(int(np.searchsorted(before, before[first] + TASK_TOKENS)), first + 1)
                parts.append(Piece(number, first, stop))
                most, documents = max(most, int(sizes[first:stop].sum())), max(documents, stop - first)
                first = stop
        return replace(self, parts=tuple(parts), tokens=tokens, largest=(4 * most, documents))

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The ids of a part's documents, for whoever decides what is held out; there are no messages."""
        rows = self.documents(part).rows
        wanted = {"messages": pa.nulls(rows.num_rows), "id": rows.column("id").combine_chunks()}
        yield pa.record_batch([wanted[name] for name in columns], names=list(columns))

    def documents(self, part: int) -> Documents:
        """The documents of a part; of others' files those that hold no token are left out.

        Raises:
            RunError: a file is damaged.
        """
        piece = self.parts[part]
        return self._ours(piece) if self.place else self._others(piece)

    def _ours(self, piece: Piece) -> Documents:
        ends = self.shards.ends(piece.file).astype(np.int64)[: piece.stop]
        start = int(ends[piece.first - 1]) if piece.first else 0
        length = int(ends[-1]) - start
        table = self.shards.documents(piece.file).slice(piece.first, piece.stop - piece.first)
        return Documents(
            self.shards.read(piece.file, start, length),
            ends[piece.first :] - start,
            self.shards.loss(piece.file, start, length),
            table.select(["id", "source", "url"]),
            np.asarray(table.column("bytes"), np.int64),
            TextSpans.of_column(table.column("spans")),
        )

    def _others(self, piece: Piece) -> Documents:
        found = self.files[piece.file].read(piece.first, piece.stop)
        ends = found.ends[np.diff(found.ends, prepend=0) > 0]
        rows = pa.table(
            [
                pa.array(self._hashes(found.ids, ends), pa.string()),
                pa.array([self.source.name] * len(ends), pa.string()),
                pa.nulls(len(ends), pa.string()),
            ],
            names=["id", "source", "url"],
        )
        return Documents(found.ids, ends, found.loss, rows, None)

    def _hashes(self, ids: npt.NDArray[Any], ends: npt.NDArray[np.int64]) -> list[str]:
        """xxh3-128 of each document's ids as uint32, without the token that ends it."""
        data = np.ascontiguousarray(ids, "<u4").view(np.uint8).data
        cut = 0 if self.source.end_of_document == NO_END else 1
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        spans = zip((4 * starts).tolist(), (4 * (ends - cut)).tolist(), strict=True)
        return [xxhash.xxh3_128_hexdigest(data[start:stop]) for start, stop in spans]

    def check(self, tokenizer: Tokenizer) -> int | None:
        """The id that ends documents there, None where none does.

        Raises:
            ConfigError: another tokenizer made them, or it has no such token.
        """
        if self.place:
            made = dict(self.tokenizer)
            seen = (made["hash"], made["end_of_document"])
            if seen != (tokenizer.hash, tokenizer.end_of_document):
                raise ConfigError(
                    f"source {self.source.name}: the tokens were made by another tokenizer",
                    where=self.place,
                    seen=f"hash {made['hash']}, end of document {made['end_of_document']}",
                    expected=f"hash {tokenizer.hash}, end of document {tokenizer.end_of_document}, of {tokenizer.path}",
                    fix="tokenizer: the file that made them stands in their build's stages/, or tokenize the documents",
                )
            return tokenizer.end_of_document
        end = str(self.source.end_of_document)
        if end == NO_END:
            return None
        try:
            return tokenizer.special_id(end)
        except KeyError:
            raise ConfigError(
                f"source {self.source.name}: the tokenizer has no special token {end}",
                where=tokenizer.path,
                fix=f"end_of_document: the token that ends documents there, or {NO_END}",
            ) from None


def select_tokens(source: MixtureSource, where: str, known: KnownFiles) -> TokenSelection:
    """Opens the tokens that a mixture's source names.

    Args:
        source: the mixture's source, of `shards`.
        where: file:line of the source, for errors.
        known: the record of others' files.

    Raises:
        ConfigError: there are none, or it is not known which tokenizer made them, or how documents end.
        RunError: a file was cut short.
    """
    place = Path(str(source.shards))
    found = Manifest.find(place) if place.is_dir() else None
    try:
        return _others(source, known) if found is None else _ours(source, place, found)
    except ConfigError as wrong:
        what = f"source {source.name}: {wrong.what}"
        raise ConfigError(what, where=where, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None


def _ours(source: MixtureSource, place: Path, found: Manifest) -> TokenSelection:
    built = Manifest.find(place.parent.parent)
    folder = f"{place.parent.name}/{place.name}"
    named = {} if built is None or built.stage != "build" else built.options["sources"]
    if "part" not in found.counts or folder not in [one["tokens"] for one in named.values()]:
        raise ConfigError(
            "the folder is not one of the tokens of a built mixture",
            seen=str(place),
            expected=f"OUT/tokens/SOURCE-…, named in OUT/{manifest.NAME}, which says the tokenizer",
            fix="name a folder below the output of midtrain build",
        )
    if source.end_of_document is not None:
        raise ConfigError("end_of_document is said by the tokens themselves", seen=source.end_of_document)
    found.check_sizes(place, mending_of(place / manifest.NAME))
    assert built is not None  # noqa: S101 - it named the folder
    made = {key: built.options["tokenizer"][key] for key in ("hash", "end_of_document", "dtype")}
    entry = next(one for one in named.values() if one["tokens"] == folder)
    template = None if entry["template"] is None else Template.of_record(entry["template"])
    if source.too_long == "trim":
        _check_reasoning(place, template, found)
    return TokenSelection(source, found.fingerprint, str(place), (), tuple(made.items()), template).cut()


def _check_reasoning(place: Path, template: Template | None, found: Manifest) -> None:
    """Raises ConfigError where tokens do not say what of them is reasoning, or where it may be cut."""
    if template is None:
        raise ConfigError(
            "too_long: trim is of conversations, and no template rendered these documents",
            seen=f"{place}: plain text, of which nothing is known to be reasoning",
            fix="too_long: drop or split, or take the curated documents with a template",
        )
    if INSIDE_CHARACTERS not in [file.path for file in found.files]:
        raise ConfigError(
            "too_long: trim has to know which tokens begin inside a character, and these shards do not say it",
            seen=f"{place}: no {INSIDE_CHARACTERS}, which this version writes",
            fix="build them again with this version",
        )


def _others(source: MixtureSource, known: KnownFiles) -> TokenSelection:
    files = token_files.find(str(source.shards))
    if source.too_long == "trim":
        raise ConfigError(
            "too_long: trim is of conversations, and files of others do not say what of them is reasoning",
            seen=files[0].path,
            expected="a tokens/ folder of a mixture that midtrain built with a template",
            fix="too_long: drop or split, or take the curated documents with a template",
        )
    if source.end_of_document is None:
        raise ConfigError(
            "the files do not say how a document ends",
            seen=files[0].path,
            fix=f"end_of_document: the token that ends every document there, or {NO_END}",
        )
    listed = [entry for file in files for path in file.files for entry in listing.list_files(path)]
    hashes = [seen.hash for seen in known.look([(entry, False) for entry in listed])]
    names = [file.form for file in files]
    for file in files:
        file.check()
    selection = TokenSelection(source, manifest.fingerprint([names, hashes]), "", tuple(files)).cut()
    if not selection.tokens:
        raise ConfigError("the files hold no token", seen=str(source.shards))
    return selection

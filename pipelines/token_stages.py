"""Tokens that stand already to rows of shards: read, checked against the tokenizer, exchanged by the hash of their ids.

The same exchange as that of documents that are tokenized, so that shards depend on the documents alone: tokens cut into
other files, or shards that were built before, give the same shards and the same order. Costs one pass of the tokens
through files, and a decoding of others' documents, whose bytes nobody else knows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import RunError
from ..mixtures.templates import Template
from ..mixtures.tokenizers import Tokenizer
from ..mixtures.tokens import Tokens, check_trained
from . import encoded, footprints
from .existing_tokens import Documents, TokenSelection
from .held_out_stages import HeldOut
from .stage import LocalStage, Stage, TaskResult
from .tokenizer_stage import BuildTokenizer

PARTITION_TOKENS = 1 << 25  # of a part: about what a part of text has


@dataclass(frozen=True)
class ReadTokens(LocalStage):
    """The documents of one source of tokens, one task a stretch of a file, grouped by hash range."""

    version: ClassVar[int] = 2
    scratch: ClassVar[bool] = True
    selection: TokenSelection
    tokenizer: BuildTokenizer
    held_out: HeldOut

    @property
    def name(self) -> str:
        """`read-<source>`."""
        return f"read-{self.selection.source.name}"

    @property
    def template(self) -> Template | None:
        """What rendered the documents before, where that is known."""
        return self.selection.template

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The tokenizer and the held-out keys."""
        return (self.tokenizer, self.held_out)

    def options(self) -> dict[str, Any]:
        """The selection."""
        return self.selection.record()

    def memory(self) -> int:
        """As `footprints.reading_tokens`, of the largest part."""
        return footprints.reading_tokens(*self.selection.largest)

    def tasks(self) -> int:
        """One a stretch of a file."""
        return len(self.selection.parts)

    def partitions(self) -> int:
        """From the number of tokens alone."""
        return max(1, -(-self.selection.tokens // PARTITION_TOKENS))

    def run(self, task: int) -> TaskResult:
        """Reads a stretch.

        Raises:
            ConfigError: the tokens are of another tokenizer.
            RunError: a token is outside the vocabulary, or documents do not end as the mixture says.
        """
        tokenizer, found = self.tokenizer.open(), self.selection.documents(task)
        end = self.selection.check(tokenizer)
        tokens = self._tokens(found, tokenizer, end, self._where(task))
        ids, sources, urls = (found.rows.column(name).combine_chunks() for name in ("id", "source", "url"))
        keys = pa.record_batch([ids, pa.nulls(len(ids))], names=["id", "messages"])
        rows = encoded.rows(ids, sources, urls, self.held_out.contains(keys), tokens, tokenizer.dtype)
        return encoded.write(self.folder, task, [rows], self.partitions())

    def _where(self, task: int) -> str:
        piece, selection = self.selection.parts[task], self.selection
        file = f"{selection.place}, part {piece.file}" if selection.place else selection.files[piece.file].path
        return f"source {selection.source.name}, {file}, documents from {piece.first:,} on"

    def _tokens(self, found: Documents, tokenizer: Tokenizer, end: int | None, where: str) -> Tokens:
        """Documents as the mixture's shards have them: each closed by its end-of-document token."""
        names = found.rows.column("id").to_pylist()
        _check_vocabulary(found, tokenizer, where, names)
        ids, ends = found.ids.astype(np.uint32), found.ends
        loss = np.ones(len(ids), np.bool_) if found.loss is None else found.loss
        if end is None:  # none is trained where the file says what is
            ids = np.insert(ids, ends, np.uint32(tokenizer.end_of_document))
            loss = np.insert(loss, ends, found.loss is None)
            ends = ends + np.arange(1, len(ends) + 1)
        else:
            _check_ends(ids, ends, end, where, names)
            ids[ends - 1] = tokenizer.end_of_document
        inside = np.flatnonzero(np.delete(ids, ends - 1) == tokenizer.end_of_document)
        if len(inside):
            document = int(np.searchsorted(ends - 1 - np.arange(len(ends)), inside[0], side="right"))
            raise RunError(
                "the end-of-document token stands inside a document",
                where=f"{where}: {names[document]}",
                seen=f"token {tokenizer.end_of_document}",
                fix="split the documents there when the files are written",
            )
        sizes = _text_bytes(tokenizer, ids, ends, loss) if found.bytes is None else found.bytes
        tokens = Tokens(ids, ends.astype(np.uint64), loss, sizes, found.spans)
        check_trained(tokens, names)
        return tokens


def _check_vocabulary(found: Documents, tokenizer: Tokenizer, where: str, names: list[str]) -> None:
    outside = np.flatnonzero((found.ids < 0) | (found.ids >= tokenizer.vocab_size))
    if len(outside):
        document = names[int(np.searchsorted(found.ends, outside[0], side="right"))]
        raise RunError(
            "a token is outside the vocabulary: the tokens are of another tokenizer",
            where=f"{where}: {document}",
            seen=int(found.ids[outside[0]]),
            expected=f"from 0 to below {tokenizer.vocab_size}, of {tokenizer.path}",
            fix="tokenizer: the file that made them",
        )


def _check_ends(
    ids: npt.NDArray[np.uint32], ends: npt.NDArray[np.int64], end: int, where: str, names: list[str]
) -> None:
    wrong = np.flatnonzero(ids[ends - 1] != end)
    if len(wrong):
        raise RunError(
            "a document does not end as end_of_document says",
            where=f"{where}: {names[int(wrong[0])]}",
            seen=f"token {int(ids[ends[wrong[0]] - 1])} ({len(wrong):,} of {len(ends):,} documents)",
            expected=f"token {end}",
            fix="end_of_document: none where no token ends the documents, or the one that does",
        )


def _text_bytes(
    tokenizer: Tokenizer, ids: npt.NDArray[np.uint32], ends: npt.NDArray[np.int64], loss: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """int64[n]: UTF-8 bytes of each document's trained text, its end left out."""
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    spans = zip(starts.tolist(), (ends - 1).tolist(), strict=True)
    texts = (tokenizer.decode(ids[start:stop][loss[start:stop]].tolist()) for start, stop in spans)
    return np.array([len(text.encode()) for text in texts], np.int64)

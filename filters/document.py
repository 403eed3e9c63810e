"""DocumentBatch: the Arrow record batch in which documents travel, with the views of its text that all filters share.

A rule set that splits text on its own pays for it again and disagrees with its neighbour about what a word is, so
words, lines and hashes are computed here, once, when first asked for, on the UTF-8 bytes of the Arrow buffer.
Costs one validation of the text on construction (5 GB/s of one core, 13 where Numba is loaded), 16 bytes per piece that
is asked for, and no copy of the text.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..config import did_you_mean
from ..errors import RunError
from .texts import hash_texts, text_view

if TYPE_CHECKING:
    from .turns import Turns

_MESSAGE = pa.struct(
    [
        pa.field("role", pa.string()),
        pa.field("content", pa.large_string()),
        pa.field("reasoning", pa.large_string()),
    ]
)

SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("date", pa.string()),
        pa.field("language", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("messages", pa.list_(_MESSAGE)),
        pa.field("answer", pa.string()),
    ]
)

SCORE_PREFIX = "score."
_TEXT_VIEWS = (
    "text_bytes",
    "text_offsets",
    "chunks",
    "words",
    "word_sums",
    "sentences",
    "lines",
    "paragraphs",
    "hashes",
)


@dataclass(frozen=True, eq=False)
class Spans:
    """Pieces of the documents of one batch, in the order of the text.

    Args:
        start: int64[m], the first byte of each piece, an offset into `text`.
        stop: int64[m], one past the last byte of each piece.
        ends: int64[n], for each document one past its last piece: its pieces are `ends[d - 1]` (0 for the first
            document) to `ends[d]`.
        text: uint8[...], the bytes that the offsets point into.
    """

    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8] = field(repr=False)

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def hash(self) -> npt.NDArray[np.uint64]:
        """uint64[m]: the 64-bit hash of each piece's bytes (`spans.hash_bytes`), computed when first asked for."""
        from .kernels.spans import hash_spans

        return np.asarray(hash_spans(self.text, self.start, self.stop))


class DocumentBatch:
    """Documents with shared views of their text; immutable, like the record batch that it wraps.

    Args:
        record_batch: must have the columns of `SCHEMA`, of its types, and may have more; a column whose name starts
            with `score.` must be float64.

    Raises:
        RunError: a column is missing, twice there or of another type, an id, text or source is null, or a text is not
            valid UTF-8.
    """

    def __init__(self, record_batch: pa.RecordBatch) -> None:
        _check_columns(record_batch.schema)
        for name in SCHEMA.names:
            if not SCHEMA.field(name).nullable:
                _check_no_null(record_batch, name)
        self.record_batch = record_batch
        self._check_utf8()

    def _check_utf8(self) -> None:
        """By our kernel where Numba is loaded: a process that runs none need not import it for this."""
        if "numba" in sys.modules:
            from .kernels.utf8 import is_utf8

            if is_utf8(self.text_bytes, self.text_offsets):
                return
        text = self.column("text")
        try:
            text.validate(full=True)
        except pa.ArrowInvalid as error:
            row = next((row for row in range(len(text)) if not _is_utf8(text.slice(row, 1))), 0)
            where = place(self.record_batch, row)
            raise RunError(f"a text is not valid: {error}", where=where, expected="UTF-8") from None

    def __len__(self) -> int:
        return int(self.record_batch.num_rows)

    def __repr__(self) -> str:
        return f"DocumentBatch({len(self)} documents, columns {', '.join(self.record_batch.schema.names)})"

    def column(self, name: str) -> pa.Array[Any]:
        """The column of that name, n rows.

        Raises:
            RunError: there is no such column.
        """
        names = self.record_batch.schema.names
        if name not in names:
            raise RunError(
                f"documents have no column {name}",
                seen=", ".join(names),
                expected=name,
                fix=did_you_mean(name, names),
            )
        return self.record_batch.column(name)

    @cached_property
    def text_bytes(self) -> npt.NDArray[np.uint8]:
        """uint8[...]: the Arrow buffer that holds the UTF-8 bytes of all texts (read-only, not copied).

        In a sliced batch it also holds bytes of documents outside the slice; `text_offsets` says which are ours.
        """
        return text_view(self.column("text"))[0]

    @cached_property
    def text_offsets(self) -> npt.NDArray[np.int64]:
        """int64[n + 1]: document d's text is `text_bytes[text_offsets[d]:text_offsets[d + 1]]` (read-only)."""
        return text_view(self.column("text"))[1]

    @cached_property
    def chunks(self) -> Spans:
        """The pieces between runs of Unicode white space, as `str.split()` without arguments gives them."""
        from .kernels.spans import chunk_spans

        return Spans(*chunk_spans(self.text_bytes, self.text_offsets), self.text_bytes)

    @cached_property
    def words(self) -> Spans:
        """The tokens of spaCy's English tokenizer, but for those of white space."""
        from .word_views import word_spans

        return Spans(*word_spans(self), self.text_bytes)

    @cached_property
    def word_sums(self) -> npt.NDArray[np.int64]:
        """int64[n, 5]: what `word_kernels` sums over the words of each document, its columns named there."""
        from .word_sums import sum_documents

        return sum_documents(self, np.arange(len(self)))

    @cached_property
    def sentences(self) -> Spans:
        """The sentences of spaCy's sentencizer, end to end and at least one: white space is not taken off."""
        from .word_views import sentence_spans

        return Spans(*sentence_spans(self), self.text_bytes)

    @cached_property
    def lines(self) -> Spans:
        """The lines without their ends, as `str.splitlines()` gives them: an end at the end opens no empty line."""
        from .kernels.spans import line_spans

        return Spans(*line_spans(self.text_bytes, self.text_offsets), self.text_bytes)

    @cached_property
    def paragraphs(self) -> Spans:
        """The pieces between two or more line feeds of the text without white space at its ends, at least one."""
        from .kernels.spans import paragraph_spans

        return Spans(*paragraph_spans(self.text_bytes, self.text_offsets), self.text_bytes)

    @cached_property
    def turns(self) -> Turns:
        """The turns of the documents' messages: thoughts and replies of the assistant, prompts of the user."""
        from .turns import find_turns

        return find_turns(self.column("messages"))

    @cached_property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """uint64[n, 2]: xxh3-128 of each text's UTF-8 bytes, the low half first."""
        return hash_texts(self.text_bytes, self.text_offsets)

    def keep(self, mask: npt.NDArray[np.bool_]) -> DocumentBatch:
        """The documents for which `mask` (bool[n]) is true, in the same order; the batch itself where all are kept.

        Raises:
            RunError: the mask is not bool[n].
        """
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise RunError(
                "a mask does not fit the batch", seen=f"{mask.dtype}{list(mask.shape)}", expected=f"bool[{len(self)}]"
            )
        if mask.all():
            return self
        return _trusted(self.record_batch.filter(pa.array(mask)))

    def with_column(self, name: str, array: pa.Array[Any] | npt.NDArray[Any]) -> DocumentBatch:
        """The batch with a column added, or replaced where the name stands already; the text's views are shared.

        Raises:
            RunError: the column has another number of rows, or a type that its name does not allow.
        """
        column = pa.array(array) if isinstance(array, np.ndarray) else array
        if len(column) != len(self):
            raise RunError(f"column {name} does not fit the batch", seen=f"{len(column)} rows", expected=len(self))
        place = self.record_batch.schema.get_field_index(name)
        if place < 0:
            changed = self.record_batch.append_column(name, column)
        else:
            field = self.record_batch.schema.field(place).with_type(column.type)  # as nullable as it was
            changed = self.record_batch.set_column(place, field, column)
        if name in SCHEMA.names and not SCHEMA.field(name).nullable:
            return DocumentBatch(changed)
        _check_columns(changed.schema)
        batch = _trusted(changed)
        for view in (*_TEXT_VIEWS, *(["turns"] if name != "messages" else [])):
            if view in self.__dict__:
                batch.__dict__[view] = self.__dict__[view]
        return batch


def _trusted(record_batch: pa.RecordBatch) -> DocumentBatch:
    """A batch of documents that have been checked before: nothing is validated again."""
    batch = DocumentBatch.__new__(DocumentBatch)
    batch.record_batch = record_batch
    return batch


def _check_columns(schema: pa.Schema) -> None:
    for expected in SCHEMA:
        places = schema.get_all_field_indices(expected.name)
        if len(places) != 1:
            raise RunError(
                f"documents need the column {expected.name} once",
                seen=", ".join(schema.names),
                expected=", ".join(SCHEMA.names),
            )
        if schema.field(places[0]).type != expected.type:
            raise RunError(
                f"column {expected.name} has the wrong type",
                seen=schema.field(places[0]).type,
                expected=expected.type,
            )
    if len(set(schema.names)) != len(schema.names):
        raise RunError("two columns have one name", seen=", ".join(schema.names))
    for column in schema:
        if column.name.startswith(SCORE_PREFIX) and column.type != pa.float64():
            raise RunError(f"column {column.name} has the wrong type", seen=column.type, expected="double")


def _check_no_null(record_batch: pa.RecordBatch, name: str) -> None:
    column = record_batch.column(name)
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise RunError(
            f"the {name} of {column.null_count} of {len(column)} documents is null",
            where=place(record_batch, row),
            expected=f"a {name} for every document",
            fix="drop these records where they are read, or name the field that holds it",
        )


def _is_utf8(text: pa.Array[Any]) -> bool:
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def place(record_batch: pa.RecordBatch, row: int) -> str:
    """Which document a row is, for errors."""
    return f"document {record_batch.column('id')[row].as_py()} of source {record_batch.column('source')[row].as_py()}"

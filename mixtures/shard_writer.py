"""Tokenized shards, writing side: one part checked as a whole and written file by file, each atomically.

What is wrong in a shard is found by nobody for as long as training runs, so the arrays are held against one another
before a byte is written. Costs one pass over the tokens in memory for the checks, and one fsync a file.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from .. import storage
from ..errors import RunError
from .parts_table import MAX_TOKENS
from .shards import DOCUMENTS, FILE_NAME, INSIDE_CHARACTERS, IdType, ascends, check_documents
from .text_spans import TextSpans

ROW_GROUP = 8192  # documents: one is looked up without decoding the others' rows


def write_inside_characters(folder: Path, inside: npt.NDArray[np.bool_]) -> Path:
    """Writes which ids begin inside a character, bool[vocabulary], beside the parts."""
    path = folder / INSIDE_CHARACTERS
    with storage.atomic_write(path) as stream:
        stream.write(np.packbits(inside, bitorder="little").tobytes())
    return path


def write_part(
    folder: Path,
    stem: str,
    dtype: IdType,
    tokens: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.uint64],
    loss: npt.NDArray[np.bool_],
    documents: pa.Table,
    *,
    end_of_document: int,
) -> list[Path]:
    """Writes one part in the format of `shards.py`; equal arguments give equal bytes.

    Args:
        folder: where to; made where it is not there.
        stem: `part-NNNNN` or `held_out-NNNNN`.
        dtype: uint16 or uint32, the tokenizer's.
        tokens: uint32[t], 1 to MAX_TOKENS of them.
        ends: uint64[n], ascending, the last is t.
        loss: bool[t]; all True writes no mask.
        documents: n rows of DOCUMENTS, in the order of the ends.
        end_of_document: the id that stands at every document's end and nowhere else.

    Returns:
        The files written, for the manifest.

    Raises:
        RunError: the arguments contradict one another or the format.
    """
    if not FILE_NAME.fullmatch(f"{stem}.tokens"):
        raise RunError("not a part's name", where=str(folder), seen=stem, expected="part-NNNNN or held_out-NNNNN")
    where = str(folder / stem)
    _check_arrays(where, dtype, tokens, ends, loss)
    _check_ends_of_document(where, tokens, ends, end_of_document)
    check_documents(where, documents, DOCUMENTS, ends)
    lengths = np.asarray(np.diff(ends.astype(np.int64), prepend=0), np.int64)
    misplaced = TextSpans.of_column(documents["spans"]).misplaced(lengths)
    if misplaced is not None:
        raise RunError(
            "spans of texts that do not follow one another within their document",
            where=f"{where}, document {misplaced:,}",
            seen=documents["spans"][misplaced].as_py(),
        )
    for field in DOCUMENTS:
        if not field.nullable and documents[field.name].null_count:
            raise RunError(f"documents without {field.name}", where=where, seen=documents[field.name].null_count)
    files = [
        _write(folder / f"{stem}.tokens", tokens.astype(dtype.newbyteorder("<"))),
        _write(folder / f"{stem}.ends", ends.astype("<u8")),
    ]
    mask = folder / f"{stem}.loss"
    if loss.all():
        mask.unlink(missing_ok=True)  # left by an attempt under other code: nothing would tell that it is stale
    else:
        files.append(_write(mask, np.packbits(loss, bitorder="little")))
    return [*files, _write_documents(folder / f"{stem}.documents.parquet", documents)]


def _check_arrays(
    where: str,
    dtype: IdType,
    tokens: npt.NDArray[np.uint32],
    ends: npt.NDArray[np.uint64],
    loss: npt.NDArray[np.bool_],
) -> None:
    if dtype not in (np.dtype(np.uint16), np.dtype(np.uint32)):
        raise RunError("not a width for tokens", where=where, seen=dtype, expected="uint16 or uint32")
    given = (tokens.dtype, ends.dtype, loss.dtype)
    if given != (np.dtype(np.uint32), np.dtype(np.uint64), np.dtype(np.bool_)):
        raise RunError(
            "not the types of tokens, ends and loss",
            where=where,
            seen=", ".join(map(str, given)),
            expected="uint32, uint64, bool",
        )
    if not 0 < len(tokens) <= MAX_TOKENS:
        raise RunError("a part's size", where=where, seen=f"{len(tokens):,} tokens", expected=f"1 to {MAX_TOKENS:,}")
    if not ascends(ends) or int(ends[-1]) != len(tokens):
        raise RunError(
            "document ends do not ascend to the number of tokens",
            where=where,
            seen=f"{len(ends):,} ends, the last {int(ends[-1]) if len(ends) else 'missing'}",
            expected=f"ascending to {len(tokens):,}",
        )
    if len(loss) != len(tokens):
        raise RunError(
            "not a loss bit for every token", where=where, seen=f"{len(loss):,}", expected=f"{len(tokens):,}"
        )
    largest, limit = int(tokens.max()), int(np.iinfo(dtype).max)
    if largest > limit:
        raise RunError(
            f"a token id does not fit {dtype.name}",
            where=where,
            seen=f"{largest:,}",
            expected=f"at most {limit:,}",
            fix="write with the tokenizer's own dtype",
        )


def _check_ends_of_document(
    where: str, tokens: npt.NDArray[np.uint32], ends: npt.NDArray[np.uint64], end_of_document: int
) -> None:
    """Every document ends with the token, and it stands nowhere else: as many documents as such tokens."""
    last = tokens[ends.astype(np.int64) - 1]  # [n]
    wrong = np.flatnonzero(last != end_of_document)
    if len(wrong):
        raise RunError(
            "a document does not end with the end-of-document token",
            where=f"{where}, document {int(wrong[0]):,}",
            seen=int(last[wrong[0]]),
            expected=end_of_document,
        )
    count = int(np.count_nonzero(tokens == end_of_document))
    if count != len(ends):
        raise RunError(
            "the end-of-document token stands inside documents",
            where=where,
            seen=f"{count:,} of them",
            expected=f"{len(ends):,}, one a document",
        )


def _write(path: Path, array: npt.NDArray[np.generic]) -> Path:
    with storage.atomic_write(path) as stream:
        stream.write(np.ascontiguousarray(array).data)
    return path


def _write_documents(path: Path, documents: pa.Table) -> Path:
    # Pages follow the table's chunks: joined, the bytes depend on the rows alone.
    table = documents.replace_schema_metadata(None).combine_chunks()
    with storage.atomic_write(path) as stream:
        pq.write_table(table, stream, compression="zstd", row_group_size=ROW_GROUP)
    return path

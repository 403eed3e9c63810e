"""How much memory a worker needs at its peak, stage by stage, from the sizes that a task works on.

One place for the measured numbers, so that the stages ask with what they know exactly and the plan asks with what it
estimates. Peaks without page cache (`budget.peak`) of workers from the fork server, on English and multilingual web
text in tasks of 8 to 64 MB (Python 3.11, pyarrow 25, Linux, x86-64). Costs nothing.
"""

from collections.abc import Sequence

from ..filters.rules import Filter
from .parts import ROW_GROUP_BYTES
from .readers.records import BATCH_BYTES
from .recipe import Step

MIB = 1 << 20
WORKER = 58 * MIB  # a worker that has imported the stages and done nothing
READING = 80 * MIB  # a batch of 4 MiB as lines, Python objects and columns; Arrow's and Parquet's libraries
PART_READING = 40 * MIB  # the same libraries, and a batch of short documents
STEPS = 64 * MIB  # Numba with its kernels, the words and lines of a batch; 50 MiB more while a kernel is compiled
GROUP = ROW_GROUP_BYTES + BATCH_BYTES  # bytes of text at which a row group is written
WRITE_GROUP = 2.4  # bytes held a byte of a row group: the batches, and its encoded pages
READ_GROUP = 5.8  # the same when it is read back: pages, columns, and the slice of 8,192 rows
PARQUET_GROUP = 0.5  # bytes held a byte of an input's row group: its compressed columns
WHOLE_FILE = 5  # bytes held a byte of a text file that is one document
LARGE_DOCUMENT = 7  # bytes held a byte of a document larger than a batch: line, text, columns, words, row group
KEY = 82  # bytes a row while duplicates are chosen: sorted halves, positions, masks
KEY_WRITTEN = 200  # bytes a row while keys are written: columns, and the same grouped by partition
HELD_OUT_KEY = 25  # bytes a key while the smallest are taken: read, joined, sorted
TRAIN_AT, TRAIN, TRAIN_GROWTH = (
    23e6,
    410 * MIB,
    0.64,
)  # distinct words grow with text by Heaps' law; 4.4 B/B for English
TRAIN_LIMIT = 100_000_000  # bytes of text that a tokenizer is trained on
ENCODING = 290 * MIB  # four million characters in the tokenizer library, in several scripts
ENCODED = 10  # bytes held a byte of a row group's text while it is encoded
ENCODED_PART = 2.7  # bytes held a byte of a part's text: its tokens as rows, joined, and grouped by partition
SHARDS = 45 * MIB
SHARD = 5.5  # bytes held a byte of an exchanged partition: sorted, filtered, as arrays of tokens


def steps(chosen: Sequence[Step]) -> int:
    """Bytes that the fused steps of a task hold, with their models."""
    filters = [step.options for step in chosen if isinstance(step.options, Filter)]
    return STEPS + sum(one.memory for one in filters) if filters else 0


def cutting() -> int:
    """Bytes of a worker that cuts a compressed file into pieces: it holds blocks of a few megabytes."""
    return WORKER + PART_READING


def reading(text: int, row_group: int, file: int, chosen: Sequence[Step]) -> int:
    """Bytes of a worker that reads inputs.

    Args:
        text: bytes of a task.
        row_group: bytes of the largest row group of a Parquet file, decompressed.
        file: bytes of the largest file that is one document, decompressed.
        chosen: the fused steps.
    """
    written = WRITE_GROUP * min(text, GROUP)
    return WORKER + READING + int(written + PARQUET_GROUP * row_group + WHOLE_FILE * file) + steps(chosen)


def passing(text: int, chosen: Sequence[Step]) -> int:
    """Bytes of a worker that reads a part and writes it again; `text` is of the part."""
    return WORKER + PART_READING + int((READ_GROUP + WRITE_GROUP) * min(text, GROUP)) + steps(chosen)


def keys(text: int, rows: int) -> int:
    """Bytes of a worker that writes the keys of a part of so many rows."""
    return WORKER + PART_READING + int(READ_GROUP * min(text, GROUP)) + KEY_WRITTEN * rows


def choice(rows: int) -> int:
    """Bytes of a worker that chooses among the rows of a partition.

    Partitions are equal but for chance and for documents that stand very often, whose copies share one.
    """
    return WORKER + PART_READING + KEY * rows


def held_out_keys(text: int, messages: bool) -> int:
    """Bytes of a worker that hashes a part's ids, or its messages."""
    return WORKER + PART_READING + int((READ_GROUP if messages else 0) * min(text, GROUP))


def held_out(documents: int) -> int:
    """Bytes of the one worker that takes the smallest of so many keys."""
    return WORKER + HELD_OUT_KEY * documents


def training(text: int) -> int:
    """Bytes of the one worker that trains a tokenizer, at most: English text takes a half to a third of it."""
    return WORKER + int(TRAIN * (min(text, TRAIN_LIMIT) / TRAIN_AT) ** TRAIN_GROWTH)


def encoding(text: int) -> int:
    """Bytes of a worker that encodes a part with so much text."""
    rest = ENCODED_PART * max(text - GROUP, 0)
    return WORKER + ENCODING + int(ENCODED * min(text, GROUP) + rest)


def writing_shards(exchanged: int) -> int:
    """Bytes of a worker that writes the shard of a partition of so many exchanged bytes."""
    return WORKER + SHARDS + int(SHARD * exchanged)


def large_document(size: int) -> int:
    """Bytes that a task holds more for its largest document; nothing for one that fits a batch."""
    return LARGE_DOCUMENT * max(size - BATCH_BYTES, 0)

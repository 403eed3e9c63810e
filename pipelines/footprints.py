"""How much memory a worker needs at its peak, stage by stage, from the sizes that a task works on.

One place for the measured numbers, so that the stages ask with what they know exactly and the plan asks with what it
estimates. Peaks without page cache (`budget.peak`) of workers from the fork server, on English and multilingual web
text in tasks of 8 to 64 MB (Python 3.11, pyarrow 25, Linux, x86-64). Costs nothing.
"""

from collections.abc import Sequence

from ..filters import chunk_cache
from ..filters.rules import Filter
from .parts import ROW_GROUP_BYTES, SLICE_ROWS
from .readers.records import BATCH_BYTES
from .recipe import Step

MIB = 1 << 20
WORKER = 58 * MIB  # a worker that has imported the stages and done nothing
READING = 20 * MIB  # Arrow's and Parquet's libraries
READ_BATCH = 15  # bytes held a byte of a batch: lines, Python objects, columns
PART_READING = 40 * MIB  # the same libraries, and a batch of short documents
STEPS = 30 * MIB  # Numba with its kernels; 200 MiB more while they are compiled, once on a machine
STEPS_BATCH = 2  # bytes held a byte of a batch: copies of what is kept, scores
GROUP = ROW_GROUP_BYTES + BATCH_BYTES  # bytes of text at which a row group is written
WRITE_GROUP = 2.4  # bytes held a byte of a row group: the batches, and its encoded pages
READ_GROUP = 2.4  # bytes held a byte of a row group that is read back: its pages
READ_ROWS = 3.2  # bytes held a byte of the rows that are read at a time: columns, copies
PARQUET_GROUP = 0.5  # bytes held a byte of an input's row group: its compressed columns
WHOLE_FILE = 5  # bytes held a byte of a text file that is one document
LARGE_DOCUMENT = 7  # bytes held a byte of a document of tens of MB: line, text, columns, words, row group
LARGE_DOCUMENT_GROUP = 2.5  # bytes more a byte of one that comes out of a row group: its page, packed and unpacked
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
DECIDED = 6  # bytes held a value of a row group's scores: its pages, and a few rows of them
DROPPED_ROW = 100  # bytes of the record of a dropped document, with its id, until there are enough to be written
SHARDS = 45 * MIB
SHARD = 5.5  # bytes held a byte of an exchanged partition: sorted, filtered, as arrays of tokens


def steps(text: int, whole: int, chosen: Sequence[Step]) -> int:
    """Bytes that the fused steps hold, with their models and the chunk cache that they share.

    Args:
        text: bytes of a task.
        whole: bytes of all tasks of the stage: a worker may come to see nearly all of them.
        chosen: the fused steps.
    """
    filters = _filters(chosen)
    if not filters:
        return 0
    held = STEPS + int(STEPS_BATCH * min(text, BATCH_BYTES)) + sum(one.memory for one in filters)
    return held + (chunk_cache.foreseen(whole) if any(one.looks_up_chunks for one in filters) else 0)


def _filters(chosen: Sequence[Step]) -> list[Filter]:
    return [step.options for step in chosen if isinstance(step.options, Filter)]


def cutting() -> int:
    """Bytes of a worker that cuts a compressed file into pieces: it holds blocks of a few megabytes."""
    return WORKER + PART_READING


def reading(text: int, whole: int, row_group: int, file: int, chosen: Sequence[Step]) -> int:
    """Bytes of a worker that reads inputs.

    Args:
        text: bytes of a task.
        whole: bytes of all tasks.
        row_group: bytes of the largest row group of a Parquet file, decompressed.
        file: bytes of the largest file that is one document, decompressed.
        chosen: the fused steps.
    """
    held = max(READ_BATCH * min(text, BATCH_BYTES) + WRITE_GROUP * min(text, GROUP), WHOLE_FILE * file)
    return WORKER + READING + int(held + PARQUET_GROUP * row_group) + steps(text, whole, chosen)


def part_reading(text: int, rows: int) -> int:
    """Bytes of a worker that reads a part of so much text in so many rows."""
    at_a_time = min(text, GROUP, SLICE_ROWS * text // max(rows, 1))
    return WORKER + PART_READING + int(READ_GROUP * min(text, GROUP) + READ_ROWS * at_a_time)


def passing(text: int, rows: int, whole: int, chosen: Sequence[Step]) -> int:
    """Bytes of a worker that reads a part of so much text in so many rows, of so much in all, and writes it again."""
    return part_reading(text, rows) + int(WRITE_GROUP * min(text, GROUP)) + steps(text, whole, chosen)


def deciding(text: int, rows: int, columns: int) -> int:
    """Bytes of a worker that decides a part of so many rows, whose texts have so much, by so many columns of scores."""
    at_a_time = rows * min(1.0, GROUP / max(text, 1))
    return WORKER + PART_READING + int(DECIDED * at_a_time * columns + min(DROPPED_ROW * rows, ROW_GROUP_BYTES))


def keys(text: int, rows: int) -> int:
    """Bytes of a worker that writes the keys of a part of so many rows."""
    return part_reading(text, rows) + KEY_WRITTEN * rows


def choice(rows: int) -> int:
    """Bytes of a worker that chooses among the rows of a partition.

    Partitions are equal but for chance and for documents that stand very often, whose copies share one.
    """
    return WORKER + PART_READING + KEY * rows


def held_out_keys(text: int, rows: int, messages: bool) -> int:
    """Bytes of a worker that hashes a part's ids, or its messages."""
    return part_reading(text if messages else 0, rows)


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


def with_document(memory: int, size: int, row_group: int = 0, chosen: Sequence[Step] = ()) -> int:
    """Bytes of a worker that needs so many otherwise and has a document of that size to read, judge or write.

    Args:
        memory: bytes that it needs otherwise.
        size: bytes of the document.
        row_group: bytes of the largest row group that it may come from, decompressed; 0 if it is in none.
        chosen: the fused steps.
    """
    scratch = max((one.scratch for one in _filters(chosen)), default=0)
    held = (LARGE_DOCUMENT + scratch) * size + int(LARGE_DOCUMENT_GROUP * min(size, row_group))
    return max(memory, WORKER + PART_READING + held)

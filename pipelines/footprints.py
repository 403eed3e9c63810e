"""How much memory a worker needs at its peak, stage by stage, from the sizes that a task works on.

One place for the measured numbers, so that the stages ask with what they know exactly and the plan asks with what it
estimates. Peaks without page cache (`budget.peak`) of workers from the fork server, on English and multilingual web
text in tasks of 8 to 64 MB (Python 3.11, pyarrow 25, Linux, x86-64). Costs nothing.
"""

from collections.abc import Sequence

from ..filters.chunk_cache import expected_memory
from ..filters.rules import Filter
from .duplicates.sizes import (
    BLOCK_BYTES,
    BLOCK_KEYS,
    HELD_ROOMS,
    LINKS_AT_ONCE,
    NODES_PER_PARTITION,
    ROWS_AT_ONCE,
    RUN_ROWS,
    SET_BYTES,
    TEXT_AT_ONCE,
)
from .parts import ROW_GROUP_BYTES
from .read_parts import SLICE_ROWS
from .readers.records import BATCH_BYTES
from .recipe import Step

MIB = 1 << 20
WORKER = 58 * MIB  # a worker that has imported the stages and done nothing
READING = 20 * MIB  # Arrow's and Parquet's libraries
READ_BATCH = 15  # bytes held a byte of a batch: lines, Python objects, columns
PART_READING = 40 * MIB  # the same libraries, and a batch of short documents
STEPS = 20 * MIB  # Numba with its kernels; 50 MiB more while one is compiled, once on a machine
STEPS_BATCH = 4  # bytes held a byte of a batch: scratch, copies of what is kept
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
INDEXED = 20  # bytes held a byte of text that is read at a time: words, shingles, and these in columns
ENTRY = 80  # bytes an entry while a range of an index's table is sorted, or a chunk's entries are grouped
PIECE_WRITTEN = 90  # bytes a piece while keys are sent: columns, the same grouped by partition, a table of firsts
PIECE = 90  # bytes a row while the first pieces are chosen: columns, a table, what goes
CHOSEN = 12  # bytes of the number of a piece that is cut out: read, joined, sorted
INDEXED = 20  # bytes held a byte of text that is read at a time: words, shingles, and these in columns
ENTRY = 80  # bytes an entry while a range of an index's table is sorted, or a chunk's entries are grouped
SIGNED = 4  # bytes held a byte of text while a batch is signed: hashes of its units, keys, shingles
BAND_KEY = 100  # bytes a key of a block of keys, of which there is a million, while it is written
BLOCK = 3.2  # bytes held a byte of a block of documents in components: the rows, grouped, and the batch behind them
BUCKET_KEY = 60  # bytes a key of a partition while its buckets are found: sorted, and the links
LINK = 130  # bytes a link of a partition while it is joined, where all of its documents are different ones
ROOM = 10_000  # bytes of all arrays a document of a choice, sets of 4 kB of text too
COMPARED = 400  # bytes a document while a run of them is ordered, told of, written
PROBLEM = 1_000  # bytes more a record of a choice among problems, most of them its statement and answers
STATEMENTS = 10 * MIB  # a thousand statements that have been read, and tables of words
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
DOCUMENT_READ = 700  # bytes held a document of tokens that stand already: its id, its hashes, its row
TOKENS_READ = 9  # bytes held a byte of tokens that stand already: as ids, masks, rows, grouped by partition
SHARDS = 45 * MIB
SHARD = 5.5  # bytes held a byte of an exchanged partition: sorted, filtered, as arrays of tokens
PACKING = 20 * MIB
TRIMMED = 400  # bytes more a document whose reasoning is trimmed: spans of its texts in Arrow and arrays, ranges
PACKED = 120  # bytes a document, and a sequence, of a part while it is packed: lengths, spans, sorted and joined


def steps(text: int, chosen: Sequence[Step], seen: int) -> int:
    """Bytes that the fused steps of a task of so much text hold, with their models and the chunk cache.

    Args:
        text: bytes of a task.
        chosen: the steps.
        seen: bytes of text that one worker may come to see.
    """
    filters = [step.options for step in chosen if isinstance(step.options, Filter)]
    if not filters:
        return 0
    cache = expected_memory(max(one.looked_up for one in filters) * seen)
    return STEPS + cache + int(STEPS_BATCH * min(text, BATCH_BYTES)) + sum(one.memory for one in filters)


def cutting() -> int:
    """Bytes of a worker that cuts a compressed file into pieces: it holds blocks of a few megabytes."""
    return WORKER + PART_READING


def reading(text: int, row_group: int, file: int, chosen: Sequence[Step], seen: int) -> int:
    """Bytes of a worker that reads inputs.

    Args:
        text: bytes of a task.
        row_group: bytes of the largest row group of a Parquet file, decompressed.
        file: bytes of the largest file that is one document, decompressed.
        chosen, seen: as for `steps`.
    """
    held = max(READ_BATCH * min(text, BATCH_BYTES) + WRITE_GROUP * min(text, GROUP), WHOLE_FILE * file)
    return WORKER + READING + int(held + PARQUET_GROUP * row_group) + steps(text, chosen, seen)


def part_reading(text: int, rows: int, slice_rows: int = SLICE_ROWS) -> int:
    """Bytes of a worker that reads a part of so much text in so many rows, some at a time."""
    at_a_time = min(text, GROUP, slice_rows * text // max(rows, 1))
    return WORKER + PART_READING + int(READ_GROUP * min(text, GROUP) + READ_ROWS * at_a_time)


def passing(text: int, rows: int, chosen: Sequence[Step], seen: int) -> int:
    """Bytes of a worker that reads a part of so much text in so many rows, has steps judge it, and writes it again."""
    return part_reading(text, rows) + int(WRITE_GROUP * min(text, GROUP)) + steps(text, chosen, seen)


def deciding(text: int, rows: int, columns: int) -> int:
    """Bytes of a worker that decides a part of so many rows, whose texts have so much, by so many columns of scores."""
    at_a_time = rows * min(text, GROUP) // max(text, 1)
    return WORKER + PART_READING + DECIDED * at_a_time * columns + int(min(DROPPED_ROW * rows, ROW_GROUP_BYTES))


def keys(text: int, rows: int, texts: bool = True) -> int:
    """Bytes of a worker that writes the keys of a part of so many rows: of their texts, or hashes that stand there."""
    return (part_reading(text, rows) if texts else WORKER + PART_READING) + KEY_WRITTEN * rows


def choice(rows: int) -> int:
    """Bytes of a worker that chooses among the rows of a partition.

    Partitions are equal but for chance and for documents that stand very often, whose copies share one.
    """
    return WORKER + PART_READING + KEY * rows


def indexing(text: int, rows: int) -> int:
    """Bytes of a worker that writes what an index keeps of a part of so much text in so many rows."""
    return part_reading(text, rows) + STEPS + INDEXED * min(text, TEXT_AT_ONCE)


def entries(count: int) -> int:
    """Bytes of a worker that sorts or groups so many entries of an index's table."""
    return WORKER + PART_READING + ENTRY * count


def pieces(text: int, rows: int, min_length: int, stretch: int) -> int:
    """Bytes of a worker that writes the keys of a part's pieces, at most, so many of them at a time.

    Args:
        text, rows: of the part.
        min_length: characters of a piece.
        stretch: pieces that are sent together.
    """
    return part_reading(text, rows) + STEPS + PIECE_WRITTEN * min(text // (min_length + 1), stretch)


def choosing_pieces(rows: int) -> int:
    """Bytes of a worker that chooses the first pieces among the rows of a partition."""
    return WORKER + PART_READING + STEPS + PIECE * rows


def cutting_out(text: int, rows: int, min_length: int, chosen: Sequence[Step], seen: int) -> int:
    """Bytes of a worker that cuts all pieces of a part out, if they have five least lengths, and has steps judge it."""
    at_a_time = min(text, GROUP, SLICE_ROWS * text // max(rows, 1))
    return passing(text, rows, chosen, seen) + STEPS + CHOSEN * (text // (5 * min_length)) + at_a_time


def bands(text: int, rows: int, bands: int) -> int:
    """Bytes of a worker that writes the keys of the bands of a part of so many rows."""
    block = min(rows * bands, BLOCK_KEYS + ROWS_AT_ONCE * bands)
    return part_reading(text, rows, ROWS_AT_ONCE) + STEPS + SIGNED * min(text, TEXT_AT_ONCE) + BAND_KEY * block


def buckets(keys: int) -> int:
    """Bytes of a worker that finds the buckets of so many keys; they are spread evenly but for copies."""
    return WORKER + PART_READING + STEPS + BUCKET_KEY * keys


def components(links: int) -> int:
    """Bytes of a worker that joins so many links, or as many as are looked at at a time: others repeat documents."""
    return WORKER + PART_READING + STEPS + LINK * min(links, LINKS_AT_ONCE + NODES_PER_PARTITION)


def members(text: int, rows: int, bands: int) -> int:
    """Bytes of a worker that reads and signs the documents of a part that are in components: all, at most."""
    whole = int(SET_BYTES * text) + 16 * bands * rows
    block = min(whole, BLOCK_BYTES + int(SET_BYTES * TEXT_AT_ONCE) + 16 * bands * ROWS_AT_ONCE)
    return part_reading(text, rows, ROWS_AT_ONCE) + STEPS + SIGNED * min(text, TEXT_AT_ONCE) + int(BLOCK * block)


def similar(documents: int) -> int:
    """Bytes of a worker that chooses among so many documents in components; what grows with them is only mapped."""
    return WORKER + PART_READING + STEPS + min(HELD_ROOMS, documents * ROOM) + COMPARED * min(documents, RUN_ROWS)


def problems(records: int) -> int:
    """Bytes of a worker that chooses among so many records in components by what they ask."""
    return similar(records) + STATEMENTS + PROBLEM * records


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


def reading_tokens(size: int, documents: int) -> int:
    """Bytes of a worker that reads so many documents of so many bytes of tokens, at four a token."""
    return WORKER + ENCODING + int(TOKENS_READ * size) + DOCUMENT_READ * documents


def writing_shards(exchanged: int) -> int:
    """Bytes of a worker that writes the shard of a partition of so many exchanged bytes."""
    return WORKER + SHARDS + int(SHARD * exchanged)


def packing(documents: int, sequences: int, trimmed: bool = False) -> int:
    """Bytes of a worker that packs a part of so many documents and about so many sequences, also what is left of it."""
    return WORKER + PACKING + PACKED * (documents + sequences) + (TRIMMED * documents if trimmed else 0)


def with_document(memory: int, size: int, row_group: int = 0) -> int:
    """Bytes of a worker that needs so many otherwise and has a document of that size to read, judge or write.

    Args:
        memory: bytes that it needs otherwise.
        size: bytes of the document.
        row_group: bytes of the largest row group that it may come from, decompressed; 0 if it is in none.
    """
    held = LARGE_DOCUMENT * size + int(LARGE_DOCUMENT_GROUP * min(size, row_group))
    return max(memory, WORKER + PART_READING + held)

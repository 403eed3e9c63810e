"""How much a task of near-duplicates takes at a time, and into how many partitions its rows go.

One place, so that the stages, what they say of their memory and the plan agree. Partitions grow with the corpus, so
that one is as large for a thousand documents as for a trillion. Costs nothing.
"""

KEYS_PER_PARTITION = 4_000_000  # of bands: about 250 MB while a partition's buckets are found
BLOCK_KEYS = 1 << 20  # of a task that are held before they are written
NODES_PER_PARTITION = 1_000_000  # documents, most of which have no link
LINKS_AT_ONCE = 1_000_000  # of a partition's links
MEMBERS_BYTES = 96 << 20  # of a partition that are held at a time: keys, ids, columns, but not sets
MEMBER_BYTES = 250  # of a document that are held, beside its keys
SETS_BYTES = 1 << 30  # of a partition's sets, which are only mapped
SET_BYTES = 1.5  # of a set, a byte of text: a shingle is 8, a word with what stands around it 6
ROWS_AT_ONCE = 2048  # of a part that are read at a time, to be signed
TEXT_AT_ONCE = 4 << 20  # bytes of text that are signed at a time, or one document
BLOCK_BYTES = 24 << 20  # of a task's documents in components that are held before they are written
SLICE_BYTES = 256 << 10  # of such a block that a partition gets on average, where it is smaller
HELD_ROOMS = 48 << 20  # bytes of all arrays of a choice for which no files are made
HELD_BATCHES = 2_000  # record batches of a partition that are looked at twice and opened once
RUN_ROWS = 1 << 18  # documents of a partition that are ordered, told of or written at a time


def key_partitions(documents: int, bands: int) -> int:
    """The partitions of the keys of so many documents."""
    return max(1, -(-documents * bands // KEYS_PER_PARTITION))


def node_partitions(documents: int) -> int:
    """The partitions of the links between so many documents, at most."""
    return max(1, -(-documents // NODES_PER_PARTITION))


def member_partitions(documents: int, text: float, bands: int) -> int:
    """The partitions of so many documents in components, whose texts have so many bytes on average."""
    held = documents * (16 * bands + MEMBER_BYTES)
    return max(1, -(-held // MEMBERS_BYTES), -(-int(documents * text * SET_BYTES) // SETS_BYTES))

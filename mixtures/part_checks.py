"""What must hold inside a part of tokens, counted while its bytes go by: ends, end-of-document tokens, ids, loss bits.

A hash says that a file is what was written, not that it was right; these counts hold for any part of any tokenizer and
need one pass over bytes that are read for their hash anyway. Costs about 0.1 ns a token in Numba and about 0.2 µs a
document for the hash of its id.
"""

from dataclasses import dataclass, field

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ..errors import RunError
from .shards import DOCUMENTS, ascends, check_documents

UInt64s = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]

CHECKED = ("id", "mixture_source", "start", "tokens")  # columns of the documents that are looked at


@dataclass(frozen=True)
class Wrong:
    """Something that does not hold in a part: the file by its ending, what, and what was seen and expected."""

    ending: str
    what: str
    seen: str = ""
    expected: str = ""


@dataclass
class PartCheck:
    """The checks of one part. Feed it `ends` first, then the tokens in order, the mask, the documents.

    Args:
        dtype: of the tokens.
        tokens: how many the part has.
        documents: how many documents.
        end_of_document: the id that stands at every document's end and nowhere else.
        vocab_size: ids are below it.
        mixture_source: the name that every document bears.
    """

    dtype: np.dtype[np.uint16] | np.dtype[np.uint32]
    tokens: int
    documents: int
    end_of_document: int
    vocab_size: int
    mixture_source: str
    wrong: list[Wrong] = field(default_factory=list)
    ends_of_document: int = 0
    largest: int = 0
    trained: int = 0  # tokens that are targets under `loss: assistant`
    first: bytes = b""  # xxh3-128 of the first document's id, big-endian; of the last one
    last: bytes = b""
    _ends: UInt64s = field(default_factory=lambda: np.empty(0, np.uint64))
    _seen: int = 0  # tokens
    _at: int = 0  # ends

    def ends(self, data: Bytes) -> None:
        """Takes the bytes of `.ends`."""
        ends = data[: len(data) // 8 * 8].view("<u8").astype(np.uint64)
        if len(ends) != self.documents:
            self._add("ends", "not as many ends as documents", f"{len(ends):,}", f"{self.documents:,}")
        elif not ascends(ends):
            self._add("ends", "document ends do not ascend")
        elif int(ends[-1]) != self.tokens:
            seen = f"{int(ends[-1]):,}"
            self._add("ends", "the last document does not end with the last token", seen, f"{self.tokens:,}")
        else:
            self._ends = ends

    def take(self, data: Bytes) -> None:
        """Takes the next bytes of `.tokens`, whole tokens."""
        block = data[: len(data) // self.dtype.itemsize * self.dtype.itemsize].view(self.dtype.newbyteorder("<"))
        count, largest = _look(block, self.end_of_document)
        at, missing = _at_ends(block, self._seen, self._ends, self._at, self.end_of_document)
        if missing >= 0:
            what = "a document does not end with the end-of-document token"
            place = int(self._ends[missing]) - 1 - self._seen
            self._add("tokens", what, f"document {missing:,}: {block[place]}", str(self.end_of_document))
        self.ends_of_document += int(count)
        self.largest = max(self.largest, int(largest))
        self._seen += len(block)
        self._at = int(at)

    def end_of_tokens(self) -> None:
        """Compares what the tokens came to."""
        if self.ends_of_document != self.documents:
            what = "not as many end-of-document tokens as documents"
            self._add("tokens", what, f"{self.ends_of_document:,}", f"{self.documents:,}")
        if self.largest >= self.vocab_size:
            what = "a token is outside the vocabulary"
            self._add("tokens", what, f"{self.largest:,}", f"below {self.vocab_size:,}")
        self.trained = self.tokens

    def loss(self, data: Bytes) -> None:
        """Takes the bytes of `.loss`: a bit a token, not all ones, a trained token in every document."""
        if len(data) != (self.tokens + 7) // 8:
            self._add("loss", "not a loss bit for every token", f"{len(data):,} bytes", f"{(self.tokens + 7) // 8:,}")
            return
        if self.tokens % 8 and int(data[-1]) >> (self.tokens % 8):
            self._add("loss", "bits behind the last token are set")
        if not len(self._ends):
            return
        self.trained, untrained = _trained(data, self._ends)
        if untrained >= 0:
            self._add("loss", "a document has no trained token", f"document {untrained:,}")
        if self.trained == self.tokens:
            self._add("loss", "all tokens are trained: there should be no mask")

    def table(self, documents: pa.Table, schema: pa.Schema) -> None:
        """Takes the documents' table: its rows against the ends, the order of the ids' hashes.

        Args:
            documents: the columns CHECKED.
            schema: of the whole table.
        """
        if not schema.equals(DOCUMENTS):
            self._add("documents.parquet", "the documents' columns are not those of the format", str(schema.names))
            return
        if len(self._ends):
            try:
                check_documents("", documents, documents.schema, self._ends)
            except RunError as error:
                seen, expected = (str(value) if value is not None else "" for value in (error.seen, error.expected))
                self._add("documents.parquet", error.what, seen, expected)
                return
        others = {name for name in documents["mixture_source"].unique().to_pylist() if name != self.mixture_source}
        if others:
            what = "documents of another source of the mixture"
            self._add("documents.parquet", what, ", ".join(sorted(others)), self.mixture_source)
        identities = documents["id"].cast(pa.binary()).to_pylist()
        digests = b"".join([xxhash.xxh3_128_digest(identity) for identity in identities])
        self.first, self.last = digests[:16], digests[-16:]
        high, low = np.frombuffer(digests, ">u8").astype(np.uint64).reshape(-1, 2).T
        if not ((high[:-1] < high[1:]) | (high[:-1] == high[1:]) & (low[:-1] <= low[1:])).all():
            self._add("documents.parquet", "the documents do not stand in the order of their ids' hashes")

    def _add(self, ending: str, what: str, seen: str = "", expected: str = "") -> None:
        self.wrong.append(Wrong(ending, what, seen, expected))


@numba.njit(cache=True, nogil=True)
def _look(tokens: npt.NDArray[np.integer], end_of_document: int) -> tuple[int, np.int64]:
    """How many of the tokens end a document, and the largest of them."""
    count = 0
    largest = tokens.dtype.type(0)
    end = tokens.dtype.type(end_of_document)
    for i in range(tokens.size):
        count += tokens[i] == end
        largest = max(largest, tokens[i])
    return count, np.int64(largest)


@numba.njit(cache=True, nogil=True)
def _at_ends(
    tokens: npt.NDArray[np.integer], first: int, ends: UInt64s, at: int, end_of_document: int
) -> tuple[int, int]:
    """The first end behind these tokens, and the first document in them whose last token is another; -1 for none."""
    wrong = -1
    while at < ends.size and np.int64(ends[at]) - 1 < first + tokens.size:
        if tokens[np.int64(ends[at]) - 1 - first] != end_of_document and wrong < 0:
            wrong = at
        at += 1
    return at, wrong


@numba.njit(cache=True, nogil=True)
def _trained(mask: Bytes, ends: UInt64s) -> tuple[int, int]:
    """How many bits are set, and the first document without one; -1 for none."""
    ones = np.zeros(256, np.int64)
    for value in range(256):
        ones[value] = ones[value // 2] + value % 2
    total, before, document, wrong = 0, 0, 0, -1
    for i in range(mask.size):
        byte = np.int64(mask[i])
        while document < ends.size and np.int64(ends[document]) <= 8 * i + 8:
            inside = total + ones[byte & ((1 << (np.int64(ends[document]) - 8 * i)) - 1)]
            if inside == before and wrong < 0:
                wrong = document
            before = inside
            document += 1
        total += ones[byte]
    return total, wrong

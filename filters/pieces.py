"""What `line_dedup` and `paragraph_dedup` share: pieces of texts with keys, and texts without some of their pieces.

Boilerplate is repeated in pages that differ otherwise, so it is found and cut out piece by piece; the pipeline brings
equal keys together. Costs about 0.7 ns per byte for the keys, and a copy of the texts that lose something.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from ..config import Count
from .deduplication import LossLimited
from .texts import text_view

Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]


class Keys(NamedTuple):
    """Keys of the m pieces of n documents, in the order of the text.

    Args:
        low, high: uint64[m], the two halves of MurmurHash3_x64_128 of each piece.
        ends: int64[n], for each document one past its last piece.
    """

    low: UInt64
    high: UInt64
    ends: Int64


class Cuts(NamedTuple):
    """Pieces that are cut out of n documents, with their line ends.

    Args:
        start, stop: int64[m], places in the documents' buffer of text.
        ends: int64[n], for each document one past its last piece.
        next_number: the number of the next document's first piece.
    """

    start: Int64
    stop: Int64
    ends: Int64
    next_number: int


class PieceDedup(LossLimited):
    """Cuts pieces that stand elsewhere out of texts: one of each is left, and drops documents that become empty."""

    rewrites: ClassVar[bool] = True
    paragraphs: ClassVar[bool]
    piece: ClassVar[str]  # what a piece is called

    min_length: Count

    def keys(self, text: pa.Array) -> Keys:
        """The keys of all pieces that are compared, of n texts (large_string)."""
        from .kernels.piece_kernels import piece_keys

        data, offsets = text_view(text)
        room = self._most(offsets)
        low, high, ends = np.empty(room, np.uint64), np.empty(room, np.uint64), np.empty(len(text), np.int64)
        count = piece_keys(data, offsets, self.paragraphs, self.min_length, low, high, ends)
        return Keys(low[:count], high[:count], ends)

    def _most(self, offsets: Int64) -> int:
        """The most pieces that texts with these places can have: each but a document's last has a line end."""
        return int(offsets[-1] - offsets[0]) // (self.min_length + 1) + len(offsets) - 1

    def find(self, text: pa.Array, number: int, chosen: UInt32) -> Cuts:
        """The pieces with the chosen numbers, of n texts.

        Args:
            text: large_string[n].
            number: that of the first document's first piece.
            chosen: uint32[m], ascending, none below `number`; those of later documents are left for these.
        """
        from .kernels.piece_kernels import find_pieces

        data, offsets = text_view(text)
        chosen = chosen[: self._most(offsets)]
        start, stop, ends = (np.empty(size, np.int64) for size in (len(chosen), len(chosen), len(text)))
        found, following = find_pieces(
            data, offsets, self.paragraphs, self.min_length, number, chosen, start, stop, ends
        )
        return Cuts(start[:found], stop[:found], ends, following)


def order_of(identity: pa.Array, text_hash: pa.Array) -> UInt64:
    """uint64[n]: the order of a source's documents among which a piece's first is kept.

    The xxh3-64 of the id, seeded with a hash of the text: it depends on no file and no place, and only documents that
    are the same in both share it.

    Args:
        identity: string[n].
        text_hash: uint64[n], the low half of the xxh3-128 of each text.
    """
    pairs = zip(identity.cast(pa.binary()).to_pylist(), text_hash.to_pylist(), strict=True)
    return np.fromiter((xxhash.xxh3_64_intdigest(one, seed) for one, seed in pairs), np.uint64, len(identity))


def without(text: pa.Array, cuts: Cuts) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """The n texts without the pieces, and bool[n]: which of them have nothing left but white space."""
    from .kernels.piece_kernels import cut_out

    data, offsets = text_view(text)
    out, blank = np.empty(int(offsets[-1] - offsets[0]), np.uint8), np.empty(len(text), np.bool_)
    places = np.empty(len(text) + 1, np.int64)
    cut_out(data, offsets, cuts.start, cuts.stop, cuts.ends, out, places, blank)
    return pa.LargeStringArray.from_buffers(len(text), pa.py_buffer(places), pa.py_buffer(out)), blank

"""Where the texts of assistants stand in the tokens of a document: its reasonings and contents, turn by turn.

What is cut out of a reasoning without losing its answer must be known to the token, and cannot be found in the ids
afterwards. Costs 13 bytes a text in Arrow; nothing for plain documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NONE: Final = 0
PARTS: Final[Mapping[str, int]] = {"reasoning": 1, "content": 2}
"""The number of a part in `TextSpans`."""

SPAN: Final = pa.struct(
    [
        pa.field("turn", pa.uint32(), nullable=False),  # the message's number in its conversation
        pa.field("part", pa.uint8(), nullable=False),  # PARTS
        pa.field("start", pa.uint32(), nullable=False),  # tokens from the document's first
        pa.field("stop", pa.uint32(), nullable=False),  # exclusive
    ]
)
SPANS: Final = pa.list_(pa.field("span", SPAN, nullable=False))


@dataclass(frozen=True)
class TextSpans:
    """Spans of n documents, ascending within each: those of document d are `offsets[d]` to `offsets[d + 1]`.

    `offsets` int32[n + 1]; `turn` uint32[s], the message's number; `part` uint8[s], of PARTS; `start`, `stop`
    uint32[s], tokens from the document's first, `stop` exclusive. Empty texts have none.
    """

    offsets: npt.NDArray[np.int32]
    turn: npt.NDArray[np.uint32]
    part: npt.NDArray[np.uint8]
    start: npt.NDArray[np.uint32]
    stop: npt.NDArray[np.uint32]

    @classmethod
    def of_pieces(
        cls,
        part: npt.NDArray[np.uint8],
        turn: npt.NDArray[np.uint32],
        lengths: npt.NDArray[np.int64],
        last: npt.NDArray[np.int64],
    ) -> "TextSpans":
        """The spans of pieces.

        Args:
            part: uint8[pieces], of PARTS or NONE.
            turn: uint32[pieces].
            lengths: int64[pieces], tokens of each.
            last: int64[n], the index of each document's last piece.
        """
        stops = np.cumsum(lengths)  # [pieces]
        chosen = np.flatnonzero(part != NONE)
        document = np.searchsorted(last, chosen)  # [s]
        first = np.concatenate([np.zeros(1, np.int64), stops[last]])  # [n + 1], tokens before each document
        stop = stops[chosen] - first[document]
        offsets = np.searchsorted(document, np.arange(len(last) + 1))
        return cls(
            offsets.astype(np.int32),
            turn[chosen],
            part[chosen],
            (stop - lengths[chosen]).astype(np.uint32),
            stop.astype(np.uint32),
        )

    @classmethod
    def of_column(cls, column: pa.ChunkedArray) -> "TextSpans":
        """The spans of a column of SPANS."""
        lists = column.combine_chunks()
        offsets = lists.offsets.to_numpy()
        values = lists.values.slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        turn, part, start, stop = (values.field(one).to_numpy() for one in ("turn", "part", "start", "stop"))
        return cls((offsets - offsets[0]).astype(np.int32), turn, part, start, stop)

    def misplaced(self, tokens: npt.NDArray[np.int64]) -> int | None:
        """The first document whose spans do not follow one another before its last token; None: there is none.

        Args:
            tokens: int64[n], tokens of each document, the end of document included.
        """
        document = np.repeat(np.arange(len(tokens)), np.diff(self.offsets))  # [s]
        start, stop = self.start.astype(np.int64), self.stop.astype(np.int64)
        wrong = (start >= stop) | (stop >= tokens[document])
        wrong[1:] |= (document[1:] == document[:-1]) & (start[1:] < stop[:-1])
        return int(document[np.argmax(wrong)]) if wrong.any() else None

    def column(self) -> pa.Array:
        """SPANS[n]."""
        values = pa.StructArray.from_arrays(
            [pa.array(self.turn), pa.array(self.part), pa.array(self.start), pa.array(self.stop)], fields=list(SPAN)
        )
        return pa.ListArray.from_arrays(pa.array(self.offsets), values).cast(SPANS)


def spans_column(spans: TextSpans | None, documents: int) -> pa.Array:
    """SPANS[n]; an empty list a document where there are no spans."""
    if spans is not None:
        return spans.column()
    empty = np.zeros(0, np.uint32)
    return TextSpans(np.zeros(documents + 1, np.int32), empty, empty.astype(np.uint8), empty, empty).column()

"""What the stages of lines and paragraphs will take, before any of them has run.

How many pieces there are is not foreseen: pieces of five times the least length are assumed, as on web pages in many
languages; long lines are fewer. Costs nothing.
"""

from .. import footprints
from ..stage import Stage
from .estimates import BATCH, Compared, Taken
from .pieces import STRETCH, ChoosePieces, WritePieces, partitions_of

LENGTHS = 5  # bytes of a piece on average, in least lengths
SENT = 0.6  # share of pieces that no earlier one of their part repeats
KEY, NUMBER = 32, 4  # bytes on disk of a key, of the number of a piece that goes
KEY_SECONDS = 3e-9  # CPU time a byte of text that is read, and whose pieces are keyed
PIECE_SECONDS = 1.5e-7  # CPU time a piece: sent, and looked up among the others

PieceStage = WritePieces | ChoosePieces


def taken(stage: Stage, came: Compared) -> Taken:
    """What one of the stages of lines or paragraphs takes.

    Args:
        stage: one of `PieceStage`.
        came: the documents of its step.
    """
    assert isinstance(stage, PieceStage)  # noqa: S101 - the plan asks for no other
    least = stage.dedup.min_length
    pieces, partitions = came.text // (LENGTHS * least), partitions_of(came.text, least)
    sent = int(SENT * pieces)
    if isinstance(stage, WritePieces):
        disk = KEY * sent + NUMBER * (pieces - sent) + came.parts * (partitions + 1) * BATCH
        memory = footprints.pieces(*came.largest, least, STRETCH)
        return Taken(came.parts, came.documents, memory, disk, came.text * KEY_SECONDS + pieces * PIECE_SECONDS)
    disk = NUMBER * sent + partitions * came.parts * BATCH
    memory = footprints.choosing_pieces(sent // partitions)
    return Taken(partitions, came.documents, memory, disk, sent * PIECE_SECONDS)

"""What the stages of exact deduplication will take, before any of them has run.

How many copies there are is not foreseen: their records are few bytes, and none are assumed. Costs nothing.
"""

from .. import footprints
from ..stage import Stage
from .estimates import Compared, Taken
from .exact import ROWS_PER_PARTITION, ChooseExact, WriteKeys, exact

KEY = 36  # bytes on disk of a document's key, beside its id: two halves, part, row, the id's place
KEY_BATCH, CHOICE_BATCH = 376, 232  # bytes of a record batch of keys, of choices, in an exchange's file
TEXT_SECONDS = 1.5e-9  # CPU time a byte of text that is read and hashed
ROW_SECONDS = 0.3e-6  # CPU time a row among which copies are looked for

ExactStage = WriteKeys | ChooseExact


def taken(stage: Stage, came: Compared) -> Taken:
    """What one of the stages of exact deduplication takes.

    Args:
        stage: one of `ExactStage`.
        came: the documents of its step.
    """
    assert isinstance(stage, ExactStage)  # noqa: S101 - the plan asks for no other
    rows, partitions = came.documents, max(1, -(-came.documents // ROWS_PER_PARTITION))
    if isinstance(stage, WriteKeys):
        disk = rows * (KEY + came.identity) + came.parts * partitions * KEY_BATCH
        return Taken(
            came.parts,
            rows,
            footprints.keys(*came.largest, exact(stage.step).normalize),
            disk,
            came.text * TEXT_SECONDS,
        )
    disk = partitions * came.parts * CHOICE_BATCH
    return Taken(partitions, rows, footprints.choice(rows // partitions), disk, rows * ROW_SECONDS)

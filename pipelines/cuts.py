"""What a stage cut out of texts, as it recorded it: the pieces of one document by their places, and its text without.

A text that was rewritten stands nowhere as it was judged before; the earlier stage's text and these places make it
again. Costs a read of the ids of one task's records.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ..manifest import Manifest
from ..storage import Location
from .finding import number
from .parts import CUT
from .read_parts import read_part

Places = Sequence[tuple[int, int]]


def cuts_of(folder: Location, manifest: Manifest, task: int, identity: str) -> dict[int, Places]:
    """The pieces that a task of a stage cut out of documents of an id: by row of the earlier stage's part, in bytes.

    Raises:
        RunError: a file is gone or damaged.
    """
    found: dict[int, Places] = {}
    for file in manifest.files:
        if file.path.startswith("cut/") and number(file) == task:
            for batch in read_part(folder / file.path, CUT.names):
                own = batch.filter(pc.equal(batch.column("id"), identity))
                found |= {row["row"]: list(zip(row["start"], row["stop"], strict=True)) for row in own.to_pylist()}
    return found


def cut_out(document: pa.RecordBatch, places: Places) -> pa.RecordBatch:
    """The one document without the bytes of its text at these places, ascending."""
    place = document.schema.get_field_index("text")
    text, left, at = document.column("text")[0].as_py().encode(), [], 0
    for start, stop in places:
        left.append(text[at:start])
        at = stop
    new = pa.array([b"".join([*left, text[at:]]).decode()], pa.large_string())
    return document.set_column(place, document.schema.field(place), new)

"""Where documents of one id stand in a curated output: kept, dropped or set aside, stage by stage.

Ids are not indexed, since most outputs are never asked for one. Costs a read of the id columns, about 20 million a
second, and of what was set aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from .. import storage
from ..config import nearest
from ..manifest import Manifest, OutputFile
from ..storage import Location
from .read_parts import kept_parts, read_part

HINTS = 5  # ids that are like the one asked for
SEEN = 2000  # ids that are compared letter by letter


@dataclass
class Ends:
    """What became of documents of one id in a stage, by the number of the task.

    Args:
        kept: how many go on.
        dropped: the records of those that were dropped, in the order in which they were.
        aside: the records of those that were set aside.
    """

    kept: dict[int, int] = field(default_factory=dict)
    dropped: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    aside: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def tasks(self) -> list[int]:
        """The tasks that had such a document, in order."""
        return sorted({*self.kept, *self.dropped, *self.aside})

    def count(self, task: int) -> int:
        """How many such documents a task had, those set aside before they were documents left out."""
        return self.kept.get(task, 0) + len(self.dropped.get(task, [])) + len(self.aside.get(task, []))


class Hints:
    """Ids that somebody may have meant: of other case, with the wanted one inside, or spelled alike."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        self._like: dict[str, None] = {}
        self._seen: dict[str, None] = {}

    def look(self, ids: pa.Array[Any]) -> None:
        """Looks at some ids."""
        if len(self._like) < HINTS:
            inside = ids.filter(pc.match_substring(ids, self.wanted.strip(), ignore_case=True))
            self._like.update(dict.fromkeys(inside.slice(0, HINTS).to_pylist()))
        if len(self._seen) < SEEN:
            self._seen.update(dict.fromkeys(ids.slice(0, SEEN).to_pylist()))

    def nearest(self) -> list[str]:
        """The best of what was seen."""
        found = list(self._like)[:HINTS]
        close = nearest(self.wanted, list(self._seen)) if not found else ""
        return found or [close] * bool(close)


def ends(folder: Location, manifest: Manifest, identity: str, hints: Hints) -> Ends:
    """What became of documents of an id in a stage.

    Raises:
        RunError: a file is gone or damaged.
    """
    found = Ends()
    for file in kept_parts(manifest):
        if count := _count(folder / file.path, identity, hints):
            found.kept[number(file)] = count
    for file in manifest.files:
        if file.path.startswith("dropped/") and _count(folder / file.path, identity, hints):
            found.dropped[number(file)] = [
                row for batch in read_part(folder / file.path) for row in batch.to_pylist() if row["id"] == identity
            ]
        elif file.path.startswith("quarantine/"):
            lines = map(orjson.loads, storage.read_bytes(folder / file.path).splitlines())
            if own := [line for line in lines if line["id"] == identity]:
                found.aside[number(file)] = own
    return found


def documents(
    folder: Location, file: OutputFile, identity: str, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The documents of an id in a part, one at a time, in order; all visible columns where none are named."""
    for batch in read_part(folder / file.path, columns):
        for row in np.flatnonzero(pc.equal(batch.column("id"), identity).to_numpy(zero_copy_only=False)).tolist():
            yield batch.slice(row, 1)


def rows_of(folder: Location, file: OutputFile, identity: str) -> list[int]:
    """The numbers of the rows of a part that the documents of an id stand in."""
    found, start = [], 0
    for batch in read_part(folder / file.path, ["id"]):
        same = pc.equal(batch.column("id"), identity).to_numpy(zero_copy_only=False)
        found += (np.flatnonzero(same) + start).tolist()
        start += batch.num_rows
    return found


def number(file: OutputFile) -> int:
    """The number of the task that wrote a file."""
    return int(PurePosixPath(file.path).stem.rpartition("-")[2])


def _count(path: Location, identity: str, hints: Hints) -> int:
    count = 0
    for batch in read_part(path, ["id"]):
        ids = batch.column("id")
        hints.look(ids)
        count += pc.sum(pc.equal(ids, identity)).as_py() or 0
    return count

"""The texts of a finished curation's documents as one of its steps saw them.

What is compared with an index later is a text as it comes to the deduplication, so that is what the index must be made
of, though steps behind it may have rewritten what is published. Costs a read of the output's parts; where a later step
rewrites, also of the parts that the deduplication read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import ConfigError, RunError
from ...filters import catalogue
from ...filters.rules import Barrier, Transform
from ...manifest import Manifest, OutputFile
from ...storage import Location
from ..read_parts import kept_parts, largest_part, read_part

COLUMNS = ["id", "source", "text"]


@dataclass(frozen=True)
class KeptTexts:
    """The documents that an output kept, with their texts as they came to a step.

    Args:
        root: the output.
        fingerprint: the output's.
        folders: of the stages, from the one whose documents the step saw to the last; of the last alone where no step
            from that one on rewrites.
        files: the output's parts of the sources that the step saw.
        numbers: the place of each among all parts of the last stage.
        largest: bytes of text and rows of the largest part that is read.
    """

    root: Location
    fingerprint: str
    folders: tuple[str, ...]
    files: tuple[OutputFile, ...]
    largest: tuple[int, int]

    @property
    def documents(self) -> int:
        """How many there are."""
        return sum(file.rows for file in self.files)

    def read(self, number: int) -> Iterator[pa.RecordBatch]:
        """The documents of a part, with the columns id, source and text.

        Raises:
            RunError: a file is gone or damaged, or it cannot be told which of two documents of one id was kept.
        """
        path = PurePosixPath(self.files[number].path).relative_to(f"stages/{self.folders[-1]}").as_posix()
        last = self._folder(self.folders[-1]) / path
        if len(self.folders) == 1:
            yield from read_part(last, COLUMNS)
            return
        first = self._before(path)
        kept = pa.Table.from_batches(read_part(last, ["id"])).column("id").combine_chunks()
        came = pa.Table.from_batches(read_part(first, ["id"])).column("id").combine_chunks()
        rows = _kept_rows(came, kept, str(last))
        start = 0
        for batch in read_part(first, COLUMNS):
            one, end = np.searchsorted(rows, [start, start + batch.num_rows])
            yield batch.take(pa.array(rows[one:end] - start))
            start += batch.num_rows

    def _folder(self, name: str) -> Location:
        return self.root / "stages" / name

    def _before(self, path: str) -> Location:
        """The part of the first stage that the documents of a part of the last came through.

        A task of each stage in between read one part of the stage before, by its place, and named its own by it.
        """
        for folder in reversed(self.folders[:-1]):
            task = int(PurePosixPath(path).stem.removeprefix("part-"))
            path = kept_parts(Manifest.read(self._folder(folder)))[task].path
        return self._folder(self.folders[0]) / path


def texts_of(root: Location, published: Manifest, entry: dict[str, Any]) -> KeptTexts:
    """The texts of an output's documents as a step saw them.

    Args:
        root: the output.
        published: its manifest.
        entry: the step's, in the manifest's options.

    Raises:
        RunError: files of the output are gone.
    """
    names = [stage["stage"] for stage in published.counts["funnel"]]
    place = names.index(entry["stage"])
    steps = published.options["steps"]
    later = steps[steps.index(entry) + 1 :]
    folders = tuple(names[place - 1 :]) if any(map(_rewrites, later)) else (names[-1],)
    files = tuple(file for file in published.files if file.source in entry["sources"])
    largest = (0, 0)
    for folder in {folders[0], published.options.get("rows_of", f"stages/{folders[-1]}").removeprefix("stages/")}:
        manifest = Manifest.read(root / "stages" / folder)
        manifest.check_sizes(root / "stages" / folder)
        largest = max(largest, largest_part(manifest))
    return KeptTexts(root, published.fingerprint, folders, files, largest)


def _rewrites(entry: dict[str, Any]) -> bool:
    """Whether a step may have changed texts."""
    try:
        kind = catalogue.step(entry["step"])
    except ConfigError:
        return True  # a step of another version of the program
    return issubclass(kind, Transform) or (issubclass(kind, Barrier) and kind.rewrites)


def _kept_rows(came: pa.StringArray, kept: pa.StringArray, where: str) -> npt.NDArray[np.int64]:
    """int64[m]: the rows, ascending, of the ids that came in (n) that were kept (m).

    Raises:
        RunError: of documents with the same id some were kept and some were not.
    """
    is_kept = pc.is_in(came, value_set=kept)
    rows = np.flatnonzero(is_kept.to_numpy(zero_copy_only=False))
    if len(rows) != len(kept) or not came.take(pa.array(rows)).equals(kept):
        counts = came.filter(is_kept).value_counts()
        named = next((one["values"].as_py() for one in counts if one["counts"].as_py() > 1), "")
        raise RunError(
            "it cannot be told which of the documents with one id was kept: a later step rewrites texts",
            where=where,
            seen=named,
            fix="give the documents ids that differ, or put the step that rewrites in front of the deduplication",
        )
    return rows

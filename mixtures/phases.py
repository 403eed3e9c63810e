"""The order of one phase on disk: what is drawn from where, in which segments, and the counts that a look-up starts at.

A phase's order is read without any other phase, and never changes once it is written; a phase that was cut short is the
same files and a smaller number of places. Costs a memory map of the counts and 16 bytes a row of them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .. import storage
from ..errors import RunError
from .interleave import replay
from .permutation import Draws
from .plans.segments import row_places, segment_starts
from .repair import mending

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]
Loss = Literal["all", "assistant"]

VERSION: Literal[2] = 2


class Pool(BaseModel):
    """A pack index that a phase draws from, as the order's file names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    index: int  # number in the phase's `indexes`
    sequences: int
    epoch: int  # that it serves; of a full index, the first


class SourceEntry(BaseModel):
    """One source of a phase, as the order's file names it. `share` is the mean one where it changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    share: float
    loss: Loss
    quota: int
    first_draw: int
    rest: Pool | None
    full: Pool | None

    def draws(self, seed: int) -> Draws:
        """The draws of this source; its `quota` of this phase begins at `first_draw`."""
        rest, full = self.rest, self.full
        return Draws(
            seed,
            self.name,
            rest.sequences if rest else 0,
            rest.epoch if rest else 0,
            full.sequences if full else 0,
            full.epoch if full else 0,
        )


class PhaseFile(BaseModel):
    """`order/<phase>-<fingerprint>.json`: all that the order of a phase depends on, beside its counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[2]
    phase: str
    seed: int
    sequence_length: int
    sequences: int
    segments: int = Field(ge=1)  # of one make each, 1 where shares do not change
    indexes: tuple[str, ...]  # folders relative to the output
    sources: tuple[SourceEntry, ...]


@dataclass(frozen=True)
class PhaseRef:
    """A phase as the manifest names it: its order's files without their endings, and how many places of it count."""

    name: str
    order: str  # relative to the output
    sequences: int  # fewer than were planned, where the phase was cut short

    @property
    def files(self) -> tuple[str, str]:
        """The two files, relative to the output."""
        return f"{self.order}.counts", f"{self.order}.json"


def phase_contents(file: PhaseFile, counts: UInt64s) -> tuple[PhaseRef, dict[str, bytes]]:
    """A phase's two files: its reference, named by what is in them, and the bytes of each by its path in the output.

    Args:
        file: the phase.
        counts: uint64[rows, sources], from `segments.phase_counts`.
    """
    described, rows = file.model_dump_json(indent=1).encode() + b"\n", counts.astype("<u8").tobytes()
    order = f"order/{file.phase}-{xxhash.xxh3_128_hexdigest(described + rows)[:16]}"
    ref = PhaseRef(file.phase, order, file.sequences)
    return ref, dict(zip(ref.files, (rows, described), strict=True))


def write_phase(root: Path, file: PhaseFile, counts: UInt64s) -> PhaseRef:
    """Writes the two files of a phase below a mixture's output, named by what is in them; whole ones are left alone.

    Args:
        root: the output folder.
        file: the phase.
        counts: uint64[rows, sources], from `segments.phase_counts`.
    """
    ref, contents = phase_contents(file, counts)
    for name, data in contents.items():
        if not _stands(root / name, data):
            with storage.atomic_write(root / name) as stream:
                stream.write(data)
    return ref


def phase_stands(root: Path, file: PhaseFile, counts: UInt64s) -> bool:
    """Whether `write_phase` would leave both files alone; arguments as there."""
    _, contents = phase_contents(file, counts)
    return all(_stands(root / name, data) for name, data in contents.items())


def _stands(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


@dataclass(frozen=True)
class PhaseOrder:
    """A phase as the reader sees it; the tuples and `quotas` run parallel over its sources.

    `sequences` is its length; `planned` and `quotas` are those of the phase before it was cut short, if it was.
    """

    name: str
    sequence_length: int
    sequences: int
    planned: int
    sources: tuple[str, ...]
    quotas: Int64s
    loss: tuple[Loss, ...]
    indexes: tuple[str, ...]
    entries: tuple[SourceEntry, ...]
    draws: tuple[Draws, ...]
    counts: UInt64s  # uint64[rows, sources], before the place of each row
    starts: Int64s  # int64[segments + 1], first places of the segments

    @classmethod
    def open(cls, root: Path, ref: PhaseRef) -> "PhaseOrder":
        """Opens the two files of a phase.

        Raises:
            RunError: a file is missing, damaged, of another phase or of another version.
        """
        path = root / f"{ref.order}.json"
        file = _read(root, ref)
        quotas = np.array([entry.quota for entry in file.sources], dtype=np.int64)
        fits = 0 <= ref.sequences <= file.sequences == quotas.sum() and file.segments <= file.sequences
        if file.phase != ref.name or not fits:
            raise RunError(
                "the order's file does not belong to this phase or contradicts itself",
                where=str(path),
                seen=f"phase {file.phase}, {file.sequences:,} sequences, quotas of {quotas.sum():,}",
                expected=f"phase {ref.name}, at least {ref.sequences:,} sequences, as many as the quotas",
                fix=mending(root, f"{ref.order}.json"),
            )
        starts = segment_starts(file.sequences, file.segments)
        return cls(
            ref.name,
            file.sequence_length,
            ref.sequences,
            file.sequences,
            tuple(entry.name for entry in file.sources),
            quotas,
            tuple(entry.loss for entry in file.sources),
            file.indexes,
            file.sources,
            tuple(entry.draws(file.seed) for entry in file.sources),
            _open_counts(root, ref, int(row_places(starts)[1][-1]), quotas.size),
            starts,
        )

    @cached_property
    def _rows(self) -> tuple[Int64s, Int64s]:
        return row_places(self.starts)

    def row_of(self, place: int) -> int:
        """The row of counts at or before a place."""
        return int(np.searchsorted(self._rows[0], place, side="right")) - 1

    def row_bounds(self, row: int) -> tuple[int, int]:
        """The places from a row on to the next one."""
        places = self._rows[0]
        return int(places[row]), int(places[row + 1])

    def segment_quotas(self, segment: int) -> Int64s:
        """What every source has of a segment: int64[k]."""
        first, following = self._rows[1][segment : segment + 2].tolist()
        last = following == len(self.counts)
        after = self.quotas if last else self.counts[following].astype(np.int64)
        return np.asarray(after - self.counts[first].astype(np.int64))

    def expected(self, places: Int64s) -> npt.NDArray[np.float64]:
        """What the sources' shares come to before each place: float64[n, k] for int64[n] places of 0 to `planned`."""
        knots = np.vstack([self.counts[self._rows[1][:-1]].astype(np.float64), self.quotas])
        columns = [np.interp(places, self.starts, knots[:, source]) for source in range(self.quotas.size)]
        return np.stack(columns, axis=1)

    def replay_row(self, row: int) -> tuple[Int32s, Int64s]:
        """The order from a row on to the next one: source int32[n], and ordinal int64[n] of its sequence in the phase.

        Raises:
            RunError: the counts are not those of an order of these quotas.
        """
        start, stop = self.row_bounds(row)
        segment = int(np.searchsorted(self.starts, start, side="right")) - 1
        before = self.counts[self._rows[1][segment]].astype(np.int64)
        quotas = self.segment_quotas(segment)
        counts = self.counts[row].astype(np.int64) - before
        if quotas.min() < 0 or quotas.sum() != self.starts[segment + 1] - self.starts[segment] or counts.min() < 0:
            raise RunError(
                "the counts of the order do not belong to this place: they are not those of a segment",
                where=f"phase {self.name}, sequence {start:,}",
                seen=f"{quotas.sum():,} sequences in segment {segment}",
                expected=f"{self.starts[segment + 1] - self.starts[segment]:,}",
                fix="remove the phase's .counts file below order/, and manifest.json, and run midtrain build again: it "
                "has changed since it was written",
            )
        source, ordinal = replay(quotas, counts.astype(np.uint64), start - int(self.starts[segment]), stop - start)
        return source, ordinal + before[source]


def _read(root: Path, ref: PhaseRef) -> PhaseFile:
    path = root / f"{ref.order}.json"
    try:
        return PhaseFile.model_validate_json(storage.read_bytes(path))
    except ValidationError as error:
        first = error.errors()[0]
        seen = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        fix = mending(root, f"{ref.order}.json")
        raise RunError("is not the order of a phase", where=str(path), seen=seen, fix=fix) from None


def _open_counts(root: Path, ref: PhaseRef, rows: int, sources: int) -> UInt64s:
    path = root / f"{ref.order}.counts"
    size = path.stat().st_size if path.exists() else 0
    if size != rows * sources * 8:
        raise RunError(
            "the order's counts are missing or were cut short",
            where=str(path),
            seen=f"{size:,} bytes",
            expected=f"{rows * sources * 8:,} bytes",
            fix=mending(root, f"{ref.order}.counts"),
        )
    return np.asarray(np.memmap(path, dtype="<u8", mode="r", shape=(rows, sources)))

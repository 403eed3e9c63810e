"""The record of a run: metrics.jsonl, one row a step, and TensorBoard from the same numbers.

Rows are plain JSON and flushed as they come, so that a killed run can be read and a resumed one goes on in the same
file: what lies beyond the resumed step is cut. Costs one write of about 300 bytes a step. A row's `kind` is `step`,
`evaluation` or `alarm`; its numbers are at most 20 a step, whatever the model's size.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import orjson

from .. import storage
from ..errors import RunError, missing_extra

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

NAME = "metrics.jsonl"
_TAIL = 1 << 20  # bytes: some thousands of rows
_NOT_PLOTTED = ("kind", "step", "phase", "phase_step", "first_sequence", "batch")


def rows(path: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a metrics file; a last line that a kill cut short is passed over.

    Raises:
        RunError: another line is not a row.
    """
    lines = Path(path).read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict) and "step" in row and line.endswith(b"\n"):
            yield row
        elif number < len(lines):
            raise RunError(
                "not a row of metrics",
                where=f"{path}:{number}",
                seen=line[:80].decode("utf-8", "replace"),
                fix="remove the line",
            )


def newest_step(path: str | Path) -> int:
    """The last step that a metrics file records, 0 where there is none; reads the end of the file alone.

    Raises:
        RunError: the last lines hold no row.
    """
    file = Path(path)
    size = file.stat().st_size if file.exists() else 0
    with open(file, "rb") if size else io.BytesIO() as stream:
        stream.seek(max(size - _TAIL, 0))
        lines = stream.read().splitlines(keepends=True)
    for line in reversed(lines):
        try:
            row = orjson.loads(line) if line.endswith(b"\n") else None
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict) and row.get("kind") == "step":
            return int(row["step"])
    if size > _TAIL:
        raise RunError("the last lines hold no step", where=str(path), seen=f"{_TAIL:,} bytes without one")
    return 0


def cut(path: Path, last_step: int) -> None:
    """Removes the rows of steps after `last_step`, which a resumed run takes again, and a half-written last line."""
    if not path.exists():
        return
    kept = [row for row in rows(path) if row["step"] <= last_step]
    with storage.atomic_write(path) as stream:
        stream.writelines(orjson.dumps(row) + b"\n" for row in kept)


class Metrics:
    """Appends to a run's metrics; a context manager that closes what it opened."""

    def __init__(self, folder: Path, tensorboard: bool, last_step: int = 0) -> None:
        """Opens the record in a run's folder, cut to `last_step`, the step that the run goes on from.

        Raises:
            ConfigError: TensorBoard is wanted and not installed.
            RunError: the file that is there is not a record.
        """
        self._writer = _tensorboard(folder / "tensorboard", last_step) if tensorboard else None
        self.path = folder / NAME
        cut(self.path, last_step)
        self._stream = open(self.path, "ab")  # noqa: SIM115 (closed by __exit__)

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # what could not be written was told by _append
            self._stream.close()
        if self._writer is not None:
            self._writer.close()

    def step(self, row: Mapping[str, Any]) -> None:
        """Adds the row of a training step."""
        self._append("step", row)
        self._plot("train", row["step"], row)

    def evaluation(self, step: int, phase: str, values: Mapping[str, float]) -> None:
        """Adds what an evaluation after `step` measured."""
        self._append("evaluation", {"step": step, "phase": phase, **values})
        self._plot("evaluate", step, values)

    def alarm(self, step: int, phase: str, message: str) -> None:
        """Adds something that a person should look at."""
        self._append("alarm", {"step": step, "phase": phase, "message": message})

    def evaluated(self, step: int) -> bool:
        """Whether an evaluation after `step` is on record."""
        return any(row.get("kind") == "evaluation" and row["step"] == step for row in rows(self.path))

    def _append(self, kind: str, row: Mapping[str, Any]) -> None:
        try:
            self._stream.write(orjson.dumps({"kind": kind, **row}) + b"\n")
            self._stream.flush()
        except OSError as error:
            raise RunError(
                f"the row cannot be written: {error.strerror}",
                where=str(self.path),
                fix="make room or give access, and go on with --resume",
            ) from None

    def _plot(self, group: str, step: int, values: Mapping[str, Any]) -> None:
        if self._writer is None:
            return
        for name, value in values.items():
            if name not in _NOT_PLOTTED:
                self._writer.add_scalar(f"{group}/{name}", value, step)


def _tensorboard(folder: Path, last_step: int) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise missing_extra("tensorboard", "train", "metrics: [tensorboard]") from None
    return SummaryWriter(str(folder), purge_step=last_step + 1)

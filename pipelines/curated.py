"""Curated documents as a mixture reads them: the parts of one output that hold what a source's `where` selects.

Opens a curated output by its manifest alone and never lists a folder, so a half-finished stage cannot be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from .. import config, storage
from ..errors import ConfigError
from ..filters.document import SCHEMA, SCORE_PREFIX
from ..manifest import NAME, Manifest, OutputFile
from ..mixtures.schema import MixtureSource, where_conditions
from ..storage import Location
from .parts import largest_part, read_part


@dataclass(frozen=True)
class Selection:
    """What a mixture's source takes of a curated output.

    Args:
        source: the mixture's source.
        fingerprint: of the curated output.
        parts: the files that can hold a selected document, in the order of the output.
        folder: the curated output; not part of the record, so that it may be moved.
        text_bytes: UTF-8 bytes of text in those parts, before `where` on other columns.
        largest: bytes of text and rows that one has to go through to read a part, at most.
    """

    source: MixtureSource
    fingerprint: str
    parts: tuple[OutputFile, ...]
    folder: Location
    text_bytes: int
    largest: tuple[int, int]

    def record(self) -> dict[str, Any]:
        """What the tokens of the selection depend on."""
        return {
            "documents": self.fingerprint,
            "where": self.source.model_dump(mode="json")["where"],
        }

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The selected rows of a part, with the named columns.

        Raises:
            RunError: the file is gone or damaged.
        """
        conditions = where_conditions(self.source.where)
        needed = dict.fromkeys([*columns, *(column for column, _, _ in conditions)])
        for batch in read_part(self.folder / self.parts[part].path, list(needed)):
            mask = pa.array([True] * batch.num_rows) if not conditions else None
            for column, operator, wanted in conditions:
                holds = _holds(batch.column(column), operator, wanted)
                mask = holds if mask is None else pc.and_(mask, holds)
            chosen = batch.filter(pc.fill_null(mask, False))
            if chosen.num_rows:
                yield chosen.select(list(columns))


def select(source: MixtureSource, where: str) -> Selection:
    """Opens what a mixture's source names.

    Args:
        source: the mixture's source.
        where: file:line of the source, for errors.

    Raises:
        ConfigError: there is no curated output, it has no such column, or no part can hold such a document.
        RunError: a file of the output was cut short.
    """
    folder = storage.location(source.documents)
    manifest = Manifest.find(folder)
    if manifest is None:
        raise ConfigError(
            f"source {source.name}: there is no curated output (no {NAME})",
            where=where,
            seen=source.documents,
            fix="run midtrain curate first, or correct documents:",
        )
    if manifest.stage != "curate":
        raise ConfigError(
            f"source {source.name}: the folder is not a curated output",
            where=where,
            seen=f"an output of {manifest.stage}",
        )
    manifest.check_sizes(folder)
    scored = _scored(folder, manifest)
    _check_conditions(source, manifest, where)
    wanted = _sources(source)
    parts = tuple(file for file in manifest.files if wanted is None or file.source in wanted)
    if not parts:
        present = sorted({file.source for file in manifest.files})
        raise ConfigError(
            f"source {source.name} is empty: no document comes from {', '.join(sorted(wanted or ()))}",
            where=where,
            expected="where.source among " + ", ".join(present),
        )
    last = manifest.counts["funnel"][-1]["sources"]
    size = sum(int(last[name]["text_bytes"]) for name in {file.source for file in parts})
    if scored is not None:
        largest = largest_part(scored)
    else:
        most = max(parts, key=lambda part: part.bytes)
        largest = size * most.bytes // sum(part.bytes for part in parts), most.rows
    return Selection(source, manifest.fingerprint, parts, folder, size, largest)


def _scored(folder: Location, manifest: Manifest) -> Manifest | None:
    """The manifest of the parts that an output's row numbers are about; None where it has documents of its own.

    Raises:
        RunError: they are gone or were cut short.
    """
    name = manifest.options.get("rows_of")
    if name is None:
        return None
    found = Manifest.read(folder / name)
    found.check_sizes(folder / name)
    return found


def _check_conditions(source: MixtureSource, manifest: Manifest, where: str) -> None:
    """Raises ConfigError where a condition could only ever select nothing: a typing error, mostly."""
    columns = [name for name in SCHEMA.names if name != "messages"] + list(manifest.options["scores"])
    try:
        conditions = where_conditions(source.where)
    except ConfigError as error:
        raise ConfigError(
            f"source {source.name}: {error.what}", where=where, seen=error.seen, expected=error.expected
        ) from None
    for column, operator, wanted in conditions:
        _check_known(f"source {source.name}: the documents have no column", column, columns, where)
        _check_operator(source, column, operator, where)
        if column == "source":
            read = list(manifest.counts["funnel"][0]["sources"])
            for name in wanted:
                _check_known(f"source {source.name}: no source of the recipe is called", name, read, where)


def _check_operator(source: MixtureSource, column: str, operator: str, where: str) -> None:
    by_text = operator == "in"
    if column == "date" or by_text != column.startswith(SCORE_PREFIX):
        return
    raise ConfigError(
        f"source {source.name}: {column} is " + ("a number, not text" if by_text else "text, not a number"),
        where=where,
        seen=source.where[column],
        expected='a number or a comparison, such as ">0.8"' if by_text else "a text or a list of texts",
    )


def _check_known(what: str, name: str, known: Sequence[str], where: str) -> None:
    if name not in known:
        fix = config.did_you_mean(name, known)
        raise ConfigError(f"{what} {name}", where=where, expected=", ".join(known), fix=fix)


def _sources(source: MixtureSource) -> set[str] | None:
    for column, operator, wanted in where_conditions(source.where):
        if column == "source" and operator == "in":
            return set(wanted)
    return None


def _holds(column: pa.Array, operator: str, wanted: Any) -> Any:
    if operator == "in":
        return pc.is_in(column.cast(pa.large_string()), pa.array(wanted, pa.large_string()))
    compare = {">": pc.greater, ">=": pc.greater_equal, "<": pc.less, "<=": pc.less_equal, "==": pc.equal}
    bound = f"{wanted:.15g}" if column.type == pa.string() and isinstance(wanted, float) else wanted  # a date's year
    return compare[operator](column, pa.scalar(bound, column.type))

"""Curated documents as a mixture reads them: the parts of its outputs that hold what a source's `where` selects.

Opens curated outputs by their manifests alone and never lists a folder, so a half-finished stage cannot be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from .. import config, storage
from ..errors import ConfigError, RunError
from ..filters.document import SCHEMA, SCORE_PREFIX
from ..manifest import EMPTY, NAME, Manifest, OutputFile
from ..mixtures.conditions import Condition, where_record
from ..mixtures.schema import MixtureSource
from ..storage import Location
from .read_parts import largest_part, read_part


@dataclass(frozen=True)
class SelectedPart:
    """A file of a curated output that can hold a selected document, and the folder of that output."""

    folder: Location
    file: OutputFile

    @property
    def rows(self) -> int:
        """Of the file."""
        return self.file.rows

    @property
    def source(self) -> str:
        """The recipe's source, of all rows."""
        return self.file.source


@dataclass(frozen=True)
class Selection:
    """What a mixture's source takes of curated outputs.

    Args:
        source: the mixture's source.
        fingerprints: of the curated outputs, in the order in which the source names them.
        parts: in the order of the outputs; their folders are not part of the record, so that they may be moved.
        text_bytes: UTF-8 bytes of text in those parts, before `where` on other columns.
        largest: bytes of text and rows that one has to go through to read a part, at most.
    """

    source: MixtureSource
    fingerprints: tuple[str, ...]
    parts: tuple[SelectedPart, ...]
    text_bytes: int
    largest: tuple[int, int]

    def record(self) -> dict[str, Any]:
        """What the tokens of the selection depend on."""
        return {
            "documents": list(self.fingerprints),
            "where": where_record(self.source.where),
        }

    def read(self, part: int, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The selected rows of a part, with the named columns.

        Raises:
            RunError: the file is gone or damaged, or a document has no score that its source is divided by.
        """
        yield from (chosen for chosen, _ in self._selected(part, columns, columns) if chosen.num_rows)

    def scan(self, part: int, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
        """The same batch by batch, those too of which nothing is selected, with the bytes of text in all rows."""
        for chosen, batch in self._selected(part, columns, [*columns, "text"]):
            yield chosen, int(pc.sum(pc.binary_length(batch.column("text"))).as_py() or 0)

    def _selected(
        self, part: int, columns: Sequence[str], read: Sequence[str]
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """The selected rows of each batch, and the batch with the columns that were read."""
        conditions, place = self.source.conditions, self.parts[part]
        needed = dict.fromkeys([*read, *(condition.column for condition in conditions), "id"])
        for batch in read_part(place.folder / place.file.path, list(needed)):
            mask = pa.array([True] * batch.num_rows) if not conditions else None
            for condition in conditions:
                holds = _holds(batch.column(condition.column), condition)
                mask = holds if mask is None else pc.and_(mask, holds)
            self._check_bucket(batch, conditions)
            yield batch.filter(pc.fill_null(mask, False)).select(list(columns)), batch

    def _check_bucket(self, batch: pa.RecordBatch, conditions: Sequence[Condition]) -> None:
        """A document without the score that its source is divided by would be in no bucket, and lost in silence."""
        buckets = self.source.buckets
        if buckets is None:
            return
        without = pc.is_null(batch.column(buckets.column), nan_is_null=True)
        for condition in conditions:
            if condition.column != buckets.column:
                without = pc.and_(without, pc.fill_null(_holds(batch.column(condition.column), condition), False))
        if not pc.any(without).as_py():
            return
        raise RunError(
            f"a document has no {buckets.column}, by which its source is divided into buckets",
            where=f"source {self.source.name}, document {batch.column('id').filter(without)[0].as_py()}",
            expected="a score of every document",
            fix="select those that have one: another where, or a recipe whose step scores them all",
        )


def select(source: MixtureSource, where: str) -> Selection:
    """Opens what a mixture's source names.

    Args:
        source: the mixture's source, of documents.
        where: file:line of the source, for errors.

    Raises:
        ConfigError: there is no curated output, it has no such column, or no part of one can hold such a document.
        RunError: a file of an output was cut short.
    """
    found = [_output(source, address, where) for address in source.outputs]
    fingerprints = tuple(one.manifest.fingerprint for one in found)
    if len(set(fingerprints)) < len(fingerprints):
        raise ConfigError(
            f"source {source.name}: two of its outputs are the same one: its documents would be there twice",
            where=where,
            seen=", ".join(source.outputs),
        )
    _check_sources(source, [one.manifest for one in found], where)
    parts: list[SelectedPart] = []
    sizes: list[tuple[int, int, int]] = []
    for one in found:
        chosen = _chosen(source, one, where)
        parts += chosen
        sizes.append(_sizes(one, chosen))
    text, most, rows = zip(*sizes, strict=True)
    return Selection(source, fingerprints, tuple(parts), sum(text), (max(most), max(rows)))


class _Output(NamedTuple):
    """A curated output: its address as written, its folder and manifest, and that which its row numbers are of."""

    address: str
    folder: Location
    manifest: Manifest
    scored: Manifest | None


def _output(source: MixtureSource, address: str, where: str) -> _Output:
    folder = storage.location(address)
    manifest = Manifest.find(folder)
    if manifest is None and storage.exists(folder / EMPTY):
        raise ConfigError(
            f"source {source.name}: the curated output has no document: all were dropped or set aside",
            where=where,
            seen=address,
            fix=f"midtrain report {address} shows by what: loosen it, and run midtrain curate again",
        )
    if manifest is None:
        raise ConfigError(
            f"source {source.name}: there is no curated output (no {NAME})",
            where=where,
            seen=address,
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
    return _Output(address, folder, manifest, scored)


def _chosen(source: MixtureSource, one: _Output, where: str) -> list[SelectedPart]:
    """The parts of an output that can hold a selected document."""
    wanted = _sources(source)
    chosen = [SelectedPart(one.folder, file) for file in one.manifest.files if wanted is None or file.source in wanted]
    if not chosen:
        present = sorted({file.source for file in one.manifest.files})
        of = f" of {one.address}" if len(source.outputs) > 1 else ""
        raise ConfigError(
            f"source {source.name} is empty: no document{of} comes from {', '.join(sorted(wanted or ()))}",
            where=where,
            expected="where.source among " + ", ".join(present),
        )
    return chosen


def _sizes(one: _Output, chosen: Sequence[SelectedPart]) -> tuple[int, int, int]:
    """Bytes of text of the parts; of the largest that one has to go through to read a part, bytes and rows."""
    last = one.manifest.counts["funnel"][-1]["sources"]
    size = sum(int(last[name]["text_bytes"]) for name in {part.source for part in chosen})
    if one.scored is not None:
        return (size, *largest_part(one.scored))
    most = max(chosen, key=lambda part: part.file.bytes)
    return size, size * most.file.bytes // sum(part.file.bytes for part in chosen), most.rows


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
        conditions = source.conditions
    except ConfigError as error:
        raise ConfigError(
            f"source {source.name}: {error.what}", where=where, seen=error.seen, expected=error.expected
        ) from None
    for condition in conditions:
        _check_known(f"source {source.name}: the documents have no column", condition.column, columns, where)
        _check_operator(source, condition, where)


def _check_sources(source: MixtureSource, manifests: Sequence[Manifest], where: str) -> None:
    """Every source of a recipe that is named is one of some output."""
    read = list(dict.fromkeys(name for manifest in manifests for name in manifest.counts["funnel"][0]["sources"]))
    for name in sorted(_sources(source) or ()):
        _check_known(f"source {source.name}: no source of the recipe is called", name, read, where)


def _check_operator(source: MixtureSource, condition: Condition, where: str) -> None:
    by_text, column = condition.operator == "in", condition.column
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
    for column, operator, wanted in source.conditions:
        if column == "source" and operator == "in":
            return set(wanted)
    return None


def _holds(column: pa.Array, condition: Condition) -> Any:
    operator, wanted = condition.operator, condition.value
    if operator == "in":
        return pc.is_in(column.cast(pa.large_string()), pa.array(wanted, pa.large_string()))
    compare = {">": pc.greater, ">=": pc.greater_equal, "<": pc.less, "<=": pc.less_equal, "==": pc.equal}
    bound = f"{wanted:.15g}" if column.type == pa.string() and isinstance(wanted, float) else wanted  # a date's year
    return compare[operator](column, pa.scalar(bound, column.type))

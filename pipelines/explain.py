"""`midtrain explain`: what every rule says of a document, kept or dropped, with its value, its bounds and the verdict.

A funnel says how many; whether a rule is right only documents can show. Where a run kept scores they are read; else the
document is found again, in a part or in its input, and judged again where it stood. Costs a read of all ids, and one
task's input where a document was dropped without scores.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .. import storage
from ..errors import ConfigError, MidtrainError
from ..filters.pieces import PieceDedup
from ..filters.rules import Transform
from ..manifest import Manifest, OutputFile
from ..storage import Location
from . import scoring
from .curate import plan
from .curation import curated_manifest
from .cuts import cut_out, cuts_of
from .finding import Ends, Hints, documents, ends, number, rows_of
from .inputs import Split
from .partners import became
from .pass_rates import rates_of
from .rated_documents import with_rates
from .read_documents import ReadDocuments
from .read_parts import kept_parts
from .readers.records import POISONED, READ
from .reading import read
from .recipe import Recipe
from .segments import Finished, Segment, recipe_beside, segments
from .verdicts import KEPT, RAISED, StepVerdict, Trail, by_columns, by_text, recorded


def explain(output: str | Location, identity: str) -> list[Trail]:
    """All documents of an id, each with what every step said of it.

    Raises:
        ConfigError: there is no curated output, its recipe is gone, or no document has the id.
        RunError: the run is not complete, or a file is gone or damaged.
    """
    root = storage.location(output)
    manifest = curated_manifest(root)
    recipe = recipe_beside(root)
    hints = Hints(identity)
    explainer = _Explainer(root, recipe, manifest, identity, hints)
    trails = explainer.trails(segments(root, manifest, recipe)) if _is_text(identity) else []
    if not trails:
        like = hints.nearest()
        raise ConfigError(
            f"no document has the id {identity.encode(errors='backslashreplace').decode()}",
            where=str(root),
            expected="an id of the output, of a dropped or of a quarantined document",
            fix=f"did you mean {' or '.join(like)}?" if like else "see the id columns of its parts",
        )
    return trails


def _is_text(identity: str) -> bool:
    """Whether an argument of the command is UTF-8, as all ids are; what is not comes as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in identity)


class _Explainer:
    """Follows the documents of one id through the segments of an output."""

    def __init__(self, root: Location, recipe: Recipe, manifest: Manifest, identity: str, hints: Hints) -> None:
        self.root, self.recipe, self.manifest = root, recipe, manifest
        self.identity, self.hints = identity, hints

    def trails(self, segments: Sequence[Segment]) -> list[Trail]:
        """Every document, in the order of the input; those that could not be read at the end."""
        found = self._first(segments[0])
        for place, (before, segment) in enumerate(pairwise(segments), 1):
            self._behind_barrier(before.last, segment, [trail for trail in found if not trail.ended])
            _follow(found, segments[place:])
        for trail in found:
            trail.ended = trail.ended or KEPT
        return found

    def _first(self, segment: Segment) -> list[Trail]:
        there = ends(segment.first.folder, segment.first.manifest, self.identity, self.hints)
        found: list[Trail] = []
        if segment.first is not segment.last:
            for task in there.kept:
                for row, source in self._rows(segment.first, task, _score_columns(segment)):
                    found.append(Trail(source, task))
                    by_columns(row, segment.steps, found[-1])
        else:
            found = self._unscored(segment, there)
        return [
            *found,
            *(_unread(entry, task) for task, entries in there.aside.items() for entry in _unreadable(entries)),
        ]

    def _unscored(self, segment: Segment, there: Ends) -> list[Trail]:
        """Judges documents again by their texts: as they were kept where that is how they came, else from the input."""
        rewritten = any(isinstance(step.options, Transform) for step in segment.steps)
        found: list[Trail] = []
        if not segment.steps or not (there.dropped or there.aside or rewritten):
            for task in there.kept:
                for row, source in self._rows(segment.first, task):
                    found.append(Trail(source, task))
                    by_text(row, segment.steps, found[-1])
            return found
        tasks = [task for task in there.tasks() if there.count(task) > len(_unreadable(there.aside.get(task, [])))]
        try:
            read_again = self._from_input(segment, there, tasks)
        except MidtrainError as error:
            reason = f"only what was recorded is known, since the input cannot be read again: {error.what}"
            return [trail for task in tasks for trail in _from_records(segment, there, task, reason)]
        for task, rows in zip(tasks, read_again, strict=True):
            own = []
            for row in rows:
                own.append(Trail(str(row.column("source")[0].as_py()), task))
                by_text(row, segment.steps, own[-1])
            if _same(own, there, task):
                found += own
            else:
                reason = (
                    "only what was recorded is known: judged again, the rules say otherwise (another model or code)"
                )
                found += _from_records(segment, there, task, reason)
        return found

    def _from_input(self, segment: Segment, there: Ends, tasks: Sequence[int]) -> list[list[pa.RecordBatch]]:
        """The documents of the id in the input of each task.

        Raises:
            MidtrainError: the input is not what it was.
        """
        reader = plan(self.recipe)[0]
        assert isinstance(reader, ReadDocuments)  # noqa: S101 - a recipe begins with reading
        if reader.fingerprint != self.manifest.parents[0]:
            raise ConfigError("it was changed")
        if reader.cutting is None or reader.cutting.manifest() is not None:
            return [list(self._read(reader, reader.splits(task), reader.source_of(task))) for task in tasks]
        sources = {task: _source(segment.first, there, task) for task in tasks}
        whole: dict[str, Iterator[pa.RecordBatch]] = {
            source: self._read(reader, tuple(_whole(reader, source)), source) for source in set(sources.values())
        }
        found = []
        for task in tasks:  # the pieces of large files are gone: what the tasks had follows one upon the other
            count = there.count(task) - len(_unreadable(there.aside.get(task, [])))
            found.append([row for row, _ in zip(whole[sources[task]], range(count), strict=False)])
        return found

    def _read(self, reader: ReadDocuments, splits: tuple[Split, ...], source: str) -> Iterator[pa.RecordBatch]:
        spec = next(one for one in reader.sources if one.name == source)
        for chunk in read(splits, spec):
            same = pc.equal(chunk.batch.column("id"), self.identity).to_numpy(zero_copy_only=False)
            for row in np.flatnonzero(same).tolist():
                yield chunk.batch.slice(row, 1)

    def _behind_barrier(self, before: Finished, segment: Segment, going: Sequence[Trail]) -> None:
        """Adds what a barrier and the steps behind it said of the documents that came to it."""
        if segment.rates is not None:
            self._rated(before, segment, segment.rates, going)
            return
        assert segment.barrier is not None  # noqa: S101 - every later segment has one
        there = ends(segment.first.folder, segment.first.manifest, self.identity, self.hints)
        for task, part in enumerate(kept_parts(before.manifest)):
            own = [trail for trail in going if trail.part == number(part)]
            if not own:
                continue
            gone = [row for row in there.dropped.get(task, []) if row["step"] == segment.barrier.name]
            leaving, staying = self._divided(before, segment, task, part, own, len(gone))
            for trail, row in zip(leaving, gone, strict=True):
                trail.add(recorded(segment.barrier.name, segment.barrier.place, row))
            for trail in staying:
                trail.add(StepVerdict(segment.barrier.name, segment.barrier.place, KEPT))
            scored = segment.first is not segment.last
            texts = [row for row, _ in self._rows(before, number(part))] if gone or not scored else []
            if isinstance(segment.barrier.options, PieceDedup):
                texts = self._cut(before, segment, task, part, own, texts)
            for trail, row in zip(own, texts, strict=False):
                if trail.ended or not scored:
                    by_text(row, segment.steps, trail)
            if scored:
                rows = self._rows(segment.first, task, _score_columns(segment))
                for trail, (row, _) in zip(staying, rows, strict=False):
                    by_columns(row, segment.steps, trail)
            for trail in own:
                trail.part = task

    def _rated(self, before: Finished, segment: Segment, rates: Finished, going: Sequence[Trail]) -> None:
        """Adds what steps said of documents that came to them with the rates of their problems."""
        scored = segment.first is not segment.last
        for task, part in enumerate(kept_parts(before.manifest)):
            own = [trail for trail in going if trail.part == number(part)]
            if own and scored:
                for trail, (row, _) in zip(own, self._rows(segment.first, task, _score_columns(segment)), strict=False):
                    by_columns(row, segment.steps, trail)
            elif own:
                known, counts = rates_of(rates.folder, [file.path for file in rates.manifest.files], task)
                places = np.searchsorted(known, rows_of(before.folder, part, self.identity))
                for trail, place, (row, _) in zip(own, places.tolist(), self._rows(before, number(part)), strict=False):
                    by_text(with_rates(row, counts.slice(place, 1)) if len(known) else row, segment.steps, trail)
            for trail in own:
                trail.part = task

    def _cut(
        self,
        before: Finished,
        segment: Segment,
        task: int,
        part: OutputFile,
        own: Sequence[Trail],
        texts: Sequence[pa.RecordBatch],
    ) -> list[pa.RecordBatch]:
        """A part's documents of the id with the texts that a barrier left of them, which it says of each."""
        assert segment.barrier is not None  # noqa: S101 - asked before
        assert isinstance(segment.barrier.options, PieceDedup)  # noqa: S101 - asked before
        places = cuts_of(segment.first.folder, segment.first.manifest, task, self.identity)
        piece, found = segment.barrier.options.piece, []
        rows = rows_of(before.folder, part, self.identity)
        for trail, row in zip(own, rows, strict=False):
            cut = places.get(row, ())
            if cut:
                size = sum(stop - start for start, stop in cut)
                count = f"{len(cut):,} {piece}{'s' * (len(cut) != 1)}"
                trail.notes.append(f"{segment.barrier.label} cut {count} ({size:,} bytes) out of its text")
        for trail, row, document in zip(own, rows, texts, strict=False):
            whole = [(0, len(document.column("text")[0].as_py().encode()))] if trail.ended else ()
            found.append(cut_out(document, places.get(row, whole)))
        return found

    def _divided(
        self, before: Finished, segment: Segment, task: int, part: OutputFile, own: Sequence[Trail], gone: int
    ) -> tuple[list[Trail], list[Trail]]:
        """Of a part's documents of the id those that the barrier drops, `gone` in number, and those that it keeps."""
        chosen = segment.dropped_rows(task)
        if chosen is None or gone in (0, len(own)):
            leaving = list(range(len(own) - gone, len(own)))
            if 0 < gone < len(own):
                for trail in own:
                    trail.notes.append(f"of {len(own)} documents of this id in one part the barrier dropped {gone}")
        else:
            rows = rows_of(before.folder, part, self.identity)
            leaving = [place for place, row in enumerate(rows) if row in chosen]
        return [own[place] for place in leaving], [one for place, one in enumerate(own) if place not in leaving]

    def _rows(self, stage: Finished, task: int, names: list[str] | None = None) -> Iterator[tuple[pa.RecordBatch, str]]:
        part = stage.part(task)
        if part is not None:
            for row in documents(stage.folder, part, self.identity, names):
                yield row, part.source


def _follow(trails: Sequence[Trail], later: Sequence[Segment]) -> None:
    """Says of documents that were dropped for another one what became of that in the segments from its barrier on."""
    for trail in trails:
        for place, step in enumerate(trail.steps):
            if step.partner is not None and not step.partner_became:
                told = became(later, step.partner, step.partner_source)
                trail.steps[place] = replace(step, partner_became=told)


def _score_columns(segment: Segment) -> list[str]:
    return ["id", *scoring.needed(segment.steps)]


def _unreadable(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of what was set aside, that which never was a document."""
    return [entry for entry in entries if entry["step"] in (READ, POISONED)]


def _unread(entry: dict[str, Any], task: int) -> Trail:
    return Trail(entry["source"], task, ended=f"set aside: {entry['error']} ({entry['place']})")


def _source(stage: Finished, there: Ends, task: int) -> str:
    part = stage.part(task)
    rows = [*there.dropped.get(task, []), *there.aside.get(task, [])]
    return part.source if part is not None and task in there.kept else str(rows[0]["source"])


def _whole(reader: ReadDocuments, source: str) -> Iterator[Split]:
    """All files of a source, each from end to end."""
    files = reader.files.by_source[source]
    return (Split(source, files.root + relative, relative, 0, -1) for relative in files.relatives)


def _same(trails: Sequence[Trail], there: Ends, task: int) -> bool:
    """Whether documents that were judged again ended as the run recorded."""
    ended = [(str(row["step"]), str(row["rule"])) for row in there.dropped.get(task, [])]
    ended += [(str(entry["step"]), "") for entry in there.aside.get(task, []) if entry["step"] not in (READ, POISONED)]
    ended += [("", "")] * there.kept.get(task, 0)
    return Counter(ended) == Counter(trail.cause for trail in trails)


def _from_records(segment: Segment, there: Ends, task: int, reason: str) -> list[Trail]:
    """What the run recorded of a task's documents of the id, which is the rule that dropped each."""
    found = []
    for row in there.dropped.get(task, []):
        found.append(Trail(row["source"], task, notes=[reason]))
        found[-1].add(recorded(row["step"], 1, row))
    for entry in there.aside.get(task, []):
        if entry["step"] not in (READ, POISONED):
            found.append(Trail(entry["source"], task, notes=[reason]))
            found[-1].add(StepVerdict(entry["step"], 1, RAISED, error=entry["error"]))
    source = _source(segment.first, there, task)
    return found + [Trail(source, task, notes=[reason]) for _ in range(there.kept.get(task, 0))]

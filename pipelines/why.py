"""`midtrain plan --why`: each stage of a build or a curation, done or to do, and what changed since the last time.

A cache that is keyed by all that matters, and by nothing that does not, is right in silence; a person who waits for a
day of tokenizing wants to know which word of the file did it. So each stage that is to be done is held against the
earlier result in its folder that is most like it, field by field. Costs a read of each manifest in the output.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .. import storage
from ..errors import RunError
from ..manifest import NAME, Manifest, canonical
from ..storage import Location
from .stage import Stage

MOST_CHANGES = 50  # of a stage that are kept: a corpus may have 200,000 files
GONE = "nothing"  # what stands for a field that one side has not


@dataclass(frozen=True)
class Change:
    """A field of what a stage depends on, as it was and as it is."""

    field: str
    was: Any
    now: Any


@dataclass(frozen=True)
class Reason:
    """A stage of a run.

    Args:
        stage: its name.
        done: whether it stands there.
        changes: of its own fields, against the earlier result that is most like it.
        because: the stages that it is made from and that are other ones now.
        note: why it is to be done, where nothing changed.
    """

    stage: str
    done: bool
    changes: tuple[Change, ...] = ()
    because: tuple[str, ...] = ()
    note: str = ""


def of_stages(last: Sequence[Stage]) -> list[Reason]:
    """The stages that some stages hang from, themselves included.

    A scratch stage that is gone is not to be done where all that is made from it stands, and is left out then.

    Args:
        last: the stages that are wanted.
    """
    order = list(_in_order(last))
    found = {stage.fingerprint: _found(stage) for stage in order}
    needed = _needed(last, found)
    reasons: list[Reason] = []
    for stage in order:
        manifest, note = found[stage.fingerprint]
        if manifest is not None:
            reasons.append(Reason(name_of(stage), True))
        elif stage.fingerprint in needed:
            reasons.append(_reason(stage, note, needed))
    return reasons


def name_of(stage: Stage) -> str:
    """What a person calls a stage: shards are tokens of a source."""
    return f"{stage.group} of {stage.name}" if stage.group != "stages" else stage.name


def _in_order(last: Sequence[Stage]) -> Iterator[Stage]:
    """Each stage once, behind its parents."""
    seen: set[str] = set()

    def visit(stage: Stage) -> Iterator[Stage]:
        if stage.fingerprint not in seen:
            seen.add(stage.fingerprint)
            for parent in stage.parents:
                yield from visit(parent)
            yield stage

    for stage in last:
        yield from visit(stage)


def _found(stage: Stage) -> tuple[Manifest | None, str]:
    """The manifest of a stage that is done; else what is wrong with the one that is there."""
    try:
        return stage.manifest(), ""
    except RunError as error:
        return None, f"{error.what}: {error.where}"


def _needed(last: Sequence[Stage], found: Mapping[str, tuple[Manifest | None, str]]) -> set[str]:
    """Fingerprints of the stages that a run brings to completion."""
    needed: set[str] = set()
    waiting = list(last)
    while waiting:
        stage = waiting.pop()
        if stage.fingerprint not in needed and found[stage.fingerprint][0] is None:
            needed.add(stage.fingerprint)
            waiting.extend(stage.parents)
    return needed


def _reason(stage: Stage, note: str, needed: set[str]) -> Reason:
    name = name_of(stage)
    because = [name_of(parent) for parent in stage.parents if parent.fingerprint in needed]
    earlier = closest(stage)
    if earlier is None:
        gone = "what it makes is removed when a run is complete" if stage.scratch else "there is no earlier one"
        return Reason(name, False, (), tuple(because), note or gone)
    changes = list(_changes(stage, earlier))
    pairs = zip(stage.parents, earlier.parents, strict=False)
    because += [name_of(parent) for parent, was in pairs if parent.fingerprint != was]
    unchanged = "it was not finished, or was removed" if not changes and not because else ""
    return Reason(name, False, tuple(changes[:MOST_CHANGES]), tuple(dict.fromkeys(because)), note or unchanged)


def closest(stage: Stage) -> Manifest | None:
    """The finished stage of this name that differs in the fewest fields; None where there is none."""
    folder = stage.root / stage.group
    beginning = f"{stage.name}-"
    names = [name for name in storage.names(folder) if name.startswith(beginning) and len(name) == len(beginning) + 16]
    found = [manifest for manifest in (manifest_of(folder / name) for name in names) if manifest is not None]
    same = [manifest for manifest in found if manifest.stage == stage.name]
    return min(same, key=lambda one: (_distance(stage, one), one.fingerprint), default=None)


def manifest_of(folder: Location) -> Manifest | None:
    """The manifest of a folder, None where there is none that can be trusted."""
    try:
        return Manifest.find(folder, NAME)
    except RunError:
        return None


def _distance(stage: Stage, manifest: Manifest) -> int:
    parents = sum(parent.fingerprint not in manifest.parents for parent in stage.parents)
    return sum(1 for _ in _changes(stage, manifest)) + parents


def _changes(stage: Stage, earlier: Manifest) -> Iterator[Change]:
    if stage.version != earlier.version:
        yield Change("version", earlier.version, stage.version)
    yield from compared(earlier.options, orjson.loads(canonical(stage.options())))


def compared(was: Any, now: Any, path: str = "") -> Iterator[Change]:
    """The fields in which two values differ, by their places: keys of mappings, numbers of lists.

    Entries of lists that have a name (sources, steps, phases) are found by it, so that one that is put in between is
    one change; where the same ones follow each other otherwise, that is another.
    """
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*was, *now]):
            below = f"{path}.{key}" if path else str(key)
            yield from compared(was.get(key, GONE), now.get(key, GONE), below)
    elif isinstance(was, list | tuple) and isinstance(now, list | tuple):
        before, after = _numbered(was), _numbered(now)
        yield from compared(before, after, path)
        stayed = [[name for name in one if name in other] for one, other in ((before, after), (after, before))]
        if stayed[0] != stayed[1]:
            yield Change(path, ", ".join(stayed[0]), ", ".join(stayed[1]))
    elif was != now:
        yield Change(path, was, now)


def _numbered(entries: Sequence[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, entry in enumerate(entries):
        name = entry.get("name") or entry.get("step") or entry.get("source") if isinstance(entry, Mapping) else None
        key = str(name) if name is not None and str(name) not in found else str(number)
        found[key] = entry
    return found

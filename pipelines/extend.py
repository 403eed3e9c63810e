"""`midtrain extend`: other phases behind a place of a built mixture, with what was trained on so far left as it is.

A run that is going badly, or well, changes its weights where it stands. The phases up to the cut keep their order's
files; sources go on where they stood, new ones may join; the manifest that is replaced stays below `history/`, so that
a run that was started on it is known and may go on. What would repeat data or leave it out is refused. Costs the new
sources' build, and one look at the order of each phase before the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import config
from .. import manifest as manifests
from ..config import Loaded
from ..errors import ConfigError
from ..manifest import Manifest
from ..mixtures.built import HISTORY, Built
from ..mixtures.order import Order
from ..mixtures.packs.pack_requests import SourceTokens
from ..mixtures.phases import PhaseRef
from ..mixtures.plans.drawing import Packs
from ..mixtures.plans.extend import Stand, cut_short, drawn_so_far
from ..mixtures.plans.planning import Drawing, plan
from ..mixtures.schema import MixtureSource, MixtureSpec, phase_specs
from ..mixtures.trimming import Trimming
from ..progress import Progress
from . import build as builds
from . import build_stages, plan_mixture
from .build import BuildResult
from .build_stages import Stages
from .executor import Executor
from .first_documents import decoded
from .output import Output
from .pack_stages import packer
from .plan_mixture import MixturePlan
from .runner import STALL, Runner
from .stage import remove_scratch

VERSION = 1
PACKING = ("pack", "too_long", "min_reasoning")


@dataclass(frozen=True)
class Cut:
    """Where phases go on.

    Args:
        phase: that is cut; the last by default.
        at: how many of its sequences stay; all by default.
        shards: the fingerprint of what stands there, where a run says that it is on it.
    """

    phase: str | None = None
    at: int | None = None
    shards: str | None = None


@dataclass(frozen=True)
class Extension:
    """An extension that was checked: what it extends, the phases that stay, how much they drew, what is to be built."""

    base: Manifest
    kept: tuple[PhaseRef, ...]
    drawn: Mapping[str, int]  # sequences of each source, in all that stays
    packs: frozenset[str]  # the indexes that what stays draws from
    stages: Stages
    fingerprint: str
    done: bool  # it stands there already


def look(loaded: Loaded[MixtureSpec], cut: Cut) -> Extension:
    """Checks an extension, and changes nothing.

    Args:
        loaded: the mixture: its output is what is extended, its phases come behind the cut.
        cut: where.

    Raises:
        ConfigError: there is nothing to extend, or it would repeat data or leave it out: a place beyond the phase, a
            phase name that stays, another seed or tokenizer, other documents or another packing of a source in use.
        RunError: a file of what is extended is damaged.
    """
    root = Path(loaded.value.output)
    standing = Manifest.find(root)
    if standing is None or standing.stage != "build":
        raise loaded.error(("output",), "there are no built shards to extend", fix="run midtrain build first")
    stages = build_stages.stages_of(loaded)
    history = standing.options["history"]
    before = Manifest.find(root / HISTORY, f"{history[-1]}.json") if history else None
    if before is not None:
        try:
            again = _look(loaded, cut, before, stages)
        except ConfigError:
            pass  # another cut: that of what stands there
        else:
            if again.fingerprint == standing.fingerprint:
                return replace(again, done=True)
    return _look(loaded, cut, standing, stages)


def foresee(loaded: Loaded[MixtureSpec], extension: Extension) -> MixturePlan:
    """What the new phases will draw, from where the sources stand; exact where tokens stand, else from a sample.

    Raises:
        RunError: a file of what is extended is damaged.
    """
    built = Built(Path(loaded.value.output), extension.base)
    return plan_mixture.plan(loaded, lambda packs: _behind(built, extension, packs)[0])


def extend(
    loaded: Loaded[MixtureSpec], cut: Cut, executor: Executor, progress: Progress, stall: float = STALL
) -> BuildResult:
    """Extends a built mixture; what was done of it already is left alone.

    Args:
        loaded: the mixture: its output is what is extended, its phases come behind the cut.
        cut: where.
        executor: where the tasks run; it is closed when they have.
        progress: what the person sees.
        stall: seconds without any task ending after which the run is given up.

    Raises:
        ConfigError: as `look`, or what the new phases ask for cannot be had.
        RunError: a file is damaged, a document cannot be tokenized, or another run is at work in the folder.
    """
    root = Path(loaded.value.output)
    output = Output(root, "build")
    with output.opened() as events, Runner(executor, events, progress, stall) as runner:
        extension = look(loaded, cut)
        if extension.done:
            done = Manifest.read(root)
        else:
            runner.ensure(extension.stages.tokenizer)
            _check_tokenizer(loaded, extension)
            build_stages.check_fit(extension.stages)
            for stage in extension.stages.shards:
                runner.ensure(stage)
            done = _planned(loaded, extension, output, runner)
        builds.check_sizes(root, done)
        remove_scratch(extension.stages.shards)
        planned = not extension.done
        documents = decoded(root, done, extension.stages.tokenizer.open()) if planned else ()
        table, lengths = builds.table_of(root, done), builds.lengths_of(root, done)
        return BuildResult(done, table, runner.tasks_run, planned, lengths, documents)


def _look(loaded: Loaded[MixtureSpec], cut: Cut, base: Manifest, stages: Stages) -> Extension:
    spec, root = loaded.value, Path(loaded.value.output)
    built = Built(root, base)
    if cut.shards is not None and cut.shards != base.fingerprint and cut.shards not in built.history:
        raise ConfigError(
            "the run was not trained on these shards",
            where=str(root),
            seen=base.fingerprint,
            expected=f"{cut.shards}, as the run's checkpoint records",
            fix="name the mixture whose output the run is trained on",
        )
    try:
        kept = cut_short(built.phase_refs, cut.phase, cut.at)
    except ConfigError as wrong:
        raise loaded.error(
            ("output",), f"{wrong.what} ({wrong.seen})", expected=wrong.expected, fix=wrong.fix
        ) from None
    if spec.seed != base.options["seed"]:
        raise loaded.error(
            ("seed",),
            "is not the seed of what is extended: sources would be drawn in another order, and data come again",
            seen=spec.seed,
            expected=base.options["seed"],
        )
    for index, phase in enumerate(spec.phases):
        if phase.name in {ref.name for ref in kept}:
            raise loaded.error(
                ("phases", index, "name"),
                f"a phase called {phase.name} stands before the cut",
                fix="give the new phase another name; only the phases that come behind the cut are written here",
            )
    order = Order.open(root, kept, built.shards)
    drawn = _drawn(order, kept)
    _check_sources(loaded, built, stages, drawn)
    phases = [phase.record() for phase in phase_specs(loaded)]
    packing = {source.name: _packing(source) for _, source in spec.bucketed}
    body = ["extend", VERSION, base.fingerprint, [asdict(ref) for ref in kept], packing, phases, stages.fingerprints]
    packs = frozenset(index for ref in kept for index in order.phase(ref.name).indexes)
    return Extension(base, kept, drawn, packs, stages, manifests.fingerprint(body), done=False)


def _packing(source: MixtureSource) -> tuple[str, str, int]:
    """How a source is packed, in the order of PACKING."""
    return source.packing, source.too_long, source.min_reasoning


def _drawn(order: Order, kept: Sequence[PhaseRef]) -> dict[str, int]:
    """How many sequences the phases have drawn of every source that they name; of some none, before a cut."""
    drawn: dict[str, int] = {}
    for ref in kept:
        names = order.phase(ref.name).sources
        for name, count in zip(names, order.counts(ref.name, ref.sequences).tolist(), strict=True):
            drawn[name] = drawn.get(name, 0) + count
    return drawn


def _check_sources(loaded: Loaded[MixtureSpec], built: Built, stages: Stages, drawn: Mapping[str, int]) -> None:
    """Of a source that was drawn from, other documents or another packing would repeat some and leave others out; of
    one that a phase names and the cut came before, they would not be those that the order's file was made for."""
    for (index, source), stage in zip(loaded.value.bucketed, stages.shards, strict=True):
        was = built.sources.get(source.name)
        if was is None or source.name not in drawn:
            continue
        tokens = str(stage.folder.relative_to(built.root))
        if tokens != was.tokens:
            raise loaded.error(
                ("sources", index, "name"),
                f"{source.name} stands in a phase before the cut, and would have other documents or tokens now",
                seen=tokens,
                expected=f"{was.tokens}, as before: its documents, where, template, held_out (and what other sources "
                "hold out) and the tokenizer must stay",
                fix="set them back, or give the changed source another name",
            )
        if not drawn[source.name]:
            continue  # it may be packed otherwise from its first sequence on
        packed = was.pack, was.too_long, was.min_reasoning
        for key, now, before in zip(PACKING, _packing(source), packed, strict=True):
            if now != before:
                raise loaded.error(
                    ("sources", index, "name"),
                    f"{source.name} has been trained on, and would be packed otherwise now",
                    seen=f"{key}: {now}",
                    expected=f"{key}: {before}",
                )


def _check_tokenizer(loaded: Loaded[MixtureSpec], extension: Extension) -> None:
    tokenizer, expected = extension.stages.tokenizer.open(), extension.base.options["tokenizer"]
    seen = (tokenizer.hash, tokenizer.end_of_document)
    if seen != (expected["hash"], expected["end_of_document"]):
        raise loaded.error(
            ("tokenizer",),
            "is not the tokenizer of what is extended",
            seen=f"hash {seen[0]}, end of document {seen[1]}",
            expected=f"hash {expected['hash']}, end of document {expected['end_of_document']}",
        )


def _planned(loaded: Loaded[MixtureSpec], extension: Extension, output: Output, runner: Runner) -> Manifest:
    """Plans the new phases behind the cut; the manifest that stood is kept, and the new one written last."""
    root, base, stages = Path(loaded.value.output), extension.base, extension.stages
    pack = packer(root, runner)
    runs, stands = _behind(Built(root, base), extension, Packs(root, pack))
    phases = phase_specs(loaded)
    planned = plan(root, loaded.value.seed, build_stages.source_tokens(stages, phases), phases, pack, runs)
    base.write(root / HISTORY, f"{base.fingerprint}.json")
    # Under another name than the one that stands: its manifest has to hold until the new one is written.
    table = builds.table_name(extension.fingerprint)
    rows = [*_rows(builds.table_of(root, base), stands), *(asdict(row) for row in planned.rows)]
    builds.write_table(root / table, rows)
    request = builds.request_of(loaded, stages)
    fresh = builds.manifest_of(loaded.value, extension.fingerprint, request, stages, planned, root, table)
    manifest = _joined(extension, fresh)
    output.record("mixture.yaml", config.dump(loaded.value), loaded.document.name)
    output.publish(manifest)
    return manifest


def _behind(built: Built, extension: Extension, packs: Packs) -> tuple[dict[str, Drawing], list[Stand]]:
    """Where sources stand behind the cut, and what each phase before it has drawn."""
    order = Order.open(built.root, extension.kept, built.shards)
    drawn = [name for name, count in extension.drawn.items() if count]
    sources = {name: _as_built(built, name) for name in drawn}
    return drawn_so_far(order, extension.kept, sources, packs)


def _as_built(built: Built, name: str) -> SourceTokens:
    """A source as it was when its phases were planned."""
    source = built.sources[name]
    fingerprint = Manifest.read(built.root / source.tokens).fingerprint
    shards = built.shards(name)
    trim = Trimming(shards, source.min_reasoning) if source.too_long == "trim" else None
    return SourceTokens(name, fingerprint, shards, source.pack, source.too_long, trim)


def _rows(table: Sequence[Mapping[str, Any]], stands: Sequence[Stand]) -> list[dict[str, Any]]:
    """The rows of the phases that stay, with what they drew up to the cut; `stopped` where a phase was cut short."""
    rows = {(row["phase"], row["source"]): row for row in table}
    known = [stand for stand in stands if (stand.phase, stand.source) in rows]
    cut = {one.phase for one in known if one.sequences < rows[one.phase, one.source]["sequences"]}
    found = []
    for stand in known:
        row = rows[stand.phase, stand.source]
        drawn = {key: getattr(stand, key) for key in ("epochs", "padding", "sequences", "tokens")}
        stopped = {"stopped": True} if stand.phase in cut or row.get("stopped") else {}
        found.append({**row, **drawn, **stopped})
    return found


def _joined(extension: Extension, fresh: Manifest) -> Manifest:
    """The manifest of all: phases and sources of what stays, then the new ones."""
    base, kept = extension.base, extension.kept
    orders = {path for ref in kept for path in ref.files}
    stays = {name: entry for name, entry in base.options["sources"].items() if name in extension.drawn}
    folders = extension.packs | {entry["tokens"] for entry in stays.values()}
    files = {file.path: file for file in base.files if file.path in orders or str(Path(file.path).parent) in folders}
    files |= {file.path: file for file in fresh.files}
    options = {
        **fresh.options,
        "sources": {**stays, **fresh.options["sources"]},
        "phases": [*(asdict(ref) for ref in kept), *fresh.options["phases"]],
        "history": [*base.options["history"], base.fingerprint],
    }
    return replace(
        fresh,
        options=options,
        files=tuple(files[path] for path in sorted(files)),
        counts={**{name: base.counts[name] for name in stays}, **fresh.counts, **_lost(extension, fresh)},
    )


def _lost(extension: Extension, fresh: Manifest) -> dict[str, Any]:
    """The counts of sources that trim records, with what the phases that stay have lost."""
    base, kept = extension.base.counts, {ref.name for ref in extension.kept}
    lost = {name: base[name]["lost"] for name in fresh.counts if "lost" in base.get(name, {})}
    stays = {name: {phase: one for phase, one in was.items() if phase in kept} for name, was in lost.items()}
    return {
        name: {**fresh.counts[name], "lost": {**was, **fresh.counts[name].get("lost", {})}}
        for name, was in stays.items()
    }

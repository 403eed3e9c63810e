"""`midtrain build`: a mixture to tokenized shards, packs, and the exact order in which they are trained on.

Curated documents go through stages (held out, tokenizer, tokens, shards), then the order is planned over all phases at
once, and one manifest vouches for everything that a trainer opens. What is done is found by its fingerprint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from .. import config, storage
from .. import manifest as manifests
from ..config import Loaded
from ..manifest import Manifest, OutputFile
from ..mixtures.built import HISTORY, VERSION
from ..mixtures.packs.pack_requests import Packer
from ..mixtures.parts_table import TABLES
from ..mixtures.phases import PhaseRef
from ..mixtures.plans.losses import LOST
from ..mixtures.plans.planning import Plan, plan
from ..mixtures.schema import MixtureSpec, phase_specs
from ..mixtures.shards import INSIDE_CHARACTERS
from ..mixtures.tokenizer_identity import Identity
from ..progress import Progress
from . import length_table
from .build_stages import Stages, check_fit, source_tokens, stages_of
from .executor import Executor
from .first_documents import decoded
from .output import Output
from .pack_stages import packer
from .runner import STALL, Runner
from .stage import remove_scratch


@dataclass(frozen=True)
class BuildResult:
    """What a build came to: its manifest, the table of planned against realised tokens, what this run did of it.

    `lengths` is what became of records of each length (`length_table.read`). `documents`, of a build that was not done
    before, are its first ones as they decode (`first_documents.decoded`).
    """

    manifest: Manifest
    rows: tuple[dict[str, Any], ...]
    tasks_run: int
    planned: bool
    lengths: tuple[dict[str, Any], ...]
    documents: tuple[dict[str, Any], ...] = ()


def build(
    loaded: Loaded[MixtureSpec],
    executor: Executor,
    progress: Progress,
    overwrite: bool = False,
    stall: float = STALL,
) -> BuildResult:
    """Builds a mixture.

    Args:
        loaded: the mixture.
        executor: where the tasks run; it is closed when they have.
        progress: what the person sees.
        stall: seconds without any task ending after which the run is given up.
        overwrite: whether the result of another mixture in the same folder may be replaced.

    Raises:
        ConfigError: what the mixture asks for cannot be had, or the folder holds another result.
        RunError: a file is damaged, a document cannot be tokenized, or another run is at work in the folder.
    """
    spec = loaded.value
    root = Path(spec.output)
    output = Output(root, "build")
    with output.opened() as events, Runner(executor, events, progress, stall) as runner:
        stages = stages_of(loaded)
        request = request_of(loaded, stages)
        fingerprint = manifests.fingerprint(["build", request])
        standing = output.claim(fingerprint, overwrite)
        planned = standing is None or standing.fingerprint != fingerprint or bool(removed(root, standing))
        if planned:
            runner.ensure(stages.tokenizer)
            check_fit(stages)
            for stage in stages.shards:
                runner.ensure(stage)
            done = _planned(loaded, request, stages, output, packer(root, runner), standing)
        else:
            assert standing is not None  # noqa: S101 - else it is planned
            done = restated(standing, spec, stages)
            output.publish(done)
        check_sizes(root, done)
        remove_scratch(stages.shards)
        documents = decoded(root, done, stages.tokenizer.open()) if planned else ()
        return BuildResult(done, table_of(root, done), runner.tasks_run, planned, lengths_of(root, done), documents)


def removed(root: Path, manifest: Manifest) -> list[str]:
    """The parts of a result that somebody has removed whole, as one does with a damaged one: they are made anew."""
    units = dict.fromkeys(manifests.unit_of(file.path) for file in manifest.files)
    return [unit for unit in units if not (root / unit).exists()]


def restated(found: Manifest, spec: MixtureSpec, stages: Stages) -> Manifest:
    """The manifest with the mixture's name and the sources' licences of now: nothing else hangs on them."""
    drawn = [stage.encoded.selection.source for stage in stages.shards]
    licences = {source.name: source.licence for source in drawn}
    sources = {
        name: {**entry, "licence": licences.get(name, entry["licence"])}
        for name, entry in found.options["sources"].items()
    }
    return replace(found, options={**found.options, "name": spec.name, "sources": sources})


def _planned(
    loaded: Loaded[MixtureSpec],
    request: dict[str, Any],
    stages: Stages,
    output: Output,
    packer: Packer,
    standing: Manifest | None,
) -> Manifest:
    """Plans packs and order over the finished shards, and writes the table and, last, the manifest.

    That of a result that is replaced is kept, since what it shares with the next is found by it, and told. Until then
    it stands, and so does all that it names: the table's name has the fingerprint.
    """
    spec, root = loaded.value, Path(loaded.value.output)
    phases = phase_specs(loaded)
    planned = plan(root, spec.seed, source_tokens(stages, phases), phases, packer)
    fingerprint = manifests.fingerprint(["build", request])
    table = table_name(fingerprint)
    write_table(root / table, [asdict(row) for row in planned.rows])
    manifest = manifest_of(spec, fingerprint, request, stages, planned, root, table)
    if standing is not None and standing.fingerprint != fingerprint:
        standing.write(root / HISTORY, f"{standing.fingerprint}.json")
    output.record("mixture.yaml", config.dump(spec), loaded.document.name)
    output.publish(manifest)
    if standing is not None and standing.fingerprint != fingerprint:
        (root / table_name(standing.fingerprint)).unlink(missing_ok=True)
    return manifest


def table_name(fingerprint: str) -> str:
    """The name of a result's table of planned against realised tokens."""
    return f"table-{fingerprint[:16]}.json"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the table of planned against realised tokens."""
    with storage.atomic_write(path) as stream:
        stream.write(orjson.dumps(tuple(rows), option=orjson.OPT_INDENT_2))


def check_sizes(root: Path, manifest: Manifest) -> None:
    """Compares the sizes of all files with the manifests: the build's own, and those of the folders that it names."""
    manifest.check_sizes(root)
    for folder in (root / file.path for file in manifest.files):
        if folder.name == manifests.NAME:
            unit = folder.parent
            Manifest.read(unit).check_sizes(unit, manifest.mending(root, f"{unit.relative_to(root)}/{manifests.NAME}"))


def request_of(loaded: Loaded[MixtureSpec], stages: Stages) -> dict[str, Any]:
    """All that packs and order depend on: what two requests have in common need not be built again.

    The mixture's name, its output and the order of its keys are no part of it.
    """
    return {
        "version": VERSION,
        "seed": loaded.value.seed,
        "tokenizer": stages.tokenizer.fingerprint,
        "sources": {stage.name: stage.request() for stage in stages.shards},
        "phases": [phase.record() for phase in phase_specs(loaded)],
    }


def table_of(root: Path, manifest: Manifest) -> tuple[dict[str, Any], ...]:
    """The table of planned against realised tokens, one entry a phase and source."""
    path = next(file.path for file in manifest.files if file.path.startswith("table"))
    return tuple(orjson.loads(storage.read_bytes(root / path)))


def lengths_of(root: Path, manifest: Manifest) -> tuple[dict[str, Any], ...]:
    """What became of records of each length, in every phase (`length_table.read`)."""
    return length_table.read(root, [PhaseRef(**phase) for phase in manifest.options["phases"]])


def manifest_of(
    spec: MixtureSpec,
    fingerprint: str,
    request: dict[str, Any],
    stages: Stages,
    planned: Plan,
    root: Path,
    table: str,
) -> Manifest:
    """The manifest of a finished build: what a trainer opens, and the tables that vouch for the rest."""
    tokenizer = stages.tokenizer.open()
    beside = stages.tokenizer.folder.relative_to(root)
    files = [OutputFile.of(root, str(beside / file.path), file.rows) for file in stages.tokenizer.finished().files]
    files += [OutputFile.of(root, path, 0) for path in (*planned.files, table)]
    sources, counts = {}, {}
    for stage in stages.shards:
        source, done = stage.encoded.selection.source, stage.finished()
        folder = str(stage.folder.relative_to(root))
        beside_parts = [INSIDE_CHARACTERS] if stage.encoded.template is not None else []
        files += [
            OutputFile.of(root, f"{folder}/{name}", 0, source.name)
            for name in (*TABLES.values(), *beside_parts, manifests.NAME)
        ]
        counts[source.name] = {name: done.counts[name] for name in ("documents", *TABLES)}
        if source.too_long == "trim":
            rows = (row for row in planned.rows if row.source == source.name)
            counts[source.name]["lost"] = {row.phase: {name: getattr(row, name) for name in LOST} for row in rows}
        sources[source.name] = {
            "template": stage.encoded.template.record() if stage.encoded.template is not None else None,
            "tokens": folder,
            "pack": source.packing,
            "too_long": source.too_long,
            "min_reasoning": source.min_reasoning,
            "licence": source.licence,
            "parts": sum(file.rows for file in done.files if file.path == TABLES["part"]),
            "documents": done.counts["part"]["documents"],
            "ends_of_document": done.counts["part"]["ends_of_document"],
            "tokens_total": done.counts["part"]["tokens"],
            "supervised": done.counts["part"]["supervised"],
            "held_out_documents": done.counts["held_out"]["documents"],
        }
    return Manifest(
        stage="build",
        version=VERSION,
        fingerprint=fingerprint,
        options={
            "name": spec.name,
            "seed": spec.seed,
            "tokenizer": {
                "path": str(stages.tokenizer.path.relative_to(root)),
                **Identity.of(tokenizer).record(),
            },
            "sources": sources,
            "phases": [asdict(phase) for phase in planned.phases],
            "history": [],
            "request": request,
        },
        parents=stages.fingerprints,
        files=tuple(sorted(files, key=lambda file: file.path)),
        counts=counts,
    )

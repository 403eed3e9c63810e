"""`midtrain build`: a mixture to tokenized shards, packs, and the exact order in which they are trained on.

Curated documents go through stages (held out, tokenizer, tokens, shards), then the order is planned over all phases at
once, and one manifest vouches for everything that a trainer opens. What is done is found by its fingerprint.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from .. import config, storage
from .. import manifest as manifests
from ..config import Loaded
from ..errors import ConfigError
from ..manifest import Manifest, OutputFile
from ..mixtures.planning import PhaseSpec, PhaseWeight, Plan, SourceTokens, plan
from ..mixtures.schema import MixtureSpec
from ..mixtures.shards import Shards
from ..mixtures.tokenizers import Tokenizer
from ..progress import Progress
from .curated import Selection, select
from .executor import Executor
from .held_out_stages import HeldOut, HeldOutKeys
from .output import Output
from .runner import STALL, Runner
from .stage import remove_scratch
from .tokenize_stages import Tokenize, WriteShards
from .tokenizer_stage import BuildTokenizer

VERSION = 1  # of packs, order and manifest; the stages have their own
TABLE = "table.json"


@dataclass(frozen=True)
class BuildResult:
    """What a build came to: its manifest, the table of planned against realised tokens, what this run did of it."""

    manifest: Manifest
    rows: tuple[dict[str, Any], ...]
    tasks_run: int
    planned: bool


@dataclass(frozen=True)
class Stages:
    """The stages of a build: the tokenizer, and the shards of each source in the mixture's order."""

    tokenizer: BuildTokenizer
    shards: tuple[WriteShards, ...]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of all that the manifest depends on beside the phases."""
        return (self.tokenizer.fingerprint, *(stage.fingerprint for stage in self.shards))


def stages_of(loaded: Loaded[MixtureSpec]) -> Stages:
    """The stages of a mixture.

    Raises:
        ConfigError: a source's documents or the tokenizer are not there or do not fit.
    """
    spec = loaded.value
    root = Path(spec.output)
    _check_tokenizer(loaded)
    selections = {
        source.name: select(source, loaded.document.place(("sources", index)))
        for index, source in enumerate(spec.sources)
    }
    holding = tuple(one for one in selections.values() if one.source.held_out)
    held_out = HeldOut(root, HeldOutKeys(root, spec.seed, holding))
    train = spec.tokenizer_spec.train
    trained_on: tuple[Selection, ...] = tuple(selections[name] for name in train.sources) if train else ()
    tokenizer = BuildTokenizer(root, spec.tokenizer_spec, held_out, trained_on)
    shards = tuple(WriteShards(root, Tokenize(root, one, tokenizer, held_out)) for one in selections.values())
    return Stages(tokenizer, shards)


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
        fingerprint = _fingerprint(spec, stages)
        output.claim(fingerprint, overwrite)
        found = Manifest.find(root)
        done = found
        if done is None:
            output.record("mixture.yaml", config.dump(spec), loaded.document.name)
            runner.ensure(stages.tokenizer)
            _check_templates(stages)
            for stage in stages.shards:
                runner.ensure(stage)
            done = _planned(loaded, fingerprint, stages, output)
        done.check_sizes(root)
        remove_scratch(stages.shards)
        return BuildResult(done, _table(root), runner.tasks_run, planned=found is None)


def _planned(loaded: Loaded[MixtureSpec], fingerprint: str, stages: Stages, output: Output) -> Manifest:
    """Plans packs and order over the finished shards, and writes the table and the manifest."""
    spec, root = loaded.value, Path(loaded.value.output)
    phases = _phases(spec)
    planned = plan(root, spec.seed, _source_tokens(stages, phases), phases)
    rows = tuple(asdict(row) for row in planned.rows)
    with storage.atomic_write(root / TABLE) as stream:
        stream.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    manifest = _manifest(spec, fingerprint, stages, planned, root)
    output.publish(manifest)
    return manifest


def _fingerprint(spec: MixtureSpec, stages: Stages) -> str:
    packing = {source.name: (source.packing, source.too_long) for source in spec.sources}
    # As lists: the order of a phase's weights decides who comes first where two sources are due.
    phases = [asdict(phase) for phase in _phases(spec)]
    return manifests.fingerprint(["build", VERSION, spec.seed, packing, phases, stages.fingerprints])


def _table(root: Path) -> tuple[dict[str, Any], ...]:
    return tuple(orjson.loads(storage.read_bytes(root / TABLE)))


def _check_tokenizer(loaded: Loaded[MixtureSpec]) -> None:
    """Looks at a tokenizer file before anything runs: the file, its end-of-document token, what the templates need."""
    spec = loaded.value.tokenizer_spec
    if spec.path is None:
        return
    try:
        tokenizer = Tokenizer.open(spec.path, spec.end_of_document)
        for template in {source.template for source in loaded.value.sources} - {None}:
            tokenizer.check(str(template))
    except ConfigError as wrong:
        path = ("tokenizer",) if isinstance(loaded.value.tokenizer, str) else ("tokenizer", "path")
        raise loaded.error(path, wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None


def _check_templates(stages: Stages) -> None:
    tokenizer = stages.tokenizer.open()
    for template in {stage.encoded.selection.source.template for stage in stages.shards} - {None}:
        tokenizer.check(str(template))


def _shards(stage: WriteShards, kind: Any) -> Shards:
    sizes = {file.path: file.bytes for file in stage.finished().files}
    return Shards.open(stage.folder, stage.encoded.tokenizer.open().dtype, sizes, kind)


def _source_tokens(stages: Stages, phases: Sequence[PhaseSpec]) -> dict[str, SourceTokens]:
    """The tokens of every source that a phase draws from; one that is only held out may have none."""
    drawn = {weight.source for phase in phases for weight in phase.weights}
    found = {}
    for stage in stages.shards:
        if stage.name not in drawn:
            continue
        source, shards = stage.encoded.selection.source, _shards(stage, "part")
        ends = tuple(shards.ends(part) for part in range(len(shards.parts)))
        found[source.name] = SourceTokens(source.name, stage.fingerprint, ends, source.packing, source.too_long)
    return found


def _phases(spec: MixtureSpec) -> list[PhaseSpec]:
    return [
        PhaseSpec(
            phase.name,
            phase.sequence_length,
            phase.tokens,
            tuple(
                PhaseWeight(name, weight.share, weight.loss, weight.max_epochs)
                for name, weight in phase.entries().items()
            ),
        )
        for phase in spec.phases
    ]


def _manifest(spec: MixtureSpec, fingerprint: str, stages: Stages, planned: Plan, root: Path) -> Manifest:
    tokenizer = stages.tokenizer.open()
    files = [OutputFile.of(root, str(stages.tokenizer.path.relative_to(root)), tokenizer.vocab_size)]
    files += [OutputFile.of(root, path, 0) for path in (*planned.files, TABLE)]
    sources, counts = {}, {}
    for stage in stages.shards:
        source, done = stage.encoded.selection.source, stage.finished()
        folder = str(stage.folder.relative_to(root))
        files += [
            OutputFile(f"{folder}/{file.path}", file.rows, file.bytes, file.hash, source.name) for file in done.files
        ]
        counts[source.name] = done.counts
        sources[source.name] = {
            "template": source.template,
            "tokens": folder,
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
                "hash": tokenizer.hash,
                "vocab_size": tokenizer.vocab_size,
                "end_of_document": tokenizer.end_of_document,
                "end_of_document_text": tokenizer.end_of_document_text,
                "dtype": tokenizer.dtype.name,
            },
            "sources": sources,
            "phases": [phase.name for phase in spec.phases],
        },
        parents=stages.fingerprints,
        files=tuple(sorted(files, key=lambda file: file.path)),
        counts=counts,
    )

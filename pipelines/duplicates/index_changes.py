"""Changes of an index: an output added, documents taken out. Each makes the next version, whole or not at all.

What a version is made of never changes, and its one file is replaced at the end, so a killed change leaves the version
before, and the same command goes on where it was. What neither this version nor the one before needs is removed. Costs
of adding are those of `index_stages`; of taking out, a pass over the ids.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ... import manifest as manifests
from ... import storage
from ...errors import ConfigError
from ...manifest import NAME, Manifest, OutputFile
from ...progress import Progress
from ..executor import Executor
from ..output import Output
from ..runner import STALL, Runner
from ..stage import Stage, remove_scratch
from .index import STAGE, Index, open_index
from .index_checks import Described, check_compared, check_parameters, published_of, steps_of
from .index_layer import FORMAT, REMOVED, Addition, Keys, Layer, Made, Run, read_removed
from .index_stages import IndexDocuments, IndexKeys, IndexRun
from .index_texts import KeptTexts, texts_of


@dataclass(frozen=True)
class Changed:
    """What a change came to: the version that stands, and the documents that it added or took out, by step.

    `documents` is empty where there was nothing to do; `output` is the fingerprint of what was added.
    """

    index: Index
    documents: dict[str, int]
    output: str = ""


def add(
    path: str | Path,
    output: str,
    executor: Executor,
    progress: Progress,
    overlap: bool = False,
    stall: float = STALL,
) -> Changed:
    """Adds the documents that an output kept; makes the index where there is none.

    An output that stands in the index already is left alone, so that the same command may be given again.

    Args:
        path: the index's folder.
        output: a finished curation.
        executor: where the tasks run; it is closed when they have.
        progress: what the person sees.
        overlap: whether the output may not have been compared with the version that stands.
        stall: as of `curate`.

    Raises:
        ConfigError: there is no such output, or it was not deduplicated, or with other parameters, or against another
            version.
        RunError: a file is gone or damaged, or another run is at work in the folder.
    """
    source = storage.location(output)
    published = published_of(source)
    steps = steps_of(published, source)
    root = _root(path)
    before = _present(root)  # what is wrong with it is said before a folder is made
    check_parameters(before, steps, source)
    folder = Output(root, STAGE)
    with folder.opened() as events, Runner(executor, events, progress, stall) as runner:
        index = _present(root)
        if any(entry["output"] == published.fingerprint for entry in index.history if entry["change"] == "add"):
            return Changed(index, {}, published.fingerprint)
        check_parameters(index, steps, source)
        if not overlap:
            check_compared(index, steps, published, source)
        layers, first = dict(index.layers), index.next_chunk
        for step in index.layers or steps:
            texts = texts_of(source, published, steps[step].entry)
            empty = Layer(
                root,
                step,
                index.version,
                index.fingerprint,
                steps[step].options.index_parameters,
                (),
                (),
                index.removed,
            )
            layers[step] = _extended(runner, index, layers.get(step, empty), steps[step], texts, first, published)
            first += layers[step].additions[-1].chunks
        documents = {step: sum(layer.additions[-1].documents.values()) for step, layer in layers.items()}
        change = {
            "change": "add",
            "name": published.options["name"],
            "given": published.options["given"],
            "output": published.fingerprint,
            "documents": documents,
            "parameters": {step: layer.parameters for step, layer in layers.items()},
            "sources": {step: steps[step].entry["sources"] for step in layers},
        }
        return Changed(_publish(folder, replace(index, layers=layers), index, change), documents, published.fingerprint)


def remove(path: str | Path, ids: Sequence[str]) -> Changed:
    """Takes documents out: nothing is found to be a duplicate of them any more.

    All documents with one of the ids go, of whatever source.

    Raises:
        ConfigError: no id is given, there is no index, or no document has an id.
        RunError: a file is gone or damaged, or another run is at work in the folder.
    """
    if not ids:
        raise ConfigError("no ids are given: nothing was taken out", where=str(path), expected="one id a line, or more")
    folder = Output(open_index(path).root, STAGE)
    with folder.opened():
        index = open_index(path)
        found, documents = [_removed(index)], {}
        missing = set(ids)
        for step, layer in index.layers.items():
            new, seen = _having(layer, ids)
            documents[step] = len(new)
            found.append(new)
            missing -= seen
        if missing:
            raise ConfigError(
                f"{len(missing):,} of {len(set(ids)):,} ids are not in the index; nothing was taken out",
                where=str(path),
                seen=", ".join(sorted(missing)[:8]) + (" …" if len(missing) > 8 else ""),
                fix="correct or leave out what is not there, or was removed before",
            )
        removed = np.unique(np.concatenate(found))
        name = f"removed-{index.version + 1:05d}.arrow"
        rows = pa.record_batch([pa.array(removed)], schema=REMOVED)
        with storage.atomic_write(index.root / name) as stream:
            with pa.ipc.new_file(stream, REMOVED) as writer:
                writer.write_batch(rows)
            file = OutputFile.written(name, stream, len(removed))
        change = {"change": "remove", "documents": documents, "removed": file.hash}
        return Changed(_publish(folder, replace(index, files=(file,)), index, change), documents)


def removed_from(layer: Layer) -> int:
    """How many of a layer's documents were taken out."""
    chunks = [(one.first, one.first + one.chunks) for one in layer.additions]
    if not layer.removed or not chunks:
        return 0
    removed = read_removed(layer.root / layer.removed) >> np.uint64(32)
    return sum(int(((removed >= first) & (removed < last)).sum()) for first, last in chunks)


def _root(path: str | Path) -> Path:
    if storage.is_remote(str(path)):
        open_index(path)  # says why not
    return Path(path).absolute()


def _present(root: Path) -> Index:
    """The version that stands; an empty one where there is none."""
    return open_index(root) if (root / NAME).exists() else Index(root)


def _extended(
    runner: Runner,
    index: Index,
    layer: Layer,
    step: Described,
    texts: KeptTexts,
    first: int,
    published: Manifest,
) -> Layer:
    """A layer with the documents of an output, and their keys in a table that takes in those not larger than it."""
    documents = IndexDocuments(index.root, layer.step, step.options, texts, first)
    counts = runner.ensure(documents).counts
    entries, taken = int(counts.get("keys", 0)), 0
    for run in reversed(layer.runs):
        if run.entries > entries:
            break
        entries += run.entries
        taken += 1
    kept, older = layer.runs[: len(layer.runs) - taken], layer.runs[len(layer.runs) - taken :]
    keys = IndexKeys(index.root, documents, sum(run.entries for run in older))
    table = IndexRun(index.root, keys, layer, older)
    written = int(runner.ensure(table).counts["entries"])
    remove_scratch([table])
    addition = Addition(
        made=_made(documents),
        version=index.version + 1,
        name=published.options["name"],
        output=published.fingerprint,
        first=first,
        chunks=documents.tasks(),
        documents=counts.get("sources", {}),
    )
    return replace(layer, additions=(*layer.additions, addition), runs=(*kept, Run(_made(table), written)))


def _made(stage: Stage) -> Made:
    return Made(str(stage.folder).rpartition("/")[2], storage.hash_file(stage.folder / NAME))


def _publish(folder: Output, index: Index, before: Index, change: dict[str, Any]) -> Index:
    """Writes the next version's manifest, and removes what neither it nor the version before needs."""
    fingerprint = manifests.fingerprint([STAGE, FORMAT, before.fingerprint, change])
    version = before.version + 1
    kept = ("version", "change", "name", "given", "output", "documents", "fingerprint")
    entry = {**change, "version": version, "fingerprint": fingerprint}
    history = [*before.history, {name: entry[name] for name in kept if name in entry}]
    layers = {
        step: {
            "parameters": dict(layer.parameters),
            "additions": [asdict(one) for one in layer.additions],
            "runs": [asdict(one) for one in layer.runs],
        }
        for step, layer in index.layers.items()
    }
    previous = [*(made.folder for made in before.made), *(file.path for file in before.files)]
    options = {"version": version, "layers": layers, "history": history, "previous": previous}
    folder.publish(Manifest(STAGE, FORMAT, fingerprint, options, files=index.files))
    published = open_index(index.root)
    _sweep(published)
    return published


def _sweep(index: Index) -> None:
    needed = {NAME, *(made.folder for made in index.made), *index.previous, index.removed}
    for name in storage.names(index.root / "stages"):
        if name not in needed:
            storage.remove_tree(index.root / "stages" / name)
    for pattern in ("removed-*.arrow", ".removed-*.tmp"):  # of older versions, and what a killed change half wrote
        for path in index.root.glob(pattern):
            if path.name not in needed:
                storage.remove(path)


def _removed(index: Index) -> Keys:
    return read_removed(index.root / index.removed) if index.removed else np.empty(0, np.uint64)


def _having(layer: Layer, ids: Sequence[str]) -> tuple[Keys, set[str]]:
    """The documents of a layer that have one of the ids, and the ids that were found."""
    wanted = pa.array(sorted(set(ids)), pa.string())
    found, seen = [np.empty(0, np.uint64)], set[str]()
    for numbers, batch in layer.all(["id"]):
        mask = pc.is_in(batch.column("id"), value_set=wanted)
        found.append(numbers[mask.to_numpy(zero_copy_only=False)])
        seen.update(batch.column("id").filter(mask).to_pylist())
    return np.concatenate(found), seen

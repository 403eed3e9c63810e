"""What `midtrain index` prints: a version and what made it, as a table for people and as data for machines."""

from collections import Counter
from typing import Any

from ...tables import Table, columns
from .index import Index
from .index_changes import Changed, removed_from
from .index_layer import Layer


def added(changed: Changed, output: str) -> Table:
    """What adding an output came to."""
    index = changed.index
    if not changed.documents:
        version = next(entry["version"] for entry in index.history if entry.get("output") == changed.output)
        return _table(index, f"{output} stands in it since version {version}: nothing to do", {"documents": {}})
    what = ", ".join(f"{count:,} documents for {step}" for step, count in changed.documents.items())
    return _table(index, f"{output} added: {what}", {"documents": changed.documents})


def removed(changed: Changed) -> Table:
    """What taking documents out came to."""
    what = ", ".join(f"{count:,} documents of {step}" for step, count in changed.documents.items())
    return _table(changed.index, f"removed: {what}", {"documents": changed.documents})


def shown(index: Index, verified: bool) -> Table:
    """What an index holds, step by step, and how it came to be."""
    layers = {step: _layer(layer) for step, layer in index.layers.items()}
    texts, rows = [], [["step", "source", "documents"]]
    for step, layer in layers.items():
        options = ", ".join(f"{name} {value}" for name, value in layer["parameters"].items())
        rows += [[step, source, f"{count:,}"] for source, count in layer["sources"].items()]
        texts.append(
            f"{step}: {options}; {layer['documents']:,} documents, {layer['removed']:,} removed since, "
            f"{layer['tables']} tables"
        )
    history = [["version", "change", "documents", "recipe"]]
    for entry in index.history:
        count = max(entry["documents"].values())
        history.append([str(entry["version"]), entry["change"], f"{count:,}", entry.get("name", "")])
    parts = ["\n".join(texts), columns(rows), columns(history)]
    if verified:
        parts.append("every file is as it was written")
    return _table(index, "\n\n".join(parts), {"steps": layers, "history": list(index.history), "verified": verified})


def _layer(layer: Layer) -> dict[str, Any]:
    sources: Counter[str] = Counter()
    for addition in layer.additions:
        sources.update(addition.documents)
    return {
        "parameters": dict(layer.parameters),
        "documents": sources.total(),
        "removed": removed_from(layer),
        "sources": dict(sources),
        "tables": len(layer.runs),
    }


def _table(index: Index, text: str, data: dict[str, Any]) -> Table:
    head = f"{index.root}: version {index.version}"
    return Table(
        f"{head}\n{text}",
        {"index": str(index.root), "version": index.version, "fingerprint": index.fingerprint, **data},
    )

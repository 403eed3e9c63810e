"""What curate and build print when they are done: a table for people, the same numbers as data for machines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..manifest import Manifest
from ..tables import Table, columns
from . import length_table
from .curate import Curated, reasons
from .mixture_table import loss_lines, table_rows
from .stage import Stage

if TYPE_CHECKING:  # a curation that finds all done should not wait for what only building needs
    from .build import BuildResult
    from .decide import Looked
    from .extend import Extension


def stages(planned: Sequence[Stage]) -> Table:
    """The stages of a plan: which are done, which would run."""
    rows = [["stage", "state"]]
    data = []
    for stage in planned:
        done = stage.manifest() is not None
        rows.append([stage.folder.name, "done" if done else "to do"])
        data.append({"stage": stage.folder.name, "done": done})
    return Table(columns(rows), {"stages": data})


def curated(result: Curated, output: str) -> Table:
    """The funnel of a curation by source and rule."""
    did = f"{result.tasks_run} tasks run" if result.tasks_run else "nothing to do: every stage was done"
    aside = sum(counts["quarantined"] for _, counts in result.stages)
    where = f"{aside:,} set aside, with place and error: {output}/stages/*/quarantine/" if aside else ""
    dropped = reasons(counts for _, counts in result.stages)
    by_rule = [["dropped by", "documents"]]
    by_rule += [[reason, f"{count:,}"] for reason, count in sorted(dropped.items(), key=lambda item: -item[1])]
    table = _by_source(result.stages)
    by_rows = f"kept as row numbers of stages/: midtrain write {output} FOLDER writes plain files of the documents"
    told = [table, columns(by_rule) if dropped else "", where, by_rows if "rows_of" in result.manifest.options else ""]
    text = "\n\n".join(filter(None, [*told, f"{output}: {did}"]))
    data = {"output": output, "tasks_run": result.tasks_run, "funnel": result.manifest.counts["funnel"]}
    return Table(text, {**data, "fingerprint": result.manifest.fingerprint})


def written(manifest: Manifest, tasks_run: int, folder: str) -> Table:
    """What was written as plain files, by source."""
    did = f"{tasks_run} tasks run" if tasks_run else "nothing to do: all was written"
    rows = [["source", "documents", "text"]]
    for source, counts in manifest.counts["sources"].items():
        rows.append([source, f"{counts['kept']:,}", f"{counts['bytes'] / 1e6:,.1f} MB"])
    sources = {
        name: {"documents": own["kept"], "bytes": own["bytes"]} for name, own in manifest.counts["sources"].items()
    }
    data = {"folder": folder, "tasks_run": tasks_run, "files": len(manifest.files), "sources": sources}
    return Table(f"{columns(rows)}\n\n{folder}: {len(manifest.files)} files, {did}", data)


def looked(result: "Looked", output: str) -> Table:
    """What thresholds would come to, beside what stands there."""
    now, before = result.dropped, result.dropped_before
    rows = [["dropped by", "documents", "before"]]
    for reason in sorted({**before, **now}):
        unknown = result.behind and reason not in now and reason[0] not in result.decided
        rows.append([".".join(reason), "?" if unknown else f"{now.get(reason, 0):,}", f"{before.get(reason, 0):,}"])
    left, kept = f"{result.stages[-1][1]['kept']:,}", f"{result.before[-1][1]['kept']:,}" if result.before else ""
    if result.behind:
        rows.append([f"left for {result.behind}", left, ""])
    rows.append(["kept", "?" if result.behind else left, kept])
    behind = f"; what {result.behind} makes of these is not known from scores" if result.behind else ""
    text = "\n\n".join([_by_source(result.stages), columns(rows), f"{output}: nothing was written{behind}"])
    funnel = [{"stage": name, **counts} for name, counts in result.stages]
    return Table(text, {"output": output, "funnel": funnel, "behind": result.behind})


def to_extend(extension: "Extension", planned: Table | None, output: str) -> Table:
    """What an extension would keep, which stages it would run, and what its phases would draw; None: it stands."""
    phases = [["phase that stays", "sequences"], *([ref.name, f"{ref.sequences:,}"] for ref in extension.kept)]
    drawn = [["source", "sequences drawn"], *([name, f"{count:,}"] for name, count in extension.drawn.items())]
    todo = stages((extension.stages.tokenizer, *extension.stages.shards))
    did = f"{output}: {'it stands there already' if extension.done else 'nothing was written'}"
    kept = [{"phase": ref.name, "sequences": ref.sequences} for ref in extension.kept]
    told = [columns(phases), columns(drawn), planned.text if planned else todo.text, did]
    data = {"output": output, "done": extension.done, "kept": kept, "drawn": dict(extension.drawn), **todo.data}
    return Table("\n\n".join(told), {**data, "rows": planned.data["rows"] if planned else []})


def _by_source(stages: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    first, last = stages[0][1], stages[-1][1]
    rows = [["source", "read", "kept", "dropped", "quarantined"]]
    for source, counts in first["sources"].items():
        end = last["sources"].get(source, {"kept": 0})
        aside = sum(counts_of["sources"].get(source, {}).get("quarantined", 0) for _, counts_of in stages)
        read, kept = counts["documents"], end["kept"]
        rows.append([source, f"{read:,}", f"{kept:,}", f"{read - kept - aside:,}", f"{aside:,}"])
    return columns(rows)


def built(result: "BuildResult", output: str) -> Table:
    """Planned against realised tokens of every source and phase."""
    rows = table_rows(result.rows, realised=True)
    sources = [["source", "documents", "tokens", "supervised", "held out"]]
    in_order = dict.fromkeys([*(row["source"] for row in result.rows), *sorted(result.manifest.counts)])
    for name in in_order:
        part, held = (result.manifest.counts[name][kind] for kind in ("part", "held_out"))
        share = f"{part['supervised']:,} ({100 * part['supervised'] / max(part['tokens'], 1):.1f} %)"
        sources.append([name, f"{part['documents']:,}", f"{part['tokens']:,}", share, f"{held['documents']:,}"])
    words = f"tokenizer of {result.manifest.options['tokenizer']['vocab_size']:,} words"
    did = f"{result.tasks_run} tasks run" if result.planned else "nothing to do: every stage was done"
    data = {
        "output": output,
        "tasks_run": result.tasks_run,
        "rows": list(result.rows),
        "sources": result.manifest.counts,
        "lengths": list(result.lengths),
    }
    bound = "error is realised less requested: half a sequence a source at most"
    seen = [f"{one['source']} {one['id']}, {one['tokens']:,} tokens: {one['text']!r}" for one in result.documents]
    losses = "\n".join(loss_lines(result.rows))
    lost = length_table.with_losses(result.lengths)
    tables = [f"{length_table.title(one)}\n{columns(length_table.grid(one))}" for one in lost]
    told = [
        columns(sources),
        columns(rows),
        bound,
        *filter(None, [losses]),
        *tables,
        *filter(None, ["\n".join(seen)]),
        words,
        f"{output}: {did}",
    ]
    text = "\n\n".join(told)
    return Table(text, {**data, "fingerprint": result.manifest.fingerprint})

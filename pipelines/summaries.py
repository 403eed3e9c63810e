"""What curate and build print when they are done: a table for people, the same numbers as data for machines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..tables import Table, columns
from .curate import Curated, reasons
from .stage import Stage

if TYPE_CHECKING:  # a curation that finds all done should not wait for what only building needs
    from .build import BuildResult
    from .decide import Looked


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
    text = "\n\n".join(filter(None, [table, columns(by_rule) if dropped else "", where, f"{output}: {did}"]))
    data = {"output": output, "tasks_run": result.tasks_run, "funnel": result.manifest.counts["funnel"]}
    return Table(text, {**data, "fingerprint": result.manifest.fingerprint})


def looked(result: "Looked", output: str) -> Table:
    """What thresholds would come to, beside what stands there."""
    now, before = reasons(counts for _, counts in result.stages), reasons(counts for _, counts in result.before)
    rows = [["dropped by", "documents", "before"]]
    for reason in sorted({**before, **now}):
        unknown = result.behind and reason not in now and reason.partition(".")[0] not in result.decided
        rows.append([reason, "?" if unknown else f"{now.get(reason, 0):,}", f"{before.get(reason, 0):,}"])
    left, kept = f"{result.stages[-1][1]['kept']:,}", f"{result.before[-1][1]['kept']:,}" if result.before else ""
    if result.behind:
        rows.append([f"left for {result.behind}", left, ""])
    rows.append(["kept", "?" if result.behind else left, kept])
    behind = f"; what {result.behind} makes of these is not known from scores" if result.behind else ""
    text = "\n\n".join([_by_source(result.stages), columns(rows), f"{output}: nothing was written{behind}"])
    funnel = [{"stage": name, **counts} for name, counts in result.stages]
    return Table(text, {"output": output, "funnel": funnel, "behind": result.behind})


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
    rows = [["phase", "source", "share", "planned", "realised", "sequences", "padding", "epochs", "dropped"]]
    for row in result.rows:
        stored = row["tokens"] + row["padding"]
        rows.append(
            [
                row["phase"],
                row["source"],
                f"{row['share']:.4g}",
                f"{row['planned_tokens']:,}",
                f"{row['tokens']:,}",
                f"{row['sequences']:,}",
                f"{100 * row['padding'] / stored:.2f} %" if stored else "",
                f"{row['epochs']:.3f}",
                f"{row['dropped_documents']:,}",
            ]
        )
    sources = [["source", "documents", "tokens", "held out"]]
    in_order = dict.fromkeys([*(row["source"] for row in result.rows), *sorted(result.manifest.counts)])
    for name in in_order:
        part, held = (result.manifest.counts[name][kind] for kind in ("part", "held_out"))
        sources.append([name, f"{part['documents']:,}", f"{part['tokens']:,}", f"{held['documents']:,}"])
    words = f"tokenizer of {result.manifest.options['tokenizer']['vocab_size']:,} words"
    did = f"{result.tasks_run} tasks run" if result.planned else "nothing to do: every stage was done"
    data = {
        "output": output,
        "tasks_run": result.tasks_run,
        "rows": list(result.rows),
        "sources": result.manifest.counts,
    }
    text = "\n\n".join([columns(sources), columns(rows), words, f"{output}: {did}"])
    return Table(text, {**data, "fingerprint": result.manifest.fingerprint})

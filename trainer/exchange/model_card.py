"""The model card of an export: what the model is, what it was trained on, what was measured.

Who gets a folder of weights can ask nobody, so the card says what the run's record and the shards say, and `not stated`
where they say nothing. Costs a look into the order of each phase; no token is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...mixtures.built import Built
from .. import metrics, run_folder
from ..history import Stretch
from ..models import flops
from ..models.config import ModelConfig
from ..trained import Trained
from . import imported
from .proof import Proof

NOT_STATED = "not stated"


def render(trained: Trained, dtype: str, longest: int, template: str | None, proven: Proof) -> str:
    """The card's Markdown, with the header that model hubs read.

    Args:
        trained: the model.
        dtype: of the weights in the files.
        longest: tokens of the longest sequence that it was trained on.
        template: of its chat format, None where it has none.
        proven: what was compared.
    """
    contents = trained.checkpoint.contents
    run = trained.checkpoint.path.resolve().parent.parent
    name = contents.run or run.name
    lines = [
        *("---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [zaya, mixture-of-experts]"),
        *("---", "", f"# {name}", ""),
        f"A mixture-of-experts language model (ZAYA1's architecture), exported at step {contents.position.step:,}.",
        *("", "## Architecture", ""),
        *_table(("", ""), _architecture(contents.model, longest, dtype)),
        *("", "## Training", ""),
        *_begun(run),
        *_phases(contents.history),
        "",
        f"Tokens trained on, padding apart: {contents.position.tokens:,}, of which "
        f"{contents.position.supervised_tokens:,} counted in the loss.",
        *("", "## Data", ""),
        *_data(trained.built, contents.history),
        *("", "## Evaluation", ""),
        *_evaluation(run / metrics.NAME, contents.position.step),
        *("", "## Tokenizer", ""),
        f"Kind {trained.tokenizer.kind}, hash `{trained.tokenizer.hash}`, {trained.tokenizer.vocab_size:,} ids; "
        f"documents end with `{trained.tokenizer.end_of_document_text}`. "
        + (f"Chat template: {template}." if template is not None else "No chat template."),
        *("", "## Proof", "", f"{proven.text}.", ""),
    ]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    return ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *rows)]


def _architecture(model: ModelConfig, longest: int, dtype: str) -> list[tuple[str, object]]:
    active, embedding = flops.active_parameters(model), flops.embedding_parameters(model)
    rows: list[tuple[str, object]] = [
        ("parameters", f"{flops.total_parameters(model):,}"),
        ("active per token", f"{active + embedding:,} ({active:,} without the tied embedding)"),
        ("hidden size, layers", f"{model.hidden_size:,}, {model.num_layers}"),
        ("query heads, key/value heads, head size", f"{model.num_heads}, {model.num_kv_heads}, {model.head_dim}"),
        ("experts of size, router size", f"{model.num_experts} of {model.expert_size:,}, {model.router_size}"),
        ("vocabulary", f"{model.vocab_size:,}"),
        ("longest sequence", f"{longest:,}"),
        ("RoPE base", f"{model.rope_theta:g}"),
        ("skip class", getattr(model.moe, "skip", "off")),
        ("weights", dtype),
    ]
    if model.sliding_layers:
        window = (
            f"{len(model.sliding_layers)} layers, {model.sliding_window:,} tokens, base {model.sliding_rope_theta:g}"
        )
        rows.insert(7, ("sliding attention", window))
    return rows


def _begun(run: Path) -> list[str]:
    """Where the weights came from, if not from nothing."""
    record = imported.read(run)
    if record is not None:
        return [f"Imported from `{Path(record.source).name}` ({record.layout} layout), not trained further.", ""]
    begun = run_folder.stored(run).init_from if (run / run_folder.CONFIG).exists() else None
    return (
        [f"The weights were begun from `{begun.path}`; what that was trained on is not in this card.", ""]
        if begun
        else []
    )


def _phases(history: Sequence[Stretch]) -> list[str]:
    rows = [
        (
            stretch.phase,
            f"{stretch.first_step + 1:,} to {stretch.last_step:,}" if stretch.steps else "none",
            f"{stretch.sequence_length:,}",
            f"{stretch.batch_sequences * stretch.sequence_length:,}",
            f"{stretch.rope_theta:g}",
            f"{stretch.sequences:,}",
        )
        for stretch in history
    ]
    return _table(("phase", "steps", "sequence length", "batch tokens", "RoPE base", "sequences"), rows)


def _data(built: Built | None, history: Sequence[Stretch]) -> Iterator[str]:
    """What each phase has drawn from each source."""
    trained = [stretch for stretch in history if stretch.sequences]
    if not trained:
        yield f"Training data: {NOT_STATED}."
        return
    rows: list[tuple[object, ...]] = []
    for stretch in trained:
        of = _build_of(built, stretch.shards)
        if of is None:
            rows.append((stretch.phase, NOT_STATED, f"{stretch.sequences:,}", "", "", f"`{stretch.shards}`"))
            continue
        rows += [(*row, f"`{stretch.shards}`") for row in _drawn(of, stretch)]
    head = ("phase", "source", "sequences", "positions (padding included)", "share", "shards")
    yield from _table(head, rows)
    if built is None:
        return
    yield ""
    yield f"Mixture `{built.fingerprint}`. Its sources:"
    yield ""
    sources = [
        (
            name,
            source.template.name if source.template is not None else "plain text",
            f"{source.documents:,}",
            f"{source.tokens_total:,}",
            f"{source.held_out_documents:,}",
            f"`{source.tokens.rpartition('-')[2]}`",
            source.licence or NOT_STATED,
        )
        for name, source in built.sources.items()
    ]
    columns = ("source", "form", "documents", "tokens", "held out", "fingerprint", "licence")
    yield from _table(columns, sources)


def _build_of(built: Built | None, shards: str) -> Built | None:
    """The build of a fingerprint: the one at hand, or what it extends."""
    if built is None or shards == built.fingerprint:
        return built
    return built.before(shards) if shards in built.history else None


def _drawn(built: Built, stretch: Stretch) -> Iterator[tuple[object, ...]]:
    first, stop = stretch.first_sequence, stretch.first_sequence + stretch.sequences
    counts = built.order.counts(stretch.phase, stop) - built.order.counts(stretch.phase, first)
    for source, count in zip(built.phases[stretch.phase].source_names, counts.tolist(), strict=True):
        share = f"{count / stretch.sequences:.1%}"
        yield (stretch.phase, source, f"{count:,}", f"{count * stretch.sequence_length:,}", share)


def _evaluation(path: Path, step: int) -> list[str]:
    """The newest value of each measure up to the checkpoint's step."""
    newest: dict[str, tuple[int, Any]] = {}
    for row in metrics.rows(path) if path.exists() else ():
        if row.get("kind") == "evaluation" and row["step"] <= step:
            newest |= {key: (row["step"], value) for key, value in _measures(row).items()}
    if not newest:
        return ["Nothing was measured."]
    rows = [(name, f"{value:.4g}", f"{at:,}") for name, (at, value) in sorted(newest.items())]
    return _table(("measure", "value", "at step"), rows)


def _measures(row: Mapping[str, Any]) -> dict[str, float]:
    apart = ("kind", "step", "phase")
    return {key: value for key, value in row.items() if key not in apart and isinstance(value, int | float)}

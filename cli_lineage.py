"""The verbs of lineage: seen, where, peek. None of them loads torch.

Thin, as all verbs: the work is in `mixtures/lineage.py`, `mixtures/peek.py` and `trainer/seen.py`. Costs nothing until
a verb runs.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from .cli_options import Json, print_result
from .errors import ConfigError

app = typer.Typer(rich_markup_mode=None)

SHOWN = 4  # sequences of a batch whose text is shown unless a number is given

Rank = Annotated[int, typer.Option(min=0, help="Of the data-parallel ranks, this one alone.")]
WorldSize = Annotated[int, typer.Option(min=1, help="How many data-parallel ranks share a step.")]
Shards = Annotated[
    str | None, typer.Option(help="The built shards. Default: where the run says they are.", show_default=False)
]


@contextlib.contextmanager
def _at_once() -> Iterator[None]:
    """Without garbage collection, which takes a seventh of the time of so short a command."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@app.command(help="Seen: the documents that a step of a run was trained on: source, id, address, span.")
def seen(
    run: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    step: Annotated[int, typer.Option(help="From 1, as metrics.jsonl counts.")],
    rank: Rank = 0,
    world_size: WorldSize = 1,
    shards: Shards = None,
    as_json: Json = False,
) -> None:
    """Lists what stands in the batch of a step."""
    with _at_once():
        from .trainer import seen as lookup
        from .trainer import seen_text

        record = lookup.open_run(run, shards)
        print_result(seen_text.table(lookup.seen(record, step, rank, world_size), record), as_json)


@app.command(help="Where: the phases and sequences, and of a run the steps, in which a document is trained on.")
def where(
    place: Annotated[str, typer.Argument(metavar="RUN_OR_SHARDS")],
    identity: Annotated[str, typer.Argument(metavar="DOCUMENT_ID")],
    shards: Shards = None,
    as_json: Json = False,
) -> None:
    """Lists where the documents of an id stand."""
    with _at_once():
        from .mixtures import lineage, lineage_text
        from .trainer import seen as lookup

        steps = None
        if lookup.is_run(place):
            record = lookup.open_run(place, shards)
            found = lineage.whereabouts(record.built, identity)
            steps = lookup.steps_of(record, found)
        elif shards is not None:
            fix = "name the shards alone"
            raise ConfigError("--shards stands beside a run, and this is none", where=place, fix=fix)
        else:
            from .mixtures.built import Built

            found = lineage.whereabouts(Built.open(place), identity)
        print_result(lineage_text.whereabouts_table(found, steps), as_json)


@app.command(help="Peek: a batch as the trainer gets it: its text, what of it is trained, where documents begin.")
def peek(
    place: Annotated[str, typer.Argument(metavar="SHARDS_OR_RUN")],
    phase: Annotated[str | None, typer.Option(help="Default: the first.", show_default=False)] = None,
    sequence: Annotated[int | None, typer.Option(min=0, help="The first sequence to look at, from 0.")] = None,
    step: Annotated[int | None, typer.Option(min=1, help="The batch of a step: of the phase, or of a run.")] = None,
    batch_tokens: Annotated[str | None, typer.Option(help="Size of a step's batch; a run knows its own.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help=f"Sequences shown. Default: {SHOWN} of a step, else 1.")
    ] = None,
    rank: Rank = 0,
    world_size: WorldSize = 1,
    html: Annotated[str | None, typer.Option(metavar="FILE", help="Write a page instead.", show_default=False)] = None,
    shards: Shards = None,
    as_json: Json = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it is there.")] = False,
) -> None:
    """Shows sequences."""
    from .mixtures import peek as looking
    from .mixtures import peek_text
    from .trainer import seen as lookup
    from .trainer import which_batch

    if sequence is not None and step is not None:
        raise ConfigError("--sequence and --step cannot both be given", fix="leave one out")
    if lookup.is_run(place):
        if phase is not None or batch_tokens is not None or sequence is not None:
            raise ConfigError("a run's step has its phase and its batch", where=place, fix="give --step alone")
        chosen = which_batch.of_run(place, shards, step, rank, world_size)
    elif step is not None:
        chosen = which_batch.of_step(place, phase, step, batch_tokens, rank, world_size)
    else:
        chosen = which_batch.of_phase(place, phase, sequence or 0, count or 1)
    found = looking.peek(chosen.built, chosen.phase, chosen.first, chosen.count, count or SHOWN)
    if html is not None:
        from .mixtures import peek_html

        peek_html.write(found, str(chosen.built.root), html, overwrite)
    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print_result(peek_text.table(found, colour, whole=html is None), as_json)

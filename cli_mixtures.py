"""The verbs about built mixtures: verify, extend.

Thin, as all verbs: the work is in `pipelines/`. Costs nothing until a verb runs.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from .cli_options import (
    STALL_MINUTES,
    DryRun,
    Json,
    Memory,
    RayAddress,
    Set,
    Stall,
    Workers,
    at_work,
    print_result,
)
from .errors import ConfigError

if TYPE_CHECKING:
    from .pipelines.extend import Cut

app = typer.Typer(rich_markup_mode=None)

Readers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Files read at a time. Default: one a core.", show_default=False)
]


@app.command(help="Verify: every byte of an output against what was written; of built shards also counts and order.")
def verify(
    output: Annotated[str, typer.Argument(metavar="OUT", help="What curate, build, write or index add has made.")],
    workers: Readers = None,
    as_json: Json = False,
) -> None:
    """Verifies an output; ends with 1 where a file is wrong, and names the first."""
    from .pipelines.executor import default_workers
    from .pipelines.verification import verify as verifying
    from .pipelines.verification import verify_text
    from .progress import Progress

    progress = Progress(shown=not as_json)
    with progress.running():
        found = verifying.verify(output, workers or default_workers(), progress)
    print_result(verify_text.table(found), as_json)
    found.refuse()


@app.command(help="Extend: other phases and weights behind a place of a built mixture; what a run saw stays as it is.")
def extend(
    mixture: Annotated[str, typer.Argument(metavar="MIXTURE.yaml", help="Its output is extended by its phases.")],
    phase: Annotated[
        str | None,
        typer.Option("--phase", metavar="NAME", help="Cut this phase. Default: the last.", show_default=False),
    ] = None,
    at: Annotated[
        int | None,
        typer.Option("--at", min=0, metavar="SEQUENCE", help="Keep so many of its sequences. Default: all."),
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="Cut where this run's newest checkpoint stands.")
    ] = None,
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Extends a built mixture."""
    from .mixtures import schema

    if run is not None and (phase is not None or at is not None):
        raise ConfigError("--run says where the cut is", seen="--phase or --at beside it", fix="give one or the other")
    loaded = schema.load(mixture, overrides or ())

    from .pipelines import extend as pipeline
    from .pipelines import summaries

    cut = pipeline.Cut(phase, at) if run is None else _cut_of(run)
    if dry_run:
        from .pipelines import plan_mixture

        looked = pipeline.look(loaded, cut)
        planned = None if looked.done else pipeline.foresee(loaded, looked)
        shown = plan_mixture.table(planned) if planned else None
        print_result(summaries.to_extend(looked, shown, loaded.value.output), as_json)
        if planned:
            planned.refuse()
        return
    with at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.extend(loaded, cut, executor, progress, stall * 60)
    print_result(summaries.built(result, loaded.value.output), as_json)


def _cut_of(run: str) -> "Cut":
    """Where a run stands."""
    from .pipelines.extend import Cut
    from .trainer.checkpoints import checkpoint_folder

    contents = checkpoint_folder.find(run).contents
    return Cut(contents.position.phase, contents.position.sequence, contents.shards)

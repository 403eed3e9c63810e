"""The `midtrain` command: one verb a job, each a few lines over the room that does it.

Verbs import what they need when they run, so `midtrain --help` answers at once. An error of ours ends with its text and
its exit code (2 for a wrong configuration, 1 for a failed run), never with a traceback.
"""

import os
import sys
from typing import Annotated, Literal

import typer

from . import cli_exchange, cli_index, cli_lineage, cli_mixtures, cli_train
from .cli_options import (
    STALL_MINUTES,
    DryRun,
    Json,
    Memory,
    Overwrite,
    RayAddress,
    Scores,
    Set,
    Stall,
    Why,
    Workers,
    at_work,
    print_result,
)
from .errors import ConfigError, MidtrainError, RunError
from .tables import safe

app = typer.Typer(
    name="midtrain",
    help="From raw web text and chain-of-thought corpora to a midtrained mixture-of-experts model.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130  # the shell's own code for Ctrl-C
SYSTEM_FIX = "make room or give access, and run again: what is finished is kept"


def _print_version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Holds the options that stand before a verb."""


@app.command(help="Curate: raw corpora to curated documents, with what was dropped and why.")
def curate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    scores: Scores = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Runs a recipe."""
    from .pipelines import recipe as recipes

    loaded = recipes.load(recipe, overrides or ())  # before the heavy imports: a mistake is told at once

    from .pipelines import curate as pipeline
    from .pipelines import summaries

    if dry_run:
        print_result(summaries.stages(pipeline.plan(loaded, scores)), as_json)
        return
    with at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.curate(loaded, executor, progress, overwrite, stall * 60, scores)
    print_result(summaries.curated(result, loaded.spec.output), as_json)


@app.command(
    help="Decide: changed thresholds of a recipe, from the scores that curate --scores has kept; reads no text."
)
def decide(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Decides a recipe anew, or says what it would come to."""
    from .pipelines import recipe as recipes

    loaded = recipes.load(recipe, overrides or ())

    from .pipelines import decide as pipeline
    from .pipelines import summaries

    if dry_run:
        print_result(summaries.looked(pipeline.look(loaded), loaded.spec.output), as_json)
        return
    with at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.decide(loaded, executor, progress, overwrite, stall * 60)
    print_result(summaries.curated(result, loaded.spec.output), as_json)


@app.command(help="Explain: what every rule says of a document of a curated output, kept or dropped.")
def explain(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    identity: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Json = False,
) -> None:
    """Explains the documents of an id."""
    from .pipelines import explain as explaining
    from .pipelines import explain_text

    print_result(explain_text.table(explaining.explain(output, identity), identity), as_json)


@app.command(
    help="Plan: what a recipe will take, or what a mixture will draw; refuses what cannot be. "
    "With --why: what would be done again, and which field did it."
)
def plan(
    config: Annotated[str, typer.Argument(metavar="RECIPE.yaml|MIXTURE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    scores: Scores = False,
    why: Why = False,
    as_json: Json = False,
) -> None:
    """Plans a recipe from a sample, or a mixture; refuses one that cannot be, with the table all the same."""
    if why:
        from .pipelines import why_text

        print_result(why_text.of_file(config, overrides or (), scores), as_json)
        return
    from .mixtures import schema

    if why:
        from .pipelines import why_text

        print_result(why_text.of_file(config, overrides or (), scores), as_json)
        return
    if schema.is_mixture(config):
        given = [name for name, one in (("--workers", workers), ("--memory", memory), ("--scores", scores)) if one]
        if given:
            raise ConfigError(f"{given[0]} is of a recipe's plan", where=config, fix="leave it out: this is a mixture")
        from .pipelines import plan_mixture

        mixed = plan_mixture.plan(schema.load(config, overrides or ()))
        print_result(plan_mixture.table(mixed), as_json)
        mixed.refuse()
        return
    from .pipelines import plan as planning
    from .pipelines import recipe as recipes

    planned = planning.plan(recipes.load(config, overrides or ()), workers, memory, scores)
    print_result(planning.table(planned), as_json)
    planned.refuse()


@app.command(help="Build: curated documents to tokenized, packed shards and the exact order of training.")
def build(
    mixture: Annotated[str, typer.Argument(metavar="MIXTURE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Builds a mixture."""
    from .mixtures import schema

    loaded = schema.load(mixture, overrides or ())

    from .pipelines import build as pipeline
    from .pipelines import build_stages, summaries

    if dry_run:
        print_result(summaries.stages(build_stages.stages_of(loaded).shards), as_json)
        return
    with at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.build(loaded, executor, progress, overwrite, stall * 60)
    print_result(summaries.built(result, loaded.value.output), as_json)


app.add_typer(cli_index.app)
app.add_typer(cli_mixtures.app)


@app.command(help="Status: how far a run of curate or build has come, also when it is dead.")
def status(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    as_json: Json = False,
) -> None:
    """Reads what an output tells of itself."""
    from .pipelines import status as statuses

    print_result(statuses.status(output), as_json)


@app.command(help="Report: what a curation read, dropped and kept, by source and language; every rule's values.")
def report(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page with histograms.", show_default=False)
    ] = None,
    as_json: Json = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it is there.")] = False,
) -> None:
    """Reports on the output of a finished curation."""
    from .pipelines import report as reports
    from .pipelines import report_text

    found = reports.read(output)
    if html is not None:
        from .pipelines import report_html

        report_html.write(found, html, overwrite)
    print_result(report_text.table(found), as_json)


@app.command(help="Write: the documents of a curated output as plain files, for other tools.")
def write(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="Where the files go: a new folder.")],
    form: Annotated[Literal["parquet", "jsonl.zst"], typer.Option("--format", help="Of the files.")] = "parquet",
    workers: Workers = None,
    memory: Memory = None,
    ray: RayAddress = None,
    stall: Stall = STALL_MINUTES,
    as_json: Json = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier call wrote there.")] = False,
) -> None:
    """Writes documents."""
    from .pipelines import summaries, write_documents

    with at_work(ray, workers, memory, as_json) as (executor, progress):
        written, tasks = write_documents.write(output, folder, form, executor, progress, overwrite, stall * 60)
    print_result(summaries.written(written, tasks, folder), as_json)


app.add_typer(cli_train.app)
app.add_typer(cli_exchange.app)
app.add_typer(cli_lineage.app)


@app.command(help="Demo: the whole road on this machine's own text, in minutes; fails if midtraining taught nothing.")
def demo(
    output: Annotated[str, typer.Argument(metavar="FOLDER", help="Where everything goes.")] = "out/demo",
    seed: Annotated[int, typer.Option(min=0, help="Of the mixture and the models.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="One family of problems, half the training.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Runs the demo."""
    cli_train.needs_torch()
    from .demo import run as demo_run

    demo_run.run(output, seed, overwrite, demo_run.QUICK if quick else demo_run.WHOLE)


def main() -> None:
    """The entry point of the `midtrain` command."""
    # Threads that spin while they wait take the core from the thread that works; set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        code = app(
            sys.argv[1:] or ["--help"], prog_name="midtrain", standalone_mode=False
        )  # of typer.Exit, which Ctrl-C is turned into as well; else None
    except MidtrainError as error:
        kind = "configuration" if isinstance(error, ConfigError) else "run"
        print(f"midtrain: {kind} error\n{safe(error.render())}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that must not be written
        if error.errno is None:
            raise  # not the system's answer: a library that cannot be loaded
        failed = RunError(error.strerror or str(error), where=str(error.filename or ""), fix=SYSTEM_FIX)
        print(f"midtrain: run error\n{safe(failed.render())}", file=sys.stderr)
        sys.exit(failed.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except typer.TyperException as error:  # an unknown option, a value out of range
        print(f"midtrain: {error.format_message()}\nTry midtrain --help, or --help behind a verb.", file=sys.stderr)
        sys.exit(error.exit_code)
    if code == INTERRUPTED:
        print(
            "midtrain: interrupted; run the same command again to go on (train: with --resume; demo: it starts anew)",
            file=sys.stderr,
        )
    if code:
        sys.exit(code)

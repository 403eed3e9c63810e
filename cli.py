"""The `midtrain` command: one verb a job, each a few lines over the room that does it.

Verbs import what they need when they run, so `midtrain --help` answers at once. An error of ours ends with its text and
its exit code (2 for a wrong configuration, 1 for a failed run), never with a traceback.
"""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import ConfigError, MidtrainError

if TYPE_CHECKING:
    from .progress import Progress

app = typer.Typer(
    name="midtrain",
    help="From raw web text and chain-of-thought corpora to a midtrained mixture-of-experts model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

INTERRUPTED = 130  # the shell's own code for Ctrl-C

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Local processes; 0 works in this one. Default: one a core.", show_default=False),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another result in the same output.")]


@app.callback()
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Holds the options that stand before a verb."""
    if version:
        from . import __version__

        print(__version__)
        raise typer.Exit


@app.command(help="Curate: raw corpora to curated documents, with what was dropped and why.")
def curate(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Runs a recipe."""
    from .pipelines import curate as pipeline, recipe as recipes, runner, tables

    loaded = recipes.load(recipe, overrides or ())
    if dry_run:
        _show(tables.stages(pipeline.plan(loaded)), as_json)
        return
    progress = _progress(as_json)
    with progress.running():
        result = pipeline.curate(loaded, runner.default_workers() if workers is None else workers, progress, overwrite)
    _show(tables.curated(result, loaded.spec.output), as_json)


@app.command(help="Build: curated documents to tokenized, packed shards and the exact order of training.")
def build(
    mixture: Annotated[str, typer.Argument(metavar="MIXTURE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Builds a mixture."""
    from .mixtures import schema
    from .pipelines import build as pipeline, runner, tables

    loaded = schema.load(mixture, overrides or ())
    if dry_run:
        _show(tables.stages(pipeline.stages_of(loaded).shards), as_json)
        return
    progress = _progress(as_json)
    with progress.running():
        result = pipeline.build(loaded, runner.default_workers() if workers is None else workers, progress, overwrite)
    _show(tables.built(result, loaded.value.output), as_json)


def _progress(quiet: bool) -> "Progress":
    from .progress import Progress

    return Progress(shown=not quiet)


def _show(table: Any, as_json: bool) -> None:
    """Prints a result: `as_json` its data, else its lines."""
    if as_json:
        import orjson

        sys.stdout.write(orjson.dumps(table.data, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        print(table.text)


def main() -> None:
    """The entry point of the `midtrain` command."""
    # Threads that spin while they wait take the core from the thread that works; set before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        app(standalone_mode=False)
    except MidtrainError as error:
        kind = "configuration" if isinstance(error, ConfigError) else "run"
        print(f"midtrain: {kind} error\n{error.render()}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("midtrain: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("click", "typer"):
            show = getattr(error, "show", None)
            if show is not None:
                show()
                sys.exit(getattr(error, "exit_code", 2))
        raise

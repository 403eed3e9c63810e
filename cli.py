"""The `midtrain` command: one verb a job, each a few lines over the room that does it.

Verbs import what they need when they run, so `midtrain --help` answers at once. An error of ours ends with its text and
its exit code (2 for a wrong configuration, 1 for a failed run), never with a traceback.
"""

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from .errors import ConfigError, MidtrainError, RunError, missing_extra

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .pipelines.executor import Executor
    from .progress import Progress

app = typer.Typer(
    name="midtrain",
    help="From raw web text and chain-of-thought corpora to a midtrained mixture-of-experts model.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

STALL_MINUTES = 30.0
INTERRUPTED = 130  # the shell's own code for Ctrl-C
SYSTEM_FIX = "make room or give access, and run again: what is finished is kept"

Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, do nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Local processes; 0 works in this one. Default: one a core.", show_default=False),
]
Shards = Annotated[
    str | None, typer.Option(help="The built shards. Default: where the run says they are.", show_default=False)
]
Prompt = Annotated[
    Literal["answer", "reasoning"], typer.Option(help="Leave the model to answer, or open its reasoning.")
]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="A reply is no longer than this.")]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray", metavar="local|auto|ADDRESS", help="Run on Ray: started here, found, or at an address."),
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Memory that the run may use: 8GiB. Default: 80 % of what the machine leaves."),
]
Stall = Annotated[
    float, typer.Option(min=0, metavar="MINUTES", help="End a run in which no task ended for so long; it can go on.")
]
Scores = Annotated[
    bool, typer.Option("--scores", help="Keep each rule's value of every document as a column; decide works on them.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another result in the same output.")]


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
    from .pipelines import curate as pipeline
    from .pipelines import recipe as recipes
    from .pipelines import summaries

    loaded = recipes.load(recipe, overrides or ())
    if dry_run:
        _show(summaries.stages(pipeline.plan(loaded, scores)), as_json)
        return
    with _at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.curate(loaded, executor, progress, overwrite, stall * 60, scores)
    _show(summaries.curated(result, loaded.spec.output), as_json)


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
    from .pipelines import decide as pipeline
    from .pipelines import recipe as recipes
    from .pipelines import summaries

    loaded = recipes.load(recipe, overrides or ())
    if dry_run:
        _show(summaries.looked(pipeline.look(loaded), loaded.spec.output), as_json)
        return
    with _at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.decide(loaded, executor, progress, overwrite, stall * 60)
    _show(summaries.curated(result, loaded.spec.output), as_json)


@app.command(help="Explain: what every rule says of a document of a curated output, kept or dropped.")
def explain(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    identity: Annotated[str, typer.Argument(metavar="ID")],
    as_json: Json = False,
) -> None:
    """Explains the documents of an id."""
    from .pipelines import explain as explaining
    from .pipelines import explain_text

    _show(explain_text.table(explaining.explain(output, identity), identity), as_json)


@app.command(help="Plan: what a recipe will take: tasks, memory, disk, time; what is done already.")
def plan(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE.yaml")],
    overrides: Set = None,
    workers: Workers = None,
    memory: Memory = None,
    scores: Scores = False,
    as_json: Json = False,
) -> None:
    """Plans a recipe from a sample; refuses one that cannot fit, with the table all the same."""
    from .pipelines import plan as planning
    from .pipelines import recipe as recipes

    planned = planning.plan(recipes.load(recipe, overrides or ()), workers, memory, scores)
    _show(planning.table(planned), as_json)
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
    from .pipelines import build as pipeline
    from .pipelines import summaries

    loaded = schema.load(mixture, overrides or ())
    if dry_run:
        _show(summaries.stages(pipeline.stages_of(loaded).shards), as_json)
        return
    with _at_work(ray, workers, memory, as_json) as (executor, progress):
        result = pipeline.build(loaded, executor, progress, overwrite, stall * 60)
    _show(summaries.built(result, loaded.value.output), as_json)


@app.command(help="Status: how far a run of curate or build has come, also when it is dead.")
def status(
    output: Annotated[str, typer.Argument(metavar="OUT")],
    as_json: Json = False,
) -> None:
    """Reads what an output tells of itself."""
    from .pipelines import status as statuses

    _show(statuses.status(output), as_json)


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
    _show(report_text.table(found), as_json)


@app.command(help="Train: built shards to checkpoints and metrics.")
def train(
    run: Annotated[str, typer.Argument(metavar="RUN.yaml")],
    overrides: Set = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint of the run.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    overwrite: Overwrite = False,
) -> None:
    """Trains a run."""
    from . import config
    from .trainer import planned
    from .trainer.run import RunConfig

    loaded = config.load(run, RunConfig, overrides or ())
    plans = planned.phases(loaded)
    if dry_run:
        _show(planned.table(plans), as_json)
        return
    _needs_torch()
    from .trainer import show
    from .trainer import train as trainer

    with show.Reporter(shown=not as_json) as reporter:
        result = trainer.train(loaded, resume=resume, overwrite=overwrite, report=reporter)
    _show(show.trained(result), as_json)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command(name="eval", help="Evaluate: held-out loss and bits per byte, accuracy on generated problems.")
def evaluate(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    shards: Shards = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="Held-out documents of this source alone (repeatable).")
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Generated problems (repeatable).")] = None,
    prompt: Prompt = "reasoning",
    samples: Annotated[int, typer.Option(min=1, help="Problems of each task.")] = 200,
    steps: Annotated[list[int] | None, typer.Option(help="Steps of a problem (repeatable). Default: 4 and 5.")] = None,
    max_new_tokens: MaxNewTokens = 128,
    as_json: Json = False,
) -> None:
    """Measures a trained model."""
    _needs_torch()
    from .trainer import show
    from .trainer.trained import Trained

    trained = Trained.open(checkpoint, shards)
    losses = list(trained.held_out(source))
    scores = trained.tasks(task or [], prompt, samples, steps or [4, 5], max_new_tokens) if task else []
    _show(show.evaluated(losses, scores), as_json)


@app.command(help="Generate: a trained model's reply to a text.")
def generate(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    text: Annotated[str, typer.Argument(help="A user's message; - reads it from standard input.")],
    shards: Shards = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text as it is, without a template.")] = False,
    prompt: Prompt = "reasoning",
    max_new_tokens: MaxNewTokens = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the most probable token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the smallest set of tokens with this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the random draws.")] = 0,
) -> None:
    """Prints a reply."""
    _needs_torch()
    from .trainer.trained import Trained

    asked = sys.stdin.read() if text == "-" else text
    print(
        Trained.open(checkpoint, shards).reply(
            asked,
            raw=raw,
            prompt=prompt,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
        )
    )


@app.command(help="Demo: the whole road on this machine's own text, in minutes; fails if midtraining taught nothing.")
def demo(
    output: Annotated[str, typer.Argument(metavar="FOLDER", help="Where everything goes.")] = "out/demo",
    seed: Annotated[int, typer.Option(min=0, help="Of the mixture and the models.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Runs the demo."""
    _needs_torch()
    from .demo import run as demo_run

    demo_run.run(output, seed, overwrite)


def _needs_torch() -> None:
    """Says which extra is missing before anything of the trainer is imported."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "the trainer")


def _executor(ray: str | None, workers: int | None, memory: str | None, progress: "Progress") -> "Executor":
    """Where tasks run: this process, local processes (one a core, unless a number was given), a Ray cluster."""
    from .pipelines import budget

    if ray is not None:
        from .pipelines.cluster import RayCluster

        return RayCluster(ray, workers, None if memory is None else budget.of(memory).bytes, progress.say)
    from .pipelines.processes import local

    return local(workers, budget.of(memory).bytes)


@contextlib.contextmanager
def _at_work(
    ray: str | None, workers: int | None, memory: str | None, quiet: bool
) -> "Iterator[tuple[Executor, Progress]]":
    """Where tasks run, and what shows how far they are.

    What libraries print meanwhile (Ray, of nodes that died) goes where it spoils no result.
    """
    from .progress import Progress

    progress = Progress(shown=not quiet)
    with progress.running(), contextlib.redirect_stdout(sys.stderr):
        yield _executor(ray, workers, memory, progress), progress


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
        code = app(
            sys.argv[1:] or ["--help"], prog_name="midtrain", standalone_mode=False
        )  # of typer.Exit, which Ctrl-C is turned into as well; else None
    except MidtrainError as error:
        kind = "configuration" if isinstance(error, ConfigError) else "run"
        print(f"midtrain: {kind} error\n{error.render()}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that must not be written
        if error.errno is None:
            raise  # not the system's answer: a library that cannot be loaded
        failed = RunError(error.strerror or str(error), where=str(error.filename or ""), fix=SYSTEM_FIX)
        print(f"midtrain: run error\n{failed.render()}", file=sys.stderr)
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

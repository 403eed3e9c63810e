"""The verbs that need torch: train, eval, generate.

Thin, as all verbs: the work is in `trainer/`. Costs nothing until a verb runs.
"""

import sys
from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from .cli_options import DryRun, Json, Overwrite, Set, print_result
from .errors import missing_extra

app = typer.Typer(rich_markup_mode=None)

Shards = Annotated[
    str | None, typer.Option(help="The built shards. Default: where the run says they are.", show_default=False)
]
Prompt = Annotated[
    Literal["answer", "reasoning"], typer.Option(help="Leave the model to answer, or open its reasoning.")
]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the most probable token.")]
TopP = Annotated[float, typer.Option(help="Draw from the smallest set of tokens with this probability.")]
TopK = Annotated[int | None, typer.Option(min=1, help="Draw from so many most probable tokens.", show_default=False)]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Of the random draws.")]


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
    from .trainer.run import RunConfig

    loaded = config.load(run, RunConfig, overrides or ())  # before the heavy imports: a mistake is told at once

    from .trainer import planned

    plans = planned.phases(loaded)
    if dry_run:
        if find_spec("torch") is not None:
            from .trainer import prepare

            prepare.prepare(loaded, planned.open_shards(loaded), prepare.here())
        print_result(planned.table(plans), as_json)
        return
    needs_torch()
    from .trainer import show
    from .trainer import train as trainer

    with show.Reporter(shown=not as_json) as reporter:
        result = trainer.train(loaded, resume=resume, overwrite=overwrite, report=reporter)
    print_result(show.trained(result), as_json)
    if result.exit_code:
        raise typer.Exit(result.exit_code)


@app.command(
    name="eval",
    help="Evaluate: held-out loss and bits per byte, accuracy on generated problems, and benchmarks "
    "(HumanEval, MBPP, GSM8K, MATH, ARC, HellaSwag, MMLU).",
)
def evaluate(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    shards: Shards = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", help="Held-out documents of this source alone (repeatable); none with benchmarks."),
    ] = None,
    task: Annotated[list[str] | None, typer.Option("--task", help="Generated problems (repeatable).")] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option("--benchmark", metavar="NAME=FILE", help="A benchmark's lines of JSON (repeatable)."),
    ] = None,
    prompt: Annotated[
        Literal["answer", "reasoning", "plain"],
        typer.Option(help="Leave the model to answer, open its reasoning, or ask without a template (benchmarks)."),
    ] = "reasoning",
    samples: Annotated[
        int | None, typer.Option(min=1, help="Problems of each. Default: 200 of a task, all of a benchmark.")
    ] = None,
    steps: Annotated[list[int] | None, typer.Option(help="Steps of a problem (repeatable). Default: 4 and 5.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Replies to each problem.")] = 1,
    k: Annotated[list[int] | None, typer.Option("--k", min=1, help="Estimate pass@k (repeatable). Default: 1.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="A reply is no longer. Default: 128 for tasks, 512 for benchmarks.")
    ] = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Replies written together.")] = 64,
    output: Annotated[
        str | None, typer.Option(metavar="FILE.jsonl", help="Write every reply to a benchmark, with its verdict.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measures a trained model."""
    needs_torch()
    from .mixtures.templates import CHATML
    from .trainer import show
    from .trainer.evaluation.asked import Asked
    from .trainer.evaluation.benchmark_score import Manner
    from .trainer.evaluation.evaluate import check_prompt
    from .trainer.evaluation.sampling import Sampling
    from .trainer.trained import Trained

    asked_tasks = check_prompt(prompt) if task else "reasoning"
    sampling = Sampling(temperature, top_p, top_k, n, seed)
    manner = Manner(prompt, CHATML, max_new_tokens or 512, sampling, tuple(k or [1]), batch_size)
    asked = Asked.read(benchmark or [], samples, output, overwrite)
    trained = Trained.open(checkpoint, shards)
    asked.check(trained, manner)
    elsewhere = asked.benchmarks or (task and trained.built is None)  # an imported model may have no documents
    losses = list(trained.held_out(source)) if source or not elsewhere else []
    scores = []
    if task:
        limits = (samples or 200, steps or [4, 5], max_new_tokens or 128)
        scores = trained.tasks(task, asked_tasks, *limits, sampling=sampling, ks=manner.ks, batch_size=batch_size)
    print_result(show.evaluated(losses, scores, asked.scores(trained, manner)), as_json)


@app.command(help="Generate: a trained model's reply to a text.")
def generate(
    checkpoint: Annotated[str, typer.Argument(metavar="RUN_OR_CHECKPOINT")],
    text: Annotated[str, typer.Argument(help="A user's message; - reads it from standard input.")],
    shards: Shards = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text as it is, without a template.")] = False,
    prompt: Prompt = "reasoning",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="A reply is no longer than this.")] = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    seed: Seed = 0,
    stop: Annotated[list[str] | None, typer.Option("--stop", help="End before this text (repeatable).")] = None,
) -> None:
    """Prints a reply."""
    needs_torch()
    from .trainer.evaluation.sampling import Sampling
    from .trainer.trained import Trained

    said = sys.stdin.read() if text == "-" else text
    sampling = Sampling(temperature, top_p, top_k, seed=seed)
    trained = Trained.open(checkpoint, shards)
    print(
        trained.reply(said, raw=raw, prompt=prompt, max_new_tokens=max_new_tokens, sampling=sampling, stops=stop or ())
    )


def needs_torch() -> None:
    """Says which extra is missing before anything of the trainer is imported."""
    if find_spec("torch") is None:
        raise missing_extra("torch", "train", "the trainer")

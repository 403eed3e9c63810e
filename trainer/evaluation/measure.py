"""What a run measures while it trains: its `evaluate:` section made into the function that the loop calls.

The loop knows nothing of sources, tokenizers or problems, and `evaluate.py` nothing of phases and steps. Costs what
`evaluate.py` and `benchmark_score.py` say, each time; tokenizer and benchmarks are opened once, before the run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from ...config import Loaded
from ...errors import ConfigError
from ...mixtures import tasks
from ...mixtures.built import Built
from ...mixtures.templates import CHATML, Template
from ...mixtures.tokenizers import Tokenizer
from ..models.model import MoEModel
from ..out_of_memory import naming
from ..run import EvaluateConfig, PhasePlan, RunConfig
from ..session import Evaluate
from . import benchmark_score, benchmarks, verdicts
from .benchmark_score import Manner
from .benchmarks import Benchmark
from .evaluate import Prompt, TaskScore, held_out_loss, task_accuracy
from .sampling import Sampling
from .verdicts import Sample

PROBLEM_SEED = 0
"""Chooses the problems: the same for every run, whatever its own seed, so that runs can be compared."""

FOLDER = "evaluations"
"""In a run's folder: what the model replied, a file for each evaluation."""

_GO_ON = "(--resume goes on with this evaluation)"
_REPLIES = f"lower evaluate.max_new_tokens or evaluate.n, or leave it out of evaluate {_GO_ON}"


def evaluator(run: Loaded[RunConfig], plans: tuple[PhasePlan, ...], built: Built) -> Evaluate | None:
    """The run's evaluation, None where it asks for none.

    The function gives, by source, task and benchmark: `held_out.NAME.loss` (nats per supervised token) and
    `.bits_per_byte`; `tasks.NAME.accuracy`, `.parsed` (shares of the replies), `.pass@K` for K above 1, and
    `.twin_loss` (nats per supervised token); `NAME.pass@K`, or `NAME.accuracy` and `.accuracy_per_byte` where choices
    are scored. What the model replied is written to `evaluations/step-NNNNNNNN.jsonl` in the run's folder.

    Raises:
        ConfigError: an unknown task, one without such problems or with too few of them, a benchmark's file that is not
            there or of no known form, or nothing to measure.
        RunError: the tokenizer is not the one that made the shards, or programs cannot be isolated on this machine.
    """
    section = run.value.evaluate
    if section is None:
        return None
    for index, name in enumerate(section.tasks):
        try:
            tasks.evaluation_problems(name, section.steps, section.samples, PROBLEM_SEED)
        except ConfigError as wrong:
            raise run.error(("evaluate", "tasks", index), wrong.what, expected=wrong.expected, fix=wrong.fix) from None
    sources = [name for name, source in built.sources.items() if section.held_out and source.held_out_documents]
    if not sources and not section.tasks and not section.benchmarks:
        raise run.error(
            ("evaluate",),
            "there is nothing to measure: no source has held-out documents, and no tasks or benchmarks are named",
            fix="give the mixture's sources held_out, name tasks or benchmarks, or leave evaluate out",
        )
    manner = _manner(section, template_of(built))
    read = [_read(run, name, path) for name, path in section.benchmarks.items()]
    tokenizer = built.open_tokenizer() if section.tasks or read else None
    if tokenizer is not None and section.tasks:
        tokenizer.check(manner.template)
    if tokenizer is not None:
        for benchmark in read:
            benchmark_score.check(benchmark, tokenizer, manner)
    folder = Path(run.value.output) / FOLDER

    def measure(model: MoEModel, step: int) -> Mapping[str, float]:
        plan = next(plan for plan in plans if step <= plan.last_step)
        values: dict[str, float] = {}
        for source in sources:
            values |= _held_out(model, built, source, plan)
        samples: list[Sample] = []
        if tokenizer is not None and section.tasks:
            values |= _tasks(model, tokenizer, section, manner, samples)
        if tokenizer is not None:
            for benchmark in read:
                with naming("the benchmark", benchmark.name, _REPLIES):
                    result = benchmark_score.score(model, tokenizer, benchmark, manner)
                values |= {f"{benchmark.name}.{name}": value for name, value in result.scores.items()}
                samples += result.samples
        if samples:
            verdicts.write(folder / f"step-{step:08d}.jsonl", samples)
        return values

    return measure


def template_of(built: Built | None) -> Template:
    """The template of the mixture's sources, where they have one and the same; that of a model without shards."""
    sources = built.sources.values() if built is not None else ()
    found = {source.template for source in sources if source.template is not None}
    return found.pop() if len(found) == 1 else CHATML


def _held_out(model: MoEModel, built: Built, source: str, plan: PhasePlan) -> dict[str, float]:
    """Loss on rows of the phase's length, as many at once as a micro-batch has."""
    fix = f"set a smaller micro_batch_tokens in the phase {_GO_ON}"
    with naming("the held-out loss", source, fix):
        result = held_out_loss(model, built.held_out(source), plan.sequence_length, plan.micro_sequences, source=source)
    return {f"held_out.{source}.loss": result.loss, f"held_out.{source}.bits_per_byte": result.bits_per_byte}


def _read(run: Loaded[RunConfig], name: str, path: str) -> Benchmark:
    """A benchmark of the run file, as many problems as it asks for."""
    section = run.value.evaluate
    try:
        return benchmarks.read(name, path, section.samples if section else None)
    except ConfigError as wrong:
        raise run.error(
            ("evaluate", "benchmarks", name), f"{wrong.where}: {wrong.what}", expected=wrong.expected, fix=wrong.fix
        ) from None


def _manner(section: EvaluateConfig, template: Template) -> Manner:
    sampling = Sampling(temperature=section.temperature, top_p=section.top_p, n=section.n, seed=PROBLEM_SEED)
    return Manner(section.prompt, template, section.max_new_tokens, sampling, section.k)


def _tasks(
    model: MoEModel, tokenizer: Tokenizer, section: EvaluateConfig, manner: Manner, samples: list[Sample]
) -> dict[str, float]:
    """Scores by name; adds the examples to `samples`."""
    with naming("the replies to problems", ", ".join(section.tasks), _REPLIES):
        scores = task_accuracy(
            model,
            tokenizer,
            section.tasks,
            cast(Prompt, manner.asked),
            section.samples,
            section.steps,
            PROBLEM_SEED,
            template=manner.template,
            max_new_tokens=manner.max_new_tokens,
            sampling=manner.sampling,
            ks=manner.ks,
        )
    values = {}
    for score in scores:
        values[f"tasks.{score.task}.accuracy"] = score.accuracy
        values[f"tasks.{score.task}.parsed"] = score.parsed / score.replies
        values |= {f"tasks.{score.task}.pass@{k}": value for k, value in score.pass_at.items() if k > 1}
        values[f"tasks.{score.task}.twin_loss"] = score.twin_loss
        samples += task_samples(score)
    return values


def task_samples(score: TaskScore) -> list[Sample]:
    """A task's examples as samples of a benchmark."""
    return [
        Sample(
            score.task,
            str(number),
            example.statement,
            example.reply,
            "passed" if example.correct else "wrong",
            f"expected {example.answer}",
        )
        for number, example in enumerate(score.examples)
    ]

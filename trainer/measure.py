"""What a run measures while it trains: its `evaluate:` section made into the function that the loop calls.

The loop knows nothing of sources, tokenizers or problems, and `evaluate.py` nothing of phases and steps. Costs what
`evaluate.py` says, each time; the tokenizer is opened once.
"""

from collections.abc import Mapping

from ..config import Loaded
from ..errors import ConfigError
from ..mixtures import tasks
from ..mixtures.built import Built
from ..mixtures.tokenizers import Tokenizer
from .evaluate import held_out_loss, task_accuracy
from .model import MoEModel
from .run import EvaluateConfig, PhasePlan, RunConfig
from .session import Evaluate

PROBLEM_SEED = 0
"""Chooses the problems: the same for every run, whatever its own seed, so that runs can be compared."""

DEFAULT_TEMPLATE = "chatml"


def evaluator(run: Loaded[RunConfig], plans: tuple[PhasePlan, ...], built: Built) -> Evaluate | None:
    """The run's evaluation, None where it asks for none.

    The function gives, by source and by task: `held_out.NAME.loss` (nats per supervised token) and `.bits_per_byte`;
    `tasks.NAME.accuracy`, `.parsed` (shares of the problems) and `.twin_loss` (nats per supervised token).

    Raises:
        ConfigError: an unknown task, one without such problems or with too few of them, or nothing to measure.
        RunError: the tokenizer is not the one that made the shards.
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
    if not sources and not section.tasks:
        raise run.error(
            ("evaluate",),
            "there is nothing to measure: no source has held-out documents, and no tasks are named",
            fix="give the mixture's sources held_out, name tasks, or leave evaluate out",
        )
    tokenizer = None
    if section.tasks:
        built.check_tokenizer()
        tokenizer = Tokenizer.open(built.tokenizer_path, built.end_of_document_text)
        tokenizer.check(template_of(built))

    def measure(model: MoEModel, step: int) -> Mapping[str, float]:
        plan = next(plan for plan in plans if step <= plan.last_step)
        values: dict[str, float] = {}
        for source in sources:
            values |= _held_out(model, built, source, plan)
        if tokenizer is not None:
            values |= _tasks(model, tokenizer, section, template_of(built))
        return values

    return measure


def template_of(built: Built) -> str:
    """The template of the mixture's sources, where they have one and the same."""
    names = {source.template for source in built.sources.values() if source.template is not None}
    return names.pop() if len(names) == 1 else DEFAULT_TEMPLATE


def _held_out(model: MoEModel, built: Built, source: str, plan: PhasePlan) -> dict[str, float]:
    """Loss on rows of the phase's length, as many at once as a micro-batch has."""
    result = held_out_loss(model, built.held_out(source), plan.sequence_length, plan.micro_sequences, source=source)
    return {f"held_out.{source}.loss": result.loss, f"held_out.{source}.bits_per_byte": result.bits_per_byte}


def _tasks(model: MoEModel, tokenizer: Tokenizer, section: EvaluateConfig, template: str) -> dict[str, float]:
    scores = task_accuracy(
        model,
        tokenizer,
        section.tasks,
        section.prompt,
        section.samples,
        section.steps,
        PROBLEM_SEED,
        template=template,
        max_new_tokens=section.max_new_tokens,
    )
    values = {}
    for score in scores:
        values[f"tasks.{score.task}.accuracy"] = score.accuracy
        values[f"tasks.{score.task}.parsed"] = score.parsed / score.problems
        values[f"tasks.{score.task}.twin_loss"] = score.twin_loss
    return values

"""Generated problems: one module a family, looked up by its name, and the streams that training and evaluation draw.

Whether reasoning was learned can be told only from problems that were never trained on in any form, so what belongs to
evaluation is decided here once, by the hash of the statement, for every form and seed. Costs 10 to 35 microseconds a
record, of logic grids 500; nothing is stored.
"""

import importlib
import itertools
import pkgutil
import random
from collections.abc import Iterator, Sequence
from typing import Literal, cast, get_args

import xxhash

from ...config import did_you_mean
from ...errors import ConfigError
from . import gym
from .problem import Problem, Task, check_steps, distinct_unseen, held_out

__all__ = [
    "GYM",
    "Form",
    "Messages",
    "Problem",
    "Record",
    "Task",
    "check_form",
    "evaluation_problems",
    "generate",
    "held_out",
    "names",
    "task",
]

GYM = gym.PREFIX
"""How the name of a task of reasoning-gym begins."""
Form = Literal["worked", "answer_only", "fact"]
Messages = list[dict[str, str | None]]
"""Turns in order, each with role, content and reasoning (None where there is none)."""
Record = tuple[str, Problem, Messages]
"""Id, problem, messages."""

MOST_MISSES = 20_000
"""Draws in a row without anything new after which a family is taken to be exhausted; about a second."""


NOT_FAMILIES = ("family", "grid_check", "grid_kernels", "grid_lines", "gym", "problem", "program")
"""The modules of this package that families are made of."""


def names() -> list[str]:
    """The families, sorted: every module of this package but those that they are made of."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NOT_FAMILIES)


def task(name: str) -> Task:
    """The family of that name; `reasoning_gym.NAME` is that task of the library reasoning-gym.

    Raises:
        ConfigError: there is none; the nearest name is suggested. The library is not installed.
    """
    if name.startswith(gym.PREFIX):
        return gym.family(name)
    known = names()
    if not name.isidentifier() or name not in known:
        raise ConfigError(
            f"there are no generated problems called {name}",
            where="tasks",
            seen=name,
            expected="one of " + ", ".join(known) + f", or {gym.PREFIX}NAME",
            fix=did_you_mean(name, known),
        )
    return cast(Task, importlib.import_module(f".{name}", __name__).TASK)


def generate(
    tasks: Sequence[str], form: Form, steps: Sequence[int], start: int, count: int, seed: int
) -> Iterator[Record]:
    """Records `start` to `start + count` of every family, one of each family in turn; none is held out.

    Record i of a family is a pure function of seed, family, steps and i, whatever `start`, `count` and the other
    families are, and its problem is that of every other form: `answer_only` gives the twins of `worked`, under the
    same ids. For `fact` a record is one round through all facts of the family, in a fresh order; facts have one step,
    and are the only problems that may also belong to evaluation.

    Raises:
        ConfigError: an unknown family or form; no steps, steps given twice or for facts; a family without problems of
            so many steps, without facts, or without worked steps.
    """
    chosen = [task(name) for name in tasks]
    lengths = _check(form, steps, start, count)
    for family in chosen:
        check_form(family, form)
    return (
        _facts(chosen, start, count, seed) if form == "fact" else _problems(chosen, form, lengths, start, count, seed)
    )


def evaluation_problems(name: str, steps: Sequence[int], count: int, seed: int) -> list[Problem]:
    """`count` distinct problems of a family that belong to evaluation; a longer list starts with a shorter one.

    Raises:
        ConfigError: an unknown family, wrong steps, or fewer than `count` such problems exist.
    """
    family = task(name)
    lengths = _check("worked", steps, 0, count)
    if isinstance(family, gym.GymTask):
        check_steps(name, lengths[-1], 1)
        return family.evaluation_problems(count, seed)
    rng = _rng(seed, name, lengths, "evaluation", 0)
    drawn = (family.problem(rng, rng.choice(lengths)) for _ in itertools.count())
    return distinct_unseen(drawn, count, MOST_MISSES, name, f"steps {list(lengths)}")


def check_form(family: Task, form: Form) -> None:
    """Raises ConfigError where a family has no problems of a form: not all have facts, or worked steps."""
    if form == "fact":
        family.facts()
    if form == "worked" and isinstance(family, gym.GymTask):
        raise ConfigError(
            f"{family.name} has answers alone, no worked steps",
            where="form",
            seen=form,
            expected="answer_only",
            fix="write form: answer_only, in a source of its own",
        )


def _check(form: Form, steps: Sequence[int], start: int, count: int) -> tuple[int, ...]:
    if form not in get_args(Form):
        raise ConfigError("unknown form", where="form", seen=form, expected=", ".join(get_args(Form)))
    if start < 0 or count < 0:
        raise ConfigError("negative number of records", where="count", seen=f"start {start}, count {count}")
    lengths = tuple(sorted(set(steps)))
    if len(lengths) != len(steps):
        raise ConfigError("a number of steps stands twice", where="steps", seen=list(steps), fix="name each once")
    if form == "fact" and lengths not in ((), (1,)):
        raise ConfigError("facts have one step", where="steps", seen=list(steps), fix="leave steps out")
    if form != "fact" and not lengths:
        raise ConfigError("no number of steps", where="steps", seen=list(steps), expected="for example [4, 5]")
    return lengths


def _rng(seed: int, name: str, lengths: tuple[int, ...], stream: str, index: int) -> random.Random:
    key = f"{seed}/{name}/{','.join(map(str, lengths))}/{stream}/{index}"
    return random.Random(xxhash.xxh3_128_intdigest(key.encode()))


def _problems(
    chosen: Sequence[Task], form: Form, lengths: tuple[int, ...], start: int, count: int, seed: int
) -> Iterator[Record]:
    label = ",".join(map(str, lengths))
    for index in range(start, start + count):
        for family in chosen:
            problem = _training_problem(family, lengths, index, seed)
            yield f"{family.name}/{label}/{seed}/{index}", problem, _messages(problem, worked=form == "worked")


def _training_problem(family: Task, lengths: tuple[int, ...], index: int, seed: int) -> Problem:
    if isinstance(family, gym.GymTask):
        check_steps(family.name, lengths[-1], 1)
        return family.training_problem(index, seed)
    rng = _rng(seed, family.name, lengths, "training", index)
    for _ in range(MOST_MISSES):
        problem = family.problem(rng, rng.choice(lengths))
        if problem.trainable:
            return problem
    raise ConfigError(f"{family.name} has no problems but those for evaluation", where=f"steps {list(lengths)}")


def _facts(chosen: Sequence[Task], start: int, count: int, seed: int) -> Iterator[Record]:
    facts = {family.name: family.facts() for family in chosen}
    for index in range(start, start + count):
        for name, known in facts.items():
            order = list(range(len(known)))
            _rng(seed, name, (1,), "fact", index).shuffle(order)
            for at in order:
                yield f"{name}/fact/{seed}/{index}/{at}", known[at], _messages(known[at], worked=False)


def _messages(problem: Problem, worked: bool) -> Messages:
    reasoning = "\n".join(problem.steps) if worked else None
    return [
        {"role": "user", "content": problem.statement, "reasoning": None},
        {"role": "assistant", "content": problem.answer, "reasoning": reasoning},
    ]

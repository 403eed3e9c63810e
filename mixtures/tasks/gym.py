"""Tasks of the library reasoning-gym as families: its problems by index, its own scorer as the verifier, answers alone.

It has a hundred procedural tasks that would be work to write again. They come without worked steps, with one
difficulty, the library's default, and without a core: what belongs to evaluation is decided by the statement. The
library is loaded when one of its tasks is named; costs what it costs, 1 to 5 seconds to load and from 10 microseconds
to milliseconds a problem.
"""

import importlib
import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import xxhash

from ...config import did_you_mean
from ...errors import ConfigError, RunError, missing_extra
from .problem import THINK_END, THINK_START, Problem, check_steps, distinct_unseen

PREFIX = "reasoning_gym."
LIBRARY = "reasoning_gym"
DISTRIBUTION = "reasoning-gym"
BLOCK = 1_000
"""Problems of one data set of the library: some of its tasks draw them all when it is made."""
BLOCKS_HELD = 8
SEEDS = 1 << 31
"""Seeds that every task takes; some refuse 2^32 and above."""
UNREPEATABLE = frozenset(
    {
        *("codeio", "intermediate_integration", "isomorphic_strings", "knight_swap", "list_functions"),
        *("polynomial_multiplication", "ransom_note", "word_ladder"),
    }
)
"""Tasks of version 0.1.25 that make other problems in another process, from the order of sets of strings or from time:
found by making 40 problems of each task under two values of PYTHONHASHSEED."""
TRIED = 20
"""Problems of which one must have an answer."""
NONSENSE = "zq"
"""A reply that answers no question."""
SCORER_ERRORS = (ArithmeticError, AttributeError, LookupError, SyntaxError, TypeError, ValueError)
"""What scorers raise over replies of another form than they expect."""
MOST_MISSES = 2_000
"""Problems in a row without anything new after which a task is taken to be exhausted."""


@dataclass(frozen=True)
class GymProblem(Problem):
    """A problem with the library's own record of it, which its scorer wants."""

    entry: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class GymTask:
    """One task of the library."""

    name: str
    version: str
    """That of the library: its problems may change with it."""

    def problem(self, rng: random.Random, steps: int) -> GymProblem:
        """A problem at random.

        Raises:
            ConfigError: `steps` is not 1.
        """
        check_steps(self.name, steps, 1)
        for _ in range(MOST_MISSES):
            if problem := self.at(rng.randrange(BLOCK), 0):
                return problem
        raise ConfigError(f"{self.name} makes no problems with an answer", where="tasks", fix="leave it out")

    def at(self, index: int, seed: int) -> GymProblem | None:
        """Problem number `index` of a seed, whichever was asked before; None where its answer is empty or none."""
        block, place = divmod(index, BLOCK)
        entry = _block(self.name.removeprefix(PREFIX), seed, block)[place]
        statement, answer = entry.get("question"), entry.get("answer")
        if not isinstance(statement, str) or not isinstance(answer, str) or not statement or not answer.strip():
            return None
        return GymProblem(self.name, statement, (), answer, core=statement, entry=entry)

    def training_problem(self, index: int, seed: int) -> GymProblem:
        """Problem `index` of a seed that is not for evaluation; else the one 2^20 further on.

        Raises:
            ConfigError: there is none among 20.
        """
        for turn in range(20):
            problem = self.at(index + (turn << 20), seed)
            if problem is not None and problem.trainable:
                return problem
        raise ConfigError(
            f"{self.name} has too few problems",
            where=f"problem {index} of seed {seed}",
            seen="20 in a row for evaluation or without an answer",
        )

    def evaluation_problems(self, count: int, seed: int) -> list[Problem]:
        """`count` distinct problems that belong to evaluation.

        Raises:
            ConfigError: too few were found.
        """
        drawn = (self.at(index, seed) for index in itertools.count())
        return distinct_unseen(drawn, count, MOST_MISSES, self.name, f"seed {seed}")

    def facts(self) -> tuple[Problem, ...]:
        """None.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{self.name} has no facts", where="form", seen="fact", expected="answer_only")

    def parse(self, reply: str) -> str | None:
        """All that follows a reply's reasoning; None where that is nothing, or the reasoning was never closed."""
        _, closed, after = reply.rpartition(THINK_END)
        if not closed and THINK_START in reply:
            return None
        return after.strip() or None

    def verify(self, problem: Problem, reply: str) -> bool:
        """True where the library's scorer gives the reply the full score.

        Raises:
            RunError: the problem was not made by this task.
        """
        if not isinstance(problem, GymProblem):
            raise RunError("only reasoning-gym's own problems can be scored by it", where=self.name, seen=problem.task)
        answer = self.parse(reply)
        if answer is None:
            return False
        scorer = _block(self.name.removeprefix(PREFIX), 0, 0)
        try:
            return bool(scorer.score_answer(answer, dict(problem.entry)) >= 1)
        except SCORER_ERRORS:
            return False

    def check_solution(self, problem: Problem, text: str) -> bool:
        """False: there are no worked steps to check."""
        return False


@lru_cache
def family(name: str) -> GymTask:
    """The task of the library that `reasoning_gym.NAME` names, tried once.

    Raises:
        ConfigError: the library is not installed, has no such task, or the task cannot be used: it needs options, makes
            another problem each time, has no answers, or a scorer that takes anything.
    """
    from importlib import metadata  # 20 ms, for those who use it

    factory = _library()
    bare, known = name.removeprefix(PREFIX), sorted(factory.DATASETS)
    if bare not in known:
        raise ConfigError(
            f"reasoning-gym has no task called {bare}",
            where="tasks",
            seen=name,
            expected=f"one of its {len(known)} tasks",
            fix=did_you_mean(bare, known),
        )
    found = GymTask(name, metadata.version(DISTRIBUTION))
    if unfit := _unfit(found):
        raise ConfigError(f"{name} cannot be used: {unfit}", where="tasks", fix="leave it out")
    return found


def _unfit(found: GymTask) -> str | None:
    """Why a task cannot be used, None where it can."""
    bare = found.name.removeprefix(PREFIX)
    if bare in UNREPEATABLE:
        return "it makes other problems in another process"
    try:
        first, again = _block(bare, 0, 0)[0], _make(bare, 0, 0)[0]
        if (first["question"], first["answer"]) != (again["question"], again["answer"]):
            return "it makes another problem each time"
        problem = next(filter(None, (found.at(index, 0) for index in range(TRIED))), None)
    except (AssertionError, OSError, *SCORER_ERRORS) as wrong:
        return str(wrong)
    if problem is None:
        return f"{TRIED} problems in a row have no answer"
    if not found.verify(problem, problem.answer):
        return "its scorer does not accept its own answer"
    return "its scorer accepts nonsense" if found.verify(problem, NONSENSE) else None


def _library() -> Any:
    try:
        importlib.import_module(LIBRARY)
        return importlib.import_module(f"{LIBRARY}.factory")
    except ModuleNotFoundError as missing:
        raise missing_extra(missing.name or LIBRARY, "gym", "a task of reasoning-gym") from None


@lru_cache(maxsize=BLOCKS_HELD)
def _block(bare: str, seed: int, number: int) -> Any:
    return _make(bare, seed, number)


def _make(bare: str, seed: int, number: int) -> Any:
    """The data set of problems `number * BLOCK` and so on."""
    own = xxhash.xxh3_64_intdigest(f"{seed}/{number}".encode()) % SEEDS
    return _library().create_dataset(bare, seed=own, size=BLOCK)

"""Tasks of reasoning-gym: found by index, held out by statement, scored by the library; and what is said without it."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.tasks import evaluation_problems, generate, gym, task

TASKS = ("leg_counting", "spell_backward", "chain_sum", "gcd", "number_sorting")


@pytest.fixture
def library() -> None:
    pytest.importorskip("reasoning_gym", exc_type=ImportError)


class Sums:
    """A data set as the library has them: problems by index, each from the sum of seed and index."""

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size

    def __getitem__(self, index: int) -> dict[str, Any]:
        assert 0 <= index < self.size
        rng = random.Random(self.seed + index)
        a, b = rng.randrange(1000), rng.randrange(1000)
        return {"question": f"What is {a} and {b}?", "answer": "" if a % 50 == 7 else str(a + b), "metadata": {}}

    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        if not answer.lstrip("-").isdigit():
            raise ValueError(answer)
        return 1.0 if int(answer) == int(entry["answer"]) else 0.01


class Drifting(Sums):
    drawn = 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        Drifting.drawn += 1
        return {**super().__getitem__(index), "question": f"number {Drifting.drawn}"}


class Lenient(Sums):
    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        return 1.0


class Strict(Sums):
    def score_answer(self, answer: str, entry: dict[str, Any]) -> float:
        return 0.5


class Mute(Sums):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"question": "Why?", "answer": None}


class Factory:
    """The part of the library that is used, over data sets of these tests."""

    DATASETS: ClassVar = {
        "sums": Sums,
        "drifting": Drifting,
        "lenient": Lenient,
        "strict": Strict,
        "mute": Mute,
        "codeio": Sums,
    }

    @classmethod
    def create_dataset(cls, name: str, seed: int, size: int) -> Sums:
        return cls.DATASETS[name](seed, size)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library's interface, over tasks of which each has one fault, so that it need not be installed."""
    monkeypatch.setattr(gym, "_library", lambda: Factory)
    monkeypatch.setattr("importlib.metadata.version", lambda _name: "0.0.1")
    for cached in (gym.family, gym._block):
        cached.cache_clear()
    yield
    for cached in (gym.family, gym._block):
        cached.cache_clear()


@pytest.mark.usefixtures("stand_in")
def test_records_are_answers_alone_by_index_and_none_is_held_out() -> None:
    records = list(generate(["reasoning_gym.sums"], "answer_only", [1], 0, 2_500, 3))
    assert len({identity for identity, _, _ in records}) == 2_500
    for _, problem, (user, assistant) in records:
        a, b = (int(word.rstrip("?")) for word in problem.statement.split() if word.rstrip("?").isdigit())
        assert assistant == {"role": "assistant", "content": str(a + b), "reasoning": None}
        assert user["content"] == problem.statement
        assert problem.trainable
        assert a % 50 != 7  # the library gave no answer
    gym._block.cache_clear()
    assert records[2_300:2_310] == list(generate(["reasoning_gym.sums"], "answer_only", [1], 2_300, 10, 3))
    other = generate(["reasoning_gym.sums"], "answer_only", [1], 0, 2_500, 4)
    assert {problem.statement for _, problem, _ in other} != {problem.statement for _, problem, _ in records}


@pytest.mark.usefixtures("stand_in")
def test_evaluation_has_what_training_has_not() -> None:
    asked = evaluation_problems("reasoning_gym.sums", [1], 100, 0)
    assert len({problem.statement for problem in asked}) == 100
    assert all(problem.unseen for problem in asked)
    assert asked[:20] == evaluation_problems("reasoning_gym.sums", [1], 20, 0)


@pytest.mark.usefixtures("stand_in")
def test_the_library_scores_what_follows_the_reasoning() -> None:
    family = task("reasoning_gym.sums")
    problem = family.problem(random.Random(0), 1)
    assert family.verify(problem, problem.answer)
    assert family.verify(problem, f"<think>\nso many\n</think>\n\n{problem.answer}\n")
    for wrong in ("", str(int(problem.answer) + 1), "many", f"<think>{problem.answer}", f"{problem.answer}</think>"):
        assert not family.verify(problem, wrong)
    assert not family.check_solution(problem, problem.answer)
    with pytest.raises(RunError, match="only reasoning-gym's own problems"):
        family.verify(task("modular_chain").problem(random.Random(0), 1), "1")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("drifting", "makes another problem each time"),
        ("lenient", "accepts nonsense"),
        ("strict", "does not accept its own answer"),
        ("mute", "20 problems in a row have no answer"),
        ("codeio", "other problems in another process"),
        ("sum", "did you mean sums"),
    ],
)
def test_tasks_that_cannot_be_used_are_refused(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        task(f"reasoning_gym.{name}")


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("form", "steps", "what"),
    [("worked", [1], "no worked steps"), ("fact", [], "has no facts"), ("answer_only", [4], "this many steps")],
)
def test_there_are_answers_alone_and_one_difficulty(form: Any, steps: list[int], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        list(generate(["reasoning_gym.sums"], form, steps, 0, 1, 0))
    if form == "answer_only":
        with pytest.raises(ConfigError, match=what):
            evaluation_problems("reasoning_gym.sums", steps, 1, 0)


def test_without_the_library_the_error_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    gym.family.cache_clear()
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ConfigError, match=r"pip install 'midtrain\[gym\]'"):
        task("reasoning_gym.gcd")


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", TASKS)
def test_the_library_accepts_its_answers_and_not_those_of_others(name: str) -> None:
    family = task(f"reasoning_gym.{name}")
    records = [problem for _, problem, _ in generate([family.name], "answer_only", [1], 0, 40, 1)]
    assert all(family.verify(problem, problem.answer) for problem in records)
    others = [*records[1:], records[0]]
    wrong = [
        family.verify(one, two.answer) for one, two in zip(records, others, strict=True) if one.answer != two.answer
    ]
    assert len(wrong) > 20
    assert not any(wrong)


@pytest.mark.usefixtures("library")
def test_a_recipe_takes_tasks_of_the_library(tmp_path: Path, midtrain: Any) -> None:
    (tmp_path / "r.yaml").write_text(
        f"name: r\noutput: {tmp_path}/out\nsources:\n  - {{name: g, format: generated, form: answer_only, steps: [1],"
        " tasks: [reasoning_gym.gcd, reasoning_gym.leg_counting], count: 20}\n"
    )
    assert midtrain("curate", tmp_path / "r.yaml").code == 0

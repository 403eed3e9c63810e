"""Benchmark files: lines of JSON, recognised by their fields, and the same few problems wherever few are asked for.

Every published set has its own names for a question and its answer, and a file that is read wrongly gives a score all
the same; so a file of no known form is refused, and so is a record that lacks what the first one has. Costs one read of
the file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import xxhash

from ... import storage
from ...errors import ConfigError, RunError
from . import choices, code_tests, questions
from .choices import ChoiceQuestion
from .code_tests import CodeProblem
from .questions import Question

Problem = CodeProblem | Question | ChoiceQuestion
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """A form of files: `fields` lists sets of which a record has all keys of one."""

    name: str
    fields: tuple[tuple[str, ...], ...]

    def missing(self, record: Record) -> list[str] | None:
        """Keys that the record lacks of the set it comes nearest to; None where it lacks none."""
        lacking = [[key for key in keys if record.get(key) is None] for keys in self.fields]
        fewest = min(lacking, key=len)
        return fewest or None


FORMS = (
    Form("HumanEval", (("prompt", "entry_point", "test"),)),
    Form("MBPP", (("prompt", "test_list", "code"), ("text", "test_list", "code"))),
    Form("HellaSwag", (("endings", "label", "ctx_a", "ctx_b", "activity_label"),)),
    Form(
        "multiple choice",
        (
            ("question", "choices", "answer"),
            ("question", "choices", "answerKey"),
            ("question", "choices", "gold"),
            ("query", "choices", "gold"),
        ),
    ),
    Form(
        "question and answer",
        (("question", "answer"), ("problem", "answer"), ("question", "solution"), ("problem", "solution")),
    ),
)
"""In this order: the first that fits the first record is the file's."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark's problems, all of one kind, in the order of the file."""

    name: str
    form: str
    problems: tuple[Problem, ...]

    @property
    def needs_sandbox(self) -> bool:
        """Whether replies are programs."""
        return isinstance(self.problems[0], CodeProblem)

    @property
    def is_choice(self) -> bool:
        """Whether nothing is generated."""
        return isinstance(self.problems[0], ChoiceQuestion)


def read(name: str, path: str, samples: int | None = None) -> Benchmark:
    """A benchmark's problems.

    Where records name a `split` and some are `test`, only those are asked; of MBPP's tasks those of the paper's test
    set, with tasks 2, 3 and 4 shown before each, where the file holds them.

    Args:
        name: what its scores go by.
        path: lines of JSON, maybe compressed.
        samples: at most so many problems, the same ones every time: those whose ids have the smallest hashes.

    Raises:
        ConfigError: no such file, a line that is no JSON object, a form that is none of FORMS, or a record that lacks
            fields or has an answer that is none.
    """
    records = _records(path)
    form = _form(path, records)
    for number, record in records:
        if (missing := form.missing(record)) is not None:
            raise ConfigError(
                f"the record lacks {', '.join(missing)}, which the others of its form ({form.name}) have",
                where=f"{path}:{number}",
                seen="fields " + ", ".join(record),
            )
    asked, make = _asked(form, records)
    problems = [_problem(path, form, number, record, make) for number, record in asked]
    if samples is not None and samples < len(problems):
        ranked = sorted(range(len(problems)), key=lambda at: xxhash.xxh3_64_intdigest(problems[at].id.encode()))
        problems = [problems[at] for at in sorted(ranked[:samples])]
    return Benchmark(name, form.name, tuple(problems))


def _records(path: str) -> list[tuple[int, Record]]:
    """The records with the numbers of their lines."""
    records: list[tuple[int, Record]] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            raise ConfigError(
                "not a line of JSON that holds an object",
                where=f"{path}:{number}",
                seen=repr(line[:80].decode("utf-8", "replace")),
            )
        records.append((number, record))
    if not records:
        raise ConfigError("the benchmark's file holds no record", where=path)
    return records


def _lines(path: str) -> list[bytes]:
    try:
        with storage.open_stream(path) as stream:
            return stream.read().splitlines()
    except RunError as error:
        what = error.what
    except storage.decompression_errors() as error:
        what = f"cannot be read: {error}"
    fix = "name a file of JSON lines (.jsonl, .jsonl.gz, .jsonl.zst)"
    raise ConfigError(f"the benchmark's file {what}", where=path, fix=fix)


def _form(path: str, records: Sequence[tuple[int, Record]]) -> Form:
    number, first = records[0]
    found = next((form for form in FORMS if form.missing(first) is None), None)
    if found is None:
        known = [f"{form.name}: " + " or ".join("/".join(keys) for keys in form.fields) for form in FORMS]
        raise ConfigError(
            "a benchmark of no known form",
            where=f"{path}:{number}",
            seen="fields " + ", ".join(first),
            expected="the fields of one of these forms\n            " + "\n            ".join(known),
            fix="rename the fields of the file",
        )
    return found


def _asked(
    form: Form, records: Sequence[tuple[int, Record]]
) -> tuple[Sequence[tuple[int, Record]], Callable[[Record, str], Problem | None]]:
    """The records that are asked, and what makes a problem of one."""
    if form.name == "HumanEval":
        return records, code_tests.humaneval
    if form.name == "MBPP":
        by_task = {record.get("task_id"): record for _, record in records}
        tested = [one for one in records if one[1].get("task_id") in code_tests.MBPP_TEST]
        shots = [by_task[task] for task in code_tests.MBPP_SHOTS if task in by_task and tested]
        return tested or records, lambda record, identity: code_tests.mbpp(record, identity, shots)
    tested = [one for one in records if one[1].get("split") == "test"]
    return tested or records, questions.from_record if form.name == "question and answer" else choices.from_record


def _problem(
    path: str, form: Form, number: int, record: Record, make: Callable[[Record, str], Problem | None]
) -> Problem:
    identity = str(next((record[key] for key in ("task_id", "id", "unique_id") if key in record), number))
    try:
        problem = make(record, identity)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"a field is not what its form ({form.name}) has there: {error}", where=f"{path}:{number}"
        ) from None
    if problem is None:
        given = {key: record.get(key) for key in ("answer", "answerKey", "gold", "label", "solution") if key in record}
        raise ConfigError(
            "the record has no answer that can be checked",
            where=f"{path}:{number}",
            seen=str(given)[:200],
            expected="an answer, a solution with its answer in a box, or the number or label of a choice",
        )
    return problem

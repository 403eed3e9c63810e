"""The step `code_passes`: keeps records whose last reply is a program that passes the tests beside it.

A sampled program is worth training on where it works, and only running it tells. It is run isolated (`sandbox`) or not
at all: where the system does not allow that, the run fails. A program that was stopped has a reason of its own.
Costs 40 ms of a core a record, or an input, beside the program's own time; some run at once.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from pydantic import Field

from ..config import Count
from ..errors import RunError
from . import exact_json, program_tests
from .document import place
from .program_tests import defines
from .rules import Filter, Rule, Scores

if TYPE_CHECKING:
    from .document import DocumentBatch

SOURCE: Final = "the recipe"
# The rules in their order, and the ends of a program that break each.
_RULES: Final[dict[str, tuple[str, ...]]] = {
    "tests": (),
    "code": (),
    "within_limits": ("timeout", "memory"),
    "allowed": ("refused",),
    "runs": ("error",),
    "passes": ("wrong",),
}
_FENCED: Final = re.compile(
    r"(?:^(?P<indent>[ \t]*))?(?<![\w`])```[ \t]*(?P<language>\w*)[^\n`]*\n(?P<body>.*?)"
    r"(?:(?:(?<=\n)(?:(?P=indent))?[ ]{0,3}|(?<=[^\s`]))```(?![\w`])|\Z)",
    re.S | re.M,
)  # closed at a line's begin, no deeper than three spaces, or behind its last word: not by a fence in a docstring
_PYTHON: Final = frozenset({"", "python", "py", "python3"})
_BEGINS: Final = re.compile(r"(?:[ \t]*\n)*(?:[ \t]+\S|def |class |import |from |@|#|print\()")


class CodePasses(Filter):
    """Keeps a record whose program passes its tests, which stand in the metadata in one of three forms.

    `test` and `entry_point` (HumanEval; `prompt`, or what the user says, is put before a program that does not define
    the entry point if it does), `test_list` (MBPP, with `test_imports` and `test_setup_code`), or inputs and outputs:
    lists `inputs` and `outputs`, in `input_output` or beside it, or `tests`, a list of `input` and `output`. These are
    what the program reads and prints; or, where a function is named (`fn_name` as in APPS and TACO, `func_name` as in
    LiveCodeBench and rStar-Coder), its arguments, as a list or in JSON a line, and its result. The function may be a
    method of a class `Solution`. The program is what `program_of` finds for the names that the tests call.

    Each rule scores 1 or 0: `tests` is 0 where a record has none, `code` where the reply has no program,
    `within_limits` where it took more time or memory than it may, `allowed` where it touched what it must not, `runs`
    where it raises, `passes` where a test disagrees. A rule behind the first that is 0 is 1.
    """

    version: ClassVar[int] = 4

    seconds: Count = Field(default=10, ge=1, le=600, description="CPU time of a program, and of each of its inputs")
    memory_limit: Count = Field(default=512 << 20, ge=64 << 20, description="bytes of address space of a program")
    at_once: Count = Field(default=2, ge=1, le=64, description="programs that each worker runs together")

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Six rules."""
        return tuple(Rule(name, partial(self._score, name), 1.0, None, SOURCE) for name in _RULES)

    @property
    def memory(self) -> int:
        """Of the programs that run at once."""
        return self.at_once * self.memory_limit

    def check(self) -> None:
        """Looks whether programs can be isolated.

        Raises:
            RunError: they cannot; says what is missing.
        """
        from ..sandbox_tests import require_isolation

        require_isolation("the step code_passes")

    def scores(self, batch: DocumentBatch) -> dict[str, Scores]:
        """float64[n] for each rule's name, 0 or 1.

        Raises:
            RunError: programs cannot be isolated, or a record's tests are in no form that is known.
        """
        self.check()
        found = {name: np.ones(len(batch)) for name in _RULES}
        threads = ThreadPoolExecutor(self.at_once, thread_name_prefix="code_passes")
        judge = partial(self._broken, batch)
        try:
            for row, broken in enumerate(threads.map(judge, range(len(batch)), _replies(batch), _tests(batch))):
                if broken is not None:
                    found[broken][row] = 0.0
        finally:
            threads.shutdown(cancel_futures=True)
        return found

    def _broken(self, batch: DocumentBatch, row: int, reply: str, tests: Mapping[str, Any]) -> str | None:
        """The rule that a record breaks."""
        try:
            found = program_tests.read(tests)
        except RunError as wrong:
            where = place(batch.record_batch, row)
            raise RunError(wrong.what, where=where, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None
        if not found.checks:
            return "tests"
        program = program_of(reply, found.called)
        if program is None:
            return "code"
        for check in found.checks:
            kind = check(program, int(self.seconds), int(self.memory_limit)).kind
            if kind != "passed":
                return next(rule for rule, kinds in _RULES.items() if kind in kinds)
        return None

    def _score(self, name: str, batch: DocumentBatch) -> Scores:
        return self.scores(batch)[name]


def program_of(reply: str, called: Collection[str] = ()) -> str | None:
    """The program in a reply; None without one.

    The last block of Python that defines all that is called, all blocks in their order where only together they do,
    else the last block; one that says that it is Python goes before one that does not say. A reply without a block is
    a program where it begins like one.

    Args:
        reply: what the assistant says.
        called: the names that the tests call.
    """
    found = [(one["language"].lower(), _outdented(one["body"], one["indent"])) for one in _FENCED.finditer(reply)]
    found = [(language, body) for language, body in found if body.strip()]
    blocks: list[str] = [body for language, body in found if language in _PYTHON]
    if not blocks:
        return reply if _BEGINS.match(reply) and "```" not in reply else None
    if called:
        joined = "\n".join(blocks)
        alone = [body for body in blocks if _define(body, called)]
        if alone or _define(joined, called):
            return alone[-1] if alone else joined
    said = [body for language, body in found if language in _PYTHON and language]
    return (said or blocks)[-1]


def _outdented(body: str, indent: str | None) -> str:
    """A block without the indentation of its fence, which stands before each line in an item of a list."""
    return re.sub(rf"^{indent}", "", body, flags=re.M) if indent else body


def _define(program: str, names: Collection[str]) -> bool:
    return all(defines(program, name) for name in names)


def _tests(batch: DocumentBatch) -> list[Mapping[str, Any]]:
    """The metadata of each record; `prompt` is what the user said where they hold none."""
    found: list[Mapping[str, Any]] = []
    for text, messages in zip(batch.column("metadata").to_pylist(), batch.column("messages").to_pylist(), strict=True):
        said = next((turn["content"] for turn in messages or () if turn["role"] == "user"), None)
        found.append({"prompt": said, **(exact_json.loads(text) if text else {})})
    return found


def _replies(batch: DocumentBatch) -> list[str]:
    """What the last turn of each record says, empty where it is not the assistant's."""
    lasts = ((messages or [None])[-1] for messages in batch.column("messages").to_pylist())
    return [last["content"] or "" if last is not None and last["role"] == "assistant" else "" for last in lasts]

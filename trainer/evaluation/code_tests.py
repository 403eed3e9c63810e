"""Programs that a model wrote (HumanEval, MBPP): how they are asked for, and their tests in the sandbox.

A program is right if it passes the problem's tests, so it has to be run, and it is run isolated or not at all. A run
takes about 40 ms of a core beside the program's own time; as many go on at once as there are cores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import sandbox
from ...sandbox_tests import CPU_SECONDS, WALL, cores, require_isolation, run_programs
from .verdicts import Verdict

__all__ = ["CPU_SECONDS", "WALL", "CodeProblem", "cores", "humaneval", "mbpp", "require_isolation", "run_tests"]

HUMANEVAL_STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completed function ends (Chen et al., arXiv 2107.03374, section 2.3)."""

MBPP_STOPS = ("[DONE]",)
MBPP_SHOTS = (2, 3, 4)
"""Tasks that are shown with their solutions before each problem (Austin et al., arXiv 2108.07732, section 3)."""

MBPP_TEST = range(11, 511)
"""Tasks of the published test set."""


@dataclass(frozen=True)
class CodeProblem:
    """A program to be written: `prompt` is continued by the model, the program is `before` + reply + `after`."""

    id: str
    prompt: str
    before: str
    after: str
    stops: tuple[str, ...]

    def program(self, reply: str) -> str:
        """The reply as a program that tests itself."""
        return f"{self.before}{reply}\n{self.after}\n"


def humaneval(record: Mapping[str, Any], identity: str) -> CodeProblem:
    """A function's head and description, completed; tested by `check(entry_point)`."""
    prompt = str(record["prompt"])
    after = f"{record['test']}\n\ncheck({record['entry_point']})"
    return CodeProblem(identity, prompt, prompt, after, HUMANEVAL_STOPS)


def mbpp(record: Mapping[str, Any], identity: str, shots: Sequence[Mapping[str, Any]]) -> CodeProblem:
    """A description and its tests, behind `shots` with their solutions: the paper's prompt."""
    shown = [f"{_mbpp_asked(shot)}{_lines(shot['code'])}\n[DONE]\n\n" for shot in shots]
    prompt = "".join(shown) + _mbpp_asked(record)
    before = "\n".join(record.get("test_imports") or ())
    # The set-up comes behind the code: where there is one, it uses a class that the code defines.
    after = "\n".join([_lines(record.get("test_setup_code") or ""), *record["test_list"]])
    return CodeProblem(identity, prompt, f"{before}\n\n" if before else "", after, MBPP_STOPS)


def _mbpp_asked(record: Mapping[str, Any]) -> str:
    task = record.get("prompt", record.get("text"))
    tests = "\n".join(record["test_list"])
    return (
        f"You are an expert Python programmer, and here is your task: {task} "
        f"Your code should pass these tests:\n\n{tests}\n[BEGIN]\n"
    )


def _lines(code: str) -> str:
    return code.replace("\r\n", "\n").strip("\n")


def run_tests(
    programs: Sequence[str], *, seconds: int = CPU_SECONDS, memory: int = sandbox.MEMORY, at_once: int | None = None
) -> list[Verdict]:
    """How each program ended, as `sandbox_tests.run_programs` says it; arguments and errors as there."""
    ended = run_programs(programs, seconds=seconds, memory=memory, at_once=at_once)
    return [Verdict(one.kind, one.detail) for one in ended]

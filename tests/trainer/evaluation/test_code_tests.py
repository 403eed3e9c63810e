"""Programs in the sandbox: the published solutions pass, altered ones fail, and none of them holds the others up."""

import ast
import gzip
import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from midtrain import sandbox
from midtrain.errors import RunError
from midtrain.trainer.evaluation import code_tests
from midtrain.trainer.evaluation.code_tests import CodeProblem, humaneval, mbpp, run_tests

from tests.sizes import sized

isolated = pytest.mark.skipif(sandbox.isolation() is not None, reason=f"no isolation: {sandbox.isolation()}")

RECORD = {
    "task_id": "HumanEval/x",
    "prompt": 'def double(x):\n    """Twice x."""\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-1) == -2\n",
}
THREADS = """\
    import threading, time
    for _ in range(99):
        threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""
ENDS = {
    "    return 2 * x": "passed",
    "    return x * x": "wrong",
    "    return y": "error",
    "    return 2 * x\n)": "error",
    "    import sys\n    sys.exit(0)": "wrong",
    "    import os\n    os._exit(0)": "wrong",
    "    while True: pass": "timeout",
    "    import time\n    time.sleep(1000)": "timeout",
    "    return bytearray(10**9)": "memory",
    "    open('/etc/passwd', 'w')": "refused",
    "    open('/main.py', 'a')": "refused",
    "    import socket\n    socket.create_connection(('1.1.1.1', 80), 5)": "refused",
    "    import urllib.request\n    urllib.request.urlopen('http://example.com')": "refused",
    "    open('mine', 'w').write('x')\n    return 2 * x": "passed",
    "    open('big', 'wb').write(bytes(10**7))": "refused",
    THREADS: "refused",
    "    import ctypes\n    ctypes.string_at(0)": "error",
    "    return double(x)": "error",
    "    print('x' * 5000)\n    return 2 * x": "passed",
}


@isolated
def test_every_end_has_its_verdict_and_the_others_go_on() -> None:
    problem = humaneval(RECORD, "x")
    before, threads = signal.getsignal(signal.SIGALRM), set(threading.enumerate())
    found = run_tests([problem.program(reply) for reply in ENDS], seconds=2, at_once=4)
    assert {reply: verdict.kind for reply, verdict in zip(ENDS, found, strict=True)} == ENDS
    assert all(verdict.detail for verdict in found if verdict.kind != "passed")
    assert signal.getsignal(signal.SIGALRM) is before
    assert set(threading.enumerate()) <= threads  # another test's may have ended meanwhile


@isolated
@pytest.mark.measures
def test_sandboxes_run_together_and_no_more_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    lock, run = threading.Lock(), sandbox.run

    def counted(*arguments: Any, **options: Any) -> sandbox.Result:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return run(*arguments, **options)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(sandbox, "run", counted)
    started = time.monotonic()
    found = run_tests(["import time; time.sleep(2)"] * 6, at_once=3)
    assert [verdict.kind for verdict in found] == ["passed"] * 6
    assert most == 3
    assert time.monotonic() - started < 11  # four seconds, and twelve one behind the other


def test_without_isolation_nothing_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "unshare: Operation not permitted")
    trace = tmp_path / "ran"
    with pytest.raises(RunError, match=r"cannot be isolated here[^$]*unshare[^$]*seccomp=unconfined") as wrong:
        run_tests([f"open({str(trace)!r}, 'w')"])
    assert wrong.value.exit_code == 1
    assert not trace.exists()
    assert run_tests([]) == []


def test_the_prompt_of_mbpp_is_the_papers() -> None:
    shot = {"prompt": "Add.", "code": "def add(a, b):\r\n  return a + b\r\n", "test_list": ["assert add(1, 2) == 3"]}
    asked = {"text": "Double.", "code": "", "test_list": ["assert double(1) == 2", "assert double(0) == 0"]}
    problem = mbpp(asked, "7", [shot])
    assert problem.prompt == (
        "You are an expert Python programmer, and here is your task: Add. Your code should pass these tests:\n\n"
        "assert add(1, 2) == 3\n[BEGIN]\ndef add(a, b):\n  return a + b\n[DONE]\n\n"
        "You are an expert Python programmer, and here is your task: Double. Your code should pass these tests:\n\n"
        "assert double(1) == 2\nassert double(0) == 0\n[BEGIN]\n"
    )
    with_setup = mbpp({**asked, "test_setup_code": "root = Node()", "test_imports": ["import math"]}, "7", [])
    assert with_setup.program("class Node: ...").split("\n") == [
        *("import math", "", "class Node: ...", "root = Node()", *asked["test_list"], "")
    ]


def records(benchmark_files: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(benchmark_files / f"{name}.jsonl.gz", "rt") as stream:
        return [json.loads(line) for line in stream]


def problems(benchmark_files: Path, name: str) -> list[tuple[CodeProblem, str]]:
    """Every problem with its published solution."""
    if name == "humaneval":
        return [(humaneval(one, one["id"]), one["canonical_solution"]) for one in records(benchmark_files, name)]
    return [(mbpp(one, one["id"], []), one["code"]) for one in records(benchmark_files, name)]


@isolated
@pytest.mark.slow
@pytest.mark.parametrize(("name", "count", "every"), [("humaneval", 164, 1), ("mbpp", 974, sized(1, 6))])
def test_published_solutions_pass(benchmark_files: Path, name: str, count: int, every: int) -> None:
    solved = problems(benchmark_files, name)
    assert len(solved) == count
    solved = solved[::every]
    started = time.monotonic()
    found = run_tests([problem.program(solution) for problem, solution in solved])
    print(f"{name}: {len(solved)} programs in {time.monotonic() - started:.0f} s, {code_tests.cores()} at once")
    assert [
        (one.id, verdict) for (one, _), verdict in zip(solved, found, strict=True) if verdict.kind != "passed"
    ] == []


@isolated
@pytest.mark.slow
@pytest.mark.parametrize(("name", "every"), [("humaneval", sized(1, 2)), ("mbpp", sized(6, 10))])
def test_no_solution_passes_that_returns_something_else(benchmark_files: Path, name: str, every: int) -> None:
    """The tested function gives a pair of its answer and a word, so that only the tests can tell."""
    solved = problems(benchmark_files, name)[::every]
    programs = [problem.program(altered(problem, solution)) for problem, solution in solved]
    found = run_tests(programs)
    assert [problem.id for (problem, _), one in zip(solved, found, strict=True) if one.kind == "passed"] == []
    assert sum(one.kind == "wrong" for one in found) > 0.8 * len(found)


def altered(problem: CodeProblem, solution: str) -> str:
    """The solution with the outcome of the tested function replaced; what its own calls return stays."""
    name = problem.after.rpartition("check(")[2].rstrip(")") if "check(" in problem.after else None
    if name is None:
        name = next(
            node.func.id
            for node in ast.walk(ast.parse(problem.after))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and f"def {node.func.id}" in solution
        )
    return f"{solution}\n{name} = lambda *a, _right={name}, **k: (_right(*a, **k), 'altered')\n"


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_no_published_solution_holds_a_stop_text(benchmark_files: Path, name: str) -> None:
    for problem, solution in problems(benchmark_files, name):
        assert not any(stop in solution for stop in problem.stops)

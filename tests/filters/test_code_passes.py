"""Programs of replies against the tests beside them, in sandboxes."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from midtrain import sandbox
from midtrain.errors import RunError
from midtrain.filters.code_passes import CodePasses, program_of
from midtrain.filters.document import SCHEMA, DocumentBatch

isolated = pytest.mark.skipif(sandbox.isolation() is not None, reason=f"no isolation: {sandbox.isolation()}")

ADD = {"test": "def check(f):\n    assert f(1, 2) == 3\n    assert f(0, 0) == 0", "entry_point": "add"}
ADD["prompt"] = "def add(a, b):\n"
LISTED = {"test_list": ["assert double(2) == 4", "assert double(0) == 0"], "test_setup_code": "zero = double(0)"}
BOTH = {"test_list": ["assert one(1) == 1", "assert max(double(2), 0) == 4"]}
ECHO = {"input_output": orjson.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7"]}).decode()}
PAIRS = {"tests": [{"input": "5", "output": "5"}]}
SUMS = {"input_output": {"fn_name": "total", "inputs": [[[1, 2]], [[10**20, 1]]], "outputs": [[3], 10**20 + 1]}}
SUMS["input_output"] = json.dumps(SUMS["input_output"])
PARTS = {"inputs": ['[1, 2]\n"b"', '[]\n"a"'], "outputs": ['["b", [1, 2]]', '["a", []]'], "func_name": "total"}
METHOD = {
    "tests": [{"input": '{"a": [1]}', "output": "true", "testtype": "functional"}],
    "metadata": '{"func_name": "total"}',
}
LONG = {"inputs": [""], "outputs": ["".join(f"{i}\n" for i in range(200_000))]}
SOLUTION = "```python\nclass Solution:\n    def total(self, {}) -> List[int]:\n        return {}\n```"
READS = "a, b = map(int, input().split())\nprint(a + b)"

CASES: list[tuple[str, str, dict[str, Any], str | None]] = [
    ("a block", "So:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.", ADD, None),
    ("a block that goes on", "```python\n    return a + b\n```", ADD, None),
    ("no block", "    return a + b", ADD, None),
    ("the block that defines it", "```python\ndef add(a, b): return a + b\n```\n```python\nadd(1)\n```", ADD, None),
    ("wrong", "```python\ndef add(a, b):\n    return a - b\n```", ADD, "passes"),
    ("it ends early", "```python\nimport sys\nsys.exit(0)\ndef add(a, b): pass\n```", ADD, "passes"),
    ("it raises", "```python\ndef add(a, b):\n    return a + c\n```", ADD, "runs"),
    ("it is no Python", "```python\ndef add(a, b:\n```", ADD, "runs"),
    ("it loops", "```python\ndef add(a, b):\n    while True: pass\n```", ADD, "within_limits"),
    ("it fills memory", "```python\ndef add(a, b):\n    return [0] * 10**10\n```", ADD, "within_limits"),
    ("it writes", "```python\ndef add(a, b):\n    open('/etc/x', 'w')\n```", ADD, "allowed"),
    ("no code", "The sum is obvious.", ADD, "code"),
    ("no tests", "```python\nx = 1\n```", {}, "tests"),
    ("a list of tests", "```py\ndef double(x):\n    return 2 * x\n```", LISTED, None),
    (
        "a use behind it",
        "```py\ndef double(x):\n    return 2 * x\n```\nUse:\n```py\nprint(double(7))\n```",
        LISTED,
        None,
    ),
    (
        "two blocks together",
        "```py\ndef one(x):\n    return x\n```\n```py\ndef double(x):\n    return 2 * x\n```",
        BOTH,
        None,
    ),
    ("its output behind it", f"```python\n{READS}\n```\nIt prints\n```\n3\n```", ECHO, None),
    (
        "the later of two",
        "```\ndef double(x):\n    return x\n```\nNo:\n```\ndef double(x):\n    return 2 * x\n```",
        LISTED,
        None,
    ),
    (
        "imports of the tests before one from the future",
        "```py\nfrom __future__ import annotations\ndef double(x: int) -> int:\n    return 2 * x\n```",
        {**LISTED, "test_imports": ["import math"]},
        None,
    ),
    ("an item of a list", "1. So:\n   ```py\n   def double(x):\n       return 2 * x\n   ```", LISTED, None),
    (
        "a fence in a docstring",
        '```py\ndef double(x):\n    """Twice.\n    ```\n    >>> double(1)\n    ```\n    """\n    return 2 * x\n```',
        LISTED,
        None,
    ),
    ("a list that fails", "```py\ndef double(x):\n    return x ** 2 or 1\n```", LISTED, "passes"),
    ("input", f"```python\n{READS}\n```", ECHO, None),
    ("wrong on the second input", f"```python\n{READS.replace('a + b', '3')}\n```", ECHO, "passes"),
    ("pairs", "```\nprint(input())\n```", PAIRS, None),
    ("pairs of a function that none names", "```\nprint(input())\n```", {**PAIRS, "func_name": None}, None),
    ("a function", "```\ndef total(them):\n    return sum(them)\n```", SUMS, None),
    ("a function that gives lists", "```\ndef total(them):\n    return [sum(them)]\n```", SUMS, "passes"),
    ("a function that rounds", "```\ndef total(them):\n    return int(1.0 * sum(them))\n```", SUMS, "passes"),
    ("a function of another name", "```\ndef sums(them):\n    return sum(them)\n```", SUMS, "runs"),
    ("a function that prints", "```\ndef total(them):\n    print(sum(them))\n```", SUMS, "passes"),
    (
        "a list of its own",
        "```\ndef total(x):\n    return sum(x)\nlist = dict = len = 1\n```",
        SUMS,
        None,
    ),
    ("a million lines", "```\nfor i in range(200000): print(i)\n```", LONG, None),
    ("a million lines too many", "```\nfor i in range(600000): print(i)\n```", LONG, "passes"),
    ("a method and a tuple", SOLUTION.format("x, y", "(y, x)"), PARTS, None),
    ("a method that is wrong", SOLUTION.format("x, y", "[y, [1, 2]]"), PARTS, "passes"),
    ("a method that raises", SOLUTION.format("x, y", "x.first"), PARTS, "runs"),
    ("a method of tests with types", SOLUTION.format("x", "x == {'a': [1]}"), METHOD, None),
]


def batch(*records: tuple[str, dict[str, Any]]) -> DocumentBatch:
    rows = [
        {
            "id": str(row),
            "text": "x",
            "source": "s",
            "metadata": json.dumps(tests),
            "messages": [
                {"role": "user", "content": "Write it.", "reasoning": None},
                {"role": "assistant", "content": reply, "reasoning": None},
            ],
        }
        for row, (reply, tests) in enumerate(records)
    ]
    return DocumentBatch(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))


@isolated
def test_each_end_has_its_rule() -> None:
    step = CodePasses(seconds=4)  # of the processor; all but the loop take a few tenths
    decision = step.decide(batch(*((reply, tests) for _, reply, tests, _ in CASES)))
    found = [None if rule < 0 else step.rules[rule].name for rule in decision.rule.tolist()]
    assert {name: rule for (name, *_), rule in zip(CASES, found, strict=True)} == {
        name: rule for name, _, _, rule in CASES
    }


def test_without_isolation_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "the test says so")
    monkeypatch.setattr(sandbox, "run", lambda *_, **__: pytest.fail("it ran"))
    records = batch((CASES[0][1], ADD))
    for refused in (CodePasses().check, lambda: CodePasses().decide(records)):
        with pytest.raises(RunError, match="cannot be isolated") as raised:
            refused()
        assert raised.value.exit_code == 1


def test_the_program_of_a_reply() -> None:
    assert program_of("```js\nlet x\n```") is None
    assert program_of("```python\nx = 1\n") == "x = 1\n"
    assert program_of("```\na\n```\n```python\nb\n```") == "b\n"
    assert program_of("I think so.") is None
    assert program_of("```python\nb = 1\n```\n```\n7\n```") == "b = 1\n"
    assert program_of("```\ndef f(): pass\n```\n```\nf()\n```", {"f"}) == "def f(): pass\n"
    assert program_of("```\ndef f(): pass\n```\n```\ng = 1\n```", {"f", "g"}) == "def f(): pass\n\ng = 1\n"
    assert program_of("```\n    return 1\n```", {"f"}) == "    return 1\n"
    assert program_of("So:\n```python\nx = 1\n```. It is\n```\n7\n```") == "x = 1\n"
    assert program_of("With ```f```:\n```python\nx = 1```") == "x = 1"
    assert program_of("Here: ```python\nx = 1\n```\nend ``` here") == "x = 1\n"
    assert program_of("> ```python\nx = 1\n    ```\n```\n") == "x = 1\n    ```\n"


@pytest.mark.slow
@isolated
def test_published_solutions_pass_and_others_do_not() -> None:
    """Of HumanEval the first forty: the canonical solution as a block and as a continuation, and another one's."""
    if (folder := os.environ.get("MIDTRAIN_DATA")) is None:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    with gzip.open(Path(folder, "eval", "humaneval.jsonl.gz")) as stream:
        problems = [orjson.loads(line) for line in stream][:40]
    whole = [(f"```python\n{one['prompt']}{one['canonical_solution']}\n```", one) for one in problems]
    rest = [(one["canonical_solution"], one) for one in problems[:10]]
    others = [("```python\n" + one["prompt"] + "    return None\n```", one) for one in problems]
    decision = CodePasses().decide(batch(*whole, *rest, *others))
    assert decision.keep.tolist() == [True] * 50 + [False] * 40


@isolated
def test_whole_numbers_of_the_metadata_are_exact() -> None:
    tests = {"fn_name": "more", "inputs": [[10**23]], "outputs": [10**23 + 1]}
    decision = CodePasses().decide(batch(("```python\ndef more(x):\n    return x + 1\n```", tests)))
    assert decision.rule.tolist() == [-1]


@isolated
def test_a_record_whose_tests_cannot_be_read_is_named() -> None:
    with pytest.raises(RunError, match="document 1 of source s: a record's tests cannot be read"):
        CodePasses().decide(batch(("```\n1\n```", {}), ("```\n1\n```", {"test": "assert one() == 1"})))

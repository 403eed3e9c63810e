"""Which form the tests of a record have, and what they call; programs are judged by them in test_code_passes."""

from typing import Any

import pytest
from midtrain.errors import RunError
from midtrain.filters import program_tests


@pytest.mark.parametrize(
    ("record", "checks", "called"),
    [
        ({}, 0, set()),
        ({"input_output": '{"inputs": [], "outputs": []}', "tests": {}, "inputs": "[]", "test": None}, 0, set()),
        ({"input_output": {"fn_name": "one", "inputs": [], "outputs": []}}, 0, set()),
        ({"metadata": "no JSON", "tests": [], "input_output": ""}, 0, set()),
        ({"test": "def check(f): assert f() == 1", "entry_point": "one"}, 1, {"one"}),
        ({"test_list": ["assert one(max(1, 2)) == two"], "test_setup_code": "two = twice(1)"}, 1, {"one", "twice"}),
        ({"test_list": ["assert sqrt(one()) == 1"], "test_imports": ["from math import sqrt"]}, 1, {"one"}),
        ({"test_list": '["assert one() == 1"]'}, 1, {"one"}),
        ({"test_list": ["assert one( == 1"]}, 1, set()),
        ({"input_output": {"inputs": ["1", "2"], "outputs": ["1", "2"]}}, 2, set()),
        ({"input_output": {"inputs": ["1"], "outputs": ["1"], "fn_name": None}}, 1, set()),
        ({"inputs": '["1", "2"]', "outputs": '["1", "2"]', "func_name": None}, 2, set()),
        ({"inputs": ["1"], "outputs": ["1"], "func_name": "one"}, 1, {"one"}),
        ({"input_output": {"fn_name": "one", "inputs": [[1], [2]], "outputs": [[1], [2]]}}, 1, {"one"}),
        ({"tests": [{"input": "1", "output": "1", "testtype": "stdin"}], "metadata": {"func_name": "one"}}, 1, set()),
        ({"tests": [{"input": "1", "output": "1", "fn_name": "one"}]}, 1, {"one"}),
        ({"tests": [{"input": "1", "output": "1", "metadata": '{"func_name": "one"}'}]}, 1, {"one"}),
        ({"tests": {"inputs": ["1"], "outputs": ["1"]}}, 1, set()),
        ({"test_list": ["check(double)"], "test_setup_code": "def check(f):\n    assert f(2) == 4"}, 1, {"double"}),
        ({"test_list": ["assert [f(1) for f in (one, lambda x: x(2))]"]}, 1, set()),
    ],
)
def test_each_form_is_told(record: dict[str, Any], checks: int, called: set[str]) -> None:
    found = program_tests.read(record)
    assert (len(found.checks), found.called) == (checks, called)


@pytest.mark.parametrize(
    ("record", "seen"),
    [
        ({"input_output": {"inputs": ["1", "2"], "outputs": ["1"]}}, "2 inputs and 1 outputs"),
        ({"input_output": {"inputs": "1", "outputs": ["1"]}}, "no list of inputs"),
        ({"input_output": {"inputs": [[1]], "outputs": [[1]]}}, "no function's name"),
        ({"test": "assert one() == 1"}, "test, but no tests in it"),
        ({"input_output": '{"inputs": ["1"], "outp'}, "input_output, but no tests in it"),
        ({"tests": {"outputs": ["1"]}}, "tests, but no tests in it"),
        ({"tests": {"cases": []}}, "tests, but no tests in it"),
        ({"tests": [{"input": "1", "output": "1"}, "assert one() == 1"]}, "1 tests and 1 that are none"),
        ({"tests": ["1"]}, "tests, but no tests in it"),
        ({"inputs": ["x = 1"], "outputs": ["1"], "func_name": "one"}, "arguments 'x = 1'"),
        ({"inputs": [1], "outputs": ["1"], "func_name": "one"}, "arguments 1"),
        ({"inputs": ["1"], "outputs": ["one"], "func_name": "one"}, "a result 'one'"),
        ({"tests": [{"input": "1", "output": "1", "testtype": "functional"}]}, "functional"),
        (
            {"tests": [{"input": "1", "output": "1", "testtype": kind} for kind in ("functional", "stdin")]},
            "functional, stdin",
        ),
    ],
)
def test_what_is_in_none_of_the_forms_is_an_error(record: dict[str, Any], seen: str) -> None:
    with pytest.raises(RunError, match="tests cannot be read") as raised:
        program_tests.read(record)
    assert seen in str(raised.value)


@pytest.mark.parametrize(
    ("program", "found"),
    [("def f(): pass", True), ("class A:\n  async def f(self): 1", True), ("f = print", True), ("f()\nff = 1", False)],
)
def test_what_a_program_defines(program: str, found: bool) -> None:
    assert program_tests.defines(program, "f") is found

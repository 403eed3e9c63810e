"""The tests that stand beside a record, in whichever form its corpus has them: what must pass, and what they call.

A form that is taken for another judges every program wrong without a word, so the forms are told apart here and what is
in none of them is an error. Costs the parsing of the record's tests.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..errors import RunError

if TYPE_CHECKING:
    from ..sandbox_tests import Ended

Check = Callable[[str, int, int], "Ended"]
"""Runs a program, under seconds of CPU time and bytes of address space, and says how it ended."""

_FUTURE: Final = re.compile(r"^from __future__ import [^\n]*\n?", re.M)
_FUNCTION: Final = ("fn_name", "func_name")
_KEYS: Final = ("test", "test_list", "input_output", "inputs", "tests")  # where tests stand
# What judges of functions give their programs; not all of math, whose pow is another than Python's own.
_IMPORTS: Final = """\
import bisect, collections, copy, functools, heapq, itertools, math, operator, random, re, string, sys
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import ceil, comb, factorial, floor, gcd, inf, isqrt, log, log2, perm, prod, sqrt
from typing import *
"""
_CALLS: Final = """
def _judge(name, calls, wrapped):
    import builtins as python  # the program may have names of its own for them
    import json

    def plain(value):
        if python.isinstance(value, (python.list, python.tuple)):
            return [plain(one) for one in value]
        return {key: plain(one) for key, one in value.items()} if python.isinstance(value, python.dict) else value

    found = python.globals()
    for arguments, wanted in json.loads(calls):
        owner = found.get("Solution")
        function = python.getattr(owner(), name) if python.hasattr(owner, name) else found[name]
        seen = plain(function(*arguments))
        if wrapped and python.isinstance(wanted, python.list) and python.len(wanted) == 1 and seen == wanted[0]:
            continue
        assert seen == wanted, "a call gives something else"
"""


@dataclass(frozen=True)
class ProgramTests:
    """What has to pass, one after the other (none where a record has no tests), and the names that it calls."""

    checks: tuple[Check, ...]
    called: frozenset[str] = frozenset()


def read(record: Mapping[str, Any]) -> ProgramTests:
    """The tests in a record's metadata.

    Args:
        record: with `test` and `entry_point`; or `test_list`; or inputs and outputs, which are a program's own where no
            function is named (`fn_name` or `func_name`, beside them or in `metadata`), else arguments and results.

    Raises:
        RunError: they are in none of the forms.
    """
    if record.get("test") and record.get("entry_point"):
        entry, prompt = str(record["entry_point"]), str(record.get("prompt") or "")
        return ProgramTests((partial(_humaneval, str(record["test"]), entry, prompt),), frozenset({entry}))
    if record.get("test_list"):
        imports, setup = _lines(record.get("test_imports")), str(record.get("test_setup_code") or "")
        listed = _lines(record["test_list"])
        check = partial(_framed, "\n".join(imports), "\n".join([setup, *listed]))
        return ProgramTests((check,), _called("\n".join([*imports, setup, *listed])))
    pairs, name = _pairs(record)
    if not pairs and (there := [key for key in _KEYS if not _empty(record.get(key))]):
        raise _unreadable(f"{there[0]}, but no tests in it", "tests in one of the forms that `code_passes` lists")
    if pairs and name is not None:
        calls = [(_arguments(given), _wanted(given, wanted)) for given, wanted in pairs]
        wrapped = not isinstance(pairs[0][0], str)  # such corpora put a result into a list of its own, or do not
        text = json.dumps(calls)
        after = f"{_CALLS}\n_judge({name!r}, {text!r}, {wrapped})"
        return ProgramTests((partial(_framed, _IMPORTS, after),), frozenset({name}))
    if not all(isinstance(one, str) for pair in pairs for one in pair):
        raise _unreadable("inputs or outputs that are no texts, and no function's name", "texts, or `fn_name` beside")
    return ProgramTests(tuple(partial(_piped, given, wanted) for given, wanted in pairs))


def defines(program: str, name: str) -> bool:
    """Whether a program has a function, class or value of that name, at any depth."""
    return (
        re.search(rf"^\s*(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b|^{re.escape(name)}\s*=", program, re.M)
        is not None
    )


def _humaneval(test: str, entry_point: str, prompt: str, program: str, seconds: int, memory: int) -> Ended:
    before = prompt if defines(prompt, entry_point) and not defines(program, entry_point) else ""
    return _framed(before, f"{test}\n\ncheck({entry_point})", program, seconds, memory)


def _framed(before: str, after: str, program: str, seconds: int, memory: int) -> Ended:
    from ..sandbox_tests import run_test

    if before:  # what is imported from the future has to stand before all else
        program = "".join([*_FUTURE.findall(program), before, "\n", _FUTURE.sub("", program)])
    return run_test(f"{program}\n{after}\n", seconds, memory)


def _piped(given: str, wanted: str, program: str, seconds: int, memory: int) -> Ended:
    from ..sandbox_tests import run_with_input

    return run_with_input(program, given, wanted, seconds, memory)


def _called(tests: str) -> frozenset[str]:
    """The names that tests call and do not define."""
    try:
        nodes = list(ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset()
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    called = {getattr(node.func, "id", "") for node in calls}
    own = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    given = [one for node in calls if getattr(node.func, "id", "") in own for one in node.args]
    called |= {one.id for one in given if isinstance(one, ast.Name)}  # `check(double)` calls it
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            own |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return frozenset(called - own - set(dir(builtins)))


def _pairs(record: Mapping[str, Any]) -> tuple[list[tuple[Any, Any]], str | None]:
    """Inputs with the outputs that are expected, and the name of the function that they are given to."""
    kinds: set[str] = set()
    places = [record, _mapping(record.get("metadata"))]
    holders = _loaded(record.get("input_output")), _loaded(record.get("tests")), record
    both = next((one for one in holders if _has_inputs(one)), None)
    if both is not None:
        places.insert(0, both)
        inputs, outputs = _loaded(both["inputs"]), _loaded(both.get("outputs")) or []
    else:
        listed = _loaded(record.get("tests")) or []
        found = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        if found and len(found) < len(listed):
            raise _unreadable(f"{len(found)} tests and {len(listed) - len(found)} that are none", "tests alone")
        inputs, outputs = [one.get("input") for one in found], [one.get("output") for one in found]
        kinds = {str(one["testtype"]) for one in found if one.get("testtype")}
        places[:0] = [place for one in found[:1] for place in (one, _mapping(one.get("metadata")))]
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        sizes = [f"{len(one)}" if isinstance(one, list) else "no list of" for one in (inputs, outputs)]
        raise _unreadable(f"{sizes[0]} inputs and {sizes[1]} outputs", "as many outputs as inputs")
    names = [place.get(key) for place in places for key in _FUNCTION]
    name = next((str(one) for one in names if one), None)
    if kinds & {"stdin", "stdin_stdout"}:
        name = None
    if len(kinds) > 1 or ("functional" in kinds and name is None):
        raise _unreadable(f"tests of the types {', '.join(sorted(kinds))}", "one type, with `func_name` if functional")
    return list(zip(inputs, outputs, strict=True)), name


def _mapping(value: Any) -> Mapping[str, Any]:
    loaded = _loaded(value)
    return loaded if isinstance(loaded, dict) else {}


def _empty(value: Any) -> bool:
    """Whether a value says that there are no tests: nothing, or lists without entries."""
    loaded = _loaded(value)
    if isinstance(loaded, dict):
        return loaded.keys() <= {"inputs", "outputs", *_FUNCTION} and not (
            loaded.get("inputs") or loaded.get("outputs")
        )
    return not loaded


def _has_inputs(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value.get("inputs"))


def _arguments(given: Any) -> list[Any]:
    """The arguments of a call: a list of them, or a text with one in JSON a line."""
    if isinstance(given, list):
        return given
    try:
        return [json.loads(line) for line in given.splitlines() if line.strip()]
    except (AttributeError, ValueError):
        raise _unreadable(f"arguments {given!r:.60}", "a list, or a text with an argument in JSON a line") from None


def _wanted(given: Any, wanted: Any) -> Any:
    """The result of a call: JSON where the arguments are, else the value itself."""
    if not (isinstance(given, str) and isinstance(wanted, str)):
        return wanted
    try:
        return json.loads(wanted)
    except ValueError:
        raise _unreadable(f"a result {wanted!r:.60}", "JSON, as its arguments are") from None


def _unreadable(seen: str, expected: str) -> RunError:
    return RunError(
        "a record's tests cannot be read",
        seen=seen,
        expected=expected,
        fix="give its tests in one of the forms that `code_passes` lists, or leave the source out of the step",
    )


def _lines(value: Any) -> list[str]:
    loaded = _loaded(value)
    return [str(one) for one in loaded] if isinstance(loaded, list) else [str(loaded)] if loaded else []


def _loaded(value: Any) -> Any:
    """A value, or what JSON in a text says, whole numbers of up to 4,300 digits; the text itself where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value

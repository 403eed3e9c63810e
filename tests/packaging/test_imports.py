"""The command answers at once: what it imports before it knows its verb, and the processor's time for `--help`."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "pyarrow", "numba", "ray", "pydantic", "numpy", "ruamel", "datasets")
PROBE = f"""
import json
import sys
from midtrain import cli
try:
    cli.main()
finally:
    print(json.dumps(sorted(set({HEAVY!r}) & set(sys.modules))), file=sys.stderr)
"""
MOST_SECONDS = 0.6  # it takes 0.2; torch or pyarrow would be more


def imported(*arguments: str) -> list[str]:
    """Which heavy packages a command that prints something has imported when it ends."""
    ended = subprocess.run([sys.executable, "-c", PROBE, *arguments], capture_output=True, text=True, check=True)
    assert ended.stdout
    found: list[str] = json.loads(ended.stderr)
    return found


@pytest.mark.parametrize("arguments", [["--help"], [], ["--version"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert imported(*arguments) == []


@pytest.mark.parametrize(
    "verb", ["curate", "build", "report", "train", "eval", "generate", "seen", "where", "peek", "demo"]
)
def test_the_help_of_a_verb_imports_nothing_heavy_of_ours(verb: str) -> None:
    assert set(imported(verb, "--help")) <= {"pydantic"}  # typer's own, for the types of a verb's options


def processor_seconds(*arguments: str) -> float:
    """User and system time of a command; not the clock's, which a busy machine stretches."""
    process = subprocess.Popen([sys.executable, "-m", "midtrain", *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


@pytest.mark.measures
def test_help_takes_less_than_six_tenths_of_a_second() -> None:
    processor_seconds("--help")  # where this Python has not compiled the modules yet
    assert min(processor_seconds("--help") for _ in range(5)) < MOST_SECONDS

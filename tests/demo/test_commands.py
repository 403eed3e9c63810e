"""The demo's commands: run beside each other, ended together, their errors passed on; and a time left that falls."""

import io
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from midtrain.demo import commands
from midtrain.demo.commands import EXPECTED, LEARNING, Command, Timetable
from midtrain.errors import RunError

PATIENCE = 150.0  # seconds


@dataclass(frozen=True)
class Script(Command):
    """A command that is a line of Python."""

    code: str = ""

    def start(self, output: Any, errors: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", self.code], stdout=output, stderr=errors)


def script(code: str, watch: Path | None = None, total: int = 1) -> Script:
    return Script("train", Path("run.yaml"), ("--set", "seed=1"), watch, total, code)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOOK_EVERY", 0.02)


def test_what_a_command_prints_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    times = Timetable()
    found = times.run("curate", script("import sys; print('{\"kept\": 3}'); print('noise', file=sys.stderr)"))
    assert found == {"kept": 3}
    assert "curate" not in times.todo
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("midtrain train run.yaml --set seed=1  [")
    assert "noise" not in said.err


def test_a_command_is_the_one_that_a_person_would_type(tmp_path: Path) -> None:
    (tmp_path / "web.jsonl").write_text('{"text": "word"}\n')
    (tmp_path / "recipe.yaml").write_text("name: x\noutput: out\nsources:\n  - {name: web, path: z.jsonl}\n")
    options = ["--set", f"output={tmp_path}/out", "--set", f"sources.0.path={tmp_path}/web.jsonl", "--workers", "0"]
    command = Command("curate", tmp_path / "recipe.yaml", options)
    assert command.text == f"midtrain curate {tmp_path}/recipe.yaml " + " ".join(options)
    assert Timetable().run("curate", command)["funnel"][0]["documents"] == 1


def test_results_are_in_the_order_of_the_commands() -> None:
    slow = script("import time; time.sleep(0.3); print(1)")
    assert Timetable().run_beside("after", [slow, script("print(2)")]) == [1, 2]


def test_a_failed_command_says_what_it_said(tmp_path: Path) -> None:
    times = Timetable()
    with pytest.raises(RunError, match="a command of the demo failed with exit code 2") as wrong:
        times.run("curate", Command("curate", tmp_path / "none.yaml", ()))
    assert wrong.value.where == f"midtrain curate {tmp_path}/none.yaml"
    assert f"{tmp_path}/none.yaml: no such file" in str(wrong.value.seen)
    assert "curate" in times.todo


def test_only_the_end_of_a_long_complaint_is_shown() -> None:
    with pytest.raises(RunError) as wrong:
        Timetable().run("curate", script("import sys; sys.exit('a' * 5000 + ' the end')"))
    assert str(wrong.value.seen).endswith("a the end")
    assert len(str(wrong.value.seen)) == 2000


@pytest.mark.parametrize("failing", [0, 1])
def test_where_one_fails_it_is_named_and_the_other_is_ended(tmp_path: Path, failing: int) -> None:
    pid = tmp_path / "pid"
    long = script(f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    wait = (
        f"import os, time\nwhile not os.path.exists({str(pid)!r}) or not open({str(pid)!r}).read(): time.sleep(0.01)\n"
    )
    both = [script(wait + "raise SystemExit('broken')"), long]
    started = time.monotonic()
    with pytest.raises(RunError, match="failed with exit code 1") as wrong:
        Timetable().run_beside("midtrain", both if failing == 0 else both[::-1])
    assert time.monotonic() - started < PATIENCE
    assert wrong.value.seen == "broken"
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_an_interruption_ends_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = tmp_path / "pid"

    def interrupt(self: Timetable, step: str, share: float) -> None:
        if pid.exists() and pid.read_text():
            raise KeyboardInterrupt

    monkeypatch.setattr(Timetable, "_show", interrupt)
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        Timetable().run("pretrain", script(code))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 500.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(commands, "time", clock)
    return clock


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("pace", [0.5, 1.0, 1.7])
def test_the_time_left_falls_to_nothing(clock: Clock, pace: float, share: float) -> None:
    """On a machine of one speed, once that is known; and it is right from then on."""
    times = Timetable(share)
    expected = times.expected
    assert sum(expected.values()) == sum(EXPECTED.values()) - (1 - share) * sum(EXPECTED[step] for step in LEARNING)
    total = sum(expected.values()) * pace
    seen = [times.left()]
    for step, seconds in expected.items():
        for tenth in range(10):
            clock.now += seconds * pace / 10
            seen.append(times.left(step, (tenth + 1) / 10))
        times.done(step)
    assert seen[0] == sum(expected.values())
    known = [left for left in seen if left < sum(expected.values()) - 10][-60:]
    assert known == sorted(known, reverse=True)
    assert times.elapsed() == pytest.approx(total)
    assert times.left() == seen[-1] == 0.0
    half = seen[len(seen) // 2]
    spent = [0.0]
    for seconds in expected.values():
        spent += [spent[-1] + seconds * pace / 10 * n for n in range(1, 11)]
    assert half == pytest.approx(total - spent[len(seen) // 2])


def test_more_done_is_never_more_left(clock: Clock) -> None:
    times = Timetable()
    for step in ("corpus", "curate"):
        times.done(step)
    clock.now += 90
    left = [times.left("build", share / 20) for share in range(21)]
    assert left == sorted(left, reverse=True)
    assert left[-1] < left[0]


def test_without_a_terminal_a_line_each_15_seconds(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    class Sleeper:
        returncode = 0

        def poll(self) -> int | None:
            return 0 if clock.now > 561 else None

    @dataclass(frozen=True)
    class Sixty(Command):
        def start(self, output: Any, errors: Any) -> Any:
            output.write(b"{}")
            return Sleeper()

    Timetable().run("pretrain", Sixty("train", Path("run.yaml"), ()))
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("midtrain train run.yaml")
    assert len(lines) == 4
    assert [line.split("  ")[0] for line in lines] == ["pretrain"] * 4
    shares = [int(line.split("  ")[1].removesuffix(" %")) for line in lines]
    assert shares == [min(round(100 * seconds / EXPECTED["pretrain"]), 95) for seconds in (15, 30, 45, 60)]


def test_on_a_terminal_one_line_is_written_over(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    times = Timetable()
    times._show("pretrain", 0.5)
    times._show("pretrain", 0.6)
    times.say("next")
    times.close()
    first, second = screen.getvalue().splitlines(keepends=True)[-2:]
    assert screen.getvalue().count("\r") == 2
    assert (first.startswith("pretrain  60 %"), second.startswith("next  [")) == (True, True)
    assert screen.getvalue().endswith("left]\n")


@pytest.mark.parametrize(
    ("rows", "tail", "share"),
    [
        ([], b"", 0.0),
        ([{"tokens": 250}], b"", 0.25),
        ([{"tokens": 250}, {"tokens": 500}], b"", 0.5),
        ([{"tokens": 250}], b'{"tokens": 50', 0.25),
        ([{"tokens": 250}, {"message": "dead"}, {"message": "dead"}, {"loss": 1.0}], b"", 0.25),
        ([{"message": "dead"}], b"", 0.0),
    ],
)
def test_how_far_a_run_is_by_the_tokens_on_its_record(
    tmp_path: Path, rows: list[dict[str, Any]], tail: bytes, share: float
) -> None:
    watch = tmp_path / "metrics.jsonl"
    assert commands._share(script("", watch, 1000)) == 0.0
    watch.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows) + tail)
    assert commands._share(script("", watch, 1000)) == share
    assert commands._share(script("")) is None

"""Progress on a terminal and elsewhere, and the events that outlive the process."""

import io
import sys
import time

import orjson
import pytest
from midtrain import progress
from midtrain.progress import Events, Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    plain = progress.StageProgress  # which holds the real clock as the default of its start
    monkeypatch.setattr(progress, "StageProgress", lambda *given, **more: plain(*given, started=clock.now, **more))
    return clock


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (41.4, "41 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (100_000, "27 h 46 min"),
    ],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


def test_events_are_whole_lines_in_the_order_of_writing(tmp_path):
    before = time.time()
    events = Events(tmp_path / "deep" / "events.jsonl")
    events.write("task_started", {"task": 3, "stage": "read"})
    Events(tmp_path / "deep" / "events.jsonl").write("task_finished", {"task": 3})
    lines = (tmp_path / "deep" / "events.jsonl").read_bytes().splitlines()
    first, second = (orjson.loads(line) for line in lines)
    assert (first["event"], first["task"], first["stage"]) == ("task_started", 3, "read")
    assert second["event"] == "task_finished"
    assert before - 1 <= first["time"] <= second["time"] <= time.time() + 1


def test_half_a_line_of_a_killed_run_spoils_no_other(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event":"run_started"}\n{"event":"task_st')
    events = Events(path)
    events.write("task_started", {"task": 1})
    events.write("task_finished", {"task": 1})
    lines = path.read_bytes().split(b"\n")
    assert lines[1] == b'{"event":"task_st'
    assert [orjson.loads(lines[place])["event"] for place in (0, 2, 3)] == [
        "run_started",
        "task_started",
        "task_finished",
    ]
    assert lines[4:] == [b""]


def test_no_path_no_events(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Events(None).write("x", {})
    assert list(tmp_path.iterdir()) == []


def test_elsewhere_than_on_a_terminal_there_is_a_line_each_30_seconds_and_one_at_the_end(clock, capsys):
    shown = Progress()
    with shown.running():
        stage = shown.begin("read", tasks=100, reused=10)
        for _ in range(89):
            clock.now += 1
            shown.advance(stage, {"documents": 100, "kept": 50, "bytes": 1_000_000})
        shown.say("a message")
        shown.end(stage)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4  # at 30 s and 60 s, the message, the end
    assert said[0] == "read  40/100 tasks  100 docs/s  1.0 MB/s  50.0 % kept  1 min 00 s left"
    assert said[1].startswith("read  70/100 tasks")
    assert said[2] == "a message"
    assert said[3].startswith("read  99/100 tasks")
    assert not any("\x1b" in line or "\r" in line for line in said)


def test_the_time_left_is_told_by_the_tasks_of_this_run_alone(clock):
    shown = Progress(shown=False)
    stage = shown.begin("read", tasks=20, reused=10)
    assert stage.remaining() is None
    clock.now += 6
    shown.advance(stage, {})
    shown.advance(stage, {})
    assert stage.remaining() == pytest.approx(3 * 8)
    shown.end(stage)
    clock.now += 100
    assert stage.remaining() is None
    assert stage.seconds() == pytest.approx(6)


def test_a_quiet_one_counts_and_says_nothing(clock, capsys):
    quiet = Progress(shown=False)
    with quiet.running():
        stage = quiet.begin("read", tasks=2)
        clock.now += 100
        quiet.advance(stage, {"documents": 5, "kept": 3, "bytes": 7})
        quiet.advance(stage, {"documents": 1})
        quiet.say("nothing")
        quiet.end(stage)
    assert (stage.done, stage.documents, stage.kept, stage.bytes) == (2, 6, 3, 7)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_terminal_gets_one_live_table_with_a_row_a_stage(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    shown = Progress()
    assert shown.live
    with shown.running():
        for name in ("read-one", "dedup-two"):
            stage = shown.begin(name, tasks=1)
            shown.say(f"[bold]{name} said[/bold]")
            shown.advance(stage, {"documents": 3})
            shown.end(stage)
    written = terminal.getvalue()
    last = written[written.rindex("read-one") :]
    assert "1/1 tasks" in last
    assert "dedup-two" in last
    assert "[bold]read-one said[/bold]" in written  # text is not markup
    assert progress.LINE_EVERY == 30.0

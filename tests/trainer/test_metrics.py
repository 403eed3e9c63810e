"""The record of a run: rows survive a kill, and a resumed run cuts what it takes again."""

import sys
from pathlib import Path

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.trainer import metrics as metrics_module
from midtrain.trainer.metrics import Metrics, newest_step, rows


def write(folder, steps):
    with Metrics(folder, tensorboard=False) as metrics:
        for step in steps:
            metrics.step({"step": step, "phase": "pretrain", "loss": 1 / 3 + step})
            if step == 2:
                metrics.evaluation(step, "pretrain", {"held_out.web.loss": 0.5})
                metrics.alarm(step, "pretrain", "expert 1 of layer 0 has had no token for 20 steps")


def test_rows_are_read_as_they_were_written(tmp_path):
    write(tmp_path, [1, 2])
    assert list(rows(tmp_path / "metrics.jsonl")) == [
        {"kind": "step", "step": 1, "phase": "pretrain", "loss": 1 / 3 + 1},
        {"kind": "step", "step": 2, "phase": "pretrain", "loss": 1 / 3 + 2},
        {"kind": "evaluation", "step": 2, "phase": "pretrain", "held_out.web.loss": 0.5},
        {
            "kind": "alarm",
            "step": 2,
            "phase": "pretrain",
            "message": "expert 1 of layer 0 has had no token for 20 steps",
        },
    ]


def test_every_row_is_on_disk_as_soon_as_it_is_written(tmp_path):
    metrics = Metrics(tmp_path, tensorboard=False)
    metrics.step({"step": 1, "phase": "p"})
    assert len(list(rows(metrics.path))) == 1
    metrics.__exit__(None, None, None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_row_that_cannot_be_written_is_told_with_its_file(tmp_path):
    (tmp_path / "full").mkdir()
    metrics = Metrics(tmp_path / "full", tensorboard=False)
    metrics._stream.close()
    metrics._stream = open("/dev/full", "wb")  # noqa: SIM115 (closed by metrics)
    with pytest.raises(RunError, match=r"metrics\.jsonl: the row cannot be written: No space left on device"), metrics:
        metrics.step({"step": 1, "phase": "p"})


def test_the_newest_step_is_read_from_the_end(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    assert newest_step(path) == 0
    write(tmp_path, [1, 2])
    assert newest_step(path) == 2  # its evaluation and its alarm come behind it
    with open(path, "ab") as stream:
        stream.write(b'{"kind":"step","step":5,"lo')
    assert newest_step(path) == 2
    monkeypatch.setattr(metrics_module, "_TAIL", 300)
    assert newest_step(path) == 2
    with open(path, "ab") as stream:
        stream.write(b"x" * 300)
    with pytest.raises(RunError, match="hold no step"):
        newest_step(path)


def test_a_resumed_run_cuts_later_steps_and_a_torn_line(tmp_path):
    write(tmp_path, [1, 2, 3, 4])
    with open(tmp_path / "metrics.jsonl", "ab") as stream:
        stream.write(b'{"kind":"step","step":5,"lo')
    with Metrics(tmp_path, tensorboard=False, last_step=2) as metrics:
        assert metrics.evaluated(2)
        assert not metrics.evaluated(1)
        metrics.step({"step": 3, "phase": "again"})
    read = list(rows(tmp_path / "metrics.jsonl"))
    assert [(row["kind"], row["step"]) for row in read] == [
        ("step", 1),
        ("step", 2),
        ("evaluation", 2),
        ("alarm", 2),
        ("step", 3),
    ]
    assert read[-1]["phase"] == "again"


def test_a_new_run_starts_an_empty_record(tmp_path):
    write(tmp_path, [1, 2])
    with Metrics(tmp_path, tensorboard=False):
        pass
    assert list(rows(tmp_path / "metrics.jsonl")) == []


def test_a_damaged_line_within_is_an_error(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step":1}\nnonsense\n{"step":3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl:2: not a row of metrics"):
        Metrics(tmp_path, tensorboard=False, last_step=1)


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.step({"step": 1, "phase": "pretrain", "phase_step": 1, "first_sequence": 0, "loss": 2.5, "lr": 0.5})
        metrics.evaluation(1, "pretrain", {"held_out.web.loss": 0.25})
    with Metrics(tmp_path, tensorboard=True, last_step=1) as metrics:
        metrics.step({"step": 2, "phase": "pretrain", "loss": 1.5})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 2.5), (2, 1.5)]
    assert sorted(events.Tags()["scalars"]) == ["evaluate/held_out.web.loss", "train/loss", "train/lr"]


def test_missing_tensorboard_is_told_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"pip install 'midtrain\[train\]'"):
        Metrics(tmp_path, tensorboard=True)

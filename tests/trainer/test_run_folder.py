"""The folder of a run: never overwritten unasked, gone on with only by the same run."""

from dataclasses import replace

import pytest
from midtrain import locks
from midtrain.config import Loaded, validate
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.run import RunConfig
from midtrain.trainer.run_folder import CONFIG, opened, stored
from midtrain.yaml_document import override, parse

RUN = """\
name: tiny
output: {output}
shards: shards
model: zaya-tiny
phases:
  - {{phase: pretrain, batch_tokens: 64, optimizer: {{name: muon, lr: 0.01}}, schedule: {{name: constant}}}}
"""


@pytest.fixture
def run(tmp_path):
    def make(*settings: str) -> Loaded[RunConfig]:
        text = RUN.format(output=tmp_path / "runs" / "tiny")
        return validate(override(parse(text, "run.yaml"), settings), RunConfig)

    return make


def open_folder(run, resume=False, overwrite=False, begun=None):
    with opened(run, run.value, resume, overwrite, begun) as folder:
        return folder


def test_a_new_folder_holds_the_resolved_run(run):
    folder = open_folder(run())
    assert stored(folder) == run().value


def test_a_folder_that_is_there_is_refused_unless_asked(run):
    folder = open_folder(run())
    (folder / "metrics.jsonl").write_text("x")
    with pytest.raises(ConfigError, match=r"run\.yaml:2: output: the folder is there already[^$]*--resume"):
        open_folder(run())
    assert (folder / "metrics.jsonl").exists()
    open_folder(run(), resume=True)
    assert (folder / "metrics.jsonl").exists()
    open_folder(run(), overwrite=True)
    assert not (folder / "metrics.jsonl").exists()


def test_only_a_runs_folder_is_ever_removed(run):
    folder = open_folder(run())
    (folder / "config.yaml").unlink()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="so it is not removed"):
        open_folder(run(), overwrite=True)
    assert (folder / "thesis.tex").exists()


def test_the_checkpoint_to_start_from_is_not_removed(run):
    folder = open_folder(run())
    with pytest.raises(ConfigError, match="lies in the folder that --overwrite would remove"):
        open_folder(run(f"init_from={folder}/checkpoints/step-00000001"), overwrite=True)


def test_an_empty_folder_is_as_good_as_none(run, tmp_path):
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    assert stored(open_folder(run())) == run().value


def test_a_file_in_the_way_is_named(run, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").write_text("")
    with pytest.raises(ConfigError, match="output: is a file"):
        open_folder(run())


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("phases.0.optimizer.lr=0.5", "phases.0.optimizer.lr"),
        ("phases.0.steps=3", "phases.0.steps"),
        ("model=zaya-small", "model.expert_size"),
        ("seed=4", "seed"),
        ("precision=bf16", "precision"),
    ],
)
def test_a_resumed_run_is_the_same_run(run, setting, key):
    folder = open_folder(run())
    with pytest.raises(ConfigError) as wrong:
        open_folder(run(setting), resume=True)
    assert f"{key}: a resumed run keeps its configuration" in str(wrong.value)
    assert str(wrong.value).startswith(f"--set {setting.partition('=')[0]}")
    assert stored(folder) == run().value


def test_a_resumed_run_may_change_its_batches_and_what_moves_no_weight(run):
    folder = open_folder(run())
    batches = ("phases.0.batch_tokens=128", "phases.0.micro_batch_tokens=32")
    capacity = "model={preset: zaya-tiny, moe: {capacity: 1.5}}"
    free = ("threads=2", "checkpoint.keep=9", "metrics=[tensorboard]", "kernels={attention: eager}", capacity)
    changed = run(*free, *batches)
    open_folder(changed, resume=True)
    assert stored(folder) == changed.value


def test_phases_may_be_added_at_the_end_and_not_taken_away(run):
    folder = open_folder(run())
    first = "{phase: pretrain, batch_tokens: 64, optimizer: {name: muon, lr: 0.01}, schedule: {name: constant}}"
    longer = run(f"phases=[{first}, {{phase: midtrain, batch_tokens: 64, schedule: {{name: constant}}}}]")
    open_folder(longer, resume=True)
    assert len(stored(folder).phases) == 2
    with pytest.raises(ConfigError, match=r"phases\.1"):
        open_folder(run(), resume=True)


def test_resuming_sweeps_what_a_kill_left(run):
    folder = open_folder(run())
    leftover = folder / "checkpoints" / ".step-00000003.abc.tmp"
    leftover.mkdir(parents=True)
    open_folder(run(), resume=True)
    assert not leftover.exists()


@pytest.mark.parametrize(("key", "below"), [("shards", "shards"), ("output", "config.yaml")])
def test_what_the_run_needs_is_not_removed(run, key, below):
    folder = open_folder(run())
    needed = folder / below
    needed.touch()
    settings = [f"shards={needed}"] if key == "shards" else []
    again = run(*settings)
    if key == "output":  # the run file itself, as in a project's own folder
        again = Loaded(again.value, replace(again.document, name=str(needed)))
    with pytest.raises(ConfigError, match=f"{key}: .*--overwrite would remove"):
        open_folder(again, overwrite=True)
    assert needed.exists()


@pytest.mark.parametrize("place", ["/proc/nowhere/run", "{tmp}/file/run"])
def test_a_folder_that_cannot_be_made_is_named(run, tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="output: the folder cannot be made or written"):
        open_folder(run(f"output={place.format(tmp=tmp_path)}"))


def test_an_output_is_no_remote_address(run):
    with pytest.raises(ConfigError, match="not a remote address"):
        run("output=s3://bucket/run")


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"overwrite": True}])
def test_a_folder_in_which_a_run_is_at_work_is_left_alone(run, how):
    folder = open_folder(run())
    (folder / ".half.0123456789ab.tmp").write_text("being written")
    with locks.locked(folder), pytest.raises(RunError, match="another run is at work"):
        open_folder(run(), **how)
    assert (folder / ".half.0123456789ab.tmp").exists()


def test_the_lock_is_held_until_the_run_ends_and_is_not_removed_with_the_rest(run):
    folder = open_folder(run())
    (folder / "checkpoints/step-00000001").mkdir(parents=True)
    before = (folder / locks.LOCK).stat().st_ino
    with opened(run(), run().value, False, True):
        assert [path.name for path in sorted(folder.iterdir())] == [locks.LOCK, CONFIG]
        assert (folder / locks.LOCK).stat().st_ino == before
        with pytest.raises(RunError, match="another run is at work"):
            open_folder(run("name=other"), overwrite=True)
        assert stored(folder).name == "tiny"
    assert not locks.held(folder)


def test_the_lock_that_a_run_leaves_is_no_content(run):
    folder = open_folder(run())
    (folder / "config.yaml").unlink()
    (folder / locks.LOCK).touch()
    assert open_folder(run()) == folder


def test_behind_an_extension_phases_that_were_not_begun_may_be_replaced(tmp_path):
    def with_second(name, *settings):
        second = f"  - {{phase: {name}, batch_tokens: 64, schedule: {{name: cosine}}}}\n"
        text = RUN.format(output=tmp_path / "run") + second
        return validate(override(parse(text, "run.yaml"), settings), RunConfig)

    planned, other = with_second("planned"), with_second("other")
    open_folder(planned)
    with pytest.raises(ConfigError, match=r"phases\.1\.phase: a resumed run keeps"):
        open_folder(other, resume=True)
    with pytest.raises(ConfigError, match=r"phases\.1\.phase: a resumed run keeps"):
        open_folder(other, resume=True, begun=2)
    faster = with_second("other", "phases.0.optimizer.lr=0.5")
    with pytest.raises(ConfigError, match=r"phases\.0\.optimizer\.lr: a resumed run keeps"):
        open_folder(faster, resume=True, begun=1)
    folder = open_folder(other, resume=True, begun=1)
    assert [phase.phase for phase in stored(folder).phases] == ["pretrain", "other"]

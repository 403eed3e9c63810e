"""Whole runs: two phases, kills and signals, refusals, and starting from another run's weights."""

import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from midtrain.config import Loaded, load, validate
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.digest import batch_digest
from midtrain.trainer import history
from midtrain.trainer.checkpoints import checkpoint, checkpoint_folder
from midtrain.trainer.history import Stretch
from midtrain.trainer.metrics import rows
from midtrain.trainer.prepare import prepare
from midtrain.trainer.run import RunConfig
from midtrain.trainer.run_folder import stored
from midtrain.trainer.session import Session
from midtrain.trainer.train import train
from midtrain.yaml_document import override, parse

from tests.sizes import sized

FakeMixture = runpy.run_path(str(Path(__file__).with_name("fake_mixture.py")))["FakeMixture"]
SCRIPT = Path(__file__).with_name("train_fake.py")

RUN = """\
name: tiny
output: {output}
shards: fake
seed: 3
model: {{hidden_size: 16, num_layers: 2, num_heads: 2, num_kv_heads: 2, head_dim: 8, num_experts: 3, expert_size: 16,
  router_size: 8}}
threads: 1
phases:
  - {{phase: pretrain, batch_tokens: 64, optimizer: {{name: muon, lr: 0.02, adamw_lr: 0.01, weight_decay: 0.01}},
     schedule: {{name: wsd, warmup: 2}}, rope_theta: 1e4}}
  - {{phase: midtrain, batch_tokens: 128, micro_batch_tokens: 64, schedule: {{name: cosine}}, rope_theta: 1e6}}
checkpoint: {{every: 3, keep: 2}}
evaluate: {{every: 5}}
"""
STEPS = 10 + 6  # 40 sequences by 4, 21 by 4


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def read(output: Path, *settings: str) -> Loaded[RunConfig]:
    return validate(override(parse(RUN.format(output=output), "run.yaml"), settings), RunConfig)


def weights(model, step):
    return {"weights": sum(float(parameter.detach().sum()) for parameter in model.parameters())}


def go(run, mixture=None, evaluate=weights, **options):
    """Trains on the fake mixture, with a measure that it can give."""
    return train(run, evaluate=evaluate, built=mixture or FakeMixture(), **options)


def comparable(folder: Path) -> list[dict]:
    """The rows without what a clock measured."""
    return [
        {key: value for key, value in row.items() if key not in ("seconds", "tokens_per_second")}
        for row in rows(folder / "metrics.jsonl")
    ]


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load_model(checkpoint_folder.find(folder)).state_dict()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    go(read(folder))
    return folder


def test_a_run_of_two_phases(tmp_path):
    mixture, told = FakeMixture(), []
    result = go(read(tmp_path / "run"), mixture, report=told.append)
    assert (result.step, result.steps, result.exit_code) == (STEPS, STEPS, 0)
    assert mixture.asked == [("pretrain", first, 4) for first in range(0, 40, 4)] + [
        ("midtrain", first, min(4, 21 - first)) for first in range(0, 21, 4)
    ]
    recorded = list(rows(result.folder / "metrics.jsonl"))
    steps = [row for row in recorded if row["kind"] == "step"]
    assert [(row["step"], row["phase"], row["phase_step"]) for row in steps[8:12]] == [
        (9, "pretrain", 9),
        (10, "pretrain", 10),
        (11, "midtrain", 1),
        (12, "midtrain", 2),
    ]
    assert [row["lr"] for row in steps[:3]] == pytest.approx([0.01, 0.02, 0.02])
    assert steps[10]["lr"] > steps[9]["lr"]
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.2
    assert len(steps[-1]) <= 20
    lengths = {name: phase.sequences for name, phase in mixture.phases.items()}
    everything = [mixture.row(name, index) for name, count in lengths.items() for index in range(count)]
    assert steps[-1]["tokens"] == result.tokens == sum(int((row[2] >= 0).sum()) for row in everything)
    assert steps[-1]["supervised_tokens"] == sum(int(row[3].sum()) for row in everything)
    assert [row["step"] for row in recorded if row["kind"] == "evaluation"] == [5, 10, 15, 16]
    kept = sorted(path.name for path in (result.folder / "checkpoints").iterdir())
    assert kept == ["step-00000010", "step-00000015", "step-00000016"]
    assert [progress.checkpoint.name for progress in told if progress.checkpoint][-1] == "step-00000016"
    assert told[-1].seconds_left == 0
    assert told[3].seconds_left > 0


def test_the_checkpoint_says_where_the_run_stood(undisturbed):
    contents = checkpoint_folder.find(undisturbed).contents
    assert contents.end_of_phase
    assert contents.model.rope_theta == 1e6
    assert [(record.phase, record.first_step, record.steps, record.sequences) for record in contents.history] == [
        ("pretrain", 0, 10, 40),
        ("midtrain", 10, 6, 21),
    ]
    assert contents.history[0].rope_theta == 1e4
    resolved = stored(undisturbed)
    assert resolved.model.vocab_size == 64  # 50 of the shards, rounded up
    assert resolved.precision in ("fp32", "bf16")


def test_equal_runs_are_bitwise_equal_and_seeds_differ(undisturbed, tmp_path):
    go(read(tmp_path / "again"))
    assert comparable(tmp_path / "again") == comparable(undisturbed)
    go(read(tmp_path / "other", "seed=4"))
    assert comparable(tmp_path / "other")[0]["loss"] != comparable(undisturbed)[0]["loss"]


def start(file: Path, how: str, where: str = "step", number: int = STEPS - 1) -> subprocess.Popen:
    """A run that goes no further than to a step, or into the evaluation behind it."""
    return subprocess.Popen(
        [sys.executable, SCRIPT, file, how, "0.03", where, str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            return
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"the run did not come so far: {process.stdout.read() if process.stdout else ''}")


def has_rows(folder: Path, count: int) -> bool:
    file = folder / "metrics.jsonl"
    return file.exists() and sum(row["kind"] == "step" for row in rows(file)) >= count


def kill_and_resume(tmp_path: Path, kills: list[int], delay: float) -> Path:
    """A run killed each time that it has reached a step, then left alone; returns its folder."""
    file, folder = tmp_path / "run.yaml", tmp_path / "run"
    file.write_text(RUN.format(output=folder))
    how = "new"
    for step in kills:
        process = start(file, how)
        wait_for(process, partial(has_rows, folder, step))
        time.sleep(delay)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        how = "resume"
    go(load(file, RunConfig), resume=True)
    return folder


def assert_same_run(folder: Path, undisturbed: Path) -> None:
    assert comparable(folder) == comparable(undisturbed)
    expected = final_weights(undisturbed)
    for name, tensor in final_weights(folder).items():
        assert torch.equal(tensor, expected[name]), name
    assert not list(folder.rglob("*.tmp"))


def test_killed_and_resumed_it_is_bitwise_the_same_run(undisturbed, tmp_path):
    rng = random.Random(time.time_ns())
    kill = rng.randrange(1, STEPS - 1)
    print("killed after step", kill)
    assert_same_run(kill_and_resume(tmp_path, [kill], rng.random() * 0.03), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(sized(4, 1)))
def test_killed_again_and_again(undisturbed, tmp_path, attempt):
    rng = random.Random(attempt)
    kills = sorted(rng.sample(range(1, STEPS - 1), 4))
    assert_same_run(kill_and_resume(tmp_path, kills, rng.random() * 0.05), undisturbed)


def test_a_run_that_went_on_until_it_was_resumed_loses_nothing(tmp_path, monkeypatch):
    go(read(tmp_path / "run", "checkpoint.keep=1"))
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    newest = checkpoint_folder.newest(tmp_path / "run")

    def prepared(*given):  # by now the other process has saved its last checkpoint
        newest.rename(newest.with_name("step-00000099"))
        return prepare(*given)

    monkeypatch.setattr("midtrain.trainer.train.prepare", prepared)
    with pytest.raises(RunError, match="the run went on until now"):
        go(read(tmp_path / "run", "checkpoint.keep=1"), resume=True)
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before
    assert checkpoint_folder.newest(tmp_path / "run").name == "step-00000099"


@pytest.mark.parametrize("moment", [pytest.param("between steps", marks=pytest.mark.slow), "in an evaluation"])
def test_sigterm_ends_with_a_checkpoint_and_its_exit_code(undisturbed, tmp_path, moment):
    file, folder = tmp_path / "run.yaml", tmp_path / "run"
    file.write_text(RUN.format(output=folder))
    # An evaluation follows step 5; it would not end, so a run that waited for it would not either.
    where, step = ("evaluation", 5) if moment == "in an evaluation" else ("step", 4)
    process, stays = start(file, "new", where, step), tmp_path / "run.yaml.stays"
    wait_for(process, stays.exists)
    process.send_signal(signal.SIGTERM)
    if where == "step":
        stays.unlink()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, output
    assert [row["step"] for row in rows(folder / "metrics.jsonl") if row["kind"] == "step"][-1] == step
    assert checkpoint_folder.find(folder).contents.position.step == step
    resumed = go(load(file, RunConfig), resume=True)
    assert resumed.exit_code == 0
    assert_same_run(folder, undisturbed)


def test_memory_that_runs_out_in_an_evaluation_costs_no_step(undisturbed, tmp_path):
    folder, told = tmp_path / "run", []

    def full(model, step):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 17.19 GiB.")

    for resume in (False, True):
        with pytest.raises(RunError, match=r"step 5 of tiny: there is too little memory for the evaluation\n.*17\.19"):
            go(read(folder), evaluate=full, resume=resume, report=lambda progress: told.append(progress.step))
    assert told == [1, 2, 3, 4, 5]  # no step is trained again
    assert checkpoint_folder.find(folder).contents.position.step == 5
    assert go(read(folder), resume=True).exit_code == 0
    assert_same_run(folder, undisturbed)


def test_a_finished_run_resumes_to_nothing(undisturbed, tmp_path):
    folder = tmp_path / "run"
    first = go(read(folder))
    before = (folder / "metrics.jsonl").read_bytes()
    again = go(read(folder), resume=True)
    assert (again.step, again.loss, again.checkpoint) == (STEPS, None, first.checkpoint)
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_resuming_before_the_first_checkpoint_starts_from_the_beginning(undisturbed, tmp_path):
    folder = tmp_path / "run"
    go(read(folder))
    for path in (folder / "checkpoints").iterdir():
        (path / "manifest.json").unlink()
    go(read(folder), resume=True)
    assert comparable(folder) == comparable(undisturbed)


class Poisoned(FakeMixture):
    """Fails at a sequence: stands for any error within a run."""

    def batch(self, phase, first, count):
        if phase == "midtrain" and first == 8:
            raise RunError("the disk is gone", where="part-00000.tokens")
        return super().batch(phase, first, count)


@pytest.mark.parametrize("settings", [(), ("phases.1.optimizer={name: adamw, lr: 0.01, fresh: true}",)])
def test_going_on_within_a_later_phase(tmp_path, settings):
    """The second phase's optimizer, another one in one case, is what a checkpoint within it holds."""
    with pytest.raises(RunError, match="the disk is gone"):
        go(read(tmp_path / "run", *settings), Poisoned())
    assert checkpoint_folder.find(tmp_path / "run").contents.position.step == 12
    go(read(tmp_path / "run", *settings), resume=True)
    go(read(tmp_path / "whole", *settings))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


class Interrupted(FakeMixture):
    """Fails in the first phase."""

    def batch(self, phase, first, count):
        if first == 28:
            raise RunError("the disk is gone", where="part-00000.tokens")
        return super().batch(phase, first, count)


def test_going_on_with_another_batch_repeats_and_skips_no_sequence(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(RunError, match="the disk is gone"):
        go(read(folder), Interrupted())
    planned = history.read(folder).stretches
    assert [(one.phase, one.steps, one.sequences) for one in planned] == [("pretrain", 10, 40), ("midtrain", 6, 21)]
    mixture = FakeMixture()
    result = go(read(folder, "phases.0.batch_tokens=96", "phases.1.batch_tokens=256"), mixture, resume=True)
    assert mixture.asked == [
        *[("pretrain", first, count) for first, count in ((24, 6), (30, 6), (36, 4))],
        *[("midtrain", first, min(8, 21 - first)) for first in range(0, 21, 8)],
    ]
    stretches = (
        Stretch("pretrain", "f" * 32, 16, 4, 1e4, 0, 6, 0, 24),
        Stretch("pretrain", "f" * 32, 16, 6, 1e4, 6, 3, 24, 16),
        Stretch("midtrain", "f" * 32, 32, 8, 1e6, 9, 3, 0, 21),
    )
    assert (result.step, result.steps) == (12, 12)
    assert history.read(folder).stretches == checkpoint_folder.find(folder).contents.history == stretches
    steps = [row for row in rows(folder / "metrics.jsonl") if row["kind"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, 13))
    for row in steps:
        one = next(one for one in stretches if one.first_step < row["step"] <= one.last_step)
        first, count = one.batch(row["step"])
        batch = FakeMixture().batch(row["phase"], first, count)
        assert row["first_sequence"] == first
        assert row["batch"] == batch_digest(batch.tokens, batch.positions, batch.loss_mask)
    again = go(read(folder, "phases.0.batch_tokens=96", "phases.1.batch_tokens=256"), resume=True)
    assert (again.step, again.loss) == (12, None)
    assert history.read(folder).stretches == stretches


def test_a_fresh_optimizer_forgets(tmp_path):
    kept = "phases.1.optimizer={name: muon, lr: 0.02, adamw_lr: 0.01, weight_decay: 0.01}"
    for name, setting in (("kept", kept), ("fresh", kept[:-1] + ", fresh: true}"), ("unsaid", "seed=3")):
        go(read(tmp_path / name, setting))
    assert comparable(tmp_path / "kept") == comparable(tmp_path / "unsaid")
    kept_rows, fresh_rows = comparable(tmp_path / "kept"), comparable(tmp_path / "fresh")
    assert kept_rows[:11] == fresh_rows[:11]
    assert kept_rows[11:] != fresh_rows[11:]


def test_from_the_weights_of_another_run(undisturbed, tmp_path):
    begin = undisturbed / "checkpoints" / "step-00000010"
    adamw = "optimizer: {name: adamw, lr: 1e-30}, schedule: {name: constant}"
    midtrain = f"phases=[{{phase: midtrain, batch_tokens: 128, {adamw}}}]"
    settings = (midtrain, f"init_from={begin}", "seed=99")
    go(read(tmp_path / "run", *settings))
    expected = checkpoint.load_model(checkpoint_folder.find(begin))
    loaded = checkpoint.load_model(checkpoint_folder.find(tmp_path / "run"))
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), loaded.parameters(), strict=True))
    contents = checkpoint_folder.find(tmp_path / "run").contents
    assert (contents.position.step, contents.position.phase_index) == (6, 0)
    newest = go(read(tmp_path / "newest", midtrain, f"init_from={undisturbed}", "phases.0.rope_theta=1e6"))
    trained = final_weights(undisturbed)
    assert torch.equal(checkpoint.load_model(checkpoint_folder.find(newest.folder)).norm.weight, trained["norm.weight"])


def test_the_moments_come_along_where_they_are_asked_for(undisturbed, tmp_path):
    """The second phase in a run of its own, from the end of the first: with the moments it is the same training."""
    begin = undisturbed / "checkpoints" / "step-00000010"
    first = "optimizer: {name: muon, lr: 0.02, adamw_lr: 0.01, weight_decay: 0.01}"
    rest = "batch_tokens: 128, micro_batch_tokens: 64, schedule: {name: cosine}, rope_theta: 1e6"
    midtrain = f"phases=[{{phase: midtrain, {rest}, {first}}}]"
    go(read(tmp_path / "kept", midtrain, f"init_from={{path: {begin}, optimizer: true}}"))
    go(read(tmp_path / "reset", midtrain, f"init_from={begin}"))
    whole, kept, reset = (
        [row["loss"] for row in rows(folder / "metrics.jsonl") if row["kind"] == "step"]
        for folder in (undisturbed, tmp_path / "kept", tmp_path / "reset")
    )
    assert kept == whole[10:]
    assert reset[0] == kept[0]  # the weights are those
    assert reset[1:] != kept[1:]
    expected = final_weights(undisturbed)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in final_weights(tmp_path / "kept").items())


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ("{name: adamw, lr: 0.01}", "those of muon, balancing adamw"),
        ("{name: muon, lr: 0.01, balancing: {kind: sign}}", "those of muon, balancing adamw"),
    ],
)
def test_moments_of_another_kind_are_refused(undisturbed, tmp_path, settings, seen):
    start = f"init_from={{path: {undisturbed}, optimizer: true}}"
    with pytest.raises(ConfigError, match=rf"init_from\.optimizer: the moments in .*{seen}") as wrong:
        go(read(tmp_path / "run", start, f"phases.0.optimizer={settings}", "phases.0.rope_theta=1e6"))
    assert "optimizer: false" in wrong.value.fix
    assert not (tmp_path / "run").exists()


def test_a_first_phase_cannot_be_fresh_and_take_moments(undisturbed, tmp_path):
    with pytest.raises(ConfigError, match="asks for the optimizer's moments, and the first phase has fresh: true"):
        read(tmp_path / "run", f"init_from={{path: {undisturbed}, optimizer: true}}", "phases.0.optimizer.fresh=true")


def test_another_kind_of_balancing_in_a_later_phase_goes_on_over_a_resume(tmp_path):
    """The balancer's moments are those of the phase's kind, also where a checkpoint is restored within it."""
    sign = "phases.1.optimizer={name: muon, lr: 0.02, balancing: {kind: sign, lr: 0.01}}"
    with pytest.raises(RunError, match="the disk is gone"):
        go(read(tmp_path / "run", sign), Poisoned())
    contents = checkpoint_folder.find(tmp_path / "run").contents
    assert (contents.position.step, contents.balancing) == (12, "sign")
    go(read(tmp_path / "run", sign), resume=True)
    go(read(tmp_path / "whole", sign))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_another_rope_base_than_that_of_the_weights_has_to_be_written(undisturbed, tmp_path):
    whole = f"init_from={undisturbed}"
    with pytest.raises(ConfigError, match=r"phases\.0\.rope_theta: .*10000 is not what .* with, 1e\+06") as wrong:
        go(read(tmp_path / "run", whole, "phases.0.rope_theta=null"))
    assert "write rope_theta: 1e+06" in wrong.value.fix
    assert not (tmp_path / "run").exists()
    one = "phases=[{phase: pretrain, batch_tokens: 64, optimizer: {name: muon, lr: 0.01}, schedule: {name: constant}}]"
    for name, settings in (("given", (one, "phases.0.rope_theta=1e5")), ("model", (one, "model.rope_theta=1e6"))):
        go(read(tmp_path / name, whole, *settings))
    assert checkpoint_folder.find(tmp_path / "given").contents.model.rope_theta == 1e5
    assert checkpoint_folder.find(tmp_path / "model").contents.model.rope_theta == 1e6


def test_a_signal_at_the_last_moment_of_a_step_still_leaves_a_checkpoint(tmp_path, monkeypatch):
    """It comes behind all that the step does about signals: the loop itself must not return without a checkpoint."""
    after_step = Session._after_step

    def then_a_signal(session, tokens_per_second):
        after_step(session, tokens_per_second)
        if session.position.step == 4:
            session.stopper.signal = signal.SIGTERM

    monkeypatch.setattr(Session, "_after_step", then_a_signal)
    result = go(read(tmp_path / "run"))
    assert (result.step, result.exit_code) == (4, 143)
    assert checkpoint_folder.find(tmp_path / "run").contents.position.step == 4


def test_a_resumed_run_needs_the_checkpoint_that_it_began_from_no_more(undisturbed, tmp_path):
    begin = tmp_path / "begin"
    shutil.copytree(undisturbed, begin)
    with pytest.raises(RunError, match="the disk is gone"):
        go(read(tmp_path / "run", f"init_from={begin}"), Poisoned())
    shutil.rmtree(begin)
    assert go(read(tmp_path / "run", f"init_from={begin}"), resume=True).step == STEPS


def test_a_loss_that_is_not_finite_stops_the_run_and_is_not_saved(tmp_path):
    settings = ("phases.0.optimizer.lr=1e38", "phases.0.schedule.warmup=0")
    where = r"step \d+ of tiny, phase pretrain, sequences \d+ to \d+: the loss or its gradient"
    with pytest.raises(RunError, match=where):
        go(read(tmp_path / "run", *settings, "checkpoint.every=1"))
    reached = [row["step"] for row in rows(tmp_path / "run" / "metrics.jsonl")]
    assert checkpoint_folder.find(tmp_path / "run").contents.position.step == reached[-1] < 10


def test_a_folder_is_not_overwritten_unasked(undisturbed, tmp_path):
    folder = tmp_path / "run"
    first = ("phases.0.steps=2", "phases.0.schedule={name: constant}")
    go(read(folder, *first))
    with pytest.raises(ConfigError, match=r"run\.yaml:2: output: the folder is there already"):
        go(read(folder))
    go(read(folder), overwrite=True)
    assert comparable(folder) == comparable(undisturbed)


def test_nothing_is_removed_for_a_run_that_cannot_start(tmp_path):
    go(read(tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"phases\.0\.batch_tokens"):
        go(read(tmp_path / "run", "phases.0.batch_tokens=63"), overwrite=True)
    assert checkpoint_folder.newest(tmp_path / "run")


def test_a_vocabulary_that_does_not_fit_names_both(tmp_path):
    with pytest.raises(ConfigError, match=r"vocab_size 40 for a tokenizer of 50 tokens \(hash aaaa"):
        go(read(tmp_path / "run", "model.vocab_size=40"))
    assert not (tmp_path / "run").exists()


def test_other_shards_or_another_tokenizer_are_refused(undisturbed, tmp_path):
    go(read(tmp_path / "run"))
    with pytest.raises(ConfigError, match=f"seen:     shards {'9' * 32}[^$]*expected: shards {'f' * 32}"):
        go(read(tmp_path / "run"), mixture=FakeMixture(fingerprint="9" * 32), resume=True)
    with pytest.raises(ConfigError, match=f"init_from: .*another tokenizer[^$]*{'b' * 32}[^$]*{'a' * 32}"):
        go(read(tmp_path / "new", f"init_from={undisturbed}"), FakeMixture(tokenizer_hash="b" * 32))


class Extended(FakeMixture):
    """Shards that go on from others, cut at a sequence of their first phase."""

    def __init__(self, cut):
        super().__init__(fingerprint="9" * 32)
        self.cut = cut

    def extends(self, shards, phase, sequences):
        return shards == "f" * 32 and sequences <= {"pretrain": self.cut, "midtrain": 21}[phase]


def test_shards_that_were_cut_behind_the_run_are_refused_and_others_taken(undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    with pytest.raises(ConfigError, match="beyond the place at which the shards were cut") as refused:
        go(read(folder), mixture=Extended(cut=39), resume=True)
    assert refused.value.seen == "sequence 40 of phase pretrain"
    assert go(read(folder), mixture=Extended(cut=40), resume=True).step == STEPS


def test_a_checkpoint_of_another_model_names_the_first_size(undisturbed, tmp_path):
    with pytest.raises(ConfigError, match="num_experts 3 in the checkpoint"):
        go(read(tmp_path / "run", f"init_from={undisturbed}", "model.num_experts=4"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match=r"--set init_from: init_from: no checkpoint is here"):
        go(read(tmp_path / "run", f"init_from={tmp_path}/nowhere"))


def test_a_damaged_checkpoint_is_named_on_resuming(tmp_path):
    result = go(read(tmp_path / "run"))
    file = result.checkpoint / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RunError, match=r"step-00000016/__0_0\.distcp: the checkpoint's file was cut or altered"):
        go(read(tmp_path / "run"), resume=True)


def test_bfloat16_trains(tmp_path):
    result = go(read(tmp_path / "run", "precision=bf16"))
    losses = [row["loss"] for row in rows(result.folder / "metrics.jsonl") if row["kind"] == "step"]
    assert losses[-1] < losses[0] - 0.2
    model = checkpoint.load_model(checkpoint_folder.find(result.folder))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())

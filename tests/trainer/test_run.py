"""The schema of runs and the plan of their phases."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
from midtrain.config import Loaded, dump, load, validate
from midtrain.errors import ConfigError
from midtrain.trainer.history import Stretch
from midtrain.trainer.run import RunConfig, plan_phases
from midtrain.yaml_document import override, parse

DESIGN = """\
name: tiny
output: runs/tiny
shards: out/shards
seed: 1
model: zaya-tiny
precision: bf16
parallel: {data: auto, expert: 1, context: 1}
phases:
  - {phase: pretrain, batch_tokens: 64Ki,
     optimizer: {name: muon, lr: 0.01, adamw_lr: 0.004, weight_decay: 0.02, clip: 1},
     schedule: {name: wsd, warmup: 100, decay: 0.2}, rope_theta: 1e4}
  - {phase: midtrain, batch_tokens: 64Ki, schedule: {name: cosine}, rope_theta: 1e6}
checkpoint: {every: 100, keep: 3}
evaluate: {every: 100, held_out: true, tasks: [modular_chain], samples: 200}
metrics: [tensorboard]
"""


@dataclass(frozen=True)
class Phase:
    sequence_length: int
    sequences: int
    cut: int = 0

    @property
    def planned_sequences(self):
        return self.sequences + self.cut


BUILT = {"pretrain": Phase(4096, 3205), "midtrain": Phase(32768, 97)}


def read(*settings: str) -> Loaded[RunConfig]:
    return validate(override(parse(DESIGN, "run.yaml"), settings), RunConfig)


def test_a_phase_that_was_cut_short_keeps_its_schedule():
    cut = {"pretrain": Phase(4096, 1600, cut=1605), "midtrain": Phase(32768, 97)}
    pretrain, midtrain = plan_phases(read(), cut)
    assert (pretrain.steps, pretrain.sequences, pretrain.schedule_steps) == (100, 1600, 201)
    assert (midtrain.first_step, midtrain.steps, midtrain.schedule_steps) == (100, 49, 49)
    # A run that says how many steps goes on saying so, though the cut has left fewer.
    fixed, _ = plan_phases(read("phases.0.steps=150"), cut)
    assert (fixed.steps, fixed.sequences, fixed.schedule_steps) == (100, 1600, 150)
    with pytest.raises(ConfigError, match="more steps than the phase has batches"):
        plan_phases(read("phases.0.steps=202"), cut)
    # In the middle of a batch: the last step before the cut is short.
    short, _ = plan_phases(read(), {**cut, "pretrain": Phase(4096, 1601, cut=1604)})
    assert (short.steps, short.sequences, short.schedule_steps) == (101, 1601, 201)


def test_the_run_of_the_design_is_planned():
    run = read()
    pretrain, midtrain = plan_phases(run, BUILT)
    assert (pretrain.batch_sequences, pretrain.steps, pretrain.sequences) == (16, 201, 3205)
    assert (midtrain.batch_sequences, midtrain.steps, midtrain.first_step) == (2, 49, 201)
    assert midtrain.last_step == 250
    assert pretrain.optimizer.adamw_lr == 0.004
    assert pretrain.optimizer.betas == (0.9, 0.95)
    assert midtrain.optimizer == pretrain.optimizer
    assert (pretrain.fresh, midtrain.fresh) == (True, False)
    assert (pretrain.rope_theta, midtrain.rope_theta) == (1e4, 1e6)
    assert run.value.model.num_layers == 4


def test_what_is_dumped_reads_back_equal(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump(read().value))
    assert load(file, RunConfig).value == read().value


def test_later_phases_take_over_what_they_do_not_say():
    settings = ["phases.1.optimizer={name: muon, lr: 0.5}", "phases.1.rope_theta=null"]
    pretrain, midtrain = plan_phases(read(*settings), BUILT)
    assert midtrain.optimizer.lr == 0.5
    assert not midtrain.fresh
    assert midtrain.rope_theta == pretrain.rope_theta == 1e4
    assert plan_phases(read(settings[0][:-1] + ", fresh: true}"), BUILT)[1].fresh


def test_a_batch_that_changed_goes_on_behind_what_was_trained():
    done = Stretch("pretrain", "f" * 32, 4096, 16, 1e4, 0, 100, 0, 1600)
    pretrain, midtrain = plan_phases(read("phases.0.batch_tokens=128Ki"), BUILT, [done])
    assert (pretrain.batch_sequences, pretrain.steps, pretrain.sequences) == (32, 100 + 51, 3205)
    assert midtrain.first_step == 151
    stopped, _ = plan_phases(read("phases.0.batch_tokens=128Ki", "phases.0.steps=130"), BUILT, [done])
    assert (stopped.steps, stopped.sequences) == (130, 1600 + 30 * 32)
    over = Stretch("pretrain", "f" * 32, 4096, 16, 1e4, 0, 201, 0, 3205)
    assert plan_phases(read("phases.0.batch_tokens=128Ki"), BUILT, [over])[0].steps == 201
    cut = {**BUILT, "pretrain": Phase(4096, 1664)}  # by extending the shards: too short for its schedule, too late
    assert plan_phases(read(), cut, [done])[0].steps == 104
    with pytest.raises(ConfigError, match="never reach its rate"):
        plan_phases(read(), cut)
    with pytest.raises(ConfigError, match="at most 151"):
        plan_phases(read("phases.0.batch_tokens=128Ki", "phases.0.steps=152"), BUILT, [done])


def test_a_batch_too_large_for_the_steps_that_are_left_says_which_is_not():
    done = [Stretch("pretrain", "f", 4096, 16, 1e4, 0, 100, 0, 1600)]
    with pytest.raises(ConfigError, match=r"at most 151\n.*keep batch_tokens at 65,536"):
        plan_phases(read("phases.0.steps=152", "phases.0.batch_tokens=128Ki"), BUILT, done)
    assert plan_phases(read("phases.0.steps=151", "phases.0.batch_tokens=128Ki"), BUILT, done)[0].steps == 151


def test_steps_stop_a_phase_early():
    pretrain, midtrain = plan_phases(read("phases.0.steps=150", "phases.0.micro_batch_tokens=8Ki"), BUILT)
    assert (pretrain.steps, pretrain.sequences, pretrain.micro_sequences) == (150, 150 * 16, 2)
    assert midtrain.first_step == 150


MUTATIONS = {
    "phases.0.batch_tokens=64K": "phases.0.batch_tokens: not a multiple of the phase's sequence_length",
    "phases.0.micro_batch_tokens=5000": "phases.0.micro_batch_tokens: not a multiple",
    "phases.0.phase=pretrian": "phases.0.phase: the shards have no such phase",
    "phases.0.steps=202": "at most 201",
    "phases.0.schedule.warmup=170": "it would never reach its rate",
    "phases.1.phase=pretrain": "the phase pretrain stands twice",
    "phases.0.optimizer=null": "the first phase, pretrain, has no optimizer",
    "phases.1.optimizer={name: adamw, lr: 0.1}": "write fresh: true",
    "phases.0.optimizer={name: adamw, lr: 1, adamw_lr: 1}": "under name: adamw write lr",
    "phases.0.optimizer={name: moun, lr: 1}": "did you mean muon?",
    "phases.0.optimizer.lr=-1": "greater than 0",
    "phases.0.optimizer.momentun=0.9": "did you mean momentum?",
    "phases.1.schedule.decay=0.1": "decay belongs to wsd",
    "phases.1.schedule={name: constant, final: 0.1}": "constant stays at 1",
    "phases.0.optimizer={name: adamw, lr: 1, momentum: 0.9}": "momentum is Muon's",
    "threads=100000": "less than or equal to 1024",
    "phases.1.schedule.name=cosin": "did you mean cosine?",
    "phases.0.optimizer.balancing={kind: sing}": "did you mean sign?",
    "phases.0.optimizer.z_loss=-1": "greater than or equal to 0",
    "init_from={checkpoint: runs/a}": "unknown key checkpoint",
    "parallel.expert=2": "training runs in one process",
    "parallel.data=8": "training runs in one process",
    "model=zaya-tniy": "did you mean zaya-tiny?",
    "model.num_heads=3": "--set model.num_heads",
    "precision=fp16": "did you mean",
    "evaluate.prompt=think": "'answer', 'reasoning' or 'plain'",
    "evaluate.k=[1, 10]": "every k must be from 1 to n (1)",
    "evaluate={every: 5, n: 8}": "n replies at temperature 0 are one reply",
    "evaluate.temperature=-1": "greater than or equal to 0",
    "evaluate.prompt=plain": "tasks are asked in the template",
    "evaluate.benchmarks={a b: x}": "evaluate.benchmarks.a b",
    "metrics=[wandb]": "tensorboard",
    "checkpoint.keep=0": "greater than 0",
    "phases=[]": "phases",
    "seed=-1": "seed",
}


@pytest.mark.parametrize("setting", MUTATIONS)
def test_what_cannot_be_right_is_named(setting):
    with pytest.raises(ConfigError) as wrong:
        plan_phases(read(setting), BUILT)
    assert MUTATIONS[setting] in str(wrong.value)
    assert wrong.value.exit_code == 2


def test_a_dense_model_has_no_biases_to_move():
    assert read("model={preset: zaya-tiny, moe: {kind: dense}}").value.optimizer_of(0).balancing.kind is None
    with pytest.raises(ConfigError, match="the phase pretrain balances by sign, and a dense model has no router"):
        read("model={preset: zaya-tiny, moe: {kind: dense}}", "phases.0.optimizer.balancing={kind: sign}")


def test_a_path_alone_asks_for_the_weights():
    for written in ("init_from=runs/a", "init_from={path: runs/a}"):
        start = read(written).value.init_from
        assert (start.path, start.optimizer) == ("runs/a", False)


def test_errors_found_against_the_shards_have_their_line():
    with pytest.raises(ConfigError, match=r"^run\.yaml:9: phases\.0\.batch_tokens: not a multiple"):
        plan_phases(read(), BUILT | {"pretrain": Phase(4095, 100)})


def test_a_missing_key_and_a_table_of_sizes_are_checked():
    text = DESIGN.replace("shards: out/shards\n", "")
    with pytest.raises(ConfigError, match="the key shards is missing"):
        validate(parse(text, "run.yaml"), RunConfig)
    table = DESIGN.replace("model: zaya-tiny", "model: {hidden_size: 64, num_layer: 2}")
    with pytest.raises(ConfigError, match="did you mean num_layers"):
        validate(parse(table, "run.yaml"), RunConfig)


def test_checking_a_run_does_not_load_torch():
    code = "import sys, midtrain.trainer.run; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mistyped_kinds_and_presets_are_named_with_the_nearest():
    with pytest.raises(ConfigError) as kind:
        read("model={preset: zaya-tiny, moe: {kind: zeroo_computation}}")
    assert "there is no kind zeroo_computation" in str(kind.value)
    assert "did you mean zero_computation?" in str(kind.value)
    with pytest.raises(ConfigError, match="zaya_tiny: did you mean zaya-tiny"):
        read("model={preset: zaya_tiny}")

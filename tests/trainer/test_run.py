"""The schema of runs and the plan of their phases."""

import subprocess
import sys
from dataclasses import dataclass

import pytest
from midtrain.config import Loaded, dump, load, validate
from midtrain.errors import ConfigError
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


BUILT = {"pretrain": Phase(4096, 3205), "midtrain": Phase(32768, 97)}


def read(*settings: str) -> Loaded[RunConfig]:
    return validate(override(parse(DESIGN, "run.yaml"), settings), RunConfig)


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
    "phases.1.schedule.name=cosin": "did you mean cosine?",
    "parallel.expert=2": "training runs in one process",
    "parallel.data=8": "training runs in one process",
    "model=zaya-tniy": "did you mean zaya-tiny?",
    "model.num_heads=3": "--set model.num_heads",
    "precision=fp16": "did you mean",
    "evaluate.prompt=think": "'answer' or 'reasoning'",
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

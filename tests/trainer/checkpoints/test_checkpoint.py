"""Checkpoints: whole or absent, checked before they are opened, and kept or removed by rule."""

import os
import pickle
import resource
from pathlib import Path

import orjson
import pytest
import torch
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.checkpoints import checkpoint, checkpoint_folder, checkpoint_manifest
from midtrain.trainer.checkpoints.checkpoint_manifest import Contents
from midtrain.trainer.history import Position, Stretch
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel

SIZES = ModelConfig(
    vocab_size=64,
    hidden_size=16,
    num_layers=2,
    num_heads=2,
    num_kv_heads=2,
    head_dim=8,
    num_experts=3,
    expert_size=8,
    router_size=8,
)


def contents(step: int, end_of_phase: bool = False) -> Contents:
    record = Stretch("pretrain", "f" * 32, 16, 4, 1e4, 0, step, 0, step * 4)
    position = Position("pretrain", 0, step, step * 4, step, 100, 90, 1.5)
    return Contents("tiny", SIZES, "f" * 32, "a" * 32, "muon", "adamw", position, (record,), end_of_phase)


def tensors(value: float = 0.0) -> dict[str, torch.Tensor]:
    return {
        "model/w": torch.full((3, 4), value),
        "optimizer/step/w": torch.tensor(value),
        "balancing/idle": torch.arange(4),
        "rng/cpu": torch.get_rng_state(),
    }


def test_what_is_saved_is_loaded_bitwise(tmp_path):
    saved = tensors(0.1) | {"model/half": torch.randn(5).bfloat16()}
    path = checkpoint.save(tmp_path, saved, contents(12), keep=3)
    assert path == tmp_path / "checkpoints" / "step-00000012"
    source = checkpoint_folder.find(path)
    assert source.contents == contents(12)
    loaded = {name: torch.zeros_like(tensor) for name, tensor in saved.items()}
    checkpoint.load(source, loaded)
    for name, tensor in saved.items():
        assert torch.equal(loaded[name], tensor), name


def test_a_model_is_made_from_its_checkpoint(tmp_path):
    model = MoEModel(SIZES)
    model.layers[0].mlp.gate.balancing_biases[0] = 0.25
    checkpoint.save(tmp_path, checkpoint.model_tensors(model), contents(1), keep=1)
    loaded = checkpoint.load_model(checkpoint_folder.find(tmp_path))
    assert loaded.config == SIZES
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return checkpoint.save(tmp_path, tensors(), contents(5), keep=3)


def damages(path: Path) -> dict[str, bytes]:
    whole = path.read_bytes()
    middle = len(whole) // 2
    return {
        "cut": whole[:middle],
        "empty": b"",
        "altered": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "longer": whole + b"\0",
    }


@pytest.mark.parametrize("damage", ["cut", "empty", "altered", "longer", "gone"])
@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_damaged_file_is_named_and_never_opened(saved, name, damage):
    source = checkpoint_folder.find(saved)
    if damage == "gone":
        (saved / name).unlink()
    else:
        (saved / name).write_bytes(damages(saved / name)[damage])
    with pytest.raises(RunError, match=f"{name}: the checkpoint's file was cut or altered"):
        checkpoint.load(source, tensors())


@pytest.mark.parametrize("damage", ["cut", "empty", "altered"])
def test_a_damaged_manifest_is_named(saved, damage):
    file = saved / "manifest.json"
    file.write_bytes(damages(file)[damage])
    with pytest.raises(RunError, match=r"manifest\.json: the checkpoint's manifest was"):
        checkpoint_folder.find(saved)


class Attack:
    """Unpickled, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_planted_metadata_is_not_unpickled(saved, tmp_path):
    planted = pickle.dumps(Attack(tmp_path / "planted"))
    (saved / ".metadata").write_bytes(planted)
    with pytest.raises(RunError, match=r"\.metadata"):
        checkpoint.load(checkpoint_folder.find(saved), tensors())
    assert not (tmp_path / "planted").exists()
    pickle.loads(planted)
    assert (tmp_path / "planted").exists()


def test_a_missing_or_misshapen_tensor_is_an_error(saved):
    source = checkpoint_folder.find(saved)
    with pytest.raises(RunError, match=r"does not hold model/v as it is needed\n  seen:     missing"):
        checkpoint.load(source, {"model/v": torch.zeros(2)})
    with pytest.raises(RunError, match=r"seen:     \(3, 4\)\n  expected: \(3, 5\)"):
        checkpoint.load(source, {"model/w": torch.zeros(3, 5)})


def test_the_first_size_that_differs_is_named(saved):
    source = checkpoint_folder.find(saved)
    checkpoint_manifest.require_same_model(source, SIZES.model_copy(update={"moe": ZayaMoE(capacity=1.5)}))
    checkpoint_manifest.require_same_model(source, SIZES.model_copy(update={"rope_theta": 1e6}))
    with pytest.raises(ConfigError, match=r"num_layers 2 in the checkpoint\n  expected: num_layers 4"):
        checkpoint_manifest.require_same_model(source, SIZES.model_copy(update={"num_layers": 4, "router_size": 9}))


def test_a_checkpoint_cut_off_before_its_manifest_is_passed_over(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path, tensors(), contents(step), keep=3)
    assert checkpoint_folder.newest(tmp_path).name == "step-00000002"
    (tmp_path / "checkpoints" / "step-00000002" / "manifest.json").unlink()
    assert checkpoint_folder.newest(tmp_path).name == "step-00000001"
    assert checkpoint_folder.find(tmp_path).contents.position.step == 1
    with pytest.raises(RunError, match="the checkpoint is not complete"):
        checkpoint_folder.find(tmp_path / "checkpoints" / "step-00000002")
    assert checkpoint_folder.newest(tmp_path / "nowhere") is None


def test_the_newest_stay_and_the_ends_of_phases(tmp_path):
    for step in range(1, 7):
        checkpoint.save(tmp_path, tensors(), contents(step, end_of_phase=step == 2), keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000005", "step-00000006"]


def test_an_old_damaged_checkpoint_neither_stops_the_run_nor_is_removed(tmp_path):
    for step in (1, 2):
        path = checkpoint.save(tmp_path, tensors(), contents(step), keep=2)
    (path / "manifest.json").write_bytes(b"{")
    for step in (3, 4, 5):
        checkpoint.save(tmp_path, tensors(), contents(step), keep=2)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000004", "step-00000005"]


def test_saving_again_replaces(tmp_path):
    checkpoint.save(tmp_path, tensors(1.0), contents(3), keep=2)
    path = checkpoint.save(tmp_path, tensors(2.0), contents(3), keep=2)
    loaded = {"model/w": torch.zeros(3, 4)}
    checkpoint.load(checkpoint_folder.find(path), loaded)
    assert (loaded["model/w"] == 2.0).all()


def test_a_save_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def full(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint_manifest, "write", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(tmp_path, tensors(), contents(3), keep=2)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_file_that_the_system_refuses_ends_with_its_reason(tmp_path):
    checkpoint.save(tmp_path, tensors(), contents(1), keep=3)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # stands for a full disk
    try:
        with pytest.raises(RunError, match="the checkpoint cannot be written") as wrong:
            checkpoint.save(tmp_path, tensors(), contents(2), keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "--resume" in wrong.value.fix
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_ctrl_c_within_a_save_is_ctrl_c(tmp_path, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.FileSystemWriter, "write_data", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, tensors(), contents(1), keep=3)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_naming_what_is_no_checkpoint(tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint is here\n  seen:     no such folder"):
        checkpoint_folder.find(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no complete checkpoint"):
        checkpoint_folder.find(tmp_path)


def test_another_format_is_refused(saved):
    file = saved / "manifest.json"
    body = orjson.loads(file.read_bytes())
    del body["hash"]
    body["format"] = 99
    file.write_bytes(orjson.dumps({**body, "hash": checkpoint_manifest.fingerprint(body)}))
    with pytest.raises(RunError, match="format of another version"):
        checkpoint_folder.find(saved)

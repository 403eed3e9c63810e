"""Imports: both layouts, bit by bit; what a run, an evaluation and a generation make of one; what is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from midtrain.config import load
from midtrain.errors import ConfigError, RunError
from midtrain.trainer.checkpoints import checkpoint, checkpoint_folder
from midtrain.trainer.exchange import imported, weights
from midtrain.trainer.exchange.export import export
from midtrain.trainer.exchange.import_model import import_model
from midtrain.trainer.models.config import ZayaMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train
from midtrain.trainer.trained import Trained

Make = Callable[..., MoEModel]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports") / "model"
    export(root / "run", folder)
    return folder


@pytest.fixture
def tokenizer(root: Path) -> str:
    """A tokenizer file that a folder of weights can be imported with; its ids are more than the random models have."""
    return str(next(root.glob("shards/**/tokenizer.json")))


def same(model: MoEModel, other: MoEModel) -> None:
    assert model.state_dict().keys() == other.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_an_export_comes_back_bit_by_bit(root: Path, exported: Path, tmp_path: Path) -> None:
    result = import_model(exported, tmp_path / "back")
    run, back = checkpoint_folder.find(root / "run"), checkpoint_folder.find(tmp_path / "back")
    same(checkpoint.load_model(run), checkpoint.load_model(back))
    assert back.path == result.checkpoint
    assert back.contents.tokenizer == run.contents.tokenizer
    assert back.contents.model == run.contents.model.model_copy(update={"moe": ZayaMoE(skip="zero")})
    assert back.contents.history[-1].sequence_length == 256


def test_a_half_export_comes_back_in_its_own_type(root: Path, exported: Path, tmp_path: Path) -> None:
    export(root / "run", tmp_path / "half", dtype="bfloat16")
    folder = weights.open_folder(tmp_path / "half")
    import_model(tmp_path / "half", tmp_path / "back")
    back = checkpoint.load_model(checkpoint_folder.find(tmp_path / "back"))
    for name, tensor in back.state_dict().items():
        assert torch.equal(folder.read(name).float(), tensor), name
    import_model(exported, tmp_path / "full")
    half, full = (
        sum(path.stat().st_size for path in (tmp_path / name / "checkpoints").rglob("*.distcp"))
        for name in ("back", "full")
    )
    assert full - half > 1.9 * sum(tensor.numel() for tensor in back.state_dict().values())


def test_an_import_is_exported_again(exported: Path, tmp_path: Path) -> None:
    import_model(exported, tmp_path / "back")
    result = export(tmp_path / "back", tmp_path / "again")
    assert (result.template, result.proof.data) == ("chatml", "random tokens")
    one, other = weights.open_folder(exported), weights.open_folder(tmp_path / "again")
    assert (one.model, one.max_positions) == (other.model, other.max_positions)
    for name in one.tensors:
        assert torch.equal(one.read(name), other.read(name)), name
    card = (tmp_path / "again/README.md").read_text()
    assert "Imported from `model` (native layout)" in card
    assert "Training data: not stated." in card
    import_model(exported, tmp_path / "identity", skip="identity")
    with pytest.raises(ConfigError, match=r"moe\.skip identity"):
        export(tmp_path / "identity", tmp_path / "never")


def test_generate_and_eval_work_on_an_import(
    root: Path, exported: Path, tmp_path: Path, midtrain: Callable[..., Any]
) -> None:
    said = midtrain("import", exported, tmp_path / "back", "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["skip"] == "zero"
    ours, theirs = (midtrain("generate", at, "the river", "--raw") for at in (root / "run", tmp_path / "back"))
    assert (ours.code, theirs.code, theirs.out) == (0, 0, ours.out)
    alone = midtrain("eval", tmp_path / "back", "--source", "web")
    assert (alone.code, "--shards FOLDER" in alone.err) == (2, True)
    tasks = midtrain("eval", tmp_path / "back", "--task", "modular_chain", "--samples", 2, "--steps", 2)
    assert (tasks.code, "modular_chain" in tasks.out) == (0, True), tasks
    measured = [
        midtrain("eval", at, "--shards", root / "shards", "--source", "web") for at in (root / "run", tmp_path / "back")
    ]
    assert measured[0].code == measured[1].code == 0, measured
    assert measured[0].out == measured[1].out


def test_a_lost_or_other_tokenizer_is_found(exported: Path, tmp_path: Path) -> None:
    import_model(exported, tmp_path / "back")
    file = tmp_path / "back/tokenizer/tokenizer.json"
    body = json.loads(file.read_text())
    file.write_text(json.dumps(body))
    with pytest.raises(ConfigError, match="the tokenizer is not the one that the model was trained with"):
        Trained.open(tmp_path / "back")
    file.unlink()
    with pytest.raises(ConfigError, match="no such file"):
        Trained.open(tmp_path / "back")


def test_an_import_is_trained_further(root: Path, exported: Path, tmp_path: Path) -> None:
    import_model(exported, tmp_path / "back")
    text = (root / "run.yaml").read_text().replace(f"output: {root}/run", f"output: {tmp_path}/further")
    text = text.replace(
        "model: {hidden_size", f"init_from: {tmp_path}/back\nmodel: {{moe: {{kind: zaya, skip: zero}}, hidden_size"
    )
    (tmp_path / "run.yaml").write_text(text.replace("steps: 2", "steps: 1"))
    result = train(load(tmp_path / "run.yaml", RunConfig))
    assert result.step == 2
    wrong = text.replace("skip: zero", 'skip: "off"').replace("further", "wrong")
    (tmp_path / "wrong.yaml").write_text(wrong)
    with pytest.raises(ConfigError, match="the checkpoint is one of another model: moe differs"):
        train(load(tmp_path / "wrong.yaml", RunConfig))


def test_a_run_begins_from_a_folder_as_from_its_import(root: Path, exported: Path, tmp_path: Path) -> None:
    import_model(exported, tmp_path / "back")
    text = (root / "run.yaml").read_text().replace("steps: 2", "steps: 1")
    text = text.replace("model: {hidden_size", "model: {moe: {kind: zaya, skip: zero}, hidden_size")
    for name, start in (("folder", exported), ("import", tmp_path / "back")):
        body = text.replace(f"output: {root}/run", f"output: {tmp_path}/{name}\ninit_from: {start}")
        (tmp_path / f"{name}.yaml").write_text(body)
        train(load(tmp_path / f"{name}.yaml", RunConfig))
    one, other = (checkpoint_folder.find(tmp_path / name) for name in ("folder", "import"))
    same(checkpoint.load_model(one), checkpoint.load_model(other))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("skip: zero", 'skip: "off"'), "the folder is one of another model: moe differs"),
        (("rope_theta: 1e4", ""), "not what the weights in init_from were trained with, 1e"),
        (
            ("init_from: FOLDER", "init_from: {path: FOLDER, optimizer: true}"),
            "a folder of transformers holds no moments",
        ),
    ],
)
def test_a_run_that_does_not_fit_a_folder_is_refused(
    root: Path, exported: Path, tmp_path: Path, changed: tuple[str, str], named: str
) -> None:
    text = (root / "run.yaml").read_text()
    text = text.replace("model: {hidden_size", "init_from: FOLDER\nmodel: {moe: {kind: zaya, skip: zero}, hidden_size")
    text = text.replace(f"output: {root}/run", f"output: {tmp_path}/run").replace(*changed)
    (tmp_path / "run.yaml").write_text(text.replace("FOLDER", str(exported)))
    with pytest.raises(ConfigError, match=named):
        train(load(tmp_path / "run.yaml", RunConfig))
    assert not (tmp_path / "run").exists()


def test_a_folder_with_another_tokenizer_is_refused(root: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "model")
    shutil.rmtree(tmp_path / "model/midtrain")
    file = tmp_path / "model/tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text())))
    text = (root / "run.yaml").read_text().replace(f"output: {root}/run", f"output: {tmp_path}/run")
    (tmp_path / "run.yaml").write_text(text + f"init_from: {tmp_path}/model\n")
    with pytest.raises(ConfigError, match="the folder was trained with another tokenizer than the shards'"):
        train(load(tmp_path / "run.yaml", RunConfig))


@pytest.mark.parametrize("shard_bytes", [10**9, 20_000])
def test_the_legacy_layout_is_the_native_one(
    random_model: Make, write_native: Write, write_legacy: Write, tmp_path: Path, shard_bytes: int
) -> None:
    model = random_model()
    native = weights.open_folder(write_native(model, tmp_path / "native", shard_bytes))
    legacy = weights.open_folder(write_legacy(model, tmp_path / "legacy", shard_bytes))
    assert (native.layout, native.skip, legacy.layout, legacy.skip) == ("native", "zero", "legacy", "identity")
    assert native.model == model.config
    assert legacy.model == model.config.model_copy(update={"moe": ZayaMoE(skip="identity")})
    for name, tensor in model.state_dict().items():
        assert torch.equal(native.read(name), tensor), name
        assert torch.equal(legacy.read(name), tensor), name


def test_a_legacy_folder_is_imported(random_model: Make, write_legacy: Write, tokenizer: str, tmp_path: Path) -> None:
    model = random_model(vocab_size=448)
    folder = write_legacy(model, tmp_path / "legacy")
    result = import_model(folder, tmp_path / "back", tokenizer=tokenizer)
    assert result.table.data["skip"] == "identity"
    record = imported.read(tmp_path / "back")
    assert record is not None
    assert (record.layout, record.skip) == ("legacy", "identity")
    same(model, checkpoint.load_model(checkpoint_folder.find(tmp_path / "back")))
    chosen = import_model(folder, tmp_path / "other", tokenizer=tokenizer, skip="off")
    assert chosen.folder.skip == "off"


def test_an_old_tied_head_is_taken_and_another_is_not(random_model: Make, write_native: Write, tmp_path: Path) -> None:
    from midtrain.trainer.exchange import model_files

    model = random_model()
    named = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    folder = write_native(model, tmp_path / "model")
    for head, fits in ((named["model.embed_tokens.weight"], True), (named["model.embed_tokens.weight"] + 1e-3, False)):
        with_head = named | {"lm_head.weight": head}
        model_files.write(folder, list(with_head.items()), with_head.__getitem__, 10**9)
        if fits:
            assert weights.open_folder(folder).model == model.config
        else:
            with pytest.raises(RunError, match="is not the embedding"):
                weights.open_folder(folder)


def test_a_folder_that_transformers_saved_is_read(exported: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(exported)
    model.save_pretrained(tmp_path / "saved", max_shard_size="50KB")
    folder = weights.open_folder(tmp_path / "saved")
    for name in folder.tensors:
        assert torch.equal(folder.read(name), model.model.state_dict()[name]), name
    loaded = MoEModel(folder.model)
    folder.load(loaded)
    assert torch.equal(loaded.embed_tokens.weight, model.model.embed_tokens.weight)


def test_sliding_layers_come_back(random_model: Make, write_native: Write, tmp_path: Path) -> None:
    model = random_model(sliding_layers=(0, 2), sliding_window=8, sliding_rope_theta=5e3)
    assert weights.open_folder(write_native(model, tmp_path / "model")).model == model.config


def test_output_stands_whole_or_not_at_all(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_model(exported, tmp_path / "back")
    with pytest.raises(ConfigError, match=r"there already\n.*--overwrite"):
        import_model(exported, tmp_path / "back")
    monkeypatch.setattr(weights.ModelFolder, "read", lambda *_: (_ for _ in ()).throw(RunError("cut")))
    with pytest.raises(RunError, match="cut"):
        import_model(exported, tmp_path / "back", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["back"]
    assert Trained.open(tmp_path / "back").built is None
    monkeypatch.undo()
    import_model(exported, tmp_path / "back", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["back"]


def test_a_tokenizer_that_does_not_fit_is_refused(
    random_model: Make, write_native: Write, tokenizer: str, tmp_path: Path
) -> None:
    folder = write_native(random_model(), tmp_path / "model")
    with pytest.raises(ConfigError, match="has no tokenizer file"):
        import_model(folder, tmp_path / "back")
    shutil.copy(tokenizer, folder / "tokenizer.json")
    with pytest.raises(ConfigError, match="vocabulary"):
        import_model(folder, tmp_path / "back")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

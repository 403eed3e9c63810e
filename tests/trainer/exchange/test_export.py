"""Exports: what transformers then loads, computes, encodes and says, and what is refused."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.templates import Message
from midtrain.mixtures.templates import prompt as prompt_of
from midtrain.trainer.checkpoints import checkpoint_folder
from midtrain.trainer.exchange import export as exporting
from midtrain.trainer.exchange import model_card, proof, safetensors_files
from midtrain.trainer.exchange.export import export
from midtrain.trainer.exchange.import_model import import_model
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.presets import PRESETS
from midtrain.trainer.trained import Trained

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def exported(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's newest checkpoint, exported in several files."""
    folder = tmp_path_factory.mktemp("export") / "model"
    result = export(root / "run", folder, shard_bytes=40_000)
    assert len(result.files) > 2
    assert result.proof.transformers == transformers.__version__
    assert result.proof.data == "held-out tokens"
    return folder


@pytest.fixture(scope="module")
def trained(root: Path) -> Trained:
    return Trained.open(root / "run")


def test_transformers_loads_every_tensor_and_no_other(exported: Path, trained: Trained) -> None:
    model, report = transformers.AutoModelForCausalLM.from_pretrained(exported, output_loading_info=True)
    assert type(model).__name__ == "ZayaForCausalLM"
    assert not any(report.values())
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(model.model.state_dict()[name], tensor), name
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_the_config_is_that_of_the_checkpoints_phase(exported: Path, trained: Trained) -> None:
    config = transformers.AutoConfig.from_pretrained(exported)
    assert config.rope_parameters["hybrid"]["rope_theta"] == 1e6
    assert config.max_position_embeddings == 256
    assert config.vocab_size == trained.model.config.vocab_size


def test_the_head_is_not_written(exported: Path) -> None:
    index = json.loads((exported / "model.safetensors.index.json").read_text())
    assert not any("lm_head" in name for name in index["weight_map"])
    files = set(index["weight_map"].values())
    assert {path.name for path in exported.glob("*.safetensors")} == files


def test_auto_tokenizer_gives_our_ids(exported: Path, trained: Trained) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    for text in ("the river and the stone", " 12 + 7 = 19\n\n日本語", "Straße\t naïve", ""):
        assert tokenizer(text)["input_ids"] == trained.tokenizer.encode_texts([text]).ids[:-1].tolist()
    assert tokenizer.eos_token_id == trained.tokenizer.end_of_document
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == trained.tokenizer.special_id("<|im_end|>")


@pytest.mark.parametrize("thinking", [True, False])
def test_a_prompt_is_rendered_to_our_ids(exported: Path, trained: Trained, thinking: bool) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    asked = [{"role": "user", "content": "What is 3 + 4?"}]
    found = tokenizer.apply_chat_template(asked, add_generation_prompt=True, enable_thinking=thinking)["input_ids"]
    ours = prompt_of("chatml", [Message("user", "What is 3 + 4?")], answer_directly=not thinking)
    assert found == trained.tokenizer.encode_prompt(ours)


def test_greedy_replies_are_those_of_midtrain_generate(
    root: Path, exported: Path, trained: Trained, midtrain: Callable[..., Any]
) -> None:
    said = midtrain("generate", root / "run", "the river", "--max-new-tokens", 24)
    assert said.code == 0, said.err
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    model = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    asked = [{"role": "user", "content": "the river"}]
    ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    reply = model.generate(ids, max_new_tokens=24)[0, ids.shape[1] :].tolist()
    ends = {trained.tokenizer.end_of_document, trained.tokenizer.special_id("<|im_end|>")}
    kept = reply[:-1] if reply[-1] in ends else reply
    assert len(kept) > 3
    assert trained.tokenizer.decode(kept) + "\n" == said.out


def test_a_bfloat16_export_keeps_its_biases_in_float32(root: Path, tmp_path: Path) -> None:
    result = export(root / "run", tmp_path / "half", dtype="bfloat16")
    header = safetensors_files.read_header(tmp_path / "half/model.safetensors")
    for name, entry in header.items():
        assert entry.dtype == (torch.float32 if name.endswith("balancing_biases") else torch.bfloat16), name
    assert result.rounding is not None
    assert 0 < result.rounding < 0.1
    assert "rounding to bfloat16 moved logits by" in result.table.text
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert model.dtype == torch.bfloat16


def test_the_card_says_what_was_trained_on(exported: Path, trained: Trained) -> None:
    card = (exported / "README.md").read_text()
    assert trained.built is not None
    for expected in (
        "| first | 1 to 2 | 128 | 512 | 10000 | 8 |",
        "| second | 3 to 3 | 256 | 512 | 1e+06 | 2 |",
        trained.built.fingerprint,
        "| web | plain text |",
        "not stated",
        "held_out.web.loss",
        f"transformers {transformers.__version__} gives the same logits",
    ):
        assert expected in card, expected
    drawn = [
        line for line in card.splitlines() if line.startswith(("| first | web", "| first | worked", "| first | twi"))
    ]
    assert sum(int(line.split("|")[3]) for line in drawn) == 8


def test_the_card_has_the_published_parameter_counts() -> None:
    rows = dict(model_card._architecture(PRESETS["zaya1-8b"], 131_072, "bfloat16"))
    assert rows["parameters"] == "8,840,488,784"
    assert rows["active per token"] == "1,290,741,584 (753,608,528 without the tied embedding)"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"moe": {"kind": "linear"}}, "moe.kind linear"),
        ({"moe": {"kind": "dense"}}, "moe.kind dense"),
        ({"moe": {"kind": "zero_computation"}}, "moe.kind zero_computation"),
        ({"attention": "gqa"}, "attention gqa"),
        ({"moe": {"kind": "zaya", "skip": "identity"}}, "moe.skip identity"),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name(changed: dict[str, Any], named: str) -> None:
    config = ModelConfig.model_validate({**PRESETS["zaya-tiny"].model_dump(), **changed})
    with pytest.raises(ConfigError, match=named):
        exporting.refuse(config, "here")


def test_a_skip_class_that_is_off_is_never_chosen() -> None:
    high, low = torch.tensor([0.1, -0.1, -1.0]), torch.tensor([-0.3, -0.2, -1.0])
    exporting._place_skip(high, off=True)
    exporting._place_skip(low, off=True)
    assert high.tolist() == torch.tensor([0.1, -0.1, -1.0]).tolist()
    assert low.tolist() == pytest.approx([-0.1, 0.0, -1.0], abs=1e-6)


def test_a_skip_class_that_has_moved_is_exported_with_the_others(
    random_model: Callable[..., Any], write_native: Callable[..., Path], root: Path, tmp_path: Path
) -> None:
    """transformers sets the skip class's bias to -1 whenever it loads a model: it must stand there in the file."""
    tokenizer = str(next(root.glob("shards/**/tokenizer.json")))
    model = random_model(vocab_size=Trained.open(root / "run").tokenizer.vocab_size)
    for layer in model.layers:
        layer.mlp.gate.balancing_biases[-1] = 0.7
    import_model(write_native(model, tmp_path / "theirs"), tmp_path / "ours", tokenizer=tokenizer)
    result = export(tmp_path / "ours", tmp_path / "again")
    assert result.proof.transformers == transformers.__version__
    tokens = torch.randint(model.config.vocab_size, (1, 40), generator=torch.Generator().manual_seed(1))
    output = model(tokens, torch.arange(40)[None], torch.zeros_like(tokens))
    assert output.routed.counts_LC[:, -1].sum() > 10
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.allclose(theirs(tokens, use_cache=False).logits, output.logits_BTV, atol=1e-4)
    import_model(tmp_path / "again", tmp_path / "back", tokenizer=tokenizer)
    export(tmp_path / "back", tmp_path / "third")
    weights = "model.safetensors"
    assert (tmp_path / "third" / weights).read_bytes() == (tmp_path / "again" / weights).read_bytes()


def test_tokens_behind_an_undecided_router_are_not_compared(trained: Trained) -> None:
    rows, data = proof.rows_of(None, trained.tokenizer.vocab_size)
    assert data == "random tokens"
    model = copy.deepcopy(trained.model)
    decided = [count for _, count in proof.logits(model, rows)]
    assert sum(decided) > 0.5 * sum(map(len, rows))
    with torch.no_grad():  # every class as probable as the others, and the biases apart by less than rounding
        model.layers[1].mlp.gate.router_mlp.out_proj.weight.zero_()
        model.layers[1].mlp.gate.balancing_biases.copy_(torch.tensor([0.0, 1e-6, -1.0]))
    assert [count for _, count in proof.logits(model, rows)] == [0] * len(rows)


def test_what_stands_there_is_not_replaced_unasked(root: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there already\n.*--overwrite"):
        export(root / "run", exported)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        export(root / "run", tmp_path, overwrite=True)
    before = sorted(path.name for path in exported.parent.iterdir())
    export(root / "run", exported, shard_bytes=40_000, overwrite=True)
    assert sorted(path.name for path in exported.parent.iterdir()) == before


def test_wrong_weights_are_found_and_nothing_is_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = exporting._rounded

    def swapped(trained: Trained, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        written = true(trained, dtype)
        one, other = (f"layers.0.self_attn.qkv_proj.v_proj_{half}.weight" for half in ("current", "delayed"))
        return written | {one: written[other], other: written[one]}

    monkeypatch.setattr(exporting, "_rounded", swapped)
    with pytest.raises(RunError, match="transformers computes other logits"):
        export(root / "run", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_found(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = proof.prove

    def damaged(folder: Path, *rest: Any) -> Any:
        file = folder / "model.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        return true(folder, *rest)

    monkeypatch.setattr(proof, "prove", damaged)
    with pytest.raises(RunError, match="a tensor is not what was written"):
        export(root / "run", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_without_transformers_the_files_are_read_back(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_available", lambda: False)
    result = export(root / "run", tmp_path / "model")
    assert result.proof.transformers is None
    assert "logits were not compared" in result.table.text
    assert "logits were not compared" in (tmp_path / "model/README.md").read_text()


def test_the_verb_prints_its_proof(root: Path, tmp_path: Path, midtrain: Callable[..., Any]) -> None:
    said = midtrain("export", root / "run", tmp_path / "model", "--json", "--shard-size", "30KB")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["proof"]["difference"] <= 1e-5
    assert len(found["files"]) > 2
    said = midtrain("export", root / "run", tmp_path / "other", "--shard-size", "many")
    assert (said.code, "--shard-size" in said.err) == (2, True)


def test_an_earlier_checkpoint_has_its_own_base(root: Path, tmp_path: Path) -> None:
    step = checkpoint_folder.complete(root / "run")[0]
    export(step, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["rope_parameters"]["hybrid"]["rope_theta"] == 1e4
    assert config["max_position_embeddings"] == 128


def test_the_card_states_the_licences_that_the_mixture_states(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = trained.built
    assert built is not None
    stated = {**built.sources, "web": replace(built.sources["web"], licence="CC0-1.0")}
    monkeypatch.setattr(built, "sources", stated)
    lines = list(model_card._data(built, trained.checkpoint.contents.history))
    (web,) = (line for line in lines if line.startswith("| web | plain text |"))
    assert web.endswith("| CC0-1.0 |")

"""Folders that are cut, incomplete or of another model: one clear error each, no traceback, nothing left behind."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain.errors import MidtrainError
from midtrain.trainer.exchange import model_files, names, safetensors_files, transformers_config, weights
from midtrain.trainer.models.model import MoEModel

Make = Callable[..., MoEModel]
Write = Callable[..., Path]
Change = Callable[[Path], object]


def config(**changed: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        body = json.loads(path.read_bytes()) | changed
        path.write_text(json.dumps({key: value for key, value in body.items() if value != "REMOVED"}))

    return change


def shard(folder: Path, number: int = 1) -> Path:
    return sorted(folder.glob("model-*.safetensors"))[number]


def cut(folder: Path) -> None:
    path = shard(folder)
    path.write_bytes(path.read_bytes()[:-10])


def index(change: Callable[[dict[str, str]], object]) -> Change:
    def changed(folder: Path) -> None:
        path = folder / model_files.INDEX
        body = json.loads(path.read_bytes())
        change(body["weight_map"])
        path.write_text(json.dumps(body))

    return changed


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Writes the folder's tensors again, changed."""

    def changed(folder: Path) -> None:
        found = {name: safetensors_files.read(entry) for name, entry in model_files.entries(folder).items()}
        change(found)
        for path in folder.glob("model*"):
            path.unlink()
        model_files.write(folder, list(found.items()), found.__getitem__, 10**9)

    return changed


def pickled(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def raw(name: str, data: bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(data)


EMBEDDING, NORM = "model.embed_tokens.weight", "model.norm.weight"
CASES: dict[str, tuple[Change, int, str]] = {
    "cut": (cut, 1, "the file was cut"),
    "missing shard": (lambda folder: shard(folder).unlink(), 1, "the index names files that are not there"),
    "index of absent": (index(lambda m: m.update({NORM: "model-9.safetensors"})), 1, "that are not there"),
    "index lies": (index(lambda m: m.update({NORM: m[EMBEDDING]})), 1, "does not hold the tensors that the index says"),
    "index outside": (index(lambda m: m.update({NORM: "../x.safetensors"})), 2, "no file of safetensors in its folder"),
    "index no json": (raw(model_files.INDEX, b"{"), 1, "not an index of shards"),
    "index no table": (raw(model_files.INDEX, b'{"weight_map": {"a": 3}}'), 1, "not an index of shards"),
    "missing tensor": (tensors(lambda t: t.pop(NORM)), 2, "missing: model.norm.weight"),
    "extra tensor": (tensors(lambda t: t.update(more=torch.ones(2))), 2, "not of the model: more"),
    "wrong shape": (tensors(lambda t: t.update({NORM: torch.ones(63)})), 2, "not of the shape"),
    "pickled": (pickled, 2, "pickled weights are not opened"),
    "no weights": (lambda folder: [path.unlink() for path in folder.glob("model*")], 2, "no weights are here"),
    "no config": (lambda folder: (folder / "config.json").unlink(), 2, "the folder has no config"),
    "config no json": (raw("config.json", b"{"), 2, "not JSON"),
    "config no table": (raw("config.json", b"[]"), 2, "no table"),
    "llama": (config(model_type="llama", architectures=["LlamaForCausalLM"]), 2, "model_type llama, LlamaForCausalLM"),
    "vision": (config(architectures=["Zaya1VLForConditionalGeneration"]), 2, "Zaya1VLForConditionalGeneration"),
    "quantized": (config(quantization_config={"quant_method": "fp8"}), 2, "quantization_config"),
    "unknown key": (config(logit_softcap=30.0), 2, "logit_softcap: what this means for the model is not known"),
    "untied": (config(tie_word_embeddings=False), 2, "tie_word_embeddings"),
    "top 2": (config(num_experts_per_tok=2), 2, "num_experts_per_tok"),
    "activation": (config(hidden_act="gelu"), 2, "hidden_act"),
    "other rope": (
        config(rope_parameters={"hybrid": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4}}),
        2,
        "rotary embeddings of another kind",
    ),
    "layer types": (config(layer_types=["hybrid", "linear", "hybrid"]), 2, "layer_types"),
    "few layers": (config(num_hidden_layers=2), 2, "layer_types"),
    "no sizes": (config(hidden_size="REMOVED"), 2, "the key hidden_size is missing"),
    "odd sizes": (config(num_attention_heads=3), 2, "num_heads 3 is not a multiple"),
    "text sizes": (config(hidden_size="many"), 2, "hidden_size"),
    "many layers": (
        config(num_hidden_layers=10**9, layer_types=None),
        2,
        "num_hidden_layers is not that of the weights",
    ),
    "many experts": (config(num_experts=2**40), 2, "num_experts is not that of the weights"),
    "layers as float": (config(num_hidden_layers=1000.0, layer_types=None), 2, "num_hidden_layers is no count"),
    "layers as text": (config(num_hidden_layers="2K", layer_types=None), 2, "num_hidden_layers is no count"),
    "experts as text": (config(num_experts="1G"), 2, "num_experts is no count"),
    "experts as float": (config(num_experts=1e12), 2, "num_experts is no count"),
    "hidden as text": (config(hidden_size="1T"), 2, "hidden_size is no count"),
    "words as text": (config(vocab_size="1T"), 2, "vocab_size is no count"),
    "heads as truth": (config(num_attention_heads=True), 2, "num_attention_heads is no count"),
    "negative": (config(moe_intermediate_size=-(2**40)), 2, "moe_intermediate_size is no count"),
    "window as text": (config(sliding_window="1G"), 2, "sliding_window is no count"),
    "no positions": (config(max_position_embeddings=-5), 2, "max_position_embeddings is no count"),
    "zero positions": (config(max_position_embeddings=0), 2, "max_position_embeddings is no count"),
    "positions as float": (config(max_position_embeddings=1024.0), 2, "max_position_embeddings is no count"),
    "architectures a number": (config(architectures=5), 2, "model_type zaya, 5"),
    "architectures a truth": (config(architectures=True), 2, "model_type zaya, True"),
    "architectures a table": (config(architectures={"a": 1}), 2, "another architecture"),
    "positions": (config(max_position_embeddings="long"), 2, "config.json"),
    "rope list": (config(rope_parameters=[1]), 2, "config.json"),
    "sliding without a window": (config(layer_types=["hybrid_sliding"] * 3), 2, "sliding"),
}
LEGACY: dict[str, tuple[dict[str, Any], str]] = {
    "sliding": ({"swa_layers": [1, 0, 1, 0, 1, 0]}, "sliding layers in the legacy layout"),
    "no skip class": ({"zaya_use_mod": False}, "zaya_use_mod"),
    "no depth averaging": ({"zaya_use_eda": False}, "zaya_use_eda"),
    "exponential temperature": ({"clamp_temp": True}, "clamp_temp"),
    "scaled rope": ({"rope_scaling": {"type": "yarn"}}, "rope_scaling"),
    "odd layers": ({"num_hidden_layers": 7}, "two sublayers a block"),
    "layers as text": ({"num_hidden_layers": "2K"}, "num_hidden_layers is no count"),
    "channels as text": ({"head_dim": None, "kv_channels": "1T"}, "kv_channels is no count"),
    "experts as float": ({"num_experts": 1e12}, "num_experts is no count"),
    "router as text": ({"zaya_mlp_expansion": "1T"}, "zaya_mlp_expansion is no count"),
    "router in a list": ({"zaya_mlp_expansion": [0, 10**12] * 3}, "zaya_mlp_expansion is not that of the weights"),
    "router text in a list": ({"zaya_mlp_expansion": [0, "1T"] * 3}, "zaya_mlp_expansion is no count"),
    "two widths": ({"zaya_mlp_expansion": [0, 16, 0, 32, 0, 16]}, "routers of several widths"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_with_a_folder_is_said(
    random_model: Make, write_native: Write, tmp_path: Path, midtrain: Callable[..., Any], case: str
) -> None:
    change, code, named = CASES[case]
    folder = write_native(random_model(), tmp_path / "model", 30_000)
    change(folder)
    said = midtrain("import", folder, tmp_path / "out")
    assert (said.code, said.out) == (code, ""), said
    assert named in said.err
    assert "Traceback" not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("number", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_not_taken(
    random_model: Make, write_native: Write, tmp_path: Path, number: float
) -> None:
    folder = write_native(random_model(), tmp_path / "model", 30_000)
    tensors(lambda t: t[EMBEDDING][0, 0].fill_(number))(folder)
    with pytest.raises(MidtrainError, match="holds NaN or infinity"):
        weights.open_folder(folder).read("embed_tokens.weight")


@pytest.mark.parametrize("case", LEGACY)
def test_legacy_models_that_are_others_are_refused(
    random_model: Make, write_legacy: Write, tmp_path: Path, midtrain: Callable[..., Any], case: str
) -> None:
    changed, named = LEGACY[case]
    folder = write_legacy(random_model(), tmp_path / "model", **changed)
    said = midtrain("import", folder, tmp_path / "out")
    assert (said.code, named in said.err) == (2, True), said
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_experts_of_several_types_are_refused(
    random_model: Make, write_legacy: Write, tmp_path: Path, midtrain: Callable[..., Any]
) -> None:
    folder = write_legacy(random_model(), tmp_path / "model")
    name = f"{names.PREFIX}layers.1.zaya_block.experts.local_experts.2.linear_fc1.weight"
    tensors(lambda found: found.update({name: found[name].bfloat16()}))(folder)
    said = midtrain("import", folder, tmp_path / "out")
    assert (said.code, "are of several types" in said.err) == (2, True), said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted(
    {"rope_parameters", "layer_types", "sliding_window", "initializer_range", "max_position_embeddings"}
    | set(transformers_config._NATIVE_SIZES)
    | set(transformers_config._FIXED)
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3))
def test_any_values_in_a_config_are_the_model_or_an_error_of_ours(
    random_model: Make, write_native: Write, tmp_path_factory: pytest.TempPathFactory, changed: dict[str, Any]
) -> None:
    folder = write_native(random_model(num_layers=1), tmp_path_factory.mktemp("any"), **changed)
    try:
        found = weights.open_folder(folder)
    except MidtrainError:
        return
    assert found.model.hidden_size == 64


def test_no_folder(tmp_path: Path, midtrain: Callable[..., Any]) -> None:
    said = midtrain("import", tmp_path / "none", tmp_path / "out")
    assert (said.code, "no such folder" in said.err) == (2, True)

"""Sizes, presets and what is said about wrong ones."""

import subprocess
import sys

import pydantic
import pytest
from midtrain.errors import ConfigError
from midtrain.trainer.models.config import DenseFFN, LinearMoE, ModelConfig, ZayaMoE
from midtrain.trainer.models.presets import PRESETS, resolve

SIZES = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "expert_size": 32,
    "router_size": 16,
}


def test_the_published_preset_has_the_published_sizes() -> None:
    """arXiv 2605.05365, Table I."""
    config = resolve("zaya1-8b")
    assert (config.vocab_size, config.hidden_size, config.num_layers) == (262_272, 2048, 40)
    assert (config.num_heads, config.num_kv_heads, config.head_dim, config.rotary_dim) == (8, 2, 128, 64)
    assert (config.num_experts, config.expert_size, config.router_size) == (16, 2048, 256)
    assert (config.conv_channels, config.value_half) == (1280, 128)


def test_presets_by_name_by_table_and_as_they_are() -> None:
    assert list(PRESETS) == ["zaya-tiny", "zaya-small", "zaya-mini", "zaya1-8b"]
    assert resolve("zaya-tiny") is PRESETS["zaya-tiny"]
    config = resolve(SIZES)
    assert resolve(config) is config
    assert (config.vocab_size, config.moe.skip, config.rope_theta) == (None, "off", 1e4)
    assert resolve({**SIZES, "vocab_size": "32Ki"}).vocab_size == 32_768


def test_a_preset_that_is_not_there_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean zaya-tiny") as raised:
        resolve("zaya-tyni")
    assert "zaya1-8b" in str(raised.value)
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_head": 4}, "model.num_head: unknown key num_head[\\s\\S]*did you mean num_heads"),
        ({"hidden_size": None}, "model.hidden_size"),
        ({"hidden_size": 0}, "model.hidden_size: .*greater than 0"),
        ({"hidden_size": "wide"}, "model.hidden_size: not a count"),
        ({"num_layers": True}, "model.num_layers"),
        ({"num_heads": 3}, "num_heads 3 is not a multiple of num_kv_heads 2"),
        ({"num_kv_heads": 1, "head_dim": 15, "partial_rotary_factor": 0.4}, "an odd number of channels"),
        ({"partial_rotary_factor": 0.3}, "4.8 channels"),
        ({"head_dim": 2}, "is 1 channels"),
        ({"moe": {"kind": "zaya", "skip": "copy"}}, "model.moe.zaya.skip: .*'off', 'zero' or 'identity'"),
        ({"norm_eps": 0.0}, "model.norm_eps"),
    ],
)
def test_wrong_sizes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve({**SIZES, **changes})


def test_every_missing_size_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        resolve({"hidden_size": 64})
    for key in SIZES.keys() - {"hidden_size"}:
        assert f"the key {key} is missing" in str(raised.value)


def test_a_vocabulary_from_the_shards_is_rounded_up_to_64() -> None:
    config = resolve("zaya-tiny")
    assert config.vocab_size is None
    assert [config.with_vocab(n).vocab_size for n in (1, 64, 65, 8192)] == [64, 64, 128, 8192]
    assert config.vocab_size is None
    with pytest.raises(ConfigError, match="at least one token"):
        config.with_vocab(0)


def test_a_named_vocabulary_has_to_fit() -> None:
    zaya = resolve("zaya1-8b")
    assert zaya.with_vocab(262_145) is zaya
    mini = resolve("zaya-mini")
    assert mini.with_vocab(32_768) is mini
    for tokens in (32_769, 8192, 32_639):
        with pytest.raises(ConfigError, match="not that of the shards"):
            mini.with_vocab(tokens)


def test_a_config_is_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        ModelConfig(**SIZES).hidden_size = 128


def test_sizes_are_known_without_torch() -> None:
    code = "import sys, midtrain.trainer.models.presets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_preset_may_be_changed_in_part() -> None:
    changed = resolve({"preset": "zaya-tiny", "num_experts": 8, "moe": {"kind": "linear", "top_k": 2}})
    assert (changed.num_experts, changed.hidden_size) == (8, PRESETS["zaya-tiny"].hidden_size)
    assert changed.moe == LinearMoE(kind="linear", top_k=2)
    assert changed.num_classes == 8


@pytest.mark.parametrize(
    ("moe", "classes"),
    [
        ({"kind": "zaya"}, 17),
        ({"kind": "linear"}, 16),
        ({"kind": "dense"}, 1),
        ({"kind": "zero_computation"}, 20),
        ({"kind": "zero_computation", "constant_experts": 0, "copy_experts": 0}, 17),
    ],
)
def test_classes_of_every_kind(moe: dict[str, object], classes: int) -> None:
    assert resolve({"preset": "zaya-small", "moe": moe}).num_classes == classes


def test_a_kind_may_be_a_name_alone_and_zaya_needs_none() -> None:
    assert resolve({"preset": "zaya-tiny", "moe": "dense"}).moe == DenseFFN(kind="dense")
    assert resolve({"preset": "zaya-tiny", "moe": {"skip": "zero"}}).moe == ZayaMoE(skip="zero")
    odd = {"preset": "zaya-tiny", "attention": "gqa", "num_heads": 3, "num_kv_heads": 3}
    assert resolve(odd).num_kv_heads == 3

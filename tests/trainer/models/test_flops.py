"""Floating point operations against sums done by hand, and parameters against those of the model itself."""

import subprocess
import sys

import pytest
import torch
from midtrain.trainer.models import flops
from midtrain.trainer.models.config import DenseFFN, LinearMoE, ModelConfig, MoEConfig, ZayaMoE, ZeroComputationMoE
from midtrain.trainer.models.model import MoEModel
from midtrain.trainer.models.presets import resolve
from torch import Tensor

CONFIG = ModelConfig(
    vocab_size=10,
    hidden_size=8,
    num_layers=2,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    num_experts=3,
    expert_size=5,
    router_size=4,
)

# Two rows of six: documents of 4 and 2 tokens; one of 3, then padding. So 9 tokens, 19 = 10 + 3 + 6 pairs of full
# attention, and 6 = 3 + 1 + 2 supervised targets.
SEGMENTS = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, -1, -1, -1]], dtype=torch.int32)
POSITIONS = torch.tensor([[0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 1, 2]], dtype=torch.int32)
SUPERVISED = 6


def operations(config: ModelConfig, computed_LC: list[list[int]]) -> int:
    done = flops.work(config, POSITIONS, SEGMENTS, torch.tensor(computed_LC), SUPERVISED)
    total = flops.forward(config, done)
    trained = flops.training(config, done)
    assert isinstance(total, Tensor)
    assert isinstance(trained, Tensor)
    assert int(trained) == 3 * int(total)
    return int(total)


def test_zaya() -> None:
    # A token and layer: q 2x8x8 = 128, k 2x8x4 = 64, both halves of v 2x8x4 = 64, o 2x8x8 = 128; of 12 channels the
    # depthwise convolution 2x12x2 = 48, the grouped one 2x12x2x4 = 192: 624. Router: 2x(8x4 + 4x4 + 4x4 + 4x4) = 160.
    # An assignment: 2 x 3 x 8 x 5 = 240. A pair and layer: 2 x 2 x 2 heads x 4 = 32. A row of the head: 2x8x10 = 160.
    # 9 x 2 x (624 + 160) + 18 x 240 + 2 x 19 x 32 + 6 x 160 = 14,112 + 4,320 + 1,216 + 960
    assert operations(CONFIG, [[4, 3, 2, 0], [5, 0, 4, 0]]) == 20_608


def test_tokens_that_skip_or_were_dropped_are_not_computed() -> None:
    # 12 assignments instead of 18: 20,608 - 6 x 240
    assert operations(CONFIG, [[2, 3, 2, 2], [5, 0, 0, 2]]) == 19_168


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        # Seven classes (three experts, a zero, a copy, two constants). Router: 2x8x7 = 112, in layer 1 with the gating
        # residual 112 + 2x7x7 = 210. Constant experts, computed for every token: 2 x 3 x 8 x 2 = 96.
        # 9 x (2 x 624 + 112 + 210 + 2 x 96) = 15,858; pairs and head 1,216 + 960 = 2,176.
        # All 2 x 18 assignments to experts: 15,858 + 2,176 + 36 x 240
        pytest.param([[6, 6, 6, 0, 0, 0, 0], [6, 6, 6, 0, 0, 0, 0]], 26_674, id="none"),
        # 6 of them: 15,858 + 2,176 + 6 x 240
        pytest.param([[1, 2, 3, 4, 4, 2, 2], [0, 0, 0, 9, 9, 0, 0]], 19_474, id="most"),
        # 3 of 36 dropped: 15,858 + 2,176 + 33 x 240
        pytest.param([[5, 6, 4, 0, 0, 0, 0], [6, 6, 6, 0, 0, 0, 0]], 25_954, id="dropped"),
        # Which zero-computation experts they are is all one: 15,858 + 2,176 + 18 x 240
        pytest.param([[3, 3, 3, 9, 0, 0, 0], [3, 3, 3, 0, 0, 0, 9]], 22_354, id="half"),
    ],
)
def test_zero_computation(computed: list[list[int]], expected: int) -> None:
    moe = ZeroComputationMoE(kind="zero_computation", constant_experts=2)
    assert operations(CONFIG.model_copy(update={"moe": moe}), computed) == expected


def test_dense() -> None:
    # No router: 9 x 2 x 624 + 18 x 240 + 1,216 + 960
    assert operations(CONFIG.model_copy(update={"moe": DenseFFN(kind="dense")}), [[9], [9]]) == 17_728


def test_linear_with_gqa_and_a_sliding_layer() -> None:
    # A token and layer: q 128, k 64, v 64, o 128: 384; router 2x8x3 = 48. In the sliding layer, of window 2, documents
    # of 4, 2 and 3 tokens have 1+2+2+2, 1+2 and 1+2+2 pairs: 15.
    # 9 x 2 x (384 + 48) + 36 x 240 + (19 + 15) x 32 + 6 x 160 = 7,776 + 8,640 + 1,088 + 960
    config = CONFIG.model_copy(
        update={
            "moe": LinearMoE(kind="linear", top_k=2),
            "attention": "gqa",
            "sliding_layers": (1,),
            "sliding_window": 2,
        }
    )
    assert operations(config, [[9, 5, 4], [6, 6, 6]]) == 18_464


def test_work_adds_up_and_may_be_given_in_ints() -> None:
    done = flops.Work(tokens=9, head_rows=6, pairs=19, sliding_pairs=0, assignments=18)
    assert flops.forward(CONFIG, done) == 20_608
    twice = flops.Work(tokens=18, head_rows=12, pairs=38, sliding_pairs=0, assignments=36)
    assert flops.training(CONFIG, twice) == 6 * 20_608


def test_the_published_model_has_the_published_parameters() -> None:
    """Counted from the shapes of the released weights (8.84 B with the tied embedding)."""
    config = resolve("zaya1-8b")
    assert flops.total_parameters(config) == 8_840_488_784
    assert flops.embedding_parameters(config) == 537_133_056
    assert flops.total_parameters(config) - flops.embedding_parameters(config) == 8_303_355_728
    assert flops.active_parameters(config) == 753_608_528


MOES: list[MoEConfig] = [
    ZayaMoE(),
    LinearMoE(kind="linear", top_k=2),
    ZeroComputationMoE(kind="zero_computation"),
    ZeroComputationMoE(kind="zero_computation", gating_residual=False, constant_experts=0, copy_experts=0),
    ZeroComputationMoE(kind="zero_computation", router="zaya"),
    DenseFFN(kind="dense"),
]


@pytest.mark.parametrize("attention", ["cca", "gqa"])
@pytest.mark.parametrize("moe", MOES, ids=lambda moe: moe.kind)
def test_parameters_are_those_of_the_model(moe: MoEConfig, attention: str) -> None:
    config = CONFIG.model_copy(update={"moe": moe, "attention": attention})
    with torch.device("meta"):
        model = MoEModel(config)
    assert flops.total_parameters(config) == sum(parameter.numel() for parameter in model.parameters())
    idle = sum(p.numel() for name, p in model.named_parameters() if ".experts." in name) // 3
    idle *= 3 - min(getattr(moe, "top_k", 1), 3)
    assert flops.active_parameters(config) == flops.total_parameters(config) - model.embed_tokens.weight.numel() - idle


def test_a_vocabulary_has_to_be_known() -> None:
    with pytest.raises(ValueError, match="no vocabulary"):
        flops.total_parameters(resolve("zaya-tiny"))


def test_torch_is_not_needed() -> None:
    code = "import sys, midtrain.trainer.models.flops; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

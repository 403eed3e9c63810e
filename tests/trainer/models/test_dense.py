"""The dense network is SwiGLU, and counts every token that is no padding."""

import torch
from midtrain.trainer.models.config import DenseFFN as Dense
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.dense import DenseFFN


def test_it_is_swiglu_for_every_token() -> None:
    config = ModelConfig(
        hidden_size=12,
        num_layers=1,
        num_heads=2,
        num_kv_heads=2,
        head_dim=4,
        num_experts=3,
        expert_size=8,
        router_size=5,
        moe=Dense(kind="dense"),
    )
    dense = DenseFFN(config)
    x, padding = torch.randn(2, 5, 12), torch.zeros(2, 5, dtype=torch.bool)
    padding[1, 3:] = True
    y, state, routed = dense(x, None, padding)
    gate, up = x @ dense.gate_proj.weight.T, x @ dense.up_proj.weight.T
    torch.testing.assert_close(y, (gate / (1 + (-gate).exp()) * up) @ dense.down_proj.weight.T)
    assert dense.gate_proj.weight.shape == (8, 12)
    assert state is None
    assert (routed.counts_C.tolist(), routed.dropped_C.tolist(), float(routed.balance)) == ([8], [0], 0.0)

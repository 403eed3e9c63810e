"""The sizes of a model of which one part is tested, in milliseconds: three layers, two key heads, three experts."""

from midtrain.trainer.models.config import ModelConfig

CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    num_experts=3,
    expert_size=24,
    router_size=8,
)

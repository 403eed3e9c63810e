"""What tests of benchmarks share: the published files, and a small model with a tokenizer of its own."""

import os
from pathlib import Path

import pytest
import torch
from midtrain.mixtures import tokenizer_training
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.models.config import ModelConfig
from midtrain.trainer.models.model import MoEModel


@pytest.fixture
def benchmark_files() -> Path:
    """The folder of the published evaluation sets."""
    if "MIDTRAIN_DATA" not in os.environ:
        pytest.skip("MIDTRAIN_DATA names no folder of real data")
    return Path(os.environ["MIDTRAIN_DATA"]) / "eval"


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = ["def double(x):\n    return 2 * x\n\n\nQuestion: what is 2 + 2?\nAnswer: it is 4, or four."] * 20
    tokenizer = tokenizer_training.train(texts, 330, "<|end|>", path)
    tokenizer.encode_texts(["once"])  # compiles the encoder
    return tokenizer


@pytest.fixture(scope="session")
def small_model(small_tokenizer: Tokenizer) -> MoEModel:
    """Its weights are far from their initial values, so that what it says depends on what it is asked."""
    sizes = ModelConfig(
        vocab_size=small_tokenizer.vocab_size,
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        num_experts=2,
        expert_size=32,
        router_size=8,
    )
    model = MoEModel(sizes).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model

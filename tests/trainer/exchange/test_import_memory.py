"""The memory of an import: a folder of a billion parameters passes through one tensor's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import torch
from midtrain.trainer.exchange import model_files, names, transformers_config
from midtrain.trainer.models.config import ModelConfig, ZayaMoE
from midtrain.trainer.models.model import MoEModel

CONFIG = ModelConfig(
    vocab_size=65_536,
    hidden_size=1024,
    num_layers=9,
    num_heads=8,
    num_kv_heads=2,
    head_dim=128,
    num_experts=32,
    expert_size=1024,
    router_size=128,
    moe=ZayaMoE(skip="zero"),
)
PEAK = """
import json, sys
from pathlib import Path
from midtrain.trainer.exchange.import_model import import_model

def highest():  # of this program: getrusage counts its parent's memory too
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

base = highest()
import_model(sys.argv[1], sys.argv[2], tokenizer=sys.argv[3])
print(json.dumps([base, highest()]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of a billion parameters in bfloat16, every tensor of other numbers; removed behind the test."""
    path = tmp_path / "model"
    path.mkdir()
    with torch.device("meta"):
        state = MoEModel(CONFIG).state_dict()
    tensors = {
        names.PREFIX + name: tensor if name.endswith("balancing_biases") else tensor.bfloat16()
        for name, tensor in state.items()
    }
    generator = torch.Generator().manual_seed(0)

    def drawn(name: str) -> torch.Tensor:
        like = tensors[name]
        return torch.empty(like.shape, dtype=like.dtype).random_(-100, 100, generator=generator)

    model_files.write(path, list(tensors.items()), drawn, 500_000_000)
    config = transformers_config.contents(CONFIG, 4096, "bfloat16", (0,))
    (path / transformers_config.NAME).write_bytes(orjson.dumps(config))
    yield path
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.measures
def test_a_billion_parameters_take_the_memory_of_one_tensor(folder: Path, root: Path, tmp_path: Path) -> None:
    entries = model_files.entries(folder)
    assert sum(torch.Size(entry.shape).numel() for entry in entries.values()) > 1_000_000_000
    assert len({entry.path for entry in entries.values()}) > 3
    largest = max(entry.size for entry in entries.values())
    body = json.loads(next(root.glob("shards/**/tokenizer.json")).read_text())
    vocabulary = body["model"]["vocab"]
    vocabulary |= {f"word{number}": number for number in range(len(vocabulary), CONFIG.vocab_size or 0)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(body))
    said = subprocess.run(
        [sys.executable, "-c", PEAK, str(folder), str(tmp_path / "out"), str(tmp_path / "tokenizer.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    base, peak = json.loads(said.stdout)
    print(f"imports {base / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB, largest tensor {largest / 2**20:.0f} MiB")
    assert peak < largest + 2**30
    assert peak - base < largest + 3 * 2**27  # a file as a whole would be more

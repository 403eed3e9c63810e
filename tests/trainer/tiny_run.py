"""A run of two phases and three steps that takes a second, on shards that stand."""

import shutil
from pathlib import Path

import torch
from midtrain.config import load
from midtrain.trainer.run import RunConfig
from midtrain.trainer.train import train

RUN = """\
name: tiny
output: {root}/run
shards: {root}/shards
seed: 3
threads: 1
model: {{hidden_size: 32, num_layers: 2, num_heads: 4, num_kv_heads: 2, head_dim: 8, num_experts: 2, expert_size: 48,
  router_size: 8, init_std: 0.2}}
phases:
  - {{phase: first, batch_tokens: 512, steps: 2, optimizer: {{name: adamw, lr: 0.01}}, schedule: {{name: constant}},
     rope_theta: 1e4}}
  - {{phase: second, batch_tokens: 512, steps: 1, schedule: {{name: constant}}, rope_theta: 1e6}}
checkpoint: {{every: 1}}
evaluate: {{every: 100, held_out: true{tasks}}}
"""


def tiny_run(shards: Path, root: Path, tasks: str = "") -> None:
    """Trains it in `root`, on a copy of the shards; `tasks` is more of what it measures."""
    threads = torch.get_num_threads()
    shutil.copytree(shards, root / "shards")
    (root / "run.yaml").write_text(RUN.format(root=root, tasks=tasks))
    train(load(root / "run.yaml", RunConfig))
    torch.set_num_threads(threads)

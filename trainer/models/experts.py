"""The experts of a layer: SwiGLU networks, the weights of all of them stacked.

One stack a projection is what the grouped product takes, what transformers stores, and one parameter for the optimizer.
Costs 3 x hidden_size x expert_size multiplications an assignment.
"""

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .dispatch import Sorting, gather, grouped_product, scatter
from .products import compute_type
from .swiglu import swiglu


class Experts(nn.Module):
    """Stacked weights; gate_up_proj [E, 2I, D] holds the gate rows first, down_proj is [E, D, I]."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        experts, hidden, size = config.num_experts, config.hidden_size, config.expert_size
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * size, hidden))
        self.down_proj = nn.Parameter(torch.empty(experts, hidden, size))

    def forward(self, x_ND: Tensor, sorting: Sorting) -> Tensor:
        """The output of each assignment's expert, [N, K, D], not weighted; zero where no expert computes it."""
        dtype = compute_type(x_ND)
        sorted_MD = gather(x_ND.to(dtype), sorting)
        hidden_MI = swiglu(grouped_product(sorted_MD, self.gate_up_proj.to(dtype), sorting))
        outputs_MD = grouped_product(hidden_MI, self.down_proj.to(dtype), sorting)
        return scatter(outputs_MD, sorting)

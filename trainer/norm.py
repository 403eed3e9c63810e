"""RMSNorm with its statistics in float32.

A bfloat16 mean of squares loses the small half of the channels, and transformers computes it in float32 too, so both
agree. Costs about five passes over the input on a CPU, one fused kernel on a GPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any float type in, the weight's type out; same shape. Computed in float32 throughout."""
        weight = self.weight
        return F.rms_norm(x.float(), weight.shape, weight.float(), self.eps).to(weight.dtype)

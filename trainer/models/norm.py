"""RMSNorm with its statistics in float32.

A bfloat16 mean of squares loses the small half of the channels, and transformers computes it in float32 too, so both
agree. Costs one pass over the input each way on a CPU (by kernels of its own), one fused kernel on a GPU.
"""

import math
from typing import Any

import numba
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .pointwise import PARTS, Array, array, fuses, inner, kernel


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Any float type in, the weight's type out; same shape. Computed in float32 throughout."""
        weight = self.weight
        if x.dtype == weight.dtype and fuses(x):
            y: Tensor = Norm.apply(x, weight, self.eps)  # type: ignore[no-untyped-call]
            return y
        return F.rms_norm(x.float(), weight.shape, weight.float(), self.eps).to(weight.dtype)


class Norm(torch.autograd.Function):
    """RMSNorm, one pass each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_ND = x.reshape(-1, x.shape[-1]).contiguous()
        y_ND, inverse_N = torch.empty_like(x_ND), x_ND.new_empty(len(x_ND))
        _forward(array(x_ND), array(weight_D), eps, y_ND.numpy(), inverse_N.numpy())
        ctx.save_for_backward(x_ND, weight_D, inverse_N)
        return y_ND.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x_ND, weight_D, inverse_N = ctx.saved_tensors
        x_gradient_ND = torch.empty_like(x_ND)
        weight_gradient_PD = x_ND.new_zeros(PARTS, len(weight_D))
        arrays = array(gradient.reshape(x_ND.shape)), array(x_ND), array(weight_D), array(inverse_N)
        _backward(*arrays, x_gradient_ND.numpy(), weight_gradient_PD.numpy())
        return x_gradient_ND.view(gradient.shape), weight_gradient_PD.sum(dim=0), None


@kernel
def _forward(x_ND: Array, weight_D: Array, eps: float, y_ND: Array, inverse_N: Array) -> None:
    N, D = x_ND.shape
    for part in numba.prange(PARTS):
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            inverse = x_ND.dtype.type(1.0 / math.sqrt(inner(x_ND[n], x_ND[n]) / D + eps))
            inverse_N[n] = inverse
            for i in range(D):
                y_ND[n, i] = x_ND[n, i] * inverse * weight_D[i]


@kernel
def _backward(
    gradient_ND: Array,
    x_ND: Array,
    weight_D: Array,
    inverse_N: Array,
    x_gradient_ND: Array,
    weight_gradient_PD: Array,
) -> None:
    N, D = x_ND.shape
    for part in numba.prange(PARTS):
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            inverse = inverse_N[n]
            for i in range(D):
                x_gradient_ND[n, i] = gradient_ND[n, i] * weight_D[i]
            along = inner(x_gradient_ND[n], x_ND[n]) * (inverse * inverse / x_ND.dtype.type(D))
            for i in range(D):
                x_gradient_ND[n, i] = inverse * (x_gradient_ND[n, i] - x_ND[n, i] * along)
                weight_gradient_PD[part, i] += gradient_ND[n, i] * x_ND[n, i] * inverse

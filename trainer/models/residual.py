"""The sum of a layer's scaled output and the scaled residual, one pass each way on a CPU.

torch's chain reads and writes the stream twice forward, and eight times backward, three of them sums over all tokens.
Costs nothing beyond its inputs, which the backward pass reads.
"""

from typing import Any

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pointwise import PARTS, Array, array, fuses, kernel


def scaled_sum(y: Tensor, scale_D: Tensor, residual: Tensor, residual_scale_D: Tensor, bias_D: Tensor) -> Tensor:
    """y scale + residual residual_scale + bias over the last dimension, all of one type and [..., D]."""
    if y.dtype == residual.dtype == scale_D.dtype and fuses(y):
        result: Tensor = ScaledSum.apply(y, scale_D, residual, residual_scale_D, bias_D)  # type: ignore[no-untyped-call]
        return result
    return torch.addcmul(torch.addcmul(bias_D, y, scale_D), residual, residual_scale_D)


class ScaledSum(torch.autograd.Function):
    """`scaled_sum`."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, scale_D: Tensor, residual: Tensor, residual_scale_D: Tensor, bias_D: Tensor
    ) -> Tensor:
        ctx.save_for_backward(y, scale_D, residual, residual_scale_D)
        D = len(scale_D)
        sum_ND = y.new_empty(y.numel() // D, D)
        tokens = array(y.reshape(-1, D)), array(residual.reshape(-1, D))
        _forward(*tokens, array(scale_D), array(residual_scale_D), array(bias_D), sum_ND.numpy())
        return sum_ND.view(y.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        y, scale_D, residual, residual_scale_D = ctx.saved_tensors
        D = len(scale_D)
        y_gradient_ND, residual_gradient_ND = y.new_empty(2, y.numel() // D, D)
        sums_P3D = y.new_zeros(PARTS, 3, D)
        tokens = array(gradient.reshape(-1, D)), array(y.reshape(-1, D)), array(residual.reshape(-1, D))
        results = y_gradient_ND.numpy(), residual_gradient_ND.numpy(), sums_P3D.numpy()
        _backward(*tokens, array(scale_D), array(residual_scale_D), *results)
        scale_gradient_D, residual_scale_gradient_D, bias_gradient_D = sums_P3D.sum(dim=0)
        y_gradient, residual_gradient = y_gradient_ND.view(y.shape), residual_gradient_ND.view(y.shape)
        return y_gradient, scale_gradient_D, residual_gradient, residual_scale_gradient_D, bias_gradient_D


@kernel
def _forward(
    y_ND: Array,
    residual_ND: Array,
    scale_D: Array,
    residual_scale_D: Array,
    bias_D: Array,
    sum_ND: Array,
) -> None:
    N, D = y_ND.shape
    for part in numba.prange(PARTS):
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            for i in range(D):
                sum_ND[n, i] = y_ND[n, i] * scale_D[i] + bias_D[i] + residual_ND[n, i] * residual_scale_D[i]


@kernel
def _backward(
    gradient_ND: Array,
    y_ND: Array,
    residual_ND: Array,
    scale_D: Array,
    residual_scale_D: Array,
    y_gradient_ND: Array,
    residual_gradient_ND: Array,
    sums_P3D: Array,
) -> None:
    N, D = y_ND.shape
    for part in numba.prange(PARTS):
        sums_3D = sums_P3D[part]
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            for i in range(D):
                gradient = gradient_ND[n, i]
                y_gradient_ND[n, i] = gradient * scale_D[i]
                residual_gradient_ND[n, i] = gradient * residual_scale_D[i]
                sums_3D[0, i] += gradient * y_ND[n, i]
                sums_3D[1, i] += gradient * residual_ND[n, i]
                sums_3D[2, i] += gradient

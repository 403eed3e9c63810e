"""The depthwise convolution of CCA, written as the operand of the grouped one, in one pass each way.

The grouped convolution over two tokens is a matrix product of each head's channels at the token before and at the token
itself; torch's chain to lay these out (shift, zero at starts, multiply, shift again, join, transpose) is ten passes.
Costs one tensor of twice the channels, kept for the backward pass.
"""

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pointwise import PARTS, Array, array, kernel


def depthwise_pairs(x_NC: Tensor, weight_C2: Tensor, starts_N: Tensor, heads: int) -> Tensor:
    """For every head, the depthwise convolution at the token before, then at the token itself, [G, N, 2d].

    Args:
        x_NC: channels of all heads, tokens of all rows one after another.
        weight_C2: factors of the token before and of the token itself.
        starts_N: bool, where a segment starts, as it does at the first token of every row: nothing is seen before it.
        heads: G.
    """
    pairs_GNE: Tensor = DepthwisePairs.apply(x_NC, weight_C2, starts_N, heads)  # type: ignore[no-untyped-call]
    return pairs_GNE


class DepthwisePairs(torch.autograd.Function):
    """`depthwise_pairs`."""

    @staticmethod
    def forward(ctx: Any, x_NC: Tensor, weight_C2: Tensor, starts_N: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(x_NC, weight_C2, starts_N)
        tokens, channels = x_NC.shape
        pairs_GNE = x_NC.new_empty(heads, tokens, 2 * channels // heads)
        _forward(array(x_NC), array(weight_C2.T), array(starts_N), pairs_GNE.numpy())
        return pairs_GNE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_GNE: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_NC, weight_C2, starts_N = ctx.saved_tensors
        x_gradient_NC = torch.empty_like(x_NC)
        weight_gradient_P2C = x_NC.new_zeros(PARTS, 2, x_NC.shape[1])
        arrays = array(gradient_GNE), array(x_NC), array(weight_C2.T), array(starts_N)
        _backward(*arrays, x_gradient_NC.numpy(), weight_gradient_P2C.numpy())
        return x_gradient_NC, weight_gradient_P2C.sum(dim=0).T, None, None


@kernel
def _forward(x_NC: Array, weight_2C: Array, starts_N: Array, pairs_GNE: Array) -> None:
    tokens, channels = x_NC.shape
    heads = len(pairs_GNE)
    d = channels // heads
    zeros = np.zeros((heads, d), x_NC.dtype)
    x_NGd, weight_2Gd = x_NC.reshape(tokens, heads, d), weight_2C.reshape(2, heads, d)
    for part in numba.prange(PARTS):
        for n in range(part * tokens // PARTS, (part + 1) * tokens // PARTS):
            one_Gd = zeros if starts_N[n] else x_NGd[n - 1]
            two_Gd = zeros if starts_N[n] or starts_N[n - 1] else x_NGd[n - 2]
            for g in range(heads):
                # Slices, since LLVM makes vectors of loops over plain indices alone.
                x, one, two, before, own = x_NGd[n, g], one_Gd[g], two_Gd[g], weight_2Gd[0, g], weight_2Gd[1, g]
                pair_before, pair_own = pairs_GNE[g, n, :d], pairs_GNE[g, n, d:]
                for i in range(d):
                    pair_before[i] = own[i] * one[i] + before[i] * two[i]
                    pair_own[i] = own[i] * x[i] + before[i] * one[i]


@kernel
def _backward(
    gradient_GNE: Array,
    x_NC: Array,
    weight_2C: Array,
    starts_N: Array,
    x_gradient_NC: Array,
    weight_gradient_P2C: Array,
) -> None:
    tokens, channels = x_NC.shape
    heads = len(gradient_GNE)
    d = channels // heads
    zeros = np.zeros(2 * d, x_NC.dtype)
    x_NGd, x_gradient_NGd = x_NC.reshape(tokens, heads, d), x_gradient_NC.reshape(tokens, heads, d)
    weight_2Gd, weight_gradient_P2Gd = weight_2C.reshape(2, heads, d), weight_gradient_P2C.reshape(PARTS, 2, heads, d)
    for part in numba.prange(PARTS):
        for n in range(part * tokens // PARTS, (part + 1) * tokens // PARTS):
            next_in = n + 1 < tokens and not starts_N[n + 1]
            after_in = next_in and n + 2 < tokens and not starts_N[n + 2]
            for g in range(heads):
                own = gradient_GNE[g, n, d:]
                next_pair = gradient_GNE[g, n + 1] if next_in else zeros
                next_before, next_own = next_pair[:d], next_pair[d:]
                after = gradient_GNE[g, n + 2, :d] if after_in else zeros[:d]
                x, dx, before, now = x_NGd[n, g], x_gradient_NGd[n, g], weight_2Gd[0, g], weight_2Gd[1, g]
                before_gradient, now_gradient = weight_gradient_P2Gd[part, 0, g], weight_gradient_P2Gd[part, 1, g]
                for i in range(d):
                    here = own[i] + next_before[i]
                    # The output at the next token sees this one too: its gradient, as itself and as the one before.
                    there = next_own[i] + after[i]
                    dx[i] = now[i] * here + before[i] * there
                    now_gradient[i] += here * x[i]
                    before_gradient[i] += there * x[i]

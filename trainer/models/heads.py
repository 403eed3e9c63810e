"""Queries and keys of CCA from their convolution: mean, norm, temperature and rotary embedding, in one pass each way.

Between the convolution and the attention there are fifteen pointwise passes in torch's terms, over float32 numbers of
all heads. Costs the heads before their norm, kept for the backward pass.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pointwise import PARTS, Array, array, inner, kernel

LEAST_SQUARES = float(np.finfo(np.float32).eps) ** 2
"""Squared length below which a head counts as being so long."""


def finished_heads(
    mixed_GNd: Tensor, x_NC: Tensor, bias_C: Tensor, temp_K: Tensor, cos_NR: Tensor, sin_NR: Tensor, rows: int
) -> Tensor:
    """Queries, then keys, as attention takes them, [B, G, T, d].

    Args:
        mixed_GNd: the convolution's output, biases apart; query heads first, then K key heads.
        x_NC: its input, whose mean of each query and its key is added.
        bias_C: biases of the convolution.
        temp_K: temperature of each key head.
        cos_NR: rotary tables of every token, half against half; channels from 2R on are not turned.
        sin_NR: likewise.
        rows: B.
    """
    heads_BGTd: Tensor = Finish.apply(mixed_GNd, x_NC, bias_C, temp_K, cos_NR, sin_NR, rows)  # type: ignore[no-untyped-call]
    return heads_BGTd


class Finish(torch.autograd.Function):
    """`finished_heads`."""

    @staticmethod
    def forward(
        ctx: Any,
        mixed_GNd: Tensor,
        x_NC: Tensor,
        bias_C: Tensor,
        temp_K: Tensor,
        cos_NR: Tensor,
        sin_NR: Tensor,
        rows: int,
    ) -> Tensor:
        G, N, d = mixed_GNd.shape
        raw_NC = torch.empty_like(x_NC)
        heads_BGTd = x_NC.new_empty(rows, G, N // rows, d)
        tables = array(cos_NR), array(sin_NR)
        _forward(
            array(mixed_GNd), array(x_NC), array(bias_C), array(temp_K), *tables, raw_NC.numpy(), heads_BGTd.numpy()
        )
        ctx.save_for_backward(raw_NC, temp_K, cos_NR, sin_NR)
        return heads_BGTd

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BGTd: Tensor) -> tuple[Tensor | None, ...]:
        raw_NC, temp_K, cos_NR, sin_NR = ctx.saved_tensors
        _, G, _, d = gradient_BGTd.shape
        mixed_gradient_GNd = raw_NC.new_empty(G, len(raw_NC), d)
        x_gradient_NC = torch.empty_like(raw_NC)
        bias_gradient_PC = raw_NC.new_zeros(PARTS, raw_NC.shape[1])
        temp_gradient_PK = raw_NC.new_zeros(PARTS, len(temp_K))
        arrays = array(gradient_BGTd), array(raw_NC), array(temp_K), array(cos_NR), array(sin_NR)
        results = mixed_gradient_GNd, x_gradient_NC, bias_gradient_PC, temp_gradient_PK
        _backward(*arrays, *(result.numpy() for result in results))
        sums = bias_gradient_PC.sum(dim=0), temp_gradient_PK.sum(dim=0)
        return mixed_gradient_GNd, x_gradient_NC, *sums, None, None, None


@kernel
def _forward(
    mixed_GNd: Array,
    x_NC: Array,
    bias_C: Array,
    temp_K: Array,
    cos_NR: Array,
    sin_NR: Array,
    raw_NC: Array,
    heads_BGTd: Array,
) -> None:
    G, N, d = mixed_GNd.shape
    K, R = len(temp_K), cos_NR.shape[1]
    H = G - K
    group = H // K
    T = heads_BGTd.shape[2]
    bias_Gd = bias_C.reshape(G, d)
    half, share = x_NC.dtype.type(0.5), x_NC.dtype.type(0.5 / group)
    for part in numba.prange(PARTS):
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            # Slices, since LLVM makes vectors of loops over plain indices alone.
            x_Gd, raw_Gd, cos, sin = x_NC[n].reshape(G, d), raw_NC[n].reshape(G, d), cos_NR[n], sin_NR[n]
            for key in range(K):
                x_key, raw_key, mixed = x_Gd[H + key], raw_Gd[H + key], mixed_GNd[H + key, n]
                bias = bias_Gd[H + key]
                for i in range(d):
                    raw_key[i] = mixed[i] + bias[i] + half * x_key[i]
                for query in range(key * group, (key + 1) * group):
                    x, raw, mixed, bias = x_Gd[query], raw_Gd[query], mixed_GNd[query, n], bias_Gd[query]
                    for i in range(d):
                        raw[i] = mixed[i] + bias[i] + half * (x[i] + x_key[i])
                        raw_key[i] += share * x[i]
            for g in range(G):
                z, y = raw_Gd[g], heads_BGTd[n // T, g, n % T]
                scale = _scale(inner(z, z), d)
                if g >= H:
                    scale *= temp_K[g - H]
                a, b, y_a, y_b = z[:R], z[R : 2 * R], y[:R], y[R : 2 * R]
                for i in range(R):
                    y_a[i] = scale * (a[i] * cos[i] - b[i] * sin[i])
                    y_b[i] = scale * (b[i] * cos[i] + a[i] * sin[i])
                for i in range(2 * R, d):
                    y[i] = scale * z[i]


@numba.njit(cache=True, nogil=True)
def _scale(squares: Any, d: int) -> Any:
    """sqrt(d) over the length of a head of d channels, which counts as float32's epsilon at least."""
    return type(squares)(math.sqrt(d) / math.sqrt(max(squares, type(squares)(LEAST_SQUARES))))


@kernel
def _backward(
    gradient_BGTd: Array,
    raw_NC: Array,
    temp_K: Array,
    cos_NR: Array,
    sin_NR: Array,
    mixed_gradient_GNd: Array,
    x_gradient_NC: Array,
    bias_gradient_PC: Array,
    temp_gradient_PK: Array,
) -> None:
    G, N, d = mixed_gradient_GNd.shape
    K, R = len(temp_K), cos_NR.shape[1]
    H = G - K
    group = H // K
    T = gradient_BGTd.shape[2]
    half, share = raw_NC.dtype.type(0.5), raw_NC.dtype.type(1.0 / group)
    for part in numba.prange(PARTS):
        turned = np.empty(d, raw_NC.dtype)
        turned_a, turned_b = turned[:R], turned[R : 2 * R]
        bias_gradient_Gd = bias_gradient_PC[part].reshape(G, d)
        for n in range(part * N // PARTS, (part + 1) * N // PARTS):
            raw_Gd, dx_Gd, cos, sin = raw_NC[n].reshape(G, d), x_gradient_NC[n].reshape(G, d), cos_NR[n], sin_NR[n]
            for g in range(G):
                z, dy = raw_Gd[g], gradient_BGTd[n // T, g, n % T]
                dy_a, dy_b = dy[:R], dy[R : 2 * R]
                for i in range(R):
                    turned_a[i] = dy_a[i] * cos[i] + dy_b[i] * sin[i]
                    turned_b[i] = dy_b[i] * cos[i] - dy_a[i] * sin[i]
                for i in range(2 * R, d):
                    turned[i] = dy[i]
                squares, along = inner(z, z), inner(z, turned)
                scale = _scale(squares, d)
                if g >= H:
                    temp_gradient_PK[part, g - H] += scale * along
                    scale *= temp_K[g - H]
                # The length of a vector shorter than epsilon has no gradient: it counts as epsilon.
                along = along / squares if squares > raw_NC.dtype.type(LEAST_SQUARES) else raw_NC.dtype.type(0)
                mixed_gradient, bias_gradient = mixed_gradient_GNd[g, n], bias_gradient_Gd[g]
                for i in range(d):
                    dz = scale * (turned[i] - along * z[i])
                    mixed_gradient[i] = dz
                    bias_gradient[i] += dz
            for key in range(K):
                dx_key, dz_key = dx_Gd[H + key], mixed_gradient_GNd[H + key, n]
                for i in range(d):
                    dx_key[i] = half * dz_key[i]
                for query in range(key * group, (key + 1) * group):
                    dx, dz_query = dx_Gd[query], mixed_gradient_GNd[query, n]
                    for i in range(d):
                        dx[i] = half * (dz_query[i] + share * dz_key[i])
                        dx_key[i] += half * dz_query[i]

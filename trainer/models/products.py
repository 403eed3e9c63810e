"""Matrix products of a training step on a CPU by oneDNN, of everything else as torch does them.

torch hands float32 products on a CPU to MKL, which runs at half speed or less on processors that are not Intel's: 105
against 240 GFLOP/s on one Zen 5 core. The oneDNN inside torch runs at full speed on all, and rounds alike. Costs a
kernel made for every new shape, 0.3 ms, which is why the rows of an expert are rounded up to a multiple of 64.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LEAST = 2**21
"""Multiplications below which the call costs more than the product."""

ROWS = 64
"""Rows of an expert's slice are rounded up to a multiple of this."""

ONEDNN = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def compute_type(x: Tensor) -> torch.dtype:
    """The type in which matrix products run: that of an enclosing torch.autocast, else that of x."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def fast(x: Tensor, columns: int) -> bool:
    """Whether oneDNN takes the product of x and a matrix of so many columns."""
    fits = ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32
    return fits and x.numel() * columns >= LEAST and not torch.is_autocast_enabled("cpu")


def times(x_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """x weight^T + bias, [M, N], without a gradient; either operand may be the transpose of another tensor."""
    if fast(x_MK, weight_NK.shape[0]):
        product_MN: Tensor = torch.ops.mkldnn._linear_pointwise(x_MK, weight_NK, bias_N, "none", [], "")
        return product_MN
    return F.linear(x_MK, weight_NK, bias_N)


def linear(x: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """F.linear."""
    if not fast(x, weight_NK.shape[0]):
        return F.linear(x, weight_NK, bias_N)
    product: Tensor = Product.apply(x, weight_NK, bias_N)  # type: ignore[no-untyped-call]
    return product


def stacked_linear(x_GMK: Tensor, weight_GNK: Tensor) -> Tensor:
    """x weight^T of each pair in two stacks, [G, M, N]."""
    if not fast(x_GMK[0], weight_GNK.shape[1]):
        return torch.bmm(x_GMK, weight_GNK.mT)
    return torch.stack(
        [linear(x_MK, weight_NK) for x_MK, weight_NK in zip(x_GMK.unbind(), weight_GNK.unbind(), strict=True)]
    )


class Linear(nn.Linear):
    """torch's, its product taken by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Product(torch.autograd.Function):
    """F.linear with oneDNN's products in both directions."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight_NK)
        return times(x.flatten(0, -2), weight_NK, bias_N).view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight_NK = ctx.saved_tensors
        gradient_MN = gradient.flatten(0, -2)
        x_gradient = weight_gradient_NK = bias_gradient_N = None
        if ctx.needs_input_grad[0]:
            x_gradient = times(gradient_MN, weight_NK.T).view_as(x)
        if ctx.needs_input_grad[1]:
            weight_gradient_NK = over_rows(gradient_MN, x.flatten(0, -2))
        if ctx.needs_input_grad[2]:
            bias_gradient_N = gradient_MN.sum(dim=0)
        return x_gradient, weight_gradient_NK, bias_gradient_N


def over_rows(y_MN: Tensor, x_MK: Tensor) -> Tensor:
    """y^T x, [N, K]: the gradient of a weight."""
    if y_MN.shape[1] > x_MK.shape[1]:  # oneDNN copies its first operand: the narrower one
        return times(x_MK.T, y_MN.T).T
    return times(y_MN.T, x_MK.T)


def slice_times(x_MK: Tensor, first: int, last: int, weight_NK: Tensor) -> Tensor:
    """x[first:last] weight^T, [last - first, N], as part of a product of a round number of rows."""
    rows = last - first
    start = min(first, max(x_MK.shape[0] - round_up(rows), 0))
    return times(x_MK[start : start + round_up(rows)], weight_NK)[first - start : last - start]


def slice_over_rows(y_MN: Tensor, x_MK: Tensor, first: int, last: int) -> Tensor:
    """y[first:last]^T x[first:last], [N, K], as a product over a round number of rows, of which the rest are zero."""
    rows = last - first
    start = min(first, max(x_MK.shape[0] - round_up(rows), 0))
    stop = min(start + round_up(rows), x_MK.shape[0])
    narrow, wide = (x_MK, y_MN) if y_MN.shape[1] > x_MK.shape[1] else (y_MN, x_MK)
    padded = narrow.new_zeros(narrow.shape[1], stop - start)
    padded[:, first - start : last - start] = narrow[first:last].T
    product = times(padded, wide[start:stop].T)
    return product.T if narrow is x_MK else product


def round_up(rows: int) -> int:
    """The next multiple of 64."""
    return -(-rows // ROWS) * ROWS

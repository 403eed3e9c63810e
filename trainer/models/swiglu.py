"""SwiGLU's pointwise part over gate and up in one tensor, which alone is kept for the backward pass.

torch's chain keeps silu(gate) too and joins two gradients that could have been written side by side. Costs silu a
second time, backward.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def swiglu(gate_up_MF: Tensor) -> Tensor:
    """silu(gate) * up, [M, F / 2], of rows that hold the gates first (Shazeer, arXiv 2002.05202)."""
    result_MI: Tensor = SwiGLU.apply(gate_up_MF)  # type: ignore[no-untyped-call]
    return result_MI


class SwiGLU(torch.autograd.Function):
    """`swiglu`."""

    @staticmethod
    def forward(ctx: Any, gate_up_MF: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up_MF)
        gate_MI, up_MI = gate_up_MF.chunk(2, dim=-1)
        return F.silu(gate_MI).mul_(up_MI)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_MI: Tensor) -> Tensor:
        (gate_up_MF,) = ctx.saved_tensors
        gate_MI, up_MI = gate_up_MF.chunk(2, dim=-1)
        gradient_MF = torch.empty_like(gate_up_MF)
        gate_gradient_MI, up_gradient_MI = gradient_MF.chunk(2, dim=-1)
        torch.mul(F.silu(gate_MI), gradient_MI, out=up_gradient_MI)
        torch.ops.aten.silu_backward.grad_input(gradient_MI * up_MI, gate_MI, grad_input=gate_gradient_MI)
        return gradient_MF

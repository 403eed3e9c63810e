"""Assignments of tokens to experts, sorted by expert, and the products that run over them.

Sorted, each expert's tokens are one contiguous slice: nothing is padded, and every buffer has one row an assignment
whatever the load, so that the memory of a layer does not depend on its balance. Two implementations of one product:
`grouped` is one kernel over all experts whose slice ends stay on the device; `loop` is one plain product an expert, and
needs the ends on the host, which costs a synchronization a layer on a GPU. Costs two passes over the assignments' rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import ConfigError
from .products import slice_over_rows, slice_times

Kernel = Literal["grouped", "loop"]

ROW_BYTES = 16
"""Rows of a grouped product's operands have to be a multiple of so many bytes."""

PIECE = 1024
"""Most rows of one product of the loop: what a product holds beside its result stays small, whatever the load."""

ROUNDING = 1e-6
"""What a capacity may pass a whole number by and still be that number: 1.1 x 10 is 11 and not 12."""


@dataclass(frozen=True)
class Sorting:
    """N x K assignments (number n K + k) sorted by expert; those that no expert computes stand behind.

    `order_M`: the assignment in each of the first M sorted rows. `place_A`: the row of each assignment, M - 1 where
    it is `left_out_A` (None: nothing is). `ends_E`: int32, where each expert's rows end. `counts`: rows of each
    expert on the host, for the loop alone.
    """

    order_M: Tensor
    place_A: Tensor
    left_out_A: Tensor | None
    ends_E: Tensor
    counts: tuple[int, ...] | None
    top_k: int


def count(class_NK: Tensor, classes: int) -> Tensor:
    """Assignments of each class, int64 [classes]; other numbers are not counted."""
    classes_C = torch.arange(classes, device=class_NK.device)
    return (class_NK.flatten()[:, None] == classes_C).sum(dim=0)


def within_capacity(class_NK: Tensor, limit_C: Tensor) -> Tensor:
    """True, [N, K], where a class has taken fewer than its limit before: tokens come first in order of position.

    Args:
        class_NK: int64, no class twice for one token; numbers beyond the limits' are nobody's, and False.
        limit_C: int64, the assignments that each class takes.
    """
    class_A = class_NK.flatten()
    sorted_A, order_A = class_A.sort(stable=True)
    numbers_A = torch.arange(len(class_A), device=class_A.device)
    rank_A = numbers_A - torch.searchsorted(sorted_A, sorted_A)
    kept_A = torch.empty_like(class_A, dtype=torch.bool)
    kept_A[order_A] = rank_A < F.pad(limit_C, (0, 1))[sorted_A.clamp(max=len(limit_C))]
    return kept_A.view_as(class_NK)


def limits(capacity: float, shares: Sequence[float], assignments: Tensor) -> Tensor:
    """The assignments that each class takes, int64: ceil(capacity x share x assignments); without end at share 0.

    `assignments` is a scalar tensor, K for every token: with K = 1 this is C of arXiv 2410.07348, eq. 9, whose T
    would, taken as tokens whatever K, drop 45 % of a balanced top-2 batch.
    """
    endless = torch.full_like(assignments, torch.iinfo(torch.int64).max)
    limit = {
        share: (capacity * share * assignments.double() - ROUNDING).ceil().long() if share else endless
        for share in set(shares)
    }
    return torch.stack([limit[share] for share in shares])


def sort_by_expert(class_NK: Tensor, experts: int, kernel: Kernel, bound: int | None = None) -> Sorting:
    """Sorts assignments by expert.

    Args:
        class_NK: int64; `experts` and above are computed by none.
        experts: number of experts.
        kernel: `grouped` or `loop`.
        bound: assignments that the experts cannot pass, where the caller knows better than N x K.
    """
    class_A = class_NK.flatten()
    total, top_k = len(class_A), class_NK.shape[1]
    sorted_A, order_A = class_A.sort(stable=True)
    ends_E = torch.searchsorted(sorted_A, torch.arange(experts, device=class_A.device), right=True, out_int32=True)
    place_A = torch.empty_like(order_A)
    place_A[order_A] = torch.arange(total, device=order_A.device)
    counts = None
    rows = total if bound is None else max(min(total, bound), 1)
    if kernel == "loop":
        ends = ends_E.tolist()
        counts = tuple(end - start for start, end in zip([0, *ends[:-1]], ends, strict=True))
        rows = max(ends[-1], 1)
        if ends[-1] == total:
            return Sorting(order_A, place_A, None, ends_E, counts, top_k)
    left_out_A = class_A >= experts
    return Sorting(order_A[:rows], place_A.clamp(max=rows - 1), left_out_A, ends_E, counts, top_k)


def choose_kernel(
    asked: Literal["auto"] | Kernel, device: torch.device, dtype: torch.dtype, sizes: tuple[int, ...]
) -> Kernel:
    """`grouped` or `loop`; `auto` groups where torch has one kernel for it: bfloat16 on a GPU, rows aligned.

    Args:
        asked: what the run asks for.
        device: where the products run.
        dtype: in which type.
        sizes: columns of the operands.

    Raises:
        ConfigError: grouped products are asked for, and torch has none for the type or for the rows.
    """
    aligned = all(size * dtype.itemsize % ROW_BYTES == 0 for size in sizes)
    known = dtype in (torch.float32, torch.bfloat16, torch.float16)
    if asked == "auto":
        return "grouped" if device.type == "cuda" and dtype == torch.bfloat16 and aligned else "loop"
    if asked == "grouped" and not (aligned and known):
        raise ConfigError(
            "torch has no grouped product for these sizes",
            where="kernels.experts",
            seen=f"grouped, rows of {' and '.join(map(str, sizes))} numbers of {dtype}",
            expected=f"float32, bfloat16 or float16, and rows of a multiple of {ROW_BYTES} bytes",
            fix="write auto or loop",
        )
    return asked


def grouped_product(x_MD: Tensor, weight_EFD: Tensor, sorting: Sorting) -> Tensor:
    """Each row times the matrix of its expert, [M, F]; what stands in rows of no expert means nothing."""
    if sorting.counts is None:
        return F.grouped_mm(x_MD, weight_EFD.mT, offs=sorting.ends_E)
    product_MF: Tensor = LoopProduct.apply(x_MD, weight_EFD, sorting.counts)  # type: ignore[no-untyped-call]
    return product_MF


class LoopProduct(torch.autograd.Function):
    """A product an expert, all written into one buffer; likewise the gradients, of which no expert's is missing."""

    @staticmethod
    def forward(ctx: Any, x_MD: Tensor, weight_EFD: Tensor, counts: tuple[int, ...]) -> Tensor:
        ctx.save_for_backward(x_MD, weight_EFD)
        ctx.counts = counts
        return products(x_MD, weight_EFD.mT, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_MF: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_MD, weight_EFD = ctx.saved_tensors
        x_gradient_MD = weight_gradient_EFD = None
        if ctx.needs_input_grad[0]:
            x_gradient_MD = products(gradient_MF, weight_EFD, ctx.counts)
        if ctx.needs_input_grad[1]:
            weight_gradient_EFD = weight_products(gradient_MF, x_MD, ctx.counts)
        return x_gradient_MD, weight_gradient_EFD, None


def products(x_MD: Tensor, weight_EDF: Tensor, counts: tuple[int, ...]) -> Tensor:
    """The rows of each expert times its matrix, [M, F]; zero in rows of none."""
    result_MF = x_MD.new_empty(x_MD.shape[0], weight_EDF.shape[2])
    for expert, first, last in pieces(counts):
        result_MF[first:last] = slice_times(x_MD, first, last, weight_EDF[expert].T)
    result_MF[sum(counts) :].zero_()
    return result_MF


def weight_products(y_MF: Tensor, x_MD: Tensor, counts: Sequence[int]) -> Tensor:
    """The gradient of each expert's matrix, [E, F, D]: y^T x over its rows; zero where it has none."""
    result_EFD = x_MD.new_empty(len(counts), y_MF.shape[1], x_MD.shape[1])
    for expert, rows in enumerate(counts):
        if not rows:
            result_EFD[expert].zero_()
    written = -1
    for expert, first, last in pieces(counts):
        product_FD = slice_over_rows(y_MF, x_MD, first, last)
        if expert == written:
            result_EFD[expert] += product_FD
        else:
            result_EFD[expert] = product_FD
            written = expert
    return result_EFD


def pieces(counts: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Expert, first and last row of every product: an expert's rows, in pieces where they are many."""
    end = 0
    for expert, rows in enumerate(counts):
        start, end = end, end + rows
        for first in range(start, end, PIECE):
            yield expert, first, min(first + PIECE, end)


def gather(x_ND: Tensor, sorting: Sorting) -> Tensor:
    """The token of each sorted row, [M, D]."""
    gathered_MD: Tensor = Gather.apply(  # type: ignore[no-untyped-call]
        x_ND, sorting.order_M, sorting.place_A, sorting.left_out_A, sorting.top_k
    )
    return gathered_MD


def scatter(y_MD: Tensor, sorting: Sorting) -> Tensor:
    """The row of each assignment, [N, K, D]; zero where it was left out."""
    scattered_AD: Tensor = Scatter.apply(  # type: ignore[no-untyped-call]
        y_MD, sorting.order_M, sorting.place_A, sorting.left_out_A
    )
    return scattered_AD.view(-1, sorting.top_k, scattered_AD.shape[1])


class Gather(torch.autograd.Function):
    """Rows to experts, with a gather for a gradient too: autograd would add row by row, in no order on a GPU."""

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, order_M: Tensor, place_A: Tensor, left_out_A: Tensor | None, top_k: int
    ) -> Tensor:
        ctx.save_for_backward(place_A, left_out_A)
        ctx.top_k = top_k
        return x_ND.index_select(0, order_M if top_k == 1 else order_M // top_k)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_MD: Tensor) -> tuple[Tensor, None, None, None, None]:
        gradient_AD = by_assignment(gradient_MD, *ctx.saved_tensors)
        if ctx.top_k == 1:
            return gradient_AD, None, None, None, None
        return gradient_AD.view(-1, ctx.top_k, gradient_AD.shape[1]).sum(dim=1), None, None, None, None


class Scatter(torch.autograd.Function):
    """Rows back to assignments; the reverse of Gather but for the sum over a token's assignments."""

    @staticmethod
    def forward(ctx: Any, y_MD: Tensor, order_M: Tensor, place_A: Tensor, left_out_A: Tensor | None) -> Tensor:
        ctx.save_for_backward(order_M)
        return by_assignment(y_MD, place_A, left_out_A)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_AD: Tensor) -> tuple[Tensor, None, None, None]:
        (order_M,) = ctx.saved_tensors
        return gradient_AD.index_select(0, order_M), None, None, None


def by_assignment(sorted_MD: Tensor, place_A: Tensor, left_out_A: Tensor | None) -> Tensor:
    """The row of each assignment, [A, D]; zero where it was left out."""
    rows_AD = sorted_MD.index_select(0, place_A)
    return rows_AD if left_out_A is None else rows_AD.masked_fill_(left_out_A[:, None], 0.0)

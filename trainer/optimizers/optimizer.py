"""Muon for the matrices, AdamW for the rest, as one optimizer whose state is named by parameter.

Muon replaces a matrix's momentum by the nearest orthogonal matrix (Jordan et al. 2024), scaled so that its updates are
as large as AdamW's (Liu et al., arXiv 2502.16982), which trains the ZAYA1 family; AdamW is Loshchilov and Hutter, arXiv
1711.05101. Costs, beside the gradients, one momentum a matrix weight and two moments elsewhere, and for an m x n matrix
(m <= n) a step of 10 m^2 n + 5 m^3 multiplications, run as one batched product per shape.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import RunError
from .settings import OptimizerConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's coefficients: they bring singular values near 1 (0.7 to 1.2) in five steps, and not exactly to it."""

NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
RMS_MATCH = 0.2
"""Root mean square of AdamW's updates that Muon's are scaled to (arXiv 2502.16982, section 2.2)."""


def groups(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """The names of all parameters by treatment, each in exactly one group.

    `muon`: matrices, routers' among them, and the experts' stacks of matrices. `adamw_decay`: the tied embedding and
    the grouped convolution, which are matrices or stacks of them, but no maps of the residual stream. `adamw`:
    depthwise filters, norms, scales, temperatures, biases, and what constant experts learn, which never decay.

    Raises:
        RunError: a parameter of three or more dimensions that no rule names.
    """
    result: dict[str, list[str]] = {"muon": [], "adamw_decay": [], "adamw": []}
    for name, parameter in model.named_parameters():
        result[_group(name, parameter)].append(name)
    return {group: tuple(names) for group, names in result.items()}


def _group(name: str, parameter: Tensor) -> str:
    if parameter.ndim < 2 or name.endswith(("conv_qk_depthwise.weight", "constants.vectors", "constants.mix")):
        return "adamw"
    if name.endswith(("embed_tokens.weight", "conv_qk_grouped.weight")):
        return "adamw_decay"
    if parameter.ndim == 2 or name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return "muon"
    raise RunError(
        "no optimizer is meant for this parameter", where=name, seen=tuple(parameter.shape), fix="name it in groups()"
    )


def matrices(name: str, tensor: Tensor) -> Tensor:
    """The tensor as a stack [n, rows, columns] of the matrices in it: one an expert, gate and up apart."""
    if name.endswith("gate_up_proj"):
        experts, rows, columns = tensor.shape
        return tensor.reshape(2 * experts, rows // 2, columns)
    return tensor.reshape(-1, *tensor.shape[-2:])


def orthogonalize(momentum_Nmn: Tensor) -> Tensor:
    """The nearest orthogonal matrix of each matrix in the stack, roughly, by five Newton-Schulz steps.

    Args:
        momentum_Nmn: float32; a stack of any matrices, of which a zero one stays zero.

    Returns:
        float32 of the same shape, singular values about 0.7 to 1.2. Products are float32 on a CPU, bfloat16 on a GPU.
    """
    dtype = torch.bfloat16 if momentum_Nmn.is_cuda else torch.float32
    tall = momentum_Nmn.shape[-2] > momentum_Nmn.shape[-1]
    x = momentum_Nmn.mT if tall else momentum_Nmn
    x = (x / x.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None]).to(dtype)
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = torch.bmm(x, x.mT)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float().contiguous()


@dataclass(frozen=True)
class Stack:
    """All matrices of one shape: their parameters, and the momentum [n, rows, columns] of which each owns a slice."""

    names: tuple[str, ...]
    parameters: tuple[Tensor, ...]
    momentum_Nmn: Tensor

    def parts(self, stacked_Nmn: Tensor) -> list[Tensor]:
        """The slice of each parameter, in the parameter's own shape."""
        sizes = [parameter.numel() // stacked_Nmn[0].numel() for parameter in self.parameters]
        slices = zip(torch.split(stacked_Nmn, sizes), self.parameters, strict=True)
        return [part.view(parameter.shape) for part, parameter in slices]


def stacks(named: Iterable[tuple[str, Tensor]]) -> list[Stack]:
    """The parameters stacked by shape of their matrices, and device, in order of first appearance; momenta are zero."""
    by_shape: dict[Any, list[tuple[str, Tensor]]] = {}
    for name, parameter in named:
        by_shape.setdefault((matrices(name, parameter).shape[1:], parameter.device), []).append((name, parameter))
    result = []
    for (shape, device), members in by_shape.items():
        count = sum(len(matrices(name, parameter)) for name, parameter in members)
        momentum_Nmn = torch.zeros(count, *shape, device=device)
        names, parameters = zip(*members, strict=True)
        result.append(Stack(names, parameters, momentum_Nmn))
    return result


class Muon:
    """Momentum, orthogonalized: update 0.2 sqrt(max(m, n)) NS(g + momentum x buffer), decoupled weight decay."""

    def __init__(self, named: Sequence[tuple[str, Tensor]]) -> None:
        self.stacks = stacks(named)

    @torch.no_grad()
    def step(self, lr: float, momentum: float, weight_decay: float) -> None:
        """One step of all matrices; a parameter without a gradient counts as one with a gradient of zero."""
        for stack in self.stacks:
            gradients = [
                matrices(name, torch.zeros_like(p) if p.grad is None else p.grad).float()
                for name, p in zip(stack.names, stack.parameters, strict=True)
            ]
            gradient_Nmn = torch.cat(gradients)
            stack.momentum_Nmn.mul_(momentum).add_(gradient_Nmn)
            update_Nmn = orthogonalize(gradient_Nmn.add_(stack.momentum_Nmn, alpha=momentum))
            scale = RMS_MATCH * max(update_Nmn.shape[1:]) ** 0.5
            if weight_decay:
                torch._foreach_mul_(stack.parameters, 1 - lr * weight_decay)
            torch._foreach_add_(stack.parameters, stack.parts(update_Nmn), alpha=-lr * scale)

    def state(self) -> dict[str, Tensor]:
        """The momentum of every parameter, float32, a view of what the optimizer uses."""
        return {
            name: part
            for stack in self.stacks
            for name, part in zip(stack.names, stack.parts(stack.momentum_Nmn), strict=True)
        }


class Optimizer:
    """Muon and AdamW as one; `set_lr` scales the rates of the settings, `state` names every moment by parameter."""

    def __init__(self, model: nn.Module, settings: OptimizerConfig) -> None:
        parameters = dict(model.named_parameters())
        named = groups(model)
        if settings.name == "adamw":
            named = {"muon": (), "adamw_decay": named["muon"] + named["adamw_decay"], "adamw": named["adamw"]}
        self.settings = settings
        self.scale = 1.0
        self.parameters = list(parameters.values())
        self.muon = Muon([(name, parameters[name]) for name in named["muon"]])
        self._adamw_names = named["adamw_decay"] + named["adamw"]
        decayed = [parameters[name] for name in named["adamw_decay"]]
        others = [parameters[name] for name in named["adamw"]]
        self.adamw = torch.optim.AdamW([{"params": decayed}, {"params": others}], fused=True)
        for parameter in decayed + others:
            # Made now and not at the first step, so that a checkpoint can be loaded into it.
            self.adamw.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.configure(settings)

    def configure(self, settings: OptimizerConfig) -> None:
        """Takes other settings and keeps the moments.

        Raises:
            RunError: the settings name another optimizer.
        """
        if settings.name != self.settings.name:
            raise RunError(
                "an optimizer's moments are of no use to another one",
                where="optimizer",
                seen=settings.name,
                expected=self.settings.name,
                fix="write fresh: true in the phase's optimizer",
            )
        self.settings = settings
        for group, decays in zip(self.adamw.param_groups, (True, False), strict=True):
            group["weight_decay"] = settings.weight_decay if decays else 0.0
            group["betas"] = settings.betas
            group["eps"] = settings.eps
        self.set_lr(self.scale)

    def set_lr(self, scale: float) -> None:
        """Sets every rate to `scale` times that of the settings; `scale` is the schedule's factor."""
        self.scale = scale
        rate = self.settings.adamw_lr if self.settings.adamw_lr is not None else self.settings.lr
        for group in self.adamw.param_groups:
            group["lr"] = rate * scale

    def clip(self) -> Tensor:
        """The global gradient norm (L2), a scalar tensor; scales the gradients down to the settings' bound."""
        bound = float("inf") if self.settings.clip is None else self.settings.clip
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients, foreach=True)
        if bound < float("inf"):
            torch._foreach_mul_(gradients, (bound / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def step(self) -> None:
        """Moves every parameter by its gradient."""
        momentum = MOMENTUM if self.settings.momentum is None else self.settings.momentum
        self.muon.step(self.settings.lr * self.scale, momentum, self.settings.weight_decay)
        self.adamw.step()

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Every moment by kind and parameter name; tensors of the optimizer itself, so that loading can fill them."""
        result = {"momentum": self.muon.state(), "step": {}, "exp_avg": {}, "exp_avg_sq": {}}
        members = [parameter for group in self.adamw.param_groups for parameter in group["params"]]
        for name, parameter in zip(self._adamw_names, members, strict=True):
            for kind, tensor in self.adamw.state[parameter].items():
                result[kind][name] = tensor
        return result

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Copies the moments of another optimizer of the same model and name.

        Raises:
            RunError: a moment is missing, is one too many, or has another shape: a partial state is never taken.
        """
        own = {(kind, name): tensor for kind, named in self.state_dict().items() for name, tensor in named.items()}
        given = {(kind, name): tensor for kind, named in state.items() for name, tensor in named.items()}
        for key in sorted(own.keys() ^ given.keys()):
            raise RunError(
                "the optimizer's state is not that of this model",
                where=".".join(key),
                seen="there" if key in given else "missing",
                expected="there" if key in own else "not there",
            )
        for key, tensor in own.items():
            if tensor.shape != given[key].shape:
                raise RunError(
                    "the optimizer's state is of another shape",
                    where=".".join(key),
                    seen=tuple(given[key].shape),
                    expected=tuple(tensor.shape),
                )
            tensor.copy_(given[key])

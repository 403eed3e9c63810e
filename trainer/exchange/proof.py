"""The proof that what was written is the model: read back bit by bit, and computed by transformers.

An export that loads and is wrong is found out after it was published; so it is compared before it has a name. Costs a
second read of the files, and with transformers the model a second time in memory and one forward pass of each.
"""

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import RunError
from ..models.model import MoEModel
from ..models.routing import Router, Routing
from . import names, weights

MOST = 1e-5
"""Largest difference of logits in float32, against the largest logit where that is above 1."""

UNDECIDED = 5e-6
"""Where two classes of a router are nearer than this, rounding alone may choose the other one."""

_ROWS, _TOKENS = 8, 64


@dataclass(frozen=True)
class Proof:
    """What was compared: tensors bit by bit; with transformers, logits of so many tokens, of `data`.

    `undecided` tokens were left out: there, or at a token before in the row, a router was undecided.
    """

    tensors: int
    transformers: str | None = None
    tokens: int = 0
    undecided: int = 0
    data: str = ""
    difference: float | None = None
    largest_logit: float | None = None

    @property
    def text(self) -> str:
        """One line for a person."""
        line = f"{self.tensors:,} tensors read back, equal to the last bit"
        if self.transformers is None:
            return f"{line}; logits were not compared: transformers with Zaya is not installed"
        left_out = f"; {self.undecided:,} behind undecided routers left out" if self.undecided else ""
        return (
            f"{line}; transformers {self.transformers} gives the same logits on {self.tokens:,} {self.data} to "
            f"{self.difference:.1e} (largest logit {self.largest_logit:.1f}{left_out})"
        )

    @property
    def record(self) -> dict[str, Any]:
        """As data."""
        return asdict(self)


def rows_of(documents: Iterator[Sequence[int]] | None, vocab_size: int) -> tuple[list[Tensor], str]:
    """Token ids to compare logits on, and what they are: the beginnings of documents, or random ones."""
    rows = []
    for document in documents or ():
        if len(document) > 1:
            rows.append(torch.tensor(list(document)[:_TOKENS]))
        if len(rows) == _ROWS:
            break
    if rows:
        return rows, "held-out tokens"
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(vocab_size, (_TOKENS,), generator=generator) for _ in range(_ROWS)], "random tokens"


@torch.no_grad()
def logits(model: MoEModel, rows: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    """Our logits [T, V] of each row on its own, and its tokens before the first at which a router is undecided."""
    device = model.embed_tokens.weight.device
    margins: list[Tensor] = []

    def margin(module: Router, _: object, routing: Routing) -> None:
        scores_BTC = routing.probability_BTC + module.balancing_biases
        best_BT2 = scores_BTC.topk(2, dim=-1).values
        margins.append((best_BT2[..., 0] - best_BT2[..., 1])[0])

    hooks = [module.register_forward_hook(margin) for module in model.modules() if isinstance(module, Router)]
    found = []
    try:
        for row in rows:
            margins.clear()
            tokens = row[None].to(device)
            positions = torch.arange(len(row), device=device)[None]
            output = model(tokens, positions, torch.zeros_like(tokens))
            undecided = (torch.stack(margins).amin(dim=0) < UNDECIDED).nonzero()
            found.append((output.logits_BTV[0], int(undecided[0]) if len(undecided) else len(row)))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def prove(folder: Path, written: dict[str, Tensor], model: MoEModel, rows: Sequence[Tensor], data: str) -> Proof:
    """Reads the folder back, and has transformers compute the logits, where it is installed.

    Args:
        folder: what was written.
        written: every tensor as it should stand there, by our names.
        model: the same in float32, in evaluation mode.
        rows: token ids.
        data: what they are.

    Raises:
        RunError: a tensor differs, transformers misses one, knows one too many or changes one, or logits differ by more
            than MOST.
    """
    opened = weights.open_folder(folder)
    for name, tensor in written.items():
        found = opened.read(name)
        if found.dtype != tensor.dtype or not torch.equal(found.view(torch.uint8), _bytes(tensor)):
            raise RunError("a tensor is not what was written", where=f"{folder}: {name}")
    if not _available():
        return Proof(len(written))
    return _with_transformers(folder, written, model, rows, data)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().view(torch.uint8)


def _available() -> bool:
    try:
        return importlib.util.find_spec("transformers.models.zaya") is not None
    except ImportError:
        return False


def _with_transformers(
    folder: Path, written: dict[str, Tensor], model: MoEModel, rows: Sequence[Tensor], data: str
) -> Proof:
    transformers: Any = importlib.import_module("transformers")
    device = model.embed_tokens.weight.device
    with _silent():
        theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
    wrong = {kind: sorted(map(str, found)) for kind, found in report.items() if found}
    if wrong:
        raise RunError("transformers does not find the tensors that it expects", where=str(folder), seen=wrong)
    loaded = theirs.state_dict()
    changed = [name for name, tensor in written.items() if not loaded[names.PREFIX + name].equal(tensor.float().cpu())]
    if changed:
        raise RunError("transformers changes a tensor when it loads it", where=f"{folder}: {changed[0]}")
    theirs = theirs.eval().to(device)
    most, largest, compared = 0.0, 1.0, 0
    with _exact():
        for row, (ours, decided) in zip(rows, logits(model, rows), strict=True):
            with torch.no_grad():
                found = theirs(row[None].to(device), use_cache=False).logits[0].float()
            if decided:
                most = max(most, float((found - ours)[:decided].abs().max()))
                largest = max(largest, float(ours[:decided].abs().max()))
            compared += decided
    if not compared:
        raise RunError("no logits can be compared: routers are undecided at every row's first token", where=str(folder))
    if not most <= MOST * largest:  # NaN fails as well
        raise RunError(
            "transformers computes other logits from what was written",
            where=str(folder),
            seen=f"a difference of {most:.3g}, on {data}",
            expected=f"at most {MOST * largest:.3g}: {MOST:g} of the largest logit, {largest:.3g}",
        )
    left_out = sum(map(len, rows)) - compared
    return Proof(len(written), transformers.__version__, compared, left_out, data, most, largest)


@contextmanager
def _exact() -> Iterator[None]:
    """Products in float32 as they are written: a card may round their factors to ten bits unasked."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


@contextmanager
def _silent() -> Iterator[None]:
    """Without the bars that transformers draws."""
    logging: Any = importlib.import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()

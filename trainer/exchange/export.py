"""Exporting a checkpoint as a folder of transformers: what `midtrain export` does.

Others load a model with their own tools, so its weights, tokenizer, chat template and history leave together, and the
folder has its name only when it was proven to be the model. Costs the model in memory, twice while it is proven.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import torch
from torch import Tensor

from ... import storage
from ...errors import ConfigError
from ...mixtures.templates import Template
from ...tables import Table
from ..checkpoints import checkpoint_folder
from ..checkpoints.checkpoint_manifest import Contents
from ..evaluation.measure import template_of
from ..models.config import ModelConfig, ZayaMoE
from ..models.routing import SKIP_BIAS
from ..trained import Trained
from . import chat_template, imported, model_card, model_files, names, proof, tokenizer_json, transformers_config
from .new_folder import new_folder
from .proof import Proof

Dtype = Literal["float32", "bfloat16", "float16"]
SHARD_BYTES: Final = 5_000_000_000
_TEXTS, _TEXT_TOKENS = 16, 400  # held-out documents that the tokenizers are compared on
_BIASES: Final = "balancing_biases"


@dataclass(frozen=True)
class ExportResult:
    """What was written and how it was proven; `rounding` is how far the type moved logits on average, if at all."""

    folder: Path
    files: tuple[str, ...]
    parameters: int
    dtype: Dtype
    template: str | None
    proof: Proof
    rounding: float | None

    @property
    def table(self) -> Table:
        """The result for a person, and as data."""
        lines = [
            f"{self.folder}: {self.parameters:,} parameters in {self.dtype}; {', '.join(self.files[:4])}"
            + (f" and {len(self.files) - 4} more" if len(self.files) > 4 else ""),
            f"proof: {self.proof.text}",
        ]
        if self.rounding is not None:
            lines.append(f"rounding to {self.dtype} moved logits by {self.rounding:.2g} on average")
        if self.template is None:
            lines.append("no chat template: the tokenizer has no special tokens for one")
        data: dict[str, Any] = {
            "folder": str(self.folder),
            "files": list(self.files),
            "parameters": self.parameters,
            "dtype": self.dtype,
            "template": self.template,
            "proof": self.proof.record,
            "rounding": self.rounding,
        }
        return Table("\n".join(lines), data)


def refuse(model: ModelConfig, where: str) -> None:
    """ConfigError, naming it, for what transformers' Zaya cannot express."""
    moe = model.moe
    if not isinstance(moe, ZayaMoE):
        seen, expected = f"moe.kind {moe.kind}", "moe.kind zaya"
    elif model.attention != "cca":
        seen, expected = f"attention {model.attention}", "attention cca"
    elif moe.skip == "identity":
        seen, expected = "moe.skip identity", "moe.skip off or zero: transformers' skip class adds nothing"
    else:
        return
    raise ConfigError(f"transformers has no such model: {seen}", where=where, seen=seen, expected=expected)


def export(
    checkpoint: str | Path,
    output: str | Path,
    *,
    dtype: Dtype = "float32",
    shard_bytes: int = SHARD_BYTES,
    shards: str | None = None,
    with_tokenizer: bool = True,
    overwrite: bool = False,
) -> ExportResult:
    """Writes a folder that transformers' AutoModelForCausalLM and AutoTokenizer load.

    Args:
        checkpoint: its folder, or a run's for its newest.
        output: a new folder.
        dtype: of the weights; balancing biases stay float32.
        shard_bytes: of weights in one file.
        shards: the built shards; by default where the run says they are.
        with_tokenizer: write what AutoTokenizer reads; the tokenizer's own file is written in any case.
        overwrite: replace an earlier export at `output`.

    Returns:
        What was written and how it was proven; `output` stands complete or, where anything fails, as it was.

    Raises:
        ConfigError: the model is none that transformers has, its tokenizer cannot be written, `output` is there.
        RunError: the checkpoint is damaged, or the proof failed.
    """
    target = Path(output)
    mark = f"{imported.ORIGINAL}/{imported.PROVENANCE}"
    with new_folder(target, mark, overwrite) as temporary:
        refuse(checkpoint_folder.find(checkpoint).contents.model, str(checkpoint))
        trained = Trained.open(checkpoint, shards)
        return _write(temporary, target, trained, dtype, shard_bytes, with_tokenizer)


def _write(
    folder: Path, target: Path, trained: Trained, dtype: Dtype, shard_bytes: int, with_tokenizer: bool
) -> ExportResult:
    model, contents = trained.model, trained.checkpoint.contents
    rows, data = proof.rows_of(_documents(trained), trained.tokenizer.vocab_size)
    before = proof.logits(model, rows)
    written = _rounded(trained, getattr(torch, dtype))
    rounding = None if dtype == "float32" else _moved(before, proof.logits(model, rows))
    named = [(names.PREFIX + name, tensor) for name, tensor in written.items()]
    files = model_files.write(folder, named, lambda name: written[name.removeprefix(names.PREFIX)], shard_bytes)
    template = _template(trained)
    name = None if template is None else template.name
    ends = _ends(trained, template)
    longest = max(stretch.sequence_length for stretch in contents.history)
    _json(folder / transformers_config.NAME, transformers_config.contents(contents.model, longest, dtype, ends))
    pad = trained.tokenizer.end_of_document
    _json(folder / "generation_config.json", {"do_sample": False, "eos_token_id": list(ends), "pad_token_id": pad})
    if with_tokenizer:
        _write_tokenizer(folder, trained, longest, template)
    proven = proof.prove(folder, written, model, rows, data)
    kept = folder / imported.ORIGINAL
    kept.mkdir()
    file = trained.tokenizer.write(kept)
    _json(kept / imported.PROVENANCE, _provenance(trained, file.name, dtype, proven))
    card = model_card.render(trained, dtype, longest, name, proven)
    with storage.atomic_write(folder / "README.md") as stream:
        stream.write(card.encode())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return ExportResult(target, tuple(files), parameters, dtype, name, proven, rounding)


@torch.no_grad()
def _rounded(trained: Trained, dtype: torch.dtype) -> dict[str, Tensor]:
    """Every tensor as it will stand in the files; the model takes the same values."""
    off = isinstance(trained.model.config.moe, ZayaMoE) and trained.model.config.moe.skip == "off"
    written = {}
    for name, tensor in trained.model.state_dict().items():
        if name.endswith(_BIASES):
            _place_skip(tensor, off)
            written[name] = tensor
            continue
        rounded = tensor.to(dtype)
        tensor.copy_(rounded)
        written[name] = rounded
    return written


def _place_skip(biases: Tensor, off: bool) -> None:
    """Moves all biases together until the skip class stands at -1: transformers puts it there whenever it loads one.

    A choice depends on their differences alone. Where it is `off`, which transformers does not know, it is lowered
    first until no probability can choose it: one below the largest bias. Where biases have mean zero, -1 is as low.
    """
    if off:
        biases[-1] = torch.minimum(biases[-1], biases[:-1].max() - 1)
    biases += SKIP_BIAS - biases[-1]
    biases[-1] = SKIP_BIAS  # the sum may be a rounding away


def _moved(before: Sequence[tuple[Tensor, int]], after: Sequence[tuple[Tensor, int]]) -> float:
    """The mean distance of logits; the largest is that of two experts, where rounding chose the other one."""
    return float(torch.cat([(one - other).abs() for (one, _), (other, _) in zip(before, after, strict=True)]).mean())


def _documents(trained: Trained) -> Iterator[Sequence[int]] | None:
    """The tokens of held-out documents, of one source after the other; None without shards."""
    built = trained.built
    if built is None:
        return None
    held = [name for name, source in built.sources.items() if source.held_out_documents]
    return (document.tokens.tolist() for name in held for document in built.held_out(name))


def _template(trained: Trained) -> Template | None:
    """The template that the model was trained on, where its tokenizer has what it needs."""
    found = template_of(trained.built)
    if any(token not in trained.tokenizer.special for token in found.tokens):
        return None
    return found.bound(trained.tokenizer.special)


def _ends(trained: Trained, template: Template | None) -> tuple[int, ...]:
    ends = [trained.tokenizer.end_of_document]
    if template is not None:
        ends += map(trained.tokenizer.special_id, template.turn_ends)
    return tuple(ends)


def _write_tokenizer(folder: Path, trained: Trained, longest: int, template: Template | None) -> None:
    tokenizer = trained.tokenizer
    data = tokenizer_json.contents(tokenizer)
    documents = _documents(trained) or iter(())
    texts = [
        tokenizer.decode(list(document)[:_TEXT_TOKENS], skip_special=True)
        for document, _ in zip(documents, range(_TEXTS), strict=False)
    ]
    tokenizer_json.check(data, tokenizer, texts)
    with storage.atomic_write(folder / "tokenizer.json") as stream:
        stream.write(data)
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "eos_token": tokenizer.end_of_document_text,
        "pad_token": tokenizer.end_of_document_text,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    _json(folder / "tokenizer_config.json", settings)
    if template is not None:
        with storage.atomic_write(folder / chat_template.FILE) as stream:
            stream.write(chat_template.of(template).encode())


def _provenance(trained: Trained, tokenizer: str, dtype: Dtype, proven: Proof) -> dict[str, Any]:
    contents: Contents = trained.checkpoint.contents
    return {
        "run": contents.run,
        "step": contents.position.step,
        "tokens": contents.position.tokens,
        "model": contents.model.model_dump(mode="json"),
        "history": [asdict(stretch) for stretch in contents.history],
        "shards": contents.shards,
        "tokenizer": tokenizer,
        "tokenizer_hash": contents.tokenizer,
        "end_of_document": trained.tokenizer.end_of_document_text,
        "dtype": dtype,
        "proof": proven.record,
    }


def _json(path: Path, body: dict[str, Any]) -> None:
    with storage.atomic_write(path) as stream:
        stream.write(orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n")

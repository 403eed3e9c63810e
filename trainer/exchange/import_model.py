"""Importing a folder of transformers as a checkpoint: what `midtrain import` does.

Training, evaluation and generation read our checkpoints, so a released model becomes one: the same tensors in the
folder's own types, its tokenizer beside them, and no moments. Costs one tensor in memory at a time, a copy of the
folder on the disk, and a hash pass over it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...mixtures.tokenizers import Tokenizer
from ...tables import Table
from ..checkpoints import checkpoint, checkpoint_folder
from ..checkpoints.checkpoint_manifest import Contents
from ..history import Position, Stretch
from . import imported, weights
from .imported import Imported
from .new_folder import new_folder
from .transformers_config import Skip
from .weights import ModelFolder

PHASE = "import"


@dataclass(frozen=True)
class ImportResult:
    """What was imported: the folder that was read, the checkpoint that was written, its tokenizer."""

    folder: ModelFolder
    checkpoint: Path
    tokenizer: Tokenizer

    @property
    def table(self) -> Table:
        """The result for a person, and as data."""
        model, folder = self.folder.model, self.folder
        skip = folder.skip
        parameters = sum(torch.Size(folder.shape(name)).numel() for name in folder.tensors)
        data: dict[str, Any] = {
            "checkpoint": str(self.checkpoint),
            "layout": folder.layout,
            "skip": skip,
            "parameters": parameters,
            "tensors": len(folder.tensors),
            "max_position_embeddings": folder.max_positions,
            "rope_theta": model.rope_theta,
            "tokenizer": self.tokenizer.hash,
            "end_of_document": self.tokenizer.end_of_document_text,
        }
        meaning = {
            "off": "is never chosen",
            "zero": "adds nothing, as in transformers",
            "identity": "passes its input on, as in Zyphra's own code",
        }
        text = (
            f"{self.checkpoint}: {parameters:,} numbers in {len(folder.tensors):,} tensors, {folder.layout} layout\n"
            f"skip: {skip} (the router's last class {meaning[skip]})\n"
            f"rope_theta {model.rope_theta:g}, up to {folder.max_positions:,} positions\n"
            f"tokenizer {self.tokenizer.hash}, documents end with {self.tokenizer.end_of_document_text}"
        )
        return Table(text, data)


def import_model(
    source: str | Path,
    output: str | Path,
    *,
    skip: Skip | None = None,
    tokenizer: str | None = None,
    end_of_document: str | None = None,
    overwrite: bool = False,
) -> ImportResult:
    """Writes `output/checkpoints/step-00000000`, which `init_from`, eval and generate take as they take a run.

    Args:
        source: a folder of transformers' Zaya, native or legacy.
        output: a new folder.
        skip: what the router's last class does; by default what the code of the folder's layout does.
        tokenizer: a tokenizer file, by default the folder's.
        end_of_document: the token that ends documents, by default the one that is known.
        overwrite: replace an earlier import at `output`.

    Returns:
        What was imported; `output` stands complete or, where anything fails, as it was.

    Raises:
        ConfigError: the folder is another architecture's, quantized, pickled or not what its config says; `output` is
            there already.
        RunError: a file is missing or cut.
    """
    target = Path(output)
    with new_folder(target, imported.NAME, overwrite) as temporary:
        folder = weights.open_folder(source, skip)
        opened = imported.tokenizer_of(folder.path, tokenizer, end_of_document)
        folder.model.with_vocab(opened.vocab_size)
        (temporary / imported.TOKENIZER).mkdir()
        file = opened.write(temporary / imported.TOKENIZER)
        record = Imported(
            source=str(source),
            layout=folder.layout,
            skip=folder.skip,
            tokenizer=file.name,
            end_of_document=opened.end_of_document_text,
        )
        imported.write(temporary, record)
        _write_checkpoint(temporary, folder, opened)
    written = target / checkpoint_folder.FOLDER / "step-00000000"
    return ImportResult(folder, written, opened)


def _write_checkpoint(root: Path, folder: ModelFolder, tokenizer: Tokenizer) -> None:
    tensors = {
        f"model/{name}": torch.empty(folder.shape(name), dtype=folder.dtype(name), device="meta")
        for name in folder.tensors
    }
    trained = Stretch(  # nothing of ours, at the length and base that the weights were left with
        phase=PHASE,
        shards="",
        sequence_length=folder.max_positions,
        batch_sequences=1,
        rope_theta=folder.model.rope_theta,
        first_step=0,
        steps=0,
        first_sequence=0,
        sequences=0,
    )
    contents = Contents(
        run=folder.path.resolve().name,
        model=folder.model,
        shards="",
        tokenizer=tokenizer.hash,
        optimizer="",
        balancing="",
        position=Position(PHASE),
        history=(trained,),
        end_of_phase=True,
    )
    checkpoint.save(root, tensors, contents, 1, read=lambda name: folder.read(name.removeprefix("model/")))

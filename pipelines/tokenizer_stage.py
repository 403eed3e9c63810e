"""The tokenizer of a build: copied from a file, or trained on the first 100 MB of its sources.

A stage like any other, so that tokens are fingerprinted by the bytes of the tokenizer that made them. Training costs
about a second per 10 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from .. import storage
from ..manifest import OutputFile
from ..mixtures.schema import TokenizerSpec
from ..mixtures.tokenizers import Tokenizer, train
from . import footprints
from .curated import Selection
from .held_out_stages import HeldOut
from .stage import LocalStage, Stage, TaskResult

FILE = "tokenizer.json"
DEFAULT_END = "<|end|>"  # of tokenizers that we train


@dataclass(frozen=True)
class BuildTokenizer(LocalStage):
    """One task that leaves `tokenizer.json`."""

    spec: TokenizerSpec
    held_out: HeldOut
    selections: tuple[Selection, ...]

    @property
    def name(self) -> str:
        """`tokenizer`."""
        return "tokenizer"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """What must not be trained on; nothing where the tokenizer is a file."""
        return (self.held_out,) if self.spec.train else ()

    def options(self) -> dict[str, Any]:
        """The file's hash, or the size and the documents it is trained on."""
        if self.spec.path is not None:
            opened = Tokenizer.open(self.spec.path, self.spec.end_of_document)
            return {"hash": opened.hash, "end_of_document": self.spec.end_of_document}
        return {
            "train": self.spec.model_dump(mode="json"),
            "sources": [selection.record() for selection in self.selections],
        }

    def memory(self) -> int:
        """As `footprints.training`; a tokenizer that is a file costs next to nothing."""
        if self.spec.train is None:
            return footprints.WORKER + footprints.SHARDS
        return footprints.training(sum(one.text_bytes for one in self.selections))

    def tasks(self) -> int:
        """One."""
        return 1

    @property
    def path(self) -> Path:
        """Where the tokenizer stands once the stage is done."""
        return self.folder / FILE

    def open(self) -> Tokenizer:
        """The tokenizer, once the stage is done."""
        end = self.spec.end_of_document
        return Tokenizer.open(self.path, end if self.spec.path else end or DEFAULT_END)

    def run(self, task: int) -> TaskResult:
        """Copies or trains it."""
        if self.spec.path is not None:
            given = Tokenizer.open(self.spec.path, self.spec.end_of_document)  # the path may be that of its folder
            with storage.atomic_write(self.path) as stream:
                stream.write(storage.read_bytes(given.path))
        elif self.spec.train is not None:
            train(self._texts(), self.spec.train.vocab_size, self.spec.end_of_document or DEFAULT_END, self.path)
        return TaskResult((OutputFile.of(self.folder, FILE, self.open().vocab_size),), {})

    def _texts(self) -> Iterator[str]:
        for selection in self.selections:
            for part in range(len(selection.parts)):
                for batch in selection.read(part, ["id", "messages", "text"]):
                    kept = pa.array(~self.held_out.contains(batch))
                    yield from batch.filter(kept).column("text").to_pylist()

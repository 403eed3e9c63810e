"""The tokenizer of a build: copied from a file, or trained on the first 100 MB of its sources.

A stage like any other, so that tokens are fingerprinted by the bytes of the tokenizer that made them. Training costs
about a second per 10 MB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..manifest import OutputFile
from ..mixtures.encoders.tokenizer_kinds import FILE_NAMES
from ..mixtures.schema import TokenizerSpec
from ..mixtures.tokenizer_identity import SETTINGS
from ..mixtures.tokenizer_training import train
from ..mixtures.tokenizers import Tokenizer
from . import footprints
from .curated import Selection
from .held_out_stages import HeldOut
from .stage import LocalStage, Stage, TaskResult

DEFAULT_END = "<|end|>"  # of tokenizers that we train


@dataclass(frozen=True)
class BuildTokenizer(LocalStage):
    """One task that leaves the tokenizer's file, and beside one of tiktoken what was named for it."""

    spec: TokenizerSpec
    held_out: HeldOut
    selections: tuple[Selection, ...]
    needed: tuple[str, ...] = ()  # special tokens of templates, as `needed_tokens`, where it is trained

    @property
    def name(self) -> str:
        """`tokenizer`."""
        return "tokenizer"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """What must not be trained on; nothing where the tokenizer is a file."""
        return (self.held_out,) if self.spec.train else ()

    def options(self) -> dict[str, Any]:
        """The file's hash, or the size and the documents it is trained on; and the token that ends documents.

        Whether that one was named or found is no difference, and neither are a path and the names of sources.
        """
        if self.spec.train is None:
            opened = open_given(self.spec)
            return {"hash": opened.hash, "end_of_document": opened.end_of_document_text}
        return {
            "vocab_size": self.spec.train.vocab_size,
            "end_of_document": self.spec.end_of_document or DEFAULT_END,
            "trained_on": [selection.record() for selection in self.selections],
            **({"special_tokens": list(self.needed)} if self.needed else {}),
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
        return self.folder / self.finished().files[0].path

    def open(self) -> Tokenizer:
        """The tokenizer, once the stage is done; a process opens it once."""
        return _opened(self.path, self._end)

    @property
    def _end(self) -> str | None:
        end = self.spec.end_of_document
        return end if self.spec.path else end or DEFAULT_END

    def run(self, task: int) -> TaskResult:
        """Copies or trains it."""
        if self.spec.path is not None:
            path = open_given(self.spec).write(self.folder)
        else:
            path = self.folder / FILE_NAMES["tokenizer.json"]
            size = self.spec.train.vocab_size if self.spec.train else 0
            train(self._texts(), size, self.spec.end_of_document or DEFAULT_END, path, needed=self.needed)
        files = [OutputFile.of(self.folder, path.name, Tokenizer.open(path, self._end).vocab_size)]
        beside = path.with_name(f"{path.name}{SETTINGS}")
        if beside.exists():
            files.append(OutputFile.of(self.folder, beside.name, 0))
        return TaskResult(tuple(files), {})

    def _texts(self) -> Iterator[str]:
        for selection in self.selections:
            for part in range(len(selection.parts)):
                for batch in selection.read(part, ["id", "messages", "text"]):
                    kept = pa.array(~self.held_out.contains(batch))
                    yield from batch.filter(kept).column("text").to_pylist()


def open_given(spec: TokenizerSpec) -> Tokenizer:
    """The tokenizer that a mixture names, with what it names for it.

    Raises:
        ConfigError: no such file, not a tokenizer, or no end of document.
    """
    return Tokenizer.open(str(spec.path), spec.end_of_document, spec.pattern, spec.special_tokens)


@lru_cache(maxsize=2)
def _opened(path: Path, end_of_document: str | None) -> Tokenizer:
    """The file's folder is named by its fingerprint, so it does not change."""
    return Tokenizer.open(path, end_of_document)

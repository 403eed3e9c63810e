"""A built mixture, read: the sequences of each phase by their place, and what was held out.

The one thing that a trainer opens; it knows nothing of curation. Every size is checked against the manifest when it is
opened (a shard cut short is found before the first step); tokens are mapped, and copied once, into the batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from ..manifest import NAME, Manifest
from .order import Order
from .packing import Spans
from .shards import Shards

PADDING = -1  # segment number of tokens that stand for nothing


@dataclass(frozen=True)
class BuiltSource:
    """A source of the mixture: its template (None for plain text), its shards' folder, what was held out of it."""

    name: str
    template: str | None
    tokens: str
    held_out_documents: int


@dataclass(frozen=True)
class BuiltPhase:
    """A phase: the length of its sequences in tokens, how many there are, and what it draws from."""

    name: str
    sequence_length: int
    sequences: int
    source_names: tuple[str, ...]


@dataclass(frozen=True)
class Sequences:
    """Consecutive sequences of a phase, B rows of T tokens.

    `tokens`, `positions`, `segments` int32[B, T]; a segment is a piece of one document, numbered from 0 in its row,
    -1 for padding, and positions count from 0 in it. `loss_mask` bool[B, T]: whether the token is trained as a target.
    `sources` int16[B]: index into the phase's `source_names`. `first_index`: place of the first row in the phase.
    """

    tokens: npt.NDArray[np.int32]
    positions: npt.NDArray[np.int32]
    segments: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.bool_]
    sources: npt.NDArray[np.int16]
    first_index: int


@dataclass(frozen=True)
class HeldOutDocument:
    """A held-out document: tokens uint32[n], which are supervised bool[n], UTF-8 bytes of the supervised text."""

    tokens: npt.NDArray[np.uint32]
    loss: npt.NDArray[np.bool_]
    bytes: int


class Built:
    """A built mixture. Open it with `Built.open`."""

    def __init__(self, root: Path, manifest: Manifest) -> None:
        options: dict[str, Any] = manifest.options
        self.root = root
        self.fingerprint = manifest.fingerprint
        self.tokenizer_path = root / options["tokenizer"]["path"]
        self.tokenizer_hash = str(options["tokenizer"]["hash"])
        self.vocab_size = int(options["tokenizer"]["vocab_size"])
        self.end_of_document = int(options["tokenizer"]["end_of_document"])
        self.end_of_document_text = str(options["tokenizer"]["end_of_document_text"])
        self.dtype = np.dtype(options["tokenizer"]["dtype"])
        self.sources: Mapping[str, BuiltSource] = {
            name: BuiltSource(name, entry["template"], entry["tokens"], entry["held_out_documents"])
            for name, entry in options["sources"].items()
        }
        self.phase_names = tuple(options["phases"])
        self._sizes = {file.path: file.bytes for file in manifest.files}
        self._shards: dict[tuple[str, str], Shards] = {}

    @classmethod
    def open(cls, root: str | Path) -> "Built":
        """Opens the output of `midtrain build`.

        Raises:
            ConfigError: there is none.
            RunError: a file is missing, cut short or longer than it was written.
        """
        folder = Path(root)
        if not (folder / NAME).exists():
            raise ConfigError(f"there are no built shards (no {NAME})", where=str(root), fix="run midtrain build first")
        manifest = Manifest.read(folder)
        if manifest.stage != "build":
            raise ConfigError(
                "the folder holds no built shards", where=str(root), seen=f"an output of {manifest.stage}"
            )
        manifest.check_sizes(folder)
        return cls(folder, manifest)

    @cached_property
    def order(self) -> Order:
        """The order of all phases."""
        return Order.open(self.root, self.phase_names)

    @cached_property
    def phases(self) -> Mapping[str, BuiltPhase]:
        """The phases by name, in the order in which they are trained."""
        found = {}
        for name in self.phase_names:
            phase = self.order.phase(name)
            found[name] = BuiltPhase(name, phase.sequence_length, phase.sequences, phase.sources)
        return found

    def shards(self, source: str, kind: Any = "part") -> Shards:
        """The token shards of a source, or with `kind="held_out"` what was held out of it."""
        key = (source, kind)
        if key not in self._shards:
            prefix = self.sources[source].tokens + "/"
            sizes = {name.removeprefix(prefix): size for name, size in self._sizes.items() if name.startswith(prefix)}
            self._shards[key] = Shards.open(self.root / self.sources[source].tokens, self.dtype, sizes, kind)
        return self._shards[key]

    def batch(self, phase: str, first: int, count: int) -> Sequences:
        """`count` sequences of a phase from place `first` on.

        Raises:
            IndexError: a place outside the phase.
            RunError: an index points outside its shards.
        """
        order = self.order.phase(phase)
        shape = (count, order.sequence_length)
        batch = Sequences(
            np.full(shape, self.end_of_document, np.int32),
            np.zeros(shape, np.int32),
            np.full(shape, PADDING, np.int32),
            np.zeros(shape, np.bool_),
            np.empty(count, np.int16),
            first,
        )
        places = self.order.slice(phase, first, count)
        for row in range(count):
            source = int(places.source[row])
            spans = self.order.index(phase, int(places.pack[row])).sequence(int(places.sequence[row]))
            batch.sources[row] = source
            self._fill(batch, row, self.shards(order.sources[source]), spans, order.loss[source] == "all")
        self._check_vocabulary(batch, phase)
        return batch

    def _check_vocabulary(self, batch: Sequences, phase: str) -> None:
        """A shard damaged at its full length shows here or not at all: its size is right."""
        outside = np.flatnonzero(batch.tokens.max(axis=1, initial=0) >= self.vocab_size)
        if not len(outside):
            return
        row = int(outside[0])
        source = self.order.phase(phase).sources[int(batch.sources[row])]
        raise RunError(
            "a token is outside the vocabulary: the shards were damaged after they were written",
            where=f"{self.root / self.sources[source].tokens}, phase {phase}, sequence {batch.first_index + row}",
            seen=int(batch.tokens[row].max()),
            expected=f"below {self.vocab_size}",
            fix=f"remove {self.sources[source].tokens} and {NAME}, and build again",
        )

    def _fill(self, batch: Sequences, row: int, shards: Shards, spans: Spans, everything: bool) -> None:
        at = 0
        for segment, (part, start, length) in enumerate(spans.tolist()):
            inside = slice(at, at + length)
            batch.tokens[row, inside] = shards.read(part, start, length)
            batch.positions[row, inside] = np.arange(length)
            batch.segments[row, inside] = segment
            batch.loss_mask[row, inside] = True if everything else shards.loss(part, start, length)
            at += length

    def held_out(self, source: str) -> Iterator[HeldOutDocument]:
        """The held-out documents of a source, in the order of their hashes.

        Raises:
            ConfigError: no such source.
        """
        if source not in self.sources:
            raise ConfigError(f"no source is called {source}", where=str(self.root), expected=", ".join(self.sources))
        shards = self.shards(source, "held_out")
        for part in range(len(shards.parts)):
            rows = shards.documents(part, ["start", "tokens", "bytes"])
            for start, length, size in zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True):
                tokens = shards.read(part, start, length).astype(np.uint32)
                yield HeldOutDocument(tokens, shards.loss(part, start, length), size)

    def check_tokenizer(self) -> None:
        """Compares the tokenizer file with the one that made the shards.

        Raises:
            RunError: it was changed.
        """
        from .tokenizers import Tokenizer

        seen = Tokenizer.open(self.tokenizer_path, self.end_of_document_text).hash
        if seen != self.tokenizer_hash:
            raise RunError(
                "the tokenizer is not the one that made the shards",
                where=str(self.tokenizer_path),
                seen=seen,
                expected=self.tokenizer_hash,
                fix="build again",
            )

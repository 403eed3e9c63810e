"""A built mixture, read: the sequences of each phase by their place, and what was held out.

The one thing that a trainer opens; it knows nothing of curation. Every size is checked against the manifest when it is
opened (a shard cut short is found before the first step); tokens are mapped, and copied once, into the batch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError, RunError
from ..manifest import NAME, Manifest
from .order import Order
from .parts_table import TABLES, Kind
from .phases import PhaseRef
from .repair import mending
from .shards import Shards
from .templates import Template
from .tokenizer_identity import Identity
from .windows import ALONE, EVERYTHING, Reader, Sequences, Share, Want

if TYPE_CHECKING:
    from .tokenizers import Tokenizer

VERSION = 4  # of packs, order and manifest; the stages have their own
HISTORY = "history"  # below the output: the manifests that an extension has replaced, by fingerprint


@dataclass(frozen=True)
class BuiltSource:
    """A source of the mixture: its template (None for plain text), its shards' folder, their packing and number.

    `tokens_total` are those of `documents`, `supervised` those of them that count under `loss: assistant`.
    """

    name: str
    template: Template | None
    tokens: str
    pack: Literal["whole", "chunk"]
    too_long: Literal["drop", "error", "split", "trim"]
    parts: int
    documents: int
    ends_of_document: int
    tokens_total: int
    supervised: int
    held_out_documents: int
    min_reasoning: int = 0  # of `too_long: trim`
    licence: str | None = None


@dataclass(frozen=True)
class BuiltPhase:
    """A phase: the length of its sequences in tokens, how many there are, and what it draws from."""

    name: str
    sequence_length: int
    sequences: int
    planned_sequences: int  # more than `sequences` where the phase was cut short by an extension
    source_names: tuple[str, ...]


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
        self.tokenizer = Identity.read(options["tokenizer"], str(root / NAME))
        self.tokenizer_hash = self.tokenizer.hash
        self.vocab_size = self.tokenizer.vocab_size
        self.end_of_document = self.tokenizer.end_of_document
        self.end_of_document_text = self.tokenizer.end_of_document_text
        self.dtype = np.dtype(self.tokenizer.dtype)
        self.sources: Mapping[str, BuiltSource] = {
            name: BuiltSource(name, **{**entry, "template": _template(entry["template"])})
            for name, entry in options["sources"].items()
        }
        self.phase_refs = tuple(PhaseRef(**phase) for phase in options["phases"])
        self.history = tuple(str(fingerprint) for fingerprint in options["history"])
        self._shards: dict[tuple[str, Kind], Shards] = {}

    @classmethod
    def open(cls, root: str | Path) -> "Built":
        """Opens the output of `midtrain build`: its tables, not its parts, but for their sizes where they are few.

        Raises:
            ConfigError: there is none.
            RunError: a file is missing, cut short or longer than it was written, the tokenizer's is another one, or
                another version of the format was written.
        """
        folder = Path(root)
        if not (folder / NAME).exists():
            raise ConfigError(f"there are no built shards (no {NAME})", where=str(root), fix="run midtrain build first")
        manifest = Manifest.read(folder)
        if manifest.stage != "build":
            raise ConfigError(
                "the folder holds no built shards", where=str(root), seen=f"an output of {manifest.stage}"
            )
        try:
            return cls._checked(folder, manifest)
        except RunError:
            if Manifest.find(folder) in (None, manifest):
                raise
        return cls.open(folder)  # another result has replaced it meanwhile

    def before(self, fingerprint: str) -> "Built | None":
        """The build that this one extends, as it was before; None where its manifest is not kept.

        Args:
            fingerprint: one of `history`.

        Raises:
            RunError: as `open`; some of its files are gone.
        """
        manifest = Manifest.find(self.root / HISTORY, f"{fingerprint}.json")
        return None if manifest is None else self._checked(self.root, manifest)

    @classmethod
    def _checked(cls, folder: Path, manifest: Manifest) -> "Built":
        if manifest.version != VERSION:
            raise RunError(
                "the shards were built by another version of midtrain",
                where=str(folder / NAME),
                seen=f"version {manifest.version}",
                expected=f"version {VERSION}",
                fix="run midtrain build again",
            )
        manifest.check_sizes(folder)
        built = cls(folder, manifest)
        built.tokenizer.check_file(built.tokenizer_path)
        for source in built.sources:
            built.shards(source)
            built.shards(source, "held_out")
        for name in built.phases:
            for number in range(len(built.order.phase(name).indexes)):
                built.order.index(name, number)
        return built

    def __reduce__(self) -> tuple[object, ...]:
        # Files are mapped anew in another process, if they are still those of this build or what it was extended to.
        return _reopened, (self.root, self.fingerprint)

    @cached_property
    def order(self) -> Order:
        """The order of all phases."""
        return Order.open(self.root, self.phase_refs, self.shards)

    @cached_property
    def phases(self) -> Mapping[str, BuiltPhase]:
        """The phases by name, in the order in which they are trained."""
        found = {}
        for ref in self.phase_refs:
            phase = self.order.phase(ref.name)
            found[ref.name] = BuiltPhase(ref.name, phase.sequence_length, phase.sequences, phase.planned, phase.sources)
        return found

    def shards(self, source: str, kind: Kind = "part") -> Shards:
        """The token shards of a source, or with `kind="held_out"` what was held out of it.

        Raises:
            RunError: files are missing or changed their size, or the table is not the one that was built.
        """
        key = (source, kind)
        if key not in self._shards:
            entry = self.sources[source]
            found = Shards.open(self.root / entry.tokens, self.dtype, kind)
            seen = int(found.part_documents.sum()), int(found.part_tokens.sum())
            if entry.ends_of_document != entry.documents:
                raise RunError(
                    f"source {source} has not as many end-of-document tokens as documents",
                    where=str(self.root / NAME),
                    seen=f"{entry.ends_of_document:,} of {self.end_of_document_text}",
                    expected=f"{entry.documents:,} documents",
                    fix=mending(self.root, f"{entry.tokens}/{TABLES[kind]}"),
                )
            if kind == "part" and seen != (entry.documents, entry.tokens_total):
                raise RunError(
                    "the table of the parts is not the one that was built",
                    where=str(found.folder / TABLES[kind]),
                    seen=f"{seen[0]:,} documents, {seen[1]:,} tokens",
                    expected=f"{entry.documents:,} documents, {entry.tokens_total:,} tokens",
                    fix=mending(self.root, f"{entry.tokens}/{TABLES[kind]}"),
                )
            self._shards[key] = found
        return self._shards[key]

    def extends(self, shards: str, phase: str, sequences: int) -> bool:
        """Whether these go on from other shards, and the first sequences of a phase are what they were there.

        Args:
            shards: the others' fingerprint.
            phase: name of a phase.
            sequences: how many of it matter.
        """
        before = Manifest.find(self.root / HISTORY, f"{shards}.json") if shards in self.history else None
        if before is None:
            return False
        was = {ref["name"]: ref["order"] for ref in before.options["phases"]}
        now = {ref.name: ref for ref in self.phase_refs}
        return phase in now and was.get(phase) == now[phase].order and sequences <= now[phase].sequences

    def batch(self, phase: str, first: int, count: int) -> Sequences:
        """`count` sequences of a phase from place `first` on.

        Raises:
            IndexError: a place outside the phase.
            RunError: an index points outside its shards, or a token is outside the vocabulary.
        """
        reader = self._reader(phase, first, first + count)
        return reader.copy(reader.window(np.arange(first, first + count)), 0, count, first)

    def batches(
        self,
        phase: str,
        first: int,
        sequences: int,
        *,
        stop: int | None = None,
        share: Share = ALONE,
        want: Want = EVERYTHING,
    ) -> Iterator[Sequences]:
        """The batches of a phase from a place on, at the speed of memory; nothing is shared between two calls.

        Args:
            phase: its name.
            first: place of the first sequence of the first batch.
            sequences: of a batch, of all ranks together; the last may have fewer.
            stop: place behind the last sequence, the phase's end by default.
            share: what of each batch is read here.
            want: which arrays are made.

        Raises:
            IndexError: a place outside the phase.
            RunError: as `batch`.
        """
        end = self.phases[phase].sequences if stop is None else stop
        return self._reader(phase, first, end).batches(first, end, sequences, share, want)

    def _reader(self, phase: str, first: int, stop: int) -> Reader:
        sequences = self.order.phase(phase).sequences
        if not 0 <= first <= stop <= sequences:
            raise IndexError(f"places {first:,} to {stop:,} of phase {phase} with {sequences:,} sequences")
        return Reader(self.root, self.order, phase, self.shards, self.vocab_size, self.end_of_document)

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

    def open_tokenizer(self) -> "Tokenizer":
        """The tokenizer that made the shards.

        Raises:
            RunError: its file was changed, or gives other ids for special tokens; names both.
        """
        from .tokenizers import Tokenizer

        self.tokenizer.check_file(self.tokenizer_path)
        opened = Tokenizer.open(self.tokenizer_path, self.end_of_document_text)
        self.tokenizer.check(opened)
        return opened


def _template(record: Mapping[str, Any] | None) -> Template | None:
    return None if record is None else Template.of_record(record)


def _reopened(root: Path, fingerprint: str) -> Built:
    built: Built | None = Built.open(root)
    if built is not None and fingerprint in built.history:
        built = built.before(fingerprint)
    if built is None or built.fingerprint != fingerprint:
        raise RunError(
            "the mixture was built anew while it was read",
            where=str(root),
            seen="other shards",
            expected=fingerprint,
            fix="start again: a run reads one build",
        )
    return built

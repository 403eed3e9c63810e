"""Documents to token shards: encoded where they lie, exchanged by the hash of their ids, written in its order.

The order of xxh3-128(id) is the shuffle, and makes shards a function of the documents alone: files, cuts, workers and
partitions cannot change them. Texts go from the Arrow column into the tokenizer and ids into Arrow again, without a
Python object for either. Costs the tokenizer's time (about 15 to 60 MB of web text per second of one core) and one pass
of the tokens through files.
"""

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import RunError
from ..manifest import Manifest, OutputFile
from ..mixtures import shard_writer
from ..mixtures.parts_table import TABLES, Kind, part_records, stem_of, write_table
from ..mixtures.shards import DOCUMENTS
from ..mixtures.templates import Message, Rendered, Template
from ..mixtures.tokenizers import Tokenizer
from ..mixtures.tokens import Tokens
from . import encoded, exchange, footprints
from .curated import Selection
from .held_out_stages import HeldOut
from .stage import LocalStage, Stage, Tally, TaskResult
from .token_stages import ReadTokens
from .tokenizer_stage import BuildTokenizer

PARTITION_BYTES = 1 << 27  # text; a byte is at most one token, so a part stays under its 2^28 tokens
DOCUMENT_BYTES = 32  # what a template's roles and special tokens add to a short conversation, counted as text
COLUMNS = ("id", "source", "url", "text", "messages")


@dataclass(frozen=True)
class Tokenize(LocalStage):
    """The tokens of one source's documents, one task a part, grouped by hash range."""

    version: ClassVar[int] = 3
    scratch: ClassVar[bool] = True
    selection: Selection
    tokenizer: BuildTokenizer
    held_out: HeldOut
    template: Template | None

    @property
    def name(self) -> str:
        """`tokenize-<source>`."""
        return f"tokenize-{self.selection.source.name}"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The tokenizer and the held-out keys."""
        return (self.tokenizer, self.held_out)

    def options(self) -> dict[str, Any]:
        """The selection and the template, whatever the name of its file."""
        template = None if self.template is None else self.template.record()
        if template is not None and template["jinja"] is not None:
            template["name"] = ""
        return {**self.selection.record(), "template": template}

    def memory(self) -> int:
        """As `footprints.encoding`, of the largest part."""
        return footprints.encoding(self.selection.largest[0])

    def tasks(self) -> int:
        """One a part."""
        return len(self.selection.parts)

    def partitions(self) -> int:
        """From the bytes of text and the number of documents alone."""
        documents = sum(part.rows for part in self.selection.parts)
        return max(1, -(-(self.selection.text_bytes + DOCUMENT_BYTES * documents) // PARTITION_BYTES))

    def run(self, task: int) -> TaskResult:
        """Encodes a part."""
        tokenizer = self.tokenizer.open()
        template = None if self.template is None else tokenizer.check(self.template)
        batches = [self._encoded(batch, tokenizer, template) for batch in self.selection.read(task, COLUMNS)]
        return encoded.write(self.folder, task, batches, self.partitions())

    def _encoded(self, batch: pa.RecordBatch, tokenizer: Tokenizer, template: Template | None) -> pa.RecordBatch:
        ids = batch.column("id").to_pylist()
        tokens = self._tokens(batch, ids, tokenizer, template)
        held_out = self.held_out.contains(batch)
        given = batch.column("id"), batch.column("source"), batch.column("url")
        return encoded.rows(*given, held_out, tokens, tokenizer.dtype)

    def _tokens(self, batch: pa.RecordBatch, ids: list[str], tokenizer: Tokenizer, template: Template | None) -> Tokens:
        if template is None:
            try:
                return tokenizer.encode_column(batch.column("text"), ids)
            except RunError as error:
                raise self._of_source(error) from None
        turns = batch.column("messages").to_pylist()
        rendered = [self._rendered(template, *document) for document in zip(ids, turns, strict=True)]
        try:
            return tokenizer.encode_rendered(rendered, ids)
        except RunError as error:
            raise self._of_source(error) from None

    def _rendered(self, template: Template, identity: str, turns: list[dict[str, Any]] | None) -> Rendered:
        if not turns:
            raise RunError(
                "the source has a template, but a document has no messages",
                where=f"source {self.selection.source.name}, document {identity}",
                fix="read it with format: reasoning, or leave template out",
            )
        messages = [Message(turn["role"], turn["content"], turn["reasoning"]) for turn in turns]
        try:
            return template.render(messages)
        except RunError as error:
            raise self._of_source(error, f"document {identity}") from None

    def _of_source(self, error: RunError, document: str = "") -> RunError:
        where = f"source {self.selection.source.name}, {document or error.where}"
        return RunError(error.what, where=where, seen=error.seen, expected=error.expected, fix=error.fix)


@dataclass(frozen=True)
class WriteShards(LocalStage):
    """The shards of one source, one task a hash range: `part-NNNNN.*` and `held_out-NNNNN.*`, and their tables."""

    version: ClassVar[int] = 4
    encoded: Tokenize | ReadTokens

    @property
    def name(self) -> str:
        """The mixture's source."""
        return self.encoded.selection.source.name

    @property
    def group(self) -> str:
        """`tokens`."""
        return "tokens"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The encoded documents, and what those are made with: they are gone when the build is done."""
        return (self.encoded, *self.encoded.parents)

    def options(self) -> dict[str, Any]:
        """Those of the encoded documents, for the same reason."""
        return self.encoded.options()

    def request(self) -> dict[str, Any]:
        """What packs and order depend on."""
        source = self.encoded.selection.source
        own: dict[str, Any] = {"tokens": self.fingerprint, "pack": source.packing, "too_long": source.too_long}
        if source.too_long == "trim":
            own["min_reasoning"] = source.min_reasoning
        if source.too_long in ("trim", "drop"):
            own["max_lost"] = source.max_lost
        return own

    def memory(self) -> int:
        """As `footprints.writing_shards`, of an even share of what was exchanged."""
        exchanged = sum(file.bytes for file in self.encoded.finished().files)
        return footprints.writing_shards(exchanged // self.encoded.partitions())

    def tasks(self) -> int:
        """One a hash range."""
        return self.encoded.partitions()

    def run(self, task: int) -> TaskResult:
        """Sorts the documents of a hash range and writes their tokens."""
        paths = [self.encoded.folder / file.path for file in self.encoded.finished().files]
        rows = exchange.read(paths, task, encoded.ENCODED)
        rows = rows.sort_by([("high", "ascending"), ("low", "ascending"), ("content", "ascending")])
        self._check_once(rows)
        held_out = rows.column("held_out")
        files: list[OutputFile] = []
        counts: dict[str, Any] = {"documents": rows.num_rows, "first_high": {}}
        kinds: tuple[tuple[Kind, Any], ...] = (("part", pc.invert(held_out)), ("held_out", held_out))
        for kind, mask in kinds:
            number, chosen = self._number(kind, task), rows.filter(mask).combine_chunks()
            written, counted = self._write(stem_of(kind, number), chosen)
            files.extend(written)
            counts[kind] = {"documents": chosen.num_rows, **counted}
            if chosen.num_rows:
                counts["first_high"][kind] = {f"{number:05d}": chosen.column("high")[0].as_py()}
        return TaskResult(tuple(files), counts)

    def _check_once(self, rows: pa.Table) -> None:
        """Of several outputs no two may hold the same document: it would be trained on twice an epoch.

        Raises:
            RunError: two documents have one id and the same tokens.
        """
        source = self.encoded.selection.source
        if len(source.outputs) < 2 or rows.num_rows < 2:
            return
        keys = np.stack([rows.column(name).to_numpy() for name in ("high", "low", "content")])
        again = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(axis=0))
        if len(again):
            first = rows.column("id")[int(again[0])].as_py()
            raise RunError(
                f"source {self.name}: its outputs hold the same documents, which would be there twice",
                where=", ".join(source.outputs),
                seen=f"{len(again):,} in one of {self.tasks():,} ranges, such as {first}",
                expected="each document in one of them",
                fix="take one of the outputs out, or curate both as one and let exact_dedup drop the copies",
            )

    def complete(self, total: Tally) -> Manifest:
        """Writes the tables of the parts, what trimming has to know of the vocabulary, then the manifest."""
        itemsize = self.encoded.tokenizer.open().dtype.itemsize
        for kind, name in TABLES.items():
            records = part_records(kind, total.files, total.counts["first_high"].get(kind, {}), itemsize)
            write_table(self.folder, kind, records)
            total.files.append(OutputFile.of(self.folder, name, len(records)))
        if self.encoded.template is not None:
            inside = self.encoded.tokenizer.open().inside_characters
            path = shard_writer.write_inside_characters(self.folder, inside)
            total.files.append(OutputFile.of(self.folder, path.name, len(inside)))
        return super().complete(total)

    @cached_property
    def _occupied(self) -> dict[str, list[int]]:
        """The hash ranges that hold documents of each kind, ascending."""
        ranges = self.encoded.finished().counts["ranges"]
        return {kind: sorted(map(int, found)) for kind, found in ranges.items()}

    def _number(self, kind: str, task: int) -> int:
        """Parts are numbered without gaps, and a range that holds no document of a kind has no part of it."""
        return bisect_left(self._occupied.get(kind, []), task)

    def _write(self, stem: str, rows: pa.Table) -> tuple[list[OutputFile], dict[str, int]]:
        """The files of a part, its tokens, how many of them end a document, and how many are trained."""
        if rows.num_rows == 0:
            return [], {"ends_of_document": 0, "tokens": 0, "supervised": 0}
        tokenizer = self.encoded.tokenizer.open()
        data, offsets = encoded.bytes_of(rows.column("tokens"))
        ends = offsets[1:] // tokenizer.dtype.itemsize
        starts = offsets[:-1] // tokenizer.dtype.itemsize
        documents = pa.table(
            [
                rows.column("id"),
                pa.array([self.name] * rows.num_rows),
                rows.column("source"),
                rows.column("url"),
                pa.array(starts.astype(np.uint64)),
                pa.array((ends - starts).astype(np.uint32)),
                rows.column("bytes"),
                rows.column("spans"),
            ],
            schema=DOCUMENTS,
        )
        ids = np.frombuffer(data, tokenizer.dtype.newbyteorder("<")).astype(np.uint32)
        loss = encoded.loss_of(rows.column("loss"), ends - starts)
        paths = shard_writer.write_part(
            self.folder,
            stem,
            tokenizer.dtype,
            ids,
            ends.astype(np.uint64),
            loss,
            documents,
            end_of_document=tokenizer.end_of_document,
        )
        entries = [OutputFile.of(self.folder, path.name, rows.num_rows) for path in paths]
        closed = int(np.count_nonzero(ids == tokenizer.end_of_document))
        return entries, {"ends_of_document": closed, "tokens": len(ids), "supervised": int(np.count_nonzero(loss))}

"""Documents to token shards: encoded where they lie, exchanged by the hash of their ids, written in its order.

The order of xxh3-128(id) is the shuffle, and makes shards a function of the documents alone: files, cuts, workers and
partitions cannot change them. Costs the tokenizer's time (about 5 to 20 MB of text per second of one core) and one
pass of the tokens through files.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from ..errors import RunError
from ..manifest import OutputFile
from ..mixtures import shard_writer, templates
from ..mixtures.shards import DOCUMENTS
from ..mixtures.tokenizers import Tokenizer
from ..mixtures.tokens import Tokens
from . import exchange, footprints
from .curated import Selection
from .held_out_stages import HeldOut
from .stage import LocalStage, Stage, TaskResult
from .tokenizer_stage import BuildTokenizer

PARTITION_BYTES = 1 << 27  # text; a byte is at most one token, so a part stays under its 2^28 tokens
DOCUMENT_BYTES = 32  # what a template's roles and special tokens add to a short conversation, counted as text
COLUMNS = ("id", "source", "url", "text", "messages")
ENCODED = pa.schema(
    [
        pa.field("high", pa.uint64()),
        pa.field("low", pa.uint64()),
        pa.field("content", pa.uint64()),
        pa.field("held_out", pa.bool_()),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("url", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("tokens", pa.large_binary()),
        pa.field("loss", pa.large_binary()),
    ]
)


@dataclass(frozen=True)
class Tokenize(LocalStage):
    """The tokens of one source's documents, one task a part, grouped by hash range."""

    scratch: ClassVar[bool] = True
    selection: Selection
    tokenizer: BuildTokenizer
    held_out: HeldOut

    @property
    def name(self) -> str:
        """`tokenize-<source>`."""
        return f"tokenize-{self.selection.source.name}"

    @property
    def parents(self) -> tuple[Stage, ...]:
        """The tokenizer and the held-out keys."""
        return (self.tokenizer, self.held_out)

    def options(self) -> dict[str, Any]:
        """The selection and the template."""
        return {**self.selection.record(), "template": self.selection.source.template}

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
        batches = [self._encoded(batch, tokenizer) for batch in self.selection.read(task, COLUMNS)]
        rows = pa.concat_batches(batches or [pa.RecordBatch.from_pylist([], schema=ENCODED)])
        partitions = self.partitions()
        high = rows.column("high").to_numpy() >> np.uint64(32)
        partition = (high * np.uint64(partitions)) >> np.uint64(32)
        file = exchange.write(self.folder, f"tokens-{task:05d}.arrow", rows, partition.astype(np.int64), partitions)
        size = int(pc.sum(rows.column("bytes")).as_py() or 0)
        counts = {"documents": rows.num_rows, "kept": rows.num_rows, "bytes": size}
        return TaskResult((file,), {**counts, "ranges": _ranges(partition, rows.column("held_out"))})

    def _encoded(self, batch: pa.RecordBatch, tokenizer: Tokenizer) -> pa.RecordBatch:
        ids = batch.column("id").to_pylist()
        tokens = self._tokens(batch, ids, tokenizer)
        digests = [xxhash.xxh3_128_intdigest(identity.encode()) for identity in ids]
        width = tokenizer.dtype.itemsize
        ends = np.concatenate([np.zeros(1, np.int64), tokens.ends.astype(np.int64)])
        data = tokens.ids.astype(tokenizer.dtype.newbyteorder("<")).tobytes()
        binary = _binary(data, ends * width)
        content = [xxhash.xxh3_64_intdigest(data[a * width : b * width]) for a, b in pairwise(ends.tolist())]
        columns = [
            pa.array(np.array([digest >> 64 for digest in digests], np.uint64)),
            pa.array(np.array([digest & (2**64 - 1) for digest in digests], np.uint64)),
            pa.array(np.array(content, np.uint64)),
            pa.array(self.held_out.contains(batch)),
            batch.column("id"),
            batch.column("source"),
            batch.column("url"),
            pa.array(tokens.trained_bytes),
            binary,
            _binary(tokens.loss.tobytes(), ends),
        ]
        return pa.record_batch(columns, schema=ENCODED)

    def _tokens(self, batch: pa.RecordBatch, ids: list[str], tokenizer: Tokenizer) -> Tokens:
        template = self.selection.source.template
        if template is None:
            return self._encoded_texts(batch.column("text").to_pylist(), ids, tokenizer)
        turns = batch.column("messages").to_pylist()
        rendered = [self._rendered(template, *document) for document in zip(ids, turns, strict=True)]
        return tokenizer.encode_rendered(rendered, ids)

    def _encoded_texts(self, texts: list[str], ids: list[str], tokenizer: Tokenizer) -> Tokens:
        try:
            return tokenizer.encode_texts(texts)
        except RunError:
            for identity, text in zip(ids, texts, strict=True):
                try:
                    tokenizer.encode_texts([text])
                except RunError as error:  # together, it named a place in the batch
                    raise self._of_document(error, identity) from None
            raise

    def _rendered(self, template: str, identity: str, turns: list[dict[str, Any]] | None) -> templates.Rendered:
        if not turns:
            raise RunError(
                "the source has a template, but a document has no messages",
                where=f"source {self.selection.source.name}, document {identity}",
                fix="read it with format: reasoning, or leave template out",
            )
        messages = [templates.Message(turn["role"], turn["content"], turn["reasoning"]) for turn in turns]
        try:
            return templates.render(template, messages)
        except RunError as error:
            raise self._of_document(error, identity) from None

    def _of_document(self, error: RunError, identity: str) -> RunError:
        where = f"source {self.selection.source.name}, document {identity}"
        return RunError(error.what, where=where, seen=error.seen, expected=error.expected, fix=error.fix)


@dataclass(frozen=True)
class WriteShards(LocalStage):
    """The shards of one source, one task a hash range: `part-NNNNN.*` and `held_out-NNNNN.*`."""

    encoded: Tokenize

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
        """The encoded documents."""
        return (self.encoded,)

    def options(self) -> dict[str, Any]:
        """Nothing of its own."""
        return {}

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
        rows = exchange.read(paths, task, ENCODED)
        rows = rows.sort_by([("high", "ascending"), ("low", "ascending"), ("content", "ascending")])
        held_out = rows.column("held_out")
        files: list[OutputFile] = []
        counts: dict[str, Any] = {"documents": rows.num_rows}
        for kind, mask in (("part", pc.invert(held_out)), ("held_out", held_out)):
            chosen = rows.filter(mask).combine_chunks()
            written, tokens = self._write(f"{kind}-{self._number(kind, task):05d}", chosen)
            files.extend(written)
            counts[kind] = {"documents": chosen.num_rows, "tokens": tokens}
        return TaskResult(tuple(files), counts)

    def _number(self, kind: str, task: int) -> int:
        """Parts are numbered without gaps, and a range that holds no document of a kind has no part of it."""
        return sum(int(key) < task for key in self.encoded.finished().counts["ranges"].get(kind, {}))

    def _write(self, stem: str, rows: pa.Table) -> tuple[list[OutputFile], int]:
        if rows.num_rows == 0:
            return [], 0
        tokenizer = self.encoded.tokenizer.open()
        data, offsets = _bytes_of(rows.column("tokens"))
        loss, _ = _bytes_of(rows.column("loss"))
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
            ],
            schema=DOCUMENTS,
        )
        ids = np.frombuffer(data, tokenizer.dtype.newbyteorder("<")).astype(np.uint32)
        paths = shard_writer.write_part(
            self.folder,
            stem,
            tokenizer.dtype,
            ids,
            ends.astype(np.uint64),
            np.frombuffer(loss, np.bool_),
            documents,
            end_of_document=tokenizer.end_of_document,
        )
        return [OutputFile.of(self.folder, path.name, rows.num_rows) for path in paths], len(ids)


def _ranges(partition: npt.NDArray[Any], held_out: pa.Array) -> dict[str, dict[str, int]]:
    """Documents of each kind in each hash range, those without any left out."""
    mask = held_out.to_numpy(zero_copy_only=False).astype(np.bool_)
    counted = {kind: np.unique(partition[of], return_counts=True) for kind, of in (("part", ~mask), ("held_out", mask))}
    return {
        kind: {f"{number:05d}": count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)}
        for kind, (numbers, counts) in counted.items()
    }


def _binary(data: bytes, offsets: npt.NDArray[np.int64]) -> pa.Array:
    """Values cut out of one buffer: large_binary[n] for n + 1 offsets."""
    buffers = [None, pa.py_buffer(offsets.astype(np.int64).tobytes()), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _bytes_of(column: pa.ChunkedArray) -> tuple[bytes, npt.NDArray[np.int64]]:
    """All values of a column joined, and their n + 1 offsets."""
    values = column.combine_chunks()
    array = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
    _, offsets, data = array.buffers()
    bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return data.to_pybytes()[bounds[0] : bounds[-1]], bounds - bounds[0]

"""A few megabytes of a source, tokenized: what a plan of a mixture knows of documents that are not tokens yet.

Texts are looked through without being tokenized, all of them up to 256 MiB and evenly spread parts above that, so that
what `where` selects is counted, and every document is as likely to be among the few that are tokenized. Costs about a
second a source.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..mixtures.plans.sampled import SampledTokens
from ..mixtures.schema import MixtureSource
from ..mixtures.templates import Message, Template
from ..mixtures.tokenizer_training import train
from ..mixtures.tokenizers import Tokenizer
from ..mixtures.tokens import Tokens
from ..mixtures.trimming import Text, Trimmed, trim
from .curated import Selection
from .tokenizer_stage import DEFAULT_END, BuildTokenizer, open_given

LOOK_BYTES = 256 << 20  # of text that are looked through of a source
SAMPLE_BYTES = 4 << 20  # of text that are kept of it, at least, where there are as many; at most twice that
COLUMNS = ("id", "text", "messages")


@dataclass(frozen=True)
class Texts:
    """Some documents of a source, and what was seen of it.

    Args:
        selection: the source.
        documents: the rows that were kept, each as likely as any other.
        looked: bytes of text that were looked through.
        selected: bytes of text and documents of what is selected among them.
    """

    selection: Selection
    documents: pa.Table
    looked: int
    selected: tuple[int, int]

    def total(self) -> tuple[int, int]:
        """Bytes of text and documents that the source selects, estimated; exact where all was looked through."""
        scale = self.selection.text_bytes / self.looked if self.looked else 0.0
        return round(self.selected[0] * scale), round(self.selected[1] * scale)


def look(selection: Selection) -> Texts:
    """Looks through a source.

    Raises:
        RunError: a file is gone or damaged.
    """
    kept: list[pa.RecordBatch] = []
    looked = size = documents = held = 0
    stride, skip = 1, 0
    for part in _spread(selection):
        for batch, read in selection.scan(part, COLUMNS):
            lengths = pc.binary_length(batch.column("text"))
            looked, size = looked + read, size + int(pc.sum(lengths).as_py() or 0)
            chosen = batch.take(pa.array(np.arange((skip - documents) % stride, batch.num_rows, stride)))
            documents += batch.num_rows
            kept.append(chosen)
            held += int(pc.sum(pc.binary_length(chosen.column("text"))).as_py() or 0)
            while held > 2 * SAMPLE_BYTES and sum(one.num_rows for one in kept) > 1:
                table = pa.Table.from_batches(kept)
                table = table.take(pa.array(np.arange(0, table.num_rows, 2)))
                kept, stride = table.to_batches(), 2 * stride
                held = int(pc.sum(pc.binary_length(table.column("text"))).as_py() or 0)
    schema = pa.schema([("id", pa.string()), ("text", pa.large_string())])
    return Texts(selection, pa.Table.from_batches(kept) if kept else schema.empty_table(), looked, (size, documents))


def _spread(selection: Selection) -> list[int]:
    """The parts that are looked through: all, or evenly spread ones of about LOOK_BYTES."""
    count = len(selection.parts)
    wanted = count if selection.text_bytes <= LOOK_BYTES else max(1, count * LOOK_BYTES // selection.text_bytes)
    return [(2 * number + 1) * count // (2 * wanted) for number in range(wanted)]


def tokenizer_for(stage: BuildTokenizer, sampled: Sequence[Texts]) -> tuple[Tokenizer, bool]:
    """The mixture's tokenizer; where it is not trained yet, one that is trained on every other document of the samples.

    Returns:
        It, and whether it was trained here.
    """
    if stage.manifest() is not None:
        return stage.open(), False
    if stage.spec.train is None:
        return open_given(stage.spec), False
    named = {id(selection) for selection in stage.selections}
    texts = [
        text for one in sampled if id(one.selection) in named for text in one.documents.column("text").to_pylist()[::2]
    ]
    with TemporaryDirectory(prefix="midtrain-plan-") as folder:
        end = stage.spec.end_of_document or DEFAULT_END
        path = Path(folder) / "tokenizer.json"
        return train(iter(texts), stage.spec.train.vocab_size, end, path, needed=stage.needed), True


def estimate(texts: Texts, tokenizer: Tokenizer, template: Template | None) -> SampledTokens:
    """Tokens of a source from its sample.

    A tokenizer that was trained on half of a sample cuts that half better and the other worse than one of all texts
    would: all of the sample counts.
    """
    source, rows = texts.selection.source, texts.documents
    tokens = _tokens(rows, tokenizer, template)
    ends = tokens.ends.astype(np.int64)
    lengths = np.diff(ends, prepend=0)
    size, documents = texts.total()
    sampled = int(pc.sum(pc.binary_length(rows.column("text"))).as_py() or 0)
    last = len(lengths)  # a document's last token does not grow with its text
    each = (int(lengths.sum()) - last) / sampled if sampled else 0.0
    left = 1.0 - _held_out(source, documents)
    return SampledTokens(
        source.name,
        lengths,
        round(documents * left),
        round((each * size + documents) * left),
        source.packing,
        source.too_long,
        _trimming(tokens, tokenizer, source.min_reasoning) if source.too_long == "trim" else None,
        source.max_lost,
    )


def _trimming(tokens: Tokens, tokenizer: Tokenizer, min_reasoning: int) -> Callable[[int], Trimmed]:
    """Trims the sample to a number of tokens."""
    spans, ends = tokens.spans, tokens.ends.astype(np.int64)
    assert spans is not None  # noqa: S101 - a source that is trimmed has a template
    mask, inside = (np.packbits(bits, bitorder="little") for bits in (tokens.loss, tokenizer.inside_characters))
    text = Text(tokens.ids, mask, inside)
    return lambda limit: trim(ends, spans, text, limit, min_reasoning)


def _held_out(source: MixtureSource, documents: int) -> float:
    """The share of its documents that a source holds out."""
    if isinstance(source.held_out, float):
        return source.held_out
    return min(1.0, source.held_out / documents) if documents else 0.0


def _tokens(rows: pa.Table, tokenizer: Tokenizer, template: Template | None) -> Tokens:
    """The documents, each with its end."""
    ids = rows.column("id").to_pylist()
    if template is None:
        return tokenizer.encode_column(rows.column("text").combine_chunks(), ids)
    turns: list[Any] = [
        [Message(one["role"], one["content"], one["reasoning"]) for one in document or ()]
        for document in rows.column("messages").to_pylist()
    ]
    bound = tokenizer.check(template)
    return tokenizer.encode_rendered([bound.render(one) for one in turns], ids)

"""Trimming real long traces to 512 and 1,024 tokens: records a second of one core, what is trimmed, and what is kept.

The records are the traces of r1_distill_long_think that have an answer, 125 times each and each time from another
place on, every seventh with an earlier turn; as chatml they are tokens of a vocabulary trained on them, in shards.
Measured is what packing asks for, the spans out of Parquet and then the kernel, and packing with it, which places the
ranges: user time, medians of five times ten. Costs a minute, most of it the tokenizer's.
"""

import argparse
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from midtrain.manifest import OutputFile
from midtrain.mixtures import shard_writer
from midtrain.mixtures.packs.packing import document_spans, pack_trimmed
from midtrain.mixtures.parts_table import Kind, part_records, stem_of, write_table
from midtrain.mixtures.shards import DOCUMENTS, Shards
from midtrain.mixtures.templates import Message, render
from midtrain.mixtures.text_spans import PARTS
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.mixtures.tokens import Tokens
from midtrain.mixtures.trimming import Trimmed, Trimming
from rows import Row, heading, show, write
from slices import records_of, user_seconds

COPIES = 125
LENGTHS = (512, 1024)
TARGET = 10_000.0  # records a second
ROUNDS, TIMES = 5, 10
LEAST = 64  # tokens of the last reasoning that stay
END = "<|endoftext|>"
WORDS = 16_384
BATCH = 2_000  # records that are encoded at once


def traces(path: Path) -> list[tuple[str, str]]:
    """Reasoning and answer of each trace that has both."""
    found = []
    for record in records_of(path):
        reasoning, _, answer = record["text"].removeprefix("<think>").partition("</think>")
        if reasoning.strip() and answer.strip():
            found.append((reasoning.strip(), answer.strip()))
    return found


def talks(known: Sequence[tuple[str, str]], copies: int) -> Iterator[list[Message]]:
    """The traces with a question, again and again: each time they begin elsewhere in their first tenth."""
    draw = random.Random(9)
    for number in range(copies * len(known)):
        reasoning, answer = known[number % len(known)]
        begin = draw.randrange(len(reasoning) // 10) if number >= len(known) else 0
        turns = [Message("user", f"Solve problem {number:,}."), Message("assistant", answer, reasoning[begin:])]
        if number % 7 == 0:
            other = known[draw.randrange(len(known))]
            turns = [Message("user", "One before."), Message("assistant", other[1][:200], other[0][:1500]), *turns]
        yield turns


def write_shards(folder: Path, tokenizer: Tokenizer, batches: Sequence[Tokens]) -> None:
    """One part, in the format of a build."""
    ids = np.concatenate([one.ids for one in batches])
    before = np.cumsum([0, *(len(one.ids) for one in batches[:-1])]).astype(np.uint64)
    ends = np.concatenate([one.ends + first for one, first in zip(batches, before, strict=True)])
    starts = np.concatenate([np.zeros(1, np.uint64), ends[:-1]])
    spans = pa.chunked_array([one.spans.column() for one in batches if one.spans is not None])
    names = [f"r{number}" for number in range(len(ends))]
    columns = [names, ["traces"] * len(ends), ["r1"] * len(ends), pa.nulls(len(ends), pa.string())]
    sizes = np.concatenate([one.trained_bytes for one in batches])
    table = pa.table([*columns, starts, (ends - starts).astype(np.uint32), sizes, spans], schema=DOCUMENTS)
    loss = np.concatenate([one.loss for one in batches])
    kind: Kind = "part"
    paths = shard_writer.write_part(
        folder, stem_of(kind, 0), tokenizer.dtype, ids, ends, loss, table, end_of_document=tokenizer.end_of_document
    )
    files = [OutputFile.of(folder, path.name, len(ends)) for path in paths]
    write_table(folder, kind, part_records(kind, files, {"00000": 0}, tokenizer.dtype.itemsize))
    shard_writer.write_inside_characters(folder, tokenizer.inside_characters)


def prepare(folder: Path, known: Sequence[tuple[str, str]]) -> Shards:
    """Trains the tokenizer, and writes the records as shards; tells what they are."""
    tokenizer = train((one + "\n" + other for one, other in known), WORDS, END, folder / "tokenizer.json")
    made: list[Tokens] = []

    def encode() -> None:
        records = talks(known, COPIES)
        while rendered := [render("chatml", turns) for turns in islice(records, BATCH)]:
            made.append(tokenizer.encode_rendered(rendered, [str(number) for number in range(len(rendered))]))

    seconds = user_seconds(encode)
    write_shards(folder / "tokens", tokenizer, made)
    shards = Shards.open(folder / "tokens", tokenizer.dtype)
    lengths, spans = np.diff(shards.ends(0).astype(np.int64), prepend=0), shards.text_spans(0)
    thoughts = (spans.stop.astype(np.int64) - spans.start)[spans.part == PARTS["reasoning"]]
    print(
        f"{len(lengths):,} records, {len(shards.tokens(0)):,} tokens, median {np.median(lengths):,.0f}, of a thought "
        f"{np.median(thoughts):,.0f}; rendered and tokenized {len(lengths) / seconds:,.0f} records/s"
    )
    return shards


def told(found: Trimmed, lengths: np.ndarray, limit: int) -> list[Row]:
    """What trimming came to: the share of records trimmed, of their reasoning kept, and dropped."""
    kept = found.lengths
    shorter, dropped = (kept > 0) & (kept < lengths), kept == 0
    assert (kept <= limit).all()
    share = float(shorter.mean())
    of_reasoning = float((found.kept[shorter] / found.reasoning[shorter]).mean())
    name = f"at {limit:,}: "
    return [
        Row(f"{name}share of records trimmed", share, 0.0, "of all records", share, 0.0, share > 0),
        Row(f"{name}reasoning kept of the trimmed", of_reasoning, 1.0, "mean fraction", of_reasoning, 0.0, True),
        Row(f"{name}share of records dropped", float(dropped.mean()), 0.0, "answer too long", 0.0, 0.0, True),
    ]


def each(run: Callable[[], object]) -> float:
    """User seconds of a run, of a few one behind the other."""
    return user_seconds(lambda: [run() and None for _ in range(TIMES)]) / TIMES


def measure(shards: Shards, limit: int) -> list[Row]:
    trimming = Trimming(shards, LEAST)
    ends = shards.ends(0)
    lengths = np.diff(ends.astype(np.int64), prepend=0)
    spans = document_spans(0, ends)
    ways: dict[str, Callable[[], object]] = {
        "spans read, trimmed": lambda: trimming.part(0, limit),
        "spans read, trimmed, packed": lambda: pack_trimmed(spans, trimming.part(0, limit), limit),
    }
    rows = []
    for name, run in ways.items():
        run()  # the kernels are compiled or loaded
        rate = len(lengths) / statistics.median(each(run) for _ in range(ROUNDS))
        unit = "records/s of user time; peer: what is asked for"
        rows.append(Row(f"at {limit:,}: {name}", rate, TARGET, unit, rate / TARGET, 1.0, rate >= TARGET))
    return rows + told(trimming.part(0, limit), lengths, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data), help="folder that holds cot/")
    parser.add_argument("--json", type=Path, help="write the rows there")
    arguments = parser.parse_args()
    path = arguments.data and arguments.data / "cot" / "r1_distill_long_think.jsonl.gz"
    if path is None or not path.is_file():
        print("nothing is measured: there are no traces; --data DIR or MIDTRAIN_DATA names the folder that holds cot/")
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        shards = prepare(Path(name), traces(path))
        heading()
        for limit in LENGTHS:
            rows += [show(row) for row in measure(shards, limit)]
    write(rows, arguments.json)


if __name__ == "__main__":
    main()

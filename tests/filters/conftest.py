"""Batches made of plain texts, and the hostile texts that all text kernels are tried on."""

import contextlib
import gzip
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st
from midtrain.filters.document import SCHEMA, DocumentBatch

SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000"
LOOK_ALIKES = "\u200b\u180e\ufeff\u2060\u00ad\u200c\u1681\u2010\u2027\u202a\u205e\u3001\u30a0\u2328\u0185\u01a0"
SYMBOLS = "#.…-•*,!?'\"“”_()[]{}/\\|１。؟"
LETTERS = "aZéßЖ中日가ع𝒳𐐷ǅªͅͅ٣²½Ⅷ😀"


@pytest.fixture(scope="session")
def make_batch() -> Callable[[Sequence[str]], DocumentBatch]:
    """Documents d0, d1, … of source "test" with these texts."""

    def make(texts: Sequence[str]) -> DocumentBatch:
        columns = {"id": [f"d{i}" for i in range(len(texts))], "text": list(texts), "source": ["test"] * len(texts)}
        arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
        return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))

    return make


@pytest.fixture(scope="session")
def make_traces() -> Callable[..., DocumentBatch]:
    """Records of these (prompt, thought, reply), or of these messages, with their metadata."""

    def make(records: Sequence[Any], metadata: Sequence[str | None] | None = None) -> DocumentBatch:
        messages = [_turns(*record) if isinstance(record, tuple) else record for record in records]
        count = len(messages)
        texts = ["\n\n".join(turn["content"] for turn in own or []) for own in messages]
        columns: dict[str, Any] = {"id": [f"d{i}" for i in range(count)], "text": texts, "source": ["test"] * count}
        columns |= {"messages": messages, "metadata": metadata or [None] * count}
        arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in SCHEMA]
        return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))

    return make


def _turns(prompt: str, thought: str | None, reply: str) -> list[dict[str, str | None]]:
    return [
        {"role": "user", "content": prompt, "reasoning": None},
        {"role": "assistant", "content": reply, "reasoning": thought},
    ]


@pytest.fixture(scope="session")
def real_traces() -> Callable[..., DocumentBatch]:
    """Records of a gzipped JSONL file of cot/, as the reader has them; skips the test where there is no such folder."""

    def read(name: str, fields: Any = "auto", opened: bool = False) -> DocumentBatch:
        from midtrain.pipelines.readers.reasoning import row
        from midtrain.pipelines.readers.records import Builder, Unreadable

        folder = os.environ.get("MIDTRAIN_DATA")
        if not folder:
            pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
        builder = Builder("test")
        with gzip.open(Path(folder) / "cot" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                with contextlib.suppress(Unreadable):
                    builder.add(str(number), row(json.loads(line), fields, opened=opened), len(line))
        return DocumentBatch(builder.take().batch)

    return read


@pytest.fixture(scope="session")
def hostile_texts() -> st.SearchStrategy[list[str]]:
    """Lists of documents with all white space, its look-alikes, bullets, ellipses, stop words and any code point."""
    pieces = st.one_of(
        st.sampled_from(list(SPACES)),
        st.sampled_from(list(SPACES + LOOK_ALIKES + SYMBOLS + LETTERS)),
        st.sampled_from(["\r\n", "\n\r", "...", "....", "......", "..", " - ", "\n• ", "\n-", "…\n", "... \n", "#"]),
        st.sampled_from(
            ["the", " the ", " be ", "of", "and", "that", " with\n", "The", "hath", "\u00a0to\u00a0", "word "]
        ),
        st.text(st.characters(codec="utf-8"), max_size=3),
    )
    return st.lists(st.lists(pieces, max_size=40).map("".join), max_size=6)


@pytest.fixture(scope="session")
def real_texts() -> Callable[[str, int], list[str]]:
    """The first texts of a gzipped JSONL file under MIDTRAIN_DATA; skips the test where there is no such folder."""

    def read(name: str, limit: int) -> list[str]:
        folder = os.environ.get("MIDTRAIN_DATA")
        if not folder:
            pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
        with gzip.open(Path(folder) / name, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line, _ in zip(lines, range(limit), strict=False)]

    return read

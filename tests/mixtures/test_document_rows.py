"""Single documents of shards: found by id where plain search finds them, whatever the cuts; damage is told."""

import itertools
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures import document_rows, shard_writer
from midtrain.mixtures.document_rows import find_rows, read_rows
from midtrain.mixtures.parts_table import PART, write_table
from midtrain.mixtures.shard_writer import write_part
from midtrain.mixtures.shards import DOCUMENTS, Shards

END = 3
UINT16 = np.dtype(np.uint16)


def shards_of(folder: Path, ids: list[str], cuts: list[int]) -> Shards:
    """Documents in the order of their hashes, 1 to 5 tokens each, cut into parts before some of them."""
    ids = sorted(ids, key=lambda one: xxhash.xxh3_128_intdigest(one.encode()))
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(ids)}), len(ids)]
    records = np.zeros(len(bounds) - 1, PART)
    for part, (first, stop) in enumerate(itertools.pairwise(bounds)):
        lengths = 1 + np.arange(first, stop) % 5
        ends = np.cumsum(lengths).astype(np.uint64)
        tokens = np.full(int(ends[-1]), END + 1, np.uint32)
        tokens[ends.astype(np.int64) - 1] = END
        columns = {
            "id": ids[first:stop],
            "mixture_source": ["web"] * len(lengths),
            "source": [f"docs{number % 2}" for number in range(first, stop)],
            "url": [None if number % 3 else f"https://example.org/{number}" for number in range(first, stop)],
            "start": ends.astype(np.int64) - lengths,
            "tokens": lengths,
            "bytes": lengths,
            "spans": [[]] * len(lengths),
        }
        table, loss = pa.table(columns, schema=DOCUMENTS), np.ones(len(tokens), np.bool_)
        write_part(folder, f"part-{part:05d}", UINT16, tokens, ends, loss, table, end_of_document=END)
        size = (folder / f"part-{part:05d}.documents.parquet").stat().st_size
        high = xxhash.xxh3_128_intdigest(ids[first].encode()) >> 64
        records[part] = (len(tokens), len(lengths), 0, size, high)
    write_table(folder, "part", records)
    return Shards.open(folder, UINT16)


def plainly(shards: Shards) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for part in range(len(shards.parts)):
        for row, one in enumerate(shards.documents(part).column("id").to_pylist()):
            found.setdefault(one, []).append((part, row))
    return found


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.integers(0, 60), min_size=1, max_size=120),
    cuts=st.lists(st.integers(1, 119), max_size=8),
    group=st.integers(1, 9),
)
def test_ids_are_found_as_plain_search_finds_them(tmp_path_factory, names, cuts, group):
    """Many have the same id, over groups of rows and over parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_writer, "ROW_GROUP", group)
        shards = shards_of(tmp_path_factory.mktemp("shards"), [f"d{name}" for name in names], cuts)
    plain = plainly(shards)
    for name in range(-1, 62):
        assert list(find_rows(shards, f"d{name}")) == plain.get(f"d{name}", [])
    for part in range(len(shards.parts)):
        table = shards.documents(part, document_rows.COLUMNS).to_pylist()
        rows = list(range(0, len(table), 3))
        found = read_rows(shards, part, [*rows, *rows[::-1]])
        assert {row: one._asdict() for row, one in found.items()} == {row: table[row] for row in rows}


def test_only_the_groups_that_are_needed_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "ROW_GROUP", 10)
    shards = shards_of(tmp_path, [f"d{name}" for name in range(1000)], [])
    read, plain = [], document_rows._Documents.read

    def counted(self, groups, columns):
        read.extend(groups)
        return plain(self, groups, columns)

    monkeypatch.setattr(document_rows._Documents, "read", counted)
    [(part, row)] = find_rows(shards, "d123")
    assert len(read) <= 9  # of a hundred
    read.clear()
    assert read_rows(shards, part, [row])[row].id == "d123"
    assert read == [row // 10]


@pytest.mark.measures
def test_a_million_parts_are_searched_at_once(tmp_path):
    """The parts around the one that holds the id do not exist: only the table knows of them."""
    shards = shards_of(tmp_path, ["the one"], [])
    high = int(shards.table["first_high"][0])
    table = np.zeros(10**6, PART)
    table[:] = shards.table[0]
    table["first_high"] = np.linspace(0, 2**64 - 1, 10**6, dtype=np.float64).clip(0, 2**64 - 2048).astype(np.uint64)
    part = int(np.searchsorted(table["first_high"], np.uint64(high), side="right")) - 1
    for ending in ("tokens", "ends", "documents.parquet"):
        (tmp_path / f"part-00000.{ending}").rename(tmp_path / f"part-{part:05d}.{ending}")
    write_table(tmp_path, "part", table)
    started = time.process_time()
    many = Shards.open(tmp_path, UINT16)
    assert list(find_rows(many, "the one")) == [(part, 0)]
    assert read_rows(many, part, [0])[0].id == "the one"
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("change", ["short", "missing", "other rows", "other starts", "no column"])
def test_damaged_documents_are_an_error(tmp_path, change):
    shards = shards_of(tmp_path, [f"d{name}" for name in range(50)], [])
    path = tmp_path / "part-00000.documents.parquet"
    table = pq.read_table(path)
    if change == "missing":
        path.unlink()
    elif change == "short":
        path.write_bytes(path.read_bytes()[:-20])
    elif change == "other rows":
        pq.write_table(table.slice(1), path)
    elif change == "no column":
        pq.write_table(table.drop_columns(["url"]), path)
    else:
        pq.write_table(table.set_column(4, "start", pa.array(range(50), pa.uint64())), path)
    with pytest.raises(RunError, match=r"cannot be read|not as many documents|contradicts the ends"):
        read_rows(shards, 0, [7, 30])

"""The exchange: every row in exactly the slice of its partition, in order, or an error."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.pipelines import exchange

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.large_string()), ("list", pa.list_(pa.int8()))])


def rows(numbers: list[int]) -> pa.RecordBatch:
    texts = [None if number % 5 == 4 else str(number) * (number % 3) for number in numbers]
    lists = [[number % 100] * (number % 4) for number in numbers]
    return pa.record_batch([pa.array(numbers, pa.int64()), pa.array(texts, pa.large_string()), lists], schema=SCHEMA)


# A number of partitions, and for each file the partition of each row.
CASES = st.integers(1, 7).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.lists(st.integers(0, n - 1)), max_size=4))
)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.lists(st.integers(0, n - 1)), max_size=4)))
)
def test_what_is_written_by_partition_is_read_by_partition(tmp_path_factory, case: tuple[int, list[list[int]]]):
    partitions, files = case
    folder = tmp_path_factory.mktemp("exchange")
    expected: dict[int, list[dict[str, object]]] = {partition: [] for partition in range(partitions)}
    paths, next_number = [], 0
    for index, partition in enumerate(files):
        batch = rows(list(range(next_number, next_number + len(partition))))
        next_number += len(partition)
        # A slice has an offset into its buffers, as the rows of a stage do.
        sliced = pa.concat_batches([rows([10**6]), batch]).slice(1)
        entry = exchange.write(folder, f"{index}.arrow", sliced, np.array(partition, np.int64), partitions, "web")
        assert (entry.path, entry.rows, entry.source) == (f"{index}.arrow", len(partition), "web")
        assert entry.bytes == (folder / entry.path).stat().st_size
        paths.append(folder / entry.path)
        for row, where in zip(batch.to_pylist(), partition, strict=True):
            expected[where].append(row)
    for partition in range(partitions):
        table = exchange.read(paths, partition, SCHEMA)
        assert table.schema == SCHEMA
        assert table.to_pylist() == expected[partition]


def test_equal_rows_give_equal_bytes(tmp_path):
    partition = np.array([2, 0, 2, 1], np.uint32)
    one = exchange.write(tmp_path, "a", rows([1, 2, 3, 4]), partition, 3)
    other = exchange.write(tmp_path, "b", rows([1, 2, 3, 4]), partition, 3)
    assert (one.hash, one.bytes) == (other.hash, other.bytes)


def test_what_was_read_outlives_the_mapped_file(tmp_path):
    exchange.write(tmp_path, "a", rows(list(range(1000))), np.zeros(1000, np.int64), 1)
    table = exchange.read([tmp_path / "a"], 0, SCHEMA)
    (tmp_path / "a").unlink()
    assert table.column("number").to_pylist() == list(range(1000))


@pytest.mark.parametrize("partition", [[0, 3], [0, -1], [0], [0, 1, 2]])
def test_a_row_without_a_partition_of_its_own_is_never_lost_quietly(tmp_path, partition: list[int]):
    with pytest.raises(RunError, match="without a partition"):
        exchange.write(tmp_path, "a", rows([1, 2]), np.array(partition, np.int64), 3)
    assert list(tmp_path.iterdir()) == []


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [cut, Path.unlink, lambda path: path.write_bytes(b"not arrow"), Path.touch])
def test_a_damaged_file_is_named(tmp_path, damage):
    exchange.write(tmp_path, "good", rows([1]), np.array([0]), 1)
    exchange.write(tmp_path, "bad", rows([1]), np.array([0]), 1)
    if damage is Path.touch:
        (tmp_path / "bad").write_bytes(b"")
    damage(tmp_path / "bad")
    with pytest.raises(RunError, match="the file is damaged") as wrong:
        exchange.read([tmp_path / "good", tmp_path / "bad"], 0, SCHEMA)
    assert wrong.value.where == str(tmp_path / "bad")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.lists(st.integers(0, n - 1)), max_size=5)))
)
def test_blocks_are_read_as_one(tmp_path_factory, case: tuple[int, list[list[int]]]):
    partitions, blocks = case
    folder = tmp_path_factory.mktemp("exchange")
    expected: dict[int, list[int]] = {partition: [] for partition in range(partitions)}
    with exchange.Writer(folder, "a", SCHEMA, partitions) as writer:
        for partition in blocks:
            numbers = list(range(writer.rows, writer.rows + len(partition)))
            writer.write(rows(numbers), np.array(partition, np.int64))
            for number, where in zip(numbers, partition, strict=True):
                expected[where].append(number)
        assert writer.finish().rows == sum(map(len, blocks))
    for partition in range(partitions):
        assert exchange.read([folder / "a"], partition, SCHEMA).column("number").to_pylist() == expected[partition]
        some = [one.column("number").to_pylist() for one in exchange.batches([folder / "a"] * 2, partition)]
        assert [number for one in some for number in one] == expected[partition] * 2


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def fail() -> None:
        with exchange.Writer(tmp_path, "a", SCHEMA, 2) as writer:
            writer.write(rows([1]), np.array([1]))
            raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        fail()
    assert list(tmp_path.iterdir()) == []

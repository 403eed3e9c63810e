"""Components: rounds over any partitions find what a plain union-find finds, whatever the graph looks like."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.filters.kernels import union_kernels
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines import exchange
from midtrain.pipelines.duplicates import components, sizes
from midtrain.pipelines.duplicates.buckets import LINKS, write_links
from midtrain.pipelines.duplicates.components import LABELS, ROUNDS, Labels, rounds_of
from midtrain.pipelines.recipe import Step
from midtrain.pipelines.stage import Tally, TaskResult

PARTS = 5
KINDS = (np.uint64, np.uint64, np.int32)


def plain(links):
    """Every node of the links with the smallest of its component."""
    parents = {}

    def root(node):
        while parents[node] != node:
            node = parents[node]
        return node

    for one, other in links:
        for node in (one, other):
            parents.setdefault(node, node)
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    return {node: root(node) for node in parents}


@dataclass(frozen=True)
class Links:
    """In place of the buckets: links that a test made, in a few files."""

    root: Path
    links: tuple[tuple[int, int], ...]
    count: int
    files: int
    folder_name: str = "links"

    fingerprint = "links"
    parents = ()

    @property
    def folder(self):
        return self.root / self.folder_name

    def partitions(self):
        return self.count

    def manifest(self):
        return Manifest.find(self.folder)

    def finished(self):
        return Manifest.read(self.folder)

    def write(self):
        results = []
        for number in range(self.files):
            pairs = np.array(self.links[number :: self.files], np.uint64).reshape(-1, 2)
            with exchange.Writer(self.folder, f"{number}.arrow", LINKS, self.count) as writer:
                write_links(writer, pairs.max(axis=1), pairs.min(axis=1), both=True)
                results.append(TaskResult((writer.finish(),), {"links": writer.rows}))
        total = Tally(results)
        Manifest("links", 1, "links", files=tuple(total.files), counts=total.counts).write(self.folder)
        return self


class Upstream:
    """In place of the documents: some parts."""

    fingerprint = "documents"
    parents = ()
    parts = tuple(OutputFile(f"part-{number}.parquet", 1, 1, "") for number in range(PARTS))


def found(folder, links, partitions, files=2):
    """Every node's component, by the stages; and how many rounds they took."""
    buckets = Links(folder, tuple(links), partitions, files).write()
    step = Step("minhash_dedup", MinhashDedup(), ("web",))
    last = rounds_of(step, buckets)
    chain, stage = [], last
    while stage is not buckets:
        chain.append(stage)
        stage = stage.before
    taken = 0
    for stage in reversed(chain):
        if stage.tasks():
            stage.complete(Tally(stage.run(task) for task in range(stage.tasks())))
            taken += 1
    labels = Labels(folder, Upstream(), step, last)
    labels.complete(Tally(labels.run(task) for task in range(labels.tasks())))
    result, counts = {}, labels.finished().counts
    for part in range(PARTS):
        rows = exchange.read(labels.outputs(), part, LABELS)
        for document, component in zip(*(rows.column(name).to_pylist() for name in LABELS.names), strict=True):
            assert document >> 32 == part
            assert document not in result
            result[document] = component
    assert counts["linked"] == len(result)
    members = Counter(result.values())
    assert counts["components"] == len(members) == sum(counts["sizes"].values())
    assert labels.largest() >= max(members.values(), default=0)
    if partitions == 1:
        assert counts["sizes"] == Counter(str(1 << (size - 1).bit_length()) for size in members.values())
    return result, taken


def document(number: int) -> int:
    """A document's number for a small one: all parts have some."""
    return (number % PARTS) << 32 | number // PARTS


GRAPHS = {
    "path": lambda rng, n: [(a, a + 1) for a in range(n - 1)],
    "shuffled path": lambda rng, n: (lambda p: list(zip(p[1:], p[:-1], strict=True)))(rng.permutation(n).tolist()),
    "star around the first": lambda rng, n: [(0, a) for a in range(1, n)],
    "star around the last": lambda rng, n: [(n - 1, a) for a in range(n - 1)],
    "two stars that share a leaf": lambda rng, n: (
        [(0, a) for a in range(2, n // 2)] + [(1, a) for a in range(n // 2 - 1, n)]
    ),
    "comb": lambda rng, n: [(a, a + 1) for a in range(0, n - 2, 2)] + [(a, a + 2) for a in range(0, n - 2, 2)],
    "cycle": lambda rng, n: [(a, (a + 1) % n) for a in range(n)],
    "binary tree": lambda rng, n: [(a, (a - 1) // 2) for a in range(1, n)],
    "giant component and dust": lambda rng, n: [tuple(pair) for pair in rng.integers(0, n, (n, 2)).tolist()],
    "pairs": lambda rng, n: [(a, a + 1) for a in range(0, n - 1, 2)],
    "clique": lambda rng, n: [(a, b) for a in range(30) for b in range(a)],
    "links many times over": lambda rng, n: [(a, a + 1) for a in range(0, n - 1, 3)] * 6,
    "nothing": lambda rng, n: [],
}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("partitions", [1, 2, 12])
def test_partitions_find_what_union_find_finds(tmp_path, monkeypatch, graph, partitions):
    monkeypatch.setattr(sizes, "LINKS_AT_ONCE", 70)
    pairs = GRAPHS[graph](np.random.default_rng(3), 200)
    links = [(document(a), document(b)) for a, b in pairs if a != b]
    result, taken = found(tmp_path, links, partitions)
    assert result == plain(links)
    assert taken <= (0 if partitions == 1 else 21)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).filter(lambda pair: pair[0] != pair[1]), max_size=60),
    st.integers(1, 9),
    st.integers(1, 4),
)
def test_any_graph(tmp_path_factory, pairs, partitions, files):
    links = [(document(a), document(b)) for a, b in pairs]
    result, _ = found(tmp_path_factory.mktemp("graph"), links, partitions, files)
    assert result == plain(links)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**64 - 2), st.integers(0, 2**64 - 2)) | st.tuples(*[st.integers(0, 20)] * 2)))
def test_the_forest_of_any_links(links):
    pairs = np.array(links, np.uint64).reshape(-1, 2)
    nodes, roots = union_kernels.forest(pairs[:, 0].copy(), pairs[:, 1].copy())
    assert nodes.tolist() == sorted(nodes.tolist())
    assert dict(zip(nodes.tolist(), roots.tolist(), strict=True)) == plain(links)


def test_a_table_that_grows_loses_nothing():
    rng = np.random.default_rng(1)
    ones, others = rng.integers(0, 1 << 62, (2, 20_000)).astype(np.uint64)
    nodes, roots = union_kernels.forest(ones, others)
    assert dict(zip(nodes.tolist(), roots.tolist(), strict=True)) == plain(
        zip(ones.tolist(), others.tolist(), strict=True)
    )


def test_links_are_never_more_than_at_first(tmp_path):
    links = [(document(a), document(a + 1)) for a in range(2000)]
    found(tmp_path, links, 4)
    counts = [Manifest.read(path).counts["links"] for path in sorted(tmp_path.glob("stages/*components*"))]
    assert len(counts) > 4
    assert max(counts[::2]) <= 2000  # large stars, whose links lie in one partition each


def test_rounds_that_do_not_suffice_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(components, "ROUNDS", 3)
    with pytest.raises(RunError, match="not found after 3 rounds") as caught:
        found(tmp_path, [(document(a), document(a + 1)) for a in range(2000)], 4)
    assert "links that are not of a star" in str(caught.value.seen)


def test_the_last_round_sees_whether_all_is_settled():
    assert ROUNDS % 2 == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 30), st.integers(0, 2)), max_size=40), st.booleans())
def test_runs_of_equal_keys_are_linked_to_their_smallest(rows, across):
    rows.sort(key=lambda row: row[0])
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    keys, documents, source = (column.astype(kind) for column, kind in zip(columns, KINDS, strict=True))
    ones, others = union_kernels.link_runs(keys, documents, source if across else source[:0])
    across = across and bool(rows)
    expected = []
    for key in sorted({row[0] for row in rows}):
        run = [row for row in rows if row[0] == key]
        smallest = min(row[1] for row in run)
        if not across or len({row[2] for row in run}) > 1:
            expected += [(row[1], smallest) for row in run if row[1] != smallest]
    assert list(zip(ones.tolist(), others.tolist(), strict=True)) == expected

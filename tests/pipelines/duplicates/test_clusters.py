"""Clusters of a choice: numbers that add up over tasks, and the same to look at however the work is divided."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.pipelines.duplicates import clusters
from midtrain.pipelines.duplicates.clusters import Compared
from midtrain.pipelines.stage import add_counts

SOURCES = ("web", "books", "日本")


@st.composite
def families(draw):
    """Families of documents, each with its rows as (id, source, part, row, similarity): the first is the one kept."""
    sizes = draw(st.lists(st.sampled_from([1, 1, 2, 2, 3, 4, 7, 16, 17, 18, 33]), min_size=1, max_size=40))
    similar = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found, row = [], 0
    for size in sizes:
        own = []
        for place in range(size):
            value = None if not similar or place == 0 else float(rng.choice([0.8, 0.85, 1.0]))
            part = -1 if place == 0 and rng.random() < 0.1 else int(rng.integers(4))
            identity = f"d{rng.integers(400)}"  # ids may stand more than once
            own.append((identity, SOURCES[rng.integers(3)], part, row, value))
            row += 1
        found.append(own)
    return found, similar


def compared(own, similar, seed):
    """The rows of families in an order by chance."""
    rows = [(one, family[0]) for family in own for one in family]
    order = np.random.default_rng(seed).permutation(len(rows))
    rows = [rows[place] for place in order]
    at = {one[3]: place for place, (one, _) in enumerate(rows)}
    columns = list(zip(*(one for one, _ in rows), strict=True))
    return Compared(
        pa.array(columns[0], pa.string()),
        pa.array(columns[1], pa.string()),
        np.array(columns[2], np.int32),
        np.array(columns[3], np.int32),
        np.array([at[first[3]] for _, first in rows], np.int64),
        np.array([1.0 if one is None else one for one in columns[4]]) if similar else None,
    )


def document(one, keeper=False):
    identity, source, part, row, value = one
    known = part < 0
    return clusters.Document(
        identity, source, None if known else part, None if known else row, None if keeper else value
    )


def expected(own):
    """Every cluster in its order, in plain Python."""
    found = []
    for first, *others in own:
        if others:
            others.sort(key=lambda one: (one[4] or 0.0, one[0], one[1], one[2], one[3]))
            keeper = document(first, keeper=True)
            found.append(clusters.Cluster(len(others) + 1, keeper, tuple(map(document, others[:5]))))
    return sorted(
        found,
        key=lambda one: (
            xxhash.xxh3_64_intdigest(one.keeper.id.encode()),
            one.keeper.source,
            one.keeper.part or 0,
            one.keeper.row or 0,
        ),
    )


@settings(deadline=None)
@given(families(), st.integers(0, 2**32))
def test_counts_are_those_of_a_plain_count(own, seed):
    own, similar = own
    found = clusters.counts(compared(own, similar, seed))
    sizes = Counter(len(family) for family in own if len(family) > 1)
    assert sum(found["cluster_sizes"].values()) == sum(sizes.values())
    for size, count in sizes.items():
        if size <= 16:
            assert found["cluster_sizes"][str(size)] == count
    assert found["cluster_sizes"].get("17-32", 0) == sizes[17] + sizes[18]
    assert found["cluster_sizes"].get("33-64", 0) == sizes[33]
    between = Counter((one[1], family[0][1]) for family in own for one in family[1:])
    assert {(d, k): n for d, kept in found["between"].items() for k, n in kept.items()} == dict(between)
    assert found["documents"] == sum(one[2] >= 0 for family in own for one in family)  # those of an index left out
    assert found["duplicates"] == sum(between.values())


@settings(deadline=None)
@given(families(), st.integers(0, 2**32), st.integers(1, 4))
def test_clusters_to_look_at_are_the_same_however_the_work_is_divided(tmp_path_factory, own, seed, tasks):
    own, similar = own
    folder = tmp_path_factory.mktemp("choice")
    shares = [own[task::tasks] for task in range(tasks)]
    files, counts = [], {}
    for task, share in enumerate(shares):
        if share:
            rows = compared(share, similar, seed + task)
            files.append(clusters.write(folder, task, rows))
            add_counts(counts, clusters.counts(rows))
    found = clusters.read(folder, files)
    plain = expected(own)
    assert list(found.sampled) == plain[:20]
    assert found.largest == min(plain, key=lambda one: (-one.size, plain.index(one)), default=None)
    assert counts == clusters.counts(compared(own, similar, seed))


def test_nothing_compared_and_nothing_dropped_are_no_fault(tmp_path):
    for rows in (compared([[("a", "web", 0, 0, None)]], False, 0), compared_nothing()):
        assert clusters.counts(rows)["cluster_sizes"] == {}
        assert clusters.counts(rows)["between"] == {}
        assert clusters.read(tmp_path, [clusters.write(tmp_path, 0, rows)]) == clusters.Clusters((), None)


def compared_nothing():
    nothing = pa.array([], pa.string())
    empty = np.zeros(0, np.int32)
    return Compared(nothing, nothing, empty, empty, np.zeros(0, np.int64), np.zeros(0))


@pytest.mark.parametrize(
    ("size", "name", "largest"),
    [
        (2, "2", 2),
        (16, "16", 16),
        (17, "17-32", 32),
        (32, "17-32", 32),
        (33, "33-64", 64),
        (10**6, "524289-1048576", 1 << 20),
    ],
)
def test_sizes_have_names(size, name, largest):
    assert clusters.size_name(size) == name
    assert clusters.largest_of(name) == largest


@pytest.mark.parametrize("content", [b"{", b'{"sampled": [{}], "largest": null}', b'{"sampled": []}', b"[]"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content):
    entry = clusters.write(tmp_path, 3, compared_nothing())
    (tmp_path / entry.path).write_bytes(content)
    with pytest.raises(RunError, match="damaged") as caught:
        clusters.read(tmp_path, [entry])
    assert caught.value.where == str(tmp_path / "clusters/00003.json")


def test_a_huge_cluster_costs_no_python_a_document(tmp_path):
    count = 1_000_000
    rows = Compared(
        pa.array(np.arange(count)).cast(pa.string()),
        pa.array(["web"]).take(pa.array(np.zeros(count, np.int8))),
        np.zeros(count, np.int32),
        np.arange(count, dtype=np.int32),
        np.zeros(count, np.int64),
        np.ones(count),
    )
    found = clusters.read(tmp_path, [clusters.write(tmp_path, 0, rows)])
    assert found.largest.size == count
    assert [one.id for one in found.largest.members] == ["1", "10", "100", "1000", "10000"]

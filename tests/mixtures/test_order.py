"""The reading side of the order: one integer is the position, and damaged files are errors that say so."""

import json

import numpy as np
import pytest
from midtrain.errors import RunError
from midtrain.mixtures.interleave import BLOCK
from midtrain.mixtures.order import Order
from midtrain.mixtures.packing import PackIndex, document_spans, pack_chunk
from midtrain.mixtures.planning import PhaseSpec, PhaseWeight, SourceTokens, plan

PHASES = (
    PhaseSpec("first", 8, 700_000, (PhaseWeight("web", 0.9, "all"), PhaseWeight("cot", 0.1, "assistant", 9))),
    PhaseSpec("second", 16, 20_000, (PhaseWeight("cot", 1.0, "assistant", 9),)),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(5)
    web = np.cumsum(rng.integers(1, 30, 60_000)).astype(np.uint64)
    cot = np.cumsum(rng.integers(1, 16, 6_000)).astype(np.uint64)
    sources = {
        "web": SourceTokens("web", "w" * 32, (web,), "chunk", "error"),
        "cot": SourceTokens("cot", "c" * 32, (cot[:3000], cot[3000:] - cot[2999]), "whole", "drop"),
    }
    plan(folder, 7, sources, PHASES)
    return folder


@pytest.fixture
def copy(root, tmp_path):
    """A copy of the built mixture that a test may damage."""
    for path in root.rglob("*"):
        if path.is_file():
            target = tmp_path / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return tmp_path


def names(phases=PHASES):
    return [phase.name for phase in phases]


def test_a_phase_tells_what_it_holds(root):
    order = Order.open(root, names())
    first = order.phase("first")
    assert first.sequence_length == 8
    assert first.sources == ("web", "cot")
    assert first.loss == ("all", "assistant")
    assert first.sequences == first.quotas.sum() > BLOCK
    assert order.phase("second").sources == ("cot",)
    with pytest.raises(KeyError):
        order.phase("third")


def test_any_cut_into_slices_gives_the_same_order(root):
    whole = Order.open(root, names())
    total = whole.phase("first").sequences
    everything = whole.slice("first", 0, total)
    assert [column.dtype for column in everything] == [np.int32, np.int32, np.int64]
    pieces = Order.open(root, names())
    step = 7919  # a prime: slices begin and end on both sides of a block's start
    parts = [pieces.slice("first", place, min(step, total - place)) for place in range(0, total, step)]
    for column, joined in zip(everything, map(np.concatenate, zip(*parts, strict=True)), strict=True):
        assert np.array_equal(column, joined)
    backwards = Order.open(root, names())
    for place in [total - 1, BLOCK, BLOCK - 1, 0, BLOCK + 1]:
        expected = tuple(int(column[place]) for column in everything)
        assert tuple(int(column[0]) for column in backwards.slice("first", place, 1)) == expected
        source = whole.phase("first").sources[expected[0]]
        assert backwards.at("first", place) == (source, expected[2])
        name, spans = backwards.spans("first", place)
        assert name == source
        assert spans.tolist() == backwards.index("first", expected[1]).sequence(expected[2]).tolist()
    assert [column.size for column in whole.slice("first", total, 0)] == [0, 0, 0]


def test_within_an_epoch_no_sequence_comes_twice(root):
    everything = Order.open(root, names()).slice("first", 0, Order.open(root, names()).phase("first").sequences)
    web = everything.sequence[everything.source == 0]
    assert np.unique(web).size == web.size


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 10**9), (5, -1)])
def test_places_outside_the_phase_are_index_errors(root, first, count):
    with pytest.raises(IndexError):
        Order.open(root, names()).slice("first", first, count)


def test_counts_cut_short_are_an_error(copy):
    path = copy / "order" / "first.counts"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunError, match="counts are missing or were cut short"):
        Order.open(copy, names())
    path.unlink()
    with pytest.raises(RunError, match="counts are missing or were cut short"):
        Order.open(copy, names())


def test_changed_counts_are_an_error(copy):
    path = copy / "order" / "first.counts"
    counts = np.fromfile(path, dtype="<u8")
    counts[2:4] += np.array([100, -100], dtype=np.int64).astype(np.uint64)
    counts.tofile(path)
    with pytest.raises(RunError, match="do not belong to this place"):
        Order.open(copy, names()).slice("first", BLOCK, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=2),
        lambda data: data.update(sequences=data["sequences"] + 1),
        lambda data: data.update(phase="other"),
        lambda data: data.update(more=1),
        lambda data: data.pop("seed"),
        lambda data: data["sources"][0].update(loss="none"),
    ],
    ids=["version", "sequences", "phase", "unknown key", "missing key", "loss"],
)
def test_a_changed_order_file_is_an_error(copy, change):
    path = copy / "order" / "first.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"first\.json"):
        Order.open(copy, names())


def test_an_order_that_is_not_there_or_not_json_is_an_error(copy):
    (copy / "order" / "first.json").write_text("{")
    with pytest.raises(RunError, match="is not the order"):
        Order.open(copy, names())
    with pytest.raises(RunError, match="third"):
        Order.open(copy, ["third"])


def test_another_pack_index_in_its_place_is_an_error(copy):
    order = Order.open(copy, names())
    folder = order.phase("first").indexes[0]
    PackIndex.write(copy / folder, pack_chunk(document_spans([np.array([80], dtype=np.uint64)]), 8))
    with pytest.raises(RunError, match="not the one that the order"):
        order.index("first", 0)

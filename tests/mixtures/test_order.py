"""The reading side of the order: one integer is the position, and damaged files are errors that say so."""

import json
import shutil
import tempfile
from collections import defaultdict
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.interleave import BLOCK
from midtrain.mixtures.order import Order
from midtrain.mixtures.packs.pack_requests import PackRequest, SourceTokens, pack_here
from midtrain.mixtures.phases import PhaseFile, PhaseRef, Pool, SourceEntry, write_phase
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan
from midtrain.mixtures.plans.segments import Curve, phase_counts

from tests.mixtures.memory_ends import MemoryEnds

# Of source, pack and sequence at every place; an order that moves repeats and skips data in every run.
GOLDEN = "516f2e9dd22865423b6f33fa24ed3a88"

PHASES = (
    PhaseSpec("first", 8, 700_000, (PhaseWeight("web", 0.9, "all"), PhaseWeight("cot", 0.1, "assistant", 9))),
    PhaseSpec("second", 16, 20_000, (PhaseWeight("cot", 1.0, "assistant", 9),)),
)


RNG = np.random.default_rng(5)
SOURCES = {
    "web": SourceTokens("web", "w" * 32, MemoryEnds.of(RNG.integers(1, 30, 60_000)), "chunk", "error"),
    "cot": SourceTokens("cot", "c" * 32, MemoryEnds.of(RNG.integers(1, 16, 6_000), 2), "whole", "drop"),
}


def shards_of(name):
    return SOURCES[name].shards


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    planned = plan(folder, 7, SOURCES, PHASES)
    (folder / "phases.json").write_text(json.dumps([asdict(ref) for ref in planned.phases]))
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


def refs(folder):
    """The phases as a manifest would name them."""
    return [PhaseRef(**ref) for ref in json.loads((folder / "phases.json").read_text())]


def opened(folder):
    return Order.open(folder, refs(folder), shards_of)


def file_of(folder, ending):
    """A file of the first phase."""
    return folder / f"{refs(folder)[0].order}{ending}"


def test_a_phase_tells_what_it_holds(root):
    order = opened(root)
    first = order.phase("first")
    assert first.sequence_length == 8
    assert first.sources == ("cot", "web")  # in the order of their names
    assert first.loss == ("assistant", "all")
    assert first.sequences == first.quotas.sum() > BLOCK
    assert order.phase("second").sources == ("cot",)
    with pytest.raises(KeyError):
        order.phase("third")


def test_any_cut_into_slices_gives_the_same_order(root):
    whole = opened(root)
    total = whole.phase("first").sequences
    everything = whole.slice("first", 0, total)
    assert [column.dtype for column in everything] == [np.int32, np.int32, np.int64]
    pieces = opened(root)
    step = 7919  # a prime: slices begin and end on both sides of a block's start
    parts = [pieces.slice("first", place, min(step, total - place)) for place in range(0, total, step)]
    for column, joined in zip(everything, map(np.concatenate, zip(*parts, strict=True)), strict=True):
        assert np.array_equal(column, joined)
    backwards = opened(root)
    for place in [total - 1, BLOCK, BLOCK - 1, 0, BLOCK + 1]:
        expected = tuple(int(column[place]) for column in everything)
        assert tuple(int(column[0]) for column in backwards.slice("first", place, 1)) == expected
        source = whole.phase("first").sources[expected[0]]
        assert backwards.at("first", place) == (source, expected[2])
        name, spans = backwards.spans("first", place)
        assert name == source
        assert spans.tolist() == backwards.index("first", expected[1]).sequence(expected[2]).tolist()
    assert [column.size for column in whole.slice("first", total, 0)] == [0, 0, 0]


def test_any_ascending_places_are_those_of_the_whole_order(root):
    order = opened(root)
    total = order.phase("first").sequences
    everything = order.slice("first", 0, total)
    chosen = np.flatnonzero(np.random.default_rng(2).random(total) < 0.01)
    for column, some in zip(everything, opened(root).places("first", chosen), strict=True):
        assert np.array_equal(some, column[chosen])
    assert order.places("first", chosen[:0]).source.size == 0
    for wrong in ([5, 5], [7, 6], [-1, 3], [0, total]):
        with pytest.raises(IndexError):
            order.places("first", np.array(wrong))


def test_within_an_epoch_no_sequence_comes_twice(root):
    everything = opened(root).slice("first", 0, opened(root).phase("first").sequences)
    web = everything.sequence[everything.source == 1]
    assert np.unique(web).size == web.size


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, 10**9), (5, -1)])
def test_places_outside_the_phase_are_index_errors(root, first, count):
    with pytest.raises(IndexError):
        opened(root).slice("first", first, count)


def test_counts_cut_short_are_an_error(copy):
    path = file_of(copy, ".counts")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(RunError, match="counts are missing or were cut short"):
        opened(copy)
    path.unlink()
    with pytest.raises(RunError, match="counts are missing or were cut short"):
        opened(copy)


def test_changed_counts_are_an_error(copy):
    path = file_of(copy, ".counts")
    counts = np.fromfile(path, dtype="<u8")
    counts[2:4] += np.array([100, -100], dtype=np.int64).astype(np.uint64)
    counts.tofile(path)
    with pytest.raises(RunError, match="do not belong to this place"):
        opened(copy).slice("first", BLOCK, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(version=1),
        lambda data: data.update(sequences=data["sequences"] + 1),
        lambda data: data.update(phase="other"),
        lambda data: data.update(more=1),
        lambda data: data.pop("seed"),
        lambda data: data["sources"][0].update(loss="none"),
    ],
    ids=["version", "sequences", "phase", "unknown key", "missing key", "loss"],
)
def test_a_changed_order_file_is_an_error(copy, change):
    path = file_of(copy, ".json")
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"first-\w+\.json"):
        opened(copy)


def test_an_order_that_is_not_there_or_not_json_is_an_error(copy):
    file_of(copy, ".json").write_text("{")
    with pytest.raises(RunError, match="is not the order"):
        opened(copy)
    with pytest.raises(RunError, match="third"):
        Order.open(copy, [PhaseRef("third", "order/third", 7)], shards_of)


def test_another_pack_index_in_its_place_is_an_error(copy):
    order = opened(copy)
    number = next(i for i, folder in enumerate(order.phase("first").indexes) if folder.startswith("packs/cot-8-"))
    folder = copy / order.phase("first").indexes[number]
    assert len(order.index("first", number)) > 10
    other = PackRequest(SourceTokens("cot", "c" * 32, MemoryEnds.of([8]), "whole", "drop"), 8)
    assert other.folder == order.phase("first").indexes[number]
    shutil.rmtree(folder)
    pack_here(copy)([other])
    with pytest.raises(RunError, match="not the one that the order"):
        opened(copy).index("first", number)


def entry(name, quota, first_draw=0, rest=None, full=None):
    pools = [None if pool is None else Pool(index=pool[0], sequences=pool[1], epoch=pool[2]) for pool in (rest, full)]
    return SourceEntry(
        name=name, share=0.5, loss="all", quota=quota, first_draw=first_draw, rest=pools[0], full=pools[1]
    )


def written(folder, phase, indexes, entries, curve=None, seed=3):
    counts, segments = phase_counts(np.array([one.quota for one in entries], dtype=np.int64), curve)
    file = PhaseFile(
        version=2,
        phase=phase,
        seed=seed,
        sequence_length=8,
        sequences=sum(one.quota for one in entries),
        segments=segments,
        indexes=indexes,
        sources=entries,
    )
    return write_phase(folder, file, counts)


def test_the_order_of_a_constant_phase_never_moves(tmp_path):
    entries = (
        entry("web", 78_746, 500, full=(0, 60_000, 0)),
        entry("cot", 8_908, 0, rest=(1, 900, 2), full=(2, 4_000, 3)),
        entry("rare", 4, full=(3, 7, 0)),
    )
    ref = written(tmp_path, "first", ("packs/web", "packs/rest", "packs/cot", "packs/rare"), entries)
    order = Order.open(tmp_path, [ref], shards_of)
    columns = order.slice("first", 0, ref.sequences)
    digest = xxhash.xxh3_128_hexdigest(b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
    assert digest == GOLDEN


@st.composite
def runs(draw):
    """Sources over phases: epochs, rests, lengths that change, weights that change, a phase that was cut short."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    state = dict.fromkeys(names)  # (folder and pools, next draw, next epoch)
    phases = []
    for number in range(draw(st.integers(1, 4))):
        indexes, entries = [], []
        for name in names:
            if state[name] is None or draw(st.booleans()):  # the first length, or a new one
                epoch = 0 if state[name] is None else draw(st.integers(1, 3))
                rest = draw(st.integers(1, 9)) if epoch else 0
                state[name] = [f"{name}{number}", rest, draw(st.integers(1, 12)), epoch, 0]
            folder, rest, full, epoch, drawn = state[name]
            pools = []
            for size, of_epoch, kind in ((rest, epoch - 1, "rest"), (full, epoch, "full")):
                pools.append((len(indexes), size, of_epoch) if size else None)
                indexes.extend([f"packs/{folder}-{kind}"] if size else [])
            quota = draw(st.integers(0, 40))
            entries.append(entry(name, quota, drawn, *pools))
        if not sum(one.quota for one in entries):
            continue
        curve = None
        if len(names) > 1 and draw(st.booleans()):
            parts = [draw(st.lists(st.integers(1, 9), min_size=len(names), max_size=len(names))) for _ in range(2)]
            curve = Curve(*(tuple(Fraction(part, sum(ends)) for part in ends) for ends in parts), "linear")
        total = sum(one.quota for one in entries)
        cut = draw(st.integers(0, total)) if draw(st.booleans()) else total
        phases.append((f"phase{number}", tuple(indexes), tuple(entries), curve, cut))
        drawn = source_counts(phases[-1])
        for name, count in zip(names, drawn, strict=True):
            state[name][4] += count
    return phases


def source_counts(phase):
    """What every source has had where the phase was cut, from a plain replay."""
    _, _, entries, curve, cut = phase
    with tempfile.TemporaryDirectory() as folder:
        ref = written(Path(folder), "p", phase[1], entries, curve)
        return np.bincount(
            Order.open(folder, [ref], shards_of).slice("p", 0, ref.sequences).source[:cut], minlength=len(entries)
        )


@settings(deadline=None, max_examples=80)
@given(runs())
def test_find_is_the_inverse_over_epochs_rests_lengths_and_cuts(tmp_path_factory, phases):
    root = tmp_path_factory.mktemp("order")
    cut = [replace(written(root, *phase[:4]), sequences=phase[4]) for phase in phases]
    order = Order.open(root, cut, shards_of)
    drawn = defaultdict(list)
    for ref in cut:
        phase = order.phase(ref.name)
        places = order.slice(ref.name, 0, ref.sequences)
        for place, (source, pack, sequence) in enumerate(zip(*(c.tolist() for c in places), strict=True)):
            drawn[phase.sources[source], phase.indexes[pack], sequence].append((ref.name, place))
    pools = {
        (one.name, order.phase(ref.name).indexes[pool.index], sequence)
        for ref in cut
        for one in order.phase(ref.name).entries
        for pool in (one.rest, one.full)
        if pool
        for sequence in range(pool.sequences)
    }
    for key in pools:
        assert [found[:2] for found in order.find(*key)] == drawn.pop(key, [])
    assert not drawn
    assert order.find("nobody", "packs/a0-full", 0) == order.find("a", "packs/none", 0) == []


@settings(deadline=None, max_examples=40)
@given(runs())
def test_within_an_epoch_of_a_length_nothing_repeats_across_phases_and_cuts(tmp_path_factory, phases):
    root = tmp_path_factory.mktemp("order")
    cut = [replace(written(root, *phase[:4]), sequences=phase[4]) for phase in phases]
    order = Order.open(root, cut, shards_of)
    for folder in {folder for phase in phases for folder in phase[1]}:
        name = folder.removeprefix("packs/")[0]
        size = max(
            pool.sequences
            for phase in phases
            for one in phase[2]
            for pool in (one.rest, one.full)
            if pool and phase[1][pool.index] == folder
        )
        epochs = [found.epoch for sequence in range(size) for found in order.find(name, folder, sequence)]
        seen = [(found.epoch, sequence) for sequence in range(size) for found in order.find(name, folder, sequence)]
        assert len(set(seen)) == len(seen)
        # Whole epochs but the last: a source goes on exactly where it was left.
        full = sorted(set(epochs))[:-1]
        assert all(epochs.count(epoch) == size for epoch in full)


def test_counts_before_any_place(root):
    order = opened(root)
    first = order.phase("first")
    source = order.slice("first", 0, first.sequences).source
    for place in (0, 1, BLOCK - 1, BLOCK, BLOCK + 1, first.sequences - 1, first.sequences):
        assert order.counts("first", place).tolist() == np.bincount(source[:place], minlength=2).tolist()
    with pytest.raises(IndexError):
        order.counts("first", first.sequences + 1)


def test_find_in_a_mixture_with_packs(root):
    order = opened(root)
    cot = order.phase("first").sources.index("cot")
    places = order.slice("first", 0, order.phase("first").sequences)
    chosen = np.flatnonzero(places.source == cot)[[0, 5, -1]]
    for place in chosen.tolist():
        folder = order.phase("first").indexes[int(places.pack[place])]
        found = order.find("cot", folder, int(places.sequence[place]))
        assert ("first", place) in [one[:2] for one in found]
        assert len({one.epoch for one in found}) == len(found)


def test_a_phase_cut_short_ends_there_and_keeps_its_beginning(root):
    whole, (first, second) = opened(root), refs(root)
    short = Order.open(root, [replace(first, sequences=1_000), second], shards_of)
    assert short.phase("first").sequences == 1_000
    assert short.phase("first").planned == first.sequences
    for column, same in zip(short.slice("first", 0, 1_000), whole.slice("first", 0, 1_000), strict=True):
        assert np.array_equal(column, same)
    with pytest.raises(IndexError):
        short.slice("first", 999, 2)
    with pytest.raises(RunError, match="contradicts itself"):
        Order.open(root, [replace(first, sequences=first.sequences + 1)], shards_of)


def test_changed_counts_at_a_segments_start_are_an_error(tmp_path):
    curve = Curve((Fraction(9, 10), Fraction(1, 10)), (Fraction(1, 10), Fraction(9, 10)), "linear")
    ref = written(
        tmp_path,
        "p",
        ("packs/a", "packs/b"),
        (entry("a", 500, full=(0, 900, 0)), entry("b", 500, full=(1, 900, 0))),
        curve,
    )
    path = tmp_path / f"{ref.order}.counts"
    counts = np.fromfile(path, dtype="<u8")
    counts[2] += np.uint64(5)
    counts.tofile(path)
    with pytest.raises(RunError, match="do not belong to this place"):
        Order.open(tmp_path, [ref], shards_of).slice("p", 0, 100)

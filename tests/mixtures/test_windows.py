"""Windows and their kernels: batches as plain Python makes them, whatever the parts; damage is an error, no crash."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures import mapped_parts, maps, windows
from midtrain.mixtures.gather import PADDING
from midtrain.mixtures.order import Slice
from midtrain.mixtures.packs.pack_requests import PackRequest, SourceTokens, open_index, pack_here
from midtrain.mixtures.parts_table import PART, write_table
from midtrain.mixtures.shards import Shards
from midtrain.mixtures.text_spans import PARTS, TextSpans
from midtrain.mixtures.trimming import Trimming
from midtrain.mixtures.windows import Reader, Share, Want

VOCAB = {np.dtype(np.uint16): 60_000, np.dtype(np.uint32): 90_000}
END = 7  # the padding
ARRAYS = ("tokens", "positions", "segments", "loss_mask")


def write_shards(folder, lengths_by_part, masked, dtype=np.uint16, seed=0):
    """Parts of random tokens, and random loss bits where a part is masked."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records = np.zeros(len(lengths_by_part), PART)
    for part, (lengths, mask) in enumerate(zip(lengths_by_part, masked, strict=True)):
        size = sum(lengths)
        stem = folder / f"part-{part:05d}"
        rng.integers(0, VOCAB[np.dtype(dtype)], size).astype(dtype).tofile(stem.with_suffix(".tokens"))
        np.cumsum(lengths).astype("<u8").tofile(stem.with_suffix(".ends"))
        stem.with_suffix(".documents.parquet").write_bytes(b"-")
        if mask:
            np.packbits(rng.random(size) < 0.6, bitorder="little").tofile(stem.with_suffix(".loss"))
        records[part] = (size, len(lengths), mask, 1, part)
    write_table(folder, "part", records)
    return Shards.open(folder, np.dtype(dtype))


class Traces:
    """Every document of a source as a prompt of a token, a reasoning, and an answer of two tokens."""

    def __init__(self, shards):
        self.ends, self.mask, self.tokens = shards.ends, shards.mask, shards.tokens
        self.words = VOCAB[shards.dtype]

    def inside_characters(self):
        """Of every third id."""
        return np.packbits(np.arange(self.words) % 3 == 1, bitorder="little")

    def text_spans(self, part):
        lengths = np.diff(self.ends(part).astype(np.int64), prepend=0)
        long = lengths > 3
        offsets = np.append(0, 2 * np.cumsum(long)).astype(np.int32)
        stops = np.stack([lengths[long] - 2, lengths[long]], axis=1).ravel()
        starts = np.stack([np.ones(long.sum(), int), lengths[long] - 2], axis=1).ravel()
        kinds = np.tile([PARTS["reasoning"], PARTS["content"]], long.sum())
        turns = np.ones(len(kinds), np.uint32)
        return TextSpans(offsets, turns, kinds.astype(np.uint8), starts.astype(np.uint32), stops.astype(np.uint32))


class Drawn:
    """An order of one phase that draws from sources with an index each, shuffled and twice over."""

    def __init__(self, root, sources, length, seed=0):
        self.shards = {name: shards for name, (shards, _, _) in sources.items()}
        self.indexes = []
        for name, (shards, pack, _) in sources.items():
            trim = Trimming(Traces(shards)) if pack == "trim" else None
            how = ("whole", "trim") if trim else (pack, "split")
            source = SourceTokens(name, f"{name:0>32}", shards, *how, trim)
            request = PackRequest(source, length)
            pack_here(root)([request])
            self.indexes.append(open_index(root, request.folder, length, shards))
        losses = tuple(loss for _, _, loss in sources.values())
        self.order = SimpleNamespace(name="only", sequence_length=length, sources=tuple(sources), loss=losses)
        every = [(n, i) for n, index in enumerate(self.indexes) for i in range(index.sequences)] * 2
        every = np.array(every, int).reshape(-1, 2)
        rng = np.random.default_rng(seed)
        self.drawn = every[rng.permutation(len(every))]

    def __len__(self):
        return len(self.drawn)

    def phase(self, name):
        assert name == "only"
        return self.order

    def places(self, name, places):
        source, sequence = self.drawn[places].T
        return Slice(source.astype(np.int32), source.astype(np.int32), sequence)

    def index(self, name, number):
        return self.indexes[number]

    def reader(self, root):
        return Reader(root, self, "only", self.shards.__getitem__, 90_000, END)

    def plain(self, place):
        """A row by its definition."""
        number, sequence = self.drawn[place].tolist()
        shards, length = self.shards[self.order.sources[number]], self.order.sequence_length
        tokens, positions = np.full(length, END), np.zeros(length, int)
        segments, mask = np.full(length, PADDING), np.zeros(length, bool)
        at, segment, position = 0, -1, 0
        for part, start, size, continues in self.indexes[number].sequence(sequence).tolist():
            if not continues:
                segment, position = segment + 1, 0
            inside = slice(at, at + size)
            tokens[inside], positions[inside] = shards.read(part, start, size), range(position, position + size)
            segments[inside] = segment
            position += size
            mask[inside] = self.order.loss[number] == "all" or shards.loss(part, start, size)
            at += size
        return tokens, positions, segments, mask


def assert_rows(batch, drawn, places):
    assert len(batch.tokens) == len(batch.sources) == len(places)
    for row, place in enumerate(places):
        for name, expected in zip(ARRAYS, drawn.plain(place), strict=True):
            np.testing.assert_array_equal(getattr(batch, name)[row], expected, name)
        assert batch.sources[row] == drawn.drawn[place, 0]


parts = st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=12), min_size=1, max_size=4)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(
            parts, st.sampled_from(["chunk", "whole", "trim"]), st.sampled_from(["all", "assistant"]), st.booleans()
        ),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 80),
    st.integers(1, 9),
    st.integers(0, 10**6),
)
def test_batches_are_those_of_plain_python(tmp_path_factory, sources, length, size, seed):
    root = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(seed)
    opened = {}
    for number, (lengths, pack, loss, wide) in enumerate(sources):
        masked, dtype = rng.random(len(lengths)) < 0.6, np.uint32 if wide else np.uint16
        opened[f"s{number}"] = (write_shards(root / f"s{number}", lengths, masked, dtype, seed), pack, loss)
    drawn = Drawn(root, opened, length, seed)
    first = int(rng.integers(len(drawn) + 1))
    done = first
    for batch in drawn.reader(root).batches(first, len(drawn), size):
        assert batch.first_index == done
        assert_rows(batch, drawn, range(done, done + len(batch.tokens)))
        assert len(batch.tokens) == min(size, len(drawn) - done)
        done += len(batch.tokens)
    assert done == len(drawn)


@pytest.fixture
def drawn(tmp_path):
    """A source of long documents, chunked, and one of masked short ones, packed whole."""
    rng = np.random.default_rng(5)
    long, short = ([rng.integers(1, most, size).tolist() for size in (30, 1, 17, 40, 3)] for most in (300, 40))
    sources = {
        "long": (write_shards(tmp_path / "long", long, [False] * 5), "chunk", "assistant"),
        "short": (write_shards(tmp_path / "short", short, [True, False, True, True, True]), "whole", "assistant"),
    }
    return Drawn(tmp_path, sources, 64)


def test_windows_of_any_size_hold_the_same_rows(drawn, tmp_path, monkeypatch):
    for most in (1, 3, 50, 4096):
        monkeypatch.setattr(windows, "MOST_SEQUENCES", most)
        read = list(drawn.reader(tmp_path).batches(0, len(drawn), 4))
        assert_rows(read[0], drawn, range(4))
        rows = np.concatenate([batch.tokens for batch in read])
        expected = drawn.reader(tmp_path)
        whole = expected.copy(expected.window(np.arange(len(drawn))), 0, len(drawn), 0)
        np.testing.assert_array_equal(rows, whole.tokens)


def test_few_parts_stay_mapped_and_what_is_read_is_the_same(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(mapped_parts, "KEPT_PARTS", 1)
    monkeypatch.setattr(windows, "MOST_SEQUENCES", 4)
    monkeypatch.setattr(maps.MAPPED, "limit", 1)
    reader = drawn.reader(tmp_path)
    held = list(reader.batches(0, len(drawn), 2))
    for number, batch in enumerate(held):
        assert_rows(batch, drawn, range(2 * number, 2 * number + len(batch.tokens)))
    assert sum(len(mapped.maps) for mapped in reader._mapped.values()) <= 4
    first = reader.window(np.arange(3))
    for _ in reader.batches(3, len(drawn), 2):  # takes the parts of the first window out of all tables
        pass
    assert_rows(reader.copy(first, 0, 3, 0), drawn, range(3))


def files_mapped(folder):
    """The files below a folder that this process maps, each as often as it does."""
    with open("/proc/self/maps") as lines:
        return [path for path in (line.split()[-1] for line in lines) if path.startswith(f"{folder}/")]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_all_sources_together_keep_so_many_parts_mapped(tmp_path, monkeypatch, count):
    """Linux allows a process 65,530 maps: a bound of each source is none of all of them."""
    monkeypatch.setattr(mapped_parts, "KEPT_PARTS", 8)
    monkeypatch.setattr(windows, "MOST_SEQUENCES", 6)
    monkeypatch.setattr(maps.MAPPED, "limit", 1)
    lengths = [[20, 9, 3]] * 8
    sources = {
        f"s{number}": (write_shards(tmp_path / f"s{number}", lengths, [True] * 8, seed=number), pack, "assistant")
        for number, pack in zip(range(count), ["chunk", "whole", "trim"] * 4, strict=False)
    }
    drawn = Drawn(tmp_path, sources, 16)
    reader, kept = drawn.reader(tmp_path), []
    for batch in reader.batches(0, len(drawn), 3):
        assert_rows(batch, drawn, range(batch.first_index, batch.first_index + len(batch.tokens)))
        kept.append(sum(len(mapped.maps) for mapped in reader._mapped.values()))
        for mapped in reader._mapped.values():  # what is no longer mapped has no address
            assert set(np.flatnonzero(mapped.table[:, 0]).tolist()) == set(mapped.maps)
    assert max(kept) <= 8
    assert len(set(drawn.drawn[:, 0].tolist())) == count
    # At most those kept, those of a window, and one of all shards and packs: tokens, mask, spans, sequences of each.
    assert len(files_mapped(tmp_path)) <= 4 * (8 + 6 + 1) + count * 2


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_ranks_and_workers_share_out_every_batch(drawn, tmp_path, world_size, workers):
    size, first = 6, 5
    seen = {}
    for rank in range(world_size):
        for worker in range(workers):
            share = Share(rank, world_size, worker, workers)
            for number, batch in enumerate(drawn.reader(tmp_path).batches(first, len(drawn), size, share)):
                step = worker + number * workers
                seen[step, rank] = batch
    steps = -(-(len(drawn) - first) // size)
    assert {step for step, _ in seen} == set(range(steps))
    for step in range(steps):
        at = first + step * size
        for rank in range(world_size):
            batch = seen[step, rank]
            assert batch.first_index == at
            assert_rows(batch, drawn, range(at, at + len(batch.tokens)))
            at += len(batch.tokens)
        assert at == min(first + (step + 1) * size, len(drawn))


def test_only_what_is_wanted_is_made(drawn, tmp_path):
    batch = next(drawn.reader(tmp_path).batches(0, len(drawn), 4, want=Want(positions=False, segments=False)))
    assert [len(getattr(batch, name)) for name in ARRAYS] == [4, 0, 0, 4]
    whole = next(drawn.reader(tmp_path).batches(0, len(drawn), 4))
    np.testing.assert_array_equal(batch.tokens, whole.tokens)
    np.testing.assert_array_equal(batch.loss_mask, whole.loss_mask)


def test_no_array_is_handed_out_twice(drawn, tmp_path):
    batches = list(drawn.reader(tmp_path).batches(0, len(drawn), 4))
    copies = [batch.tokens.copy() for batch in batches]
    batches[0].tokens[:] = 0
    for batch, copy in list(zip(batches, copies, strict=True))[1:]:
        np.testing.assert_array_equal(batch.tokens, copy)


# Damage: of the right size, so that only reading it can tell.


def overwrite(path, change):
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))


def set_u64(at, value):
    return lambda data: data.__setitem__(slice(at, at + 8), int(value).to_bytes(8, "little"))


def set_u32(at, value):
    return lambda data: data.__setitem__(slice(at, at + 4), int(value).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("spans", set_u32(0, 3)),  # of another part
        ("spans", set_u64(4, 10**6)),  # behind the part's end
        ("spans", set_u64(4, 2**63 + 5)),
        ("spans", set_u32(12, 2**31)),
        ("spans", set_u32(12, 0)),
        ("spans", set_u32(12, 65)),  # longer than the sequence
        ("sequences", set_u64(0, 2**63)),
        ("sequences", set_u64(0, 0)),
        ("sequences", set_u64(0, 10**9)),
    ],
)
def test_a_damaged_packing_is_an_error_that_names_the_part(drawn, tmp_path, name, change):
    overwrite(next(tmp_path.glob(f"packs/short-*/part-00000.{name}")), change)
    with pytest.raises(RunError, match="reaches outside its part") as caught:
        list(drawn.reader(tmp_path).batches(0, len(drawn), 4))
    assert f"{tmp_path}/short/part-00000, phase only, sequence " in caught.value.where


@pytest.mark.parametrize("value", [0, 2**62, 2**64 - 1])
@pytest.mark.parametrize("document", [0, 12, 29])
def test_damaged_ends_are_an_error_or_change_only_where_a_document_ends(drawn, tmp_path, document, value):
    healthy = [batch.tokens for batch in drawn.reader(tmp_path).batches(0, len(drawn), 4)]
    overwrite(tmp_path / "long/part-00000.ends", set_u64(8 * document, value))
    reader = drawn.reader(tmp_path)
    found = []
    for number, place in enumerate(range(0, len(drawn) - 4, 4)):
        try:
            batch = reader.copy(reader.window(np.arange(place, place + 4)), 0, 4, place)
        except RunError as error:
            found.append(error.where)
        else:
            np.testing.assert_array_equal(batch.tokens, healthy[number])
    if value == 2**64 - 1 or (document, value) == (12, 0):
        assert found  # others join two documents, or make one empty, and no token moves: verify sees them
    assert all("long/part-00000, phase only, sequence " in where for where in found)


def test_an_index_of_other_parts_is_refused(drawn, tmp_path):
    drawn.shards["long"] = drawn.shards["short"]
    write_shards(tmp_path / "other", [[5]], [False])
    drawn.shards["long"] = Shards.open(tmp_path / "other", np.dtype(np.uint16))
    with pytest.raises(RunError, match="other parts than the tokens"):
        list(drawn.reader(tmp_path).batches(0, len(drawn), 4))

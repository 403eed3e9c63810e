"""Pack indexes: computed or on disk, one face; sequences are numbered through the parts, and damage is named."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import Manifest, fingerprint
from midtrain.mixtures import maps
from midtrain.mixtures.maps import MappedParts
from midtrain.mixtures.packs import pack_index, pack_requests
from midtrain.mixtures.packs.chunk_index import ChunkIndex
from midtrain.mixtures.packs.pack_index import PackedIndex
from midtrain.mixtures.packs.pack_requests import Drawn, PackRequest, SourceTokens, open_index, pack_here
from midtrain.mixtures.packs.packing import document_spans, pack_chunk
from midtrain.mixtures.permutation import epoch_key, permute

from tests.mixtures.memory_ends import MemoryEnds

PARTS = st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=15), min_size=1, max_size=5)


def ends_of(parts):
    return MemoryEnds(tuple(np.cumsum(np.array(lengths, dtype=np.uint64)) for lengths in parts))


def source(parts, pack="whole", too_long="drop"):
    return SourceTokens("web", "f" * 32, ends_of(parts), pack, too_long)


def packed(root, request):
    pack_here(root)([request])
    return open_index(root, request.folder, request.sequence_length, request.source.shards)


def all_sequences(index):
    return [index.sequence(number).tolist() for number in range(len(index))]


def tokens_of(spans):
    return [(part, token) for part, start, length, _ in spans for token in range(start, start + length)]


def assert_one_face(index, parts):
    """What every index says of itself in different ways agrees."""
    sequences = all_sequences(index)
    counts = index.tokens_of(np.arange(len(index)))
    assert counts.dtype == np.int64
    assert counts.tolist() == [sum(length for _, _, length, _ in spans) for spans in sequences]
    assert all(0 < count <= index.sequence_length for count in counts.tolist())
    assert index.part_sequences.dtype == np.uint64
    assert len(index.part_sequences) == parts + 1
    by_part = []
    for part in range(parts):
        spans, ends = index.spans_of_part(part)
        assert set(spans["part"].tolist()) <= {part}
        by_part += [spans[a:b].tolist() for a, b in zip([0, *ends.tolist()][:-1], ends.tolist(), strict=True)]
        assert len(by_part) == index.part_sequences[part + 1]
    assert by_part == sequences
    totals = index.totals
    assert (totals.sequences, totals.tokens) == (len(index), counts.sum())
    found = {}
    for number, spans in enumerate(sequences):
        for part, start, length, _ in spans:
            found.setdefault((part, start), set()).add(number)
            assert length > 0
    for outside in (-1, len(index)):
        with pytest.raises(IndexError):
            index.sequence(outside)
        with pytest.raises(IndexError):
            index.tokens_of(np.array([outside]))
    return sequences


@settings(deadline=None)  # the first call compiles
@given(PARTS, st.integers(1, 60))
def test_chunks_are_computed_as_packing_would_cut_every_part(parts, sequence_length):
    ends = ends_of(parts)
    index = ChunkIndex(ends, sequence_length)
    expected, cut = [], 0
    for part in range(len(parts)):
        one = pack_chunk(document_spans(part, ends.ends(part)), sequence_length)
        stops = one.sequences.tolist()
        expected += [one.spans[a:b].tolist() for a, b in zip([0, *stops][:-1], stops, strict=True)]
        cut += one.cut_documents
    assert assert_one_face(index, len(parts)) == expected
    assert index.cut_documents() == cut
    assert (index.totals.dropped_documents, index.totals.dropped_tokens) == (0, 0)
    assert index.totals.tokens == sum(map(sum, parts))


@settings(deadline=None)
@given(PARTS, st.integers(1, 60), st.sampled_from(["drop", "split"]))
def test_what_is_packed_accounts_for_every_token_once(tmp_path_factory, parts, sequence_length, too_long):
    root = tmp_path_factory.mktemp("packs")
    request = PackRequest(source(parts, too_long=too_long), sequence_length)
    index = packed(root, request)
    sequences = assert_one_face(index, len(parts))
    drawn = sorted(token for spans in sequences for token in tokens_of(spans))
    dropped = [n for lengths in parts for n in lengths if n > sequence_length and too_long == "drop"]
    assert len(drawn) == len(set(drawn)) == sum(map(sum, parts)) - sum(dropped)
    assert index.totals[2:4] == (len(dropped), sum(dropped))
    in_pieces = [n for lengths in parts for n in lengths if n > sequence_length and too_long == "split"]
    assert index.cut_documents() == len(in_pieces)
    padding = len(index) * sequence_length - index.totals.tokens
    assert index.totals.tokens + index.totals.dropped_tokens == sum(map(sum, parts))
    assert padding >= 0


@settings(deadline=None, max_examples=60)
@given(PARTS, st.data())
def test_rests_of_rests_hold_what_the_epoch_has_not_drawn(tmp_path_factory, parts, data):
    """Lengths change again and again within an epoch; every part finds what is left by itself."""
    root = tmp_path_factory.mktemp("packs")
    pack, too_long = data.draw(st.sampled_from([("chunk", "drop"), ("whole", "drop"), ("whole", "split")]))
    one = source(parts, pack, too_long)
    taken, drawn = set(), ()
    every = {(part, token) for part, lengths in enumerate(parts) for token in range(sum(lengths))}
    for number in range(data.draw(st.integers(2, 4))):
        length = data.draw(st.sampled_from([7, 16, 40]))
        request = PackRequest(one, length, drawn)
        index = packed(root, request) if not request.computed else ChunkIndex(one.shards, length)
        sequences = assert_one_face(index, len(parts))
        here = {token for spans in sequences for token in tokens_of(spans)}
        assert here <= every - taken
        assert index.totals.tokens + index.totals.dropped_tokens == len(every - taken)
        count = data.draw(st.integers(0, len(index)))
        key = epoch_key(1, "web", number)
        if count:
            for place in permute(np.arange(count), len(index), key).tolist():
                taken |= set(tokens_of(sequences[place]))
        drawn = (*drawn, Drawn(request.folder, length, key, count))


def test_a_request_says_all_that_its_files_depend_on():
    parts = [[5, 9], [30]]
    base = PackRequest(source(parts), 16)
    drawn = (Drawn("packs/web-8-whole-0123456789abcdef", 8, 7, 3),)
    others = [
        PackRequest(source(parts), 17),
        PackRequest(source(parts, too_long="split"), 16),
        PackRequest(source(parts, "chunk"), 16),
        PackRequest(source(parts), 16, drawn),
        PackRequest(source(parts), 16, (Drawn("packs/web-8-whole-0123456789abcdef", 8, 7, 4),)),
        PackRequest(source(parts), 16, (Drawn("packs/web-8-whole-0123456789abcdef", 8, 8, 3),)),
    ]
    assert len({base.folder, *(one.folder for one in others)}) == 7
    assert base.folder.startswith("packs/web-16-whole-")
    assert others[2].folder.startswith("chunks/web-16-chunk-")
    assert [one.computed for one in others] == [False, False, True, False, False, False]


def test_the_bytes_on_disk_are_the_documented_ones(tmp_path):
    request = PackRequest(source([[5, 4, 21], [3]]), 10)
    packed(tmp_path, request)
    folder = tmp_path / request.folder
    names = [f"part-0000{part}.{ending}" for part in (0, 1) for ending in ("sequences", "spans")]
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", *names, "parts"]
    first = [0, 0, 5, 0, 0, 5, 4, 0]  # two spans: part, start, length, continues
    assert (folder / "part-00000.spans").read_bytes() == b"".join(
        value.to_bytes(8 if place % 4 == 1 else 4, "little") for place, value in enumerate(first)
    )
    assert (folder / "part-00000.sequences").read_bytes() == (2).to_bytes(8, "little")
    records = [[1, 2, 9, 1, 21, 0, 0, 0, 0], [1, 1, 3, 0, 0, 0, 0, 0, 0]]  # the last is a double
    assert (folder / "parts").read_bytes() == b"".join(n.to_bytes(8, "little") for row in records for n in row)
    manifest = Manifest.read(folder)
    manifest.check_hashes(folder)
    assert manifest.fingerprint == request.fingerprint
    assert [file.path for file in manifest.files] == [*names, "parts"]


def test_a_part_of_which_nothing_fits_has_no_sequence(tmp_path):
    request = PackRequest(source([[50], [3, 4], [60, 70]]), 10)
    index = packed(tmp_path, request)
    assert index.part_sequences.tolist() == [0, 0, 1, 1]
    assert index.sequence(0).tolist() == [(1, 3, 4, 0), (1, 0, 3, 0)]
    assert index.totals == (1, 7, 3, 180, 0, 0, 0.0)
    assert index.spans_of_part(2)[0].size == 0
    with pytest.raises(ConfigError, match="source web, part 0: 1 of 1 documents are longer"):
        packed(tmp_path, PackRequest(source([[50], [3, 4], [60, 70]], too_long="error"), 10))


@pytest.mark.parametrize("checked", [4096, 0])
@pytest.mark.parametrize("name", ["part-00001.spans", "part-00001.sequences"])
def test_a_file_that_changed_its_size_is_named(tmp_path, name, checked, monkeypatch):
    """Of many parts each one at its first use."""
    monkeypatch.setattr(pack_index, "CHECKED_PARTS", checked)
    request = PackRequest(source([[5, 9], [5, 9, 2]]), 10)
    assert all_sequences(packed(tmp_path, request))
    path = tmp_path / request.folder / name
    data = path.read_bytes()
    for content, complaint in ((data[:-1], "cut short"), (data + b"\0", "grown"), (None, "missing")):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        if checked:
            with pytest.raises(RunError, match=complaint) as error:
                PackedIndex.open(path.parent, 10)
        else:
            index = PackedIndex.open(path.parent, 10)
            assert index.sequence(0).size  # of the part that is whole
            with pytest.raises(RunError, match=complaint) as error:
                index.sequence(int(index.part_sequences[1]))
        assert str(path) in str(error.value)
        path.write_bytes(data)


def test_an_index_of_another_length_and_one_without_a_table_are_refused(tmp_path):
    request = PackRequest(source([[5, 9], [5, 9, 2]]), 10)
    packed(tmp_path, request)
    with pytest.raises(RunError, match="not of this sequence length"):
        PackedIndex.open(tmp_path / request.folder, 7)
    table = tmp_path / request.folder / "parts"
    table.write_bytes(table.read_bytes()[:-1])
    with pytest.raises(RunError, match="whole records"):
        PackedIndex.open(tmp_path / request.folder, 10)
    table.unlink()
    with pytest.raises(RunError, match="cannot be opened"):
        PackedIndex.open(tmp_path / request.folder, 10)


def test_ends_that_were_damaged_are_noticed_where_a_sequence_meets_them():
    broken = MemoryEnds((np.array([5, 3, 20], np.uint64),))
    with pytest.raises(RunError, match="do not ascend"):
        ChunkIndex(broken, 20).sequence(0)
    cut = MemoryEnds((np.array([5, 8], np.uint64),))
    index = ChunkIndex(cut, 4)
    object.__setattr__(cut, "by_part", (np.array([5, 6], np.uint64),))
    with pytest.raises(RunError, match="do not ascend"):
        index.sequence(1)


# Maps


def files_open(folder):
    """The files below a folder that this process has open; what else it has is of other tests too."""
    links = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    return [link for link in links if link.is_relative_to(folder)]


def test_the_parts_used_least_recently_go_and_no_file_stays_open(tmp_path, monkeypatch):
    monkeypatch.setattr(pack_index, "MAPPED", MappedParts(limit=8))
    request = PackRequest(source([[5, 9]] * 300), 10)
    index = packed(tmp_path, request)
    expected = all_sequences(index)
    assert len(expected) == 600
    assert files_open(tmp_path) == []
    assert len(pack_index.MAPPED) == 8
    with open("/proc/self/maps") as lines:
        mapped = {line.split()[-1] for line in lines if str(tmp_path) in line}
    assert {int(re.search(r"part-(\d+)", path)[1]) for path in mapped if "part-" in path} == set(range(292, 300))
    held = index.sequence(0)
    list(map(index.sequence, range(100, 600)))
    assert held.tolist() == expected[0]  # a view keeps its map
    assert all_sequences(index) == expected


def test_recently_used_parts_stay():
    kept = MappedParts(limit=3)
    made = []

    def make(part):
        made.append(part)
        return np.array([part])

    for part in (0, 1, 2, 0, 3, 0, 1):
        assert kept.get(7, part, "spans", lambda part=part: make(part))[0] == part
    assert made == [0, 1, 2, 3, 1]
    assert kept.get(7, 0, "ends", lambda: np.array([9]))[0] == 9  # another file of a part that is there
    assert kept.get(8, 0, "spans", lambda: np.array([5]))[0] == 5  # another owner's
    assert len(kept) == 3


def test_an_empty_file_and_half_a_record(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "half").write_bytes(bytes(9))
    assert maps.map_file(tmp_path / "empty", np.dtype("<u8")).size == 0
    with pytest.raises(RunError, match="whole records"):
        maps.map_file(tmp_path / "half", np.dtype("<u8"))
    with pytest.raises(RunError, match="cannot be opened") as wrong:
        maps.map_file(tmp_path / "none", np.dtype("<u8"))
    assert wrong.value.fix.startswith(f"remove {tmp_path}")


def test_a_whole_file_that_the_system_does_not_map_is_not_to_be_removed(tmp_path):
    """With no room for one more map, and no file to open, the system's reason is told and the shard left alone."""
    path, code = (
        tmp_path / "whole",
        "\n".join(
            [
                "import resource, sys, numpy, pathlib",
                "from midtrain.errors import RunError",
                "from midtrain.mixtures import maps",
                "def refused():",
                "    try:",
                "        maps.map_file(pathlib.Path(sys.argv[1]), numpy.dtype('<u8'))",
                "    except RunError as error:",
                "        print(error.what, '|', error.fix)",
                "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), -1))",
                "refused()",
                "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
                "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
                "refused()",
            ]
        ),
    )
    with path.open("wb") as stream:
        stream.truncate(1 << 36)  # a hole: larger than the address space that is allowed, and no byte of the disk
    said = subprocess.run(
        [sys.executable, "-c", code, str(path), str(1 << 35)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "Cannot allocate memory | the file is not to blame" in said[0]
    assert "vm.max_map_count" in said[0]
    assert "Too many open files" in said[1]
    assert not any("remove" in line for line in said)


# Golden


def test_the_packs_are_those_of_this_version(tmp_path):
    """A change of what is packed must raise the version of packs, or runs would go on with other sequences."""
    lengths = (np.random.default_rng(3).lognormal(3.0, 0.7, 2000) + 1).astype(np.int64)
    found = {}
    for pack, too_long in (("whole", "drop"), ("whole", "split"), ("chunk", "drop")):
        one = SourceTokens("web", "f" * 32, MemoryEnds.of(lengths, 3), pack, too_long)
        first = PackRequest(one, 64)
        size = len(packed(tmp_path, first) if not first.computed else ChunkIndex(one.shards, 64))
        rest = PackRequest(one, 96, (Drawn(first.folder, 64, epoch_key(1, "web", 0), size // 3),))
        packed(tmp_path, rest)
        for request in (first, rest):
            files = sorted((tmp_path / request.folder).glob("part*")) if not request.computed else []
            found[f"{pack} {too_long} {request.sequence_length}"] = [path.read_bytes().hex() for path in files]
    assert pack_requests.VERSION == 4
    assert fingerprint(found) == "5e260ea470e43937119c86929bb8d646"

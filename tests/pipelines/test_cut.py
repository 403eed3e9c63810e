"""Large compressed files: read once, cut at lines, and nothing of their documents changed by it."""

import gzip
import os
from pathlib import Path

import orjson
import pyarrow.compute as pc
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain import storage
from midtrain.errors import RunError
from midtrain.manifest import Manifest
from midtrain.pipelines import cut, inputs
from midtrain.pipelines.cut import Cut, large_files
from midtrain.pipelines.inputs import Files, InputFile, SourceFiles, Split
from midtrain.pipelines.reading import read
from midtrain.pipelines.recipe import SourceSpec
from midtrain.pipelines.stage import Tally

WEB = SourceSpec(name="web", path="*")


def cutting(path: Path, piece: int, relative: str = "") -> Cut:
    """The stage that cuts a file, with what it leaves beside the file."""
    file = InputFile("web", str(path), relative or path.name, path.stat().st_size, storage.hash_file(path))
    return Cut(path.parent / "out", (file,), piece)


def done(stage: Cut) -> Manifest:
    return stage.complete(Tally(stage.run(task) for task in range(stage.tasks())))


def contents(stage: Cut) -> list[bytes]:
    """What each piece of the first file holds."""
    found = []
    for piece in next(iter(stage.pieces.values())):
        with storage.open_stream(piece.path) as stream:
            found.append(b"".join(iter(lambda stream=stream: stream.read(1 << 16), b"")))
        assert len(found[-1]) == piece.size
        assert piece.start == sum(map(len, found[:-1]))
    return found


@pytest.fixture
def written(tmp_path, compress):
    """A function that writes a file, compressed by its ending, in two members, and returns its path."""

    def write(name: str, content: bytes) -> Path:
        (tmp_path / name).write_bytes(compress(content, name))
        return tmp_path / name

    return write


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=30),
    piece=st.integers(1, 100),
    block=st.integers(1, 40),
    ended=st.booleans(),
    name=st.sampled_from(["a.jsonl.gz", "a.jsonl.zst"]),
    plain=st.booleans(),
)
def test_pieces_are_the_stream_cut_behind_lines(tmp_path_factory, compress, lines, piece, block, ended, name, plain):
    content = b"\n".join(lines) + b"\n" * ended
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(compress(content, name))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cut, "BLOCK", block)
        patched.setattr(cut, "PLAIN", 1 << 20 if plain else 0)
        stage = cutting(path, piece)
        manifest = done(stage)
        assert all(file.path.endswith(".lz4") != plain for file in manifest.files)
        found = contents(stage)
    assert b"".join(found) == content
    for one in found[:-1]:
        assert len(one) >= piece
        assert one.endswith(b"\n")
        assert one.find(b"\n", piece - 1) == len(one) - 1  # no line more than it must hold
    assert [file.rows for file in manifest.files] == [one.count(b"\n") for one in found]
    assert manifest.counts["bytes"] == len(content)


def test_pieces_stay_in_order_though_their_numbers_are_not_as_text(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(b"")
    stage = cutting(tmp_path / "a.jsonl.gz", 100)
    sizes = {f"{number:05d}": number + 1 for number in range(100_003)}
    Manifest(stage.name, stage.version, stage.fingerprint, counts={"pieces": {"00000": sizes}}).write(stage.folder)
    (pieces,) = stage.pieces.values()
    assert [piece.size for piece in pieces] == list(range(1, 100_004))
    assert pieces[-1].start == sum(range(1, 100_003))
    assert "piece-00000-100002" in pieces[-1].path


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_line_longer_than_many_pieces_is_one_piece_and_is_not_held(written, name, monkeypatch):
    sizes = []
    blocks = cut.blocks
    monkeypatch.setattr(cut, "blocks", lambda *of: (sizes.append(len(block)) or block for block in blocks(*of)))
    monkeypatch.setattr(cut, "BLOCK", 1000)
    content = b"x" * 50_000 + b"\n" + b"y\n" * 10
    stage = cutting(written(name, content), 100)
    done(stage)
    assert [len(one) for one in contents(stage)] == [50_001, 20]
    assert max(sizes) <= 1000


def documents(*splits: Split, spec: SourceSpec = WEB):
    chunks = list(read(splits, spec))
    rows = [row for chunk in chunks for row in chunk.batch.to_pylist()]
    return rows, [one for chunk in chunks for one in chunk.quarantined]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["jsonl", "txt"])
def test_documents_ids_and_places_are_those_of_the_file(written, kind, ending):
    lines = [orjson.dumps({"text": f"{i}" * (i % 9)}) if i % 7 else b"{broken \xff" for i in range(200)]
    lines[0] = b"\xef\xbb\xbf" + orjson.dumps({"text": "marked"})
    path = written(f"a.{kind}{ending}", b"\r\n".join(lines))
    spec = WEB.model_copy(update={"document": "line"})
    stage = cutting(path, 300, "below/" + path.name)
    done(stage)
    (pieces,) = stage.pieces.values()
    assert len(pieces) > 5
    splits = [Split("web", piece.path, "below/" + path.name, 0, -1, piece.start) for piece in pieces]
    whole = documents(Split("web", str(path), "below/" + path.name, 0, -1), spec=spec)
    assert documents(*splits, spec=spec) == whole
    assert len(whole[0]) > 100
    assert len(whole[1]) > 20


@pytest.mark.parametrize(("name", "squeeze"), [("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.compress)])
def test_a_stream_cut_short_or_damaged_ends_the_run_and_leaves_nothing_half_written(tmp_path, name, squeeze):
    content = b"".join(b'{"text": "%d"}\n' % i for i in range(5000))
    whole = squeeze(content)
    for damaged in (whole[:-20], whole[:5000] + b"\0" * 50 + whole[5050:]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(RunError, match="damaged or cut short") as wrong:
            cutting(tmp_path / name, 10_000).run(0)
        assert wrong.value.where.startswith(f"{tmp_path / name} after byte ")
        assert list(tmp_path.rglob(".*.tmp")) == []


def test_a_full_disk_is_not_taken_for_a_damaged_stream(written, monkeypatch):
    class Full:
        def compress(self, block):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(cut.pa, "Codec", lambda *of, **options: Full())
    monkeypatch.setattr(cut, "PLAIN", 0)
    with pytest.raises(OSError, match="No space"):
        cutting(written("a.jsonl.gz", b"x\n" * 100), 50).run(0)


def test_only_large_files_of_lines_are_cut():
    names = ("a.jsonl", "b.jsonl.gz", "c.txt.zst", "d.parquet", "e.jsonl.zst")
    sizes = (10_000, 1000, 1000, 10_000, 100)
    own = SourceFiles("web", "/data/", names, sizes, ("h",) * 5, ((), (), (), (10_000,), ()))
    assert [file.relative for file in large_files((WEB,), Files((own,)), 1000)] == ["b.jsonl.gz"]
    by_line = WEB.model_copy(update={"document": "line"})
    assert [file.relative for file in large_files((by_line,), Files((own,)), 1000)] == ["b.jsonl.gz", "c.txt.zst"]
    assert [file.relative for file in large_files((by_line,), Files((own,)), 3000)] == []


def test_the_fingerprint_is_of_bytes_and_size_alone(written):
    stage = cutting(written("a.jsonl.gz", b"x\n"), 100)
    (file,) = stage.files
    elsewhere = Cut(stage.root, (InputFile("web", "/else/a.jsonl.gz", file.relative, file.size, file.hash),), 100)
    assert elsewhere.fingerprint == stage.fingerprint
    assert Cut(stage.root, stage.files, 101).fingerprint != stage.fingerprint
    other = InputFile("web", file.path, file.relative, file.size, "other")
    assert Cut(stage.root, (other,), 100).fingerprint != stage.fingerprint


# In a curation


@pytest.fixture
def packed(corpus, monkeypatch):
    """The standard corpus with source a in gzip; and a workshop with the same, not cut."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)
    path = corpus.root / "data" / "a.jsonl"
    (corpus.root / "data" / "a.jsonl.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    corpus.sources = [{**corpus.recipe()["sources"][0], "path": f"{path}.gz"}, *corpus.recipe()["sources"][1:]]
    return corpus


def without_ids(rows):
    return [{key: value for key, value in row.items() if key != "id"} for row in rows]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_curation_of_a_large_compressed_file_is_that_of_the_plain_one(packed, monkeypatch, workers):
    result = packed.curate(workers=workers, sources=packed.sources)
    folders = [folder for folder, _ in packed.finished("out")]
    assert folders[0].startswith("cut-")
    assert folders.count(folders[0]) == 1
    assert not (packed.root / "out" / "stages" / folders[0]).exists()  # scratch
    parts = [file for file in result.manifest.files if file.source == "a"]
    assert len(parts) > 5
    monkeypatch.setattr(cut, "LARGE", 10**9)
    uncut = packed.twin("uncut")
    uncut.curate(sources=packed.sources)
    assert uncut.finished("out")[0][0].startswith("gopher")
    assert packed.rows("out") == uncut.rows("out")
    assert packed.rows("out", "dropped") == uncut.rows("out", "dropped")


def test_a_second_run_cuts_nothing_and_opens_nothing(packed, monkeypatch):
    packed.curate(sources=packed.sources)
    before, events = packed.hashes("out"), packed.events("out")
    original = storage.open_input

    def refuse(path):
        assert "data/" not in path, f"{path} was opened"
        return original(path)

    monkeypatch.setattr(storage, "open_input", refuse)
    assert packed.curate(sources=packed.sources).tasks_run == 0
    assert (packed.hashes("out"), packed.events("out")) == (before, events)


def test_a_run_that_died_behind_the_cut_does_not_cut_again(packed, dying):
    reference = packed.twin("reference")
    reference.curate(sources=packed.sources)
    for _ in range(4):
        dying(17)
        with pytest.raises(BaseException, match=r"^$"):
            packed.curate(sources=packed.sources)
    dying(None)
    packed.curate(sources=packed.sources)
    finished = packed.finished("out")
    assert len(set(finished)) == len(finished)
    assert packed.hashes("out") == reference.hashes("out")
    assert packed.files("out") == reference.files("out")


def test_other_steps_over_the_same_inputs_use_the_pieces_of_a_run_that_died(packed, dying):
    dying(30)
    with pytest.raises(BaseException, match=r"^$"):
        packed.curate(sources=packed.sources)
    dying(None)
    assert packed.finished("out")[0][0].startswith("cut-")
    packed.curate(sources=packed.sources, steps=[{"exact_dedup": {}}])
    assert sum(folder.startswith("cut-") for folder, _ in packed.finished("out")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text/github_docs.jsonl.zst", "text/web_small.jsonl.gz"])
def test_a_real_corpus_read_in_pieces_is_the_whole(tmp_path, name: str):
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    path = Path(folder) / name
    file = InputFile("web", str(path), path.name, path.stat().st_size, storage.hash_file(path))
    stage = Cut(tmp_path, (file,), 5_000_001)
    done(stage)
    (pieces,) = stage.pieces.values()
    spec = SourceSpec(name="web", path="*", fields={"id": "id"})

    def seen(*splits: Split) -> list[tuple[str, int]]:
        batches = [chunk.batch for chunk in read(splits, spec) if not chunk.quarantined]
        ids = [identity for batch in batches for identity in batch.column("id").to_pylist()]
        sizes = [size for batch in batches for size in pc.binary_length(batch.column("text")).to_pylist()]
        return list(zip(ids, sizes, strict=True))

    whole = seen(Split("web", str(path), path.name, 0, -1))
    assert len(whole) > 20_000
    assert len(pieces) > 5
    assert seen(*(Split("web", piece.path, path.name, 0, -1, piece.start) for piece in pieces)) == whole

"""Files: listing, streams of every compression whole and damaged, writes that appear whole or not at all."""

import glob
import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest
import xxhash
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from midtrain import listing, storage
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines.verification import vouched

CONTENT = b"".join(b"line %d of a stream that does not fit into one block\n" % i for i in range(20_000))


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def read(path: Path) -> bytes:
    with storage.open_stream(str(path)) as stream:
        return b"".join(iter(lambda: stream.read(1 << 16), b""))


WHOLE = {
    "plain": ("a.txt", CONTENT, CONTENT),
    "gzip": ("a.gz", gz(CONTENT), CONTENT),
    "gzip of many members": ("a.gz", gz(b"one\n") + gz(b"") + gz(CONTENT), b"one\n" + CONTENT),
    "gzip padded with zeros": ("a.gz", gz(CONTENT) + b"\0" * 512, CONTENT),
    "zstandard": ("a.zst", zst(CONTENT), CONTENT),
    "zstandard of many frames": ("a.zst", zst(b"one\n") + zst(b"") + zst(CONTENT), b"one\n" + CONTENT),
    "zstandard with skippable frames": ("a.zst", skippable(b"x") + zst(CONTENT) + skippable(b"y"), CONTENT),
    "empty gzip": ("a.gz", gz(b""), b""),
    "empty zstandard": ("a.zst", zst(b""), b""),
}

DAMAGED = {
    "gzip cut in the middle": ("a.gz", gz(CONTENT)[:-1000]),
    "gzip cut in its last byte": ("a.gz", gz(CONTENT)[:-1]),
    "gzip whose second member is cut": ("a.gz", gz(CONTENT) + gz(CONTENT)[:50]),
    "gzip whose second header is cut": ("a.gz", gz(CONTENT) + gz(CONTENT)[:5]),
    "gzip with something behind it": ("a.gz", gz(CONTENT) + b"something else"),
    "gzip with a wrong checksum": ("a.gz", gz(CONTENT)[:-8] + b"\0" * 4 + gz(CONTENT)[-4:]),
    "no gzip at all": ("a.gz", CONTENT),
    "zstandard cut in the middle": ("a.zst", zst(CONTENT)[:-1000]),
    "zstandard cut in its last byte": ("a.zst", zst(CONTENT)[:-1]),
    "zstandard cut in its header": ("a.zst", zst(CONTENT)[:2]),
    "zstandard whose second frame is cut": ("a.zst", zst(CONTENT) + zst(CONTENT)[:50]),
    "zstandard whose second header is cut": ("a.zst", zst(CONTENT) + zst(CONTENT)[:3]),
    "zstandard with something behind it": ("a.zst", zst(CONTENT) + b"something else"),
    "no zstandard at all": ("a.zst", CONTENT),
}


@pytest.mark.parametrize("name", WHOLE)
def test_streams_are_read_to_their_end(tmp_path, name: str):
    file, written, content = WHOLE[name]
    (tmp_path / file).write_bytes(written)
    assert read(tmp_path / file) == content


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_stream_never_ends_quietly(tmp_path, name: str):
    file, written = DAMAGED[name]
    (tmp_path / file).write_bytes(written)
    with pytest.raises(storage.decompression_errors()):
        read(tmp_path / file)


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=3), st.data())
def test_no_cut_of_a_stream_is_taken_for_a_whole_one(tmp_path_factory, members: list[bytes], data: st.DataObject):
    """A cut between members is the one cut that no reader can see."""
    name, compress = data.draw(st.sampled_from([("a.gz", gz), ("a.zst", zst)]))
    parts = [compress(member) for member in members]
    whole = b"".join(parts)
    cut = data.draw(st.integers(1, len(whole) - 1))
    borders = {sum(map(len, parts[:i])): b"".join(members[:i]) for i in range(len(parts))}
    path = tmp_path_factory.mktemp("cut") / name
    path.write_bytes(whole[:cut])
    if cut in borders:
        assert read(path) == borders[cut]
    else:
        with pytest.raises(storage.decompression_errors()):
            read(path)


@pytest.mark.parametrize("name", ["a.txt", "a.gz", "a.zst"])
def test_closing_a_stream_closes_the_file_below(tmp_path, monkeypatch, name: str):
    (tmp_path / name).write_bytes({"a.txt": CONTENT, "a.gz": gz(CONTENT), "a.zst": zst(CONTENT)}[name])
    opened = []
    real = storage.open_input
    monkeypatch.setattr(storage, "open_input", lambda path: opened.append(real(path)) or opened[-1])
    with storage.open_stream(str(tmp_path / name)) as stream:
        stream.read(10)
    assert [raw.closed for raw in opened] == [True]


class TestListing:
    def test_files_come_sorted_by_path_with_what_is_below_the_first_wildcard(self, tmp_path):
        for name in ("b/2.txt", "b/10.txt", "a/x/1.txt", "a/1.txt", "c.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        (tmp_path / "a" / "folder.txt").mkdir()
        listed = listing.list_files(f"{tmp_path}/**/*.txt")
        assert [entry.relative for entry in listed] == ["a/1.txt", "a/x/1.txt", "b/10.txt", "b/2.txt"]
        assert [entry.path for entry in listed] == [f"{tmp_path}/{entry.relative}" for entry in listed]
        assert [entry.size for entry in listed] == [7, 9, 8, 7]
        assert [entry.relative for entry in listing.list_files(f"{tmp_path}/b/*.txt")] == ["10.txt", "2.txt"]

    def test_one_file_is_named_by_its_path(self, tmp_path):
        (tmp_path / "one[1].txt").write_text("x")
        (tmp_path / "two.txt").write_text("xy")
        assert [entry.relative for entry in listing.list_files(f"{tmp_path}/two.txt")] == ["two.txt"]
        assert [entry.size for entry in listing.list_files(f"{tmp_path}/one[1].txt")] == [1]

    def test_relative_patterns_keep_the_folders(self, tmp_path, monkeypatch):
        for name in ("a/1.txt", "b/1.txt"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text(name)
        monkeypatch.chdir(tmp_path)
        assert [entry.relative for entry in listing.list_files("**/*.txt")] == ["a/1.txt", "b/1.txt"]
        assert [entry.relative for entry in listing.list_files("./*/*.txt")] == ["a/1.txt", "b/1.txt"]
        assert [entry.relative for entry in listing.list_files("a/1.txt")] == ["1.txt"]

    @pytest.mark.parametrize(
        "pattern",
        [
            "*.txt",
            "**/*.txt",
            "a/**",
            "**",
            "a/*/*.txt",
            "*/*",
            "./**/[12].txt",
            "a/.hidden*",
            "?/x/*",
            "a//*.txt",
            "{}/a/*.txt",
            "{}/**/*",
            "{}/*/x/?.txt",
            "{}/l/*.txt",
            "nothing/*/*.txt",
        ],
    )
    def test_a_pattern_names_the_files_that_glob_names(self, tmp_path, monkeypatch, pattern: str):
        for name in (
            "0.txt",
            "a/1.txt",
            "a/x/1.txt",
            "a/x/2.txt",
            "a/.hidden.txt",
            "b/x/3.txt",
            "b/.h/4.txt",
            "a.txt/5",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(name)
        (tmp_path / "l").symlink_to(tmp_path / "a")
        (tmp_path / "b" / "link.txt").symlink_to(tmp_path / "0.txt")
        monkeypatch.chdir(tmp_path)
        pattern = pattern.format(tmp_path)
        found = {path for path in glob.glob(pattern, recursive=True) if Path(path).is_file()}
        listed = listing.list_files(pattern)
        assert [entry.path for entry in listed] == sorted(found)
        assert [entry.real for entry in listed] == [str(Path(entry.path).resolve()) for entry in listed]
        assert [entry.size for entry in listed] == [Path(entry.path).stat().st_size for entry in listed]

    def test_nothing_is_an_empty_list_and_a_folder_is_no_file(self, tmp_path):
        assert listing.list_files(f"{tmp_path}/none.txt") == []
        assert listing.list_files(f"{tmp_path}/*.txt") == []
        assert listing.list_files(str(tmp_path)) == []

    def test_a_link_that_leads_nowhere_is_not_left_out_quietly(self, tmp_path):
        (tmp_path / "a.txt").write_text("x")
        (tmp_path / "b.txt").symlink_to(tmp_path / "gone.txt")
        with pytest.raises(ConfigError, match="leads nowhere") as wrong:
            listing.list_files(f"{tmp_path}/*.txt")
        assert wrong.value.where.endswith("b.txt")

    def test_the_stamp_changes_with_the_file(self, tmp_path):
        file = tmp_path / "a.txt"
        file.write_text("x")
        before = listing.list_files(str(file))[0].stamp
        os.utime(file, ns=(1, 1))
        assert listing.list_files(str(file))[0].stamp != before


class TestReading:
    def test_hashes_and_bytes_are_those_of_the_file_as_it_lies(self, tmp_path):
        file = tmp_path / "a.gz"
        file.write_bytes(gz(CONTENT))
        assert storage.hash_file(file) == xxhash.xxh3_128_hexdigest(gz(CONTENT))
        assert storage.read_bytes(file) == gz(CONTENT)

    @pytest.mark.parametrize("read", [storage.read_bytes, storage.hash_file, storage.open_stream])
    def test_a_file_that_is_gone_or_a_folder(self, tmp_path, read):
        with pytest.raises(RunError, match="cannot be opened"):
            read(f"{tmp_path}/none")
        with pytest.raises(RunError, match="cannot be opened"):
            read(str(tmp_path))


WRITER = """
import os, sys, time
from midtrain import storage
path, times = sys.argv[1], int(sys.argv[2])
print("begun", flush=True)
for number in range(times):
    with storage.atomic_write(path) as stream:
        for _ in range(200):
            stream.write(bytes([number % 256]) * 10_000)
        if times == 1:
            stream.flush()
            print("half", flush=True)
            time.sleep(60)
"""


def fail_to_write(path: str, error: BaseException) -> None:
    with storage.atomic_write(path) as stream:
        stream.write(b"half")
        raise error


class TestAtomicWrite:
    def test_the_file_appears_when_the_block_ends(self, tmp_path):
        file = tmp_path / "deep" / "a.bin"
        with storage.atomic_write(file) as stream:
            stream.write(b"abc")
            assert not file.exists()
        assert file.read_bytes() == b"abc"
        assert [entry.name for entry in file.parent.iterdir()] == ["a.bin"]

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_exception_leaves_what_stood_there_and_nothing_else(self, tmp_path, error: type[BaseException]):
        file = tmp_path / "a.bin"
        file.write_bytes(b"old")
        with pytest.raises(error):
            fail_to_write(str(file), error())
        assert file.read_bytes() == b"old"
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]

    def test_a_killed_process_leaves_nothing_under_the_name(self, tmp_path):
        file = tmp_path / "a.bin"
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(file), "1"], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["begun\n", "half\n"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        leftover = list(tmp_path.iterdir())
        assert [entry.name[:7] for entry in leftover] == [".a.bin."]
        assert not file.exists()
        storage.sweep_temporary(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_no_reader_ever_sees_a_partial_file(self, tmp_path):
        file = tmp_path / "a.bin"
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(file), "100000"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        deadline, seen = time.monotonic() + 240, set()
        try:
            while len(seen) < 5 and time.monotonic() < deadline:
                if file.exists():
                    content = file.read_bytes()
                    assert len(content) == 2_000_000
                    assert content == content[:1] * len(content)
                    seen.add(content[0])
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert len(seen) >= 5
        assert len(file.read_bytes()) == 2_000_000


def test_sweeping_takes_our_leftovers_alone(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in (".a.bin.0123.tmp", "deep/.b.tmp", "kept.tmp", ".kept", "deep/kept.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".c.tmp").mkdir()
    storage.sweep_temporary(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [".kept", "kept.tmp", "kept.txt"]
    assert not (tmp_path / ".c.tmp").exists()


@pytest.fixture
def changing(tmp_path):
    """A folder in which a thread makes and removes folders with files, as a run does beside whoever looks."""
    ended = threading.Event()

    def change():
        while not ended.is_set():
            for name in ("a", "b", "c"):
                (tmp_path / name / "tasks").mkdir(parents=True, exist_ok=True)
                (tmp_path / name / "tasks" / "0.json").write_bytes(b"12345")
                (tmp_path / name / ".half.tmp").write_bytes(b"1")
            for name in ("a", "b", "c"):
                shutil.rmtree(tmp_path / name, ignore_errors=True)

    thread = threading.Thread(target=change)
    thread.start()
    yield tmp_path
    ended.set()
    thread.join()


def swept(folder: Path) -> bool:
    storage.sweep_temporary(folder)
    return (folder / "stays/tasks/0.json").exists()


@pytest.mark.parametrize(
    "sees_what_stays",
    [
        lambda folder: storage.bytes_below(folder) >= 5,
        swept,
        lambda folder: vouched.listing(folder)["stays/tasks/0.json"] == 5,
        lambda folder: [storage.names(folder / name / "tasks") for name in ("a", "b", "stays")][2] == ["0.json"],
        lambda folder: f"{folder}/stays/tasks/0.json" in {one.path for one in listing.list_files(f"{folder}/**/*")},
        lambda folder: (
            f"{folder}/stays/tasks/0.json" in {one.path for one in listing.list_files(f"{folder}/*/tasks/*")}
        ),
    ],
    ids=["bytes_below", "sweep_temporary", "vouched", "names", "list_files, all", "list_files"],
)
def test_a_folder_that_changes_meanwhile_is_looked_at_all_the_same(changing, sees_what_stays):
    (changing / "stays/tasks").mkdir(parents=True)
    (changing / "stays/tasks/0.json").write_bytes(b"12345")
    ended = time.monotonic() + 0.5
    while time.monotonic() < ended:
        assert sees_what_stays(changing)


def test_bytes_below_a_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "deep/.b").write_bytes(b"12")
    assert storage.bytes_below(tmp_path) == 5
    assert storage.bytes_below(tmp_path / "none") == 0


def test_removing_a_tree_that_is_not_there_is_fine(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    storage.remove_tree(tmp_path / "a")
    storage.remove_tree(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


class TestRemote:
    @pytest.fixture
    def root(self):
        root = f"memory://{uuid.uuid4().hex}"
        yield root
        storage.remove_tree(root)

    def test_what_is_written_is_listed_and_read(self, root: str):
        for name, content in (("a/1.zst", zst(CONTENT)), ("b/1.zst", zst(b"x")), ("b/2.gz", gz(CONTENT))):
            with storage.atomic_write(f"{root}/{name}") as stream:
                stream.write(content)
        listed = listing.list_files(f"{root}/**/*.zst")
        assert [entry.relative for entry in listed] == ["a/1.zst", "b/1.zst"]
        assert [entry.size for entry in listed] == [len(zst(CONTENT)), len(zst(b"x"))]
        assert all(entry.stamp for entry in listed)
        assert read(listed[0].path) == CONTENT
        assert read(f"{root}/b/2.gz") == CONTENT
        assert [entry.relative for entry in listing.list_files(f"{root}/b/2.gz")] == ["2.gz"]
        assert storage.hash_file(f"{root}/b/1.zst") == xxhash.xxh3_128_hexdigest(zst(b"x"))

    def test_a_write_that_failed_leaves_nothing(self, root: str):
        with pytest.raises(ValueError, match="mine"):
            fail_to_write(f"{root}/a.bin", ValueError("mine"))
        assert not storage.exists(f"{root}/a.bin")

    def test_what_is_not_there(self, root: str):
        assert listing.list_files(f"{root}/none") == []
        assert not storage.exists(f"{root}/none")
        storage.remove_tree(f"{root}/none")
        with pytest.raises(RunError, match="cannot be opened"):
            storage.read_bytes(f"{root}/none")

    def test_an_address_without_a_reader(self):
        with pytest.raises(ConfigError, match="no reader for this address"):
            listing.list_files("nothing://bucket/*.txt")

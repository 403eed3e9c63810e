"""A store's hiccups, refusals and addresses: what is tried again, what is said at once, what is never shown."""

import gzip
import os
import pickle
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from midtrain import config, listing, remote, remote_files, storage
from midtrain.config import Address, OutputFolder, Section
from midtrain.errors import ConfigError, RunError

CONTENT = os.urandom(3_000_000)
HICCUPS = (
    "internal error",
    "cut answer",
    "refused",
    *(pytest.param(one, marks=pytest.mark.slow) for one in ("slow down", "no page")),
)


@pytest.fixture
def impatient(monkeypatch):
    """Gives up after a second."""
    monkeypatch.setenv(remote.PATIENCE, "0.5")
    monkeypatch.setattr(remote, "REQUEST_TRIES", 2)


@pytest.fixture
def behind(bucket, proxies, reach):
    """Makes proxies before the bucket's store and goes through them."""
    begun = []

    def make(**how):
        begun.append(proxies(bucket.store, **how))
        begun[-1].__enter__()
        reach(begun[-1].address)
        return begun[-1]

    yield make
    for proxy in begun:
        proxy.__exit__()
    reach(bucket.store)


class TestAddresses:
    def test_they_are_joined_like_paths_and_travel(self):
        root = storage.location("s3://bucket/a/")
        assert isinstance(root, remote.RemotePath)
        assert str(root / "b" / "c/d.parquet") == "s3://bucket/a/b/c/d.parquet"
        assert (root / "c/d.parquet").name == "d.parquet"
        assert pickle.loads(pickle.dumps(root)) == root
        assert hash(root) == hash(storage.location("s3://bucket/a"))
        assert storage.location("a/b") / "c" == storage.location("a/b/c")

    @pytest.mark.parametrize(
        "address",
        [
            "s3://KEY:SECRET@bucket/a",
            "s3://KEY:SEC/RET@bucket/a",
            "s3://SECRET@bucket/a",
            "s3://bucket/a?secret=SECRET",
            "s3://bucket/a?aws_secret_access_key=SECRET&x=1",
            "https://user:SECRET@host/a",
            "https://host/a?X-Amz-Credential=1&X-Amz-Signature=SECRET",
            "abfs://container@account.dfs.core.windows.net/a?sig=SECRET",
        ],
    )
    @pytest.mark.parametrize("verb", ["output", "path"])
    def test_a_secret_in_one_is_refused_and_not_shown(self, tmp_path, address, verb):
        class Both(Section):
            output: OutputFolder = "out"
            path: Address = "in"

        file = tmp_path / "f.yaml"
        file.write_text(f"{verb}: {address}\n")
        with pytest.raises(ConfigError, match="credentials must not stand") as refused:
            config.load(file, Both)
        assert "SEC" not in str(refused.value)
        assert f"f.yaml:1: {verb}" in str(refused.value)
        with pytest.raises(ConfigError, match="credentials must not stand") as refused:
            storage.read_bytes(address)
        assert "SEC" not in str(refused.value)

    @pytest.mark.parametrize(
        ("address", "what"),
        [
            ("s3://", "names a bucket"),
            ("s3:///a", "names a bucket"),
            ("ftp://host/a", "cannot be made there"),
            ("memory://a", "cannot be made there"),
            ("s3://bucket/*/a", "one folder"),
            ("s3://bucket/a?versionId=3", "one folder"),
        ],
    )
    def test_no_output_can_be_there(self, tmp_path, address, what):
        class Out(Section):
            output: OutputFolder

        (tmp_path / "f.yaml").write_text(f"output: '{address}'\n")
        with pytest.raises(ConfigError, match=what):
            config.load(tmp_path / "f.yaml", Out)

    def test_what_is_harmless_passes(self):
        for address in (
            "s3://bucket",
            "s3://bucket/a b/ü",
            "s3://bucket/part-?.jsonl",
            "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/mine/a",
            "abfs://container@account.dfs.core.windows.net/a",
            "https://host:8080/a?download=true",
            "hf://datasets/user/name@revision/a",
        ):
            assert remote.wrong_address(address) == ""


class TestFiles:
    def test_what_is_written_is_read_measured_and_removed(self, bucket):
        root = storage.location(bucket.address) / "deep"
        with storage.atomic_write(root / "a" / "f.bin") as stream:
            stream.write(CONTENT)
            assert stream.measured() == (len(CONTENT), xxhash.xxh3_128_hexdigest(CONTENT))
            assert bucket.objects() == []
        assert storage.hash_file(root / "a" / "f.bin") == xxhash.xxh3_128_hexdigest(CONTENT)
        assert storage.read_bytes(root / "a" / "f.bin") == CONTENT
        with storage.atomic_write(root / "a" / "empty") as stream:
            assert stream.measured() == (0, xxhash.xxh3_128_hexdigest(b""))
        assert storage.read_if_there(root / "a" / "empty") == b""
        assert storage.read_if_there(root / "a" / "none") is None
        assert storage.names(root) == ["a"]
        assert storage.names(root / "a") == ["empty", "f.bin"]
        assert storage.names(root / "none") == []
        assert storage.exists(root / "a" / "f.bin")
        assert not storage.exists(root / "none")
        storage.remove(root / "a" / "empty")
        storage.remove(root / "a" / "empty")
        bucket.put("deeper", b"x")
        storage.remove_tree(root)
        storage.remove_tree(root)
        assert bucket.objects() == ["deeper"]

    def test_nothing_appears_where_the_block_fails(self, bucket, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

        def fail():
            with storage.atomic_write(f"{bucket.address}/f") as stream:
                stream.write(b"half")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert bucket.objects() == []
        assert list(tmp_path.iterdir()) == []

    def test_large_ones_go_up_in_parts(self, bucket):
        data = CONTENT * 40  # 120 MB
        with storage.atomic_write(f"{bucket.address}/f") as stream:
            stream.write(data)
            size, digest = stream.measured()
        assert (size, digest) == (len(data), storage.hash_file(f"{bucket.address}/f"))

    def test_listing_names_what_a_local_one_would(self, bucket, tmp_path):
        for name in ("b/2.txt", "b/10.txt", "a/x/1.txt", "a/1.txt", "c.md"):
            bucket.put(f"in/{name}", name.encode())
        listed = listing.list_files(f"{bucket.address}/in/**/*.txt")
        assert [entry.relative for entry in listed] == ["a/1.txt", "a/x/1.txt", "b/10.txt", "b/2.txt"]
        assert [entry.path for entry in listed] == [f"{bucket.address}/in/{entry.relative}" for entry in listed]
        assert [entry.size for entry in listed] == [7, 9, 8, 7]
        assert all(entry.stamp for entry in listed)
        assert [entry.relative for entry in listing.list_files(f"{bucket.address}/in/b/2.txt")] == ["2.txt"]
        assert listing.list_files(f"{bucket.address}/in/none.txt") == []
        assert listing.list_files(f"{bucket.address}/in/b") == []

    def test_a_footer_and_a_piece_cost_few_requests(self, bucket, behind):
        address = bucket.put("f", CONTENT)
        small = bucket.put("small", CONTENT[:500_000])
        proxy = behind()
        with storage.open_ranges(address, 64 << 10) as stream:
            stream.seek(-10, 2)
            assert stream.read(10) == CONTENT[-10:]
            stream.seek(1_000_000)
            assert stream.read(100) == CONTENT[1_000_000:1_000_100]
            assert stream.read(500_000) == CONTENT[1_000_100:1_500_100]
            assert stream.tell() == 1_500_100
        assert len(proxy.requests) == 4  # size, end, head of the piece, the piece
        proxy.requests.clear()
        with storage.open_ranges(small, 64 << 10) as stream:
            stream.seek(400_000)
            assert stream.read() == CONTENT[400_000:500_000]
            assert stream.read(5) == b""
        assert len(proxy.requests) == 2

    def test_a_forked_process_connects_by_itself(self, bucket):
        address = bucket.put("f", b"x")
        assert storage.read_bytes(address) == b"x"
        child = os.fork()
        if child == 0:
            os._exit(0 if storage.read_bytes(address) == b"x" else 1)
        deadline = time.monotonic() + 120
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        if ended == (0, 0):
            os.kill(child, 9)
        assert ended == (child, 0)


class TestHiccups:
    @pytest.mark.parametrize("kind", HICCUPS)
    def test_reads_and_writes_come_through(self, bucket, behind, kind):
        bucket.put("f", CONTENT)
        proxy = behind(share=1.0, kinds=(kind,), most=2)
        assert storage.read_bytes(f"{bucket.address}/f") == CONTENT
        assert proxy.happened[kind] == 2
        proxy.happened.clear()
        with storage.open_ranges(f"{bucket.address}/f", 1 << 20) as stream:
            proxy.happened.clear()
            stream.seek(2_000_000)
            assert stream.read(100_000) == CONTENT[2_000_000:2_100_000]
        proxy.happened.clear()
        with storage.atomic_write(f"{bucket.address}/g") as stream:
            stream.write(CONTENT)
        proxy.share = 0.0
        assert bucket.get("g") == CONTENT

    @pytest.mark.parametrize("kind", ["cut request", "lost answer"])
    def test_writes_come_through(self, bucket, behind, kind):
        proxy = behind(share=1.0, kinds=(kind,), most=2, only="PUT")
        with storage.atomic_write(f"{bucket.address}/g") as stream:
            stream.write(CONTENT)
        assert proxy.happened[kind] == 2
        assert bucket.get("g") == CONTENT

    def test_silence_ends(self, bucket, behind, monkeypatch):
        monkeypatch.setenv(remote.READ_TIMEOUT, "1")  # also for the answers that come
        address = bucket.put("f", CONTENT)
        proxy = behind(share=1.0, kinds=("silence",), most=2, delay=3.0)
        begun = time.monotonic()
        assert storage.read_bytes(address) == CONTENT
        assert time.monotonic() - begun < 60
        assert proxy.happened["silence"] == 2

    @pytest.mark.parametrize("kind", ["internal error", "slow down", "cut answer", "refused"])
    def test_a_store_that_stays_broken_ends_the_run(self, bucket, behind, impatient, kind):
        address = bucket.put("f", CONTENT)
        behind(share=1.0, kinds=(kind,))
        with pytest.raises(RunError, match="failed again and again") as ended:
            storage.read_bytes(address)
        assert ended.value.where == address
        assert "run again" in ended.value.fix

    def test_it_is_never_taken_for_a_damaged_file(self, bucket, behind, impatient, tmp_path):
        pq.write_table(pa.table({"text": [os.urandom(400).hex() for _ in range(5000)]}), tmp_path / "f.parquet")
        address = bucket.put("f.parquet", (tmp_path / "f.parquet").read_bytes())
        proxy = behind(kinds=("cut answer",))
        with storage.open_ranges(address, 0) as stream:
            file = pq.ParquetFile(stream)
            proxy.share = 1.0
            with pytest.raises(RunError, match="failed again and again"):
                list(file.iter_batches())
        compressed = bucket.put("f.gz", gzip.compress(CONTENT))
        proxy.share = 0.0
        with storage.open_stream(compressed) as stream:
            proxy.share = 1.0
            with pytest.raises(RunError, match="failed again and again"):
                stream.read()

    def test_a_file_that_changes_while_it_is_read_is_noticed(self, bucket):
        address = bucket.put("f", CONTENT)
        with storage.open_ranges(address, 0) as stream:
            stream.read(10)
            bucket.put("f", CONTENT[::-1])
            with pytest.raises(RunError, match="changed while it was read"):
                stream.read(10)


class TestRefusals:
    def test_no_such_bucket(self, bucket):
        for act in (storage.read_bytes, listing.list_files, storage.open_input, self.write):
            with pytest.raises((ConfigError, RunError), match=r"no such bucket|cannot be opened"):
                act("s3://no-such-bucket-here/f")
        with pytest.raises(ConfigError, match="no such bucket"):
            listing.list_files("s3://no-such-bucket-here/*.txt")
        with pytest.raises(ConfigError, match="no such bucket"):
            self.write("s3://no-such-bucket-here/f")

    def write(self, address):
        with storage.atomic_write(address) as stream:
            stream.write(b"x")

    @pytest.mark.parametrize("address", ["s3://bucket/x.jsonl"])
    def test_what_the_libraries_cannot_begin_with(self, monkeypatch, address):
        monkeypatch.setenv("AWS_ENDPOINT_URL", "not-a-url")
        with pytest.raises(ConfigError, match=r"no reader for this address|cannot be spoken to"):
            listing.list_files(address)

    def test_an_object_that_is_not_there(self, bucket):
        for act in (storage.read_bytes, storage.open_input, storage.hash_file):
            with pytest.raises(RunError, match="cannot be opened"):
                act(f"{bucket.address}/none")

    @pytest.mark.parametrize("kind", ["denied", "wrong signature"])
    def test_access_is_refused_at_once(self, bucket, behind, kind):
        proxy = behind(share=1.0, kinds=(kind,))
        with pytest.raises(ConfigError, match="refuses access") as refused:
            storage.read_bytes(f"{bucket.address}/f")
        assert "AWS_ACCESS_KEY_ID" in refused.value.fix
        assert len(proxy.requests) == 1

    def test_no_credentials(self, bucket, monkeypatch, reach):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        reach(bucket.store)
        with pytest.raises(ConfigError, match="no credentials") as refused:
            storage.read_bytes(f"{bucket.address}/f")
        assert "AWS_ACCESS_KEY_ID" in refused.value.fix
        assert "AWS_ENDPOINT_URL" in refused.value.fix

    def test_a_password_of_the_endpoint_is_not_shown(self, bucket, reach, impatient):
        reach("http://someone:hidden@127.0.0.1:9")
        with pytest.raises(RunError) as ended:
            storage.read_bytes(f"{bucket.address}/f")
        assert "hidden" not in str(ended.value)

    def test_a_package_that_is_missing_is_named_with_the_command(self):
        code = (
            "import sys; sys.modules['s3fs'] = None\nfrom midtrain import storage\n"
            "try: storage.read_bytes('s3://bucket/f')\nexcept Exception as error: print(error.exit_code, error)"
        )
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert said.startswith("2 ")
        assert "pip install 'midtrain[s3]'" in said

    def test_the_number_of_seconds_is_checked(self, monkeypatch):
        monkeypatch.setenv(remote.READ_TIMEOUT, "soon")
        with pytest.raises(ConfigError, match="no number of seconds"):
            remote.setting(remote.READ_TIMEOUT)


def test_a_hundred_small_reads_go_side_by_side(bucket, behind):
    addresses = [bucket.put(f"f{number}", bytes([number])) for number in range(40)]
    assert remote_files.read_all(addresses) == [bytes([number]) for number in range(40)]

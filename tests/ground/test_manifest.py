"""Fingerprints, and manifests that vouch for files."""

import orjson
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.manifest import NAME, Manifest, OutputFile, canonical, fingerprint

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=4), below, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_fingerprints_are_equal_exactly_where_the_json_is(one: object, other: object):
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))
    assert len(fingerprint(one)) == 32


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=5))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]):
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


def test_fingerprints_are_the_same_on_every_machine_and_tell_types_apart():
    assert fingerprint(["read", 1, {"b": 2, "a": "é"}]) == "8035a2609e6d8333657054ae6a2ca42b"
    assert len({fingerprint(value) for value in (1, "1", True, [1], None, 1.5, (2,))}) == 7
    assert fingerprint((1, 2)) == fingerprint([1, 2])
    with pytest.raises(TypeError):
        fingerprint({1, 2})


@pytest.fixture
def stage(tmp_path):
    """A folder with two files and their manifest."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0").write_bytes(b"first")
    (tmp_path / "1").write_bytes(b"second file")
    files = (OutputFile.of(tmp_path, "parts/0", 3, "docs"), OutputFile.of(tmp_path, "1", 5))
    manifest = Manifest("read", 2, "f" * 32, {"x": [1]}, ("p" * 32,), files, {"documents": 8})
    manifest.write(tmp_path)
    return tmp_path, manifest


def test_a_manifest_reads_back_equal_and_vouches(stage):
    folder, manifest = stage
    assert Manifest.read(folder) == manifest
    assert Manifest.find(folder) == manifest
    manifest.check_sizes(folder)
    manifest.check_hashes(folder)
    assert manifest.files[0] == OutputFile("parts/0", 3, 5, manifest.files[0].hash, "docs")


def test_equal_work_gives_equal_bytes_in_any_folder(stage, tmp_path_factory):
    folder, manifest = stage
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    manifest.write(elsewhere)
    assert (elsewhere / NAME).read_bytes() == (folder / NAME).read_bytes()
    assert str(folder) not in (folder / NAME).read_text()


def test_a_folder_without_a_manifest_is_not_done(tmp_path):
    assert Manifest.find(tmp_path) is None
    with pytest.raises(RunError, match="cannot be opened"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda file: file.unlink(), "the file is missing"),
        (lambda file: file.write_bytes(b"firs"), "cut short or changed"),
        (lambda file: file.write_bytes(b"first!"), "cut short or changed"),
    ],
)
def test_files_of_another_size_are_found(stage, change, problem: str):
    folder, manifest = stage
    change(folder / "parts" / "0")
    with pytest.raises(RunError, match=problem) as wrong:
        manifest.check_sizes(folder)
    assert wrong.value.where == str(folder / "parts" / "0")
    with pytest.raises(RunError, match=problem):
        manifest.check_hashes(folder)


def test_changed_bytes_of_the_same_size_are_found_by_hash(stage):
    folder, manifest = stage
    (folder / "1").write_bytes(b"second fil?")
    manifest.check_sizes(folder)
    with pytest.raises(RunError, match="bytes changed") as wrong:
        manifest.check_hashes(folder)
    assert wrong.value.where == str(folder / "1")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: b"not json",
        lambda data: b"[]",
        lambda data: b"{}",
        lambda data: b"\xff",
        orjson.dumps,
        lambda data: sealed({**data, "extra": 1}),
        lambda data: sealed({**data, "files": 5}),
        lambda data: sealed({**data, "files": [{"path": "x"}]}),
        lambda data: sealed({key: value for key, value in data.items() if key != "fingerprint"}),
    ],
)
def test_what_is_not_a_manifest_is_said_to_be_none(stage, change):
    folder, _ = stage
    file = folder / NAME
    file.write_bytes(change(orjson.loads(file.read_bytes())))
    with pytest.raises(RunError, match="is not a manifest"):
        Manifest.read(folder)


def sealed(data: dict[str, object]) -> bytes:
    """The bytes of a manifest that says this, under a seal of its own."""
    rest = orjson.dumps({key: value for key, value in data.items() if key != "seal"})[1:]
    return b'{\n  "seal": "' + xxhash.xxh3_128_hexdigest(rest).encode() + b'",' + rest


def test_a_manifest_that_says_what_another_program_sealed_is_read(stage):
    folder, manifest = stage
    (folder / NAME).write_bytes(sealed(orjson.loads((folder / NAME).read_bytes())))
    assert Manifest.read(folder) == manifest


def test_no_byte_of_a_manifest_changes_unseen(stage):
    folder, _ = stage
    whole = (folder / NAME).read_bytes()
    assert orjson.loads(whole)["seal"] in whole.decode()
    for place in range(len(whole)):
        for changed in (whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :], whole[:place]):
            (folder / NAME).write_bytes(changed)
            with pytest.raises(RunError) as caught:
                Manifest.read(folder)
            assert caught.value.where == str(folder / NAME)
            assert "remove it and run" in caught.value.fix
    for more in (b" ", b"\n", b"}"):
        (folder / NAME).write_bytes(whole + more)
        with pytest.raises(RunError, match="changed since"):
            Manifest.find(folder)

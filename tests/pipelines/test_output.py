"""An output folder: one result, one run at a time."""

import threading

import pytest
from midtrain import storage
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import Manifest
from midtrain.pipelines.known_files import KnownFiles
from midtrain.pipelines.output import Output


@pytest.fixture
def output(tmp_path):
    return Output(tmp_path / "a" / "b", "curate")


def test_the_folder_is_made_and_swept(output):
    with output.opened():
        pass
    ours = [output.folder / "packs/web/.spans.0123456789ab.tmp", output.folder / ".manifest.json.0123456789ab.tmp"]
    others = [output.folder / ".mine.tmp", output.folder / "thesis/.chapter.0123456789ab.tmp"]
    for path in ours + others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    with output.opened():
        assert [path.exists() for path in ours] == [False, False]
        assert [path.exists() for path in others] == [True, True]


def test_what_another_command_renames_meanwhile_is_no_error(output):
    """`plan` writes what it learned of the inputs without the lock, and a run that begins sweeps."""
    with output.opened():
        pass
    ended, failed = threading.Event(), []

    def plan():
        while not ended.is_set():
            known = KnownFiles(output.folder / "inputs.json")
            known._kept = {"/in": {str(number): [1, "", str(ended)] for number in range(200)}}
            try:
                known.save()
            except Exception as error:  # noqa: BLE001 - in a thread
                failed.append(error)
            storage.remove(output.folder / "inputs.json")

    threads = [threading.Thread(target=plan) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        with output.opened():
            pass
    ended.set()
    for thread in threads:
        thread.join()
    assert failed == []


def test_one_run_at_a_time(output):
    with output.opened():
        with pytest.raises(RunError, match="another run is at work") as caught, output.opened():
            pytest.fail("two runs in one folder")
        assert caught.value.where == str(output.folder)
    with output.opened():
        pass


def test_the_lock_is_given_back_when_the_run_fails(output):
    with pytest.raises(ZeroDivisionError), output.opened():
        raise ZeroDivisionError
    with output.opened():
        pass


def test_a_file_in_the_folders_place_is_an_error(output):
    output.folder.parent.mkdir()
    output.folder.touch()
    with pytest.raises(ConfigError, match="cannot be made"), output.opened():
        pytest.fail("a file was opened as a folder")


@pytest.mark.parametrize(
    ("stage", "overwrite", "allowed"), [("curate", False, False), ("curate", True, True), ("build", True, False)]
)
def test_another_result_is_replaced_only_when_told_and_only_of_this_verb(output, stage, overwrite, allowed):
    output.folder.mkdir(parents=True)
    Manifest(stage, 1, "old").write(output.folder)
    output.claim("old", overwrite=False)
    if allowed:
        assert output.claim("new", overwrite) == Manifest.read(output.folder)
        output.withdraw("old")
        assert Manifest.read(output.folder).fingerprint == "old"
        output.withdraw("new")
        assert Manifest.find(output.folder) is None
        return
    with pytest.raises(ConfigError, match="holds another result") as caught:
        output.claim("new", overwrite)
    assert (caught.value.seen, caught.value.expected) == ("old", "new")
    assert ("--overwrite" in caught.value.fix) == (stage == "curate")
    assert Manifest.read(output.folder).fingerprint == "old"


def test_the_same_manifest_is_not_written_again(output):
    output.folder.mkdir(parents=True)
    manifest = Manifest("curate", 1, "f", options={"scores": []}, counts={"funnel": [{"stage": "x", "kept": 1}]})
    output.publish(manifest)
    before = (output.folder / "manifest.json").stat()
    output.publish(manifest)
    after = (output.folder / "manifest.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    output.publish(Manifest("curate", 1, "f", options={"scores": ["score.x"]}))
    assert Manifest.read(output.folder).options == {"scores": ["score.x"]}


def test_the_configuration_is_recorded_and_never_replaces_the_file_that_it_was_read_from(output, tmp_path):
    output.folder.mkdir(parents=True)
    own, other = output.folder / "recipe.yaml", tmp_path / "recipe.yaml"
    own.write_text("name: x  # mine\n")
    output.record("recipe.yaml", "name: x\n", str(own))
    assert own.read_text() == "name: x  # mine\n"
    other.write_text("name: x\n")
    output.record("recipe.yaml", "name: x\n", str(other))
    assert own.read_text() == "name: x\n"
    output.record("new.yaml", "name: x\n", "no file")
    assert (output.folder / "new.yaml").exists()

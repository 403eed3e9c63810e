"""A stage: what its folder is called, what proves that it or a task is done, and that counts add up."""

import dataclasses
import shutil
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain import storage
from midtrain.errors import RunError
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines.stage import Tally, TaskResult, add_counts, remove_scratch


@pytest.fixture
def squares(toys, tmp_path):
    return toys.Squares(tmp_path)


def finish(stage):
    """Runs all tasks of a stage in this process."""
    results = [stage.run(task) for task in range(stage.tasks())]
    for task, result in enumerate(results):
        stage.write_marker(task, result)
    return stage.complete(Tally(results))


def test_the_folder_is_named_by_all_that_the_output_depends_on(squares, toys, tmp_path):
    fresh = dataclasses.replace  # a copy without the fingerprint that the original has computed
    prints = {
        squares.fingerprint,
        fresh(squares, count=7).fingerprint,
        fresh(squares, label="cubes").fingerprint,
        fresh(squares, before=(squares,)).fingerprint,
        fresh(squares, before=(fresh(squares, count=7),)).fingerprint,
    }
    assert len(prints) == 5
    assert fresh(squares, root=tmp_path / "elsewhere").fingerprint == squares.fingerprint
    assert squares.folder == tmp_path / "stages" / f"squares-{squares.fingerprint[:16]}"


def test_another_version_has_another_folder(squares, toys, monkeypatch):
    before = squares.fingerprint
    monkeypatch.setattr(toys.Squares, "version", 2)
    assert dataclasses.replace(squares).fingerprint != before


def test_a_stage_is_done_when_its_manifest_stands(squares):
    assert squares.manifest() is None
    with pytest.raises(RunError, match="not complete"):
        squares.finished()
    written = finish(squares)
    assert squares.manifest() == squares.finished() == written
    assert [file.path for file in written.files] == [f"{task:03d}.txt" for task in range(6)]
    assert written.counts == {"documents": 6, "by": {"even": 0 + 2 + 4, "odd": 1 + 3 + 5}}
    assert not (squares.folder / "tasks").exists()


def test_the_manifest_of_another_stage_is_refused(squares):
    finish(squares)
    dataclasses.replace(Manifest.read(squares.folder), fingerprint="0" * 32).write(squares.folder)
    with pytest.raises(RunError) as caught:
        squares.manifest()
    assert caught.value.where == str(squares.folder)
    assert caught.value.seen == "0" * 32
    assert caught.value.expected == squares.fingerprint


@pytest.mark.parametrize(
    ("damage", "what"), [(lambda p: p.write_bytes(b""), "cut short"), (lambda p: p.unlink(), "missing")]
)
def test_a_file_that_is_not_whole_is_named(squares, damage, what):
    finish(squares)
    damage(squares.folder / "003.txt")
    with pytest.raises(RunError, match=what) as caught:
        squares.manifest()
    assert caught.value.where == str(squares.folder / "003.txt")


def test_a_manifest_that_is_none_is_an_error_of_ours(squares):
    finish(squares)
    for content in (b"", b"[]", b"3", b'{"files": []}', b'{"files": [{}]}'):
        (squares.folder / "manifest.json").write_bytes(content)
        with pytest.raises(RunError, match="is not a manifest"):
            squares.manifest()


def test_a_task_is_done_when_its_marker_and_its_files_stand(squares):
    result = squares.run(4)
    assert squares.read_marker(4) is None
    squares.write_marker(4, result)
    assert squares.read_marker(4) == result
    assert squares.read_marker(3) is None
    (squares.folder / "004.txt").write_bytes(b"1")  # one byte less
    assert squares.read_marker(4) is None
    (squares.folder / "004.txt").unlink()
    assert squares.read_marker(4) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"files": [{"path": "x"}], "counts": {}}'])
def test_a_damaged_marker_counts_for_nothing(squares, content):
    squares.write_marker(0, squares.run(0))
    (marker,) = (squares.folder / "tasks").iterdir()
    marker.write_bytes(content)
    assert squares.read_marker(0) is None


def test_a_stage_that_fails_its_check_keeps_its_markers(squares, toys, monkeypatch):
    def refuse(self, counts, files):
        assert counts["documents"] == 6
        assert [file.path for file in files] == [f"{task:03d}.txt" for task in range(6)]
        raise RunError("refused")

    monkeypatch.setattr(toys.Squares, "check", refuse)
    with pytest.raises(RunError, match="refused"):
        finish(squares)
    assert squares.manifest() is None
    assert all(squares.read_marker(task) is not None for task in range(6))


def test_scratch_is_removed_wherever_it_stands_among_the_ancestors(toys, tmp_path):
    first = toys.Squares(tmp_path, label="first")
    keys = toys.Scratch(tmp_path, label="keys", before=(first,))
    choice = toys.Scratch(tmp_path, label="choice", before=(first, keys))
    last = toys.Squares(tmp_path, label="last", before=(first, choice))
    for stage in (first, keys, choice, last):
        finish(stage)
    remove_scratch([last])
    assert [stage.manifest() is not None for stage in (first, keys, choice, last)] == [True, False, False, True]


def test_scratch_that_is_being_removed_is_not_done_and_not_damaged(toys, tmp_path, monkeypatch):
    keys = toys.Scratch(tmp_path, label="keys")
    for stage in (keys, last := toys.Squares(tmp_path, label="last", before=(keys,))):
        finish(stage)

    def remove(folder):  # as far as another process sees it
        assert not (folder / "manifest.json").exists()
        next(path for path in folder.iterdir() if path.is_file()).unlink()
        assert keys.manifest() is None
        seen.append(folder)

    seen = []
    monkeypatch.setattr(storage, "remove_tree", remove)
    remove_scratch([last])
    assert seen == [keys.folder]


def test_a_result_that_is_removed_while_it_is_looked_at_is_not_done(squares, monkeypatch):
    finish(squares)
    check = Manifest.check_sizes

    def remove_and_check(manifest, folder):
        shutil.rmtree(folder)
        check(manifest, folder)

    monkeypatch.setattr(Manifest, "check_sizes", remove_and_check)
    assert squares.manifest() is None


def flat(counts, path=()):
    if isinstance(counts, dict):
        return sum((flat(value, (*path, key)) for key, value in counts.items()), Counter())
    return Counter({path: counts})


@given(st.lists(st.dictionaries(st.sampled_from("xy"), st.dictionaries(st.sampled_from("abc"), st.integers(0, 99)))))
def test_counts_are_summed_leaf_by_leaf(many):
    total = {}
    for counts in many:
        add_counts(total, counts)
    assert +flat(total) == +sum((flat(counts) for counts in many), Counter())


def test_a_result_survives_its_marker(squares):
    result = TaskResult((OutputFile("a/b.txt", 3, 0, "0" * 32, "web"),), {"documents": 2**40, "x": {"y": {"z": 1}}})
    (squares.folder / "a").mkdir(parents=True)
    (squares.folder / "a" / "b.txt").touch()
    squares.write_marker(12, result)
    assert squares.read_marker(12) == result

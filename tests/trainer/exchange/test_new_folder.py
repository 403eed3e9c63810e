"""A folder that is written whole or not at all, whatever its target is and wherever a call is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from midtrain.errors import ConfigError
from midtrain.trainer.exchange import new_folder as module
from midtrain.trainer.exchange.new_folder import new_folder

CHILD = """
import os, signal, sys
from pathlib import Path
from midtrain import storage
from midtrain.trainer.exchange.new_folder import new_folder

def die(*args, **rest):
    os.kill(os.getpid(), signal.SIGKILL)

{before}
with new_folder(Path(sys.argv[1]), "mark", {overwrite}) as folder:
    (folder / "mark").write_text({said!r})
    {inside}
"""

BETWEEN_RENAMES = """
rename = Path.rename
def renamed(path, to):
    rename(path, to)
    if to.name.endswith(".old"):
        die()
Path.rename = renamed
"""
WAIT = "print('writing', flush=True); sys.stdin.readline()"


def script(said: str, before: str = "", inside: str = "", overwrite: bool = True) -> list[str]:
    return [sys.executable, "-c", CHILD.format(said=said, before=before, inside=inside, overwrite=overwrite)]


def killed(target: Path, said: str, before: str = "", inside: str = "") -> None:
    done = subprocess.run([*script(said, before, inside), str(target)], capture_output=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@contextmanager
def writing(target: Path, said: str, overwrite: bool = True) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """A process that has begun to write and goes on when it is told."""
    command = [*script(said, inside=WAIT, overwrite=overwrite), str(target)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        assert process.stdin
        try:
            assert process.stdout.readline() == "writing\n"
            yield process, process.stdin
        finally:
            process.kill()


def write(target: Path, said: Any, overwrite: bool = False) -> None:
    with new_folder(target, "mark", overwrite) as folder:
        (folder / "mark").write_text(said)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_stands_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "deep/out"
    write(target, "first")
    with pytest.raises(ConfigError, match="there already"):
        write(target, "second")
    with pytest.raises(TypeError):
        write(target, 3, overwrite=True)
    assert (target / "mark").read_text() == "first"
    write(target, "second", overwrite=True)
    assert (target / "mark").read_text() == "second"
    assert names(target.parent) == ["out"]


@pytest.mark.parametrize("inside", [".", "below"])
def test_the_folder_that_a_command_runs_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    target = tmp_path / "here"
    (target / inside).mkdir(parents=True)
    monkeypatch.chdir(target / inside)
    with pytest.raises(ConfigError, match=f"{target}: the command runs in this folder"):
        write(Path("." if inside == "." else ".."), "new")
    assert names(tmp_path) == ["here"]


def test_relative_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(Path("../out"), "first")
    write(Path("./in"), "second")
    assert (tmp_path / "out/mark").read_text() == "first"
    assert (tmp_path / "here/in/mark").read_text() == "second"
    with pytest.raises(ConfigError, match=r"the command runs in|holds something else"):
        write(Path("/"), "never")


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link, empty = tmp_path / "link", tmp_path / "empty"
    write(tmp_path / "disk/real", "first")
    link.symlink_to(tmp_path / "disk/real")
    empty.symlink_to(tmp_path / "disk/not yet")
    write(link, "second", overwrite=True)
    write(empty, "third")
    assert (link.is_symlink(), empty.is_symlink()) == (True, True)
    assert (tmp_path / "disk/real/mark").read_text() == "second"
    assert (tmp_path / "disk/not yet/mark").read_text() == "third"
    assert names(tmp_path) == ["disk", "empty", "link"]
    assert names(tmp_path / "disk") == ["not yet", "real"]


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "other")
    (tmp_path / "other").symlink_to(tmp_path / "one")
    with pytest.raises(ConfigError, match=r"one: no folder: .*loop"):
        write(tmp_path / "one", "never")
    assert names(tmp_path) == ["one", "other"]


def test_what_a_killed_call_left_is_swept_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (tmp_path / ".out.notours.tmp").mkdir()
    (tmp_path / ".outer.0123456789ab.tmp").mkdir()
    killed(target, "half", inside="die()")
    assert len(names(tmp_path)) == 3
    write(target, "whole")
    assert names(tmp_path) == [".out.notours.tmp", ".outer.0123456789ab.tmp", "out"]
    assert (target / "mark").read_text() == "whole"


def test_what_is_still_written_is_not_swept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with writing(target, "slow") as (process, told):
        write(target, "fast")
        assert (target / "mark").read_text() == "fast"
        told.write("\n")
        told.flush()
        assert process.wait(60) == 0, process.stderr and process.stderr.read()
    assert (target / "mark").read_text() == "slow"
    assert names(tmp_path) == ["out"]


def test_who_may_not_overwrite_does_not_at_the_end_either(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with writing(target, "slow", overwrite=False) as (process, told):
        write(target, "fast")
        told.write("\n")
        told.flush()
        assert process.wait(60) == 1
        assert process.stderr
        assert "there already" in process.stderr.read()
    assert (target / "mark").read_text() == "fast"
    assert names(tmp_path) == ["out"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for overwrite in (False, True):
        write(target, "old", overwrite=True)
        killed(target, "new", before=BETWEEN_RENAMES)
        assert not target.exists()
        if overwrite:
            write(target, "newest", overwrite=True)
        else:
            with pytest.raises(ConfigError, match="there already"):
                write(target, "newest")
        assert (target / "mark").read_text() == ("newest" if overwrite else "old")
        write(target, "swept", overwrite=True)
        assert names(tmp_path) == ["out"]


def test_a_kill_behind_the_renames_leaves_the_new_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "old")
    killed(target, "new", before="storage.remove_tree = die")
    assert (target / "mark").read_text() == "new"
    assert len(names(tmp_path)) == 2
    assert [name for name in names(tmp_path) if name.endswith(".old")] == []  # maybe removed by half: never put back
    write(target, "newest", overwrite=True)
    assert (target / "mark").read_text() == "newest"
    assert names(tmp_path) == ["out"]


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "out", Path.rename
    write(target, "old")

    def broken(path: Path, to: Path) -> Path:
        if path.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(KeyboardInterrupt):
        write(target, "new", overwrite=True)
    assert (target / "mark").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_where_nothing_can_be_locked_what_others_may_write_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError(95, os.strerror(95))

    left = tmp_path / ".out.0123456789ab.tmp"
    left.mkdir()
    flock: Callable[[int, int], None] = none
    monkeypatch.setattr(module.fcntl, "flock", flock)
    write(tmp_path / "out", "whole")
    assert names(tmp_path) == [left.name, "out"]

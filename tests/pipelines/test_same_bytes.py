"""Two machines, two folders: equal inputs give equal fingerprints and equal bytes, wherever they lie."""

import os
import shutil
from pathlib import Path
from typing import Any

from midtrain.pipelines.verification import vouched


def contents(output: Path) -> dict[str, bytes]:
    """All files of an output but the records of runs."""
    return {name: (output / name).read_bytes() for name in vouched.listing(output) if name not in vouched.BESIDE}


def test_two_copies_in_two_places_give_the_same_bytes(workshop: Any, monkeypatch: Any):
    workshop.corpus()
    one, other = workshop.twin("here"), workshop.twin("much/deeper/and elsewhere")
    one.curate()
    one.build()
    for path in (other.root / "data").rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("HOSTNAME", "another")
    monkeypatch.setenv("PYTHONHASHSEED", "77")
    other.curate()
    other.build(workers=2)
    for output in ("out", "shards"):
        assert contents(one.root / output) == contents(other.root / output)
        assert not any(str(workshop.root).encode() in data for data in contents(other.root / output).values())


def test_a_result_that_was_moved_with_all_it_was_made_of_is_done(workshop: Any):
    workshop.corpus()
    workshop.curate()
    workshop.build()
    moved = type(workshop)(workshop.root / "moved")
    moved.root.mkdir()
    for name in ("data", "out", "shards"):
        shutil.move(workshop.root / name, moved.root / name)
    before = contents(moved.root / "shards")
    assert moved.curate().tasks_run == 0
    assert moved.build().tasks_run == 0
    assert contents(moved.root / "shards") == before

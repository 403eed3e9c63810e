"""A real build killed at random times: nobody ever sees a part of a result, and what is made anew is the same bytes."""

import contextlib
import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from midtrain import storage
from midtrain.errors import ConfigError
from midtrain.manifest import NAME
from midtrain.mixtures.built import Built
from midtrain.pipelines.verification import verify, vouched
from midtrain.progress import Progress

from tests.sizes import sized

KILLS = sized(24, 6)


def hashes(output: Path) -> dict[str, str]:
    """Every file of an output under its final name, but for records of runs, markers and what is half written."""
    names = [name for name in vouched.listing(output) if name not in vouched.BESIDE and "/tasks/" not in name]
    return {name: storage.hash_file(output / name) for name in names if not name.endswith(".tmp")}


def scratch(name: str) -> bool:
    """Whether a file is of a stage that is removed when the build is complete."""
    return name.startswith(("stages/tokenize-", "stages/held-out-keys-"))


def look(output: Path, whole: dict[str, str]) -> bool:
    """What a reader finds at any moment: a whole result or none; files that are whole or not there."""
    seen = {name: digest for name, digest in hashes(output).items() if not scratch(name)}
    assert seen.items() <= whole.items()
    opened = None
    with contextlib.suppress(ConfigError):  # there is no result; one with a part missing would be a RunError
        opened = Built.open(output)
    if opened is None:
        found = verify.verify(str(output), 1, Progress(shown=False)) if (output / "stages").exists() else None
        assert found is None or [problem.path for problem in found.problems] == [NAME]
        return False
    assert seen == whole
    return True


@pytest.mark.slow
def test_a_build_killed_at_random_times_shows_no_part_of_a_result(shop: Any, built_workshop: Any, processes: Any):
    whole = hashes(built_workshop.root / "shards")
    output, rng = shop.root / "shards", random.Random(KILLS)
    command = ("-m", "midtrain", "build", str(shop.yaml("mixture.yaml", shop.mixture())), "--workers", "0")
    started = time.monotonic()
    assert processes.end(processes.start(*command)).code == 0
    seconds = time.monotonic() - started
    assert look(output, whole)
    shutil.rmtree(output)
    killed = 0
    while killed < KILLS:
        process = processes.start(*command)
        time.sleep(rng.uniform(0.3, 1.0) * seconds)
        if process.poll() is None:
            processes.kill(process, whole_group=True)
            killed += 1
        else:
            seconds *= 0.8  # the first one took longer than those behind it do
        if output.exists() and (look(output, whole) or rng.random() < 0.3):
            shutil.rmtree(output)  # begun anew, at another place of the build
    assert processes.end(processes.start(*command)).code == 0
    assert look(output, whole)
    found = verify.verify(str(output), 1, Progress(shown=False))
    assert (found.problems, found.unlisted, found.unfinished) == ((), (), ())


def test_a_reader_beside_a_build_sees_all_or_nothing(shop: Any, built_workshop: Any, processes: Any):
    whole, output = hashes(built_workshop.root / "shards"), shop.root / "shards"
    command = ("-m", "midtrain", "build", str(shop.yaml("mixture.yaml", shop.mixture())), "--workers", "2")
    looks = 0
    for _ in range(10):
        looks = look_beside(output, whole, processes.start(*command), processes)
        assert hashes(output) == whole
        if looks > len(whole):
            break
        shutil.rmtree(output)  # the build had ended before this process had its turn
    assert looks > len(whole)


def look_beside(output: Path, whole: dict[str, str], process: Any, processes: Any) -> int:
    """Looks at a build until it ends: how many files were seen, each of them whole."""
    looks = 0
    while process.poll() is None:
        if (output / NAME).exists():
            Built.open(output).batch("first", 0, 8)
        below = (walk for name in ("tokens", "packs", "order") for walk in os.walk(output / name))
        for path in (Path(place, name) for place, _, names in below for name in names):
            if not path.name.startswith(".") and "tasks" not in path.parts:
                relative = str(path.relative_to(output))
                assert storage.hash_file(path) == whole[relative], relative
                looks += 1
        time.sleep(0.01)
    assert processes.end(process).code == 0
    return looks

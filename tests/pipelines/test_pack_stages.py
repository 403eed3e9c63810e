"""Packing as a stage: the same bytes as in the planning process, a task a part, restartable, in a part's memory."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from midtrain.errors import ConfigError
from midtrain.mixtures.built import Built
from midtrain.mixtures.packs.pack_requests import PackRequest, SourceTokens
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan
from midtrain.pipelines import footprints, pack_stages, tokenize_stages
from midtrain.pipelines.executor import InProcess
from midtrain.pipelines.pack_stages import PackParts
from midtrain.pipelines.runner import Runner
from midtrain.progress import Events, Progress

from tests.mixtures.memory_ends import MemoryEnds
from tests.sizes import whole_only

PROGRAM = Path(__file__).parent / "pack_memory.py"
LENGTHS = np.random.default_rng(1).lognormal(3, 1, 3000).astype(np.int64) + 1
PHASES = [PhaseSpec(str(length), length, 20_000, (PhaseWeight("web", 1.0, "all", 9),)) for length in (64, 100)]


def source(too_long="drop"):
    return SourceTokens("web", "f" * 32, MemoryEnds.of(LENGTHS, 7), "whole", too_long)


def contents(root):
    paths = [path for path in root.rglob("*") if path.is_file() and path.suffix not in (".jsonl", ".tmp")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def staged(root, executor=None):
    """Plans the phases with a runner; the number of tasks that it ran."""
    root.mkdir(exist_ok=True)
    with Runner(executor or InProcess(), Events(root / "events.jsonl"), Progress(shown=False)) as runner:
        planned = plan(root, 1, {"web": source()}, PHASES, pack_stages.packer(root, runner))
        return planned, runner.tasks_run


def test_a_stage_writes_what_the_planning_process_would(tmp_path):
    here = plan(tmp_path / "here", 1, {"web": source()}, PHASES)
    there, tasks = staged(tmp_path / "there")
    assert here == there
    assert tasks == 14  # of two indexes, one of them the rest of the epoch
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert staged(tmp_path / "there")[1] == 0


def test_a_run_that_dies_anywhere_goes_on_and_comes_to_the_same_bytes(tmp_path, dying):
    written = dying(None)
    staged(tmp_path / "whole")
    expected, writes = contents(tmp_path / "whole"), written()
    assert writes == 50
    for at in (1, 9, 21, 22, 23, 24, 25, 26, 47, 48, 49, 50):
        root = tmp_path / str(at)
        dying(at, behind=at % 2 == 0)
        with pytest.raises(BaseException, match=r"^$"):
            staged(root)
        dying(None)
        _, tasks = staged(root)
        assert tasks < 14 or at < 4
        assert contents(root) == expected, at


def test_the_stage_is_named_by_the_request(tmp_path):
    request = PackRequest(source(), 64)
    stage = PackParts(tmp_path, request)
    assert stage.fingerprint == request.fingerprint
    assert stage.folder == tmp_path / request.folder
    assert stage.tasks() == 7
    assert stage.memory() == footprints.packing(429, int(source().shards.part_tokens.max()) // 64)


def test_a_document_too_long_fails_the_stage_by_name(tmp_path):
    with (
        Runner(InProcess(), Events(tmp_path / "events.jsonl"), Progress(shown=False)) as runner,
        pytest.raises(ConfigError, match=r"source web, part 0: \d+ of 429 documents are longer"),
    ):
        pack_stages.packer(tmp_path, runner)([PackRequest(source("error"), 64)])


def test_a_build_packs_in_tasks_one_a_part_and_splits_what_is_too_long(shop, monkeypatch):
    monkeypatch.setattr(tokenize_stages, "PARTITION_BYTES", 3000)
    sources = [
        {**one, **({"too_long": "split"} if one["name"] == "worked" else {})} for one in shop.mixture()["sources"]
    ]
    shop.build(sources=sources)
    built = Built.open(shop.root / "shards")
    parts = len(built.shards("worked").parts)
    assert parts > 3
    tasks = [task for folder, task in shop.finished("shards") if folder.startswith("worked-") and "whole" in folder]
    assert tasks
    assert len(tasks) % parts == 0
    assert sorted(set(tasks)) == list(range(parts))
    table = orjson.loads(next(shop.root.glob("shards/table-*.json")).read_bytes())
    (row,) = [row for row in table if (row["phase"], row["source"]) == ("first", "worked")]
    assert (row["dropped_documents"], row["dropped_tokens"]) == (0, 0)


def packed_in_memory(folder, parts, documents):
    command = [sys.executable, str(PROGRAM), str(folder), str(parts), str(documents)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    return orjson.loads(said.stdout)


def test_the_program_that_measures_packs_and_draws_an_epoch(tmp_path):
    told = packed_in_memory(tmp_path, 3, 2000)
    assert told["documents"] == 6000
    assert [re.sub(r"-[0-9a-f]{16}$", "", one) for one in told["packs"][:2]] == [
        "packs/made-2048-whole",
        "packs/made-4096-whole",
    ]
    assert abs(told["drawn"] - told["tokens"]) <= 4096


@pytest.mark.slow
@pytest.mark.measures
@whole_only
def test_fifteen_million_documents_need_the_memory_of_one_part(tmp_path):
    """The draws that are counted at a time, up to a million, are held too."""
    one = packed_in_memory(tmp_path / "one", 1, 250_000)
    third, all_of_them = (packed_in_memory(tmp_path / str(parts), parts, 250_000) for parts in (20, 60))
    assert all_of_them["documents"] == 15_000_000
    assert one["peak"] < footprints.packing(250_000, 110_000_000 // 2048)
    assert all_of_them["peak"] < third["peak"] + (60 << 20)  # ten million documents more: 76 MiB at 8 bytes each
    assert all_of_them["peak"] < one["peak"] + (125 << 20)

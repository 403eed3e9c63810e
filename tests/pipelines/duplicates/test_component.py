"""A component of any size is chosen among in bounded memory: in files and in memory the same, byte by byte."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import keep_order
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.pipelines import exchange
from midtrain.pipelines.duplicates import sizes
from midtrain.pipelines.duplicates.members import _MEMBERS

from tests.sizes import sized

PROGRAM = Path(__file__).parents[1] / "one_component.py"
sys.path.append(str(PROGRAM.parent))
from one_component import stage  # noqa: E402

PARTS = 3
SCORE = "score.length.words"
KEEPS = [(), ("source", "length", "date"), ("-source", "-length"), (SCORE, "-date"), (f"-{SCORE}", "source")]
INDEX = SimpleNamespace(
    sources=("old", "a"), until=4, order=lambda chunks: np.searchsorted([0, 2, 4], chunks, side="right"), record={}
)
ROW = st.fixed_dictionaries(
    {
        "component": st.integers(0, 2),
        "part": st.integers(0, PARTS - 1),
        "source": st.integers(0, 1),
        "bytes": st.integers(0, 2),
        "date": st.sampled_from([None, "2021", "2021-05-01", "2023-01-31", "no date"]),
        "low": st.integers(0, 1),
        "high": st.sampled_from([0, 1, 1 << 63]),
        "id": st.sampled_from(["", "a", "b", "ab", "é", "日本", "a\0"]),
        "keys": st.lists(st.integers(0, 6), max_size=4),
        "shingles": st.sets(st.integers(0, 5), max_size=5).map(sorted),
        SCORE: st.sampled_from([None, 0.0, -0.0, 1.5, -2.0, float("nan"), float("inf")]),
    }
)


def record(row, place, known):
    """A row of a partition; where it comes from an index, its chunk's number stands in its part."""
    old = {"part": -1 - place % 4, "source": 2 + row["source"], "bytes": 0, "date": None, "low": 0, "high": 0}
    return {**row, **(old if known else {}), "row": place}


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.tuples(ROW, st.sampled_from([False, False, True])), max_size=9), min_size=1, max_size=6),
    st.sampled_from(KEEPS),
    st.booleans(),
    st.booleans(),
    st.integers(1, 7),
    st.integers(1, 3),
)
def test_in_files_the_same_are_chosen(tmp_path_factory, batches, keep, across, indexed, run_rows, held_batches):
    options = MinhashDedup(keep=keep, across=across, threshold=0.6, min_recall=0)
    scores = [pa.field(name, pa.float64()) for name in keep_order.columns(keep)]
    schema, folder = pa.schema([*_MEMBERS, *scores]), tmp_path_factory.mktemp("choice")
    files, place = [], 0
    for number, batch in enumerate(batches):
        own = [record(row, place + at, known and indexed) for at, (row, known) in enumerate(batch)]
        place += len(own)
        rows = pa.RecordBatch.from_pylist([{name: row[name] for name in schema.names} for row in own], schema=schema)
        files.append(exchange.write(folder, f"{number}.arrow", rows, np.zeros(len(own), np.int64), 1))
    limits = {"HELD_ROOMS": 0, "HELD_BATCHES": held_batches, "RUN_ROWS": run_rows}
    chosen, told = {}, {}
    for name, own in {"held": {}, "files": {"HELD_ROOMS": 0}, "runs": limits}.items():
        choice = stage(files, folder, folder / name, options, PARTS, ("a", "b"), INDEX if indexed else None)
        with patch.multiple(sizes, RUN_ROWS=own.pop("RUN_ROWS", sizes.RUN_ROWS), **own):
            result = choice.run(0)
        duplicates, clusters = (folder / name / file.path for file in result.files)
        chosen[name] = duplicates.read_bytes()
        told[name] = (result.counts, clusters.read_bytes())
    assert chosen["held"] == chosen["files"] == chosen["runs"]
    assert told["held"] == told["files"] == told["runs"]
    assert told["held"][0]["documents"] == sum(not (known and indexed) for batch in batches for _, known in batch)


def measured(folder, documents):
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": f"{PROGRAM.parent}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(PROGRAM), str(folder), str(documents)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    shutil.rmtree(folder)
    assert said.returncode == 0, said.stderr
    return orjson.loads(said.stdout)


@pytest.mark.slow
@pytest.mark.measures
def test_a_component_of_millions_of_documents_takes_what_a_smaller_one_does(tmp_path):
    if shutil.disk_usage(tmp_path).free < 8 << 30:
        pytest.skip("no room for the component")
    documents = sized(3_000_000, 900_000)
    small, large = measured(tmp_path / "small", 300_000), measured(tmp_path / "large", documents)
    assert large["documents"] == documents
    assert large["duplicates"] == documents // 3 * 2  # two of three are the same
    assert large["cluster_sizes"] == {"3": documents // 3}
    print(small["peak"] >> 20, large["peak"] >> 20, large["planned"] >> 20)
    assert small["planned"] == large["planned"]  # nothing of it grows
    assert large["peak"] <= large["planned"]
    # Keys alone of the larger one are 112 bytes a document; the smaller one has files already.
    assert large["peak"] - small["peak"] < 32 << 20

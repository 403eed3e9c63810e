"""Deduplication on Ray keeps what it keeps in one process: `minhash_dedup`, all four steps together, an index."""

import orjson
import pyarrow.parquet as pq
import pytest
from midtrain.manifest import Manifest

from tests.planted import corpus
from tests.planted.outcome import kept_ids, outcome

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1500)]

MAIN = """
import sys
from midtrain import cli
from midtrain.pipelines import inputs
inputs.MIN_SPLIT = inputs.MAX_SPLIT = 1_000_000
sys.argv[0] = "midtrain"
cli.main()
"""


def test_ray_keeps_the_same_documents(tmp_path, processes):
    planted = corpus.plant(6, corpus.MEDIUM)
    steps = [{"minhash_dedup": {"max_loss": None, "max_cluster": None}}]
    made = []
    for seed, name, options in ((1, "here", ("--workers", "0")), (2, "ray", ("--ray", "local"))):
        root = tmp_path / name
        sources = planted.write(root / "data", seed)
        content = {"name": "planted", "output": str(root / "out"), "sources": sources, "steps": steps}
        (root / "recipe.yaml").write_bytes(orjson.dumps(content))
        said = processes.end(processes.start("-c", MAIN, "curate", str(root / "recipe.yaml"), *options), 500)
        assert said.code == 0, said.err
        made.append(outcome(root / "out"))
    here, on_ray = made
    assert on_ray.hash == here.hash
    assert on_ray.dropped == here.dropped
    assert len(here.dropped) > 500


def test_ray_drops_the_same_against_an_index_and_cuts_the_same_pieces(tmp_path, processes):
    """A second crawl that repeats half of the first, against an index of it, through all four steps."""
    allowed = {"max_loss": None, "max_cluster": None}
    first, second = corpus.plant(6, corpus.SMALL), corpus.plant(7, corpus.SMALL)

    def run(*arguments):
        said = processes.end(processes.start("-c", MAIN, *map(str, arguments)), 500)
        assert said.code == 0, said.err

    def recipe(name, sources, steps):
        content = {"name": name, "output": str(tmp_path / name), "sources": sources, "steps": steps}
        (tmp_path / f"{name}.yaml").write_bytes(orjson.dumps(content))
        return tmp_path / f"{name}.yaml"

    old = first.write(tmp_path / "old", 1)
    run("curate", recipe("first", old, [{"minhash_dedup": allowed}]), "--workers", "0")
    run("index", "add", tmp_path / "index", tmp_path / "first", "--workers", "0")
    sources = [*second.write(tmp_path / "new", 2), {**old[0], "name": "again"}]
    steps = [{"exact_dedup": allowed}, {"minhash_dedup": {**allowed, "index": str(tmp_path / "index")}}]
    steps += [{"paragraph_dedup": {"max_loss": None}}, {"line_dedup": {"max_loss": None}}]
    run("curate", recipe("here", sources, steps), "--workers", "0")
    run("curate", recipe("ray", sources, steps), "--ray", "local")
    gone = [dropped(tmp_path / name) for name in ("here", "ray")]
    assert gone[0] == gone[1]
    in_index = set(kept_ids(tmp_path / "first"))
    assert sum(row["step"] == "minhash_dedup" and row["partner"] in in_index for row in gone[0]) > 20
    assert {row["step"] for row in gone[0]} > {"exact_dedup", "minhash_dedup"}
    written = []
    for name in ("here", "ray"):
        run("write", tmp_path / name, tmp_path / f"plain-{name}", "--workers", "0")
        written.append(b"".join(path.read_bytes() for path in sorted((tmp_path / f"plain-{name}").glob("*.parquet"))))
    assert written[0] == written[1] != b""


def dropped(output):
    """What every stage dropped, with step, rule, partner and value."""
    manifest = Manifest.read(output)
    folders = (output / "stages" / entry["stage"] for entry in manifest.counts["funnel"])
    files = (path for folder in folders for path in sorted((folder / "dropped").glob("part-*.parquet")))
    return [row for path in files for row in pq.read_table(path).to_pylist()]

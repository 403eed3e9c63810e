"""Held out: the smallest seeded hashes of each source, by id or by problem, against a few lines of plain Python."""

import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from midtrain.errors import ConfigError
from midtrain.manifest import OutputFile
from midtrain.mixtures.built import Built
from midtrain.mixtures.schema import MixtureSource
from midtrain.pipelines import footprints
from midtrain.pipelines.existing_tokens import select_tokens
from midtrain.pipelines.held_out_stages import HeldOut, HeldOutKeys
from midtrain.pipelines.known_files import KnownFiles
from midtrain.pipelines.stage import Tally, TaskResult


def key(row, seed):
    """xxh3-64 of the seed and the id, or the first user message with white space collapsed."""
    known = " ".join(row["messages"][0]["content"].split()) if row["messages"] else row["id"]
    return xxhash.xxh3_64_intdigest(f"{seed}\0{known}".encode())


def held_out_ids(folder):
    built = Built.open(folder)
    found = {}
    for source in built.sources:
        shards = built.shards(source, "held_out")
        found[source] = {n for i in range(len(shards.parts)) for n in shards.documents(i).column("id").to_pylist()}
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("web", "worked"), [(10, 0.1), (0.05, 7), (0, 0)])
def test_those_with_the_smallest_keys_are_held_out_everywhere(curated_workshop, tmp_path, seed, web, worked):
    sources = curated_workshop.mixture()["sources"]
    sources[0]["held_out"], sources[1]["held_out"] = web, worked
    curated_workshop.build(output=str(tmp_path / "shards"), seed=seed, sources=sources)
    rows = curated_workshop.rows("out")
    of = {"web": ("a", "b"), "worked": ("worked",), "twins": ("twins",)}
    chosen = set()
    for source, wanted in (("web", web), ("worked", worked)):
        keys = sorted(key(row, seed) for row in rows if row["source"] in of[source])
        chosen.update(keys[: round(wanted * len(keys)) if wanted < 1 else wanted])
    expected = {
        source: {row["id"] for row in rows if row["source"] in names and key(row, seed) in chosen}
        for source, names in of.items()
    }
    assert held_out_ids(tmp_path / "shards") == expected
    assert bool(chosen) == bool(web)


def test_all_documents_may_be_held_out_of_a_source_that_no_phase_draws_from(curated_workshop, tmp_path):
    mixture = curated_workshop.mixture()
    sources = [*mixture["sources"][:2], {**mixture["sources"][2], "held_out": 10_000}]
    phases = [{**mixture["phases"][0], "weights": {"web": 1}}]
    sources[1]["held_out"] = 1
    curated_workshop.build(output=str(tmp_path / "shards"), sources=sources, phases=phases)
    found = held_out_ids(tmp_path / "shards")
    assert found["twins"] == {row["id"] for row in curated_workshop.rows("out") if row["source"] == "twins"}
    assert len(found["worked"]) == len(found["twins"])  # the same problems, so held out here too


def test_a_share_that_holds_out_nothing_is_an_error(curated_workshop, tmp_path):
    sources = curated_workshop.mixture()["sources"]
    sources[0]["held_out"] = 0.001
    with pytest.raises(ConfigError, match="nothing would be held out") as wrong:
        curated_workshop.build(output=str(tmp_path / "shards"), sources=sources)
    assert wrong.value.where == "source web, held_out"
    assert "0.001 of " in str(wrong.value.seen)


class Parts:
    """A source of so many parts; what stands in them is written by the test."""

    def __init__(self, name, parts, held_out):
        self.parts, self.largest = range(parts), (0, 0)
        self.source = SimpleNamespace(name=name, held_out=held_out, template=None)

    def record(self):
        return {"documents": [self.source.name]}


def test_what_is_held_out_is_of_its_source_with_more_parts_than_five_digits_number(tmp_path, monkeypatch):
    """`keys-100000` stands before `keys-10001` where names are sorted: it is asked for by name."""
    many = HeldOutKeys(tmp_path, 1, (Parts("many", 100_005, 5), Parts("few", 5, 1)))
    names = [f"keys-{task:05d}.u64" for task in range(100_010)]
    keys = {
        names[task]: np.array([10 + part if owner else 1_000_000 + task], "<u8")
        for task, (owner, part) in enumerate(many.work)
        if task < 3 or task > 99_990  # the others have no documents
    }
    many.complete(Tally([TaskResult(tuple(OutputFile(name, 1, 8, "") for name in names), {"documents": 30})]))
    stage = HeldOut(tmp_path, many)
    none = np.empty(0, "<u8")
    with monkeypatch.context() as patched:  # a hundred thousand files take a test ten seconds
        patched.setattr(np, "fromfile", lambda path, _: keys.get(path.name, none))
        result = stage.run(0)
    stage.complete(Tally([result]))
    assert stage.chosen.tolist() == [10, 1_000_000, 1_000_001, 1_000_002, 1_099_991, 1_099_992]


@pytest.mark.parametrize("held", [0, 1, 7, 500])
def test_a_batch_is_looked_up_among_the_keys(tmp_path, held):
    stage = HeldOut(tmp_path, HeldOutKeys(tmp_path, 3, ()))
    ids = [f"d{number}" for number in range(500)]
    keys = [key({"id": one, "messages": None}, 3) for one in ids]
    chosen = sorted(keys[:held])
    stage.folder.mkdir(parents=True)
    np.array(chosen, "<u8").tofile(stage.folder / "keys.u64")
    stage.complete(Tally([TaskResult((OutputFile.of(stage.folder, "keys.u64", held),), {})]))
    batch = pa.record_batch([pa.array(ids), pa.nulls(500)], names=["id", "messages"])
    assert stage.contains(batch).tolist() == [one in chosen for one in keys]
    assert stage.contains(batch.slice(0, 0)).tolist() == []


@pytest.mark.measures
def test_a_look_up_sorts_no_key_again(tmp_path):
    stage = HeldOut(tmp_path, HeldOutKeys(tmp_path, 3, ()))
    stage.folder.mkdir(parents=True)
    np.sort(np.random.default_rng(1).integers(0, 2**64, 3_000_000, dtype=np.uint64)).tofile(stage.folder / "keys.u64")
    stage.complete(Tally([TaskResult((OutputFile.of(stage.folder, "keys.u64", 3_000_000),), {})]))
    batch = pa.record_batch([pa.array([str(number) for number in range(64)]), pa.nulls(64)], names=["id", "messages"])
    stage.contains(batch)
    before = time.process_time()
    for _ in range(20):
        stage.contains(batch)
    assert time.process_time() - before < 1  # sorting three million keys twenty times takes four


@pytest.mark.measures
def test_memory_is_that_of_what_is_read(tmp_path):
    """Tokens have no id but their hash, so all of a part's are read for it; of documents the ids alone."""
    document = 1 << 24
    np.zeros(document, "<u2").tofile(tmp_path / "x.ds")
    np.array([document], "<u8").tofile(tmp_path / "x.ds.index")
    source = MixtureSource(name="s", shards=str(tmp_path), end_of_document="none", held_out=1)
    selection = select_tokens(source, "m.yaml:1", KnownFiles(tmp_path / "inputs.json"))
    stage = HeldOutKeys(tmp_path, 1, (selection,))
    stage.folder.mkdir(parents=True)
    tracemalloc.start()
    try:
        stage.run(0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 4 * document <= peak < stage.memory() - (footprints.WORKER + footprints.ENCODING)
    assert stage.memory() == footprints.reading_tokens(4 * document, 1)
    assert HeldOutKeys(tmp_path, 1, ()).memory() == footprints.held_out_keys(0, 0, False)

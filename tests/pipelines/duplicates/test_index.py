"""An index over time: crawls added one by one, documents taken out, changes that are refused or die."""

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from midtrain import locks, storage
from midtrain.errors import ConfigError, RunError
from midtrain.filters import catalogue
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines import inputs
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.curate import curate
from midtrain.pipelines.duplicates import index, index_changes, index_layer, index_stages
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

from tests.sizes import REAL_STORE

STEPS = ["exact_dedup", "minhash_dedup"]
PARAMETER = {"exact_dedup": ("normalize", True), "minhash_dedup": ("ngram", 7)}
COUNT = 30  # documents of a crawl


@dataclass
class Crawls:
    """Crawls of one web: each repeats some of what was there before, word by word or nearly so."""

    shop: Any
    step: str
    given: dict[str, Any] = field(default_factory=dict)
    made: dict[int, list[dict[str, str]]] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Of the step; crawls that come again lose all that they have."""
        allowed = {"max_loss": None} if "max_loss" in catalogue.step(self.step).model_fields else {}
        return {**allowed, **self.given}

    def documents(self, crawl: int) -> list[dict[str, str]]:
        if crawl not in self.made:
            self.made[crawl] = self._made(crawl)
        return self.made[crawl]

    def _made(self, crawl: int) -> list[dict[str, str]]:
        rng = random.Random(f"crawl {crawl}")
        made = self.shop.texts(COUNT, seed=crawl)
        for row in range(0, COUNT, 3):
            if crawl:
                earlier = self.documents(rng.randrange(crawl))[rng.randrange(COUNT)]["text"]
                made[row] = earlier if row % 2 else f"{earlier} once more"
        return [{"id": f"c{crawl}-{row}", "text": text} for row, text in enumerate(made)]

    def recipe(self, crawls: list[int], output: str, against: bool, **changed: Any) -> Path:
        for crawl in crawls:
            self.shop.jsonl(f"crawl-{crawl}.jsonl", self.documents(crawl))
        options = {**self.options, **({"index": str(self.index)} if against else {})}
        sources = [
            {"name": f"crawl{one}", "path": str(self.shop.root / f"data/crawl-{one}.jsonl"), "format": "jsonl"}
            for one in crawls
        ]
        content = {
            "name": output,
            "output": str(self.shop.root / output),
            "sources": sources,
            "steps": [{self.step: options}],
        }
        return self.shop.yaml(f"{output}.yaml", {**content, **changed})

    def against(self, **changed: Any) -> dict[str, Any]:
        """The step's options with the index."""
        return {**self.options, "index": str(self.index), **changed}

    def parameter(self, name: str) -> Any:
        """What the step's options come to where nothing is given."""
        return catalogue.step(self.step)().parameters[name]

    @property
    def index(self) -> Path:
        return self.shop.root / "index"

    def curate(self, crawls: list[int], output: str, against: bool, workers: int = 0, **changed: Any) -> list[str]:
        """The ids that a run keeps."""
        loaded = recipes.load(self.recipe(crawls, output, against, **changed))
        curate(loaded, local(workers), Progress(shown=False))
        return self.kept(output)

    def kept(self, output: str) -> list[str]:
        return [row["id"] for row in self.shop.rows(output)]

    def add(self, output: str, workers: int = 0, overlap: bool = False) -> index_changes.Changed:
        root = str(self.shop.root / output)
        return index_changes.add(self.index, root, local(workers), Progress(shown=False), overlap)

    def grow(self, crawls: int, workers: int = 0) -> list[str]:
        """Curates crawls one by one, each against what was kept before, and adds each; the ids that were kept."""
        kept = []
        for crawl in range(crawls):
            kept += self.curate([crawl], f"out{crawl}", against=crawl > 0, workers=workers)
            self.add(f"out{crawl}", workers)
        return kept


@pytest.fixture(params=STEPS)
def crawls(request: Any, workshop: Any) -> Crawls:
    """Crawls, for each step that can have an index."""
    return Crawls(workshop, request.param)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many parts, and tables of many ranges, of very little text."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 2_000)
    monkeypatch.setattr(index_stages, "ENTRIES_PER_RANGE", 50)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_ten_crawls_one_by_one_keep_what_one_run_over_all_keeps(crawls: Crawls):
    one_by_one = crawls.grow(10)
    at_once = crawls.curate(list(range(10)), "all", against=False)
    assert one_by_one == at_once
    assert len(one_by_one) < 9 * COUNT
    opened = index.open_index(crawls.index)
    assert opened.version == 10
    (layer,) = opened.layers.values()
    assert 1 <= len(layer.runs) <= 5
    assert [identity for _, batch in layer.all(["id"]) for identity in batch.column("id").to_pylist()] == at_once
    assert len(list((crawls.index / "stages").iterdir())) <= len(opened.made) + len(opened.previous)
    index.verify(opened)


def test_a_dropped_document_names_its_partner_in_the_index(crawls: Crawls):
    crawls.curate([0], "out0", against=False)
    crawls.add("out0")
    crawls.curate([1], "out1", against=True)
    gone = [row for row in crawls.shop.rows("out1", "dropped") if row["partner"].startswith("c0-")]
    assert {(row["source"], row["partner_source"]) for row in gone} == {("crawl1", "index:crawl0")}
    assert {row["partner"] for row in gone} <= set(crawls.kept("out0"))


@pytest.mark.parametrize("keep", [["-source"], ["-length"], ["date", "length"]])
def test_what_stands_in_an_index_outranks_what_is_new_whatever_keep_says(crawls: Crawls, keep: list[str]):
    crawls.given = {"keep": keep}
    first = crawls.curate([0], "out0", against=False)
    crawls.add("out0")
    longer = [{**row, "id": f"later-{row['id']}", "date": "2030-01-01"} for row in crawls.documents(0)]
    path = crawls.shop.jsonl("later.jsonl", [*longer, {"id": "new", "text": "of this crawl alone"}])
    sources = [{"name": "later", "path": path, "format": "jsonl"}]
    assert crawls.curate([], "out1", against=True, sources=sources) == ["new"]
    assert {row["partner"] for row in crawls.shop.rows("out1", "dropped")} <= set(first)


def test_across_compares_with_other_sources_of_an_index_alone(workshop: Any):
    crawls = Crawls(workshop, "minhash_dedup", {"across": True})
    kept = crawls.curate([0], "out0", against=False)
    crawls.add("out0")
    for name, left in (("crawl0", len(kept)), ("other", 0)):
        again = [{**row, "id": f"{name}-{row['id']}"} for row in crawls.documents(0) if row["id"] in set(kept)]
        again.append({"id": f"{name}-new", "text": "of this crawl alone"})
        sources = [{"name": name, "path": crawls.shop.jsonl(f"{name}.jsonl", again), "format": "jsonl"}]
        assert len(crawls.curate([], name, against=True, sources=sources)) == left + 1
        gone = crawls.shop.rows(name, "dropped") if left == 0 else []
        assert {row["partner_source"] for row in gone} == ({"index:crawl0"} if gone else set())
        assert len(gone) == len(kept) - left


def test_normalised_texts_are_found_in_an_index(workshop: Any):
    crawls = Crawls(workshop, "exact_dedup", {"normalize": True})
    crawls.curate([0], "out0", against=False)
    crawls.add("out0")
    loud = [{"id": f"loud-{row['id']}", "text": f"«{row['text'].upper()}»!"} for row in crawls.documents(0)]
    sources = [{"name": "loud", "path": crawls.shop.jsonl("loud.jsonl", [*loud, {"id": "new", "text": "new"}])}]
    assert crawls.curate([], "out1", against=True, sources=sources) == ["new"]


def test_a_removed_document_no_longer_drops_anything(crawls: Crawls):
    crawls.grow(2)
    kept = crawls.curate([2], "before", against=True)
    partners = {row["id"]: row["partner"] for row in crawls.shop.rows("before", "dropped")}
    of_index = {identity: partner for identity, partner in partners.items() if not partner.startswith("c2-")}
    identity, partner = sorted(of_index.items())[0]
    changed = index_changes.remove(crawls.index, [partner])
    assert changed.documents == {crawls.step: 1}
    again = crawls.curate([2], "after", against=True)
    back = {one for one, of in of_index.items() if of == partner}
    assert identity in again
    assert set(again) - set(kept) <= back
    with pytest.raises(ConfigError, match="1 of 1 ids are not in the index"):
        index_changes.remove(crawls.index, [partner])
    assert crawls.add("after").documents == {crawls.step: len(again)}  # what was only taken out needs no comparison
    crawls.curate([3], "out3", against=True)
    crawls.add("out3")
    assert partner not in {row["partner"] for row in crawls.shop.rows("out3", "dropped")}
    assert index.open_index(crawls.index).version == 5


@pytest.mark.parametrize("taken", [["nowhere"], ["c0-0", "nowhere"]])
def test_an_id_that_is_not_there_takes_nothing_out(crawls: Crawls, taken: list[str]):
    crawls.grow(1)
    before = (crawls.index / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="nothing was taken out") as caught:
        index_changes.remove(crawls.index, taken)
    assert caught.value.seen == "nowhere"
    assert (crawls.index / "manifest.json").read_bytes() == before


def test_what_stands_in_an_index_is_not_added_twice(crawls: Crawls):
    crawls.grow(2)
    before = (crawls.index / "manifest.json").read_bytes()
    assert crawls.add("out0").documents == {}
    assert (crawls.index / "manifest.json").read_bytes() == before


@pytest.mark.usefixtures("small")
def test_a_run_whose_output_was_added_is_done_when_it_is_given_again(crawls: Crawls):
    crawls.grow(4)
    before = crawls.shop.hashes("out2")
    loaded = recipes.load(crawls.recipe([2], "out2", against=True))
    assert curate(loaded, local(0), Progress(shown=False)).tasks_run == 0
    shutil.rmtree(crawls.shop.root / "out2/stages")  # and made anew it is the same, not all copies of itself
    assert curate(loaded, local(0), Progress(shown=False)).tasks_run > 0
    assert crawls.shop.hashes("out2") == before
    index_changes.remove(crawls.index, [crawls.kept("out0")[0]])
    with pytest.raises(ConfigError, match="another result of curate"):
        curate(loaded, local(0), Progress(shown=False))


def test_a_recipe_that_is_changed_is_not_compared_with_its_own_output(crawls: Crawls):
    crawls.grow(2)
    kept, shop = crawls.curate([2], "out2", against=True), crawls.shop
    crawls.add("out2")
    grown = crawls.curate([3], "out3", against=True)
    crawls.add("out3")
    changed = recipes.load(
        crawls.recipe([2], "out2", against=True, steps=[{crawls.step: crawls.against(keep=["length"])}])
    )
    shutil.rmtree(shop.root / "out2/stages")
    (shop.root / "out2/manifest.json").unlink()  # as a run leaves it that was killed while it replaced another
    for tasks_run in (True, False):
        assert bool(curate(changed, local(0), Progress(shown=False)).tasks_run) == tasks_run
        assert len(crawls.kept("out2")) == len(kept)
    with pytest.raises(ConfigError, match="an earlier output of this recipe") as caught:
        crawls.add("out2")
    assert caught.value.seen == f"added as version 3 of {crawls.index}"
    assert crawls.curate([3], "out3", against=True) == grown


def test_another_crawl_in_the_same_folder_is_compared_with_all(crawls: Crawls):
    crawls.curate([0], "out", against=False)
    crawls.add("out")
    for crawl in (1, 2):
        loaded = recipes.load(crawls.recipe([crawl], "out", against=True))
        curate(loaded, local(0), Progress(shown=False), overwrite=True)
        crawls.add("out")
    copies = [{**row, "id": f"again-{row['id']}"} for row in crawls.shop.rows("out")]  # of the crawl before
    copies = [{"id": row["id"], "text": row["text"]} for row in copies] + [{"id": "new", "text": "of this crawl alone"}]
    sources = [{"name": "crawl3", "path": crawls.shop.jsonl("crawl-3.jsonl", copies), "format": "jsonl"}]
    loaded = recipes.load(crawls.recipe([], "out", against=True, sources=sources))
    curate(loaded, local(0), Progress(shown=False), overwrite=True)
    assert crawls.kept("out") == ["new"]
    assert crawls.add("out").documents == {crawls.step: 1}


def test_what_was_taken_out_since_comes_back_and_not_all_copies_of_itself(crawls: Crawls):
    crawls.grow(3)
    kept = crawls.kept("out2")
    index_changes.remove(crawls.index, [kept[0], *crawls.kept("out0")])
    loaded = recipes.load(crawls.recipe([2], "out2", against=True))
    again = curate(loaded, local(0), Progress(shown=False), overwrite=True)
    assert again.tasks_run > 0
    came = crawls.kept("out2")
    assert set(kept) < set(came)
    assert curate(loaded, local(0), Progress(shown=False)).tasks_run == 0


def test_an_output_that_was_not_compared_with_the_index_is_refused(crawls: Crawls):
    crawls.grow(2)
    crawls.curate([2], "blind", against=False)
    with pytest.raises(ConfigError, match=r"not deduplicated by \w+ against the index") as caught:
        crawls.add("blind")
    assert (caught.value.seen, caught.value.expected) == ("against no index", f"version 2 of {crawls.index}")
    crawls.curate([3], "stale", against=True)
    crawls.curate([4], "fresh", against=True)
    crawls.add("fresh")
    with pytest.raises(ConfigError, match=r"not deduplicated by \w+ against the index") as caught:
        crawls.add("stale")
    assert caught.value.seen == "against version 2"
    assert crawls.add("stale", overlap=True).index.version == 4


def test_a_changed_parameter_is_an_error_that_names_both_values(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    name, value = PARAMETER[crawls.step]
    other = Crawls(crawls.shop, crawls.step, {name: value})
    said = midtrain("curate", other.recipe([1], "out1", against=True), "--workers", 0)
    assert (said.code, said.out) == (2, "")
    theirs, ours = value, Crawls(crawls.shop, crawls.step).parameter(name)
    assert f"{name} {theirs} in the recipe" in said.err
    assert f"{name} {ours} as in the index" in said.err
    assert f"out1.yaml:{_line(crawls.shop.root / 'out1.yaml', 'index')}" in said.err
    other.curate([1], "out1", against=False)
    said = midtrain("index", "add", crawls.index, crawls.shop.root / "out1", "--workers", 0)
    assert said.code == 2
    assert f"{name} {theirs} in the output" in said.err


def test_another_threshold_is_another_index(workshop: Any, midtrain: Any):
    crawls = Crawls(workshop, "minhash_dedup")
    crawls.grow(1)
    other = Crawls(workshop, "minhash_dedup", {"threshold": 0.9})
    said = midtrain("curate", other.recipe([1], "out1", against=True), "--workers", 0)
    assert said.code == 2
    assert "threshold 0.9 in the recipe" in said.err


def test_equal_texts_alone_are_not_all_that_an_index_of_near_duplicates_is_to_be_compared_by(workshop: Any):
    """An output of which exact_dedup alone was compared may hold what is nearly in the index."""
    crawls = Crawls(workshop, "minhash_dedup")
    both = [{"exact_dedup": {"max_loss": None}}, {"minhash_dedup": {"max_loss": None}}]
    crawls.curate([0], "out0", against=False, steps=both)
    crawls.add("out0")
    index = {"max_loss": None, "index": str(crawls.index)}
    crawls.curate([1], "half", against=False, steps=[{"exact_dedup": index}, both[1]])
    with pytest.raises(ConfigError, match="not deduplicated by minhash_dedup against the index"):
        crawls.add("half")
    crawls.curate([1], "whole", against=False, steps=[both[0], {"minhash_dedup": index}])
    assert crawls.add("whole").index.version == 2


def _line(path: Path, key: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if f'"{key}"' in line)


def test_an_index_that_is_not_there_is_an_error_with_its_place(crawls: Crawls, midtrain: Any):
    recipe = crawls.recipe([0], "out0", against=True)
    for verb in ("curate", "plan"):
        said = midtrain(verb, recipe)
        assert (said.code, said.out) == (2, "")
        assert f"out0.yaml:{_line(recipe, 'index')}" in said.err
        assert f"there is no index ({crawls.index})" in said.err
    assert not (crawls.shop.root / "out0/manifest.json").exists()


def test_what_is_no_index_or_no_output_is_refused(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    out = crawls.shop.root / "out0"
    for arguments, says in [
        (("add", out, crawls.index), "not a curated output"),
        (("add", out, out), "not an index"),
        (("add", crawls.index, crawls.shop.root / "nowhere"), "no curated output"),
        (("add", "s3://bucket/index", out), "has to lie in a folder of this machine"),
        (("show", out), "not an index"),
        (("remove", crawls.shop.root / "nowhere", "c0-0"), "there is no index"),
    ]:
        said = midtrain("index", *arguments)
        assert (said.code, said.out) == (2, ""), arguments
        assert says in said.err
    crawls.curate([1], "plain", against=False, steps=[])
    said = midtrain("index", "add", crawls.index, crawls.shop.root / "plain")
    assert (said.code, "was not deduplicated" in said.err) == (2, True)


def test_an_output_of_another_version_is_refused_with_what_to_do(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    manifest = Manifest.read(crawls.shop.root / "out0")
    del manifest.options["given"]
    manifest.write(crawls.shop.root / "out0")
    said = midtrain("index", "add", crawls.index, crawls.shop.root / "out0")
    assert said.code == 2
    assert "another version of midtrain" in said.err
    assert "midtrain curate again" in said.err


def test_an_output_without_documents_is_said_to_have_none(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    with pytest.raises(RunError, match="nothing is left"):
        crawls.curate([0], "again", against=True)
    said = midtrain("index", "add", crawls.index, crawls.shop.root / "again")
    assert (said.code, said.out) == (2, "")
    assert "the curated output has no document: all were dropped or set aside" in said.err
    assert f"midtrain report {crawls.shop.root / 'again'}" in said.err
    assert "run midtrain curate first" not in said.err


def test_two_changes_at_once_are_one(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    crawls.curate([1], "out1", against=True)
    before = (crawls.index / "manifest.json").read_bytes()
    with locks.locked(crawls.index):
        for arguments in (("add", crawls.index, crawls.shop.root / "out1"), ("remove", crawls.index, "c0-0")):
            said = midtrain("index", *arguments)
            assert (said.code, said.out) == (1, "")
            assert "another run is at work" in said.err
    assert (crawls.index / "manifest.json").read_bytes() == before


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("behind", [False, True])
def test_an_add_that_dies_leaves_the_version_before(crawls: Crawls, dying: Any, behind: bool, tmp_path: Path):
    crawls.grow(2)
    crawls.curate([2], "out2", against=True)
    crawls.curate([3], "probe", against=True)
    expected = crawls.kept("probe")
    manifest = (crawls.index / "manifest.json").read_bytes()
    at = 0
    while (crawls.index / "manifest.json").read_bytes() == manifest:
        at += 1 if at < 4 else 3
        dying(at, behind)
        until_it_dies(lambda: crawls.add("out2"))
        dying(None)
        if (crawls.index / "manifest.json").read_bytes() == manifest and at % 2:
            crawls.curate([3], f"probe{at}", against=True)
            assert crawls.kept(f"probe{at}") == expected
    assert at > 8
    found = crawls.shop.hashes("index")
    again = Crawls(crawls.shop.twin("calm"), crawls.step)
    again.grow(2)
    again.curate([2], "out2", against=True)
    again.add("out2")
    calm = again.shop.hashes("index")
    assert {name: calm[name] for name in found if name in calm} == {name: found[name] for name in found if name in calm}
    assert set(Manifest.read(crawls.index).options["previous"]) == set(Manifest.read(again.index).options["previous"])
    assert (crawls.index / "manifest.json").read_bytes() == (again.index / "manifest.json").read_bytes()


def until_it_dies(change: Callable[[], object]) -> bool:
    """Whether this process died of a change, as the fixture makes it."""
    try:
        change()
    except BaseException as error:
        if type(error).__name__ != "Died":
            raise
        return True
    return False


@pytest.mark.usefixtures("small")
@pytest.mark.slow
@REAL_STORE
def test_outputs_in_a_bucket_make_the_same_index(crawls: Crawls, bucket: Any):
    crawls.grow(2)
    expected = index.open_index(crawls.index)
    crawls.index.rename(crawls.shop.root / "of-folders")
    for crawl in range(2):
        recipe = orjson.loads(crawls.recipe([crawl], f"out{crawl}", against=crawl > 0).read_bytes())
        recipe["output"] = f"{bucket.address}/out{crawl}"
        curate(recipes.load(crawls.shop.yaml("remote.yaml", recipe)), local(0), Progress(shown=False))
        index_changes.add(crawls.index, recipe["output"], local(0), Progress(shown=False))
    assert index.open_index(crawls.index).made == expected.made


def test_an_output_that_kept_nothing_of_the_step_s_sources_adds_nothing(crawls: Crawls):
    for name in ("a", "b"):
        crawls.shop.jsonl(f"{name}.jsonl", [{**row, "id": f"{name}-{row['id']}"} for row in crawls.documents(0)])
    sources = [{"name": name, "path": str(crawls.shop.root / f"data/{name}.jsonl")} for name in ("a", "b")]
    behind = {"length": {"sources": ["b"], "min_characters": 1_000_000}}
    steps = [{crawls.step: {**crawls.options, "sources": ["b"]}}, behind]
    crawls.curate([], "out0", against=False, sources=sources, steps=steps)
    assert crawls.add("out0").documents == {crawls.step: 0}
    kept = crawls.curate([1], "out1", against=True)
    assert crawls.add("out1").documents == {crawls.step: len(kept)}
    assert index.open_index(crawls.index).layers[crawls.step].sources == ("crawl1",)


def test_a_change_that_dies_while_documents_are_taken_out_changes_nothing(crawls: Crawls, dying: Any):
    crawls.grow(2)
    before = (crawls.index / "manifest.json").read_bytes()
    for at in (1, 2):
        dying(at)
        assert until_it_dies(lambda: index_changes.remove(crawls.index, ["c0-1"]))
        assert (crawls.index / "manifest.json").read_bytes() == before
    dying(None)
    assert index_changes.remove(crawls.index, ["c0-1"]).documents == {crawls.step: 1}
    assert not list(crawls.index.rglob(".*.tmp"))


def test_a_damaged_index_is_seen(crawls: Crawls, midtrain: Any):
    crawls.grow(2)
    opened = index.open_index(crawls.index)
    documents = next((crawls.index / "stages" / opened.made[0].folder).glob("documents-*.arrow"))
    content = documents.read_bytes()
    documents.write_bytes(content[:-1] + b"?")
    assert midtrain("index", "show", crawls.index).code == 0
    said = midtrain("index", "show", crawls.index, "--verify")
    assert (said.code, str(documents) in said.err) == (1, True)
    outputs = [Manifest.read(crawls.shop.root / f"out{crawl}").fingerprint for crawl in range(2)]
    advice = f"in this order: out0 ({outputs[0]}), out1 ({outputs[1]})"
    mended = [said.err]
    documents.write_bytes(content[:-1])
    mended.append(midtrain("index", "show", crawls.index).err)
    documents.unlink()
    mended.append(midtrain("index", "show", crawls.index).err)
    for said in mended:  # nothing else has what it held: it must not be removed
        assert str(documents) in said
        assert "bring the file back from a copy" in said
        assert advice in said
        assert "remove" not in said
    documents.write_bytes(content)
    assert midtrain("index", "show", crawls.index, "--verify").code == 0
    stage = crawls.index / "stages" / opened.made[0].folder / "manifest.json"
    stage.write_bytes(stage.read_bytes().replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(RunError, match="gone or was changed"):
        index.open_index(crawls.index)


def test_a_lost_list_of_removed_documents_is_no_reason_to_remove_the_index(crawls: Crawls, midtrain: Any):
    crawls.grow(1)
    index_changes.remove(crawls.index, ["c0-1"])
    (removed,) = crawls.index.glob("removed-*.arrow")
    removed.unlink()
    said = midtrain("index", "show", crawls.index)
    assert (said.code, said.out) == (1, "")
    assert f"{removed}: the file is missing" in said.err
    assert "bring the file back from a copy" in said.err
    assert "run again: the stage" not in said.err


def test_no_ids_are_no_change(crawls: Crawls, midtrain: Any, monkeypatch: Any):
    crawls.grow(1)
    before = (crawls.index / "manifest.json").read_bytes()
    for lines in ([], ["\n", "  \n"]):
        monkeypatch.setattr("sys.stdin", iter(lines))
        said = midtrain("index", "remove", crawls.index, "-")
        assert (said.code, said.out) == (2, "")
        assert "no ids are given" in said.err
    assert (crawls.index / "manifest.json").read_bytes() == before


def test_the_verbs_say_what_they_did(crawls: Crawls, midtrain: Any, monkeypatch: Any):
    kept = crawls.curate([0], "out0", against=False)
    out = crawls.shop.root / "out0"
    first = midtrain("index", "add", crawls.index, out, "--workers", 0)
    assert f"{len(kept)} documents for {crawls.step}" in first.out
    second = midtrain("index", "add", crawls.index, out, "--workers", 0)
    assert (second.code, "stands in it since version 1: nothing to do" in second.out) == (0, True)
    data = orjson.loads(midtrain("index", "remove", crawls.index, "c0-1", "c0-2", "--json").out)
    assert (data["version"], data["documents"]) == (2, {crawls.step: 2})
    monkeypatch.setattr("sys.stdin", iter(["c0-4\n", "\n", "c0-5\n"]))
    assert midtrain("index", "remove", crawls.index, "-").code == 0
    shown = orjson.loads(midtrain("index", "show", crawls.index, "--json").out)
    (layer,) = shown["steps"].values()
    assert (layer["documents"], layer["removed"], layer["tables"]) == (len(kept), 4, 1)
    assert [entry["change"] for entry in shown["history"]] == ["add", "remove", "remove"]
    text = midtrain("index", "show", crawls.index, "--verify").out
    assert "version 3" in text
    assert "every file is as it was written" in text


@pytest.mark.slow
def test_workers_change_no_byte(crawls: Crawls):
    kept = crawls.grow(3)
    other = Crawls(crawls.shop.twin("parallel"), crawls.step)
    assert other.grow(3, workers=2) == kept
    assert other.shop.hashes("index") == crawls.shop.hashes("index")


def test_the_text_that_a_step_saw_is_indexed_though_later_ones_rewrite(crawls: Crawls):
    """Lines that stand in several documents are cut behind the deduplication: the same crawl is still a copy."""
    read = [{**row, "text": f"{row['text']}\na menu that every page of the site has"} for row in crawls.documents(0)]
    read = [*read, {"id": "c0-short", "text": "too short"}]  # dropped by the last step
    renamed = [{**row, "id": f"again-{row['id']}"} for row in read]
    paths = [crawls.shop.jsonl("first.jsonl", read), crawls.shop.jsonl("again.jsonl", renamed)]
    behind = [{"line_dedup": {"min_length": 20, "max_loss": None}}, {"length": {"min_characters": 20}}]
    sources = [[{"name": "web", "path": path, "format": "jsonl"}] for path in paths]
    kept = crawls.curate([], "out0", against=False, sources=sources[0], steps=[{crawls.step: crawls.options}, *behind])
    assert sum("menu" in row["text"] for row in crawls.shop.rows("out0")) == 1 < len(kept)
    assert "c0-short" not in kept
    crawls.add("out0")
    assert index.open_index(crawls.index).layers[crawls.step].additions[0].documents == {"web": len(kept)}
    assert crawls.curate([], "again", against=True, sources=sources[1]) == ["again-c0-short"]


def test_one_id_of_documents_kept_and_not_kept_is_an_error_where_a_later_step_rewrites(crawls: Crawls):
    """Only one of the two was kept, and nothing but its id says which: its text at the deduplication is unknown."""
    texts = [*crawls.documents(0)[:4], {"id": "twice", "text": "too short"}]
    texts += [{"id": "twice", "text": "long enough to be kept by the step behind all others"}]
    sources = [{"name": "web", "path": crawls.shop.jsonl("first.jsonl", texts), "format": "jsonl"}]
    behind = [{"line_dedup": {"max_loss": None}}, {"length": {"min_characters": 20}}]
    crawls.curate([], "out0", against=False, sources=sources, steps=[{crawls.step: crawls.options}, *behind])
    with pytest.raises(RunError, match="which of the documents with one id was kept") as caught:
        crawls.add("out0")
    assert caught.value.seen == "twice"
    assert not (crawls.index / "manifest.json").exists()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(arrays.arrays(np.uint64, st.integers(0, 40), elements=st.integers(0, 2**64 - 1)), min_size=1, max_size=4),
    st.data(),
)
def test_find_is_a_search_through_all_entries(tables: list[Any], data: Any):
    """Tables, written and taken in as stages do it, against a loop."""
    pool = np.concatenate([*tables, np.array([0, 2**64 - 1], np.uint64)])
    wanted = np.unique(np.array(data.draw(st.lists(st.sampled_from(pool.tolist()), max_size=30)), np.uint64))
    found = sorted(
        (int(key), document)
        for document, key in enumerate(np.concatenate(tables).tolist())
        if key in set(wanted.tolist())
    )
    assert sorted(index_search(tables, wanted)) == found


def index_search(tables: list[Any], wanted: Any) -> list[tuple[int, int]]:
    import tempfile

    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        results = []
        start = 0
        for number, table in enumerate(tables):
            order = np.argsort(table, kind="stable")
            documents = np.arange(start, start + len(table), dtype=np.uint64)
            rows = pa.record_batch([pa.array(table[order]), pa.array(documents[order])], schema=index_layer.ENTRIES)
            path = Path(folder) / f"{number}.arrow"
            with pa.ipc.new_file(str(path), index_layer.ENTRIES) as writer:
                writer.write_batch(rows)
            place, document = index_layer.search(path, wanted)
            results += [(int(wanted[one]), int(of)) for one, of in zip(place, document, strict=True)]
            start += len(table)
        return results


def test_a_table_of_more_ranges_than_five_digits_number_is_read_in_their_order(tmp_path: Path):
    folder = tmp_path / "stages" / "table"
    names = [f"run-{number:05d}.arrow" for number in range(100_003)]
    files = tuple(OutputFile(name, 0, 0, "") for name in sorted(names))
    Manifest("table", 1, "f" * 32, files=files).write(folder)
    made = index_layer.Made("table", storage.hash_file(folder / "manifest.json"))
    assert index_layer.run_files(tmp_path, index_layer.Run(made, 0)) == names


def test_chunks_are_taken_in_the_order_of_their_numbers(tmp_path: Path):
    """Entries of one key stand in the order of their documents, which the order of the files makes."""
    documents = SimpleNamespace(step="s", tasks=lambda: 100_003, fingerprint="f" * 32)
    keys = index_stages.IndexKeys(tmp_path, documents, 0)  # type: ignore[arg-type]
    assert [int(path.stem.partition("-")[2]) for path in keys.outputs()] == list(range(100_003))


@given(st.lists(st.integers(0, 60), max_size=30), st.lists(st.integers(0, 60), max_size=30))
def test_what_was_taken_out_is_known(removed: list[int], asked: list[int]):
    import tempfile

    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        numbers = pa.array(np.unique(np.array(removed, np.uint64)))
        with pa.ipc.new_file(f"{folder}/removed.arrow", index_layer.REMOVED) as writer:
            writer.write_batch(pa.record_batch([numbers], schema=index_layer.REMOVED))
        layer = index_layer.Layer(Path(folder), "s", 1, "f", {}, (), (), "removed.arrow")
        assert layer.is_removed(np.array(asked, np.uint64)).tolist() == [one in removed for one in asked]

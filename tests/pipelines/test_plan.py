"""The plan: what it foresees against what a run comes to, what is done already, and what it refuses."""

import gzip
import os
import re
import time
from pathlib import Path

import orjson
import pytest
from midtrain import storage
from midtrain.errors import RunError
from midtrain.pipelines import budget as budgets
from midtrain.pipelines import inputs, plan, recipe, sample, sample_places
from midtrain.pipelines.estimates import in_order
from midtrain.pipelines.executor import InProcess
from midtrain.pipelines.runner import Runner
from midtrain.progress import Events, Progress

WITHIN = 0.3  # of what is measured
SMALL = 1 << 20  # bytes: an exchange's index is not worth an estimate's third digit

needs_data = pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ, reason="MIDTRAIN_DATA names no corpora")


def planned(path, *arguments):
    loaded = recipe.load(str(path))
    return plan.table(plan.plan(loaded, 2, *arguments or (None,))).data


def measured(path, processes, *more):
    program = str(Path(__file__).parent / "measured.py")
    said = processes.end(processes.start(program, str(path), str(inputs.MIN_SPLIT), *map(str, more)))
    assert said.code == 0, said.err
    return orjson.loads(said.out)


def agree(stages, truth, keys):
    """Every estimate is within its bounds; those that are not, by stage and key."""
    assert [one["stage"] for one in stages] == [one["stage"] for one in truth]
    return {
        (one["stage"], key): (one[key], real[key])
        for one, real in zip(stages, truth, strict=True)
        for key in keys
        if abs(one[key] - real[key]) > max(WITHIN * real[key], SMALL * (key == "disk"))
    }


def text_recipe(workshop, path, **changed):
    """A recipe with one source of text, all three kinds of step, and an output of its own."""
    return workshop.yaml(
        "plan.yaml",
        {
            "name": "plan",
            "output": str(workshop.root / "planned"),
            "sources": [{"name": "web", "path": str(path)}],
            "steps": [{"language": {"keep": ["en"], "min_score": 0.65}}, {"gopher_quality": {}}, {"exact_dedup": {}}],
            **changed,
        },
    )


@pytest.fixture
def web(workshop):
    """Writes the first so many bytes of real web text, by lines."""

    def write(size):
        path = workshop.root / "data" / "web.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        source = Path(os.environ["MIDTRAIN_DATA"]) / "text/web_small.jsonl.gz"
        with storage.open_stream(str(source)) as stream, path.open("wb") as out:
            for line in stream:
                out.write(line)
                if out.tell() >= size:
                    break
        return path

    return write


# Estimates against a run


@pytest.mark.measures
def test_a_small_corpus_is_foreseen(corpus, processes, monkeypatch):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    stages = planned(path)["stages"]
    truth = measured(path, processes)
    assert agree(stages, truth, ("tasks", "documents", "kept", "memory", "disk")) == {}
    assert stages[0]["documents"] == truth[0]["documents"] - 1  # but for the line that cannot be read


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("split", [8, 64])
@pytest.mark.measures
def test_real_text_is_foreseen(workshop, web, processes, monkeypatch, split):
    """With tasks of 8 MB, and of 64 MB without rules: row groups that are never full, and ones that are."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", split << 20)
    steps = {} if split == 8 else {"steps": [{"exact_dedup": {}}]}
    path = text_recipe(workshop, web(100_000_000), **steps)
    stages = planned(path)["stages"]
    truth = measured(path, processes)
    print(*zip(stages, truth, strict=True), sep="\n")
    assert agree(stages, truth, ("tasks", "documents", "kept", "memory", "disk")) == {}


@pytest.mark.slow
@needs_data
@pytest.mark.measures
def test_the_rule_sets_are_foreseen(workshop, web, processes, monkeypatch):
    """With the chunk cache that they share, of which a worker that gets all tasks fills the most."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 8 << 20)
    chain = ("gopher_repetition", "gopher_quality", "c4", "fineweb_quality")
    path = text_recipe(workshop, web(100_000_000), steps=[{name: {}} for name in chain])
    stages = planned(path)["stages"]
    truth = measured(path, processes)
    print(*zip(stages, truth, strict=True), sep="\n")
    assert agree(stages, truth, ("tasks", "documents", "kept", "memory", "disk")) == {}
    assert all(real["memory"] <= one["memory"] for one, real in zip(stages, truth, strict=True))


@pytest.mark.slow
@needs_data
def test_a_compressed_file_is_measured_by_a_look_inside(workshop, processes):
    path = text_recipe(workshop, Path(os.environ["MIDTRAIN_DATA"]) / "text/github_docs.jsonl.zst", steps=[])
    told = planned(path)
    truth = measured(path, processes)
    assert agree(told["stages"], truth, ("documents", "kept", "disk")) == {}
    with storage.open_stream(str(Path(os.environ["MIDTRAIN_DATA"]) / "text/github_docs.jsonl.zst")) as stream:
        size = sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))
    assert told["inputs"][0]["records"] == pytest.approx(size, rel=WITHIN)


@pytest.mark.slow
@needs_data
@pytest.mark.measures
def test_the_stages_of_a_build_ask_for_what_they_need(workshop, web, processes):
    """A tokenizer's training may take less than it asks for: how many distinct words there are is not foreseen. So may
    encoding, which is foreseen for the largest vocabularies that are published."""
    path = text_recipe(workshop, web(40_000_000), steps=[])
    mixture = {
        "name": "m",
        "output": str(workshop.root / "shards"),
        "tokenizer": {"train": {"vocab_size": 4096, "sources": ["web"]}},
        "sources": [{"name": "web", "documents": str(workshop.root / "planned"), "held_out": 100}],
        "phases": [{"name": "p", "sequence_length": 512, "tokens": "1M", "weights": {"web": 1.0}}],
    }
    truth = measured(path, processes, workshop.yaml("mixture.yaml", mixture))
    assert len(truth) == 5
    for stage in truth:
        assert stage["memory"] < (1 + WITHIN) * stage["planned"], stage
        assert stage["memory"] > (1 - WITHIN) * stage["planned"] or stage["stage"].startswith("token"), stage


def test_a_large_document_asks_for_memory(workshop):
    records = [{"id": "small", "text": "word " * 100}, {"id": "large", "text": "some words\n" * 2_000_000}]
    path = text_recipe(workshop, workshop.jsonl("a.jsonl", records), steps=[])
    (stage,) = planned(path)["stages"]
    assert stage["memory"] > 7 * 18_000_000


# What is done


@pytest.mark.measures
def test_tasks_within_one_long_line_are_not_taken_for_an_empty_source(workshop, monkeypatch):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 100_000)
    short = [{"text": text} for text in workshop.texts(10)]
    path = workshop.jsonl("long.jsonl", [*short, {"text": "word " * 2_000_000}])
    recipe = {**workshop.recipe(), "sources": [{"name": "web", "path": str(path)}], "steps": []}
    (stage,) = planned(workshop.yaml("recipe.yaml", recipe))["stages"]
    assert stage["documents"] == 11
    assert stage["cpu_seconds"] < 60
    assert stage["memory"] > 5 * 10_000_000


@pytest.mark.measures
def test_a_finished_recipe_is_told_without_opening_an_input(corpus, monkeypatch, midtrain):
    corpus.curate()
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    before = corpus.hashes("out")

    original = storage.open_input

    def refuse(path):
        assert "data/" not in path, f"{path} was opened"
        return original(path)

    monkeypatch.setattr(storage, "open_input", refuse)
    monkeypatch.setattr(sample, "take", lambda *_: pytest.fail("a sample was taken"))
    started = time.process_time()
    told = midtrain("plan", path, "--workers", 2)
    assert time.process_time() - started < 1
    assert (told.code, told.err) == (0, "")
    assert told.out.endswith("nothing to do: every stage is done\n")
    data = planned(path)
    names = ["gopher_quality", "exact_dedup-choice", "exact_dedup"]
    assert [one["stage"] for one in data["stages"]] == names
    assert all(one["done"] == one["tasks"] > 0 and not one["estimated"] for one in data["stages"])
    manifest = orjson.loads((corpus.root / "out/manifest.json").read_bytes())
    funnel = manifest["counts"]["funnel"]
    told = [(one["documents"], one["kept"]) for one in data["stages"] if "choice" not in one["stage"]]
    assert told == [(stage["documents"], stage["kept"]) for stage in funnel]
    assert data["disk"]["more"] == data["memory"] == data["seconds"] == 0
    assert corpus.hashes("out") == before


def test_what_is_behind_us_is_exact_and_the_rest_is_estimated(corpus, dying):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    dying(9)
    with pytest.raises(BaseException) as died:  # noqa: PT011 - what stands for a SIGKILL
        corpus.curate()
    assert type(died.value).__name__ == "Died"
    stages = {one["stage"]: one for one in planned(path)["stages"]}
    first = stages["gopher_quality"]
    assert 0 < first["done"] < first["tasks"]
    assert first["estimated"]


def test_behind_a_finished_stage_the_numbers_of_documents_are_exact(corpus):
    result = corpus.curate()
    kept = result.stages[0][1]["kept"]
    for folder in (corpus.root / "out/stages").glob("exact_dedup-*"):
        storage.remove_tree(folder)
    (corpus.root / "out/manifest.json").unlink()
    stages = planned(corpus.yaml("recipe.yaml", corpus.recipe()))["stages"]
    assert [one["estimated"] for one in stages] == [False, True, True, True]
    assert stages[1]["documents"] == stages[2]["documents"] == stages[3]["documents"] == kept


def test_a_run_beside_that_ends_while_the_sample_is_taken_leaves_nothing_to_do(corpus, monkeypatch):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    corpus.curate()
    (corpus.root / "out/manifest.json").unlink()
    for folder in (corpus.root / "out/stages").glob("exact_dedup-*"):  # but for its scratch, which is made again
        storage.remove_tree(folder)
    loaded = recipe.load(str(path))
    keys = next(one for one in in_order(plan.stages_of(loaded, False)[-1]) if one.name == "exact_dedup-keys")
    with Runner(InProcess(), Events(None), Progress(shown=False)) as running:
        running.ensure(keys)
    take = plan._sampled

    def sampled(*given):
        found = take(*given)
        corpus.curate()
        return found

    monkeypatch.setattr(plan, "_sampled", sampled)
    assert all(one["done"] == one["tasks"] for one in planned(path)["stages"])


# What cannot be


def test_a_budget_that_is_too_small_is_refused_with_the_smallest_that_would_do(corpus, midtrain):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    said = midtrain("plan", path, "--workers", 2, "--memory", "100MB")
    assert said.code == 2
    assert "gopher_quality" in said.out  # the table all the same
    assert "Traceback" not in said.err
    least, enough = (int(re.search(told, said.err)[1]) for told in (r"at least (\d+)MB", r"--memory (\d+)MB"))
    assert least < enough < 1.2 * least  # each plan takes a sample of its own, which may need some MB more or less
    assert midtrain("plan", path, "--workers", 2, "--memory", f"{enough}MB").code == 0
    assert midtrain("plan", path, "--workers", 2, "--memory", f"{int(0.9 * least)}MB").code == 2


def test_workers_are_as_many_as_fit(corpus):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    roomy = planned(path, "8GB")
    assert roomy["budget"] == {"bytes": 8 * 10**9, "origin": "--memory"}
    assert roomy["stages"][0]["workers"] == 2
    first = roomy["stages"][0]["memory"]
    # One and a half of it: the next sample may need some MB more or less.
    budget = budgets.driver(roomy["stages"][0]["tasks"]) + first * 3 // 2
    tight = planned(path, str(budget))
    assert tight["stages"][0]["workers"] == 1
    assert tight["memory"] <= budget < roomy["memory"]


def test_a_disk_that_is_too_small_is_refused(corpus, midtrain, monkeypatch):
    monkeypatch.setattr(plan, "_free", lambda folder: 1000)
    said = midtrain("plan", corpus.yaml("recipe.yaml", corpus.recipe()), "--workers", 1)
    assert said.code == 2
    assert "the disk is too small" in said.err
    assert "1KB free" in said.err


def test_a_size_that_is_none_is_refused(corpus, midtrain):
    said = midtrain("plan", corpus.yaml("recipe.yaml", corpus.recipe()), "--memory", "much")
    assert said.code == 2
    assert "8GiB" in said.err


def test_what_the_sample_finds_wrong_is_said_as_a_run_would(corpus):
    path = corpus.root / "data/b-1.jsonl.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00 not gzip at all")
    sources = [{"name": "b", "path": str(path)}]
    loaded = recipe.load(corpus.yaml("recipe.yaml", corpus.recipe(sources=sources, steps=[])))
    with pytest.raises(RunError, match="damaged"):
        plan.plan(loaded, 1, None)


def test_a_sample_whose_process_dies_is_an_error_of_ours(corpus, monkeypatch):
    monkeypatch.setattr(sample, "_child", os.abort)
    loaded = recipe.load(corpus.yaml("recipe.yaml", corpus.recipe()))
    with pytest.raises(RunError, match="died"):
        plan.plan(loaded, 1, None)


def test_many_sources_give_less_each(corpus, monkeypatch):
    path = corpus.yaml("recipe.yaml", corpus.recipe())
    monkeypatch.setattr(sample, "SAMPLE_ALL", 4 * 20_000)
    stages = plan.stages_of(recipe.load(path))
    reached = []
    for source in ("a", "b", "twins"):
        places = sample_places.choose(stages[0], source)
        taken = list(sample_places.batches(stages[0], places, 5_000))
        reached.append(sum(size for _, size in taken))
        assert all(batch.num_rows > 0 for batch, _ in taken)
    assert all(1_000 < size <= 5_000 * sample_places.PLACES for size in reached)


def test_the_sample_leaves_nothing_behind(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(sample.tempfile, "tempdir", None)
    planned(corpus.yaml("recipe.yaml", corpus.recipe()))
    assert list((tmp_path / "temporary").iterdir()) == []
    assert [path.name for path in (corpus.root / "out").iterdir()] == ["inputs.json"]


def test_places_are_spread_also_inside_a_compressed_file(corpus, monkeypatch):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 1000)
    data = (corpus.root / "data/a.jsonl").read_bytes()
    packed = corpus.root / "data/packed.jsonl.gz"
    packed.write_bytes(gzip.compress(data))
    sources = [{"name": "a", "path": str(corpus.root / "data/a.jsonl")}, {"name": "packed", "path": str(packed)}]
    stage = plan.stages_of(recipe.load(corpus.yaml("r.yaml", corpus.recipe(sources=sources, steps=[]))))[0]
    places = sample_places.choose(stage, "a")
    starts = [splits[0].start for splits in places]
    assert len(starts) == sample_places.PLACES
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert starts[-1] < len(data) * 0.95
    inside = [place.at for place in sample_places.choose(stage, "packed")]
    assert len(inside) > 1
    assert inside == sorted(inside)
    for place in places:
        assert next(sample_places.peek(stage, place))[0].num_rows > 0

"""Scores apart from decisions: the same result with and without them, and for changed thresholds as for a fresh run."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain import storage
from midtrain.errors import RunError
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.rules import Decision, Filter, Rule, Transform
from midtrain.manifest import Manifest
from midtrain.mixtures.schema import MixtureSource
from midtrain.pipelines import curate as curation
from midtrain.pipelines import curated, inputs, read_parts
from midtrain.pipelines import decide as deciding
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.explain import explain
from midtrain.pipelines.processes import local
from midtrain.pipelines.recipe import Step
from midtrain.progress import Progress

TEXT_SOURCES = ["a", "b"]


def steps(first=30, behind=None, hashes=0.1):
    """Two rule sets in front of a barrier and one behind it."""
    quality = {"sources": TEXT_SOURCES, "min_words": first, "max_hash_ratio": hashes}
    last = {"sources": ["a"], "min_words": behind or first + 10}
    barrier = {"exact_dedup": {"max_loss": None}}
    return [{"length": {"max_chunks": 75}}, {"gopher_quality": quality}, barrier, {"gopher_quality": last}]


def decided(shop, **changed):
    loaded = recipes.load(shop.yaml("recipe.yaml", shop.recipe(**changed)))
    return deciding.decide(loaded, local(0), Progress(shown=False), overwrite=True)


@pytest.fixture
def small(monkeypatch):
    """Many tasks, and several batches in each."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 6_000)
    monkeypatch.setattr(read_parts, "SLICE_ROWS", 7)


# The same result


@pytest.mark.usefixtures("small")
def test_scores_change_nothing_of_what_becomes_of_documents(corpus, outcome):
    corpus.curate(steps=steps())
    corpus.curate(steps=steps(), output=str(corpus.root / "scored"), scores=True)
    plain, scored = outcome(corpus.root / "out"), outcome(corpus.root / "scored")
    assert len(plain.dropped) > 80
    assert len(plain.quarantined) == 1
    assert scored == plain
    first, last = (Manifest.read(corpus.root / name).counts["funnel"] for name in ("out", "scored"))
    assert [entry["kept"] for entry in last[1::2]] == [entry["kept"] for entry in first]
    assert [entry["text_bytes"] for entry in last[1::2]] == [entry["text_bytes"] for entry in first]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("barriers", [1, 2])
def test_a_barrier_behind_scores_keeps_row_numbers(corpus, outcome, barriers, midtrain):
    chosen = [*steps()[:2], {"exact_dedup": {"sources": ["b"]}}, {"exact_dedup": {}}][: 2 + barriers]
    recipe = corpus.yaml("planned.yaml", corpus.recipe(steps=chosen, output=str(corpus.root / "scored")))
    foreseen = orjson.loads(midtrain("plan", recipe, "--scores", "--json").out)["stages"]
    corpus.curate(steps=chosen)
    corpus.curate(steps=chosen, output=str(corpus.root / "scored"), scores=True)
    plain, scored = outcome(corpus.root / "out"), outcome(corpus.root / "scored")
    assert scored == plain
    assert [row[2] for row in plain.dropped].count("exact_dedup") > 5
    with_text = [path.parent.name for path in (corpus.root / "scored").rglob("part-*.parquet") if has_text(path)]
    assert len(set(with_text)) == 1
    assert [one["stage"] for one in foreseen][-1] == "exact_dedup"
    changed = [{"length": {"max_chunks": 60}}, *chosen[1:]]
    corpus.curate(steps=changed, overwrite=True)
    corpus.curate(steps=changed, output=str(corpus.root / "scored"), scores=True, overwrite=True)
    assert outcome(corpus.root / "scored") == outcome(corpus.root / "out")
    (row,) = (row for row in outcome(corpus.root / "scored").dropped[-1:])
    (trail,) = explain(corpus.root / "scored", row[0])
    assert trail.ended == f"dropped by {row[2]}.{row[3]}" or trail.ended.startswith(f"dropped by {row[2]}.2")
    rest = orjson.loads(midtrain("plan", recipe, "--scores", "--json", "--set", "steps.0.length.max_chunks=65").out)
    assert [one["estimated"] for one in rest["stages"]].count(False) == 1


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_any_number_of_processes_makes_the_same_files(corpus, monkeypatch, workers):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 8_000)
    other = corpus.twin("other")
    corpus.curate(workers=0, steps=steps(), scores=True)
    assert other.curate(workers=workers, steps=steps(), scores=True).tasks_run > 20
    assert other.hashes("out") == corpus.hashes("out")
    assert other.files("out") == corpus.files("out") == sorted(corpus.hashes("out"))


@pytest.mark.usefixtures("small")
def test_every_document_has_every_score(corpus, scored_columns):
    corpus.curate(steps=steps(), scores=True)
    (_, first), (_, behind) = scored_columns(corpus.root / "out").items()
    records = {record["id"]: record["text"] for record in all_records(corpus)}
    ids = first.column("id").to_pylist()
    of_text = [identity for identity in ids if identity[0] in "ab"]
    assert sorted(of_text) == sorted(records)
    assert first.num_rows == sum(entry["rows"] for entry in kept_entries(corpus, 0)) > behind.num_rows > 0
    step = GopherQuality(min_words=30)
    expected = step.scores(batch_of([records[identity] for identity in of_text]))
    mask = pa.array([identity in records for identity in ids])
    for rule in step.rules:
        column = first.column(f"score.gopher_quality.{rule.name}")
        np.testing.assert_array_equal(column.filter(mask).to_numpy(), expected[rule.name])
        assert column.filter(pc.invert(mask)).null_count == len(ids) - len(records)
        assert behind.column(f"score.gopher_quality.2.{rule.name}").null_count < behind.num_rows
    assert Manifest.read(corpus.root / "out").options["scores"] == [
        name for name in behind.column_names if name != "id"
    ]


@pytest.mark.usefixtures("small")
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.integers(0, 85), behind=st.integers(1, 85), hashes=st.sampled_from([None, 0.0, 0.5]), chunks=st.data())
def test_changed_thresholds_are_those_of_a_fresh_run(corpus, first, behind, hashes, chunks, outcome):
    corpus.curate(steps=steps(), scores=True, overwrite=True)
    wanted = steps(first, behind, hashes)
    wanted[0]["length"]["max_chunks"] = chunks.draw(st.sampled_from([None, 20, 60, 75]))
    wanted[0]["length"]["min_chunks"] = 0
    fresh = corpus.twin("fresh")
    fresh.curate(steps=wanted)
    decided(corpus, steps=wanted)
    assert outcome(corpus.root / "out") == outcome(fresh.root / "out")
    shutil.rmtree(fresh.root)


def test_a_changed_threshold_runs_decisions_alone(corpus):
    corpus.curate(steps=steps()[:2], scores=True)
    before = corpus.finished("out")
    result = corpus.curate(steps=steps(50)[:2], scores=True, overwrite=True)
    assert {folder for folder, _ in corpus.finished("out")[len(before) :]} == {result.stages[-1][0]}
    assert result.tasks_run == 4
    assert corpus.curate(steps=steps()[:2], scores=True, overwrite=True).tasks_run == 0  # the first decision stands


def test_another_option_scores_anew(corpus):
    corpus.curate(steps=steps()[:2], scores=True)
    changed = steps()[:2]
    changed[1]["gopher_quality"]["stop_words"] = ["the", "of"]
    result = corpus.curate(steps=changed, scores=True, overwrite=True)
    assert result.tasks_run == 8


# What raises, rewrites, or has no scores


class Fussy(Filter):
    """Raises on long texts, and keeps the others where they are long enough."""

    bounds = ("least",)
    least: int = 150

    @property
    def rules(self):
        return (Rule("bytes", self._bytes, self.least, None, "test"),)

    def _bytes(self, batch):
        sizes = np.diff(batch.text_offsets).astype(np.float64)
        if (sizes > 400).any():
            raise ValueError("too long for me")
        return sizes


class Cuts(Transform):
    """Takes the first word away, and drops what has a garden in it, by no score."""

    scored = False

    @property
    def rules(self):
        return ()

    def apply(self, batch):
        texts = [text.partition(" ")[2] for text in batch.column("text").to_pylist()]
        return batch.with_column("text", pa.array(texts, pa.large_string()))

    def decide(self, batch):
        keep = np.array(["garden" not in text for text in batch.column("text").to_pylist()], np.bool_)
        nothing = np.full(len(keep), np.nan)
        return Decision(keep, np.where(keep, -1, 0).astype(np.int16), nothing, nothing, ("a garden",))


def run(shop, least, output, scores, order=("fussy", "cuts", "quality"), overwrite=False):
    made = {
        "fussy": Step("fussy", Fussy(least=least), ("a", "b")),
        "cuts": Step("cuts", Cuts(), ("a", "b")),
        "quality": Step("gopher_quality", GopherQuality(min_words=35, min_stop_words=0), ("a",)),
    }
    loaded = recipes.load(shop.yaml("recipe.yaml", shop.recipe(output=str(shop.root / output), max_quarantined=0.5)))
    changed = dataclasses.replace(loaded, steps=(*(made[name] for name in order), *loaded.steps[1:]))
    return curation.curate(changed, local(0), Progress(shown=False), overwrite, scores=scores)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("order", [("fussy", "cuts", "quality"), ("quality", "cuts", "fussy"), ("cuts", "fussy")])
def test_what_raises_is_set_aside_where_no_step_before_drops_it(corpus, order, outcome):
    run(corpus, 150, "plain", False, order)
    run(corpus, 150, "scored", True, order)
    plain, scored = outcome(corpus.root / "plain"), outcome(corpus.root / "scored")
    assert {row[2] for row in plain.quarantined} == {"read", "fussy"}
    assert {row[3] for row in plain.dropped} >= {"a garden", "bytes", "duplicate"}
    assert scored == plain
    run(corpus, 250, "plain", False, order, overwrite=True)
    run(corpus, 250, "scored", True, order, overwrite=True)
    again = outcome(corpus.root / "scored")
    assert again == outcome(corpus.root / "plain") != plain


def test_too_many_that_raise_end_the_run(corpus):
    loaded = recipes.load(corpus.yaml("recipe.yaml", corpus.recipe(max_quarantined=2)))
    changed = dataclasses.replace(loaded, steps=(Step("fussy", Fussy(), ("a",)),))
    with pytest.raises(RunError, match="source a: too many documents had to be set aside") as caught:
        curation.curate(changed, local(0), Progress(shown=False), scores=True)
    assert "too long for me" in str(caught.value.seen)


# Without a look at texts


def spoil_texts(path: Path) -> None:
    """Turns bits all over the texts of a part; sizes and everything else stay."""
    data, metadata = bytearray(path.read_bytes()), pq.read_metadata(path)
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            if chunk.path_in_schema == "text":
                start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
                for place in range(start, start + chunk.total_compressed_size):
                    data[place] ^= 0x55
    path.write_bytes(data)


def test_deciding_reads_no_text_and_no_input(corpus, midtrain, monkeypatch, outcome):
    corpus.curate(steps=steps()[:2], scores=True)
    fresh = corpus.twin("fresh")
    fresh.curate(steps=steps(55)[:2])
    expected = [row["id"] for row in outcome(fresh.root / "out").kept]
    spoiled = sorted((corpus.root / "out/stages").glob("*-scores-*/part-*.parquet"))
    for path in spoiled:
        spoil_texts(path)
        with pytest.raises(RunError, match="damaged"):
            list(read_parts.read_part(path, ["text"]))
    monkeypatch.setattr(storage, "open_stream", None)
    decided(corpus, steps=steps(55)[:2])
    manifest = Manifest.read(corpus.root / "out")
    batches = [
        batch for file in manifest.files for batch in read_parts.read_part(corpus.root / "out" / file.path, ["id"])
    ]
    assert [identity for batch in batches for identity in batch.column("id").to_pylist()] == expected


def test_a_look_writes_nothing_and_says_what_comes_of_it(corpus, midtrain):
    corpus.curate(steps=steps(), scores=True)
    before = {path: path.stat().st_mtime_ns for path in (corpus.root / "out").rglob("*") if path.name != ".lock"}
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps()))
    setting = ("--set", "steps.1.gopher_quality.min_words=50")
    looked = orjson.loads(midtrain("decide", recipe, *setting, "--dry-run", "--json").out)
    text = midtrain("decide", recipe, *setting, "--dry-run").out
    assert {
        path: path.stat().st_mtime_ns for path in (corpus.root / "out").rglob("*") if path.name != ".lock"
    } == before
    assert "nothing was written; what gopher_quality-scores makes of these is not known from scores" in text
    said = midtrain("decide", recipe, *setting, "--workers", 0)
    assert said.code == 2
    assert "--overwrite" in said.err
    done = orjson.loads(midtrain("decide", recipe, *setting, "--workers", 0, "--overwrite", "--json").out)
    assert looked["funnel"] == done["funnel"][:2]
    assert looked["behind"] == "gopher_quality-scores"
    rows = dict(line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    assert rows["kept"].split()[0] == rows["exact_dedup.duplicate"].split()[0] == "?"
    assert f"left for gopher_quality-scores  {looked['funnel'][1]['kept']:>9,}" in text


def test_a_look_compares_steps_of_one_name_one_by_one(corpus, midtrain):
    corpus.curate(steps=steps(behind=50), scores=True)
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps(behind=50)))
    data = orjson.loads(midtrain("decide", recipe, "--dry-run", "--json").out)["funnel"]
    first, last = (one["dropped"]["gopher_quality.words"] for one in data if "gopher_quality.words" in one["dropped"])
    assert first != last

    def counted(*setting):
        said = midtrain("decide", recipe, *setting, "--dry-run").out
        rows = [line.split() for line in said.splitlines()]
        return {row[0]: row[1:] for row in rows if row and row[0].endswith(".words")}

    same = {"gopher_quality.words": [f"{first}"] * 2, "gopher_quality.2.words": [f"{last}"] * 2}
    assert counted() == same
    behind = counted("--set", "steps.0.length.max_chunks=74")
    assert behind.pop("gopher_quality.2.words") == ["?", f"{last}"]
    (now, before) = behind.pop("gopher_quality.words")
    assert (int(now) <= first, before, behind) == (True, f"{first}", {})


# What is wrong


def test_deciding_without_scores_says_what_to_do(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps()))
    said = midtrain("decide", recipe)
    assert said.code == 2
    assert "no run has kept these scores" in said.err
    assert "no scores at all" in said.err
    assert f"midtrain curate {recipe} --scores" in said.err
    assert not (corpus.root / "out" / "inputs.json").exists()
    corpus.curate(steps=steps())
    assert "no scores at all" in midtrain("decide", recipe, "--dry-run").err


def test_the_option_that_needs_other_scores_is_named(corpus, midtrain):
    corpus.curate(steps=steps(), scores=True)
    before = corpus.hashes("out")
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps()))
    said = midtrain("decide", recipe, "--set", "steps.1.gopher_quality.stop_words=[the, of]", "--overwrite")
    assert said.code == 2
    assert "scores with other gopher_quality.stop_words" in said.err
    assert "min_words" in said.err
    other = corpus.yaml("other.yaml", corpus.recipe(steps=steps()[1:]))
    assert "scores with other steps" in midtrain("decide", other).err
    corpus.jsonl("a.jsonl", corpus.records("a", corpus.texts(30)))
    assert "scores with other inputs" in midtrain("decide", recipe).err
    assert corpus.hashes("out") == before


def test_of_a_table_of_bounds_the_values_may_differ_and_not_the_keys(corpus, midtrain):
    def recipe(bounds):
        return corpus.recipe(
            sources=corpus.recipe()["sources"][:1], steps=[{"gopher_repetition": {"max_top_ngrams": bounds}}]
        )

    def look(bounds):
        return midtrain("decide", corpus.yaml("recipe.yaml", recipe(bounds)), "--dry-run")

    corpus.curate(scores=True, **recipe({"2": 0.2}))
    assert look({"2": 0.3}).code == 0
    said = look({"3": 0.2})
    assert (said.code, "scores with other gopher_repetition.top_ngrams" in said.err) == (2, True)
    assert "max_duplicate_lines, " in said.err
    assert "max_top_ngrams (its values, not its keys)" in said.err


def test_a_recipe_without_thresholds_has_nothing_to_decide(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=[{"exact_dedup": {}}]))
    said = midtrain("decide", recipe)
    assert said.code == 2
    assert "no thresholds" in said.err


def test_scored_parts_that_are_gone_are_made_again_and_damaged_ones_are_told(corpus):
    corpus.curate(steps=steps()[:2], scores=True)
    before = corpus.hashes("out")
    (folder,) = (corpus.root / "out/stages").glob("*-scores-*")
    part = folder / "part-00001.parquet"
    data = part.read_bytes()
    part.write_bytes(data[:-9])
    source = MixtureSource(name="web", documents=str(corpus.root / "out"))
    with pytest.raises(RunError, match="cut short"):
        curated.select(source, "here")
    with pytest.raises(RunError, match="cut short"):
        corpus.curate(steps=steps()[:2], scores=True)
    shutil.rmtree(folder)
    with pytest.raises(RunError):
        curated.select(source, "here")
    corpus.curate(steps=steps()[:2], scores=True)
    assert corpus.hashes("out") == before


# Whoever reads it


def test_a_mixture_selects_by_scores(corpus, outcome):
    corpus.curate(steps=steps()[:2], scores=True)
    where = {"source": ["a", "b"], "score.gopher_quality.words": ">=50"}
    selected = curated.select(MixtureSource(name="web", documents=str(corpus.root / "out"), where=where), "here")
    ids = [
        identity
        for part in range(len(selected.parts))
        for batch in selected.read(part, ["id"])
        for identity in batch.column("id").to_pylist()
    ]
    fresh = corpus.twin("fresh")
    fresh.curate(steps=steps(50)[:2])
    assert ids == [row["id"] for row in outcome(fresh.root / "out").kept if row["source"] in TEXT_SOURCES]
    assert selected.largest[1] > 0
    assert selected.text_bytes == sum(
        len(row["text"].encode()) for row in outcome(corpus.root / "out").kept if row["source"] in TEXT_SOURCES
    )


def test_a_mixture_is_built_of_scored_documents(corpus):
    corpus.curate(steps=steps(), scores=True)
    mixture = corpus.build()
    plain = corpus.twin("plain")
    plain.curate(steps=steps())
    assert mixture.manifest.counts == plain.build().manifest.counts


def test_status_and_plan_know_the_stages(corpus, midtrain):
    recipe = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps()))
    foreseen = orjson.loads(midtrain("plan", recipe, "--scores", "--json").out)["stages"]
    names = ["gopher_quality-scores", "gopher_quality"]
    assert [one["stage"] for one in foreseen] == [*names, "exact_dedup-keys", "exact_dedup-choice", *names]
    corpus.curate(steps=steps(), scores=True)
    done = orjson.loads(midtrain("status", corpus.root / "out", "--json").out)["stages"]
    assert [one["stage"] for one in done] == [one["stage"] for one in foreseen]
    assert all(one["complete"] for one in done)
    assert [one["kept"] for one in foreseen[:2]] == [one["kept"] for one in done[:2]]
    said = midtrain("plan", recipe, "--scores", "--json", "--set", "steps.1.gopher_quality.min_words=50")
    assert said.code == 0, said.err
    changed = orjson.loads(said.out)["stages"]
    assert [one["estimated"] for one in changed] == [False, *[True] * 5]
    assert 0 < changed[1]["kept"] < foreseen[1]["kept"]
    dry = midtrain("curate", recipe, "--scores", "--dry-run").out
    assert dry.count("done") == 4


def test_a_killed_run_goes_on_to_the_same_files(corpus, dying, tmp_path):
    corpus.curate(steps=steps(), scores=True)
    expected = corpus.hashes("out")
    count = dying(None)
    other = corpus.twin("other")
    other.curate(steps=steps(), scores=True)
    writes = count()
    for at in range(1, writes, max(writes // 7, 1)):
        again = corpus.twin(f"again-{at}")
        dying(at, behind=at % 2 == 0)
        with pytest.raises(BaseException, match=r"^$"):
            again.curate(steps=steps(), scores=True)
        dying(None)
        again.curate(steps=steps(), scores=True)
        assert again.hashes("out") == expected


# Through the command, in processes of its own


def test_curate_decide_explain(corpus, processes, outcome):
    recipe = str(corpus.yaml("recipe.yaml", corpus.recipe(steps=steps())))
    out = str(corpus.root / "out")

    def command(*arguments):
        said = processes.end(processes.start("-m", "midtrain", *arguments, "--json"))
        assert said.code == 0, said.err
        return orjson.loads(said.out)

    command("curate", recipe, "--scores", "--workers", "2")
    setting = ("--set", "steps.1.gopher_quality.min_words=60")
    told = command("decide", recipe, *setting, "--workers", "2", "--overwrite")
    fresh = corpus.twin("fresh")
    fresh.curate(steps=steps(60, 40))
    assert outcome(corpus.root / "out") == outcome(fresh.root / "out")
    row = next(row for row in outcome(corpus.root / "out").dropped if row[3] == "words" and row[5] == 60)
    (document,) = command("explain", out, row[0])["documents"]
    assert document["ended"] == "dropped by gopher_quality.words"
    assert told["tasks_run"] > 0


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif("MIDTRAIN_DATA" not in os.environ, reason="MIDTRAIN_DATA names no corpora")
@pytest.mark.measures
def test_a_threshold_takes_a_tenth_of_a_run(workshop, tmp_path, outcome):
    """Of 112 MB of web text, in CPU time of the tasks; the start of a process is the same for both.

    A fortieth where a file is made in a millisecond, a fifteenth where it takes five (parts are made either way), and
    what is left of that beside other jobs.
    """
    sources = [{"name": "web", "path": f"{os.environ['MIDTRAIN_DATA']}/text/web_small.jsonl.gz"}]

    def chain(words, score, lines, sentences, short):
        return [
            {"language": {"keep": ["en"], "min_score": score}},
            {"gopher_repetition": {"max_duplicate_lines": lines}},
            {"c4": {"terminal_marks": False, "min_sentences": sentences}},
            {"gopher_quality": {"min_words": words}},
            {"fineweb_quality": {"max_short_lines": short}},
        ]

    times = []
    for thresholds in ((50, 0.65, 0.3, 5, 0.67), (60, 0.5, 0.25, 4, 0.6), (80, 0.5, 0.2, 3, 0.5)):
        before = len(workshop.events("out"))
        workshop.curate(sources=sources, steps=chain(*thresholds), scores=True, overwrite=True)
        times.append(sum(event.get("cpu", 0.0) for event in workshop.events("out")[before:]))
    print(times)
    workshop.curate(sources=sources, steps=chain(*thresholds), output=str(tmp_path / "fresh"))
    assert outcome(workshop.root / "out") == outcome(tmp_path / "fresh")
    assert times[0] > 5 * min(times[1:])


def kept_entries(shop, number):
    """The kept parts of one of the stages of documents."""
    entry = Manifest.read(shop.root / "out").counts["funnel"][number]
    files = Manifest.read(shop.root / "out/stages" / entry["stage"]).files
    return [dataclasses.asdict(file) for file in files if read_parts.is_kept(file)]


def has_text(path):
    return "text" in pq.read_schema(path).names


def all_records(shop):
    paths = [shop.root / "data" / name for name in ("a.jsonl", "b-1.jsonl", "b-2.jsonl")]
    lines = (line for path in paths for line in path.read_bytes().splitlines() if not line.startswith(b"{not"))
    return [orjson.loads(line) for line in lines]


def batch_of(texts):
    from midtrain.filters.document import SCHEMA, DocumentBatch

    columns = {"id": [f"d{i}" for i in range(len(texts))], "text": list(texts), "source": ["a"] * len(texts)}
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.record_batch(arrays, schema=SCHEMA))

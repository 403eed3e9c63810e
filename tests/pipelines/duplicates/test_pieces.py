"""Deduplication of lines and paragraphs through its stages: the texts that a plain loop over dictionaries leaves."""

import gzip
import os
import random
import tempfile
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain import errors
from midtrain.pipelines import curate, inputs, message_steps, report, report_html, report_text
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.duplicates import pieces
from midtrain.pipelines.explain import explain
from midtrain.pipelines.read_parts import read_part

from tests.sizes import whole_only

STEPS = {"line_dedup": False, "paragraph_dedup": True}
LEAST = 8
LINES = [
    "a line that repeats",
    "another one of them",
    "zwölf Wörter",
    "日本語の文章です。",
    "short",
    "",
    " \t",
    "unique %d",
]
ENDS = ["\n", "\n\n", "\r\n", "\n \n", "\u2028", ""]


@pytest.fixture
def small_pieces(monkeypatch):
    """Many parts, stretches and partitions, of very little text."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 300)
    monkeypatch.setattr(pieces, "STRETCH", 4)
    monkeypatch.setattr(pieces, "PER_PARTITION", 20)


def curated(workshop, sources, steps, **options):
    """Curates sources of (id, text): {(source, id): texts kept, sorted}, the rows dropped, and the result."""
    specs = []
    for name, documents in sources:
        workshop.jsonl(f"{name}.jsonl", [{"id": identity, "text": text} for identity, text in documents])
        specs.append({"name": name, "path": str(workshop.root / f"data/{name}.jsonl"), "format": "jsonl"})
    any_loss = [
        {name: {**({"max_loss": None} if name.endswith("_dedup") else {}), **own} for name, own in step.items()}
        for step in steps
    ]
    result = workshop.curate(sources=specs, steps=any_loss, **options)
    kept = {}
    for file in result.manifest.files:
        for batch in read_part(workshop.root / "out" / file.path, ["source", "id", "text"]):
            for row in batch.to_pylist():
                kept.setdefault((row["source"], row["id"]), []).append(row["text"])
    return {key: sorted(texts) for key, texts in kept.items()}, workshop.rows("out", "dropped"), result


def expected(plain, sources, step, chosen=None):
    """What `curated` should find kept, and the documents that should become empty."""
    names = [name for name, _ in sources]
    flat = [(names.index(name), identity, text) for name, own in sources for identity, text in own]
    compared = [one for one in flat if chosen is None or names[one[0]] in chosen]
    new = iter(plain(compared, STEPS[step], LEAST))
    kept, empty = {}, []
    for source, identity, text in flat:
        left = next(new) if chosen is None or names[source] in chosen else text
        if left is None:
            empty.append((names[source], identity, len(text.encode())))
        else:
            kept.setdefault((names[source], identity), []).append(left)
    return {key: sorted(texts) for key, texts in kept.items()}, sorted(empty)


def pages(count, seed=0, prefix="p"):
    """Documents of lines of which most stand in several; some are made of nothing else."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        lines = [rng.choice(LINES[:-1] if rng.random() < 0.8 else LINES[-1:]) for _ in range(rng.randint(1, 9))]
        text = "".join((line % number if "%d" in line else line) + rng.choice(ENDS) for line in lines)
        found.append((f"{prefix}{number}", text))
    return found


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("small_pieces")
def test_texts_are_those_of_a_plain_loop(workshop, plain_deduplicated, step):
    document = st.tuples(
        st.sampled_from(["one", "two", "three", "é"]),
        st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)).map("".join), max_size=8).map("".join),
    )

    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.lists(document, min_size=1, max_size=10), min_size=1, max_size=3), st.data())
    def check(many, data):
        sources = [(f"s{number}", [("anchor", f"anchor {number}"), *own]) for number, own in enumerate(many)]
        chosen = data.draw(st.lists(st.sampled_from([name for name, _ in sources]), min_size=1, unique=True))
        chosen = [name for name, _ in sources if name in chosen]
        options = {"min_length": LEAST, "sources": chosen}
        with tempfile.TemporaryDirectory(dir=workshop.root) as folder:
            kept, gone, _ = curated(type(workshop)(Path(folder)), sources, [{step: options}])
        texts, empty = expected(plain_deduplicated, sources, step, chosen)
        assert kept == texts
        assert sorted((row["source"], row["id"], row["bytes"]) for row in gone) == empty
        assert {(row["step"], row["rule"], row["partner"]) for row in gone} <= {(step, "empty", None)}

    check()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("workers", [0, 1, 2, pytest.param(4, marks=[pytest.mark.slow, whole_only])])
def test_files_splits_and_workers_change_nothing(workshop, monkeypatch, plain_deduplicated, step, workers):
    sources = [("x", pages(120)), ("y", pages(90, 1, "q")), ("z", pages(10, 0))]
    rng = random.Random(workers)
    shuffled = [(name, rng.sample(own, len(own))) for name, own in sources]
    monkeypatch.setattr(inputs, "MIN_SPLIT", 500 + 300 * workers)
    if workers == 0:
        monkeypatch.setattr(pieces, "STRETCH", 30)
        monkeypatch.setattr(pieces, "PER_PARTITION", 50)
    kept, _, result = curated(workshop, shuffled, [{step: {"min_length": LEAST}}], workers=workers)
    texts, empty = expected(plain_deduplicated, sources, step)
    assert kept == texts
    assert len(empty) > 10
    counts = result.stages[-1][1]
    assert counts["dropped"] == {f"{step}.empty": len(empty)}
    before = {(name, identity): text for name, own in sources for identity, text in own}
    changed = {
        key: len(before[key].encode()) - len(own[0].encode()) for key, own in texts.items() if own[0] != before[key]
    }
    assert (counts["cut"]["documents"], counts["cut"]["bytes"]) == (len(changed), sum(changed.values()))
    assert sum(own.get("cut", {"documents": 0})["documents"] for own in counts["sources"].values()) == len(changed)
    assert counts["read_text_bytes"] == counts["text_bytes"] + counts["dropped_text_bytes"] + counts["cut"]["bytes"]


@pytest.mark.parametrize("step", STEPS)
def test_what_was_cut_out_is_recorded_by_its_place(workshop, step):
    sources = [("x", pages(60)), ("y", pages(60, 1, "q"))]
    kept, _, result = curated(workshop, sources, [{step: {"min_length": LEAST}}])
    before = {identity: text for _, own in sources for identity, text in own}
    seen = 0
    for path in (workshop.root / "out/stages").glob("*/cut/*.parquet"):
        for row in pq.read_table(path).to_pylist():
            text = before[row["id"]].encode()
            for start, stop in reversed(list(zip(row["start"], row["stop"], strict=True))):
                text = text[:start] + text[stop:]
            source = "x" if row["id"] in dict(sources[0][1]) else "y"
            assert kept[source, row["id"]] == [text.decode()]
            assert dict(sources)[source][row["row"]][0] == row["id"]
            seen += len(row["start"])
    assert seen == result.stages[-1][1]["cut"]["pieces"] > 20


@pytest.mark.parametrize("behind", [False, True])
def test_a_run_that_died_goes_on_to_the_same_files(workshop, monkeypatch, dying, behind):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 1_500)
    monkeypatch.setattr(pieces, "STRETCH", 30)
    monkeypatch.setattr(pieces, "PER_PARTITION", 60)
    sources, steps = [("x", pages(60)), ("y", pages(30, 1, "q"))], [{"line_dedup": {"min_length": LEAST}}]
    whole = type(workshop)(workshop.root / "whole")
    count = dying(None)
    curated(whole, sources, steps)
    writes = count()
    reference, names = whole.hashes("out"), whole.files("out")
    for at in range(3, writes, 5):
        died = type(workshop)(workshop.root / f"died-{at}")
        dying(at, behind)
        with pytest.raises(BaseException, match=r"^$") as caught:
            curated(died, sources, steps)
        assert type(caught.value).__name__ == "Died"
        dying(None)
        curated(died, sources, steps)
        assert (died.hashes("out"), died.files("out")) == (reference, names)


def test_texts_of_messages_are_refused(workshop):
    for step in STEPS:
        workshop.corpus()
        recipe = workshop.yaml("recipe.yaml", workshop.recipe(steps=[{step: {}}]))
        with pytest.raises(errors.ConfigError, match=f"{step} rewrites text") as caught:
            recipes.load(recipe)
        assert "sources: [a, b]" in caught.value.fix


def test_texts_of_messages_that_only_their_documents_show_are_set_aside(workshop, monkeypatch):
    monkeypatch.setattr(message_steps, "check_rewriting", lambda *_: None)
    records = [{"id": f"m{i}", "q": "the same question", "a": f"answer {i // 2}"} for i in range(4)]
    workshop.jsonl("m.jsonl", records)
    source = {"name": "m", "path": f"{workshop.root}/data/m.jsonl", "format": "reasoning"}
    source["fields"] = {"prompt": "q", "response": "a"}
    result = workshop.curate(sources=[source], steps=[{"line_dedup": {"min_length": LEAST, "max_loss": None}}])
    assert (result.stages[-1][1]["kept"], result.stages[-1][1]["quarantined"]) == (1, 3)
    (path,) = (workshop.root / "out/stages").glob("line_dedup-*/quarantine/*.jsonl")
    entries = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert {entry["step"] for entry in entries} == {"line_dedup"}
    assert all(
        "made of messages" in entry["error"] and entry["place"] == f"document {entry['id']}" for entry in entries
    )


@pytest.mark.parametrize("scores", [False, True])
def test_steps_before_and_behind_see_the_texts_that_reach_them(workshop, scores):
    sources = [("x", pages(80)), ("y", pages(40, 1, "q"))]
    length = {"length": {"min_characters": 40}}
    steps = [length, {"line_dedup": {"min_length": LEAST}}, length, {"exact_dedup": {}}]
    kept, _, result = curated(workshop, sources, steps, scores=scores)
    plain = type(workshop)(workshop.root / "plain")
    left, _, _ = curated(plain, [(n, [d for d in own if len(d[1]) >= 40]) for n, own in sources], steps[1:2])
    long = {key: texts for key, texts in left.items() if len(texts[0]) >= 40}
    assert {texts[0] for texts in kept.values()} == {texts[0] for texts in long.values()}
    assert 0 < len(kept) < len(left)
    assert sum(counts.get("cut", {}).get("documents", 0) for _, counts in result.stages) > 10


def test_what_only_the_exchange_needed_is_removed(workshop):
    curated(workshop, [("x", pages(20))], [{"line_dedup": {"min_length": LEAST}}])
    names = sorted(path.name.rpartition("-")[0] for path in (workshop.root / "out/stages").iterdir())
    assert names == ["line_dedup", "read"]


def test_nothing_to_cut_is_no_fault(workshop):
    kept, gone, result = curated(workshop, [("x", [("a", "short"), ("b", "")])], [{"paragraph_dedup": {}}])
    assert kept == {("x", "a"): ["short"], ("x", "b"): [""]}
    assert (gone, "cut" in result.stages[-1][1]) == ([], False)


@pytest.mark.parametrize("least", [0, 7, -1])
def test_pieces_that_are_too_short_to_mean_anything_are_refused(workshop, least):
    workshop.corpus()
    recipe = workshop.yaml(
        "recipe.yaml", workshop.recipe(steps=[{"line_dedup": {"min_length": least, "sources": ["a"]}}])
    )
    with pytest.raises(errors.ConfigError, match="min_length"):
        recipes.load(recipe)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_a_real_corpus_comes_out_as_from_a_plain_loop(workshop, plain_deduplicated, step):
    """24,070 pages of 112 MB with the default lengths; one in a hundred is a document of two sources."""
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    with gzip.open(Path(folder) / "text/web_small.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [orjson.loads(line) for line in lines]
    web = [(record["id"], record["text"]) for record in records]
    sources = [("few", web[::100]), ("web", web)]
    documents = [(place, *one) for place, (_, own) in enumerate(sources) for one in own]
    kept, gone, result = curated(workshop, sources, [{step: {}}])
    new = plain_deduplicated(documents, STEPS[step], recipes.catalogue.step(step)().min_length)
    texts = {}
    for (place, identity, _), text in zip(documents, new, strict=True):
        if text is not None:
            texts.setdefault((sources[place][0], identity), []).append(text)
    assert kept == {key: sorted(own) for key, own in texts.items()}
    empty = [identity for (_, identity, _), text in zip(documents, new, strict=True) if text is None]
    assert sorted(row["id"] for row in gone) == sorted(empty)
    assert len(empty) > 100
    assert result.stages[-1][1]["cut"]["documents"] > 1_000


@pytest.mark.parametrize("scores", [False, True])
def test_explain_and_report_tell_what_was_cut_out(workshop, plain_deduplicated, scores):
    sources = [("x", pages(60)), ("y", pages(30, 1, "q"))]
    steps = [{"line_dedup": {"min_length": LEAST}}, {"length": {"min_characters": 30}}]
    _, _, result = curated(workshop, sources, steps, scores=scores)
    documents = [(place, identity, text) for place, (_, own) in enumerate(sources) for identity, text in own]
    new = plain_deduplicated(documents, False, LEAST)
    told = {"cut": 0, "kept": 0, "length": 0, "empty": 0}
    for (_, identity, text), left in zip(documents, new, strict=True):
        (trail,) = explain(workshop.root / "out", identity)
        if left is None:
            assert trail.ended == "dropped by line_dedup.empty"
            told["empty"] += 1
            continue
        size = len(text.encode()) - len(left.encode())
        assert [note for note in trail.notes if f"({size:,} bytes) out of its text" in note] == trail.notes
        assert bool(trail.notes) == (left != text)
        assert trail.ended == ("kept" if len(left) >= 30 else "dropped by length.characters")
        (characters,) = (rule.value for rule in trail.steps[-1].rules if rule.rule == "characters")
        assert characters == len(left)
        told["cut"] += left != text
        told["kept" if len(left) >= 30 else "length"] += 1
    assert min(told.values()) > 5
    found = report.read(workshop.root / "out")
    data = {step["step"]: step for step in found.data()["total"]["steps"]}
    cut = next(counts["cut"] for _, counts in result.stages if "cut" in counts)
    expected = {"documents": cut["documents"], "pieces": cut["pieces"], "text_bytes": cut["bytes"]}
    assert (data["line_dedup"]["cut"], data["length"]["cut"]) == (expected, None)
    assert expected["documents"] == told["cut"]
    assert f"{told['cut']} changed" in report_text.table(found).text
    assert "pieces cut out of texts of" in report_html.render(found)


def test_a_source_that_loses_most_of_its_text_ends_the_run_until_that_is_allowed(workshop, midtrain):
    workshop.jsonl(
        "x.jsonl", [{"id": "a", "text": "the same line\n" + "something of its own"}, {"id": "b", "text": "short"}]
    )
    workshop.jsonl("y.jsonl", [{"id": f"c{i}", "text": "the same line\nthe end"} for i in range(3)])
    sources = [{"name": name, "path": f"{workshop.root}/data/{name}.jsonl", "format": "jsonl"} for name in "xy"]
    options = {"min_length": LEAST}
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(sources=sources, steps=[{"line_dedup": options}]))
    said = midtrain("curate", recipe, "--workers", 0)
    assert said.code == 1
    assert "line_dedup: source y loses more to deduplication than max_loss allows" in said.err
    assert "y loses 42 of 63 bytes of text (66.67 %); 3 lines cut out of 3 documents" in said.err
    before = len(workshop.finished("out"))
    options["allow_loss"] = ["y"]
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(sources=sources, steps=[{"line_dedup": options}]))
    said = midtrain("curate", recipe, "--workers", 0)
    assert (said.code, len(workshop.finished("out"))) == (0, before), said.err
    assert {row["id"]: row["text"] for row in workshop.rows("out")}["c1"] == "the end"


@pytest.mark.measures
def test_the_plan_foresees_the_stages_and_what_they_do(workshop, midtrain):
    rng = random.Random(0)
    lines = [" ".join(rng.choices(LINES[:4], k=4)) + f" {number % 97}" for number in range(3000)]
    workshop.jsonl("x.jsonl", [{"id": f"x{i}", "text": "\n".join(rng.sample(lines, 40))} for i in range(400)])
    sources = [{"name": "x", "path": str(workshop.root / "data/x.jsonl"), "format": "jsonl"}]
    steps = [{"line_dedup": {"max_loss": None}}, {"paragraph_dedup": {"max_loss": None}}]
    recipe = workshop.yaml("recipe.yaml", workshop.recipe(sources=sources, steps=steps))
    said = midtrain("plan", recipe, "--json")
    assert said.code == 0, said.err
    planned = {stage["stage"]: stage for stage in orjson.loads(said.out)["stages"]}
    names = ["read", "line_dedup-keys", "line_dedup-choice", "line_dedup", "paragraph_dedup-keys"]
    assert list(planned) == [*names, "paragraph_dedup-choice", "paragraph_dedup"]
    workshop.curate(sources=sources, steps=steps, workers=1)
    ended = {e["folder"].rpartition("-")[0]: e for e in workshop.events("out") if e["event"] == "task_finished"}
    for name, stage in planned.items():
        assert stage["tasks"] == 1
        assert abs(stage["documents"] - 400) < 40
        assert 0.5 < stage["memory"] / ended[name]["memory"] < 2


def test_a_document_that_kills_its_process_is_passed_by(workshop, monkeypatch):
    monkeypatch.setattr(curate, "remove_scratch", lambda stages: None)
    kept, _, _ = curated(workshop, [("x", pages(40))], [{"line_dedup": {"min_length": LEAST}}])
    stage = curate.plan(recipes.load(workshop.root / "recipe.yaml"))[-1]
    before = sorted((workshop.root / "out").rglob("*"))
    assert stage.probe(0, 5, 9) == 40
    assert sorted((workshop.root / "out").rglob("*")) == before
    texts = dict(pages(40))
    number = next(row for row in range(40) if kept.get(("x", f"p{row}"), [texts[f"p{row}"]]) != [texts[f"p{row}"]])
    stage.poison(0, number, "it kills its process")
    counts = stage.run(0).counts
    assert (counts["documents"], counts["quarantined"], counts["kept"]) == (40, 1, len(kept) - 1)
    (path,) = stage.folder.glob("quarantine/*.jsonl")
    entry = orjson.loads(path.read_bytes())
    assert (entry["id"], entry["step"], entry["error"]) == (f"p{number}", "process", "it kills its process")
    assert entry["place"] == f"part-00000.parquet, row {number}"
    left = {row["id"]: row["text"] for row in pq.read_table(stage.folder / "part-00000.parquet").to_pylist()}
    assert left == {identity: own[0] for (_, identity), own in kept.items() if identity != f"p{number}"}

"""A recipe whose steps rewrite text: new texts reach the output and later steps, and the rest is as for any step."""

import orjson
import pyarrow.parquet as pq
import pytest
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.pipelines import inputs

REASONS = {"lorem_ipsum": "lorem_ipsum", "curly_bracket": "curly_bracket", "too_few_sentences": "sentences"}


def page(number):
    """A page of a small site: some lines are no sentences, some pages no text."""
    lines = ["Home | About | Contact", f"This is page {number}[{number}]. It is like the others.", "Read on... "]
    lines += [f"Nothing stands in line {line} but this. Or does it?" for line in range(number % 5)]
    lines += ["We use cookies on this page.", "Enable JavaScript to see more.", "© somebody"]
    if number % 7 == 3:
        lines.insert(2, "function f() { return an answer; }.")
    if number % 11 == 5:
        lines.append("Lorem ipsum dolor sit amet.")
    return ["\n", "\r\n"][number % 2].join(lines)


@pytest.fixture
def site(workshop):
    """A workshop with 200 pages of the site in two files, and one that differs from another in its menu alone."""
    texts = [*(page(number) for number in range(200)), page(2).replace("Home", "Start")]
    records = workshop.records("p", texts)
    workshop.jsonl("site-1.jsonl", records[:120])
    workshop.jsonl("site-2.jsonl", records[120:])
    workshop.texts_of = {record["id"]: record["text"] for record in records}
    workshop.sources = [{"name": "site", "path": f"{workshop.root}/data/site-*.jsonl", "format": "jsonl"}]
    return workshop


def published(texts, step=None):
    """Each document's new text, and each dropped document's reason, by id."""
    step, kept, dropped = step or C4QualityFilter(), {}, {}
    for identity, text in texts.items():
        document = Document(text=text, id=identity)
        answer = step.filter(document)
        if answer is True:
            kept[identity] = document.text
        else:
            dropped[identity] = REASONS[answer[1]]
    return kept, dropped


def dropped_rows(workshop, output="out"):
    paths = sorted((workshop.root / output / "stages").glob("*/dropped/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize("workers", [0, 1])
def test_new_texts_are_written_and_what_is_dropped_keeps_its_reason(site, monkeypatch, workers):
    monkeypatch.setattr(inputs, "MIN_SPLIT", 8_000)
    site.curate(workers=workers, sources=site.sources, steps=[{"c4": {}}])
    kept, dropped = published(site.texts_of)
    assert len(kept) > 50
    assert set(dropped.values()) == set(REASONS.values())
    assert {row["id"]: row["text"] for row in site.rows("out")} == kept
    rows = dropped_rows(site)
    assert {row["id"]: row["rule"] for row in rows} == dropped
    assert {row["step"] for row in rows} == {"c4"}
    assert all(row["value"] < row["threshold"] == 5 for row in rows if row["rule"] == "sentences")
    counts = orjson.loads((site.root / "out/manifest.json").read_bytes())["counts"]["funnel"][0]
    assert (counts["kept"], sum(counts["dropped"].values()), counts["quarantined"]) == (len(kept), len(dropped), 0)


def words(text):
    return len([token for token in text.split() if any(map(str.isalnum, token))])


@pytest.mark.parametrize("bound", [40, 52])
def test_steps_before_see_the_old_text_and_steps_behind_the_new_one(site, bound):
    """Old pages have 22 words more than new ones, which have 26, 35 or 44."""
    off = {name: None for name in GopherQuality.model_fields if name.startswith(("min_", "max_"))}
    short = {"gopher_quality": {**off, "max_words": bound}}
    before, _ = published({identity: text for identity, text in site.texts_of.items() if words(text) <= bound})
    every, _ = published(site.texts_of)
    behind = {identity: text for identity, text in every.items() if words(text) <= bound}
    assert len(before) < len(behind)
    for steps, expected in (([{"c4": {}}, short], behind), ([short, {"c4": {}}], before)):
        if expected:
            site.curate(sources=site.sources, steps=steps, overwrite=True)
            assert {row["id"]: row["text"] for row in site.rows("out")} == expected


def test_a_barrier_compares_the_new_texts(site):
    site.curate(sources=site.sources, steps=[{"c4": {"min_sentences": None}}, {"exact_dedup": {}}])
    texts = [row["text"] for row in site.rows("out")]
    every = published(site.texts_of, C4QualityFilter(min_num_sentences=-1))[0].values()
    assert sorted(texts) == sorted(set(every))
    assert len(every) == len(texts) + 1


def test_an_option_is_another_result(site):
    fingerprints = set()
    for options in ({}, {"terminal_marks": False}, {"min_sentences": 4}):
        site.curate(sources=site.sources, steps=[{"c4": options}], overwrite=True)
        fingerprints.add(orjson.loads((site.root / "out/manifest.json").read_bytes())["files"][0]["path"].split("/")[1])
    assert len(fingerprints) == 3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dropped_document_has_the_size_that_its_step_saw_with_scores_and_without(site, workers):
    """Steps that rewrite stand before, among and behind those that drop, and one is there twice."""
    sizes = {identity: [len(text.encode())] for identity, text in site.texts_of.items()}
    blocks = C4QualityFilter(), C4QualityFilter(min_num_sentences=7)
    for identity, text in site.texts_of.items():
        document = Document(text=text, id=identity)
        for block in blocks:
            if block.filter(document) is not True:
                break
            sizes[identity].append(len(document.text.encode()))
    off = {name: None for name in GopherQuality.model_fields if name.startswith(("min_", "max_"))}
    steps = [
        {"gopher_quality": {**off, "max_words": 62}},
        {"c4": {}},
        {"c4": {"min_sentences": 7}},
        {"datatrove": {"RegexFilter": {"regex_exp": "page 1[0-9]*3\\b"}}},
        {"datatrove": {"PIIFormatter": {}}},
    ]
    found = []
    for scores in (False, True):
        output = f"out-{scores}"
        site.curate(workers=workers, sources=site.sources, steps=steps, scores=scores, output=str(site.root / output))
        rows = dropped_rows(site, output)
        found.append(sorted((row["step"], row["id"], row["rule"], row["bytes"]) for row in rows))
    assert found[0] == found[1]
    seen = {"gopher_quality": {0}, "c4": {0, 1}, "datatrove": {2}}
    assert {step for step, *_ in found[0]} == set(seen)
    for step, identity, _, size in found[0]:
        assert size in [sizes[identity][at] for at in seen[step] if at < len(sizes[identity])]
    assert any(size < sizes[identity][0] for step, identity, _, size in found[0] if step == "c4")

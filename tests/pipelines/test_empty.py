"""A curation that keeps no document fails, and what dropped them can be looked at all the same."""

import orjson
import pytest
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.manifest import EMPTY, Manifest
from midtrain.pipelines import report
from midtrain.pipelines.explain import explain

STEPS = [
    {"exact_dedup": {}},
    {"gopher_quality": {"min_words": 1000}},
    {"exact_dedup": {}},
    {"length": {"max_chunks": 75}},
]


@pytest.fixture(params=[[], ["--scores"]], ids=["plain", "scored"])
def nothing(request, corpus, midtrain):
    """A recipe none of whose documents is kept, after a run; and the command that runs it again."""

    def run(*more, **changed):
        recipe = corpus.yaml("recipe.yaml", corpus.recipe(**{"steps": STEPS, **changed}))
        return midtrain("curate", recipe, "--workers", 0, *request.param, *more)

    assert run().code == 1
    return run


def test_the_report_has_the_funnel(corpus, midtrain, nothing):
    said = midtrain("report", corpus.root / "out", "--json", "--html", corpus.root / "page.html")
    assert said.code == 0
    data = orjson.loads(said.out)
    read, kept = data["total"]["read"]["documents"], data["total"]["kept"]["documents"]
    assert (read, kept) == (401, 0)
    assert [step["step"] for step in data["total"]["steps"]] == ["reading", "exact_dedup", "gopher_quality"]
    rules = {f"{s['step']}.{r['rule']}": r["documents"] for s in data["total"]["steps"] for r in s["rules"]}
    assert sum(rules.values()) == 400
    assert rules["gopher_quality.words"] > rules["exact_dedup.duplicate"] > 0
    assert all(source["kept"]["documents"] == 0 < source["read"]["documents"] for source in data["sources"])
    assert data["fingerprint"] == Manifest.find(corpus.root / "out", EMPTY).fingerprint
    assert "gopher_quality.words" in (corpus.root / "page.html").read_text()
    assert "401 documents" in midtrain("report", corpus.root / "out").out


def test_a_document_is_explained(corpus, nothing):
    (trail,) = explain(corpus.root / "out", "a1")
    assert trail.ended == "dropped by gopher_quality.words"
    assert [(step.step, step.outcome) for step in trail.steps] == [
        ("exact_dedup", "kept"),
        ("gopher_quality", "dropped"),
    ]
    (copy,) = explain(corpus.root / "out", "b0")
    assert copy.ended == "dropped by exact_dedup.duplicate"
    assert copy.steps[0].partner == "a70"


def test_it_is_no_result(corpus, midtrain, nothing):
    assert not (corpus.root / "out/manifest.json").exists()
    said = midtrain("build", corpus.yaml("mixture.yaml", corpus.mixture()), "--workers", 0)
    assert said.code == 2
    assert "the curated output has no document" in said.err
    assert f"midtrain report {corpus.root}/out" in said.err
    status = midtrain("status", corpus.root / "out")
    assert (status.code, "no document is left" in status.out) == (0, True)
    assert orjson.loads(midtrain("status", corpus.root / "out", "--json").out)["state"] == "empty"


def test_the_same_run_again_tells_the_same_and_does_nothing(corpus, nothing):
    path = corpus.root / "out" / EMPTY
    before, finished = path.read_bytes(), corpus.finished("out")
    assert nothing().code == 1
    assert path.read_bytes() == before
    assert corpus.finished("out") == finished


def test_a_looser_recipe_takes_its_place_without_being_told_to(corpus, midtrain, nothing):
    looser = [{"exact_dedup": {}}, {"gopher_quality": {"min_words": 30, "sources": ["a", "b"]}}]
    assert nothing(steps=looser).code == 0
    assert not (corpus.root / "out" / EMPTY).exists()
    assert report.read(corpus.root / "out").funnel.total.kept.documents > 100
    assert midtrain("status", corpus.root / "out").out.rstrip().partition("out: ")[2].startswith("complete")


def test_a_stricter_recipe_replaces_a_result_only_when_told_to(corpus, nothing):
    assert nothing(steps=[{"exact_dedup": {}}]).code == 0
    assert nothing().code == 2
    assert report.read(corpus.root / "out").funnel.total.kept.documents > 100
    assert nothing("--overwrite").code == 1
    assert not (corpus.root / "out/manifest.json").exists()
    assert report.read(corpus.root / "out").funnel.total.kept.documents == 0


def test_what_it_told_is_gone_while_another_recipe_is_not_complete(corpus, midtrain, nothing, monkeypatch):
    def fail(self, batch):
        raise MemoryError

    monkeypatch.setattr(GopherQuality, "decide_scores", fail)
    monkeypatch.setattr(GopherQuality, "decide", fail)
    monkeypatch.setattr(GopherQuality, "scores", fail)
    assert nothing(steps=[{"gopher_quality": {"min_words": 20}}], max_quarantined=0).code == 1
    said = midtrain("report", corpus.root / "out")
    assert said.code == 1
    assert "the run is not complete" in said.err

"""Runs that an alarm ends: nothing is published, and once the recipe allows it nothing is computed anew."""

import re

import pytest
from midtrain.pipelines import report


@pytest.fixture
def near(workshop):
    """Source a, source b with near copies of most of a, and c with seven copies of one text; and a command's recipe."""
    texts = workshop.texts(60, seed=11)
    texts = [text for number, text in enumerate(texts) if number % 7 < 6]
    workshop.jsonl("a.jsonl", workshop.records("a", texts))
    near = [text.replace(" ", " changed ", 1) if number < 40 else text[::-1] for number, text in enumerate(texts)]
    workshop.jsonl("b.jsonl", workshop.records("b", near))
    workshop.jsonl("c.jsonl", workshop.records("c", [f"{texts[0]} end {'x' * number}" for number in range(7)]))

    def recipe(step, **options):
        sources = [{"name": name, "path": f"{workshop.root}/data/{name}.jsonl"} for name in "abc"]
        steps = [{step: options}, {"length": {"min_chunks": 1}}]
        content = {"name": "n", "output": f"{workshop.root}/out", "sources": sources, "steps": steps}
        return workshop.yaml("recipe.yaml", content)

    return recipe


LOW = {"threshold": 0.7, "min_recall": 0}


def curate(midtrain, path, *more):
    return midtrain("curate", path, "--workers", 0, *more)


def test_a_source_that_loses_too_much_ends_the_run(near, workshop, midtrain):
    said = curate(midtrain, near("minhash_dedup", **LOW))
    assert said.code == 1
    assert "minhash_dedup: source c loses more to deduplication than max_loss allows" in said.err
    assert re.search(r"c loses 7 of 7 documents \(100\.00 %\); b loses \d+ of 52 documents \(\d+\.\d\d %\)", said.err)
    assert "what is kept in their place: " in said.err
    assert "the largest cluster has " in said.err
    assert "allow_loss: [b, c]" in said.err
    assert "Traceback" not in said.err
    assert not (workshop.root / "out/manifest.json").exists()
    assert midtrain("report", workshop.root / "out").code == 1
    done = workshop.finished("out")
    assert {folder.rpartition("-")[0] for folder, _ in done} >= {"read", "minhash_dedup-choice"}

    allowed = curate(midtrain, near("minhash_dedup", **LOW, allow_loss=["b", "c"]))
    assert allowed.code == 0
    again = workshop.finished("out")[len(done) :]
    assert {folder.rpartition("-")[0] for folder, _ in again} == {"length"}
    assert report.read(workshop.root / "out").funnel.total.kept.documents > 50

    for options in ({"max_loss": None}, {"max_loss": 1.0}, {"allow_loss": ["b", "c"], "max_loss": 0.9}):
        assert curate(midtrain, near("minhash_dedup", **LOW, **options)).code == 0
    assert workshop.finished("out")[len(done) :] == again


def test_a_limit_that_is_lower_than_when_the_result_was_made_is_an_error_too(near, workshop, midtrain):
    assert curate(midtrain, near("minhash_dedup", **LOW, max_loss=None)).code == 0
    done = workshop.finished("out")
    said = curate(midtrain, near("minhash_dedup", **LOW))
    assert said.code == 1
    assert "loses more" in said.err
    said = curate(midtrain, near("minhash_dedup", **LOW, max_loss=None, max_cluster=5))
    assert said.code == 1
    assert "a cluster has more documents than max_cluster" in said.err
    assert curate(midtrain, near("minhash_dedup", **LOW, max_loss=None, max_cluster=20)).code == 0
    assert workshop.finished("out") == done


@pytest.mark.parametrize("step", ["minhash_dedup", "exact_dedup"])
def test_a_cluster_that_is_too_large_ends_the_run_and_shows_two_of_its_documents(workshop, midtrain, near, step):
    (text,) = workshop.texts(1, seed=4)
    workshop.jsonl("c.jsonl", workshop.records("c", [text] * 12))
    recipe = {"max_loss": None, **({} if step == "exact_dedup" else LOW)}
    said = curate(midtrain, near(step, **recipe, max_cluster=11))
    assert said.code == 1
    assert f"{step}: a cluster has more documents than max_cluster allows" in said.err
    assert "the largest cluster has 12 documents: c0 of c " in said.err
    assert said.err.count(repr(text.replace("\n", "\N{REPLACEMENT CHARACTER}")[:60])[1:-1]) == 2
    assert "max_cluster: 12 (null allows any)" in said.err
    assert not (workshop.root / "out/manifest.json").exists()
    done = workshop.finished("out")
    assert curate(midtrain, near(step, **recipe, max_cluster=12)).code == 0
    again = workshop.finished("out")[len(done) :]
    assert {folder.rpartition("-")[0] for folder, _ in again} == {"length"}


def test_exact_copies_count_as_losses(workshop, midtrain, near):
    (text,) = workshop.texts(1, seed=4)
    workshop.jsonl("c.jsonl", workshop.records("c", [text] * 4 + ["another"]))
    said = curate(midtrain, near("exact_dedup"))
    assert said.code == 1
    assert "c loses 3 of 5 documents (60.00 %); what is kept in their place: 3 of its own" in said.err
    assert curate(midtrain, near("exact_dedup", max_loss=0.6)).code == 0


@pytest.mark.parametrize("step", ["line_dedup", "paragraph_dedup"])
def test_pieces_count_by_bytes_of_text_those_of_emptied_documents_among_them(workshop, midtrain, near, step):
    (text,) = workshop.texts(1, seed=4)
    text = " ".join(text.split()) * 2
    own = [f"{text}\n\n{'own words ' * 4}{number}" for number in range(3)]
    workshop.jsonl("c.jsonl", workshop.records("c", [*own, text, text]))
    sizes = [len(one.encode()) for one in (*own, text, text)]
    said = curate(midtrain, near(step, min_length=100))
    assert said.code == 1
    lost = re.search(r"c loses ([\d,]+) of ([\d,]+) bytes of text", said.err)
    assert int(lost[2].replace(",", "")) == sum(sizes)
    assert 4 * len(text.encode()) <= int(lost[1].replace(",", "")) <= 4 * len(text.encode()) + 8
    told = r"(\d) \w+s cut out of (\d) documents, others that have nothing left had ([\d,]+) bytes"
    pieces, documents, emptied = (int(one.replace(",", "")) for one in re.search(told, said.err).groups())
    assert pieces == documents in (2, 3)  # whose piece is kept goes by a hash of the ids
    assert emptied == (4 - documents) * len(text.encode())
    done = workshop.finished("out")
    allowed = curate(midtrain, near(step, min_length=100, allow_loss=["c"]))
    assert allowed.code == 0
    assert workshop.finished("out") == done  # the stage that cuts had done its tasks: only its manifest was missing


@pytest.mark.parametrize("step", ["minhash_dedup", "exact_dedup", "line_dedup", "paragraph_dedup"])
def test_a_source_that_is_allowed_must_be_there(near, midtrain, step):
    said = curate(midtrain, near(step, allow_loss=["a", "bb"]))
    assert said.code == 2
    assert f"steps.0.{step}.allow_loss.1: {step} applies to no source called bb" in said.err
    assert "did you mean b?" in said.err
    assert re.search(r"recipe\.yaml:\d+: ", said.err)
    assert curate(midtrain, near(step, sources=["a", "b"], allow_loss=["c"])).code == 2


def test_alarms_are_not_in_the_fingerprint(near, workshop, midtrain):
    said = curate(midtrain, near("minhash_dedup", **LOW, max_loss=None), "--json")
    one = workshop.hashes("out")
    said = curate(midtrain, near("minhash_dedup", **LOW, allow_loss=["a", "b", "c"], max_cluster=None), "--json")
    assert said.code == 0
    assert workshop.hashes("out") == one


def test_what_was_chosen_serves_a_recipe_whose_later_steps_are_others(near, workshop, midtrain):
    path = near("minhash_dedup", **LOW, max_loss=None)
    assert curate(midtrain, path).code == 0
    done = workshop.finished("out")
    said = curate(midtrain, path, "--set", "steps.1.length.min_chunks=30", "--overwrite")
    assert said.code == 0
    again = workshop.finished("out")[len(done) :]
    assert {folder.rpartition("-")[0] for folder, _ in again} == {"length"}
    assert report.read(workshop.root / "out").copies[0].duplicates > 20


def test_steps_that_take_too_much_only_together_end_the_run(workshop, midtrain):
    """Thirty texts, each with a copy and a near copy: a third of the documents goes, and then half of the rest."""
    texts = [text for number, text in enumerate(workshop.texts(35, seed=3)) if number % 7 < 6]
    several = [text for text in texts for text in (text, text, f"{text} once")]
    workshop.jsonl("web.jsonl", workshop.records("w", several))

    def recipe(*steps):
        sources = [{"name": "web", "path": f"{workshop.root}/data/web.jsonl"}]
        content = {"name": "n", "output": f"{workshop.root}/out", "sources": sources, "steps": list(steps)}
        return workshop.yaml("recipe.yaml", content)

    said = curate(midtrain, recipe({"exact_dedup": {}}, {"minhash_dedup": {}}))
    assert said.code == 1
    assert "minhash_dedup: source web loses more to deduplication than max_loss allows" in said.err
    assert "web loses 60 of 90 documents (66.67 %), 30 of them to steps before" in said.err
    assert not (workshop.root / "out/manifest.json").exists()
    # A loss that the first step was allowed to make is not held against the second.
    assert curate(midtrain, recipe({"exact_dedup": {"allow_loss": ["web"]}}, {"minhash_dedup": {}})).code == 0
    assert curate(midtrain, recipe({"exact_dedup": {"max_loss": 0.6}}, {"minhash_dedup": {}})).code == 0
    assert curate(midtrain, recipe({"exact_dedup": {}}, {"minhash_dedup": {"max_loss": 0.7}})).code == 0
    assert curate(midtrain, recipe({"exact_dedup": {}}, {"minhash_dedup": {}})).code == 1


@pytest.mark.parametrize("step", ["line_dedup", "paragraph_dedup"])
def test_documents_that_have_nothing_left_are_a_loss_however_short_they_were(workshop, midtrain, step):
    pages = ["This page is gone."] * 90 + workshop.texts(6, seed=4) + workshop.texts(4, seed=5)
    workshop.jsonl("web.jsonl", workshop.records("w", pages))
    sources = [{"name": "web", "path": f"{workshop.root}/data/web.jsonl"}]
    steps = [{step: {"min_length": 10}}]
    content = {"name": "n", "output": f"{workshop.root}/out", "sources": sources, "steps": steps}
    said = curate(midtrain, workshop.yaml("recipe.yaml", content))
    assert said.code == 1
    assert f"{step}: source web loses more to deduplication than max_loss allows" in said.err
    assert "web loses 89 of 100 documents (89.00 %)" in said.err

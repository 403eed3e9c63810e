"""The curve of bands and rows: the formula's, shown with the threshold, and refused where it finds too few."""

import orjson
import pytest
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.recall_curve import curve, curves


def test_the_points_are_those_of_the_formula():
    found = curve("minhash_dedup", MinhashDedup(threshold=0.82))
    points = dict(found.points)
    assert list(points) == sorted(points)
    assert set(points) == {0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.82, 0.85, 0.9, 0.95, 1.0}
    for jaccard, share in points.items():
        assert share == pytest.approx(1 - (1 - jaccard**8) ** 14, abs=1e-12)
    # The published figures of 14 bands of 8 rows.
    assert round(points[0.8], 2) == 0.92
    assert round(points[0.82], 2) == round(found.recall, 2) == 0.96
    assert round(dict(curve("m", MinhashDedup(threshold=0.72, min_recall=0)).points)[0.72], 2) == 0.65
    assert points[1.0] == 1.0


def test_the_text_marks_the_threshold():
    lines = curve("minhash_dedup.2", MinhashDedup()).text().splitlines()
    assert lines[0] == (
        "minhash_dedup.2: 14 bands of 8 rows compare 92.35 % of pairs at the threshold, jaccard 0.8 (min_recall: 0.9)"
    )
    assert lines[1].split() == ["Jaccard", "compared"]
    assert [float(line.split()[0]) for line in lines[2:]] == [number / 20 for number in range(10, 21)]
    assert [line.split()[0] for line in lines if line.endswith("threshold")] == ["0.8"]
    shares = [1 - (1 - (number / 20) ** 8) ** 14 for number in range(10, 21)]
    assert [line.count("#") for line in lines[2:]] == [round(40 * share) for share in shares]


def test_a_threshold_of_containment_is_no_point_of_the_curve():
    found = curve("m", MinhashDedup(similarity="containment", threshold=0.91, min_recall=0.5))
    assert 0.91 not in dict(found.points)
    assert "containment 0.91" in found.text()
    assert "documents of equal size: of small texts that stand in large ones far fewer" in found.text()
    assert "equal size" not in curve("m", MinhashDedup()).text()
    assert not any(line.endswith("threshold") for line in found.text().splitlines()[1:])
    assert found.recall == pytest.approx(dict(found.points)[0.85], abs=0.02)  # J = .91 / (2 - .91)


def test_every_such_step_of_a_recipe_has_a_curve(corpus):
    plain = {"sources": ["a", "b"]}
    others = {**plain, "bands": 20, "rows": 5, "threshold": 0.7}
    steps = [{"minhash_dedup": plain}, {"exact_dedup": {}}, {"minhash_dedup": others}]
    loaded = recipes.load(corpus.yaml("recipe.yaml", corpus.recipe(steps=steps)))
    assert [(one.step, one.bands, one.rows) for one in curves(loaded)] == [
        ("minhash_dedup", 14, 8),
        ("minhash_dedup.2", 20, 5),
    ]
    data = orjson.loads(orjson.dumps(curves(loaded)[1].data()))
    assert data["points"][4] == {"jaccard": 0.7, "compared": pytest.approx(1 - (1 - 0.7**5) ** 20)}
    assert data["recall"] == data["points"][4]["compared"]
    assert (data["threshold"], data["min_recall"], data["similarity"]) == (0.7, 0.9, "jaccard")


@pytest.mark.parametrize("verb", ["plan", "curate"])
def test_too_small_a_recall_is_refused_when_the_recipe_is_loaded(corpus, midtrain, verb):
    path = corpus.root / "recipe.yaml"
    path.write_text(
        f"name: x\noutput: {corpus.root}/out\nsources:\n  - {{name: a, path: {corpus.root}/data/a.jsonl}}\n"
        "steps:\n  - minhash_dedup:\n      threshold: 0.72\n"
    )
    said = midtrain(verb, path)
    assert said.code == 2
    assert f"{path}:6: steps.0.minhash_dedup: 14 bands of 8 rows find 65.0 % of pairs at the threshold 0.72" in said.err
    assert "min_recall" in said.err
    assert not (corpus.root / "out").exists()
    loaded = recipes.load(path, ["steps.0.minhash_dedup.min_recall=0.6"])
    assert curves(loaded)[0].recall == pytest.approx(0.65, abs=0.01)


def test_the_plan_prints_the_curve(corpus, midtrain):
    steps = [{"exact_dedup": {}}, {"minhash_dedup": {"threshold": 0.82, "sources": ["a", "b"]}}]
    path = corpus.yaml("recipe.yaml", corpus.recipe(steps=steps))
    said = midtrain("plan", path)
    assert said.code == 0
    (expected,) = curves(recipes.load(path))
    assert expected.text() in said.out
    data = orjson.loads(midtrain("plan", path, "--json").out)
    assert data["recall"] == [orjson.loads(orjson.dumps(expected.data()))]
    without = corpus.yaml("recipe.yaml", corpus.recipe())
    assert orjson.loads(midtrain("plan", without, "--json").out)["recall"] == []

"""What a mixture's source takes of a curated output: `where` on every kind of column, and what it must not name."""

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.schema import MixtureSource
from midtrain.pipelines.curated import select

COLUMNS = ["id", "source", "date", "score.language.en"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory, curated_workshop):
    """A curated output with language scores on one source and dates on the other, and its rows."""
    shop = type(curated_workshop)(tmp_path_factory.mktemp("scored"))
    texts = shop.texts(40, seed=4)
    german = [text.replace("the", "die").replace("and", "und").replace("river", "Fluss Ufer Weg") for text in texts]
    shop.jsonl("a.jsonl", shop.records("a", [text for pair in zip(texts, german, strict=True) for text in pair]))
    dated = [
        {**record, "date": f"{2018 + i % 6}-0{1 + i % 9}-11"} for i, record in enumerate(shop.records("b", texts[:30]))
    ]
    shop.jsonl("b.jsonl", dated)
    shop.jsonl("gone.jsonl", [{"text": "too short"}])
    data = shop.root / "data"
    shop.curate(
        sources=[{"name": n, "path": f"{data}/{n}.jsonl", "format": "jsonl"} for n in ("a", "b", "gone")],
        steps=[
            {"gopher_quality": {"sources": ["gone"]}},
            {"language": {"keep": ["en"], "min_score": 0, "sources": ["a"]}},
        ],
    )
    return shop


def source_of(shop, **where):
    return MixtureSource(name="mine", documents=str(shop.root / "out"), where=where)


def taken(shop, **where):
    """The ids that a source takes, and the columns of its batches."""
    selection = select(source_of(shop, **where), "mixture.yaml:9")
    batches = [batch for part in range(len(selection.parts)) for batch in selection.read(part, COLUMNS)]
    assert all(batch.schema.names == COLUMNS and batch.num_rows for batch in batches)
    return {identity for batch in batches for identity in batch.column("id").to_pylist()}


def score(row):
    value = row["score.language.en"]
    return float("nan") if value is None else value  # a score that was never made holds for nothing


CONDITIONS = [
    ({}, lambda row: True),
    ({"source": "a"}, lambda row: row["source"] == "a"),
    ({"source": ("a", "b")}, lambda row: True),
    ({"source": ("b", "gone")}, lambda row: row["source"] == "b"),
    ({"score.language.en": ">0.8"}, lambda row: score(row) > 0.8),
    ({"score.language.en": ">= 0.8"}, lambda row: score(row) >= 0.8),
    ({"score.language.en": "<0.8"}, lambda row: score(row) < 0.8),
    ({"score.language.en": "<=1"}, lambda row: score(row) <= 1),
    ({"source": "a", "score.language.en": "<0.9"}, lambda row: row["source"] == "a" and score(row) < 0.9),
    ({"source": "b", "score.language.en": "<0.9"}, lambda row: False),
    ({"id": ("a1", "b2", "zz")}, lambda row: row["id"] in ("a1", "b2")),
    ({"language": "en"}, lambda row: row["language"] == "en"),
    ({"date": ">2020"}, lambda row: (row["date"] or "") > "2020"),
    ({"date": "<2019-05-01"}, lambda row: (row["date"] or "9") < "2019-05-01"),
    ({"date": "2020-03-11"}, lambda row: row["date"] == "2020-03-11"),
]


@pytest.mark.parametrize(("where", "holds"), CONDITIONS)
def test_a_source_takes_the_documents_for_which_all_conditions_hold(scored, where, holds):
    rows = scored.rows("out")
    expected = {row["id"] for row in rows if holds(row)}
    assert taken(scored, **where) == expected
    assert len(expected) < len(rows) or where in ({}, {"source": ("a", "b")})
    assert expected or "b" in where.values()


def test_a_number_is_an_equal_score(scored):
    value = next(row["score.language.en"] for row in scored.rows("out") if row["source"] == "a")
    assert taken(scored, **{"score.language.en": value}) == {
        row["id"] for row in scored.rows("out") if row["score.language.en"] == value
    }


def test_only_parts_of_the_sources_named_are_read(scored):
    selection = select(source_of(scored, source="b"), "")
    assert {part.source for part in selection.parts} == {"b"}
    rows = [row for row in scored.rows("out") if row["source"] == "b"]
    assert selection.text_bytes == sum(len(row["text"].encode()) for row in rows)


@pytest.mark.parametrize(
    ("where", "what", "fix"),
    [
        ({"score.language.de": ">0.5"}, "no column score.language.de", "did you mean score.language.en?"),
        ({"sourec": "a"}, "no column sourec", "did you mean source?"),
        ({"messages": "a"}, "no column messages", ""),
        ({"source": "bb"}, "no source of the recipe is called bb", "did you mean b?"),
        ({"source": ("a", "gnoe")}, "no source of the recipe is called gnoe", "did you mean gone?"),
        ({"source": "gone"}, "is empty: no document comes from gone", ""),
        ({"score.language.en": "high"}, "score.language.en is a number, not text", ""),
        ({"source": ">0.5"}, "source is text, not a number", ""),
        ({"language": 3.0}, "language is text, not a number", ""),
        ({"score.language.en": "> much"}, "compared with what is no number", ""),
    ],
)
def test_a_condition_that_can_only_be_a_mistake_is_an_error(scored, where, what, fix):
    with pytest.raises(ConfigError) as caught:
        select(source_of(scored, **where), "mixture.yaml:9")
    assert what in caught.value.what
    assert "source mine" in caught.value.what
    assert caught.value.where == "mixture.yaml:9"
    assert caught.value.fix == fix


@pytest.mark.parametrize(
    ("trained_on", "code", "what"),
    [("web", 1, "no text to train a tokenizer on"), ("all", 2, "the source has no tokens")],
)
def test_a_mixture_that_selects_nothing_is_an_error(scored, midtrain, trained_on, code, what):
    out = str(scored.root / "out")
    mixture = {
        "name": "m",
        "output": str(scored.root / "shards"),
        "tokenizer": {"train": {"vocab_size": 300, "sources": [trained_on]}},
        "sources": [
            {"name": "web", "documents": out, "where": {"score.language.en": ">2"}},
            {"name": "all", "documents": out, "held_out": 3},
        ],
        "phases": [{"name": "only", "sequence_length": 32, "tokens": 100, "weights": {"web": 1}}],
    }
    said = midtrain("build", scored.yaml("mixture.yaml", mixture), "--workers", 0)
    assert (said.code, "Traceback" in said.err) == (code, False)
    assert what in said.err


def test_what_is_no_curated_output_is_an_error(scored, built_workshop, tmp_path):
    nothing = MixtureSource(name="mine", documents=str(tmp_path))
    with pytest.raises(ConfigError, match="run midtrain curate first"):
        select(nothing, "")
    with pytest.raises(ConfigError, match="not a curated output") as caught:
        select(MixtureSource(name="mine", documents=str(built_workshop.root / "shards")), "")
    assert caught.value.seen == "an output of build"


def test_a_part_cut_short_is_found_when_the_source_is_opened(workshop):
    workshop.corpus()
    workshop.curate(steps=[])
    part = next(workshop.root.glob("out/stages/*/part-00001.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(RunError, match="cut short") as caught:
        select(source_of(workshop), "")
    assert caught.value.where == str(part)

"""minhash_dedup through all of its stages, against a plain loop: whatever the files, splits, partitions and workers."""

import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from midtrain.filters import keep_order
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.filters.texts import hash_texts
from midtrain.pipelines import inputs
from midtrain.pipelines.duplicates import sizes

from tests.sizes import sized

VOCABULARY = [f"word{number}" for number in range(3000)]


def family(rng, copies, length=60, edits=2):
    """A text and copies of it with a few words exchanged."""
    words = [rng.choice(VOCABULARY) for _ in range(length)]
    texts = [" ".join(words)]
    for _ in range(copies):
        changed = list(words)
        for _ in range(rng.randint(0, edits)):
            changed[rng.randrange(length)] = rng.choice(VOCABULARY)
        texts.append(" ".join(changed))
    return texts


def chain(rng, length, step=6, words=80):
    """Texts of which each shares most of its words with the next one, and the last none with the first."""
    stream = [rng.choice(VOCABULARY) for _ in range(words + step * length)]
    return [" ".join(stream[step * number : step * number + words]) for number in range(length)]


def corpora(seed=0, families=25):
    """Three sources with families that lie across them, chains, short texts and texts that stand alone."""
    rng = random.Random(seed)
    texts = [text for _ in range(families) for text in family(rng, rng.randint(0, 5))]
    texts += chain(rng, 30) + ["too short", "too short", "Too short!", "", "", "four words are short"] * 2
    texts += [" ".join(rng.choice(VOCABULARY) for _ in range(40)) for _ in range(40)]
    texts += ["日本語の文章は空白で分けられていません" * 3 + end for end in ("", "。", "です")]
    rng.shuffle(texts)
    dates = [None, "2021-05-01", "2023-01-31", "no date"]
    documents = [{"id": f"d{number}", "text": text, "date": rng.choice(dates)} for number, text in enumerate(texts)]
    cut = sorted(rng.sample(range(1, len(documents)), 2))
    return {"a": documents[: cut[0]], "b": documents[cut[0] : cut[1]], "c": documents[cut[1] :]}


def reference(sources, options, compared):
    """Kept ids, and of each that goes the one that is kept in its place, with the similarity: by a plain loop."""
    rows = [(name, row) for name, rows in sources.items() for row in rows if name in compared]
    blob = [row["text"].encode() for _, row in rows]
    text = np.frombuffer(b"".join(blob) or b"", np.uint8)
    offsets = np.cumsum([0, *map(len, blob)]).astype(np.int64)
    signed, (shingles, ends) = options.signed(text, offsets), options.shingled(text, offsets)
    keys = [set(one.tolist()) for one in np.split(signed.keys, signed.key_ends[:-1])]
    sets = [set(one.tolist()) for one in np.split(shingles, ends[:-1])]
    hashes = hash_texts(text, offsets)
    table = pa.table(
        {
            "source": pa.array([list(sources).index(name) for name, _ in rows], pa.int32()),
            "bytes": pa.array(np.diff(offsets)),
            "date": pa.array([row.get("date") for _, row in rows], pa.string()),
            "low": pa.array(hashes[:, 0]),
            "high": pa.array(hashes[:, 1]),
            "id": pa.array([row["id"] for _, row in rows], pa.string()),
            "part": pa.array([0] * len(rows), pa.int32()),
            "row": pa.array(range(len(rows)), pa.int32()),
        }
    )
    kept, gone = [], {}
    for number in keep_order.order(options.keep, table).tolist():
        for other in kept:
            if options.across and rows[other][0] == rows[number][0]:
                continue
            common = len(sets[number] & sets[other])
            own, both = len(sets[number]), len(sets[number] | sets[other])
            whole = own if options.similarity == "containment" else both
            if keys[number] & keys[other] and common / whole >= options.threshold:
                gone[rows[number][1]["id"]] = (rows[other][1]["id"], common / whole, rows[other][0])
                break
        else:
            kept.append(number)
    passed = {row["id"] for name, own in sources.items() for row in own if name not in compared}
    return {rows[number][1]["id"] for number in kept} | passed, gone


def run(workshop, sources, step, files=1, **more):
    """Curates the sources, each in some files; kept ids, and what was dropped."""
    shutil.rmtree(workshop.root / "data", ignore_errors=True)
    specs = []
    for name, documents in sources.items():
        for number in range(files):
            workshop.jsonl(f"{name}-{number}.jsonl", documents[number::files])
        specs.append({"name": name, "path": str(workshop.root / f"data/{name}-*.jsonl"), "format": "jsonl"})
    workshop.curate(sources=specs, steps=[{"minhash_dedup": {"max_loss": None, **step}}], **more)
    gone = {row["id"]: row for row in workshop.rows("out", "dropped")}
    return {row["id"] for row in workshop.rows("out")}, gone


def check(result, expected, threshold=0.8):
    kept, gone = result
    assert kept == expected[0]
    assert {name: (row["partner"], row["value"], row["partner_source"]) for name, row in gone.items()} == expected[1]
    assert {(row["step"], row["rule"], row["threshold"]) for row in gone.values()} <= {
        ("minhash_dedup", "duplicate", threshold)
    }


@pytest.fixture
def small_pieces(monkeypatch):
    """Many parts, several partitions of everything, blocks of a few rows, of very little text."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 2_000)
    monkeypatch.setattr(sizes, "KEYS_PER_PARTITION", 400)
    monkeypatch.setattr(sizes, "NODES_PER_PARTITION", 60)
    monkeypatch.setattr(sizes, "LINKS_AT_ONCE", 50)
    monkeypatch.setattr(sizes, "MEMBERS_BYTES", 20_000)
    monkeypatch.setattr(sizes, "BLOCK_KEYS", 100)
    monkeypatch.setattr(sizes, "BLOCK_BYTES", 2_000)
    monkeypatch.setattr(sizes, "HELD_ROOMS", 1_000)
    monkeypatch.setattr(sizes, "HELD_BATCHES", 2)
    monkeypatch.setattr(sizes, "RUN_ROWS", 7)
    monkeypatch.setattr(sizes, "TEXT_AT_ONCE", 700)
    monkeypatch.setattr(sizes, "ROWS_AT_ONCE", 5)


OPTIONS = {
    "usual": {},
    "across": {"across": True},
    "containment": {"similarity": "containment", "threshold": 0.9},
    "two sources": {"sources": ["a", "c"]},
    "long first, later first": {"keep": ["length", "date"]},
    "short ones, last source first": {"keep": ["-source", "-length"], "threshold": 0.5, "bands": 40, "rows": 4},
    "one word": {"ngram": 1, "threshold": 0.85},
}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("name", OPTIONS)
def test_what_a_plain_loop_keeps(workshop, name):
    step = OPTIONS[name]
    sources = corpora()
    options = MinhashDedup(**{key: value for key, value in step.items() if key != "sources"})
    expected = reference(sources, options, step.get("sources", list(sources)))
    assert len(expected[1]) > 15
    check(run(workshop, sources, step, files=2), expected, options.threshold)


@pytest.mark.parametrize("step", [{}, {"keep": ["-length"]}])
def test_by_containment_a_page_is_not_dropped_for_a_quotation(workshop, step):
    """A few bands, so that the pair is surely compared; the quotation goes where the page is there first."""
    words = VOCABULARY[:300]
    sources = {"a": [{"id": "page", "text": " ".join(words)}, {"id": "quotation", "text": " ".join(words[:150])}]}
    options = {"similarity": "containment", "bands": 200, "rows": 2, "keep": ["length"], **step}
    kept, gone = run(workshop, sources, options)
    assert kept == ({"page", "quotation"} if step else {"page"})
    assert {name: row["value"] for name, row in gone.items()} == ({} if step else {"quotation": 1.0})


@pytest.mark.usefixtures("small_pieces")
def test_a_chain_keeps_more_than_its_first(workshop):
    texts = chain(random.Random(1), 40)
    sources = {"a": [{"id": f"{number:03}", "text": text} for number, text in enumerate(texts)]}
    expected = reference(sources, MinhashDedup(), ["a"])
    assert 4 < len(expected[0]) < 36
    check(run(workshop, sources, {}), expected)


def test_parts_and_partitions_change_nothing(workshop, request):
    sources = corpora(1)
    expected = reference(sources, MinhashDedup(), list(sources))
    check(run(workshop, sources, {}), expected)
    assert len(workshop.rows("out")) == len(expected[0])
    request.getfixturevalue("small_pieces")
    rng = random.Random(2)
    for files in (1, 3):
        shuffled = {name: rng.sample(rows, len(rows)) for name, rows in sources.items()}
        shop = type(workshop)(workshop.root / f"shuffled-{files}")
        check(run(shop, shuffled, {}, files=files), expected)


@pytest.mark.parametrize(
    "workers", [1, *(pytest.param(workers, marks=pytest.mark.slow) for workers in sized((2, 4), (4,)))]
)
def test_workers_change_nothing(workshop, monkeypatch, workers):
    sources = corpora(3)
    alone = type(workshop)(workshop.root / "alone")
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)  # the driver alone cuts
    expected = reference(sources, MinhashDedup(), list(sources))
    check(run(alone, sources, {}), expected)
    check(run(workshop, sources, {}, workers=workers), expected)
    assert workshop.hashes("out") == alone.hashes("out")


@pytest.mark.usefixtures("small_pieces")
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.sampled_from(["", "a", "a b c d e f", "A b, c d e F!", "a b c d e f g", "b c d e f g", "x y"]),
            max_size=8,
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_any_few_texts(tmp_path_factory, workshop, many, across):
    sources = {
        f"s{place}": [{"id": f"{i}", "text": text} for i, text in enumerate(["alone", *texts])]
        for place, texts in enumerate(many)
    }
    named = {name: [{**row, "id": f"{name}-{row['id']}"} for row in rows] for name, rows in sources.items()}
    options = MinhashDedup(across=across, threshold=0.6, min_recall=0)
    expected = reference(named, options, list(named))
    step = {"across": across, "threshold": 0.6, "min_recall": 0}
    shop = type(workshop)(tmp_path_factory.mktemp("texts"))
    check(run(shop, named, step), expected, 0.6)
    # Ids that are the same in all sources: as many stay, of the same sources.
    shop = type(workshop)(tmp_path_factory.mktemp("ids"))
    shop_kept, _ = run(shop, sources, step)
    rows = shop.rows("out")
    assert sorted(f"{row['source']}-{row['id']}" for row in rows) == sorted(expected[0])
    assert shop_kept == {row["id"] for row in rows}


def test_one_document_stays(workshop):
    kept, gone = run(workshop, {"a": [{"id": "x", "text": "one two three four five six"}]}, {})
    assert (kept, gone) == ({"x"}, {})


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("text", ["", "one two", "one two three four five six seven"])
def test_of_one_text_many_times_one_stays(workshop, text):
    sources = {name: [{"id": f"{name}{number:03}", "text": text} for number in range(70)] for name in ("a", "b")}
    kept, gone = run(workshop, sources, {})
    assert kept == {"a000"}
    assert {(row["partner"], row["value"]) for row in gone.values()} == {("a000", 1.0)}
    kept, gone = run(type(workshop)(workshop.root / "across"), sources, {"across": True})
    assert kept == {f"a{number:03}" for number in range(70)}


def test_a_step_without_documents_drops_none(workshop):
    texts = {"a": [{"id": "x", "text": "few words"}], "b": [{"id": "y", "text": "some more words are here " * 9}]}
    for name, rows in texts.items():
        workshop.jsonl(f"{name}.jsonl", rows)
    specs = [{"name": name, "path": str(workshop.root / f"data/{name}.jsonl"), "format": "jsonl"} for name in texts]
    steps = [{"length": {"min_characters": 20, "sources": ["a"]}}, {"minhash_dedup": {"sources": ["a"]}}]
    result = workshop.curate(sources=specs, steps=steps)
    assert [row["id"] for row in workshop.rows("out")] == ["y"]
    assert result.manifest.counts["funnel"][-1]["dropped"] == {}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("behind", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_that_dies_in_any_stage_goes_on_to_the_same_files(workshop, dying, behind):
    sources = corpora(4, families=6)
    reference_shop = type(workshop)(workshop.root / "reference")
    writes = dying(None)
    run(reference_shop, sources, {})
    total = writes()
    stages = {path.name for path in (reference_shop.root / "out" / "stages").iterdir()}
    assert len(stages) == 3  # what was read, the choice, what is left
    for at in range(3 if behind else 4, total, max(total // (sized(12, 5) if behind else 12), 1)):
        shutil.rmtree(workshop.root / "out", ignore_errors=True)
        dying(at, behind)
        with pytest.raises(BaseException, match=r"^$") as death:
            run(workshop, sources, {})
        assert death.type.__name__ == "Died"
        dying(None)
        run(workshop, sources, {})
        assert workshop.hashes("out") == reference_shop.hashes("out")
        assert workshop.files("out") == reference_shop.files("out")


def test_what_only_the_stages_needed_is_removed(workshop):
    run(workshop, corpora(5, families=3), {})
    names = sorted(path.name.rpartition("-")[0] for path in (workshop.root / "out/stages").iterdir())
    assert names == ["minhash_dedup", "minhash_dedup-choice", "read"]
    assert list((workshop.root / "out").rglob("*.tmp")) == []


def test_scores_are_an_order_of_keeping(workshop, outcome):
    rng = random.Random(6)
    texts = family(rng, 4, length=100, edits=0)
    documents = [{"id": f"{number}", "text": text + " and" * number} for number, text in enumerate(texts)]
    workshop.jsonl("a.jsonl", documents)
    specs = [{"name": "a", "path": str(workshop.root / "data/a.jsonl"), "format": "jsonl"}]
    step = {"minhash_dedup": {"keep": ["score.length.characters"], "max_loss": None}}
    workshop.curate(sources=specs, steps=[{"length": {"min_characters": 1}}, step], scores=True)
    found = outcome(workshop.root / "out")
    assert [row["id"] for row in found.kept] == ["4"]
    assert {row[-1] for row in found.dropped} == {"4"}

"""Stages of documents: every document is kept, dropped with its reason, or set aside; one that raises stands alone."""

from collections import Counter

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.filters.language import Language
from midtrain.filters.rules import Decision, Filter, Transform
from midtrain.manifest import Manifest
from midtrain.pipelines import judging
from midtrain.pipelines.documents import quarantine_limit


def batch_of(texts):
    columns = {"id": [f"d{i}" for i in range(len(texts))], "text": list(texts), "source": ["a"] * len(texts)}
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.record_batch(arrays, schema=SCHEMA))


def texts_of(batch):
    return batch.record_batch.column("text").to_pylist()


class Breaks(Filter):
    """Raises where a text holds an exclamation mark; keeps the others where they hold no question mark."""

    error: str = "value"

    def decide(self, batch):
        for text in texts_of(batch):
            if "!" in text:
                raise {"value": ValueError, "run": RunError, "stop": KeyboardInterrupt}[self.error](text)
        keep = np.array(["?" not in text for text in texts_of(batch)], np.bool_)
        return Decision(keep, np.where(keep, -1, 0).astype(np.int16), np.zeros(len(keep)), np.zeros(len(keep)))


@given(st.lists(st.sampled_from(["fine", "also fine", "bad!", "gone?"]), min_size=1, max_size=40))
def test_documents_that_raise_stand_alone_and_the_others_are_decided(texts):
    outcomes = [(texts_of(part), outcome) for part, outcome in judging.attempt(Breaks(), batch_of(texts))]
    assert [text for part, _ in outcomes for text in part] == texts
    for part, outcome in outcomes:
        if isinstance(outcome, Exception):
            assert part == ["bad!"]
            assert repr(outcome) == "ValueError('bad!')"
        else:
            assert outcome.keep.tolist() == ["?" not in text for text in part]
            assert "bad!" not in part


class Shouts(Transform):
    """Rewrites texts in capitals; drops those with a question mark and raises at an exclamation mark."""

    def apply(self, batch):
        return batch.with_column("text", pa.array([text.upper() for text in texts_of(batch)], pa.large_string()))

    def decide(self, batch):
        return Breaks().decide(batch)


def test_a_transform_passes_on_new_texts_and_judges_the_old_ones():
    outcomes = list(judging.attempt(Shouts(), batch_of(["fine", "gone?", "bad!", "Good"])))
    kept = [
        text
        for part, outcome in outcomes
        if not isinstance(outcome, Exception)
        for text, keep in zip(texts_of(part), outcome.keep, strict=True)
        if keep
    ]
    assert kept == ["FINE", "GOOD"]
    assert [texts_of(part) for part, outcome in outcomes if isinstance(outcome, Exception)] == [["bad!"]]


def test_a_text_made_of_messages_is_not_rewritten():
    turns = [[{"role": "user", "content": "x", "reasoning": None}], [], None]
    column = pa.array(turns, SCHEMA.field("messages").type)
    batch = batch_of(["quiet", "LOUD", "plain"]).with_column("messages", column)
    (first, error), (others, decision) = _outcomes(batch)
    assert (texts_of(first), type(error)) == (["quiet"], ValueError)
    assert "made of messages" in str(error)
    assert texts_of(others) == ["LOUD", "PLAIN"]
    assert decision.keep.all()


def _outcomes(batch):
    """What the judged transform says, of all that raises first and then of the rest together."""
    outcomes = list(judging.attempt(Shouts(), batch))
    raised = [one for one in outcomes if isinstance(one[1], Exception)]
    passed = [part.record_batch for part, outcome in outcomes if not isinstance(outcome, Exception)]
    decisions = [outcome for _, outcome in outcomes if not isinstance(outcome, Exception)]
    keep = np.concatenate([one.keep for one in decisions])
    joined = DocumentBatch(pa.concat_batches(passed))
    return *raised, (joined, Decision(keep, np.zeros(len(keep), np.int16), np.zeros(len(keep)), np.zeros(len(keep))))


@pytest.mark.parametrize(("error", "kind"), [("run", RunError), ("stop", KeyboardInterrupt)])
def test_what_is_no_fault_of_a_document_stops_the_run(error, kind):
    with pytest.raises(kind):
        list(judging.attempt(Breaks(error=error), batch_of(["fine", "bad!"])))


@pytest.mark.parametrize(
    ("most", "of", "limit"),
    [
        (0.001, 100, 10),
        (0.001, 50_000, 50),
        (0.01, 1050, 10),
        (0.5, 100, 50),
        (0, 100, 0),
        (0.0, 100, 0),
        (1, 100, 1),
        (3, 100_000, 3),
        (25, 5, 25),
    ],
)
def test_the_limit_of_the_quarantine_is_a_share_or_a_number(most, of, limit):
    assert quarantine_limit(most, of) == limit


def manifests(workshop):
    """The manifests of the document stages, in order."""
    root = orjson.loads((workshop.root / "out" / "manifest.json").read_bytes())
    folders = [workshop.root / "out" / "stages" / entry["stage"] for entry in root["counts"]["funnel"]]
    return [(folder, Manifest.read(folder)) for folder in folders]


def test_counts_are_the_rows_of_the_files_and_add_up(curated_workshop):
    came = {"a": 90, "b": 71, "twins": 120, "worked": 120}
    for folder, manifest in manifests(curated_workshop):
        kinds = {"": Counter(), "dropped": Counter(), "quarantine": Counter()}
        for file in manifest.files:
            kinds[file.path.rpartition("/")[0].removeprefix("rows")][file.source] += file.rows
        for source, own in manifest.counts["sources"].items():
            assert own["documents"] == came[source], folder
            assert own["kept"] == kinds[""][source]
            assert sum(own["dropped"].values()) == kinds["dropped"][source]
            assert own["quarantined"] == kinds["quarantine"][source]
            assert own["documents"] == own["kept"] + sum(own["dropped"].values()) + own["quarantined"]
        for key in ("documents", "kept", "quarantined", "bytes", "text_bytes"):
            assert manifest.counts[key] == sum(own[key] for own in manifest.counts["sources"].values())
        came = {source: own["kept"] for source, own in manifest.counts["sources"].items()}


def test_every_dropped_document_has_its_reason(curated_workshop):
    step = GopherQuality(min_words=30)
    bounds = {rule.name: (rule.low, rule.high) for rule in step.rules}
    corpus = {record["id"]: record["text"] for record in all_records(curated_workshop)}
    (folder, manifest), _ = manifests(curated_workshop)
    rows = [row for file in sorted((folder / "dropped").iterdir()) for row in pq.read_table(file).to_pylist()]
    assert len(rows) == sum(manifest.counts["dropped"].values()) > 20
    for row in rows:
        assert row["step"] == "gopher_quality"
        assert row["source"] == row["id"][0]
        assert row["partner"] is None
        assert row["threshold"] in bounds[row["rule"]]
        alone = batch_of([corpus[row["id"]]])
        assert row["value"] == step.scores(alone)[row["rule"]][0]
        assert not step.decide(alone).keep[0]
    kept = {row["id"] for file in manifest.files if file.path.startswith("part-") for row in read(folder / file.path)}
    for identity, text in corpus.items():
        assert (identity in kept) == step.decide(batch_of([text])).keep[0]


def read(path):
    return pq.read_table(path).to_pylist()


def all_records(workshop):
    lines = [line for name in ("a", "b-1", "b-2") for line in (workshop.root / f"data/{name}.jsonl").open("rb")]
    return [orjson.loads(line) for line in lines if not line.startswith(b"{not")]


def quarantined(workshop):
    """What the first stage set aside."""
    folder, _ = manifests(workshop)[0]
    paths = sorted((folder / "quarantine").glob("*.jsonl"))
    return [orjson.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def test_a_record_that_cannot_be_read_is_set_aside_with_its_place(curated_workshop):
    (row,) = quarantined(curated_workshop)
    offset = (curated_workshop.root / "data/b-2.jsonl").read_bytes().index(b"{not json")
    assert row["step"] == "read"
    assert row["source"] == "b"
    assert row["place"] == f"b-2.jsonl, byte {offset}"
    assert "not JSON" in row["error"]


@pytest.mark.parametrize("method", ["decide", "annotate"])
def test_a_filter_that_raises_on_some_documents_sets_aside_just_those(workshop, monkeypatch, method):
    workshop.corpus()
    workshop.curate(output=str(workshop.root / "reference"))
    original = getattr(GopherQuality, method)

    def raises(self, batch):
        if {"a3", "b11", "b40"} & set(batch.record_batch.column("id").to_pylist()):
            raise ZeroDivisionError("float division by zero")
        return original(self, batch)

    monkeypatch.setattr(GopherQuality, method, raises)
    workshop.curate()
    rows = {row["id"]: row for row in quarantined(workshop) if row["step"] != "read"}
    assert set(rows) == {"a3", "b11", "b40"}
    for name, row in rows.items():
        assert row["source"] == name[0]
        assert row["step"] == "gopher_quality"
        assert row["error"] == "ZeroDivisionError: float division by zero"
        assert row["place"] == f"document {name}"
    first = manifests(workshop)[0][0]
    reference = workshop.root / "reference" / "stages" / first.name  # equal recipes: the folder has the same name
    ids = {
        folder: [row["id"] for path in sorted(folder.glob("part-*.parquet")) for row in read(path)]
        for folder in (first, reference)
    }
    assert ids[first] == [name for name in ids[reference] if name not in rows]
    assert len(ids[first]) < len(ids[reference])


def test_a_step_judges_its_own_sources_alone(workshop):
    workshop.corpus()
    counts = workshop.curate(steps=[{"gopher_quality": {"sources": ["b"], "min_words": 1000}}]).manifest.counts
    own = counts["funnel"][0]["sources"]
    assert own["b"]["kept"] == 0
    assert [own[name]["dropped"] for name in ("a", "twins", "worked")] == [{}, {}, {}]


def test_scores_stay_with_the_documents_and_are_null_where_the_step_did_not_run(workshop, monkeypatch):
    workshop.corpus()
    original = Language.decide

    def raises(self, batch):
        if "a5" in batch.record_batch.column("id").to_pylist():
            raise ValueError("no language")
        return original(self, batch)

    monkeypatch.setattr(Language, "decide", raises)
    language = {"language": {"keep": ["en", "de"], "min_score": 0, "sources": ["a", "twins"]}}
    workshop.curate(steps=[language, {"exact_dedup": {}}])
    rows = workshop.rows("out")
    assert [row["id"] for row in quarantined(workshop) if row["step"] != "read"] == ["a5"]
    by_source = {name: [row for row in rows if row["source"] == name] for name in ("a", "b", "twins", "worked")}
    for name, own in by_source.items():
        assert own, name
        for row in own:
            scores = [row["score.language.en"], row["score.language.de"]]
            if name in ("a", "twins"):
                assert all(0 <= score <= 1 for score in scores)
                assert row["language"] is not None
            else:
                assert scores == [None, None]
    assert "a5" not in {row["id"] for row in by_source["a"]}


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(12)), st.integers(1, 12))
def test_documents_keep_their_order_through_halves(order, size):
    texts = [f"{number}{'!' if number % 5 == 0 else '?' if number % 3 == 0 else ''}" for number in order[:size]]
    seen = [text for part, _ in judging.attempt(Breaks(), batch_of(texts)) for text in texts_of(part)]
    assert seen == texts


def test_a_source_of_which_nothing_can_be_read_fails_however_small(workshop):
    workshop.corpus()
    (workshop.root / "latin1.txt").write_bytes("caf\xe9".encode("latin-1"))
    lost = {"name": "lost", "path": str(workshop.root / "latin1.txt")}
    with pytest.raises(RunError, match="source lost: too many documents had to be set aside") as caught:
        workshop.curate(sources=[*workshop.recipe()["sources"], lost])
    assert "latin1.txt, byte 0: not UTF-8 at byte 3" in caught.value.seen

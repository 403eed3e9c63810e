"""What a step that rewrites texts may do: new texts are passed on, and messages and texts never part."""

import numpy as np
import pyarrow as pa
import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.filters import catalogue
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.rules import Decision, Transform
from midtrain.pipelines import judging


class Shouts(Transform):
    """Texts in capitals; drops those that begin with x or y, each for a reason of its own."""

    scored = False
    sure: bool = True

    @property
    def rules(self):
        return ()

    @property
    def rewrites(self):
        return self.sure

    def rewrite(self, batch):
        texts = [text.upper() for text in batch.column("text").to_pylist()]
        rule = np.array([{"X": 0, "Y": 1}.get(text[:1], -1) for text in texts], np.int16)
        nothing = np.full(len(texts), np.nan)
        decision = Decision(rule < 0, rule, nothing, nothing, ("begins with x", "begins with y"))
        return batch.with_column("text", pa.array(texts, pa.large_string())), decision


def batch_of(texts, threads=()):
    message = [{"role": "user", "content": "q", "reasoning": None}]
    columns = {
        "id": [f"d{i}" for i in range(len(texts))],
        "text": list(texts),
        "source": ["a"] * len(texts),
        "messages": [message if i in threads else None for i in range(len(texts))],
    }
    arrays = [pa.array(columns.get(field.name, [None] * len(texts)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.record_batch(arrays, schema=SCHEMA))


def test_only_a_text_with_messages_that_is_changed_and_kept_raises():
    texts = ["one", "two", "THREE", "x four", "five"]
    outcomes = list(judging.attempt(Shouts(), batch_of(texts, threads=(1, 2, 3))))
    raised = [part.column("id").to_pylist() for part, outcome in outcomes if isinstance(outcome, Exception)]
    assert raised == [["d1"]]
    judged = [
        (name, text, keep)
        for part, outcome in outcomes
        if isinstance(outcome, Decision)
        for name, text, keep in zip(
            part.column("id").to_pylist(), part.column("text").to_pylist(), outcome.keep.tolist(), strict=True
        )
    ]
    assert judged == [("d0", "ONE", True), ("d2", "THREE", True), ("d3", "X FOUR", False), ("d4", "FIVE", True)]


@pytest.fixture
def with_shouts(monkeypatch):
    """The catalogue has the toy step."""
    step = catalogue.step
    monkeypatch.setattr(catalogue, "step", lambda name: Shouts if name == "shouts" else step(name))


@pytest.mark.usefixtures("with_shouts")
def test_new_texts_and_reasons_reach_the_output(corpus):
    corpus.jsonl("a.jsonl", corpus.records("a", ["one", "x two", "three", "y four", "x five"]))
    source = {"name": "a", "path": str(corpus.root / "data/a.jsonl")}
    corpus.curate(sources=[source], steps=[{"shouts": {}}])
    assert [row["text"] for row in corpus.rows("out")] == ["ONE", "THREE"]
    dropped = [(row["id"], row["rule"], row["value"], row["threshold"]) for row in corpus.rows("out", "dropped")]
    assert dropped == [
        ("a1", "begins with x", None, None),
        ("a3", "begins with y", None, None),
        ("a4", "begins with x", None, None),
    ]


@pytest.mark.usefixtures("with_shouts")
def test_a_step_that_rewrites_is_refused_for_sources_with_messages(corpus):
    with pytest.raises(ConfigError, match="rewrites text") as raised:
        corpus.curate(steps=[{"shouts": {}}])
    assert raised.value.fix == "add sources: [a, b] to the step"
    with pytest.raises(ConfigError, match="rewrites text") as raised:
        corpus.curate(steps=[{"shouts": {"sources": ["twins"]}}])
    assert raised.value.fix == "remove the step"
    corpus.curate(steps=[{"shouts": {"sources": ["a", "b"]}}])


@pytest.mark.usefixtures("with_shouts")
def test_records_with_messages_are_set_aside_where_a_step_rewrites_now_and_then(corpus):
    step = {"shouts": {"sure": False, "sources": ["twins"]}}
    with pytest.raises(RunError, match="source twins: too many documents") as raised:
        corpus.curate(steps=[step])
    assert "a text that was made of messages" in str(raised.value.seen)

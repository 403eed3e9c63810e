"""The builder that turns rows into batches, ids, and generated problems as records."""

from itertools import pairwise

import pyarrow as pa
import pytest
import xxhash
from midtrain.filters.document import SCHEMA
from midtrain.mixtures.tasks import generate
from midtrain.pipelines.inputs import Split
from midtrain.pipelines.readers import generated, records
from midtrain.pipelines.readers.records import Builder, Row, derived_id, flush
from midtrain.pipelines.recipe import SourceSpec


def test_a_batch_has_the_documents_columns_and_the_rows_values():
    builder = Builder("web")
    messages = [{"role": "user", "content": "q", "reasoning": None}]
    builder.add("derived", Row("x", metadata="{}", messages=messages, answer="5"), 10)
    builder.add("derived", Row("y", id="own", url="u", date="d", language="en"), 5)
    builder.set_aside("lost", "no text", "f, byte 3")
    chunk = builder.take()
    assert chunk.batch.schema == SCHEMA
    assert chunk.batch.column("id").to_pylist() == ["derived", "own"]
    assert chunk.batch.column("source").to_pylist() == ["web", "web"]
    assert chunk.batch.column("messages").to_pylist() == [messages, None]
    assert chunk.batch.to_pylist()[1] | {"messages": None} == {
        "id": "own",
        "text": "y",
        "source": "web",
        "url": "u",
        "date": "d",
        "language": "en",
        "metadata": None,
        "messages": None,
        "answer": None,
    }
    assert chunk.bytes == 15
    (aside,) = chunk.quarantined
    assert (aside.id, aside.source, aside.step, aside.error, aside.place) == (
        "lost",
        "web",
        "read",
        "no text",
        "f, byte 3",
    )


def test_a_builder_starts_anew_after_each_batch():
    builder = Builder("web")
    assert list(flush(builder)) == []
    builder.add("1", Row("x"), 1)
    builder.take()
    assert list(flush(builder)) == []
    builder.set_aside("2", "e", "p")
    (chunk,) = flush(builder)
    assert chunk.batch.num_rows == 0
    assert chunk.batch.schema == SCHEMA
    assert len(chunk.quarantined) == 1


def test_batches_end_by_bytes_and_by_rows(monkeypatch):
    monkeypatch.setattr(records, "BATCH_BYTES", 100)
    monkeypatch.setattr(records, "BATCH_ROWS", 3)
    by_bytes, by_rows = Builder("s"), Builder("s")
    by_bytes.add("1", Row("x"), 99)
    assert not by_bytes.full()
    by_bytes.add("2", Row("x"), 1)
    assert by_bytes.full()
    for number in range(3):
        assert not by_rows.full()
        by_rows.add(str(number), Row("x"), 1)
    assert by_rows.full()


def test_an_id_is_a_hash_of_source_relative_path_and_position():
    assert derived_id("web", "a/b.jsonl", 17) == xxhash.xxh3_128_hexdigest(b"web\x00a/b.jsonl\x0017")
    made = {derived_id(*parts) for parts in (("a", "b", 1), ("a", "b", 11), ("ab", "", 1), ("a", "b1", 1))}
    assert len(made) == 4


SOURCE = SourceSpec(
    name="g", format="generated", tasks=("modular_chain", "word_problem"), steps=(4, 5), count=50, seed=3
)


def rows(source: SourceSpec, *bounds: int) -> list[dict[str, object]]:
    splits = [Split("g", "", "", start, stop) for start, stop in pairwise(bounds)]
    return [row for split in splits for chunk in generated.chunks(split, source) for row in chunk.batch.to_pylist()]


def test_generated_problems_are_those_of_the_tasks_whatever_the_splits(monkeypatch):
    whole = rows(SOURCE, 0, 50)
    assert len(whole) == 100
    assert rows(SOURCE, 0, 7, 20, 50) == whole
    monkeypatch.setattr(records, "BATCH_ROWS", 9)
    assert rows(SOURCE, 0, 50) == whole
    made = list(generate(SOURCE.tasks, "worked", (4, 5), 0, 50, 3))
    assert [row["id"] for row in whole] == [identity for identity, _, _ in made]
    assert [row["messages"] for row in whole] == [messages for _, _, messages in made]
    assert [row["answer"] for row in whole] == [problem.answer for _, problem, _ in made]
    first = made[0][2]
    assert whole[0]["text"] == f"{first[0]['content']}\n\n{first[1]['reasoning']}\n\n{first[1]['content']}"
    assert {row["source"] for row in whole} == {"g"}


def test_the_answer_only_form_has_the_same_problems_without_their_steps():
    whole = rows(SOURCE, 0, 50)
    twins = rows(SOURCE.model_copy(update={"form": "answer_only"}), 0, 50)
    assert [(row["id"], row["answer"]) for row in twins] == [(row["id"], row["answer"]) for row in whole]
    assert all(row["messages"][1]["reasoning"] is None for row in twins)  # type: ignore[index]
    assert all(twin["messages"][0] == row["messages"][0] for twin, row in zip(twins, whole, strict=True))  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "a truth value"), (1, "a number"), (1.5, "a number"), ("x", "text"), ([], "a list")],
)
def test_kinds_are_called_as_in_json(value: object, name: str):
    assert records.kind(value) == name
    assert records.kind(pa.scalar(1)) == "Int64Scalar"

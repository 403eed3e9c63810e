"""Single documents out of parts: those at the rows asked for, whatever the part is made of."""

import pyarrow as pa
import pytest
from midtrain.errors import RunError
from midtrain.filters.document import SCHEMA
from midtrain.manifest import Manifest
from midtrain.pipelines import parts
from midtrain.pipelines.parts import PartWriter
from midtrain.pipelines.picking import pick
from midtrain.pipelines.read_parts import kept_parts, read_part


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """A part of seven row groups of 10 documents, the last of 3."""
    monkeypatch.setattr(parts, "ROW_GROUP_BYTES", 1)
    columns = {"id": [f"d{i}" for i in range(63)], "text": ["word " * i for i in range(63)], "source": ["a"] * 63}
    arrays = [pa.array(columns.get(field.name, [None] * 63), field.type) for field in SCHEMA]
    whole = pa.record_batch(arrays, schema=SCHEMA)
    with PartWriter(tmp_path, 0, "a", SCHEMA) as writer:
        for start in range(0, 63, 10):
            writer.keep(whole.slice(start, 10))
        writer.read(63, 0, 0)
        (file,) = writer.finish().files
    return tmp_path / file.path


@pytest.mark.parametrize("rows", [[], [0], [62], [5, 61, 9, 10, 5], [30, 29, 31], list(range(62, -1, -1))])
def test_rows_come_in_the_order_asked_for(groups, rows):
    found = pick(groups, rows, ["text", "id"])
    assert found.column_names == ["text", "id"]
    assert found.column("id").to_pylist() == [f"d{row}" for row in rows]
    assert found.column("text").to_pylist() == ["word " * row for row in rows]


@pytest.mark.parametrize("rows", [[63], [-1], [0, 1000]])
def test_a_row_that_is_not_there_is_an_error(groups, rows):
    with pytest.raises(RunError, match="no such row"):
        pick(groups, rows, ["id"])


def test_a_damaged_file_is_an_error_that_names_it(groups):
    groups.write_bytes(groups.read_bytes()[:-9])
    with pytest.raises(RunError, match="damaged") as caught:
        pick(groups, [0], ["id"])
    assert caught.value.where == str(groups)


def test_of_row_numbers_the_documents_are_taken(corpus):
    corpus.curate(scores=True)
    out = corpus.root / "out"
    decided = [entry["stage"] for entry in Manifest.read(out).counts["funnel"]]
    seen = 0
    for stage in decided:
        for file in kept_parts(Manifest.read(out / "stages" / stage)):
            path = out / "stages" / stage / file.path
            ids = [one for batch in read_part(path, ["id"]) for one in batch.column("id").to_pylist()]
            rows = list(range(len(ids)))[::-7]
            assert pick(path, rows, ["id"]).column("id").to_pylist() == [ids[row] for row in rows]
            seen += path.parent.name == "rows"
            with pytest.raises(RunError, match="no such row"):
                pick(path, [len(ids)], ["id"])
    assert seen > 3

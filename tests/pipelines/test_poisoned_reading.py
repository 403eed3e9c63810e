"""Records that kill the process which reads them: each is found and set aside unread, and all others come through."""

import gzip
import importlib
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midtrain.pipelines import inputs
from midtrain.pipelines.readers.records import derived_id


@pytest.fixture
def readers(monkeypatch):
    """The module of deadly readers, as workers import it; tasks are small."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)
    found = importlib.import_module("toy_readers")
    found.mend()
    return found


@pytest.fixture
def curated(workshop, readers):
    """A function that curates one source, and returns its funnel's first stage, the ids kept and what was set aside."""

    def run(**source):
        sources = [{"name": "s", **source}]
        recipe = {"name": "deadly", "output": str(workshop.root / "out"), "sources": sources, "steps": []}
        result = readers.curate(workshop.yaml("recipe.yaml", recipe), 1)
        aside = {}
        for path in (workshop.root / "out").rglob("quarantine/*"):
            aside |= {row["place"]: row for row in map(orjson.loads, path.read_bytes().splitlines())}
        for place, row in aside.items():
            relative, _, position = place.rpartition(", ")
            assert row["id"] == derived_id("s", relative, int(position.split()[1]))
            assert (row["step"], "process died" in row["error"]) == ("process", True)
        counts = result.stages[0][1]
        assert counts["documents"] == counts["kept"] + counts["quarantined"]
        assert counts["quarantined"] == len(aside)
        return counts, [row["id"] for row in workshop.rows("out")], set(aside)

    return run


def marked(workshop, **marks):
    """The records of 100 texts with ids s0 and on, marks put into those that are named."""
    texts = workshop.texts(100)
    for name, mark in marks.items():
        texts[int(name[1:])] += f" {mark}"
    return workshop.records("s", texts)


def lines_of(rows):
    return [orjson.dumps(row) + b"\n" for row in rows]


def others(*without):
    return [f"s{number}" for number in range(100) if f"s{number}" not in without]


@pytest.mark.parametrize("compressed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_lines_that_crash_the_parser_or_the_conversion(workshop, curated, readers, compressed):
    lines = lines_of(marked(workshop, s7=readers.PARSE, s60=readers.CONVERT))
    content = b"\n \n".join(lines)  # blank lines are no records
    places = [content.index(b'{"id":"%s"' % name) for name in (b"s7", b"s60")]
    name = "a.jsonl.gz" if compressed else "a.jsonl"
    (workshop.root / name).write_bytes(gzip.compress(content, mtime=0) if compressed else content)
    counts, kept, aside = curated(path=str(workshop.root / name))
    assert counts["documents"] == 100
    assert kept == others("s7", "s60")
    assert aside == {f"{name}, byte {place}" for place in places}
    assert any(folder.startswith("cut-") for folder, _ in workshop.finished("out")) == compressed


def test_a_reasoning_record_that_crashes_its_reader(workshop, curated, readers):
    records = [{**row, "answer": "x"} for row in marked(workshop, s41=readers.MAKE)]
    lines = lines_of(records)
    (workshop.root / "r.jsonl").write_bytes(b"".join(lines))
    path, fields = str(workshop.root / "r.jsonl"), {"prompt": "text", "response": "answer"}
    _, kept, aside = curated(path=path, format="reasoning", fields=fields)
    assert kept == others("s41")
    assert aside == {f"r.jsonl, byte {sum(map(len, lines[:41]))}"}


@pytest.mark.slow
def test_rows_of_parquet(workshop, curated, readers):
    table = pa.Table.from_pylist(marked(workshop, s3=readers.PARSE, s4=readers.PARSE, s99=readers.CONVERT))
    pq.write_table(table, workshop.root / "p.parquet", row_group_size=15)
    _, kept, aside = curated(path=str(workshop.root / "p.parquet"))
    assert kept == others("s3", "s4", "s99")
    assert aside == {"p.parquet, row 3", "p.parquet, row 4", "p.parquet, row 99"}


@pytest.mark.parametrize("document", ["file", "line"])
def test_texts(workshop, curated, readers, document):
    texts = [text.replace("\n", " ") for text in workshop.texts(60)]
    texts[33] += readers.PARSE
    for number, text in enumerate(texts):
        name = f"{number:02d}.txt" if document == "file" else "all.txt"
        with open(workshop.root / name, "a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")
    counts, kept, aside = curated(path=str(workshop.root / "*.txt"), document=document)
    before = sum(len(text.encode()) + 1 for text in texts[:33])
    assert (counts["documents"], len(kept)) == (60, 59)
    assert aside == {"33.txt, byte 0" if document == "file" else f"all.txt, byte {before}"}

"""The joint table of a curation: every record is in one cell as it was read, and kept ones are still there."""

import dataclasses
from collections import Counter

import orjson
import pytest
from midtrain.errors import RunError
from midtrain.filters.thought_repetition import ThoughtRepetition
from midtrain.manifest import Manifest
from midtrain.pipelines import decide, joint_table, report, report_html, report_text
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.cells import OTHER
from midtrain.pipelines.curation import open_curation
from midtrain.pipelines.joint_table import Count, JointTable, Place
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

STEPS = [
    {"thought_length": {"sources": ["levels", "rated"], "min_words": 4, "max_words": 150}},
    {"problem_dedup": {"sources": ["levels", "rated"], "max_traces": 4, "max_loss": None}},
    {"thought_repetition": {"sources": ["levels", "rated"]}},
    {"difficulty": {"sources": ["rated"], "field": "solved", "of": 4, "low": 0.1, "high": 0.9}},
    {"gopher_quality": {"sources": ["plain"], "min_words": 3}},
]


KEPT = ("thought", "level", "Level 1", "0")


def record(name, number):
    """A record of any length and level; the thoughts of some loop, some have none, and some problems come twice."""
    words = [2, 20, 60, 120, 200][number % 5]
    thought = " ".join(f"w{(number * i * i + 31 * i) % 997}" for i in range(words))
    if number % 7 == 0:
        thought = "round and round. " * 60
    found = {"question": f"What is {number % 40 + 100 * len(name)} plus two apples?", "response": f"It is {number}."}
    if number % 11:
        found["response"] = f"<think>{thought}</think>{found['response']}"
    if name == "levels" and number % 4:
        found["level"] = f"Level {number % 5}"
    if name == "rated":
        found["solved"] = number % 5
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory, curated_workshop):
    """Two sources of reasoning with records that cannot be read, one of plain documents, curated into `out`."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("joint"))
    for name, count in (("levels", 300), ("rated", 120)):
        lines = [record(name, number) for number in range(count)]
        lines[7] = {"question": "", "response": "x"}
        lines[20] = b"{no json"
        found.jsonl(f"{name}-1.jsonl", lines[: count // 3])
        found.jsonl(f"{name}-2.jsonl", lines[count // 3 :])
    found.jsonl("plain.jsonl", [{"text": text, "level": "Level 1"} for text in found.texts(40)])
    found.curate(**recipe(found))
    return found


def recipe(shop, **changed):
    sources = [
        {"name": name, "path": f"{shop.root}/data/{name}-*.jsonl", "format": "reasoning", "fields": "auto"}
        for name in ("levels", "rated")
    ]
    sources.append({"name": "plain", "path": f"{shop.root}/data/plain.jsonl"})
    return {"sources": sources, "steps": STEPS, "max_quarantined": 10, **changed}


def tables(root):
    return {table.source: table for table in report.read(root).joint}


def places(rows):
    """The cells of kept rows, in plain Python."""
    found = Counter()
    for row in rows:
        metadata = orjson.loads(row["metadata"] or "{}")
        thought = row["messages"][-1]["reasoning"] or ""
        length = len(thought or row["messages"][-1]["content"])
        low = 0 if length < 128 else 1 << (length.bit_length() - 1)
        field, label = ("level", metadata["level"]) if "level" in metadata else ("", "")
        if "solved" in metadata:
            bands = ["0", "(0, 0.25]", "(0.25, 0.5]", "(0.5, 0.75]", "1"]
            field, label = "solved", bands[metadata["solved"]]
        found[Place("thought" if thought else "reply", low, field, label)] += 1
    return found


def documents(table, which):
    return {one[0]: one[which].documents for one in table.cells if one[which].documents}


def test_what_is_kept_is_counted_where_it_was_read(shop):
    found = tables(shop.root / "out")
    assert list(found) == ["levels", "rated"]  # plain documents have no messages
    for source, table in found.items():
        kept = [row for row in shop.rows("out") if row["source"] == source]
        assert documents(table, 2) == places(kept)
        counts = report.read(shop.root / "out").funnel
        (group,) = (one for one in counts.sources if one.name == source)
        came, left = table.sums()
        assert table.unread == 2
        assert came.documents + table.unread == group.read.documents
        assert left.documents == group.kept.documents == len(kept)
        assert 0 < left.documents < came.documents
        assert left.characters == sum(len(r["messages"][-1]["reasoning"] or r["messages"][-1]["content"]) for r in kept)


def test_what_was_read_is_what_a_recipe_without_steps_keeps(shop):
    every = [{"difficulty": {"sources": ["rated"], "field": "solved", "of": 4}}]
    shop.curate(**recipe(shop, steps=every, output=str(shop.root / "bare")))
    bare = tables(shop.root / "bare")
    for source, table in tables(shop.root / "out").items():
        assert documents(table, 1) == documents(bare[source], 1) == documents(bare[source], 2)
        assert {place.of for place, _, _ in table.cells} == {"thought", "reply"}


@pytest.mark.parametrize(
    ("workers", "scores"),
    [(0, True), pytest.param(2, False, marks=pytest.mark.slow), pytest.param(2, True, marks=pytest.mark.slow)],
)
def test_workers_and_scores_change_nothing(shop, workers, scores):
    before = tables(shop.root / "out")
    name = str(shop.root / f"twice-{workers}-{scores}")
    shop.curate(workers=workers, scores=scores, **recipe(shop, output=name))
    assert tables(name) == before
    again = shop.curate(scores=scores, **recipe(shop, output=name))
    assert again.tasks_run == 0
    assert tables(name) == before


def test_a_decision_by_scores_counts_what_it_keeps(shop):
    name, before = str(shop.root / "decided"), tables(shop.root / "out")
    shop.curate(scores=True, **recipe(shop, output=name))
    steps = [{"thought_length": {"sources": ["levels", "rated"], "min_words": 4, "max_words": 90}}, *STEPS[1:]]
    loaded = recipes.load(shop.yaml("decide.yaml", shop.recipe(**recipe(shop, output=name, steps=steps))))
    decide.decide(loaded, local(0), Progress(shown=False), overwrite=True)
    decided = tables(name)
    shop.curate(**recipe(shop, output=str(shop.root / "anew"), steps=steps))
    assert decided == tables(shop.root / "anew") != before
    longest = [max(p.low for p, _, kept in found["levels"].cells if kept.documents) for found in (decided, before)]
    assert longest == [256, 512]


def test_documents_that_a_step_sets_aside_are_read_and_not_kept(shop, monkeypatch):
    sound = ThoughtRepetition.decide
    one = next(row for row in shop.rows("out") if row["source"] == "levels")

    def decide(self, batch):
        if one["id"] in batch.column("id").to_pylist():
            raise ValueError("one")
        return sound(self, batch)

    before = tables(shop.root / "out")["levels"]
    monkeypatch.setattr(ThoughtRepetition, "decide", decide)
    shop.curate(**recipe(shop, output=str(shop.root / "aside")))
    table = tables(shop.root / "aside")["levels"]
    (group, *_) = report.read(shop.root / "aside").funnel.sources
    assert (group.quarantined, table.unread) == (3, 2)
    assert documents(table, 1) == documents(before, 1)
    assert Counter(documents(before, 2)) - Counter(documents(table, 2)) == places([one])


def test_a_plain_source_has_a_table_where_a_step_looks_at_its_pass_rates(shop):
    found = shop.twin("plain")
    path = found.jsonl("plain.jsonl", [{"text": text, "pass_rate": i / 40} for i, text in enumerate(found.texts(40))])
    sources = [{"name": "plain", "path": path}]
    found.curate(sources=sources, steps=[{"difficulty": {"high": 0.5}}])
    (table,) = report.read(found.root / "out").joint
    by_rate = {one: table.sums(columns=[one]) for one in table.columns}
    assert [(label, came.documents, left.documents) for (_, label), (came, left) in by_rate.items()] == [
        ("0", 1, 1), ("(0, 0.25]", 10, 10), ("(0.25, 0.5]", 10, 10), ("(0.5, 0.75]", 10, 0), ("(0.75, 1)", 9, 0),
    ]  # fmt: skip
    assert {place.of for place, _, _ in table.cells} == {"text"}
    found.curate(sources=sources, steps=[], output=str(found.root / "none"))
    assert report.read(found.root / "none").joint == ()


def test_a_table_that_does_not_add_up_is_an_error(shop):
    curation = open_curation(shop.root / "out")

    def changed(number, path, value):
        stages = list(curation.stages)
        manifest = orjson.loads(orjson.dumps(dataclasses.asdict(stages[number].manifest)))
        place = manifest["counts"]["sources"]["levels"]["cells"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        stages[number] = dataclasses.replace(stages[number], manifest=Manifest(**manifest))
        return dataclasses.replace(curation, stages=tuple(stages))

    joint_table.read(curation)
    for number, path in ((0, ["unread"]), (-1, ["kept", *KEPT, "documents"])):
        with pytest.raises(RunError, match="do not add up"):
            joint_table.read(changed(number, path, 100_000))
    with pytest.raises(RunError, match="of which more was kept"):
        joint_table.read(changed(-1, ["kept", *KEPT, "characters"], 1 << 40))


def test_the_report_shows_it_in_every_form(shop, midtrain):
    told = report.read(shop.root / "out")
    text, page = report_text.table(told).text, report_html.render(told)
    for shown in (text, page):
        assert "levels: records by length and difficulty, read → kept; difficulty by level" in shown
        assert "2 records could not be read" in shown
        assert "thought, 256 to 511" in shown
        assert "reply, 0 to 127" in shown
    data = orjson.loads(midtrain("report", shop.root / "out", "--json").out)["joint"]
    assert [one["source"] for one in data] == ["levels", "rated"]
    for one in data:
        assert set(one) == {"source", "unread", "read", "kept", "cells"}
        for kind in ("read", "kept"):
            for unit in ("documents", "characters"):
                assert sum(cell[kind][unit] for cell in one["cells"]) == one[kind][unit]
    assert {"low": 256, "high": 512, "of": "thought", "field": "solved", "difficulty": "(0.25, 0.5]"}.items() <= next(
        cell for cell in data[1]["cells"] if cell["low"] == 256 and cell["difficulty"] == "(0.25, 0.5]"
    ).items()


def joint(*cells):
    return JointTable("s", 0, tuple((Place(*place), Count(*came), Count(*left)) for place, came, left in cells))


def test_columns_go_upwards_and_what_is_not_stated_stands_last():
    labels = ["1", "hard", "(0, 0.25]", "10", "0", "(0.75, 1)", "2.5", "easy", OTHER, "[2, 3)"]
    table = joint(
        *((("thought", 0, "f", label), (1, 1), (1, 1)) for label in labels), (("thought", 0, "", ""), *[(1, 1)] * 2)
    )
    assert [label for _, label in table.columns] == [
        "0", "(0, 0.25]", "(0.75, 1)", "1", "[2, 3)", "2.5", "10", "easy", "hard", OTHER, "",
    ]  # fmt: skip


def test_a_grid_has_the_sums_and_shares_of_rows_and_columns():
    table = joint(
        (("thought", 0, "level", "1"), (10, 500), (9, 450)),
        (("thought", 256, "level", "1"), (4, 1200), (1, 300)),
        (("thought", 256, "level", "2"), (6, 1800), (0, 0)),
        (("reply", 0, "", ""), (1_000, 9), (1_000, 9)),
    )
    assert joint_table.grid(table, 10) == [
        ["characters of the", "1", "2", "not stated", "all", "kept"],
        ["thought, 0 to 127", "10 → 9", "", "", "10 → 9", "90.0 %"],
        ["thought, 256 to 511", "4 → 1", "6 → 0", "", "10 → 1", "10.0 %"],
        ["reply, 0 to 127", "", "", "1,000 → 1,000", "1,000 → 1,000", "100.0 %"],
        ["all", "14 → 10", "6 → 0", "1,000 → 1,000", "1,020 → 1,010", "99.0 %"],
        ["kept", "71.4 %", "0.0 %", "100.0 %", "99.0 %", ""],
    ]
    assert joint_table.grid(table, 0)[0] == ["characters of the", "not stated", "2 others", "all", "kept"]
    assert joint_table.grid(table, 0)[2] == ["thought, 256 to 511", "", "10 → 1", "10 → 1", "10.0 %"]


def test_where_no_difficulty_is_stated_there_is_one_column():
    table = joint((("reply", 0, "", ""), (2, 5), (1, 3)))
    assert joint_table.grid(table, 10) == [
        ["characters of the", "all", "kept"],
        ["reply, 0 to 127", "2 → 1", "50.0 %"],
        ["all", "2 → 1", "50.0 %"],
    ]
    assert joint_table.title(table) == "s: records by length and difficulty, read → kept; no difficulty stated"


def test_two_fields_are_told_apart():
    table = joint((("reply", 0, "a", "1"), (2, 5), (1, 3)), (("reply", 0, "b", "1"), (1, 1), (1, 1)))
    assert joint_table.grid(table, 10)[0] == ["characters of the", "a 1", "b 1", "all", "kept"]
    assert "difficulty by a, b" in joint_table.title(table)

"""The report on a curation: sums are those of the files, values those of the rows, and nothing is guessed."""

import dataclasses
import shutil
from collections import Counter

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from midtrain.errors import ConfigError, RunError
from midtrain.filters.gopher_quality import GopherQuality
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines import read_parts, report, report_html, report_text
from midtrain.pipelines.funnel import Amount

LANGUAGES = ("en", "de", None, "zh-Hans", "not a tag")


@pytest.fixture(scope="session")
def told(curated_workshop):
    """The report on the standard corpus."""
    return report.read(curated_workshop.root / "out")


@pytest.fixture(scope="module")
def babel(tmp_path_factory, curated_workshop):
    """A workshop whose documents have languages, curated without scores in `out` and with them in `scored`."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("babel"))
    for name, seed in (("a", 1), ("b", 1)):
        records = found.records(name, found.texts(150, seed)[: 150 if name == "a" else 60])
        found.jsonl(f"{name}.jsonl", [{**one, "lang": LANGUAGES[i % 5]} for i, one in enumerate(records)])
    sources = [{"name": n, "path": f"{found.root}/data/{n}.jsonl", "fields": {"language": "lang"}} for n in ("a", "b")]
    steps = [{"gopher_quality": {"sources": ["a"], "min_words": 30, "max_mean_word_length": 5.1}}]
    steps.append({"exact_dedup": {"max_loss": None}})
    found.curate(sources=sources, steps=steps)
    found.curate(sources=sources, steps=steps, output=str(found.root / "scored"), scores=True)
    return found


def entries(root, kind):
    """Path and entry of every file of a kind that a stage's manifest lists."""
    for path in sorted(root.glob("stages/*/manifest.json")):
        for entry in orjson.loads(path.read_bytes())["files"]:
            if entry["path"].startswith(kind):
                yield path.parent / entry["path"], entry


def dropped_rows(root):
    return [row for path, _ in entries(root, "dropped/") for row in pq.read_table(path).to_pylist()]


def kept_rows(root):
    manifest = Manifest.read(root)
    return [
        row for file in manifest.files for batch in read_parts.read_part(root / file.path) for row in batch.to_pylist()
    ]


def size(rows):
    return sum(row.get("bytes", len(row.get("text", "").encode())) for row in rows)


def dropped_of(group):
    return {f"{s.step}.{rule}": amount for s in group.steps for rule, amount in s.rules if amount.documents}


# The funnel


def expected_group(kept, dropped, aside):
    """What a group comes to, counted in Python from rows."""
    by_reason = {}
    for row in dropped:
        by_reason.setdefault(f"{row['step']}.{row['rule']}", []).append(row)
    return {
        "documents": len(kept) + len(dropped) + aside,
        "kept": Amount(len(kept), size(kept)),
        "dropped": {reason: Amount(len(rows), size(rows)) for reason, rows in by_reason.items()},
        "aside": aside,
    }


def seen_group(group):
    return {
        "documents": group.read.documents,
        "kept": group.kept,
        "dropped": dropped_of(group),
        "aside": group.quarantined,
    }


def test_every_group_comes_to_what_the_files_hold(curated_workshop, told):
    root = curated_workshop.root / "out"
    kept, dropped = kept_rows(root), dropped_rows(root)
    assert told.name == "small"
    assert [group.name for group in told.funnel.sources] == ["a", "b", "twins", "worked"]
    for group in told.funnel.sources:
        own = [[row for row in rows if row["source"] == group.name] for rows in (kept, dropped)]
        assert seen_group(group) == expected_group(*own, aside=1 if group.name == "b" else 0)
        assert group.read.text_bytes == group.kept.text_bytes + size(own[1])
        assert group.removed_bytes == 0
    assert seen_group(told.funnel.total) == expected_group(kept, dropped, 1)
    assert told.fingerprint == Manifest.read(root).fingerprint


@pytest.mark.parametrize("output", ["out", "scored"])
def test_languages_come_to_what_the_files_hold(babel, output):
    root = babel.root / output
    kept, dropped = kept_rows(root), dropped_rows(root)
    funnel = report.read(root).funnel
    assert {group.name for group in funnel.languages} == {"en", "de", "", "zh-Hans", "*"}
    for group in funnel.languages:
        value = {"": None, "*": "not a tag"}.get(group.name, group.name)
        own = [[row for row in rows if row["language"] == value] for rows in (kept, dropped)]
        assert seen_group(group) == expected_group(*own, aside=0)
        assert group.read.text_bytes is None
    counts = [group.read.documents for group in funnel.languages]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == funnel.total.read.documents == 210


def test_scores_change_nothing_of_the_funnel(babel):
    def plain(funnel):
        groups = (funnel.total, *funnel.sources, *funnel.languages)
        return [(seen_group(group), [(s.step, s.seen, s.left, s.rules) for s in group.steps]) for group in groups]

    assert plain(report.read(babel.root / "out").funnel) == plain(report.read(babel.root / "scored").funnel)


def test_a_step_sees_the_sources_it_applies_to_and_what_the_steps_before_left(told):
    total, (a, b, twins, _) = told.funnel.total, told.funnel.sources
    reading, quality, dedup = total.steps
    assert [step.step for step in total.steps] == ["reading", "gopher_quality", "exact_dedup"]
    assert (reading.drops, reading.quarantined, reading.left) == (False, 1, total.read.documents - 1)
    assert quality.seen == a.read.documents + b.read.documents - 1
    assert twins.steps[1].seen == 0
    assert quality.left == reading.left - quality.dropped.documents
    assert dedup.seen == quality.left
    assert dedup.left == total.kept.documents
    for group in told.funnel.sources:
        assert [(step.stage, step.step) for step in group.steps] == [(step.stage, step.step) for step in total.steps]
        assert [rule for rule, _ in group.steps[1].rules] == [rule for rule, _ in quality.rules]


def test_steps_of_one_name_between_barriers_are_one(corpus):
    steps = [
        {"gopher_quality": {"sources": ["a"], "min_words": 30}},
        {"gopher_quality": {"sources": ["b"], "min_words": 40}},
        {"exact_dedup": {}},
        {"gopher_quality": {"sources": ["a"], "min_words": 45}},
    ]
    corpus.curate(steps=steps)
    found = report.read(corpus.root / "out")
    names = [step.step for step in found.funnel.total.steps]
    assert names == ["reading", "gopher_quality", "exact_dedup", "gopher_quality"]
    first, last = (rule for rule in found.rules if rule.reason.rule == "words")
    low = [(one.bound, one.broken) for one in first.thresholds if one.side == "low"]
    thresholds = Counter(r["threshold"] for r in dropped_rows(corpus.root / "out") if r["step"] == "gopher_quality")
    assert low == [(30.0, thresholds[30.0]), (40.0, thresholds[40.0])]
    assert [(one.bound, one.broken) for one in last.thresholds if one.side == "low"] == [(45.0, thresholds[45.0])]
    assert min(thresholds.values()) > 0


@pytest.mark.parametrize("scores", [False, True])
def test_text_that_a_step_cut_out_is_told_apart_from_what_was_dropped(corpus, scores):
    texts = [f"Write to someone-{i}-{'x' * i}@wonderful-place.org. " + text for i, text in enumerate(corpus.texts(60))]
    corpus.jsonl("a.jsonl", corpus.records("a", texts))
    source = {"name": "a", "path": f"{corpus.root}/data/a.jsonl"}
    steps = [{"datatrove": {"PIIFormatter": None}}, {"datatrove": {"SamplerFilter": {"rate": 0.5}}}]
    corpus.curate(sources=[source], steps=steps, scores=scores)
    found = report.read(corpus.root / "out")
    total = found.funnel.total
    kept, dropped = kept_rows(corpus.root / "out"), dropped_rows(corpus.root / "out")
    assert (total.kept, total.steps[0].dropped) == (Amount(len(kept), size(kept)), Amount(len(dropped), size(dropped)))
    assert len(kept) > 5 < len(dropped)
    assert total.read == Amount(60, sum(len(text.encode()) for text in texts))
    assert total.removed_bytes == total.read.text_bytes - size(kept) - size(dropped) > 0
    (rule,) = found.rules
    assert (rule.scope, rule.dropped, rule.histogram, rule.thresholds) == ("none", len(dropped), None, ())
    assert "cut out of texts, or set aside" in report_text.table(found).text
    assert report_html.render(found).count("This rule has no values") == 1


def test_documents_that_a_step_set_aside_are_told_at_that_step(corpus, monkeypatch):
    original = GopherQuality.decide

    def decide(self, batch):
        if any("naïve" in text for text in batch.record_batch.column("text").to_pylist()):
            raise ValueError("naïve")
        return original(self, batch)

    monkeypatch.setattr(GopherQuality, "decide", decide)
    steps = [corpus.recipe()["steps"][0], {"exact_dedup": {"max_loss": None}}]
    corpus.curate(max_quarantined=0.9, steps=steps)
    found = report.read(corpus.root / "out").funnel
    reading, quality, _ = found.total.steps
    aside = [line for p, _ in entries(corpus.root / "out", "quarantine/") for line in p.read_bytes().splitlines()]
    assert (reading.step, reading.quarantined) == ("reading", 1)
    assert (quality.step, quality.quarantined) == ("gopher_quality", len(aside) - 1)
    assert quality.left == quality.seen - quality.quarantined - quality.dropped.documents + 240
    assert found.total.removed_bytes == sum(group.removed_bytes for group in found.sources) > 0


# Values


def test_values_are_those_of_dropped_rows(babel):
    root = babel.root / "out"
    rows = dropped_rows(root)
    found = {rule.reason.rule: rule for rule in report.read(root).rules}
    for name in ("words", "mean_word_length"):
        rule, own = found[name], [row for row in rows if row["rule"] == name]
        assert len(own) > 5
        values = [row["value"] for row in own]
        assert (rule.scope, rule.dropped, rule.count) == ("dropped", len(own), len(own))
        assert (rule.minimum, rule.maximum) == (min(values), max(values))
        assert sum(rule.histogram.counts) == len(own)
        assert rule.histogram.outside == rule.histogram.counts
        broken = {(one.side, one.bound): one.broken for one in rule.thresholds}
        for (side, bound), count in broken.items():
            assert count == sum(v < bound if side == "low" else v > bound for v in values)

        def order(row):
            return xxhash.xxh3_64_intdigest(row["id"].encode())

        def distance(row):
            return abs(row["value"] - row["threshold"]) / abs(row["threshold"]), order(row)

        assert [one.id for one in rule.random] == [row["id"] for row in sorted(own, key=order)[:5]]
        assert [one.id for one in rule.nearest] == [row["id"] for row in sorted(own, key=distance)[:5]]
    duplicate = found["duplicate"]
    assert (duplicate.scope, duplicate.histogram, duplicate.nearest) == ("none", None, ())
    partners = {row["id"]: row["partner"] for row in rows if row["rule"] == "duplicate"}
    assert {one.id: one.partner for one in duplicate.random}.items() <= partners.items()


def test_with_scores_the_values_are_those_of_all_documents(babel):
    root = babel.root / "scored"
    tables = [pq.read_table(path) for path, _ in entries(root, "part-") if path.parent.name.startswith("gopher")]
    all_rows = [row for table in tables for row in table.to_pylist()]
    assert len(all_rows) == 210
    told = report.read(root)
    assert told.notes == ()
    for rule in told.rules:
        if rule.reason.step != "gopher_quality":
            continue
        values = [row[f"score.gopher_quality.{rule.reason.rule}"] for row in all_rows if row["source"] == "a"]
        assert (rule.scope, rule.count) == ("all", 150)
        assert (rule.minimum, rule.maximum) == (min(values), max(values))
        for one in rule.thresholds:
            assert one.broken == sum(v < one.bound if one.side == "low" else v > one.bound for v in values)
            assert one.of == 150
        assert sum(rule.histogram.counts) == 150
        assert sum(rule.histogram.outside) == sum(
            any(v < one.bound if one.side == "low" else v > one.bound for one in rule.thresholds) for v in values
        )
    without = report.read(babel.root / "out").rules
    assert [(r.dropped, r.nearest, r.random) for r in told.rules] == [(r.dropped, r.nearest, r.random) for r in without]


def test_values_that_a_step_exempts_are_on_no_wrong_side(corpus):
    lines = [text.replace("\n", " ") for text in corpus.texts(10)]
    pages = ["\n".join(line + "." * (row < ending) for row, line in enumerate(lines)) for ending in (0, 0, 0, 1, 5)]
    sources = [{"name": "a", "path": str(corpus.jsonl("pages.jsonl", corpus.records("a", pages)))}]
    kept_all = {"max_duplicate_line_characters": None, "max_newlines_per_word": None, "max_short_lines": None}
    for allowed, dropped in ((True, 1), (False, 4)):
        steps = [{"fineweb_quality": {"allow_unpunctuated": allowed, **kept_all}}]
        corpus.curate(steps=steps, sources=sources, output=str(corpus.root / f"{allowed}"), scores=True)
        (rule,) = (
            one for one in report.read(corpus.root / f"{allowed}").rules if one.reason.rule == "punctuated_lines"
        )
        (bound,) = rule.thresholds
        assert (rule.scope, rule.count, rule.minimum) == ("all", 5, 0.0)
        assert (rule.dropped, bound.broken, sum(rule.histogram.outside)) == (dropped, dropped, dropped)


def test_layouts_and_repairs_are_told_by_source(tmp_path_factory, curated_workshop):
    found = type(curated_workshop)(tmp_path_factory.mktemp("repairs"))
    replies = ["<think>a</think>b", "a</think>b", "<THINK>a</think>b", "<think>a", "a <think>b", "b"]
    found.jsonl("qa.jsonl", [{"question": f"q{i}", "response": replies[i % 6]} for i in range(60)])
    found.jsonl("spelled.jsonl", [{"q": f"q{i}", "r": replies[0]} for i in range(7)])
    sources = [
        {"name": name, "path": f"{found.root}/data/{name}.jsonl", "format": "reasoning", "fields": fields}
        for name, fields in (("qa", "auto"), ("spelled", {"prompt": "q", "response": "r"}))
    ]
    found.curate(sources=sources, steps=[], max_quarantined=10)
    told = report.read(found.root / "out")
    assert [dataclasses.asdict(reading) for reading in told.reasoning] == [
        {
            "source": "qa",
            "documents": 60,
            "layouts": {"prompt_response": 50},
            "repairs": {"orphan_closer": 10, "other_tags": 10, "unclosed_thought": 10},
        }
    ]
    assert "repair unclosed_thought" in report_text.table(told).text
    assert "repair unclosed_thought" in report_html.render(told)
    assert told.data()["reasoning"][0]["layouts"] == {"prompt_response": 50}
    repaired = [row["metadata"] for row in kept_rows(found.root / "out") if row["metadata"]]
    assert Counter(repaired) == {
        '{"repairs":["orphan_closer"]}': 10,
        '{"repairs":["other_tags"]}': 10,
        '{"repairs":["unclosed_thought"]}': 10,
    }


def test_the_data_have_the_keys_that_are_written_down(babel):
    data = orjson.loads(orjson.dumps(report.read(babel.root / "out").data()))
    group = {"read", "steps", "quarantined", "kept", "removed_text_bytes"}
    assert set(data) == {
        "output",
        "name",
        "fingerprint",
        "notes",
        "total",
        "sources",
        "languages",
        "rules",
        "deduplication",
        "reasoning",
        "joint",
        "outcomes",
        "phrases",
    }
    assert set(data["total"]) == group
    assert all(set(one) == {"source", *group} for one in data["sources"])
    assert all(set(one) == {"language", *group} for one in data["languages"])
    assert [one["language"] for one in data["languages"]].count(None) == 1
    step = data["total"]["steps"][0]
    assert set(step) == {"stage", "step", "seen", "dropped", "quarantined", "left", "rules", "cut"}
    assert set(step["rules"][0]) == {"rule", "documents", "text_bytes"}
    rule = data["rules"][0]
    assert set(rule) == {
        *("stage", "step", "rule", "dropped", "values", "count", "minimum", "median", "maximum"),
        *("histogram", "thresholds", "nearest", "random"),
    }
    assert set(rule["histogram"]) == {"log", "edges", "counts", "outside"}
    assert set(rule["thresholds"][0]) == {"side", "bound", "source", "broken", "of", "share", "strict"}
    assert set(rule["nearest"][0]) == {"id", "source", "value", "threshold", "partner"}
    copies = data["deduplication"][0]
    assert set(copies) == {
        *("stage", "step", "documents", "duplicates", "sizes", "between", "largest", "sampled"),
    }
    assert set(copies["sizes"][0]) == {"size", "clusters"}
    assert set(copies["between"][0]) == {"dropped", "kept", "documents"}
    assert set(copies["largest"]) == set(copies["sampled"][0]) == {"size", "id", "source", "copies"}
    assert set(copies["largest"]["copies"][0]) == {"id", "source", "similarity", "differences"}
    assert set(copies["largest"]["copies"][0]["differences"][0]) == {"kind", "text"}
    for key in set(copies) | set(copies["largest"]):
        assert key in report.__doc__, key
    for key in set(data) | set(rule) | group | set(step):
        assert key in report.__doc__, key


# What cannot be reported on


@pytest.fixture
def copy(curated_workshop, tmp_path):
    """A copy of the standard output, to be damaged."""
    shutil.copytree(curated_workshop.root / "out", tmp_path / "out")
    return tmp_path / "out"


def rewrite(folder, change):
    """Changes the manifest of a folder."""
    content = dataclasses.asdict(Manifest.read(folder))
    change(content)
    files = tuple(OutputFile(**entry) for entry in content["files"])
    Manifest(**{**content, "files": files}).write(folder)


def replace_file(path, table):
    """Writes a stage's Parquet file anew and makes its manifest say so."""
    pq.write_table(table, path)
    folder, name = path.parents[1], f"{path.parent.name}/{path.name}"
    found = OutputFile.of(folder, name, table.num_rows)

    def change(content):
        entry = next(one for one in content["files"] if one["path"] == name)
        entry.update(bytes=found.bytes, hash=found.hash)

    rewrite(folder, change)


def test_a_folder_without_an_output_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="no curated output"):
            report.read(folder)


def test_an_output_of_another_verb_is_refused(built_workshop):
    with pytest.raises(ConfigError, match="not a curated output"):
        report.read(built_workshop.root / "shards")


def test_a_run_that_is_not_complete_is_refused_with_what_to_do(corpus, dying, midtrain):
    dying(5)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - what stands for SIGKILL is no Exception
        corpus.curate()
    said = midtrain("report", corpus.root / "out")
    assert said.code == 1
    assert "the run is not complete" in said.err
    assert f"midtrain status {corpus.root / 'out'}" in said.err


def test_a_stage_that_is_gone_is_an_error(copy):
    stage = next(path for path in (copy / "stages").iterdir() if path.name.startswith("gopher"))
    shutil.rmtree(stage)
    with pytest.raises(RunError, match="a stage of the output is gone") as caught:
        report.read(copy)
    assert caught.value.where == str(stage)


@pytest.mark.parametrize("cut", [1, 60])
def test_a_file_cut_short_is_an_error_that_names_it(copy, cut):
    path, _ = next(entries(copy, "dropped/"))
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(RunError, match="cut short") as caught:
        report.read(copy)
    assert caught.value.where == str(path)


def test_a_damaged_file_is_an_error_that_names_it(copy):
    path, _ = next(entries(copy, "dropped/"))
    whole = path.read_bytes()
    for place in (len(whole) - 8, 40):  # the footer's length, and a page
        path.write_bytes(whole[:place] + b"\xff" * 8 + whole[place + 8 :])
        with pytest.raises(RunError, match="damaged") as caught:
            report.read(copy)
        assert caught.value.where == str(path)


def test_rows_that_are_lost_are_an_error(copy):
    path, _ = next(entries(copy, "dropped/"))
    replace_file(path, pq.read_table(path).slice(1))
    with pytest.raises(RunError, match="another number of rows"):
        report.read(copy)


@pytest.mark.parametrize(("column", "value"), [("rule", "stop_words"), ("bytes", 1), ("step", "language")])
def test_rows_that_are_not_those_that_were_counted_are_an_error(copy, column, value):
    path, _ = next(entries(copy, "dropped/"))
    table = pq.read_table(path)
    place = table.column_names.index(column)
    changed = pa.array([value, *table.column(column).to_pylist()[1:]], table.schema.field(column).type)
    replace_file(path, table.set_column(place, table.schema.field(column), changed))
    with pytest.raises(RunError, match="do not add up") as caught:
        report.read(copy)
    assert "dropped of source" in caught.value.where


def test_quarantined_documents_that_are_lost_are_an_error(copy):
    path, _ = next(entries(copy, "quarantine/"))
    (line,) = path.read_bytes().splitlines()
    path.write_bytes(b"\n" * (len(line) + 1))
    with pytest.raises(RunError, match="damaged") as caught:
        report.read(copy)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("key", ["kept", "text_bytes"])
def test_languages_that_do_not_add_up_are_an_error(copy, key):
    (last,) = (path for path in (copy / "stages").glob("exact_dedup-*") if "choice" not in path.name)

    def change(counts):
        counts["sources"]["a"]["languages"][""][key] += 1

    rewrite(last, lambda content: change(content["counts"]))
    rewrite(copy, lambda content: change(content["counts"]["funnel"][-1]))
    with pytest.raises(RunError, match="do not add up") as caught:
        report.read(copy)
    assert "kept of source a by language" in caught.value.where


def test_counts_of_stage_and_output_that_differ_are_an_error(copy):
    rewrite(copy, lambda content: content["counts"]["funnel"][0].update(kept=1))
    with pytest.raises(RunError, match="not the one"):
        report.read(copy)


def test_a_run_made_before_languages_were_recorded_says_what_is_missing(copy, told):
    for path, _ in list(entries(copy, "dropped/")):
        replace_file(path, pq.read_table(path).drop_columns(["language", "bytes"]))
    new = {"languages", "read_text_bytes", "dropped_text_bytes"}

    def without(counts):
        for one in (counts, *counts.get("sources", {}).values()):
            for key in new & one.keys():
                del one[key]

    for stage in (copy / "stages").iterdir():
        rewrite(stage, lambda content: without(content["counts"]))
    rewrite(copy, lambda content: [without(counts) for counts in content["counts"]["funnel"]])
    rewrite(copy, lambda content: content["options"].pop("steps"))
    found = report.read(copy)
    assert "made before" in found.notes[0]
    assert found.funnel.languages is None
    assert found.data()["languages"] is None
    assert found.funnel.total.read.text_bytes is None
    for old, new_group in zip(found.funnel.sources, told.funnel.sources, strict=True):
        documents = {reason: amount.documents for reason, amount in dropped_of(old).items()}
        assert documents == {reason: amount.documents for reason, amount in dropped_of(new_group).items()}
        assert old.kept == new_group.kept
    words = next(rule for rule in found.rules if rule.reason.rule == "words")
    assert [(one.side, one.bound) for one in words.thresholds] == [("low", 30.0)]


def test_an_output_in_a_bucket_is_told_like_one_in_a_folder(curated_workshop, told, make_bucket, moto):
    bucket, root = make_bucket(moto), curated_workshop.root / "out"
    for path in root.rglob("*"):
        if path.is_file():
            bucket.put(f"web/{path.relative_to(root)}", path.read_bytes())
    found = report.read(f"{bucket.address}/web")
    assert (found.funnel, found.rules) == (told.funnel, told.rules)

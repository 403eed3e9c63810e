"""What the report tells of deduplication: the numbers of a plain count of rows, and clusters of what they say."""

import dataclasses
import shutil
from collections import Counter

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from midtrain.errors import RunError
from midtrain.manifest import Manifest, OutputFile
from midtrain.pipelines import copies_text, inputs, report, report_html, report_text
from midtrain.pipelines.copies import Between, Copies, CopiesOf, Copy
from midtrain.pipelines.differences import Difference, differences
from midtrain.pipelines.explain import explain

LOW = {"threshold": 0.7, "min_recall": 0, "max_loss": None}


@pytest.fixture(scope="module")
def near(tmp_path_factory, curated_workshop):
    """A workshop whose source b is near copies of a's, with markup in their words; a itself repeats some texts."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("near"))
    texts = found.texts(200, seed=6)
    rng = np.random.default_rng(1)
    near = []
    for text in texts[:120]:
        words = text.split(" ")
        words[rng.integers(len(words))] = "<b>changed</b> \u202e\x07&amp;"
        near.append(" ".join(words))
    found.jsonl("a.jsonl", found.records("a", texts))
    found.jsonl("b.jsonl", found.records("b", near))
    return found


def sources(shop):
    return [{"name": name, "path": f"{shop.root}/data/{name}.jsonl"} for name in "ab"]


STEPS = {
    "last": [{"exact_dedup": {"max_loss": None}}, {"minhash_dedup": LOW}],
    "judged": [
        {"length": {"min_chunks": 25}},
        {"exact_dedup": {"max_loss": None}},
        {"length": {"max_chunks": 75}},
        {"minhash_dedup": LOW},
        {"gopher_quality": {"min_words": 30}},
    ],
}


@pytest.fixture(scope="module", params=[(name, scores) for name in STEPS for scores in (False, True)], ids=str)
def curated(request, near):
    """An output with two barriers, and the texts of the corpus by id."""
    name, scores = request.param
    root = near.root / f"{name}-{scores}"
    near.curate(sources=sources(near), steps=STEPS[name], output=str(root), scores=scores)
    return root


def texts_of(near):
    lines = (near.root / f"data/{name}.jsonl" for name in "ab")
    return {row["id"]: row["text"] for path in lines for row in map(orjson.loads, path.read_bytes().splitlines())}


def duplicates(root, step):
    """The dropped rows of a step's copies."""
    return [
        row
        for path in root.glob("stages/*/dropped/*.parquet")
        for row in pq.read_table(path).to_pylist()
        if (row["step"], row["rule"]) == (step, "duplicate")
    ]


def test_numbers_are_those_of_a_plain_count(curated):
    for found in report.read(curated).copies:
        rows = duplicates(curated, found.step)
        assert found.duplicates == len(rows) > 20
        sizes = Counter(Counter((row["partner"], row["partner_source"]) for row in rows).values())
        assert dict(found.sizes) == {str(size + 1): count for size, count in sizes.items()}
        assert [size for size, _ in found.sizes] == sorted(dict(found.sizes), key=int)
        between = Counter((row["source"], row["partner_source"]) for row in rows)
        assert {(one.dropped, one.kept): one.documents for one in found.between} == dict(between)
        assert found.clusters == sum(sizes.values())
        assert found.largest.size == max(sizes) + 1
        seen = next(one for one in report.read(curated).funnel.total.steps if one.step == found.step)
        assert (found.documents, found.duplicates) == (seen.seen, seen.dropped.documents)


def test_clusters_are_taken_by_a_hash_and_hold_their_documents(near, curated):
    texts = texts_of(near)
    for found in report.read(curated).copies:
        rows = duplicates(curated, found.step)
        by_partner: dict[str, list] = {}
        for row in rows:
            by_partner.setdefault(row["partner"], []).append(row)
        first = sorted(by_partner, key=lambda one: xxhash.xxh3_64_intdigest(one.encode()))[:20]
        assert [one.id for one in found.sampled] == first
        for cluster in found.sampled:
            own = sorted(by_partner[cluster.id], key=lambda row: (row["value"] or 0.0, row["id"]))
            assert cluster.size == len(own) + 1
            seen = [(one.id, one.source, one.similarity) for one in cluster.copies]
            assert seen == [(row["id"], row["source"], row["value"]) for row in own[:5]]
            for one in cluster.copies:
                assert one.differences == differences(texts[cluster.id], texts[one.id])
                assert (found.step == "exact_dedup") == (one.similarity is None)


def test_similarities_have_a_histogram_with_the_threshold(curated):
    told = report.read(curated)
    (rule,) = (one for one in told.rules if one.reason.step == "minhash_dedup")
    rows = duplicates(curated, "minhash_dedup")
    assert (rule.scope, rule.count) == ("dropped", len(rows))
    (bound,) = rule.thresholds
    assert (bound.side, bound.bound, bound.strict, bound.broken) == ("high", 0.7, True, len(rows))
    assert rule.minimum == min(row["value"] for row in rows) >= 0.7
    assert sum(rule.histogram.counts) == len(rows)
    assert "< 0.7" in report_text.table(told).text
    assert f"keeps &lt; 0.7: {len(rows)} above" in report_html.render(told)


def test_clusters_do_not_depend_on_how_the_input_is_cut(near, monkeypatch, tmp_path):
    def shown(name, least):
        monkeypatch.setattr(inputs, "MIN_SPLIT", least)
        near.curate(sources=sources(near), steps=STEPS["last"], output=str(tmp_path / name))
        return [dataclasses.replace(one, stage="") for one in report.read(tmp_path / name).copies]

    assert shown("whole", 1 << 30) == shown("cut", 3_000)
    assert len(list((tmp_path / "cut/stages").glob("read-*/part-*"))) > 5


def test_text_shows_sizes_sources_and_every_cluster(near, curated):
    told = report.read(curated)
    text = report_text.table(told).text
    assert "[-only in the one dropped-] {+only in the one kept+}" in text
    assert "\u202e" not in text.partition("\n")[2]
    assert "\x07" not in text
    for found in told.copies:
        part = text[text.index(f"{found.step}: {found.documents:,} documents, ") :]
        for size, count in found.sizes:
            assert f"\n{size} " in part
            assert f" {count:,} " in part
        for one in found.sampled:
            assert f"  {one.id} of {one.source} is kept, {one.size - 1:,} dropped" in part
    assert "[-<b>changed</b>" in text


def test_the_page_marks_differences_and_takes_no_text_for_markup(curated):
    page = report_html.render(report.read(curated))
    assert "<b>" not in page
    assert "&lt;b&gt;changed&lt;/b&gt;" in page
    assert "&amp;amp;" in page
    assert "\x07" not in page
    assert "\u202e" not in page
    assert page.count("<del>") > 10
    assert page.count("<ins>") > 10
    assert page.count("<del>") == page.count("</del>")


# What cannot be reported on


@pytest.fixture
def copy(near, tmp_path):
    """An output to be damaged, and the folder of its last choice."""
    root = tmp_path / "copy"
    if not (near.root / "whole").exists():
        near.curate(sources=sources(near), steps=STEPS["last"], output=str(near.root / "whole"))
    shutil.copytree(near.root / "whole", root)
    (choice,) = root.glob("stages/minhash_dedup-choice-*")
    return root, choice


def test_a_choice_that_is_gone_is_an_error(copy):
    root, choice = copy
    shutil.rmtree(choice)
    with pytest.raises(RunError, match="a stage of the output is gone") as caught:
        report.read(root)
    assert str(choice) in caught.value.where


def test_clusters_that_are_gone_or_damaged_are_an_error(copy):
    root, choice = copy
    path = next(choice.glob("clusters/*.json"))
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(RunError, match="damaged") as caught:
        report.read(root)
    assert caught.value.where == str(path)
    path.unlink()
    with pytest.raises(RunError, match="missing"):
        report.read(root)


def test_rows_that_the_choice_did_not_count_are_an_error(copy):
    root, _ = copy
    path = next(path for path in root.glob("stages/minhash_dedup-*/dropped/*.parquet"))
    table = pq.read_table(path)
    place = table.column_names.index("partner_source")
    other = pa.array(["elsewhere", *table.column(place).to_pylist()[1:]], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), other), path)
    folder, name = path.parents[1], f"dropped/{path.name}"
    entry = OutputFile.of(folder, name, table.num_rows)
    stage = Manifest.read(folder)
    files = [
        dataclasses.replace(file, bytes=entry.bytes, hash=entry.hash) if file.path == name else file
        for file in stage.files
    ]
    dataclasses.replace(stage, files=tuple(files)).write(folder)
    with pytest.raises(RunError, match="do not add up") as caught:
        report.read(root)
    assert "copies between sources" in caught.value.where


def test_a_cluster_of_other_documents_is_an_error(copy):
    root, choice = copy
    path = next(path for path in choice.glob("clusters/*.json") if orjson.loads(path.read_bytes())["sampled"])
    content = orjson.loads(path.read_bytes())
    content["sampled"][0]["keeper"]["row"] += 1
    path.write_bytes(orjson.dumps(content))
    stage = Manifest.read(choice)
    size = path.stat().st_size
    files = [dataclasses.replace(file, bytes=size) if choice / file.path == path else file for file in stage.files]
    dataclasses.replace(stage, files=tuple(files)).write(choice)
    with pytest.raises(RunError, match="do not add up"):
        report.read(root)


def test_an_output_without_choices_has_none(copy):
    root, _ = copy
    found = Manifest.read(root)
    options = {key: value for key, value in found.options.items() if key != "choices"}
    dataclasses.replace(found, options=options).write(root)
    assert report.read(root).copies == ()


# An index


@pytest.mark.parametrize("step", ["minhash_dedup", "exact_dedup"])
def test_copies_of_documents_in_an_index_are_told(near, midtrain, tmp_path, step):
    options = {"max_loss": None, **(LOW if step == "minhash_dedup" else {})}
    old, new = sources(near)
    texts = list(texts_of(near).values())
    path = near.jsonl("new.jsonl", near.records("n", [*texts[:60], *texts[200:260], *near.texts(50, seed=77)]))
    near.curate(sources=[old], steps=[{step: options}], output=str(tmp_path / "old"))
    index = tmp_path / "index"
    assert midtrain("index", "add", index, tmp_path / "old", "--workers", 0).code == 0
    steps = [{step: {**options, "index": str(index)}}]
    near.curate(sources=[{**new, "path": path}], steps=steps, output=str(tmp_path / "new"))
    (found,) = report.read(tmp_path / "new").copies
    of_index = [one for one in found.sampled if one.source == "index:a"]
    assert len(of_index) > 10
    assert all(copy.differences is None for one in of_index for copy in one.copies)
    assert ("b", "index:a") in {(one.dropped, one.kept) for one in found.between}
    assert "the text that is kept stands in an index" in copies_text.told(found)
    assert "which holds no texts" in report_html.render(report.read(tmp_path / "new"))
    copy = of_index[0].copies[0]
    (trail,) = explain(tmp_path / "new", copy.id)
    (verdict,) = trail.steps
    assert (verdict.partner, verdict.partner_source) == (of_index[0].id, "index:a")
    assert verdict.partner_became == f"kept in the index {index}"


# Tables


def test_of_many_sources_the_largest_have_rows_and_columns():
    between = [Between(f"s{i}", f"s{j}", i * j + 1) for i in range(30) for j in range(30)]
    rows = copies_text.matrix(between, 4)
    assert rows[0] == ["dropped of, for one of", "s26", "s27", "s28", "s29", "(others)", "all"]
    assert [row[0] for row in rows[1:]] == ["s26", "s27", "s28", "s29", "(others)"]
    assert rows[1][1] == f"{26 * 26 + 1:,}"
    assert rows[1][5] == f"{sum(26 * j + 1 for j in range(26)):,}"
    total = sum(int(row[-1].replace(",", "")) for row in rows[1:])
    assert total == sum(one.documents for one in between)
    few = copies_text.matrix([Between("a", "b", 2), Between("b", "b", 1)], 4)
    assert few == [["dropped of, for one of", "b", "all"], ["a", "2", "2"], ["b", "1", "1"]]


def test_a_keeper_of_an_index_is_told_without_a_text():
    one = CopiesOf(2, "old", "web", (Copy("new", "web", 0.9, None),))
    found = Copies("stage", "minhash_dedup", 10, 1, (("2", 1),), (Between("web", "web", 1),), one, (one,))
    assert "new of web, 0.9000 similar: the text that is kept stands in an index" in copies_text.told(found)


def test_marks_stand_around_words():
    pieces = [Difference("gap", "10 characters alike"), Difference("same", "a\n"), Difference("dropped", "x\ty ")]
    assert copies_text.marked([*pieces, Difference("kept", "z")]) == "… 10 characters alike … a [-x y-]{+z+}"
    assert len(copies_text.marked([Difference("same", "word " * 100)])) == 240

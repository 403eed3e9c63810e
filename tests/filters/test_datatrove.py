"""Blocks do what they do in datatrove, are reached by class name alone, and are refused before the run."""

import importlib.util
import inspect
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datatrove.data import Document
from datatrove.pipeline import filters as published
from datatrove.pipeline import formatters as published_formatters
from datatrove.pipeline.filters.base_filter import BaseFilter
from datatrove.pipeline.formatters.base import BaseFormatter
from datatrove.pipeline.readers import JsonlReader
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters import datatrove_blocks as found
from midtrain.filters.datatrove import Datatrove
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.pipelines.readers import documents as reader

Make = Callable[[Sequence[str]], DocumentBatch]

TEXTS = [
    "The committee will meet again on Thursday to discuss the new rules of the library with all of its members.",
    "*** --- ***\nwrite to jane@corp.org or joe@corp.org from 8.8.8.8\n=====",
    "javascript is needed.\nThis line has a full stop. This one, too. And a third. A fourth is here. A fifth, at last.",
    "short",
    "lorem ipsum dolor sit amet. " * 8,
    "Ünïcödé … 日本語。 " * 40,
]


def step(name: str, **arguments: Any) -> Datatrove:
    return Datatrove.model_validate({name: arguments})


def expected(block: Any, texts: Sequence[str]) -> list[tuple[bool, str | None, str]]:
    """What the block itself answers: kept, reason, text."""
    rows = []
    for number, text in enumerate(texts):
        document = Document(text=text, id=str(number))
        answer = block.filter(document)
        kept, reason = answer if isinstance(answer, tuple) else (answer, None)
        rows.append((bool(kept), None if kept else reason or type(block).__name__, document.text))
    return rows


def answered(options: Datatrove, batch: DocumentBatch) -> list[tuple[bool, str | None, str]]:
    rewritten, decision = options.rewrite(batch)
    assert decision.reasons is not None
    reasons = [decision.reasons[rule] if rule >= 0 else None for rule in decision.rule]
    return list(zip(decision.keep.tolist(), reasons, rewritten.column("text").to_pylist(), strict=True))


def test_the_scan_finds_what_datatrove_has_and_imports_nothing() -> None:
    exported = [
        name
        for package, base in ((published, BaseFilter), (published_formatters, BaseFormatter))
        for name, kind in vars(package).items()
        if inspect.isclass(kind) and issubclass(kind, base)
    ]
    assert sorted(exported) == list(found.blocks())
    program = (
        "import sys\n"
        "from midtrain.filters import datatrove_blocks\n"
        "print(len(datatrove_blocks.blocks()), 'datatrove' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(exported)), "False"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("GopherQualityFilter", {"min_doc_words": 5}),
        ("GopherRepetitionFilter", {}),
        ("C4QualityFilter", {"min_num_sentences": 1}),
        ("FineWebQualityFilter", {}),
        ("RegexFilter", {"regex_exp": "[Ll]orem"}),
    ],
)
def test_filters_answer_as_in_datatrove(make_batch: Make, name: str, arguments: dict[str, Any]) -> None:
    pytest.importorskip("spacy")
    answers = expected(getattr(published, name)(**arguments), TEXTS)
    assert answered(step(name, **arguments), make_batch(TEXTS)) == answers
    assert {kept for kept, _, _ in answers} == {True, False}


@pytest.mark.parametrize(("name", "limit"), [("text/web_small.jsonl.gz", 60), ("multilingual/lid_gold.jsonl.gz", 60)])
def test_real_text_is_answered_as_in_datatrove(
    make_batch: Make, real_texts: Callable[[str, int], list[str]], name: str, limit: int
) -> None:
    pytest.importorskip("spacy")
    texts = [text[:4000] for text in real_texts(name, limit)]
    for block in ("C4QualityFilter", "FineWebQualityFilter", "GopherQualityFilter"):
        answers = expected(getattr(published, block)(), texts)
        assert answered(step(block), make_batch(texts)) == answers


def test_formatters_rewrite_and_keep_all(make_batch: Make) -> None:
    for name in ("SymbolLinesFormatter", "PIIFormatter"):
        options = step(name)
        texts = [getattr(published_formatters, name)().format(text) for text in TEXTS]
        assert answered(options, make_batch(TEXTS)) == [(True, None, text) for text in texts]
        assert texts != TEXTS
        assert options.rewrites
    assert not step("C4QualityFilter").rewrites


def test_counters_begin_anew_with_every_document(make_batch: Make) -> None:
    texts = ["a@b.org", "c@d.org e@f.org g@h.org", "a@b.org"]
    together = answered(step("PIIFormatter"), make_batch(texts))
    apart = [answered(step("PIIFormatter"), make_batch([text]))[0] for text in texts]
    assert together == apart
    assert together[0][2] == "email@example.com"
    assert together[1][2] == "email@example.com firstname.lastname@example.org email@example.com"


def test_random_numbers_follow_from_seed_and_id_alone(make_batch: Make) -> None:
    batch = make_batch(["text"] * 4000)
    first = step("SamplerFilter", rate=0.3).decide(batch).keep
    assert 0.27 < first.mean() < 0.33
    later = DocumentBatch(batch.record_batch.slice(1000, 100))
    assert step("SamplerFilter", rate=0.3).decide(later).keep.tolist() == first[1000:1100].tolist()
    assert step("SamplerFilter", rate=0.3, seed=0).decide(batch).keep.tolist() == first.tolist()
    other = step("SamplerFilter", rate=0.3, seed=1).decide(batch).keep
    assert 0.03 < (first & other).mean() < 0.15
    assert step("SamplerFilter", rate=0.6).decide(batch).keep[first].all()


# What a block sees and what comes back: blocks of the test's own in place of datatrove's


class Labels(BaseFilter):
    """Drops what has no label; labels the rest, and corrects their language."""

    def filter(self, doc: Document) -> bool | tuple[bool, str]:
        if "label" not in doc.metadata:
            return False, f"no label for {doc.metadata['source']}"
        doc.metadata["score"] = 0.5
        doc.metadata["language"] = "de"
        del doc.metadata["label"]
        return True


class Pairs(BaseFilter):
    """Keeps a document whose text is that of the first of its batch."""

    def __init__(self, batch_size: int = 3) -> None:
        super().__init__(batch_size=batch_size)

    def filter(self, doc: Document) -> bool:
        raise AssertionError("asked one by one")

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        return [document.text == batch[0].text or (False, f"of {len(batch)}") for document in batch]


class Careless(BaseFilter):
    """Says less than it was asked."""

    def filter(self, doc: Document) -> bool:
        return True

    def filter_batch(self, batch: list[Document]) -> list[bool | tuple[bool, str]]:
        return []


@pytest.fixture
def own_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {kind.__name__: kind for kind in (Labels, Pairs, Careless)}
    monkeypatch.setattr(found, "blocks", lambda: dict.fromkeys(own, "datatrove.pipeline.filters.own"))
    monkeypatch.setattr(found, "block_class", own.__getitem__)
    monkeypatch.setattr(found, "_take_what_is_installed", lambda: None)
    monkeypatch.setattr(found, "_load_tokenizer", lambda block, made: None)
    found._made.cache_clear()


def rows(records: Sequence[dict[str, Any]]) -> DocumentBatch:
    """The documents that our reader makes of records."""
    read = [reader.row(record, {}) for record in records]
    columns = {
        name: [getattr(row, name) for row in read] for name in ("id", "text", "url", "date", "language", "metadata")
    }
    columns["source"] = ["ours"] * len(read)
    arrays = [pa.array(columns.get(field.name, [None] * len(read)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.record_batch(arrays, schema=SCHEMA))


@pytest.mark.usefixtures("own_blocks")
def test_metadata_that_a_block_sets_are_kept() -> None:
    batch = rows(
        [
            {"id": "1", "text": "a", "label": "x", "other": [1, 2], "language": "en"},
            {"id": "2", "text": "b", "url": "https://b.org"},
            {"id": "3", "text": "c", "metadata": {"label": "y", "kept": 2**70 + 1}},
        ]
    )
    rewritten, decision = step("Labels").rewrite(batch)
    assert decision.keep.tolist() == [True, False, True]
    assert decision.reasons == ("no label for ours",)
    assert rewritten.column("language").to_pylist() == ["de", None, "de"]
    assert rewritten.column("url").to_pylist() == [None, "https://b.org", None]
    kept = [row and json.loads(row) for row in rewritten.column("metadata").to_pylist()]
    assert kept == [{"other": [1, 2], "score": 0.5}, None, {"kept": 2**70 + 1, "score": 0.5}]
    assert rewritten.record_batch.schema == batch.record_batch.schema


@pytest.mark.usefixtures("own_blocks")
def test_batch_filters_get_batches(make_batch: Make) -> None:
    options = step("Pairs")
    answers = answered(options, make_batch(["a", "a", "b", "b", "b", "a", "c"]))
    assert [kept for kept, _, _ in answers] == [True, True, False, True, True, False, True]
    assert {reason for _, reason, _ in answers} == {None, "of 3"}
    assert answered(step("Pairs", batch_size=2), make_batch(["a", "b", "c"]))[1][1] == "of 2"


@pytest.mark.usefixtures("own_blocks")
def test_answers_that_are_missing_are_an_error(make_batch: Make) -> None:
    with pytest.raises(ValueError, match="gave 0 answers for 1 documents"):
        step("Careless").decide(make_batch(["a"]))


def test_a_block_sees_the_metadata_that_datatrove_s_reader_gives(tmp_path: Path) -> None:
    from midtrain.filters.datatrove_documents import documents

    records: list[dict[str, Any]] = [
        {"id": "1", "text": "a", "url": "https://a.org", "date": "2020", "n": 1},
        {"id": "2", "text": "b", "metadata": {"deep": {"er": [1]}}, "m": None},
        {"id": "3", "text": "c", "metadata": '{"as": "text"}'},
        {"id": "4", "text": "d", "metadata": "no JSON", "language": "en"},
        {"id": "5", "text": "e", "metadata": {"n": 1}, "n": 2},
        {"id": "6", "text": "f"},
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    theirs = list(JsonlReader(str(tmp_path), doc_progress=False, add_file_path=False).run())
    ours, _ = documents(rows(records))
    assert [(one.id, one.text) for one in ours] == [(one.id, one.text) for one in theirs]
    assert [one.metadata for one in ours] == [{**one.metadata, "source": "ours"} for one in theirs]


# Refused before the run


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("GopherQualtyFilter: {}", "unknown key GopherQualtyFilter[^$]*did you mean GopherQualityFilter"),
        ("BaseFilter: {}", "unknown key BaseFilter"),
        ("os.path: {}", "unknown key"),
        ("PIIReplacer: {regex: a}", "unknown key PIIReplacer"),
        ("{}", "one block of datatrove with its arguments, and there stand: none"),
        ("RegexFilter: {regex_exp: a}\nSamplerFilter: {}", "there stand: RegexFilter, SamplerFilter"),
        ("GopherQualityFilter: {min_doc_word: 5}", "GopherQualityFilter.min_doc_word: unknown[^$]*min_doc_words\\?"),
        ("GopherQualityFilter: {exclusion_writer: x}", "unknown key exclusion_writer"),
        ("GopherQualityFilter: {min_doc_words: many}", "r.yaml:1: GopherQualityFilter.min_doc_words: Input should be"),
        ("RegexFilter:", "RegexFilter.regex_exp: the key regex_exp is missing"),
        ("LambdaFilter: {filter_function: print}", "takes a Python function, which a recipe cannot give"),
        ("URLFilter: {extra_domains: example.org}", "extra_domains: Input should be a valid list"),
        ("FTFYFormatter: {normalization: NFX}", "NFKC"),
        ("SamplerFilter: 0.5", "takes a mapping of its arguments"),
    ],
)
def test_what_cannot_be_meant_is_an_error(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(parse(yaml, "r.yaml"), Datatrove)
    assert raised.value.exit_code == 2
    assert re.search(message, raised.value.render())


def test_an_argument_that_the_block_refuses_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"RegexFilter cannot be made: .*unterminated"):
        step("RegexFilter", regex_exp="(").check()
    with pytest.raises(ConfigError, match=r"C4QualityFilter cannot be made: .*'xx' doesn't have a tokenizer"):
        step("C4QualityFilter", language="xx").check()


def test_a_package_that_is_missing_is_named_with_the_command(make_batch: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else find(name, *more))
    gone = {"fasteners", "fasttext"}
    found._made.cache_clear()
    with pytest.raises(ConfigError, match="LanguageFilter needs fasttext and fasteners") as raised:
        step("LanguageFilter", languages=["en"]).check()
    assert raised.value.fix == "pip install fasttext-community fasteners"
    gone = {"ftfy"}
    with pytest.raises(ConfigError, match="FTFYFormatter needs ftfy") as raised:
        step("FTFYFormatter").check()
    assert raised.value.fix == "pip install ftfy"

    def absent(self: object, doc: Document) -> bool:
        raise ImportError("Please install `x` to use y (`pip install x-y`).")

    monkeypatch.setattr(published.RegexFilter, "filter", absent)
    with pytest.raises(ConfigError, match="needs a package that is not installed") as raised:
        step("RegexFilter", regex_exp="a").decide(make_batch(["a"]))
    assert raised.value.fix == "pip install x-y"


def test_without_datatrove_the_fix_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found.blocks.cache_clear()
    with pytest.raises(ConfigError) as raised:
        found.blocks()
    assert raised.value.fix == "pip install datatrove"


# What the output depends on


def test_files_among_the_arguments_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    model = tmp_path / "model.ftz"
    assert step("FastTextClassifierFilter", model_url=str(model)).files == ()
    model.write_bytes(b"model")
    options = step("FastTextClassifierFilter", model_url=str(model), keep_labels=[["good", 0.5]])
    assert options.files == (str(model),)
    assert options.memory == step("RegexFilter", regex_exp="a").memory + 5
    assert step("RegexFilter", regex_exp=str(model)).files == ()


def test_the_release_and_the_arguments_are_recorded_and_travel() -> None:
    options = step("C4QualityFilter", min_num_sentences=2)
    record = options.model_dump(mode="json")
    assert record["block"] == "C4QualityFilter"
    assert record["arguments"] == {"min_num_sentences": 2}
    assert record["release"].split(".")[0].isdigit()
    assert pickle.loads(pickle.dumps(options)) == options
    assert options.rules == ()
    assert options.scores(DocumentBatch(pa.RecordBatch.from_pylist([], schema=SCHEMA))) == {}

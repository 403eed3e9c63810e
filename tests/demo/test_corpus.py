"""The raw corpus: bounded, the same every time, and read without importing what it reads."""

import json
import sysconfig
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from midtrain.demo import corpus
from midtrain.demo.corpus import RawDocument, docstrings, module_docstrings, readmes, topics, write_corpus
from midtrain.errors import ConfigError, RunError

KINDS = ("topics", "readmes", "docstrings")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 600_000)


def test_three_files_and_nothing_else(written: Path) -> None:
    assert sorted(path.name for path in written.iterdir()) == sorted(f"{kind}.jsonl" for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_have_an_id_text_and_origin(written: Path, kind: str) -> None:
    documents = rows(written / f"{kind}.jsonl")
    assert all(set(row) == {"id", "text", "metadata"} and list(row["metadata"]) == ["origin"] for row in documents)
    assert all(row["id"].startswith(f"{kind}/") and row["text"] for row in documents)
    assert len({row["id"] for row in documents}) == len(documents) > 5


def test_texts_keep_to_the_limit_and_use_most_of_it(written: Path) -> None:
    sizes = {kind: sum(len(row["text"].encode()) for row in rows(written / f"{kind}.jsonl")) for kind in KINDS}
    assert 300_000 < sum(sizes.values()) <= 600_000
    assert sizes["topics"] <= 150_000
    assert sizes["readmes"] <= 150_000


def test_the_same_installation_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    again = write_corpus(tmp_path / "new" / "folder", 600_000)
    for kind in KINDS:
        assert (again / f"{kind}.jsonl").read_bytes() == (written / f"{kind}.jsonl").read_bytes()


def test_a_smaller_corpus_is_the_beginning_of_a_larger(written: Path, tmp_path: Path) -> None:
    smaller = write_corpus(tmp_path, 200_000)
    for kind in KINDS:
        assert (written / f"{kind}.jsonl").read_bytes().startswith((smaller / f"{kind}.jsonl").read_bytes())


def test_topics_are_those_of_help_and_readmes_those_of_the_packages() -> None:
    about = {document.id: document.text for document in topics()}
    assert "assert_stmt" in about["topics/assert"]
    found = [document.id for document in readmes()]
    assert "readmes/numpy" in found
    assert "readmes/midtrain" not in found
    assert found == sorted(set(found))


def fake_installation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {
        "lib/zeta.py": '"""Last of the library."""',
        "lib/json/decoder.py": '"""Decodes."""\ndef f():\n    """Short."""',
        "lib/json/test_decoder.py": '"""A test."""',
        "lib/test/regrtest.py": '"""Tests."""',
        "lib/site-packages/lost.py": '"""Not of the library."""',
        "lib/broken.py": '"""No end',
        "lib/side_effect.py": '"""Must not run."""\nraise SystemExit(3)',
        "site/b/core.py": '"""Core of b."""',
        "site/a/__init__.py": '"""A package."""',
        "site/a/tests/cases.py": '"""Cases."""',
        "site/midtrain/cli.py": '"""Our own."""',
        "site/a/data.txt": '"""No source."""',
    }
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    places = {"stdlib": "lib", "purelib": "site", "platlib": "site"}
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(folder / places[name]))


def test_docstrings_come_from_the_library_first_then_packages_without_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_installation(tmp_path, monkeypatch)
    assert list(docstrings()) == [
        RawDocument("docstrings/stdlib/side_effect.py", "Must not run.", "stdlib:side_effect.py"),
        RawDocument("docstrings/stdlib/zeta.py", "Last of the library.", "stdlib:zeta.py"),
        RawDocument("docstrings/stdlib/json/decoder.py", "Decodes.\n\nShort.", "stdlib:json/decoder.py"),
        RawDocument("docstrings/package/a/__init__.py", "A package.", "package:a/__init__.py"),
        RawDocument("docstrings/package/b/core.py", "Core of b.", "package:b/core.py"),
    ]


def test_a_python_without_sources_is_an_error_and_leaves_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="this Python has no docstrings to read"):
        write_corpus(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["readmes.jsonl", "topics.jsonl"]


def test_text_in_no_encoding_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = RawDocument("readmes/good", "good", "package:good/README")
    bad = RawDocument("readmes/bad", "caf\udce9", "package:bad/README")
    monkeypatch.setattr(corpus, "readmes", lambda: iter([bad, good]))
    write_corpus(tmp_path, 100_000)
    assert [row["id"] for row in rows(tmp_path / "readmes.jsonl")] == ["readmes/good"]


def test_a_limit_too_small_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seen: +9999"):
        write_corpus(tmp_path, 9999)


def test_docstrings_of_a_module_stand_in_the_order_of_the_source() -> None:
    source = textwrap.dedent('''
        """Module."""
        try:
            def inside_try():
                """In try."""
        except ImportError:
            def fallback():
                """In except."""
        else:
            x = 1
        class A:
            """Class.

               Indented.
            """
            async def method(self):
                "Plain quotes."
                def nested():
                    """Nested."""
        if True:
            pass
        else:
            class B:
                """In else."""
        """Not a docstring."""
        def g(): return """Nor this."""
    ''')
    expected = "Module.\n\nIn try.\n\nIn except.\n\nClass.\n\nIndented.\n\nPlain quotes.\n\nNested.\n\nIn else."
    assert module_docstrings(source.encode()) == expected


@pytest.mark.parametrize(
    "source",
    [
        b'"""open',
        b'"""null \0 byte"""',
        b'"""latin \xe9"""',
        b"# -*- coding: no-such-codec -*-\n'''x'''",
        b"x = 1",
        b"",
        b'"""' + b"x" * 1_000_000 + b'"""',
        b"print '''python 2'''",
    ],
)
def test_what_this_python_cannot_parse_has_no_docstrings(source: bytes) -> None:
    assert module_docstrings(source) == ""


def test_the_encoding_of_a_source_is_its_own() -> None:
    assert module_docstrings('# coding: latin-1\n"""café"""'.encode("latin-1")) == "café"


def test_warnings_of_other_peoples_sources_are_not_ours(recwarn: pytest.WarningsRecorder) -> None:
    assert module_docstrings(b'"""An invalid \\d escape."""') == "An invalid \\d escape."
    assert not list(recwarn)


@pytest.mark.slow
@pytest.mark.measures
def test_the_whole_corpus_takes_seconds_and_keeps_what_filters_are_to_drop(tmp_path: Path) -> None:
    started = time.process_time()
    write_corpus(tmp_path)
    assert time.process_time() - started < 30
    texts = [row["text"] for row in rows(tmp_path / "docstrings.jsonl")]
    assert len(texts) > 500
    assert sum(len(text) < 200 for text in texts) > 50
    assert len(set(texts)) < len(texts)

"""Inputs: found, hashed once, and known again by nothing but what they are."""

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midtrain import config, storage
from midtrain.errors import ConfigError, RunError
from midtrain.pipelines import inputs
from midtrain.pipelines.inputs import Files, SourceFiles, find_inputs
from midtrain.pipelines.recipe import RecipeSpec, SourceSpec


def spec(*sources: dict[str, object]) -> config.Loaded[RecipeSpec]:
    from midtrain.yaml_document import parse, write

    return config.validate(parse(write({"name": "x", "output": "out", "sources": list(sources)}), "r.yaml"), RecipeSpec)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Files below `data/`; `find` looks at them."""
    data = tmp_path / "data"
    for name, content in (
        ("a/1.jsonl", b'{"text": "x"}\n'),
        ("a/2.jsonl", b'{"text": "yy"}\n'),
        ("b/1.jsonl", b"{}\n"),
    ):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def find(corpus: Path) -> Callable[..., Files]:
    def find(pattern: str = "data/*/*.jsonl") -> Files:
        return find_inputs(spec({"name": "web", "path": f"{corpus}/{pattern}"}), corpus / "out" / "inputs.json")

    return find


def no_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr(storage, "open_input", refuse)


class TestFinding:
    def test_every_file_has_its_relative_path_size_and_hash(self, corpus: Path, find):
        files = find()
        assert [file.relative for file in files] == ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl"]
        assert [file.size for file in files] == [14, 15, 3]
        assert [file.hash for file in files] == [storage.hash_file(corpus / "data" / file.relative) for file in files]
        assert {file.source for file in files} == {"web"}

    def test_the_second_look_opens_nothing(self, find, monkeypatch):
        first = find()
        no_opening(monkeypatch)
        assert find() == first

    def test_a_touched_file_is_hashed_again_and_is_the_same(self, corpus: Path, find, monkeypatch):
        first = find()
        os.utime(corpus / "data/a/1.jsonl", (1, 1))
        opened: list[str] = []
        real = storage.open_input
        monkeypatch.setattr(storage, "open_input", lambda path: opened.append(path) or real(path))
        assert find() == first
        assert opened == [str(corpus / "data/a/1.jsonl")]
        no_opening(monkeypatch)
        assert find() == first

    def test_a_changed_file_of_the_same_size_is_another(self, corpus: Path, find):
        first = find()
        (corpus / "data/a/1.jsonl").write_bytes(b'{"text": "z"}\n')
        second = find()
        assert [file.hash for file in second][1:] == [file.hash for file in first][1:]
        assert second[0].hash != first[0].hash

    def test_so_is_one_that_says_to_be_as_old_as_before(self, corpus: Path, find):
        os.utime(corpus / "data/a/1.jsonl", (1, 1))
        first = find()
        (corpus / "data/a/1.jsonl").write_bytes(b'{"text": "z"}\n')
        os.utime(corpus / "data/a/1.jsonl", (1, 1))
        assert find()[0].hash != first[0].hash

    def test_and_one_that_changes_as_soon_as_it_was_looked_at(self, corpus: Path, find):
        for number in range(20):
            (corpus / "data/a/1.jsonl").write_bytes(b'{"text": "x"}\n')
            first = find()
            (corpus / "data/a/1.jsonl").write_bytes(b'{"text": "z"}\n')
            assert find()[0].hash != first[0].hash, number

    def test_a_moved_source_is_recognised(self, corpus: Path, find):
        first = find()
        shutil.move(corpus / "data", corpus / "elsewhere")
        moved = find("elsewhere/*/*.jsonl")
        assert moved.describe() == first.describe()
        assert str(corpus) not in str(first.describe())

    def test_a_file_renamed_within_its_source_is_another_input(self, corpus: Path, find):
        first = find()
        (corpus / "data/a/1.jsonl").rename(corpus / "data/a/0.jsonl")
        assert find().describe() != first.describe()

    def test_empty_files_are_left_out_and_an_empty_source_is_an_error(self, corpus: Path, find):
        (corpus / "data/a/0.jsonl").write_bytes(b"")
        assert [file.relative for file in find()] == ["a/1.jsonl", "a/2.jsonl", "b/1.jsonl"]
        with pytest.raises(ConfigError, match=r"r\.yaml:\d+: sources\.0\.path: source web is empty") as wrong:
            find("data/a/0.jsonl")
        assert wrong.value.exit_code == 2

    @pytest.mark.parametrize("name", ["0.jsonl.gz", "0.jsonl.zst", "0.parquet", "0.pq"])
    def test_a_file_that_was_cut_before_its_first_byte_is_an_error(self, corpus: Path, find, name: str):
        (corpus / "data/a" / name).write_bytes(b"")
        with pytest.raises(RunError, match=f"{name}: the file has no bytes"):
            find("data/a/*")

    @pytest.mark.parametrize(
        ("pattern", "problem"),
        [
            ("data/none.jsonl", "no such file"),
            ("data/*/*.txt", "no such file"),
            ("data/x.bin", r"r\.yaml:\d+: sources\.0\.path: .*the ending does not say what the file is: .*x\.bin"),
            ("data/a", r"it is a folder: name the files in it, such as .*/data/a/\*\.jsonl"),
        ],
    )
    def test_a_path_that_names_nothing_to_read(self, corpus: Path, find, pattern: str, problem: str):
        (corpus / "data" / "x.bin").write_bytes(b"x")
        with pytest.raises(ConfigError, match=problem):
            find(pattern)

    def test_sources_come_in_the_recipes_order_and_may_share_a_file(self, corpus: Path):
        data = corpus / "data"
        loaded = spec(
            {"name": "z", "path": f"{data}/b/*.jsonl"},
            {"name": "a", "path": f"{data}/*/1.jsonl"},
            {"name": "c", "format": "generated", "tasks": ["modular_chain"], "steps": [4], "count": 3},
        )
        files = find_inputs(loaded, corpus / "inputs.json")
        assert [(file.source, file.relative) for file in files] == [
            ("z", "1.jsonl"),
            ("a", "a/1.jsonl"),
            ("a", "b/1.jsonl"),
        ]

    @pytest.mark.parametrize(
        "content", [b"not json", b"[]", b'{"x": 1}', b'{"x": {"y": 5}}', b'{"x": {"y": [1, "z", 5]}}']
    )
    def test_a_broken_cache_is_an_error_that_names_it(self, corpus: Path, find, content: bytes):
        find()
        (corpus / "out/inputs.json").write_bytes(content)
        with pytest.raises(ConfigError, match="is not the record of inputs"):
            find()

    def test_parquet_that_is_none_is_named(self, corpus: Path, find):
        for name, content in (("x.parquet", b"PAR1 is not enough"), ("y.parquet", b"")):
            (corpus / "data" / name).write_bytes(content or b"PAR1" + bytes(20) + b"PAR1")
            with pytest.raises(RunError, match="is not a Parquet file") as wrong:
                find(f"data/{name}")
            assert wrong.value.where == str(corpus / "data" / name)

    def test_the_same_file_as_text_and_as_parquet_keeps_its_row_groups(self, corpus: Path):
        table = pa.table({"text": ["x"] * 10})
        path = str(corpus / "data/x.parquet")
        pq.write_table(table, path, row_group_size=5)
        text, parquet = {"name": "t", "path": path, "format": "text"}, {"name": "p", "path": path}
        cache = corpus / "inputs.json"
        assert [len(file.row_groups) for file in find_inputs(spec(text), cache)] == [0]
        assert [len(file.row_groups) for file in find_inputs(spec(text, parquet), cache)] == [0, 2]
        assert [len(file.row_groups) for file in find_inputs(spec(parquet), cache)] == [2]


class TestTaskSize:
    def size(self, *files: tuple[str, int, tuple[int, ...]], **options: object) -> int:
        source = SourceSpec(name="web", path="x", **options)
        own = SourceFiles(
            "web", "/data/", *zip(*((name, size, "h", groups) for name, size, groups in files), strict=True)
        )
        return inputs.task_size(RecipeSpec(name="x", output="o", sources=(source,)), Files((own,)))

    def test_it_is_a_share_of_the_text_between_two_bounds(self):
        wanted = inputs.SPLITS_WANTED
        assert self.size(("a.jsonl", 5, ())) == inputs.MIN_SPLIT
        assert self.size(("a.jsonl", 20_000_000 * wanted, ())) == 20_000_000
        assert self.size(("a.jsonl", 10**12, ())) == inputs.MAX_SPLIT

    @pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.txt.gz"])
    def test_compressed_files_count_by_what_they_will_hold(self, name: str):
        size = 20_000_000 * inputs.SPLITS_WANTED
        assert self.size((name, size, ())) == 20_000_000 * inputs.EXPANSION
        assert self.size(("a.parquet", size, (5,))) == 20_000_000 * inputs.EXPANSION


def test_remote_inputs_are_found_and_hashed_like_local_ones(corpus: Path, find, monkeypatch):
    import uuid

    root = f"memory://{uuid.uuid4().hex}"
    for path in sorted((corpus / "data").rglob("*.jsonl")):
        with storage.atomic_write(f"{root}/{path.relative_to(corpus)}") as stream:
            stream.write(path.read_bytes())
    loaded = spec({"name": "web", "path": f"{root}/data/*/*.jsonl"})
    remote = find_inputs(loaded, corpus / "remote.json")
    assert remote.describe() == find().describe()
    no_opening(monkeypatch)
    assert find_inputs(loaded, corpus / "remote.json") == remote
    storage.remove_tree(root)


def test_compressed_inputs_are_hashed_as_they_lie(corpus: Path, find):
    (corpus / "data/c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n', mtime=0))
    (found,) = find("data/*.gz")
    assert found.hash == storage.hash_file(corpus / "data/c.jsonl.gz")

"""Benchmark files: recognised by their fields, refused where they are no known form, and the same few every time."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from midtrain.errors import ConfigError
from midtrain.trainer.evaluation import benchmarks
from midtrain.trainer.evaluation.code_tests import CodeProblem

HUMANEVAL = {"task_id": "H/0", "prompt": "def f():\n", "entry_point": "f", "test": "def check(c): c()"}
MBPP = {"task_id": 11, "text": "Add.", "code": "def add(): ...", "test_list": ["assert add"]}
CHOICE = {"question": "Why?", "choices": ["a", "b"], "answer": "B"}
QUESTION = {"id": "q", "question": "How many?", "answer": "4"}
HELLASWAG = {"activity_label": "A", "ctx_a": "b", "ctx_b": "c", "endings": ["d", "e"], "label": 0}


def written(path: Path, *records: dict[str, Any], name: str = "set.jsonl") -> str:
    text = "\n".join(json.dumps(record) for record in records) + "\n"
    (path / name).write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(path / name)


@pytest.mark.parametrize(
    ("record", "form", "sandbox", "choice"),
    [
        (HUMANEVAL, "HumanEval", True, False),
        (MBPP, "MBPP", True, False),
        (CHOICE, "multiple choice", False, True),
        (HELLASWAG, "HellaSwag", False, True),
        (QUESTION, "question and answer", False, False),
        ({"problem": "What?", "solution": r"\boxed{1}"}, "question and answer", False, False),
    ],
)
@pytest.mark.parametrize("name", ["set.jsonl", "set.jsonl.gz"])
def test_a_form_is_known_by_its_fields(
    tmp_path: Path, record: dict[str, Any], form: str, sandbox: bool, choice: bool, name: str
) -> None:
    found = benchmarks.read("x", written(tmp_path, record, record, name=name))
    assert (found.name, found.form, len(found.problems)) == ("x", form, 2)
    assert (found.needs_sandbox, found.is_choice) == (sandbox, choice)


def test_a_form_that_is_none_says_which_fields_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no known form") as wrong:
        benchmarks.read("x", written(tmp_path, {"input": "Why?", "target": "So."}))
    said = str(wrong.value)
    assert f"{tmp_path}/set.jsonl:1" in said
    assert "fields input, target" in said
    for form in (
        "HumanEval: prompt/entry_point/test",
        "MBPP",
        "question/choices/answer",
        "problem/solution",
        "endings",
    ):
        assert form in said
    assert wrong.value.exit_code == 2


def test_a_record_that_lacks_a_field_is_named(tmp_path: Path) -> None:
    short = {key: value for key, value in HUMANEVAL.items() if key != "test"}
    with pytest.raises(ConfigError, match=r"set\.jsonl:2: the record lacks test"):
        benchmarks.read("x", written(tmp_path, HUMANEVAL, short))
    with pytest.raises(ConfigError, match=r"set\.jsonl:2: the record has no answer that can be checked"):
        benchmarks.read("x", written(tmp_path, CHOICE, {**CHOICE, "answer": "Q"}))
    with pytest.raises(ConfigError, match=r"set\.jsonl:1: a field is not what its form \(MBPP\)"):
        benchmarks.read("x", written(tmp_path, {**MBPP, "test_list": 5}))
    with pytest.raises(ConfigError, match=r"set\.jsonl:1: a field is not what its form"):
        benchmarks.read("x", written(tmp_path, {**CHOICE, "choices": [{"text": "no label"}]}))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.jsonl: the benchmark's file cannot be opened") as wrong:
        benchmarks.read("x", str(tmp_path / "gone.jsonl"))
    assert wrong.value.exit_code == 2
    with pytest.raises(ConfigError, match="cannot be opened"):
        benchmarks.read("x", str(tmp_path))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(json.dumps(QUESTION).encode() * 100)[:50])
    with pytest.raises(ConfigError, match="cannot be read"):
        benchmarks.read("x", str(tmp_path / "cut.jsonl.gz"))
    (tmp_path / "text.jsonl").write_text(json.dumps(QUESTION) + "\n\n[1, 2]\n")
    with pytest.raises(ConfigError, match=r"text\.jsonl:3: not a line of JSON that holds an object"):
        benchmarks.read("x", str(tmp_path / "text.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ConfigError, match="holds no record"):
        benchmarks.read("x", str(tmp_path / "empty.jsonl"))


def test_a_few_are_the_same_few_and_a_part_of_more(tmp_path: Path) -> None:
    records = [{**QUESTION, "id": f"q{number}"} for number in range(50)]
    path = written(tmp_path, *records)
    found = {few: [one.id for one in benchmarks.read("x", path, few).problems] for few in (1, 7, 30, 50, 60)}
    assert [len(ids) for ids in found.values()] == [1, 7, 30, 50, 50]
    assert set(found[1]) < set(found[7]) < set(found[30]) < set(found[50])
    assert found[7] != [f"q{number}" for number in range(7)]
    other = written(tmp_path, *reversed(records), name="other.jsonl")
    assert set(found[7]) == {one.id for one in benchmarks.read("x", other, 7).problems}
    assert found[50] == [record["id"] for record in records]


def test_only_the_test_split_is_asked(tmp_path: Path) -> None:
    records = [{**CHOICE, "id": split, "split": split} for split in ("dev", "test", "val")]
    assert [one.id for one in benchmarks.read("x", written(tmp_path, *records)).problems] == ["test"]
    assert len(benchmarks.read("x", written(tmp_path, records[0], records[2])).problems) == 2


def test_the_published_task_numbers_of_mbpp_say_what_is_shown_and_what_is_asked(benchmark_files: Path) -> None:
    found = benchmarks.read("mbpp", str(benchmark_files / "mbpp.jsonl.gz"))
    problems = [one for one in found.problems if isinstance(one, CodeProblem)]
    assert [one.id for one in problems] == [str(number) for number in range(11, 511)]
    for one in problems:
        assert one.prompt.count("[BEGIN]") == 4
        assert one.prompt.count("[DONE]") == 3
        assert one.prompt.endswith("[BEGIN]\n")
        assert "similar_elements" in one.prompt
    codes = benchmarks.read("humaneval", str(benchmark_files / "humaneval.jsonl.gz"))
    assert len(codes.problems) == 164


def test_a_set_with_other_numbers_is_asked_whole_and_without_examples(tmp_path: Path) -> None:
    records = [{**MBPP, "task_id": number} for number in (2, 3, 4, 601)]
    problems = benchmarks.read("x", written(tmp_path, *records)).problems
    assert len(problems) == 4
    assert all(isinstance(one, CodeProblem) and one.prompt.count("[BEGIN]") == 1 for one in problems)

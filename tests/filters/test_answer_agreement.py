"""What a record's last reply says is held against its gold answer, and each way to fail has a name."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters.answer_agreement import AnswerAgreement
from midtrain.filters.document import SCHEMA, DocumentBatch

Record = tuple[str | None, str | None]  # what the assistant says last (None: it says nothing), and the gold answer


def batch(records: Sequence[Record], metadata: Sequence[Any] | None = None) -> DocumentBatch:
    turn = {"role": "user", "content": "How many?", "reasoning": None}
    columns: dict[str, list[Any]] = {
        "id": [f"d{number}" for number in range(len(records))],
        "text": [reply or "" for reply, _ in records],
        "source": ["test"] * len(records),
        "messages": [
            [turn] if reply is None else [turn, {"role": "assistant", "content": reply, "reasoning": "Say 7."}]
            for reply, _ in records
        ],
        "answer": [gold for _, gold in records],
        "metadata": [None if metadata is None else json.dumps(each) for each in metadata or records],
    }
    arrays = [pa.array(columns.get(field.name, [None] * len(records)), field.type) for field in SCHEMA]
    return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))


RECORDS: list[Record] = [
    ("So it is 9 * 2.\n#### 18", "18"),
    ("The answer is $\\frac{1}{2}$.", "Thus \\boxed{0.5}"),
    ("\\boxed{\\sqrt{8}}", "2\\sqrt{2}"),
    ("\\boxed{3}", "4"),
    ("\\boxed{3}", None),
    ("", "4"),
    (None, "4"),
    ("\\boxed{\\foo{x}}", "4"),
    ("\\boxed{9^{9^{9^9}}}", "4"),
]
BOMB_SECONDS = 4  # by the clock, after which the tower of powers is given up; the others take a tenth of one
REASONS = [None, None, None, "agreement", "gold", "answer", "answer", "decided", "within_limits"]


def reasons(step: AnswerAgreement, documents: DocumentBatch) -> list[str | None]:
    decision = step.decide(documents)
    assert decision.keep.tolist() == [rule < 0 for rule in decision.rule]
    return [None if rule < 0 else step.rules[rule].name for rule in decision.rule]


def test_each_way_to_fail_has_a_name() -> None:
    assert reasons(AnswerAgreement(seconds=BOMB_SECONDS), batch(RECORDS)) == REASONS


@pytest.mark.parametrize(
    ("kept", "names"),
    [("cannot_tell", {"decided", "within_limits"}), ("no_gold", {"gold"}), ("no_answer", {"answer"})],
)
def test_what_is_named_is_kept_too(kept: Any, names: set[str]) -> None:
    expected = [None if name in names else name for name in REASONS]
    assert reasons(AnswerAgreement(seconds=BOMB_SECONDS, keep=("right", kept)), batch(RECORDS)) == expected


def test_the_gold_answer_may_stand_in_the_metadata() -> None:
    step = AnswerAgreement(gold="truth")
    golds = [{"truth": "18"}, {"truth": 0.5}, {"truth": True}, {"other": 1}, {"truth": None}, {"truth": 10**23 + 1}]
    replies = [("#### 18", None), ("1/2", None), ("Yes, it is.", None), ("1", "1"), ("1", "1"), (f"{10**23 + 1}", None)]
    assert reasons(step, batch(replies, golds)) == [None, None, None, "gold", "gold", None]


def test_an_empty_batch_is_decided() -> None:
    assert len(AnswerAgreement().decide(batch([])).keep) == 0


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("keep: [cannot_tell]", "right is missing"),
        ("keep: [wrong]", "right"),
        ("seconds: 0", "greater than 0"),
        ("memory_limit: 1K", "greater than or equal"),
        ("golds: answer", "unknown key golds"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), AnswerAgreement)


def test_without_math_verify_the_recipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        AnswerAgreement(seconds=7.25).check()
    assert raised.value.fix == 'pip install "midtrain[answers]"'


# Where the checker and the label differ: id, and why.
EXPLAINED: dict[str, str] = {}


def test_model_solutions_are_judged_as_they_are_labelled() -> None:
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    step, differ, seen = AnswerAgreement(seconds=60), {}, Counter[str]()
    with gzip.open(Path(folder) / "cot/gsm8k_gpt3_model_solutions.jsonl.gz", "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    verdicts = step.verdicts(batch([(record["solution"], record["gold"]) for record in records]))
    for record, verdict in zip(records, verdicts, strict=True):
        seen[verdict.value] += 1
        if verdict.right != record["is_correct"]:
            differ[record["id"]] = str(verdict)
    assert len(records) == 5276
    assert set(differ) == set(EXPLAINED), differ
    assert len(differ) <= 0.01 * len(records)
    assert seen["right"] > 1000
    assert seen["wrong"] > 1000

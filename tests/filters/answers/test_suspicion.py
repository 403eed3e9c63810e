"""A gold answer is suspected where samples agree with each other against it, and nowhere else."""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.answers import Suspicion, extract, suspect


@pytest.mark.parametrize(
    ("answers", "gold", "expected"),
    [
        (["18", "18.0", "$18"], "20", Suspicion("18", 3, 3)),
        (["1/2", "0.5", None, "\\frac{1}{2}", "7"], "3", Suspicion("1/2", 3, 4)),
        (["18", "18"], "20", None),  # too few
        (["18", "18", "18", "7", "8"], "20", None),  # not most of them
        (["20", "20", "20"], "20", None),
        (["18", "18", "18"], None, None),
        (["18", "18", "18"], "\\sqrt{324}", None),  # it cannot be told whether they contradict it
        ([None, "", " "], "20", None),
        ([], "20", None),
    ],
)
def test_what_is_suspected(answers: list[str | None], gold: str | None, expected: Suspicion | None) -> None:
    assert suspect(answers, gold) == expected


@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 4), st.integers(1, 5), st.floats(0.1, 1))
def test_the_votes_are_counted(values: list[int], gold: int, least: int, share: float) -> None:
    found = suspect([str(value) for value in values], str(gold), least, share)
    counts = sorted((values.count(value) for value in set(values)), reverse=True)
    if found is not None:
        assert found.votes == values.count(int(found.answer)) == counts[0] >= least
        assert found.samples == len(values)
        assert found.answer != str(gold)
    elif counts and counts[0] >= least and counts[0] >= share * len(values):
        assert values.count(gold) == counts[0]


def test_few_gold_answers_of_a_clean_corpus_are_suspected() -> None:
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    problems: dict[tuple[str, str], dict[str, str | None]] = defaultdict(dict)
    with gzip.open(Path(folder) / "cot/gsm8k_gpt3_model_solutions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            answer = extract(record["solution"])
            problems[record["question"], record["gold"]][record["solution"]] = answer.answer if answer else None
    found = {}
    for (question, gold), samples in problems.items():
        right = extract(gold)
        if (suspicion := suspect(list(samples.values()), right.answer if right else None)) is not None:
            found[question] = suspicion
    assert len(problems) == 1319
    assert 0 < len(found) <= 0.05 * len(problems)
    # Two people who eat 4 apples a day eat 240 in 30 days; the gold answer is 150.
    unanimous = {question for question, suspicion in found.items() if suspicion.votes == 4}
    assert any(question.startswith("Marin and his neighbor Nancy each eat 4 apples") for question in unanimous)

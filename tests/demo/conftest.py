"""Results of a demo that never ran, in which every claim holds."""

from collections.abc import Callable
from typing import Any

import pytest
from midtrain.demo.results import Results

FAMILIES = ("modular_chain", "word_problem")


def scores(correct: int, parsed: int = 250, twin_loss: float = 1.0) -> list[dict[str, Any]]:
    """The scores of one model on both families of 250 problems."""
    examples = [
        {"statement": f"{family} {n} + 1 =", "reply": f"<think>\n{n}\n</think>\n\n{n + 1}", "answer": f"{n + 1}"}
        for family in FAMILIES
        for n in range(4)
    ]
    return [
        {
            "task": family,
            "problems": 250,
            "correct": correct,
            "accuracy": correct / 250,
            "parsed": parsed,
            "twin_loss": twin_loss,
            "examples": [
                {**one, "correct": place > 0}
                for place, one in enumerate(one for one in examples if one["statement"].startswith(family))
            ],
        }
        for family in FAMILIES
    ]


def evaluation(bits_per_byte: float, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """What `midtrain eval --json` prints."""
    return {"held_out": [{"source": "text", "documents": 20, "bits_per_byte": bits_per_byte}], "tasks": tasks}


@pytest.fixture
def results() -> Callable[..., Results]:
    """Makes results; a keyword replaces one of their parts."""

    def make(**changed: Any) -> Results:
        parts: dict[str, Any] = {
            "curated": {
                "funnel": [
                    {"documents": 9000, "kept": 7000, "dropped": {"language.probability": 500, "gopher.words": 1500}},
                    {"documents": 7000, "kept": 6789, "dropped": {"exact_dedup.duplicate": 211}},
                ]
            },
            "built": {
                "rows": [
                    {"phase": phase, "source": "text", "planned_tokens": 409_600, "tokens": 409_500, "sequences": 1600}
                    for phase in ("pretrain", "midtrain")
                ]
            },
            "before": evaluation(2.5, scores(30, twin_loss=3.0)),
            "after": evaluation(2.1, scores(240)),
            "control": evaluation(2.2, scores(40, parsed=249, twin_loss=2.0)),
            "curves": {name: [(1, 7.0), (2, 5.0), (10, 3.25)] for name in ("pretrain", "midtrain", "control")},
        }
        return Results(**{**parts, **changed})

    return make

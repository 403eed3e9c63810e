"""Traces that loop are dropped, planted and real ones, and those that reason are kept."""

import random
from collections.abc import Callable

import numpy as np
from midtrain.filters.document import DocumentBatch
from midtrain.filters.thought_repetition import ThoughtRepetition

Make = Callable[..., DocumentBatch]


def test_the_worst_thought_of_a_record_counts_and_replies_where_asked(make_traces: Make) -> None:
    loop = "Wait, that is wrong. " * 40
    turns = [{"role": "assistant", "content": "x", "reasoning": thought} for thought in ("A short one.", loop, None)]
    batch = make_traces([turns, ("q", "Fine.", loop), ("q", None, "x"), None])
    assert ThoughtRepetition().decide(batch).keep.tolist() == [False, True, True, True]
    assert ThoughtRepetition(replies=True).decide(batch).keep.tolist() == [False, False, True, True]
    free = ThoughtRepetition(
        max_duplicate_lines=None, max_duplicate_sentences=None, max_duplicate_ngrams=None, max_tail=None
    )
    assert free.decide(batch).keep.all()
    assert free.scores(batch)["tail"].tolist() == [1, 0, 0, 0]


def test_planted_loops_are_found_in_real_traces(make_traces: Make, real_traces: Make) -> None:
    """A sentence, a line or some words said again until the tokens run out, from somewhere in the thought on."""
    found = real_traces("r1_distill_long_think", {"transcript": "text"})
    rng, step = random.Random(3), ThoughtRepetition()
    thoughts = [own[0]["reasoning"] for own in found.column("messages").to_pylist()]
    looping = []
    for thought in [thought for thought in thoughts if len(thought) > 2_000][:200]:
        words = thought[: len(thought) * 2 // 3].split(" ")
        start = rng.randrange(len(words))
        said = " ".join(words[start : start + rng.randint(2, 30)])
        looping.append(
            f"{' '.join(words[: start + 30])}\n{(said + ' ') * (1 + len(thought) // len(said))}"[: len(thought)]
        )
    planted = step.decide(make_traces([("q", thought, "x") for thought in looping]))
    assert planted.keep.sum() <= 2
    kept = step.decide(found).keep
    assert 485 <= kept.sum() <= 495  # ten go, read one by one: eight go round in circles, two enumerate


def test_real_loopers_are_caught(real_traces: Make) -> None:
    batch = real_traces("math_qwen15b_rollouts", opened=True)
    step = ThoughtRepetition(replies=True)
    decision = step.decide(batch)
    dropped = {batch.column("id")[int(row)].as_py() for row in np.flatnonzero(~decision.keep)}
    # By eye: UUUU… to the end, and one product written again and again until the tokens ran out.
    texts = {batch.column("id")[row].as_py(): batch.column("text")[row].as_py() for row in range(len(batch))}
    by_eye = {name for name, text in texts.items() if text.endswith("U" * 100)}
    by_eye |= {name for name, text in texts.items() if text.count("= 2^{1/3} (10 + 4 \\cdot 2^{1/3})") > 4}
    assert len(by_eye) == 3  # one of them stands in two files
    assert by_eye <= dropped
    assert len(dropped) <= 0.02 * len(batch)


def test_worked_solutions_are_kept(real_traces: Make) -> None:
    fields = {"prompt": "question", "reasoning": "solution", "response": "answer"}
    assert (~ThoughtRepetition().decide(real_traces("gsm8k_train", fields)).keep).sum() <= 1

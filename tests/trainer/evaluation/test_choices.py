"""Choices scored one at a time through the whole model, and the words in which the published sets are asked."""

import copy
from pathlib import Path

import pytest
import torch
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import benchmarks, choices
from midtrain.trainer.evaluation.choices import ChoiceQuestion, choose, from_record
from midtrain.trainer.models.model import MoEModel

QUESTIONS = [
    ChoiceQuestion("a", "Question: what is 2 + 2?\nAnswer:", (" 4", " four", " it is twenty two", " 22"), 0),
    ChoiceQuestion("b", "def double(x):\n   ", (" return 2 * x", " pass"), 0),
    ChoiceQuestion("c", "x" * 300, (" ü", " 4 4", " def"), 2),
]


@torch.no_grad()
def log_probability(model: MoEModel, tokenizer: Tokenizer, context: str, choice: str) -> float:
    """Of the choice's tokens, the whole text through the model alone."""
    whole = tokenizer.encode_texts([context + choice]).ids[:-1].tolist()
    before = tokenizer.encode_texts([context]).ids[:-1].tolist()
    shared = next((i for i, (a, b) in enumerate(zip(whole, before, strict=False)) if a != b), len(before))
    tokens = torch.tensor([whole])
    logits = model(tokens, torch.arange(len(whole))[None], torch.zeros_like(tokens)).logits_BTV[0].double()
    logs = torch.log_softmax(logits, dim=-1)
    return sum(float(logs[at - 1, whole[at]]) for at in range(shared, len(whole)))


@pytest.mark.parametrize(("length", "rows_tokens"), [(1024, 16_384), (320, 640), (320, 320)])
def test_choices_are_scored_as_if_alone(
    small_model: MoEModel,
    small_tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    length: int,
    rows_tokens: int,
) -> None:
    monkeypatch.setattr(choices, "LENGTH", length)
    monkeypatch.setattr(choices, "ROWS_TOKENS", rows_tokens)
    for question, chosen in zip(QUESTIONS, choose(small_model, small_tokenizer, QUESTIONS, "x", None), strict=True):
        logs = [log_probability(small_model, small_tokenizer, question.context, one) for one in question.choices]
        assert chosen.log_probabilities == pytest.approx(logs, abs=1e-4)
        assert chosen.most_probable == max(range(len(logs)), key=logs.__getitem__)
        a_byte = [log / len(one.strip().encode()) for log, one in zip(logs, question.choices, strict=True)]
        assert chosen.most_probable_per_byte == max(range(len(logs)), key=a_byte.__getitem__)


def test_length_is_what_the_two_measures_differ_in(small_model: MoEModel, small_tokenizer: Tokenizer) -> None:
    """To a model that finds all tokens alike the fewest tokens are most probable, and the longest ones per byte."""
    model = copy.deepcopy(small_model)
    with torch.no_grad():
        model.embed_tokens.weight.zero_()
    question = ChoiceQuestion("a", "Answer:", (" return", " return return", " 4"), 1)
    (chosen,) = choose(model, small_tokenizer, [question], "x", None)
    assert (chosen.most_probable, chosen.most_probable_per_byte) == (0, 1)


def test_a_token_across_the_border_belongs_to_the_choice(small_model: MoEModel, small_tokenizer: Tokenizer) -> None:
    question = ChoiceQuestion("x", "def doub", ("le", "t"), 0)
    whole = small_tokenizer.encode_texts(["def double"]).ids[:-1].tolist()
    before = small_tokenizer.encode_texts(["def doub"]).ids[:-1].tolist()
    assert whole[: len(before)] != before
    (chosen,) = choose(small_model, small_tokenizer, [question], "x", None)
    expected = [log_probability(small_model, small_tokenizer, "def doub", one) for one in ("le", "t")]
    assert chosen.log_probabilities == pytest.approx(expected, abs=1e-4)


def test_the_words_of_each_set() -> None:
    arc = {"question": "Why?", "choices": [{"text": "So.", "label": "1"}, {"text": "No.", "label": "2"}], "answer": "2"}
    assert from_record(arc, "a") == ChoiceQuestion("a", "Question: Why?\nAnswer:", (" So.", " No."), 1)
    published = {"question": "Why?", "choices": {"text": ["So.", "No."], "label": ["A", "B"]}, "answerKey": "A"}
    assert from_record(published, "a") == ChoiceQuestion("a", "Question: Why?\nAnswer:", (" So.", " No."), 0)
    easy = {"query": "Question: Why?", "choices": ["So.", "No."], "gold": 1}
    assert from_record(easy, "a") == ChoiceQuestion("a", "Question: Why?\nAnswer:", (" So.", " No."), 1)
    mmlu = {"question": " Why? ", "choices": ["So.", "No.", "Oh."], "answer": "C"}
    letters = ChoiceQuestion("a", "Why?\nA. So.\nB. No.\nC. Oh.\nAnswer:", (" A", " B", " C"), 2)
    assert from_record(mmlu, "a") == letters
    assert from_record({**mmlu, "answer": 2}, "a") == letters
    hellaswag = {
        "activity_label": "Bowling",
        "ctx_a": "[header] How to bowl [title] Take it.  Then",
        "ctx_b": "he",
        "endings": ["throws [step] it.", "waits."],
        "label": "1",
    }
    assert from_record(hellaswag, "a") == ChoiceQuestion(
        "a", "Bowling: How to bowl. Take it. Then He", (" throws it.", " waits."), 1
    )


@pytest.mark.parametrize("answer", ["Z", "7", 4, None, "", -1])
def test_an_answer_that_is_no_choice(answer: object) -> None:
    assert from_record({"question": "Why?", "choices": ["a", "b"], "answer": answer}, "x") is None


@pytest.mark.parametrize(
    ("name", "count", "choices_each"),
    [("arc_challenge", 1150, {3, 4, 5}), ("arc_easy", 2376, {4}), ("hellaswag_1k", 1000, {4}), ("mmlu", 14_042, {4})],
)
def test_the_published_sets_are_read(benchmark_files: Path, name: str, count: int, choices_each: set[int]) -> None:
    benchmark = benchmarks.read(name, str(benchmark_files / f"{name}.jsonl.gz"))
    questions = [one for one in benchmark.problems if isinstance(one, ChoiceQuestion)]
    assert len(questions) == len(benchmark.problems) == count
    assert {len(question.choices) for question in questions} == choices_each
    assert all(choice.startswith(" ") and len(choice) > 1 for question in questions for choice in question.choices)
    most = max([question.right for question in questions].count(number) for number in range(5))
    assert most < 0.4 * count  # the right choice does not stand in one place

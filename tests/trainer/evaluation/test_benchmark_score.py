"""Benchmarks asked as a whole: what the model is given, how replies are cut and judged, and what comes out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from midtrain import sandbox
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.templates import CHATML
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.trainer.evaluation import benchmark_score, verdicts
from midtrain.trainer.evaluation.benchmark_score import Manner, check, score
from midtrain.trainer.evaluation.benchmarks import Benchmark
from midtrain.trainer.evaluation.choices import ChoiceQuestion, choose
from midtrain.trainer.evaluation.code_tests import humaneval
from midtrain.trainer.evaluation.questions import Question
from midtrain.trainer.evaluation.sampling import Sampling
from midtrain.trainer.models.model import MoEModel

from ..prefixed_tokenizer import prefixed_tokenizer, reply_ids

isolated = pytest.mark.skipif(sandbox.isolation() is not None, reason=f"no isolation: {sandbox.isolation()}")
QUESTIONS = Benchmark(
    "sums", "question and answer", (Question("a", "2 + 2?", "4", "number"), Question("b", "1 + 1?", "2", "number"))
)
CODE = Benchmark(
    "code",
    "HumanEval",
    tuple(
        humaneval(
            {"prompt": f"def f{i}(x):\n", "entry_point": f"f{i}", "test": f"def check(f):\n  assert f(2) == {i}"},
            f"c{i}",
        )
        for i in (3, 4)
    ),
)
FOUR = Sampling(temperature=1.0, n=4)


def scripted(monkeypatch: pytest.MonkeyPatch, tokenizer: Tokenizer, replies: Sequence[str], end: bool = True) -> Any:
    """Lets `generate` say the replies, as long as `ended` allows; returns what it was asked."""
    asked: dict[str, Any] = {}

    def say(model: MoEModel, prompts: Sequence[Sequence[int]], limit: int, stop: set[int], **rest: Any) -> Any:
        asked.update(prompts=[tokenizer.decode(ids) for ids in prompts], limit=limit, stop=stop, **rest)
        said = []
        for reply in replies:
            ids = tokenizer.encode_texts([reply]).ids[:-1].tolist()
            over = next((c for c in range(1, len(ids) + 1) if rest["ended"] and rest["ended"](ids[:c])), None)
            said.append(ids[:over] if over or end else (ids * limit)[:limit])
        return said

    monkeypatch.setattr(benchmark_score, "generate", say)
    return asked


def test_questions_in_the_template(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ["it is 4", "4 or 5", "no", "4", "3", "2", "4", "1"]
    asked = scripted(monkeypatch, small_tokenizer, replies)
    result = score(small_model, small_tokenizer, QUESTIONS, Manner("answer", CHATML, 100, FOUR, (1, 2)))
    assert asked["prompts"][0] == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n"
    assert asked["stop"] == {small_tokenizer.end_of_document, small_tokenizer.special_id("<|im_end|>")}
    assert (asked["limit"], asked["sampling"], asked["ended"]) == (100, FOUR, None)
    assert result.scores == pytest.approx({"pass@1": (2 / 4 + 1 / 4) / 2, "pass@2": (5 / 6 + 3 / 6) / 2})
    assert result.verdicts == {"wrong": 4, "passed": 3, "no answer": 1}
    assert list(result.verdicts.values()) == sorted(result.verdicts.values(), reverse=True)
    assert (result.benchmark, result.form, result.problems) == ("sums", "question and answer", 2)
    assert [(one.problem, one.reply, one.verdict) for one in result.samples][:5] == [
        *(("a", "it is 4", "passed"), ("a", "4 or 5", "wrong"), ("a", "no", "no answer"), ("a", "4", "passed")),
        ("b", "3", "wrong"),
    ]


def test_questions_with_reasoning_opened(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scripted(monkeypatch, small_tokenizer, ["4", "2"])
    result = score(small_model, small_tokenizer, QUESTIONS, Manner("reasoning"))
    assert asked["prompts"][1].endswith("<|im_start|>assistant\n<think>\n")
    assert result.verdicts == {"no answer": 2}  # it was never closed
    assert result.samples[0].reply == "<think>\n4"


def test_plain_questions_end_where_the_next_begins(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = scripted(monkeypatch, small_tokenizer, [" 4\nQuestion: 7?", " 2"])
    result = score(small_model, small_tokenizer, QUESTIONS, Manner("plain"))
    assert asked["prompts"] == ["Question: 2 + 2?\nAnswer:", "Question: 1 + 1?\nAnswer:"]
    assert asked["stop"] == {small_tokenizer.end_of_document}
    assert result.scores == {"pass@1": 1.0}
    assert [one.reply for one in result.samples] == [" 4", " 2"]


def test_a_reply_that_did_not_end_is_no_answer(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asked in ("answer", "plain"):
        scripted(monkeypatch, small_tokenizer, ["4", "2"], end=False)
        result = score(small_model, small_tokenizer, QUESTIONS, Manner(asked, max_new_tokens=5))  # type: ignore[arg-type]
        assert result.verdicts == {"cut off": 2}
        assert result.scores == {"pass@1": 0.0}


@isolated
def test_programs_are_cut_run_and_told_apart(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies = ["    return 3\n\n\nprint(f3(", "    return y", "    return 5", "    return 4\ndef g(: no Python"]
    asked = scripted(monkeypatch, small_tokenizer, replies)
    result = score(small_model, small_tokenizer, CODE, Manner(sampling=Sampling(temperature=1.0, n=2)))
    assert asked["prompts"] == ["def f3(x):\n", "def f4(x):\n"]
    assert [one.verdict for one in result.samples] == ["passed", "error", "wrong", "passed"]
    assert [one.reply for one in result.samples] == [
        *("    return 3\n\n", "    return y", "    return 5", "    return 4")
    ]
    assert result.samples[1].detail == "NameError: name 'y' is not defined"
    assert result.scores == {"pass@1": 0.5}


@isolated
def test_a_program_keeps_the_space_it_goes_on_with(
    small_model: MoEModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A tokenizer that puts a space in front of a text takes it away again, but a reply begins none."""
    tokenizer = prefixed_tokenizer(tmp_path)
    said = [reply_ids(tokenizer, f"def f{i}(x):\n", f"    return {i}\n") for i in (3, 4)]
    monkeypatch.setattr(benchmark_score, "generate", lambda *args, **rest: said)
    result = score(small_model, tokenizer, CODE, Manner())
    assert [one.reply for one in result.samples] == ["    return 3\n", "    return 4\n"]
    assert result.scores == {"pass@1": 1.0}


def test_programs_need_isolation(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "isolation", lambda: "the kernel says no")
    scripted(monkeypatch, small_tokenizer, [])  # it would fail to say anything
    with pytest.raises(RunError, match=r"code: programs that a model wrote cannot be isolated[^$]*the kernel says no"):
        score(small_model, small_tokenizer, CODE, Manner())
    check(QUESTIONS, small_tokenizer, Manner())


def test_choices_by_likelihood(small_model: MoEModel, small_tokenizer: Tokenizer) -> None:
    questions = tuple(
        ChoiceQuestion(str(i), f"Question: {i}?\nAnswer:", (" 4", " return 2", " it"), i % 3) for i in range(9)
    )
    result = score(small_model, small_tokenizer, Benchmark("arc", "multiple choice", questions), Manner())
    chosen = choose(small_model, small_tokenizer, questions, "arc", None)
    right = [question.right for question in questions]
    assert result.scores == {
        "accuracy": pytest.approx(sum(one.most_probable == r for one, r in zip(chosen, right, strict=True)) / 9),
        "accuracy_per_byte": pytest.approx(
            sum(one.most_probable_per_byte == r for one, r in zip(chosen, right, strict=True)) / 9
        ),
    }
    assert 0 < result.scores["accuracy"] < 1
    assert sum(result.verdicts.values()) == 9


def test_what_a_model_says_by_itself_is_the_same_every_time_and_leaves_the_generators_alone(
    small_model: MoEModel, small_tokenizer: Tokenizer
) -> None:
    before = torch.random.get_rng_state()
    manner = Manner("answer", max_new_tokens=8, sampling=FOUR, ks=(1, 4))
    first, second = (score(small_model, small_tokenizer, QUESTIONS, manner) for _ in range(2))
    assert first == second
    assert torch.equal(torch.random.get_rng_state(), before)
    assert len({one.reply for one in first.samples}) > 4
    one_by_one = score(small_model, small_tokenizer, QUESTIONS, Manner("answer", CHATML, 8, FOUR, (1, 4), batch_size=1))
    assert one_by_one == first


def test_a_k_above_n_is_refused() -> None:
    with pytest.raises(ConfigError, match="pass@5"):
        Manner(sampling=FOUR, ks=(1, 5))


def test_samples_are_lines_of_json(
    small_model: MoEModel, small_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripted(monkeypatch, small_tokenizer, ["4", "5"])
    result = score(small_model, small_tokenizer, QUESTIONS, Manner("plain"))
    verdicts.write(tmp_path / "deep/samples.jsonl", result.samples)
    lines = [orjson.loads(line) for line in (tmp_path / "deep/samples.jsonl").read_bytes().splitlines()]
    assert lines[1] == {
        "benchmark": "sums",
        "problem": "b",
        "prompt": "Question: 1 + 1?\nAnswer:",
        "reply": "5",
        "verdict": "wrong",
        "detail": "5, expected 2",
    }

"""A model's score on a benchmark: its problems asked, its replies judged, pass@k or the share of right choices.

One function for all kinds of benchmarks, so that training and `midtrain eval` ask in the same way. Costs the decoding
of n replies a problem, and the sandbox for programs; or one forward pass a choice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...mixtures.templates import CHATML, Message, Template
from ...mixtures.tokenizers import Tokenizer
from ..models.model import MoEModel
from . import code_tests
from .benchmarks import Benchmark
from .choices import ChoiceQuestion, choose
from .code_tests import CodeProblem, run_tests
from .generate import StopTexts, generate
from .pass_at_k import check_ks, mean_pass_at_k
from .questions import STOPS, Question
from .sampling import GREEDY, Sampling
from .verdicts import Kind, Sample, Verdict

Asked = Literal["answer", "reasoning", "plain"]
"""In the template, left to answer or with the reasoning opened; or without a template, as text that goes on."""


@dataclass(frozen=True)
class Manner:
    """How benchmarks are asked.

    Args:
        asked: how a question is put; programs and choices are always plain text.
        template: that of questions.
        max_new_tokens: a reply is no longer than this.
        sampling: how replies are drawn, and how many.
        ks: which pass@k are estimated, each at most sampling.n.
        batch_size: replies written together.

    Raises:
        ConfigError: a k above n.
    """

    asked: Asked = "reasoning"
    template: Template = CHATML
    max_new_tokens: int = 512
    sampling: Sampling = GREEDY
    ks: tuple[int, ...] = (1,)
    batch_size: int = 64

    def __post_init__(self) -> None:
        check_ks(self.ks, self.sampling.n)


@dataclass(frozen=True)
class BenchmarkScore:
    """`scores` by name (`pass@1`, or `accuracy` and `accuracy_per_byte`), 0 to 1; `verdicts` counts replies by kind."""

    benchmark: str
    form: str
    problems: int
    scores: Mapping[str, float]
    verdicts: Mapping[Kind, int]
    samples: tuple[Sample, ...]


def check(benchmark: Benchmark, tokenizer: Tokenizer, manner: Manner) -> None:
    """Whether the benchmark can be asked here: found before the model is asked anything.

    Raises:
        ConfigError: the tokenizer lacks the template's tokens.
        RunError: programs cannot be isolated on this machine.
    """
    if benchmark.needs_sandbox:
        code_tests.require_isolation(benchmark.name)
    elif not benchmark.is_choice and manner.asked != "plain":
        tokenizer.check(manner.template)


def score(
    model: MoEModel, tokenizer: Tokenizer, benchmark: Benchmark, manner: Manner, rope_theta: float | None = None
) -> BenchmarkScore:
    """Asks a benchmark's problems and judges the replies.

    Raises:
        ConfigError, RunError: as `check`, and as `generate`; a sandbox could not be set up.
    """
    check(benchmark, tokenizer, manner)
    if benchmark.is_choice:
        return _chosen(model, tokenizer, benchmark, rope_theta)
    asked = [problem for problem in benchmark.problems if not isinstance(problem, ChoiceQuestion)]
    in_template = manner.asked != "plain" and not benchmark.needs_sandbox
    template = tokenizer.check(manner.template) if in_template else manner.template
    prompts = [_prompt(tokenizer, problem, replace(manner, template=template)) for problem in asked]
    stop = {tokenizer.end_of_document}
    if in_template:
        stop |= {tokenizer.special_id(token) for token in template.turn_ends}
    stops = asked[0].stops if isinstance(asked[0], CodeProblem) else STOPS
    ended = None if in_template else StopTexts(tokenizer, stops)
    replies = generate(
        model,
        [ids for _, ids in prompts],
        manner.max_new_tokens,
        stop,
        sampling=manner.sampling,
        ended=ended,
        batch_size=manner.batch_size,
        rope_theta=rope_theta,
    )
    opening = template.opening(manner.asked == "answer") if in_template else ""
    texts = [opening + tokenizer.decode(reply, continued=True) for reply in replies]
    if in_template:
        texts = [template.read(text) for text in texts]
    said = [(text, len(reply) < manner.max_new_tokens) for text, reply in zip(texts, replies, strict=True)]
    if ended is not None:
        # What a stop text ended was not cut off; what was, is still a program or an answer up to there.
        said = [(ended.cut(text), whole or ended.cut(text) != text) for text, whole in said]
    n = manner.sampling.n
    verdicts = _judged(asked, said, n)
    samples = tuple(
        Sample(benchmark.name, asked[at // n].id, prompts[at // n][0], text, verdict.kind, verdict.detail)
        for at, ((text, _), verdict) in enumerate(zip(said, verdicts, strict=True))
    )
    right = [sum(verdict.kind == "passed" for verdict in verdicts[at : at + n]) for at in range(0, len(verdicts), n)]
    scores = {f"pass@{k}": value for k, value in mean_pass_at_k(n, right, manner.ks).items()}
    counts = Counter(verdict.kind for verdict in verdicts)
    return BenchmarkScore(benchmark.name, benchmark.form, len(asked), scores, dict(counts.most_common()), samples)


def _prompt(tokenizer: Tokenizer, problem: CodeProblem | Question, manner: Manner) -> tuple[str, list[int]]:
    """A problem's prompt as text and as tokens."""
    if isinstance(problem, CodeProblem) or manner.asked == "plain":
        text = problem.prompt if isinstance(problem, CodeProblem) else problem.plain
        return text, tokenizer.encode_texts([text]).ids[:-1].tolist()
    turns = [Message("user", problem.text)]
    rendered = manner.template.prompt(turns, answer_directly=manner.asked == "answer")
    return rendered.text, tokenizer.encode_prompt(rendered)


def _judged(asked: Sequence[CodeProblem | Question], said: Sequence[tuple[str, bool]], n: int) -> list[Verdict]:
    """The verdict on every reply; programs run together, so that no core waits for the slowest of a problem."""
    programs, verdicts = [], []
    for at, (text, ended) in enumerate(said):
        problem = asked[at // n]
        if isinstance(problem, CodeProblem):
            programs.append(problem.program(text))
        else:
            verdicts.append(problem.judge(text) if ended else Verdict("cut off", "the reply did not end"))
    return run_tests(programs) if programs else verdicts


def _chosen(model: MoEModel, tokenizer: Tokenizer, benchmark: Benchmark, rope_theta: float | None) -> BenchmarkScore:
    asked = [problem for problem in benchmark.problems if isinstance(problem, ChoiceQuestion)]
    chosen = choose(model, tokenizer, asked, benchmark.name, rope_theta)
    samples = []
    for problem, one in zip(asked, chosen, strict=True):
        kind: Kind = "passed" if one.most_probable == problem.right else "wrong"
        logs = ", ".join(f"{log:.2f}" for log in one.log_probabilities)
        detail = f"choice {problem.right} is right; log probabilities {logs}"
        samples.append(
            Sample(benchmark.name, problem.id, problem.context, problem.choices[one.most_probable], kind, detail)
        )
    right = [problem.right for problem in asked]
    scores = {
        "accuracy": sum(one.most_probable == r for one, r in zip(chosen, right, strict=True)) / len(asked),
        "accuracy_per_byte": sum(one.most_probable_per_byte == r for one, r in zip(chosen, right, strict=True))
        / len(asked),
    }
    counts: Counter[Kind] = Counter(sample.verdict for sample in samples)
    return BenchmarkScore(
        benchmark.name, benchmark.form, len(asked), scores, dict(counts.most_common()), tuple(samples)
    )

"""What was cut off is told by the reader's repairs, by a missing answer, and by the sampler's reason."""

from collections.abc import Callable

import pytest
from midtrain.filters.document import DocumentBatch
from midtrain.filters.thought_truncated import UNCLOSED, ThoughtTruncated
from midtrain.pipelines.readers.reasoning_markup import TRUNCATED

Make = Callable[..., DocumentBatch]


def test_reader_and_filter_mean_the_same_repair() -> None:
    assert UNCLOSED == TRUNCATED


@pytest.mark.parametrize(
    ("record", "metadata", "rule"),
    [
        (("q", "t", "a"), None, None),
        (("q", "t", "a"), '{"repairs":["orphan_closer"]}', None),
        (("q", "t", ""), '{"repairs":["unclosed_thought"]}', "closed"),
        (("q", "t", " \n\u3000"), None, "answered"),
        (("q", None, "a"), None, None),
        (("q", "t", "a"), '{"finish_reason":"stop"}', None),
        (("q", "t", "a"), '{"finish_reason":"length"}', "finished"),
        (("q", None, "a"), '{"stop_reason":"max_tokens"}', "finished"),
        (("q", "t", "a"), '{"finish_reasons":["length","stop"]}', None),
        (("q", "t", "a"), '{"finish_reasons":["length","LENGTH"]}', "finished"),
        (("q", "t", "a"), '{"finishReason":"FinishReason.MAX_TOKENS"}', "finished"),
        (("q", "t", "a"), '{"stop_reason":"model_context_window_exceeded"}', "finished"),
        (("q", "t", "a"), '{"finish_reasons":[],"note":"unclosed_thought"}', None),
        (None, None, None),
    ],
)
def test_each_cause_has_its_rule(make_traces: Make, record: object, metadata: str | None, rule: str | None) -> None:
    step = ThoughtTruncated()
    decision = step.decide(make_traces([("q", "t", "a"), record], [None, metadata]))
    assert decision.keep[0]
    assert (step.rules[decision.rule[1]].name if not decision.keep[1] else None) == rule
    if rule is not None:
        allowing = ThoughtTruncated(allow=("answered", rule))
        assert allowing.decide(make_traces([record], [metadata])).keep.all()


def test_real_traces_without_an_answer_are_counted(real_traces: Make) -> None:
    traces = ThoughtTruncated().scores(real_traces("r1_distill_long_think", {"transcript": "text"}))
    assert {name: int((values == 0).sum()) for name, values in traces.items()} == {
        "closed": 0,
        "answered": 94,  # of 500: the data's README counts 406 with text after the closing tag
        "finished": 0,
    }
    rollouts = ThoughtTruncated().scores(real_traces("math_qwen15b_rollouts", opened=True))
    assert int((rollouts["closed"] == 0).sum()) == 723

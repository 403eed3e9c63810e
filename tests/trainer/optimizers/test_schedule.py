"""Schedules: their bounds, their shapes, and their exact values in small cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.trainer.optimizers.schedule import factor
from midtrain.trainer.optimizers.settings import ScheduleConfig


def course(steps: int, **keys: object) -> list[float]:
    schedule = ScheduleConfig(**keys)
    return [factor(schedule, step, steps) for step in range(steps)]


@given(
    name=st.sampled_from(["wsd", "cosine", "linear", "constant"]),
    steps=st.integers(1, 200),
    warmup_share=st.floats(0, 0.5),
    decay=st.floats(0, 0.5),
    final=st.floats(0, 1),
)
def test_rises_then_falls_and_is_never_zero(name, steps, warmup_share, decay, final):
    warmup = int(warmup_share * (steps - 1))
    falls = {"constant": {}, "wsd": {"final": final, "decay": decay}}.get(name, {"final": final})
    values = course(steps, name=name, warmup=warmup, **falls)
    assert all(0 < value <= 1 for value in values)
    assert values[:warmup] == sorted(values[:warmup])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    assert min(values[warmup:]) >= final - 1e-12
    if warmup:
        assert values[0] == 1 / warmup
        assert values[warmup - 1] == 1


def test_wsd_is_stable_between_warm_up_and_decay():
    assert course(10, name="wsd", warmup=2, decay=0.4, final=0.0) == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    )


def test_wsd_falls_in_the_last_fifth_unless_told_otherwise():
    values = course(100, name="wsd")
    assert values[:80] == [1.0] * 80
    assert values[80] < 1


def test_linear_and_cosine_span_the_phase():
    assert course(4, name="linear", warmup=1, final=0.2) == pytest.approx([1, 0.8, 0.6, 0.4])
    assert course(3, name="cosine") == pytest.approx([(2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4])
    assert course(3, name="cosine", final=1.0) == [1, 1, 1]
    assert course(3, name="constant") == [1, 1, 1]

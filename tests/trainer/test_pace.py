"""The time left: tokens and evaluations that remain, at the pace so far."""

import pytest
from midtrain.trainer.history import Position
from midtrain.trainer.optimizers.settings import OptimizerConfig, ScheduleConfig
from midtrain.trainer.pace import Pace
from midtrain.trainer.run import PhasePlan


def plan(name: str, length: int, sequences: int, first_step: int) -> PhasePlan:
    optimizer, schedule = OptimizerConfig(name="adamw", lr=1), ScheduleConfig(name="constant")
    return PhasePlan(name, length, sequences, 1, 1, first_step, sequences, sequences, optimizer, True, schedule, 1e4)


PLANS = (plan("short", 10, 50, 0), plan("long", 100, 20, 50))


def test_longer_sequences_of_a_later_phase_count():
    pace = Pace()
    pace.step(2.0, 10)
    assert pace.seconds_left(PLANS, Position("short", 0, 30, 30, 30), None, False) == pytest.approx((200 + 2000) * 0.2)
    assert pace.seconds_left(PLANS, Position("long", 1, 20, 20, 70), None, False) == 0


def test_evaluations_count_at_their_steps_and_at_ends_of_phases():
    pace = Pace(per_evaluation=1.0)
    # Steps 40 and 60, and the ends 50 and 70.
    assert pace.seconds_left(PLANS, Position("short", 0, 30, 30, 30), 20, False) == 4
    # An end that is also a multiple is one evaluation: 40, 50, 60, 70, and that of step 30 itself.
    assert pace.seconds_left(PLANS, Position("short", 0, 30, 30, 30), 10, due=True) == 5


def test_the_pace_follows_slowly():
    pace = Pace()
    pace.step(1.0, 1)
    pace.step(11.0, 1)
    assert pace.per_token == pytest.approx(2.0)
    pace.evaluation(3.0)
    assert pace.per_evaluation == 3.0

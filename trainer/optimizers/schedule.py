"""The learning rate's course over a phase, as a pure function of the step.

A function without state cannot disagree with a resumed run. Costs a few float operations a step.

The shapes: warm-up–stable–decay (`wsd`; Hu et al., arXiv 2404.06395), half a cosine (Loshchilov and Hutter, arXiv
1608.03983), a straight line, and none. `final` is what the factor would be one step after the phase, so that no step is
trained at a rate of zero.
"""

import math

from .settings import ScheduleConfig


def factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """The share of the optimizer's rates at a step.

    Args:
        schedule: the shape.
        step: step within the phase, from 0.
        steps: steps of the phase.

    Returns:
        A number in (0, 1]: it rises by 1/warmup a step, and falls from 1 towards `final` in the decay's steps.
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    decay_steps = schedule.decay_steps(steps)
    into_decay = step - (steps - decay_steps) + 1
    if into_decay <= 0:
        return 1.0
    progress = into_decay / (decay_steps + 1)
    if schedule.name == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return 1.0 + ((schedule.final or 0.0) - 1.0) * progress

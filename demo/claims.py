"""What the demo claims, as figures that can fail: midtraining taught reasoning, and the control had its chance.

A control that broke would flatter midtraining, so it must answer in form and have learned from its problems.
"""

from dataclasses import dataclass
from typing import Any

from .results import Results

BEFORE_AT_MOST = 0.25
AFTER_AT_LEAST = 0.85
CONTROL_AT_MOST = 0.50
PARSED_AT_LEAST = 0.95
LEAST_PROBLEMS = 200


@dataclass(frozen=True)
class Check:
    """One claim, what was seen, whether it holds."""

    text: str
    seen: str
    holds: bool

    @property
    def word(self) -> str:
        """Yes or no."""
        return "yes" if self.holds else "NO"


def check(results: Results) -> list[Check]:
    """All claims, for each family of problems."""
    found = []
    for before, after, control in zip(*(one["tasks"] for one in results.evaluations), strict=True):
        task = before["task"]
        parsed = control["parsed"] / control["problems"]
        found += [
            _bound(f"{task}: at least {LEAST_PROBLEMS} held-out problems", after["problems"], least=LEAST_PROBLEMS),
            _share(f"{task}: before midtraining at most", before, most=BEFORE_AT_MOST),
            _share(f"{task}: after midtraining at least", after, least=AFTER_AT_LEAST),
            _share(f"{task}: control at most", control, most=CONTROL_AT_MOST),
            Check(
                f"{task}: at least {PARSED_AT_LEAST:.0%} of the control's replies are answers",
                f"{parsed:.1%}",
                parsed >= PARSED_AT_LEAST,
            ),
            Check(
                f"{task}: the control's loss on unseen answers is below the pretrained model's",
                f"{control['twin_loss']:.4f} against {before['twin_loss']:.4f}",
                control["twin_loss"] < before["twin_loss"],
            ),
        ]
    return found


def _bound(text: str, value: int, least: int) -> Check:
    return Check(text, str(value), value >= least)


def _share(text: str, score: dict[str, Any], most: float = 1.0, least: float = 0.0) -> Check:
    bound = least if least > 0 else most
    return Check(f"{text} {bound:.0%}", f"{score['accuracy']:.1%}", least <= score["accuracy"] <= most)

"""A rule's histogram as the numbers of a drawing: bars, axes, and a line for each bound.

The template writes them as SVG, so that it holds no arithmetic and this module no markup. Costs nothing.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from .report_text import keeps, number, share
from .rule_values import Histogram, RuleValues, Threshold

WIDTH, HEIGHT = 720.0, 190.0  # of the bars, in units of the drawing
LEFT, RIGHT, BOTTOM, LINE = 64.0, 24.0, 40.0, 18.0  # around them, and a label's height
ZERO = 0.06  # share of a logarithmic axis that the bin of 0 takes
FEW = 50.0  # largest count over the median one from which heights are logarithmic
TICKS = 7


@dataclass(frozen=True)
class Bar:
    """A bin: where it stands, how high it is, and how high of that is on the wrong side of a bound; what it holds."""

    x: float
    width: float
    height: float
    outside_height: float
    low: str
    high: str
    count: int
    outside: int


@dataclass(frozen=True)
class Tick:
    """A number on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """A bound: where it stands, and its label with the place of that."""

    x: float
    text: str
    text_x: float
    text_y: float
    anchor: str


@dataclass(frozen=True)
class Chart:
    """The drawing of a rule's values; heights and widths in its units, y downwards."""

    width: float
    height: float
    top: float
    left: float
    right: float
    bottom: float
    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    log: bool
    log_heights: bool


def chart(rule: RuleValues) -> Chart | None:
    """The drawing; None for a rule without values."""
    histogram = rule.histogram
    if histogram is None:
        return None
    top = LINE * max(len(rule.thresholds), 1) + 6
    peak = max(histogram.counts)
    log_heights = _few_stand_out(histogram.counts)

    def height(count: float) -> float:
        return HEIGHT * (math.log1p(count) / math.log1p(peak) if log_heights else count / peak)

    def place(value: float) -> float:
        return round(LEFT + WIDTH * _share(value, histogram), 1)

    bars = []
    for (low, high), count, outside in zip(pairwise(histogram.edges), histogram.counts, histogram.outside, strict=True):
        if count:
            tall = max(height(count), 1.5)  # one document among a million is to be seen
            wide = max(place(high) - place(low) - 0.5, 1)
            ends = (number(low), number(high))
            bars.append(
                Bar(place(low), round(wide, 1), round(tall, 1), round(tall * outside / count, 1), *ends, count, outside)
            )
    lines = []
    for row, bound in enumerate(rule.thresholds):
        x = place(bound.bound)
        right = x < LEFT + WIDTH / 2
        lines.append(
            Line(
                x,
                _label(bound),
                round(x + (5 if right else -5), 1),
                LINE * row + 14,
                "start" if right else "end",
            )
        )
    return Chart(
        LEFT + WIDTH + RIGHT,
        top + HEIGHT + BOTTOM,
        top,
        LEFT,
        LEFT + WIDTH,
        top + HEIGHT,
        tuple(bars),
        tuple(Tick(place(value), number(value)) for value in _x_ticks(histogram)),
        tuple(Tick(round(top + HEIGHT - height(count), 1), f"{count:,}") for count in _y_ticks(peak, log_heights)),
        tuple(lines),
        histogram.log,
        log_heights,
    )


def _label(bound: Threshold) -> str:
    side = "below" if bound.side == "low" else "above"
    part = share(bound.broken, bound.of)
    return f"keeps {keeps(bound)}: {bound.broken:,} {side}" + (f" ({part})" if part else "")


def _few_stand_out(counts: tuple[int, ...]) -> bool:
    there = sorted(count for count in counts if count)
    return there[-1] > FEW * there[len(there) // 2] or there[-1] > FEW * FEW * there[0]


def _share(value: float, histogram: Histogram) -> float:
    """Where a value stands along the axis, from 0 to 1."""
    first, least, last = histogram.edges[0], histogram.edges[1], histogram.edges[-1]
    if not histogram.log or least == last:
        return (value - first) / (last - first)
    if value < least:
        return ZERO * max(value, 0.0) / least
    return ZERO + (1 - ZERO) * math.log(value / least) / math.log(last / least)


def _x_ticks(histogram: Histogram) -> list[float]:
    first, least, last = histogram.edges[0], histogram.edges[1], histogram.edges[-1]
    if not histogram.log or least == last:
        return _nice(first, last)
    powers = range(math.ceil(math.log10(least)), math.floor(math.log10(last)) + 1)
    found = [10.0**power for power in powers if power % (len(powers) // TICKS + 1) == 0]
    return [0.0, *(found if len(found) > 1 else [least, last])]


def _y_ticks(peak: int, log_heights: bool) -> list[int]:
    if log_heights:
        powers = range(int(math.log10(peak)) + 1)
        return [0, *(10**power for power in powers if power % (len(powers) // TICKS + 1) == 0)]
    return [int(value) for value in _nice(0, peak, 4) if value == int(value)]


def _nice(low: float, high: float, ticks: int = TICKS) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, about as many as asked for."""
    rough = (high - low) / ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]

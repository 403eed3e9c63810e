"""The demo's results as a table for the terminal and as one static HTML page without any script.

The page stands alone: its curves are inline SVG, so that it opens anywhere and can be sent to anyone.
"""

from pathlib import Path
from typing import Any

from .. import storage
from ..progress import duration
from ..tables import columns
from .claims import Check
from .results import Curve, Results


def funnel(results: Results) -> list[list[str]]:
    """Documents read, kept, and dropped by each rule."""
    rows = [["documents", "count"]]
    first, last = results.curated["funnel"][0], results.curated["funnel"][-1]
    rows.append(["read", f"{first['documents']:,}"])
    for stage in results.curated["funnel"]:
        rows += [[f"dropped by {reason}", f"{count:,}"] for reason, count in stage["dropped"].items()]
    return [*rows, ["kept", f"{last['kept']:,}"]]


def tokens(results: Results) -> list[list[str]]:
    """Planned and realised tokens by phase and source."""
    rows = [["phase", "source", "planned", "realised", "sequences"]]
    for row in results.built["rows"]:
        counts = (row["planned_tokens"], row["tokens"], row["sequences"])
        rows.append([row["phase"], row["source"], *(f"{count:,}" for count in counts)])
    return rows


def accuracies(results: Results) -> list[list[str]]:
    """Accuracy of the three models on each family of held-out problems."""
    rows = [["held-out problems", "before midtraining", "after", "control"]]
    for scores in zip(*(one["tasks"] for one in results.evaluations), strict=True):
        rows.append(
            [f"{scores[0]['task']} ({scores[0]['problems']})", *(f"{score['accuracy']:.1%}" for score in scores)]
        )
    for losses_ in zip(*(one["held_out"] for one in results.evaluations), strict=True):
        rows.append([f"{losses_[0]['source']}, bits per byte", *(f"{loss['bits_per_byte']:.3f}" for loss in losses_)])
    return rows


def table(results: Results) -> str:
    """All of it for the terminal."""
    solved = "\n\n".join(f"{one['statement']}\n{one['reply']}" for one in results.solved)
    parts = [columns(funnel(results)), columns(tokens(results)), solved, columns(accuracies(results))]
    return "\n" + "\n\n".join(part for part in parts if part) + "\n"


def write(folder: Path, results: Results, checks: list[Check], seconds: float) -> Path:
    """Writes `report.html` and returns its path."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    template = jinja2.Environment(loader=loader, autoescape=True).get_template("report.html.jinja")
    page = template.render(
        funnel=funnel(results),
        tokens=tokens(results),
        accuracies=accuracies(results),
        curves=[_drawn(name, curve) for name, curve in results.curves.items()],
        solved=results.solved,
        checks=checks,
        seconds=duration(seconds),
        holds=all(check.holds for check in checks),
    )
    path = folder / "report.html"
    with storage.atomic_write(path) as stream:
        stream.write(page.encode())
    return path


def _drawn(name: str, curve: Curve) -> dict[str, Any]:
    """A curve as the points of an SVG line in a box of 300 by 120, with the values at its ends."""
    steps, values = [step for step, _ in curve], [loss for _, loss in curve]
    low, high = min(values), max(values)
    width, height = max(steps[-1] - steps[0], 1), max(high - low, 1e-9)
    points = " ".join(
        f"{300 * (step - steps[0]) / width:.1f},{120 - 120 * (loss - low) / height:.1f}" for step, loss in curve
    )
    return {
        "name": name,
        "points": points,
        "steps": f"{steps[-1]:,}",
        "first": f"{values[0]:.2f}",
        "last": f"{values[-1]:.2f}",
        "high": f"{high:.2f}",
        "low": f"{low:.2f}",
    }

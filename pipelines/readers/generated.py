"""Generated problems as reasoning records: a pure function of the recipe, so nothing is stored to be read.

Problem number i of a task is the same whatever the split, the form or the machine; the answer-only form of a source is
the twin of its worked form.
"""

from collections.abc import Iterator

from ...mixtures.tasks import generate
from ..inputs import Split
from ..recipe import SourceSpec
from .records import POISONED, Builder, Chunk, Row, flush
from .selection import Selection


def chunks(split: Split, spec: SourceSpec, selection: Selection | None = None) -> Iterator[Chunk]:
    """Records `start` to `stop` of every task of the source, one of each task in turn."""
    builder = Builder(spec.name)
    records = generate(spec.tasks, spec.form, spec.steps, split.start, split.stop - split.start, spec.seed)
    for identity, problem, messages in records:
        if selection is not None and (verdict := selection.next()) is not None:
            if verdict:
                builder.set_aside(identity, verdict, f"problem {identity}", POISONED)
            continue
        text = "\n\n".join(part for turn in messages for part in (turn["reasoning"], turn["content"]) if part)
        builder.add(identity, Row(text=text, messages=messages, answer=problem.answer), len(text.encode()))
        if builder.full():
            yield builder.take()
    yield from flush(builder)

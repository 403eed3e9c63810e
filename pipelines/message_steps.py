"""What may be asked of sources whose documents are messages, and of others, checked when a recipe is loaded.

A step that is right for pages can be wrong for problems, and the other way round; what it would do is known before
anything is read. Costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..config import Loaded

if TYPE_CHECKING:
    from .recipe import RecipeSpec, Step


def check_folding(loaded: Loaded[RecipeSpec], index: int, name: str) -> None:
    """Problems that differ in an operator alone have the same units: to drop them as copies has to be meant."""
    if (loaded.value.steps[index][name] or {}).get("sources") is not None:
        return
    known = [spec.name for spec in loaded.value.sources]
    turns = _of_messages(loaded, known)
    if not turns:
        return
    others = [source for source in known if source not in turns]
    accept = f"sources: [{', '.join(known)}] to accept it"
    raise loaded.error(
        ("steps", index, name),
        f"{name} compares letters and digits alone, so problems of {', '.join(turns)} that differ in a sign (5 + 4 and "
        "5 * 4, == and !=) would be dropped as copies",
        expected="sources of plain documents, or sources: in the step, which says that it is meant",
        fix=f"add sources: [{', '.join(others)}] to the step, or {accept}" if others else f"add {accept}",
    )


def check_rewriting(loaded: Loaded[RecipeSpec], index: int, name: str, sources: Sequence[str]) -> None:
    """A text that is made of messages cannot be rewritten: the messages would go on saying what they said."""
    turns = _of_messages(loaded, sources)
    if not turns:
        return
    others = [source for source in sources if source not in turns]
    raise loaded.error(
        ("steps", index, name),
        f"{name} rewrites text, and the documents of {', '.join(turns)} are messages, which it would leave as they are",
        expected="sources of plain documents",
        fix=f"add sources: [{', '.join(others)}] to the step" if others else "remove the step",
    )


def check_traces(loaded: Loaded[RecipeSpec], index: int, name: str, sources: Sequence[str]) -> None:
    """Only messages are traces of a problem."""
    turns = _of_messages(loaded, sources)
    others = [source for source in sources if source not in turns]
    if not others:
        return
    raise loaded.error(
        ("steps", index, name),
        f"{name} compares the answers of traces, and the documents of {', '.join(others)} are no messages",
        expected="sources of format reasoning or generated",
        fix=f"add sources: [{', '.join(turns)}] to the step" if turns else "remove the step",
    )


def check_whole(loaded: Loaded[RecipeSpec], index: int, steps: Sequence[Step]) -> None:
    """What a problem's traces say how often it is solved is known before some of them were dropped for their answers.

    Raises:
        ConfigError: a step in front of one that counts traces keeps right ones alone, or fewer than that asks for.
    """
    step = steps[index]
    if step.name != "difficulty":
        return
    from ..filters.difficulty import Difficulty
    from ..filters.rules import Barrier

    assert isinstance(step.options, Difficulty)  # noqa: S101 - the step of that name
    for before in steps[:index] if step.options.needs_all else ():
        least = getattr(before.options, "max_traces", None) if isinstance(before.options, Barrier) else None
        if not set(before.sources) & set(step.sources):
            continue
        if before.name == "answer_agreement":
            what = "answer_agreement in front of it drops the traces that are wrong, so every rate would be 1"
        elif least is not None and least < step.options.min_traces:
            what = (
                f"{before.name} in front of it keeps {least} of a problem, and a rate takes {step.options.min_traces}"
            )
        else:
            continue
        raise loaded.error(("steps", index, step.name), what, fix=f"put difficulty in front of {before.name}")


def _of_messages(loaded: Loaded[RecipeSpec], sources: Sequence[str]) -> list[str]:
    """Those of the sources whose texts are made of messages."""
    specs = loaded.value.sources
    return [spec.name for spec in specs if spec.name in sources and spec.format in ("reasoning", "generated")]

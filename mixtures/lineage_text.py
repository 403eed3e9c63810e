"""What `seen` and `where` print: tables of pieces and places, and the same as data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from ..tables import Table, clipped, columns
from .lineage import Appearance, Piece, Whereabouts

LONGEST = 64  # characters of an id or an address on a terminal; JSON has them whole


def piece_table(head: str, facts: Mapping[str, object], pieces: Sequence[Piece]) -> Table:
    """The pieces of documents in some sequences.

    Args:
        head: the first line.
        facts: what the data begins with.
        pieces: in order.
    """
    rows = [["document", "tokens", "source", "recipe source", "part", "sequence", "offset"]]
    for piece in pieces:
        span, names = f"{piece.start:,}:{piece.stop:,}", (clipped(piece.source), clipped(piece.recipe_source))
        place = (f"{piece.sequence:,}", f"{piece.offset:,}")
        rows.append([clipped(piece.id, LONGEST), span, *names, piece.part, *place])
    urls = ["url", *(clipped(piece.url or "", LONGEST) for piece in pieces)]
    lines = _beside(columns(rows), urls)
    return Table(f"{head}\n{lines}", {**facts, "pieces": [asdict(piece) for piece in pieces]})


def whereabouts_table(
    found: Sequence[Whereabouts], steps: Mapping[Appearance, tuple[int | None, str]] | None = None
) -> Table:
    """Where documents are trained on.

    Args:
        found: the documents of an id.
        steps: of a run: the step of each appearance, None where it has none, and what that is (seen, planned, …).
    """
    texts, data = [], []
    for one in found:
        name = (
            f"{clipped(one.id, LONGEST)} of source {clipped(one.source)} (recipe source {clipped(one.recipe_source)})"
        )
        lines = [f"{name}: {one.tokens:,} tokens in {one.part}", *([clipped(one.url, LONGEST)] if one.url else [])]
        if one.appearances:
            lines.append(columns(_places(one.appearances, steps)))
        texts.append("\n".join([*lines, *one.notes]))
        places = [{**asdict(place), **_step(place, steps)} for place in one.appearances]
        data.append({**asdict(one), "appearances": places})
    return Table("\n\n".join(texts), {"documents": data})


def _places(
    appearances: Sequence[Appearance], steps: Mapping[Appearance, tuple[int | None, str]] | None
) -> list[list[str]]:
    rows = [["phase", *(["step", ""] if steps is not None else []), "sequence", "epoch", "tokens", "offset"]]
    for place in appearances:
        step, status = steps[place] if steps is not None else (None, "")
        at = ["" if step is None else f"{step:,}", status] if steps is not None else []
        span = f"{place.start:,}:{place.stop:,}"
        rows.append([place.phase, *at, f"{place.sequence:,}", f"{place.epoch:,}", span, f"{place.offset:,}"])
    return rows


def _step(place: Appearance, steps: Mapping[Appearance, tuple[int | None, str]] | None) -> dict[str, object]:
    return {} if steps is None else {"step": steps[place][0], "status": steps[place][1]}


def _beside(table: str, last: Sequence[str]) -> str:
    """A table with one more column to the left of nothing, not aligned."""
    lines = table.split("\n")
    width = max(map(len, lines))
    return "\n".join(f"{line:{width}}  {text}".rstrip() for line, text in zip(lines, last, strict=True))

"""What deduplication found, as tables and marked texts for the terminal.

The page and the JSON hold all that was compared; here are the tables, and of each cluster the copy that is least like
the document kept, around its first difference. Costs nothing.
"""

from collections.abc import Sequence

from ..tables import clipped, columns
from .copies import Between, Copies, CopiesOf, Copy
from .differences import Difference

MOST_SOURCES = 10  # that have rows and columns of their own
EXCERPT = 240  # characters of a copy's differences
MARKS = {"kept": ("{+", "+}"), "dropped": ("[-", "-]"), "same": ("", ""), "gap": ("", "")}
LEGEND = "[-only in the one dropped-] {+only in the one kept+}"


def told(found: Copies) -> str:
    """What a step found."""
    head = (
        f"{clipped(found.step)}: {found.documents:,} documents, {found.duplicates:,} dropped for one of "
        f"{found.clusters:,} that are kept"
    )
    if not found.duplicates:
        return head
    parts = [head, columns(by_size(found)), columns(matrix(found.between, MOST_SOURCES))]
    shown = [_cluster(one) for one in found.sampled]
    which = "all clusters" if len(shown) == found.clusters else f"{len(shown)} clusters by chance"
    return "\n\n".join([*parts, "\n".join([f"{which}, {LEGEND}:", *shown])])


def by_size(found: Copies) -> list[list[str]]:
    """A row a size of clusters; above it is what larger ones of a row hold at least."""
    rows = [["documents in a cluster", "clusters", ""]]
    most = found.clusters
    return rows + [
        [size.replace("-", " to "), f"{count:,}", f"{100 * count / most:.2f} %"] for size, count in found.sizes
    ]


def matrix(between: Sequence[Between], most: int) -> list[list[str]]:
    """A row a source of dropped documents, a column a source of those kept in their place; the rest is joined."""
    dropped = _largest([(one.dropped, one.documents) for one in between], most)
    kept = _largest([(one.kept, one.documents) for one in between], most)
    cells: dict[tuple[str, str], int] = {}
    for one in between:
        key = (one.dropped if one.dropped in dropped else "", one.kept if one.kept in kept else "")
        cells[key] = cells.get(key, 0) + one.documents
    across = [*kept, *([""] if any(key[1] == "" for key in cells) else [])]
    down = [*dropped, *([""] if any(key[0] == "" for key in cells) else [])]
    rows = [["dropped of, for one of", *(_name(name) for name in across), "all"]]
    for name in down:
        own = [cells.get((name, other), 0) for other in across]
        rows.append([_name(name), *(f"{count:,}" if count else "" for count in own), f"{sum(own):,}"])
    return rows


def marked(differences: Sequence[Difference], most: int = EXCERPT) -> str:
    """Differences as one line, from the first on."""
    pieces = []
    for one in differences:
        before, behind = MARKS[one.kind]
        text = " ".join(one.text.split()) if one.kind in ("kept", "dropped") else one.text
        pieces.append(f"… {text} … " if one.kind == "gap" else f"{before}{text}{behind}")
    return clipped(" ".join("".join(pieces).split()), most)


def _cluster(one: CopiesOf) -> str:
    kept = f"  {clipped(one.id)} of {clipped(one.source)} is kept, {one.size - 1:,} dropped"
    return "\n".join([kept, f"    {_copy(one.copies[0])}"])


def _copy(copy: Copy) -> str:
    like = "" if copy.similarity is None else f", {copy.similarity:.4f} similar"
    text = "the text that is kept stands in an index" if copy.differences is None else marked(copy.differences)
    return f"{clipped(copy.id)} of {clipped(copy.source)}{like}: {text}"


def _largest(sources: Sequence[tuple[str, int]], most: int) -> list[str]:
    """Of sources those with the most documents, in the order in which they come."""
    total: dict[str, int] = {}
    for name, count in sources:
        total[name] = total.get(name, 0) + count
    if len(total) <= most + 1:
        return list(total)
    chosen = set(sorted(total, key=lambda name: -total[name])[:most])
    return [name for name in total if name in chosen]


def _name(name: str) -> str:
    return clipped(name) or "(others)"

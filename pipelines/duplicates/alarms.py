"""Alarms of deduplication: a source that loses too much, a cluster that is too large, end the run before it is used.

A wrong threshold, a shared template or a masking error takes most of a corpus without any other sign. What was found is
kept: once the recipe allows it, the same command goes on behind it. Costs a read of the largest clusters, and that only
where the counts say that one may be too large or a source lost too much.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import RunError
from ...manifest import OutputFile
from ...storage import Location
from ...tables import clipped
from ..stage import Counts
from . import clusters
from .clusters import Cluster, Document

MOST_NAMED = 5  # sources of which an error says what they lost
LONGEST_ID = 200  # characters
EXCERPT = 80  # characters of a text
TextOf = Callable[[Document], str | None]


@dataclass(frozen=True)
class Limits:
    """What a step allows.

    Args:
        step: its name in the recipe.
        max_loss: the largest share that a source may lose, from 0 to 1; None for any.
        allow_loss: sources that may lose any share.
        max_cluster: the most documents of a cluster; None for any number.
    """

    step: str
    max_loss: float | None
    allow_loss: Sequence[str]
    max_cluster: int | None


@dataclass(frozen=True)
class Loss:
    """What a source loses to a step and to those before it: so many of so many documents, or bytes."""

    lost: int
    of: int
    before: int = 0  # of what is lost, to the steps before

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.lost / self.of if self.of else 0.0

    def told(self, what: str) -> str:
        """For people."""
        told = f"{self.lost:,} of {self.of:,} {what} ({100 * self.share:.2f} %)"
        return f"{told}, {self.before:,} of them to steps before" if self.before else told


def check_losses(
    limits: Limits, losses: Mapping[str, Loss], what: str, folder: Location, more: Callable[[str], str] = lambda _: ""
) -> None:
    """Compares what every source loses with the limit.

    Args:
        limits: of the step.
        losses: of each source.
        what: that is counted: `documents`, `bytes of text`.
        folder: where the duplicates are listed.
        more: says what else there is to see of a source that loses too much.

    Raises:
        RunError: a source loses more than it may.
    """
    if limits.max_loss is None:
        return
    over = [name for name, loss in losses.items() if loss.share > limits.max_loss and name not in limits.allow_loss]
    if not over:
        return
    over.sort(key=lambda name: (-losses[name].share, name))
    told = [f"{name} loses {losses[name].told(what)}" for name in over[:MOST_NAMED]]
    told += [f"and {len(over) - MOST_NAMED:,} more sources"] if len(over) > MOST_NAMED else []
    allowed = ", ".join(sorted({*limits.allow_loss, *over}))
    raise RunError(
        f"{limits.step}: source {over[0]} loses more to deduplication than max_loss allows",
        where=str(folder),
        seen="; ".join(filter(None, [*told, more(over[0])])),
        expected=f"at most {100 * limits.max_loss:.6g} % of a source",
        fix=f"where the loss is meant, give {limits.step} allow_loss: [{allowed}], or another max_loss, and run again: "
        "what is done is kept, and midtrain report then shows clusters with their differences",
    )


def check_clusters(
    limits: Limits, counts: Counts, folder: Location, files: Sequence[OutputFile], text_of: TextOf
) -> None:
    """Compares the largest cluster of a choice with the limit.

    Args:
        limits: of the step.
        counts: as `clusters.counts` makes them, of all tasks.
        folder: the choice's.
        files: all of its files.
        text_of: the text of a document of a cluster; None where it is not at hand.

    Raises:
        RunError: it has more documents than it may.
    """
    sizes = counts.get("cluster_sizes", {})
    if limits.max_cluster is None or all(clusters.largest_of(name) <= limits.max_cluster for name in sizes):
        return
    largest = clusters.read(folder, files).largest
    if largest is None or largest.size <= limits.max_cluster:
        return
    raise RunError(
        f"{limits.step}: a cluster has more documents than max_cluster allows",
        where=str(folder),
        seen=_told(largest, text_of),
        expected=f"at most {limits.max_cluster:,}",
        fix=f"where these are copies of one document, give {limits.step} max_cluster: {largest.size} (null allows any) "
        "and run again: what is done is kept; where they are not, raise its threshold",
    )


def check_choice(
    limits: Limits,
    losses: Mapping[str, Loss],
    counts: Counts,
    folder: Location,
    files: Sequence[OutputFile],
    text_of: TextOf,
) -> None:
    """Compares what a choice among documents came to with what the step allows.

    Args:
        limits: of the step.
        losses: documents of each source that loses any, what steps before took of it included.
        counts: of the choice, as `clusters.counts` makes them, of all tasks.
        folder: the choice's.
        files: all of its files.
        text_of: the text of a document of a cluster; None where it is not at hand.

    Raises:
        RunError: a source loses more than it may, or a cluster has more documents than it may.
    """
    check_clusters(limits, counts, folder, files, text_of)
    between: Mapping[str, Mapping[str, int]] = counts.get("between", {})

    def more(source: str) -> str:
        kept = sorted(between[source].items(), key=lambda item: (-item[1], item[0]))[:MOST_NAMED]
        where = ", ".join(f"{number:,} of {'its own' if name == source else name}" for name, number in kept)
        largest = clusters.read(folder, files).largest
        return f"what is kept in their place: {where}" + (f"; {_told(largest, text_of)}" if largest else "")

    check_losses(limits, losses, "documents", folder, more)


def _told(largest: Cluster, text_of: TextOf) -> str:
    """A cluster with its keeper and the member that is least like it, each with the beginning of its text."""
    member = largest.members[0]
    like = "" if member.similarity is None else f" ({member.similarity:.3f} similar)"
    others = ", one of those dropped is" if largest.size > 2 else ", dropped is"
    return (
        f"the largest cluster has {largest.size:,} documents: {_named(largest.keeper, text_of)} is kept"
        f"{others} {_named(member, text_of)}{like}"
    )


def _named(document: Document, text_of: TextOf) -> str:
    text = text_of(document)
    begins = "" if text is None else f" {clipped(text, EXCERPT)!r}"
    return f"{clipped(document.id, LONGEST_ID)} of {document.source}{begins}"

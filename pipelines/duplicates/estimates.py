"""What the stages of near-duplicates will take, before any of them has run.

How many documents share keys is not foreseen: as many are assumed as in a crawl of few sites in many editions, more
than other text has. Costs nothing.
"""

from dataclasses import dataclass

from ...errors import ConfigError
from ...filters.problem_dedup import ProblemDedup
from .. import footprints
from ..stage import Stage
from . import sizes
from .bands import WriteBands, minhash
from .buckets import Buckets
from .components import Components, Labels
from .members import Members
from .similar import ChooseSimilar

LINKED = 0.7  # share of the documents that are in components
LARGEST = 0.021  # share of the documents that are in the largest component: 503 of the 24,070 pages of web_small
MOST_KEYS = 2**32 // 3  # of a component: two thirds of the slots of `similar_kernels.MOST`
ROUNDS = 9  # of components that links of real text take, where there are several partitions
LINKS = 2.0  # of a document in a component, where its node partition lies elsewhere than its root's
BATCH, MEMBERS_BATCH = 250, 1_300  # bytes of a record batch in an exchange's file: of a few columns, of many
KEY, LINK, LABEL, CHOSEN = 16, 16, 16, 60  # bytes on disk of a key, a link, a label, a duplicate with its partner's id
MEMBER = 110  # bytes on disk of a document in a component, beside its id, keys and set
SIGN_SECONDS = 3e-9  # CPU time a byte of text that is read and signed
STATEMENT_SECONDS = 1.2e-4  # CPU time a record, where its statement is signed instead
MEMBER_SECONDS = 6e-9  # CPU time a byte of text of a document in a component: signed again, its set made and written
STATED_SECONDS = 1.5e-4  # CPU time a record, where its statement is signed again and its answers are told
KEY_SECONDS = 6e-8  # CPU time a key: sorted, its bucket found
LINK_SECONDS = 1e-6  # CPU time a link that is joined, or given out as a label
COMPARE_SECONDS = 8e-6  # CPU time a document in a component: ordered, placed, compared
PROBLEM_SECONDS = 5e-5  # CPU time a record in a component: the same, and what its statement says
STATEMENT = 700  # bytes on disk of a record in a component: its statement, answers and set

NearStage = WriteBands | Buckets | Components | Labels | Members | ChooseSimilar


@dataclass(frozen=True)
class Compared:
    """The documents that a step compares.

    Args:
        documents: how many.
        text: bytes of their texts.
        parts: that they stand in.
        largest: bytes of text and rows of the largest part.
        identity: bytes of an id.
    """

    documents: int
    text: int
    parts: int
    largest: tuple[int, int]
    identity: float


@dataclass(frozen=True)
class Taken:
    """What a stage takes: tasks, documents that they see, bytes of a worker, bytes on disk, CPU seconds."""

    tasks: int
    documents: int
    memory: int
    disk: float
    seconds: float


def taken(stage: Stage, came: Compared) -> Taken:
    """What one of the stages of near-duplicates takes.

    Args:
        stage: one of `NearStage`.
        came: the documents of its step.
    """
    assert isinstance(stage, NearStage)  # noqa: S101 - the plan asks for no other
    bands = minhash(stage.step).bands
    keys, linked = came.documents * bands, int(came.documents * LINKED)
    text, sets = int(came.text * LINKED), int(came.text * LINKED * sizes.SET_BYTES)
    of_keys, of_nodes = sizes.key_partitions(came.documents, bands), sizes.node_partitions(came.documents)
    of_members = sizes.member_partitions(linked, came.text / max(came.documents, 1), bands)
    problems = isinstance(stage.step.options, ProblemDedup)
    joining = footprints.components(int(LINKS * linked) // of_nodes)
    links = int(LINKS * linked * LINK)
    if isinstance(stage, WriteBands):
        disk: float = keys * KEY + came.parts * of_keys * BATCH
        seconds = came.documents * STATEMENT_SECONDS if problems else came.text * SIGN_SECONDS
        return Taken(came.parts, came.documents, footprints.bands(*came.largest, bands), disk, seconds)
    if isinstance(stage, Buckets):
        disk = links + of_keys * of_nodes * BATCH
        return Taken(of_keys, came.documents, footprints.buckets(keys // of_keys), disk, keys * KEY_SECONDS)
    if isinstance(stage, Components):
        rounds = 0 if of_nodes == 1 or stage.number >= ROUNDS else of_nodes
        return Taken(rounds, linked, joining, links + of_nodes * of_nodes * BATCH, LINKS * linked * LINK_SECONDS)
    if isinstance(stage, Labels):
        disk = linked * LABEL + of_nodes * came.parts * BATCH
        return Taken(of_nodes, linked, joining, disk, LINKS * linked * LINK_SECONDS)
    if isinstance(stage, Members):
        disk = linked * (MEMBER + came.identity + 8 * bands) + sets + came.parts * of_members * MEMBERS_BATCH
        memory = footprints.members(*came.largest, bands)
        if problems:
            disk = linked * (MEMBER + came.identity + 8 * bands + STATEMENT) + came.parts * of_members * MEMBERS_BATCH
        return Taken(came.parts, linked, memory, disk, linked * STATED_SECONDS if problems else text * MEMBER_SECONDS)
    disk = linked * (CHOSEN + came.identity) + of_members * came.parts * BATCH
    most = max(linked // of_members, largest(linked))
    memory = footprints.problems(most) if problems else footprints.similar(most)
    return Taken(of_members, linked, memory, disk, linked * (PROBLEM_SECONDS if problems else COMPARE_SECONDS))


def largest(linked: int) -> int:
    """Documents of the largest component of candidates, of so many documents in components."""
    return int(linked / LINKED * LARGEST)


def refuse(stage: ChooseSimilar, linked: int) -> None:
    """Raises a ConfigError where the largest component is foreseen to have more keys than a task can look up.

    Args:
        stage: the choice.
        linked: documents in components.
    """
    keys = largest(linked) * minhash(stage.step).bands
    if keys > MOST_KEYS:
        raise ConfigError(
            f"{stage.name}: a component of candidates will be too large for one task",
            seen=f"about {keys:,} keys: {LARGEST:.1%} of the documents share keys, directly or through others",
            expected=f"at most {MOST_KEYS:,}",
            fix="curate in several runs, each against an index of those before (`midtrain index`), or take fewer bands",
        )

"""Which stages a barrier of a recipe is made of.

`curate.plan` asks for a step's choice and hangs it behind the documents; all else that the barrier needs are parents of
the choice. Costs nothing.
"""

from typing import TYPE_CHECKING

from ...errors import ConfigError
from ...filters.exact_dedup import ExactDedup
from ...filters.minhash_dedup import SimilarDedup
from ...filters.problem_dedup import ProblemDedup
from ...storage import Location
from ..recipe import Step
from .bands import WriteBands
from .buckets import Buckets
from .choice import Choice
from .components import Labels, rounds_of
from .exact import ChooseExact, WriteKeys
from .index_layer import Layer
from .members import Members
from .pieces import ChoosePieces, WritePieces
from .problems import ChooseProblems
from .similar import ChooseSimilar

if TYPE_CHECKING:
    from ..documents import DocumentStage


def choice_of(root: Location, upstream: "DocumentStage", step: Step, index: Layer | None = None) -> Choice:
    """The stage that chooses what a barrier drops of a stage's documents.

    Args:
        root: the output.
        upstream: the stage whose documents are compared.
        step: the barrier.
        index: what it compares with as well.

    Raises:
        ConfigError: nothing carries the step out.
    """
    if isinstance(step.options, ExactDedup):
        return ChooseExact(root, upstream, step, WriteKeys(root, upstream, step), index=index)
    if isinstance(step.options, SimilarDedup):
        bands = WriteBands(root, upstream, step)
        rounds = rounds_of(step, Buckets(root, upstream, step, bands, index))
        members = Members(root, upstream, step, Labels(root, upstream, step, rounds), index)
        kind = ChooseProblems if isinstance(step.options, ProblemDedup) else ChooseSimilar
        return kind(root, upstream, step, members, index=index)
    raise ConfigError(f"no stage carries out the step {step.name}", expected="exact_dedup", fix="remove the step")


def pieces_of(root: Location, upstream: "DocumentStage", step: Step) -> ChoosePieces:
    """The stage that chooses what a barrier cuts out of the texts of documents; arguments as of `choice_of`."""
    return ChoosePieces(root, upstream, step, WritePieces(root, upstream, step))

"""Which packs and orders of a mixture a build would find standing: the plan drafted as a build does, and not written.

What phases draw decides the names of both, and an edit that changes no sequence changes neither; words alone cannot
tell. An index that stands is used where it lies, one that does not is packed in a temporary folder. Costs that packing,
and a pass of the interleaving over each phase.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config import Loaded
from ..errors import RunError
from ..mixtures.packs.pack_requests import Packer, PackRequest, pack_here, stands
from ..mixtures.plans import planning
from ..mixtures.plans.drawing import Packs
from ..mixtures.schema import MixtureSpec, phase_specs
from .build_stages import Stages, check_fit, source_tokens
from .stage import Stage


@dataclass
class Standing:
    """What a build would find.

    Args:
        packs: whether all indexes of a source at a sequence length stand there; those that have files.
        orders: whether the order's files of a phase do, in the order of training.
    """

    packs: dict[tuple[str, int], bool] = field(default_factory=dict)
    orders: dict[str, bool] = field(default_factory=dict)


def look(loaded: Loaded[MixtureSpec], stages: Stages) -> Standing | None:
    """What stands of packs and orders; None where not all tokens do, on which both depend.

    Raises:
        ConfigError: the mixture cannot be built.
        RunError: tokens are damaged.
    """
    root, phases = Path(loaded.value.output), phase_specs(loaded)
    drawn = {weight.source for phase in phases for weight in phase.sources()}
    planning.check([stage.name for stage in stages.shards], phases)
    needed = [stages.tokenizer, *(stage for stage in stages.shards if stage.name in drawn)]
    if not all(_whole(stage) for stage in needed):
        return None
    check_fit(stages)
    found = Standing()
    with TemporaryDirectory(prefix="midtrain-why-") as folder:
        packs = Packs(Path(folder), _packer(root, Path(folder), found))
        sources = {
            name: planning.standing(packs, loaded.value.seed, tokens)
            for name, tokens in source_tokens(stages, phases).items()
        }
        draft = planning.draft(loaded.value.seed, sources, phases, {}, collect=False)
        planning.refuse(draft.refusals)
        for order, curve in draft.orders:
            found.orders[order.phase] = planning.order_stands(root, order, curve)
    found.packs = dict(sorted(found.packs.items(), key=lambda one: one[0][0]))
    return found


def _whole(stage: Stage) -> bool:
    try:
        return stage.manifest() is not None
    except RunError:  # told where stages are
        return False


def _packer(root: Path, folder: Path, found: Standing) -> Packer:
    """Shows the indexes of the output that stand below another folder, and packs the others there."""
    pack = pack_here(folder)

    def packer(requests: Sequence[PackRequest]) -> None:
        for request in requests:
            key, target = (request.source.name, request.sequence_length), folder / request.folder
            if target.exists():
                continue
            there = stands(root, request)
            found.packs[key] = found.packs.get(key, True) and there
            if there:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to((root / request.folder).resolve())
            else:
                pack([request])

    return packer

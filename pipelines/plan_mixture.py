"""`midtrain plan MIXTURE.yaml`: what every phase will draw of every source, before anything of it is built.

A source that is never sampled, or repeated unasked, or cut away by its sequence length, shows in no loss curve; here it
is a row of a table, and a refusal with the number that would do. Exact where tokens stand, else from a few megabytes of
each source. Costs about two seconds a source that is not tokenized; packings of those that are, in a temporary folder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from ..config import Loaded
from ..errors import ConfigError
from ..mixtures.packs.pack_requests import pack_here
from ..mixtures.plans import planning
from ..mixtures.plans.drawing import Packs
from ..mixtures.plans.planning import Drawing, Row, Source
from ..mixtures.plans.sampled import SampledRun, SampledTokens
from ..mixtures.schema import MixtureSpec, phase_specs
from ..mixtures.trimming import Trimmed, Trimming, joined
from ..tables import Table, columns
from .build_stages import Stages, stages_of, tokens_of
from .existing_tokens import NO_END, TokenSelection
from .mixture_table import loss_lines, table_rows
from .token_sample import Texts, estimate, look, tokenizer_for
from .tokenize_stages import WriteShards

MOST_LENGTHS = 1 << 20  # of documents that stand as tokens elsewhere, which are looked at


@dataclass(frozen=True)
class MixturePlan:
    """What a mixture will come to.

    Args:
        output: where to.
        rows: one a source and phase.
        refusals: what cannot be.
        note: what the estimates rest on; empty where nothing is estimated.
    """

    output: str
    rows: tuple[Row, ...]
    refusals: tuple[ConfigError, ...]
    note: str

    def refuse(self) -> None:
        """Raises ConfigError where the mixture cannot be built."""
        planning.refuse(self.refusals)


def plan(loaded: Loaded[MixtureSpec], before: Callable[[Packs], dict[str, Drawing]] | None = None) -> MixturePlan:
    """Plans a mixture; writes nothing of it.

    Args:
        loaded: the mixture.
        before: gives where sources stand that phases before these drew from; where there are any.

    Raises:
        ConfigError: a source's documents or the tokenizer are not there or do not fit.
        RunError: a file is damaged.
    """
    spec, phases = loaded.value, phase_specs(loaded)
    stages = stages_of(loaded)
    drawn = {weight.source for phase in phases for weight in phase.sources()}
    planning.check([stage.name for stage in stages.shards], phases)
    waiting = [stage for stage in stages.shards if stage.name in drawn and stage.manifest() is None]
    sampled, note = _sampled(stages, waiting)
    with TemporaryDirectory(prefix="midtrain-plan-") as folder:
        packs = Packs(Path(folder), pack_here(Path(folder)))
        sources = {name: _estimated(one) for name, one in sampled.items()}
        for stage in stages.shards:
            if stage.name in drawn and stage.name not in sampled:
                sources[stage.name] = planning.standing(packs, spec.seed, tokens_of(stage))
        runs = {} if before is None else before(packs)
        draft = planning.draft(spec.seed, sources, phases, runs)
    return MixturePlan(spec.output, draft.rows, draft.refusals, note)


def _estimated(tokens: SampledTokens) -> Source:
    return Source(
        tokens.tokens,
        tokens.available,
        lambda length: SampledRun(tokens, length),
        tokens.check_lost,
        estimated=True,
    )


def _sampled(stages: Stages, waiting: Sequence[WriteShards]) -> tuple[dict[str, SampledTokens], str]:
    """The sources that are not tokenized yet, and what was done to know of them."""
    found: dict[str, SampledTokens] = {}
    texts: dict[str, Texts] = {}
    for stage in waiting:
        selection = stage.encoded.selection
        if isinstance(selection, TokenSelection):
            found[stage.name] = _standing_elsewhere(selection)
        else:
            texts[stage.name] = look(selection)
    if not texts:
        return found, "~ is estimated: tokens that stand elsewhere are not in this mixture's order yet" if found else ""
    looked = dict(texts)
    if stages.tokenizer.manifest() is None:
        for selection in stages.tokenizer.selections:  # of sources that no phase draws from as well
            if all(one.selection is not selection for one in texts.values()):
                looked[selection.source.name] = look(selection)
    tokenizer, trained = tokenizer_for(stages.tokenizer, list(looked.values()))
    templates = {stage.name: stage.encoded.template for stage in waiting}
    found |= {name: estimate(one, tokenizer, templates[name]) for name, one in texts.items()}
    size = sum(int(one.documents.nbytes) for one in texts.values()) / 1e6
    by = "a tokenizer trained on it" if trained else "the mixture's tokenizer"
    return found, f"~ is estimated from a sample of {size:,.1f} MB, by {by}"


def _standing_elsewhere(selection: TokenSelection) -> SampledTokens:
    """Tokens of others, or of another build: all lengths are known, their order in this mixture is not."""
    documents = sum(int(np.count_nonzero(sizes)) for sizes in selection.sizes())
    end = int(selection.source.end_of_document == NO_END)  # which this mixture puts behind every document
    tokens = selection.tokens + end * documents
    left = 1.0
    if selection.source.held_out:
        held = selection.source.held_out
        left -= held if isinstance(held, float) else min(1.0, held / documents)
    every = -(-documents // MOST_LENGTHS)
    source = selection.source
    return SampledTokens(
        source.name,
        end + np.concatenate(list(_every(every, (sizes[sizes > 0] for sizes in selection.sizes())))),
        round(documents * left),
        round(tokens * left),
        source.packing,
        source.too_long,
        _trimming(selection, every) if source.too_long == "trim" else None,
        source.max_lost,
    )


def _every(step: int, arrays: Iterable[npt.NDArray[np.int64]]) -> Iterator[npt.NDArray[np.int64]]:
    """Of arrays, one behind the other, the first value and every so many-th from it on; holds one at a time."""
    skipped = 0
    for array in arrays:
        yield array[skipped::step].copy()
        skipped = (skipped - len(array)) % step


def _trimming(selection: TokenSelection, every: int) -> Callable[[int], Trimmed]:
    """Trims every so many-th of the documents to a number of tokens."""
    shards = selection.shards
    trimming = Trimming(shards, selection.source.min_reasoning)

    def trimmed(limit: int) -> Trimmed:
        numbers = _every(every, (np.arange(documents) for documents in shards.part_documents.tolist()))
        return joined([trimming.part(part, limit).of(chosen) for part, chosen in enumerate(numbers)])

    return trimmed


def table(planned: MixturePlan) -> Table:
    """The plan for people and machines."""
    rows = [asdict(row) for row in planned.rows]
    end = planned.note or f"{planned.output}: exact: all tokens stand"
    data = {"output": planned.output, "rows": rows, "refusals": [one.render() for one in planned.refusals]}
    losses = "\n".join(loss_lines(rows))
    return Table("\n\n".join([columns(table_rows(rows, realised=False)), *filter(None, [losses]), end]), data)

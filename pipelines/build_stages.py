"""The stages of a build: what each source takes, the tokenizer, and the shards, checked before anything runs.

What a mixture names must be there and fit together: documents, templates, the tokenizer that tokens were made by. Costs
the reading of manifests, of the tokenizer's file, and of others' token files when they are seen first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Loaded
from ..errors import ConfigError
from ..mixtures.packs.pack_requests import SourceTokens
from ..mixtures.plans.planning import PhaseSpec
from ..mixtures.schema import BUCKET, MixtureSpec
from ..mixtures.shards import Shards
from ..mixtures.templates import Template
from ..mixtures.templates.trimmable import untrimmable
from ..mixtures.tokenizer_training import check_trained_size, needed_tokens
from ..mixtures.tokenizers import Tokenizer
from ..mixtures.trimming import Trimming
from .curated import Selection, select
from .existing_tokens import TokenSelection, select_tokens
from .held_out_stages import HeldOut, HeldOutKeys, holding
from .known_files import KnownFiles
from .token_stages import ReadTokens
from .tokenize_stages import Tokenize, WriteShards
from .tokenizer_stage import DEFAULT_END, BuildTokenizer, open_given

INPUTS = "inputs.json"  # what was learned of others' files of tokens


@dataclass(frozen=True)
class Stages:
    """The stages of a build: the tokenizer, and the shards of each source in the mixture's order."""

    tokenizer: BuildTokenizer
    shards: tuple[WriteShards, ...]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Of all that the manifest depends on beside the phases."""
        return (self.tokenizer.fingerprint, *(stage.fingerprint for stage in self.shards))


def stages_of(loaded: Loaded[MixtureSpec]) -> Stages:
    """The stages of a mixture.

    Raises:
        ConfigError: a source's documents or the tokenizer are not there or do not fit.
    """
    spec = loaded.value
    root = Path(spec.output)
    templates = _templates(loaded)
    needed = _needed(loaded, templates)
    given = _check_tokenizer(loaded, templates, needed)
    selections = _selections(loaded)
    for one in selections:
        if given is not None and isinstance(one, TokenSelection):
            one.check(given)
    held_out = HeldOut(root, HeldOutKeys(root, spec.seed, holding(selections)))
    tokenizer = BuildTokenizer(root, spec.tokenizer_spec, held_out, _trained_on(spec, selections), needed)
    encoded = [
        ReadTokens(root, one, tokenizer, held_out)
        if isinstance(one, TokenSelection)
        else Tokenize(root, one, tokenizer, held_out, templates[number])
        for (number, _), one in zip(spec.bucketed, selections, strict=True)
    ]
    shards = tuple(WriteShards(root, one) for one in encoded)
    return Stages(tokenizer, shards)


def _selections(loaded: Loaded[MixtureSpec]) -> list[Selection | TokenSelection]:
    """What every source takes, those in buckets bucket by bucket, in the mixture's order."""
    spec = loaded.value
    known = KnownFiles(Path(spec.output) / INPUTS)
    found: list[Selection | TokenSelection] = []
    for index, source in spec.bucketed:
        where = loaded.document.place(("sources", index))
        found.append(select(source, where) if source.shards is None else select_tokens(source, where, known))
    if any(isinstance(one, TokenSelection) and not one.place for one in found):
        known.save()
    return found


def _trained_on(spec: MixtureSpec, selections: Sequence[Selection | TokenSelection]) -> tuple[Selection, ...]:
    """What a tokenizer is trained on, in the order in which the mixture names it."""
    named = spec.tokenizer_spec.train.sources if spec.tokenizer_spec.train else ()
    return tuple(
        one
        for name in named
        for one in selections
        if isinstance(one, Selection) and one.source.name.partition(BUCKET)[0] == name
    )


def _templates(loaded: Loaded[MixtureSpec]) -> list[Template | None]:
    """The template of each source as the mixture has them."""
    found: list[Template | None] = []
    for index, source in enumerate(loaded.value.sources):
        section = source.template_section
        try:
            found.append(None if section is None else section.open(loaded.value.tokenizer_spec.path))
        except ConfigError as wrong:
            what = wrong.what if not wrong.where else f"{wrong.where}: {wrong.what}"
            raise loaded.error(
                ("sources", index, "template"), what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix
            ) from None
    return found


def _needed(loaded: Loaded[MixtureSpec], templates: Sequence[Template | None]) -> tuple[str, ...]:
    """What a tokenizer that is to be trained needs for templates of one's own."""
    found: dict[str, None] = {}
    for index, template in enumerate(templates):
        if template is not None and loaded.value.tokenizer_spec.train is not None:
            try:
                found.update(dict.fromkeys(needed_tokens(template)))
            except ConfigError as wrong:
                where = ("sources", index, "template")
                raise loaded.error(where, wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None
    return tuple(found)


def _check_tokenizer(
    loaded: Loaded[MixtureSpec], templates: Sequence[Template | None], needed: Sequence[str]
) -> Tokenizer | None:
    """The tokenizer's file, looked at before anything runs: its end-of-document token, what the templates need; None
    where one is to be trained, of which the size is looked at."""
    spec = loaded.value.tokenizer_spec
    if spec.train is not None:
        try:
            check_trained_size(spec.train.vocab_size, spec.end_of_document or DEFAULT_END, needed)
        except ConfigError as wrong:
            key = ("train", "vocab_size") if "vocab_size" in wrong.what else ("end_of_document",)
            raise loaded.error(
                ("tokenizer", *key), wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix
            ) from None
        return None
    try:
        tokenizer = open_given(spec)
        for template in {one for one in templates if one is not None}:
            tokenizer.check(template)
    except ConfigError as wrong:
        path = ("tokenizer",) if isinstance(loaded.value.tokenizer, str) else ("tokenizer", "path")
        raise loaded.error(path, wrong.what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None
    return tokenizer


def check_fit(stages: Stages) -> None:
    """The tokenizer has what templates need, and made the tokens that stand already; else ConfigError."""
    tokenizer = stages.tokenizer.open()
    for stage in stages.shards:
        if isinstance(stage.encoded, ReadTokens):
            stage.encoded.selection.check(tokenizer)
    for stage in stages.shards:
        template, source = stage.encoded.template, stage.encoded.selection.source
        bound = None if template is None else tokenizer.check(template)
        if bound is not None and source.too_long == "trim" and (why := untrimmable(bound)) is not None:
            raise ConfigError(
                f"source {source.name} cannot be trimmed by its template: {why}",
                where=bound.name,
                expected="turns without a reasoning as others are, less what opens it, itself and what closes it, or "
                "with an empty one; and something untrained in front of each turn, as the role's name",
                fix="change the template, or say too_long: drop",
            )


def source_tokens(stages: Stages, phases: Sequence[PhaseSpec]) -> dict[str, SourceTokens]:
    """The tokens of every source that a phase draws from; one that is only held out may have none."""
    drawn = {weight.source for phase in phases for weight in phase.sources()}
    return {stage.name: tokens_of(stage) for stage in stages.shards if stage.name in drawn}


def tokens_of(stage: WriteShards) -> SourceTokens:
    """The tokens of a source whose shards stand, and how they are packed."""
    source, dtype = stage.encoded.selection.source, stage.encoded.tokenizer.open().dtype
    shards = Shards.open(stage.folder, dtype)
    trim = Trimming(shards, source.min_reasoning) if source.too_long == "trim" else None
    policy = source.packing, source.too_long, trim, source.max_lost
    return SourceTokens(source.name, stage.fingerprint, shards, *policy)

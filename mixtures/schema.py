"""The mixture: which documents or tokens, which tokenizer, which phases with which weights, as the YAML says it.

Weights are shares of tokens and must sum to 1: a mixture that is normalised in silence is not the one that was asked
for. Checked when the file is loaded, before any document is read; what hangs on sizes, when they are known.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import Field

from .. import config
from ..config import Count, Loaded, LocalFolder, Section
from ..errors import ConfigError
from .conditions import where_conditions
from .phase_sections import PhaseSection, Weight
from .plans import targets, weights
from .plans.weights import Group, PhaseSpec, PhaseWeight
from .source_sections import BUCKET, NAME, Buckets, MixtureSource, TokenizerSpec, TrainTokenizer

__all__ = [
    "BUCKET",
    "MixtureSource",
    "MixtureSpec",
    "PhaseSection",
    "TokenizerSpec",
    "TrainTokenizer",
    "Weight",
    "is_mixture",
    "load",
    "phase_specs",
]


class MixtureSpec(Section):
    """A mixture as the YAML holds it."""

    name: str = Field(pattern=NAME)
    output: LocalFolder
    seed: int = Field(default=0, ge=0)
    tokenizer: str | TokenizerSpec
    total_tokens: Count | None = Field(default=None, ge=1)
    sources: tuple[MixtureSource, ...] = Field(min_length=1)
    phases: tuple[PhaseSection, ...] = Field(min_length=1)

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        """The tokenizer written out."""
        return TokenizerSpec(path=self.tokenizer) if isinstance(self.tokenizer, str) else self.tokenizer

    @property
    def bucketed(self) -> tuple[tuple[int, MixtureSource], ...]:
        """All sources, those in buckets bucket by bucket, each with its number in `sources`."""
        return tuple((number, one) for number, source in enumerate(self.sources) for one in source.bucketed)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded[MixtureSpec]:
    """Loads and checks a mixture.

    Raises:
        ConfigError: a key, a type, a name that stands twice or that nothing has, weights that cannot be.
    """
    loaded = config.load(path, MixtureSpec, overrides)
    spec = loaded.value
    sources = [source.name for source in spec.sources]
    _distinct(loaded, "sources", sources)
    _distinct(loaded, "phases", [phase.name for phase in spec.phases])
    _check_fractions(loaded)
    for index in range(len(spec.phases)):
        _check_phase(loaded, index, sources)
    train = spec.tokenizer_spec.train
    for index, name in enumerate(train.sources if train else ()):
        _known(loaded, ("tokenizer", "train", "sources", index), name, sources)
        if spec.sources[sources.index(name)].shards is not None:
            raise loaded.error(
                ("tokenizer", "train", "sources", index), f"{name} has no text to train on: it stands as tokens"
            )
    drawn = {weight.source for phase in phase_specs(loaded) for weight in phase.sources()}
    for index, source in enumerate(spec.sources):
        _check_where(loaded, index, source)
        if not source.held_out and not drawn & {one.name for one in source.bucketed}:
            raise loaded.error(
                ("sources", index, "name"),
                f"no phase draws from {source.name} and nothing of it is held out",
                fix="give it a weight in a phase, or remove it",
            )
    return loaded


def is_mixture(path: str | Path) -> bool:
    """Whether a YAML file has what only a mixture has; what cannot be read is none."""
    try:
        keys = config.read(path, ()).data
    except ConfigError:
        return False
    return "phases" in keys and ("tokenizer" in keys or "steps" not in keys)


def phase_specs(loaded: Loaded[MixtureSpec]) -> list[PhaseSpec]:
    """The phases as they are planned: groups and places written out, weights of 0 left out."""
    spec = loaded.value
    buckets = {source.name: source.buckets for source in spec.sources if source.buckets}
    return [
        PhaseSpec(
            phase.name,
            phase.sequence_length,
            spec.total_tokens if phase.fraction is not None else phase.tokens,
            tuple(_weights(loaded, ("phases", index, "weights"), phase.weights, buckets, Weight(share=1))),
            phase.sequences,
            phase.fraction,
            phase.temperature,
            phase.change,
            loaded.document.place(("phases", index, "weights")),
        )
        for index, phase in enumerate(spec.phases)
    ]


def _weights(
    loaded: Loaded[MixtureSpec],
    path: tuple[str | int, ...],
    given: dict[str, Weight],
    buckets: dict[str, Buckets],
    group: Weight,
) -> Iterator[PhaseWeight | Group]:
    for name, weight in given.items():
        place = loaded.document.place((*path, name))
        share: Any = weight.share if weight.start is None else weight.start
        if share == 0 and not weight.to:
            continue
        own = weight.model_copy(
            update={"loss": weight.loss or group.loss, "max_epochs": weight.max_epochs or group.max_epochs}
        )
        if weight.sources is not None:
            members = tuple(_weights(loaded, (*path, name, "sources"), weight.sources, buckets, own))
            yield Group(name, members, share, weight.tokens, weight.to, weight.temperature, where=place)
        elif name in buckets:
            parts = [
                _weight(f"{name}{BUCKET}{bucket}", own.model_copy(update={"tokens": None}), "size", factor, place)
                for bucket, factor in enumerate(buckets[name].weights)
                if factor
            ]
            yield Group(name, tuple(parts), share, weight.tokens, weight.to, where=place)
        else:
            yield _weight(name, own, share, 1, place)


def _weight(name: str, weight: Weight, share: Any, factor: float, place: str) -> PhaseWeight:
    return PhaseWeight(
        name,
        share,
        weight.loss or "assistant",
        weight.max_epochs or (1 if weight.epochs is None else None),
        weight.tokens,
        weight.epochs,
        None if share == "size" else weight.to,
        weight.min_tokens,
        factor,
        place,
    )


def _check_phase(loaded: Loaded[MixtureSpec], index: int, sources: Sequence[str]) -> None:
    """Names, and all of the weights that does not hang on sizes."""
    phase = loaded.value.phases[index]
    path = ("phases", index, "weights")
    seen: dict[str, tuple[str | int, ...]] = {}
    for place, name, weight in _entries(path, phase.weights):
        if weight.sources is None:
            _known(loaded, place, name, sources)
        elif name in sources:
            raise loaded.error(place, f"{name} is a source: a group has a name of its own")
        if name in seen:
            raise loaded.error(place, f"{name} has two weights in this phase", seen=config_path(seen[name]))
        seen[name] = place
        if weight.start is not None and (phase.change is None or len(place) > len(path) + 1):
            what = "shares within a group do not change" if phase.change else "the phase does not change"
            raise loaded.error(place, f"from and to: {what}", fix="change: linear or cosine at the phase, shares there")
        source = loaded.value.sources[sources.index(name)] if name in sources else None
        if source is not None and source.buckets and (weight.epochs is not None or weight.min_tokens):
            raise loaded.error(place, "epochs and min_tokens are of one source: this is a group of buckets")
    if phase.change and not any(weight.start is not None for weight in phase.weights.values()):
        raise loaded.error(("phases", index, "change"), "no weight of the phase changes: none has from and to")
    spec = phase_specs(loaded)[index]
    if not any(weight.epochs is not None for weight in spec.sources()):
        targets.resolve(spec, dict.fromkeys((weight.source for weight in spec.sources()), 1))


def _check_fractions(loaded: Loaded[MixtureSpec]) -> None:
    spec = loaded.value
    given = [(index, phase.fraction) for index, phase in enumerate(spec.phases) if phase.fraction is not None]
    total = sum((weights.exact(fraction) for _, fraction in given), Fraction(0))
    if given and spec.total_tokens is None:
        raise loaded.error(("phases", given[0][0], "fraction"), "a fraction of what? total_tokens is missing")
    if total > 1 + weights.TOLERANCE:
        path = ("phases", given[-1][0], "fraction")
        raise loaded.error(path, f"the fractions of the phases sum to {float(total):g}", expected="at most 1")
    if spec.total_tokens is not None and not given:
        raise loaded.error(("total_tokens",), "no phase is a fraction of it", fix="write fraction: in a phase")


def _check_where(loaded: Loaded[MixtureSpec], index: int, source: MixtureSource) -> None:
    for column in source.where:
        try:
            where_conditions({column: source.where[column]})
        except ConfigError as wrong:
            raise loaded.error(("sources", index, "where", column), wrong.what, expected=wrong.expected) from None


def _entries(path: tuple[str | int, ...], given: dict[str, Weight]) -> Iterator[tuple[Any, str, Weight]]:
    for name, weight in given.items():
        yield (*path, name), name, weight
        if weight.sources is not None:
            yield from _entries((*path, name, "sources"), weight.sources)


def config_path(path: Sequence[str | int]) -> str:
    """A key path as errors have it."""
    return ".".join(map(str, path))


def _distinct(loaded: Loaded[MixtureSpec], key: str, names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise loaded.error((key, index, "name"), f"{name} stands twice")


def _known(loaded: Loaded[MixtureSpec], path: tuple[str | int, ...], name: str, known: Sequence[str]) -> None:
    if name not in known:
        raise loaded.error(
            path,
            f"no source is called {name}",
            expected=", ".join(known),
            fix=config.did_you_mean(name, known),
        )

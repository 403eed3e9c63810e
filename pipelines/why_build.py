"""`midtrain plan --why` of a mixture: its stages, then packs, order and manifest, against the requests built before.

Packs and order hang on more than their own words in the file: on what phases before have drawn. Where all tokens stand
the plan is drafted as a build does it (`standing.py`), and what stands is done. Else, and for the reasons, a request is
divided into what each pack and each phase hangs on, and that is compared with the same part of the requests that the
output's manifests keep. Costs a read of these manifests, and the packing of what has no packs yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import manifest as manifests
from .. import storage
from ..config import Loaded
from ..errors import RunError
from ..manifest import NAME, Manifest
from ..mixtures.built import HISTORY
from ..mixtures.packs.pack_requests import PackRequest, SourceTokens
from ..mixtures.schema import MixtureSpec
from ..mixtures.trimming import Trimming
from . import build, build_stages, standing, why
from .standing import Standing
from .why import Change, Reason

LIMITS = ("max_epochs", "min_tokens")  # of a weight: they refuse a plan, and change none


@dataclass(frozen=True)
class Kept:
    """A manifest of a build that an output keeps, with the request that it answers."""

    manifest: Manifest
    present: bool  # it is the output's own, not one that was replaced

    @property
    def request(self) -> dict[str, Any]:
        """All that its packs and order depend on."""
        return dict(self.manifest.options["request"])


def of_mixture(loaded: Loaded[MixtureSpec]) -> list[Reason]:
    """What a build would do, in its order, and why.

    Raises:
        ConfigError: a source's documents or the tokenizer are not there or do not fit.
        RunError: the result stands there, and a file of it is missing or was cut short.
    """
    root = Path(loaded.value.output)
    stages = build_stages.stages_of(loaded)
    request = build.request_of(loaded, stages)
    present = Manifest.find(root)
    finger = manifests.fingerprint(["build", request])
    if present is not None and present.fingerprint == finger and not build.removed(root, present):
        build.check_sizes(root, present)
        return [Reason("manifest", True, tuple(_restated(present, loaded, stages)))]
    reasons = why.of_stages([stages.tokenizer, *stages.shards])
    kept = list(_kept(root, present))
    found = standing.look(loaded, stages)
    if found is None:
        reasons += _packs(root, request, kept)
        reasons += [_order(root, request, number, kept) for number in range(len(request["phases"]))]
    else:
        reasons += _drafted(root, request, kept, found)
    return [*reasons, _manifest(request, kept)]


def _drafted(root: Path, request: Mapping[str, Any], kept: Sequence[Kept], found: Standing) -> Iterator[Reason]:
    """Packs and orders of which it is known whether they stand; why they do not is in the words."""
    for (source, length), stands in found.packs.items():
        name = f"packs of {source} at {length}"
        if stands:
            yield Reason(name, True)
            continue
        runs = [run for of, at, run in _runs(request) if (of, at) == (source, length)]
        reasons = [_compare(name, _pack_key(request, source, run[0]), _packed(kept, source), False) for run in runs]
        changed = [reason for reason in reasons if reason.changes or reason.because]
        yield changed[0] if changed else _by_whole(name, request, kept)
    for number, (phase, stands) in enumerate(found.orders.items()):
        reason = Reason(f"order of {phase}", True) if stands else _order(root, request, number, kept, False)
        yield reason if reason.done or reason.changes or reason.because else _by_whole(reason.stage, request, kept)


def _by_whole(name: str, request: Mapping[str, Any], kept: Sequence[Kept]) -> Reason:
    """What is to do for something that its own words do not say: for what other sources and phases have drawn."""
    return _compare(name, dict(request), [one.request for one in kept], False)


def _restated(present: Manifest, loaded: Loaded[MixtureSpec], stages: build_stages.Stages) -> Iterator[Change]:
    """What is said of a result that stands, and is now something else."""
    named = ("name", "sources")
    was = {key: present.options[key] for key in named}
    now = {key: build.restated(present, loaded.value, stages).options[key] for key in named}
    return iter(why.compared(was, now))


def _kept(root: Path, present: Manifest | None) -> Iterator[Kept]:
    """The manifests of the output, its own first; those of extensions answer to more than one request."""
    if present is not None and "request" in present.options and not present.options["history"]:
        yield Kept(present, True)
    for name in storage.names(root / HISTORY):
        try:
            found = Manifest.find(root / HISTORY, name)
        except RunError:
            continue
        if found is not None and "request" in found.options and not found.options["history"]:
            yield Kept(found, False)


# Packs


def _packs(root: Path, request: Mapping[str, Any], kept: Sequence[Kept]) -> Iterator[Reason]:
    """The pack indexes that have files: of whole documents, and of what an epoch had not drawn where lengths change."""
    for source, length, phases in _runs(request):
        key, own = _pack_key(request, source, phases[0]), request["sources"][source]
        tokens: Any = None  # an index's name hangs on their fingerprint alone
        trim = Trimming(tokens, own["min_reasoning"]) if own["too_long"] == "trim" else None
        made = SourceTokens(source, own["tokens"], tokens, own["pack"], own["too_long"], trim)
        whole = PackRequest(made, length)
        name, first = f"packs of {source} at {length}", not key["drawn before"]
        if first and whole.computed:
            continue
        if first and (root / whole.folder / NAME).exists():
            yield Reason(name, True)
            continue
        yield _compare(name, key, _packed(kept, source), not first and _rest_stands(root, whole))


def _packed(kept: Sequence[Kept], source: str) -> list[dict[str, Any]]:
    """What the packs of a source depended on in earlier requests."""
    return [_pack_key(one.request, source, number) for one in kept for number in _starts(one.request, source)]


def _runs(request: Mapping[str, Any]) -> Iterator[tuple[str, int, list[int]]]:
    """Each source's runs of phases of one sequence length: source, length, numbers of the phases."""
    for source in sorted(request["sources"]):
        run: list[int] = []
        for number, phase in enumerate(request["phases"]):
            if source not in _leaves(phase):
                continue
            if run and phase["sequence_length"] != request["phases"][run[-1]]["sequence_length"]:
                yield source, int(request["phases"][run[0]]["sequence_length"]), run
                run = []
            run.append(number)
        if run:
            yield source, int(request["phases"][run[0]]["sequence_length"]), run


def _starts(request: Mapping[str, Any], source: str) -> list[int]:
    """The phases in which a source is packed."""
    return [phases[0] for name, _, phases in _runs(request) if name == source]


def _pack_key(request: Mapping[str, Any], source: str, number: int) -> dict[str, Any]:
    """All that the packs which a source begins to draw from in a phase depend on."""
    before = _before(request, source, number)
    return {
        **({"seed": request["seed"]} if before else {}),
        "sequence_length": request["phases"][number]["sequence_length"],
        "sources": {source: request["sources"][source]},
        "drawn before": {source: before} if before else {},
    }


def _rest_stands(root: Path, whole: PackRequest) -> bool:
    """Whether an index of what was left of these tokens stands there, at this length."""
    names = (name for name in storage.names(root / "packs") if name.startswith(f"{whole.name}-"))
    found = (why.manifest_of(root / "packs" / name) for name in names)
    wanted = {**whole.options(), "drawn": None}
    return any(one is not None and one.options["drawn"] and {**one.options, "drawn": None} == wanted for one in found)


# Order


def _order(root: Path, request: Mapping[str, Any], number: int, kept: Sequence[Kept], stands: bool = True) -> Reason:
    phase = request["phases"][number]
    key, earlier = _order_key(request, number), []
    for one in kept:
        for other, was in enumerate(one.request["phases"]):
            ref = next(ref for ref in one.manifest.options["phases"] if ref["name"] == was["name"])
            if was["name"] == phase["name"] and (root / f"{ref['order']}.json").exists():
                earlier.append(_order_key(one.request, other))
    return _compare(f"order of {phase['name']}", key, earlier, stands)


def _order_key(request: Mapping[str, Any], number: int) -> dict[str, Any]:
    """All that the order of a phase depends on: its own words, its sources, and what phases before drew of them."""
    phase = request["phases"][number]
    leaves = sorted(_leaves(phase))
    before = {source: _before(request, source, number) for source in leaves}
    return {
        "seed": request["seed"],
        "phase": _without(phase, LIMITS),
        "sources": {source: request["sources"][source] for source in leaves},
        "drawn before": {source: drawn for source, drawn in before.items() if drawn},
    }


def _before(request: Mapping[str, Any], source: str, number: int) -> dict[str, Any]:
    """What the phases before one draw of a source, by their numbers: their names make no difference."""
    before = enumerate(request["phases"][:number], start=1)
    return {f"phase {place}": _amount(request, phase, source) for place, phase in before if source in _leaves(phase)}


def _amount(request: Mapping[str, Any], phase: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What says how much a phase draws of a source, and in sequences of which length.

    A share that is a number is a share of the phase's tokens, whatever others have; in groups and with what is left, in
    epochs and in sequences all weights and the sizes of their sources may count.
    """
    weight = phase["weights"].get(source)
    alone = weight is not None and phase["tokens"] is not None and phase["sequences"] is None
    if alone and (_is_number(weight["share"]) or weight["tokens"] is not None):
        return {
            "sequence_length": phase["sequence_length"],
            **{key: phase[key] for key in ("tokens", "fraction")},
            **{key: weight[key] for key in ("share", "tokens", "to") if weight[key] is not None},
        }
    sizes = {name: request["sources"][name]["tokens"] for name in sorted(_leaves(phase))}
    return {**_without(phase, (*LIMITS, "loss", "name")), "sizes": sizes}


def _is_number(share: Any) -> bool:
    return share is not None and share not in ("rest", "size")


def _leaves(phase: Mapping[str, Any]) -> set[str]:
    """The sources that a phase draws from, in groups too."""
    return set(_leaves_of(phase["weights"]))


def _leaves_of(weights: Mapping[str, Any]) -> Iterator[str]:
    for weight in weights.values():
        if "members" in weight:
            yield from _leaves_of(weight["members"])
        else:
            yield weight["source"]


def _without(value: Any, names: Sequence[str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _without(below, names if key != "name" else ()) for key, below in value.items() if key not in names}


# Comparing


def _compare(name: str, key: dict[str, Any], earlier: Sequence[dict[str, Any]], stands: bool) -> Reason:
    """A part of the request against the same part of earlier ones; `stands`: its result is there where none differs."""
    if not earlier:
        return Reason(name, False, note="there is no earlier one")
    nearest = min((list(why.compared(was, key)) for was in earlier), key=len)
    if not nearest:
        return Reason(name, True) if stands else Reason(name, False, note="it was removed")
    tokens = {change.field: _tokens_of(change.field) for change in nearest}
    changes = tuple(_told(change) for change in nearest if not tokens[change.field])
    return Reason(name, False, changes, tuple(dict.fromkeys(one for one in tokens.values() if one)))


def _manifest(request: Mapping[str, Any], kept: Sequence[Kept]) -> Reason:
    """The manifest, which is another one where anything is."""
    same = [one for one in kept if one.request == request]
    if same:
        present = any(one.present for one in same)
        return Reason("manifest", present, note="" if present else "another result stands in the folder now")
    return _compare("manifest", dict(request), [one.request for one in kept], True)


def _tokens_of(field: str) -> str:
    """The stage that a field holds the fingerprint of, if it does: its name says more."""
    first, *inside, last = field.split(".") if "." in field else ("", field)
    if first == "sources" and last == "tokens":
        return f"tokens of {'.'.join(inside)}"
    if inside and inside[-1] == "sizes":
        return f"tokens of {last}"
    return "tokenizer" if field == "tokenizer" else ""


def _told(change: Change) -> Change:
    """A source or phase as a whole is told by what it is called, not by all that it has."""
    was, now = ("a whole one" if isinstance(one, Mapping) else one for one in (change.was, change.now))
    return Change(change.field, was, now)

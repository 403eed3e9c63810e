"""What has to be so before an output is added to an index: deduplicated by the same parameters, against all of it.

An index that took whatever it is given would hold copies, or keys that no later key can meet, and nothing would say so.
Costs nothing: what is compared stands in manifests.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ... import storage
from ...errors import ConfigError
from ...filters import catalogue
from ...manifest import EMPTY, NAME, Manifest
from ...storage import Location
from .index import STAGE, Index

if TYPE_CHECKING:
    from ...filters.exact_dedup import ExactDedup
    from ...filters.minhash_dedup import MinhashDedup

STEPS = ("exact_dedup", "minhash_dedup")  # that an index can be made for


@dataclass(frozen=True)
class Described:
    """A step of an output that an index can be made for."""

    entry: dict[str, Any]
    options: "ExactDedup | MinhashDedup"


def published_of(source: Location) -> Manifest:
    """The manifest of a curated output.

    Raises:
        ConfigError: there is none, it has no document, or another version wrote it.
    """
    found = Manifest.find(source)
    if found is None and storage.exists(source / EMPTY):
        raise ConfigError(
            "the curated output has no document: all were dropped or set aside",
            where=str(source),
            fix=f"there is nothing to add; midtrain report {source} shows what dropped them",
        )
    if found is None:
        raise ConfigError(f"there is no curated output (no {NAME})", where=str(source), fix="run midtrain curate first")
    if found.stage != "curate":
        raise ConfigError(
            "the folder is not a curated output",
            where=str(source),
            seen=f"an output of {found.stage}",
            fix="midtrain index add INDEX OUT" if found.stage == STAGE else "",
        )
    if "given" not in found.options:
        raise ConfigError(
            "another version of midtrain curated the output, and it does not say from which inputs",
            where=str(source),
            fix="run midtrain curate again: what is done is not done anew",
        )
    return found


def steps_of(published: Manifest, source: Location) -> dict[str, Described]:
    """The steps of an output that an index can be made for, ready to hash texts.

    Raises:
        ConfigError: there is none, two of one name, or one of another version of the program.
    """
    found: dict[str, Described] = {}
    for entry in published.options.get("steps", ()):
        name = entry["step"]
        if name not in STEPS:
            continue
        if name in found:
            raise ConfigError(
                f"the output was made by two steps {name}: an index holds the texts that one of them saw",
                where=str(source),
                fix="curate it with one of them",
            )
        kind = catalogue.step(name)
        if entry.get("version") != kind.version:
            raise ConfigError(
                f"the output was made by another version of {name}",
                where=str(source),
                seen=entry.get("version", "none recorded"),
                expected=kind.version,
                fix="curate it again",
            )
        allowed = {"min_recall": 0} if "min_recall" in kind.model_fields else {}  # as the recipe did
        options: Any = kind.model_validate({**entry["options"], **allowed})
        found[name] = Described(entry, options)
    if not found:
        raise ConfigError(
            "the output was not deduplicated: an index has to know what documents are compared by",
            where=str(source),
            expected="a recipe with " + " or ".join(STEPS),
            fix="add the step to the recipe, and curate it again",
        )
    return found


def check_parameters(index: Index, steps: dict[str, Described], source: Location) -> None:
    """Looks whether an output has all that an index holds, made by the same parameters.

    Raises:
        ConfigError: it was made without a step of the index, or with another parameter, with both values.
    """
    for step, layer in index.layers.items():
        if step not in steps:
            raise ConfigError(
                f"the index is one for {step}, and the output was made without",
                where=str(source),
                expected=" and ".join(index.layers),
                fix=f"add {step} to the recipe, and curate it again",
            )
        layer.check(steps[step].options.index_parameters, "output")


def check_compared(index: Index, steps: dict[str, Described], published: Manifest, source: Location) -> None:
    """Looks whether an output was compared with all that stands in the index.

    Where the index is one for near-duplicates, by that step: it finds equal texts as well.

    Raises:
        ConfigError: it was not: it may hold what the index has already.
    """
    if not index.layers:
        return
    fresh = {index.fingerprint}
    for entry in reversed(index.history):  # what was only taken out since needs no comparison
        fresh.add(entry["fingerprint"])
        if entry["change"] != "remove":
            break
    step = max(index.layers, key=STEPS.index)
    seen = steps[step].entry.get("index")
    if seen and seen["fingerprint"] in fresh:
        return
    place = index.added(published.options["name"], published.options["given"])
    if place is not None:
        raise ConfigError(
            "the index holds an earlier output of this recipe, from the same inputs",
            where=str(source),
            seen=f"added as version {index.history[place]['version']} of {index.root}",
            fix="add the outputs to another index, this one in the place of the earlier one; or pass --overlap to have "
            "both in it",
        )
    raise ConfigError(
        f"the output was not deduplicated by {step} against the index as it is now",
        where=str(source),
        seen=f"against version {seen['version']}" if seen else "against no index",
        expected=f"version {index.version} of {index.root}",
        fix=f"curate it with {step}: {{index: {index.root}}}, or pass --overlap to take what stands twice",
    )

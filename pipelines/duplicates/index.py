"""An index of documents that were kept: what a later corpus is deduplicated against, as it lies in its folder.

A crawl every month cannot be compared with all crawls before it by reading them again, so what the comparison needs of
every kept document stays: its keys, sorted, and what verifies it. A version is one small file that names immutable
ones, so a change appears whole or not at all. Costs a stat of each file to open.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ... import storage
from ...errors import ConfigError, RunError
from ...manifest import NAME, Manifest, OutputFile, fingerprint
from .index_layer import FORMAT, GONE, Addition, Layer, Made, Run, stage_manifest

STAGE = "index"  # what its manifest says it is


@dataclass(frozen=True)
class Index:
    """One version of an index.

    Args:
        root: its folder.
        version: how often it was changed.
        fingerprint: of the changes that made it.
        layers: by the step's name.
        history: what each version changed: version, change, name, given, output, fingerprint, documents.
        files: what lies in the folder itself: the removed documents, where there are some.
        previous: the folders and files of the version before, which a run may still read.
    """

    root: Path
    version: int = 0
    fingerprint: str = ""
    layers: Mapping[str, Layer] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    files: tuple[OutputFile, ...] = ()
    previous: tuple[str, ...] = ()

    def layer(self, step: str) -> Layer:
        """What it holds for a step.

        Raises:
            ConfigError: nothing.
        """
        if step not in self.layers:
            raise ConfigError(
                f"the index holds nothing for {step}",
                where=str(self.root),
                seen=step,
                expected=" or ".join(self.layers),
                fix=f"add an output to another index whose recipe has {step}",
            )
        return self.layers[step]

    @property
    def removed(self) -> str:
        """The file of removed documents below the folder; empty where there is none."""
        return self.files[0].path if self.files else ""

    def added(self, name: str, given: str) -> int | None:
        """The place in the history where a recipe's output was first added; None where it was not.

        Args:
            name: the recipe's.
            given: a hash of what it reads. The output's folder does not count: another crawl may be written there.
        """
        same = (entry.get("name") == name and entry.get("given") == given for entry in self.history)
        return next((place for place, is_same in enumerate(same) if is_same), None)

    def for_recipe(self, step: str, name: str, given: str) -> Layer:
        """What a step of a recipe is compared with: all, or what stood there before the recipe's output was added.

        So a recipe that is run again, or changed, is not compared with its own documents. What was taken out since is
        gone: the layer has another fingerprint then.

        Args:
            step: its name.
            name, given: as for `added`.

        Raises:
            ConfigError: it holds nothing for the step.
        """
        layer, place = self.layer(step), self.added(name, given)
        if place is None:
            return layer
        version, seen = 0, ""
        for entry in self.history[:place]:
            version, seen = entry["version"], entry["fingerprint"]
        if any(entry["change"] == "remove" for entry in self.history[place:]):
            seen = fingerprint([seen, *(file.hash for file in self.files)])
        additions = tuple(one for one in layer.additions if one.version <= version)
        return replace(
            layer,
            version=version,
            fingerprint=seen,
            additions=additions,
            until=max((one.first + one.chunks for one in additions), default=0),
        )

    @property
    def mending(self) -> str:
        """What to do about a file that is gone or damaged, with the outputs that were added, oldest first."""
        added = [f"{one['name']} ({one['output']})" for one in self.history if one["change"] == "add"]
        return f"{GONE}, in this order: {', '.join(added)}" if added else GONE

    @property
    def made(self) -> list[Made]:
        """The stages that the version is made of."""
        layers = self.layers.values()
        return [one.made for layer in layers for one in layer.additions] + [
            one.made for layer in layers for one in layer.runs
        ]

    @property
    def next_chunk(self) -> int:
        """The first chunk number that is free; one is never given twice."""
        layers = self.layers.values()
        return max((one.first + one.chunks for layer in layers for one in layer.additions), default=0)


def open_index(path: str | Path) -> Index:
    """Opens the present version of an index and compares its files' sizes with what was written.

    Raises:
        ConfigError: there is none at the path, it is something else, or of another format.
        RunError: a file is missing, was cut short or changed.
    """
    if storage.is_remote(str(path)):
        raise ConfigError(
            "an index is searched through mapped files: it has to lie in a folder of this machine",
            where=str(path),
            fix="keep it in a folder that every worker sees",
        )
    root = Path(path).absolute()
    found = Manifest.find(root, fix=GONE)
    if found is None:
        raise ConfigError(
            "there is no index",
            where=str(path),
            fix=f"correct the path, or curate without index: and make it: midtrain index add {path} OUT",
        )
    if found.stage != STAGE:
        raise ConfigError("the folder is not an index", where=str(path), seen=f"an output of {found.stage}")
    if found.version != FORMAT:
        raise ConfigError(
            "the index is of another format",
            where=str(path),
            seen=found.version,
            expected=FORMAT,
            fix="make it again from the outputs that were added to it",
        )
    index = _parsed(root, found)
    found.check_sizes(root, index.mending)
    for made in index.made:
        stage_manifest(root, made).check_sizes(root / "stages" / made.folder, index.mending)
    return index


def verify(index: Index) -> None:
    """Compares the bytes of every file with what was written: reads the whole index.

    Raises:
        RunError: naming the first file that differs.
    """
    Manifest.read(index.root).check_hashes(index.root, index.mending)
    for made in index.made:
        stage_manifest(index.root, made).check_hashes(index.root / "stages" / made.folder, index.mending)


def _parsed(root: Path, found: Manifest) -> Index:
    options = found.options
    removed = next((file.path for file in found.files), "")
    layers = {}
    try:
        for step, layer in options["layers"].items():
            additions = tuple(Addition(**{**one, "made": Made(**one["made"])}) for one in layer["additions"])
            runs = tuple(Run(Made(**one["made"]), one["entries"]) for one in layer["runs"])
            layers[step] = Layer(
                root, step, options["version"], found.fingerprint, layer["parameters"], additions, runs, removed
            )
        history, previous = tuple(options["history"]), tuple(options["previous"])
        return Index(root, options["version"], found.fingerprint, layers, history, found.files, previous)
    except (KeyError, TypeError) as error:
        raise RunError(f"is not the manifest of an index: {error}", where=str(root / NAME), fix=GONE) from None

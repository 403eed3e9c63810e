"""What the manifests of an output vouch for, beside what lies there: each file's record, and what no manifest lists.

A result is only as whole as every folder that it is made of, so the root's manifest is not enough: each stage's own is
read too, and a folder that should have one and has not is said. Costs one walk over the output and one read a manifest;
bytes are looked at elsewhere (`verify.py`).
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ... import storage
from ...errors import RunError
from ...manifest import EMPTY, NAME, RESULTS, Manifest, OutputFile, unit_of
from ...remote import RemotePath
from ...storage import Location
from ..output import FOLDERS

BESIDE = (".lock", "events.jsonl", "inputs.json", "recipe.yaml", "mixture.yaml")  # records of runs: times, hosts, paths
EVENTS = "events/"  # the same, in a store
HISTORY = "history/"  # manifests of earlier versions of a result


@dataclass(frozen=True)
class Problem:
    """Something that is not as it was written: the file relative to the output, what is wrong, how to repair it."""

    path: str
    what: str
    seen: str = ""
    expected: str = ""
    fix: str = ""


@dataclass
class Vouched:
    """An output as its manifests describe it; all paths are relative to it.

    Args:
        root: the output.
        listing: bytes of every file that lies there.
        manifests: by the path of their file.
        records: what manifests say of files; of a file that several list, each record once.
        problems: manifests that cannot be trusted, files that are missing or of another size.
    """

    root: Location
    listing: dict[str, int]
    manifests: dict[str, Manifest] = field(default_factory=dict)
    records: dict[str, OutputFile] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def result(self) -> Manifest | None:
        """The output's own manifest, where it can be trusted."""
        return self.manifests.get(NAME)

    def of(self, folder: str) -> Manifest | None:
        """The manifest of a folder below the output, where it can be trusted."""
        return self.manifests.get(f"{folder}/{NAME}")

    @cached_property
    def whole(self) -> dict[str, OutputFile]:
        """The files that are there in the recorded size: their bytes can be compared."""
        there = ((path, record) for path, record in sorted(self.records.items()))
        return {path: record for path, record in there if self.listing.get(path) == record.bytes}

    def unlisted(self) -> list[str]:
        """Files in folders of ours that no manifest lists: not of any result, and read by nobody."""
        known = self.records.keys() | self.manifests.keys() | {problem.path for problem in self.problems}
        return [
            path
            for path in sorted(self.listing)
            if path not in known
            and path not in BESIDE
            and not path.startswith((EVENTS, HISTORY))
            and not self._unfinished(path)
        ]

    def unfinished(self) -> list[str]:
        """Folders of stages without a manifest: what a run that was killed, or still works, has done so far."""
        return sorted({_stage_folder(path) for path in self.listing if self._unfinished(path)})

    def _unfinished(self, path: str) -> bool:
        folder = _stage_folder(path)
        return bool(folder) and f"{folder}/{NAME}" not in self.listing and path not in self.records


def read(root: str | Location) -> Vouched:
    """Reads all manifests of an output and compares what they list with what lies there.

    Raises:
        RunError: the output cannot be read.
    """
    folder = storage.location(root)
    found = Vouched(folder, listing(folder))
    for path in sorted(found.listing):
        if path.rpartition("/")[2] == NAME or path == EMPTY or path.startswith(HISTORY):
            _read_manifest(found, path)
    for path, manifest in found.manifests.items():
        if not path.startswith(HISTORY):  # what an earlier version listed may be gone
            _take(found, path.rpartition("/")[0], manifest)
    _check_needed(found)
    for path, record in found.records.items():
        _check_size(found, path, record)
    found.problems.sort(key=lambda problem: problem.path)
    return found


def changed(found: Vouched) -> bool:
    """Whether a manifest that lay there is gone or another one by now: what it vouched for may rightly be gone too."""
    for path in found.listing:
        above, _, name = path.rpartition("/")
        if name == NAME:
            with contextlib.suppress(RunError):  # damaged, as was told
                now = Manifest.find(found.root / above if above else found.root)
                if now is None or now != found.manifests.get(path):
                    return True
    return False


def listing(root: Location) -> dict[str, int]:
    """The bytes of every file below a folder, by its path relative to it."""
    if isinstance(root, RemotePath):
        from ... import remote_files

        _, files = remote_files.find(f"{root}/**", True)
        return {
            address.removeprefix(f"{root}/"): int(info["size"]) for address, _, info in files if info["type"] == "file"
        }
    return dict(_walk(root, ""))


def _walk(folder: Path, above: str) -> Iterator[tuple[str, int]]:
    with contextlib.ExitStack() as stack:
        try:
            entries = stack.enter_context(os.scandir(folder))
        except FileNotFoundError:  # a run beside us has removed it
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), f"{above}{entry.name}/")
                continue
            with contextlib.suppress(FileNotFoundError):  # a symbolic link to nothing is no file
                yield f"{above}{entry.name}", entry.stat().st_size


def _read_manifest(found: Vouched, path: str) -> None:
    repair = repaired(found, path)
    try:
        found.manifests[path] = Manifest.parse(storage.read_bytes(found.root / path), found.root / path, repair)
    except RunError as error:
        found.problems.append(Problem(path, error.what, _text(error.seen), _text(error.expected), repair))


def _take(found: Vouched, folder: str, manifest: Manifest) -> None:
    for file in manifest.files:
        path = f"{folder}/{file.path}" if folder else file.path
        known = found.records.setdefault(path, file)
        if (known.bytes, known.hash) != (file.bytes, file.hash):
            what = "two manifests list this file, and do not agree on it"
            fix = repaired(found, path)
            found.problems.append(Problem(path, what, f"{file.bytes:,} bytes, {file.hash}", known.hash, fix))


def _check_needed(found: Vouched) -> None:
    """The folders that the result names must have manifests: those of stages are in no list of files."""
    result = found.result
    if result is None:
        if NAME not in found.listing and EMPTY not in found.listing:
            what = "there is no finished result (no manifest)"
            found.problems.append(Problem(NAME, what, "no file", "", "run midtrain curate or midtrain build first"))
        return
    replaced = [
        f"{HISTORY}{fingerprint}.json" for fingerprint in result.options.get("history", ()) if result.stage == "build"
    ]
    for path in [*(f"{folder}/{NAME}" for folder in named_folders(result)), *replaced]:
        if path not in found.listing:
            fix = repaired(found, path)
            found.problems.append(Problem(path, "the manifest of a part of the result is missing", "no file", "", fix))


def named_folders(result: Manifest) -> list[str]:
    """The folders of stages that a result's manifest names."""
    options = result.options
    folders = [f"stages/{stage['stage']}" for stage in result.counts.get("funnel", ())]
    folders += [f"stages/{name}" for name in options.get("choices", {}).values()]
    folders += [options["rows_of"]] if "rows_of" in options else []
    if result.stage == "build":
        folders += [source["tokens"] for source in options["sources"].values()]
        folders.append(options["tokenizer"]["path"].rpartition("/")[0])
    for layer in options.get("layers", {}).values() if result.stage == "index" else ():
        folders += [f"stages/{one['made']['folder']}" for one in (*layer["additions"], *layer["runs"])]
    return sorted(set(folders))


def _check_size(found: Vouched, path: str, record: OutputFile) -> None:
    size = found.listing.get(path)
    if size == record.bytes:
        return
    what = "missing" if size is None else "cut short" if size < record.bytes else "longer than it was written"
    place = found.root / path
    broken = size is None and isinstance(place, Path) and place.is_symlink()
    seen = "a symbolic link to nothing" if broken else "no file" if size is None else f"{size:,} bytes"
    found.problems.append(Problem(path, what, seen, f"{record.bytes:,} bytes", repaired(found, path)))


def repaired(found: Vouched, path: str) -> str:
    """What brings a file of the output back."""
    result = found.result
    if result is not None and result.stage in RESULTS:
        return result.mending(found.root, path)
    if result is not None and result.stage == "index":
        from ..duplicates.index_layer import GONE

        return GONE
    command = "the command that made it" if result is None else f"midtrain {result.stage}"
    return f"remove {unit_of(path)} below {found.root}, and run {command} again: what is whole is kept"


def _stage_folder(path: str) -> str:
    """The stage's folder that a file lies in, `tokens/web-0123456789abcdef`; empty for what lies in none."""
    top, _, below = path.partition("/")
    name, inside, _ = below.partition("/")
    return f"{top}/{name}" if top in FOLDERS and inside else ""


def _text(value: object) -> str:
    return "" if value is None else str(value)

"""What a recipe reads: files found and hashed, and the size of the tasks that they are cut into.

The size is a function of the inputs alone (never of workers or memory), so every machine makes the same parts. Files
are held column by column: 200,000 of them are found and compared with the last run in about a second.
"""

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import listing, storage
from ..config import Loaded
from ..errors import ConfigError, RunError
from ..listing import Listed
from .known_files import KnownFiles
from .recipe import PARQUET, RecipeSpec, SourceSpec

MIN_SPLIT = 8 << 20  # bytes of text: below, a task's fixed costs (about 20 ms) would show
MAX_SPLIT = 256 << 20
SPLITS_WANTED = 64  # tasks that an input of middling size is cut into: enough for stragglers to even out
EXPANSION = 4  # decompressed bytes a compressed byte, for planning: text in gzip or zstd is 3 to 4
GENERATED_BYTES = 256  # bytes of text a problem, for planning


@dataclass(frozen=True)
class InputFile:
    """An input file: address, path relative to its source's root, size in bytes, xxh3-128 of its bytes.

    `row_groups` holds the decompressed size in bytes of each row group of a Parquet file, else it is empty.
    """

    source: str
    path: str
    relative: str
    size: int
    hash: str
    row_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class SourceFiles(Sequence[InputFile]):
    """The files of one source, sorted by path, column by column; the address of each is `root` + its relative path."""

    source: str
    root: str = ""
    relatives: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    hashes: tuple[str, ...] = ()
    row_groups: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.relatives)

    def __getitem__(self, number: int) -> InputFile:  # type: ignore[override] # no slices: a task has places, not files
        relative = self.relatives[number]
        size, digest, groups = self.sizes[number], self.hashes[number], self.row_groups[number]
        return InputFile(self.source, self.root + relative, relative, size, digest, groups)


@dataclass(frozen=True)
class Files(Sequence[InputFile]):
    """The files of all sources, in the recipe's order; a generated source has none."""

    sources: tuple[SourceFiles, ...]

    def __len__(self) -> int:
        return sum(map(len, self.sources))

    def __iter__(self) -> Iterator[InputFile]:
        for source in self.sources:
            yield from source

    def __getitem__(self, number: int) -> InputFile:  # type: ignore[override] # no slices
        for source in self.sources:
            if number < len(source):
                return source[number]
            number -= len(source)
        raise IndexError(number)

    @cached_property
    def by_source(self) -> dict[str, SourceFiles]:
        """The files of each source."""
        return {files.source: files for files in self.sources}

    def describe(self) -> dict[str, dict[str, str]]:
        """The inputs as a stage's fingerprint takes them: no absolute path, no stamp; sizes are in the hashes."""
        return {files.source: dict(zip(files.relatives, files.hashes, strict=True)) for files in self.sources if files}


@dataclass(frozen=True)
class Split:
    """A range of an input: bytes of an uncompressed file, row groups of Parquet, or numbers of problems.

    `stop` is exclusive; -1 is the end of the file. Lines, paragraphs and rows belong to the split they start in.
    `origin` is where the file at `path` begins in the stream that positions are counted in: 0, but for a piece of a
    compressed file.
    """

    source: str
    path: str
    relative: str
    start: int
    stop: int
    origin: int = 0


Task = tuple[Split, ...]


def find_inputs(loaded: Loaded[RecipeSpec], cache: storage.Location) -> Files:
    """Finds and hashes the input files of all sources, in the recipe's order, then by path.

    Args:
        loaded: the recipe.
        cache: `inputs.json`: what earlier runs learned.

    Raises:
        ConfigError: a path names no file, all files of a source are empty, or the cache cannot be written.
        RunError: a file cannot be read, or is no Parquet file.
    """
    with _no_collections():
        return _find_inputs(loaded, cache)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Keeps Python's collector of cycles away from 200,000 records without any, which it would walk again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _find_inputs(loaded: Loaded[RecipeSpec], cache: storage.Location) -> Files:
    sources = loaded.value.sources
    found = [_find(loaded, index, source) for index, source in enumerate(sources)]
    known = KnownFiles(cache)
    seen = iter(known.look([file for files in found for file in files]))
    known.save()
    columns = []
    for source, files in zip(sources, found, strict=True):
        looks = [next(seen) for _ in files]
        root = files[0][0].path.removesuffix(files[0][0].relative) if files else ""
        columns.append(
            SourceFiles(
                source.name,
                root,
                tuple(listed.relative for listed, _ in files),
                tuple(listed.size for listed, _ in files),
                tuple(look.hash for look in looks),
                tuple(look.row_groups for look in looks),
            )
        )
    return Files(tuple(columns))


def _find(loaded: Loaded[RecipeSpec], index: int, source: SourceSpec) -> list[tuple[Listed, bool]]:
    """The files of a source that are not empty, each with whether it is read as Parquet.

    Raises:
        ConfigError: there are none, or an ending says nothing.
        RunError: a file that must have bytes has none: it was cut short before its first one.
    """
    if source.path is None:
        return []
    where = ("sources", index, "path")
    listed = listing.list_files(source.path)
    if not listed:
        folder = not storage.is_remote(source.path) and Path(source.path).is_dir()
        fix = f"it is a folder: name the files in it, such as {source.path.rstrip('/')}/*.jsonl" if folder else ""
        raise loaded.error(where, f"source {source.name}: no such file", fix=fix or "check the path")
    files = [entry for entry in listed if entry.size]
    if not files:
        raise loaded.error(where, f"source {source.name} is empty: its files have no bytes")
    for entry in listed:
        if not entry.size and (compressed(entry.path) or entry.path.endswith(PARQUET)):
            raise RunError(
                "the file has no bytes: a compressed one, or one of Parquet, has some even where it holds nothing",
                where=entry.path,
                fix="replace the file or take it out of the source",
            )
    try:
        return [(entry, source.container(entry.path) == "parquet") for entry in files]
    except ConfigError as unknown:
        what = f"{unknown.what}: {unknown.where}"
        raise loaded.error(where, what, expected=unknown.expected, fix=unknown.fix) from None


def task_size(spec: RecipeSpec, files: Files) -> int:
    """The bytes of text that a task is to have, from the inputs alone."""
    total = sum(text_bytes(source, files) for source in spec.sources)
    return min(max(total // SPLITS_WANTED, MIN_SPLIT), MAX_SPLIT)


def text_bytes(source: SourceSpec, files: Files) -> int:
    """Bytes of text that a source is taken to have."""
    if source.format == "generated":
        return (source.count or 0) * len(source.tasks) * GENERATED_BYTES
    own = files.by_source[source.name]
    columns = zip(own.relatives, own.sizes, own.row_groups, strict=True)
    return sum(size * EXPANSION if groups else file_bytes(relative, size) for relative, size, groups in columns)


def file_bytes(relative: str, size: int) -> int:
    """Bytes of text that a file of so many bytes is taken to have."""
    return size * (EXPANSION if compressed(relative) else 1)


def compressed(path: str) -> bool:
    """Whether a file is a compressed stream, by its ending."""
    return path.endswith(storage.COMPRESSIONS)

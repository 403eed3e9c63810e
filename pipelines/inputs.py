"""What a recipe reads, cut into tasks: files found, hashed once, and split by bytes, row groups or counts.

The cut is a function of the inputs alone (sizes, never workers or memory), so every machine makes the same parts. The
first run hashes each input (xxh3, several GB/s); `inputs.json` keeps size and stamp, so the next one only stats them.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from .. import storage
from ..config import Loaded
from ..errors import ConfigError, RunError
from .recipe import RecipeSpec, SourceSpec

MIN_SPLIT = 8 << 20  # bytes of text: below, a task's fixed costs (about 20 ms) would show
MAX_SPLIT = 256 << 20
SPLITS_WANTED = 64  # tasks that an input of middling size is cut into: enough for stragglers to even out
EXPANSION = 4  # decompressed bytes a compressed byte, for planning: text in gzip or zstd is 3 to 4
MAX_COMPRESSED_SPLITS = 8  # a stream is decompressed from its start for each split: 8 cost 4.5 times one pass
GENERATED_SPLIT = 20_000  # problems a task
FOOTER = 1 << 20  # bytes that a request to a store brings beyond what was asked for, where a footer is read
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
class Split:
    """A range of an input: bytes of the decompressed stream, row groups of Parquet, or numbers of problems.

    `stop` is exclusive; -1 is the end of the file. Lines, paragraphs and rows belong to the split they start in.
    """

    source: str
    path: str
    relative: str
    start: int
    stop: int


Task = tuple[Split, ...]


def find_inputs(loaded: Loaded[RecipeSpec], cache: storage.Location) -> list[InputFile]:
    """Finds and hashes the input files of all sources, in the recipe's order, then by path.

    Args:
        loaded: the recipe.
        cache: `inputs.json`: path, size and stamp to hash, from earlier runs.

    Raises:
        ConfigError: a path names no file, all files of a source are empty, or the cache cannot be written.
    """
    found: list[tuple[SourceSpec, str, storage.Listed]] = []
    for index, source in enumerate(loaded.value.sources):
        if source.path is None:
            continue
        where = ("sources", index, "path")
        listed = storage.list_files(source.path)
        if not listed:
            folder = not storage.is_remote(source.path) and Path(source.path).is_dir()
            fix = f"it is a folder: name the files in it, such as {source.path.rstrip('/')}/*.jsonl" if folder else ""
            raise loaded.error(where, f"source {source.name}: no such file", fix=fix or "check the path")
        if not any(entry.size for entry in listed):
            raise loaded.error(where, f"source {source.name} is empty: its files have no bytes")
        try:
            found.extend((source, _key(entry, source), entry) for entry in listed if entry.size)
        except ConfigError as unknown:
            what = f"{unknown.what}: {unknown.where}"
            raise loaded.error(where, what, expected=unknown.expected, fix=unknown.fix) from None
    known = _read_cache(cache)
    jobs = {
        key: (entry.path, source.container(entry.path))
        for source, key, entry in found
        if key not in known or not entry.stamp
    }
    with ThreadPoolExecutor(4) as threads:  # hashing and reading release the interpreter lock
        for key, seen in zip(jobs, threads.map(lambda job: _first_look(*job), jobs.values()), strict=True):
            known[key] = seen
    if jobs:
        _write_cache(cache, {key: known[key] for _, key, _ in found})
    return [
        InputFile(source.name, entry.path, entry.relative, entry.size, known[key].hash, known[key].row_groups)
        for source, key, entry in found
    ]


@dataclass(frozen=True)
class _Seen:
    hash: str
    row_groups: tuple[int, ...]


def _first_look(path: str, container: str) -> _Seen:
    return _Seen(storage.hash_file(path), _row_group_sizes(path) if container == "parquet" else ())


def _row_group_sizes(path: str) -> tuple[int, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_ranges(path, FOOTER) as stream:
            metadata = pq.ParquetFile(stream).metadata
            return tuple(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    except (pa.ArrowInvalid, OSError) as error:
        raise RunError(f"is not a Parquet file: {error}", where=path, fix="remove or replace the file") from None


def split_inputs(spec: RecipeSpec, files: Sequence[InputFile]) -> list[Task]:
    """Cuts the inputs into tasks of about equal size; every task has one source, many small files share one."""
    estimates = {source.name: _estimate(source, files) for source in spec.sources}
    size = min(max(sum(estimates.values()) // SPLITS_WANTED, MIN_SPLIT), MAX_SPLIT)
    tasks: list[Task] = []
    for source in spec.sources:
        if source.format == "generated":
            tasks.extend(_generated(source))
        else:
            tasks.extend(_grouped([file for file in files if file.source == source.name], source, size))
    return tasks


def _generated(source: SourceSpec) -> list[Task]:
    total = source.count or 0
    size = max(GENERATED_SPLIT // len(source.tasks), 1)
    return [(Split(source.name, "", "", start, min(start + size, total)),) for start in range(0, total, size)]


def _grouped(files: Sequence[InputFile], source: SourceSpec, size: int) -> list[Task]:
    """One task a split of a large file; neighbouring small files together up to the size."""
    tasks: list[Task] = []
    gathered: list[Split] = []
    held = 0
    for file in files:
        splits = _cut(file, source, size)
        text = file.size * (EXPANSION if _compressed(file.path, source) else 1)
        if len(splits) > 1 or held + text > size:
            if gathered:
                tasks.append(tuple(gathered))
            gathered, held = [], 0
        if len(splits) > 1:
            tasks.extend((split,) for split in splits)
        else:
            gathered.extend(splits)
            held += text
    if gathered:
        tasks.append(tuple(gathered))
    return tasks


def _cut(file: InputFile, source: SourceSpec, size: int) -> list[Split]:
    container = source.container(file.path)
    if container == "parquet":
        return _row_groups(file, size)
    if container == "text" and source.document == "file":
        return [Split(source.name, file.path, file.relative, 0, -1)]
    text = file.size
    pieces = -(-text // size)
    if _compressed(file.path, source):
        text = file.size * EXPANSION
        pieces = min(-(-text // size), MAX_COMPRESSED_SPLITS)
    bounds = [text * piece // pieces for piece in range(pieces)] + [-1]
    return [Split(source.name, file.path, file.relative, bounds[i], bounds[i + 1]) for i in range(pieces)]


def _row_groups(file: InputFile, size: int) -> list[Split]:
    splits, start, held = [], 0, 0
    for index, group in enumerate(file.row_groups):
        if held and held + group > size:
            splits.append(Split(file.source, file.path, file.relative, start, index))
            start, held = index, 0
        held += group
    splits.append(Split(file.source, file.path, file.relative, start, -1))
    return splits


def _estimate(source: SourceSpec, files: Sequence[InputFile]) -> int:
    if source.format == "generated":
        return (source.count or 0) * len(source.tasks) * GENERATED_BYTES
    return sum(
        file.size * (EXPANSION if _compressed(file.path, source) else 1) for file in files if file.source == source.name
    )


def _compressed(path: str, source: SourceSpec) -> bool:
    return path.endswith(storage.COMPRESSIONS) or source.container(path) == "parquet"


def _key(entry: storage.Listed, source: SourceSpec) -> str:
    path = entry.path if storage.is_remote(entry.path) else str(Path(entry.path).resolve())
    parquet = "\tparquet" if source.container(entry.path) == "parquet" else ""  # a record that has row groups
    return f"{path}\t{entry.size}\t{entry.stamp}{parquet}"


def _read_cache(cache: storage.Location) -> dict[str, _Seen]:
    content = storage.read_if_there(cache)
    if content is None:
        return {}
    try:
        data = orjson.loads(content)
        return {key: _Seen(value["hash"], tuple(value["row_groups"])) for key, value in data.items()}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise ConfigError("is not the record of inputs that it should be", where=str(cache), fix="remove it") from None


def _write_cache(cache: storage.Location, known: dict[str, _Seen]) -> None:
    try:
        with storage.atomic_write(cache) as stream:
            stream.write(orjson.dumps(known, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
    except OSError as error:
        what = f"the record of inputs cannot be written: {error.strerror}"
        raise ConfigError(what, where=str(cache), fix="choose another output, or give access to it") from None


def describe(files: Sequence[InputFile], tasks: Sequence[Task]) -> dict[str, object]:
    """The inputs and their cut as a stage's fingerprint takes them: no absolute path, no stamp."""
    inputs = [
        {key: value for key, value in asdict(file).items() if key not in ("path", "row_groups")} for file in files
    ]
    cut = [[[split.source, split.relative, split.start, split.stop] for split in task] for task in tasks]
    return {"inputs": inputs, "tasks": cut}

"""What stands beside an imported checkpoint: where it came from, and its tokenizer.

A run's checkpoint is read with the shards that it was trained on; an imported one has none, and its tokenizer must be
found all the same. Costs one small file; torch is never imported here.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from ... import storage
from ...errors import ConfigError, RunError
from ...mixtures.tokenizers import Tokenizer
from .names import Layout
from .transformers_config import Skip

NAME: Final = "imported.json"
TOKENIZER: Final = "tokenizer"
ORIGINAL: Final = "midtrain"
"""Below an exported folder: what of ours transformers does not read, the tokenizer's own file among it."""
PROVENANCE: Final = "provenance.json"
FORMAT: Final = 1
_FILES: Final = ("tokenizer.json", "tokenizer.model", "tekken.json", "tokenizer.tiktoken")


@dataclass(frozen=True)
class Imported:
    """Where a checkpoint came from: folder, layout, meaning of the skip class; its tokenizer's file and ending."""

    source: str
    layout: Layout
    skip: Skip
    tokenizer: str
    end_of_document: str


def write(folder: Path, record: Imported) -> None:
    """Writes the record into the folder that holds `checkpoints/`."""
    with storage.atomic_write(folder / NAME) as stream:
        stream.write(orjson.dumps({"format": FORMAT, **asdict(record)}, option=orjson.OPT_INDENT_2) + b"\n")


def read(folder: str | Path) -> Imported | None:
    """The record of a folder, None where it has none.

    Raises:
        RunError: the file is no such record.
    """
    path = Path(folder) / NAME
    data = storage.read_if_there(path)
    if data is None:
        return None
    try:
        body: Any = orjson.loads(data)
        if body.pop("format") != FORMAT:
            raise ValueError
        return Imported(**body)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RunError("is not the record of an import", where=str(path), fix="import the model again") from None


def open_tokenizer(folder: Path, record: Imported) -> Tokenizer:
    """The tokenizer of an imported checkpoint; who reads ids with it compares its hash with the checkpoint's.

    Raises:
        ConfigError: its file is not there, or is none.
    """
    return Tokenizer.open(folder / TOKENIZER / record.tokenizer, record.end_of_document)


def tokenizer_of(folder: Path, path: str | None = None, end_of_document: str | None = None) -> Tokenizer:
    """The tokenizer of a folder of transformers, or the one named for it.

    A folder that `midtrain export` wrote says which file and which end of document the model was trained with.

    Args:
        folder: of transformers.
        path: another tokenizer file.
        end_of_document: the token that ends documents; by default the one that was recorded, or the only one known.

    Raises:
        ConfigError: there is none, or its end of document is not known.
    """
    if path is None:
        kept = _provenance(folder)
        if kept is not None:
            path = str(folder / ORIGINAL / kept["tokenizer"])
            end_of_document = end_of_document or kept["end_of_document"]
    if path is None:
        present = [name for name in _FILES if (folder / name).is_file()]
        if not present:
            raise ConfigError(
                "the folder has no tokenizer file",
                where=str(folder),
                expected=" or ".join(_FILES),
                fix="name it: --tokenizer FILE",
            )
        path = str(folder / present[0])
    return Tokenizer.open(path, end_of_document)


def tokenizer_hashes(folder: Path) -> tuple[str, ...]:
    """The hashes of all tokenizer files of a folder: shards built with any of them have the model's ids."""
    from ...mixtures.tokenizer_identity import file_hash

    present = [folder / ORIGINAL / name for name in _FILES] + [folder / name for name in _FILES]
    return tuple(dict.fromkeys(file_hash(path) for path in present if path.is_file()))


def _provenance(folder: Path) -> Any:
    data = storage.read_if_there(folder / ORIGINAL / PROVENANCE)
    if data is None:
        return None
    try:
        found = orjson.loads(data)
        if isinstance(found["tokenizer"], str) and isinstance(found["end_of_document"], str):
            return found
        raise ValueError
    except (KeyError, TypeError, ValueError):
        path = str(folder / ORIGINAL / PROVENANCE)
        raise RunError("is not the provenance of an export", where=path, fix="remove it") from None

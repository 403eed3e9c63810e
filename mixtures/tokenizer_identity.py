"""Which tokenizer made some tokens: what of it every reader of the tokens must agree with.

Ids mean nothing without the tokenizer that gave them, and another one decodes them to something without an error; so
its hash, width, special ids and end of document stand in the manifest, and each reader compares. Costs the reading and
hashing of the file, 10 ms for 10 MB.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import xxhash

from ..errors import RunError
from .repair import mending_of

if TYPE_CHECKING:  # who only reads tokens needs no encoder
    from .tokenizers import Tokenizer

SETTINGS: Final = ".settings.json"
"""Behind a file's name: where what is named beside a file of tiktoken is kept."""
_UINT16_WORDS: Final = 65_536


def width_of(vocab_size: int) -> str:
    """The type in which shards hold ids: uint16 up to 65,536 words, else uint32."""
    return "uint16" if vocab_size <= _UINT16_WORDS else "uint32"


def file_hash(path: Path) -> str:
    """xxh3-128 of a tokenizer's file, and of the settings behind it where there are some."""
    beside = path.with_name(f"{path.name}{SETTINGS}")
    return xxhash.xxh3_128_hexdigest(path.read_bytes() + (beside.read_bytes() if beside.exists() else b""))


@dataclass(frozen=True)
class Identity:
    """A tokenizer as a manifest records it.

    Attributes:
        kind: of its file.
        hash: as `file_hash`.
        vocab_size: the largest id and one.
        dtype: the width of ids in shards.
        end_of_document: the id that ends every document; end_of_document_text is its spelling.
        special: the ids that no text can give, by their spelling.
    """

    kind: str
    hash: str
    vocab_size: int
    dtype: str
    end_of_document: int
    end_of_document_text: str
    special: Mapping[str, int]

    @classmethod
    def of(cls, tokenizer: "Tokenizer") -> "Identity":
        """That of an open tokenizer."""
        return cls(
            tokenizer.kind,
            tokenizer.hash,
            tokenizer.vocab_size,
            tokenizer.dtype.name,
            tokenizer.end_of_document,
            tokenizer.end_of_document_text,
            dict(tokenizer.special),
        )

    @classmethod
    def read(cls, record: Mapping[str, Any], where: str) -> "Identity":
        """That of a manifest's record, held against itself.

        Raises:
            RunError: a field is missing, or the width or the end of document does not fit the others.
        """
        missing = [field.name for field in fields(cls) if field.name not in record]
        if missing:
            raise RunError(
                f"the record of the tokenizer lacks {', '.join(missing)}",
                where=where,
                seen=", ".join(record),
                expected=", ".join(field.name for field in fields(cls)),
                fix="build again with this version",
            )
        found = cls(**{field.name: record[field.name] for field in fields(cls)})
        for name, seen, expected in (
            ("dtype", found.dtype, width_of(found.vocab_size)),
            ("end_of_document", found.special.get(found.end_of_document_text), found.end_of_document),
            ("special ids", [one for one in found.special.values() if not 0 <= one < found.vocab_size], []),
        ):
            if seen != expected:
                raise RunError(
                    f"the record of the tokenizer contradicts itself: {name}",
                    where=where,
                    seen=seen,
                    expected=expected,
                    fix=f"the manifest was altered: remove {where} and run midtrain build again",
                )
        return found

    def record(self) -> dict[str, Any]:
        """What a manifest holds of it."""
        return asdict(self)

    def check_file(self, path: Path) -> None:
        """Compares a tokenizer's file with the one that is recorded.

        Raises:
            RunError: it is another one; names both.
        """
        seen = file_hash(path)
        if seen != self.hash:
            raise self._other("hash", str(path), seen, self.hash, mending_of(path))

    def check(self, tokenizer: "Tokenizer") -> None:
        """Compares an open tokenizer with the one that is recorded.

        Raises:
            RunError: they differ; names the first thing in which they do, as both have it.
        """
        other = Identity.of(tokenizer)
        for field in fields(self):
            seen, expected = getattr(other, field.name), getattr(self, field.name)
            if seen != expected:
                raise self._other(field.name, tokenizer.path, _shown(seen, expected), _shown(expected, seen))

    def _other(self, what: str, where: str, seen: object, expected: object, fix: str = "") -> RunError:
        return RunError(
            "the tokenizer is not the one that made the shards",
            where=where,
            seen=seen if what == "hash" else f"{what} {seen}",
            expected=expected if what == "hash" else f"{what} {expected}",
            fix=fix or "name the file that made them, or build them anew with this one into another output",
        )


def _shown(value: Any, other: Any) -> object:
    """Of two mappings, what only the first has; of anything else, itself."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return dict(list(value.items() - other.items())[:8])
    return value

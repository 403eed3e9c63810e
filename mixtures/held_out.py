"""Which documents are held out: those with the smallest seeded hash, by id, or by problem for reasoning.

A problem that is held out in one source is held out in all, whatever its id, so the key of a record with messages is
that of its first user message with white space collapsed. Costs one 64-bit hash a document.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash


def document_key(seed: int, identity: str) -> int:
    """xxh3-64 of (seed, id)."""
    return xxhash.xxh3_64_intdigest(f"{seed}\0{identity}".encode())


def problem_key(seed: int, messages: Sequence[dict[str, Any]]) -> int:
    """xxh3-64 of (seed, first user message with white space collapsed); the first turn where no user speaks."""
    first = next((message for message in messages if message["role"] == "user"), messages[0])
    return xxhash.xxh3_64_intdigest(f"{seed}\0{' '.join(str(first['content']).split())}".encode())


def keys(
    seed: int, identities: Sequence[str], messages: Sequence[Sequence[dict[str, Any]] | None]
) -> npt.NDArray[np.uint64]:
    """uint64[n]: the key of each document: by problem where it has messages, else by id."""
    values = [
        problem_key(seed, turns) if turns else document_key(seed, identity)
        for identity, turns in zip(identities, messages, strict=True)
    ]
    return np.array(values, np.uint64)


def smallest(found: npt.NDArray[np.uint64], wanted: float) -> npt.NDArray[np.uint64]:
    """The distinct smallest keys that cover the wanted number of documents.

    Args:
        found: uint64[n], one key a document; documents of one problem share theirs.
        wanted: a share of the documents below 1, or a number of them.

    Returns:
        Sorted keys; with shared keys they cover at least the number wanted.
    """
    count = round(wanted * len(found)) if wanted < 1 else int(wanted)
    if count <= 0 or len(found) == 0:
        return np.empty(0, np.uint64)
    return np.unique(np.sort(found)[:count])

"""Tokens of chunks by our kernels and by spaCy, chunk by chunk."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import spacy
from midtrain.filters.english import tables
from midtrain.filters.english.tokenizer import tokenize
from numba import njit

Tokens = list[list[str]]
Bytes = npt.NDArray[np.uint8]


# Compiled anew in each session: Numba's cache would not see that the tokenizer changed.
@njit(nogil=True, error_model="numpy")
def _tokenize_all(
    text: Any,
    offsets: Any,
    pages: Any,
    classes: Any,
    lengths: Any,
    slots: Any,
    strings: Any,
    masks: Any,
    stops: Any,
    counts: Any,
) -> None:
    written = 0
    for chunk in range(len(counts)):
        start, stop = np.uint64(offsets[chunk]), np.uint64(offsets[chunk + 1])
        room = stops[written : written + np.int64(stop - start)]
        counts[chunk] = tokenize(text, start, stop, pages, classes, lengths, slots, strings, masks, room)
        written += counts[chunk]


def _stops(text: Bytes, offsets: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    stops = np.empty(len(text), np.int32)
    counts = np.empty(len(offsets) - 1, np.int64)
    _tokenize_all(text, offsets, *tables.arrays(), stops, counts)
    return stops, counts


@pytest.fixture(scope="session")
def our_stops() -> Callable[[bytes], npt.NDArray[np.int32]]:
    """Where each token of one chunk stops, in bytes."""

    def find(chunk: bytes) -> npt.NDArray[np.int32]:
        stops, counts = _stops(np.frombuffer(chunk, np.uint8), np.array([0, len(chunk)], np.int64))
        return stops[: counts[0]]

    return find


@pytest.fixture(scope="session")
def our_tokens() -> Callable[[Sequence[str]], Tokens]:
    """The tokens of each chunk, as our kernels cut it."""

    def cut(chunks: Sequence[str]) -> Tokens:
        encoded = [chunk.encode() for chunk in chunks]
        text = np.frombuffer(b"".join(encoded), np.uint8)
        offsets = np.concatenate(([0], np.cumsum([len(piece) for piece in encoded], dtype=np.int64)))
        stops, counts = _stops(text, offsets)
        tokens, written = [], 0
        for piece, count in zip(encoded, counts.tolist(), strict=True):
            ends = stops[written : written + count].tolist()
            tokens.append([piece[a:b].decode() for a, b in zip([0, *ends], ends, strict=False)])
            written += count
        return tokens

    return cut


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """spaCy's blank English tokenizer."""
    return spacy.blank("en").tokenizer


@pytest.fixture(scope="session")
def spacy_tokens(tokenizer: Any) -> Callable[[Sequence[str]], Tokens]:
    """The tokens of each chunk as spaCy cuts it, in a memory zone as datatrove does: outside, its cache has a say."""

    def cut(chunks: Sequence[str]) -> Tokens:
        with tokenizer.vocab.memory_zone():
            return [[token.text for token in tokenizer(chunk)] for chunk in chunks]

    return cut


@pytest.fixture(scope="session")
def check_chunks(
    our_tokens: Callable[[Sequence[str]], Tokens], spacy_tokens: Callable[[Sequence[str]], Tokens]
) -> Callable[[Sequence[str]], None]:
    """Fails with the first chunks that the two cut differently."""

    def check(chunks: Sequence[str]) -> None:
        pairs = zip(chunks, our_tokens(chunks), spacy_tokens(chunks), strict=True)
        assert [(chunk, ours, theirs) for chunk, ours, theirs in pairs if ours != theirs][:5] == []

    return check

"""What encodes texts to ids: our own byte pairs where they give the library's ids, else the library itself.

All take texts as UTF-8 bytes one behind the other, as they stand in an Arrow column, and give ids the same way. A
library costs its own time (2 to 5 MB a second of one core), a Python string a text and a Python integer a token, and
memory for 4 million characters at once; a longer text is encoded as a whole, in the library's own time and memory.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

Kind = Literal["tokenizer.json", "sentencepiece", "tiktoken", "tekken"]
Encoded = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
_SLICE_BYTES: Final = 4_000_000


class Encoder(Protocol):
    """What makes ids of texts."""

    def encode(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None) -> Encoded:
        """The ids of texts one behind the other, and where each text's ids end.

        Args:
            data: valid UTF-8.
            offsets: int64[n + 1], where each text begins and the last one ends in `data`.
            end: an id that is put behind each text.

        Returns:
            uint32[t] and int64[n].
        """
        ...


class Decoder(Protocol):
    """What makes texts of ids."""

    def __call__(self, ids: list[int], skip_special: bool, continued: bool) -> str:
        """The text of ids that are words; `continued` and `skip_special` as `Tokenizer.decode` has them."""
        ...


@dataclass(frozen=True)
class Contents:
    """What a tokenizer file holds, whatever its kind.

    Attributes:
        kind: of the file.
        is_word: bool[vocabulary], the ids that stand for something.
        inside_characters: bool[vocabulary], those whose bytes begin inside a character.
        special: the control tokens by their spelling.
        end_of_document: the spelling of the one that ends documents.
        encoder: makes ids of texts, and no special ones.
        decode: the text of ids that are words.
    """

    kind: Kind
    is_word: npt.NDArray[np.bool_]
    inside_characters: npt.NDArray[np.bool_]
    special: Mapping[str, int]
    end_of_document: str
    encoder: Encoder
    decode: Decoder


class PieceDecoder:
    """Decodes ids by joining the bytes of their pieces; special tokens are spelled out.

    Args:
        pieces: the bytes of every word but special ones.
        special: the control tokens by their spelling.
        strip: whether a space that begins a text was put there by the encoder.
    """

    def __init__(self, pieces: Mapping[int, bytes], special: Mapping[str, int], strip: bool = False) -> None:
        self._pieces = pieces
        self._spelling = {number: text.encode() for text, number in special.items()}
        self._strip = strip

    def __call__(self, ids: list[int], skip_special: bool, continued: bool) -> str:
        """As `Decoder`; bytes that are no UTF-8 become U+FFFD."""
        known = (
            self._pieces[number] if number in self._pieces else b"" if skip_special else self._spelling[number]
            for number in ids
        )
        text = b"".join(known).decode(errors="replace")
        begins = self._strip and not continued and ids and ids[0] in self._pieces
        return text.removeprefix(" ") if begins else text


class LibraryDecoder:
    """Decodes with the tokenizers library, whose decoders may strip what begins a text.

    Args:
        library: has a `decode`.
        special: ids of the control tokens.
        end: one of them. Ids that go on are decoded behind it, so that nothing of theirs begins the text.
    """

    def __init__(self, library: Any, special: frozenset[int], end: int) -> None:
        self._library = library
        self._special = special
        self._end = end
        self._spelled = str(library.decode([end], skip_special_tokens=False))

    def __call__(self, ids: list[int], skip_special: bool, continued: bool) -> str:
        """As `Decoder`."""
        if not continued:
            return str(self._library.decode(ids, skip_special_tokens=skip_special))
        shown = [number for number in ids if number not in self._special] if skip_special else ids
        return str(self._library.decode([self._end, *shown], skip_special_tokens=False)).removeprefix(self._spelled)


class LibraryEncoder:
    """Encodes with the tokenizers library; `library` has an `encode_batch_fast`."""

    def __init__(self, library: Any) -> None:
        self._library = library

    def encode(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None) -> Encoded:
        """As `Encoder.encode`; a slice at a time, which bounds the library's memory."""
        return encoded_by(self._encode_slice, data, offsets, end)

    def _encode_slice(self, texts: list[str]) -> list[list[int]]:
        encodings = self._library.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]


def encoded_by(
    encode: Callable[[list[str]], list[list[int]]],
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    end: int | None,
) -> Encoded:
    """The ids that a function of Python strings gives, as arrays."""
    behind = [] if end is None else [end]
    ids = [np.zeros(0, np.uint32)]
    lengths: list[int] = []
    for first, last in _slices(offsets):
        bounds = itertools.pairwise(offsets[first : last + 1].tolist())
        texts = [data[start:stop].tobytes().decode() for start, stop in bounds]
        lists = [[*found, *behind] for found in encode(texts)]
        lengths += map(len, lists)
        ids.append(np.fromiter(itertools.chain.from_iterable(lists), np.uint32, sum(map(len, lists))))
    return np.concatenate(ids), np.cumsum(np.array(lengths, np.int64))


class AddedWords:
    """Texts that hold an added word go to the library, which cuts them there; the others to our own encoder.

    Added words are those of a tokenizer.json that are no control tokens: runs of spaces, say.
    """

    def __init__(self, words: Sequence[str], ours: Encoder, library: Encoder) -> None:
        self._pattern = re.compile(b"|".join(re.escape(word.encode()) for word in words))
        self._ours = ours
        self._library = library

    def encode(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None) -> Encoded:
        """As `Encoder.encode`."""
        whole = data.data
        bounds = list(itertools.pairwise(offsets.tolist()))
        added = np.array([bool(self._pattern.search(whole, start, stop)) for start, stop in bounds], np.bool_)
        if not added.any():
            return self._ours.encode(data, offsets, end)
        runs: list[Encoded] = []
        edges = [0, *(np.flatnonzero(added[1:] != added[:-1]) + 1).tolist(), len(added)]
        for first, last in itertools.pairwise(edges):
            encoder = self._library if added[first] else self._ours
            runs.append(encoder.encode(data, offsets[first : last + 1], end))
        before = np.cumsum([0, *(len(ids) for ids, _ in runs[:-1])])
        ends = [ends + start for (_, ends), start in zip(runs, before.tolist(), strict=True)]
        return np.concatenate([ids for ids, _ in runs]), np.concatenate(ends)


def _slices(offsets: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Consecutive texts of about _SLICE_BYTES together, as first and behind the last; a longer one stands alone."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _SLICE_BYTES, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last

"""An encoder of byte-pair tokenizers: the tables that the kernels work with, made from merges or from ranks.

Three families of files say the same in different words: merges in order (tokenizer.json), tokens in order (tiktoken,
tekken), and pieces with scores (SentencePiece). Costs 0.1 to 0.5 s to make and 30 to 60 MB; encodes 20 to 100 MB of web
text a second of one core.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import byte_pair_kernels as kernels
from .byte_pair_kernels import Memory, Model
from .split_automaton import Splits

WINDOW = 1 << 14
_SLOTS, _TEXT, _IDS = 1 << 19, 1 << 23, 1 << 21  # of what is remembered: 30 MB when it is full

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Pairs:
    """Which neighbours merge: int32 arrays of equal length, `rank` the place in the order of merging."""

    left: Ids
    right: Ids
    rank: Ids
    both: Ids


@dataclass(frozen=True)
class Symbols:
    """What texts are made of before any merge.

    `ids` int32[256], one a byte; or int32[CODE_POINTS], one a character and UNKNOWN for those without, which become
    the `fallback` int32[256] of their bytes. A character without an id is a piece of its own.
    """

    ids: Ids
    fallback: Ids


class BytePairs:
    """Encodes texts, and remembers pieces; may be used by several threads, one at a time.

    Args:
        splits: how texts are cut into pieces.
        symbols: what pieces are made of.
        pairs: which neighbours merge.
        lengths: int32[vocabulary], the symbols of each token that merges make.
        words: pieces that are one token whatever the merges say.
        window: symbols of a long piece that are encoded at once; WINDOW by default.
    """

    def __init__(
        self,
        splits: Splits,
        symbols: Symbols,
        pairs: Pairs,
        lengths: Ids,
        words: Mapping[bytes, int] | None = None,
        window: int | None = None,
    ) -> None:
        keys = np.full(_capacity(len(pairs.left)), ~np.uint64(0), np.uint64)
        values = np.zeros(len(keys), np.int64)
        kernels.fill_pairs(keys, values, pairs.left, pairs.right, pairs.rank, pairs.both)
        arena, starts = _joined(words or {})
        slots = np.full(_capacity(len(starts) - 1) if words else 0, kernels.UNKNOWN, np.int32)
        kernels.fill_words(slots, arena, starts)
        longest = int(lengths.max(initial=1))
        window = max(window or WINDOW, 2 * longest)
        self._model = Model(
            classes=splits.classes,
            table=splits.table,
            starts=splits.starts,
            symbols=symbols.ids,
            fallback=symbols.fallback,
            pair_keys=keys,
            pair_values=values,
            word_slots=slots,
            word_bytes=arena,
            word_starts=starts,
            word_ids=np.array(list((words or {}).values()), np.int32),
            lengths=np.maximum(lengths, 1),
            window=window,
            margin=min(4 * longest, window // 2),
        )
        self._memory = Memory(
            np.zeros((_SLOTS, 3), np.int64), np.empty(_TEXT, np.uint8), np.empty(_IDS, np.int32), np.zeros(4, np.int64)
        )
        self._lock = threading.Lock()

    def encode(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], end: int | None
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of texts one behind the other, and where each text's ids end.

        Args:
            data: valid UTF-8.
            offsets: int64[n + 1], where each text begins and the last one ends in `data`.
            end: an id that is put behind each text.

        Returns:
            uint32[t] and int64[n].
        """
        ends = np.empty(len(offsets) - 1, np.int64)
        # Pages that no id is written to are never had.
        out = np.empty(int(offsets[-1] - offsets[0]) + len(ends), np.uint32)
        with self._lock:
            filled = kernels.encode(self._model, self._memory, data, offsets, -1 if end is None else end, out, ends)
        return out[:filled].copy(), ends


def pairs_of_merges(merges: Iterable[tuple[str, str]], ids: Mapping[str, int]) -> Pairs:
    """Pairs from merges in order.

    Raises:
        KeyError: a part or a result is no word.
    """
    table = np.array([(ids[left], ids[right], ids[left + right]) for left, right in merges], np.int32).reshape(-1, 3)
    columns = (np.ascontiguousarray(column) for column in table.T)
    left, right, both = columns
    return Pairs(left, right, np.arange(len(left), dtype=np.int32), both)


def pairs_of_tokens(tokens: Sequence[bytes], ids: Ids, ranks: Ids, characters: bool) -> Pairs:
    """Pairs from tokens: two neighbours merge where both together are a token, in the order of its rank.

    Args:
        tokens: distinct.
        ids: int32[n].
        ranks: int32[n], the lowest is merged first.
        characters: whether tokens are made of characters, and not of bytes.
    """
    arena, starts = _joined(tokens)
    slots = np.full(_capacity(len(tokens)), kernels.UNKNOWN, np.int32)
    kernels.fill_words(slots, arena, starts)
    left, right, both = kernels.token_splits(arena, starts, slots, characters)
    return Pairs(ids[left], ids[right], ranks[both], ids[both])


def _capacity(entries: int) -> int:
    return 1 << max(4, (2 * entries).bit_length())


def _joined(words: Iterable[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Words one behind the other, and their n + 1 offsets."""
    kept = list(words)
    starts = np.array([0, *itertools.accumulate(map(len, kept))], np.int64)
    return np.frombuffer(b"".join(kept), np.uint8), starts

"""Byte pairs: the ids of merging by rank, whatever is remembered, and however long a piece is."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.encoders import byte_pairs, split_patterns
from midtrain.mixtures.encoders.byte_pairs import BytePairs, Pairs, Symbols, pairs_of_merges, pairs_of_tokens
from midtrain.mixtures.encoders.character_classes import CODE_POINTS
from midtrain.mixtures.encoders.split_automaton import compile_splits

WHOLE = compile_splits(())  # a text is one piece
WORDS = compile_splits((split_patterns.parse(" ?[^ ]+| +"),))
quick = settings(deadline=None, max_examples=200)


def merge_plainly(symbols: list[int], ranks: dict[tuple[int, int], tuple[int, int]]) -> list[int]:
    """The lowest rank first, of equal ones the leftmost, one merge at a time."""
    while True:
        found = [(ranks[pair][0], place) for place, pair in enumerate(pairwise(symbols)) if pair in ranks]
        if not found:
            return symbols
        _, place = min(found)
        symbols = [*symbols[:place], ranks[symbols[place], symbols[place + 1]][1], *symbols[place + 2 :]]


@st.composite
def merges(draw) -> list[tuple[str, str]]:
    """Merges in order over two letters and a space: each of what stands already."""
    words = list("ab ")
    made = []
    for _ in range(draw(st.integers(0, 14))):
        pair = draw(st.sampled_from(words)), draw(st.sampled_from(words))
        if "".join(pair) not in words and len("".join(pair)) <= 9:
            words.append("".join(pair))
            made.append(pair)
    return made


def tokenizer_of(made: list[tuple[str, str]], splits=WHOLE, words: bool = False, window: int = 1 << 14):
    """A tokenizer by bytes with these merges, and the same as plain Python."""
    ids = {chr(byte): byte for byte in range(256)}
    ids |= {"".join(pair): 256 + rank for rank, pair in enumerate(made)}
    symbols = np.arange(256, dtype=np.int32)
    whole = {word.encode(): number for word, number in ids.items()} if words else None
    lengths = np.array(list(map(len, ids)), np.int32)
    ours = BytePairs(splits, Symbols(symbols, symbols), pairs_of_merges(made, ids), lengths, whole, window)
    ranks = {(ids[a], ids[b]): (rank, ids[a + b]) for rank, (a, b) in enumerate(made)}
    return ours, lambda text: merge_plainly(list(text.encode()), ranks)


def encode(ours: BytePairs, texts: list[str], end: int | None = None) -> list[list[int]]:
    encoded = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, encoded)])
    ids, ends = ours.encode(np.frombuffer(b"".join(encoded), np.uint8), offsets, end)
    assert (ids.dtype, ends.dtype) == (np.uint32, np.int64)
    return [part.tolist() for part in np.split(ids, ends)[:-1]]


LETTERS = st.text("ab ", max_size=30)


@quick
@given(merges(), st.lists(LETTERS, max_size=4))
def test_merges_are_done_by_rank_from_the_left(made, texts):
    ours, plainly = tokenizer_of(made)
    assert encode(ours, texts) == [plainly(text) for text in texts]
    assert encode(ours, texts, end=7) == [[*plainly(text), 7] for text in texts]  # by now all are remembered


@quick
@given(
    merges(),
    st.text("ab", min_size=200, max_size=400) | st.sampled_from(["a", "ab", "aab", "b a"]).map(lambda x: x * 120),
)
def test_a_long_piece_in_windows_has_the_ids_of_the_whole(made, text):
    for window in (4, 11, 64):  # raised to twice the longest token
        ours, plainly = tokenizer_of(made, window=window)
        assert ours._model.window < len(text)
        assert encode(ours, [text]) == [plainly(text)]


@quick
@given(merges(), st.integers(40, 90), st.randoms(use_true_random=False))
def test_the_heap_gives_what_looking_at_all_pairs_gives(made, length, random):
    ours, plainly = tokenizer_of(made)
    text = "".join(random.choices("aab ", k=length))
    assert encode(ours, [text]) == [plainly(text)]


@quick
@given(merges(), st.lists(st.text("ab ", max_size=60), min_size=1, max_size=30))
def test_a_memory_that_overflows_changes_nothing(made, texts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_pairs, "_SLOTS", 8)
        patch.setattr(byte_pairs, "_TEXT", 150)
        patch.setattr(byte_pairs, "_IDS", 140)
        ours, plainly = tokenizer_of(made, splits=WORDS)
    for _ in range(2):
        for text, ids in zip(texts, encode(ours, texts), strict=True):
            assert ids == [number for piece in _pieces(text) for number in plainly(piece)]


def _pieces(text: str) -> list[str]:
    found: list[str] = []
    while text:
        rest = text.removeprefix(" ")
        word = rest[: rest.find(" ")] if " " in rest else rest
        piece = text[: len(text) - len(rest) + len(word)] if word else text[: len(text) - len(text.lstrip(" "))]
        found.append(piece)
        text = text[len(piece) :]
    return found


def test_a_word_is_one_token_whatever_the_merges_say():
    made = [("a", "b"), ("b", "a"), ("b", "ab"), ("ba", "bab")]  # the last two are never reached by merging
    alone, plainly = tokenizer_of(made, splits=WORDS)
    whole, _ = tokenizer_of(made, splits=WORDS, words=True)
    assert encode(alone, ["babab"]) == [plainly("babab")]
    assert len(plainly("babab")) > 1
    assert encode(whole, ["babab"]) == [[259]]
    assert encode(whole, ["bababb"]) == encode(alone, ["bababb"])


@quick
@given(st.sets(st.text("abé中", min_size=2, max_size=5), max_size=12), st.randoms(use_true_random=False), LETTERS)
def test_tokens_merge_by_the_rank_of_what_they_make(longer, random, letters):
    words = [*"ab é中", *sorted(longer)]
    ranks = [0] * 5 + [random.randrange(4) for _ in longer]  # equal ranks: the leftmost first
    text = letters + "".join(random.choices("abé中☃", k=60))
    ids = np.arange(len(words), dtype=np.int32)
    pairs = pairs_of_tokens([word.encode() for word in words], ids, np.array(ranks, np.int32), characters=True)
    symbols = np.full(CODE_POINTS, -1, np.int32)
    symbols[list(map(ord, "ab é中"))] = range(5)
    fallback = np.arange(1000, 1256, dtype=np.int32)
    alone = split_patterns.Set(np.arange(CODE_POINTS) == ord("☃"))
    others = split_patterns.Repeat(split_patterns.Set(~alone.mask), 1, None)
    splits = compile_splits((split_patterns.Choice((alone, others)),))
    lengths = np.array(list(map(len, words)), np.int32)
    by_pair = {
        (words.index(word[:cut]), words.index(word[cut:])): (ranks[number], number)
        for number, word in enumerate(words)
        for cut in range(1, len(word))
        if word[:cut] in words and word[cut:] in words
    }
    expected: list[int] = []
    for place, run in enumerate(text.split("☃")):
        expected += [1000 + byte for byte in "☃".encode()] if place else []
        expected += merge_plainly(["ab é中".index(sign) for sign in run], by_pair)
    for window in (4, 1 << 14):
        ours = BytePairs(splits, Symbols(symbols, fallback), pairs, lengths, window=window)
        assert encode(ours, [text]) == [expected]


def test_pairs_of_merges_that_name_no_word_are_refused():
    with pytest.raises(KeyError):
        pairs_of_merges([("a", "b")], {"a": 0, "b": 1})
    assert isinstance(pairs_of_merges([], {}), Pairs)

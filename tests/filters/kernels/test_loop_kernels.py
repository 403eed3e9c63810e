"""Each measure of repetition against plain Python, on texts that repeat and on real traces with planted loops."""

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels.loop_kernels import LEAST, MEASURES, REPEATS, SHORTEST, measure, room

SENTENCE = rb"\n|(?<=[.!?])[\t\x0b\x0c\r ]|(?:(?<=\xe3\x80\x82)|(?<=\xef\xbc[\x81\x9f]))(?!\n)"
SPACE = "\t\n\x0b\x0c\r "
TEXTS = st.lists(
    st.sampled_from(
        [
            "Wait, that is not so. ",
            "So ",
            "x = 12. ",
            "y = 7!\n",
            "\n",
            "maybe, maybe, ",
            "é日",
            "  ",
            "no.",
            "所以我们再算一遍。",
            "はい！",
            "对？",
            "算",
        ]
    )
    | st.text(st.sampled_from("ab. \n?"), max_size=4),
    max_size=30,
).map("".join)


def measured(texts: list[str], size: int = 3) -> np.ndarray:
    data = [text.encode() for text in texts]
    sizes = np.array([len(one) for one in data], np.int64)
    stop = np.cumsum(sizes)
    start = stop - sizes
    longest = max(map(len, data), default=0)
    values = np.zeros((len(data), MEASURES))
    buffer = np.frombuffer(b"".join(data) or b" ", np.uint8)
    fail, table = np.empty(longest + 1, np.int32), np.empty(2 * room(longest), np.uint64)
    measure(buffer, start, stop, size, fail, table, values)
    return values


def duplicates(text: bytes, pattern: bytes) -> float:
    pieces = [piece.strip(SPACE.encode()) for piece in re.split(pattern, text)]
    seen, again = set(), 0
    for piece in pieces:
        if len(piece) >= SHORTEST:
            again += len(piece) * (piece in seen)
            seen.add(piece)
    total = sum(map(len, pieces))
    return again / total if total else 0.0


def ngrams(text: bytes, size: int) -> float:
    words = re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\u3040-\u30ff\u3400-\u9fff\t-\r ]+", text.decode())
    seen, covered = set(), set()
    for end in range(size, len(words) + 1):
        gram = tuple(words[end - size : end])
        if gram in seen:
            covered |= set(range(end - size, end))
        seen.add(gram)
    return len(covered) / len(words) if words else 0.0


def tail(text: bytes) -> float:
    folded = re.sub(rb"[0-9]", b"0", text)
    for length in range(len(folded), LEAST - 1, -1):
        end = folded[len(folded) - length :]
        if any(end[period:] == end[:-period] for period in range(1, length // REPEATS + 1)):
            return length / len(folded)
    return 0.0


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=4), st.integers(2, 5))
def test_measures_are_those_of_plain_python(texts: list[str], size: int) -> None:
    for text, values in zip(texts, measured(texts, size), strict=True):
        data = text.encode()
        assert values[0] == duplicates(data, rb"\n")
        assert values[1] == duplicates(data, SENTENCE)
        assert values[2] == ngrams(data, size)
        assert values[3] == tail(data)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(min_size=1, max_size=12), st.integers(5, 60), st.text(max_size=8))
def test_a_periodic_end_is_as_long_as_it_is(head: str, period: str, times: int, rest: str) -> None:
    text = head + period * times + period[: len(rest)]
    assert measured([text])[0][3] == tail(text.encode())


def test_a_loop_without_white_space_is_a_loop() -> None:
    thought = "".join(chr(0x4E00 + 7 * number) for number in range(300))
    values = measured([thought + "让我再想一想这个问题。" * 40 + thought[::-1]], 8)[0]
    assert values[1] > 0.3
    assert values[2] > 0.4


def test_a_loop_that_counts_is_a_loop() -> None:
    counting = "Let me think. " + "".join(f"Step {number}: check again. " for number in range(100, 160))
    assert measured([counting])[0][3] > 0.95


@pytest.mark.measures
def test_long_texts_take_no_longer_than_their_length() -> None:
    measured(["warm"])
    hard = ["a" * 200_000, "ab" * 100_000 + "c", ("a" * 999 + "b") * 200, " ".join("x" for _ in range(100_000))]
    began = time.process_time()
    values = measured(hard)
    assert time.process_time() - began < 2
    assert values[:, 3].tolist() == [1.0, 0.0, 1.0, 1.0]

"""Stepping over white space is `str.strip()`, for every code point."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.kernels import white_space
from midtrain.filters.kernels.kernel import kernel


@kernel
def strip(text: Any, at: Any, end: Any) -> Any:
    start = white_space.after_space(text, np.uint64(at), np.uint64(end))
    return start, white_space.before_space(text, start, np.uint64(end))


def stripped(text: str, before: str = "", after: str = "") -> str:
    head, middle, tail = (part.encode() for part in (before, text, after))
    whole = head + middle + tail
    start, stop = strip(np.frombuffer(whole, np.uint8), len(head), len(head) + len(middle))
    return whole[int(start) : int(stop)].decode()


def test_every_code_point() -> None:
    points = [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]
    spaces = [point for point in points if point.isspace()]
    for point in [*points[:0x3100], *spaces, *points[0x3100::101]]:
        assert stripped(point) == point.strip()
        assert stripped(f"{point}x{point}") == f"{point}x{point}".strip()


def test_pieces_are_stripped_as_in_python(hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=300, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        for before, text, after in zip(["", *texts], texts, [*texts[1:], ""], strict=False):
            assert stripped(text, before, after) == text.strip()

    check()

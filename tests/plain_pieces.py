"""Deduplication of lines and paragraphs in plain Python: what the kernels and stages have to come to."""

from collections.abc import Callable, Sequence

import pytest
import xxhash

Document = tuple[int, str, str]  # the place of its source, its id, its text


def pieces(text: str, paragraphs: bool) -> list[tuple[str, str]]:
    """A text in parts that make it up, each with what of it is compared: "" where nothing is."""
    found: list[tuple[str, str]] = []
    blank = True
    for line in text.splitlines(keepends=True):
        if not paragraphs:
            found.append((line, line.strip()))
            continue
        if line.strip() and blank:
            found.append((line, line.strip()))
        elif not found:
            found.append((line, ""))
        else:
            whole = found[-1][0] + line
            found[-1] = (whole, whole.strip())
        blank = not line.strip()
    return found


def deduplicated(documents: Sequence[Document], paragraphs: bool, least: int) -> list[str | None]:
    """The new text of each document, None where nothing but white space is left of one that lost something."""

    def order(place: int) -> tuple[int, int, int]:
        source, identity, text = documents[place]
        seed = xxhash.xxh3_128_intdigest(text.encode()) & 0xFFFFFFFFFFFFFFFF
        return source, xxhash.xxh3_64_intdigest(identity.encode(), seed), place

    seen: set[str] = set()
    new: dict[int, str | None] = {}
    for place in sorted(range(len(documents)), key=order):
        parts = pieces(documents[place][2], paragraphs)
        kept = []
        for whole, compared in parts:
            if len(compared) < least or compared not in seen:
                kept.append(whole)
            if len(compared) >= least:
                seen.add(compared)
        text = "".join(kept)
        new[place] = None if len(kept) < len(parts) and not text.strip() else text
    return [new[place] for place in range(len(documents))]


@pytest.fixture(scope="session")
def plain_pieces() -> Callable[[str, bool], list[tuple[str, str]]]:
    """`pieces`."""
    return pieces


@pytest.fixture(scope="session")
def plain_deduplicated() -> Callable[[Sequence[Document], bool, int], list[str | None]]:
    """`deduplicated`."""
    return deduplicated

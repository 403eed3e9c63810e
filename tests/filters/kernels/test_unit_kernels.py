"""Units and their hashes are those of plain Python, for every code point, at any place of a text."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters import folding
from midtrain.filters.document import DocumentBatch
from midtrain.filters.kernels.unit_kernels import units

Make = Callable[[Sequence[str]], DocumentBatch]

MASK = 2**64 - 1
INVISIBLE = {0xAD, 0x61C, 0xFEFF, *range(0x180B, 0x1810), *range(0x200C, 0x2010), *range(0x202A, 0x202F)}
INVISIBLE |= {*range(0x2060, 0x2070), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000)}
NO_SPACES = ("CJK ", "IDEOGRAPHIC ", "HIRAGANA ", "KATAKANA ", "KATAKANA-HIRAGANA ", "THAI ", "LAO ", "KHMER ")
NO_SPACES += ("MYANMAR ", "TIBETAN ", "YI ", "TANGUT ", "NUSHU ", "KHITAN ", "VERTICAL KANA ", "HALFWIDTH KATAKANA")
POINTS = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]

same_unicode = pytest.mark.skipif(
    unicodedata.unidata_version != folding.load().unicode_version, reason="the table is of another Unicode version"
)


def without_marks(text: str) -> str:
    return "".join(character for character in text if not 0x300 <= ord(character) < 0x370)


def is_single(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN" and unicodedata.name(character, "").startswith(NO_SPACES)


def plain_units(text: str) -> list[str]:
    """The definition, on whole strings: fold, drop what has no looks, and cut."""
    folded = without_marks(unicodedata.normalize("NFKD", text))
    folded = without_marks(unicodedata.normalize("NFKD", folded.casefold()))
    folded = re.sub("[\u1100-\u11ff\uac00-\ud7a3]+", lambda jamo: unicodedata.normalize("NFC", jamo[0]), folded)
    found: list[str] = []
    is_open = False
    for character in folded:
        if ord(character) in INVISIBLE:
            continue
        if unicodedata.category(character)[0] not in "LNM":
            is_open = False
        elif (
            not is_open
            or is_single(character)
            or (unicodedata.category(character)[0] != "M" and is_single(found[-1][0]))
        ):
            found.append(character)
            is_open = True
        else:
            found[-1] += character
    return found


def mix(state: int) -> int:
    state = (state ^ state >> 33) * 0xFF51AFD7ED558CCD & MASK
    state = (state ^ state >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return state ^ state >> 33


def plain_hash(unit: str) -> int:
    """The hash of a unit, in Python's integers."""
    data, marks, characters = b"", 0, 0
    for character in unit:
        point = ord(character)
        if unicodedata.category(character)[0] == "M" and unicodedata.combining(character):
            marks += mix(point << 32 | characters)
            continue
        characters += 1
        high = bytes([0x80 | point & 0x7F, 0x80 | point >> 7 & 0x7F, 0x80 | point >> 14])
        data += bytes([point]) if point < 0x80 else high
    state = 0x2545F4914F6CDD1D
    for at in range(0, len(data), 8):
        state = (state ^ int.from_bytes(data[at : at + 8], "little")) * 0xD6E8FEB86659FD93 & MASK
        state ^= state >> 32
    return mix(state + marks & MASK)


def hashes_of(batch: DocumentBatch) -> list[list[int]]:
    hashes, ends = units(batch.text_bytes, batch.text_offsets)
    starts = [0, *ends.tolist()][:-1]
    return [hashes[start:end].tolist() for start, end in zip(starts, ends.tolist(), strict=True)]


@same_unicode
def test_units_are_those_of_plain_python(make_batch: Make, hostile_texts: st.SearchStrategy[list[str]]) -> None:
    @settings(max_examples=400, deadline=None)
    @given(hostile_texts)
    def check(texts: list[str]) -> None:
        expected = [[plain_hash(unit) for unit in plain_units(text)] for text in texts]
        assert hashes_of(make_batch(texts)) == expected

    check()


SCRIPTS = [
    "Straße",
    "ŒUVRE",
    "한국어",
    "日本語がｶﾞギ",
    "ไทยกำ",
    "ཀྵ",
    "שָּׁלוֹם",
    "مُحَمَّد",
    "ﷺ",
    "½1",
    "ﬁn",
    "İI",
    "ΟΔΌΣ",
    "㌖",
]
SCRIPTS += ["क़ि", "a\u0323\u0307", "\u3099", "co\u00adop", "x\u200dy", "㍿", "x²", "Ⅷ", "ς", "e\u0301\u0327"]


@same_unicode
@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*SCRIPTS, " ", "a", "B", "\u0301", "Z9"]), max_size=30).map("".join))
def test_composed_and_decomposed_text_have_the_same_units(make_batch: Make, text: str) -> None:
    forms = [text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD"))]
    expected = [plain_hash(unit) for unit in plain_units(text)]
    assert hashes_of(make_batch(forms)) == [expected] * len(forms)


@same_unicode
def test_every_code_point_is_folded_as_in_plain_python(make_batch: Make) -> None:
    assigned = [point for point in POINTS if unicodedata.category(point) not in ("Cn", "Co")]
    others = [point for point in POINTS if unicodedata.category(point) in ("Cn", "Co")][::97]
    texts = [f"か{point}中 a{point}b {point}" for point in assigned + others]
    assert hashes_of(make_batch(texts)) == [[plain_hash(unit) for unit in plain_units(text)] for text in texts]


@same_unicode
def test_every_code_point_has_the_units_of_its_decompositions(make_batch: Make) -> None:
    changed = [point for point in POINTS if not unicodedata.is_normalized("NFKD", point)]
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        one = hashes_of(make_batch([f"x{point}y" for point in changed]))
        assert hashes_of(make_batch([unicodedata.normalize(form, f"x{point}y") for point in changed])) == one


def test_length_and_place_of_a_unit_do_not_matter(make_batch: Make) -> None:
    for length in [*range(1, 70), 200, 2047, 2048, 2049, 5000]:
        unit = ("Word9" * 1001)[:length]
        expected = plain_hash(unit.lower())
        texts = [" " * before + unit + " " * after for before in (0, 1, 7, 63, 64, 2040) for after in (0, 1, 5, 64)]
        assert hashes_of(make_batch(texts)) == [[expected]] * len(texts)
        accented = unit[:-1] + "É"
        texts = [" " * before + accented + " " * after for before in (0, 3, 60) for after in (0, 2)]
        assert hashes_of(make_batch(texts)) == [[plain_hash(unit.lower()[:-1] + "e")]] * len(texts)


def test_texts_end_at_their_borders(make_batch: Make) -> None:
    texts = ["ab", "cd", "", "\u0301", "é", "中", "文", "x" * 64, "y" * 128, "か", "\u3099", "z"]
    alone = [hashes_of(make_batch([text]))[0] for text in texts]
    batch = make_batch(texts)
    assert hashes_of(batch) == alone
    sliced = DocumentBatch(batch.record_batch.slice(3, 6))
    assert hashes_of(sliced) == alone[3:9]
    assert hashes_of(make_batch([])) == []
    assert hashes_of(make_batch(["", ""])) == [[], []]


def test_units_of_several_characters_find_room(make_batch: Make) -> None:
    for text in ("㌖" * 2000, "½" * 1999, "ﷺ" * 500, "㍿" * 300, "a " * 3000, "中" * 1000, "か\u3099" * 1000):
        assert hashes_of(make_batch([text])) == [[plain_hash(unit) for unit in plain_units(text)]]


@pytest.mark.parametrize("piece", ["a", "中", "é", ")", "a1 ", "\u0301"])
def test_a_giant_text_is_cut(make_batch: Make, piece: str) -> None:
    size = 10_000_000 // len(piece.encode())
    hashes, ends = units(*_text(piece * size))
    expected = {"a": 1, "中": size, "é": 1, ")": 0, "a1 ": size, "\u0301": 0}[piece]
    assert ends.tolist() == [expected]
    assert len(hashes) == expected


def test_hashes_of_many_units_differ(make_batch: Make) -> None:
    hashes, _ = units(*_text(" ".join(f"w{i}" for i in range(200_000))))
    assert len(np.unique(hashes)) == 200_000
    # Every bit is set in about half of the hashes: 200,000 coin tosses leave .5 ± .0056 five times in a million.
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.0056


def _text(text: str) -> tuple[Any, Any]:
    data = np.frombuffer(text.encode(), np.uint8)
    return data, np.array([0, len(data)], np.int64)

"""The folding table is the one that its generator makes, and travels with the package."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from midtrain.filters import folding, generate_folding


def test_the_table_is_the_generators(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if unicodedata.unidata_version != folding.load().unicode_version:
        pytest.skip("the table is of another Unicode version than this Python's")
    shipped = folding.load()
    generate_folding.write(generate_folding.generate(), tmp_path / "folding.npz")
    monkeypatch.setattr(folding, "FILE", tmp_path / "folding.npz")
    generated = folding.load.__wrapped__()
    assert generated.unicode_version == shipped.unicode_version
    for one, other in zip(generated.arrays(), shipped.arrays(), strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
        assert not one.flags.writeable


@pytest.mark.parametrize(
    ("character", "folded"),
    [
        ("A", "a"),
        ("É", "e"),
        ("ß", "ss"),
        ("ﬁ", "fi"),
        ("Ａ", "a"),
        ("ｶ", "カ"),
        ("İ", "i"),
        ("ς", "σ"),
        ("\u0301", ""),
    ],
)
def test_characters_fold(character: str, folded: str) -> None:
    assert generate_folding.fold(character) == folded


def test_every_place_of_an_expansion_lies_in_the_table() -> None:
    table = folding.load()
    several = table.entries & 7 == folding.SEVERAL
    places = table.entries[several] >> folding.KIND_BITS
    assert ((places >= 0) & (places + table.expansions[places] < len(table.expansions))).all()
    assert (table.pages.astype(int) * 256 < len(table.entries)).all()


def test_the_version_names_unicode_and_content() -> None:
    assert folding.version().startswith(folding.load().unicode_version + "-")

"""The tables are what the generator makes of the pinned spaCy, and it refuses another."""

from pathlib import Path

import numpy as np
import pytest
from midtrain.errors import RunError
from midtrain.filters.english import generate_tables, tables


@pytest.fixture(scope="module")
def generated() -> tables.Tables:
    return generate_tables.generate()


def test_the_file_is_what_the_generator_makes(generated: tables.Tables) -> None:
    stored = tables.load()
    assert stored.spacy_version == generated.spacy_version == generate_tables.SPACY_VERSION
    for name, array in vars(generated).items():
        if name != "spacy_version":
            assert getattr(stored, name).dtype == array.dtype
            np.testing.assert_array_equal(getattr(stored, name), array)


def test_what_is_written_is_read_back(
    generated: tables.Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_tables.write(generated, tmp_path / "tables.npz")
    monkeypatch.setattr(tables, "FILE", tmp_path / "tables.npz")
    for ours, theirs in zip(tables.load.__wrapped__().arrays(), generated.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_arrays_cannot_be_written() -> None:
    assert all(not array.flags.writeable for array in tables.arrays())


@pytest.mark.parametrize("name", sorted(generate_tables.EXPRESSIONS))
def test_another_expression_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(generate_tables.EXPRESSIONS, name, "0" * 16)
    with pytest.raises(RunError, match=name):
        generate_tables.generate()


def test_another_spacy_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate_tables, "SPACY_VERSION", "3.8.17")
    with pytest.raises(RunError, match="another spaCy"):
        generate_tables.generate()

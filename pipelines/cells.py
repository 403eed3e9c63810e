"""How long and how difficult each record is: the cell of the joint table that it belongs to, and how many are in each.

A recipe that cuts traces for one reason cuts a corner of the corpus, long and hard ones mostly, and a funnel cannot
show it. The cell is found once, when a record is read, and goes with it in a hidden column, so that what is kept is
counted where no text is read. Costs a count of characters, and the parsing of metadata that name a difficulty.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..filters.pass_rate import is_stated, pass_rate

Int64s = npt.NDArray[np.int64]

VERSION: Final = 1  # of what is measured, and of the bands
CELL: Final = "scoring.cell"  # a hidden column
CELL_TYPE: Final = pa.struct(
    [
        # What was measured, the first length of its band, the field of the metadata that states a difficulty, and the
        # difficulty, joined by `BETWEEN`; the last two are empty where none is stated.
        pa.field("place", pa.string()),
        pa.field("characters", pa.int64()),
    ]
)
BETWEEN: Final = "\0"
MEASURED: Final = ("thought", "reply", "text")
RATES: Final = ("pass_rate", "solve_rate", "pass_rate_72b_tir", "llama8b_solve_rate")
LEVELS: Final = ("difficulty", "level")
BANDS: Final = ("(0, 0.25]", "(0.25, 0.5]", "(0.5, 0.75]", "(0.75, 1)")  # of pass rates, between 0 and 1
OTHER: Final = "*"  # a difficulty that is neither a rate nor a level, or one too many
MOST: Final = 64  # difficulties that one task tells apart
MOST_KNOWN: Final = 4096  # values whose difficulty is not looked up again
LONGEST: Final = 24  # characters of a level
SHORT: Final = 128  # characters below which lengths are one band; then each ends at twice its beginning
_NESTED: Final = (list, dict)


class Rated(NamedTuple):
    """The pass rates that a recipe's step `difficulty` looks at: of which source, in which field, a share of what."""

    source: str
    field: str
    of: float


class Measurer:
    """Finds the cells of one source's documents.

    Args:
        rated: its pass rates as the recipe names them; None where the first of `RATES` and `LEVELS` counts that a
            record has.
        taken: fields that are something else, so that no metadata have them.
    """

    def __init__(self, rated: Rated | None, taken: Collection[str] = ()) -> None:
        self.rated = rated
        names = (*RATES, *LEVELS) if rated is None else (rated.field,)
        self._names = tuple(name for name in names if name not in taken)
        self._pairs = {("", ""): 0}  # field and difficulty, each with its number
        self._known: dict[tuple[str, type, object], int] = {}  # by field and value

    def number(self, record: Mapping[str, Any]) -> int:
        """What a record's fields, or its metadata, state of its difficulty: the number that `cells` takes for it."""
        for name in self._names:
            value = record.get(name)
            if value is not None:
                kind = type(value)
                number = None if kind in _NESTED else self._known.get((name, kind, value))
                if number is None:
                    number = self._new(name, value)
                if number:
                    return number
        return 0

    def cells(self, documents: pa.RecordBatch, numbers: Sequence[int] | None = None) -> pa.StructArray:
        """The cells of n documents, in a column of `CELL_TYPE`; the metadata are looked at where no numbers are given.

        Args:
            documents: n documents.
            numbers: n numbers, of each document's difficulty.
        """
        if numbers is None:
            texts = documents.column("metadata").to_pylist()
            numbers = [self.number(orjson.loads(text)) if text else 0 for text in texts]
        of, characters = _lengths(documents)
        code = (np.asarray(numbers, np.int64) * len(MEASURED) + of) * 64 + _exponents(characters)
        found, places = np.unique(code, return_inverse=True)
        pairs, names = list(self._pairs), []
        for one in found.tolist():
            rest, exponent = divmod(one, 64)
            pair, measured = divmod(rest, len(MEASURED))
            names.append(BETWEEN.join((MEASURED[measured], str(1 << exponent if exponent else 0), *pairs[pair])))
        place = pa.array(names, pa.string()).take(pa.array(places))
        return pa.StructArray.from_arrays([place, pa.array(characters)], fields=list(CELL_TYPE))

    def _new(self, name: str, value: object) -> int:
        whole = 1.0 if self.rated is None else self.rated.of
        pair, stated = (name, OTHER), is_stated(value)
        if stated:
            pair = name, level(value) if name in LEVELS and self.rated is None else rate(value, whole)
        if pair not in self._pairs and len(self._pairs) > MOST:
            pair = name, OTHER
        number = self._pairs.setdefault(pair, len(self._pairs)) if stated else 0
        if type(value) not in _NESTED and len(self._known) < MOST_KNOWN:
            self._known[name, type(value), value] = number
        return number


class Cells:
    """Sums of documents and of their characters for each cell; sums of tasks are merged by adding them."""

    def __init__(self) -> None:
        self._sums: dict[str, list[int]] = {}

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, cells: pa.StructArray) -> None:
        """Counts a column of `CELL_TYPE`; null where a document has no cell."""
        place, characters = (cells.drop_null() if cells.null_count else cells).flatten()
        encoded = place.dictionary_encode()
        codes, names = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
        documents = np.bincount(codes, minlength=len(names))
        total = np.zeros(len(names), np.int64)
        np.add.at(total, codes, characters.to_numpy())
        for name, count, size in zip(names, documents.tolist(), total.tolist(), strict=True):
            sums = self._sums.setdefault(name, [0, 0])
            sums[0] += count
            sums[1] += size

    def counts(self) -> dict[str, Any]:
        """`{what was measured: {field: {difficulty: {first length of the band: {documents, characters}}}}}`."""
        found: dict[str, Any] = {}
        for name, (documents, characters) in sorted(self._sums.items()):
            of, low, stated, label = name.split(BETWEEN)
            own = found.setdefault(of, {}).setdefault(stated, {}).setdefault(label, {})
            own[low] = {"documents": documents, "characters": characters}
        return found


def rate(value: object, whole: float = 1.0) -> str:
    """The band of a pass rate: a number from 0 to `whole`, the same as text, or a list of outcomes."""
    share = pass_rate(value, whole)
    if share is None:
        return OTHER
    return str(int(share)) if share in (0, 1) else BANDS[math.ceil(4 * share) - 1]


def level(value: object) -> str:
    """A level as it is: text, a whole or half number; any other number by the whole ones around it."""
    if isinstance(value, str):
        label = re.sub(r"\s+", " ", value.replace("\0", " ")).strip()
        return label if 0 < len(label) <= LONGEST else OTHER
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 1e6:
        return OTHER
    low = math.floor(value)
    return f"{value:g}" if 2 * value == int(2 * value) else f"[{low}, {low + 1})"


def _lengths(documents: pa.RecordBatch) -> tuple[npt.NDArray[np.int8], Int64s]:
    """What is measured of n documents (int8[n]) and its characters (int64[n]).

    That is what the assistant thinks in all turns, where it thinks nothing what it replies, without turns the text.
    """
    turns = documents.column("messages")
    count = len(turns)
    has_turns = turns.is_valid().to_numpy(zero_copy_only=False)
    parents = pc.list_parent_indices(turns).to_numpy()
    every = turns.flatten()
    own = pc.equal(pc.struct_field(every, "role"), "assistant").to_numpy(zero_copy_only=False)

    def characters(part: str) -> Int64s:
        sizes = pc.fill_null(pc.utf8_length(pc.struct_field(every, part)), 0).to_numpy(zero_copy_only=False)
        total = np.zeros(count, np.int64)
        np.add.at(total, parents[own], sizes[own])
        return total

    lengths = characters("reasoning")
    of = np.where(has_turns, np.where(lengths > 0, 0, 1), 2).astype(np.int8)
    if not lengths.all():
        lengths = np.where(lengths > 0, lengths, characters("content"))
    if not has_turns.all():
        texts = np.asarray(pc.utf8_length(documents.column("text")), np.int64)
        lengths = np.where(has_turns, lengths, texts)
    return of, lengths


def _exponents(lengths: Int64s) -> Int64s:
    """The bands of lengths: 0 below `SHORT`, else the power of two at or below."""
    power = np.frexp(lengths.astype(np.float64))[1].astype(np.int64) - 1
    return np.where(lengths < SHORT, 0, power)

"""The step `minhash_dedup`: of documents that are nearly the same, one is kept, and each other one is verified.

Copies of a page differ in a date, a menu, an accent; a hash of the text misses them, and comparing all pairs is out of
reach. MinHash with bands finds the pairs worth comparing (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, 3.4), and their sets of shingles decide. Ours over the usual form: a candidate is no duplicate until it is
verified, and documents are dropped for kept ones only, so that chains do not pull in what has nothing in common.
Costs about 2 ns per byte of text for keys, and 8 bytes a band and document; the same again for those with a candidate.
"""

import functools
import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from pydantic import Field, model_validator

from ..config import Address
from . import folding
from .deduplication import Deduplication
from .texts import text_view

Bytes = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]
UInt32 = npt.NDArray[np.uint32]
UInt64 = npt.NDArray[np.uint64]

MOST_BANDS, MOST_ROWS = 1024, 128


@dataclass(frozen=True, eq=False)
class Signed:
    """The keys of n documents.

    Args:
        keys: uint64[k]; documents that share one are candidates.
        key_ends: int64[n], for each document one past its last key.
    """

    keys: UInt64
    key_ends: Int64


def probability(jaccard: float, bands: int, rows: int) -> float:
    """Of documents with such a Jaccard J, the probability of sharing a band's key: 1 - (1 - J^rows)^bands."""
    return float(-np.expm1(bands * np.log1p(-(jaccard**rows)))) if jaccard < 1 else 1.0


class SimilarDedup(Deduplication):
    """A step that drops a document which is verified to be similar to one that is kept.

    What two are compared by is said by the steps themselves.
    """

    unrecorded: ClassVar[frozenset[str]] = Deduplication.unrecorded | {"min_recall"}
    compared_by: ClassVar[tuple[str, ...]] = ("text",)  # columns that `texts` and `tell` read

    keep: tuple[str, ...] = Field(
        default=("source", "length", "date"),
        description="which copy is kept, the first that tells two apart: source (the recipe's order), length (longer), "
        "date (later; ISO 8601, any other form is no date) or the name of a score column (higher); a minus before it "
        "turns it round",
    )
    bands: int = Field(default=14, ge=1, le=MOST_BANDS)
    rows: int = Field(default=8, ge=1, le=MOST_ROWS, description="minima in a band")
    threshold: float = Field(default=0.8, gt=0, le=1, description="the least similarity of duplicates")
    similarity: Literal["jaccard", "containment"] = Field(
        default="jaccard",
        description="common shingles as a share of those of both documents (jaccard) or of the dropped one's own "
        "(containment); bands find pairs by their Jaccard, so min_recall for containment is that of pairs of equal "
        "size, and a small text in a large one is found far more rarely",
    )
    across: bool = Field(default=False, description="documents of one source are never compared")
    min_recall: float = Field(
        default=0.9, ge=0, le=1, description="the least probability with which a pair at the threshold is found"
    )
    seed: int = Field(default=0, ge=0, description="of the hashes")

    @model_validator(mode="after")
    def _finds_enough(self) -> Self:
        seen = self.recall
        if seen < self.min_recall:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows find {_share(seen)} of pairs at the threshold "
                f"{self.threshold:g}, fewer than min_recall {self.min_recall:g}: {self._advice()}"
            )
        return self

    @property
    def recall(self) -> float:
        """The probability with which a pair at the threshold is compared; by containment, one of equal sizes."""
        return probability(self._least_jaccard, self.bands, self.rows)

    @property
    def parameters(self) -> dict[str, Any]:
        """What keys and shingles depend on: equal parameters make them equal, in whatever run."""
        raise NotImplementedError

    @property
    def told(self) -> tuple[str, ...]:
        """Names of what the choice among documents asks for beside all that these steps share."""
        return ()

    def tell(self, batch: pa.RecordBatch) -> list[pa.Array]:
        """string[n] for each of `told`, of the n documents of a batch as `texts` takes it."""
        return []

    @property
    def shingle(self) -> int:
        """Units in a shingle."""
        raise NotImplementedError

    def units(self, text: Bytes, offsets: Int64) -> tuple[UInt64, Int64]:
        """uint64[m], the hashes of the units of n texts, and int64[n], for each one past its last; as for `signed`."""
        raise NotImplementedError

    def texts(self, batch: pa.RecordBatch) -> tuple[Bytes, Int64]:
        """What `signed` takes of the documents of a batch that has the columns of `compared_by`: their texts."""
        return text_view(batch.column("text"))

    def signed(self, text: Bytes, offsets: Int64) -> Signed:
        """The keys of n documents: of each band, or of the whole text where it has no shingle.

        Args:
            text: uint8[...], UTF-8 bytes.
            offsets: int64[n + 1], document d is `text[offsets[d]:offsets[d + 1]]`.
        """
        return self._keys(text, offsets, *self.units(text, offsets))

    def compared(self, text: Bytes, offsets: Int64) -> tuple[Signed, tuple[UInt64, Int64]]:
        """What `signed` and `shingled` give, for the price of finding the units once; arguments as for `signed`."""
        units = self.units(text, offsets)
        return self._keys(text, offsets, *units), self._sets(text, offsets, *units)

    def _keys(self, text: Bytes, offsets: Int64, hashes: UInt64, ends: Int64) -> Signed:
        from .kernels import minhash_kernels

        factors, terms = _hash_functions(self.seed, self.bands * self.rows)
        keys = minhash_kernels.band_keys(hashes, ends, self.shingle, factors, terms, self.bands, self.rows)
        short = np.flatnonzero(np.diff(ends, prepend=0) < self.shingle)
        counts = np.full(len(ends), self.bands, np.int64)
        counts[short] = 1
        if len(short):
            keys[short, 0] = _halves(text, offsets, short)[:, 0]
            keys = keys[np.arange(self.bands) < counts[:, None]]
        return Signed(keys.reshape(-1), np.cumsum(counts))

    def shingled(self, text: Bytes, offsets: Int64) -> tuple[UInt64, Int64]:
        """The sets by which n documents are compared; arguments as for `signed`.

        Returns:
            uint64[m], of each document its distinct shingles, sorted, or the halves of its text's hash where it has
            none; int64[n], for each document one past its last.
        """
        return self._sets(text, offsets, *self.units(text, offsets))

    def _sets(self, text: Bytes, offsets: Int64, hashes: UInt64, ends: Int64) -> tuple[UInt64, Int64]:
        from .kernels import minhash_kernels

        shingles, set_ends = minhash_kernels.shingle_sets(hashes, ends, self.shingle)
        sizes = np.diff(set_ends, prepend=0)
        short = np.flatnonzero(sizes == 0)
        if not len(short):
            return shingles, set_ends
        halves = np.sort(_halves(text, offsets, short), axis=1)
        return np.insert(shingles, np.repeat(set_ends[short], 2), halves.reshape(-1)), np.cumsum(
            np.where(sizes == 0, 2, sizes)
        )

    @property
    def _least_jaccard(self) -> float:
        """The Jaccard of a pair at the threshold; sets of equal sizes that share c of each have c / (2 - c)."""
        return self.threshold if self.similarity == "jaccard" else self.threshold / (2 - self.threshold)

    def _advice(self) -> str:
        """Bands and rows that would do, of as many hashes or with more bands."""

        def recall(bands: int, rows: int) -> float:
            return probability(self._least_jaccard, bands, rows)

        hashes = self.bands * self.rows
        others = [(min(hashes // rows, MOST_BANDS), rows) for rows in range(1, min(hashes, MOST_ROWS) + 1)]
        fits = [other for other in others if recall(*other) >= self.min_recall][-2:]
        more = [(bands, self.rows) for bands in range(self.bands + 1, MOST_BANDS + 1)]
        fits += [other for other in more if recall(*other) >= self.min_recall][:1]
        shapes = [f"{bands} bands of {rows} rows ({_share(recall(bands, rows))})" for bands, rows in fits]
        return "take " + ", or ".join([*shapes, f"min_recall: {int(self.recall * 1000) / 1000:g}"])


class MinhashDedup(SimilarDedup):
    """Drops a document that is verified to be similar to a better one, in the order of `keep`, that is kept.

    A document is the set of its shingles, runs of `ngram` folded units (`folding`). One of fewer units is the same as
    another if its text is, byte for byte.
    """

    version: ClassVar[int] = 1
    unrecorded: ClassVar[frozenset[str]] = SimilarDedup.unrecorded | {"index"}

    ngram: int = Field(default=5, ge=1, le=64, description="units in a shingle")
    index: Address | None = Field(
        default=None, description="an index of documents kept before, which outrank all others"
    )

    @property
    def folds(self) -> bool:
        """Always: shingles are runs of folded units."""
        return True

    @property
    def shingle(self) -> int:
        """As given."""
        return self.ngram

    @property
    def parameters(self) -> dict[str, Any]:
        """What keys and shingles depend on: equal parameters make them equal, in whatever run."""
        from .kernels import minhash_kernels, unit_kernels

        options = {name: getattr(self, name) for name in ("ngram", "bands", "rows", "seed")}
        versions = {"folding": folding.version(), "units": unit_kernels.VERSION, "keys": minhash_kernels.VERSION}
        return {**options, **versions}

    @property
    def index_parameters(self) -> dict[str, Any]:
        """What an index is compared by; under another value crawls one by one would not come to what one run does."""
        return {**self.parameters, **{name: getattr(self, name) for name in ("threshold", "similarity", "across")}}

    def units(self, text: Bytes, offsets: Int64) -> tuple[UInt64, Int64]:
        """The folded units of the texts."""
        from .kernels import unit_kernels

        return unit_kernels.units(text, offsets)


def _share(probability: float) -> str:
    return f"{100 * probability:.1f} %"


@functools.cache
def _hash_functions(seed: int, hashes: int) -> tuple[UInt32, UInt32]:
    """uint32[hashes] odd multipliers and uint32[hashes] addends, from SHAKE-128 of the seed: the same everywhere."""
    drawn = np.frombuffer(hashlib.shake_128(f"minhash {seed}".encode()).digest(8 * hashes), "<u4").astype(np.uint32)
    factors, terms = drawn[0::2] | np.uint32(1), drawn[1::2].copy()
    for array in (factors, terms):
        array.flags.writeable = False
    return factors, terms


def _halves(text: Bytes, offsets: Int64, documents: Int64) -> UInt64:
    """uint64[m, 2]: xxh3-128 of the texts of these documents, the low half first."""
    view = text.data
    digests = b"".join(
        xxhash.xxh3_128_digest(view[offsets[document] : offsets[document + 1]]) for document in documents.tolist()
    )
    return np.frombuffer(digests, ">u8").reshape(-1, 2)[:, ::-1].astype(np.uint64)

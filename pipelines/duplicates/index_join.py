"""How the documents of an index come into a deduplication: those that share a key with a document that is new.

They outrank all that is new, and are never dropped, so what is new is compared with what was kept before as if all had
been deduplicated at once, in the order in which it was added. Costs a binary search a distinct key and table, and the
reading of the documents that were found.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import ConfigError
from ..recipe import Recipe
from .index import Index, open_index
from .index_layer import ROW_BITS, Keys, Layer
from .numbers import INDEXED, rows_of

SOURCE = "index:"  # before the name of the source of a document that stands in an index; no source's name has a colon
TEXTS = pa.schema(
    [
        pa.field("low", pa.uint64()),
        pa.field("high", pa.uint64()),
        pa.field("document", pa.uint64()),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
    ]
)


def indexes_of(recipe: Recipe) -> dict[int, Index]:
    """What the steps of a recipe deduplicate against, by the place of each step that names an index.

    Raises:
        ConfigError: there is no index, it is of other steps, or of other parameters: with the line of the recipe.
        RunError: a file of it is missing or was changed.
    """
    found = {}
    for place, step in enumerate(recipe.steps):
        options: Any = step.options
        path = getattr(options, "index", None)
        if path is None:
            continue
        try:
            found[place] = open_index(path)
            found[place].layer(step.name).check(options.index_parameters)
        except ConfigError as wrong:
            where = ("steps", place, step.name, "index")
            what = f"{wrong.what} ({wrong.where})"
            raise recipe.loaded.error(where, what, seen=wrong.seen, expected=wrong.expected, fix=wrong.fix) from None
    return found


def known_texts(layer: Layer, low: Keys, high: Keys) -> pa.Table:
    """The documents of an index whose texts are among some, in the order of their numbers.

    Args:
        layer: the index's, for exact_dedup.
        low, high: uint64[m], the keys of the texts.

    Returns:
        Rows as in `TEXTS`, with `INDEXED` in the documents' numbers.
    """
    _, documents = layer.find(np.unique(high))
    found = []
    for numbers, batch in layer.read(np.unique(documents)):
        keys, rest = batch.column("keys").flatten(), batch.column("shingles").flatten()
        columns = [rest, keys, pa.array(numbers | INDEXED), batch.column("id"), _sources(batch)]
        found.append(pa.record_batch(columns, schema=TEXTS))
    table = pa.Table.from_batches(found, schema=TEXTS)
    return table.filter(pa.array(np.isin(table.column("low").to_numpy(), low)))


def with_known(layer: Layer, keys: Keys, documents: Keys) -> tuple[Keys, Keys]:
    """Keys and documents of a partition, and behind them those of an index that have one of the keys.

    Args:
        layer: the index's.
        keys, documents: uint64[m].
    """
    distinct = np.unique(keys)
    place, known = layer.find(distinct)
    return np.concatenate([keys, distinct[place]]), np.concatenate([documents, known | INDEXED])


def places_of(layer: Layer, documents: Keys, order: Sequence[str]) -> npt.NDArray[np.int32]:
    """int32[m]: the place of each document's source among a recipe's, or behind these where it has no such source.

    Args:
        layer: the index's.
        documents: uint64[m], with `INDEXED` in them.
        order: the names of the recipe's sources.
    """
    distinct, inverse = np.unique(documents & ~INDEXED, return_inverse=True)
    names = [*order, *(name for name in layer.sources if name not in order)]
    values = pa.array(names, pa.string())
    found = [pc.index_in(batch.column("source"), value_set=values) for _, batch in layer.read(distinct, ["source"])]
    return np.concatenate([np.empty(0, np.int32), *found])[inverse]


def members(layer: Layer, documents: Keys, components: Keys, first: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Documents of an index as those that are new stand beside them.

    Args:
        layer: the index's.
        documents: uint64[m], ascending, with `INDEXED` in them.
        components: uint64[m], of each.
        first: the number of the first of the index's sources.
        schema: of the rows. Their parts are -1 - chunk; what the index does not know of them is null or 0.
    """
    start = 0
    names = pa.array(layer.sources, pa.string())
    for numbers, batch in layer.read(documents & ~INDEXED):
        count = len(numbers)
        given = {
            "component": pa.array(components[start : start + count]),
            "part": pa.array((-1 - (numbers >> ROW_BITS).astype(np.int64)).astype(np.int32)),
            "row": pa.array(rows_of(numbers)),
            "source": pc.add(pc.index_in(batch.column("source"), value_set=names), pa.scalar(first, pa.int32())),
            "bytes": pa.array(np.zeros(count, np.int64)),
            "low": pa.array(np.zeros(count, np.uint64)),
            "high": pa.array(np.zeros(count, np.uint64)),
            **{name: batch.column(name) for name in ("id", "keys", "shingles")},
        }
        columns = [given.get(field.name, pa.nulls(count, field.type)) for field in schema]
        yield pa.record_batch(columns, schema=schema)
        start += count


def names_of(layer: Layer | None, order: Sequence[str]) -> list[str]:
    """What sources are called where documents of an index stand among those of a recipe's."""
    return [*order, *(f"{SOURCE}{name}" for name in (layer.sources if layer else ()))]


def places_by_name(layer: Layer | None, order: Sequence[str]) -> npt.NDArray[np.int32]:
    """int32[s]: for each of `names_of`, the same number where the source is of the same name, in an index or not."""
    names = [*order, *(layer.sources if layer else ())]
    return np.array([names.index(name) for name in names], np.int32)


def known_first(layer: Layer, part: npt.NDArray[np.int32], best: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Documents in their order, those of an index before all others, what was added first first.

    Args:
        layer: the index's.
        part: int32[m], of each document, as `members` has it.
        best: int64[m], the documents in the order of keeping.
    """
    return best[np.argsort(additions_of(layer, part)[best], kind="stable")]


def additions_of(layer: Layer, part: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """int64[m]: with which of an index's additions each document came, what is new behind all; `part` as above."""
    return layer.order(np.where(part < 0, -1 - part.astype(np.int64), layer.until))


def _sources(batch: pa.RecordBatch) -> pa.Array:
    return pc.binary_join_element_wise(SOURCE, batch.column("source"), "")

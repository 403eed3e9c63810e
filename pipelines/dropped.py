"""The rows that tell why documents were dropped: step, rule, value and bound, and the document kept in their place.

One table for every step, so that a report need not know them. Costs about 60 bytes a dropped document, uncompressed.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DROPPED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("step", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("partner", pa.string()),
        pa.field("partner_source", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)


DUPLICATE = "duplicate"  # the rule of documents that were dropped for a partner


# All rules of documents that have a partner.
PARTNERED = frozenset({DUPLICATE, "same_problem", "trace_cap", "gold_suspected"})


def dropped_rows(
    step: str,
    documents: pa.RecordBatch,
    sizes: npt.NDArray[np.int64],
    rules: pa.Array,
    values: pa.Array | None = None,
    thresholds: pa.Array | None = None,
    partners: pa.Array | None = None,
    partner_sources: pa.Array | None = None,
) -> pa.RecordBatch:
    """The rows, as in `DROPPED`, of documents that a step drops.

    Args:
        step: its name.
        documents: n documents.
        sizes: int64[n], bytes of their texts as they stood when the step saw them.
        rules: n names of the rules that they broke.
        values: float64[n], what the rule measured.
        thresholds: float64[n], the bound that was broken.
        partners: n ids of the documents kept in their place.
        partner_sources: n names of the sources that those come from.
    """
    count = documents.num_rows
    columns = {
        "id": documents.column("id"),
        "source": documents.column("source"),
        "step": pa.array([step] * count, pa.string()),
        "rule": rules,
        "value": values,
        "threshold": thresholds,
        "partner": partners,
        "partner_source": partner_sources,
        "language": documents.column("language"),
        "bytes": pa.array(sizes),
    }
    given = (columns[field.name] for field in DROPPED)
    arrays = [pa.nulls(count, field.type) if one is None else one for one, field in zip(given, DROPPED, strict=True)]
    return pa.record_batch(arrays, schema=DROPPED)

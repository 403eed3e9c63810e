"""What the fork server imports once, so that every worker is born with it.

A worker that imports the stages, Arrow and Numba itself takes a second or two before its first task, each of them
again. Costs that time once, before the first task of a run; nothing here is called.
"""

from ..filters import (
    c4,
    chunk_cache,
    exact_dedup,
    fineweb_quality,
    gopher_quality,
    gopher_repetition,
    language,
    minhash_dedup,
)
from ..filters.kernels import (
    c4_kernels,
    fasttext_kernels,
    fineweb_kernels,
    language_kernels,
    list_kernels,
    merge_kernels,
    minhash_kernels,
    piece_kernels,
    quality_kernels,
    repetition_kernels,
    similar_kernels,
    spans,
    star_kernels,
    union_kernels,
    unit_kernels,
)
from . import deciding, documents, held_out_stages, tokenize_stages, tokenizer_stage
from .duplicates import bands, buckets, components, exact, members, pieces, similar

__all__ = [
    "bands",
    "buckets",
    "c4",
    "c4_kernels",
    "chunk_cache",
    "components",
    "deciding",
    "documents",
    "exact",
    "exact_dedup",
    "fasttext_kernels",
    "fineweb_kernels",
    "fineweb_quality",
    "gopher_quality",
    "gopher_repetition",
    "held_out_stages",
    "language",
    "language_kernels",
    "list_kernels",
    "members",
    "merge_kernels",
    "minhash_dedup",
    "minhash_kernels",
    "piece_kernels",
    "pieces",
    "quality_kernels",
    "repetition_kernels",
    "similar",
    "similar_kernels",
    "spans",
    "star_kernels",
    "tokenize_stages",
    "tokenizer_stage",
    "union_kernels",
    "unit_kernels",
]

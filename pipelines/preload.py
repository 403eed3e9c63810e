"""What the fork server imports once, so that every worker is born with it.

A worker that imports the stages, Arrow and Numba itself takes a second or two before its first task, each of them
again. Costs that time once, in a process of its own while the driver plans; nothing here is called.
"""

from ..filters import (
    c4,
    chunk_cache,
    exact_dedup,
    fineweb_quality,
    gopher_quality,
    gopher_repetition,
    language,
)
from ..filters.kernels import (
    c4_kernels,
    fasttext_kernels,
    fineweb_kernels,
    language_kernels,
    quality_kernels,
    repetition_kernels,
    spans,
)
from . import choose_duplicates, deciding, documents, held_out_stages, tokenize_stages, tokenizer_stage

__all__ = [
    "c4",
    "c4_kernels",
    "choose_duplicates",
    "chunk_cache",
    "deciding",
    "documents",
    "exact_dedup",
    "fasttext_kernels",
    "fineweb_kernels",
    "fineweb_quality",
    "gopher_quality",
    "gopher_repetition",
    "held_out_stages",
    "language",
    "language_kernels",
    "quality_kernels",
    "repetition_kernels",
    "spans",
    "tokenize_stages",
    "tokenizer_stage",
]

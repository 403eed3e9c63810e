"""What the fork server imports once, so that every worker is born with it.

A worker that imports the stages, Arrow and Numba itself takes a second or two before its first task, each of them
again. Costs that time once, in a process of its own while the driver plans; nothing here is called.
"""

from ..filters import (
    c4,
    c4_kernels,
    c4_paragraphs,
    exact_dedup,
    gopher_quality,
    gopher_repetition,
    language,
    paragraph_kernels,
    quality_kernels,
    repetition_kernels,
    spans,
)
from . import choose_duplicates, documents, held_out_stages, tokenize_stages, tokenizer_stage

__all__ = [
    "c4",
    "c4_kernels",
    "c4_paragraphs",
    "choose_duplicates",
    "documents",
    "exact_dedup",
    "gopher_quality",
    "gopher_repetition",
    "held_out_stages",
    "language",
    "paragraph_kernels",
    "quality_kernels",
    "repetition_kernels",
    "spans",
    "tokenize_stages",
    "tokenizer_stage",
]

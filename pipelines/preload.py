"""What the fork server imports once, so that every worker is born with it.

A worker that imports the stages, Arrow and Numba itself takes a second or two before its first task, each of them
again. Costs that time once, in a process of its own while the driver plans; nothing here is called.
"""

from ..filters import exact_dedup, fasttext_kernels, gopher_quality, language, language_kernels, quality_kernels, spans
from . import choose_duplicates, documents, held_out_stages, tokenize_stages, tokenizer_stage

__all__ = [
    "choose_duplicates",
    "documents",
    "exact_dedup",
    "fasttext_kernels",
    "gopher_quality",
    "held_out_stages",
    "language",
    "language_kernels",
    "quality_kernels",
    "spans",
    "tokenize_stages",
    "tokenizer_stage",
]

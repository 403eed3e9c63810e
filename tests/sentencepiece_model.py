"""A SentencePiece model of few words, which puts a space in front of a text as Llama's and Mistral's do."""

import io
from collections.abc import Iterable
from pathlib import Path

import pytest


def sentencepiece_file(folder: Path, corpus: Iterable[str], prefix: bool = True) -> Path:
    """Trains one with the package, of which a test that has it not is skipped.

    Args:
        folder: where `tokenizer.model` goes.
        corpus: what it is trained on.
        prefix: whether it puts a space in front of a text.
    """
    library = pytest.importorskip("sentencepiece")
    model = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus),
        model_writer=model,
        vocab_size=330,
        hard_vocab_limit=False,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        add_dummy_prefix=prefix,
        minloglevel=2,
        num_threads=1,
    )
    path = folder / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path

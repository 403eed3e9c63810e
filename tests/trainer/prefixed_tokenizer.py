"""A tokenizer that puts a space in front of a text, and how its replies go on from their prompts."""

from pathlib import Path

from midtrain.mixtures.tokenizers import Tokenizer

from tests.sentencepiece_model import sentencepiece_file

CORPUS = ["def double(x):\n    return 2 * x\n", "the cat and the hat", "Question: what is 2 + 2?\nAnswer: it is 4"] * 20


def prefixed_tokenizer(folder: Path) -> Tokenizer:
    """Trained on the texts of these tests."""
    return Tokenizer.open(sentencepiece_file(folder, CORPUS), "</s>")


def reply_ids(tokenizer: Tokenizer, prompt: str, reply: str) -> list[int]:
    """The tokens with which a text goes on behind its beginning."""
    before = tokenizer.encode_texts([prompt]).ids[:-1].tolist()
    whole: list[int] = tokenizer.encode_texts([prompt + reply]).ids[:-1].tolist()
    assert whole[: len(before)] == before
    return whole[len(before) :]

"""Which ids begin inside a character, against what their tokenizers decode prefixes of texts to."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.encoders import inside_characters
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer

DATA = Path(os.environ.get("MIDTRAIN_DATA", "")) / "tokenizers"
FILES = (
    "cl100k_base.tiktoken",
    "deepseek_v4.tokenizer.json",
    "gpt2.tokenizer.json",
    "mistral_v1.sentencepiece.model",
    "qwen1_2.5.tokenizer.json",
    "tekken_240911.json",
)
RARE = "ab \n" + "é日本語" + "🙂🗾𓀀𓂀𝔘" + "\u0301\u200d\u00a0\x00\U000f0000"


@cache
def opened(name: str) -> Tokenizer:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    return Tokenizer.open(DATA / name)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(
    text=st.text(
        st.one_of(st.sampled_from(RARE), st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")),
        max_size=20,
    )
)
def test_a_prefix_is_text_exactly_where_the_next_id_does_not_begin_inside_a_character(name, text):
    tokenizer = opened(name)
    ids = tokenizer.encode_texts([text]).ids[:-1].tolist()
    assert tokenizer.decode(ids) == text
    for stop in range(1, len(ids)):
        assert tokenizer.inside_characters[ids[stop]] == (not text.startswith(tokenizer.decode(ids[:stop])))


@pytest.mark.parametrize("name", FILES)
def test_every_id_of_a_vocabulary_goes_on_with_a_character_or_not(name):
    """Behind the first byte of a character of two, an id makes one where it begins with a byte that goes on."""
    tokenizer = opened(name)
    pairs = (tokenizer.encode_texts([chr(sign)]).ids[:-1].tolist() for sign in range(0x80, 0x800))
    begun = next(pair[-2] for pair in pairs if len(pair) > 1 and tokenizer.decode(pair[-2:-1]) == "\ufffd")
    special = set(tokenizer.special.values())
    halves = 0
    for token in range(tokenizer.vocab_size):
        half = token not in special and tokenizer.decode([token]).startswith("\ufffd")
        goes_on = half and not tokenizer.decode([begun, token]).startswith("\ufffd")
        assert tokenizer.inside_characters[token] == goes_on
        halves += half
    assert halves > tokenizer.inside_characters.sum() >= 64


def test_a_vocabulary_with_byte_fallback_has_it_in_its_byte_pieces_alone():
    words = {"<unk>": 0, "\u2581the": 1, "<0xC3>": 2, "<0xa9>": 3, "<0x80>s": 4, "\u00a9": 5}
    contents = {"model": {"byte_fallback": True}, "pre_tokenizer": {"type": "Metaspace"}}
    found = inside_characters.of_pieces(inside_characters.first_bytes(contents, words), len(words))
    assert np.flatnonzero(found).tolist() == [3]
    contents = {"model": {"byte_fallback": False}}
    assert not list(inside_characters.first_bytes(contents, words))


def test_a_prefix_of_continuing_pieces_is_none_of_their_text():
    words = {"©": 0, "##©": 1, "##a": 2, "Ã": 3, "#": 4}
    step = {"type": "Sequence", "pretokenizers": [{"type": "Digits"}, {"type": "ByteLevel"}]}
    contents = {"model": {"continuing_subword_prefix": "##"}, "pre_tokenizer": step}
    found = inside_characters.of_pieces(inside_characters.first_bytes(contents, words), len(words))
    assert np.flatnonzero(found).tolist() == [0, 1]


def test_an_added_word_is_a_whole_text_however_it_is_spelled(tmp_path):
    """In the alphabet of bytes © stands for 0xA9, but a word that was added stands for itself."""
    path = tmp_path / "tokenizer.json"
    train(["the river and the stone"] * 3, 270, "<|end|>", path)
    plain = Tokenizer.open(path, "<|end|>")
    assert plain.inside_characters.sum() == 64, "the bytes 0x80 to 0xBF"
    contents = orjson.loads(path.read_bytes())
    added = {**contents["added_tokens"][0], "id": plain.vocab_size, "content": "©©", "special": False}
    contents["added_tokens"].append(added)
    path.write_bytes(orjson.dumps(contents))
    assert np.array_equal(
        np.flatnonzero(Tokenizer.open(path, "<|end|>").inside_characters), np.flatnonzero(plain.inside_characters)
    )

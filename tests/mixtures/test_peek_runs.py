"""Text of tokens, cut where what is trained changes: never inside a character, and nothing is lost or made up."""

import itertools
from functools import cache

import numpy as np
import orjson
import pytest
import tokenizers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.encoders import inside_characters
from midtrain.mixtures.peek import Text, text_runs


def byte_level() -> hf.Tokenizer:
    """256 bytes and a few merges."""
    library = hf.Tokenizer(hf.models.BPE())
    library.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = hf.decoders.ByteLevel()
    alphabet = hf.pre_tokenizers.ByteLevel.alphabet()
    trainer = hf.trainers.BpeTrainer(vocab_size=300, initial_alphabet=sorted(alphabet), show_progress=False)
    library.train_from_iterator(["the river and the stone, naïve Straße 日本語 the river"] * 9, trainer)
    return library


def metaspace() -> hf.Tokenizer:
    """Words with their space in front, and bytes for all that is no word."""
    words = ["\u2581the", "\u2581river", "\u2581", "stone", "the", "s", "e", "\n"]
    vocabulary = [
        ("<unk>", 0.0),
        *((f"<0x{byte:02X}>", -9.0) for byte in range(256)),
        *((word, -1.0) for word in words),
    ]
    library = hf.Tokenizer(hf.models.Unigram(vocabulary, 0, byte_fallback=True))
    library.pre_tokenizer = hf.pre_tokenizers.Metaspace(prepend_scheme="never")
    decoders = [hf.decoders.Replace("\u2581", " "), hf.decoders.ByteFallback(), hf.decoders.Fuse()]
    library.decoder = hf.decoders.Sequence(decoders)
    return library


@cache
def inside(library: hf.Tokenizer) -> np.ndarray:
    """Which ids begin inside a character."""
    first = inside_characters.first_bytes(orjson.loads(library.to_str()), library.get_vocab())
    return inside_characters.of_pieces(first, library.get_vocab_size())


LIBRARIES = {"byte_level": byte_level(), "metaspace": metaspace()}
TEXTS = st.text(st.sampled_from("the river stone\n é日本語🙂\ufffd\u0301\x00"), max_size=40)


def encode(library: hf.Tokenizer, text: str) -> list[int]:
    return library.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["日日日", "a日日日日", "日本語日本"])
def test_tokens_that_join_two_characters_are_not_cut(text):
    """Some tokens here are the end of one character and the beginning of the next."""
    library = LIBRARIES["byte_level"]
    ids = encode(library, text)
    for trained in itertools.product((False, True), repeat=len(ids)):
        runs = text_runs(ids, list(trained), library.decode, inside(library))
        assert "".join(run.text for run in runs) == text


@pytest.mark.parametrize("name", LIBRARIES)
@settings(max_examples=200, deadline=None)
@given(text=TEXTS, data=st.data())
def test_joined_the_runs_are_the_text(name, text, data):
    library = LIBRARIES[name]
    ids = encode(library, text)
    trained = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    runs = text_runs(ids, trained, library.decode, inside(library))
    assert "".join(run.text for run in runs) == library.decode(ids) == text
    assert len(runs) <= 1 + sum(one != other for one, other in itertools.pairwise(trained))


@pytest.mark.parametrize("name", LIBRARIES)
@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(TEXTS.filter(bool), min_size=1, max_size=6))
def test_pieces_that_were_encoded_apart_are_found_again(name, pieces):
    library = LIBRARIES[name]
    encoded = [encode(library, piece) for piece in pieces]
    trained = [number % 2 == 1 for number, ids in enumerate(encoded) for _ in ids]
    runs = text_runs(list(itertools.chain(*encoded)), trained, library.decode, inside(library))
    assert runs == [Text(piece, number % 2 == 1) for number, piece in enumerate(pieces)]


def test_a_character_that_a_change_would_cut_stays_whole_where_it_begins():
    library = LIBRARIES["byte_level"]
    ids = encode(library, "a🙂b")
    assert len(ids) == 6
    assert text_runs(ids, [False, False, True, True, True, True], library.decode, inside(library)) == [
        Text("a🙂", False),
        Text("b", True),
    ]
    assert text_runs(ids, [True, True, True, False, False, False], library.decode, inside(library)) == [
        Text("a🙂", True),
        Text("b", False),
    ]


def test_bytes_that_are_no_character_are_shown_as_such():
    library = LIBRARIES["byte_level"]
    half = encode(library, "é")[:1]
    runs = text_runs([*half, *encode(library, "bc")], [False, True, True], library.decode, inside(library))
    assert runs == [Text("\ufffd", False), Text("bc", True)]
    assert text_runs(half, [True], library.decode, inside(library)) == [Text("\ufffd", True)]
    assert text_runs([], [], library.decode, inside(library)) == []


def test_control_tokens_stand_alone_and_what_spells_one_does_not():
    library = LIBRARIES["byte_level"]
    control = encode(library, "stone")[-1]
    ids = [*encode(library, "a b"), control, control, *encode(library, "c🙂")[:-2], control]
    texts = text_runs(ids, [True] * len(ids), library.decode, inside(library), {control})
    spelled = library.decode([control])
    assert [text.text for text in texts if text.control] == [spelled] * 3
    assert [text.text for text in texts if not text.control] == ["a b", "c\ufffd"]
    assert all(text.trained for text in texts)

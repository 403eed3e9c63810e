"""What a trimmed thought decodes to, with real vocabularies: the head of its text, and no half of a character."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.mixtures.templates import Message, Rendered, render
from midtrain.mixtures.templates.messages import Piece
from midtrain.mixtures.text_spans import PARTS
from midtrain.mixtures.tokenizers import Tokenizer
from midtrain.mixtures.trimming import Text, trim

DATA = Path(os.environ.get("MIDTRAIN_DATA", "")) / "tokenizers"
FILES = (
    "cl100k_base.tiktoken",
    "deepseek_v4.tokenizer.json",
    "gpt2.tokenizer.json",
    "qwen1_2.5.tokenizer.json",
    "tekken_240911.json",
)
RARE = "So we add\n" + "日本語é" + "🙂🗾𓀀𓂀𝔘" * 3 + "\u0301\u200d\u00a0\ufffd"
ANSWER = "Seven 🙂."
BETWEEN = "\n</think>\n\n"
THOUGHTS = st.text(st.one_of(st.sampled_from(RARE), st.characters(exclude_categories=["Cs"])), min_size=1, max_size=24)


@cache
def opened(name: str) -> Tokenizer:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    return Tokenizer.open(DATA / name)


def tagged(thought: str) -> Rendered:
    """A thought in tags that this vocabulary has no tokens for, its answer behind it."""
    pieces = (
        Piece("Solve.\n<think>\n", False, False),
        Piece(thought, False, True, "reasoning", 1),
        Piece(BETWEEN, False, True),
        Piece(ANSWER, False, True, "content", 1),
    )
    return Rendered(pieces)


def trimmed(tokenizer: Tokenizer, rendered: Rendered, limit: int, least: int = 0) -> list[int]:
    """The ids that stay of a conversation, its end of document left out; none where it is dropped."""
    tokens = tokenizer.encode_rendered([rendered], ["one"])
    assert tokens.spans is not None
    mask, inside = (np.packbits(bits, bitorder="little") for bits in (tokens.loss, tokenizer.inside_characters))
    found = trim(tokens.ends.astype(np.int64), tokens.spans, Text(tokens.ids, mask, inside), limit, least)
    kept = [token for a, b in zip(found.starts, found.stops, strict=True) for token in tokens.ids[a:b].tolist()]
    assert len(kept) == found.lengths[0] <= max(limit, 0)
    return kept[:-1]


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None)
@given(thought=THOUGHTS, least=st.integers(0, 3), data=st.data())
def test_the_thought_that_stays_is_the_head_of_the_text_at_every_length(name, thought, least, data):
    tokenizer = opened(name)
    whole = len(tokenizer.encode_rendered([tagged(thought)], ["one"]).ids)
    thoughts = tokenizer.encode_texts([thought]).ids[:-1].tolist()
    limit = data.draw(st.integers(whole - len(thoughts) - 1, whole))
    ids = trimmed(tokenizer, tagged(thought), limit, least)
    if not ids:
        room = limit - (whole - len(thoughts))
        ends = [at for at in range(room + 1) if thought.startswith(tokenizer.decode(thoughts[:at]))]
        assert max(ends, default=-1) < min(least, len(thoughts)), "some head would have fitted"
        return
    text = tokenizer.decode(ids)
    assert text.startswith("Solve.\n<think>\n")
    assert text.endswith(BETWEEN + ANSWER)
    kept = text.removeprefix("Solve.\n<think>\n").removesuffix(BETWEEN + ANSWER)
    assert thought.startswith(kept)
    assert "\ufffd" not in kept or "\ufffd" in thought


@pytest.mark.parametrize("name", FILES)
def test_cuts_inside_of_rare_signs_are_met(name):
    """The same with each length that cuts one sign, and what would be there if tokens alone decided."""
    tokenizer, thought = opened(name), "We see 𓀀𓂀 and 🗾🙂𝔘 here."
    tokens = tokenizer.encode_rendered([tagged(thought)], ["one"])
    assert tokens.spans is not None
    (own,) = np.flatnonzero(tokens.spans.part == PARTS["reasoning"])
    start, stop = int(tokens.spans.start[own]), int(tokens.spans.stop[own])
    heads = [tokenizer.decode(tokens.ids[start : start + stays].tolist()) for stays in range(stop - start)]
    assert sum("\ufffd" in head for head in heads) >= 3
    for stays in range(stop - start):
        kept = tokenizer.decode(trimmed(tokenizer, tagged(thought), len(tokens.ids) - (stop - start) + stays))
        kept = kept.removeprefix("Solve.\n<think>\n").removesuffix(BETWEEN + ANSWER)
        assert kept == max((head for head in heads[: stays + 1] if "\ufffd" not in head), key=len)


def test_a_plain_conversation_of_real_text_in_a_real_vocabulary():
    tokenizer = opened("gpt2.tokenizer.json")
    talk = [Message("user", "Solve."), Message("assistant", ANSWER, "I look at 𓀀𓀀𓀀𓀀.")]
    length = len(tokenizer.encode_rendered([render("plain", talk)], ["one"]).ids)
    texts = {tokenizer.decode(trimmed(tokenizer, render("plain", talk), limit)) for limit in range(length - 13, length)}
    assert {text.split("\n\n")[1].removeprefix("I look at") for text in texts} >= {" 𓀀", " 𓀀𓀀", " 𓀀𓀀𓀀"}
    assert not any("\ufffd" in text for text in texts)

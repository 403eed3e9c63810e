"""Giant documents without a space: the ids of the whole, in the memory of a window and in seconds."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from midtrain.mixtures.encoders import byte_pairs
from midtrain.mixtures.tokenizers import Tokenizer
from tokenizers import Tokenizer as Library

from tests.sizes import sized

NAMES = ["gpt2", "qwen1_2.5", "deepseek_v4", "cl100k_base", "tekken_240911", "mistral_v1"]
MEGABYTE = 1_000_000


def random_signs(signs: str, seed: int) -> Callable[[int], str]:
    def text(size: int) -> str:
        chosen = np.random.default_rng(seed).integers(0, len(signs), size // len(signs[0].encode()))
        return "".join(np.array(list(signs))[chosen])

    return text


GIANTS: dict[str, Callable[[int], str]] = {
    "one letter": lambda size: "a" * size,
    "one sign": lambda size: "=" * size,
    "spaces": lambda size: " " * size,
    "line ends": lambda size: "\n" * size,
    "one word": lambda size: "the" * (size // 3),
    "letters": random_signs("etaoinshrdlu" * 3 + "abcdefghijklmnopqrstuvwxyz", 1),
    "base64": random_signs("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 2),
    "Chinese": random_signs("".join(map(chr, range(0x4E00, 0x5200))), 3),
    "emoji": lambda size: "😀" * (size // 4),
}


def open_real(name: str) -> Tokenizer:
    if not os.environ.get("MIDTRAIN_DATA"):
        pytest.skip("MIDTRAIN_DATA names no folder of real tokenizers")
    return Tokenizer.open(next((Path(os.environ["MIDTRAIN_DATA"]) / "tokenizers").glob(f"{name}.*")))


def ids_of(tokenizer: Tokenizer, text: str) -> np.ndarray:
    return tokenizer.encode_column(pa.array([text], pa.large_string()), ["giant"]).ids


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_giants_have_the_ids_of_the_unsplit_text(name, monkeypatch):
    monkeypatch.setattr(byte_pairs, "WINDOW", 1)  # as small as the longest token allows
    split = open_real(name)
    monkeypatch.setattr(byte_pairs, "WINDOW", 1 << 20)
    whole = open_real(name)
    for kind, text in GIANTS.items():
        np.testing.assert_array_equal(ids_of(split, text(60_000)), ids_of(whole, text(60_000)), kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:3])
def test_up_to_a_megabyte_has_the_ids_of_the_library(name):
    size = sized(MEGABYTE, MEGABYTE // 8)
    tokenizer = open_real(name)
    library = Library.from_file(tokenizer.path)
    library.encode_special_tokens = True
    for kind, text in GIANTS.items():
        theirs = library.encode(text(size), add_special_tokens=False).ids
        np.testing.assert_array_equal(ids_of(tokenizer, text(size))[:-1], theirs, kind)


def most_held(anew: bool = False) -> int:
    """Bytes that this process held at most; from now on, where asked: else what ran before would hide what is held."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2", "mistral_v1"])
@pytest.mark.parametrize(
    ("kind", "megabytes"), [("one letter", 50), ("letters", sized(50, 10)), ("Chinese", sized(50, 10))]
)
def test_tens_of_megabytes_take_seconds_and_no_more_memory_than_their_ids(name, kind, megabytes):
    tokenizer = open_real(name)
    text = pa.array([GIANTS[kind](megabytes * MEGABYTE)], pa.large_string())
    tokenizer.encode_texts(["warm"])
    before, start = most_held(anew=True), time.process_time()
    ids = tokenizer.encode_column(text, ["giant"]).ids
    seconds = time.process_time() - start
    held = most_held() - before
    assert seconds < 10 + megabytes
    assert (
        held < megabytes * MEGABYTE + 20 * len(ids) + (50 + megabytes) * MEGABYTE
    )  # the copy with its space; ids, their copy, masks
    head = ids_of(tokenizer, text[0].as_py()[: MEGABYTE // 3])
    same = len(head) - 64  # what the end of the shorter text decides
    np.testing.assert_array_equal(ids[:same], head[:same])

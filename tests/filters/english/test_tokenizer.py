"""Our tokens are spaCy's, token by token: exceptions, hostile chunks, every code point, real corpora, giants."""

import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sizes import sized

Check = Callable[[Sequence[str]], None]
Tokens = Callable[[Sequence[str]], list[list[str]]]

AFFIXES = [
    *"()[]{}'\"“”’‘´.,:;!?-–—~/<>=+*^%$€£#@_&|\\…°²³µ§·※¬¦©،۔。、「」",
    "..",
    "...",
    "--",
    "---",
    "——",
    "……",
    "'s",
    "’S",
]
NUMBERS = [*"0123456789", "10", "127", "172", "255", "1.2", "1,000", "١", "२", "²", "½"]
UNITS = ["km", "m/s", "mg", "µg", "km²", "US$", "C$", "A$", "mbar", "كم", "тбكم", "км/ч", "T", "°C", "°F.", "kmh"]
WORDS = [
    "a",
    "b",
    "Z",
    "USA",
    "Éa",
    "word",
    "Word",
    "WORD",
    "é",
    "ß",
    "IS_ALPHA",
    "中",
    "日本",
    "가",
    "ع",
    "ж",
    "Ж",
    "я",
    "😀",
]
MARKS = [
    "\u0301",
    "\u200b",
    "\ufeff",
    "\x00",
    "\x7f",
    "\ufffd",
    "ー",
    "𝒳",
    "𠀀",
    "〈",
    "﷼",
    "₿",
    "⟦",
    "\u0600",
    "𞸀",
    "ͅ",
]
ADDRESSES = [
    "http://",
    "ftp://",
    "://",
    "www.",
    "mailto:",
    ".com",
    ".org",
    ".co.uk",
    "x@y",
    "@",
    ":80",
    ":123456",
    "/path",
]
ADDRESSES += [
    "?q=1",
    "#f",
    "192.168.",
    "10.",
    "1.2.3.4",
    "172.16.0.1",
    "127.0.0.1",
    "8.8.8.8",
    "localhost",
    "a.b.co",
    "_-",
]


@pytest.fixture(scope="session")
def exceptions(tokenizer: Any) -> list[str]:
    """spaCy's exceptions that can stand in a chunk, in the tokenizer's order."""
    return [text for text in tokenizer.rules if not any(character.isspace() for character in text)]


@pytest.fixture(scope="session")
def pieces(exceptions: list[str]) -> list[str]:
    """What hostile chunks are made of."""
    return [*exceptions[::7], *3 * (AFFIXES + NUMBERS + UNITS + WORDS + MARKS + ADDRESSES)]


def test_the_exceptions_and_what_may_stand_around_them(check_chunks: Check, exceptions: list[str]) -> None:
    assert len(exceptions) > 1300
    around = [
        "{}",
        "({}",
        "{})",
        "({})",
        "{}.",
        "{}..",
        "{},",
        "'{}'",
        "“{}’s",
        "°{}",
        "a-{}",
        "{}/b",
        "5{}",
        "{}5",
        "({}.))",
    ]
    check_chunks([place.format(text) for text in exceptions for place in around])
    check_chunks([change(text) for text in exceptions for change in (str.upper, str.lower, str.title, str.swapcase)])
    check_chunks([first + second for first, second in itertools.pairwise(exceptions)])
    check_chunks([text[:-1] or "x" for text in exceptions] + [text[1:] or "x" for text in exceptions])


@pytest.mark.parametrize(
    ("chunk", "tokens"),
    [
        ("(don't)", ["(", "do", "n't", ")"]),
        ("U.S.A.,", ["U.S.A.", ","]),
        ("well-known", ["well", "-", "known"]),
        ("5km/h.", ["5", "km/h", "."]),
        ("x@y.org,", ["x@y.org", ","]),
        (":).", [":)", "."]),
        ("°C.))", ["°", "C", ".", ")", ")"]),
    ],
)
def test_chunks_whose_tokens_are_known(our_tokens: Tokens, check_chunks: Check, chunk: str, tokens: list[str]) -> None:
    check_chunks([chunk])
    assert our_tokens([chunk]) == [tokens]


def test_random_chunks_of_hostile_pieces(check_chunks: Check, pieces: list[str]) -> None:
    rng = random.Random(20)
    check_chunks(["".join(rng.choices(pieces, k=rng.choice((1, 2, 2, 3, 3, 4, 5, 6, 9, 14)))) for _ in range(40_000)])


def test_chunks_of_pieces_that_hypothesis_picks(check_chunks: Check, pieces: list[str]) -> None:
    character = st.characters(codec="utf-8").filter(lambda character: not character.isspace())
    chunk = st.lists(st.one_of(st.sampled_from(pieces), character), min_size=1, max_size=12).map("".join)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(chunk, min_size=1, max_size=40))
    def check(chunks: list[str]) -> None:
        check_chunks(chunks)

    check()


def test_what_is_a_url(check_chunks: Check, tokenizer: Any) -> None:
    parts = ["http", "a+b.c", "://", "user", ":", "@", "a", "bc", "-", "_", "é", "中", "𠀀", "Ж", "xn--p1ai", ".", "."]
    parts += [".com", "1", "10", "99", "0", "/", "?", "#", ":80"]
    parts += ["b" * 62, "c" * 63, "d" * 64]
    octets = [
        "0",
        "1",
        "9",
        "10",
        "16",
        "31",
        "32",
        "99",
        "127",
        "168",
        "169",
        "172",
        "192",
        "223",
        "224",
        "254",
        "255",
    ]
    octets += ["256", "٣", "1٣", "2٣", "19٣"]
    # "x-y" is cut unless it belongs to a URL.
    rests = ["", "x", "/x-y", "?x-y", ":80/x-y", ":8/x-y", ":12345/x-y", ":123456/x-y", ":٣٣/x-y", ":80x-y"]
    starts = ["", "", "a://", "ab://", "@", "u@", "@u@", "u:p-q@", "a-b://", "a-b@c-d@"]
    rng = random.Random(3)
    chunks = ["".join(rng.choices(parts, k=rng.randint(2, 9))) for _ in range(20_000)]
    chunks += [rng.choice(starts) + rng.choice(("a.b.co", "8.8.8.8", "a.b")) + rng.choice(rests) for _ in range(1_000)]
    addresses = [".".join(rng.choices(octets, k=rng.choice((3, 4, 4, 4, 5)))) for _ in range(10_000)]
    addresses += [f"172.{second}.1.1" for second in range(256)] + [f"{first}.8.8.8" for first in range(260)]
    chunks += [address + rng.choice(rests) for address in addresses] + [address + "/x-y" for address in addresses]
    matched = [bool(tokenizer.url_match(chunk)) for chunk in chunks]
    assert 1_000 < sum(matched) < len(chunks) - 1_000
    check_chunks(chunks)


def test_runs_of_tokens_that_are_an_exception(check_chunks: Check, exceptions: list[str]) -> None:
    faces = [text for text in exceptions if not text[0].isalpha() and len(text) < 8]
    rng = random.Random(4)
    ends = [*"().,:;'°", "C.", "c.", "F.", "8", "a.m.", ".", "1", "x", "'s"]
    check_chunks(["".join(rng.choices(faces + ends, k=rng.randint(2, 12))) for _ in range(30_000)])


def test_a_sample_of_real_chunks(check_chunks: Check, real_texts: Callable[[str, int], list[str]]) -> None:
    chunks = sorted({chunk for text in real_texts("text/web_small.jsonl.gz", 150) for chunk in text.split()})
    assert len(chunks) > 5_000
    check_chunks(chunks)


@pytest.mark.parametrize(
    "piece", [")", "a.", "..a", "http://a@", "a@", ":)", "°C.)", "1.1.1.1/", "é-", "(°C.", "''", "US$"]
)
def test_long_chunks(check_chunks: Check, piece: str) -> None:
    check_chunks([piece * count for count in (1, 2, 3, 17, 64, 65, 500)])


def test_spacy_is_not_imported() -> None:
    probe = "import sys; from midtrain.filters.english import tables, tokenizer; tables.arrays(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert "midtrain.filters.english.tokenizer" in ended.stdout
    assert "spacy" not in ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("place", ["x{}y", "1{}", "{}2.", "{}.A", "a.{}b", "l{}."])
def test_every_code_point_in_places_where_it_counts(check_chunks: Check, place: str) -> None:
    points = [point for point in range(0x20000) if not 0xD800 <= point < 0xE000 and not chr(point).isspace()]
    points += range(0x20000, 0x110000, 0x61)
    points = [point for number, point in enumerate(points) if point < 0x3000 or number % sized(1, 3) == 0]
    check_chunks([place.format(chr(point)) for point in points])


def _texts(path: Path) -> Iterator[str]:
    unpack = gzip.open if path.suffix == ".gz" else zstandard.open
    with unpack(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["text"]


@pytest.mark.slow
def test_unique_chunks_of_the_real_corpora(check_chunks: Check) -> None:
    folder = os.environ.get("MIDTRAIN_DATA")
    if not folder:
        pytest.skip("MIDTRAIN_DATA names no folder of real corpora")
    paths = sorted(Path(folder, "text").glob("*.jsonl.*"))
    unique = dict.fromkeys(chunk for path in paths for text in _texts(path) for chunk in text.split())
    chunks = list(unique)
    random.Random(1).shuffle(chunks)
    assert len(chunks) > 1_000_000
    for first in range(0, sized(1_050_000, 150_000), 10_000):
        check_chunks(chunks[first : first + 10_000])


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.parametrize(
    "piece", [")", "a", ".", "a.", "..a", "a@", "http://a.", ":)", "''", "……", "a-", "><(((*>", "°C.)", "中"]
)
def test_a_chunk_of_megabytes_takes_seconds(our_stops: Callable[[bytes], npt.NDArray[np.int32]], piece: str) -> None:
    size = sized(50_000_000, 15_000_000)
    chunk = piece.encode() * (size // len(piece.encode()))
    our_stops(b"a")
    began = time.process_time()
    stops = our_stops(chunk)
    assert time.process_time() - began < size * 6e-7  # up to 8 s for 50 MB on a busy machine
    assert stops[-1] == len(chunk)
    assert (np.diff(stops) > 0).all()

"""Patterns as tables cut texts where the library's regular expressions cut them; what is not understood is refused."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.mixtures.encoders import byte_pair_kernels as kernels
from midtrain.mixtures.encoders import character_classes, json_byte_pairs, split_patterns, tiktoken_files
from midtrain.mixtures.encoders.split_automaton import Splits, compile_splits
from midtrain.mixtures.encoders.split_patterns import NotUnderstoodError
from tokenizers import Regex, pre_tokenizers

from tests.sizes import sized

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
O200K = next(one.pattern for one in tiktoken_files.KNOWN.values() if "Lm" in one.pattern)
PUBLISHED = next(one for one in tiktoken_files.KNOWN.values() if one.portable)
CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": json_byte_pairs.GPT2,
    "qwen": QWEN,
    "deepseek": DEEPSEEK,
    "cl100k": CL100K,
    "o200k": O200K,
    "numbers": r"\p{N}{1,3}",
    "kana": "[一-龥぀-ゟ゠-ヿ]+",
    "alternatives of unequal length": "ab|abc|a(?:bc?d)*|[^a-c]{2,4}x?|b(?=c)|c(?!a)",
    "counts": "a{2}|b{2,}|(?:ab){1,2}c|[^ab]",
}
SIGNS = "abcdxyzABSſKͅ'strevmlLD 0129٣½\r\n\t\u3000\u00a0\u0085.,!/-_éßΣ中ひカ한กा\u0301\u200d🙂\U0001f468𐐀ǅ"
TEXTS = st.text(alphabet=SIGNS, max_size=40) | st.text(max_size=20)


def splits_of(*patterns: str) -> Splits:
    return compile_splits(tuple(map(split_patterns.parse, patterns)))


def pieces_of(splits: Splits, text: str) -> list[str]:
    data = text.encode()
    found, at = [], 0
    while at < len(data):
        end = kernels.piece_end(
            np.frombuffer(data, np.uint8), at, len(data), splits.classes, splits.table, splits.starts[0]
        )
        found.append(data[at:end].decode())
        at = end
    return found


@pytest.fixture(scope="module")
def compiled() -> dict[str, tuple[Splits, pre_tokenizers.PreTokenizer]]:
    return {
        name: (splits_of(pattern), pre_tokenizers.Split(Regex(pattern), "isolated"))
        for name, pattern in PATTERNS.items()
    }


@pytest.mark.parametrize("name", PATTERNS)
@settings(deadline=None, max_examples=100)
@given(text=TEXTS)
def test_texts_are_cut_where_the_library_cuts_them(compiled, name, text):
    splits, library = compiled[name]
    assert pieces_of(splits, text) == [piece for piece, _ in library.pre_tokenize_str(text)]


@pytest.mark.parametrize(
    ("pattern", "equal"),
    [
        # White space at the end of a text is one piece here, line breaks or not.
        (PUBLISHED.pattern, PUBLISHED.portable),
        (r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s", json_byte_pairs.GPT2),
    ],
)
@settings(deadline=None, max_examples=100)
@given(text=TEXTS | st.text("a 1\r\n\t", max_size=8))
@example(text="\r ")
@example(text="a\n  ")
def test_the_published_patterns_with_possessive_quantifiers_are_the_same(pattern, equal, text):
    possessive = compile_splits((split_patterns.parse(pattern, end_of_text=True),))
    library = pre_tokenizers.Split(Regex(equal), "isolated")
    assert pieces_of(possessive, text) == [piece for piece, _ in library.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", ["gpt2", "qwen", "deepseek", "cl100k", "o200k", "numbers", "kana"])
def test_which_patterns_leave_no_text_out(compiled, name):
    assert compiled[name][0].covers(0) == (name not in ("numbers", "kana", "deepseek"))


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"\w+",
            r"\d",
            r"a??",
            r"a+?",
            r"(?<=a)b",
            r"^a",
            r"a$",
            r".",
            r"\p{Han}",
            r"\p{L",
            r"[a&&b]",
            r"[[:alpha:]]",
        ),
        *(r"(?!ab)c", r"a**", r"(a*)+", r"a*", r"", r"a|", r"a)", r"(a", r"[a", r"a{2,1}", r"a{999}", r"a{x}", r"\1"),
        *(r"(?i:ss)", r"(?i:é)", r"(?i:\p{Lu})", r"a++a", r"(?:ab)++c", r"\p{N}{1,3}+", r"(?P<n>a)", r"[z-a]", r"\bx"),
    ],
)
def test_what_is_not_understood_is_refused(pattern):
    with pytest.raises(NotUnderstoodError):
        splits_of(pattern)


def test_a_set_of_a_million_characters_is_that_of_the_library():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    for atom in (r"\p{L}", r"\s", r"[^\s\p{L}\p{N}]"):
        mask = split_patterns.parse(atom)
        sequence = mask.items[0] if isinstance(mask, split_patterns.Sequence) else mask
        theirs = pre_tokenizers.Split(Regex(f"(?:{atom})+"), "removed", invert=True).pre_tokenize_str(every)
        assert "".join(piece for piece, _ in theirs) == "".join(
            sign for sign, member in zip(every, np.delete(sequence.mask, slice(0xD800, 0xE000)), strict=True) if member
        )


@pytest.mark.slow
def test_all_categories_are_those_of_the_library():
    points = np.delete(np.arange(0x110000), slice(0xD800, 0xE000))
    points = points[(points < 0x20000) | (points % sized(1, 16) == 0)]  # of those behind, most are of no category
    every = "".join(map(chr, points.tolist()))
    table = character_classes.categories()[points]
    for number, name in enumerate(character_classes.CATEGORIES):
        pieces = pre_tokenizers.Split(Regex(rf"\p{{{name}}}+"), "removed", invert=True).pre_tokenize_str(every)
        mine = np.zeros(len(every), np.bool_)
        for _, (start, stop) in pieces:
            mine[start:stop] = True
        assert np.array_equal(mine, table == number), name
    digits = pre_tokenizers.Digits(individual_digits=False).pre_tokenize_str(every)
    numeric = character_classes.numeric()[points]
    edges = {start for _, (start, _) in digits}
    assert edges == {0, *(np.flatnonzero(numeric[1:] != numeric[:-1]) + 1).tolist()}

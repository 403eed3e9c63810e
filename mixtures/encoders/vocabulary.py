"""What every kind of tokenizer file is held to: how large a vocabulary may be, and what a special token is.

Tables are as long as the largest id. An id that is a slip of the keyboard would take all memory before anything could
be said about it, so ids are compared with one bound before any table is made. Costs a look at each special token.
"""

from collections.abc import Mapping
from typing import Any, Final

from ...errors import ConfigError

MOST_WORDS: Final = 1 << 24
"""Ids of a vocabulary, at most: fifty times the largest one published, and tables of a few hundred MB."""


def check_size(words: int, what: str, path: str) -> None:
    """Whether tables of so many ids can be made.

    Args:
        words: the largest id and one.
        what: what asks for so many, for the error.
        path: the file, for the error.

    Raises:
        ConfigError: they are more than MOST_WORDS.
    """
    if words > MOST_WORDS:
        raise ConfigError(
            "the vocabulary would be larger than any tokenizer's",
            where=path,
            seen=f"{what}: {words:,} ids",
            expected=f"at most {MOST_WORDS:,}",
            fix="correct the number",
        )


def check_special(special: Any, path: str) -> dict[str, int]:
    """Special tokens by their spelling, as something outside the program named them.

    Raises:
        ConfigError: no mapping of spellings to ids; a spelling that is empty; an id that is no id or too large.
    """
    expected = "spellings and their ids, {<|endoftext|>: 50256}"
    if not isinstance(special, Mapping):
        raise ConfigError("special_tokens are no mapping", where=path, seen=repr(special)[:200], expected=expected)
    for text, number in special.items():
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not isinstance(text, str) or not text or not whole or number < 0:
            seen = f"{text!r}: {number!r}"[:200]
            raise ConfigError("a special token without a spelling or an id", where=path, seen=seen, expected=expected)
        check_size(number + 1, f"the special token {text} has the id {number:,}", path)
    return dict(special)

"""The tokens that templates write: which of them end a turn, and how their spelling is known without a tokenizer.

A turn ends with the first special token behind the assistant's text. The tokenizer says which those are; where none is
at hand, the forms that published templates use. Costs a regular expression over the template's own text.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_PUBLISHED: Final = (
    "</s>",
    "<s>",
    "<eos>",
    "<bos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[|endofturn|]",
    "[|user|]",
    "[|assistant|]",
    "[|system|]",
    "[|tool|]",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
)
"""Tokens of published templates that are not written `<|…|>` or `<｜…｜>`, as most are."""

_FORMS: Final = re.compile(
    "|".join([r"<\|[^|<>\s]+\|>", r"<｜[^｜<>\s]+｜>", *map(re.escape, sorted(_PUBLISHED, key=len, reverse=True))])
)


@lru_cache(maxsize=32)
def pattern(special: frozenset[str] | None) -> re.Pattern[str]:
    """What matches the special tokens, longer ones first; None: the published forms."""
    if special is None:
        return _FORMS
    return re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or "(?!)")


def runs(text: str, special: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """The text in order, cut into special tokens (True) and what stands between them."""
    at = 0
    for match in special.finditer(text):
        if match.start() > at:
            yield text[at : match.start()], False
        yield match.group(), True
        at = match.end()
    if at < len(text):
        yield text[at:], False


def first_end(text: str, special: re.Pattern[str]) -> int | None:
    """Where the first special token of a text ends."""
    match = special.search(text)
    return match.end() if match else None


def published(text: str) -> list[str]:
    """The tokens of published forms in a text, each once."""
    return list(dict.fromkeys(_FORMS.findall(text)))

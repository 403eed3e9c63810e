"""JSON in which whole numbers of any size stay what they are: the metadata that documents carry.

orjson reads a whole number of more than 64 bits as one with a point, and refuses to write it; the standard library,
ten times as slow, does neither, so it takes over where there is such a number. Costs orjson's parse and a look at each
value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import orjson

ROUNDED: Final = 2.0**63  # from here on orjson may read a whole number as one with a point
_LONG_NUMBER: Final = "64-bit"  # in what orjson says of a number that it cannot write


def loads(content: bytes | str) -> Any:
    """The value of a JSON text.

    Raises:
        orjson.JSONDecodeError: it is none.
        RecursionError: it is nested too deeply, and holds a number that may need more than 64 bits.
    """
    value = orjson.loads(content)
    return json.loads(content) if _may_be_rounded(value) else value


def dumps(value: Any, default: Callable[[Any], Any] | None = None, option: int = 0) -> str:
    """The value as JSON without blanks.

    Args:
        value: what is written.
        default: makes of what JSON does not know something that it does.
        option: orjson's.

    Raises:
        orjson.JSONEncodeError: a part is none of JSON, or it is nested deeper than 254 levels.
    """
    try:
        return orjson.dumps(value, default, option).decode()
    except orjson.JSONEncodeError as error:
        if _LONG_NUMBER not in str(error):
            raise
    return json.dumps(value, default=default, ensure_ascii=False, separators=(",", ":"))


def _may_be_rounded(value: object) -> bool:
    """Whether a value that orjson has parsed holds a number that it may have rounded."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, float):
            if abs(one) >= ROUNDED:
                return True
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
    return False

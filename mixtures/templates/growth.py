"""How many characters an operation of a template will make, told before it makes them.

One step of a template can ask for gigabytes: a width, a text in the place of each letter, a list that has one text a
million times. What is told is at least what comes of it, but for signs that are escaped, which take up to ten. Costs a
look at what is written, up to the limit `most`: above it any number above it is told.
"""

import re
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, ValuesView
from typing import Any, Final

from jinja2.utils import Namespace

DIGITS = re.compile(r"\d+")
_NUMBER: Final = 350  # characters of a float, at most
_SPEC = re.compile(r"%(?:\([^()]*\))?(\()?[#0\- +]*(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?.?", re.DOTALL)


def written(value: Any, most: int, each: int = 0, level: int = 0) -> int:
    """Of a value as text.

    Args:
        value: any; of lists and mappings all that they hold counts as often as they hold it.
        most: the limit.
        each: characters behind each entry, beside the usual two.
        level: characters in front of each entry for each list or mapping that it is in.
    """
    total, waiting = 0, [(value, 0)]
    while waiting and total <= most:
        one, depth = waiting.pop()
        if isinstance(one, Namespace):
            one = object.__getattribute__(one, "_Namespace__attrs")
        if isinstance(one, str | bytes):
            total += len(one) + 2
        elif isinstance(one, int):
            total += one.bit_length() // 3 + 6  # as many as False has at least
        elif isinstance(one, Mapping | list | tuple | set | frozenset | KeysView | ValuesView | ItemsView):
            inside = (*one.keys(), *one.values()) if isinstance(one, Mapping) else one
            total += 2 + len(inside) * (2 + each + level * (depth + 1)) + level * depth
            waiting += [(entry, depth + 1) for entry in inside]
        else:
            total += _NUMBER
    return total


def taken(values: Iterable[Any], most: int) -> tuple[list[Any], int]:
    """The values, and the characters of all of them; no more than are within the limit are taken."""
    found, total = [], 0
    for value in values:
        found.append(value)
        total += len(value) if isinstance(value, str) else written(value, most - total)
        if total > most:
            break
    return found, total


def percent(text: str | bytes, values: Any, most: int) -> int:
    """Of a text with `%` signs and what stands in their places: one value, several as a tuple, or a mapping."""
    form = text if isinstance(text, str) else text.decode("latin-1")
    given = values if isinstance(values, tuple) else (*values.values(), values) if _is_mapping(values) else (values,)
    largest = max((written(one, most) for one in given), default=0)
    widest = max((abs(one) for one in given if isinstance(one, int)), default=0)
    total = len(form)
    for spec in _SPEC.finditer(form):
        if spec[1]:  # a name with a parenthesis inside: where it ends is not told
            return most + 1
        total += largest + sum(widest if size == "*" else int(size[:18]) for size in spec.group(2, 3) if size)
    return total


def method(text: str | bytes, name: str, given: tuple[Any, ...]) -> int:
    """Of what a text's method makes; 0 for those that make little more than they are given, and for `join`."""
    match name, given:
        case "replace", (str() | bytes() as old, str() | bytes() as new, *count):
            return _replaced(text, old, new, count[0] if count and isinstance(count[0], int) else -1)
        case "expandtabs", (int() as width,):
            return len(text) + width * text.count("\t" if isinstance(text, str) else b"\t")  # type: ignore[arg-type]
        case "translate", (table,) if not isinstance(table, str | bytes):
            values = table.values() if _is_mapping(table) else table if isinstance(table, list | tuple) else ()
            return len(text) * max((len(one) for one in values if isinstance(one, str)), default=1)
    return 0


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _replaced(text: Any, old: Any, new: Any, count: int) -> int:
    if len({isinstance(one, str) for one in (text, old, new)}) > 1:
        return 0  # an error that Python tells
    found = int(text.count(old))
    return len(text) + max(len(new) - len(old), 0) * (min(found, count) if count >= 0 else found)


def _replace(most: int, value: Any, old: Any, new: Any, count: int | None = None) -> int:
    together = sum(written(one, most) for one in (value, old, new))
    if together > most:
        return together
    return _replaced(str(value), str(old), str(new), -1 if count is None else count)


def _format(most: int, value: Any, *args: Any, **kwargs: Any) -> int:
    size = written(value, most)
    return size if size > most else percent(str(value), kwargs or args, most)


def _indent(most: int, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> int:
    size = written(value, most)
    lines = len(str(value).splitlines()) + 1 if size <= most else 1
    return size + lines * (len(width) if isinstance(width, str) else width)


def _wordwrap(
    most: int,
    value: Any,
    width: int = 79,
    break_long_words: bool = True,
    wrapstring: str | None = None,
    break_on_hyphens: bool = True,
) -> int:
    size = written(value, most)
    return size + size * len(wrapstring or "")


def _to_json(
    most: int,
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> int:
    level = len(indent) if isinstance(indent, str) else indent or 0
    return written(value, most, sum(map(len, separators or ())), level)


FILTERS: Final[Mapping[str, Callable[..., int]]] = {
    "format": _format,
    "indent": _indent,
    "replace": _replace,
    "tojson": _to_json,
    "wordwrap": _wordwrap,
}
"""Of what filters make, called with the limit, the value and the filter's own arguments; all others that make a text
make little more of it than `written`, or have a width."""

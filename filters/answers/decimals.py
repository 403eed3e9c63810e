r"""Reads decimals that are no plain digits: `0.1\overline{6}`, `0.(3)` and `0.333...` go on, `1.000,5` is a locale's.

A third is 0.333… and not 0.333; what the dots stand for is told only where the digits repeat. `1.000,5` has the comma
that English writes as a point, and `3,5` may have it.
Costs a microsecond where there is none.
"""

import re
from fractions import Fraction
from typing import Final

MOST_REPEATED: Final = 100  # digits before dots in which a period is looked for

_BARRED: Final = re.compile(
    r"([+-]?)([0-9]*)\.([0-9]*)(?:\\(?:overline|bar)\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))|\(([0-9]+)\))(?:\s*\.\.\.)?\Z"
)
_DOTTED: Final = re.compile(r"([+-]?)([0-9]*)\.([0-9]*?)\\dot\s*\{?([0-9])\}?(?:([0-9]*)\\dot\s*\{?([0-9])\}?)?\Z")
_GOES_ON: Final = re.compile(r"([+-]?)([0-9]*)\.([0-9]+)\s*\.\.\.\Z")
_AT_ONCE: Final = re.compile(r"([0-9]+)\1+\Z")
_THRICE: Final = re.compile(r"([0-9]*?)([0-9]+?)\2{2,}\Z")
_LOCALE: Final = re.compile(
    r"[+-]?(?:[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3}){2,}|[0-9]{1,3}(?: [0-9]{3})+,[0-9]+)\Z"
)
_APOSTROPHES: Final = re.compile(r"[+-]?[0-9]{1,3}(?:'[0-9]{3})+(?:\.[0-9]*)?\Z")
_COMMA: Final = re.compile(r"[+-]?[0-9]+,(?![0-9]{3}\Z)[0-9]+\Z")
_LAKHS: Final = re.compile(r"[+-]?[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?\Z")
_AND: Final = re.compile(r"([0-9]+) and ([0-9]+)\s*/\s*([0-9]+)\Z|([0-9]+) and \\frac\{([0-9]+)\}\{([0-9]+)\}\Z")


def repeating(text: str) -> Fraction | None:
    """The rational of a decimal whose period is marked, or plain from its digits before dots; None for any other.

    Dots say that the digits repeat where the last ones stand there three times (`0.1666...`), or where there are no
    others behind the point (`0.1212...`); `2.718281828...` repeats `1828` twice, and is e.
    """
    if found := _BARRED.match(text):
        return _value(found[1], found[2], found[3], found[4] or found[5] or found[6])
    if found := _DOTTED.match(text):
        return _value(found[1], found[2], found[3], found[4] + (found[5] or "") + (found[6] or ""))
    if (found := _GOES_ON.match(text)) and len(found[3]) <= MOST_REPEATED:
        if once := _AT_ONCE.match(found[3]):
            if len(found[3]) > 2:
                return _value(found[1], found[2], "", once[1])
        elif thrice := _THRICE.match(found[3]):
            return _value(found[1], found[2], thrice[1], thrice[2])
    return None


def truncated(text: str) -> tuple[Fraction, Fraction] | None:
    """The bounds of a decimal that goes on in an unknown way (`3.14...`): at least the first, less than the second."""
    found = _GOES_ON.match(text)
    if found is None:
        return None
    low = Fraction(f"{found[2] or 0}.{found[3]}")
    high = low + Fraction(1, 10 ** len(found[3]))
    return (-high, -low) if found[1] == "-" else (low, high)


def elsewhere(text: str) -> Fraction | None:
    """A number as other countries write it, where it can be nothing else: `1.000,5`, `1'000`."""
    if _LOCALE.match(text):
        return Fraction(text.replace(".", "").replace(" ", "").replace(",", "."))
    return Fraction(text.replace("'", "").rstrip(".")) if _APOSTROPHES.match(text) else None


def otherwise(text: str) -> Fraction | None:
    """The number that several values may be, as some write it: `3,5`, `1,00,000`, `1 and 1/2`; else None."""
    if _COMMA.match(text):
        return Fraction(text.replace(",", "."))
    if _LAKHS.match(text):
        return Fraction(text.replace(",", ""))
    if (found := _AND.match(text)) is None:
        return None
    whole, up, down = (int(found[place] or found[place + 3]) for place in (1, 2, 3))
    return whole + Fraction(up, down) if 0 < up < down else None


def _value(sign: str, whole: str, before: str, period: str) -> Fraction:
    value = Fraction(
        int(whole + before + period or 0) - int(whole + before or 0), 10 ** len(before) * (10 ** len(period) - 1)
    )
    return -value if sign == "-" else value

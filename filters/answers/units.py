"""Units and currencies, as what they measure and how many of the base unit they are.

A reply of 90 minutes agrees with 1.5 hours and not with 90 seconds, and a name that measures nothing (`apples`) says
nothing about the number before it. What a unit measures is a product of powers, so that `N`, `kg m/s^2` and `kg m s^-2`
are one, and SI prefixes are a rule (BIPM, The International System of Units, 9th edition, table 7).
Costs one lookup; a few microseconds for a product.
"""

import functools
import re
from fractions import Fraction
from typing import Final

_DEGREES: Final = "° degree degrees deg"
_RADIANS: Final = "radian radians rad"

# One row for each unit: what it measures, how many of the base unit it is, its names.
_TABLE: Final = (
    ("length", "1/100", "cm centimeter centimeters centimetre centimetres 厘米 см"),
    ("length", "1/10", "dm"),
    ("length", "127/5000", "in inch inches"),
    ("length", "381/1250", "ft foot feet"),
    ("length", "1143/1250", "yd yard yards"),
    ("length", "201168/125", "mi mile miles"),
    ("length", "1", "米 м"),
    ("length", "1000", "公里 千米 км"),
    ("length", "1/1000", "毫米 мм"),
    ("mass", "1000", "kilo kilos 千克 公斤 кг"),
    ("mass", "1", "克 г"),
    ("mass", "1000000", "tonne tonnes"),
    ("mass", "45359237/100000", "lb lbs pound pounds"),
    ("mass", "45359237/1600000", "oz ounce ounces"),
    ("time", "1", "sec secs 秒 с"),
    ("time", "60", "min mins minute minutes 分钟 мин"),
    ("time", "3600", "h hr hrs hour hours 小时 ч"),
    ("time", "86400", "day days 天"),
    ("time", "604800", "week weeks"),
    ("month", "1", "month months"),
    ("month", "12", "year years yr yrs"),
    ("volume us", "1", "gallon gallons gal"),
    ("volume us", "1/4", "quart quarts"),
    ("volume us", "1/8", "pint pints"),
    ("volume us", "1/16", "cup cups"),
    ("length time^-1", "1", "mps"),
    ("length time^-1", "5/18", "kmh kph"),
    ("length time^-1", "1397/3125", "mph"),
    ("angle", "1", _DEGREES),
    ("radian", "1", _RADIANS),
    ("celsius", "1", "°c C celsius ° degree degrees"),
    ("fahrenheit", "1", "°f F fahrenheit ° degree degrees"),
    ("length^-1 mass time^-2", "101325000", "atm"),
    ("dollar", "1", "$ dollar dollars usd us$ buck bucks"),
    ("dollar", "1/100", "¢ cent cents"),
    ("euro", "1", "€ euro euros eur"),
    ("sterling", "1", "£ gbp pound pounds"),
    ("sterling", "1/100", "pence"),
    ("yen", "1", "¥ yen jpy"),
    ("rupee", "1", "₹ rupee rupees inr rs"),
)
# Units that take prefixes; the base of mass is the gram.
_PREFIXED: Final = (
    ("length", "1", "m", "meter meters metre metres"),
    ("mass", "1", "g", "gram grams"),
    ("time", "1", "s", "second seconds"),
    ("length^3", "1/1000", "l L", "liter liters litre litres"),
    ("time^-1", "1", "Hz", "hertz"),
    ("length mass time^-2", "1000", "N", "newton newtons"),
    ("length^2 mass time^-2", "1000", "J", "joule joules"),
    ("length^2 mass time^-3", "1000", "W", "watt watts"),
    ("length^2 mass time^-2", "3600000", "Wh", "watt-hour watt-hours"),
    ("length^-1 mass time^-2", "1000", "Pa", "pascal pascals"),
    ("current", "1", "A", "ampere amperes amp amps"),
    ("current time", "1", "C", "coulomb coulombs"),
    ("current^-1 length^2 mass time^-3", "1000", "V", "volt volts"),
    ("current^-2 length^2 mass time^-3", "1000", "Ω Ohm", "ohm ohms"),
    ("current^2 length^-2 mass^-1 time^4", "1/1000", "F", "farad farads"),
    ("current^-1 mass time^-2", "1000", "T", "tesla teslas"),
    ("temperature", "1", "K", "kelvin kelvins"),
    ("amount", "1", "mol", "mole moles"),
)
_PREFIXES: Final = (
    *(("n", "nano", "1/1000000000"), ("µ", "micro", "1/1000000"), ("μ", "micro", "1/1000000")),
    *(("m", "milli", "1/1000"), ("k", "kilo", "1000"), ("M", "mega", "1000000"), ("G", "giga", "1000000000")),
)

Measure = tuple[str, Fraction]


def _table() -> dict[str, tuple[Measure, ...]]:
    found: dict[str, tuple[Measure, ...]] = {}
    rows = [(what, Fraction(factor), names.split()) for what, factor, names in _TABLE]
    for what, factor, signs, names in _PREFIXED:
        rows.append((what, Fraction(factor), [*signs.split(), *names.split()]))
        for sign, prefix, scale in _PREFIXES:
            spelled = [sign + one for one in signs.split()] + [prefix + one for one in names.split()]
            rows.append((what, Fraction(factor) * Fraction(scale), spelled))
    for measured, size, each in rows:
        for name in each:
            if (measured, size) not in found.get(name, ()):
                found[name] = (*found.get(name, ()), (measured, size))
    return found


UNITS: Final = _table()

ANGLES: Final = {name: what for what, names in (("degree", _DEGREES), ("radian", _RADIANS)) for name in names.split()}
"""Which measure of an angle a unit's name is; one is no rational multiple of the other."""

CURRENCIES: Final = re.compile(r"(-?)\s*(us\$|usd|eur|gbp|jpy|inr|[$€£¥₹])\s*(?=[-\d.\\])", re.IGNORECASE)
_TEMPERATURE: Final = re.compile(r"^degrees? (celsius|fahrenheit|[CF])$", re.IGNORECASE)
_PER: Final = re.compile(r"\s+per\s+|\s*/\s*")
_RAISED: Final = re.compile(r"\^\s*\{?\s*(-?[1-9])\s*\}?\Z")
_WORDED: Final = (("square ", 2), ("sq ", 2), ("sq. ", 2), ("cubic ", 3), ("cu ", 3))
_DIMENSION: Final = re.compile(r"([a-z]+(?: us)?)(?:\^(-?[0-9]+))?(?: |\Z)")
MOST_FACTORS: Final = 6  # of a product of units


def measures(name: str) -> tuple[Measure, ...]:
    """What a unit's name may measure and its factor; empty for a name that measures nothing (`apples`).

    Args:
        name: as it stands behind the number: `cm`, `square meters`, `cm^2`, `miles per hour`, `kg m/s^2`.
    """
    name = " ".join(name.split())
    if name in UNITS:
        return UNITS[name]
    name = _TEMPERATURE.sub(r"\1", name.removesuffix("."))
    if (found := _named(name)) or not (" " in name or "/" in name or "^" in name or "*" in name):
        return found
    return _product(name)


def _named(name: str) -> tuple[Measure, ...]:
    return UNITS.get(name) or (UNITS.get(name.lower(), ()) if len(name) > 1 else ())


@functools.lru_cache(1024)
def _product(name: str) -> tuple[Measure, ...]:
    """What a product of units measures; what stands behind `per` or `/` divides."""
    above, *below = _PER.split(name)
    factors = [(factor, 1) for factor in _factors(above)] + [(one, -1) for part in below for one in _factors(part)]
    if not above or len(factors) > MOST_FACTORS:
        return ()
    found: tuple[tuple[dict[str, int], Fraction], ...] = (({}, Fraction(1)),)
    for (unit, power), sign in factors:
        found = tuple(
            (_raised(before, what, power * sign), scale * factor ** (power * sign))
            for before, scale in found
            for what, factor in _named(unit)
        )
    return tuple(
        (" ".join(_dimension(base, power) for base, power in sorted(one.items()) if power), scale)
        for one, scale in found
    )


def _factors(text: str) -> list[tuple[str, int]]:
    """The units of a product and their powers: `square meters`, `kg m^2`, `N*m`."""
    text = text.strip()
    for word, power in _WORDED:
        if text.lower().startswith(word):
            return [(text[len(word) :], power)]
    if not text or text in UNITS:
        return [(text, 1)]
    pieces = re.split(r"\s*\*\s*|\s+(?!\^|\{)", text)
    raised = [_RAISED.search(piece) for piece in pieces]
    return [
        (piece[: found.start()].strip(), int(found[1])) if found else (piece, 1)
        for piece, found in zip(pieces, raised, strict=True)
    ]


def _raised(before: dict[str, int], what: str, power: int) -> dict[str, int]:
    found = dict(before)
    for base, own in _DIMENSION.findall(what):
        found[base] = found.get(base, 0) + int(own or 1) * power
    return found


def _dimension(base: str, power: int) -> str:
    return base if power == 1 else f"{base}^{power}"

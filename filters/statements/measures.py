"""Units of measure: what each is called, and that any two of them exclude each other.

A problem in joules is another one in kilojoules, however alike they read. Units with the prefixes of the International
System are made, the others are listed; symbols that are words or stand for several units are left out. Costs nothing
but the making of the tables.
"""

from typing import Final

# Units that take prefixes, each with its other spellings.
_BASES: Final = """
meter metre
gram gramme
liter litre
second
byte
bit
watt
joule
calorie
volt
ampere amp
ohm
hertz
pascal
newton
tesla
farad
coulomb
mole
electronvolt
parsec
ton tonne
bar
"""
_PREFIXES: Final = "peta tera giga mega kilo hecto deca deci centi milli micro nano pico femto"
_OTHERS: Final = """
mile mi
yard yd yds
foot feet ft
inch inches
furlong
fathom
knot
acre
hectare
pound lb lbs
ounce oz
stone
carat
gallon gal
quart
pint
cup
tablespoon tbsp
teaspoon tsp
barrel
bushel
celsius centigrade
fahrenheit
kelvin
radian
atmosphere atm
psi
horsepower
decibel
lumen
lux
minute mins
hour hr hrs
day daily
week weekly
fortnight
month monthly
year yearly yr yrs annually
decade
century centuries
millennium millennia
"""
_SYMBOLS: Final = """
kilometer km kms
centimeter cm cms
millimeter mm
nanometer nm
kilogram kilo kg kgs
gram gm gms
milligram mg
liter ltr
milliliter ml
deciliter dl
second secs
kilowatt kw
kilojoule kj
kilocalorie kcal
kilovolt kv
kilopascal kpa
hertz hz
kilohertz khz
megahertz mhz
gigahertz ghz
kilobyte kb
megabyte mb
gigabyte gb
terabyte tb
electronvolt ev
"""


def _spellings() -> dict[str, set[str]]:
    """The words for each unit, by its name."""
    found: dict[str, set[str]] = {}
    for line in _BASES.split("\n"):
        words = line.split()
        for prefix in ["", *_PREFIXES.split()] if words else ():
            found.setdefault(f"{prefix}{words[0]}", set()).update(f"{prefix}{word}" for word in words)
    for line in [*_OTHERS.split("\n"), *_SYMBOLS.split("\n")]:
        if words := line.split():
            found.setdefault(words[0], set()).update(words)
    return found


SPELLINGS: Final = _spellings()
NAMES: Final = {word: name for name, words in SPELLINGS.items() for word in words}
"""The name of a unit, by each of its spellings in small letters; plurals are not among them."""

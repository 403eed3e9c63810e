"""Words that tell one problem from another: opposites and members of one series, and what matters by being there.

Two statements that share their numbers and most of their words are two problems where one says older and the other
younger, miles and kilometers, Monday and Tuesday, with and without. Costs a lookup a word; a word is taken apart once.
"""

import functools
from collections.abc import Iterable
from typing import Final

from . import measures
from .words import NEGATIONS, meaning, stem

Members = frozenset[tuple[int, int]]

# A line is a series: its members exclude each other and stand apart by slashes, a member is a word and
# its synonyms. A line that begins with a slash goes on with the one before.
_SERIES: Final = """
old elder / young
more most great large big high maximum maximal / less least few small low little minimum minimal
long tall / short
fast quick / slow
heavy / light
wide broad / narrow
deep / shallow
hot warm / cold cool
rich / poor
strong / weak
good better best / bad worse worst
early / late
near close / far
cheap / expensive costly
full / empty
hard difficult / easy
half halve / twice double / thrice triple treble / quadruple / quintuple / third / quarter / fifth / tenth
first / second / third / fourth / fifth / sixth / seventh / eighth / ninth / tenth / eleventh / twelfth / last final
dozen / score / hundred / thousand / million / billion / trillion
with / without
by / to / from
fill / drain empty leak
open / close shut
enter arrive / leave depart exit
stay remain / leave go
push / pull
start begin began / end finish stop
buy bought purchase / sell sold
win won / lose lost / draw drew tie
give gave given hand / take took taken receive get
gain won / lose lost
earn make made / spend spent
profit gain / loss
lend lent / borrow
deposit / withdraw withdrew withdrawal
add added plus addition / remove subtract minus subtraction / multiply multiplication / divide division
sum total overall / difference / product / quotient ratio / average mean / median / mode / range / reciprocal
permutation / combination
arithmetic / geometric / harmonic
linear / quadratic / cubic / quartic
increase rise rose risen grow grew grown raise / decrease fall fell fallen drop shrink decline reduce reduction
expand / contract shrink
accelerate / slow decelerate
appreciate / depreciate
upstream / downstream
up upward uphill above / down downward downhill below
climb ascend / descend
ascending / descending
left leftmost / right rightmost
north northern / south southern / east eastern / west western / northeast / northwest / southeast / southwest
before previous preceding / after next following / during
ago earlier / later
inside within / outside
above over / below under beneath
top / bottom / middle
front / back rear behind
inner interior / outer exterior
internal / external
inscribe / circumscribe
import / export
clockwise / counterclockwise anticlockwise
horizontal / vertical / diagonal
row / column
parallel / perpendicular
parallel / series
stack / queue
acute / obtuse
convex / concave
even / odd
prime / composite
positive / negative
integer / fraction / irrational / rational / real / imaginary / complex
multiple / factor divisor
gcd / lcm
numerator / denominator
domain / range
inclusive / exclusive
include / exclude
same identical equal / different distinct unequal opposite
simple / compound
all / none / any
both / either / neither
each every apiece / total overall altogether together combined all
always / never / sometimes
true correct right / false incorrect wrong
and / or
necessary / sufficient
maximize / minimize
maximum / minimum / average
exactly / least / most
boy / girl
man men / woman women
male / female
father dad / mother mom
son / daughter
brother / sister
husband / wife
uncle / aunt
child children kid / adult
king / queen / jack / ace
heart heartsuit / spade spadesuit / diamond diamondsuit / club clubsuit
penny / nickel / dime / quarter
head / tail
red / blue / green / yellow / white / black / orange / purple / pink / brown / gray grey / silver / gold / violet
triangle / square / rectangle / circle / pentagon / hexagon / heptagon / octagon / decagon / rhombus
/ trapezoid trapezium / parallelogram / ellipse
triangular / square / rectangular / circular / pentagonal / hexagonal / octagonal
cube / sphere / cylinder / cone / pyramid / prism / tetrahedron / octahedron / hemisphere
square / cube / root
square / cubic
equilateral / isosceles / scalene
area / perimeter / circumference / radius radii / diameter / length / width breadth / height / depth
/ volume / hypotenuse / circumcircle / incircle
altitude / median / bisector
center centre centroid / vertex vertices / focus foci / midpoint / incenter / circumcenter / orthocenter
sine / cosine / tangent
monday mon / tuesday tue tues / wednesday wed / thursday thu thur thurs / friday fri / saturday sat / sunday sun
/ weekday / weekend
january jan / february feb / march mar / april apr / may / june jun / july jul / august aug / september sept sep
/ october oct / november nov / december dec
spring / summer / autumn fall / winter
morning / noon / afternoon / evening / night midnight
today / yesterday / tomorrow
breakfast / lunch / dinner supper
dollar / cent / euro / pound sterling / penny pence / yen / rupee / yuan / peso / ruble / franc
"""
# What adds to a stock, and what takes from it: no word of the one stands for one of the other.
_GAINING: Final = """
acquire add added bake borrow bought buy build built catch caught collect earn find found gain gather get got grew grow
harvest hire inherit join make made pick plant purchase receive save win won
"""
_LOSING: Final = """
ate break broke burn destroy die discard donate drank drink drop eat gave give given kill lend lent lose lost quit
remove return fire sink sank leak sell sold spend spent stole steal threw throw use waste
"""
_PREFIXES: Final = ("un", "in", "im", "il", "ir", "non", "dis")
_BARE: Final = 5  # letters of a word that a prefix denies, at least

# Words that make another question wherever they stand, each by a name that its synonyms share.
_PRESENT: Final = """
least smallest minimum minimal lowest fewest
greatest largest maximum maximal highest biggest most
different distinct
sum sums
product products
difference differences
quotient quotients
gcd
lcm
reciprocal reciprocals
area areas
perimeter perimeters
volume volumes
diameter diameters
center centers
boy boys
girl girls
head heads
tail tails
"""
_ALONE: Final = """
radius circumference distinguishable indistinguishable same exactly even odd negative before after consecutive alternate
perpendicular parallel
"""
PRESENT: Final = {
    **{word: line.split()[0] for line in _PRESENT.strip().splitlines() for word in line.split()},
    **{word: word for word in _ALONE.split()},
    **dict.fromkeys(NEGATIONS, "not"),
}

# Words that make another question where they are asked with: how many more, how many each, how many still.
_MEASURES: Final = """
more less few half twice double triple average mean median mode percent ratio times each every still already yet
next ago later previous
"""
MEASURES: Final = frozenset(map(stem, _MEASURES.split()))


def _table() -> dict[str, Members]:
    found: dict[str, set[tuple[int, int]]] = {}
    listed = [
        [words.split() for words in line.split(" / ")] for line in _SERIES.replace("\n/", " /").strip().split("\n")
    ]
    for series, members_ in enumerate([*listed, measures.SPELLINGS.values()]):
        for member, words in enumerate(members_):
            for word in words:
                found.setdefault(stem(word), set()).add((series, member))
    return {word: frozenset(own) for word, own in found.items()}


_TABLE: Final = _table()
_GAINS, _LOSSES = (frozenset(map(stem, own.split())) for own in (_GAINING, _LOSING))


@functools.lru_cache(maxsize=1 << 16)
def members(word: str) -> Members:
    """The series in which a word stands, each with its member; of older those of old."""
    own = stem(word)
    for ending in ("", "er", "est", "r", "st"):
        if own.endswith(ending) and (not ending or len(own) - len(ending) >= 3):
            bare = own.removesuffix(ending)
            if bare not in _TABLE and bare[-2:-1] == bare[-1:]:
                bare = bare[:-1]
            if bare in _TABLE:
                return _TABLE[bare]
    return frozenset()


def alike(words: Iterable[str], others: Iterable[str]) -> list[str]:
    """Of the words those that mean what one of the others does."""
    meanings, theirs = set[str](), set[tuple[int, int]]()
    for other in others:
        meanings.add(meaning(other))
        theirs |= members(other)
    return [word for word in words if meaning(word) in meanings or not theirs.isdisjoint(members(word))]


def opposites(words: Iterable[str], others: Iterable[str]) -> tuple[str, str] | None:
    """The first two words that exclude each other, by a series or a prefix, one of each; None where there are none."""
    others = dict.fromkeys(others)
    gaining, losing = (next((other for other in others if stem(other) in own), None) for own in (_GAINS, _LOSSES))
    denied = {other[len(prefix) :]: other for other in others for prefix in _PREFIXES if other.startswith(prefix)}
    told = [(other, own) for other in others if (own := members(other))]
    for word in words:
        if len(word) >= _BARE and word in denied:
            return word, denied[word]
        for prefix in _PREFIXES:
            bare = word.removeprefix(prefix)
            if bare != word and len(bare) >= _BARE and bare in others:
                return word, bare
        if losing and stem(word) in _GAINS:
            return word, losing
        if gaining and stem(word) in _LOSSES:
            return word, gaining
        mine = members(word)
        for other, theirs in told if mine else ():
            if mine.isdisjoint(theirs) and not {one for one, _ in mine}.isdisjoint(one for one, _ in theirs):
                return word, other
    return None

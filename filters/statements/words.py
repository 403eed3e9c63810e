"""Words of statements by their stems: forms of one word, synonyms that corpora of problems exchange, words of grammar.

Who rewords a problem says children for kids, litres for liters, determine for find; such words are one word here. The
lists are short: a synonym that is missing costs a copy that stays, never a problem that goes. Costs a lookup a word; a
word is taken apart once.
"""

import functools
from typing import Final

from . import measures

# Words of one meaning, a set a line; the first one stands for all.
_SAME: Final = """
find determine compute calculate evaluate
money cash
need require
remain remaining leftover left
friend pal buddy
child children kid
shop store
job work
big large huge
little small tiny
start begin began begun commence
finish end complete
use utilize employ
help assist
want wish desire
choose chose chosen pick select
show illustrate display
hold held contain include
house home
car automobile
rate speed
quickly fast rapidly
whole entire
total overall altogether together combined
greatest largest maximum maximal highest biggest
least smallest minimum minimal lowest fewest
different distinct
number quantity amount count
collect gather
construct build built
divide split
combine merge
arrange order
trip journey
photo picture photograph
talk speak
price cost
student pupil
teacher instructor
container box
piece slice
earn make made
buy bought purchase
get got receive obtain
give gave given hand
sell sold trade
each every
now today currently
same identical
way manner
prove show
half halves
far distance
old age
tall height
january jan
february feb
march mar
april apr
june jun
july jul
august aug
september sept sep
october oct
november nov
december dec
monday mon
tuesday tue tues
wednesday wed
thursday thu thur thurs
friday fri
heavy weight
"""

# Currencies by their names.
_MONEY: Final = """
pound quid
dollar usd buck
euro eur
rupee rs inr
"""

_GRAMMAR: Final = """
a an the of to in on at by for from as is are was were be been being it its this that these those there here then
than he she they them him her hers his their theirs we us our you your i my me who whom whose which what how do does
did done doing has have had having will would shall should could can may might must and or nor if so such also just
only very too let given suppose assume assuming find answer please value number many much when where while but per
with strictly numerical up down out over about into onto any some another other others rest one ones long now
"""
_ASKING: Final = """
find determine compute calculate evaluate solve what is are be the a an of value let if then suppose given that such
please
"""
_FILLERS: Final = "a an the is are was were be been being am do does did there"  # of a clause: they relate nothing
_NEGATIONS: Final = """
not no never none neither nor cannot without except excluding unless
isnt arent wasnt werent dont doesnt didnt havent hasnt hadnt cant couldnt wouldnt shouldnt wont mustnt
"""
_CURRENCIES: Final = "dollar euro pound yen rupee yuan peso ruble franc krona"
_PRONOUNS: Final = "he she his her him hers himself herself"


@functools.lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A word without the endings of number, time and person: fills, filled, filling -> fill; makes, making -> mak."""
    if len(word) < 4:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ed", "ing"):
        left = word[: -len(ending)]
        if word.endswith(ending) and len(left) >= 3 and not _VOWELS.isdisjoint(left):
            word = left[:-1] if left[-1] == left[-2] and left[-1] not in "lsz" else left
            break
    if word.endswith("e") and len(word) > 3:
        word = word[:-1]
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


_VOWELS: Final = frozenset("aeiouy")
ASKING: Final = frozenset(_ASKING.split())  # which of them a question has says nothing
FUNCTION_WORDS: Final = frozenset(_GRAMMAR.split()) | ASKING
NEGATIONS: Final = frozenset(_NEGATIONS.split())
FILLERS: Final = frozenset(_FILLERS.split())
CURRENCIES: Final = frozenset(map(stem, _CURRENCIES.split()))
PRONOUNS: Final = frozenset(_PRONOUNS.split())
UNIT_NAMES: Final = {
    **measures.NAMES,
    **{word: line.split()[0] for line in _MONEY.strip().splitlines() for word in line.split()},
}
UNIT_NAMES.update({f"{word}s": name for word, name in UNIT_NAMES.items() if len(word) > 3})
_MEANING: Final = {
    stem(word): stem(line.split()[0]) for line in reversed(_SAME.strip().splitlines()) for word in line.split()
}


@functools.lru_cache(maxsize=1 << 16)
def meaning(word: str) -> str:
    """What stands for a word, its forms and its synonyms."""
    own = stem(word)
    return _MEANING.get(own, own)

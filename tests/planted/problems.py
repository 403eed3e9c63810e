"""Real problems worded anew, and others that only look like them: each with the kind of change that was made.

`problem_dedup` is measured on what corpora do to problems they copy: reformatting, other LaTeX, other names, synonyms,
clauses in another order. The opposite is a problem with other numbers, signs, roles or opposites in the same words.
Costs about 50 microseconds a problem.
"""

import random
import re
from collections.abc import Callable

NAMES = ("Ingrid", "Tobias", "Priya", "Mateo", "Yusuf", "Saoirse", "Kenji", "Amara", "Lukas", "Noor", "Odette", "Piotr")
NAMED = re.compile(
    r"\b(Natalia|Weng|Betty|Julie|James|Mark|Albert|Ken|Alexis|Tina|Jason|John|Mary|Tom|Bob|Alice|Jack|Jill|Sam|Sarah|"
    r"Mike|Anna|Emily|Lisa|Peter|Susan|David|Kim|Carlos|Maria|Henry|Jenny|Jerry|Amy|Ben|Carla|Dan|Emma|Frank|Grace|"
    r"Josh|Janet|Jim|Joe|Kate|Laura|Lily|Max|Nick|Paul|Rachel|Steve|Tim|Tony|Zoe|Mr|Mrs|Ann|Adam|Bill|Charlie)\b"
)
SYNONYMS = {
    "total": "overall",
    "sold": "traded",
    "buys": "purchases",
    "bought": "purchased",
    "gets": "receives",
    "friends": "pals",
    "altogether": "in all",
    "find": "determine",
    "compute": "calculate",
    "positive": "strictly positive",
    "such that": "so that",
    "suppose": "assume",
    "begins": "starts",
    "began": "started",
    "children": "kids",
    "store": "shop",
    "money": "cash",
    "earns": "makes",
    "large": "big",
    "value": "numerical value",
    "each": "every",
    "needs": "requires",
    "wants": "would like",
    "remaining": "left over",
    "gave": "handed",
}
LATEX = (
    (re.compile(r"\\frac"), r"\\dfrac"),
    (re.compile(r"\$([^$]+)\$"), r"\\( \1 \\)"),
    (re.compile(r"\\\["), "$$"),
    (re.compile(r"\\\]"), "$$"),
    (re.compile(r"\\left|\\right"), ""),
    (re.compile(r"\\leq?\b"), r"\\leqslant "),
    (re.compile(r"\\cdot\b"), r"\\times "),
    (re.compile(r"\^\\circ"), r"^{\\circ}"),
    (re.compile(r"\^(\w)"), r"^{\1}"),
    (re.compile(r"(?<!\d)(\d)=(?=\d)"), r"\1\\, =\\; "),
    (re.compile(r"(?<![\d.\\])(\d)(\d{3})(?!\d)"), r"\1{,}\2"),
)
OPPOSITES = """
more less, twice half, double triple, older younger, taller shorter, faster slower, with without, first last,
increased decreased, positive negative, largest smallest, least greatest, minutes hours, days weeks, months years,
miles kilometers, inches feet, feet yards, pounds ounces, dollars cents, before after, even odd, left right, boys girls,
red blue, black white, Monday Friday, Saturday Tuesday, morning evening, sum product, area perimeter, bought sold,
length width, row column, horizontal vertical, north south, east west, inscribed circumscribed, rational irrational,
radius diameter, square triangle, cube sphere, gained lost, top bottom, father mother, brother sister, both neither
"""
OPPOSITE = dict(word for pair in OPPOSITES.split(",") for word in (pair.split(), pair.split()[::-1]))
RELATED = re.compile(
    r"(?:(?<=more )|(?<=ratio of )|(?<=from )|(?<=number of )|(?<=fraction of ))"
    r"([A-Za-z]{3,})( than | to | to the number of | for every )([A-Za-z]{3,})\b"
)
PERSONS = re.compile(rf"{NAMED.pattern}( (?!and )[a-z]+(?: (?!and )[\w$]+){{0,6}} ){NAMED.pattern}")
STILL = """
the each any one two three four was were did does left right she her his he they their that you your our its all this it
what when find keep
"""  # words that no relation has on either side
NUMBER = re.compile(r"(?<![\w.\\{^_])\d+(?![\w.}])")
Change = Callable[[random.Random, str], str | None]


def reformatted(rng: random.Random, text: str) -> str | None:
    """Case, white space, punctuation, a label before it and what asks for a manner of answering behind it."""
    changed = re.sub(r" ", lambda found: rng.choice([" ", " ", "  ", "\n"]), text).replace("'", "’").replace('"', "“")
    changed = changed[0].swapcase() + changed[1:].rstrip(".?")
    before = rng.choice(["", "Question: ", "**Problem 3:** ", "Q: "])
    after = rng.choice(["", " ?", "\n\nPlease reason step by step, and put your final answer within \\boxed{}."])
    return before + changed + after


def spelled(rng: random.Random, text: str) -> str | None:
    """LaTeX and numbers as another corpus spells them."""
    changed = text
    for pattern, other in LATEX:
        changed = pattern.sub(other, changed)
    changed = re.sub(r"(?<![\d,.\\{])(\d),(\d{3})(?![\d,])", r"\1\2", changed)
    changed = re.sub(r"\$(\d+)(?![\d.,])", r"$\1.00", text) if "\\" not in text and "$" in text else changed
    return changed if changed != text else None


def renamed(rng: random.Random, text: str) -> str | None:
    """Every person under another name."""
    names = list(dict.fromkeys(name for name in NAMED.findall(text) if name not in ("Mr", "Mrs", "Max")))
    if not names:
        return None
    other = dict(zip(names, rng.sample(NAMES, len(names)), strict=True))
    return re.sub(rf"\b({'|'.join(names)})\b", lambda found: other[found[0]], text)


def reworded(rng: random.Random, text: str) -> str | None:
    """Words in the place of others of the same meaning, at least two of them."""
    changed, count = text, 0
    for word, other in SYNONYMS.items():
        replaced = re.sub(rf"\b{word}\b", other, changed)
        replaced = re.sub(rf"\b{word.capitalize()}\b", other.capitalize(), replaced)
        count += replaced != changed
        changed = replaced
    return changed if count >= 2 else None


def reordered(rng: random.Random, text: str) -> str | None:
    """The sentences before the question in another order."""
    sentences = re.split(r"(?<=[a-z][.?!]) +", text.strip())
    if len(sentences) < 4 or "[asy]" in text:
        return None
    *given, asked = sentences
    return " ".join([*given[1:], given[0], asked])


def renumbered(rng: random.Random, text: str) -> str | None:
    """One number is another one: a different problem."""
    found = list(NUMBER.finditer(text))
    if not found or "[asy]" in text:
        return None
    one = rng.choice(found)
    other = str(int(one[0]) + rng.choice([1, 2, 3, 7, 10]))
    return text[: one.start()] + other + text[one.end() :]


def resigned(rng: random.Random, text: str) -> str | None:
    """One plus in a formula is a minus: a different problem."""
    found = list(re.finditer(r"(?<=[\w)}] )\+(?= )|(?<=[\w)}])\+(?=[\w({\\])", text))
    if not found or "[asy]" in text:
        return None
    one = rng.choice(found)
    return text[: one.start()] + "-" + text[one.end() :]


def asked_otherwise(rng: random.Random, text: str) -> str | None:
    """The same givens, and another variable is asked for: a different problem."""
    found = re.search(r"[Ff]ind \$([b-hj-z])\$", text)
    if found is None:
        return None
    other = {"x": "y", "n": "m"}.get(found[1], "x")
    return text[: found.start(1)] + other + text[found.end(1) :]


def exchanged(rng: random.Random, text: str) -> str | None:
    """Two numbers of different sentences have changed places: a different problem."""
    found = list(NUMBER.finditer(text))
    pairs = [(one, two) for one in found for two in found if one.start() < two.start() and one[0] != two[0]]
    pairs = [pair for pair in pairs if ". " in text[pair[0].end() : pair[1].start()]]
    if not pairs or "[asy]" in text:
        return None
    one, two = rng.choice(pairs)
    return text[: one.start()] + two[0] + text[one.end() : two.start()] + one[0] + text[two.end() :]


def opposed(rng: random.Random, text: str) -> str | None:
    """Words are their opposites, or other members of their series, one of them everywhere: a different problem."""
    found = sorted({word for word in re.findall(r"(?<![\\\w])[A-Za-z]+\b", text) if word in OPPOSITE})
    if not found or "[asy]" in text:
        return None
    word = rng.choice(found)
    return re.sub(rf"(?<![\\\w]){word}\b", OPPOSITE[word], text)


def turned(rng: random.Random, text: str) -> str | None:
    """Two words have changed places around what relates them, or two persons in a clause: a different problem."""
    found = [one for one in RELATED.finditer(text) if not {one[1].lower(), one[3].lower()}.intersection(STILL.split())]
    found += [one for one in PERSONS.finditer(text) if text.count(one[1]) > 1]
    found = [one for one in found if one[1].lower().rstrip("s") != one[3].lower().rstrip("s")]
    if not found or "[asy]" in text:
        return None
    one = rng.choice(found)
    return f"{text[: one.start()]}{one[3]}{one[2]}{one[1]}{text[one.end() :]}"


SAME: tuple[Change, ...] = (reformatted, spelled, renamed, reworded, reordered)
OTHER: tuple[Change, ...] = (renumbered, resigned, asked_otherwise, exchanged, opposed, turned)


def variants(
    rng: random.Random, texts: list[str], changes: tuple[Change, ...], each: int
) -> list[tuple[int, str, str]]:
    """The place of an original, the kind of change and the changed text, so many of each kind or as many as there are.

    Every second variant of a kind but the first is reformatted as well.
    """
    found = []
    for change in changes:
        places = list(range(len(texts)))
        rng.shuffle(places)
        count = 0
        for place in places:
            changed = change(rng, texts[place])
            if changed is None or changed == texts[place]:
                continue
            if count % 2 and change is not reformatted:
                changed = reformatted(rng, changed) or changed
            found.append((place, change.__name__, changed))
            count += 1
            if count == each:
                break
    return found

"""A statement as it is typed on a keyboard: without LaTeX, folded, its numbers in digits, cut into pieces.

Corpora copy problems from each other and spell them anew: other LaTeX, other delimiters, 1,000 for 1000. Costs about 70
microseconds a statement.
"""

import re
import unicodedata
from typing import Final

from .words import UNIT_NAMES

LONGEST: Final = 2_000  # characters of a numerator

_SPELLED: Final = {
    **dict.fromkeys(["times", "cdot", "ast"], "*"),
    **dict.fromkeys(["le", "leq", "leqslant"], "<="),
    **dict.fromkeys(["ge", "geq", "geqslant"], ">="),
    **dict.fromkeys(["ne", "neq"], "!="),
    **dict.fromkeys(["lvert", "rvert", "vert", "mid"], "|"),
    **dict.fromkeys(["circ", "degree", "degrees"], " deg "),
    **dict.fromkeys(["div", "over"], "/"),
    "lt": "<",
    "gt": ">",
    "colon": ":",
    "varepsilon": " epsilon ",
    "varphi": " phi ",
}
_SILENT_NAMES: Final = (
    "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle limits nolimits quad qquad hspace vspace "
    "text textrm textbf textit texttt textsf emph mbox hbox mathrm mathbf mathit mathsf boldsymbol bold bf rm it tt "
    "operatorname begin end hfill noindent par newline hline item ldots cdots dots dotsc dotsb dotsm vdots"
)
_SILENT: Final = frozenset(_SILENT_NAMES.split())
_GREEK: Final = {chr(code): unicodedata.name(chr(code)).rpartition(" ")[2].lower() for code in range(0x3B1, 0x3CA)}
_FUNCTION_NAMES: Final = (
    "sqrt sin cos tan cot sec csc arcsin arccos arctan log ln exp deg pi lfloor rfloor lceil rceil binom infty "
    "pm mp equiv pmod bmod percent"
)
FUNCTIONS: Final = frozenset(_FUNCTION_NAMES.split()) | frozenset(_GREEK.values())
OPERATORS: Final = frozenset(["+", "-", "*", "/", "^", "=", "<", ">", "|", "!", "<=", ">=", "!="])
_SIGNS: Final = str.maketrans(
    {
        "×": "*",
        "·": "*",
        "⋅": "*",
        "∗": "*",
        "÷": "/",
        "⁄": "/",
        "−": "-",
        "‐": "-",
        "‑": "-",
        "–": "-",
        "≤": "<=",
        "⩽": "<=",
        "≥": ">=",
        "⩾": ">=",
        "≠": "!=",
        "√": " sqrt ",
        "°": " deg ",
        "∞": " infty ",
        "—": " ",
        "…": " ",
        "%": " percent ",
        "€": " euro ",
        "£": " pound ",
        "¥": " yen ",
        "₹": " rupee ",
        "¢": " cent ",
        "'": "",
        "’": "",
        "‘": "",
        "±": " pm ",
        "∪": " cup ",
        "∩": " cap ",
        **{digit: f"^{number}" for number, digit in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
        **{letter: f" {name} " for letter, name in _GREEK.items()},
    }
)
_UNIT_NAMES: Final = "one two three four five six seven eight nine"
_TEEN_NAMES: Final = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TEN_NAMES: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_UNITS: Final = {name: number for number, name in enumerate(_UNIT_NAMES.split(), 1)}
_TENS: Final = {name: 10 * number for number, name in enumerate(_TEN_NAMES.split(), 2)}
_TEENS: Final = {name: number for number, name in enumerate(_TEEN_NAMES.split(), 10)}
_NUMBERS: Final = {"zero": 0, **_UNITS, **_TEENS, **_TENS}
_POSSESSIVE: Final = re.compile(r"(?<=[A-Za-z])['’]s\b")
_ESCAPED_LINE: Final = re.compile(r"\\n(?=[A-Z](?!ightarrow|eftarrow|eftrightarrow|[dD]ash))")
_THOUSANDS: Final = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|\\,|\\!,|,\\!)\d{3})+(?!\d)")
_ENVIRONMENT: Final = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}(?:\s*\{[lcr|\s]*\})?")
_COMMAND: Final = re.compile(r"\\([a-zA-Z]+)")
_FRACTION: Final = re.compile(r"\\[dtc]?frac(?![a-zA-Z])\s*")
PIECE: Final = re.compile(
    r"\d+(?:\.\d+)?|\.\d+|[\u3040-\u30ff\u3400-\u9fff]|[^\W\d_\u3040-\u30ff\u3400-\u9fff]+"
    r"|<=|>=|!=|\*\*|[-+*/^=<>|!]|[.,;:?]"
)
_SYMBOLS: Final = {
    "g": "gram",
    "m": "meter",
    "l": "liter",
    "h": "hour",
    "s": "second",
    "min": "minute",
    "sec": "second",
}  # of units, behind a number
_UNIT_WORDS: Final = frozenset([*UNIT_NAMES, *_SYMBOLS])
_BEFORE_ONE: Final = "each every which another this that no any other first second third fourth fifth last next"
_LISTED: Final = ("common", "gcd", "gcf", "hcf", "lcm")
_COMMON: Final = {
    "gcd": re.compile(
        r"\b(?:greatest|highest|largest|biggest)\s+common\s+(?:divisor|factor)\b(?:\s*\((?:gcd|gcf|hcf)\))?|\b(?:gcf|hcf)\b"
    ),
    "lcm": re.compile(r"\b(?:least|lowest|smallest)\s+common\s+multiple\b(?:\s*\(lcm\))?"),
}
_EVERY_OTHER: Final = re.compile(r"\b(?:every|each)\s+(?:other|second)\b")
_SPEEDS: Final = {"m": "miles", "k": "kilometers"}
_SPEED: Final = re.compile(r"(?<![a-z])(mph|kmph|kph|kmh|km\s*/\s*h(?:r|our)?)(?![a-z])")
_POWERS: Final = {"2": "square", "3": "cubic"}
_POWER: Final = re.compile(r"(?<![a-z])([a-z]{2,})[\s}]*\^[\s{]*([23])(?![\d.])\s*}?")
_OF_LIST: Final = re.compile(r"\b(gcd|lcm)[\s{}$]*[(\[]([^()\[\]]*,[^()\[\]]*)[)\]]")
_SIGN_WORDS: Final = {"plus": "+", "minus": "-", "times": "*", "multiplied": "*", "divided": "/"}  # between numbers
_PRONOUN: Final = frozenset(_BEFORE_ONE.split())  # before one that is no number
BREAKS: Final = frozenset(".,;:?")


def pieces_of(plain: str) -> list[str]:
    """Words, numbers, signs and breaks of a plain statement, each in its normal form."""
    found: list[str] = []
    for piece in reversed(_signed(_worded(PIECE.findall(plain)))):
        after = found[-1] if found else "."
        if piece == "-" and not (after[0].isdigit() or variable(after) or after in FUNCTIONS):
            continue  # a hyphen
        if piece[0].isdigit() or (piece[0] == "." and len(piece) > 1):
            piece = _number(piece)
        found.append("^" if piece == "**" else piece)
    found.reverse()
    found = [piece for place, piece in enumerate(found) if piece != "!" or (place and counted(found[place - 1]))]
    if not _UNIT_WORDS.isdisjoint(found):
        found = [_unit(found, place) if piece in _UNIT_WORDS else piece for place, piece in enumerate(found)]
    return found


def _unit(pieces: list[str], place: int) -> str:
    """A piece, or the unit whose name or symbol it is."""
    piece = pieces[place]
    if piece in UNIT_NAMES:
        return UNIT_NAMES[piece]
    if piece not in _SYMBOLS or not place or not pieces[place - 1][0].isdigit():
        return piece
    after = pieces[place + 1] if place + 1 < len(pieces) else "."
    return (
        _SYMBOLS[piece] if after in BREAKS or (len(after) > 1 and after.isalpha() and after not in FUNCTIONS) else piece
    )


def counted(piece: str) -> bool:
    """Whether a mark of exclamation behind it is a factorial."""
    return piece[0].isdigit() or variable(piece)


def variable(piece: str) -> bool:
    """Whether it is a single Latin letter; single signs of Chinese are words."""
    return len(piece) == 1 and piece.isascii() and piece.isalpha()


def _number(piece: str) -> str:
    whole, _, part = piece.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


def plain_of(statement: str) -> str:
    """Without LaTeX, folded, with signs as they are typed on a keyboard."""
    text = _ESCAPED_LINE.sub(" ", statement) if "\\n" in statement else statement
    if "'" in text or "’" in text:
        text = _POSSESSIVE.sub("", text)
    text = _THOUSANDS.sub(lambda found: re.sub(r"\D", "", found[0]), text)
    if "\\" in text:
        text = _fractions(_ENVIRONMENT.sub(" ", text)).replace("\\\\", " ").replace("\\%", " percent ")
        text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))", " deg ", text)
        text = _COMMAND.sub(_command, re.sub(r"\\[^a-zA-Z]", " ", text))
    text = re.sub(r"\^([A-Za-z])", r"^\1 ", text).translate(_SIGNS)  # `x^ab` is `x^{a}b`
    if not text.isascii():
        text = _folded(text)
    text = text.casefold()
    if "other" in text or "second" in text:
        text = _EVERY_OTHER.sub(" alternate ", text)
    if "ph" in text or "km" in text:
        text = _SPEED.sub(lambda found: f" {_SPEEDS[found[1][0]]} per hour ", text)
    if "^" in text:
        text = _POWER.sub(_measured, text)
    return _listed(text) if any(map(text.__contains__, _LISTED)) else text


def _measured(found: re.Match[str]) -> str:
    """A unit with its power before it in words: cm^2 is a square centimeter; all else as it is."""
    return f" {_POWERS[found[2]]} {found[1]} " if found[1] in UNIT_NAMES else found[0]


def _listed(text: str) -> str:
    """With greatest common divisors and least common multiples by one name, and what they are of not in brackets."""
    for name, pattern in _COMMON.items():
        text = pattern.sub(f" {name} ", text)
    return _OF_LIST.sub(lambda found: f" {found[1]} of {found[2].replace(',', ' and ')} ", text)


def _folded(text: str) -> str:
    """Without accents, and compatible characters as their plain ones."""
    for _ in range(3):
        spread = unicodedata.normalize("NFKD", text.translate(_SIGNS))
        text = "".join(letter for letter in spread if unicodedata.category(letter) != "Mn").casefold()
    return text.translate(_SIGNS)


def _fractions(text: str) -> str:
    """Each fraction as its numerator, a slash and its denominator."""
    place = 0
    while (found := _FRACTION.search(text, place)) is not None:
        start = stop = found.end()
        depth, place = 0, found.start()
        while stop < min(len(text), start + LONGEST):
            depth += {"{": 1, "}": -1}.get(text[stop], 0)
            stop += 1
            if depth <= 0:
                break
        text = f"{text[: found.start()]} {text[start:stop]}/{text[stop:]}"
    return text


def _command(found: re.Match[str]) -> str:
    name = found[1]
    return _SPELLED.get(name, " " if name in _SILENT else f" {name} ")


def _signed(pieces: list[str]) -> list[str]:
    """With signs between numbers that were words: 3 times 5, 3 multiplied by 5."""
    if _SIGN_WORDS.keys().isdisjoint(pieces):
        return pieces
    found: list[str] = []
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        behind = place + (2 if pieces[place + 1 : place + 2] == ["by"] else 1)
        bare = piece in _SIGN_WORDS and (behind > place + 1) == (piece in ("multiplied", "divided"))
        if bare and found and found[-1][0].isdigit() and behind < len(pieces) and pieces[behind][0].isdigit():
            found.append(_SIGN_WORDS[piece])
            place = behind
            continue
        found.append(piece)
        place += 1
    return found


def _worded(pieces: list[str]) -> list[str]:
    """With numbers in digits that were words, and degrees as the sign of formulas is called."""
    found: list[str] = []
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if piece in _TENS:
            behind = place + (pieces[place : place + 1] == ["-"])
            unit = _UNITS.get(pieces[behind], 0) if behind < len(pieces) else 0
            place = behind + 1 if unit else place
            found.append(str(_TENS[piece] + unit))
        elif piece == "one" and place > 1 and pieces[place - 2] in _PRONOUN:
            found.append(piece)
        elif piece in _NUMBERS:
            found.append(str(_NUMBERS[piece]))
        else:
            found.append("deg" if piece in ("degree", "degrees") else piece)
    return found

"""A number in any spelling is itself, two numbers are never one, and agreement is symmetric and reflexive."""

import resource
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.filters.answers import agree, reading
from midtrain.filters.answers.compare import NoSymbols, values
from midtrain.filters.answers.normalise import normalise
from midtrain.filters.answers.numbers import read, spelled
from midtrain.filters.answers.verdict import MOST_CHARACTERS

RATIONALS = st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=10**6)
WHOLE = st.integers(-(10**15), 10**15)
PIECES = st.sampled_from(
    [
        *("1", "2", "23", "0.5", "x", "A", "b", "+", "-", "*", "/", "^", "(", ")", "[", "]", "{", "}", "\\{", "\\}"),
        *(",", ", ", " ", "=", "<", "\\le ", "\\frac{1}{2}", "\\frac", "\\sqrt{2}", "\\sqrt", "\\pi", "\\cup ", "$"),
        *("\\text{", "cm", "%", "°", " and ", " or ", "yes", "no", ".", ":", "30", "PM", "March", "\\pm ", "\\infty"),
        *("_", "2020", "-03-05", "\\begin{pmatrix}", "\\end{pmatrix}", "&", "\\\\", "½", "−", "three", "apples", "!"),
    ]
)
SOUP = st.lists(PIECES, max_size=12).map("".join)


def decimal(value: Fraction) -> str | None:
    """The finite decimal of a rational, None where it has none."""
    places = next((places for places in range(40) if (value * 10**places).denominator == 1), None)
    if places is None:
        return None
    digits = str(abs(int(value * 10**places))).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)


def spellings(value: Fraction) -> list[str]:
    """Ways to write a rational, all of them exact."""
    up, down = value.numerator, value.denominator
    sign = "-" if value < 0 else ""
    found = [
        f"{up}/{down}",
        f"\\frac{{{up}}}{{{down}}}",
        f"$\\dfrac{{{up}}}{{{down}}}$",
        f"{sign}\\frac{{{abs(up)}}}{{{down}}}",
    ]
    found += [f"\\frac{{{-up}}}{{{-down}}}", f"({up})/({down})", f"{7 * up}/{7 * down}"]
    whole, rest = divmod(abs(up), down)
    if whole and rest:
        found += [f"{sign}{whole}\\frac{{{rest}}}{{{down}}}", f"{sign}{whole} {rest}/{down}"]
    if (plain := decimal(value)) is not None:
        grouped = f"{abs(int(value)):,}" + ("." + plain.partition(".")[2] if "." in plain else "")
        found += [plain, plain.replace("-", "−"), sign + grouped, f"\\boxed{{{plain}}}", plain + "0" * ("." in plain)]
        found += [f"{plain}e0", f"{plain} \\times 10^0", f"x = {plain}", f"{plain} apples", f"**{plain}**"]
    return found


@settings(max_examples=300, deadline=None)
@given(RATIONALS)
def test_a_number_agrees_with_itself_in_every_spelling(value: Fraction) -> None:
    written = spellings(value)
    for text in written:
        assert agree(text, written[0]).right, text
        assert agree(written[0], text).right, text


@settings(max_examples=300, deadline=None)
@given(st.one_of(RATIONALS, WHOLE.map(Fraction)), st.data())
def test_two_numbers_never_agree(value: Fraction, data: st.DataObject) -> None:
    near = [value + Fraction(1, 10**k) for k in (0, 3, 9, 15)] + [
        -value,
        value * 10,
        value + 1,
        1 / value if value else 1,
    ]
    other = data.draw(st.one_of(RATIONALS, st.sampled_from(near)).filter(lambda other: other != value))
    one, two = (data.draw(st.sampled_from(spellings(Fraction(each)))) for each in (value, other))
    assert agree(one, two).value == "wrong"


@settings(max_examples=500, deadline=None)
@given(SOUP, SOUP)
@example("1,1=1", "2=1,x")
def test_agreement_is_symmetric(one: str, two: str) -> None:
    assert agree(one, two) == agree(two, one) or {agree(one, two).reason, agree(two, one).reason} <= {
        "no gold",
        "no answer",
    }


@settings(max_examples=500, deadline=None)
@given(SOUP.filter(lambda text: text.strip() != ""))
def test_agreement_is_reflexive(text: str) -> None:
    assert agree(text, text).right
    assert agree(f" {text} ", text).right


@given(st.integers(0, 10**9 - 1))
def test_english_words_are_read_as_the_number_that_they_spell(value: int) -> None:
    assert spelled(words(value)) == value


def words(value: int) -> str:
    small = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    small += [f"{stem}teen" for stem in ("thir", "four", "fif", "six", "seven", "eigh", "nine")]
    tens = [f"{stem}ty" for stem in ("twen", "thir", "for", "fif", "six", "seven", "eigh", "nine")]
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if value >= size:
            rest = value % size
            return f"{words(value // size)} {name}" + (f" and {words(rest)}" if rest else "")
    if value >= 20:
        return tens[value // 10 - 2] + (f"-{small[value % 10]}" if value % 10 else "")
    return small[value]


@pytest.mark.parametrize("text", ["one one", "hundred", "and", "two three", "twenty ten", "", "million"])
def test_words_that_spell_no_number_are_none(text: str) -> None:
    assert spelled(text) is None


@pytest.mark.parametrize(
    "text", ["9^9^9^9", "10^{10^{10}}", "9" * 2000, "(10^10)!", "1e99999", "(" * 900 + "1" + ")" * 900]
)
def test_a_number_that_is_too_large_is_not_computed(text: str) -> None:
    assert read(text) is None


HOSTILE: list[Callable[[int], str]] = [
    lambda n: "a " * (n // 2),
    lambda n: "1 " * (n // 2),
    lambda n: "1," * (n // 2),
    lambda n: "(" * n,
    lambda n: "{" * (n // 2) + "}" * (n // 2),
    lambda n: "[(" * (n // 4) + "1" + ")]" * (n // 4),
    lambda n: "\\frac" * (n // 5),
    lambda n: "\\text{" * (n // 6),
    lambda n: "\\sqrt{" * (n // 7) + "1" + "}" * (n // 7),
    lambda n: " or x" * (n // 5),
    lambda n: "x<" * (n // 2),
    lambda n: "$" * n,
    lambda n: "1\\cup" * (n // 5),
    lambda n: "1 h " * (n // 4) + "!",
    lambda n: "\\begin{matrix}" * (n // 14),
    lambda n: "one " * (n // 4),
    lambda n: "1:" * (n // 2),
    lambda n: "1-" * (n // 2) + "x",
    lambda n: "\\pm " * (n // 4),
    lambda n: "." * n,
    lambda n: "A. " * (n // 3),
    lambda n: "x=" * (n // 2) + "1",
    lambda n: "\\approx 1" * (n // 9),
    lambda n: "about " * (n // 6) + "1",
    lambda n: "=" * (n - 1) + "1",
    lambda n: "-" * (n - 1) + "1",
    lambda n: "(A) " * (n // 4),
    lambda n: "$" * (n // 2) + "1" + "$" * (n // 2),
    lambda n: "^{" * (n // 4) + "}" * (n // 4) + "2",
    lambda n: "2^" * (n // 2) + "2",
    lambda n: "\\{" * (n // 4) + "\\}" * (n // 4),
    lambda n: "0." + "1" * (n // 2 - 20) + "2...",
    lambda n: "0." + "1" * (n - 20) + "\\overline{3}",
    lambda n: "0." + "1(" * (n // 2 - 1),
    lambda n: "x = 2 y = 3 " * (n // 12),
    lambda n: "x \\ne 1, " * (n // 10),
    lambda n: "a) 1 b) 2 " * (n // 10),
    lambda n: "|x|<" * (n // 4),
    lambda n: "\\{x | " * (n // 6) + "x > 1" + "\\}" * 2,
    lambda n: "\\begin{cases}" * (n // 13),
    lambda n: "at least " * (n // 9) + "3",
    lambda n: "between 3 and " * (n // 14),
    lambda n: "minus " * (n // 6) + "3",
    lambda n: "1.000" * (n // 5) + ",5",
    lambda n: "1 or more " * (n // 10),
    lambda n: "20% of " * (n // 7) + "5",
    lambda n: "⁻" * n,
    lambda n: "3\u0305" * (n // 2),
    lambda n: "2**" * (n // 3) + "2",
    lambda n: "A1_2" * (n // 4),
]


@pytest.mark.measures
@pytest.mark.parametrize("make", HOSTILE)
def test_hostile_answers_take_a_moment(make: Callable[[int], str]) -> None:
    text = make(MOST_CHARACTERS - 1)
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    agree(text, "\\sqrt{2}")
    agree("x", text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun < 2


@pytest.mark.measures
def test_plain_numbers_are_compared_at_more_than_a_thousand_a_second() -> None:
    pairs = [(str(number), str(number + number % 2)) for number in range(20_000)]
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    verdicts = [agree(reply, gold) for reply, gold in pairs]
    took = resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun
    assert [verdict.right for verdict in verdicts] == [number % 2 == 0 for number in range(20_000)]
    assert len(pairs) / took > 10_000


def test_what_is_missing_is_said() -> None:
    assert agree("1", None).reason == agree("1", " ").reason == "no gold"
    assert agree(None, "1").reason == agree("", "1").reason == "no answer"
    assert agree("1" * 3000, "2").reason == "too long"
    assert agree("1" * 3000, "1" * 3000).right
    assert agree("\\sqrt{8}", "2\\sqrt{2}").reason == "needs symbols"


@settings(max_examples=500, deadline=None)
@given(SOUP)
def test_a_value_is_never_known_to_differ_from_itself(text: str) -> None:
    if normal := normalise(text):
        assert values(reading.read(normal), reading.read(normal), NoSymbols()).value != "wrong"


@pytest.mark.parametrize(("reply", "gold"), [("250", "D"), ("(B)", "\\frac{1}{2}"), ("Paris", "C"), ("A", "(1, 2)")])
def test_a_letter_is_not_told_from_what_it_may_stand_for(reply: str, gold: str) -> None:
    assert agree(reply, gold).reason == agree(gold, reply).reason
    assert agree(reply, gold).value == "cannot_tell"


def test_the_imaginary_unit_and_e_are_no_letters_of_a_choice() -> None:
    assert {agree(letter, "1").reason for letter in "ei"} == {"needs symbols"}


@pytest.mark.parametrize(
    ("reply", "gold", "value"),
    [
        ("-37_8", "-37_8", "right"),
        ("-37_8", "-37_9", "wrong"),
        ("5:00", "55:00", "wrong"),
        ("\\frac\\pi 2", "\\frac{\\pi}{2}", "right"),
        ("-80\\leq g(x)\\leq 82", "-80 \\le g\\left(x\\right) \\le 82", "right"),
        ("\\$\\dfrac23 \\approx \\$0.67", "2/3", "right"),
    ],
)
def test_what_real_answers_have_shown(reply: str, gold: str, value: str) -> None:
    assert agree(reply, gold).value == agree(gold, reply).value == value


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("12 apples", "12 oranges", "cannot_tell"),
        ("12 red apples", "12 red oranges", "cannot_tell"),
        ("boxes of apples", "boxes of apples", "right"),
        ("12 boxes of apples", "12 boxes of oranges", "cannot_tell"),
        ("twelve apples", "12 oranges", "cannot_tell"),
        ("12 apples", "13 oranges", "wrong"),
        ("12 apples", "12", "right"),
        ("12 apple", "12 apples", "right"),
        ("12 red apples", "12 apples", "right"),
        ("12 apples left", "12 apples in the basket", "right"),
        ("12 pieces of candy", "12 candies", "right"),
        ("12 leaves", "12 leaf", "right"),
        ("12 people", "12 persons", "right"),
        ("12 units", "12 apples", "right"),
        ("12 feet", "12 feet long", "right"),
        ("inf", "\\infty", "right"),
        ("-inf", "-\\infty", "right"),
        ("+inf", "∞", "right"),
        ("inf", "-\\infty", "cannot_tell"),
        ("３", "3", "right"),
        ("٣", "3", "right"),
        ("１，２３４．５", "1234.5", "right"),
        ("٣", "4", "wrong"),
    ],
)
def test_nouns_infinities_and_digits_of_other_scripts(one: str, other: str, verdict: str) -> None:
    assert agree(one, other).value == agree(other, one).value == verdict


@given(st.integers(0, 10**12), st.sampled_from([0x660, 0x6F0, 0x966, 0xFF10, 0x1D7CE]))
def test_digits_of_any_script_are_the_number(value: int, zero: int) -> None:
    written = "".join(chr(zero + int(digit)) for digit in str(value))
    assert agree(written, str(value)).right
    assert agree(f"{written} + 1", str(value)).value == "wrong"

"""The normal form of statements, and what makes two of them one problem."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.filters.statements import Statement, normal, stated, told_apart, units

SPELLINGS = [
    (r"Find $\dfrac{1}{2}$", r"find \(\frac12\)"),
    (r"\frac{a+b}{c}", "(a+b)/c"),
    (r"\frac{\frac{1}{2}}{3}", "(1/2)/3"),
    (r"$\left( x, y \right)$", "(x,y)"),
    (r"$x \, + \; y$", "$x+y$"),
    ("1,000 apples", "1000 apples"),
    ("1{,}000 apples", "1000 apples"),
    (r"12\,345\,678", "12345678"),
    ("costs $.5", "costs $0.5"),
    ("costs $5.00", "costs $5"),
    ("Twenty-five cats", "25 cats"),
    ("twenty five cats", "25 cats"),
    (r"$x \cdot 3$", "x × 3"),
    (r"$a \le b$", r"$a \leqslant b$"),
    (r"$a \geq b$", "a ≥ b"),
    (r"$30^\circ$", "30 degrees"),
    (r"$30^{\circ}$", "30°"),
    (r"$50\%$", "50 %"),
    (r"$x^{2}$", "x²"),
    (r"$p^aq^b$", r"$p^{a}q^{b}$"),
    (r"\sqrt{2}", "√2"),
    (r"$\pi r^2$", "π r^2"),
    ("x**2", "x^2"),
    (r"\text{if } x", "if x"),
    ("Don't stop!", "dont stop"),
    ("Don’t stop", "DON'T   STOP."),
    ("Café", "cafe"),
    ("a five-year-old", "a 5 year old"),
    ("the greatest common divisor of 827 and 829", "the gcd of 827 and 829"),
    ("the highest common factor (HCF) of 24 and 36", "the GCD of 24 and 36"),
    (r"find $\gcd(84, n)$", "find gcd of 84 and n"),
    ("the lowest common multiple of 4 and 6", r"the $\text{lcm}$ of 4 and 6"),
    (r"\operatorname{lcm}[4, 6]", "lcm of 4 and 6"),
    ("What is 853 times 7?", r"what is $853\cdot7$"),
    ("three multiplied by four", "3 * 4"),
    ("48 divided by 6 plus 2", "48 / 6 + 2"),
]
PIECES = [
    r"\frac",
    r"\dfrac",
    "{",
    "}",
    "$",
    "^",
    "-",
    "!",
    "=",
    "<",
    "a",
    "I",
    "five",
    "ninety",
    "x",
    "1,000",
    ".5",
    "²",
]
PIECES += [
    "½",
    "é",
    "Ω",
    "日",
    "\\",
    "\\\\",
    "(",
    ")",
    " ",
    "\n",
    ".",
    ",",
    "°",
    "%",
    "0",
    "7",
    "degree",
    r"\circ",
    "ß",
    "ﬁ",
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_spellings_of_one_statement_have_one_form(one: str, other: str) -> None:
    assert normal(one) == normal(other)
    assert units(one) == units(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("He has 5 apples and 6 pears", "He has 5 apples and 7 pears"),
        ("He has 5 apples", "He has 5.5 apples"),
        ("Solve $x+3=7$", "Solve $x-3=7$"),
        ("Solve $x^2=7$", "Solve $2x=7$"),
        ("If $x+y=7$ and $x-y=1$, find $x$", "If $x+y=7$ and $x-y=1$, find $y$"),
        ("What is 5! over 3", "What is 5 over 3"),
        ("-5 and 6", "5 and 6"),
        ("1,000 apples of 3 kinds", "1 apple of 3 kinds"),
    ],
)
def test_other_numbers_signs_or_variables_share_nothing(one: str, other: str) -> None:
    assert not set(units(one)) & set(units(other))


def test_the_order_of_words_counts_where_there_are_no_numbers() -> None:
    one, other = set(units("Is a dog larger than every cat")), set(units("Is every cat larger than a dog"))
    assert len(one & other) / len(one | other) < 0.5
    one, other = set(units("2 dogs eat 3 cakes of cats")), set(units("3 cakes of cats eat 2 dogs"))
    assert one == other


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(PIECES), max_size=14).map("".join)))
def test_the_normal_form_is_its_own(text: str) -> None:
    form = normal(text)
    assert normal(form) == form
    assert form == " ".join(form.split())
    assert units(text) == sorted(set(units(text)))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 999))
def test_numbers_are_one_however_they_are_written(whole: int, part: int) -> None:
    plain = f"take {whole}.{part:03d} of 7"
    for text in (f"Take {whole:,}.{part:03d}0 of 7.0", f"$take$ {whole:,}.{part:03d} of \\(7\\)".replace(",", "{,}")):
        assert normal(text) == normal(plain)
    assert set(units(plain)).isdisjoint(units(f"take {whole + 1}.{part:03d} of 7"))


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("Find the sum of 3 and 5", "Find the product of 3 and 5", False),
        ("Find the smallest of 3 and 5", "Find the largest of 3 and 5", False),
        ("Find the smallest of 3 and 5", "Find the minimum of 3 and 5", True),
        ("Of 26 members 16 came. How many are girls?", "Of 26 members 16 came. How many are boys?", False),
        ("If $AB=3$ and $AC=5$, find $BD$", "If $AB=3$ and $AC=5$, find $CD$", False),
        ("FIND AB OF 3 AND 5", "find ab of 3 and 5", True),
        ("Find the gcd of 12 and 18", "Find the lcm of 12 and 18", False),
        ("Find the GCD of 12 and 18", "What is the HCF of 12 and 18?", True),
        ("What is 3 times 4 and 5?", "What is 3 plus 4 and 5?", False),
        ("He ran 3 times. 4 dogs ran, too", "He ran 3 * 4 dogs ran, too", False),
    ],
)
def test_what_is_asked_of_the_same_givens(one: str, other: str, are: bool) -> None:
    assert bool(set(units(one)) & set(units(other))) is are


def _written(tree: Any, plain: bool) -> str:
    """An expression in one of two dialects."""
    if isinstance(tree, int):
        return f"{tree:,}" if plain else f"{tree:,}".replace(",", "{,}")
    if isinstance(tree, str):
        return tree
    sign, one, other = tree
    left, right = _written(one, plain), _written(other, plain)
    if sign == "/":
        return f"({left})/({right})" if plain else rf"\dfrac{{{left}}}{{{right}}}"
    if sign == "^":
        return f"({left})^({right})" if plain else rf"\left({left}\right)^{{{right}}}"
    spelled = {"*": (" * ", r"\cdot "), "<=": ("≤", r"\leq "), "+": (" + ", "+"), "-": ("−", r"\,-\;")}[sign]
    return f"{left}{spelled[0] if plain else spelled[1]}{right}"


TREES = st.recursive(
    st.one_of(st.integers(0, 10**7), st.sampled_from(["x", "y", r"\pi", r"\theta", r"\sqrt{5}"])),
    lambda inner: st.tuples(st.sampled_from(["/", "^", "*", "<=", "+", "-"]), inner, inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_formulas_of_two_dialects_are_one(tree: Any) -> None:
    one, other = f"What is ${_written(tree, plain=False)}$?", f"what  is \\( {_written(tree, plain=True)} \\)"
    assert normal(one) == normal(other)
    assert units(one) == units(other)
    assert told_apart(Statement(one), Statement(other)) is None


@pytest.mark.measures
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (r"\frac{" * 5_000, 15),  # a millisecond a fraction
        ("step by step " * 5_000, 5),
        ("word " * 20_000, 5),
        ("1," * 20_000, 5),
        ("-" * 50_000, 5),
    ],
)
def test_long_statements_take_no_more_than_their_length(text: str, seconds: float) -> None:
    units(stated("One word of 7."))
    started = time.process_time()
    units(stated(text))
    assert time.process_time() - started < seconds

"""The answer that a reply marks is found whatever stands around it, and where nothing is marked, that is said."""

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.filters.answers import extract

CASES = [
    ("The mass is 2.5 g.", "2.5 g", "number"),
    ("The train arrives at 3:30 AM.", "3:30 AM", "number"),
    ("It costs 1 million dollars.", "1 million dollars", "number"),
    ("Therefore she needs 3 1/2 hours.", "3 1/2 hours", "number"),
    ("The length of it is 10√3 units.", "10√3", "number"),
    ("The volume of it is 4π.", "4π", "number"),
    ("The number of all subsets is 2^n - 1.", "2^n - 1", "number"),
    ("So the polynomial must be x^2 + 2x.", "x^2 + 2x", "number"),
    ("It happens on March 5th, 2021, at the latest.", "March 5th, 2021", "number"),
    ("Decoder 5 is the last that works.", "5", "number"),
    ("x = 5\nIn 5 weeks they have the same.", "5 weeks", "number"),
    ("He walks 12m from one end to the other.", "12m", "number"),
    ("So it simplifies to 3x.", "3x", "number"),
    ("There are 4x's.", "4", "number"),
    ("So it takes **five** days.", "five", "number"),
    ("So we get one third.", "one third", "number"),
    ("It is so.\n\nThus $x = 3$. **809**", "809", "bold"),
    ("The statement is true.", "true", "predicate"),
    ("It is false that the statement is true.", "It is false that the statement is true.", "whole"),
    ("The correct statements are A and C.", "A and C", "predicate"),
    ("Alice is the knight.", "Alice is the knight.", "whole"),
    ("(a) 3\n(b) 5", "(a) 3\n(b) 5", "whole"),
    ("(1) $\\boxed{a=2}$ (2) $\\boxed{3}$", "(1) $\\boxed{a=2}$ (2) $\\boxed{3}", "boxed"),
    ('{"answer": 17}', "17", "tag"),
    ("长度是30厘米。", "30厘米", "number"),
    ("答案不是5。", "答案不是5。", "whole"),
    ("故选：C．", "C．", "said"),
    ("정답은 7개입니다.", "7개", "said"),
    ("Sonuç olarak cevap 100'dür.", "100", "said"),
    ("الجواب هو ٢٥", "٢٥", "said"),
    ("So $x = \\boxed{3}$ or $x = \\boxed{5}$.", "\\boxed{3}$ or $x = \\boxed{5}", "boxed"),
    ("\\boxed{1}, then \\boxed{2}", "2", "boxed"),
    ("It is \\boxed{5}, \\boxed{5}", "5", "boxed"),
    ("There are two answers, namely 3 and 4.", "3 and 4", "number"),
    ("Jane has 4 apples or even 5 apples at the end.", "4 apples or even 5", "number"),
    ("Jane eats 4 apples and then has 5 apples left.", "5", "number"),
    ("So it takes him 2 hours, 5 minutes and 30 seconds.", "2 hours, 5 minutes and 30 seconds", "number"),
    ("He walks for 2 hours and eats 5 apples on the way.", "5", "number"),
    ("So the ratio of boys to girls is 3 to 4.", "3 to 4", "number"),
    ("The price went up from 3 to 4 in a week.", "4", "number"),
    ("So the number has to be more than 5.", "So the number has to be more than 5.", "whole"),
    ("Therefore we get x = 3 and y = 4 in the end.", "x = 3 and y = 4", "number"),
    ("The roots are therefore $2$ and $-2$.", "$2$ and $-2$", "math"),
    ("2 hours and 5 minutes", "2 hours and 5 minutes", "whole"),
    ("Yes, because 7 is a prime", "Yes, because 7 is a prime", "whole"),
    ("all real numbers except 3", "all real numbers except 3", "whole"),
    ("So \\boxed{1} and then \\boxed{\\frac{1}{2}}.", "\\frac{1}{2}", "boxed"),
    ("\\boxed{a_{1} + \\{b\\}} and 7", "a_{1} + \\{b\\}", "boxed"),
    ("\\boxed{\\boxed{7}}", "7", "boxed"),
    ("It is $\\boxed 5$.", "5", "boxed"),
    ("\\boxed{12} but then \\boxed{13", "12", "boxed"),
    ("She has 3.\n#### 1,200\n", "1,200", "hashes"),
    ("<answer> 3 </answer> <answer>4</answer>", "4", "tag"),
    ("Work.\n\n# Answer\n\n120", "120", "heading"),
    ("The answer is 5:30 PM. It was late.", "5:30 PM", "said"),
    ("The final answer is $\\frac{1}{2}$.", "$\\frac{1}{2}$", "said"),
    ("Answer: 3.5", "3.5", "said"),
    ("**Answer:** 7", "7", "said"),
    ("It is 3.\nThe answer is\n12", "12", "said"),
    ("Because 9 * 2 = 18.\nA: 18", "18", "label"),
    ("so 32/100 is 40 kg\nANSWER E", "E", "letter"),
    ("= 5/18\nANS:A", "A", "letter"),
    ("the 7 letters can be arranged in 7! ways.\nC", "C", "letter"),
    ("The correct option is C.", "C", "letter"),
    ("So the answer is\n$$\n\\frac{1}{2}\n$$\nas claimed.", "$$\n\\frac{1}{2}\n$$", "said"),
    ("12 cm", "12 cm", "whole"),
    ("\\frac{3}{4}", "\\frac{3}{4}", "whole"),
    ("Evelyn", "Evelyn", "whole"),
    ("So we see that x must be equal to $\\frac{1}{2}$.", "$\\frac{1}{2}$", "math"),
    ("It follows that there are 4 apples left of 10.", "10", "number"),
    ("Therefore, the answer is:\n\n**17**", "**17**", "said"),
    ("The final answer is:\n\n$$17$$", "$$17$$", "said"),
    ("The answer is:\n\n\\[17\\]", "\\[17\\]", "said"),
    ("The answer is:\n\n$$\n17\n$$\n", "$$\n17\n$$", "said"),
    ("The answer is:\r\n\r\n17\r\n", "17", "said"),
    ("The answer is:\n\n\\boxed{18}", "18", "boxed"),
    ("**Final Answer:**\n\n$$17$$", "$$17$$", "heading"),
    ("**Final Answer**\n\n$$17$$", "$$17$$", "heading"),
    ("**Final Answer**:\n\n17", "17", "said"),
    ("**Answer**\nThe answer is 12 because of 3 and 4.", "12", "said"),
    ("The answer is **17.**", "17", "said"),
    ("Answer:**17**", "17", "said"),
    ("Answer: 5\nAnswer: ...", "5", "said"),
    ("Then 3 + 4 = 7 and that is all.\nAnswer: ?", "7", "number"),
    ("The answer is 12 because 3*4=12.", "12", "said"),
    ("The answer is 12 because there are 3 rows of 4 apples each.", "12", "said"),
    ("The answer is 12 (because 3*4=12).", "12", "said"),
    ("The answer is 12, as 3*4=12.", "12", "said"),
    ("The answer is **12 since 3*4=12**.", "12", "said"),
    ("The answer is $\\frac12$, i.e. 0.5.", "$\\frac12$", "said"),
    ("The answer is Paris, because it is the capital.", "Paris", "said"),
    ("12 since 3*4=12", "12", "whole"),
    ("$12$ which is even", "$12$", "whole"),
    ("3 (since 3 is odd)", "3", "whole"),
    ("Suppose every item costs $100, which is now $80 in all.", "$80", "number"),
    ("The answer is 0.5 * 5, which is 4.", "0.5 * 5, which is 4", "said"),
    ("The answer is 1/3, i.e. 0.33", "1/3", "said"),
    ("The answer is [1, 2) as it is half open.", "[1, 2)", "said"),
    ("答案是12，因为3*4=12。", "12", "said"),
    ("Die Antwort ist 5, weil 2+3=5.", "5", "said"),
    ("答案是5。", "5", "said"),
    ("最终答案：**５**", "５", "said"),
    ("答えは5です。", "5", "said"),
    ("Die Antwort ist 5.", "5", "said"),
    ("Die Antwort lautet: 5", "5", "said"),
    ("La réponse est 5.", "5", "said"),
    ("La respuesta es 5.", "5", "said"),
    ("Ответ: 5", "5", "said"),
    ("So there are ٣٤ of them in all now.", "٣٤", "number"),
    ("The total number of cookies is \\(\\binom{8}{2} = 28\\).", "\\(\\binom{8}{2} = 28\\)", "math"),
    ("I first thought 10. The answer is 10. Wait, no. The answer is 12.", "12", "said"),
    ("Some say the answer is 10. But the final answer is 12.", "12", "said"),
    ("The answer is 12. If the answer is 10, three are lost.", "12", "said"),
    ("The answer is 12. The answer is: ?", "12", "said"),
    ("Answer: they share it with 3.\nSo the answer is 12.", "12", "said"),
    ("The answer is 12: each of the 4 gets 3.", "12", "said"),
    ("The answer is 12; each gets 3.", "12", "said"),
    ("The answer is 12 – each gets 3.", "12", "said"),
    ("The answer is 12 (3 each).", "12", "said"),
    ("The answer is 12, as 144/12 = 12.", "12", "said"),
    ("The answer is 12, not 10.", "12", "said"),
    ("The answer is 12 which is 3 per child.", "12", "said"),
    ("The answer is 12 inches, which is 1 foot.", "12 inches", "said"),
    ("The answer is 12 apples, of which 3 are red.", "12 apples", "said"),
    ("The answer is 12 boxes with 3 left over.", "12 boxes", "said"),
    ("The answer is 12 cm for each of the 3 sides.", "12 cm", "said"),
    ("The answer is x = 12 where x counts all 3 of them.", "x = 12", "said"),
    ("The answer is 3 + 9 = 12 apples in the basket of 20.", "3 + 9 = 12 apples", "said"),
    ("The answer is 2 hours and 30 minutes for the 3 of them.", "2 hours and 30 minutes", "said"),
    ("The answer is \\frac{1}{2}: half of the 4.", "\\frac{1}{2}", "said"),
    ("The answer is $x^2+1$: it has no root in 3.", "$x^2+1$", "said"),
    ("The answer is B, which has 3 sides.", "B", "said"),
    ("#### 12 left after 3 days", "12 left", "hashes"),
    ("<answer>12 boxes with 3 left over</answer>", "12 boxes", "tag"),
    ("**Answer:**\n\n- 7", "7", "heading"),
    ("The answer is:\n\n* 7 apples\n\nThat is all.", "7 apples", "said"),
    ("**Answer:** -7", "-7", "said"),
]


@pytest.mark.parametrize(("text", "answer", "rule"), CASES)
def test_the_marked_answer_is_found(text: str, answer: str, rule: str) -> None:
    found = extract(text)
    assert found is not None
    assert (found.answer, found.rule) == (answer, rule)
    assert text[found.start : found.stop] == found.answer


@pytest.mark.parametrize(
    "text", ["", "  \n ", "No number stands in this sentence at all.\nNor in that one.", "\\boxed{}\n\n"]
)
def test_where_there_is_no_answer_there_is_none(text: str) -> None:
    found = extract(text)
    assert found is None or found.rule == "whole"
    if not text.strip() or "\n" in text.strip():
        assert found is None


@pytest.mark.parametrize(
    "text", ["The answer is:", "The answer is: ?", "Answer: ...", "---", "**", "$$ $$", "。", "\\boxed{}"]
)
def test_punctuation_is_no_answer(text: str) -> None:
    assert extract(text) is None or extract(text).answer == text == "\\boxed{}"


@pytest.mark.parametrize("text", ["[]", "\\{\\}", "()", "<", "∅", "\\boxed{\\{\\}}"])
def test_empty_brackets_and_signs_are_one(text: str) -> None:
    assert extract(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 5 apples and 3 pears.",
        "The answer is 5 apples, 3 pears and 2 plums for each of them.",
        "The answer is 12 dollars for adults and 8 for children.",
        "The answer is 12 for most of the boys, 13 for the others.",
        "The answer is 12 for some of them, or maybe 13.",
        "The answer is 12 apples, wait, it has to be 13 apples.",
        "The answer is 12 for all of them, no, 13.",
        "The answer is 12, thirteen or more of them in all.",
        "The answer is 2 for each 3 girls in the class.",
        "The answer is 2 for every 3 girls in the class.",
        "The answer is 12 with remainder 3 as they say.",
        "The answer is 12, but it could also be 13.",
        "The answer is the one that we found because of 7 others.",
        "The answer is the number of primes below 10.",
        "Answer: Tom has 12 left after 3 days",
        "Answer: it takes 12 days for 3 men",
        "Therefore, the answer is that Tom pays 12 dollars to each of his 3 sons.",
        "The answer is 10.\nThe answer is that Tom pays 12 dollars to each of his 3 sons.",
        "Answer: it takes 12 days for 3 men\nThat was 12.",
        "#### Tom has 12 left after 3 days",
        "<answer>The smallest one is 27, since that is 3 cubed, 3^3 = 27</answer>",
        "**Answer:**\n\n- 12 apples\n- 3 pears",
    ],
)
def test_an_announced_answer_that_begins_with_no_one_value_is_none(text: str) -> None:
    assert extract(text) is None


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(
        [": each of the {} gets some", "; each gets {}", " ({} each)", ", of which {} are red", " with {} left"]
    ),
    st.integers(2, 10**6),
)
def test_a_number_behind_an_announced_answer_is_never_it(value: int, behind: str, other: int) -> None:
    for text in (f"The answer is {value}{behind.format(other)}.", f"#### {value} boxes{behind.format(other)}"):
        found = extract(text)
        assert found is not None
        assert found.answer.removesuffix(" boxes") == str(value)


@pytest.mark.parametrize(
    "end",
    [
        "I think it is 12, but 13 is also possible.",
        "It could be 12. It might be 13.",
        "Perhaps it is 12 and perhaps it is 13.",
        "The answer would be 12, alternatively one may say 13.",
    ],
)
def test_a_reply_that_offers_others_has_no_one_answer(end: str) -> None:
    assert extract(f"Let us count them first.\nThere are 5 of one kind. {end}") is None
    assert extract(f"It could be 12.\n{end}\nSo there are 13 of them in all.") is not None


@given(st.text(st.sampled_from(list("aA:#<>answer/\\boxed{}$. \n1,2*٣?")), max_size=80))
def test_an_answer_is_a_piece_of_the_text_without_space_around_it(text: str) -> None:
    found = extract(text)
    if found is not None:
        assert found.answer == text[found.start : found.stop] == found.answer.strip() != ""


@given(st.from_regex(r"[a-z ]{0,40}", fullmatch=True), st.integers(-(10**6), 10**6))
def test_what_is_marked_comes_before_what_is_not(words: str, value: int) -> None:
    for text in (
        f"{words} 77 \\boxed{{{value}}} 78",
        f"{words} 77\n#### {value}",
        f"77 <answer>{value}</answer> {words}",
    ):
        found = extract(text)
        assert found is not None
        assert found.answer == str(value)


@pytest.mark.measures
@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "{",
        "#### ",
        "answer is ",
        "1 ",
        "1,",
        "$",
        "\\(",
        "<answer>",
        "A: \n",
        "\n\n",
        "a b c d ",
        "# answer\n",
        "1 or ",
        "1, ",
        "1 a or ",
        "$1$ and ",
        "\\boxed{1} or ",
        "maybe 1. ",
        "answer is:\n\n",
        "answer: ?\n",
        "**answer**\n",
        "12 because ",
        "if the answer is 1 ",
        "the answer is that they have 3 of it ",
        "answer is 12 with 3 of the boys. ",
        "answer:\n- 1\n",
        "answer: ?",
        "答案是",
        "٣",
    ],
)
def test_hostile_replies_take_a_moment(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    extract(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun < 2


@pytest.mark.measures
@pytest.mark.parametrize(
    "piece", ["1.5,", "x ", "2 m ", "3√", "5 hours and ", "**a**", "is ", "three ", "mod ", "(1) "]
)
def test_a_long_reply_of_one_piece_does_not_make_it_backtrack(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    for end in ("", "q", " 7", " 7 is.", "\\mathbb{Z}"):
        extract(text + end)
        extract(text[:180] + end)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - begun < 2

"""Differences of texts: the pieces come to the texts again, what is alike is left out, and no text costs too long."""

import re
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.pipelines.differences import MOST_CHARACTERS, Difference, differences


def spelled(found):
    """The pieces as text: `-x-` of the dropped one, `+x+` of the kept one, `…` of what is left out."""
    marks = {"same": "{}", "kept": "+{}+", "dropped": "-{}-", "gap": "…"}
    return "".join(marks[one.kind].format(one.text) for one in found)


def side(found, which):
    return "".join(one.text for one in found if one.kind in ("same", which))


def assert_told(found, kept, dropped):
    """Each text comes from the pieces in their order, those that say how many characters they stand for among them."""
    for text, which in ((kept, "kept"), (dropped, "dropped")):
        place = 0
        for one in found:
            if one.kind in ("same", which):
                assert text[place : place + len(one.text)] == one.text
                place += len(one.text)
            elif one.text.startswith("not compared: "):
                numbers = re.findall(r"([\d,]+) (?:characters )?of", one.text)
                place += int(numbers[which == "dropped"].replace(",", ""))
            elif one.kind == "gap":
                place += int(one.text.split()[0].replace(",", ""))
        assert place == len(text)


WORDS = st.lists(st.sampled_from(["the", "stone", "straße", "日本語", " ", "\n", "naïve", ",", "x"]), max_size=60)


@settings(deadline=None)
@given(WORDS, WORDS)
def test_short_texts_come_whole_from_their_pieces(kept, dropped):
    kept, dropped = " ".join(kept), " ".join(dropped)
    found = differences(kept, dropped)
    assert_told(found, kept, dropped)
    assert (kept == dropped) == all(one.kind in ("same", "gap") for one in found)
    for one, after in pairwise(found):
        assert one.kind != after.kind or one.kind == "gap"


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_taken(kept, dropped):
    assert_told(differences(kept, dropped), kept, dropped)


@settings(deadline=None)
@given(st.data())
def test_no_character_is_lost(data):
    """Long texts with a few edits: what is shown and what is said to be left out are the texts."""
    words = [f"w{i % 83}" for i in range(data.draw(st.integers(1, 3000)))]
    edits = data.draw(st.lists(st.tuples(st.integers(0, len(words) - 1), st.sampled_from(["", "new", "日本語 text"]))))
    other = [*words]
    for place, edit in edits:
        other[place] = edit
    joint = data.draw(st.sampled_from([" ", "", "\n"]))
    kept, dropped = joint.join(words), joint.join(other) + data.draw(st.sampled_from(["", " end"]))
    found = differences(kept, dropped)
    assert_told(found, kept, dropped)
    kinds = [one.kind for one in found if not one.text.startswith("not compared: ")]
    assert all(one != other for one, other in pairwise(kinds))


def test_words_are_marked_and_not_letters():
    found = differences("Read by 1,234 people today.", "Read by 1,239 people, today.")
    assert spelled(found) == "Read by 1,-239-+234+ people-,- today."


def test_a_character_is_a_word_where_scripts_put_no_spaces():
    assert spelled(differences("我们今天去学校", "我们明天去学校")) == "我们-明-+今+天去学校"
    assert spelled(differences("วันนี้ดี", "วันนั้ดี")) == "วันน-ั-+ี+้ดี"


def test_what_is_far_from_a_difference_is_left_out():
    words = [f"w{i}" for i in range(400)]
    other = [*words]
    other[200] = "changed"
    found = differences(" ".join(words), " ".join(other))
    assert [one.kind for one in found] == ["gap", "same", "dropped", "kept", "same", "gap"]
    assert (found[2].text, found[3].text) == ("changed", "w200")
    assert found[1].text.endswith("w199 ")
    assert len(found[1].text) <= 120
    left = sum(int(one.text.split()[0].replace(",", "")) for one in found if one.kind == "gap")
    assert left + len(side(found, "kept")) == len(" ".join(words))


def test_equal_texts_are_known_by_their_beginning():
    assert differences("same", "same") == (Difference("same", "same"),)
    assert differences("", "") == (Difference("same", ""),)
    assert differences("ab" * 500, "ab" * 500) == (
        Difference("same", "ab" * 100),
        Difference("gap", "800 characters alike"),
    )


@pytest.mark.parametrize(
    ("kept", "dropped"),
    [
        ("a" * 2_000_000, "b" * 3_000_000),
        ("a " * 1_000_000, "b " * 1_000_000),
        (" ".join(f"x{i}" for i in range(300_000)), " ".join(f"y{i % 7}" for i in range(300_000))),
        ("ab" * 1_000_000, "ba" * 1_000_000),
        ("日本語" * 700_000, "本日語" * 700_000),
        (") " * 500_000 + "end", ") " * 500_001 + "end"),
        ("word " * 400_000 + "end", "word " * 400_000),
    ],
)
@pytest.mark.measures
def test_giants_are_compared_in_a_window(kept, dropped):
    start = time.process_time()
    found = differences(kept, dropped)
    assert time.process_time() - start < 5
    assert sum(len(one.text) for one in found) < 3 * MOST_CHARACTERS
    assert any(one.kind in ("kept", "dropped") for one in found)
    assert_told(found, kept, dropped)


def test_a_window_that_ends_earlier_in_one_text_makes_no_difference():
    text = "".join(f"word{i} " for i in range(4000))
    other = "A title that the other one has not. " + text.replace("word3900 ", "changed ")
    found = differences(text, other)
    assert [one.kind for one in found] == ["dropped", "same", "gap", "gap"]
    assert found[-1].text.startswith("not compared: ")
    assert_told(found, text, other)


def test_a_title_is_all_that_differs_however_long_the_text():
    text = "".join(f"word{i} " for i in range(100_000))
    found = differences(text, "Title " + text)
    assert [one.kind for one in found] == ["dropped", "same", "gap"]
    assert_told(found, text, "Title " + text)


def test_what_is_not_compared_is_told():
    found = differences("a " * 50_000, "b " * 40_000 + "c")
    assert found[-1].kind == "gap"
    assert found[-1].text.startswith("not compared: 98,5")
    compared = len(side(found, "kept"))
    assert f"{100_000 - compared:,} characters of the one kept" in found[-1].text

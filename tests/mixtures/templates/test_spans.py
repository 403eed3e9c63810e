"""Spans of texts in renderings: exact whatever the template does to white space, and an error where it does more."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.templates import Message
from midtrain.mixtures.templates.spans import Key, check_order, locate

TEXT = st.text(
    st.sampled_from(" \n\tab<>\U000f0000\U000f0001\U00100003") | st.characters(exclude_categories=["Cs"]), max_size=12
)
STRIPS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "strip": str.strip,
    "lstrip": str.lstrip,
    "rstrip lines": lambda text: text.rstrip("\n"),
    "lines": lambda text: text.strip("\n"),
}


def keys(count: int) -> list[Key]:
    return [Key(turn, "content") for turn in range(count)]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXT, min_size=1, max_size=5), st.lists(st.sampled_from(sorted(STRIPS)), min_size=5, max_size=5))
def test_every_text_stands_where_the_template_wrote_it(texts: list[str], strips: list[str]) -> None:
    """Against a template that says itself where it writes: what is left of each text is known, and so is its place."""
    names = keys(len(texts))

    def written(given: dict[Key, str]) -> list[str]:
        return [STRIPS[strips[key.turn]](given[key]) for key in names]

    plain, found = locate(
        dict(zip(names, texts, strict=True)), lambda given: "".join(f"<{t}>\n" for t in written(given))
    )
    at = 0
    for key, text in zip(names, written(dict(zip(names, texts, strict=True))), strict=True):
        (interval,) = found[key]
        if text.strip():
            assert (interval.start, interval.stop) == (at + 1, at + 1 + len(text))
        else:  # of white space that a template strips it is not told which is left
            assert at + 1 <= interval.start <= interval.stop <= at + 1 + len(text)
        assert plain[at + 1 : at + 1 + len(text)] == text
        at += len(text) + 3


def test_a_template_that_looks_at_the_ends_of_a_text_is_followed() -> None:
    def render(given: dict[Key, str]) -> str:
        text = given[Key(0, "content")]
        return f"[tool]{text}." if text.startswith("<t>") and text.endswith("</t>") else f"[user]{text}."

    plain, found = locate({Key(0, "content"): "<t>42 is it</t>"}, render)
    (interval,) = found[Key(0, "content")]
    assert plain == "[tool]<t>42 is it</t>."
    assert plain[interval.start : interval.stop] == "<t>42 is it</t>"


def test_a_text_that_is_not_written_has_no_interval_and_one_written_twice_has_two() -> None:
    texts = {Key(0, "content"): "a", Key(1, "content"): "b"}
    _, found = locate(texts, lambda given: given[Key(1, "content")] * 2)
    assert (len(found[Key(0, "content")]), len(found[Key(1, "content")])) == (0, 2)


@pytest.mark.parametrize(
    "render", [lambda text: text.split("|")[-1], lambda text: text.split("|")[0], lambda text: text[2:]]
)
def test_a_text_that_is_cut_apart_is_an_error(render: Callable[[str], str]) -> None:
    with pytest.raises(RunError, match=r"cuts the content of message 0 apart|changes when marks"):
        locate({Key(0, "content"): "abc|def"}, lambda given: "x" + render(given[Key(0, "content")]))


def test_a_text_around_which_no_mark_can_stand_has_no_interval() -> None:
    _, found = locate({Key(0, "content"): "abc"}, lambda given: f"{len(given[Key(0, 'content')])}")
    assert found == {Key(0, "content"): []}


def test_marks_that_only_fit_one_by_one_are_an_error() -> None:
    def render(given: dict[Key, str]) -> str:
        marked = sum(any(ord(one) >= 0xF0000 for one in text) for text in given.values())
        return "|".join(given.values()) + ("!" if marked > 1 else "")

    with pytest.raises(RunError, match="text changes when marks stand around"):
        locate({Key(0, "content"): "a", Key(1, "content"): "b"}, render)


def test_marks_avoid_the_private_characters_of_the_texts_and_run_out_only_with_all_of_them() -> None:
    every = "".join(map(chr, range(0xF0000, 0x110000)))
    plain, found = locate({Key(0, "content"): every[:-2]}, lambda given: given[Key(0, "content")] + "!")
    assert plain[found[Key(0, "content")][0].stop :] == "!"
    with pytest.raises(RunError, match="no private-use characters for marks"):
        locate({Key(0, "content"): every}, lambda given: given[Key(0, "content")])


def test_texts_out_of_order_or_within_one_another_are_errors() -> None:
    messages = [Message("user", "u"), Message("system", "s")]
    texts = {Key(0, "content"): "u", Key(1, "content"): "s"}
    plain, found = locate(texts, lambda given: given[Key(1, "content")] + given[Key(0, "content")])
    with pytest.raises(RunError, match=r"content of message 1 \(system\) before the content of message 0 \(user\)"):
        check_order(found, messages, plain)
    one, other = texts
    plain, found = locate(texts, lambda given: given[one].replace("u", "u" + given[other] + "u"))
    with pytest.raises(RunError, match="into one another"):
        check_order(found, messages, plain)


def test_a_template_that_strips_everything_costs_four_renderings_however_many_texts() -> None:
    calls = 0

    def render(given: dict[Key, str]) -> str:
        nonlocal calls
        calls += 1
        return "".join(f"<user>\n\n{text.strip()}<end>" for text in given.values())

    texts = {key: f" text {key.turn}\n\n" for key in keys(50)}
    plain, found = locate(texts, render)
    assert calls <= 4
    assert [plain[one.start : one.stop] for (one,) in found.values()] == [text.strip() for text in texts.values()]

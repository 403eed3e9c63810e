"""Jinja templates: set up as transformers does it, with limits, and errors for what they cannot say."""

import time
from typing import Any

import pytest
from midtrain.errors import RunError
from midtrain.mixtures.templates import Message, Piece, Template, limits

TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
QUESTION, ANSWER = Message("user", "q"), Message("assistant", "a")
TALK = (QUESTION, ANSWER)


def template(text: str, **more: Any) -> Template:
    return Template("own.jinja", text, earlier_reasoning=more.pop("earlier_reasoning", "template"), **more)


def turns(body: str) -> str:
    return "{% for m in messages %}" + body + "{% endfor %}"


def test_blocks_are_trimmed_and_loops_have_controls() -> None:
    text = "{% for m in messages %}\n    {% if m.role == 'system' %}\n        {% continue %}\n    {% endif %}\n" + TURN
    with pytest.raises(RunError, match="cannot express the role system there: nothing of message 0"):
        template(text + "{% endfor %}").render([Message("system", "s"), *TALK])
    ours = template(text + "{% endfor %}").render(TALK).text
    assert ours == "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n"


def test_generation_marks_are_only_text() -> None:
    body = "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}"
    rendered = template(turns(body + "{{ m.content }}\n{% endif %}")).render(TALK)
    assert rendered.pieces == (
        Piece("q", False, False, "other", 0),
        Piece("\n", False, False),
        Piece("a", False, True, "content", 1),
        Piece("<|im_end|>", True, True),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content + nothing }}", "nothing"),
        ("{{ messages[7].content.x }}", "messages|element 7|no element|has no"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{% set ns = namespace(__class__=1) %}", "__class__"),
        ("{{ 1 / 0 }}", "division"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion|seconds"),
    ],
)
def test_what_a_template_refuses_or_may_not_do_names_it(text: str, told: str) -> None:
    with pytest.raises(RunError, match=rf"template own.jinja: it refuses the conversation: .*({told})"):
        template(text).render(TALK)


@pytest.mark.measures
@pytest.mark.parametrize(
    "text",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{{ 'ab' * 999999999 }}",
        "{{ 'ab'.ljust(9999999999) }}",
        "{{ 9 ** 9 ** 9 }}",
        "{% for i in range(99999) %}{{ 'x' * 999 }}{% endfor %}",
    ],
)
def test_a_template_that_would_not_end_is_stopped(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    began = time.thread_time()  # as the limit counts
    with pytest.raises(RunError, match=r"the template (took|made|repeats|raises|passes|wrote)"):
        template(text).render(TALK)
    assert time.thread_time() - began < 5


def test_what_stands_behind_an_answer_is_trained_through_its_first_special_token() -> None:
    rendered = template(turns("[{{ m.role }}]{{ m.content }} .<|im_end|></s>\n")).render(TALK)
    assert [piece.text for piece in rendered.pieces if piece.trained] == ["a", " .", "<|im_end|>"]


def test_the_tokenizers_special_tokens_are_those_that_count() -> None:
    own = template(turns("<|im_start|>{{ m.role }}: {{ m.content }}<stop>\n"), special=frozenset(["<stop>", "<|x|>"]))
    rendered = own.render(TALK)
    assert [piece.text for piece in rendered.pieces if piece.special] == ["<stop>", "<stop>"]
    assert own.turn_ends == ("<stop>",)


@pytest.mark.parametrize("body", ["{{ m.content }}\n", "{{ m.content }}{% if not loop.first %}\n{% endif %}<s>"])
def test_a_turn_without_an_end_is_an_error(body: str) -> None:
    end = "" if "<s>" not in body else "{% if m.role == 'user' %}<s>{% endif %}"
    with pytest.raises(RunError, match="no special token ends the turn of message 1"):
        template(turns(body.replace("<s>", end))).render([*TALK, Message("user", "?")])


def test_a_template_that_changes_or_repeats_an_answer_is_an_error() -> None:
    with pytest.raises(RunError, match="changes the content of message 1"):
        template(turns("{{ m.content | upper }}<|im_end|>")).render(TALK)
    with pytest.raises(RunError, match="writes the content of message 1 2 times"):
        template(turns("{{ m.content }}{{ m.content }}<|im_end|>")).render(TALK)


def test_what_others_say_may_be_changed() -> None:
    text = turns("{% if m.role == 'user' %}{{ m.content | tojson }}{% else %}{{ m.content }}<|im_end|>{% endif %}")
    assert template(text).render([Message("user", 'a "b"'), ANSWER]).text == '"a \\"b\\""a<|im_end|>'


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_under_any_of_its_names(field: str) -> None:
    body = "{% if m." + field + " %}<think>{{ m." + field + " }}</think>{% endif %}{{ m.content }}<|im_end|>"
    rendered = template(turns(body)).render([QUESTION, Message("assistant", "a", "r")])
    trained = [(piece.text, piece.part) for piece in rendered.pieces if piece.trained]
    assert trained == [
        ("<think>", "other"),
        ("r", "reasoning"),
        ("</think>", "other"),
        ("a", "content"),
        ("<|im_end|>", "other"),
    ]


def test_an_opening_tag_is_not_trained_where_no_reasoning_follows() -> None:
    rendered = template(turns("{{ m.role }}<think>\n\n</think>\n{{ m.content }}<|im_end|>")).render(TALK)
    assert [piece.text for piece in rendered.pieces if piece.trained] == ["a", "<|im_end|>"]


def test_an_option_is_a_variable_of_the_text() -> None:
    own = template(turns("{{ m.content }}{{ mark }}<|im_end|>"), options='{"mark":"?"}')
    assert own.render(TALK).text == "q?<|im_end|>a?<|im_end|>"


def test_an_empty_turn_that_leaves_no_trace_is_an_error_and_one_that_does_is_not() -> None:
    empty = Message("system", "")
    silent = turns("{% if m.content %}" + TURN + "{% endif %}")
    with pytest.raises(RunError, match="cannot express an empty system turn"):
        template(silent).render([empty, *TALK])
    head = turns("<|im_start|>{{ m.role }}{% if m.content %}\n{{ m.content }}{% endif %}<|im_end|>")
    assert template(head).render([empty, *TALK]).text.startswith("<|im_start|>system<|im_end|>")


def test_a_template_may_not_write_the_date_of_the_day_but_a_given_one() -> None:
    text = "{{ strftime_now('%d %b %Y') }}" + turns(TURN)
    with pytest.raises(RunError, match="writes the time of the day"):
        template(text).render(TALK)
    assert (
        template(text, options='{"strftime_now":"2026-01-31"}').render(TALK).text.startswith("31 Jan 2026<|im_start|>")
    )
    assert template(text).prompt(TALK, answer_directly=True).text.endswith("q<|im_end|>\n")

"""Tags of a template's own open a reasoning and are trained; what cannot be told from the header is a named error.

Expectations are the texts between the header and the end of turn, written by hand.
"""

from dataclasses import dataclass

import pytest
from midtrain.errors import RunError
from midtrain.mixtures.tasks.problem import last_line
from midtrain.mixtures.templates import Message, Template
from midtrain.mixtures.templates.trimmable import untrimmable

Q, A, LATER = Message("user", "Why?"), Message("assistant", "So.", "It is."), Message("user", "Sure?")
LAST = Message("assistant", "Yes.", "I am.")
GENERATION = "{% if add_generation_prompt %}<|bot|>{% endif %}"


def template(said: str, asked: str = "<|user|>{{ m.content }}<|end|>\n", prompt: str = "", **more: str) -> Template:
    body = "{% if m.role == 'assistant' %}" + said + "{% else %}" + asked + "{% endif %}"
    text = "{% for m in messages %}" + body + "{% endfor %}" + prompt
    return Template("own.jinja", text, earlier_reasoning="template", **more)


def thought(opens: str, closes: str, empty: str = "", field: str = "reasoning_content") -> str:
    """What a turn has of its reasoning."""
    return "{% if m." + field + " %}" + opens + "{{ m." + field + " }}" + closes + "{% else %}" + empty + "{% endif %}"


@dataclass(frozen=True)
class Own:
    """A template; `opens` and `closes` stand around its reasonings, `trims`: whether records can be trimmed."""

    text: Template
    opens: str
    closes: str
    trims: bool = True


ALL = {
    "another word": Own(
        template("<|bot|>" + thought("[REASONING]", "[/REASONING]") + "{{ m.content }}<|end|>\n"),
        "[REASONING]",
        "[/REASONING]",
    ),
    "words": Own(
        template("<|bot|>\n" + thought("Thoughts:\n", "\nReply:\n", "") + "{{ m.content }}<|end|>\n"),
        "Thoughts:\n",
        "\nReply:\n",
    ),
    "one sign both ways": Own(
        template("<|bot|>\n" + thought("~~~\n", "\n~~~\n") + "{{ m.content }}<|end|>\n"), "~~~\n", "\n~~~\n"
    ),
    "an empty block in names alike": Own(
        template(
            "<|BOT|>"
            + thought("<|START_THINKING|>", "<|END_THINKING|>", "<|START_THINKING|><|END_THINKING|>")
            + "{{ m.content }}<|end|>\n"
        ),
        "<|START_THINKING|>",
        "<|END_THINKING|>",
    ),
    "an empty block with white space": Own(
        template("<|bot|>\n" + thought("<why>\n", "\n</why>\n\n", "<why>\n\n</why>\n\n") + "{{ m.content }}<|end|>\n"),
        "<why>\n",
        "\n</why>\n\n",
    ),
    "an empty block, not alike, told by the prompt": Own(
        template("<|bot|>" + thought("<(", ")>", "<()>") + "{{ m.content }}<|end|>\n", prompt=GENERATION), "<(", ")>"
    ),
    "an empty block in all but earlier turns": Own(
        template(
            "<|bot|>{% if not loop.last %}{{ m.content }}{% else %}"
            + thought("(muses) ", " (says) ", "(muses)  (says) ")
            + "{{ m.content }}{% endif %}<|end|>\n"
        ),
        "(muses) ",
        " (says) ",
    ),
    "a line break that the header of an answer has too": Own(
        template("<|bot|>\n" + thought("<x>", "</x>\n") + "{{ m.content }}<|end|>\n", prompt=GENERATION),
        "<x>",
        "</x>\n",
    ),
    "a line break before the tag alone": Own(
        template("<|bot|>" + thought("{{ '\\n<x>' }}", "</x>") + "{{ m.content }}<|end|>\n"), "\n<x>", "</x>"
    ),
    "a closing tag without a thought": Own(
        template("<|bot|>" + thought("<think>", "</think>", "</think>") + "{{ m.content }}<|end|>\n"),
        "<think>",
        "</think>",
        trims=False,  # what is left has no closing tag
    ),
    "channels": Own(
        template(
            "{% if m.reasoning %}<|start|>bot<|channel|>analysis<|message|>{{ m.reasoning }}<|end|>{% endif %}"
            "<|start|>bot<|channel|>final<|message|>{{ m.content }}<|return|>",
            prompt="{% if add_generation_prompt %}<|start|>bot{% endif %}",
        ),
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>bot<|channel|>final<|message|>",
        trims=False,  # what is left has no channel
    ),
    "a word behind the question": Own(
        template(
            "<|bot|>" + thought("<mull>", "</mull>") + "{{ m.content }}<|end|>\n",
            "<|user|>{{ m.content }}{% set a = messages[loop.index0 + 1] %}"
            "{{ ' /mull' if a and a.reasoning else ' /mute' }}<|end|>\n",
        ),
        "<mull>",
        "</mull>",
        trims=False,  # the question would say that there is a reasoning
    ),
    "a thought of blank words": Own(
        template("<|bot|>" + thought("<why>", "</why>", "<no_why>") + "{{ m.content }}<|end|>\n"),
        "<why>",
        "</why>",
        trims=False,
    ),
}


def trained(own: Template, *turns: Message) -> list[str]:
    runs = [""]
    for piece in own.render(turns).pieces:
        if piece.trained:
            runs[-1] += piece.text
        elif runs[-1]:
            runs.append("")
    return [run for run in runs if run]


@pytest.mark.parametrize("name", ALL)
def test_the_tag_that_opens_a_reasoning_is_trained_and_no_more_of_the_header(name: str) -> None:
    own = ALL[name]
    end = "<|return|>" if name == "channels" else "<|end|>"
    assert trained(own.text, Q, A) == [f"{own.opens}It is.{own.closes}So.{end}"]
    assert trained(own.text, Q, Message("assistant", "So.")) == [f"So.{end}"]
    assert trained(own.text, Q, A, LATER, LAST)[-1] == f"{own.opens}I am.{own.closes}Yes.{end}"
    lines = "\n\n[REASONING] <think>\n\nIt is."
    text = "".join(trained(own.text, Q, Message("assistant", "So.", lines)))
    assert text.startswith(own.opens.rstrip())
    assert "[REASONING] <think>\n\nIt is." in text


@pytest.mark.parametrize("name", ALL)
def test_records_are_trimmed_where_they_stay_what_the_template_writes(name: str) -> None:
    why = untrimmable(ALL[name].text)
    assert (why is None) == ALL[name].trims, why
    assert why is None or "that have none" in why


def test_a_tag_that_cannot_be_told_from_the_header_is_an_error() -> None:
    own = template("<|bot|>" + thought("Thought: ", " Reply: ", "Thought:  Reply: ") + "{{ m.content }}<|end|>\n")
    with pytest.raises(RunError, match="which tag opens the reasoning of message 1 cannot be told"):
        own.render([Q, A])
    assert trained(own, Q, Message("assistant", "So.")) == ["So.<|end|>"]


def test_a_tag_that_no_trial_showed_is_an_error() -> None:
    own = template(
        "<|bot|>{% if m.reasoning %}{{ '<long>' if m.reasoning | length > 99 else '<short>' }}{{ m.reasoning }}</x>"
        "{% endif %}{{ m.content }}<|end|>"
    )
    assert trained(own, Q, A) == ["<short>It is.</x>So.<|end|>"]
    with pytest.raises(RunError, match="cannot be told") as error:
        own.render([Q, Message("assistant", "So.", "It is. " * 20)])
    assert "<short>" in str(error.value.expected)


def test_a_prompt_that_opens_the_reasoning_says_with_which_tag() -> None:
    said = "<|bot|>" + thought("[REASONING]\n", "\n[/REASONING]") + "{{ m.content }}<|end|>\n"
    prompt = "{% if add_generation_prompt %}<|bot|>{% if enable_thinking %}[REASONING]\n\n{% endif %}{% endif %}"
    own = template(said, prompt=prompt)
    assert (own.opening(False), own.opening(True)) == ("[REASONING]\n\n", "")
    drops = template("<|bot|>{{ m.content }}<|end|>\n", prompt=prompt)
    assert (drops.opening(False), drops.opening(True)) == ("[REASONING]\n\n", "")


@pytest.mark.parametrize("name", ALL)
def test_a_reply_in_the_templates_own_tags_is_read_as_one_in_those_that_graders_know(name: str) -> None:
    own = ALL[name]
    read = own.text.read(f"{own.opens}It is.{own.closes}So.")
    assert "".join(read.split()) == "<think>Itis.</think>So."
    assert last_line(read) == "So."
    assert last_line(own.text.read(f" {own.opens.strip()}It is.")) is None
    assert own.text.read("So.") == "So."


def test_a_reply_of_a_built_in_template_or_one_without_thoughts_is_as_it_was() -> None:
    reply = "\n[REASONING]It is.[/REASONING]So."
    assert Template("chatml").read(reply) == reply
    assert template("<|bot|>{{ m.content }}<|end|>\n").read(reply) == reply

"""Our templates as Jinja: transformers renders every conversation to the text that we train on."""

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.mixtures.templates import ROLES, TEMPLATES, Message, Template
from midtrain.trainer.exchange import chat_template

chat = pytest.importorskip("transformers.utils.chat_template_utils")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["", " ", "\n\nx", "{{ 1 }}", "a\n"]
)
OURS = st.sampled_from([Template(name, earlier_reasoning=one) for name in TEMPLATES for one in ("keep", "drop")])
CHATML = Template("chatml")


def rendered(template: Template, messages: list[dict[str, Any]], **options: Any) -> str:
    """What transformers makes of a conversation."""
    text: str = chat.render_jinja_template([messages], chat_template=chat_template.of(template), **options)[0][0]
    return text


def as_chat(message: Message) -> dict[str, Any]:
    extra = {} if message.reasoning is None else {"reasoning_content": message.reasoning}
    return {"role": message.role, "content": message.content, **extra}


def messages(roles: tuple[str, ...]) -> st.SearchStrategy[Message]:
    def of(role: str) -> st.SearchStrategy[Message]:
        reasoning = st.none() | TEXT if role == "assistant" else st.none()
        return st.builds(Message, st.just(role), TEXT, reasoning)

    return st.sampled_from(roles).flatmap(of)


@settings(max_examples=int(os.environ.get("MIDTRAIN_EXAMPLES", "300")), deadline=None)
@given(OURS, st.lists(messages(ROLES), min_size=1, max_size=5))
def test_conversations_have_our_text(template: Template, conversation: list[Message]) -> None:
    try:
        ours = template.render(conversation).text
    except RunError:  # no assistant turn says anything: nothing to train on
        return
    assert rendered(template, [as_chat(message) for message in conversation]) == ours


@settings(max_examples=200, deadline=None)
@given(OURS, st.lists(messages(("system", "user", "assistant")), max_size=3), TEXT, st.booleans())
def test_prompts_have_our_text(template: Template, before: list[Message], question: str, directly: bool) -> None:
    conversation = [*before, Message("user", question)]
    ours = template.prompt(conversation, answer_directly=directly).text
    chats = [as_chat(message) for message in conversation]
    assert rendered(template, chats, add_generation_prompt=True, enable_thinking=not directly) == ours
    if not directly:
        assert rendered(template, chats, add_generation_prompt=True) == ours


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"role": "wizard", "content": "x"}, "unknown role wizard"),
        ({"role": "user", "content": "x", "reasoning_content": "y"}, "role user carries reasoning"),
    ],
)
def test_what_we_refuse_is_refused(name: str, message: dict[str, Any], named: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    with pytest.raises(jinja2.exceptions.TemplateError, match=named):
        rendered(Template(name), [message])


def test_reasoning_may_have_either_name() -> None:
    turn = {"role": "assistant", "content": "7", "reasoning": "3 + 4"}
    assert rendered(CHATML, [turn]) == "<|im_start|>assistant\n<think>\n3 + 4\n</think>\n\n7<|im_end|>\n"


def test_a_jinja_text_keeps_its_options_and_begins_as_it_did() -> None:
    text = "\n{{ bos_token }}{{ colour }}|{{ shape is none }}|{{ many[1].a }}|{{ messages[0]['content'] }}"
    options = '{"bos_token":"<s>\\"","colour":"red","many":[1,{"a":true}],"shape":null}'
    ours = Template("file.jinja", text, options)
    turn = [{"role": "user", "content": "x"}]
    assert rendered(ours, turn) == '\n<s>"red|True|True|x'
    assert rendered(ours, turn, colour="blue") == '\n<s>"blue|True|True|x'
    assert chat_template.of(Template("file.jinja", text)) == text

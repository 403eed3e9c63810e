"""The twelve published chat templates: what is trained of thirty conversations, and what each cannot express.

The expectations are those of `published.py`, which runs no template.
"""

import gzip
import os
from itertools import islice
from typing import Any

import orjson
import pytest
from midtrain.errors import RunError
from midtrain.mixtures.templates import Message, Template, render
from midtrain.mixtures.tokenizer_training import train
from midtrain.mixtures.tokenizers import Tokenizer

from tests.mixtures.templates.conversations import CONVERSATIONS, Conversation, said, user
from tests.mixtures.templates.published import DATA, PUBLISHED, opened, says, trained_texts

pytestmark = pytest.mark.skipif(
    "MIDTRAIN_DATA" not in os.environ or not DATA.is_dir(), reason="needs the chat templates of MIDTRAIN_DATA"
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """A byte-level tokenizer that has the special tokens of all the templates."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    texts = [message.content for one in CONVERSATIONS for message in one.messages] * 3
    train(texts, 400, "<|end|>", path)
    contents = orjson.loads(path.read_bytes())
    added = contents["added_tokens"]
    known = {token["content"] for token in added}
    names = dict.fromkeys(token for name in PUBLISHED for token in opened(name).tokens)
    first = max(*(token["id"] for token in added), *contents["model"]["vocab"].values()) + 1
    for number, token in enumerate(one for one in names if one not in known):
        added.append({**added[0], "id": first + number, "content": token})
    path.write_bytes(orjson.dumps(contents))
    return Tokenizer.open(path, "<|end|>")


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_mask_is_what_the_assistant_says_and_its_end_of_turn(
    name: str, conversation: Conversation, tokenizer: Tokenizer
) -> None:
    template, rules = tokenizer.check(opened(name)), PUBLISHED[name]
    if conversation.needs & set(rules.cannot.split()):
        with pytest.raises(RunError, match=f"template .*{name}.jinja: "):
            template.render(conversation.messages)
        return
    rendered = template.render(conversation.messages)
    tokens = tokenizer.encode_rendered([rendered], ["x"])
    ids, loss = tokens.ids.tolist(), tokens.loss.tolist()
    runs: list[list[int]] = []
    for at, (token, trained) in enumerate(zip(ids, loss, strict=True)):
        if trained and (at == 0 or not loss[at - 1]):
            runs.append([])
            before = tokenizer.decode(ids[:at])
            assert before.endswith((rules.header, *rules.other_headers))
        if trained:
            runs[-1].append(token)
    turns = says(name, conversation.messages)
    assert [tokenizer.decode(run) for run in runs] == trained_texts(name, conversation.messages)
    assert tokenizer.decode(ids[:-1]) == rendered.text
    check_spans(tokenizer, tokens, turns)
    if conversation.name != "a tool's answer by a user":  # of which Qwen3's templates make another turn
        assert specials(tokenizer, template, conversation.messages) == specials(
            tokenizer, template, tuple(map(neutral, conversation.messages))
        )


def specials(tokenizer: Tokenizer, template: Template, messages: tuple[Message, ...]) -> list[int]:
    """The special tokens of a conversation, in order."""
    ids = tokenizer.encode_rendered([template.render(messages)], ["x"]).ids.tolist()
    return [token for token in ids if token in set(tokenizer.special.values())]


def neutral(message: Message) -> Message:
    """The same turn with texts that spell nothing."""
    return Message(message.role, "x" if message.content.strip() else message.content, message.reasoning and "y")


def check_spans(tokenizer: Tokenizer, tokens: Any, turns: dict[int, tuple[str, str]]) -> None:
    """Token spans are the assistant's texts, to the character."""
    found: dict[int, list[str]] = {turn: ["", ""] for turn in turns}
    for span in tokens.spans.column()[0].as_py():
        assert tokens.loss[span["start"] : span["stop"]].all()
        found[span["turn"]][span["part"] - 1] = tokenizer.decode(tokens.ids[span["start"] : span["stop"]].tolist())
    # Of white space alone that a template strips, it is not told how much is left.
    solid = {turn: tuple(text if text.strip() else "" for text in texts) for turn, texts in found.items()}
    assert solid == {turn: tuple(text if text.strip() else "" for text in texts) for turn, texts in turns.items()}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_text_is_that_of_transformers(name: str) -> None:
    chat = pytest.importorskip("transformers.utils.chat_template_utils")
    template = opened(name)
    options = orjson.loads(template.options)
    compared = 0
    for conversation in CONVERSATIONS:
        try:
            ours = template.render(conversation.messages).text
        except RunError:
            continue
        chats = [as_chat(name, message) for message in conversation.messages]
        assert chat.render_jinja_template([chats], chat_template=template.jinja, **options)[0][0] == ours
        compared += 1
    assert compared >= 15


def as_chat(name: str, message: Message) -> dict[str, Any]:
    if message.reasoning is None:
        # Without the key Qwen3's templates take what stands before a closing tag for reasoning.
        empty = {"reasoning_content": ""} if name.startswith("qwen3") and "</think>" in message.content else {}
        return {"role": message.role, "content": message.content, **empty}
    if name == "phi_4":
        content = f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"
        return {"role": message.role, "content": content}
    return {"role": message.role, "content": message.content, "reasoning_content": message.reasoning}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_policy_for_earlier_reasoning_holds_or_is_an_error(name: str) -> None:
    conversation = next(one for one in CONVERSATIONS if one.name == "earlier reasoning").messages
    keeps, drops = opened(name, earlier_reasoning="keep"), opened(name, earlier_reasoning="drop")
    if "reasoning" in PUBLISHED[name].cannot.split():
        for template in (keeps, drops):
            with pytest.raises(RunError, match="cannot express reasoning"):
                template.render(conversation)
        return
    assert "r1" not in drops.render(conversation).text
    assert "r2" in drops.render(conversation).text
    if PUBLISHED[name].earlier:
        assert "r1" in keeps.render(conversation).text
    else:
        with pytest.raises(RunError, match="drops the reasoning of message 1"):
            keeps.render(conversation)


@pytest.mark.parametrize("name", [one for one, rules in PUBLISHED.items() if "reasoning" in rules.cannot.split()])
def test_tags_in_the_content_are_an_option_where_there_is_no_place_for_reasoning(name: str) -> None:
    conversation = next(one for one in CONVERSATIONS if one.name == "reasoning").messages
    template = opened(name, tags=True)
    if name == "deepseek_v3":  # it drops what stands before a closing tag
        with pytest.raises(RunError, match="cannot express reasoning"):
            template.render(conversation)
        return
    trained = "".join(piece.text for piece in template.render(conversation).pieces if piece.trained)
    assert trained == "<think>\n2 and 3 make 5.\n</think>\n\n5" + PUBLISHED[name].end


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_prompt_is_what_the_template_makes_of_it(name: str) -> None:
    chat = pytest.importorskip("transformers.utils.chat_template_utils")
    template = opened(name)
    options = orjson.loads(template.options)
    for directly in (True, False):
        theirs = chat.render_jinja_template(
            [[{"role": "user", "content": "a"}]],
            chat_template=template.jinja,
            add_generation_prompt=True,
            enable_thinking=not directly,
            **options,
        )[0][0]
        prompt = template.prompt([Message("user", "a")], directly)
        assert prompt.text == theirs
        assert not any(piece.trained for piece in prompt.pieces)
        assert theirs.endswith(template.opening(directly))
        assert template.turn_ends == (PUBLISHED[name].end,)


def real_talks(count: int) -> list[list[Message]]:
    """Worked problems and long traces."""
    talks = []
    with gzip.open(DATA.parent / "cot/gsm8k_train.jsonl.gz") as lines:
        for row in map(orjson.loads, islice(lines, count)):
            talks.append([user(row["question"]), said(str(row["answer"]), row["solution"])])
    with gzip.open(DATA.parent / "cot/r1_distill_long_think.jsonl.gz") as lines:
        for row in map(orjson.loads, islice(lines, count)):
            reasoning, _, content = row["text"].partition("</think>")
            talks.append([user("?"), said(content if content.strip() else "", reasoning.removeprefix("<think>"))])
    return talks


@pytest.mark.parametrize("name", ["built in", *PUBLISHED])
def test_of_real_records_the_mask_is_the_answer_with_its_reasoning(name: str, tokenizer: Tokenizer) -> None:
    """The published ChatML with tags gives the tokens of the built-in template, spans and mask included."""
    if name == "deepseek_v3":
        pytest.skip("it drops reasoning")
    tags = name != "built in" and "reasoning" in PUBLISHED[name].cannot.split()
    template = tokenizer.check("chatml" if name == "built in" else opened(name, tags=tags))
    talks = [talk for talk in real_talks(40) if name != "exaone4" or talk[1].content.strip()]
    tokens = tokenizer.encode_rendered([template.render(talk) for talk in talks], [str(at) for at in range(len(talks))])
    end = template.turn_ends[0]
    first = 0
    for talk, last, spans in zip(
        talks, tokens.ends.astype(int).tolist(), tokens.spans.column().to_pylist(), strict=True
    ):
        ids, loss = tokens.ids[first:last], tokens.loss[first:last]
        trained = tokenizer.decode(ids[loss].tolist())
        reasoning, content = talk[1].reasoning or "", talk[1].content
        assert trained.startswith("<think>\n")
        assert trained.endswith(end)
        inner = trained.removeprefix("<think>\n").removesuffix(end)
        assert "".join(inner.split()) == "".join(f"{reasoning}</think>{content}".split())
        told = [tokenizer.decode(ids[span["start"] : span["stop"]].tolist()).strip() for span in spans]
        assert [text for text in told if text] == [text.strip() for text in (reasoning, content) if text.strip()]
        first = last
    if name == "chatml":
        ours = tokenizer.encode_rendered(
            [render("chatml", talk) for talk in talks], [str(at) for at in range(len(talks))]
        )
        assert ours.ids.tolist() == tokens.ids.tolist()
        assert ours.loss.tolist() == tokens.loss.tolist()
        assert ours.spans.column().equals(tokens.spans.column())

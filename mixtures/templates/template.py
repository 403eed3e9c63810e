"""Templates by name: built in, a Jinja file, or the tokenizer's own; opened once, and carried with what they are.

Shards and models outlive the files that they were made with, so a template carries its text and options, and its record
in a build's manifest is enough to render again. Costs nothing; a Jinja file is read when a mixture is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast, get_args

import jinja2
import orjson

from ... import storage
from ...config import did_you_mean
from ...errors import ConfigError, RunError
from . import builtin, messages, sandbox, turn_ends
from .builtin import SPECIAL_TOKENS, TURN_END
from .jinja_template import Jinja
from .messages import ASSISTANT, EarlierReasoning, Message, Rendered

OF_TOKENIZER: Final = "tokenizer"
NAMES: Final = (*builtin.NAMES, OF_TOKENIZER)
_SUFFIX: Final = ".jinja"
_TRIAL: Final = (Message("user", "a"), Message(ASSISTANT, "b"))


@dataclass(frozen=True)
class Template:
    """A template: `render` and `prompt` make pieces of conversations.

    Args:
        name: built in, `tokenizer`, or the file's path.
        jinja: its text; None where it is built in.
        options: variables for the Jinja text, as JSON with sorted keys.
        earlier_reasoning: the policy for the reasoning of earlier turns.
        tags: put reasoning into the content with tags, where the Jinja text has no place for it.
        special: of the tokenizer; None where there is none at hand. Not part of the record.
    """

    name: str
    jinja: str | None = None
    options: str = "{}"
    earlier_reasoning: EarlierReasoning = "keep"
    tags: bool = False
    special: frozenset[str] | None = None

    def __str__(self) -> str:
        return self.name

    def render(self, turns: Sequence[Message]) -> Rendered:
        """A conversation as training text; every assistant turn is trained, its end of turn included.

        Raises:
            RunError: no assistant turn says anything, a role is unknown, a turn of another role carries reasoning, or
                the template cannot express the conversation. The caller adds the document's id.
        """
        messages.check(turns)
        given = messages.without_earlier(turns) if self.earlier_reasoning == "drop" else turns
        return builtin.render_turns(self.name, given) if self._jinja is None else self._jinja.render(given)

    def prompt(self, turns: Sequence[Message], answer_directly: bool) -> Rendered:
        """What a model is given to answer: the conversation up to the text that it is to write; nothing is trained.

        Of a built-in template the tokens are a prefix of those of `render` for the same messages with the answer behind
        them. Of Jinja it is what the template itself makes: its `enable_thinking` is set.

        Args:
            turns: the turns so far; where the last is the assistant's, it is the answer, and left out.
            answer_directly: False opens the reasoning, True leaves it to the model to begin as it likes.

        Raises:
            RunError: as `render`, or there is no turn to answer.
        """
        messages.check_turns(turns)
        asked = messages.asked(turns)
        given = messages.without_earlier([*asked, Message("user", "")])[:-1] if self._drops else asked
        if self._jinja is None:
            return builtin.render_prompt(self.name, given, answer_directly)
        return self._jinja.prompt(given, answer_directly)

    @property
    def _drops(self) -> bool:
        return self.earlier_reasoning == "drop"

    @property
    def _jinja(self) -> Jinja | None:
        if self.jinja is None:
            return None
        return Jinja(self.name, self.jinja, self.options, self.earlier_reasoning, self.tags, self.special)

    @property
    def tokens(self) -> tuple[str, ...]:
        """The special tokens that it writes of a question with an answer: what it needs of a tokenizer.

        Raises:
            RunError: it refuses a question with an answer.
        """
        jinja = self._jinja
        if jinja is None:
            return () if self.name == "plain" else SPECIAL_TOKENS
        special = sorted(self.special or ())
        text = jinja.written(_TRIAL)
        return tuple(dict.fromkeys([*turn_ends.published(text), *(token for token in special if token in text)]))

    def tokens_of(self, turns: Sequence[Message]) -> tuple[str, ...]:
        """The tokens of published forms that it writes of a conversation; none where it refuses it, or is built in."""
        jinja = self._jinja
        try:
            return () if jinja is None else tuple(turn_ends.published(jinja.written(turns)))
        except RunError:
            return ()

    @property
    def turn_ends(self) -> tuple[str, ...]:
        """The special tokens that end an assistant's turn; none where only the end of document does."""
        if self.jinja is None:
            return () if self.name == "plain" else (TURN_END,)
        trained = [piece for piece in self.render(_TRIAL).pieces if piece.trained and piece.special]
        return (trained[-1].text,)

    def opening(self, answer_directly: bool) -> str:
        """What of a reply a prompt has already written: the tag that opens its reasoning, or nothing."""
        if self._jinja is None:
            return builtin.opening(self.name, answer_directly)
        return self._jinja.opening(answer_directly)

    def read(self, reply: str) -> str:
        """A model's reply with its reasoning in `<think>` and `</think>`, whatever tags the template has for it."""
        return reply if self._jinja is None else self._jinja.read(reply)

    def bound(self, special: Mapping[str, int]) -> "Template":
        """The same, for a tokenizer of these special tokens."""
        return replace(self, special=frozenset(special))

    def record(self) -> dict[str, Any]:
        """What its renderings hang on, for a manifest; the name of a file is none of it but told."""
        return {
            "name": self.name,
            "jinja": self.jinja,
            "options": orjson.loads(self.options),
            "earlier_reasoning": self.earlier_reasoning,
            "tags": self.tags,
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Template":
        """The template of a record."""
        options = orjson.dumps(record["options"], option=orjson.OPT_SORT_KEYS).decode()
        return cls(record["name"], record["jinja"], options, record["earlier_reasoning"], record["tags"])


CHATML: Final = Template("chatml")


def check_name(name: str) -> None:
    """Raises ConfigError where no template can have this name."""
    if name in NAMES or name.endswith(_SUFFIX):
        return
    raise ConfigError(
        f"unknown template {name}",
        seen=name,
        expected="one of " + ", ".join(NAMES) + f", or a file that ends in {_SUFFIX}",
        fix=did_you_mean(name, NAMES),
    )


def open_template(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    earlier_reasoning: str | None = None,
    tags: bool = False,
    tokenizer: str | Path | None = None,
) -> Template:
    """Opens a template.

    Args:
        name: built in, `tokenizer`, or a Jinja file's path.
        options: variables for the Jinja text.
        earlier_reasoning: of EarlierReasoning; None keeps it in a built-in template, and leaves it to a Jinja text.
        tags: put reasoning into the content with tags, where the Jinja text has no place for it.
        tokenizer: the tokenizer's file or folder: a template of its own, bos_token and eos_token stand there.

    Raises:
        ConfigError: no such template, its file cannot be read or is no Jinja, or it needs a token that is not known.
    """
    check_name(name)
    policy = earlier_reasoning or ("keep" if name in builtin.NAMES else "template")
    if policy not in get_args(EarlierReasoning):
        raise ConfigError("unknown policy", seen=policy, expected=", ".join(get_args(EarlierReasoning)))
    if name in builtin.NAMES:
        if options or tags:
            raise ConfigError(f"options and reasoning are of Jinja, and {name} is built in", seen=str(options))
        return Template(name, earlier_reasoning="drop" if policy == "drop" else "keep")
    settings = _settings(tokenizer)
    text = _of_tokenizer(tokenizer, settings) if name == OF_TOKENIZER else _read(Path(name))
    try:
        names = sandbox.compiled(text).names
    except jinja2.TemplateSyntaxError as error:
        raise ConfigError(f"not a Jinja template: {error.message}", where=f"{name}:{error.lineno}") from None
    given = dict(options or {})
    for token in ("bos_token", "eos_token"):
        if token in names and token not in given:
            if (known := _token(settings, token)) is None:
                raise ConfigError(
                    f"the template {name} writes {token}, and which that is stands nowhere",
                    seen=f"no {token} in a tokenizer_config.json beside the tokenizer",
                    fix=f"options: {{{token}: …}} of the template; '' where there is none",
                )
            given[token] = known
    packed = orjson.dumps(given, option=orjson.OPT_SORT_KEYS).decode()
    return Template(name, text, packed, cast(EarlierReasoning, policy), tags)


def _read(path: Path) -> str:
    try:
        return storage.read_bytes(path).decode()
    except RunError as error:
        raise ConfigError(f"a template's file {error.what}", where=str(path), fix="check the path") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"a template's file is not UTF-8: {error}", where=str(path)) from None


def _folder(tokenizer: str | Path | None) -> Path | None:
    if tokenizer is None:
        return None
    path = Path(tokenizer)
    return path if path.is_dir() else path.parent


def _settings(tokenizer: str | Path | None) -> Mapping[str, Any]:
    """The tokenizer_config.json beside a tokenizer; empty where there is none."""
    folder = _folder(tokenizer)
    path = folder / "tokenizer_config.json" if folder else None
    if path is None or not path.exists():
        return {}
    try:
        found = orjson.loads(storage.read_bytes(path))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"not JSON: {error}", where=str(path)) from None
    return found if isinstance(found, dict) else {}


def _token(settings: Mapping[str, Any], name: str) -> str | None:
    """A token of the settings, which write it as a text, or as a mapping with its content."""
    found = settings.get(name)
    content = found.get("content") if isinstance(found, dict) else found
    return content if isinstance(content, str) else None


def _of_tokenizer(tokenizer: str | Path | None, settings: Mapping[str, Any]) -> str:
    """The text of a tokenizer's own template: a file of its own, else in its settings, there perhaps one of several."""
    folder = _folder(tokenizer)
    if folder is not None and (folder / "chat_template.jinja").exists():
        return _read(folder / "chat_template.jinja")
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}.get("default")
    if isinstance(found, str):
        return found
    raise ConfigError(
        "the tokenizer has no chat template of its own",
        where=str(folder or "tokenizer"),
        seen="neither chat_template.jinja nor a chat_template in tokenizer_config.json beside it",
        fix="name a built-in template or a file: " + ", ".join((*builtin.NAMES, f"path/to/file{_SUFFIX}")),
    )


def opened(template: "str | Template") -> Template:
    """A template that is one already, or a built-in one by its name.

    Raises:
        ConfigError: no built-in template has this name.
    """
    if isinstance(template, Template):
        return template
    if template in builtin.NAMES:
        return Template(template)
    raise ConfigError(
        f"unknown template {template}",
        seen=template,
        expected="one of " + ", ".join(builtin.NAMES),
        fix=did_you_mean(template, builtin.NAMES),
    )


def render(template: "str | Template", turns: Sequence[Message]) -> Rendered:
    """As `Template.render`, by the name of a built-in one."""
    return opened(template).render(turns)


def prompt(template: "str | Template", turns: Sequence[Message], answer_directly: bool) -> Rendered:
    """As `Template.prompt`, by the name of a built-in one."""
    return opened(template).prompt(turns, answer_directly)

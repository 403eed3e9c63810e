"""The thought in a reply: tags of every model family, paired, broken or quoted, as reasoning and content apart.

A tag that is left in the content is trained on as text, and a thought that is taken for the answer is worse, so each
way in which tags are broken has either one meaning, which is counted as a repair, or a reason why there is none.
Costs one search of the text; what has no tag costs nothing more.
"""

import re
from typing import Final, NamedTuple

from .reasoning_channels import CHANNEL, split_channels
from .reasoning_code import find_code, inside
from .reasoning_wrappers import CHATML, turn, unwrapped, without_blank_lines, without_end
from .records import Unreadable

_TAG: Final = re.compile(
    r"(?i:<[ \t]{0,3}(?P<slash>/?)[ \t]{0,3}(?P<name>think|thinking|thoughts?|reasoning|seed:think)"
    r"(?:[ \t]{1,3}[\w:-]{1,40}=(?:\"[^\"<>\n]{0,100}\"|'[^'<>\n]{0,100}'|[^\s\"'<>=]{1,100})){0,4}[ \t]{0,3}>)"
    r"|◁(?P<kimi>/?)think▷|\[(?P<mistral>/?)THINK\]"
    r"|<\|(?:(?P<edge>begin|start|end)_of_thought|(?P<cohere>START|END)_THINKING)\|>"
)

MOST: Final = 16  # thoughts in a row
_CLOSER: Final = 64  # characters that a closing tag has at most
TRUNCATED: Final = "unclosed_thought"
"""The repair of a thought that never ends: what follows its opener is all thought, and there is no answer."""

REPAIRS: Final = {
    TRUNCATED: "a thought that is opened and never closed: all that follows is thought, and there is no answer",
    "orphan_closer": "a closing tag without an opening one: what stands before it is the thought",
    "nested_thoughts": "tags within the thought, taken out",
    "repeated_thoughts": "several thoughts with nothing between them, joined by a blank line",
    "repeated_opener": "opening tags more than once before the only closing one",
    "repeated_closer": "closing tags more than once with nothing between them",
    "mixed_tags": "a thought that is closed by a tag of another name",
    "empty_thought": "tags with nothing between them, taken out",
    "other_tags": "tags of another spelling than <think> and </think>",
    "open_code": "the only closing tag stands between two fences of code: the thought leaves one open",
    "answer_tags": "an answer in <answer> tags, taken off",
    "solution_tags": "an answer in <|begin_of_solution|> tags, taken off",
    "unclosed_answer": "an answer whose tags are opened and not closed, or closed and not opened, taken off",
    "whole_turn": "the markup of one whole turn of ChatML around a reply, taken off",
    "end_of_turn": "a model's end of turn at the end of a reply, taken off",
    "channels": "channels of gpt-oss",
    "bare_channels": "channels of gpt-oss whose special tokens were lost: analysis…assistantfinal…",
    "response_tags": "an answer in <|START_RESPONSE|> tags, taken off",
    "tagged_reasoning": "tags around a reasoning that stands in a field of its own, taken off",
    "repeated_reasoning": "the same thought in tags and in a field of its own",
}
"""Every repair that reading a reply can make: its name, as it is counted, and what was done."""


class Reply(NamedTuple):
    """A reply taken apart: the thought without tags (None where there is none), the rest, the repairs in order."""

    reasoning: str | None
    content: str
    repairs: tuple[str, ...] = ()


class _Tag(NamedTuple):
    start: int
    stop: int
    opens: bool
    family: str
    in_code: bool
    fenced: bool


def split(text: str, opened: bool = False, before: int = 0) -> Reply:
    """Thought and answer of a reply.

    Args:
        text: what a model wrote.
        opened: whether its prompt ended in an opening tag: a reply without any tag is then a thought that never ends.
        before: how many thoughts stand before this text in the same reply.

    Returns:
        The reasoning without line feeds at its ends; the content, where there was a tag, without white space before it.

    Raises:
        Unreadable: the tags have no one meaning: text before the thought, thoughts between parts of the answer, tags
            that do not pair up.
    """
    if not before and text.lstrip().startswith(CHATML):
        one = split(turn(text), opened, before=1)
        return one._replace(repairs=("whole_turn", *one.repairs))
    tail = without_end(text)
    repairs = ["end_of_turn"] if len(tail) < len(text) else []
    if (by_channel := split_channels(tail)) is not None:
        reasoning, content, name = by_channel
        return _clean(reasoning, content, [*repairs, name])
    matches = list(_TAG.finditer(tail))
    if not matches:
        return _untagged(tail, opened, repairs)
    fenced, inline = find_code(tail)
    tags = [_tag(match, inside(fenced, match.start()), inside(inline, match.start())) for match in matches]
    if tags[0].opens and not tail[: tags[0].start].strip():
        return _opened(tail, tags, repairs, before)
    live = [tag for tag in tags if not tag.in_code]
    if not live:
        return _untagged(tail, opened, repairs)
    if live[0].opens:
        raise Unreadable("thinking tags: text before the thought")
    repairs = [*repairs, "orphan_closer", *(["other_tags"] if live[0].family != "think" else [])]
    return _closed(tail, tail[: live[0].start], live[0], live[1:], repairs, before)


def written(reasoning: str | None, content: str) -> str:
    """A reply as text, in the one form that `split` reads without a repair."""
    return content if reasoning is None else f"<think>\n{reasoning}\n</think>\n\n{content}"


def bare(thought: str) -> str:
    """A thought without tags around all of it; whatever tags stand within it are its words.

    Half a pair goes where it is alone on the first or the last line, and an end of turn at the end.

    Raises:
        Unreadable: there are more than `MOST` pairs.
    """
    for _ in range(MOST):
        thought = without_end(thought).strip("\r\n")
        if not _is_wrapped(thought):
            return thought
        try:
            own = split(thought)
        except Unreadable:
            return thought
        if own.content.strip():
            return thought
        thought = own.reasoning or ""
    raise Unreadable(f"a thought in more than {MOST} tags")


def _is_wrapped(thought: str) -> bool:
    text = thought.strip()
    if text.startswith((CHANNEL, f"<|start|>assistant{CHANNEL}")):
        return True
    first = _TAG.match(text)
    last = next((tag for tag in _TAG.finditer(text, max(0, len(text) - _CLOSER)) if tag.end() == len(text)), None)
    opener = first if first is not None and _tag(first, False, False).opens else None
    closer = last if last is not None and not _tag(last, False, False).opens else None
    if opener is not None and closer is not None:
        return True
    if opener is not None:
        return not text[opener.end() :].partition("\n")[0].strip()
    return closer is not None and not text[: closer.start()].rpartition("\n")[2].strip()


def has_tags(text: str) -> bool:
    """Whether a text holds anything that looks like a thought's tag, quoted or not."""
    return _TAG.search(text) is not None or CHANNEL in text or "assistantfinal" in text


def _tag(match: re.Match[str], fenced: bool, inline: bool) -> _Tag:
    place, code = (match.start(), match.end()), (fenced or inline, fenced)
    if match["name"] is not None:
        closes, family = match["slash"] == "/", match["name"].lower()
        plain = match[0] in ("<think>", "</think>")
        return _Tag(*place, not closes, family if plain or family != "think" else "think ", *code)
    if match["edge"] is not None:
        return _Tag(*place, match["edge"] != "end", "begin_of_thought", *code)
    if match["cohere"] is not None:
        return _Tag(*place, match["cohere"] == "START", "cohere", *code)
    kimi = match["kimi"] is not None
    closes = (match["kimi"] if kimi else match["mistral"]) == "/"
    return _Tag(*place, not closes, "kimi" if kimi else "mistral", *code)


def _untagged(text: str, opened: bool, repairs: list[str]) -> Reply:
    return _clean(text, "", [*repairs, TRUNCATED]) if opened else Reply(None, text, tuple(repairs))


def _same(one: _Tag, other: _Tag) -> bool:
    return one.family.strip() == other.family.strip()


def _opened(text: str, tags: list[_Tag], repairs: list[str], before: int) -> Reply:
    """A reply that begins with an opening tag: the thought ends where its tags are paired."""
    first = tags[0]
    own = [tag for tag in tags if _same(tag, first) and (not tag.in_code or tag is first)]
    if not any(not tag.opens for tag in own):
        mixed = [tag for tag in tags if not tag.opens and not tag.in_code]
        quoted = [tag for tag in tags if not tag.opens and tag.fenced and _same(tag, first)]
        if mixed:
            own, repairs = [*own, mixed[0]], [*repairs, "mixed_tags"]
        elif len(quoted) == 1:
            own, repairs = [*own, quoted[0]], [*repairs, "open_code"]
        elif quoted:
            raise Unreadable(
                "thinking tags: every closing tag stands in fenced code, and which one is meant cannot be told"
            )
        else:
            own = _without_mentions(text, own)
            return _clean(_joined(text, own, len(text)), "", [*repairs, TRUNCATED])
    own.sort()
    last = _paired(own)
    if last is None and sum(not tag.opens for tag in own) == 1:
        own = _without_mentions(text, own)
        last = _paired(own)
    if last is None:
        closers = [place for place, tag in enumerate(own) if not tag.opens]
        if len(closers) > 1 or any(tag.opens for tag in own[closers[0] :]):
            raise Unreadable("thinking tags: they do not pair up, and where the thought ends cannot be told")
        last, repairs = closers[0], [*repairs, "repeated_opener"]
    elif last > 1:
        repairs = [*repairs, "nested_thoughts"]
    rest = [tag for tag in tags if tag.start > own[last].start and not tag.in_code]
    if any(tag.family != "think" for tag in own[: last + 1]):
        repairs = [*repairs, "other_tags"]
    return _closed(text, _joined(text, own[:last], own[last].start), own[last], rest, repairs, before)


def _paired(tags: list[_Tag]) -> int | None:
    """The place of the closing tag of the first one, which opens; None where it has none."""
    depth = 0
    for place, tag in enumerate(tags):
        depth += 1 if tag.opens else -1
        if depth == 0:
            return place
    return None


def _without_mentions(text: str, tags: list[_Tag]) -> list[_Tag]:
    """The tags without those openers that are words of a line: text stands before and behind them on it.

    A model that opens a thought twice does so at a line's start or directly behind the first opener.
    """
    left = tags[:1]
    for before, tag, after in zip(tags, tags[1:], [*tags[2:], None], strict=False):
        line = max(before.stop, text.rfind("\n", before.stop, tag.start) + 1)
        stop = after.start if after is not None else len(text)
        end = text.find("\n", tag.stop, stop)
        behind = text[tag.stop : end if end >= 0 else stop]
        if not (tag.opens and text[line : tag.start].strip() and behind.strip()):
            left.append(tag)
    return left


def _closed(text: str, reasoning: str, closer: _Tag, rest: list[_Tag], repairs: list[str], before: int) -> Reply:
    """The thought up to its closing tag; what follows may be thoughts or closing tags once more, and then the answer.

    `rest` are the tags behind the closing one that are not in code.
    """
    if not rest:
        return _clean(reasoning, text[closer.stop :], repairs)
    if text[closer.stop : rest[0].start].strip():
        what = "thoughts between parts of the answer" if rest[0].opens else "two closing tags with text between them"
        raise Unreadable(f"thinking tags: {what}")
    if len(rest) > 4 * MOST:
        raise Unreadable(f"thinking tags: more than {MOST} thoughts in a row")
    if not rest[0].opens:
        return _behind(reasoning, text[rest[0].stop :], [*repairs, "repeated_closer"], before)
    return _behind(reasoning, text[rest[0].start :], [*repairs, "repeated_thoughts"], before)


def _behind(reasoning: str, text: str, repairs: list[str], before: int) -> Reply:
    """A thought, and what follows it taken apart in its turn."""
    if before >= MOST:
        raise Unreadable(f"thinking tags: more than {MOST} thoughts in a row")
    more = split(text, before=before + 1)
    if "orphan_closer" in more.repairs:
        raise Unreadable("thinking tags: two closing tags with text between them")
    thoughts = [part for part in (reasoning.strip("\r\n"), more.reasoning) if part and part.strip()]
    return _clean("\n\n".join(thoughts), more.content, [*repairs, *more.repairs])


def _joined(text: str, tags: list[_Tag], stop: int) -> str:
    """The text up to `stop` from behind the first tag on, without the others; words that these held apart stay so."""
    start = tags[0].stop if tags else 0
    found = ""
    for tag in [*tags[1:], None]:
        part = text[start : tag.start if tag else stop]
        glued = found and part and not found[-1].isspace() and not part[0].isspace()
        found += f" {part}" if glued else part
        start = tag.stop if tag else stop
    return found


def _clean(reasoning: str, content: str, repairs: list[str]) -> Reply:
    content, taken_off = unwrapped(without_blank_lines(content))
    reasoning = reasoning.strip("\r\n")
    blank = not reasoning.strip()
    if blank and TRUNCATED not in repairs and "orphan_closer" not in repairs:
        repairs = [*repairs, "empty_thought"]
    return Reply(None if blank else reasoning, content, tuple(dict.fromkeys([*repairs, *taken_off])))

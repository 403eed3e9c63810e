"""Channels of gpt-oss (harmony): analysis is the thought, final the answer, and commentary calls tools.

The thought stands before the answer in a message of its own, not between tags, and texts that were decoded without
special tokens have nothing left of it but the words `analysis` and `assistantfinal`.
Costs a search for the channel's token.
"""

import re
from typing import Final

from .reasoning_wrappers import without_blank_lines
from .records import Unreadable

CHANNEL: Final = "<|channel|>"
_MESSAGE: Final = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>[ ]*(?P<channel>\w+)(?P<more>[^<]*)(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?P<end><\|end\|>|<\|return\|>|<\|call\|>|\Z)",
    re.DOTALL,
)
_BARE: Final = re.compile(r"\s*analysis(?P<thought>.*?)assistantfinal(?P<answer>.*)", re.DOTALL)


def split_channels(text: str) -> tuple[str, str, str] | None:
    """Thought, answer and the repair of a reply in channels; None where it has none at its start.

    Raises:
        Unreadable: it calls a tool, a channel is unknown, or there is text between its messages.
    """
    if not text.lstrip().startswith((CHANNEL, f"<|start|>assistant{CHANNEL}")):
        bare = _BARE.fullmatch(text)
        if bare is None:
            return None
        if "assistantfinal" in bare["answer"] or "assistantanalysis" in text or "assistantcommentary" in text:
            raise Unreadable("channels without their special tokens: where each ends cannot be told")
        return bare["thought"].strip(), without_blank_lines(bare["answer"]).rstrip(), "bare_channels"
    thoughts, answers, at = list[str](), list[str](), 0
    for message in _MESSAGE.finditer(text.strip()):
        if text.strip()[at : message.start()].strip():
            raise Unreadable("channels: text between the messages")
        at = message.end()
        if "to=" in message["more"] or message["end"] == "<|call|>":
            raise Unreadable("a channel calls a tool, which a message cannot hold")
        if message["channel"] == "analysis" and not answers:
            thoughts.append(message["text"].strip())
        elif message["channel"] == "final" and not answers:
            answers.append(without_blank_lines(message["text"]).rstrip())
        else:
            raise Unreadable(f"channels: {message['channel']} has no place in a reply of one thought and one answer")
    if text.strip()[at:].strip():
        raise Unreadable("channels: text behind the messages")
    return "\n\n".join(filter(None, thoughts)), "".join(answers), "channels"

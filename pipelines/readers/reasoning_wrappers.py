"""What stands around a reply and is none of it: a turn's markup, ends of turn, tags around the answer.

Each would be trained on as text, or hide a thought behind it; what is taken off is named, and what has no one meaning
has a reason.
Costs a look at both ends of a reply.
"""

import re
from typing import Final

from .records import Unreadable

CHATML: Final = "<|im_start|>"
MOST: Final = 16  # tags around an answer
# A whole turn in a chat's markup, where only its content belongs; and the openings of turns in it.
_CHATML_TURN: Final = re.compile(r"\s*<\|im_start\|>[ \t]*assistant[ \t\r]*\n")
CHATML_END: Final = "<|im_end|>"
_END_OF_TURN: Final = (CHATML_END, "<|eot_id|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "<|return|>")
# What holds an answer behind a thought: opening and closing tag, and what taking them off is called.
_WRAPPERS: Final = tuple(
    (
        re.compile(rf"\s*{opener}", re.I),
        re.compile(rf"{closer}\s*\Z", re.I),
        re.compile(f"{opener}|{closer}", re.I),
        name,
    )
    for opener, closer, name in (
        (r"<[ \t]{0,3}answer[ \t]{0,3}>", r"<[ \t]{0,3}/[ \t]{0,3}answer[ \t]{0,3}>", "answer_tags"),
        (r"<\|(?:begin|start)_of_solution\|>", r"<\|end_of_solution\|>", "solution_tags"),
        (r"<\|START_RESPONSE\|>", r"<\|END_RESPONSE\|>", "response_tags"),
    )
)


def turn(text: str) -> str:
    """The content of a text that is one turn of ChatML."""
    opening = _CHATML_TURN.match(text)
    content = text[opening.end() :].rstrip() if opening else ""
    inner = content.removesuffix(CHATML_END)
    if not opening or CHATML in inner or CHATML_END in inner:
        raise Unreadable(f"{CHATML} in a reply: its ChatML is not one turn of the assistant's")
    return inner


def without_end(text: str) -> str:
    """The text without the ends of turn at its end; as it is where there are none."""
    stop = found = len(text)
    while True:
        while stop and text[stop - 1].isspace():
            stop -= 1
        end = next((end for end in _END_OF_TURN if text.endswith(end, 0, stop)), None)
        if end is None:
            return text[:found]
        stop = found = stop - len(end)


def without_blank_lines(content: str, tagged: bool = True) -> str:
    """What stands behind a thought: the first line that is not blank keeps its indentation.

    Args:
        content: an answer.
        tagged: whether it begins behind a tag, on whose own line fewer than four blanks are no indentation, as in
            CommonMark.
    """
    text = content.lstrip()
    blank = content[: len(content) - len(text)]
    if "\n" in blank:
        return blank[blank.rfind("\n") + 1 :] + text
    return text if tagged and len(blank.expandtabs(4)) < 4 else content


def unwrapped(content: str) -> tuple[str, list[str]]:
    """The answer behind a thought without the tags around all of it, and the repairs.

    Tags around a part of it, or several of them, stay.
    """
    repairs = list[str]()
    for _ in range(MOST):
        if repairs and (tail := without_end(content)) != content:
            content = tail
            repairs.append("end_of_turn")
        for opener, closer, either, name in _WRAPPERS:
            start, stop = opener.match(content), closer.search(content)
            if start and stop and start.end() <= stop.start():
                inner = content[start.end() : stop.start()]
                if (opener.match(inner) and closer.search(inner)) or not either.search(inner):
                    content = without_blank_lines(inner).rstrip()
                    repairs.append(name)
                    break
            elif start and not either.search(content, start.end()):
                content = without_blank_lines(content[start.end() :])
                repairs.append("unclosed_answer")
                break
            elif stop and not either.search(content, 0, stop.start()):
                content = content[: stop.start()].rstrip()
                repairs.append("unclosed_answer")
                break
        else:
            return content, list(dict.fromkeys(repairs))
    raise Unreadable(f"an answer in more than {MOST} tags")

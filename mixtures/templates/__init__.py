"""Conversations to training text: the built-in templates, Jinja in a sandbox, and what of a text is trained.

What a template does to a conversation decides what a model learns, and no number shows it when that is wrong, so the
mask comes from the messages and what a template cannot say is an error. Costs what the modules say.
"""

from .builtin import NAMES as TEMPLATES
from .builtin import REASONING_END, REASONING_START, SPECIAL_TOKENS, TURN_END, TURN_START
from .messages import ASSISTANT, ROLES, EarlierReasoning, Message, Part, Piece, Rendered
from .template import CHATML, Template, check_name, open_template, opened, prompt, render

__all__ = [
    "ASSISTANT",
    "CHATML",
    "REASONING_END",
    "REASONING_START",
    "ROLES",
    "SPECIAL_TOKENS",
    "TEMPLATES",
    "TURN_END",
    "TURN_START",
    "EarlierReasoning",
    "Message",
    "Part",
    "Piece",
    "Rendered",
    "Template",
    "check_name",
    "open_template",
    "opened",
    "prompt",
    "render",
]

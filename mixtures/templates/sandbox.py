"""Jinja for chat templates, as transformers sets it up, in a sandbox with limits of time and size.

A template comes with somebody's model: it may read nothing but what it is given, and must not hold a worker for ever or
fill its memory with one value. Costs a clock read a loop step and filter; a template is compiled once a process.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import jinja2
import jinja2.meta
from jinja2 import nodes
from jinja2.exceptions import SecurityError

from .environment import JOIN, TICK, Environment
from .limits import LimitError, Limits


class _Watched:
    """Puts a look at the clock into every loop and macro, and our join in the place of `~`, which is no operator."""

    def visit(self, node: nodes.Node) -> nodes.Node:
        for field, value in node.iter_fields():
            if isinstance(value, list):
                setattr(node, field, [self.visit(one) if isinstance(one, nodes.Node) else one for one in value])
            elif isinstance(value, nodes.Node):
                setattr(node, field, self.visit(value))
        if isinstance(node, nodes.For | nodes.Macro | nodes.CallBlock):
            look = nodes.ExprStmt(_call(TICK, [], node.lineno), lineno=node.lineno)
            node.body = [look, *node.body]
        if isinstance(node, nodes.Concat):
            return _call(JOIN, node.nodes, node.lineno)
        return node


def _call(name: str, arguments: list[Any], line: int) -> nodes.Call:
    return nodes.Call(nodes.Name(name, "load", lineno=line), arguments, [], None, None, lineno=line)


def clock(date: str | None) -> Callable[[str], str]:
    """What stands for `strftime_now`: of a date in ISO 8601, or of now."""
    return lambda form: (datetime.now() if date is None else datetime.fromisoformat(date)).strftime(form)


class JinjaText:
    """A compiled template.

    Attributes:
        names: the variables that it reads and does not set.
        literals: the strings that stand in it.

    Raises:
        jinja2.TemplateSyntaxError: it is none.
    """

    def __init__(self, text: str) -> None:
        self._limits = Limits()
        environment = Environment(self._limits)
        tree = environment.parse(text)
        self.names = frozenset(jinja2.meta.find_undeclared_variables(tree))
        data = [node.data for node in tree.find_all(nodes.TemplateData)]
        self.literals = (*data, *(node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)))
        _Watched().visit(tree)
        code = environment.compile(tree, "template", "template")
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals(None))

    def render(self, characters: int, variables: Mapping[str, Any]) -> str:
        """The text.

        Args:
            characters: of the messages together; the limit of size hangs on it.
            variables: what the template is given.

        Raises:
            jinja2.TemplateError: the template refuses, or reads what is not there.
            LimitError: it took too long or grew too large.
        """
        self._limits.start(characters)
        parts, size = [], 0
        for part in self._template.generate(**variables):
            self._limits.tick()
            size += len(part)
            if size > self._limits.size:
                raise LimitError(f"the template wrote more than {self._limits.size:,} characters")
            parts.append(part)
        return "".join(parts)


REFUSALS: Final = (
    *(jinja2.TemplateError, SecurityError, LimitError, TypeError, ValueError, LookupError),
    *(AttributeError, ArithmeticError, RecursionError, AssertionError, MemoryError),
)
"""What a rendering raises; templates take types and keys for granted."""


@lru_cache(maxsize=32)
def compiled(text: str) -> JinjaText:
    """The template, compiled once a process."""
    return JinjaText(text)

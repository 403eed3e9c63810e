"""The environment that a template is rendered in: Jinja's sandbox, in which nothing is made that is too large.

One step of a template can ask for gigabytes, so the sizes of what calls, filters and operators make are told before
they make it (`growth.py`). Filters that draw, or that write more than can be told (`random`, `pprint`, `urlize`), and
the global `lipsum` are not there. Costs a clock read and a few look-ups a filter.
"""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace, pass_environment
from markupsafe import Markup

from . import growth
from .limits import LimitError, Limits

TICK, JOIN = "__midtrain_tick__", "__midtrain_join__"
"""Names that a template is given: of a look at the clock, and of what stands for `~`."""

BITS = 1 << 16
"""Of a product of whole numbers."""

_LEFT_OUT = ("pprint", "random", "urlize")  # filters: one draws, two write more than can be told before
_AS_GIVEN = frozenset(
    (
        *("abs", "attr", "batch", "count", "d", "default", "dictsort", "first", "float", "groupby"),
        *("int", "items", "join", "last", "length", "list", "map", "max", "min", "reject"),
        *("rejectattr", "reverse", "round", "select", "selectattr", "slice", "sort", "sum", "unique"),
    )
)
"""Filters that write no text of the value that they are given, or that are bounded by themselves."""


class _Generation(jinja2.ext.Extension):
    """`{% generation %}…{% endgeneration %}`, a mask's marks for others: the text between is the text."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """The text between, in a scope of its own as in transformers."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Namespace(Namespace):
    """Jinja's, without names that Python keeps for itself."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        given = dict(*args[1:], **kwargs)
        for name in given:
            _check_name(name)
        Namespace.__init__(args[0], given)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template stores the name {name!r} in a namespace")


class _Formatter(SandboxedFormatter):
    """What `str.format` fills in, with the widths that it is given."""

    def __init__(self, environment: "Environment") -> None:
        super().__init__(environment)
        self._limits, self._made = environment.limits, 0

    def convert_field(self, value: Any, conversion: Any) -> Any:
        self._limits.written(value)
        return super().convert_field(value, conversion)

    def format_field(self, value: Any, format_spec: str) -> Any:
        # The number of a width or a precision is all that a specification has of digits.
        numbers = (int(number[:18]) for number in growth.DIGITS.findall(format_spec))
        self._made += growth.written(value, self._limits.size) + sum(numbers)
        self._limits.foresee(self._made, "str.format")
        return super().format_field(value, format_spec)


class Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox as transformers sets it up, with limits.

    Args:
        limits: of the rendering that is going on.
    """

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self, limits: Limits) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=limits.output,
            extensions=[_Generation, "jinja2.ext.loopcontrols"],
        )
        self.limits = limits
        filters = {**self.filters, "tojson": _to_json, "sum": _sum}
        self.filters = {name: self._bounded(name, one) for name, one in filters.items() if name not in _LEFT_OUT}
        del self.globals["lipsum"]
        self.globals |= {
            "raise_exception": _raise,
            "namespace": _Namespace,
            "strftime_now": _no_clock,
            TICK: limits.tick,
            JOIN: self._concat,
        }

    def _bounded(self, name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that is refused where it would make too much; never one of the constants that a template has."""
        limits, before = self.limits, int(hasattr(own, "jinja_pass_arg"))  # Jinja's own argument in front of the value

        @wraps(own)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            limits.tick()  # when a template is compiled its time is over, and Jinja leaves the filter for later
            ahead, value, rest = args[:before], args[before], args[before + 1 :]
            if name not in ("d", "default", "format"):  # of which numbers are values
                limits.numbers((*rest, *kwargs.values()), f"the filter {name}")
            if name in growth.FILTERS:
                limits.foresee(growth.FILTERS[name](limits.size, value, *rest, **kwargs), f"the filter {name}")
            elif name == "join":
                value, rest, kwargs = self._joined(value, *rest, **kwargs)
            elif name not in _AS_GIVEN:
                limits.written(value)
            return limits.check(own(*ahead, value, *rest, **kwargs))

        return bounded

    def _joined(
        self, value: Any, d: Any = "", attribute: str | int | None = None
    ) -> tuple[list[Any], tuple[Any, ...], dict[str, Any]]:
        """The filter's arguments, once it is known what comes of them."""
        values = value if attribute is None else map(make_attrgetter(self, attribute), value)
        return self._measured(d, values, "the filter join"), (d,), {}

    def _measured(self, separator: Any, values: Iterable[Any], where: str) -> list[Any]:
        found, size = growth.taken(values, self.limits.size)
        between = len(separator) if isinstance(separator, str | bytes) else growth.written(separator, self.limits.size)
        self.limits.foresee(size + between * len(found), where)
        return found

    def _concat(self, *values: Any) -> Any:
        self.limits.written(*values)
        return self.limits.check("".join(map(str, values)))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator's value."""
        limits = self.limits
        if operator == "*":
            for text, times in ((left, right), (right, left)):
                repeats = isinstance(text, str | bytes | list | tuple) and isinstance(times, int)
                if repeats and len(text) * times > limits.size:
                    raise LimitError(f"the template repeats a text {times:,} times")
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > BITS:
                raise LimitError(f"the template makes a product of more than {BITS:,} bits")
        if operator == "**" and not (abs(left) < 1 << 16 and abs(right) < 1 << 8):
            raise LimitError("the template raises a number to a power beyond 65,535 ** 255")
        if operator == "%" and isinstance(left, str | bytes):
            limits.foresee(growth.percent(left, right, limits.size), "the operator %")
        return limits.check(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """What stands for `str.format` and `str.format_map`; None for all else."""
        own = super().wrap_str_format(value)
        if own is None:
            return None
        text, mapped = value.__self__, value.__name__ == "format_map"

        @wraps(own)
        def bounded(*args: Any, **kwargs: Any) -> str:
            if mapped and (kwargs or len(args) != 1):
                return own(*args, **kwargs)  # an error that Jinja tells
            given = ((), args[0]) if mapped else (args, kwargs)
            made = _Formatter(self).vformat(text, *given)
            return own(*args, **kwargs) if isinstance(text, Markup) else made  # which is escaped

        return bounded

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - kwargs may be called self
        """Calls what a template calls."""
        limits = __self.limits
        limits.numbers((*args, *kwargs.values()), "a function")
        text, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(text, str | bytes):
            limits.foresee(growth.method(text, name, (*args, *kwargs.values())), f"str.{name}")
            if name == "join" and len(args) == 1:
                args = (__self._measured(text, args[0], "str.join"),)
        return limits.check(super().call(__context, __obj, *args, **kwargs))


def _raise(message: object) -> None:
    raise jinja2.TemplateError(str(message))


def _no_clock(form: str) -> str:
    raise LimitError(
        f"the template writes the time of the day ({form}), on which tokens may not hang: give the variable that it "
        "reads in the template's options, or strftime_now: a date such as 2026-01-31"
    )


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@pass_environment
def _sum(environment: Environment, values: Iterable[Any], attribute: str | int | None = None, start: Any = 0) -> Any:
    """Jinja's, of numbers alone: lists would be joined."""
    if not isinstance(start, int | float):
        raise LimitError(f"the template sums up values from a {type(start).__name__} on, where a number was expected")
    return sum(values if attribute is None else map(make_attrgetter(environment, attribute), values), start)

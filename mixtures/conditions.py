"""What `where` asks of a document: a column is one of some texts, or lies within bounds.

Apart from the schema, so that what selects and what is written are held to one reading of a condition. A condition that
nothing can meet is an error.
"""

import re
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from ..errors import ConfigError

_COMPARISON = re.compile(r"\s*(=[<>]|[<>=!]=?)(.*)")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ].*)?)?)?")
_KNOWN = (">=", "<=", ">", "<")

Wanted = str | float | Annotated[tuple[str, ...], Field(min_length=1)]


class Condition(NamedTuple):
    """`column operator value` with the operators `in`, `>`, `>=`, `<`, `<=`, `==`."""

    column: str
    operator: str
    value: Any


def where_conditions(where: dict[str, Any]) -> list[Condition]:
    """The conditions of a `where`, all of which must hold.

    A number means `==`; comparisons stand behind one another with commas. The bound of a date stays text, since `2020`
    is the beginning of a year there.

    Raises:
        ConfigError: a comparison with something that is no number, none at all, or bounds with nothing between.
    """
    conditions: list[Condition] = []
    for column, wanted in where.items():
        if isinstance(wanted, tuple):
            conditions.append(Condition(column, "in", list(wanted)))
        elif isinstance(wanted, (int, float)):
            conditions.append(Condition(column, "==", float(wanted)))
        elif _COMPARISON.fullmatch(wanted) is None:
            conditions.append(Condition(column, "in", [wanted]))
        else:
            compared = [_comparison(column, part, wanted) for part in wanted.split(",")]
            _check_bounds(compared, wanted)
            conditions += compared
    return conditions


def where_record(where: dict[str, Any]) -> dict[str, list[str]]:
    """What a `where` asks for, by column: texts in their order, or bounds; equal for all spellings of the same."""
    found: dict[str, list[str]] = {}
    for column, operator, value in where_conditions(where):
        if operator == "in":
            found[column] = sorted(set(value))
        else:
            found.setdefault(column, []).append(f"{operator}{value}")
    return {column: sorted(set(asked)) for column, asked in found.items()}


def _comparison(column: str, part: str, wanted: str) -> Condition:
    match = _COMPARISON.fullmatch(part)
    operator, bound = (match[1], match[2].strip()) if match else (part.strip(), "")
    if operator not in _KNOWN:
        raise ConfigError(
            f"where: there is no comparison {operator}",
            seen=wanted,
            expected=">, >=, < or <= with a number (several with commas), a bare number, or a text to be equal to",
        )
    if column == "date" and bound:
        if not _DATE.fullmatch(bound):
            expected = "a year, a month or a day: >=2020, <2020-07, <2020-07-01"
            raise ConfigError("where: date is compared with what is no date", seen=wanted, expected=expected)
        return Condition(column, operator, bound)
    if not _NUMBER.fullmatch(bound):
        raise ConfigError(f"where: {column} is compared with what is no number", seen=wanted, expected='such as ">0.8"')
    return Condition(column, operator, float(bound))


def _check_bounds(compared: list[Condition], wanted: str) -> None:
    """A range that holds nothing is a mistake: the source would be empty."""
    for low in (one for one in compared if one.operator.startswith(">")):
        for high in (one for one in compared if one.operator.startswith("<")):
            closed = low.operator == ">=" and high.operator == "<="
            if low.value > high.value or (low.value == high.value and not closed):
                raise ConfigError(
                    "where: nothing lies between the bounds", seen=wanted, expected="the lower bound below the upper"
                )

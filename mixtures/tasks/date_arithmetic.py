"""Dates moved by days and months, in the proleptic Gregorian calendar: which date, which weekday, how many days.

Calendars have irregular steps and a rule for days that do not exist, so they cannot be guessed. Difficulty is the
number of moves, 1 to 10; years are 2000 to 2029 up to difficulty 2, then 1600 to 2399. One move starts from 10,958
dates and has 100 amounts of days or 24 of months either way, 248 in all, and three questions: more than 8 * 10^6
problems. Costs about 15 microseconds a problem.
"""

import calendar
import datetime
import random
import re

from .family import Casting, Family, Solution, Wordings

ISO = r"\d{4}-\d\d-\d\d"
RULE = " Where a day does not exist in a month, the last day of that month is taken."
START = Wordings(
    ("Start on {date}.", "Take the date {date}.", "A calendar shows {date}.", "Let the date be {date}."), date=ISO
)
MOVES = {
    ("days", 1): Wordings(("Go {n} days forward.", "Add {n} days."), n=r"\d+"),
    ("days", -1): Wordings(("Go {n} days back.", "Subtract {n} days."), n=r"\d+"),
    ("months", 1): Wordings(("Go {n} months forward.", "Add {n} months."), n=r"\d+"),
    ("months", -1): Wordings(("Go {n} months back.", "Subtract {n} months."), n=r"\d+"),
}
QUESTIONS = {
    "date": Wordings(
        ("Which date is it then? Answer as YYYY-MM-DD.", "What is the date now? Answer in the form YYYY-MM-DD.")
    ),
    "weekday": Wordings(
        (
            "Which day of the week is it then? Answer with its name.",
            "What day of the week is that? Answer with the name of the day.",
        )
    ),
    "between": Wordings(
        (
            "How many days after the first date is it then? Answer with an integer, negative if before.",
            "How many days have passed since the first date? Answer with an integer, negative if it is before.",
        )
    ),
}
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
SHIFTS = (0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4)
"""By month, for the weekday; January and February count with the year before (T. Sakamoto, 1992)."""

Day = tuple[int, int, int]
Move = tuple[str, int]


def _pose(rng: random.Random, moves: int) -> tuple[str, list[str], str]:
    years = range(2000, 2030) if moves <= 2 else range(1600, 2400)
    year, month = rng.choice(years), rng.randint(1, 12)
    start = (year, month, rng.randint(1, _length(year, month)))
    date, lines, chain = start, [], []
    for _ in range(moves):
        kind = rng.choice(("days", "months"))
        amount = rng.randint(2, 101 if kind == "days" else 25) * rng.choice((1, -1))
        date, line = _add_days(date, amount) if kind == "days" else _add_months(date, amount)
        lines.append(line)
        chain.append((kind, amount))
    question = rng.choice(tuple(QUESTIONS))
    if question == "weekday":
        last, answer = _weekday(date)
        lines += last
    elif question == "between":
        last, answer = _between(start, date)
        lines += last
    else:
        answer = _iso(date)
    return _statement(start, chain, question), lines, answer


def _statement(start: Day, chain: list[Move], question: str) -> str:
    casting = Casting(f"{start} {chain} {question}")
    said = [MOVES[kind, 1 if n > 0 else -1].say(casting, n=abs(n)) for kind, n in chain]
    rule = RULE if any(kind == "months" for kind, _ in chain) else ""
    return f"{START.say(casting, date=_iso(start))} {' '.join(said)}{rule} {QUESTIONS[question].say(casting)}"


def _iso(date: Day) -> str:
    return f"{date[0]:04}-{date[1]:02}-{date[2]:02}"


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _length(year: int, month: int) -> int:
    return 29 if month == 2 and _leap(year) else LENGTHS[month - 1]


def _add_days(date: Day, amount: int) -> tuple[Day, str]:
    year, month, day = date
    line = f"{_iso(date)} {'+' if amount > 0 else '-'} {abs(amount)} days: day {day + amount}"
    day += amount
    while day > _length(year, month):
        day -= _length(year, month)
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        line += f", {day} of {year}-{month:02}"
    while day < 1:
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
        day += _length(year, month)
        line += f", {day} of {year}-{month:02}"
    return (year, month, day), f"{line}, so {_iso((year, month, day))}"


def _add_months(date: Day, amount: int) -> tuple[Day, str]:
    year, month, day = date
    line = f"{_iso(date)} {'+' if amount > 0 else '-'} {abs(amount)} months: month {month + amount}"
    month += amount
    while month > 12:
        year, month = year + 1, month - 12
    while month < 1:
        year, month = year - 1, month + 12
    length = _length(year, month)
    day = min(day, length)
    return (year, month, day), f"{line}, {year}-{month:02} has {length} days, so {_iso((year, month, day))}"


def _weekday(date: Day) -> tuple[list[str], str]:
    year, month, day = date
    counted = year - 1 if month < 3 else year
    terms = (counted, counted // 4, -(counted // 100), counted // 400, SHIFTS[month - 1], day)
    total = sum(terms)
    written = " + ".join(map(str, terms)).replace("+ -", "- ")
    return [f"weekday: {written} = {total}, {total} mod 7 = {total % 7}, {WEEKDAYS[total % 7]}"], WEEKDAYS[total % 7]


def _between(start: Day, end: Day) -> tuple[list[str], str]:
    lines, numbers = [], []
    for date in (start, end):
        year, month, day = date
        before = sum(_length(year, one) for one in range(1, month))
        numbers.append(before + day)
        lines.append(f"{_iso(date)} is day {before} + {day} = {before + day} of {year}")
    first, last = sorted((start[0], end[0]))
    years = sum(366 if _leap(year) else 365 for year in range(first, last))
    years = years if end[0] >= start[0] else -years
    answer = years + numbers[1] - numbers[0]
    lines.append(f"from {start[0]}-01-01 to {end[0]}-01-01: {years} days")
    return [*lines, f"{years} + {numbers[1]} - {numbers[0]} = {answer}"], str(answer)


_MOVE = re.compile(r"(?:Go|Add|Subtract) \d+ (?:days|months)(?: forward| back)?\.")


def _resolve(statement: str) -> Solution | None:
    """Reads the moves off the text and follows them with Python's own calendar."""
    found = list(_MOVE.finditer(statement))
    if not found or (start := START.read(statement[: found[0].start()].rstrip())) is None:
        return None
    rest = statement[found[-1].end() :]
    asked = rest.removeprefix(RULE).strip()
    question = next((kind for kind, one in QUESTIONS.items() if one.read(asked) is not None), None)
    moves = [
        (kind, sign * int(fields["n"]))
        for one in found
        for (kind, sign), wordings in MOVES.items()
        if (fields := wordings.read(one[0]))
    ]
    if question is None or len(moves) != len(found):
        return None
    begin = date = datetime.date.fromisoformat(start["date"])
    lines = []
    for kind, amount in moves:
        line = f"{date} {'+' if amount > 0 else '-'} {abs(amount)} {kind}: "
        after, line = _later(date, amount, line) if kind == "days" else _months_later(date, amount, line)
        lines.append(f"{line}, so {after}")
        date = after
    if question == "date":
        return lines, date.isoformat()
    if question == "weekday":
        early = date.month < 3
        n = date.year - early
        a, b, c, d = n // 4, n // 100, n // 400, SHIFTS[date.month - 1]
        name = date.strftime("%A")
        total = n + a - b + c + d + date.day
        written = f"{n} + {a} - {b} + {c} + {d} + {date.day} = {total}"
        return [*lines, f"weekday: {written}, {total} mod 7 = {date.isoweekday() % 7}, {name}"], name
    passed = (date - begin).days
    first, last = begin.timetuple().tm_yday, date.timetuple().tm_yday
    years = (datetime.date(date.year, 1, 1) - datetime.date(begin.year, 1, 1)).days
    for one, number in ((begin, first), (date, last)):
        lines.append(f"{one} is day {number - one.day} + {one.day} = {number} of {one.year}")
    lines.append(f"from {begin.year}-01-01 to {date.year}-01-01: {years} days")
    return [*lines, f"{years} + {last} - {first} = {passed}"], str(passed)


def _later(date: datetime.date, amount: int, line: str) -> tuple[datetime.date, str]:
    """Names the months that are passed: what is left in each is the distance to the date from before its first day."""
    after = date + datetime.timedelta(days=amount)
    line += f"day {date.day + amount}"
    month, way = date.replace(day=1), 1 if amount > 0 else -1
    while month != after.replace(day=1):
        month = _shifted(month, way)
        line += f", {(after - month).days + 1} of {month.year}-{month.month:02}"
    return after, line


def _months_later(date: datetime.date, amount: int, line: str) -> tuple[datetime.date, str]:
    first = _shifted(date.replace(day=1), amount)
    length = calendar.monthrange(first.year, first.month)[1]
    line += f"month {date.month + amount}, {first.year}-{first.month:02} has {length} days"
    return first.replace(day=min(date.day, length)), line


def _shifted(first: datetime.date, months: int) -> datetime.date:
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return datetime.date(year, month + 1, 1)


TASK = Family(
    "date_arithmetic", 1, 10, _pose, _resolve, re.compile(rf"{ISO}|{'|'.join(WEEKDAYS)}|0|-?[1-9]\d*", re.ASCII)
)

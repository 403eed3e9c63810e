"""What a template makes is refused before it is made: no step of one takes more memory than its limit."""

import tracemalloc
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import SandboxedEnvironment
from midtrain.errors import RunError
from midtrain.mixtures.templates import Message, Template, environment, growth, limits, sandbox

MOST = 1 << 30
HELD = 64 << 20  # bytes that a refused rendering may hold at most: a few values of the limit's size

TEXTS = st.text(alphabet="ab%( )d\n\t-é", max_size=12)
VALUES = st.recursive(
    TEXTS | st.integers(-(10**30), 10**30) | st.floats() | st.booleans() | st.none(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TEXTS, inside, max_size=4),
    max_leaves=12,
)


def render(text: str, **given: Any) -> str:
    return sandbox.compiled(text).render(10, given)


@pytest.mark.parametrize(
    "text",
    [
        "{{ m|center(600000000) }}",
        "{{ 'a'|center(600000000) }}",  # constant: no work of the compiler's either
        "{{ m|center(n * n) }}",
        "{{ ('%600000000d' % n)|length }}",
        "{{ ('%.600000000f' % n)|length }}",
        "{{ ('%*d' % (n * n, n))|length }}",
        "{{ ('%(a(b))600000000d' % {'a(b)': n})|length }}",
        "{{ ('%s' * 100000) % ((m,) * 100000) }}",
        "{{ '%600000000d'|format(n) }}",
        "{{ ('%(m)s' * 100000)|format(m=m) }}",
        "{{ '{:>600000000}'.format('a')|length }}",
        "{{ '{:{}}'.format('a', '600000000')|length }}",
        "{{ '{:.600000000f}'.format(1.5) }}",
        "{{ '{m:>600000000}'.format_map({'m': m}) }}",
        "{{ ('{0}' * 100000).format(m)|length }}",
        "{{ ('{0:{1}}'|safe).format('a', '600000000') }}",
        "{{ m|replace('a', m)|length }}",
        "{{ m|replace('', m)|length }}",
        "{{ m.replace('a'|safe, m)|length }}",
        "{{ (m|safe).replace('a', m)|length }}",
        "{{ m.replace('a', m)|length }}",
        "{{ m.encode().replace('a'.encode(), m.encode())|length }}",
        "{{ m.translate({97: m})|length }}",
        "{{ ('\\t' * 90000).expandtabs(90000)|length }}",
        "{{ m|join(m)|length }}",
        "{{ m.join(m)|length }}",
        "{{ ([m] * 100000)|join|length }}",
        "{{ ([m] * 100000)|map('upper')|join(',')|length }}",
        "{{ ([{'a': m}] * 100000)|join(',', attribute='a')|length }}",
        "{{ ''.join([m] * 100000)|length }}",
        "{{ (([m] * 100000)|string)|length }}",
        "{{ (([m] * 100000)|upper)|length }}",
        "{{ ([m] * 100000) }}",
        "{{ ('' ~ [m] * 100000)|length }}",
        "{% set s = namespace(x=[m] * 100000) %}{{ s }}",
        "{{ {'a': [m] * 100000}.items() }}",
        "{{ ([m] * 100000)|tojson|length }}",
        "{{ range(90000)|list|tojson(indent=90000)|length }}",
        "{{ range(90000)|list|tojson(separators=(m, ':'))|length }}",
        "{{ ('a\\n' * 90000)|indent(90000)|length }}",
        "{{ ('a\\n' * 90000)|indent(m)|length }}",
        "{{ ('a ' * 90000)|wordwrap(1, wrapstring=m)|length }}",
        "{{ ([[1] * 100000] * 100000)|sum(start=[])|length }}",
        "{{ [1]|batch(600000000, 0)|list }}",
        "{{ m.encode() * 600000000 }}",
        "{% filter center(600000000) %}a{% endfilter %}",
        "{{ ['a']|map('center', 600000000)|list }}",
        "{% set s = namespace(x=3) %}{% for i in range(99) %}{% set s.x = s.x * s.x %}{% endfor %}",
        "{% set s = namespace(x=[m]) %}{% for i in range(60) %}{% set s.x = [s.x, s.x] %}{% endfor %}{{ s.x }}",
    ],
)
def test_what_would_be_too_large_is_refused_before_it_is_made(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(sandbox.REFUSALS, match=r"the template (passes|would make|repeats|sums|makes|made)"):
            render(text, m="a" * 25_000, n=30_000)
        assert tracemalloc.get_traced_memory()[1] < HELD
    finally:
        tracemalloc.stop()


def test_a_lack_of_memory_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' processes may have left none: the conversation is named, and no worker dies of it."""

    def none(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(growth, "written", none)
    text = "{% for m in messages %}{{ m.content }}{% endfor %}{{ messages }}"
    template = Template("own.jinja", text, earlier_reasoning="template")
    with pytest.raises(RunError, match=r"own.jinja: it refuses the conversation: MemoryError"):
        template.render([Message("user", "q"), Message("assistant", "a")])


@pytest.mark.parametrize("text", ["{{ [1]|random }}", "{{ 'a'|urlize }}", "{{ 'a'|pprint }}"])
def test_filters_that_draw_or_cannot_be_bounded_are_not_there(text: str) -> None:
    with pytest.raises(jinja2.TemplateSyntaxError, match="No filter named"):
        sandbox.JinjaText(text)


def test_there_is_no_text_to_fill_with() -> None:
    with pytest.raises(jinja2.UndefinedError, match="lipsum"):
        render("{{ lipsum(n=1000000, html=false) }}")


ORDINARY = (
    "{{ m|replace('a', 'bb') }}{{ m.replace('a', 'bb', 1) }}{{ m|replace('', '-', 2) }}",
    "{{ '%s: %5d %5.2f%%' % (m, 3, 2.5) }}{{ '%(m)s' % {'m': m} }}{{ '%s'|format(m) }}{{ '%*d' % (5, 2) }}",
    "{{ '{:>9}|{m!r:^{w}}'.format(m, m=m, w=12) }}{{ '{m}'.format_map({'m': m}) }}",
    "{{ ('<{}>'|safe).format('<b>') }}",
    "{{ [1, m, none]|join('-') }}{{ [{'a': m}, {'a': 2}]|join(',', attribute='a') }}{{ {'a': 1, 'b': 2}|join }}",
    "{{ m|join('-') }}{{ '-'.join([m, m]) }}{{ '-'.join({'a': 1}) }}{{ [m, m]|map('upper')|join(d='+') }}",
    "{{ nothing }}{{ nothing|join }}{{ nothing|default(90000000) }}{{ [m, {'a': [1.5, none, true]}] }}",
    "{{ 'a\\nb\\n\\nc'|indent(2, true) }}{{ 'a\\nb'|indent('> ') }}{{ 'a b c d'|wordwrap(3, wrapstring='/') }}",
    "{{ [1, 2]|sum }}{{ [{'a': 1.5}]|sum('a', 1) }}{{ m|center(30) }}{{ m|truncate(4, true) }}{{ m|title }}",
    "{{ m.translate({97: 'x'}) }}{{ '\\ta'.expandtabs(4) }}{{ (2, 3) * 2 }}{{ 2 ** 10 * 3 }}{{ 'a' ~ 1 ~ [2] }}",
    "{{ 'a b-c d'|wordwrap(width=2, break_long_words=false, wrapstring='/', break_on_hyphens=false) }}",
    "{{ '%d'|format(12345678901234) }}{{ m|replace(old='a', new='b', count=1) }}{{ nothing|d(12345678901234) }}",
    "{{ [3, 1, 2]|sort|list }}{{ {'b': 1}|dictsort }}{{ [1, 2, 3]|batch(2, 0)|list }}{{ '7'|int + 1 }}",
    "{% set s = namespace(a=1) %}{{ s }}{{ {'a': 1}.items()|list }}{{ range(3) }}{{ m|upper|lower|trim|length }}",
    "{% filter upper %}{{ m }}{% endfilter %}{{ [m]|map('replace', 'a', 'b')|first }}{{ m|e }}{{ m|string }}",
)


@pytest.mark.parametrize("text", ORDINARY)
def test_what_is_small_is_as_jinja_makes_it(text: str) -> None:
    plain = SandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    assert render(text, m="banana & <b>") == plain.from_string(text).render(m="banana & <b>")


@given(VALUES)
def test_what_is_written_is_no_longer_than_is_told(value: Any) -> None:
    told = growth.written(value, MOST)
    if "\\" not in str(value):
        assert len(str(value)) <= told
    elif isinstance(value, str):
        assert len(value) <= told


@given(VALUES, st.integers(0, 9) | st.sampled_from(["", "  ", "xyz"]) | st.none())
def test_json_is_no_longer_than_is_told(value: Any, indent: Any) -> None:
    made = environment._to_json(value, indent=indent)
    told = growth.FILTERS["tojson"](MOST, value, indent=indent)
    assert len(made.replace("\\", "")) <= told


@given(TEXTS, TEXTS, TEXTS, st.integers(-1, 5))
def test_replacing_makes_no_more_than_is_told(text: str, old: str, new: str, count: int) -> None:
    assert len(text.replace(old, new, count)) <= growth.method(text, "replace", (old, new, count))
    assert len(text.replace(old, new)) <= growth.FILTERS["replace"](MOST, text, old, new)
    data = text.encode(), old.encode(), new.encode()
    assert len(data[0].replace(*data[1:])) <= growth.method(data[0], "replace", data[1:])


PIECES = st.sampled_from(["%s", "%d", "%5s", "%-7d", "%.3f", "%%", "%*d", "%.*f", "%+5.1f", "%x", "%r", "a", "%(k)4s"])


@given(st.lists(PIECES, max_size=6).map("".join), st.lists(TEXTS | st.integers(-99, 99), max_size=6))
def test_filling_in_makes_no_more_than_is_told(form: str, values: list[Any]) -> None:
    for given_ in (tuple(values), {"k": values[0] if values else 1}, *values[:1]):
        try:
            made = form % given_
        except (TypeError, ValueError, KeyError):
            continue
        assert len(made.replace("\\", "")) <= growth.percent(form, given_, MOST)
        if form.isascii() and not isinstance(given_, str):
            assert growth.percent(form.encode(), given_, MOST) == growth.percent(form, given_, MOST)


@given(TEXTS, st.integers(0, 9) | TEXTS, st.booleans(), st.booleans())
def test_indenting_makes_no_more_than_is_told(text: str, width: Any, first: bool, blank: bool) -> None:
    made = jinja2.filters.do_indent(text, width, first, blank)
    assert len(made) <= growth.FILTERS["indent"](MOST, text, width, first, blank)


@given(TEXTS, st.integers(1, 9), TEXTS)
def test_wrapping_makes_no_more_than_is_told(text: str, width: int, between: str) -> None:
    made = jinja2.filters.do_wordwrap(SandboxedEnvironment(), text, width, wrapstring=between)
    assert len(made) <= growth.FILTERS["wordwrap"](MOST, text, width, wrapstring=between)


@given(st.lists(VALUES, max_size=8), st.integers(0, 40))
def test_no_more_is_taken_than_has_room(values: list[Any], most: int) -> None:
    found, size = growth.taken(iter(values), most)
    assert found == values[: len(found)] or str(found) == str(values[: len(found)])  # not a number is like none
    if size <= most:
        assert len(found) == len(values)
        assert sum(len(one) for one in values if isinstance(one, str)) <= size


def test_the_limit_is_that_of_the_messages() -> None:
    assert len(render("{{ m|center(1048656) }}", m="a")) == limits.SLACK + 10 * limits.GROWTH
    with pytest.raises(limits.LimitError):
        render("{{ m|center(1048657) }}", m="a")

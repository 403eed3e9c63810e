"""A report for people: the terminal's tables, and a page that stands alone and takes no text for markup."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.pipelines import report, report_html, report_text
from midtrain.pipelines.copies import Between, Copies, CopiesOf, Copy
from midtrain.pipelines.curation import Reason
from midtrain.pipelines.differences import Difference
from midtrain.pipelines.joint_table import Count, JointTable, Place
from midtrain.pipelines.report_chart import chart
from midtrain.pipelines.rule_values import Example, Histogram, RuleValues, Threshold

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\u202e"
GOLDEN = """\
OUT: small, 401 documents (70.3 KB of text), 84.54 % kept

step and rule       documents  of seen     text  left
read                      401           70.3 KB   401
set aside: reading         -1   0.25 %            400
gopher_quality            -27  16.88 %   3.9 KB   373
  words                   -27  16.88 %   3.9 KB
  mean_word_length          0
  hash_ratio                0
  ellipsis_ratio            0
  bullet_lines              0
  ellipsis_lines            0
  alphabetic_words          0
  stop_words                0
exact_dedup               -34   9.12 %  13.3 KB   339
  duplicate               -34   9.12 %  13.3 KB
kept                      339  84.54 %    53 KB

source  read  gopher_quality  exact_dedup  set aside  kept            text kept
a         90              17           10          0    63   70.00 %    21.8 KB
b         71              10           24          1    36   50.70 %    12.8 KB
twins    120               0            0          0   120  100.00 %     7.5 KB
worked   120               0            0          0   120  100.00 %    10.9 KB

twins: records by length and difficulty, read → kept; no difficulty stated
characters of the        all     kept
reply, 0 to 127    120 → 120  100.0 %
all                120 → 120  100.0 %

worked: records by length and difficulty, read → kept; no difficulty stated
characters of the        all     kept
thought, 0 to 127  120 → 120  100.0 %
all                120 → 120  100.0 %
"""


@pytest.fixture(scope="module")
def told(curated_workshop):
    """The report on the standard corpus."""
    return report.read(curated_workshop.root / "out")


@pytest.fixture(scope="module")
def hostile(told):
    """The same with names of sources, languages, steps, rules and ids that are markup and steer terminals."""
    groups = tuple(dataclasses.replace(group, name=HOSTILE) for group in told.funnel.sources)
    steps = tuple(dataclasses.replace(step, step=HOSTILE) for step in told.funnel.total.steps)
    total = dataclasses.replace(told.funnel.total, steps=steps)
    examples = (Example(HOSTILE, HOSTILE, 1.5, 2.0, HOSTILE),)
    rules = tuple(
        dataclasses.replace(
            rule,
            reason=Reason("stage", HOSTILE, HOSTILE),
            nearest=examples,
            random=examples,
            thresholds=tuple(dataclasses.replace(one, source=HOSTILE) for one in rule.thresholds),
        )
        for rule in told.rules
    )
    pieces = tuple(Difference(kind, HOSTILE) for kind in ("same", "kept", "dropped", "gap"))
    cluster = CopiesOf(3, HOSTILE, HOSTILE, (Copy(HOSTILE, HOSTILE, 0.9, pieces), Copy(HOSTILE, HOSTILE, None, None)))
    between = (Between(HOSTILE, HOSTILE, 2),)
    copies = (Copies("stage", HOSTILE, 9, 2, (("3", 1),), between, cluster, (cluster,)),)
    cell = (Place("thought", 128, HOSTILE, HOSTILE), Count(9, 1200), Count(2, 300))
    funnel = dataclasses.replace(told.funnel, total=total, sources=groups, languages=groups)
    return dataclasses.replace(
        told,
        output=HOSTILE,
        name=HOSTILE,
        fingerprint=HOSTILE,
        funnel=funnel,
        rules=rules,
        copies=copies,
        notes=(HOSTILE,),
        joint=(JointTable(HOSTILE, 3, (cell,)),),
    )


def rule_of(edges, counts, outside, thresholds=(), log=False, scope="all"):
    return RuleValues(
        Reason("stage", "step", "rule"),
        scope,
        3,
        sum(counts),
        edges[0],
        edges[0],
        edges[-1],
        Histogram(log, tuple(edges), tuple(counts), tuple(outside)),
        tuple(Threshold(side, bound, "", broken, sum(counts)) for side, bound, broken in thresholds),
        (),
        (),
    )


# The terminal


def test_the_text_is_this(curated_workshop, told):
    text = report_text.table(told).text.replace(str(curated_workshop.root / "out"), "OUT")
    assert text.startswith(GOLDEN + "\nrule ")
    rules = text[len(GOLDEN) :].splitlines()
    assert rules[1].split() == ["rule", "keeps", "dropped", "nearest", "document"]
    assert re.fullmatch(r"gopher_quality\.words +≥ 30 +27  16\.88 % +\d+ +[ab]\d+", rules[2])
    assert "midtrain explain OUT ID" in text
    assert text.endswith(
        "\n\nNote: histograms are of values of dropped documents only; run curate with --scores for all"
    )


def test_text_and_data_have_the_same_numbers(told):
    table = report_text.table(told)
    assert table.data == told.data()
    for group in table.data["sources"]:
        row = next(line for line in table.text.splitlines() if line.startswith(f"{group['source']} "))
        dropped = [f"{step['dropped']['documents']:,}" for step in group["steps"] if step["rules"]]
        cells = [f"{group['read']['documents']:,}", *dropped, f"{group['quarantined']:,}"]
        assert row.split()[1 : len(cells) + 1] == cells


def test_the_terminal_is_not_steered_by_names(hostile):
    text = report_text.table(hostile).text
    names = [line for line in text.splitlines() if line.startswith("<script>alert")]
    assert len(names) >= 4
    body = text.split("\n\n", 1)[1]  # the head has the folder and the recipe's name, which are the person's own
    told, _, copies = body.partition("midtrain explain")
    assert copies.count("alert(1)") > 5
    for part in (told, copies.partition("\n")[2].rpartition("Note: ")[0]):
        assert "\x1b" not in part
        assert "\u202e" not in part


def test_many_groups_end_in_a_sum(told):
    groups = [dataclasses.replace(told.funnel.sources[0], name=f"s{i}") for i in range(50)]
    rows = report_text.by_group("source", groups)
    assert len(rows) == 1 + report_text.MOST_ROWS + 1
    assert rows[-1][0] == "30 more"
    assert rows[-1][1] == f"{30 * 90:,}"
    assert len(report_text.by_group("source", groups[: report_text.MOST_ROWS + 1])) == report_text.MOST_ROWS + 2


@pytest.mark.parametrize(
    ("part", "whole", "said"), [(0, 0, ""), (0, 9, "0.00 %"), (1, 30_000, "< 0.01 %"), (1, 20_000, "0.01 %")]
)
def test_a_share_that_is_there_is_not_none(part, whole, said):
    assert report_text.share(part, whole) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, ""), (50.0, "50"), (1e5, "100,000"), (0.65, "0.65"), (0.64995, "0.64995"), (3e12, "3e+12")],
)
def test_values_are_written_in_six_digits(value, said):
    assert report_text.number(value) == said


# The page


class Elements(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.texts.append(data)


ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "code", "span", "div", "section"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption"),
    *("svg", "desc", "line", "text", "rect", "g", "ins", "del"),
}


@pytest.mark.parametrize("which", ["told", "hostile"])
def test_the_page_stands_alone_and_takes_no_text_for_markup(which, request):
    page = report_html.render(request.getfixturevalue(which))
    found = Elements(page)
    assert set(found.tags) <= ELEMENTS
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("href", "src", "xlink:href")]
    for outside in ("http:", "https:", "url(", "@import", "javascript:"):
        assert outside not in page
    assert "default-src 'none'" in page
    assert page.startswith("<!doctype html>")


def test_hostile_names_are_shown_as_text(hostile):
    page = report_html.render(hostile)
    assert "<script" not in page
    shown = [text for text in Elements(page).texts if "<script>alert(1)</script>" in text]
    assert len(shown) > 10


def body_of(page):
    page = re.sub(r"<meta [^>]*>", "", page.removeprefix("<!doctype html>"))  # the one element that HTML leaves open
    return ElementTree.fromstring(page)


@pytest.mark.parametrize("which", ["told", "hostile"])
def test_the_page_is_well_formed_and_its_tables_have_no_gaps(which, request):
    page = report_html.render(request.getfixturevalue(which)).replace("\x1b", "")
    body = body_of(page)
    for table in body.iter("table"):
        assert len({len(list(row)) for row in table.iter("tr")}) == 1
    identities = [element.get("id") for element in body.iter() if element.get("id")]
    assert len(set(identities)) == len(identities)


def test_every_chart_has_a_title_a_description_and_its_numbers_in_a_table(told):
    body = body_of(report_html.render(told))
    charts = [section for section in body.iter("section") if section.find(".//svg") is not None]
    assert len(charts) == sum(rule.histogram is not None for rule in told.rules) == 1
    (section,) = charts
    svg = section.find(".//svg")
    for identity in svg.get("aria-labelledby").split():
        assert svg.find(f"*[@id='{identity}']").text
    numbers = [int(row[2].text.replace(",", "")) for row in section.findall(".//details//tbody/tr")]
    (words,) = (rule for rule in told.rules if rule.histogram is not None)
    assert numbers == [count for count in words.histogram.counts if count]
    assert "values of dropped documents only" in "".join(section.itertext())
    (label,) = [text.text for text in svg.iter("text") if "keeps ≥ 30" in (text.text or "")]
    assert label == "keeps ≥ 30: 27 below (16.88 %)"


def test_rules_that_dropped_nothing_are_named_in_one_line(told):
    page = report_html.render(told)
    assert "Dropped nothing" in page
    assert "gopher_quality.hash_ratio (≤ 0.1)" in page
    assert "<h3>gopher_quality.hash_ratio</h3>" not in page


def test_the_page_is_written_once_and_never_over_something(told, tmp_path):
    path = tmp_path / "new" / "page.html"
    with pytest.raises(ConfigError, match="folder for the page is not there"):
        report_html.write(told, str(path))
    assert not path.parent.exists()
    path.parent.mkdir()
    report_html.write(told, str(path))
    assert path.read_text() == report_html.render(told)
    path.write_text("mine")
    with pytest.raises(ConfigError, match="there already"):
        report_html.write(told, str(path))
    assert path.read_text() == "mine"
    report_html.write(told, str(path), overwrite=True)
    assert path.read_text() == report_html.render(told)
    with pytest.raises(ConfigError, match="folder"):
        report_html.write(told, str(tmp_path), overwrite=True)


# Charts


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(any),
    st.floats(-1e6, 1e6),
    st.floats(1e-6, 1e6),
    st.booleans(),
    st.data(),
)
def test_bars_lie_in_their_frame_in_order(counts, first, step, log, data):
    edges = (
        [0.0, *(step * 1.5**i for i in range(len(counts)))]
        if log
        else [first + step * i for i in range(len(counts) + 1)]
    )
    outside = [data.draw(st.integers(0, count)) for count in counts]
    bound = data.draw(st.sampled_from(edges))
    found = chart(rule_of(edges, counts, outside, [("low", bound, 1)], log))
    there = [count for count in counts if count]
    assert [bar.count for bar in found.bars] == there
    for bar, count in zip(found.bars, there, strict=True):
        assert found.left <= bar.x <= bar.x + bar.width <= found.right + 1
        assert 0 < bar.height <= found.bottom - found.top + 1e-6
        assert 0 <= bar.outside_height <= bar.height
        assert bar.outside_height == pytest.approx(bar.height * bar.outside / count, abs=0.11)
    heights = sorted((bar.count, bar.height) for bar in found.bars)
    assert [height for _, height in heights] == sorted(height for _, height in heights)
    places = [bar.x for bar in found.bars]
    assert places == sorted(places)
    for tick in (*found.x_ticks, *found.lines):
        at = tick.at if hasattr(tick, "at") else tick.x
        assert found.left - 0.1 <= at <= found.right + 0.1
    for tick in found.y_ticks:
        assert found.top - 0.1 <= tick.at <= found.bottom
    assert len(found.x_ticks) < 20


def test_a_bar_is_split_where_it_holds_both_sides():
    found = chart(rule_of([0.0, 1.0, 2.0, 3.0], [10, 10, 10], [10, 5, 0], [("low", 1.5, 15)]))
    whole = found.bottom - found.top
    assert [bar.outside_height for bar in found.bars] == [whole, whole / 2, 0]
    (line,) = found.lines
    assert line.x == (found.left + found.right) / 2
    assert line.text == "keeps ≥ 1.5: 15 below (50.00 %)"


def test_a_lonely_peak_makes_heights_logarithmic():
    flat = chart(rule_of([0.0, 1.0, 2.0, 3.0], [10, 20, 30], [0, 0, 0]))
    assert not flat.log_heights
    peak = chart(rule_of([0.0, 1.0, 2.0, 3.0], [10, 20, 300_000], [0, 0, 0]))
    assert peak.log_heights
    assert [tick.text for tick in peak.y_ticks] == ["0", "1", "10", "100", "1,000", "10,000", "100,000"]


# The command


def test_the_command_prints_tables_data_and_writes_the_page(curated_workshop, told, midtrain, tmp_path):
    out, page = curated_workshop.root / "out", tmp_path / "page.html"
    said = midtrain("report", out, "--html", page)
    assert (said.code, said.err) == (0, "")
    assert said.out == report_text.table(told).text + "\n"
    assert page.read_text() == report_html.render(told)
    assert orjson.loads(midtrain("report", out, "--json").out) == orjson.loads(orjson.dumps(told.data()))
    again = midtrain("report", out, "--html", page)
    assert (again.code, again.out) == (2, "")
    assert "there already" in again.err
    assert midtrain("report", out, "--html", page, "--overwrite").code == 0


def test_misuse_of_the_command_has_no_traceback(midtrain, tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file", "/no/such/place"):
        said = midtrain("report", path)
        assert said.code == 2
        assert "no curated output" in said.err
        assert "Traceback" not in said.err


def test_ids_and_languages_of_the_input_stay_text(corpus, midtrain):
    """From the file to the page: what a page of the web could hold."""
    markup = "<script>alert(1)</script>"
    records = [
        {"id": f"{markup}{i}", "text": "word " * (5 + 10 * i), "lang": f'"><img src=x onerror={i}>'} for i in range(20)
    ]
    corpus.jsonl("a.jsonl", records)
    source = {"name": "a", "path": f"{corpus.root}/data/a.jsonl", "fields": {"language": "lang"}}
    steps = [{"gopher_quality": {"min_words": 100, "min_stop_words": 0}}]
    corpus.curate(sources=[source], steps=steps)
    page = corpus.root / "page.html"
    assert midtrain("report", corpus.root / "out", "--html", page).code == 0
    found = Elements(page.read_text())
    assert set(found.tags) <= ELEMENTS
    assert sum(markup in text for text in found.texts) >= 5
    assert "(no language tag)" in page.read_text()
    assert "onerror" not in page.read_text()

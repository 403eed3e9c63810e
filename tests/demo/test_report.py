"""The demo's report: every figure in the table and in the page, which stands alone and takes no text for markup."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from midtrain.demo import report
from midtrain.demo.claims import check
from midtrain.demo.results import Results

Make = Callable[..., Results]


def page_of(folder: Path, results: Results) -> str:
    path = report.write(folder, results, check(results), 312.4)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


FIGURES = ("12.0%", "96.0%", "16.0%", "2.500", "2.100", "9,000", "1,500", "211", "6,789", "409,600", "409,500", "1,600")


def test_page_and_table_show_every_figure(results: Make, tmp_path: Path) -> None:
    page, table = page_of(tmp_path, results()), report.table(results())
    for figure in FIGURES:
        assert f">{figure}<" in page, figure
        assert figure in table.split(), figure
    assert "5 min 12 s" in page
    assert "7.00 to 3.25 nats per token in 10 steps" in page


def test_the_page_stands_alone(results: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path, results())
    for outside in ("http", "<script", "<link", "<img", "src=", "href=", "url(", "@import", "javascript"):
        assert outside not in page.lower(), outside
    assert page.startswith("<!doctype html>")


def test_the_page_is_well_formed(results: Make, tmp_path: Path) -> None:
    body = page_of(tmp_path, results()).removeprefix("<!doctype html>")
    body = re.sub(r"<meta [^>]*>", "", body)  # the one element of it that HTML leaves open
    tables = list(ElementTree.fromstring(body).iter("table"))
    for table in tables:
        assert len({len(list(row)) for row in table}) == 1
    assert len(tables) == 4  # accuracies, claims, documents, tokens


def test_text_is_never_markup(results: Make, tmp_path: Path) -> None:
    good = results()
    example = {
        "statement": "<script>x</script> & 'co'",
        "reply": "<think>\n1 < 2\n</think>\n\n<b>3</b>",
        "correct": True,
    }
    task = {**good.after["tasks"][0], "examples": [example]}
    after = {**good.after, "tasks": [task, good.after["tasks"][1]]}
    curated = {"funnel": [{**good.curated["funnel"][0], "dropped": {"<i>rule</i>": 3}}, good.curated["funnel"][1]]}
    page = page_of(tmp_path, results(after=after, curated=curated))
    assert "&lt;script&gt;x&lt;/script&gt; &amp; &#39;co&#39;" in page
    assert "&lt;think&gt;\n1 &lt; 2\n&lt;/think&gt;\n\n&lt;b&gt;3&lt;/b&gt;" in page
    assert "dropped by &lt;i&gt;rule&lt;/i&gt;" in page
    for markup in ("<script", "<think>", "<b>", "<i>"):
        assert markup not in page


def test_the_page_says_whether_the_claims_hold(results: Make, tmp_path: Path) -> None:
    good = results()
    assert "Every claim holds." in page_of(tmp_path, good)
    failed = page_of(tmp_path, results(after=good.before))
    assert "A claim does not hold." in failed
    assert "Every claim holds." not in failed
    assert failed.count('<td class="no">NO</td>') == 2
    assert failed.count('<td class="yes">yes</td>') == 10


def test_solved_problems_stand_in_their_order(results: Make, tmp_path: Path) -> None:
    statements = [one["statement"] for one in results().solved]
    page = page_of(tmp_path, results())
    assert page.count("<pre>") == 3
    places = [page.index(statement) for statement in statements]
    assert places == sorted(places)


def test_nothing_solved_leaves_no_gap(results: Make, tmp_path: Path) -> None:
    good = results()
    tasks = [
        {**task, "examples": [{**one, "correct": False} for one in task["examples"]]} for task in good.after["tasks"]
    ]
    none = results(after={**good.after, "tasks": tasks})
    assert "<pre>" not in page_of(tmp_path, none)
    assert "\n\n\n" not in report.table(none)


def test_a_curve_fills_its_box(results: Make, tmp_path: Path) -> None:
    page = page_of(tmp_path, results())
    points = re.findall(r'points="([^"]*)"', page)
    # Steps 1, 2 and 10 over 300, losses 7, 5 and 3.25 down 120.
    assert points == ["0.0,0.0 33.3,64.0 300.0,120.0"] * 3


@pytest.mark.parametrize("curve", [[(5, 2.0)], [(1, 2.0), (9, 2.0)]])
def test_a_flat_or_single_point_is_drawn(results: Make, tmp_path: Path, curve: list[tuple[int, float]]) -> None:
    page = page_of(tmp_path, results(curves={"pretrain": curve}))
    assert "nan" not in page.split("<svg")[1].split("</svg>")[0]
    assert 'points="0.0,120.0' in page

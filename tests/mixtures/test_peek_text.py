"""A look at a batch as text and as a page: what the input says cannot act on a terminal or in a browser."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures import peek_html
from midtrain.mixtures.lineage import Piece
from midtrain.mixtures.peek import Excerpt, Peek, Row, Text
from midtrain.mixtures.peek_text import table, visible

PIECE = Piece(7, 0, "web", "docs", "d1", "https://example.org/1", "part-00003", 5, 9, 9)
TEXTS = (Text("a <b>&amp;</b>\x1b[2J\n", False), Text("\u202eb\x00\n", True))


def look(*texts: Text, piece: Piece = PIECE) -> Peek:
    excerpt = Excerpt(piece, 0, 3, 2, texts or TEXTS)
    return Peek("first", 7, 3, 6, "0123456789abcdef", 2, 2, (Row(7, "web", 2, 2, (excerpt,)),))


def test_marks_without_a_terminal():
    lines = table(look(), colour=False).text.split("\n")
    assert lines[0].startswith("phase first, sequences 7 to 9: 18 tokens, of them 2 trained and 2 padding; batch 0123")
    assert lines[0].endswith("1 of 3 shown")
    assert lines[3:] == [
        "=== sequence 7 of source web: 4 tokens, 2 of them trained",
        "--- document d1: tokens 5:9 of 9, positions 0 to 3, recipe source docs, part-00003, https://example.org/1",
        "a <b>&amp;</b>␛[2J",
        "⟦<U+202E>b␀",
        "⟧",
        "--- padding: 2 tokens",
    ]


def test_colours_on_a_terminal_end_with_the_line():
    text = table(look(Text("one\ntwo", True), Text("\n\nthree", False)), colour=True).text
    assert "\x1b[32mone\x1b[0m\n\x1b[32mtwo\x1b[0m\n\n\x1b[2mthree\x1b[0m" in text
    assert "⟦" not in text


def test_control_tokens_are_bold_and_marks_enclose_whole_runs():
    texts = (Text("<|s|>", True, True), Text("one", True), Text("<|e|>", False, True))
    assert (
        "\x1b[1m\x1b[32m<|s|>\x1b[0m\x1b[32mone\x1b[0m\x1b[1m\x1b[2m<|e|>\x1b[0m"
        in table(look(*texts), colour=True).text
    )
    assert "\n⟦<|s|>one⟧<|e|>\n" in table(look(*texts), colour=False).text
    assert "<mark><b>&lt;|s|&gt;</b></mark><mark>one</mark><b>&lt;|e|&gt;</b></pre>" in peek_html.render(
        look(*texts), "x"
    )


def test_the_data_has_the_text_as_it_is():
    data = table(look(), colour=False).data
    assert [one["text"] for one in data["rows"][0]["excerpts"][0]["texts"]] == [text.text for text in TEXTS]
    assert table(look(), colour=False, whole=False).data == data


@given(st.text(st.characters(codec=None), max_size=60))
def test_what_is_made_visible_keeps_the_rest(text):
    shown = visible(text)
    assert not [one for one in shown if unicodedata.category(one) in ("Cc", "Cs") and one not in "\t\n"]
    assert not set(shown) & set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff")
    plain = [one for one in text if one.isalnum() or one in " \t\n"]
    kept = iter(shown)
    assert all(one in kept for one in plain)
    assert visible("naïve 日本語 🙂 \ufffd") == "naïve 日本語 🙂 \ufffd"


def test_the_page_says_what_the_input_says_and_does_nothing(tmp_path):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    piece = Piece(7, 0, hostile, hostile, hostile, "javascript:alert(1)", "part-00003", 5, 9, 9)
    page = peek_html.render(look(Text(hostile + "\u202e\x07", True), piece=piece), f"/shards/{hostile}")
    assert "<script" not in page
    assert "<img" not in page
    assert "href" not in page
    assert "default-src 'none'" in page
    assert "&lt;img src=x onerror=alert(1)&gt;&lt;U+202E&gt;␇</mark></pre>" in page
    file = tmp_path / "page.html"
    peek_html.write(look(), "shards", str(file))
    with pytest.raises(ConfigError, match="there already"):
        peek_html.write(look(), "shards", str(file))
    with pytest.raises(ConfigError, match="over a folder"):
        peek_html.write(look(), "shards", str(tmp_path), overwrite=True)
    with pytest.raises(ConfigError, match="folder for the page is not there") as caught:
        peek_html.write(look(), "shards", str(tmp_path / "none" / "page.html"))
    assert caught.value.where == str(tmp_path / "none" / "page.html")
    assert not (tmp_path / "none").exists()
    peek_html.write(look(), "other", str(file), overwrite=True)
    assert "A batch of other" in file.read_text()

"""Addresses are found below what is listed and nowhere else, as by plain Python; lists are read strictly."""

import gzip
import importlib.util
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from midtrain.config import parse, validate
from midtrain.errors import ConfigError
from midtrain.filters import url_list_files, url_lists
from midtrain.filters.document import SCHEMA, DocumentBatch
from midtrain.filters.url import Url
from midtrain.filters.url_list_files import Listed

KINDS = ("domain", "url", "expression", "word", "soft_word", "subword")
Texts = Callable[[str, int], list[str]]


def batch_of(addresses: Sequence[str | None]) -> DocumentBatch:
    count = len(addresses)
    columns = {"id": list(map(str, range(count))), "text": [""] * count, "source": ["s"] * count, "url": addresses}
    arrays = [pa.array(columns.get(field.name, [None] * count), field.type) for field in SCHEMA]
    return DocumentBatch(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))


def broken(step: Url, addresses: Sequence[str | None]) -> list[str | None]:
    decision, rules = step.decide(batch_of(addresses)), step.rules
    return [rules[rule].name if rule >= 0 else None for rule in decision.rule]


@pytest.fixture
def ut1(tmp_path: Path) -> Path:
    """A folder in UT1's layout."""
    for name, content in (
        ("adult/domains", "# names\nbad.example\n\n  WORSE.example.  \nbücher.example\n10.0.0.7\nhost\n"),
        ("adult/urls", "http://www.mixed.example/dir/\nmixed.example/file?a=1\n"),
        ("adult/expressions", "(^|[/-])x{3}\\.\n"),
        ("adult/usage", "black\n"),
        ("press/domains", "news.example\n"),
        ("empty/usage", "black\n"),
    ):
        path = tmp_path / "ut1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "ut1"


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("http://bad.example", "domain"),
        ("https://a.b.BAD.example:8080/path?q#f", "domain"),
        ("//user:pass@bad.example./", "domain"),
        ("bad.example/x", "domain"),
        (" \thttp://bad.example\n", "domain"),
        ("http://good.example@bad.example/", "domain"),
        ("http://bad.example\\@good.example/", "domain"),
        ("http://notbad.example/", None),
        ("http://bad.example.org/", None),
        ("http://good.example/bad.example", None),
        ("http://bad.example@good.example/", None),
        ("http://example/", None),
        ("http://x.worse.example", "domain"),
        ("http://bücher.example/", "domain"),
        ("http://BÜCHER.example:80/ü", "domain"),
        ("http://www.xn--bcher-kva.example/", "domain"),
        ("http://10.0.0.7/", "domain"),
        ("http://1.10.0.0.7/", None),
        ("http://host:80", "domain"),
        ("http://sub.host/", None),
        ("http://mixed.example/", None),
        ("https://mixed.example/DIR", "url"),
        ("https://www.mixed.example/dir/deeper.html", "url"),
        ("https://mixed.example/dirt", None),
        ("https://sub.mixed.example/dir", None),
        ("mixed.example:443/file?a=1&b=2#c", "url"),
        ("mixed.example/file?a=12", None),
        ("mixed.example/file#?a=1", None),
        ("http://good.example/xXx.html", "expression"),
        ("http://good.example/axxx.html", None),
        ("", None),
        (None, None),
        ("http://", None),
        ("http://[2001:db8::1]:80/x", None),
        ("http://[::1", None),
    ],
)
def test_lists_in_the_layout_of_ut1(ut1: Path, address: str | None, rule: str | None) -> None:
    step = Url(folder=str(ut1), categories=("adult",))
    assert broken(step, [address]) == [rule]


def test_categories_and_files_and_entries_add_up(ut1: Path, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "more.gz", "wt") as more:
        more.write("packed.example\n*.starred.example\n.dotted.example")
    step = Url(
        folder=str(ut1),
        categories=("adult", "press"),
        domains=("own.example", "[2001:db8::1]"),
        domain_files=(str(tmp_path / "more.gz"),),
    )
    hosts = ["bad", "news", "own", "packed", "starred", "dotted", "other"]
    assert broken(step, [f"https://a.{host}.example/" for host in hosts]) == ["domain"] * 6 + [None]
    assert broken(step, ["http://[2001:DB8::1]:80/x", "http://[2001:db8::2]/"]) == ["domain", None]
    assert [Path(path).name for path in step.files] == ["domains", "domains", "more.gz", "urls", "expressions"]
    assert step.memory == 8 * (url_lists.slots(step._listed("domains")) + url_lists.slots(step._listed("urls")))
    step.check()


@pytest.mark.parametrize(
    ("option", "content", "message", "line"),
    [
        ("domain_files", "ok.example\n0.0.0.0 bad.example\n0.0.0.0 worse.example\n", "2 of 3 entries are no domain", 2),
        ("domain_files", "\ufeff# names\n\n||bad.example^\nok.example", "1 of 2 entries are no domain", 3),
        ("domain_files", "bad.example # the worst", "1 of 1 entries are no domain", 1),
        ("domain_files", "bad.example/page", "what has a path belongs to urls", 1),
        ("domain_files", "2001:db8::1", "1 of 1 entries are no domain", 1),
        ("domain_files", '"bad.example"\n', "1 of 1 entries are no domain", 1),
        ("domain_files", "http://\n", "1 of 1 entries are no domain", 1),
        ("url_files", "ok.example/a\n/page\n", "1 of 2 entries are no address", 2),
        ("url_files", "0.0.0.0 bad.example/page", "1 of 1 entries are no address", 1),
        ("url_files", "bad.example/page # the worst", "1 of 1 entries are no address", 1),
        *((f"{kind}_files", "# nothing\n\n", "no entry and would block nothing", 0) for kind in KINDS),
    ],
)
def test_a_list_that_would_block_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, content: str, message: str, line: int
) -> None:
    path = tmp_path / "list"
    path.write_text(content)
    for chunk in (url_list_files._CHUNK, 16):
        monkeypatch.setattr(url_list_files, "_CHUNK", chunk)
        with pytest.raises(ConfigError, match=message) as raised:
            Url(**{option: (str(path),)}).check()
        assert raised.value.where == (f"{path}:{line}" if line else str(path))


@pytest.mark.parametrize("given", [{"domains": ("",)}, {"domains": ("ok.example", "a b")}, {"urls": ("/page",)}])
def test_an_entry_of_the_recipe_that_would_block_nothing_is_an_error(given: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigError, match=r"would block nothing|entries are no"):
        Url(**given).check()


def test_fewer_soft_words_than_drop_a_document_are_an_error() -> None:
    Url(soft_words=("one", "Two")).check()
    with pytest.raises(ConfigError, match="soft_word_threshold 2 is more than the 1 different soft_words"):
        Url(soft_words=("one", "O-n-e")).check()


def test_what_can_be_found_is_an_entry(tmp_path: Path) -> None:
    starred, path = tmp_path / "starred", tmp_path / "list"
    starred.write_text("*.a.example\n")
    path.write_text(
        ".b.example.\nhttp://c.example:8080/\nuser@d.example\r\n e_f-1.example \n10.0.0.7\nhost\n"
        "[2001:db8::1]\n[2001:db8::2]:80\nbücher.example\nbad。example\n"
    )
    Url(domain_files=(str(path), str(starred)), url_files=(str(path),), datatrove_lists=True).check()


def test_a_missing_address_is_kept_or_dropped() -> None:
    addresses = ["http://a.example", None, "", "http://bad.example"]
    assert broken(Url(domains=("bad.example",)), addresses) == [None, None, None, "domain"]
    assert broken(Url(domains=("bad.example",), missing="drop"), addresses) == [None, "missing", "missing", "domain"]
    assert broken(Url(missing="drop"), addresses) == [None, "missing", "missing", None]


def test_words_soft_words_and_subwords() -> None:
    step = Url(words=("Bad-Word",), soft_words=("one", "two", "three"), subwords=("ab c", "bcd"))
    addresses = [
        "http://x.y/badword",
        "http://x.y/BADWORD-1",
        "http://x.y/bad-word",
        "http://x.y/badwords",
        "http://one.two/",
        "http://x.y/one/one?one",
        "http://x.y/one_Two",
        "http://x.y/z-a/b.C",
        "http://x.y/B%C-d",
        "http://x.y/ab",
    ]
    assert broken(step, addresses) == [
        *("word", "word", None, None, "soft_words", None, "soft_words", "subword", "subword", None)
    ]
    assert step.decide(batch_of(addresses)).value[4] == 2
    assert step.decide(batch_of(addresses)).threshold[4] == 1
    strict = step.model_copy(update={"case_sensitive_words": True, "soft_word_threshold": 1})
    assert broken(strict, addresses) == [
        *("word", None, None, None, "soft_words", "soft_words", "soft_words", "subword", "subword", None)
    ]


def test_an_empty_batch_and_a_slice_are_decided() -> None:
    step = Url(domains=("bad.example",), words=("w",))
    assert len(step.decide(batch_of([])).keep) == 0
    batch = batch_of(["http://bad.example", None, "http://bad.example/ü", "http://good.example"])
    assert step.decide(DocumentBatch(batch.record_batch.slice(1, 3))).keep.tolist() == [True, False, True]


LABELS = ("a", "bb", "www", "example", "com", "7", "xn--bcher-kva", "bücher", "Bad", "日本", "co")
PARTS = ("/", "?", "&", "a", "bb", "/www", "=", ".", "-", "%20", "ü", "A", ":", "@")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4), min_size=1, max_size=6),
    st.lists(
        st.tuples(
            st.sampled_from(("", "http://", "HTTPS://", "//", " ftp://")),
            st.sampled_from(("", "user@", "user:pass@", "bad.com@")),
            st.lists(st.sampled_from(LABELS), min_size=1, max_size=5),
            st.sampled_from(("", ".", ":80", ":", ".:80")),
            st.lists(st.sampled_from(PARTS), max_size=5).map("".join),
            st.sampled_from(("", "#a", "#/a.com")),
        ),
        max_size=60,
    ),
)
def test_domains_are_found_as_by_plain_python(
    listed: list[list[str]], addresses: list[tuple[str, str, list[str], str, str, str]]
) -> None:
    entries = {".".join(labels).lower().encode("idna").decode() for labels in listed}
    texts, expected = [], []
    for scheme, user, labels, port, path, fragment in addresses:
        path = path if path[:1] in ("", "/", "?") else "/" + path
        texts.append(scheme + user + ".".join(labels) + port + path + fragment)
        host = ".".join(labels).lower().encode("idna").decode().split(".")
        number = host[-1].isdigit()
        above = [".".join(host[first:]) for first in range(1, len(host) - 1)] if not number else []
        expected.append(bool(entries & {".".join(host), *above}))
    step = Url(domains=tuple(".".join(labels) for labels in listed))
    assert step.scores(batch_of(texts))["domain"].astype(bool).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(PARTS), max_size=4).map("".join), min_size=1, max_size=5),
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(PARTS), max_size=6).map("".join)), max_size=20),
)
def test_addresses_are_found_as_by_plain_python(listed: list[str], paths: list[tuple[bool, str]]) -> None:
    entries = {("h.example/" + path).rstrip("/").lower() for path in listed}
    texts, expected = [], []
    for www, path in paths:
        texts.append(f"http://{'WWW.' if www else ''}h.example:80/{path}")
        full = "h.example/" + path
        cuts = [full[: match.start()] for match in re.finditer("[/?&]", full)]
        expected.append(bool(entries & {cut.lower() for cut in [*cuts, full]}))
    step = Url(urls=tuple("https://www.h.example/" + path for path in listed))
    lower = {"A": "a"}  # of ASCII alone, as the kernel has it
    assert all(text.lower() == text.translate(str.maketrans(lower)) for text in PARTS)
    assert step.scores(batch_of(texts))["url"].astype(bool).tolist() == expected


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("ab1", min_size=1, max_size=4), min_size=1, max_size=6),
    st.lists(st.text("abAB12 -/.ü", max_size=25), max_size=20),
    st.booleans(),
)
def test_words_are_found_as_by_plain_python(words: list[str], texts: list[str], exact: bool) -> None:
    chosen = tuple(words)
    step = Url(words=chosen[:1], soft_words=chosen, subwords=chosen, case_sensitive_words=exact)
    scores = step.scores(batch_of(texts))
    for row, text in enumerate(texts):
        found = set(re.split("[^a-zA-Z0-9]+", text if exact else text.lower()))
        assert scores["word"][row] == (chosen[0] in found)
        assert scores["soft_words"][row] == len(set(chosen) & found)
        assert scores["subword"][row] == any(word in re.sub("[^a-z0-9]", "", text.lower()) for word in chosen)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=8), st.text("a./:@?#[]&\\ ü-", max_size=40)
)
@example(texts=["", "", "", "", "\n\n", "\n\n", "\n\n", "\n\n0"], more="")
def test_any_text_is_an_address_and_any_line_an_entry(texts: list[str], more: str) -> None:
    batch = batch_of([*texts, more, more + more])
    step = Url(domains=tuple(texts) or ("a",), urls=(more, "a"), words=("a",), subwords=("a", "aa"))
    for scores in step.scores(batch).values():
        assert len(scores) == len(batch)


@pytest.mark.measures
def test_a_host_of_any_length_ends() -> None:
    long = "http://" + "a." * 500_000 + "bad.example/" + "/?&" * 500_000
    step = Url(domains=("bad.example",), urls=("a.example/x",), words=("w",))
    assert broken(step, ["http://good.example/"]) == [None]  # compiled before it is timed
    start = time.process_time()
    assert broken(step, [long] * 2) == ["domain"] * 2
    assert time.process_time() - start < 20


def test_a_list_of_a_million_domains_is_small_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "domains"
    path.write_text("".join(f"host-{number}.example\n" for number in range(1_000_000)))
    step = Url(domain_files=(str(path),))
    assert step.memory == 16 << 20
    table = url_lists.table(Listed(step.domain_files, ()), whole=False)
    assert (np.count_nonzero(table), table.nbytes) == (1_000_000, step.memory)
    some = [f"http://a.host-{number}.example/" for number in range(0, 2_000_000, 997)]
    assert [rule is not None for rule in broken(step, some)] == [
        number < 1_000_000 for number in range(0, 2_000_000, 997)
    ]


def test_pieces_of_a_list_are_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"host{'x' * (number % 40)}{number}.example" for number in range(300)] + ["bücher.example"]
    path = tmp_path / "domains"
    path.write_text("\r\n".join(names))
    monkeypatch.setattr(url_list_files, "_CHUNK", 16)
    table = url_lists.table(Listed((str(path),), ()), whole=False)
    monkeypatch.undo()
    assert np.count_nonzero(table) == len(names)
    assert np.array_equal(np.sort(table), np.sort(url_lists.table(Listed((), tuple(names)), whole=False)))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("first", ["bad[0-9]", "# of bad hosts\nbad[0-9]"])
def test_a_byte_order_mark_is_no_part_of_the_first_entry(tmp_path: Path, first: str, packed: bool) -> None:
    def listed(name: str, content: str) -> tuple[str]:
        path = tmp_path / f"{name}.gz" if packed else tmp_path / name
        encoded = f"\ufeff{content}\n".encode()
        path.write_bytes(gzip.compress(encoded) if packed else encoded)
        return (str(path),)

    urls = listed("urls", first.replace("bad[0-9]", "http://site.example/page"))
    step = Url(
        domain_files=listed("domains", first.replace("[0-9]", ".example")),
        url_files=urls,
        expression_files=listed("expressions", first),
        word_files=listed("words", first.replace("bad[0-9]", "casino")),
    )
    addresses = ["http://bad.example/", "http://site.example/page/1", "http://bad1.org/", "http://a.org/casino"]
    assert broken(step, [*addresses, "http://a.org/comment"]) == ["domain", "url", "expression", "word", None]
    assert np.count_nonzero(url_lists.table(Listed(urls, ()), whole=True)) == 1


def test_real_addresses_are_decided_as_by_datatrove(tmp_path: Path) -> None:
    """Over domains, words and subwords; a list of addresses never matches there, as it compares schemes too."""
    if any(importlib.util.find_spec(name) is None for name in ("ahocorasick", "fasteners", "tldextract")):
        pytest.skip("datatrove's URLFilter needs pyahocorasick, fasteners and tldextract")
    from datatrove.data import Document
    from datatrove.pipeline.filters import URLFilter
    from tldextract import TLDExtract

    sites = ["bad.example.com", "worse.co.uk", "sub.site.org", "mid.deep.site.org"]
    words = {"banned_words": ["casino", "Poker"], "soft_banned_words": ["hot", "cheap"], "banned_subwords": ["xx x"]}
    theirs = URLFilter(extra_domains=sites, use_integrated_lists=False, **words)
    theirs.tldextractor = TLDExtract(suffix_list_urls=())  # the list that comes with it
    ours = Url(
        domains=tuple(sites),
        words=tuple(words["banned_words"]),
        soft_words=tuple(words["soft_banned_words"]),
        subwords=("xx x",),
        case_sensitive_words=True,
    )
    hosts = [*sites, *(f"www.{site}" for site in sites), "site.org", "example.com", "co.uk", "10.0.0.1", "poker.com"]
    paths = [
        "",
        "/",
        "/casino/1",
        "/Casino",
        "/hot-cheap",
        "/hot/hot",
        "/x/x/x",
        "/index.html?poker=1#hot",
        "/cheap/HOT",
    ]
    addresses = [f"{scheme}{host}{path}" for scheme in ("http://", "https://u:p@") for host in hosts for path in paths]
    names = {"subdomain": "domain", "hard_blacklisted": "word", "soft_blacklisted": "soft_words"}
    names |= {"blacklisted_subword": "subword"}
    for address, rule in zip(addresses, broken(ours, addresses), strict=True):
        answer = theirs.filter(Document(text="", id="", metadata={"url": address}))
        expected = None if answer is True else names.get(answer[1], answer[1])
        # datatrove looks up the registered domain and the whole host, not what is between.
        if expected != rule:
            assert "www." in address, address
            assert (expected != "domain", rule) == (True, "domain"), address


@pytest.mark.slow
def test_the_lists_that_datatrove_brings_are_read() -> None:
    step = Url(datatrove_lists=True, domains=("own.example",), case_sensitive_words=True)
    step.check()
    assert [Path(path).name for path in step.files] == [
        *("url_filterblacklistsv0_3_0.tar.gz", "banned_words.txt", "soft_banned_words.txt", "banned_subwords.txt")
    ]
    assert step.memory < 70 << 20
    addresses = [
        "http://www.xvideos.com/a",
        "http://own.example",
        "https://docs.python.org/3/",
        "http://a.org/casino-x",
    ]
    assert broken(step, addresses) == ["domain", "domain", None, None]


def test_a_recipe_drops_by_address_in_workers_too(workshop: Any, tmp_path: Path) -> None:
    records = [
        {"id": str(number), "text": "text", "url": f"https://{site}.example/"} for number, site in enumerate("abca")
    ]
    workshop.jsonl("a.jsonl", [*records, {"id": "none", "text": "text"}])
    (tmp_path / "list").write_text("a.example\n")
    recipe = {
        "name": "r",
        "sources": [{"name": "a", "path": str(workshop.root / "data/a.jsonl")}],
        "steps": [{"url": {"domain_files": [str(tmp_path / "list")]}}],
    }
    workshop.recipe = lambda **changed: {**recipe, **changed}
    for workers in (0, 1):
        workshop.curate(workers=workers, output=str(workshop.root / f"out{workers}"))
        assert [row["id"] for row in workshop.rows(f"out{workers}")] == ["1", "2", "none"]
        dropped = [
            (row["id"], row["rule"], row["value"], row["threshold"])
            for row in workshop.rows(f"out{workers}", "dropped")
        ]
        assert dropped == [("0", "domain", 1.0, 0.0), ("3", "domain", 1.0, 0.0)]


# Refused


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("{}", "no list is given"),
        ("folder: lists", "folder and categories belong together"),
        ("categories: [adult]", "folder and categories belong together"),
        ("domains: a.example", "must be a list"),
        ("domains: [a]\nmissing: error", "'keep' or 'drop'"),
        ("soft_words: [a]\nsoft_word_threshold: 0", "greater than or equal to 1"),
        ("domain: [a]", "did you mean domains"),
    ],
)
def test_options_that_cannot_be_meant_are_errors(yaml: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(parse(yaml, "recipe.yaml"), Url)


def test_a_list_that_is_not_there_is_an_error(ut1: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder") as raised:
        Url(folder=str(tmp_path / "none"), categories=("adult",)).check()
    assert raised.value.where == str(tmp_path / "none")
    with pytest.raises(ConfigError, match="no category adlt") as raised:
        Url(folder=str(ut1), categories=("press", "adlt")).check()
    assert (raised.value.expected, raised.value.fix) == ("adult, press", "did you mean adult?")
    with pytest.raises(ConfigError, match="no category empty"):
        Url(folder=str(ut1), categories=("empty",)).check()
    for kind in ("domain", "url", "expression", "word", "soft_word", "subword"):
        with pytest.raises(ConfigError, match="cannot be read") as raised:
            Url.model_validate({f"{kind}_files": (str(tmp_path / "none"),)}).check()
        assert raised.value.where == str(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be read"):
        Url(domain_files=(str(ut1),)).check()
    (ut1 / "hollow").mkdir()
    (ut1 / "hollow" / "urls").touch()
    with pytest.raises(ConfigError, match="the category hollow is empty and would block nothing"):
        Url(folder=str(ut1), categories=("adult", "hollow")).check()


def test_a_packed_list_cut_in_half_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "domains.gz"
    path.write_bytes(gzip.compress(b"".join(b"host%d.example\n" % number for number in range(9999)))[:-20])
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        Url(domain_files=(str(path),)).decide(batch_of(["http://a.example"]))
    assert raised.value.where == str(path)


def test_a_broken_expression_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "expressions"
    path.write_text("# fine\nfine\n(open\n")
    with pytest.raises(ConfigError, match=r"missing \)") as raised:
        Url(expression_files=(str(path),)).check()
    assert (raised.value.where, raised.value.seen) == (f"{path}:3", "(open")
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        Url(expressions=("a(?=b)",)).check()
    assert "no look-around" in str(raised.value.expected)


def test_a_word_that_can_never_be_found_is_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text("fine\n#слово\n\nслово\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="no letter or digit") as raised:
        Url(word_files=(str(path),)).check()
    assert raised.value.where == f"{path}:4"
    path.write_bytes(b"fine\n\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8") as raised:
        Url(subword_files=(str(path),)).check()
    assert raised.value.where == f"{path}:2"


def test_a_list_that_changes_makes_another_fingerprint(tmp_path: Path) -> None:
    from midtrain.pipelines.recipe import Step

    path = tmp_path / "domains"
    path.write_text("a.example\n")
    step = Step("url", Url(domain_files=(str(path),)), ("a",))
    before = step.record()
    path.write_text("b.example\n")
    assert step.record() != before

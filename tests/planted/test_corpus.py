"""The planted corpus is what it says: the same from a seed, with families, chains and traps as alike as planned."""

import itertools
import random
import unicodedata

import pytest

from tests.planted import corpus, edits
from tests.planted.definition import Alike, jaccard, raw_characters, raw_words, shingles, units
from tests.planted.wording import LANGUAGES, Wording


@pytest.fixture(scope="module")
def planted():
    return corpus.plant(seed=1, size=corpus.SMALL)


@pytest.fixture(scope="module")
def alike(planted):
    return Alike(planted.texts())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" …—!\u00a0🙂_", []),
        ("Straße No. 12", ["strasse", "no", "12"]),
        ("ｆｕｌｌ １２", ["full", "12"]),
        ("naïve NAI\u0308VE", ["naive", "naive"]),
        ("don't", ["don", "t"]),
        ("我们说話 ok", ["我", "们", "说", "話", "ok"]),
        ("カレー", ["カ", "レ", "ー"]),
        ("がｶﾞ", ["か\u3099", "カ\u3099"]),
        ("soft\u00adhyphen zero\u200dwidth", ["softhyphen", "zerowidth"]),
        ("안녕 하세요", [unicodedata.normalize("NFKD", "안녕"), unicodedata.normalize("NFKD", "하세요")]),
        ("й \u0438\u0306", ["и", "и"]),
        ("ﬁx İSTANBUL", ["fix", "istanbul"]),
    ],
)
def test_units(text, found):
    assert units(text) == found


def test_a_text_of_fewer_units_is_its_own_shingle():
    assert shingles("One two three four") == {"One two three four"}
    assert jaccard(shingles("one two"), shingles("one  two")) == 0
    assert shingles("one two three four FIVE") == {("one", "two", "three", "four", "five")}
    assert len(raw_words("a b c d e f")) == 2
    assert len(raw_characters("abcdef")) == 2


def test_a_seed_makes_the_same_again_and_another_seed_another(planted):
    again = corpus.plant(seed=1, size=corpus.SMALL)
    assert (again.documents, again.pairs, again.chains) == (planted.documents, planted.pairs, planted.chains)
    assert corpus.plant(seed=2, size=corpus.SMALL).texts() != planted.texts()


def test_every_kind_is_there(planted):
    counts = {kind: len(planted.of(kind)) for kind in ("family", "page", "short", "book", "front_matter")}
    assert counts == {"family": 12 * (4 * 6 + 1), "page": 180, "short": 120, "book": 4, "front_matter": 80}
    assert {document.language for document in planted.of("family")} == set(LANGUAGES)
    assert {document.source for document in planted.documents.values()} == set(corpus.SOURCES)
    assert max(len(units(document.text)) for document in planted.of("short")) < 5


def test_copies_are_as_alike_as_their_level(planted, alike):
    aims = dict(enumerate((1.0, *edits.LEVELS)))
    for document in planted.of("family"):
        if document.level:
            original = document.id.rpartition("-")[0] + "-0"
            assert alike(original, document.id) == pytest.approx(aims[document.level], abs=0.12)
    for language in LANGUAGES:
        pairs = [pair for pair in planted.pairs if planted.documents[pair[0]].language == language]
        assert sum(alike(*pair) >= 0.82 for pair in pairs) >= len(pairs) / 3


def test_levels_hold_on_average(planted, alike):
    for level, aim in enumerate(edits.LEVELS, start=1):
        copies = [one.id for one in planted.of("family") if one.level == level]
        likeness = [alike(identity.rpartition("-")[0] + "-0", identity) for identity in copies]
        assert sum(likeness) / len(likeness) == pytest.approx(aim, abs=0.015)


def test_every_link_of_a_chain_holds_and_its_ends_have_nothing_in_common(planted, alike):
    assert max(len(chain) for chain in planted.chains) == corpus.SMALL.longest
    for chain in planted.chains:
        assert min(alike(*link) for link in itertools.pairwise(chain)) >= 0.82
        assert alike(chain[0], chain[-1]) < 0.3


def test_pages_and_books_with_the_same_front_matter_are_no_duplicates(planted, alike):
    rng = random.Random(3)
    for kind, least in (("page", 0.35), ("front_matter", 0.3)):
        groups: dict[str, list[str]] = {}
        for document in planted.of(kind):
            groups.setdefault(document.group, []).append(document.id)
        for ids in groups.values():
            likeness = [alike(*rng.sample(ids, 2)) for _ in range(40)]
            assert least < min(likeness) <= max(likeness) < 0.79


def test_short_texts_have_copies_and_other_spellings(planted):
    texts = [document.text for document in planted.of("short")]
    assert len(texts) / 2 < len(set(texts)) < 0.8 * len(texts)
    assert len({text.lower() for text in texts}) < len(set(texts))


def test_files_hold_every_document_once_in_an_order_of_the_seed(planted, tmp_path):
    specs = planted.write(tmp_path / "one", seed=1)
    assert [spec["name"] for spec in specs] == list(corpus.SOURCES)
    planted.write(tmp_path / "other", seed=2, files=3)
    one, other = (
        [line for path in sorted((tmp_path / name).iterdir()) for line in path.read_bytes().splitlines()]
        for name in ("one", "other")
    )
    assert len(one) == len(set(one)) == len(planted.documents)
    assert set(one) == set(other)
    assert one != other


@pytest.mark.parametrize("kind", edits.KINDS)
def test_an_edit_comes_near_what_it_aims_at(kind):
    wording = Wording("fi", 4)
    text = wording.invented(600)
    for share in edits.LEVELS[1:]:
        edited = kind(text, share, wording, random.Random(1))
        assert jaccard(shingles(text), shingles(edited)) == pytest.approx(share, abs=0.04)

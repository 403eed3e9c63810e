"""The planted corpus: documents of which it is known what is a duplicate of what, and traps that are none.

Families at five edit levels in twelve languages; pages of one template and books with the same front matter, which
share most of their text and are no duplicates; chains in which every document is like the next and the ends are not
alike; texts with fewer words than an n-gram; whole books in two editions. A pure function of seed and size (and of the
real text, where MIDTRAIN_DATA names some). Costs about ten seconds for the 60 MB of the full size.

A chain A ~ B ~ C ~ D with every link at .8 or more cannot have ends under .3: one minus Jaccard is a metric, so three
links leave at least .4. Chains have nine documents and more.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import orjson

from tests.planted import edits
from tests.planted.definition import NGRAM
from tests.planted.wording import LANGUAGES, Wording

SOURCES = ("curated", "crawl", "archive")  # in the order of the recipe
LINK = 0.86  # Jaccard of neighbours in a chain
CHAIN_WORDS = 400
PARTS = 6  # of a template, between which a page says its own


@dataclass(frozen=True)
class Size:
    """How much of each kind.

    Args:
        families: of each language.
        templates, pages: templates, and pages of each.
        chains: of 9 to 16 documents; the last one has `longest`.
        short: texts shorter than the n-gram.
        books: whole books, each in two editions.
        front_matter: short books that begin alike.
    """

    families: int = 60
    templates: int = 10
    pages: int = 1_000
    chains: int = 40
    longest: int = 1_000
    short: int = 3_000
    books: int = 10
    front_matter: int = 5_000


FULL = Size()
MEDIUM = Size(families=15, templates=6, pages=150, chains=10, longest=300, short=600, books=4, front_matter=800)
SMALL = Size(families=4, templates=3, pages=60, chains=4, longest=40, short=120, books=2, front_matter=80)


@dataclass(frozen=True)
class Document:
    """A document with what was planted.

    Args:
        id, text, source, date: as the recipe reads them.
        kind: family, page, chain, short, book or front_matter.
        language: one of `LANGUAGES`.
        group: the family, template or chain; documents of different groups have nothing to do with each other.
        level: the edit level of a copy, 0 for what was not edited, -1 where there are none.
    """

    id: str
    text: str
    source: str
    date: str | None
    kind: str
    language: str
    group: str
    level: int = -1


@dataclass
class Planted:
    """The corpus.

    Args:
        documents: by id, in no order that means anything.
        pairs: ids of documents that may be near-duplicates: all pairs of a family or of two editions of a book.
        chains: ids in order.
    """

    documents: dict[str, Document] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    chains: list[list[str]] = field(default_factory=list)

    def of(self, kind: str) -> list[Document]:
        """The documents of a kind."""
        return [document for document in self.documents.values() if document.kind == kind]

    def texts(self) -> dict[str, str]:
        """Text by id."""
        return {identity: document.text for identity, document in self.documents.items()}

    def write(self, folder: Path, seed: int, files: int = 2) -> list[dict[str, str]]:
        """Writes JSON lines, the documents shuffled by the seed, and returns a recipe's sources.

        Args:
            folder: is made.
            seed: of the order of documents and of the file that each goes to.
            files: for each source.
        """
        rng = random.Random(seed)
        folder.mkdir(parents=True)
        ids = sorted(self.documents)
        rng.shuffle(ids)
        lines: dict[tuple[str, int], list[bytes]] = {(s, number): [] for s in SOURCES for number in range(files)}
        for identity in ids:
            one = self.documents[identity]
            record = {"id": one.id, "text": one.text, "date": one.date}
            lines[one.source, rng.randrange(files)].append(orjson.dumps(record) + b"\n")
        for (source, number), content in lines.items():
            (folder / f"{source}-{number}.jsonl").write_bytes(b"".join(content))
        return [{"name": s, "path": str(folder / f"{s}-*.jsonl"), "format": "jsonl"} for s in SOURCES]


def plant(seed: int = 6, size: Size = FULL) -> Planted:
    """The corpus of a seed: the same documents whenever the size and the real text are the same."""
    rng = random.Random(seed)
    wordings = {language: Wording(language, seed) for language in LANGUAGES}
    made = Planted()
    for kind in (_families, _pages, _chains, _short, _books, _front_matter):
        for document in kind(wordings, size, random.Random(f"{kind.__name__} {seed}"), made):
            dated = f"20{rng.randrange(10, 26)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}"
            date = dated if rng.random() < 0.7 else None
            placed = replace(document, source=rng.choice(SOURCES), date=date)
            assert placed.id not in made.documents
            made.documents[placed.id] = placed
    return made


Wordings = dict[str, Wording]


def _document(identity: str, text: str, kind: str, language: str, group: str, level: int = -1) -> Document:
    return Document(identity, text, "", None, kind, language, group, level)


def _families(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """An original of 150 to 900 words and a copy at each level; every fourth family has an exact copy too."""
    for language in LANGUAGES:
        for number in range(size.families):
            wording = wordings[language]
            original = wording.passage(rng.randint(150, 900))
            texts = [original, *edits.copies(original, wording, rng)] + [original] * (number % 4 == 0)
            levels = [0, *range(1, len(edits.LEVELS) + 1), 0][: len(texts)]
            group = f"family-{language}-{number}"
            ids = [f"{group}-{place}" for place in range(len(texts))]
            made.pairs += combinations(ids, 2)
            for identity, text, level in zip(ids, texts, levels, strict=True):
                yield _document(identity, text, "family", language, group, level)


def _pages(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """Pages of which any two have a Jaccard of .4 with the first template, up to .72 with the last."""
    wording = wordings["en"]
    for template in range(size.templates):
        share = 0.4 + 0.31 * template / max(size.templates - 1, 1)
        frame = [wording.invented(rng.randint(35, 60)) for _ in range(PARTS)]
        torn = PARTS * (NGRAM - 1)  # n-grams that reach from the template into a page's own words, or back
        common = sum(len(edits.PIECE.findall(part)) for part in frame) - torn
        own = max(PARTS, round(common * (1 / share - 1) / 2) - torn)
        for number in range(size.pages):
            words = wording.invented(own).split(" ")
            cuts = [len(words) * part // PARTS for part in range(PARTS + 1)]
            filled = [f"{part}\n{' '.join(words[a:b])}\n" for part, a, b in zip(frame, cuts, cuts[1:], strict=False)]
            yield _document(f"page-{template}-{number}", "".join(filled), "page", "en", f"template-{template}")


def _chains(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """Windows over a long text, each moved so far that neighbours are `LINK` alike."""
    wording = wordings["en"]
    step = round(CHAIN_WORDS * (1 - LINK) / (1 + LINK))
    for number in range(size.chains):
        links = size.longest if number == size.chains - 1 else rng.randint(9, 16)
        words = wording.invented(CHAIN_WORDS + step * links).split(" ")
        ids = [f"chain-{number}-{link}" for link in range(links)]
        made.chains.append(ids)
        for link, identity in enumerate(ids):
            text = " ".join(words[step * link : step * link + CHAIN_WORDS])
            yield _document(identity, text, "chain", "en", f"chain-{number}")


def _short(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """Texts of one to four units, of which a third is a copy of another, byte for byte; some differ in case alone."""
    held: list[str] = []
    for number in range(size.short):
        language = LANGUAGES[number % len(LANGUAGES)]
        text = f"{wordings[language].invented(rng.randint(1, 4))}"
        if number % 3 == 2:
            text = rng.choice(held)
        elif number % 17 == 0 and held:
            text = rng.choice(held).upper()
        elif number % 23 == 0:
            text = rng.choice(("…", "!", "—", "***", "🙂", "。", "\u00a0"))
        held.append(text)
        yield _document(f"short-{number}", text, "short", language, f"short-{text}")


def _books(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """Books of 20,000 to 60,000 words and a second edition of each, by turns at every level that is a duplicate."""
    wording = wordings["en"]
    for number in range(size.books):
        text = wording.invented(rng.randint(20_000, 60_000))
        level = number % 4
        kind = edits.KINDS[number // 4 % len(edits.KINDS)]
        edition = kind(text, edits.LEVELS[level], wording, rng) if level else edits.reset(text, rng)
        ids = [f"book-{number}-{edition}" for edition in (1, 2)]
        made.pairs.append((ids[0], ids[1]))
        yield _document(ids[0], text, "book", "en", f"book-{number}", 0)
        yield _document(ids[1], edition, "book", "en", f"book-{number}", level + 1)


def _front_matter(wordings: Wordings, size: Size, rng: random.Random, made: Planted) -> Iterator[Document]:
    """Short books that begin with the same 300 words of licence, and then say 100 to 300 words of their own."""
    wording = wordings["en"]
    licence = wording.invented(300)
    for number in range(size.front_matter):
        own = wording.invented(rng.randint(100, 300))
        yield _document(f"front-{number}", f"{licence}\n\n{own}", "front_matter", "en", "front matter")

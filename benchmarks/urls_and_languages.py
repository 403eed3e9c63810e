"""The steps `url` and `language` against datatrove's: the same lists, the same model, in one process, in turn.

Both come first in a recipe and see every document, so they bound what a crawl costs. The labels and the reasons are
compared document by document, and labels from windows with those of whole texts where the language is known.
Costs about 4 minutes, of which datatrove takes nearly all, and 1.5 GB for its lists of addresses.
"""

import argparse
import gzip
import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa
from datatrove.data import Document
from datatrove.pipeline.filters.base_filter import BaseFilter
from fasttext.FastText import _FastText
from midtrain.filters import datatrove_blocks
from midtrain.filters.document import DocumentBatch
from midtrain.filters.language import Language, Library, installed_model
from midtrain.filters.url import Url
from rows import Row, heading, show, write
from slices import SLICE_BYTES, batch_of, corpora, records_of, stratified, user_seconds

ROUNDS = 3
URLS, LISTED = 20_000, 5_000
SHOWN = 10
SPEED, SAME_LABELS, LESS_ACCURATE = 5.0, 0.99, 0.002  # of `language`; the last one a difference
URL_SPEED, SAME_REASONS = 20.0, 0.999
SAME_LISTED = 0.995  # datatrove finds no address of numbers that a list names
REASONS = {
    "domain": "domain",
    "subdomain": "domain",
    "url": "url",
    "hard_blacklisted": "word",
    "soft_blacklisted": "soft_words",
    "blacklisted_subword": "subword",
}


def in_turn(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Median user seconds of both."""
    ours()  # compiles, loads lists and models
    theirs()
    times = [(user_seconds(ours), user_seconds(theirs)) for _ in range(ROUNDS)]
    return statistics.median(one for one, _ in times), statistics.median(other for _, other in times)


def urls(folder: Path) -> list[Row]:
    """Addresses per second, and the share with the same reason: of real pages, and of sites that the lists name."""
    found = [record["url"] for path in corpora(folder) for record in records_of(path) if record.get("url")]
    found = found[:: max(len(found) // URLS, 1)]
    step, block = Url(datatrove_lists=True, case_sensitive_words=True), datatrove_blocks.make("URLFilter", {}).block
    same, dropped, speeds = compared(step, block, found)
    print(f"{len(found)} addresses, {len(set(found))} different ones, {dropped} dropped")
    rows = [_at_least("url, same reasons", same, 1.0, same, SAME_REASONS, "share of addresses")]
    rows.append(_at_least("url", *speeds, speeds[0] / speeds[1], URL_SPEED, "addresses/s of user time"))
    domains = sorted(block.block_listed_domains)
    listed = [f"https://{domain}/index.html" for domain in domains[:: max(len(domains) // LISTED, 1)]]
    same, dropped, _ = compared(step, block, listed)
    print(f"{len(listed)} addresses of listed sites, {dropped} dropped")
    return [*rows, _at_least("url, same reasons, listed sites", same, 1.0, same, SAME_LISTED, "share of addresses")]


def compared(step: Url, block: BaseFilter, addresses: Sequence[str]) -> tuple[float, int, tuple[float, float]]:
    """The share of addresses with the same reason, how many of them are dropped, and addresses per second of each."""
    batch = batch_of([""] * len(addresses)).with_column("url", pa.array(addresses, pa.string()))
    documents = [Document(text="", id=str(number), metadata={"url": url}) for number, url in enumerate(addresses)]
    ours, theirs = in_turn(
        lambda: step.decide(DocumentBatch(batch.record_batch)),
        lambda: [block.filter(document) for document in documents],
    )
    names = [rule.name for rule in step.rules]
    reasons = [names[rule] if rule >= 0 else None for rule in step.decide(batch).rule]
    answers = [block.filter(document) for document in documents]
    their_reasons = [None if answer is True else REASONS[answer[1]] for answer in answers]
    pairs = list(zip(addresses, reasons, their_reasons, strict=True))
    differ = [pair for pair in pairs if pair[1] != pair[2]]
    for address, mine, their in differ[:SHOWN]:
        print(f"    {address}: ours {mine}, theirs {their}")
    count = len(addresses)
    return 1 - len(differ) / count, sum(one is not None for one in reasons), (count / ours, count / theirs)


def languages(folder: Path) -> list[Row]:
    """MB of text per second, and the share of documents with the same label."""
    texts, _ = stratified(folder, SLICE_BYTES)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} documents, {megabytes:.1f} MB of every file")
    block = datatrove_blocks.make("LanguageFilter", {"languages": ["en"]}).block
    block.model._model = _FastText(installed_model())
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    record_batch, step = batch_of(texts).record_batch, Language(keep=("en",))

    def decide() -> DocumentBatch:
        annotated = step.annotate(DocumentBatch(record_batch))
        step.decide(annotated)
        return annotated

    ours, theirs = in_turn(decide, lambda: [block.filter(document) for document in documents])
    labels = [document.metadata["language"] for document in documents]
    found = zip(decide().column("language").to_pylist(), labels, strict=True)
    same = sum(one == other for one, other in found) / len(texts)
    return [
        _at_least("language, same labels", same, 1.0, same, SAME_LABELS, "share of documents"),
        _at_least("language", megabytes / ours, megabytes / theirs, theirs / ours, SPEED, "MB/s of user time"),
    ]


def gold(path: Path) -> list[Row]:
    """The share of texts in a language of the model that are named right, from windows and from whole texts."""
    labels = set(Library(installed_model()).labels)
    with gzip.open(path, "rb") as stream:
        records = [record for record in map(orjson.loads, stream) if record["lang"] in labels]
    known = [record["lang"] for record in records]
    batch = batch_of([record["text"] for record in records])

    def accuracy(window: int) -> float:
        annotated = Language(keep=("en",), window=window).annotate(batch)
        found = annotated.column("language").to_pylist()
        return sum(one == other for one, other in zip(found, known, strict=True)) / len(known)

    some, whole = accuracy(Language.model_fields["window"].default), accuracy(0)
    print(f"{len(known)} texts of {len(set(known))} languages; peer: whole texts; the ratio is the difference")
    return [_at_least("language, gold accuracy", some, whole, some - whole, -LESS_ACCURATE, "share of texts")]


def _at_least(name: str, ours: float, peer: float, ratio: float, target: float, unit: str) -> Row:
    return show(Row(name, ours, peer, unit, ratio, target, ratio >= target))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("MIDTRAIN_DATA")
    parser.add_argument("--data", type=Path, default=data and Path(data) / "text", help="folder of .jsonl[.gz|.zst]")
    parser.add_argument("--gold", type=Path, default=data and Path(data) / "multilingual/lid_gold.jsonl.gz")
    parser.add_argument("--json", type=Path, help="write the rows there")
    parser.add_argument("--only", default="", help="parts whose name begins so: urls, languages, gold")
    arguments = parser.parse_args()
    if arguments.data is None or arguments.gold is None:
        parser.error("give --data DIR and --gold FILE, or set MIDTRAIN_DATA")
    heading()
    rows = []
    for part, place in ((urls, arguments.data), (languages, arguments.data), (gold, arguments.gold)):
        if part.__name__.startswith(arguments.only):
            rows += part(place)
    write(rows, arguments.json)


if __name__ == "__main__":
    main()

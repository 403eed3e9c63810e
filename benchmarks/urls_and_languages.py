"""The steps `url` and `language` against datatrove's: the same lists, the same model, in one process, in turn.

Both come first in a recipe and see every document, so they bound what a crawl costs. The labels and the reasons are
compared document by document, and labels from windows with those of whole texts where the language is known.
Costs about 4 minutes, of which datatrove takes nearly all, and 1.5 GB for its lists of addresses.
"""

import argparse
import gzip
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
from datatrove.data import Document
from fasttext.FastText import _FastText
from midtrain.filters import datatrove_blocks
from midtrain.filters.document import DocumentBatch
from midtrain.filters.language import Language, Library, installed_model
from midtrain.filters.url import Url
from rows import Row, heading, show, write
from slices import SLICE_BYTES, batch_of, corpora, records_of, stratified, user_seconds

ROUNDS = 3
URLS = 20_000
SPEED, SAME_LABELS, LESS_ACCURATE = 5.0, 0.99, 0.002  # of `language`; the last one a difference
URL_SPEED, SAME_REASONS = 20.0, 0.999
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
    """Addresses per second, and the share with the same reason."""
    found = [record["url"] for path in corpora(folder) for record in records_of(path) if record.get("url")]
    found = found[:: max(len(found) // URLS, 1)]
    print(f"{len(found)} addresses, {len(set(found))} different ones")
    batch = batch_of([""] * len(found)).with_column("url", pa.array(found, pa.string()))
    step = Url(datatrove_lists=True, case_sensitive_words=True)
    block = datatrove_blocks.make("URLFilter", {}).block
    documents = [Document(text="", id=str(number), metadata={"url": url}) for number, url in enumerate(found)]
    ours, theirs = in_turn(
        lambda: step.decide(DocumentBatch(batch.record_batch)),
        lambda: [block.filter(document) for document in documents],
    )
    decision, names = step.decide(batch), [rule.name for rule in step.rules]
    mine = [names[rule] if rule >= 0 else None for rule in decision.rule]
    answers = [block.filter(document) for document in documents]
    same = sum(
        one == (None if answer is True else REASONS[answer[1]]) for one, answer in zip(mine, answers, strict=True)
    )
    share, count = same / len(found), len(found)
    print(f"    of {count} addresses {sum(one is not None for one in mine)} are dropped")
    return [
        show(Row("url, same reasons", share, 1.0, "share of addresses", share, SAME_REASONS, share >= SAME_REASONS)),
        show(
            Row("url", count / ours, count / theirs, "addresses/s of user time", theirs / ours, URL_SPEED,
                theirs / ours >= URL_SPEED)
        ),
    ]  # fmt: skip


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
    pairs = zip(decide().column("language").to_pylist(), labels, strict=True)
    same, ratio = sum(one == other for one, other in pairs) / len(texts), theirs / ours
    return [
        show(Row("language, same labels", same, 1.0, "share of documents", same, SAME_LABELS, same >= SAME_LABELS)),
        show(Row("language", megabytes / ours, megabytes / theirs, "MB/s of user time", ratio, SPEED, ratio >= SPEED)),
    ]


def gold(path: Path) -> list[Row]:
    """The share of texts that are named right, of those in a language of the model, from windows and from whole texts."""
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
    holds = some - whole >= -LESS_ACCURATE
    return [show(Row("language, gold accuracy", some, whole, "share of texts", some - whole, -LESS_ACCURATE, holds))]


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

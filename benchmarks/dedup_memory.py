"""A corpus whose signatures are ten times the memory that deduplicating it may take: 6 GB of short documents.

The first 60 words of each document, again and again with other words in the place of every fifth, so that nearly all
documents differ from all others; every tenth time with the words of the time before and one other, so that a tenth
of them has a duplicate and no step is idle. Costs ten seconds to write, and as many bytes of disk as asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

WORDS = 60
EVERY = 5  # words: one of so many is another one each time
LETTERS = 8  # of a word that is put in
REPEATED = 10  # times: in one of so many only a word changes
SIGNATURE = 4 * 112  # bytes of a document's hashes
FILE_BYTES = 256 << 20


@dataclass(frozen=True)
class Written:
    """What was written: bytes of text, documents, and how many of them are near-duplicates of another."""

    text: int
    documents: int
    duplicates: int

    @property
    def signatures(self) -> int:
        """Bytes of all signatures."""
        return self.documents * SIGNATURE


def write(texts: Iterable[str], folder: Path, documents: int, seed: int = 6) -> Written:
    """Writes JSON lines until there are so many documents."""
    lines, slots, text = _lines(texts)
    rng = np.random.default_rng(seed)
    block = np.frombuffer(bytearray(b"".join(lines)), np.uint8)
    places = (np.concatenate(slots)[:, None] + np.arange(LETTERS)).ravel()
    # The last word put in of a document of fifty words and more: one word in so many leaves a Jaccard above .8.
    long = [slot[-1] for slot in slots if len(slot) >= 10]
    one_word = (np.array(long, np.int64)[:, None] + np.arange(LETTERS)).ravel()
    times = -(-documents // len(lines))
    duplicates = 0
    a_file = max(FILE_BYTES // len(block), 1)
    for time in range(times):
        again = time % REPEATED == REPEATED - 1
        changed = one_word if again else places
        block[changed] = rng.integers(ord("a"), ord("z") + 1, len(changed), np.uint8)
        duplicates += len(long) * again
        with open(folder / f"words-{time // a_file:03d}.jsonl", "ab") as stream:
            stream.write(block)
    return Written(text * times, len(lines) * times, duplicates)


def _lines(texts: Iterable[str]) -> tuple[list[bytes], list[np.ndarray], int]:
    """Lines with room for the words to put in, where in all of them together it is, and the bytes of their texts."""
    lines, slots, at, size = [], [], 0, 0
    mark = "\x00" * LETTERS  # no text holds it, and JSON spells it out
    spelled = orjson.dumps(mark)[1:-1]
    for text in texts:
        words = text.replace("\x00", " ").split()[:WORDS]
        if not words:
            continue
        words[::EVERY] = [mark] * len(words[::EVERY])
        joined = " ".join(words)
        pieces = orjson.dumps({"text": joined}).split(spelled)
        ends = np.cumsum([len(piece) + LETTERS for piece in pieces[:-1]])
        line = (b"z" * LETTERS).join(pieces) + b"\n"
        lines.append(line)
        slots.append(at + ends - LETTERS)
        at += len(line)
        size += len(joined.encode())
    return lines, slots, size

"""Passages of text in twelve languages: real ones where MIDTRAIN_DATA is set, else invented words of each script.

Near-duplicates must be planted in text whose own likeness is known to be low, and a test must run without any data. No
two passages overlap. Costs half a second, and reading 11 MB where there is data.
"""

import functools
import gzip
import itertools
import os
import random
import re
from pathlib import Path

import orjson

LANGUAGES = ("en", "zh", "es", "ru", "de", "pl", "ja", "fr", "it", "ko", "tr", "fi")
UNSPACED = ("zh", "ja")
# One piece of text that an edit can put another in the place of: a character of Chinese or Japanese, else a word.
PIECE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
SHORT_PARAGRAPH = 40  # characters: shorter ones stand in many documents
WORDS = 6_000  # invented words a language, drawn by Zipf's law
SYLLABLES = {
    "en": "an be ca dis er for ga ing ju ly ment ness or pre qua re ship tion un ver with est th ou ea ck",
    "es": "an ción de es gu ha ín je la mente ñe or pe qui ro sé ta ué va ya zo cu ll rr",
    "ru": "ан бы ва го де ёж жи за ий ку ло ми но об по ры ст те ух фа хо це ча ши щё эт юл яс",
    "de": "an be der ein für ge heit ich keit lö mä nen os pf schaft tung über ver weiß zu st au",
    "pl": "an by cze dź ę gło hu ie jś ką łam mno ński ów prze rz ście tów uż wa zy żeb",
    "fr": "an beau cé dans eux fi gé hô ment nous œuv pas qui ré sur tion où vê y zé ç ou",
    "it": "an bel che di ero fi gli ha ino la mente no ò per qua ro sta tà un vi zione",
    "ko": " ".join(chr(0xAC00 + 97 * number) for number in range(110)),
    "tr": "an bir ci dı er fı gü ğa hı iş kö lar mı nin ö pe rı ş ta ün ve yı zi ç",
    "fi": "an ei hän it ja ko lle ma nen on pää ri ssa tta ui vä yö ään ky ll ömi",
}


class Wording:
    """Passages of one language, no two of them overlapping, and single pieces to put into them.

    Args:
        language: one of `LANGUAGES`.
        seed: of all that is drawn.
    """

    def __init__(self, language: str, seed: int) -> None:
        self._rng = random.Random(f"{language} {seed}")
        self._spaced = language not in UNSPACED
        self._vocabulary = _vocabulary(language, self._rng)
        self._cumulative = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self._vocabulary))))
        real = list(_real(language))
        self._rng.shuffle(real)
        self._real = iter(real)

    def piece(self) -> str:
        """A word, or a character where words are not spaced."""
        return self._rng.choices(self._vocabulary, cum_weights=self._cumulative)[0]

    def passage(self, pieces: int) -> str:
        """Text of about so many words (characters of Chinese and Japanese); real text as long as there is any."""
        held, left = [], pieces
        for paragraph in self._real:
            held.append(paragraph)
            left -= len(PIECE.findall(paragraph))
            if left <= 0:
                return "\n".join(held)
        return "\n".join([*held, self.invented(left)])

    def invented(self, pieces: int) -> str:
        """Sentences of invented words in paragraphs, exactly so many words."""
        drawn = self._rng.choices(self._vocabulary, cum_weights=self._cumulative, k=pieces)
        text, between, end = [], " " if self._spaced else "", ". " if self._spaced else "。"
        while drawn:
            length = self._rng.randint(4, 24)
            sentence, drawn = drawn[:length], drawn[length:]
            sentence[0] = sentence[0].capitalize()
            text.append(between.join(sentence) + end)
            if self._rng.random() < 0.2:
                text.append("\n")
        return "".join(text).strip()


def _vocabulary(language: str, rng: random.Random) -> list[str]:
    if language in UNSPACED:
        kana = [chr(code) for code in range(0x3041, 0x3097)] * (language == "ja")
        return kana + [chr(code) for code in rng.sample(range(0x4E00, 0x9FA5), 2_500)]
    syllables = SYLLABLES[language].split()
    words = {"".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(2 * WORDS)}
    found = sorted(words)
    rng.shuffle(found)
    return found[:WORDS]


def _real(language: str) -> tuple[str, ...]:
    """Every different paragraph of a language in lid_gold, nothing without MIDTRAIN_DATA."""
    folder = os.environ.get("MIDTRAIN_DATA")
    return tuple(_paragraphs(folder)[language]) if folder else ()


@functools.cache
def _paragraphs(folder: str) -> dict[str, dict[str, None]]:
    found: dict[str, dict[str, None]] = {language: {} for language in LANGUAGES}
    with gzip.open(Path(folder) / "multilingual/lid_gold.jsonl.gz") as lines:
        for record in map(orjson.loads, lines):
            if record["lang"] in found:
                paragraphs = (line for line in record["text"].split("\n") if len(line) > SHORT_PARAGRAPH)
                found[record["lang"]] |= dict.fromkeys(paragraphs)
    return found

"""Bad input through the rule sets: set aside or dropped and counted, or a clear error; every other document as without.

The chain is FineWeb's, with a list of one domain; the good documents meet every step of it.
"""

import gzip
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from midtrain.manifest import Manifest
from midtrain.pipelines.read_parts import read_part

from tests.sizes import sized

STEPS = [
    {"url": {"domains": ["blocked.example"]}},
    {"language": {"keep": ["en"]}},
    {"gopher_repetition": {}},
    {"gopher_quality": {}},
    {"c4": {"terminal_marks": False}},
    {"fineweb_quality": {}},
]
NAMES = tuple(next(iter(step)) for step in STEPS)
SMALL = ("the", "of", "to", "and", "that", "have", "with", "be", "in", "on", "for", "a", "from", "this", "their")
NOUNS = """
river stone paper cloud engine winter garden letter market window number silver theory music kitchen answer bridge
forest teacher council museum neighbour company brother summer village doctor picture evening sister journey history
mountain station weather student language money building morning question science machine garment soldier captain
harbour island valley meadow orchard pepper butter cheese bread carpet mirror candle blanket ladder hammer basket
bottle circle corner county cousin danger desert dinner editor effort empire farmer father figure finger flower friend
future ground guitar health height heaven hunter injury insect jacket jungle lawyer leader leather lesson minute
moment mother nation nature needle office oxygen palace parent pencil person planet player pocket police prison profit
record region report rescue result school season second shadow signal smile spring square street
"""
SPOILT = "The text of this document can{} be read. It has words that have to be there, and of course the mark."


def sentence(rng: random.Random) -> str:
    nouns = NOUNS.split()
    words = [rng.choice(nouns if place % 2 else SMALL) for place in range(12)]
    return f"{' '.join(words)}.".capitalize()


def prose(rng: random.Random, lines: int = 8) -> str:
    return "\n".join(" ".join(sentence(rng) for _ in range(2)) for _ in range(lines))


def good() -> list[dict[str, Any]]:
    """Eighty documents; of every eight, six are dropped, each by another step."""
    rng = random.Random(5)
    found = []
    for number in range(80):
        text, host = prose(rng) + "\nWe use cookies here. Home", "fine.example"
        match number % 8:
            case 0:
                host = "www.blocked.example"
            case 1:
                text = "Der Rat der Stadt hat am Freitag beschlossen, die alte Brücke über den Fluss zu erneuern. " * 3
            case 2:
                text = f"{sentence(rng)}\n" * 30
            case 3:
                text = "\n".join(f"- {line}" for line in text.splitlines()[:8])
            case 4:
                text += "\nfunction() { return the answer; }."
            case 5:
                text = "\n".join(sentence(rng).removesuffix(".") for _ in range(16))
        found.append({"id": f"good-{number}", "url": f"https://{host}/{number}", "text": text, "n": number})
    return found


@dataclass(frozen=True)
class Bad:
    """Lines that hold no document, with a part of the error that is recorded, and documents that are odd but whole."""

    lines: tuple[tuple[bytes, str], ...]
    odd: tuple[tuple[str, str | None], ...]  # text, and the step that drops it


def with_nul() -> str:
    return prose(random.Random(6)).replace(" ", " \0", 3)


BAD = Bad(
    lines=(
        (b'{"id": "bad-0", "text": "' + SPOILT.format("").encode() + b' caf\xe9"}', "not UTF-8 at byte"),
        (b'{"id": "bad-1", "text": "' + SPOILT.format(" \\ud83d").encode() + b'"}', "not JSON"),  # half of a pair
        (b'{"id": "bad-2", "text": "' + SPOILT.format(" \\udc00\\ud800").encode() + b'"}', "not JSON"),
        (b'{"id": "bad-3", "text": "' + SPOILT.format(" \0").encode() + b'"}', "not JSON"),
        (b'{"id": "bad-4", "text": null}', "field text is null, not text"),
        (b'{"id": "bad-5", "body": "' + SPOILT.format("not").encode() + b'"}', "no field text"),
        (b'{"id": "bad-6", "text": "' + SPOILT.format("").encode(), "not JSON"),  # the line ends too early
        (b'["text", "of a list"]', "not a JSON object"),
        (b"\xff\xfe{", "not UTF-8 at byte 0"),
    ),
    odd=(("", "language"), (" \n\t\u3000", "language"), ("\0" * 50, "language"), (with_nul(), None), ("\ufeff", None)),
)
ODD_DROPPED = 4  # the last one by any step


def lines(records: Sequence[dict[str, Any]], bad: Bad | None = None) -> bytes:
    """The records as JSON lines, the bad ones strewn among them."""
    made = [orjson.dumps(record) for record in records]
    if bad is not None:
        odd = [orjson.dumps({"id": f"odd-{number}", "text": text}) for number, (text, _) in enumerate(bad.odd)]
        for number, line in enumerate((*(line for line, _ in bad.lines), *odd)):
            made.insert(1 + 6 * number, line)
    return b"".join(line + b"\n" for line in made)


class Folder:
    """A folder with inputs, recipes and outputs."""

    def __init__(self, root: Path, midtrain: Callable[..., Any]) -> None:
        self.root, self.midtrain = root, midtrain

    def curate(self, output: str, path: str, *flags: str, **source: Any) -> Any:
        content = {
            "name": output,
            "output": str(self.root / output),
            "sources": [{"name": "web", "path": str(self.root / path), **source}],
            "steps": STEPS,
        }
        recipe = self.root / f"{output}.yaml"
        recipe.write_bytes(orjson.dumps(content))
        return self.midtrain("curate", recipe, *flags)

    def rows(self, output: str, below: str = "") -> list[dict[str, Any]]:
        """The rows of the last stage's kept documents as a mixture reads them, or of what was dropped."""
        folder = self.root / output
        manifest = Manifest.read(folder)
        if not below:
            paths = [folder / file.path for file in manifest.files]
            assert paths
        last = folder / "stages" / manifest.counts["funnel"][-1]["stage"]
        found = sorted(last.glob(f"{below}/*.parquet")) if below else paths
        return [row for path in found for batch in read_part(path) for row in batch.to_pylist()]

    def scores(self, output: str) -> list[dict[str, Any]]:
        """Of every document, with what a decision needs, where a run scored; nothing else."""
        paths = sorted((self.root / output / "stages").glob("*-scores-*/part-*.parquet"))
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    def aside(self, output: str) -> list[dict[str, Any]]:
        files = sorted((self.root / output).rglob("quarantine/*.jsonl"))
        return [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]


@pytest.fixture
def folder(tmp_path: Path, midtrain: Callable[..., Any]) -> Folder:
    return Folder(tmp_path, midtrain)


def of_good(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["id"].startswith("good-")]


def exact(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows as text, in which a NaN is equal to a NaN and 0.1 to no other number."""
    return [repr(row) for row in rows]


def write_parquet(path: Path, texts: Sequence[bytes | None], **columns: Sequence[Any]) -> None:
    """A Parquet file that calls any bytes text."""
    data = b"".join(text or b"" for text in texts)
    ends = np.cumsum([0, *(len(text or b"") for text in texts)], dtype=np.int32)
    there = pa.array([text is not None for text in texts])
    bits = np.packbits(there.to_numpy(zero_copy_only=False), bitorder="little").tobytes()
    buffers = [pa.py_buffer(bits), pa.py_buffer(ends.tobytes()), pa.py_buffer(data)]
    array = pa.StringArray.from_buffers(len(texts), buffers[1], buffers[2], buffers[0])
    pq.write_table(pa.table({"text": array, **{name: pa.array(column) for name, column in columns.items()}}), path)


FLAGS = [
    pytest.param(("--workers", "0"), id="in process"),
    pytest.param(("--workers", "0", "--scores"), id="scores"),
    pytest.param(("--workers", "1", "--scores"), id="scores, a worker"),
    pytest.param(("--workers", "1"), id="a worker"),
]


@pytest.mark.parametrize("flags", FLAGS)
def test_bad_lines_are_set_aside_and_cost_no_other_document(folder: Folder, flags: tuple[str, ...]) -> None:
    (folder.root / "clean.jsonl").write_bytes(lines(good()))
    (folder.root / "mixed.jsonl.zst").write_bytes(zstandard.compress(lines(good(), BAD)))
    for output, path in (("clean", "clean.jsonl"), ("mixed", "mixed.jsonl.zst")):
        said = folder.curate(output, path, *flags)
        assert said.code == 0, said.err
        assert "Traceback" not in said.err
    kept, dropped = folder.rows("clean"), folder.rows("clean", "dropped")
    assert Counter(row["step"] for row in dropped) == dict.fromkeys(NAMES, 10)
    assert len(kept) == 20
    assert not any("cookies" in row["text"] for row in kept)  # c4 takes that line away
    assert exact(of_good(folder.rows("mixed"))) == exact(kept)
    assert exact(of_good(folder.rows("mixed", "dropped"))) == exact(dropped)
    assert exact(of_good(folder.scores("mixed"))) == exact(folder.scores("clean"))
    assert bool(folder.scores("clean")) == ("--scores" in flags)
    errors = [(row["step"], row["error"]) for row in folder.aside("mixed")]
    assert [step for step, _ in errors] == ["read"] * len(BAD.lines)
    for (_, error), (_, expected) in zip(errors, BAD.lines, strict=True):
        assert expected in error
    odd = {row["id"]: row["step"] for row in folder.rows("mixed", "dropped") if row["id"].startswith("odd-")}
    assert len(odd) == ODD_DROPPED
    assert all(odd[f"odd-{number}"] == step for number, (_, step) in enumerate(BAD.odd) if step is not None)
    (nul,) = [row for row in folder.rows("mixed") if row["id"] == "odd-3"]
    assert nul["text"] == with_nul()
    counts = Manifest.read(folder.root / "mixed").counts["funnel"][-1]
    total = len(good()) + len(BAD.odd)
    assert counts["kept"] + sum(counts["dropped"].values()) == total
    first = Manifest.read(folder.root / "mixed").counts["funnel"][0]
    assert (first["documents"], first["quarantined"]) == (total + len(BAD.lines), len(BAD.lines))


@pytest.mark.parametrize("flags", FLAGS[:2])
def test_bad_rows_of_parquet_are_set_aside_and_cost_no_other_document(folder: Folder, flags: tuple[str, ...]) -> None:
    records = good()
    texts: list[bytes | None] = [record["text"].encode() for record in records]
    ids, urls = [record["id"] for record in records], [record["url"] for record in records]
    write_parquet(folder.root / "clean.parquet", texts, id=ids, url=urls)
    for place, bad in ((70, b"caf\xe9 " * 50), (40, None), (9, b"\xed\xa0\x80 a surrogate"), (9, b""), (0, b"\0" * 9)):
        for column, value in ((texts, bad), (ids, f"bad-{place}"), (urls, None)):
            column.insert(place, value)
    write_parquet(folder.root / "mixed.parquet", texts, id=ids, url=urls)
    for output in ("clean", "mixed"):
        said = folder.curate(output, f"{output}.parquet", *flags)
        assert said.code == 0, said.err
    assert exact(of_good(folder.rows("mixed"))) == exact(folder.rows("clean"))
    assert exact(of_good(folder.rows("mixed", "dropped"))) == exact(folder.rows("clean", "dropped"))
    assert exact(of_good(folder.scores("mixed"))) == exact(folder.scores("clean"))
    assert len(folder.rows("clean")) == 20
    assert len(folder.aside("mixed")) == 3
    assert len(folder.rows("mixed", "dropped")) == len(folder.rows("clean", "dropped")) + 2


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def bad_footer(content: bytes) -> bytes:
    """Parquet whose footer is of its length, with other bytes in it."""
    size = int.from_bytes(content[-8:-4], "little")
    return content[: -8 - size] + bytes(byte ^ 0x5A for byte in content[-8 - size : -8]) + content[-8:]


def parquet(names: Sequence[str] = ("id", "url", "text")) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({name: [record[name] for record in good()] for name in names}), sink)
    return sink.getvalue().to_pybytes()


@dataclass(frozen=True)
class Damage:
    """A file beside a good one, and what the error must say."""

    name: str
    content: Callable[[], bytes]
    says: tuple[str, ...]
    code: int = 1
    fields: tuple[tuple[str, str], ...] = ()


DAMAGES = [
    Damage("half.jsonl.zst", lambda: half(zstandard.compress(lines(good()))), ("damaged or cut short",)),
    Damage("half.jsonl.gz", lambda: half(gzip.compress(lines(good()))), ("damaged or cut short",)),
    Damage("footer.parquet", lambda: bad_footer(parquet()), ("is not a Parquet file",)),
    Damage("length.parquet", lambda: parquet()[:-8] + b"\xff\xff\xff\x7fPAR1", ("is not a Parquet file",)),
    Damage("half.parquet", lambda: half(parquet()), ("is not a Parquet file",)),
    Damage("no_text.parquet", lambda: parquet(("id", "url")), ("80 of 160", "no field text")),
    Damage("no_text.jsonl", lambda: lines([{"id": "a", "body": "b"}] * 80), ("80 of 160", "no field text")),
    Damage("mapped.jsonl", lambda: lines(good()), ("160 of 160", "no field address"), fields=(("url", "address"),)),
]


@pytest.mark.parametrize(
    "flags", [*FLAGS[:2], *(pytest.param(*one.values, marks=pytest.mark.slow) for one in FLAGS[sized(2, 3) :])]
)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda one: one.name)
def test_a_damaged_file_ends_the_run_and_mended_the_run_goes_on(
    folder: Folder, damage: Damage, flags: tuple[str, ...]
) -> None:
    inputs = folder.root / "in"
    inputs.mkdir()
    ending = damage.name.partition(".")[2]
    whole = parquet() if ending == "parquet" else lines(good())
    (inputs / ("a.parquet" if ending == "parquet" else "a.jsonl")).write_bytes(whole)
    (inputs / damage.name).write_bytes(damage.content())
    pattern = "in/*.parquet" if ending == "parquet" else "in/*.jsonl*"
    said = folder.curate("out", pattern, *flags, **({"fields": dict(damage.fields)} if damage.fields else {}))
    assert said.code == damage.code
    assert "Traceback" not in said.err
    assert said.err.startswith("midtrain: run error\n")
    for part in (*damage.says, *(() if "of 160" in damage.says[0] else (f"in/{damage.name}",))):
        assert part in said.err
    assert not (folder.root / "out/manifest.json").exists()
    (inputs / damage.name).unlink()
    said = folder.curate("out", pattern, *flags)
    assert said.code == 0, said.err
    assert len(folder.rows("out")) == 20

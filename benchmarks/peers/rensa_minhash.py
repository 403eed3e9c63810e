"""rensa as a whole program: reads what `midtrain curate` reads, deduplicates, writes what it writes.

`rensa_minhash.py INPUT OUTPUT SHINGLES`: INPUT is JSON lines, plain, .gz, .zst, or Parquet; OUTPUT is Parquet in
zstandard. SHINGLES is `ngrams` (lower case, runs of 5 words, as many hashes and bands as datatrove's defaults) or
`words` (as its README does: single words, 128 hashes, where two texts of the same words in another order are the same).
Tells the user seconds, counted after the imports, and the ids that are kept. Holds the corpus in memory.
"""

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard
from isal import igzip
from rensa import RMinHashDeduplicator

COLUMNS = ("id", "text", "source", "url", "date", "language")
ROW_GROUP = 32 << 20  # bytes of text, as midtrain's parts


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Records; fields that are no column are kept as JSON, as midtrain keeps them."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
        return
    opener = {".gz": igzip.open, ".zst": zstandard.open}.get(path.suffix, open)
    with opener(path, "rb") as stream:
        for line in stream:
            record = orjson.loads(line)
            rest = {key: value for key, value in record.items() if key not in COLUMNS}
            yield {name: record.get(name) for name in COLUMNS} | {"metadata": orjson.dumps(rest).decode()}


def ngrams(text: str) -> list[str]:
    words = text.lower().split()
    return list(map(" ".join, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)))


def write(records: list[dict[str, Any]], path: Path) -> None:
    names = [*COLUMNS, "metadata"]
    schema = pa.schema([pa.field(name, pa.large_string() if name == "text" else pa.string()) for name in names])
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=["source"], write_statistics=False
    ) as writer:
        held, size = [], 0
        for record in records:
            held.append(record)
            size += len(record["text"])
            if size >= ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held, size = [], 0
        writer.write_table(pa.Table.from_pylist(held, schema=schema))


def user() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main() -> None:
    source, output, shingles = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    started = user()
    records = list(read(source))
    if shingles == "ngrams":
        deduplicator = RMinHashDeduplicator(threshold=0.8, num_perm=112, use_lsh=True, num_bands=14)
        flags = deduplicator.add_pairs((str(n), ngrams(record["text"])) for n, record in enumerate(records))
    else:
        deduplicator = RMinHashDeduplicator(threshold=0.8, num_perm=128, use_lsh=True)
        flags = deduplicator.add_pairs((str(n), record["text"].split()) for n, record in enumerate(records))
    kept = [record for record, flag in zip(records, flags, strict=True) if flag]
    write(kept, output)
    print(json.dumps({"user": user() - started, "kept": [record["id"] for record in kept]}))


if __name__ == "__main__":
    main()

"""datatrove's MinHash deduplication, all four blocks one after another in one process, as its executor runs them.

`datatrove_minhash.py FOLDER OUTPUT`: reads FOLDER's JSON lines, writes what is kept as Parquet, and tells the user
seconds, counted after its tokenizer is loaded, and the cluster of each document that is in one. Costs .5 to 3 MB/s.
"""

import json
import resource
import sys
from pathlib import Path

import pyarrow.parquet as pq
import xxhash
from datatrove.data import Document
from datatrove.pipeline.dedup import (
    MinhashConfig,
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import ParquetWriter


def user() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def main() -> None:
    folder, output = sys.argv[1], Path(sys.argv[2])
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    signatures, pairs, removed = (str(output / name) for name in ("signatures", "pairs", "removed"))
    signing = MinhashDedupSignature(signatures, config)
    signing._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())  # its own fails: xxhash 4 takes no str
    signing.get_shingles("Its tokenizer is loaded with the first text.")
    started = user()
    signing.run(JsonlReader(folder).run(), 0, 1)
    for rank in range(config.num_buckets):
        MinhashDedupBuckets(signatures, pairs, config=config).run(None, rank, config.num_buckets)
    MinhashDedupCluster(pairs, removed, config, save_cluster_id=True).run(None, 0, 1)
    filtering = MinhashDedupFilter(removed)
    for _ in ParquetWriter(str(output / "kept"), compression="zstd").run(
        filtering.run(JsonlReader(folder).run()), 0, 1
    ):
        pass
    seconds = user() - started
    kept = {
        row["id"] for path in (output / "kept").iterdir() for row in pq.read_table(path, columns=["id"]).to_pylist()
    }
    clusters = {}
    filtering = MinhashDedupFilter(removed, load_cluster_ids=True, exclusion_writer=Collected(clusters))
    for document in filtering.run(JsonlReader(folder).run()):
        clusters[document.id] = document.metadata["minhash_cluster_id"]
    told = {"user": seconds, "kept": sorted(kept), "clusters": {i: c for i, c in clusters.items() if c >= 0}}
    print(json.dumps(told))


class Collected:
    """Takes what a filter leaves out, in the place of a writer."""

    def __init__(self, clusters: dict[str, int]) -> None:
        self._clusters = clusters

    def __enter__(self) -> "Collected":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, document: Document, rank: int) -> None:
        self._clusters[document.id] = document.metadata["minhash_cluster_id"]


if __name__ == "__main__":
    main()

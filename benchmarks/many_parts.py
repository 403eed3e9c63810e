"""Built mixtures of any number of parts, written without what made them: real tokens in many parts, or parts on paper.

A reader's first batch must not wait for the size of what it reads, and ten trillion tokens fit on no disk here: so the
tables and the order are whole, and only the files of parts that are looked into are made, sparse. Costs 33 bytes of
disk a part, and about 4 ns a sequence and source for the order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from midtrain.manifest import Manifest, OutputFile, fingerprint
from midtrain.mixtures.built import VERSION as BUILT_VERSION
from midtrain.mixtures.built import Built
from midtrain.mixtures.packs.pack_requests import CHUNKS
from midtrain.mixtures.parts_table import PART, Table, stem_of, write_table
from midtrain.mixtures.phases import VERSION, PhaseFile, Pool, SourceEntry, write_phase
from midtrain.mixtures.plans.segments import phase_counts
from midtrain.mixtures.tokenizer_identity import Identity, file_hash

PHASE = "only"
VOCAB = 50_257


def write_mixture(root: Path, tables: Mapping[str, Table], length: int, shares: Mapping[str, float]) -> None:
    """Writes the tables, the order of one phase and the manifest of a mixture of chunked sources.

    Args:
        root: where.
        tables: PART[parts] of each source; each is drawn from once at most.
        length: tokens a sequence.
        shares: of the phase's sequences; that of the first source is all of its sequences.
    """
    indexes, entries, sources = [], [], {}
    first = next(iter(shares))
    for name, table in tables.items():
        folder = root / "tokens" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder, "part", table)
        write_table(folder, "held_out", np.empty(0, PART))
        sequences = int((-(-table["tokens"].astype(np.int64) // length)).sum())
        sources[name] = {
            "template": None,
            "tokens": f"tokens/{name}",
            "pack": "chunk",
            "too_long": "error",
            "parts": len(table),
            "documents": int(table["documents"].sum()),
            "ends_of_document": int(table["documents"].sum()),
            "tokens_total": int(table["tokens"].sum()),
            "supervised": int(table["tokens"].sum()),
            "held_out_documents": 0,
        }
        of_first = entries[0].quota if entries else sequences
        quota = min(round(of_first * shares[name] / shares[first]), sequences)
        pool = Pool(index=len(indexes), sequences=sequences, epoch=0)
        entries.append(
            SourceEntry(
                name=name, share=shares[name], loss="assistant", quota=quota, first_draw=0, rest=None, full=pool
            )
        )
        indexes.append(f"{CHUNKS}{name}-{length}-chunk-{fingerprint([name, length])[:16]}")
    quotas = np.array([entry.quota for entry in entries])
    counts, segments = phase_counts(quotas, None)
    file = PhaseFile(
        version=VERSION,
        phase=PHASE,
        seed=1,
        sequence_length=length,
        sequences=int(quotas.sum()),
        segments=segments,
        indexes=tuple(indexes),
        sources=tuple(entries),
    )
    ref = write_phase(root, file, counts)
    path = root / "tokenizer.json"
    path.write_bytes(b"none")
    identity = Identity("tokenizer.json", file_hash(path), VOCAB, "uint16", VOCAB - 1, "none", {"none": VOCAB - 1})
    options = {
        "name": "many-parts",
        "seed": 1,
        "tokenizer": {"path": path.name, **identity.record()},
        "sources": sources,
        "phases": [asdict(ref)],
        "history": [],
    }
    files = tuple(OutputFile.of(root, path, 0) for path in ref.files)
    Manifest("build", BUILT_VERSION, fingerprint(options), options=options, parents=(), files=files, counts={}).write(
        root
    )


def real_parts(root: Path, tokens: npt.NDArray[np.uint16], ends: npt.NDArray[np.int64], parts: int) -> None:
    """A mixture of one source whose documents lie in many parts, about as many in each."""
    folder = root / "tokens" / "web"
    folder.mkdir(parents=True)
    table = np.zeros(parts, PART)
    if len(ends) < parts:
        raise ValueError(f"{len(ends):,} documents are too few for {parts:,} parts")
    cuts = ends[np.linspace(0, len(ends), parts + 1).astype(np.int64)[1:] - 1]
    for part, (start, stop) in enumerate(zip([0, *cuts[:-1].tolist()], cuts.tolist(), strict=True)):
        inside = ends[(ends > start) & (ends <= stop)] - start
        stem = folder / stem_of("part", part)
        tokens[start:stop].tofile(stem.with_suffix(".tokens"))
        inside.astype("<u8").tofile(stem.with_suffix(".ends"))
        stem.with_suffix(".documents.parquet").write_bytes(b"-")
        table[part] = (stop - start, len(inside), 0, 1, part)
    write_mixture(root, {"web": table}, 4096, {"web": 1.0})


def parts_on_paper(root: Path, parts: int, tokens: int, length: int) -> None:
    """A mixture of three sources whose parts have no files; `make_parts` makes those that are needed."""
    shares = {"web": 0.7, "code": 0.2, "books": 0.1}
    tables = {}
    for name, share in shares.items():
        table = np.zeros(round(parts * share), PART)
        table["tokens"], table["documents"], table["documents_bytes"] = tokens // parts, 1000, 1
        tables[name] = table
    write_mixture(root, tables, length, shares)


def make_parts(root: Path, places: Iterable[Sequence[int]]) -> int:
    """Makes the files of the parts that the sequences at some places lie in, sparse; returns how many sequences."""
    built = Built.open(root)
    made = 0
    for first, stop in places:
        found = built.order.slice(PHASE, first, stop - first)
        for source, pack, sequence in zip(*(column.tolist() for column in found), strict=True):
            index = built.order.index(PHASE, pack)
            part = int(np.searchsorted(index.part_sequences, np.uint64(sequence), side="right")) - 1
            shards = built.shards(built.phases[PHASE].source_names[source])
            make_part(shards.folder, part, shards.table[part])
            made += 1
    return made


def make_all_parts(root: Path) -> None:
    """Makes the files of every part, sparse: of a mixture whose parts are so few that all are looked at when opened."""
    for table in root.glob("tokens/*/parts"):
        for part, record in enumerate(np.fromfile(table, PART)):
            make_part(table.parent, part, record)


def make_part(folder: Path, part: int, record: np.void) -> None:
    """Makes the files of a part: documents of about equal length whose tokens are all 0."""
    stem, tokens, documents = folder / stem_of("part", part), int(record["tokens"]), int(record["documents"])
    with Path(f"{stem}.tokens").open("wb") as stream:
        stream.truncate(tokens * 2)
    ends = np.arange(1, documents + 1) * (tokens // documents)
    ends[-1] = tokens
    ends.astype("<u8").tofile(f"{stem}.ends")
    Path(f"{stem}.documents.parquet").write_bytes(b"-")

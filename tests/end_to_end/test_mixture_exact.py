"""The mixture that was asked for is the one that batches hold, at the end, in every stretch, however it is read."""

import re
from collections import defaultdict
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from midtrain.manifest import Manifest, OutputFile, fingerprint
from midtrain.mixtures.built import VERSION, Built
from midtrain.mixtures.parts_table import PART, write_table
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, SourceTokens, plan
from midtrain.mixtures.plans.segments import Curve, curve_values
from midtrain.mixtures.shard_writer import write_part
from midtrain.mixtures.shards import DOCUMENTS, Shards
from midtrain.mixtures.shuffle import measure
from midtrain.mixtures.text_spans import spans_column
from midtrain.mixtures.tokenizer_identity import Identity, file_hash
from midtrain.trainer.loader import loader

pytestmark = pytest.mark.slow

WEIGHTS = {
    "s00": 0.45,
    "s01": 0.25,
    "s02": 0.12,
    "s03": 0.08,
    "s04": 0.05,
    "s05": 0.03,
    "s06": 0.013,
    "s07": 0.0055,
    "s08": 0.0012,
    "s09": 0.00025,
    "s10": 0.000049,
    "s11": 0.000001,
}
TOKENS = 130_000_000
LENGTH = 64
# A second phase of another length, with the weights the other way round: what is left of each epoch is packed anew.
NEXT_TOKENS, NEXT_LENGTH = 7_000_000, 96
# A third, whose weights change on its way.
CHANGING = {"s00": (0.8, 0.1), "s05": (0.1, 0.6), "s07": (0.05, 0.25), "s11": (0.05, 0.05)}
CHANGE_TOKENS = 9_000_000
EPOCHS = 3.3  # of the first phase: the large sources are seen more than three times
VOCABULARY, END = 1 << 24, 0
ODD = 1 << 23  # tokens at odd places say where they stand in their document, those at even places in which one


def exact(share):
    """The share as it is written."""
    return Fraction(str(share))


def documents_of(number, tokens):
    """Lengths of documents, lognormal, to so many tokens; the end of document included."""
    rng = np.random.default_rng(number)
    lengths = np.minimum(rng.lognormal(np.log(40), 1.0, max(int(tokens / 50), 20)).astype(np.int64) + 2, 60_000)
    enough = np.searchsorted(np.cumsum(lengths), tokens) + 1
    return lengths[:enough]


def write_source(root, name, number, tokens):
    """The shards of a source, in parts, written as a build writes them; what SourceTokens says of it."""
    folder = root / "tokens" / f"{name}-{'0' * 16}"
    lengths = documents_of(number, tokens)
    parts = 3 if lengths.sum() > 100_000 else 1
    records, first = np.zeros(parts, PART), 0
    for part, chosen in enumerate(np.array_split(lengths, parts)):
        ends = np.cumsum(chosen)
        starts = ends - chosen
        document = np.repeat(np.arange(first, first + chosen.size), chosen)
        offset = np.arange(ends[-1]) - np.repeat(starts, chosen)
        ids = np.where(offset % 2, ODD + offset, 1 + document).astype(np.uint32)
        ids[ends - 1] = END
        rows = [
            pa.array([f"{name}/{i}" for i in range(first, first + chosen.size)]),
            pa.array([name] * chosen.size),
            pa.array([name] * chosen.size),
            pa.nulls(chosen.size, pa.string()),
            pa.array(starts.astype(np.uint64)),
            pa.array(chosen.astype(np.uint32)),
            pa.array(chosen * 4),
            spans_column(None, chosen.size),
        ]
        paths = write_part(
            folder,
            f"part-{part:05d}",
            np.dtype(np.uint32),
            ids,
            ends.astype(np.uint64),
            np.ones(ids.size, np.bool_),
            pa.table(rows, schema=DOCUMENTS),
            end_of_document=END,
        )
        size = next(path for path in paths if path.suffix == ".parquet").stat().st_size
        records[part] = (ids.size, chosen.size, 0, size, part)
        first += chosen.size
    write_table(folder, "part", records)
    write_table(folder, "held_out", np.empty(0, PART))
    shards = Shards.open(folder, np.dtype(np.uint32))
    pack = "whole" if number % 2 else "chunk"
    return SourceTokens(name, fingerprint([name]), shards, pack, "drop" if number == 1 else "split")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A built mixture of twelve sources, what its phases ask for, and the rows of its plan."""
    root = tmp_path_factory.mktemp("exact")
    assert sum(map(Fraction, map(str, WEIGHTS.values()))) == 1
    sources = {
        name: write_source(root, name, number, max(share * TOKENS / EPOCHS, 4_000))
        for number, (name, share) in enumerate(WEIGHTS.items())
    }
    other_way = dict(zip(WEIGHTS, reversed(WEIGHTS.values()), strict=True))
    other_way |= {"s00": 0.00005, "s01": 0}  # one leaves
    asked = {"main": (TOKENS, LENGTH, WEIGHTS), "next": (NEXT_TOKENS, NEXT_LENGTH, other_way)}
    phases = [
        PhaseSpec(name, length, tokens, tuple(PhaseWeight(of, share, "all", None) for of, share in shares.items()))
        for name, (tokens, length, shares) in asked.items()
    ]
    changing = tuple(PhaseWeight(of, start, "all", None, to=end) for of, (start, end) in CHANGING.items())
    phases.append(PhaseSpec("anneal", LENGTH, CHANGE_TOKENS, changing, change="cosine"))
    asked["anneal"] = (CHANGE_TOKENS, LENGTH, {of: sum(map(exact, ends)) / 2 for of, ends in CHANGING.items()})
    planned = plan(root, 11, sources, phases)
    entries = {
        name: {
            "template": None,
            "tokens": str(source.shards.folder.relative_to(root)),
            "pack": source.pack,
            "too_long": source.too_long,
            "parts": len(source.shards.parts),
            "documents": int(source.shards.part_documents.sum()),
            "ends_of_document": int(source.shards.part_documents.sum()),
            "tokens_total": int(source.shards.part_tokens.sum()),
            "supervised": int(source.shards.part_tokens.sum()),
            "held_out_documents": 0,
        }
        for name, source in sources.items()
    }
    path = root / "tokenizer.json"
    path.write_bytes(b"none")
    identity = Identity("tokenizer.json", file_hash(path), VOCABULARY, "uint32", END, "none", {"none": END})
    options = {
        "name": "exact",
        "seed": 11,
        "tokenizer": {"path": path.name, **identity.record()},
        "sources": entries,
        "phases": [asdict(ref) for ref in planned.phases],
        "history": [],
    }
    files = tuple(OutputFile.of(root, path, 0) for path in planned.files)
    Manifest("build", VERSION, fingerprint(options), options=options, files=files).write(root)
    return Built.open(root), asked, planned.rows


def read(built, phase, batch_sequences=1024):
    """Of all sequences of a phase, from the batches: source int32[n], tokens that are no padding int64[n]."""
    sources, real = [], []
    for batch in built.batches(phase, 0, batch_sequences):
        sources.append(batch.sources.copy())
        real.append((batch.segments >= 0).sum(axis=1))
    return np.concatenate(sources), np.concatenate(real)


@pytest.fixture(scope="module")
def measured(mixture):
    built = mixture[0]
    return {phase: read(built, phase) for phase in built.phases}


def test_the_tokens_in_the_batches_are_those_asked_for(mixture, measured):
    built, asked, rows = mixture
    assert built.phases["main"].sequences > 2_000_000
    for phase, (tokens, length, shares) in asked.items():
        names = built.phases[phase].source_names
        source, real = measured[phase]
        by_source = np.bincount(source, weights=real, minlength=len(names)).astype(np.int64)
        sequences = np.bincount(source, minlength=len(names))
        for number, name in enumerate(names):
            planned = exact(shares[name]) * tokens
            assert abs(by_source[number] - planned) <= length, (phase, name)
            (row,) = [row for row in rows if (row.phase, row.source) == (phase, name)]
            assert (row.tokens, row.sequences) == (by_source[number], sequences[number])
            assert sequences[number] == built.order.phase(phase).quotas[number]
            assert (sequences[number] > 0) == (shares[name] > 0)
        assert abs(int(by_source.sum()) - tokens) <= length * len(names)


@pytest.mark.parametrize("batch", [1, 8, 64])
def test_every_prefix_and_every_window_of_a_thousand_steps_holds_the_shares(mixture, measured, batch):
    built, _, _ = mixture
    for phase in ("main", "next"):
        source, _ = measured[phase]
        quotas = built.order.phase(phase).quotas
        total = source.size
        steps = np.append(np.arange(0, total, batch), total)
        for number, quota in enumerate(quotas.tolist()):
            counts = np.concatenate([[0], np.cumsum(source == number)])[steps]
            assert np.abs(counts - steps * quota / total).max() < 1
            if steps.size <= 1000:
                continue
            held, places = counts[1000:] - counts[:-1000], steps[1000:] - steps[:-1000]
            expected = places * quota / total
            assert (np.abs(held - expected) <= np.maximum(0.001 * expected, 2)).all(), (phase, number)


def test_changing_weights_follow_their_curve_at_every_place(mixture, measured):
    built, _, _ = mixture
    source, real = measured["anneal"]
    order = built.order.phase("anneal")
    assert order.sources == tuple(CHANGING)
    curve = Curve(*(tuple(exact(ends[i]) for ends in CHANGING.values()) for i in (0, 1)), "cosine")
    places = np.arange(source.size + 1)
    values = curve_values(order.quotas, curve, places)
    at = np.concatenate([[0], np.cumsum(real)]) / real.sum()  # how much of the phase's tokens was seen
    eased = at / 2 - np.sin(np.pi * at) / (2 * np.pi)  # the integral of (1 - cos πx) / 2
    for number, (start, end) in enumerate(CHANGING.values()):
        counts = np.concatenate([[0], np.cumsum(source == number)])
        assert np.abs(counts - values[:, number]).max() < 2
        tokens = np.concatenate([[0], np.cumsum(np.where(source == number, real, 0))])
        wanted = (start * at + (end - start) * eased) * CHANGE_TOKENS
        # Two sequences, and what a source's own sequences stray from their mean.
        assert np.abs(tokens - wanted).max() < 0.001 * CHANGE_TOKENS
    assert len(order.starts) - 1 > 300


def test_rare_sources_come_as_often_as_they_should_and_not_in_a_heap(mixture, measured):
    built, _, _ = mixture
    source, _ = measured["main"]
    names = built.phases["main"].source_names
    quotas = built.order.phase("main").quotas
    assert 1 <= quotas[names.index("s11")] <= 4
    for name in ("s09", "s10", "s11"):
        places = np.flatnonzero(source == names.index(name))
        gap = source.size / quotas[names.index(name)]
        assert (np.diff(places) < 2 * gap + 1).all()


def test_no_document_comes_again_before_its_source_is_through(mixture):
    """Over both phases, the length and the weights changed in between."""
    built, _, _ = mixture
    for name in ("s06", "s07"):  # one in chunks, one packed whole
        shards = built.shards(name)
        first = np.concatenate([[0], np.cumsum(shards.part_tokens.astype(np.int64))])
        seen = np.zeros(first[-1], dtype=np.int64)
        for phase in ("main", "next"):
            places = built.order.slice(phase, 0, built.phases[phase].sequences)
            mine = places.source == built.phases[phase].source_names.index(name)
            for pack, sequence in zip(places.pack[mine].tolist(), places.sequence[mine].tolist(), strict=True):
                for part, start, length, _ in built.order.index(phase, pack).sequence(sequence).tolist():
                    seen[first[part] + start : first[part] + start + length] += 1
        assert seen.max() - seen.min() <= 1
        assert seen.min() >= 3


def pieces_of(tokens, segments):
    """What the tokens say of each piece of a row that is longer than one token: document, start, length."""
    edges = np.flatnonzero(np.diff(segments, prepend=-2, append=-2))
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if segments[start] < 0:
            continue
        one, two = int(tokens[start]), int(tokens[start + 1]) if stop - start > 1 else -1
        if two < 0:
            yield from alone(one)
        elif one < ODD:  # begins at an even place; the next one says at which, unless the document ends there
            yield one - 1, (two - ODD - 1 if two != END else -1), stop - start
        else:
            yield (two - 1 if two != END else -1), one - ODD, stop - start


def alone(token):
    """A piece of one token: what it says of itself."""
    yield (token - 1, -1, 1) if 0 < token < ODD else (-1, token - ODD if token >= ODD else -1, 1)


STEPS = 400
BATCH = 64  # sequences of a step, all ranks together


def listed(built, first, steps, world_size, micro, workers):
    """The list of (step, document, span) that a run with so many ranks, micro-batches and workers sees; its state."""
    reads = [
        loader(
            built,
            "main",
            BATCH,
            first=first,
            end=first + steps * BATCH,
            rank=rank,
            world_size=world_size,
            workers=workers,
            pin_memory=False,
        )
        for rank in range(world_size)
    ]
    rows = []
    for number, batches in enumerate(zip(*reads, strict=True)):
        for batch in batches:
            for begin in range(0, len(batch), micro):
                tokens, _, segments, _ = batch.rows(begin, micro)
                for row_tokens, row_segments in zip(tokens.numpy(), segments.numpy(), strict=True):
                    step = first // BATCH + number
                    rows += [(step, *piece) for piece in pieces_of(row_tokens, row_segments)]
    states = {orjson.dumps(one.state_dict()) for one in reads}
    assert len(states) == 1
    return rows, orjson.loads(states.pop())["sequence"]


def test_the_list_of_what_is_seen_is_the_same_however_it_is_read(mixture):
    built, _, _ = mixture
    first = 1_000_000 // BATCH * BATCH
    whole, state = listed(built, first, STEPS, world_size=4, micro=16, workers=0)
    assert state == first + STEPS * BATCH
    pieces, at = [], first
    # 4 ranks; 2 ranks that accumulate 2 micro-batches; 2 that accumulate 8; 8 ranks; 1 rank with 3 workers.
    for world_size, micro, workers in ((4, 16, 1), (2, 16, 2), (2, 4, 0), (8, 8, 0), (1, 64, 3)):
        found, at = listed(built, at, STEPS // 5, world_size, micro, workers)
        pieces += found
    assert at == state
    assert len(whole) > STEPS * BATCH
    assert orjson.dumps(pieces) == orjson.dumps(whole)
    # And it is what the order says: of every piece, as far as its tokens tell.
    names, told = built.phases["main"].source_names, iter(whole)
    documents = {name: _starts(built.shards(name)) for name in names}
    for place in range(first, first + 40 * BATCH):
        name, spans = built.order.spans("main", place)
        for part, start, length, _ in spans.tolist():
            step, document, offset, size = next(told)
            number, begins = documents[name][part]
            inside = int(np.searchsorted(begins, start, side="right")) - 1
            assert (step, size) == (place // BATCH, length)
            assert document in (-1, number + inside)
            assert offset in (-1, start - int(begins[inside]))


def _starts(shards):
    """Of every part: the number of its first document in the source, and where its documents begin."""
    found, number = [], 0
    for part in range(len(shards.parts)):
        ends = shards.ends(part).astype(np.int64)
        found.append((number, np.concatenate([[0], ends[:-1]])))
        number += ends.size
    return found


def test_the_order_is_shuffled(mixture):
    built, _, _ = mixture
    for phase in built.phases:
        found = measure(built.order, phase)
        assert found.batches == 1_000
        assert found.faults == ()
        assert found.sources.p > 0.001
        assert found.source_neighbours.value < 0.01
        assert abs(found.order_neighbours.value) < found.order_neighbours.bound


# Built from text: files, order of inputs and workers change no byte.


def corpus(shop, files, shuffled):
    """Twelve sources of lognormal documents, each in so many files, curated."""
    rng = np.random.default_rng(5)
    texts = iter(shop.texts(12 * 70, seed=9))
    words = " ".join(next(texts) for _ in range(40)).split()
    sources = []
    for number in range(12):
        lengths = np.minimum(rng.lognormal(3, 1, 60).astype(int) + 2, 400)
        picks = [rng.integers(0, len(words), length) for length in lengths]
        records = shop.records(f"s{number}-", [" ".join(words[i] for i in pick) for pick in picks])
        order = np.random.default_rng(number).permutation(60) if shuffled else np.arange(60)
        for file, chosen in enumerate(np.array_split(order, files)):
            shop.jsonl(f"s{number}-{file}.jsonl", [records[i] for i in chosen])
        sources.append({"name": f"s{number}", "path": f"{shop.root}/data/s{number}-*.jsonl", "format": "jsonl"})
    shop.curate(sources=sources, steps=[])


def test_seven_times_as_many_shuffled_files_and_other_workers_change_no_byte(workshop, built_workshop):
    (path,) = built_workshop.root.glob("shards/stages/tokenizer-*/tokenizer.json")
    parts = [0.45, 0.2, 0.12, 0.08, 0.05, 0.04, 0.02, 0.015, 0.01, 0.008, 0.005, 0.002]
    found = []
    for files, shuffled, workers in ((1, False, 0), (7, True, 2)):
        shop = type(workshop)(workshop.root / f"{files}")
        corpus(shop, files, shuffled)
        sources = [
            {
                "name": f"s{number}",
                "documents": str(shop.root / "out"),
                "where": {"source": f"s{number}"},
                "pack": "whole" if number % 2 else "chunk",
                "too_long": "split" if number % 2 else "error",
            }
            for number in range(12)
        ]
        weights = {f"s{number}": {"share": share, "max_epochs": 99} for number, share in enumerate(parts)}
        phases = [
            {"name": "one", "sequence_length": 64, "tokens": 60_000, "weights": weights},
            {"name": "two", "sequence_length": 96, "tokens": 30_000, "weights": weights},
        ]
        tokenizer = {"path": str(path), "end_of_document": "<|end|>"}
        shop.build(workers=workers, tokenizer=tokenizer, sources=sources, phases=phases)
        found.append(without_fingerprints(shop.root / "shards"))
    one, seven = found
    assert {Path(name).parts[0] for name in one} == {"tokens", "packs", "order"}
    assert sum(name.startswith("order") for name in one) == 4
    assert one == seven


def without_fingerprints(root):
    """The bytes of shards, packs and order, by names without the fingerprints in them, which are of the inputs too."""
    found = defaultdict(list)
    for path in root.rglob("*"):
        name = re.sub(r"-[0-9a-f]{16,32}", "", str(path.relative_to(root)))
        if path.is_file() and path.name != "manifest.json" and Path(name).parts[0] in ("tokens", "packs", "order"):
            data = path.read_bytes()
            found[name].append(re.sub(rb"-[0-9a-f]{16,32}", b"", data) if path.suffix == ".json" else data)
    return {name: sorted(contents) for name, contents in found.items()}

"""The shuffle: a corpus sorted by language comes out as by chance, and an order that is not shuffled is called so."""

import math
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import xxhash
from midtrain.mixtures import permutation
from midtrain.mixtures.order import Order
from midtrain.mixtures.packs.pack_requests import SourceTokens
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan
from midtrain.mixtures.shuffle import Correlation, chi_square, measure, upper_tail

MemoryEnds = runpy.run_path(str(Path(__file__).with_name("memory_ends.py")))["MemoryEnds"]
LANGUAGES = {"en": 60_000, "de": 25_000, "fi": 8_000, "ko": 5_000, "sw": 2_000}


def corpus(by_hash):
    """Lengths and languages of documents that lie sorted by language, which decides how long they are."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(LANGUAGES)), list(LANGUAGES.values()))
    lengths = np.minimum(rng.lognormal(np.log(12) + labels * 0.25, 0.5).astype(np.int64) + 1, 64)
    if by_hash:
        keys = [xxhash.xxh3_128_intdigest(f"{label}/{i}".encode()) for i, label in enumerate(labels.tolist())]
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__))
        labels, lengths = labels[order], lengths[order]
    return lengths, labels


def planned(root, pack, by_hash=True):
    lengths, labels = corpus(by_hash)
    sources = {
        "web": SourceTokens("web", "w" * 32, MemoryEnds.of(lengths, 4), pack, "error"),
        "cot": SourceTokens("cot", "c" * 32, MemoryEnds.of([32] * 3_000, 2), "whole", "error"),
    }
    shares = (PhaseWeight("web", 0.8, "all", 9), PhaseWeight("cot", 0.2, "all", 99))
    refs = plan(root, 3, sources, [PhaseSpec("p", 64, int(lengths.sum() * 2.2), shares)]).phases
    order = Order.open(root, refs, lambda name: sources[name].shards)
    ends = sources["web"].shards.by_part
    starts = [np.concatenate([np.zeros(1, np.uint64), one[:-1]]) for one in ends]
    first_document = np.concatenate([[0], np.cumsum([len(one) for one in ends])])

    def languages(places):
        counts = np.zeros(len(LANGUAGES), dtype=np.int64)
        for pack_number, sequence in zip(places.pack.tolist(), places.sequence.tolist(), strict=True):
            if not order.phase("p").indexes[pack_number].split("/")[1].startswith("web"):
                continue
            # Best-fit-decreasing lays documents of like lengths side by side: there each sequence counts once.
            spans = order.index("p", pack_number).sequence(sequence)[: None if pack == "chunk" else 1]
            part = int(spans["part"][0])  # a sequence is of one part
            number = np.searchsorted(ends[part], spans["start"], side="right")
            begins = starts[part][number] == spans["start"]
            np.add.at(counts, labels[first_document[part] + number[begins]], 1)
        return counts

    return order, languages


@pytest.mark.parametrize("pack", ["chunk", "whole"])
def test_a_sorted_corpus_comes_out_as_chance_has_it(tmp_path, pack):
    order, languages = planned(tmp_path, pack)
    found = measure(order, "p", languages, batch_sequences=64, batches=1_000)
    assert found.batches > 700
    assert found.faults == ()
    assert found.labels.p > 0.001
    assert found.labels.degrees >= (found.batches - 1) * 2  # rare languages are taken together
    assert 0.8 * found.labels.degrees < found.labels.value
    assert found.sources.p > 0.999  # spread more evenly than by chance
    assert found.sources.degrees == found.batches
    assert found.source_neighbours.value < 0.01
    assert found.order_neighbours.pairs > 30_000
    assert abs(found.order_neighbours.value) < 0.01


def test_an_order_without_a_permutation_is_found_out(tmp_path, monkeypatch):
    order, languages = planned(tmp_path, "whole")
    monkeypatch.setattr(permutation, "permute", lambda index, n, key: index)
    found = measure(order, "p", languages, batches=300)
    assert found.order_neighbours.value > 0.9
    assert found.labels.p < 1e-6  # long documents, and so their languages, are packed first
    assert len(found.faults) == 2


def test_documents_in_the_order_of_the_corpus_are_found_out(tmp_path):
    order, languages = planned(tmp_path, "chunk", by_hash=False)
    found = measure(order, "p", languages, batches=300)
    assert found.labels.p < 1e-6
    assert any(fault.startswith("labels in batches") for fault in found.faults)


@dataclass(frozen=True)
class InRuns:
    """An order whose sources come in runs of 32."""

    order: Order

    def phase(self, name):
        return self.order.phase(name)

    def slice(self, name, first, count):
        runs = (np.arange(first, first + count) // 32) % 5 == 0
        return self.order.slice(name, first, count)._replace(source=runs.astype(np.int32))


def test_a_source_that_comes_in_runs_is_found_out(tmp_path):
    found = measure(InRuns(planned(tmp_path, "chunk")[0]), "p")
    assert found.source_neighbours.value > 0.5
    assert any("neighbours are of one source" in fault for fault in found.faults)
    assert found.sources.p < 1e-6


def test_a_phase_of_fewer_than_two_batches_has_no_numbers(tmp_path):
    sources = {"web": SourceTokens("web", "w" * 32, MemoryEnds.of([64] * 100), "chunk", "error")}
    refs = plan(tmp_path, 1, sources, [PhaseSpec("p", 64, 6_400, (PhaseWeight("web", 1.0, "all"),))]).phases
    order = Order.open(tmp_path, refs, lambda name: sources[name].shards)
    assert measure(order, "p") is None
    few = measure(order, "p", batch_sequences=10)
    assert (few.batches, few.sources.p, few.order_neighbours, few.faults) == (10, 1.0, None, ())


@pytest.mark.parametrize(
    ("value", "degrees", "p"),
    # From a table of the distribution (Abramowitz and Stegun 26.8).
    [(18.307, 10, 0.05), (29.588, 10, 0.001), (124.342, 100, 0.05), (67.328, 100, 0.995)],
)
def test_the_upper_tail_is_that_of_the_tables(value, degrees, p):
    assert upper_tail(value, degrees) == pytest.approx(p, rel=0.08)


def test_chi_square_of_a_table_worked_by_hand():
    counts, expected = np.array([[12, 8], [6, 14]]), np.array([[9.0, 11.0], [9.0, 11.0]])
    found = chi_square(counts, expected, 1)
    assert found.value == pytest.approx(1 + 9 / 11 + 1 + 9 / 11)
    rare = chi_square(np.array([[60, 3, 1]]), np.array([[60.0, 3.0, 2.0]]), 1)
    assert rare.value == pytest.approx((4 - 5) ** 2 / 5)  # taken together they expect 5
    assert chi_square(np.array([[60, 1]]), np.array([[59.0, 2.0]]), 1).p == 1.0


def test_few_pairs_may_lie_farther_from_zero():
    assert Correlation(0.02, 10**6).bound == 0.01
    assert Correlation(0.02, 400).bound == pytest.approx(4 / math.sqrt(400))

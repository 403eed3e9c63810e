"""Quotas of a phase: so many sequences exactly, and every refusal with the smallest number that would do."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError
from midtrain.mixtures.packs.pack_requests import SourceTokens
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan
from midtrain.mixtures.plans.weights import Group

from tests.mixtures.memory_ends import MemoryEnds


def source(name, lengths, pack="chunk", too_long="drop", parts=1):
    return SourceTokens(name, f"fingerprint of {name}", MemoryEnds.of(lengths, parts), pack, too_long)


def lognormal(seed, count, median=60.0):
    return np.random.default_rng(seed).lognormal(np.log(median), 1.0, count).astype(np.int64) + 1


@pytest.fixture(scope="module")
def sources():
    return {
        "web": source("web", lognormal(1, 3000), parts=3),
        "cot": source("cot", np.minimum(lognormal(2, 800), 128), "whole", parts=2),
        "rare": source("rare", lognormal(3, 60, 20.0), "whole"),
    }


def weights(*shares, **more):
    names = ("web", "cot", "rare")
    return tuple(PhaseWeight(name, share, "all", 999, **more) for name, share in zip(names, shares, strict=False))


def rows(root, sources, *phases):
    return plan(root, 1, sources, phases).rows


@settings(max_examples=60, deadline=None)
@given(st.integers(5, 900), st.lists(st.integers(1, 1000), min_size=3, max_size=3), st.integers(0, 3000))
def test_a_phase_of_sequences_is_exactly_so_long(tmp_path_factory, sources, sequences, parts, fixed):
    shares = [Fraction(part, sum(parts)) for part in parts]
    given_ = weights(*shares[:2], "rest" if fixed else shares[2])
    given_ += (Group("g", (PhaseWeight("more", tokens=fixed),)),) if fixed else ()
    every = {**sources, "more": source("more", [7] * 1000)}
    try:
        found = rows(tmp_path_factory.mktemp("p"), every, PhaseSpec("p", 128, None, given_, sequences))
    except ConfigError as error:
        wrong = str(error)
    else:
        wrong = ""
    if wrong:
        assert re.search("would not appear|more sequences than the phase has", wrong)
        return
    assert sum(row.sequences for row in found) == sequences
    for row in found:
        assert abs(row.tokens - row.planned_tokens) <= 128 / 2 + 1
    total = sum(row.planned_tokens for row in found)
    for row, share in zip(sorted(found, key=lambda row: row.source != "cot")[:1], shares[1:2], strict=True):
        assert abs(row.planned_tokens - share * total) <= 2


def test_a_phase_of_sequences_is_as_near_to_its_shares_as_one_of_tokens(tmp_path, sources):
    by_sequences = rows(tmp_path / "s", sources, PhaseSpec("p", 128, None, weights(0.6, 0.3, 0.1), 200))
    tokens = sum(row.planned_tokens for row in by_sequences)
    by_tokens = rows(tmp_path / "t", sources, PhaseSpec("p", 128, tokens, weights(0.6, 0.3, 0.1)))
    for one, other in zip(by_sequences, by_tokens, strict=True):
        assert abs(one.sequences - other.sequences) <= 1
    assert [row.share for row in by_sequences] == pytest.approx([0.3, 0.1, 0.6])


def refused(root, sources, *phases):
    with pytest.raises(ConfigError) as wrong:
        plan(root, 1, sources, phases)
    assert not list(root.glob("order/*"))
    return wrong.value


def number(error, key):
    return int(re.search(rf"{key}: (\d+)", error.fix)[1])


CHANGING = (
    PhaseWeight("web", 0.9, max_epochs=9),
    PhaseWeight("cot", 0.099, max_epochs=9, to=0.091),
    PhaseWeight("rare", 0.001, to=0.009),
)
SMALL = [
    ("tokens", lambda n: PhaseSpec("p", 128, n, weights(0.9, 0.09, 0.01))),
    ("tokens", lambda n: PhaseSpec("p", 128, n, weights(0.9, "rest", 0.004))),
    ("tokens", lambda n: PhaseSpec("p", 128, n, (*weights(0.9, 0.099), Group("g", weights(0, 0, 1)[2:], 0.001)))),
    ("tokens", lambda n: PhaseSpec("p", 128, n, CHANGING, change="linear")),
    ("total_tokens", lambda n: PhaseSpec("p", 128, n, weights(0.9, 0.09, 0.01), fraction=0.125)),
    ("sequences", lambda n: PhaseSpec("p", 128, None, weights(0.9, 0.09, 0.01), n)),
    ("sequences", lambda n: PhaseSpec("p", 128, None, weights(0.9, "rest", 0.003), n)),
    ("tokens", lambda n: PhaseSpec("p", 128, 5000, (*weights(0.7, "rest"), PhaseWeight("rare", tokens=n)))),
    ("tokens", lambda n: PhaseSpec("p", 128, None, (PhaseWeight("web", tokens=999), PhaseWeight("rare", tokens=n)))),
]


@pytest.mark.parametrize(("key", "phase"), SMALL)
def test_exactly_the_smallest_number_includes_the_source(tmp_path, sources, key, phase):
    start = 20 if key != "sequences" else 4
    error = refused(tmp_path, sources, phase(start))
    names = [one for one in ("web", "cot", "rare") if f"source {one}" in str(error)]
    smallest = max(int(one) for one in re.findall(rf"(?:{key}: |; )(\d+)", str(error)))
    found = rows(tmp_path / "enough", sources, phase(smallest))
    assert {row.source: row.sequences for row in found}["rare"] >= 1
    assert "rare" in names
    assert "would not appear" in str(refused(tmp_path / "less", sources, phase(smallest - 1)))


def test_epochs_that_are_too_few_name_enough(tmp_path, sources):
    def phase(epochs):
        return PhaseSpec("p", 128, None, (PhaseWeight("web", tokens=999), PhaseWeight("rare", epochs=epochs)))

    error = refused(tmp_path, sources, phase(0.001))
    enough = float(re.search(r"epochs: ([0-9.]+)", error.fix)[1])
    assert rows(tmp_path, sources, phase(enough))[0].sequences == 1
    assert enough < 0.1


def test_several_that_would_not_appear_are_all_named(tmp_path, sources):
    phase = [PhaseSpec("p", 128, n, weights(0.998, 0.0012, 0.0008)) for n in (20_000,)]
    error = refused(tmp_path, sources, *phase)
    assert error.what.count("would not appear") == 2
    enough = int(re.search(r"; (\d+) includes all 2", error.what)[1])
    assert min(row.sequences for row in rows(tmp_path, sources, PhaseSpec("p", 128, enough, phase[0].weights))) == 1
    less = refused(tmp_path / "less", sources, PhaseSpec("p", 128, enough - 1, phase[0].weights))
    assert less.what.count("would not appear") == 0 or "would not appear" in str(less)


def test_where_shares_hang_on_the_length_no_other_length_is_advised(tmp_path, sources):
    weighed = (*weights(0.899, 0.001), PhaseWeight("rare", tokens=100))
    assert "a larger share" in refused(tmp_path, sources, PhaseSpec("p", 128, 1000, weighed)).fix


@pytest.mark.parametrize("least", [300, 1000, 3333])
def test_exactly_the_smallest_phase_gives_min_tokens(tmp_path, sources, least):
    def phase(tokens):
        small = PhaseWeight("cot", 0.05, "all", 9, min_tokens=least)
        return PhaseSpec("p", 128, tokens, (PhaseWeight("web", 0.95, "all", 9), small))

    error = refused(tmp_path, sources, phase(least * 10))
    assert "fewer tokens than its min_tokens" in error.what
    enough = number(error, "tokens")
    assert rows(tmp_path, sources, phase(enough))[0].tokens >= least
    assert "min_tokens" in str(refused(tmp_path / "less", sources, phase(enough - 1)))


def test_epochs_are_permission_to_repeat_and_max_epochs_a_limit(tmp_path, sources):
    def phase(**more):
        return PhaseSpec("p", 128, None, (PhaseWeight("web", tokens=999), PhaseWeight("rare", epochs=2.5, **more)))

    assert rows(tmp_path, sources, phase(max_epochs=None))[0].epochs == pytest.approx(2.5, abs=0.1)
    error = refused(tmp_path / "less", sources, phase(max_epochs=2))
    assert number(error, "max_epochs") == 3


def test_epochs_count_what_can_be_drawn(tmp_path):
    """Documents that are dropped as too long are in no epoch: two epochs are each that remains, twice."""
    long = {"cot": source("cot", [30] * 50 + [500] * 20, "whole")}
    found = rows(tmp_path, long, PhaseSpec("p", 128, None, (PhaseWeight("cot", epochs=2, max_epochs=None),)))
    assert (found[0].tokens, found[0].epochs, found[0].available) == (3000, 2.0, 1500)
    assert (found[0].dropped_documents, found[0].dropped_tokens) == (20, 10_000)


def test_a_changing_phase_realises_the_mean(tmp_path, sources):
    weighed = (PhaseWeight("web", 0.9, "all", 9, to=0.1), PhaseWeight("cot", 0.1, "all", 9, to=0.9))
    found = plan(tmp_path, 1, sources, [PhaseSpec("p", 128, 60_000, weighed, change="linear")])
    assert [row.planned_tokens for row in found.rows] == [30_000, 30_000]
    assert all(abs(row.tokens - 30_000) <= 64 for row in found.rows)


def test_what_cannot_be_packed_is_said_at_its_weight(tmp_path):
    both = {"web": source("web", [10] * 100), "cot": source("cot", [300] * 9, "whole", "error")}
    weighed = (PhaseWeight("web", 0.5, where="m.yaml:4"), PhaseWeight("cot", 0.5, where="m.yaml:5"))
    error = refused(tmp_path, both, PhaseSpec("p", 128, 1000, weighed))
    assert (error.where, "documents are longer than the sequence" in error.what) == ("m.yaml:5", True)


@pytest.mark.parametrize("group", [False, True])
def test_a_source_by_size_of_which_nothing_fits_is_refused(tmp_path, group):
    both = {"web": source("web", [10] * 100), "cot": source("cot", [300] * 9, "whole", "drop")}
    inside = Group("h", (PhaseWeight("cot", 1.0),), "size") if group else PhaseWeight("cot", "size")
    weighed = (Group("g", (PhaseWeight("web", "size"), inside), 1),)
    error = refused(tmp_path, both, PhaseSpec("p", 128, 500, weighed))
    assert "cot has nothing to be drawn in sequences of 128 tokens" in str(error)
    assert "source cot" in str(error)


def test_a_source_by_size_that_has_no_token_is_refused_but_not_an_empty_bucket(tmp_path):
    def phase(name):
        return PhaseSpec("p", 128, 500, (PhaseWeight("web", "size"), PhaseWeight(name, "size")))

    both = {"web": source("web", [10] * 100), "none": source("none", []), "rated@0": source("rated@0", [])}
    assert "none has nothing to be drawn" in str(refused(tmp_path, both, phase("none")))
    found = rows(tmp_path, both, phase("rated@0"))
    assert [(row.source, row.available, row.sequences) for row in found] == [("rated@0", 0, 0), ("web", 1000, 4)]

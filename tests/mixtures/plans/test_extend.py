"""Extension: cut anywhere, nothing of a source repeats before its epoch ends, and nothing is left out."""

import runpy
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.order import Order
from midtrain.mixtures.packs.pack_requests import SourceTokens, pack_here
from midtrain.mixtures.phases import PhaseRef
from midtrain.mixtures.plans.drawing import Packs
from midtrain.mixtures.plans.extend import cut_short, drawn_so_far
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan

MemoryEnds = runpy.run_path(str(Path(__file__).parents[1] / "memory_ends.py"))["MemoryEnds"]
REFS = (PhaseRef("a", "order/a", 100), PhaseRef("b", "order/b", 50))


def source(name, seed, count, pack):
    lengths = np.random.default_rng(seed).integers(1, 17, count)
    return SourceTokens(name, f"tokens of {name}", MemoryEnds.of(lengths, 3), pack, "error")


def weights(*pairs):
    total = sum(part for _, part in pairs)
    # The last takes what rounding leaves, so that they sum to 1.
    shares = [round(part / total, 6) for _, part in pairs[:-1]]
    shares.append(1 - sum(shares))
    return tuple(PhaseWeight(name, share, "all", 100) for (name, _), share in zip(pairs, shares, strict=True))


def phase(name, length, tokens, data):
    """A phase of web and cot, with weights that stay or change."""
    part = st.integers(2, 9)
    found = weights(("web", data.draw(part)), ("cot", data.draw(part)))
    if not data.draw(st.booleans()):
        return PhaseSpec(name, length, tokens, found)
    ends = weights(("web", data.draw(part)), ("cot", data.draw(part)))
    changing = tuple(replace(one, to=end.share) for one, end in zip(found, ends, strict=True))
    return PhaseSpec(name, length, tokens, changing, change=data.draw(st.sampled_from(["linear", "cosine"])))


def seen(order, refs):
    """How often each token of each source is trained on: (source, part, token) to a count."""
    counts = Counter()
    for ref in refs:
        for place in range(ref.sequences):
            name, spans = order.spans(ref.name, place)
            counts.update(
                (name, part, token) for part, start, size, _ in spans.tolist() for token in range(start, start + size)
            )
    return counts


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_across_a_cut_an_epoch_is_finished_before_anything_repeats(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("mixture")
    packs = ["chunk", "whole"]
    sources = {
        name: source(name, seed, data.draw(st.integers(20, 60)), data.draw(st.sampled_from(packs)))
        for seed, name in enumerate(["web", "cot", "new"])
    }
    lengths = st.sampled_from([16, 16, 24, 40])
    tokens = st.integers(300, 900)
    part = st.integers(2, 9)
    planned = [phase(name, data.draw(lengths), data.draw(tokens), data) for name in "ab"]
    refs = plan(root, 5, sources, planned).phases
    cut = data.draw(st.sampled_from("ab"))
    at = data.draw(st.integers(0 if cut == "b" else 1, next(ref.sequences for ref in refs if ref.name == cut)))
    kept = cut_short(refs, cut, at)

    def shards(name):
        return sources[name].shards

    runs, stands = drawn_so_far(Order.open(root, kept, shards), kept, sources, Packs(root, pack_here(root)))
    behind = [
        PhaseSpec(
            "c", data.draw(lengths), data.draw(tokens), weights(("cot", data.draw(part)), ("new", data.draw(part)))
        ),
        PhaseSpec(
            "d", data.draw(lengths), data.draw(tokens), weights(("web", data.draw(part)), ("new", data.draw(part)))
        ),
    ]
    following = plan(root, 5, sources, behind, runs=runs).phases
    order = Order.open(root, (*kept, *following), shards)
    counts = seen(order, (*kept, *following))
    for name, tokens_of in sources.items():
        total = [
            counts[name, part, token]
            for part, ends in enumerate(tokens_of.shards.by_part)
            for token in range(int(ends[-1]))
        ]
        assert max(total) - min(total) <= 1
    before = seen(order, kept)
    for name in ("web", "cot"):
        mine = [stand for stand in stands if stand.source == name]
        assert sum(stand.tokens for stand in mine) == sum(n for (of, *_), n in before.items() if of == name)
    assert sum(stand.sequences for stand in stands) == sum(ref.sequences for ref in kept)


def test_a_cut_at_the_end_is_what_planning_all_at_once_gives(tmp_path):
    sources = {
        name: source(name, seed, 200, pack)
        for seed, (name, pack) in enumerate({"web": "chunk", "cot": "whole"}.items())
    }
    phases = [
        PhaseSpec("a", 16, 700, weights(("web", 7), ("cot", 3))),
        PhaseSpec("b", 32, 500, weights(("web", 1), ("cot", 9))),
    ]
    whole = plan(tmp_path / "whole", 5, sources, phases)
    root = tmp_path / "extended"
    first = plan(root, 5, sources, phases[:1]).phases
    order = Order.open(root, first, lambda name: sources[name].shards)
    runs, _ = drawn_so_far(order, first, sources, Packs(root, pack_here(root)))
    second = plan(root, 5, sources, phases[1:], runs=runs).phases
    assert (*first, *second) == whole.phases
    for name in ("a", "b"):
        for path in (tmp_path / "whole").glob(f"order/{name}-*"):
            assert (root / "order" / path.name).read_bytes() == path.read_bytes()


def test_other_tokens_or_packing_than_the_orders_are_an_error(tmp_path):
    sources = {"web": source("web", 1, 80, "whole")}
    refs = plan(tmp_path, 5, sources, [PhaseSpec("a", 16, 300, weights(("web", 1)))]).phases
    order = Order.open(tmp_path, refs, lambda name: sources[name].shards)
    for changed in (replace(sources["web"], fingerprint="others"), replace(sources["web"], pack="chunk")):
        with pytest.raises(RunError, match="not planned with these sources"):
            drawn_so_far(order, refs, {"web": changed}, Packs(tmp_path, pack_here(tmp_path)))


def test_what_stays_of_the_phases():
    assert cut_short(REFS, None, None) == REFS
    assert cut_short(REFS, "b", None) == REFS
    assert cut_short(REFS, "b", 7) == (REFS[0], replace(REFS[1], sequences=7))
    assert cut_short(REFS, "a", 100) == REFS[:1]
    assert cut_short(REFS, "b", 0) == REFS[:1]
    assert cut_short(REFS, "a", 1) == (replace(REFS[0], sequences=1),)


@pytest.mark.parametrize(
    ("phase", "at", "says"),
    [
        ("c", 1, "no phase is called c"),
        ("b", 51, "beyond the phase"),
        ("b", -1, "beyond the phase"),
        ("a", 0, "nothing"),
    ],
)
def test_cuts_that_cannot_be(phase, at, says):
    with pytest.raises(ConfigError, match=says):
        cut_short(REFS, phase, at)

"""The plan: the configured mixture is realised, nothing repeats before an epoch ends, and what cannot be is said."""

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import Manifest
from midtrain.mixtures.order import Order
from midtrain.mixtures.packs.pack_requests import SourceTokens
from midtrain.mixtures.phases import PhaseFile, PhaseRef
from midtrain.mixtures.plans.planning import PhaseSpec, PhaseWeight, plan

from tests.mixtures.memory_ends import MemoryEnds

SHARES = (0.45, 0.2, 0.12, 0.08, 0.05, 0.04, 0.03, 0.02, 0.006, 0.003, 0.0009, 0.0001)


def source(name, lengths, pack="chunk", too_long="drop", parts=1):
    return SourceTokens(name, f"fingerprint of {name}", MemoryEnds.of(lengths, parts), pack, too_long)


def opened(root, names, sources):
    """The order of phases that were planned below a folder."""
    files = [PhaseFile.model_validate_json(path.read_text()) for path in root.glob("order/*.json")]
    paths = {file.phase: (path, file) for path, file in zip(root.glob("order/*.json"), files, strict=True)}
    refs = [PhaseRef(name, f"order/{paths[name][0].stem}", paths[name][1].sequences) for name in names]
    return Order.open(root, refs, lambda name: sources[name].shards)


def one(name, length, tokens, max_epochs=100):
    """A phase that draws from `web` alone."""
    return PhaseSpec(name, length, tokens, (PhaseWeight("web", 1.0, "all", max_epochs),))


def lognormal(seed, count, median=200.0):
    return np.random.default_rng(seed).lognormal(np.log(median), 1.0, count).astype(np.int64) + 1


def read_tokens(root, phases, sources):
    """For every phase and place: the source's name and its tokens as (part, position)."""
    order = opened(root, [phase.name for phase in phases], sources)
    for phase in phases:
        for place in range(order.phase(phase.name).sequences):
            name, spans = order.spans(phase.name, place)
            assert spans["length"].sum() <= phase.sequence_length
            yield phase.name, name, [(p, t) for p, s, n, _ in spans.tolist() for t in range(s, s + n)]


def test_twelve_sources_are_realised_as_configured(tmp_path):
    tokens = 6_000_000
    sources = {
        f"s{i:02}": source(f"s{i:02}", lognormal(i, max(int(share * tokens / 150), 30)), "whole" if i % 2 else "chunk")
        for i, share in enumerate(SHARES)
    }
    weights = tuple(PhaseWeight(f"s{i:02}", share, "all", 3) for i, share in enumerate(SHARES))
    planned = plan(tmp_path, 1, sources, [PhaseSpec("pretrain", 512, tokens, weights)])
    order = opened(tmp_path, ["pretrain"], sources)
    phase = order.phase("pretrain")
    everything = order.slice("pretrain", 0, phase.sequences)
    assert [(ref.name, ref.sequences) for ref in planned.phases] == [("pretrain", phase.sequences)]
    measured = np.zeros(12, dtype=np.int64)
    for number, folder in enumerate(phase.indexes):
        drawn = everything.pack == number
        for i in np.unique(everything.source[drawn]):
            chosen = drawn & (everything.source == i)
            assert folder.startswith(f"packs/s{i:02}-512-whole-" if i % 2 else f"chunks/s{i:02}-512-chunk-")
            measured[i] += order.index("pretrain", number).tokens_of(everything.sequence[chosen]).sum()
    for i, row in enumerate(planned.rows):
        places = everything.source == i
        assert row.sequences == phase.quotas[i] == places.sum()
        assert row.tokens == measured[i]
        assert row.padding == row.sequences * 512 - row.tokens
        assert abs(row.tokens - SHARES[i] * tokens) <= 512 / 2
        counts = np.concatenate([[0], np.cumsum(places)])
        assert np.abs(counts[1000:] - counts[:-1000] - 1000 * row.sequences / phase.sequences).max() < 2


@pytest.mark.parametrize("pack", ["chunk", "whole"])
def test_no_token_repeats_before_its_epoch_ends_across_lengths(tmp_path, pack):
    lengths = np.minimum(lognormal(8, 400, 20), 64)
    total = int(lengths.sum())
    phases = [
        one("a", 64, int(0.4 * total)),
        one("b", 128, int(0.3 * total)),
        one("c", 64, int(1.9 * total)),
        one("d", 128, int(0.9 * total)),
        one("e", 128, total // 2),
    ]
    sources = {"web": source("web", lengths, pack, parts=3)}
    planned = plan(tmp_path, 1, sources, phases)
    assert_epochs(tmp_path, phases, sources)
    assert [round(row.epochs, 2) for row in planned.rows] == pytest.approx([0.4, 0.7, 2.6, 3.5, 4.0], abs=0.02)
    order = opened(tmp_path, list("abcde"), sources)
    assert len(order.phase("a").indexes) == 1  # the first epoch at 64
    assert len(order.phase("b").indexes) == 1  # its rest at 128
    assert len(order.phase("c").indexes) == 2  # what is still left, and whole epochs at 64
    assert order.phase("a").indexes[0] == order.phase("c").indexes[1]
    assert len(order.phase("d").indexes) == 2
    assert order.phase("d").indexes == order.phase("e").indexes  # one run


def assert_epochs(root, phases, sources):
    """At every place, no token has been drawn two times more than another of its source; all documents fit."""
    counts = {
        name: Counter(
            {
                (part, position): 0
                for part, size in enumerate(one.shards.part_tokens.tolist())
                for position in range(size)
            }
        )
        for name, one in sources.items()
    }
    histogram = {name: Counter({0: len(counter)}) for name, counter in counts.items()}
    for _, name, tokens in read_tokens(root, phases, sources):
        for token in tokens:
            histogram[name][counts[name][token]] -= 1
            counts[name][token] += 1
            histogram[name][counts[name][token]] += 1
        times_drawn = [times for times, tokens_so_often in histogram[name].items() if tokens_so_often]
        assert max(times_drawn) - min(times_drawn) <= 1
    return counts


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_epochs_hold_for_any_phases(tmp_path_factory, data):
    pack = data.draw(st.sampled_from(["chunk", "whole"]))
    lengths = data.draw(st.lists(st.integers(1, 8 if pack == "whole" else 40), min_size=6, max_size=30))
    other = data.draw(st.lists(st.integers(1, 8), min_size=6, max_size=20))
    phases = []
    for number in range(data.draw(st.integers(1, 5))):
        weights = (PhaseWeight("web", 0.75, "all", 10**6), PhaseWeight("other", 0.25, "all", 10**6))
        alone = data.draw(st.sampled_from([None, "web", "other"]))
        if alone:
            weights = (PhaseWeight(alone, 1.0, "all", 10**6),)
        length = data.draw(st.sampled_from([8, 16, 11]))
        tokens = data.draw(st.integers(60, 3 * sum(lengths) + 60))
        phases.append(PhaseSpec(f"p{number}", length, tokens, weights))
    root = tmp_path_factory.mktemp("plan")
    sources = {"web": source("web", lengths, pack, parts=2), "other": source("other", other, "whole", parts=2)}
    planned = plan(root, data.draw(st.integers(0, 5)), sources, phases)
    counts = assert_epochs(root, phases, sources)
    for name in sources:
        drawn = [row for row in planned.rows if row.source == name]
        assert sum(row.tokens for row in drawn) == counts[name].total()
        assert [row.epochs for row in drawn] == sorted(row.epochs for row in drawn)


@pytest.mark.parametrize("pack", ["chunk", "whole"])
def test_a_finished_epoch_has_every_token_once(tmp_path, pack):
    lengths = np.minimum(lognormal(9, 200, 20), 64)
    total = int(lengths.sum())
    first = int(0.35 * total)
    drawn = (
        plan(tmp_path / "once", 1, {"web": source("web", lengths, pack, parts=2)}, [one("a", 64, first)]).rows[0].tokens
    )
    phases = [one("a", 64, first), one("b", 96, total - drawn)]
    sources = {"web": source("web", lengths, pack, parts=2)}
    planned = plan(tmp_path, 1, sources, phases)
    counts = Counter(token for _, _, tokens in read_tokens(tmp_path, phases, sources) for token in tokens)
    sizes = enumerate(sources["web"].shards.part_tokens.tolist())
    assert counts == Counter({(part, position): 1 for part, size in sizes for position in range(size)})
    assert planned.rows[-1].epochs == 1.0
    assert len(opened(tmp_path, ["b"], sources).phase("b").indexes) == 1  # no whole epoch was packed for it


def test_documents_dropped_at_a_short_length_are_drawn_at_a_long_one(tmp_path):
    lengths = [10] * 30 + [50] * 10
    phases = [one("short", 20, 300, max_epochs=1), one("long", 64, 500, max_epochs=1)]
    sources = {"web": source("web", lengths, "whole")}
    planned = plan(tmp_path, 1, sources, phases)
    assert [(row.dropped_documents, row.dropped_tokens) for row in planned.rows] == [(10, 500), (0, 0)]
    assert [row.tokens for row in planned.rows] == [300, 500]
    assert set(
        Counter(token for _, _, tokens in read_tokens(tmp_path, phases, sources) for token in tokens).values()
    ) == {1}


def test_what_may_be_lost_is_judged_by_the_whole_source_wherever_its_epoch_stands(tmp_path):
    # Behind a whole epoch at 48 tokens, all that the epoch has left are the documents that are too long for both.
    web = SourceTokens("web", "f", MemoryEnds.of([20] * 900 + [60] * 10), "whole", "drop", max_lost=0.04)
    planned = plan(tmp_path, 1, {"web": web}, [one("a", 48, 18_000), one("b", 40, 5_000)])
    assert [(row.epochs, row.dropped_tokens) for row in planned.rows] == [(1.0, 600), (pytest.approx(1.28, 0.01), 600)]
    with pytest.raises(ConfigError, match=r"3\.23% of the tokens would be lost") as caught:
        plan(tmp_path / "less", 1, {"web": replace(web, max_lost=0.03)}, [one("a", 48, 18_000)])
    assert "10 documents of 600 of the 18,600 tokens" in caught.value.render()
    assert not list(tmp_path.glob("less/packs/*"))


def test_a_phase_that_skips_a_source_interrupts_nothing(tmp_path):
    sources = {"web": source("web", lognormal(1, 300)), "cot": source("cot", lognormal(2, 300))}
    cot = PhaseSpec("cot", 512, 5_000, (PhaseWeight("cot", 1.0, "all"),))
    off = PhaseSpec("off", 512, 5_000, (PhaseWeight("cot", 1.0, "all"), PhaseWeight("web", 0.0, "all")))
    plan(tmp_path / "skip", 1, sources, [one("a", 256, 20_000), cot, off, one("b", 256, 20_000)])
    plan(tmp_path / "plain", 1, sources, [one("a", 256, 20_000), one("b", 256, 20_000)])
    skip, plain = (opened(tmp_path / name, ["b"], sources) for name in ("skip", "plain"))
    length = skip.phase("b").sequences
    assert skip.slice("b", 0, length).sequence.tolist() == plain.slice("b", 0, length).sequence.tolist()
    assert opened(tmp_path / "skip", ["off"], sources).phase("off").quotas.tolist()[1] == 0


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def example():
    sources = {
        "web": source("web", lognormal(4, 500), "chunk"),
        "cot": source("cot", lognormal(5, 300), "whole"),
    }
    mixed = (PhaseWeight("web", 0.7, "all", 3), PhaseWeight("cot", 0.3, "assistant", 3))
    return sources, [PhaseSpec("a", 256, 50_000, mixed), PhaseSpec("b", 1024, 90_000, mixed)]


def test_equal_arguments_give_equal_files_and_all_are_listed(tmp_path):
    sources, phases = example()
    first, second = (plan(tmp_path / name, 1, sources, phases) for name in ("one", "two"))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert first == second
    parts = {name for name in contents(tmp_path / "one") if re.search(r"/part-\d+\.(spans|sequences)$", name)}
    assert set(first.files) == set(contents(tmp_path / "one")) - parts
    for folder in tmp_path.glob("one/packs/*"):
        Manifest.read(folder).check_hashes(folder)
        listed = {f"packs/{folder.name}/{file.path}" for file in Manifest.read(folder).files}
        assert (
            listed - set(first.files) == {name for name in parts if name.startswith(f"packs/{folder.name}/")} != set()
        )
    other = plan(tmp_path / "three", 2, sources, phases)
    assert other.rows != first.rows or contents(tmp_path / "three") != contents(tmp_path / "one")


def test_complete_pack_indexes_are_used_again_and_damaged_ones_made_anew(tmp_path):
    sources, phases = example()
    plan(tmp_path, 1, sources, phases)
    before = contents(tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.glob("packs/*/*")}
    damaged = sorted(tmp_path.glob("packs/*/*.spans"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-16])
    plan(tmp_path, 1, sources, phases)
    assert contents(tmp_path) == before
    untouched = {path for path in stamps if path.parent != damaged.parent}
    assert all(path.stat().st_mtime_ns == stamps[path] for path in untouched)
    assert untouched


def test_loss_and_shares_reach_the_reader(tmp_path):
    sources, phases = example()
    plan(tmp_path, 1, sources, phases)
    phase = opened(tmp_path, ["a"], sources).phase("a")
    assert dict(zip(phase.sources, phase.loss, strict=True)) == {"web": "all", "cot": "assistant"}


def suggestion(error):
    return int(re.search(r"(?:tokens|max_epochs): (\d+)", error.value.fix)[1])


@pytest.mark.parametrize("lengths_of_phases", [(64,), (64, 64), (64, 128), (64, 128, 128), (64, 128, 64)])
def test_too_many_epochs_name_the_number_that_would_do(tmp_path, lengths_of_phases):
    sources = {"web": source("web", [10] * 100)}
    phases = [one(f"p{i}", length, 700) for i, length in enumerate(lengths_of_phases[:-1])]
    phases.append(one("last", lengths_of_phases[-1], 5_330, max_epochs=2))
    with pytest.raises(ConfigError, match="phase last, source web: the source would repeat") as error:
        plan(tmp_path, 1, sources, phases)
    assert "5,330 tokens requested" in error.value.seen
    drawn = sum(row.tokens for row in plan(tmp_path / "b", 1, sources, phases[:-1]).rows) if phases[:-1] else 0
    assert f"at most {2000 - drawn:,} tokens" in error.value.expected
    enough = suggestion(error)
    assert enough == -(-(5_330 - 32 + drawn) // 1000)
    assert not list(tmp_path.glob("order/*"))
    plan(tmp_path, 1, sources, [*phases[:-1], one("last", lengths_of_phases[-1], 5_330, enough)])
    with pytest.raises(ConfigError, match="repeat"):
        plan(tmp_path, 1, sources, [*phases[:-1], one("last", lengths_of_phases[-1], 5_330, enough - 1)])


def test_all_that_is_available_may_be_drawn(tmp_path):
    planned = plan(tmp_path, 1, {"web": source("web", [10] * 100)}, [one("a", 64, 1000, max_epochs=1)])
    assert (planned.rows[0].tokens, planned.rows[0].epochs) == (1000, 1.0)


def test_a_share_that_rounds_to_nothing_names_the_smallest_phase(tmp_path):
    sources = {"web": source("web", lognormal(1, 3000)), "rare": source("rare", lognormal(2, 50), "whole")}

    def phase(tokens):
        weights = (PhaseWeight("web", 0.999, "all", 9), PhaseWeight("rare", 0.001, "all"))
        return PhaseSpec("a", 512, tokens, weights)

    with pytest.raises(ConfigError, match="phase a, source rare: the source would not appear") as error:
        plan(tmp_path, 1, sources, [phase(10_000)])
    smallest = suggestion(error)
    assert plan(tmp_path, 1, sources, [phase(smallest)]).rows[0].sequences == 1
    with pytest.raises(ConfigError, match="would not appear"):
        plan(tmp_path, 1, sources, [phase(smallest - 1)])


def weights(*shares):
    return tuple(PhaseWeight(name, share, "all", 9) for name, share in zip(("web", "cot"), shares, strict=False))


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([PhaseSpec("a", 64, 1000, weights(0.5, 0.49))], "do not sum to 1"),
        ([PhaseSpec("a", 64, 1000, weights(0.5, 0.5 + 2e-6))], "do not sum to 1"),
        ([PhaseSpec("a", 64, 1000, ())], "do not sum to 1"),
        ([PhaseSpec("a", 64, 1000, weights(1.5, -0.5))], "not a weight"),
        ([PhaseSpec("a", 64, 1000, weights(float("nan"), 1.0))], "not a weight"),
        ([PhaseSpec("a", 64, 1000, (PhaseWeight("web", 1.0, "all", 0),))], "not a weight"),
        ([PhaseSpec("a", 64, 1000, (PhaseWeight("wbe", 1.0, "all"),))], "no source is called wbe"),
        ([PhaseSpec("a", 64, 1000, weights(0.5) * 2)], "two weights"),
        ([one("a", 64, 100), one("a", 128, 100)], "same name"),
        ([one("a/b", 64, 100)], "cannot name a folder"),
        ([one("..", 64, 100)], "cannot name a folder"),
        ([one("a", 0, 100)], "needs both"),
        ([one("a", 64, 0)], "needs both"),
        ([PhaseSpec("a", 8, 1000, weights(0.0, 1.0))], "no document fits"),
    ],
)
def test_phases_that_cannot_be_are_errors(tmp_path, phases, message):
    sources = {"web": source("web", lognormal(1, 300)), "cot": source("cot", [30] * 50, "whole")}
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, 1, sources, phases)
    assert not list(tmp_path.glob("order/*"))


def test_shares_within_a_millionth_of_one_are_taken(tmp_path):
    sources = {"web": source("web", lognormal(1, 300)), "cot": source("cot", lognormal(2, 300))}
    assert plan(tmp_path, 1, sources, [PhaseSpec("a", 64, 9000, weights(0.5, 0.4999995))]).phases[0].sequences > 0


def test_an_empty_source_is_an_error(tmp_path):
    empty = SourceTokens("web", "f", MemoryEnds(()), "chunk", "drop")
    with pytest.raises(ConfigError, match="source web: the source has no tokens"):
        plan(tmp_path, 1, {"web": empty}, [one("a", 64, 100)])


def test_a_document_too_long_is_an_error_where_it_is_to_be_one(tmp_path):
    with pytest.raises(ConfigError, match="source web: part 0: 1 of 3 documents are longer") as error:
        plan(tmp_path, 1, {"web": source("web", [10, 70, 20], "whole", "error")}, [one("a", 64, 100)])
    assert "70 tokens" in error.value.seen
    chunked = plan(tmp_path, 1, {"web": source("web", [10, 70, 20], "chunk", "error")}, [one("a", 64, 100)])
    assert chunked.rows[0].tokens == 100


def test_dropping_and_refusing_do_not_share_an_index(tmp_path):
    lengths = [10, 70, 20]
    plan(tmp_path, 1, {"web": source("web", lengths, "whole", "drop")}, [one("a", 64, 30)])
    with pytest.raises(ConfigError, match="longer than the sequence"):
        plan(tmp_path, 1, {"web": source("web", lengths, "whole", "error")}, [one("a", 64, 30)])


def test_ends_that_do_not_ascend_are_an_error(tmp_path):
    broken = SourceTokens("web", "f", MemoryEnds((np.array([5, 3], dtype=np.uint64),)), "whole", "drop")
    with pytest.raises(RunError, match="ends of documents"):
        plan(tmp_path, 1, {"web": broken}, [one("a", 64, 5)])

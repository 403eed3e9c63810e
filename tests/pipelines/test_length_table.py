"""The table of what a build does to records of each length: every token that came in is kept, trimmed or lost."""

import dataclasses

import numpy as np
import orjson
import pytest
from midtrain.errors import RunError
from midtrain.manifest import Manifest
from midtrain.mixtures.built import Built
from midtrain.mixtures.packs.pack_index import PackedIndex
from midtrain.mixtures.phases import PhaseOrder
from midtrain.pipelines import length_table, summaries
from midtrain.pipelines.length_table import SHORT

SHARES = {"trimmed": 0.4, "dropped": 0.4, "plain": 0.2}
COUNTED = ("documents", "tokens", "trimmed_documents", "trimmed_tokens", "dropped_documents", "dropped_tokens")


@pytest.fixture(scope="module")
def shop(tmp_path_factory, curated_workshop):
    """Records with thoughts of many lengths and answers of which some are long, trimmed; plain questions, dropped."""
    found = type(curated_workshop)(tmp_path_factory.mktemp("lengths"))
    words = " ".join(found.texts(60)).split()
    records = []
    for number in range(150):
        thought, answer = words[number : number * 5], words[: 400 if number % 9 == 0 else number % 40 + 1]
        reply = f"<think>{' '.join(thought)}</think>{' '.join(answer)}" if thought else " ".join(answer)
        records.append({"question": f"What of {number}?", "response": reply})
    sources = [{"name": "r", "path": found.jsonl("r.jsonl", records), "format": "reasoning"}]
    found.curate(sources=sources, steps=[])
    return found


def mixture(shop, **changed):
    own = {"documents": str(shop.root / "out"), "template": "chatml"}
    return {
        "output": str(shop.root / "shards"),
        "tokenizer": {"train": {"vocab_size": 400, "sources": ["trimmed"]}},
        "sources": [
            {"name": "trimmed", **own, "too_long": "trim", "min_reasoning": 20, "max_lost": "100%"},
            {"name": "dropped", **own, "too_long": "drop", "max_lost": "100%"},
            {"name": "plain", "documents": str(shop.root / "out"), "pack": "chunk"},
        ],
        "phases": [
            {"name": "short", "sequence_length": 256, "tokens": "12K", "weights": SHARES},
            {"name": "long", "sequence_length": 512, "tokens": "16K", "weights": {"trimmed": 0.5, "dropped": 0.5}},
        ],
        **changed,
    }


@pytest.fixture(scope="module")
def result(shop):
    return shop.build(**mixture(shop))


def expected(built, phase, source):
    """The bands of a source, from the spans of the index and the documents' lengths alone."""
    order = PhaseOrder.open(built.root, next(one for one in built.phase_refs if one.name == phase))
    (entry,) = (one for one in order.entries if one.name == source)
    index = PackedIndex.open(built.root / order.indexes[(entry.full or entry.rest).index], order.sequence_length)
    found = {}
    shards = built.shards(source)
    for part in range(len(shards.parts)):
        ends = shards.ends(part).astype(np.int64)
        whole = np.diff(ends, prepend=0)
        spans, _ = index.spans_of_part(part)
        kept = np.bincount(
            np.searchsorted(ends, spans["start"], side="right"), weights=spans["length"], minlength=len(ends)
        )
        for tokens, left in zip(whole.tolist(), kept.astype(int).tolist(), strict=True):
            low = 0 if tokens < SHORT else 1 << (tokens.bit_length() - 1)
            own = found.setdefault(low, [0] * 7)
            trimmed, dropped = 0 < left < tokens, left == 0
            more = (1, tokens, trimmed, (tokens - left) * trimmed, dropped, tokens * dropped, left)
            found[low] = [one + two for one, two in zip(own, more, strict=True)]
    return found


def test_the_table_is_what_the_spans_say(shop, result):
    built = Built.open(shop.root / "shards")
    tables = {(one["phase"], one["source"]): one for one in result.lengths}
    assert set(tables) == {(phase, source) for phase in ("short", "long") for source in ("trimmed", "dropped")}
    for source in ("trimmed", "dropped"):
        table = tables["short", source]
        assert table["all_records"]
        assert table["sequence_length"] == 256
        seen = {own["low"]: [own[name] for name in (*COUNTED, "kept_tokens")] for own in table["bands"]}
        assert seen == expected(built, "short", source)
        assert [own["low"] for own in table["bands"]] == sorted(seen)
        lost = [sum(own[name] for own in table["bands"]) for name in ("trimmed_tokens", "dropped_tokens")]
        assert lost[1] > 0
        assert (lost[0] > 0) == (source == "trimmed")


def test_what_an_epoch_had_drawn_is_not_in_the_table_of_the_rest(result):
    tables = {(one["phase"], one["source"]): one for one in result.lengths}
    for source in ("trimmed", "dropped"):
        before, rest = (sum(own["documents"] for own in tables[phase, source]["bands"]) for phase in ("short", "long"))
        assert not tables["long", source]["all_records"]
        assert 0 < rest < before


def test_it_agrees_with_what_is_lost_in_all(result):
    lost = result.manifest.counts["trimmed"]["lost"]
    for table in result.lengths:
        if table["source"] == "trimmed":
            own = lost[table["phase"]]
            for name in ("trimmed_documents", "trimmed_tokens", "dropped_documents", "dropped_tokens"):
                assert sum(band[name] for band in table["bands"]) == own[name]
            assert sum(band["kept_tokens"] for band in table["bands"]) == own["index_tokens"]


def test_workers_and_a_second_run_change_nothing(shop, result):
    again = shop.build(**mixture(shop))
    assert again.tasks_run == 0
    assert again.lengths == result.lengths


@pytest.mark.slow
def test_workers_build_the_same_table(shop, result):
    spread = shop.build(workers=2, **mixture(shop, output=str(shop.root / "spread")))
    assert spread.lengths == result.lengths


def test_it_is_printed_where_something_is_lost(shop, result):
    shown = summaries.built(result, "out")
    assert "phase short, trimmed: all its records in sequences of 256 tokens" in shown.text
    assert "phase long, dropped: records that the epoch had not drawn in sequences of 512 tokens" in shown.text
    assert orjson.loads(orjson.dumps(shown.data["lengths"])) == list(result.lengths)
    kept = dataclasses.replace(result, lengths=({**result.lengths[0], "bands": []},))
    assert "all its records" not in summaries.built(kept, "out").text


def test_a_grid_has_the_sums_and_shares():
    names = ("low", "high", *COUNTED, "kept_tokens")
    values = [(0, 128, 4, 200, 0, 0, 0, 0, 200), (1024, 2048, 3, 4_000, 1, 1_000, 1, 2_000, 1_000)]
    bands = [dict(zip(names, own, strict=True)) for own in values]
    assert length_table.grid({"bands": bands})[1:] == [
        ["0 to 127", "4", "200", "0", "0.0 %", "0", "0.0 %", "200", "100.0 %"],
        ["1,024 to 2,047", "3", "4,000", "1,000", "25.0 %", "2,000", "50.0 %", "1,000", "25.0 %"],
        ["all", "7", "4,200", "1,000", "23.8 %", "2,000", "47.6 %", "1,200", "28.6 %"],
    ]


def test_bands_that_are_not_the_index_are_an_error(shop, result, tmp_path, monkeypatch):
    sound = Manifest.read

    def read(folder, *rest):
        found = sound(folder, *rest)
        if found.counts.get("bands"):
            counts = orjson.loads(orjson.dumps(found.counts))
            next(iter(counts["bands"].values()))["dropped_tokens"] += 1
            return dataclasses.replace(found, counts=counts)
        return found

    monkeypatch.setattr(Manifest, "read", read)
    with pytest.raises(RunError, match="do not add up"):
        length_table.read(shop.root / "shards", Built.open(shop.root / "shards").phase_refs)

"""Held out: the smallest seeded hashes of each source, by id or by problem, against a few lines of plain Python."""

import pytest
import xxhash
from midtrain.errors import ConfigError
from midtrain.mixtures.built import Built


def key(row, seed):
    """xxh3-64 of the seed and the id, or the first user message with white space collapsed."""
    known = " ".join(row["messages"][0]["content"].split()) if row["messages"] else row["id"]
    return xxhash.xxh3_64_intdigest(f"{seed}\0{known}".encode())


def held_out_ids(folder):
    built = Built.open(folder)
    found = {}
    for source in built.sources:
        shards = built.shards(source, "held_out")
        found[source] = {n for i in range(len(shards.parts)) for n in shards.documents(i).column("id").to_pylist()}
    return found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("web", "worked"), [(10, 0.1), (0.05, 7), (0, 0)])
def test_those_with_the_smallest_keys_are_held_out_everywhere(curated_workshop, tmp_path, seed, web, worked):
    sources = curated_workshop.mixture()["sources"]
    sources[0]["held_out"], sources[1]["held_out"] = web, worked
    curated_workshop.build(output=str(tmp_path / "shards"), seed=seed, sources=sources)
    rows = curated_workshop.rows("out")
    of = {"web": ("a", "b"), "worked": ("worked",), "twins": ("twins",)}
    chosen = set()
    for source, wanted in (("web", web), ("worked", worked)):
        keys = sorted(key(row, seed) for row in rows if row["source"] in of[source])
        chosen.update(keys[: round(wanted * len(keys)) if wanted < 1 else wanted])
    expected = {
        source: {row["id"] for row in rows if row["source"] in names and key(row, seed) in chosen}
        for source, names in of.items()
    }
    assert held_out_ids(tmp_path / "shards") == expected
    assert bool(chosen) == bool(web)


def test_all_documents_may_be_held_out_of_a_source_that_no_phase_draws_from(curated_workshop, tmp_path):
    mixture = curated_workshop.mixture()
    sources = [*mixture["sources"][:2], {**mixture["sources"][2], "held_out": 10_000}]
    phases = [{**mixture["phases"][0], "weights": {"web": 1}}]
    sources[1]["held_out"] = 1
    curated_workshop.build(output=str(tmp_path / "shards"), sources=sources, phases=phases)
    found = held_out_ids(tmp_path / "shards")
    assert found["twins"] == {row["id"] for row in curated_workshop.rows("out") if row["source"] == "twins"}
    assert len(found["worked"]) == len(found["twins"])  # the same problems, so held out here too


def test_a_share_that_holds_out_nothing_is_an_error(curated_workshop, tmp_path):
    sources = curated_workshop.mixture()["sources"]
    sources[0]["held_out"] = 0.001
    with pytest.raises(ConfigError, match="nothing would be held out") as wrong:
        curated_workshop.build(output=str(tmp_path / "shards"), sources=sources)
    assert wrong.value.where == "source web, held_out"
    assert "0.001 of " in str(wrong.value.seen)

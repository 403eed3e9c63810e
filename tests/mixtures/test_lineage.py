"""Lineage over a mixture of all kinds of packing: each direction against the other for every document and sequence."""

import itertools
from dataclasses import replace

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures import schema
from midtrain.mixtures.built import Built
from midtrain.mixtures.lineage import pieces, rank_places, whereabouts
from midtrain.mixtures.lineage_text import piece_table, whereabouts_table
from midtrain.pipelines.build import build
from midtrain.pipelines.processes import local
from midtrain.progress import Progress


@pytest.fixture(scope="module")
def built(curated_workshop, tmp_path_factory):
    """Five sources: chunked, whole with long documents dropped or split, the same documents twice, one never drawn."""
    output = tmp_path_factory.mktemp("lineage") / "shards"
    documents = str(curated_workshop.root / "out")

    def source(name, of, **options):
        return {"name": name, "documents": documents, "where": {"source": of}, **options}

    mixture = curated_workshop.mixture(
        output=str(output),
        tokenizer={"train": {"vocab_size": 400, "sources": ["web", "dropped"]}},
        sources=[
            source("web", "a", held_out=5),
            source("dropped", "worked", template="chatml", too_long="drop", max_lost="100%"),
            source("split", "b", pack="whole", too_long="split"),
            source("again", "a", pack="whole", too_long="split"),
            source("chats", "twins", template="chatml", held_out=4, too_long="drop", max_lost="100%"),
        ],
        phases=[
            {
                "name": "first",
                "sequence_length": 80,
                "tokens": 4000,
                "weights": {"web": 0.35, "dropped": 0.2, "split": 0.25, "again": 0.1, "chats": 0.1},
            },
            {
                "name": "second",
                "sequence_length": 128,
                "tokens": 5000,
                "weights": {"web": 0.2, "dropped": 0.5, "again": 0.3},
            },
            {
                "name": "third",
                "sequence_length": 128,
                "tokens": 12000,
                "weights": {"web": 0.06, "dropped": 0.2, "again": {"share": 0.74, "max_epochs": 9}},
            },
        ],
    )
    loaded = schema.load(curated_workshop.yaml("lineage.yaml", mixture))
    build(loaded, local(0), Progress(shown=False))
    return Built.open(output)


@pytest.fixture(scope="module")
def everything(built):
    """Of every phase, what stands in each of its sequences."""
    return {name: pieces(built, name, 0, phase.sequences) for name, phase in built.phases.items()}


def documents(built):
    """Source, kind, stem, id and length of every document."""
    for source, kind in itertools.product(built.sources, ("part", "held_out")):
        shards = built.shards(source, kind)
        for part in range(len(shards.parts)):
            for row in shards.documents(part).to_pylist():
                yield source, kind, shards.stem(part), row["id"], row["tokens"]


def test_the_mixture_has_what_is_tested(built, everything):
    assert sum(kind == "held_out" for _, kind, *_ in documents(built)) >= 9
    lengths = {name: phase.sequence_length for name, phase in built.phases.items()}
    assert any(source == "dropped" and size > lengths["first"] for source, _, _, _, size in documents(built))
    assert any(piece.source == "split" and piece.start > 0 for piece in everything["first"])
    again = [(piece.id, piece.start) for phase in everything.values() for piece in phase if piece.source == "again"]
    assert len(set(again)) < len(again)  # more than one epoch


def test_where_and_what_stands_there_are_inverse(built, everything):
    """For every document of every source, held out or not: its places are those in which it was found."""
    places = {}
    for phase, found in everything.items():
        for piece in found:
            spot = (phase, piece.sequence, piece.offset, piece.start, piece.stop)
            places.setdefault((piece.source, piece.part, piece.id), []).append(spot)
    known = {}
    for source, kind, stem, identity, tokens in documents(built):
        if identity not in known:
            known[identity] = whereabouts(built, identity)
        [mine] = [one for one in known[identity] if (one.source, one.part) == (source, stem)]
        assert (mine.id, mine.tokens, mine.held_out) == (identity, tokens, kind == "held_out")
        spots = [(one.phase, one.sequence, one.offset, one.start, one.stop) for one in mine.appearances]
        assert spots == places.pop((source, stem, identity), [])
        seen = {one.phase for one in mine.appearances}
        assert len(mine.notes) == (1 if mine.held_out else len(set(built.phases) - seen))
    assert not places


def test_epochs_count_on_over_phases(built):
    epochs = {}
    for source, _, _, identity, _ in documents(built):
        if source == "again":
            [mine] = [one for one in whereabouts(built, identity) if one.source == "again"]
            for one in mine.appearances:
                epochs.setdefault((identity, one.start, one.stop), []).append(one.epoch)
    # A piece comes once an epoch; cut otherwise in another length, it is another piece.
    assert all(found == sorted(set(found)) for found in epochs.values())
    assert max(map(max, epochs.values())) >= 2


def test_an_id_that_several_sources_have_is_listed_with_each(built, everything):
    identity = next(piece.id for piece in everything["first"] if piece.source == "web")
    assert [one.source for one in whereabouts(built, identity)] == ["again", "web"]


def words(built, source, wanted):
    """A note that begins so, of some document of a source."""
    for of, _, stem, identity, tokens in documents(built):
        if of == source:
            [mine] = [one for one in whereabouts(built, identity) if (one.source, one.part) == (source, stem)]
            for note in mine.notes:
                if note.startswith(wanted):
                    return note, tokens
    raise AssertionError(f"no document of {source} has a note that begins {wanted}")


def test_what_is_not_trained_on_says_why(built):
    assert words(built, "web", "held out")[0] == "held out of web: no phase trains on it"
    note, tokens = words(built, "dropped", "phase first: too long")
    assert note == f"phase first: too long, {tokens} tokens where a sequence has 80"
    assert words(built, "chats", "phase second")[0] == "phase second: draws nothing of chats"
    assert words(built, "split", "phase first: ends")[0] == "phase first: ends before the epoch of split comes to it"
    assert words(built, "web", "phase second: draws what")[0].endswith("and it is not part of that")


def test_an_unknown_id_is_an_error(built):
    with pytest.raises(ConfigError, match="no document has this id"):
        whereabouts(built, "nobody")


@pytest.mark.parametrize(
    ("phase", "first", "count", "message"),
    [
        ("fourth", 0, 1, "the shards have no such phase"),
        ("first", -1, 1, "no such sequences"),
        ("first", 0, 10**6, "no such sequences"),
        ("first", 3, 0, "no such sequences"),
    ],
)
def test_places_that_are_not_there_are_errors(built, phase, first, count, message):
    with pytest.raises(ConfigError, match=message):
        pieces(built, phase, first, count)


@pytest.mark.parametrize(("count", "world_size"), [(1, 1), (8, 4), (7, 3), (2, 5), (1024, 7)])
def test_ranks_share_a_batch_in_order(count, world_size):
    shares = [rank_places(100, count, rank, world_size) for rank in range(world_size)]
    assert [place for first, many in shares for place in range(first, first + many)] == list(range(100, 100 + count))
    for rank in (-1, world_size):
        with pytest.raises(ConfigError, match="no such rank"):
            rank_places(100, count, rank, world_size)


@pytest.mark.parametrize(("field", "more"), [("length", 400), ("start", 10**7), ("part", 9)])
def test_spans_of_other_shards_are_an_error(built, monkeypatch, field, more):
    index = type(built.order.index("first", 0))
    sequence = index.sequence

    def moved(self, number):
        spans = sequence(self, number).copy()
        spans[field][0] += more
        return spans

    monkeypatch.setattr(index, "sequence", moved)
    with pytest.raises(RunError, match="no piece of a document"):
        pieces(built, "first", 0, built.phases["first"].sequences)


def test_tables_show_and_keep_everything(built, everything):
    some = everything["first"][:5]
    table = piece_table("head", {"phase": "first"}, some)
    lines = table.text.split("\n")
    assert lines[0] == "head"
    assert len(lines) == 2 + len(some)
    assert [one["id"] for one in table.data["pieces"]] == [piece.id for piece in some]
    for line, piece in zip(lines[2:], some, strict=True):
        assert line.split()[:2] == [piece.id, f"{piece.start}:{piece.stop}"]
    found = whereabouts(built, some[0].id)
    text = whereabouts_table(found).text
    for one in found:
        assert f"{one.id} of source {one.source}" in text
        assert all(note in text for note in one.notes)
    assert whereabouts_table(found).data["documents"][0]["id"] == some[0].id


def test_names_of_the_input_cannot_write_on_the_terminal(everything):
    hostile = replace(everything["first"][0], id="a\x1b[2J\nb", url="https://x/\x1b]0;t\x07", source="s\r")
    text = piece_table("head", {}, [hostile]).text
    assert len(text.split("\n")) == 3
    assert not any(ord(one) < 32 and one != "\n" for one in text)

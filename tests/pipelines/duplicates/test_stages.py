"""The stages of near-duplicates one by one: what each leaves for the next, against the documents themselves."""

import random
from collections import defaultdict

import pytest
from midtrain.filters.texts import hash_texts, text_view
from midtrain.pipelines import curate, exchange, inputs, recipe
from midtrain.pipelines.duplicates import sizes
from midtrain.pipelines.duplicates.bands import KEYS, WriteBands, minhash
from midtrain.pipelines.duplicates.buckets import Buckets
from midtrain.pipelines.duplicates.components import LABELS, Labels, links_of
from midtrain.pipelines.duplicates.members import Members
from midtrain.pipelines.duplicates.numbers import by_range
from midtrain.pipelines.estimates import in_order
from midtrain.pipelines.read_parts import read_part
from midtrain.pipelines.stage import Tally

WORDS = [f"word{number}" for number in range(500)]


@pytest.fixture
def made(workshop, monkeypatch):
    """The stages before the choice, each complete, by their class; two of three sources are compared."""
    for name, value in {
        "KEYS_PER_PARTITION": 300,
        "NODES_PER_PARTITION": 25,
        "MEMBERS_BYTES": 4_000,
        "BLOCK_KEYS": 90,
        "BLOCK_BYTES": 3_000,
        "ROWS_AT_ONCE": 4,
        "TEXT_AT_ONCE": 500,
    }.items():
        monkeypatch.setattr(sizes, name, value)
    monkeypatch.setattr(inputs, "MIN_SPLIT", 3_000)
    rng = random.Random(8)
    texts = [" ".join(rng.choice(WORDS) for _ in range(rng.choice([3, 30, 60]))) for _ in range(40)]
    texts += [f"{rng.choice(texts)} once more" for _ in range(30)] + [rng.choice(texts) for _ in range(15)]
    rng.shuffle(texts)
    specs = []
    for name, own in (("a", texts[:30]), ("left", texts[30:50]), ("b", texts[50:])):
        specs.append({"name": name, "path": workshop.jsonl(f"{name}.jsonl", workshop.records(name, own))})
    content = workshop.recipe(sources=specs, steps=[{"minhash_dedup": {"sources": ["b", "a"]}}])
    last = curate.plan(recipe.load(workshop.yaml("recipe.yaml", content)))[-1]
    found = {}
    for stage in in_order(last.choice):
        if stage is last.choice:
            break
        stage.complete(Tally(stage.run(task) for task in range(stage.tasks())))
        found[type(stage)] = stage
    return found


def compared(bands):
    """Number, id, text, keys, set and hash of every document that is compared."""
    options = minhash(bands.step)
    for task, part in enumerate(bands.upstream.parts):
        if part.source == "left":
            continue
        row = 0
        for batch in read_part(bands.upstream.folder / part.path):
            texts = text_view(batch.column("text"))
            signed, (shingles, ends) = options.signed(*texts), options.shingled(*texts)
            hashes = hash_texts(*texts)
            for at in range(batch.num_rows):
                keys = signed.keys[signed.key_ends[at - 1] if at else 0 : signed.key_ends[at]].tolist()
                own = shingles[ends[at - 1] if at else 0 : ends[at]].tolist()
                yield task << 32 | row, batch.column("id")[at].as_py(), keys, own, hashes[at].tolist(), part.source
                row += 1


def components(documents):
    """The documents that share keys, directly or not, each with the smallest of them."""
    label = {number: number for number, *_ in documents}
    buckets = defaultdict(list)
    for number, _, keys, *_ in documents:
        for key in keys:
            buckets[key].append(number)
    changed = True
    while changed:
        changed = False
        for bucket in buckets.values():
            smallest = min(label[number] for number in bucket)
            for number in bucket:
                changed |= label[number] != smallest
                label[number] = smallest
    alone = {number for number in label if list(label.values()).count(label[number]) == 1}
    return {number: root for number, root in label.items() if number not in alone}


def test_every_key_is_in_the_range_of_its_partition_once(made):
    bands = made[WriteBands]
    assert bands.partitions() > 2
    expected = sorted((key, number) for number, _, keys, *_ in compared(bands) for key in keys)
    paths, found = [bands.folder / file.path for file in bands.finished().files], []
    for partition in range(bands.partitions()):
        rows = exchange.read(paths, partition, KEYS)
        keys = rows.column("key").to_numpy()
        assert set(by_range(keys, bands.partitions()).tolist()) <= {partition}
        found += zip(keys.tolist(), rows.column("document").to_pylist(), strict=True)
    assert sorted(found) == expected
    assert bands.finished().counts == {"documents": 65, "keys": len(expected)}


def test_links_lead_from_each_document_to_a_smaller_one_that_it_shares_keys_with(made):
    buckets = made[Buckets]
    assert buckets.partitions() > 2
    label = components(list(compared(made[WriteBands])))
    seen = set()
    for partition in range(buckets.partitions()):
        for documents, roots in links_of(buckets, partition):
            assert (documents > roots).all()
            assert [label[one] for one in documents.tolist()] == [label[one] for one in roots.tolist()]
            seen |= {*documents.tolist(), *roots.tolist()}
    assert seen == set(label)


def test_labels_are_the_components_by_part(made):
    labels = made[Labels]
    found = {}
    for part in range(len(labels.upstream.parts)):
        rows = exchange.read(labels.outputs(), part, LABELS)
        found |= dict(zip(rows.column("document").to_pylist(), rows.column("component").to_pylist(), strict=True))
        assert {document >> 32 for document in rows.column("document").to_pylist()} <= {part}
    assert found == components(list(compared(made[WriteBands])))


def test_members_are_what_is_compared_together_by_component(made):
    members = made[Members]
    assert members.partitions() > 2
    documents = list(compared(made[WriteBands]))
    label = components(documents)
    expected = {
        number: (label[number], identity, keys, own, hashes, members.upstream.source_order.index(source))
        for number, identity, keys, own, hashes, source in documents
        if number in label
    }
    paths, found, partitions = [members.folder / file.path for file in members.finished().files], {}, defaultdict(set)
    for partition in range(members.partitions()):
        for row in exchange.read(paths, partition, members.schema()).to_pylist():
            found[row["part"] << 32 | row["row"]] = (
                *(row[name] for name in ("component", "id", "keys", "shingles")),
                [row["low"], row["high"]],
                row["source"],
            )
            partitions[row["component"]].add(partition)
    assert found == expected
    assert {len(one) for one in partitions.values()} == {1}

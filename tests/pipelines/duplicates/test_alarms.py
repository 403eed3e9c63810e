"""Alarms: what they allow, what they refuse, and that a person can act on what they say."""

import numpy as np
import pyarrow as pa
import pytest
from midtrain.errors import RunError
from midtrain.pipelines.duplicates import alarms, clusters
from midtrain.pipelines.duplicates.alarms import Limits, Loss
from midtrain.pipelines.stage import add_counts


def limits(**changed):
    return Limits(**{"step": "minhash_dedup", "max_loss": 0.5, "allow_loss": (), "max_cluster": 3, **changed})


@pytest.fixture
def choice(tmp_path):
    """A choice in two tasks: a3 to a6 of `web` go for a1 of `books`, w2 of `web` goes for w1; counts and files."""
    ids = ["a1", "a3", "a4", "a5", "a6", "w1", "w2"]
    sources = ["books", *["web"] * 6]
    keeper, similarity = [0, 0, 0, 0, 0, 5, 5], [1.0, 0.9, 0.81, 0.85, 0.95, 1.0, 0.8]
    counts, files = {}, []
    for task, rows in enumerate((slice(0, 5), slice(5, 7))):
        count = rows.stop - rows.start
        compared = clusters.Compared(
            pa.array(ids[rows]),
            pa.array(sources[rows]),
            np.full(count, task, np.int32),
            np.arange(count, dtype=np.int32),
            np.array(keeper[rows], np.int64) - rows.start,
            np.array(similarity[rows]),
        )
        files.append(clusters.write(tmp_path, task, compared))
        add_counts(counts, clusters.counts(compared))
    return tmp_path, counts, files


def text_of(document):
    return None if document.id == "a1" else f"text of {document.id}\n" + "and more " * 30


def check(choice, documents, **changed):
    folder, counts, files = choice
    losses = {name: Loss(sum(own.values()), documents[name]) for name, own in counts["between"].items()}
    alarms.check_choice(limits(**changed), losses, counts, folder, files, text_of)


def test_what_stays_under_the_limits_passes(choice):
    check(choice, {"web": 10, "books": 1, "other": 0}, max_cluster=5)
    check(choice, {"web": 6, "books": 1}, max_cluster=None, max_loss=None)
    check(choice, {"web": 6, "books": 1}, max_cluster=None, allow_loss=("web",))
    check(choice, {"web": 6, "books": 1}, max_cluster=None, max_loss=5 / 6)


def test_a_cluster_that_is_too_large_is_named_with_what_it_holds(choice):
    with pytest.raises(RunError, match="a cluster has more documents than max_cluster") as caught:
        check(choice, {"web": 100, "books": 1}, max_cluster=4)
    assert caught.value.seen == (
        "the largest cluster has 5 documents: a1 of books is kept, one of those dropped is a4 of web "
        f"{'text of a4�' + 'and more ' * 7 + 'and m…'!r} (0.810 similar)"
    )
    assert caught.value.expected == "at most 4"
    assert "max_cluster: 5" in caught.value.fix
    check(choice, {"web": 100, "books": 1}, max_cluster=5)


def test_a_source_that_loses_too_much_is_named_with_where_its_copies_are(choice):
    with pytest.raises(RunError, match="minhash_dedup: source web loses more") as caught:
        check(choice, {"web": 9, "books": 1}, max_cluster=None, allow_loss=("books",))
    seen = caught.value.seen
    assert seen.startswith("web loses 5 of 9 documents (55.56 %); ")
    assert "; what is kept in their place: 4 of books, 1 of its own; " in seen
    assert "the largest cluster has 5 documents: a1 of books is kept" in seen
    assert caught.value.expected == "at most 50 % of a source"
    assert "allow_loss: [books, web]" in caught.value.fix
    assert "what is done is kept" in caught.value.fix


def test_the_share_that_is_allowed_is_still_allowed(tmp_path):
    alarms.check_losses(limits(), {"a": Loss(5, 10), "b": Loss(0, 0)}, "documents", tmp_path)
    with pytest.raises(RunError):
        alarms.check_losses(limits(), {"a": Loss(6, 11)}, "documents", tmp_path)
    with pytest.raises(RunError):
        alarms.check_losses(limits(max_loss=0.0), {"a": Loss(1, 1000)}, "documents", tmp_path)


def test_of_many_sources_the_worst_are_named(tmp_path):
    losses = {f"s{i}": Loss(10 + i, 20) for i in range(10)}
    with pytest.raises(RunError, match="source s9 loses") as caught:
        alarms.check_losses(limits(), losses, "bytes of text", tmp_path)
    assert caught.value.seen == (
        "s9 loses 19 of 20 bytes of text (95.00 %); s8 loses 18 of 20 bytes of text (90.00 %); "
        "s7 loses 17 of 20 bytes of text (85.00 %); s6 loses 16 of 20 bytes of text (80.00 %); "
        "s5 loses 15 of 20 bytes of text (75.00 %); and 4 more sources"
    )


def test_the_largest_cluster_is_not_looked_for_where_the_counts_say_that_it_is_small(tmp_path):
    counts = {"cluster_sizes": {"2": 9, "17-32": 1}, "between": {"a": {"a": 40}}}
    gone = [clusters.write(tmp_path, 0, nothing())]
    (tmp_path / gone[0].path).unlink()
    alarms.check_choice(limits(max_cluster=32), {"a": Loss(40, 100)}, counts, tmp_path, gone, text_of)
    with pytest.raises(RunError):
        alarms.check_choice(limits(max_cluster=31), {"a": Loss(40, 100)}, counts, tmp_path, gone, text_of)


def nothing():
    empty = np.zeros(0, np.int32)
    return clusters.Compared(pa.array([], pa.string()), pa.array([], pa.string()), empty, empty, np.zeros(0, np.int64))

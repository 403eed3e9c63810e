"""`minhash_dedup` on a corpus of which it is known what is a duplicate of what, against Jaccard in plain Python."""

import itertools
import random
import shutil
import statistics
import subprocess
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from midtrain.filters.minhash_dedup import MinhashDedup
from midtrain.pipelines import curate as curation
from midtrain.pipelines import recipe as recipes
from midtrain.pipelines.processes import local
from midtrain.progress import Progress

from tests.planted import corpus, edits
from tests.planted.definition import Alike, raw_characters, raw_words
from tests.planted.outcome import Outcome, hash_of, kept_ids, outcome, rank
from tests.planted.wording import LANGUAGES, UNSPACED
from tests.sizes import sized

THRESHOLD = 0.8
CLEAR = 0.82  # planted pairs of so much Jaccard and more are to be found
SEED = 6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def recipe(root: Path, sources: Sequence[dict[str, str]], **options: Any) -> Path:
    """Writes a recipe of the one step; a planted corpus loses much, and is to."""
    step = {"keep": ["source", "length", "date"], "threshold": THRESHOLD, "max_loss": None, "max_cluster": None}
    steps = [{"minhash_dedup": {**step, **options}}]
    path = root / "recipe.yaml"
    content = {"name": "planted", "output": str(root / "out"), "sources": list(sources), "steps": steps}
    path.write_bytes(orjson.dumps(content))
    return path


def curate(root: Path, sources: Sequence[dict[str, str]], workers: int = 0, **options: Any) -> Path:
    """Runs the recipe; returns the output."""
    loaded = recipes.load(recipe(root, sources, **options))
    curation.curate(loaded, local(workers), Progress(shown=False))
    return root / "out"


@pytest.fixture(scope="module")
def planted() -> corpus.Planted:
    return corpus.plant(SEED)


@pytest.fixture(scope="module")
def found(planted: corpus.Planted, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    root = tmp_path_factory.mktemp("planted")
    made = outcome(curate(root, planted.write(root / "data", seed=1)))
    shutil.rmtree(root)
    return made


@pytest.fixture(scope="module")
def alike(planted: corpus.Planted) -> Alike:
    return Alike(planted.texts())


def text_of(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """uint8[...] of texts end to end, and int64[n + 1], where each begins."""
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])


def test_shingles_are_those_of_the_definition(planted, alike):
    """Two ways to the same Jaccard: tables and hashes, and `unicodedata` and sets."""
    pairs = planted.pairs[:: sized(1, 5)]
    ids = sorted({one for pair in pairs for one in pair})
    shingles, ends = MinhashDedup().shingled(*text_of([planted.documents[one].text for one in ids]))
    sets = dict(zip(ids, np.split(shingles, ends[:-1]), strict=True))
    for one, other in pairs:
        common = len(np.intersect1d(sets[one], sets[other], assume_unique=True))
        assert common / (len(sets[one]) + len(sets[other]) - common) == pytest.approx(alike(one, other), abs=1e-9)


def test_every_document_is_kept_or_names_a_kept_one(planted, found):
    assert found.kept | found.dropped.keys() == planted.documents.keys()
    assert {gone.partner for gone in found.dropped.values()} <= found.kept


def test_every_dropped_document_is_verified_similar_to_a_kept_one_that_outranks_it(planted, found, alike):
    for identity, gone in found.dropped.items():
        assert gone.threshold == THRESHOLD
        assert alike(identity, gone.partner) == pytest.approx(gone.similarity, abs=1e-6), (identity, gone)
        assert gone.similarity >= THRESHOLD
        assert rank(planted.documents[gone.partner]) < rank(planted.documents[identity])


def test_pairs_that_are_clearly_duplicates_are_found(planted, found, alike):
    """Recall: of pairs with a Jaccard of .82 and more, those of which one is dropped."""
    clear = [pair for pair in planted.pairs if alike(*pair) >= CLEAR]
    missed = [pair for pair in clear if found.kept.issuperset(pair)]
    assert 1 - len(missed) / len(clear) >= 0.95
    for language in LANGUAGES:
        of_it = [pair for pair in clear if planted.documents[pair[0]].language == language]
        lost = [pair for pair in missed if planted.documents[pair[0]].language == language]
        print(f"{language}: {len(of_it):,} pairs, recall {1 - len(lost) / len(of_it):.4f}")
        assert len(of_it) > 300
        assert 1 - len(lost) / len(of_it) >= 0.9
    for level, aim in enumerate(edits.LEVELS, start=1):
        copies = [one for one in planted.of("family") if one.level == level]
        print(
            f"level {level} ({aim}): {sum(one.id in found.dropped for one in copies)} of {len(copies)} copies dropped"
        )
    books = [(one, other) for one, other in planted.pairs if planted.documents[one].kind == "book"]
    assert not [pair for pair in books if found.kept.issuperset(pair) and alike(*pair) > 0.87]


def test_what_is_dropped_was_planted_as_a_duplicate(planted, found, alike):
    """Precision: of dropped documents, those that have a duplicate in their own family, chain, book or text."""
    wrong = []
    for identity, gone in found.dropped.items():
        one, other = planted.documents[identity], planted.documents[gone.partner]
        if one.group != other.group or alike(identity, gone.partner) < THRESHOLD:
            wrong.append((identity, gone))
    print(f"precision {1 - len(wrong) / len(found.dropped):.5f} of {len(found.dropped):,} dropped documents: {wrong}")
    assert 1 - len(wrong) / len(found.dropped) >= 0.99


def test_pages_of_a_template_and_books_with_the_same_front_matter_all_stay(planted, found):
    assert len(planted.of("page")) == 10_000
    assert [one.id for one in planted.of("page") + planted.of("front_matter") if one.id in found.dropped] == []


def test_one_of_every_short_text_stays_and_no_other_goes(planted, found):
    """As `rank` would have it; a text that differs in case alone is another text."""
    groups = defaultdict(list)
    for one in planted.of("short"):
        groups[one.text].append(one)
    assert sum(map(len, groups.values())) == 3_000
    for text, same in groups.items():
        assert [one.id for one in same if one.id in found.kept] == [min(same, key=rank).id], text


def test_a_chain_is_not_joined_from_end_to_end(planted, found, alike):
    left = []
    for chain in planted.chains:
        assert alike(chain[0], chain[-1]) < 0.3
        left.append([identity for identity in chain if identity in found.kept])
        assert len(left[-1]) >= 2
    lengths = [(len(chain), len(ids)) for chain, ids in zip(planted.chains, left, strict=True)]
    print("documents of a chain, kept:", lengths)
    # A kept window stands for those to both sides that are .8 like it: at most one to each side.
    assert all(kept >= length / 3 for length, kept in lengths)


def test_no_two_kept_documents_that_could_be_compared_are_similar(planted, found, alike):
    ids = sorted(found.kept)
    step = MinhashDedup()
    held: dict[int, list[str]] = defaultdict(list)
    for start in range(0, len(ids), 2_000):
        chunk = ids[start : start + 2_000]
        signed = step.signed(*text_of([planted.documents[one].text for one in chunk]))
        rows = np.searchsorted(signed.key_ends, np.arange(len(signed.keys)), side="right")
        for key, row in zip(signed.keys.tolist(), rows.tolist(), strict=True):
            held[key].append(chunk[row])
    candidates = {
        (one, other)
        for sharing in held.values()
        for one, other in itertools.combinations(sharing, 2)
        if planted.documents[one].kind not in ("page", "front_matter")  # compared below, by groups of a few
    }
    assert len(candidates) > 100
    assert [pair for pair in candidates if alike(*pair) >= THRESHOLD] == []
    rng = random.Random(SEED)
    traps = [sharing for sharing in held.values() if planted.documents[sharing[0]].kind in ("page", "front_matter")]
    crowded = [rng.sample(sharing, 2) for sharing in traps if len(sharing) > 1 for _ in range(3)]
    assert len(crowded) > 1_000
    assert max(alike(*pair) for pair in rng.sample(crowded, min(len(crowded), 20_000))) < THRESHOLD


def test_another_definition_agrees(planted, found):
    """5-grams of raw characters, or of raw words where there are spaces: they know nothing of units or folding."""
    families = [pair for pair in planted.pairs if planted.documents[pair[0]].kind == "family"]
    spaced = [pair for pair in families if planted.documents[pair[0]].language not in UNSPACED]
    # An edited word costs about 9 n-grams of characters of some 30 in the 5 words that an n-gram of words has.
    for name, sets, pairs, clear, least in (
        ("characters", raw_characters, families, 0.92, 0.7),
        ("words", raw_words, spaced, CLEAR, 0.75),
    ):
        alike = Alike(planted.texts(), sets)
        both = [pair for pair in pairs if alike(*pair) >= clear]
        missed = [pair for pair in both if found.kept.issuperset(pair)]
        print(f"raw {name}: {len(both):,} pairs of {clear} and more, recall {1 - len(missed) / len(both):.4f}")
        assert 1 - len(missed) / len(both) >= 0.95
        known = {identity for pair in pairs for identity in pair}
        dropped = [identity for identity in sorted(found.dropped) if identity in known]
        edited = [one for one in dropped if planted.documents[one].level in (2, 3, 4)]
        edited = [one for one in edited if planted.documents[found.dropped[one].partner].level != 1]  # of other type
        values = [alike(identity, found.dropped[identity].partner) for identity in edited]
        low, middle = statistics.quantiles(values, n=100)[0], statistics.median(values)
        print(f"raw {name}: {len(values):,} edited copies dropped, Jaccard 1 % {low:.3f}, median {middle:.3f}")
        assert low >= least


# However the work is divided: seed and number of the files, bytes of a task, workers, and whether a partition is small.
DIVISIONS = {
    "one worker, small partitions": (2, 2, 1_500_000, 1, True),
    "four workers, many tasks": (3, 4, 500_000, 4, False),
    **sized({"two workers": (2, 4, 500_000, 2, False), "four workers, few tasks": (4, 1, 2_000_000, 4, False)}, {}),
}


@pytest.fixture(scope="module")
def medium() -> corpus.Planted:
    return corpus.plant(SEED, corpus.MEDIUM)


@pytest.fixture(scope="module")
def expected(medium: corpus.Planted, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the ids that are kept, from one task of each source in this process."""
    root = tmp_path_factory.mktemp("medium")
    made = outcome(curate(root, medium.write(root / "data", seed=9, files=1)))
    assert 0.2 < len(made.dropped) / len(medium.documents) < 0.8
    return made.hash


def driver(root: Path, split: int, small: bool) -> Path:
    """The command line with another size of tasks, and perhaps of partitions, which workers import too."""
    path = root / "driver.py"
    path.write_text(DRIVER.format(split=split) + (SMALL_PARTITIONS if small else "") + MAIN)
    return path


DRIVER = """
import sys
from midtrain import cli
from midtrain.pipelines import inputs
from midtrain.pipelines.duplicates import sizes
inputs.MIN_SPLIT = inputs.MAX_SPLIT = {split}
"""
SMALL_PARTITIONS = """
sizes.KEYS_PER_PARTITION, sizes.NODES_PER_PARTITION = 20_000, 1_500
sizes.MEMBERS_BYTES, sizes.SETS_BYTES = 100_000, 1_000_000
"""
MAIN = """
if __name__ == "__main__":
    cli.main()
"""


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
def test_the_same_documents_stay_however_the_work_is_divided(medium, expected, tmp_path, division, processes):
    seed, files, split, workers, small = division
    made = recipe(tmp_path, medium.write(tmp_path / "data", seed, files))
    command = (str(driver(tmp_path, split, small)), "curate", str(made), "--workers", str(workers))
    said = processes.end(processes.start(*command), 600)
    assert said.code == 0, said.err
    assert hash_of(kept_ids(tmp_path / "out")) == expected


def tasks(output: Path, event: str) -> Counter[str]:
    """Tasks that began or ended, by stage; of whole lines, since a run may be writing the last one."""
    path = output / "events.jsonl"
    lines = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    return Counter(told["folder"] for told in map(orjson.loads, lines) if told["event"] == event)


def _ended_or_new(started: "subprocess.Popen[str]", output: Path, known: set[str]) -> bool:
    return started.poll() is not None or bool(tasks(output, "task_started").keys() - known)


def test_a_run_killed_in_each_of_its_stages_comes_to_the_same(medium, expected, tmp_path, processes, wait_until):
    """SIGKILL to driver and workers whenever a stage's first task has begun; what goes on is killed in the next one."""
    program = driver(tmp_path, 1 << 26, small=False)
    command = (str(program), "curate", str(recipe(tmp_path, medium.write(tmp_path / "data", 11))), "--workers", "1")
    output = tmp_path / "out"
    killed: set[str] = set()
    while True:
        started = processes.start(*command)
        wait_until(partial(_ended_or_new, started, output, killed), 300)
        if started.poll() is not None:
            break
        processes.kill(started, whole_group=True)
        killed |= tasks(output, "task_started").keys()
    said = processes.end(started)
    assert said.code == 0, said.err
    assert hash_of(kept_ids(output)) == expected
    assert len(killed) >= 6
    assert processes.left() == []
    print(f"killed in each of {len(killed)} stages: {', '.join(sorted(killed))}")

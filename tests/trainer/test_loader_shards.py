"""The loader on real shards: whatever the ranks, workers and micro-batches, a step is the same documents and spans."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import orjson
import pytest
import torch
from midtrain.errors import ConfigError, RunError
from midtrain.mixtures.built import Built
from midtrain.trainer.loader import loader
from midtrain.trainer.shard_dataset import ShardDataset
from torch.utils.data import DataLoader

STEP = 8  # sequences
PHASE = "first"


@pytest.fixture(scope="module")
def built(built_workshop):
    return Built.open(built_workshop.root / "shards")


@pytest.fixture(scope="module")
def spans(built):
    """Of every place of the phase: source, document, its span, and the tokens of the span."""
    found = []
    for place in range(built.phases[PHASE].sequences):
        source, laid = built.order.spans(PHASE, place)
        row = []
        for part, start, length, _ in laid.tolist():
            document = int(np.searchsorted(built.shards(source).ends(part), start, side="right"))
            tokens = built.shards(source).read(part, start, length)
            row.append(((source, part, document, start, length), tokens.tolist()))
        found.append(row)
    return found


def steps_of(batches, micro):
    """The segments of every step's batches as they are trained: rows of a micro-batch by tokens."""
    steps = []
    for batch in batches:
        rows = []
        for first in range(0, len(batch), micro):
            tokens, _, segments, _ = batch.rows(first, micro)
            for row, which in zip(tokens.tolist(), segments.tolist(), strict=True):
                cut = [
                    [t for t, n in zip(row, which, strict=True) if n == segment] for segment in range(max(which) + 1)
                ]
                rows.append(cut)
        steps.append(rows)
    return steps


def test_a_step_is_the_same_whatever_ranks_accumulation_and_workers(built, spans):
    """4 ranks × 2 micro-batches, 2 × 8, 1 × 1, with other numbers of workers: (step, document, span) is one list."""
    total = built.phases[PHASE].sequences
    expected = [
        [(step, *document) for place in range(first, min(first + STEP, total)) for document, _ in spans[place]]
        for step, first in enumerate(range(0, total, STEP))
    ]
    for world_size, micro, workers in ((4, 1, 0), (2, 4, 2), (1, 3, 3)):
        shares = [
            steps_of(loader(built, PHASE, STEP, rank=rank, world_size=world_size, workers=workers), micro)
            for rank in range(world_size)
        ]
        lists = []
        for step, rows in enumerate(zip(*shares, strict=True)):
            place = itertools.count(step * STEP)
            trained = []
            for row in itertools.chain(*rows):
                laid = spans[next(place)]
                assert row == [tokens for _, tokens in laid]
                trained += [(step, *document) for document, _ in laid]
            lists.append(trained)
        assert orjson.dumps(lists) == orjson.dumps(expected)
    assert total % STEP  # the last batch is short


def rows_of(batches):
    return torch.cat([batch.tokens_BT for batch in batches])


@pytest.mark.parametrize("workers", [0, 2])
def test_going_on_from_any_state(built, workers):
    whole = rows_of(loader(built, PHASE, STEP))
    read = loader(built, PHASE, STEP, workers=workers)
    assert len(read) == -(-len(whole) // STEP)
    states = [read.state_dict(), *(read.state_dict() for _ in read)]
    assert states == [{"sequence": min(i * STEP, len(whole))} for i in range(len(states))]
    assert len(read) == 0
    assert list(read) == []
    for state in states[:: 1 if workers == 0 else 3]:
        other = loader(built, PHASE, 5, workers=0)  # with other batches and workers
        other.load_state_dict(state)
        rest = list(other)
        assert rest or state["sequence"] == len(whole)
        assert torch.equal(rows_of(rest) if rest else whole[:0], whole[state["sequence"] :])


def test_a_loader_that_is_left_goes_on_where_it_was(built):
    whole = rows_of(loader(built, PHASE, STEP))
    read = loader(built, PHASE, STEP, prefetch=3)
    first = rows_of(itertools.islice(read, 2))
    assert read.state_dict() == {"sequence": 2 * STEP}  # not what was read ahead
    assert torch.equal(torch.cat([first, rows_of(read)]), whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_in_a_dataloader_of_ones_own(built, workers):
    dataset = ShardDataset(built, PHASE, STEP, first=3)
    read = DataLoader(dataset, batch_size=None, num_workers=workers)
    assert torch.equal(rows_of(read), rows_of(loader(built, PHASE, STEP))[3:])


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_either_kind_read_the_maps(built, context):
    list(built.batches(PHASE, 0, STEP))  # there are maps to be inherited
    read = loader(built, PHASE, STEP, workers=2, context=context)
    assert torch.equal(rows_of(read), rows_of(loader(built, PHASE, STEP)))


def test_a_pickled_dataset_goes_on_where_it_was(built):
    dataset = ShardDataset(built, PHASE, STEP)
    next(iter(dataset))
    again = pickle.loads(pickle.dumps(dataset))
    assert again.mixture is not built
    assert again.state_dict() == {"sequence": STEP}
    assert torch.equal(rows_of(again), rows_of(loader(built, PHASE, STEP))[STEP:])


def test_a_mixture_that_was_built_anew_is_not_read_on(built):
    with pytest.raises(RunError, match="built anew while it was read"):
        pickle.loads(pickle.dumps(built).replace(built.fingerprint.encode(), b"0" * 32))


class DiesAt(ShardDataset):
    """A dataset whose process is killed at its second batch, or whose shards are damaged there."""

    how = signal.SIGKILL

    def _check(self, batch, start):
        if start >= 2 * STEP:
            if self.how is None:
                raise RunError("a token is outside the vocabulary", where="part-00000", seen=65535)
            time.sleep(2)  # torch tells of the death wherever the reader is: it is to wait for this batch
            os.kill(os.getpid(), self.how)
            time.sleep(60)
        super()._check(batch, start)


def dying(built, how, workers):
    dataset = DiesAt(built, PHASE, STEP)
    dataset.how = how
    read = loader(built, PHASE, STEP, workers=workers)
    return type(read)(dataset, workers=workers)


def test_a_killed_worker_is_an_error_that_says_where_to_go_on(built):
    read = dying(built, signal.SIGKILL, 1)  # of two workers the second would die behind the test
    seen = []
    with pytest.raises(RunError, match="ended before its work did") as caught:
        seen.extend(batch.first_index for batch in read)
    assert seen == [0, STEP][: len(seen)]  # torch may tell of the death before it hands out what was ready
    assert f"phase {PHASE}" in caught.value.where
    assert "killed" in str(caught.value.seen) or "exited" in str(caught.value.seen)
    assert f"at sequence {read.state_dict()['sequence']}" in caught.value.fix
    assert read.state_dict()["sequence"] == len(seen) * STEP


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_in_a_worker_is_that_error(built, workers):
    read = dying(built, None, workers)
    with pytest.raises(RunError) as caught:
        list(read)
    assert (caught.value.where, caught.value.seen) == ("part-00000", 65535)
    assert "Traceback" not in str(caught.value)
    assert read.state_dict() == {"sequence": 2 * STEP}


def test_more_ranks_than_rows_leave_some_without(built):
    total = built.phases[PHASE].sequences
    batches = [list(loader(built, PHASE, 3, first=total - 2, rank=rank, world_size=3)) for rank in range(3)]
    assert [[len(batch) for batch in one] for one in batches] == [[0], [1], [1]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"phase": "third"},
        {"first": -1},
        {"first": 10**6},
        {"end": 10**6},
        {"first": 9, "end": 5},
        {"rank": 2, "world_size": 2},
        {"sequences": 0},
        {"sequences": 2.5},
        {"sequences": True},
    ],
)
def test_what_is_not_in_the_phase_is_refused(built, wrong):
    with pytest.raises(ConfigError) as caught:
        loader(built, **{"phase": PHASE, "sequences": STEP, **wrong})
    assert str(built.root) in caught.value.where


@pytest.mark.parametrize(
    "state",
    [{}, None, [], {"sequence": -1}, {"sequence": 10**6}, {"sequence": "8"}, {"sequence": 8.0}, {"sequence": True}],
)
def test_a_state_that_is_none_is_refused(built, state):
    read = loader(built, PHASE, STEP)
    with pytest.raises(ConfigError, match="no such place"):
        read.load_state_dict(state)
    assert read.state_dict() == {"sequence": 0}


def test_a_state_may_be_a_whole_number_of_any_type(built):
    read = loader(built, PHASE, STEP)
    read.load_state_dict({"sequence": np.int64(STEP)})
    assert read.state_dict() == {"sequence": STEP}
    assert next(iter(read)).first_index == STEP


@pytest.mark.parametrize("number", [{"workers": -1}, {"prefetch": -1}])
def test_fewer_than_no_workers_or_batches_are_refused(built, number):
    with pytest.raises(ConfigError, match="fewer than no"):
        loader(built, PHASE, STEP, **number)


def test_two_iterators_do_not_share_a_state(built):
    """Nor does one go on behind a state that was set meanwhile: what it would save is nobody's place."""
    read = loader(built, PHASE, STEP)
    first = iter(read)
    next(first)
    second = iter(read)
    assert next(second).first_index == STEP
    with pytest.raises(RunError, match="another iterator begun"):
        next(first)
    read.load_state_dict({"sequence": 3 * STEP})
    with pytest.raises(RunError, match="state was set"):
        next(second)
    assert read.state_dict() == {"sequence": 3 * STEP}
    assert next(iter(read)).first_index == 3 * STEP


def test_an_iterator_that_is_left_at_the_end_of_a_program_says_nothing(built):
    code = (
        "from midtrain.mixtures.built import Built; from midtrain.trainer.loader import loader\n"
        f"it = iter(loader(Built.open({str(built.root)!r}), {PHASE!r}, {STEP})); print(next(it).first_index)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0\n", "")

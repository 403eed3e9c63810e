"""Batches: targets by their definition, and an order that depends on one integer."""

import runpy
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer.batch import UNSUPERVISED, next_token_targets
from midtrain.trainer.loader import batches

FakeMixture = runpy.run_path(str(Path(__file__).with_name("fake_mixture.py")))["FakeMixture"]


@settings(deadline=None)  # the kernel is compiled at its first call
@given(st.integers(1, 4), st.integers(1, 12), st.integers(0, 10**6))
def test_targets_are_their_definition(rows, length, seed):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 9, (rows, length))
    segments = np.sort(rng.integers(-1, 3, (rows, length)).astype(np.int32), axis=1)[:, ::-1].copy()
    loss = rng.random((rows, length)) < 0.6
    targets, supervised, real = next_token_targets(tokens, segments, loss)
    for row in range(rows):
        for t in range(length):
            follows = t + 1 < length and segments[row, t] == segments[row, t + 1] != -1 and loss[row, t + 1]
            assert targets[row, t] == (tokens[row, t + 1] if follows else UNSUPERVISED)
    assert (supervised, real) == ((targets != UNSUPERVISED).sum(), (segments >= 0).sum())


def test_batches_hold_every_sequence_once_in_order():
    mixture = FakeMixture()
    read = list(batches(mixture, "pretrain", 0, 6))
    assert [(batch.first_index, len(batch)) for batch in read] == [
        (0, 6),
        (6, 6),
        (12, 6),
        (18, 6),
        (24, 6),
        (30, 6),
        (36, 4),
    ]
    rows = torch.cat([batch.tokens_BT for batch in read])
    expected = np.stack([mixture.row("pretrain", index)[0] for index in range(40)])
    assert torch.equal(rows, torch.from_numpy(expected).long())


@pytest.mark.parametrize(
    ("first", "size", "end"), [(0, 3, None), (7, 5, None), (12, 4, 30), (39, 8, None), (40, 8, None)]
)
def test_reading_from_any_sequence_gives_the_rest(first, size, end):
    whole = torch.cat([batch.targets_BT for batch in batches(FakeMixture(), "pretrain", 0, 7)])
    rest = [batch.targets_BT for batch in batches(FakeMixture(), "pretrain", first, size, end=end)]
    assert sum(len(part) for part in rest) == (end or 40) - first
    assert torch.equal(torch.cat(rest) if rest else whole[40:], whole[first : end or 40])


def test_types_and_counts():
    batch = next(batches(FakeMixture(), "midtrain", 0, 4))
    assert batch.tokens_BT.dtype == batch.targets_BT.dtype == torch.int64
    assert batch.positions_BT.dtype == batch.segments_BT.dtype == torch.int32
    assert batch.loss_mask_BT.dtype == torch.bool
    assert batch.supervised == int((batch.targets_BT >= 0).sum()) == int(batch.loss_mask_BT.sum())
    assert batch.real == int((batch.segments_BT >= 0).sum()) < batch.tokens_BT.numel()
    assert [part.shape for part in batch.rows(3, 2)] == [(1, 32)] * 4


class Unsupervised(FakeMixture):
    def batch(self, phase, first, count):
        rows = super().batch(phase, first, count)
        return replace(rows, loss_mask=rows.loss_mask & (first != 8))


def test_a_batch_without_a_trained_token_is_an_error():
    with pytest.raises(RunError, match=r"phase pretrain, sequences 8 to 11: no token of the batch is trained"):
        list(batches(Unsupervised(), "pretrain", 0, 4))


class Shifted(FakeMixture):
    def batch(self, phase, first, count):
        return super().batch(phase, first + 1, count)


def test_other_sequences_than_asked_for_are_an_error():
    with pytest.raises(RunError, match="4 from 0"):
        next(batches(Shifted(), "pretrain", 0, 4))


def test_reads_one_batch_ahead_and_ends_its_thread():
    mixture, before = FakeMixture(), set(threading.enumerate())  # another test may have left some
    read = batches(mixture, "pretrain", 0, 10)
    next(read)
    deadline = time.monotonic() + 60
    while len(mixture.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [first for _, first, _ in mixture.asked] == [0, 10]
    read.close()
    begun = set(threading.enumerate()) - before
    assert not [thread for thread in begun if thread.name.startswith("loader")]

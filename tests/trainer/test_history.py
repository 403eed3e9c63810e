"""The history of a run: every step has its sequences, every sequence its step, over stretches of different batches."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from midtrain.errors import RunError
from midtrain.trainer import history
from midtrain.trainer.history import History, Position, Stretch

SHARDS = "f" * 32


def stretch(batch: int, steps: int, short: int, first_step: int = 0, first_sequence: int = 0) -> Stretch:
    """So many steps, the last with `short` sequences fewer."""
    return Stretch("one", SHARDS, 16, batch, 1e4, first_step, steps, first_sequence, batch * steps - short)


@given(st.integers(1, 9), st.integers(1, 20), st.integers(0, 8), st.integers(0, 50), st.integers(0, 50))
def test_steps_and_sequences_are_inverse(batch, steps, short, first_step, first_sequence):
    one = stretch(batch, steps, short % batch, first_step, first_sequence)
    sequences = list(range(first_sequence, first_sequence + one.sequences))
    owners = {}
    for step in range(first_step + 1, one.last_step + 1):
        first, count = one.batch(step)
        assert 0 < count <= batch
        owners |= dict.fromkeys(range(first, first + count), step)
    assert sorted(owners) == sequences
    assert [one.step_of(sequence) for sequence in sequences] == [owners[sequence] for sequence in sequences]
    assert one.step_of(first_sequence - 1) is one.step_of(first_sequence + one.sequences) is None
    for step in (first_step, one.last_step + 1):
        with pytest.raises(IndexError):
            one.batch(step)


def test_a_stretch_can_be_cut():
    one = stretch(4, 5, 1, 10, 100)
    assert one.up_to(119) == one.up_to(200) == one
    assert (one.up_to(110).steps, one.up_to(110).sequences, one.up_to(110).batch(13)) == (3, 10, (108, 2))
    assert (one.up_to(100).steps, one.up_to(50).sequences) == (0, 0)


def test_a_stretch_goes_on_where_nothing_changed_and_else_another_begins():
    before, last = stretch(4, 5, 0), stretch(8, 3, 0, 5, 20)
    position = Position("one", sequence=44, step=8)
    assert history.go_on((before, last), position, SHARDS, 8) == ((before,), (5, 20))
    assert history.go_on((before, last), position, SHARDS, 4) == ((before, last), (8, 44))
    assert history.go_on((before, last), position, "e" * 32, 8) == ((before, last), (8, 44))


def test_what_is_written_is_read_back(tmp_path: Path):
    assert history.read(tmp_path) is None
    written = History("tiny", "out/shards", (stretch(4, 5, 0), stretch(8, 3, 2, 5, 20)))
    history.write(tmp_path, written)
    assert history.read(tmp_path) == written


@pytest.mark.parametrize(
    "change",
    [lambda body: body.pop("stretches"), lambda body: body.update(format=9), lambda body: body["stretches"].append({})],
)
def test_a_file_that_is_no_history_is_an_error(tmp_path: Path, change):
    history.write(tmp_path, History("tiny", "out/shards", (stretch(4, 5, 0),)))
    file = tmp_path / history.NAME
    body = orjson.loads(file.read_bytes())
    change(body)
    for data in (orjson.dumps(body), orjson.dumps(body)[:-5], b"[]"):
        file.write_bytes(data)
        with pytest.raises(RunError, match="is not the history of a run"):
            history.read(tmp_path)

"""Errors meant for a person: how they read, and that they survive the way from a worker."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from midtrain.errors import ConfigError, MidtrainError, RunError, missing_extra
from midtrain.manifest import Manifest


def test_an_error_says_where_what_seen_expected_fix():
    error = ConfigError("not a number", where="f.yaml:3", seen="x", expected="1 to 5", fix="write a number")
    assert str(error) == "f.yaml:3: not a number\n  seen:     x\n  expected: 1 to 5\n  fix:      write a number"


def test_what_is_not_known_is_left_out_and_zero_is_known():
    assert str(RunError("broken")) == "broken"
    assert str(RunError("broken", seen=0, expected=False)) == "broken\n  seen:     0\n  expected: False"


@pytest.mark.parametrize(("kind", "code"), [(ConfigError, 2), (RunError, 1), (MidtrainError, 1)])
def test_each_kind_has_its_exit_code(kind: type[MidtrainError], code: int):
    assert kind("x").exit_code == code


@pytest.mark.parametrize("kind", [ConfigError, RunError])
def test_errors_survive_pickling(kind: type[MidtrainError]):
    error = kind("what", where="here", seen=5, expected=(1, 2), fix="that")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == str(error)
    assert (back.where, back.seen, back.expected, back.fix) == ("here", 5, (1, 2), "that")


def test_an_error_raised_in_a_worker_arrives_whole():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(Manifest.read, "/nowhere")
        with pytest.raises(RunError, match="cannot be opened") as raised:
            future.result()
    assert raised.value.where == "/nowhere/manifest.json"


def test_a_missing_extra_names_the_command():
    error = missing_extra("torch", "train", "training")
    assert error.exit_code == 2
    assert "pip install 'midtrain[train]'" in str(error)

"""Memory that runs out: on a card, on a CPU, in Python; and what is no such thing."""

import weakref

import pytest
import torch
from midtrain.errors import RunError
from midtrain.trainer.out_of_memory import OutOfMemory, naming


def card() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 17.19 GiB.\nOf the allocated memory 5 GiB is")


def cpu() -> None:
    torch.empty(10**16)


def python() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("fail", "seen"),
    [(card, "Tried to allocate 17.19 GiB.\n"), (cpu, "40000000000000000 bytes"), (python, "MemoryError")],
)
def test_it_is_named_with_what_to_lower(fail, seen):
    with (
        pytest.raises(
            OutOfMemory, match=rf"^step 3: there is too little memory for the evaluation\n  seen: .*{seen}"
        ) as told,
        naming("the evaluation", "step 3", "lower it"),
    ):
        fail()
    assert isinstance(told.value, RunError)
    assert (told.value.fix, told.value.exit_code) == ("lower it", 1)


def test_the_innermost_name_is_said():
    told = pytest.raises(OutOfMemory, match=r"^web: there is too little memory for the loss")
    with told, naming("the evaluation", "step 3", "this"), naming("the loss", "web", "that"):
        card()


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), RunError("the disk is gone"), KeyError("x")])
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as told, naming("the evaluation", "step 3", "lower it"):
        raise error
    assert told.value is error


def test_what_filled_the_memory_is_let_go():
    held = []

    def fill() -> None:
        large = torch.zeros(1_000)
        held.append(weakref.ref(large))
        card()

    with pytest.raises(OutOfMemory) as told, naming("the evaluation", "step 3", "lower it"):
        fill()
    assert held[0]() is None
    assert told.value.__suppress_context__

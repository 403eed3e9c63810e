"""A bomb ends in time and costs its own pair alone; the pool keeps its workers and leaves none behind."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from midtrain.errors import ConfigError, RunError
from midtrain.filters.answers import Checker

from .bombs import BOMBS

SAME = ("\\sqrt{8}", "2\\sqrt{2}")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def keeper(checker: Checker) -> int:
    assert checker._process is not None
    return checker._process.pid


def gone(pids: list[int], within: float = 60) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.measures
@pytest.mark.slow
@pytest.mark.alone
def test_each_bomb_ends_in_five_seconds_and_the_pool_keeps_its_workers(wait_until: Callable[..., None]) -> None:
    assert len(BOMBS) >= 20
    with Checker(2) as checker:
        checker.agree(*SAME)
        took = {}
        for name, bomb in BOMBS.items():
            begun = time.monotonic()
            verdict = checker.agree(*bomb)
            took[name] = time.monotonic() - begun
            assert verdict.value != "right", name
            wait_until(lambda: len(children(keeper(checker))) == 2)  # the keeper answers first
        assert {name: seconds for name, seconds in took.items() if seconds >= 5} == {}
        assert [verdict.right for verdict in checker.agree_all([SAME] * 6)] == [True] * 6


@pytest.mark.slow
def test_bombs_among_pairs_cost_their_own_pairs_alone() -> None:
    bombs = [BOMBS[name] for name in ("tower of powers", "determinant", "product")]
    pairs = [pair for bomb in bombs for pair in (SAME, bomb, ("x+1", "1+x"), ("3", "3"))]
    with Checker(2, seconds=6) as checker:
        checker.agree(*SAME)
        verdicts = checker.agree_all(pairs)
    assert [verdict.value for verdict in verdicts] == ["right", "cannot_tell", "right", "right"] * 3
    assert {verdict.reason for verdict in verdicts[1::4]} == {"time"}


def test_a_formula_that_takes_too_much_memory_is_not_told() -> None:
    with Checker(1, seconds=120, memory=64 << 20) as checker:
        assert checker.agree(*SAME).right
        verdict = checker.agree("\\lfloor 2^{2^{32}} / 7 \\rfloor", "x")
        assert (verdict.value, verdict.reason) == ("cannot_tell", "memory")
        assert checker.agree(*SAME).right


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_worker_that_dies_is_replaced(wait_until: Callable[..., None]) -> None:
    with Checker(1, seconds=120) as checker:
        checker.agree(*SAME)
        (worker,) = children(keeper(checker))
        before = processor_seconds(worker)

        def kill() -> None:
            wait_until(lambda: processor_seconds(worker) > before + 0.2)  # it is at the bomb
            os.kill(worker, signal.SIGKILL)

        threading.Thread(target=kill).start()
        verdict = checker.agree(*BOMBS["product"])
        assert (verdict.value, verdict.reason) == ("cannot_tell", "crash")
        assert checker.agree(*SAME).right
        assert children(keeper(checker)) != [worker]


def test_an_idle_worker_that_dies_is_replaced() -> None:
    with Checker(1, seconds=60) as checker:
        checker.agree(*SAME)
        os.kill(children(keeper(checker))[0], signal.SIGKILL)
        checker.agree(*SAME)
        assert checker.agree(*SAME).right


@pytest.mark.parametrize("how", [Checker.close, lambda checker: os.kill(keeper(checker), signal.SIGKILL)])
def test_nothing_is_left_behind(how: Callable[[Checker], None]) -> None:
    checker = Checker(2, seconds=60)
    checker.agree(*SAME)
    pids = children(keeper(checker))
    assert len(pids) == 2
    how(checker)
    assert gone(pids)
    checker.close()


def test_a_keeper_that_dies_is_an_error_and_the_next_call_has_another() -> None:
    with Checker(1, seconds=60) as checker:
        checker.agree(*SAME)
        os.kill(keeper(checker), signal.SIGKILL)
        with pytest.raises(RunError, match="compares formulas died"):
            checker.agree(*SAME)
        assert checker.agree(*SAME).right


def test_it_works_in_any_thread_and_leaves_signals_alone() -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGINT)}
    found: list[str] = []

    def work() -> None:
        with Checker(1, seconds=60) as checker:
            found.extend(verdict.value for verdict in checker.agree_all([SAME, ("x", "y"), ("1", "1")]))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["right", "wrong", "right"]
    assert before == {number: signal.getsignal(number) for number in before}


def test_plain_pairs_start_no_process() -> None:
    with Checker(1) as checker:
        assert [verdict.value for verdict in checker.agree_all([("1", "1.0"), ("1", "2")])] == ["right", "wrong"]
        assert checker._process is None


def test_limits_that_leave_no_room_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for options in ({"workers": 0}, {"seconds": 0}, {"memory": 1000}):
        with pytest.raises(ConfigError, match="no room"):
            Checker(**options)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        Checker()
    assert raised.value.fix == 'pip install "midtrain[answers]"'

"""Signals: heard as flags, breaking off only what says that it may be broken off."""

import os
import signal
import threading
import time

import pytest
from midtrain import sandbox
from midtrain.sandbox_tests import run_programs
from midtrain.trainer.stopping import Interrupted, Stopper


def test_a_signal_is_a_flag_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Stopper() as stopper:
        assert stopper.signal is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopper.signal == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_signal_breaks_off_an_interruptible_block_and_forbids_the_next():
    reached = []
    with Stopper() as stopper:
        with pytest.raises(Interrupted), stopper.interruptible():
            reached.append(os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Interrupted), stopper.interruptible():
            reached.append("in the next block")
        assert stopper.signal == signal.SIGTERM
    assert not reached


@pytest.mark.skipif(sandbox.isolation() is not None, reason=f"no isolation: {sandbox.isolation()}")
def test_programs_that_run_are_not_waited_for(monkeypatch):
    """The grace period of a cluster is shorter than what a program may take."""
    threads, begun, run = set(threading.enumerate()), threading.Semaphore(0), sandbox.run
    sent = []

    def told(*arguments, **options):
        begun.release()
        return run(*arguments, **options)

    def send():
        assert all(begun.acquire(timeout=60) for _ in range(2))
        time.sleep(1)  # so that they do not only begin
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(sandbox, "run", told)
    with Stopper() as stopper:
        sender = threading.Thread(target=send)
        sender.start()
        with pytest.raises(Interrupted), stopper.interruptible():
            run_programs(["import time; time.sleep(1000)"] * 5, seconds=100, at_once=2)
        assert time.monotonic() - sent[0] < 60  # it would be 1,200
        sender.join()
    assert set(threading.enumerate()) <= threads  # another test's may have ended meanwhile


def test_a_block_without_a_signal_runs_through():
    with Stopper() as stopper, stopper.interruptible():
        pass
    assert stopper.signal is None


def test_the_second_interrupt_is_the_users_last_word():
    with Stopper() as stopper:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_outside_the_main_thread_it_hears_nothing_and_works():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter() -> None:
        with Stopper():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]

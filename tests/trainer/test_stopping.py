"""Signals: heard as flags, breaking off only what says that it may be broken off."""

import os
import signal
import threading

import pytest
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

"""Events of a remote output: few segments, in order, kept where the store fails, told also of a run that failed."""

import pytest
from midtrain import remote_events, storage
from midtrain.errors import RunError


@pytest.fixture
def root(bucket):
    return storage.location(bucket.address) / "out"


def fine():
    pass


def numbers(root):
    return [event["number"] for event in remote_events.read(root)]


def test_they_come_back_in_order_over_several_runs(root):
    assert list(remote_events.read(root)) == []
    for run in range(3):
        with remote_events.collected(root, fine) as events:
            for number in range(5):
                events.write("counted", {"number": 5 * run + number})
                if number % 2:
                    events.upload()
    assert numbers(root) == list(range(15))
    assert storage.names(root / "events") == ["00000.jsonl", "00001.jsonl", "00002.jsonl"]
    first = next(remote_events.read(root))
    assert first["event"] == "counted"
    assert first["time"] > 1e9


def test_a_segment_that_is_full_is_followed_by_the_next(root, monkeypatch):
    monkeypatch.setattr(remote_events, "SEGMENT", 300)
    with remote_events.collected(root, fine) as events:
        for number in range(40):
            events.write("counted", {"number": number})
            events.upload()
    assert numbers(root) == list(range(40))
    assert 5 < len(storage.names(root / "events")) < 20


def test_they_are_seen_while_the_run_goes_on_and_when_it_fails(root, monkeypatch, wait_until):
    monkeypatch.setattr(remote_events, "EVERY", 0.1)

    def fail():
        with remote_events.collected(root, fine) as events:
            events.write("counted", {"number": 0})
            wait_until(lambda: numbers(root) == [0])
            events.write("counted", {"number": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert numbers(root) == [0, 1]


def test_a_run_without_events_asks_for_nothing(root, bucket, proxies, reach):
    with proxies(bucket.store) as proxy:
        reach(proxy.address)
        with remote_events.collected(root, fine):
            pass
    assert proxy.requests == []
    reach(bucket.store)


def test_a_run_that_lost_its_lock_ends_at_its_next_event(root):
    def lost():
        raise RunError("taken over")

    with pytest.raises(RunError, match="taken over"), remote_events.collected(root, lost) as events:
        events.write("counted", {"number": 0})
    assert numbers(root) == []


def test_a_store_that_fails_for_a_while_loses_none(root, bucket, proxies, reach, monkeypatch):
    monkeypatch.setenv("MIDTRAIN_STORE_PATIENCE", "0")
    with proxies(bucket.store, share=1.0, kinds=("internal error",)) as proxy:
        reach(proxy.address)
        with remote_events.collected(root, fine) as events:
            events.write("counted", {"number": 0})
            with pytest.raises(RunError, match="again and again"):
                events.upload()
            events.write("counted", {"number": 1})
            proxy.share = 0.0
    reach(bucket.store)
    assert numbers(root) == [0, 1]

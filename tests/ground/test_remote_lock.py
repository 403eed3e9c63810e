"""The lock of a remote output: one holder, by the store's clock; the dead are inherited, the slow are told."""

import threading

import orjson
import pytest
from midtrain import locks, remote, remote_lock, storage
from midtrain.errors import ConfigError, RunError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(remote_lock, "PAUSE", 0.05)


@pytest.fixture(params=["moto", pytest.param("seaweedfs", marks=pytest.mark.slow), "another store"])
def folder(request, make_bucket):
    """A folder in stores that know conditions and tell their time, and in one that does neither."""
    if request.param != "another store":
        yield storage.location(make_bucket(request.getfixturevalue(request.param)).address) / "out"
        return
    fsspec = pytest.importorskip("fsspec")
    yield storage.location("memory://store/out")
    fsspec.filesystem("memory").store.clear()


def content(folder):
    return orjson.loads(storage.read_bytes(folder / locks.LOCK))


def test_a_second_run_is_refused_until_the_first_ends(folder):
    assert locks.held(folder) is None
    with locks.locked(folder):
        assert locks.held(folder) is True
        for _ in range(2):
            with pytest.raises(RunError, match="another run is at work in the output folder"), locks.locked(folder):
                pass
        assert locks.held(folder) is True
    assert locks.held(folder) is False
    with locks.locked(folder):
        assert locks.held(folder) is True
    with pytest.raises(ZeroDivisionError), locks.locked(folder):
        raise ZeroDivisionError
    assert locks.held(folder) is False
    assert storage.names(folder) == [locks.LOCK]


def test_it_is_renewed(folder, monkeypatch, wait_until):
    monkeypatch.setattr(remote_lock, "EVERY", 0.05)
    with locks.locked(folder) as lock:
        wait_until(lambda: content(folder)["renewed"] >= 3)
        lock.check()
        lock.still_held()


def test_that_of_the_dead_is_taken_over_and_a_sleeper_is_told(folder, monkeypatch, wait_until):
    monkeypatch.setattr(remote_lock, "EVERY", 3600.0)
    sleeper = remote_lock.RemoteLock(folder)
    sleeper.take()
    monkeypatch.setattr(remote_lock, "STALE", -10.0)
    assert locks.held(folder) is False
    taker = remote_lock.RemoteLock(folder)
    taker.take()
    monkeypatch.setattr(remote_lock, "STALE", 60.0)
    sleeper.still_held()  # it has not looked yet
    with pytest.raises(RunError, match="taken over"):
        sleeper.check()
    with pytest.raises(RunError, match="taken over"):
        sleeper.still_held()
    taker.check()
    sleeper.release()
    assert locks.held(folder) is True
    taker.release()
    assert locks.held(folder) is False


@pytest.fixture
def whole_writes(monkeypatch):
    """moto looks at a condition and then writes, and another may write between; a store does both at once."""
    responses = pytest.importorskip("moto.s3.responses").S3Response
    put, one_at_a_time = responses.put_object, threading.Lock()

    def alone(self):
        with one_at_a_time:
            return put(self)

    monkeypatch.setattr(responses, "put_object", alone)


@pytest.mark.usefixtures("whole_writes")
@pytest.mark.parametrize("before", ["nothing", "a dead run", "a run that ended"])
def test_of_many_that_begin_at_once_one_wins(bucket, monkeypatch, before):
    folder = storage.location(bucket.address) / "out"
    if before != "nothing":
        earlier = remote_lock.RemoteLock(folder)
        earlier.take()
        if before == "a run that ended":
            earlier.release()
        else:
            earlier._over.set()
            monkeypatch.setattr(remote_lock, "STALE", -10.0)
    taken, refused, together = [], [], threading.Barrier(6)

    def begin():
        lock = remote_lock.RemoteLock(folder)
        together.wait()
        try:
            lock.take()
            taken.append(lock)
        except RunError:
            refused.append(lock)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.setattr(remote_lock, "STALE", 60.0)
    assert len(taken) + len(refused) == 6
    assert sum(holds(lock) for lock in taken) == 1
    if before != "a dead run":  # there, one may take over from another that has just done so
        assert len(taken) == 1
    for lock in taken:
        lock.release()
    assert locks.held(folder) is False


def holds(lock):
    try:
        lock.check()
    except RunError:
        return False
    return True


def test_its_age_is_told_by_the_store(bucket, proxies, reach):
    folder = storage.location(bucket.address) / "out"
    with proxies(bucket.store) as proxy:
        reach(proxy.address)
        with locks.locked(folder):
            assert locks.held(folder) is True
            proxy.clock = 30.0
            assert locks.held(folder) is True
            proxy.clock = 70.0
            assert locks.held(folder) is False
        proxy.clock = 0.0
    reach(bucket.store)


def test_answers_that_are_lost_do_not_lose_the_lock(bucket, proxies, reach):
    folder = storage.location(bucket.address) / "out"
    with proxies(bucket.store, share=1.0, kinds=("lost answer",), only="PUT", most=1) as proxy:
        reach(proxy.address)
        with locks.locked(folder) as lock:
            assert proxy.happened["lost answer"] == 1
            proxy.happened.clear()
            lock.check()
            assert proxy.happened["lost answer"] == 1
            lock.check()
            proxy.happened.clear()
    reach(bucket.store)
    assert content(folder)["released"]


def test_a_lock_that_is_none(bucket):
    folder = storage.location(bucket.address) / "out"
    bucket.put("out/.lock", b"something else")
    with pytest.raises(RunError, match="is not the lock"):
        locks.held(folder)


def test_no_bucket(bucket):
    with pytest.raises(ConfigError, match="no such bucket"), locks.locked(remote.RemotePath("s3://no-such-bucket/x")):
        pass

"""Curation from and to a bucket comes to the files of a local run, whatever the store does in between."""

import gzip

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from midtrain import locks, remote_events, remote_lock, storage
from midtrain.errors import ConfigError, RunError
from midtrain.manifest import Manifest
from midtrain.pipelines import inputs, status
from midtrain.pipelines.output import Output
from midtrain.pipelines.verification import verify
from midtrain.progress import Progress

from tests.sizes import REAL_STORE, sized

BESIDE = ("events/", "inputs.json", "recipe.yaml", ".lock")
DRIVER = """
import os
import sys
from midtrain import cli, remote_events, remote_lock
from midtrain.pipelines import inputs
if __name__ == "__main__":  # workers import the main module too
    inputs.MIN_SPLIT = 4000  # many small tasks out of a small corpus
    remote_events.EVERY = remote_lock.EVERY = 0.3
    remote_lock.STALE, remote_lock.PAUSE = float(os.environ.get("STALE", "3")), 0.2
    cli.main()
"""


@pytest.fixture
def small_tasks(monkeypatch):
    """Many small tasks out of a small corpus."""
    monkeypatch.setattr(inputs, "MIN_SPLIT", 4_000)


@pytest.fixture
def reference(corpus, small_tasks):
    """The standard recipe, curated on this machine."""
    found = corpus.twin("reference")
    found.curate(**recipe_of(found))
    return found


def recipe_of(workshop):
    """The standard recipe, and a compressed and a Parquet source."""
    texts, data = workshop.texts(60, seed=9), workshop.root / "data"
    workshop.jsonl("c.jsonl.gz", workshop.records("c", texts[:30]))
    (data / "c.jsonl.gz").write_bytes(gzip.compress((data / "c.jsonl.gz").read_bytes(), mtime=0))
    pq.write_table(pa.Table.from_pylist(workshop.records("d", texts[20:])), data / "d.parquet", row_group_size=7)
    sources = [
        {"name": name, "path": f"{data}/{name}.{ending}"} for name, ending in (("c", "jsonl.gz"), ("d", "parquet"))
    ]
    return workshop.recipe(sources=[*workshop.recipe()["sources"], *sources])


def in_bucket(workshop, bucket):
    """The same with its inputs and its output in a bucket."""
    recipe = {**recipe_of(workshop), "output": f"{bucket.address}/results/web"}
    for source in recipe["sources"]:
        if "path" in source:
            source["path"] = source["path"].replace(str(workshop.root), f"{bucket.address}/raw")
    for file in (workshop.root / "data").iterdir():
        bucket.put(f"raw/data/{file.name}", file.read_bytes())
    return recipe


def hashes(bucket):
    """xxh3-128 of every object of the output but those that hold times or addresses."""
    keys = [key.removeprefix("results/web/") for key in bucket.objects() if key.startswith("results/web/")]
    kept = [key for key in keys if not key.startswith(BESIDE)]
    return {key: xxhash.xxh3_128_hexdigest(bucket.get(f"results/web/{key}")) for key in kept}


def local_hashes(workshop):
    return {name: storage.hash_file(workshop.root / "out" / name) for name in workshop.files("out")}


def start(workshop, processes, recipe, *how, **environment):
    driver = workshop.root / "driver.py"
    driver.write_text(DRIVER)
    path = workshop.yaml("bucket.yaml", recipe)
    return processes.start(str(driver), "curate", str(path), *how, **environment)


def test_a_bucket_holds_what_a_folder_would(corpus, reference, bucket):
    recipe = in_bucket(corpus, bucket)
    first = corpus.curate(**recipe)
    assert first.tasks_run > 10
    assert hashes(bucket) == local_hashes(reference)
    assert [key for key in bucket.objects() if "/tasks/" in key] == []
    again = corpus.curate(**recipe)
    assert again.tasks_run == 0
    assert again.manifest == first.manifest == Manifest.read(f"{bucket.address}/results/web")


@pytest.mark.slow
@REAL_STORE
def test_scores_decisions_and_explanations_come_from_a_bucket(corpus, small_tasks, bucket, midtrain):
    local = corpus.twin("reference")
    for shop, recipe in ((local, recipe_of(local)), (corpus, in_bucket(corpus, bucket))):
        shop.curate(scores=True, **recipe)
        path = shop.yaml("recipe.yaml", recipe)
        setting = ("--set", "steps.0.gopher_quality.min_words=50")
        said = midtrain("decide", path, *setting, "--workers", 0, "--overwrite")
        assert said.code == 0, said.err
    assert hashes(bucket) == local_hashes(local)
    outputs = (f"{bucket.address}/results/web", local.root / "out")
    for identity in ("a1", "a5", "b61"):
        there, here = (midtrain("explain", output, identity, "--json") for output in outputs)
        assert (there.code, there.out) == (0, here.out), there.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bucket", "how"),
    [
        ("moto", ("--workers", "2")),
        ("seaweedfs", ("--ray", "local")),
        *sized([("moto", ("--ray", "local")), ("seaweedfs", ("--workers", "2"))], []),
    ],
    indirect=["bucket"],
)
def test_other_processes_write_the_same(corpus, reference, bucket, processes, how):
    said = processes.end(start(corpus, processes, in_bucket(corpus, bucket), *how))
    assert said.code == 0, said.err
    assert hashes(bucket) == local_hashes(reference)


def test_the_record_is_read_by_status_and_by_a_mixture(corpus, reference, bucket, midtrain):
    recipe = in_bucket(corpus, bucket)
    with pytest.raises(ConfigError, match="no run of curate or build was begun"):
        status.status(recipe["output"])
    corpus.curate(**recipe)
    found = status.status(recipe["output"]).data
    expected = status.status(reference.root / "out").data
    assert found["state"] == expected["state"] == "complete"
    rates = {"documents_per_second"}
    for mine, theirs in zip(found["stages"], expected["stages"], strict=True):
        assert {k: v for k, v in mine.items() if k not in rates} == {k: v for k, v in theirs.items() if k not in rates}
    mixture = corpus.mixture()
    for source in mixture["sources"]:
        source["documents"] = recipe["output"]
    corpus.build(**mixture)
    reference.build()
    assert corpus.hashes("shards") == reference.hashes("shards")


@pytest.mark.slow
@REAL_STORE
def test_a_rerun_asks_for_a_handful(corpus, small_tasks, bucket, proxies, reach, monkeypatch):
    for asked_again in (remote_events, remote_lock):  # as often as the run takes long
        monkeypatch.setattr(asked_again, "EVERY", 600.0)
    recipe = in_bucket(corpus, bucket)
    corpus.curate(**recipe)
    with proxies(bucket.store) as proxy:
        reach(proxy.address)
        corpus.curate(**recipe)
    assert len(proxy.requests) <= 28  # however many files there are
    assert [one for one in proxy.requests if "part-" in one] == []


@pytest.mark.slow
@REAL_STORE
def test_hiccups_of_the_store_change_nothing(corpus, reference, bucket, proxies, reach):
    recipe = in_bucket(corpus, bucket)
    with proxies(bucket.store, seed=3, share=0.2) as proxy:
        reach(proxy.address)
        corpus.curate(**recipe)
        assert set(proxy.happened) == set(proxy.kinds)
    reach(bucket.store)
    assert hashes(bucket) == local_hashes(reference)


@pytest.mark.slow
@pytest.mark.alone  # what was killed may not look dead before the next run has begun
@REAL_STORE
def test_a_killed_run_goes_on_where_it_stopped(corpus, reference, bucket, processes, wait_until):
    recipe = in_bucket(corpus, bucket)
    process = start(corpus, processes, recipe, "--workers", "2")
    wait_until(lambda: sum("/tasks/" in key for key in bucket.objects()) >= 3 or process.poll() is not None)
    assert process.poll() is None
    processes.kill(process, whole_group=True)
    assert status.status(recipe["output"]).data["state"] == "running"  # nobody can know yet
    said = processes.end(start(corpus, processes, recipe, "--workers", "0", STALE="60"))  # however slow it begins
    assert said.code == 1
    assert "another run is at work in the output folder" in said.err
    address = storage.location(recipe["output"])
    wait_until(lambda: remote_lock._look(str(address / locks.LOCK)).age > 3)
    said = processes.end(start(corpus, processes, recipe, "--workers", "2"))
    assert said.code == 0, said.err
    assert hashes(bucket) == local_hashes(reference)
    events = list(status._events(address))
    assert sum(event.get("reused", 0) for event in events) >= 3
    assert status.status(recipe["output"]).data["state"] == "complete"


@pytest.mark.slow
@REAL_STORE
def test_a_run_whose_lock_was_taken_publishes_nothing(corpus, small_tasks, bucket, monkeypatch):
    recipe = in_bucket(corpus, bucket)
    address = storage.location(recipe["output"])
    complete = Manifest.write
    taker = remote_lock.RemoteLock(address)

    def sleep_behind_the_first_stage(manifest, folder):
        complete(manifest, folder)
        if not taker._thread.is_alive():
            monkeypatch.setattr(remote_lock, "STALE", -10.0)
            taker.take()
            monkeypatch.setattr(remote_lock, "STALE", 60.0)

    monkeypatch.setattr(remote_lock, "PAUSE", 0.1)
    monkeypatch.setattr(Manifest, "write", sleep_behind_the_first_stage)
    with pytest.raises(RunError, match="taken over the output folder"):
        corpus.curate(**recipe)
    assert "results/web/manifest.json" not in bucket.objects()
    monkeypatch.undo()


@pytest.mark.slow
@REAL_STORE
def test_another_result_is_kept_unless_it_may_go(corpus, small_tasks, bucket):
    recipe = in_bucket(corpus, bucket)
    first = corpus.curate(**recipe)
    other = {**recipe, "steps": recipe["steps"][:1]}
    with pytest.raises(ConfigError, match="the folder holds another result"):
        corpus.curate(**other)
    assert Manifest.read(recipe["output"]) == first.manifest
    second = corpus.curate(overwrite=True, **other)
    assert second.tasks_run == 0  # the first stage is the same
    assert Manifest.read(recipe["output"]) == second.manifest


def test_what_cannot_be_is_said_at_once(corpus, bucket, midtrain, monkeypatch, reach):
    recipe = in_bucket(corpus, bucket)
    nowhere = midtrain(
        "curate", corpus.yaml("r.yaml", {**recipe, "output": "s3://no-such-bucket-here/x"}), "--workers", 0
    )
    assert nowhere.code == 2
    assert "no such bucket" in nowhere.err
    recipe["sources"][0]["path"] = "s3://no-such-bucket-here/*.jsonl"
    nowhere = midtrain("curate", corpus.yaml("r.yaml", recipe), "--workers", 0)
    assert nowhere.code == 2
    assert "no such bucket" in nowhere.err
    mixture = midtrain("build", corpus.yaml("m.yaml", {**corpus.mixture(), "output": f"{bucket.address}/shards"}))
    assert mixture.code == 2
    assert "an output is a folder on this machine" in mixture.err
    secret = midtrain("status", "s3://KEY:SECRET@bucket/x")
    assert secret.code == 2
    assert "SECRET" not in secret.err
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    reach(bucket.store)
    assert midtrain("status", recipe["output"]).code == 2


@pytest.mark.parametrize(
    "befalls",
    [
        pytest.param("", marks=pytest.mark.slow),
        "wrong signature",
        pytest.param("internal error", marks=pytest.mark.slow),
    ],
)
def test_the_secret_is_written_nowhere(corpus, bucket, processes, proxies, tmp_path_factory, secret, befalls):
    recipe = in_bucket(corpus, bucket)
    rest = tmp_path_factory.mktemp("t")
    with proxies(bucket.store, kinds=(befalls,), only="PUT", share=1.0 if befalls else 0.0) as proxy:
        driver = corpus.root / "driver.py"
        driver.write_text(DRIVER)
        said = processes.end(
            processes.start(
                str(driver),
                *("curate", str(corpus.yaml("bucket.yaml", recipe)), "--workers", "2"),
                AWS_ENDPOINT_URL=proxy.address,
                TMPDIR=str(rest),
                MIDTRAIN_STORE_PATIENCE="1",
            )
        )
    assert said.code == {"": 0, "wrong signature": 2, "internal error": 1}[befalls], said.err
    assert "Traceback" not in said.err
    written = [path.read_bytes() for path in corpus.root.rglob("*") if path.is_file()]
    written += [bucket.get(key) for key in bucket.objects()]
    assert len(written) > 5
    assert all(secret.encode() not in data for data in [*written, said.out.encode(), said.err.encode()])


def test_records_of_the_folder(bucket, tmp_path):
    output = Output(storage.location(f"{bucket.address}/a"), "curate")
    with output.opened() as events:
        events.write("begun", {"x": 1})
        output.record("recipe.yaml", "name: ü\n", str(tmp_path / "recipe.yaml"))
    assert bucket.objects() == ["a/.lock", "a/events/00000.jsonl", "a/recipe.yaml"]
    assert bucket.get("a/recipe.yaml").decode() == "name: ü\n"
    assert orjson.loads(bucket.get("a/events/00000.jsonl"))["x"] == 1


@pytest.mark.slow
@REAL_STORE
def test_an_output_in_a_bucket_is_verified(corpus, small_tasks, bucket):
    corpus.curate(**in_bucket(corpus, bucket))
    output = f"{bucket.address}/results/web"

    def problems():
        return [problem.path for problem in verify.verify(output, 4, Progress(shown=False)).problems]

    found = verify.verify(output, 4, Progress(shown=False))
    assert (found.problems, found.unlisted, found.unfinished) == ((), (), ())
    assert found.files > 5
    names = [key.removeprefix("results/web/") for key in bucket.objects() if key.startswith("results/web/")]
    vouched = [name for name in names if not name.startswith(BESIDE)]
    for name in (vouched[0], vouched[len(vouched) // 2], vouched[-1], "manifest.json"):
        whole = bucket.get(f"results/web/{name}")
        bucket.put(f"results/web/{name}", whole[:-1] + bytes([whole[-1] ^ 1]))
        assert name in problems()
        bucket.put(f"results/web/{name}", whole[:-1])
        assert name in problems()
        bucket.put(f"results/web/{name}", whole)
    assert problems() == []

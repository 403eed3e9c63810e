"""A store of objects beside the head of a cluster, and a proxy before it that fails requests once it is told to.

What a bucket survives across machines is shown only where all nodes and the driver ask the same store over a network.
Costs a process and about 2 s to start; what lies in the bucket is gone when the block ends, or with its parent.
"""

import contextlib
import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.cluster.network import Place
from tests.store_proxy import HICCUPS, Proxy

ROOT = Path(__file__).parents[2]
PORT = 9000  # at the head's address; the kernel gives it to nobody who asks for any
BUCKET = "runs"
MISSING = [name for name in ("boto3", "flask", "moto", "s3fs") if importlib.util.find_spec(name) is None]
KINDS = (*HICCUPS, "silence")
SILENCE = 1.5  # seconds that a slow answer takes longer
MAIN = f"""
import sys
sys.path.append({str(ROOT)!r})
from tests.cluster.store import serve
serve(sys.argv[1], sys.stdin, sys.stdout)
"""


def environment(head: str, secret: str) -> dict[str, str]:
    """What nodes and drivers must know of the store; no credentials are looked for anywhere else."""
    known = {"AWS_ACCESS_KEY_ID": "AKIATESTTESTTEST", "AWS_SECRET_ACCESS_KEY": secret}
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null"}
    nowhere["AWS_SHARED_CREDENTIALS_FILE"] = "/dev/null"
    return {**known, **nowhere, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{head}:{PORT}"}


class Store:
    """The side of the test: what it asks of the store's process, past the proxy."""

    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self.process, self.log = process, log
        self.address = f"s3://{BUCKET}"

    def put(self, files: list[Path], folder: str) -> None:
        """Makes objects of files."""
        self._ask("put", [str(file) for file in files], folder)

    def copy(self, prefix: str, folder: Path) -> None:
        """Copies the objects below a prefix into a folder, where they are named by what stands behind it."""
        self._ask("copy", prefix, str(folder))

    def fail(self, share: float) -> None:
        """From now on so many of all requests of nodes and drivers fail, or are slow; 0 mends the store."""
        self._ask("fail", share)

    def happened(self) -> dict[str, int]:
        """How often each kind of failure has happened, and `requests`: of how many."""
        found: dict[str, int] = self._ask("happened")
        return found

    def _ask(self, *words: object) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(json.dumps(words), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        assert line, f"the store has ended: {self.log.read_text()}"
        return json.loads(line)


@contextlib.contextmanager
def served(place: Place, log: Path) -> Iterator[Store]:
    """A store for the block, with one empty bucket.

    Args:
        place: where it runs: the proxy is at its address.
        log: gets what the store's process has to say.
    """
    command = [*place.enter, sys.executable, "-c", MAIN, place.address]
    with open(log, "wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True
        )
    store = Store(process, log)
    try:
        store.fail(0)
        yield store
    finally:
        process.kill()
        process.communicate()


def serve(host: str, asked: IO[str], answers: IO[str]) -> None:
    """The side of the store: answers a line for a line, until there are no more."""
    import boto3
    from moto.server import ThreadedMotoServer

    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto.start()
    upstream = "http://{}:{}".format(*moto.get_host_and_port())
    known = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=upstream, **known)
    client.create_bucket(Bucket=BUCKET)
    with Proxy(upstream, host=host, port=PORT, kinds=KINDS, delay=SILENCE) as proxy:
        for line in asked:
            print(json.dumps(_do(client, proxy, *json.loads(line))), file=answers, flush=True)
    moto.stop()


def _do(client: Any, proxy: Proxy, what: str, *words: Any) -> object:
    if what == "fail":
        proxy.share = words[0]
    if what == "put":
        for path in map(Path, words[0]):
            client.put_object(Bucket=BUCKET, Key=f"{words[1]}/{path.name}", Body=path.read_bytes())
    if what == "copy":
        for key in _keys(client, words[0]):
            target = Path(words[1]) / key.removeprefix(words[0]).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    return {**proxy.happened, "requests": len(proxy.requests)}


def _keys(client: Any, prefix: str) -> Iterator[str]:
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
        yield from (entry["Key"] for entry in page.get("Contents", []))

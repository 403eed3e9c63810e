"""Files in a store: read by ranges or whole, uploaded, listed and removed.

As few requests as the work allows, each of them tried again where the store hiccups, so that a reader above never
takes an answer that was cut for a file that is damaged. A request costs 20 to 100 ms.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from .remote import THREADS, attempt, opened

AHEAD = 8 << 20  # bytes that a stream asks for beyond what was read
WHOLE = 1 << 20  # bytes of a file up to which one request brings all of it
TAIL = 64 << 10  # bytes at a larger file's end: its footer, mostly


class RemoteReader(io.RawIOBase):
    """A file in a store that is read by ranges; each is tried again, and all are of the version first seen.

    Args:
        path: its address.
        ahead: bytes asked for beyond what a read wants, for the next one.
        tail: whether the end is read first, as a footer is: in one request for a file of up to 1 MB.
    """

    def __init__(self, path: str, ahead: int, tail: bool = False) -> None:
        self._path, self._place = path, 0
        self._file = attempt(
            path, lambda store, inside: store.open(inside, "rb", block_size=ahead, cache_type="readahead")
        )
        self._size = int(self._file.size)
        if tail and self._size:
            self.seek(0 if self._size <= WHOLE else -TAIL, io.SEEK_END if self._size > WHOLE else io.SEEK_SET)
            self.read(self._size)
            self.seek(0)

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place; asks the store for nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(base + offset, 0)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes from here, fewer only at the end.

        Raises:
            RunError: the store failed again and again, or the file changed.
        """
        if self.closed:
            raise ValueError("read of a closed file")
        left = max(self._size - self._place, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted == 0:
            return b""
        data = attempt(self._path, lambda _store, _inside: self._fetch(wanted))
        self._place += wanted
        return data

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer, or less of it only at the end."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """All from here."""
        return self.read(-1)

    def close(self) -> None:
        """Ends it."""
        if not self.closed:
            self._file.close()
        super().close()

    def _fetch(self, wanted: int) -> bytes:
        self._file.seek(self._place)
        data = cast(bytes, self._file.read(wanted))
        if len(data) != wanted:
            raise ConnectionError(f"{len(data):,} of {wanted:,} bytes came")
        return data


def read_bytes(path: str) -> bytes:
    """A small object in one request.

    Raises:
        FileNotFoundError: there is none.
    """

    def read(store: Any, inside: str) -> bytes:
        return cast(bytes, store.cat_file(inside, **({"max_concurrency": 1} if hasattr(store, "call_s3") else {})))

    return attempt(path, read)


def read_all(paths: Sequence[str]) -> list[bytes]:
    """Small objects, many at a time.

    Raises:
        FileNotFoundError: one is not there.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(read_bytes, paths))


def upload(local: str, path: str) -> None:
    """Publishes a local file as an object, whole: by one request, or by parts that become it with the last one."""
    attempt(path, lambda store, inside: store.put_file(local, inside))


def exists(path: str) -> bool:
    """Whether an object, or a folder of some, stands at the address."""
    return attempt(path, lambda store, inside: bool(store.exists(inside)))


def names(folder: str) -> list[str]:
    """What stands directly in a folder, files and folders; nothing where it is not there."""
    try:
        found = attempt(folder, lambda store, inside: store.ls(inside, detail=False))
    except FileNotFoundError:
        return []
    inside = opened(folder)[1]
    return sorted(name[len(inside) + 1 :].rstrip("/") for name in found if name.startswith(f"{inside}/"))


def remove(path: str) -> None:
    """Removes an object; one that is not there is fine."""
    try:
        attempt(path, lambda store, inside: store.rm_file(inside))
    except FileNotFoundError:
        return


def remove_tree(folder: str) -> None:
    """Removes all objects below a folder, a thousand a request where the store can."""

    def remove(store: Any, inside: str) -> None:
        if hasattr(store, "call_s3"):  # mostly there is nothing, which one request tells; `find` takes three for it
            bucket, key, _ = store.split_path(inside)
            if not store.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=1).get("Contents"):
                return
        if found := store.find(inside):
            store.rm(found)

    try:
        attempt(folder, remove)
    except FileNotFoundError:
        return


def find(pattern: str, magic: bool) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
    """The pattern without its protocol, and each entry that it names: address, address without protocol, details.

    Args:
        pattern: an address.
        magic: whether it holds wildcards.

    Raises:
        ConfigError: there is no such bucket, or no access to it.
    """

    def look(store: Any, inside: str) -> tuple[str, list[tuple[str, str, dict[str, Any]]]]:
        try:
            found = store.glob(inside, detail=True) if magic else {inside: store.info(inside)}
        except FileNotFoundError:
            found = {}
        if not found and hasattr(store, "call_s3"):
            # A listing takes a bucket that is not there for an empty one; this does not.
            store.call_s3("list_objects_v2", Bucket=inside.partition("/")[0], MaxKeys=1)
        return inside, [(str(store.unstrip_protocol(name)), name, info) for name, info in found.items()]

    return attempt(pattern, look)

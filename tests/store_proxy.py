"""A proxy before a store that does to requests what networks and busy stores do, by a seeded rule."""

import datetime
import email.utils
import http.client
import random
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ERROR = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%b</Code><Message>%b</Message></Error>'
ANSWERS = {
    "internal error": (500, ERROR % (b"InternalError", b"We encountered an internal error.")),
    "slow down": (503, ERROR % (b"SlowDown", b"Please reduce your request rate.")),
    "no page": (502, b"<html>Bad Gateway</html>"),
    "denied": (403, ERROR % (b"AccessDenied", b"Access Denied")),
    "wrong signature": (403, ERROR % (b"SignatureDoesNotMatch", b"The request signature does not match.")),
}
HICCUPS = (*list(ANSWERS)[:3], "cut answer", "lost answer", "refused", "cut request")


class Proxy:
    """Stands before a store for the block.

    Args:
        upstream: the store's address, `http://HOST:PORT`.
        seed: of the rule.
        share: of the requests that something happens to.
        kinds: what happens, each as often: an entry of `ANSWERS`; `cut answer` ends the connection in the middle of the
            answer's body; `lost answer` ends it when the store has done the work; `refused` ends it at once; `cut
            request` in the middle of the request; `silence` holds the answer back for `delay` seconds.
        only: what must stand in the method and path of a request for anything to happen to it.
        most: how often something happens at all.
        host, port: where the proxy listens; port 0 is any that is free.
    """

    def __init__(
        self,
        upstream: str,
        seed: int = 0,
        share: float = 0.0,
        kinds: tuple[str, ...] = HICCUPS,
        only: str = "",
        most: int = 10**9,
        delay: float = 0.0,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.host, _, behind = upstream.removeprefix("http://").partition(":")
        self.port = int(behind)
        self.random, self.share, self.kinds, self.only = random.Random(seed), share, kinds, only
        self.most, self.delay = most, delay
        self.clock = 0.0  # seconds that the store's answers are ahead of what lies in it
        self.requests: list[str] = []
        self.happened: Counter[str] = Counter()
        self._deciding = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self.address = f"http://{host}:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fate(self, method: str, path: str) -> str:
        """What happens to a request; nothing mostly."""
        with self._deciding:
            self.requests.append(f"{method} {path}")
            if self.only not in self.requests[-1] or self.happened.total() >= self.most:
                return ""
            if self.random.random() >= self.share:
                return ""
            kind = self.kinds[self.happened.total() % len(self.kinds)]  # each in its turn: few are enough for all
            self.happened[kind] += 1
            return kind


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *what: object) -> None:
        pass

    def _one(self) -> None:
        fate = self.proxy.fate(self.command, self.path)
        self.close_connection = True
        if fate == "refused":
            return self._end()
        body = self._body(half=fate == "cut request")
        if fate == "cut request":
            return self._end()
        if fate in ANSWERS:
            status, text = ANSWERS[fate]
            return self._answer(status, {"Content-Type": "application/xml"}, text, text)
        if fate == "silence":
            time.sleep(self.proxy.delay)
        store = http.client.HTTPConnection(self.proxy.host, self.proxy.port, timeout=60)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "expect"):
                store.putheader(name, value)
        if body and "content-length" not in self.headers:
            store.putheader("Content-Length", str(len(body)))
        store.endheaders(body)
        answer = store.getresponse()
        content = answer.read()
        length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
        store.close()
        if fate == "lost answer":
            return self._end()
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server")
        }
        if "Date" in answer.headers:
            told = email.utils.parsedate_to_datetime(answer.headers["Date"])
            kept["Date"] = email.utils.format_datetime(told + datetime.timedelta(seconds=self.proxy.clock), usegmt=True)
        sent = content[: len(content) // 2] if fate == "cut answer" else content
        self._answer(answer.status, kept, sent, content, length)
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _one

    def _body(self, half: bool) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(length // 2 if half else length)

    def _answer(
        self, status: int, headers: dict[str, str], sent: bytes, content: bytes, length: str | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None or content:
            self.send_header("Content-Length", length or str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)

    def _end(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)

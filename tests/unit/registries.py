"""Stand-ins for registries: any behaviour, and a good one in memory that takes what is pushed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[BaseHTTPRequestHandler], None]


def say(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@contextmanager
def served(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """A registry's HOST:PORT and what it was asked: paths, with the method if it is not GET, and credentials."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        body = b""

        def do_GET(self) -> None:
            self.take(self.path)

        def do_HEAD(self) -> None:
            self.take(f"HEAD {self.path}")

        def do_PUT(self) -> None:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            self.take(f"PUT {self.path}")

        def do_POST(self) -> None:
            self.body = self.rfile.read(int(self.headers["Content-Length"]))
            self.take(f"POST {self.path} {self.body.decode()}")

        def take(self, what: str) -> None:
            asked.append((what, self.headers.get("Authorization")))
            try:
                answer(self)
            except OSError:  # the client has enough
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Memory:
    """A registry that keeps what is pushed: blobs by digest, manifests by digest and tag."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        place = urlsplit(handler.path)
        *_, kind, name = place.path.split("/")
        body: bytes = handler.body  # type: ignore[attr-defined]
        if handler.command == "POST":
            say(handler, 202, Location="/v2/upload/1?state=x")
        elif handler.command == "PUT" and kind == "manifests":
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            self.manifests |= {name: body, digest: body}
            say(handler, 201, Docker_Content_Digest=digest)
        elif handler.command == "PUT":
            (digest,) = parse_qs(place.query)["digest"]
            good = digest == f"sha256:{hashlib.sha256(body).hexdigest()}"
            self.blobs |= {digest: body} if good else {}
            say(handler, 201 if good else 400)
        else:
            held = self.manifests if kind == "manifests" else self.blobs
            say(handler, 200, held[name]) if name in held else say(handler, 404)

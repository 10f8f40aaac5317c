"""The power switch of a lab: labgrid's model `rest` over HTTP, for boards and nothing else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from hil.errors import HilError

SWITCHING = 30.0  # seconds for a board to be on or off


class Outlet(Protocol):
    """A consumer that the switch controls."""

    @property
    def on(self) -> bool:
        """Whether it has power."""

    async def switch(self, on: bool) -> None:
        """Switch it, unless it is in that state. Raises `InfrastructureError`."""


class PowerSwitch:
    """Serves `/NAME` for each outlet: GET returns `0` or `1`, PUT of `0` or `1` switches. Other requests are refused.

    Outlets switch in the event loop that runs now; threads serve the requests.
    """

    def __init__(self, outlets: Mapping[str, Outlet], address: str) -> None:
        handler = partial(_Handler, outlets, asyncio.get_running_loop())
        self._server = ThreadingHTTPServer((address, 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://{address}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="power", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = 10  # seconds for a request to come

    def __init__(self, outlets: Mapping[str, Outlet], loop: asyncio.AbstractEventLoop, *connection: Any) -> None:
        self._outlets, self._loop = outlets, loop
        super().__init__(*connection)  # handles the requests

    def do_GET(self) -> None:
        outlet = self._outlets.get(self.path.removeprefix("/"))
        if outlet is None:
            self._answer(HTTPStatus.NOT_FOUND, "no such outlet")
        else:
            self._answer(HTTPStatus.OK, "1" if outlet.on else "0")

    def do_PUT(self) -> None:
        outlet = self._outlets.get(self.path.removeprefix("/"))
        word = self.rfile.read(1) if self.headers.get("Content-Length") == "1" else b""
        if outlet is None:
            self._answer(HTTPStatus.NOT_FOUND, "no such outlet")
        elif word not in (b"0", b"1"):
            self._answer(HTTPStatus.BAD_REQUEST, "0 or 1")
        else:
            try:
                switched = asyncio.run_coroutine_threadsafe(outlet.switch(word == b"1"), self._loop)
                switched.result(SWITCHING)
            except HilError as error:
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            except TimeoutError:
                self._answer(HTTPStatus.GATEWAY_TIMEOUT, f"not done within {SWITCHING:g} s")
            else:
                self._answer(HTTPStatus.OK, word.decode())

    def _answer(self, status: HTTPStatus, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # the machines' logs show what was switched
        pass

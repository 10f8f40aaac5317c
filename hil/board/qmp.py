"""QEMU's monitor: one connection for QEMU's whole life, all events kept."""

from __future__ import annotations

import asyncio
import collections
import socket
import threading
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from hil.errors import InfrastructureError

T = TypeVar("T")
CONNECT_LIMIT = 20.0  # seconds: QEMU reads its images (some 100 MB) before it greets
EVENTS_KEPT = 1000


@dataclass(frozen=True)
class Event:
    """A QMP event with the host's monotonic stamp, in ns, of its arrival."""

    name: str
    time_ns: int
    data: Mapping[str, Any] = field(default_factory=dict)


class Monitor:
    """A QMP session over a connected socket; its loop runs in a thread, so events are never missed."""

    def __init__(self, sock: socket.socket) -> None:
        self.events: collections.deque[Event] = collections.deque(maxlen=EVENTS_KEPT)
        self._client = QMPClient("hil")
        self._listener = EventListener()
        self._client.register_listener(self._listener)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hil-qmp", daemon=True)
        self._thread.start()
        try:
            self._call(self._connect(sock), CONNECT_LIMIT, "the connection")
        except BaseException:
            self.close()
            raise

    async def _connect(self, sock: socket.socket) -> None:
        await self._client.connect(sock)
        self._collector = asyncio.create_task(self._collect())

    async def _collect(self) -> None:
        async for message in self._listener:
            data: Any = message.get("data", {})
            self.events.append(Event(str(message["event"]), time.monotonic_ns(), data))

    @property
    def version(self) -> tuple[int, int, int]:
        """QEMU's version as it tells it itself."""
        greeting = self._client.greeting
        assert greeting is not None, "connected sessions have one"
        numbers: Any = greeting.QMP.version["qemu"]
        return numbers["major"], numbers["minor"], numbers["micro"]

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> Any:
        """Run a QMP command and return its answer, waiting `timeout` seconds at most.

        Raises `InfrastructureError` when QEMU refuses, is gone or does not answer.
        """
        return self._call(self._client.execute(command, dict(arguments or {})), timeout, repr(command))

    def close(self) -> None:
        """End the session and its thread; harmless when QEMU is gone already."""
        if self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(2.0)
        except TimeoutError:
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)
        self._loop.close()

    async def _stop(self) -> None:
        try:
            await self._client.disconnect()
        except (QMPError, OSError, EOFError):
            pass
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, what: Coroutine[Any, Any, T], timeout: float, name: str) -> T:
        if self._loop.is_closed():
            what.close()
            raise InfrastructureError(f"QEMU's monitor is closed; {name} cannot be run")
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise InfrastructureError(f"QEMU's monitor did not answer {name} in {timeout:g} s") from None
        except ExecuteError as error:
            raise InfrastructureError(f"QEMU refused {name}: {error}") from error
        except (QMPError, OSError, EOFError) as error:
            raise InfrastructureError(f"QEMU's monitor failed on {name}: {error or type(error).__name__}") from error

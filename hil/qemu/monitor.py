"""QEMU's monitor: one QMP connection for the life of the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from qemu.qmp import EventListener, ExecuteError, QMPClient, QMPError

from hil.errors import InfrastructureError

T = TypeVar("T")
STATE_LIMIT = 15.0  # seconds to read or write a machine's state, some 100 KB without its memory
CONNECT_LIMIT = 20.0  # seconds: QEMU reads its images (some 100 MB) before its greeting


class MigrationError(QMPError):
    """Failure of QEMU to save or restore a machine's state."""


class Monitor:
    """A QMP session over a connected socket. Its event loop runs in a thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._client = QMPClient("hil")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hil-qmp", daemon=True)
        self._thread.start()
        try:
            self._call(self._client.connect(sock), CONNECT_LIMIT, "the connection")
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> tuple[int, int, int]:
        """Return QEMU's version from its greeting. Raises `InfrastructureError` for a greeting without one."""
        try:
            numbers: Any = self._client.greeting.QMP.version["qemu"]  # type: ignore[union-attr]
            return int(numbers["major"]), int(numbers["minor"]), int(numbers["micro"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InfrastructureError("the greeting of QEMU's monitor has no version") from error

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float = 10.0) -> Any:
        """Run a QMP command and return its answer.

        Raises `InfrastructureError` if QEMU refuses, has ended or does not answer within `timeout` seconds.
        """
        return self._call(self._client.execute(command, dict(arguments or {})), timeout, repr(command))

    def begin(self, command: str) -> Callable[[], Any]:
        """Send a QMP command and return a function that waits for its answer as `execute` does."""
        answer = self._run(self._client.execute(command), repr(command))
        return lambda: self._answer(answer, 10.0, repr(command))

    def state(self) -> bytes:
        """Return the state of the stopped machine's processors and devices, without memory. Raises as `execute`."""
        return self._call(self._read_state(), STATE_LIMIT, "saving the machine's state")

    def put_state(self, state: bytes) -> None:
        """Restore `state` in a machine started with `-incoming defer`. Raises as `execute`."""
        self._call(self._write_state(state), STATE_LIMIT, "restoring the machine's state")

    async def _read_state(self) -> bytes:
        state = bytearray()
        async with self._migration("migrate") as line:
            while data := await self._loop.sock_recv(line, 1 << 20):
                state += data
        return bytes(state)

    async def _write_state(self, state: bytes) -> None:
        async with self._migration("migrate-incoming") as line:
            await self._loop.sock_sendall(line, state)
            line.shutdown(socket.SHUT_WR)

    @contextlib.asynccontextmanager
    async def _migration(self, command: str) -> AsyncIterator[socket.socket]:
        """Migrate over the socket that this yields, without memory in files, and check that it succeeds."""
        listener = EventListener("MIGRATION")
        ours, theirs = socket.socketpair()
        with ours, self._client.listen(listener):
            ours.setblocking(False)
            with theirs:
                self._client.send_fd_scm(theirs.fileno())
                await self._client.execute("getfd", {"fdname": "hil-state"})
            capabilities = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
            await self._client.execute("migrate-set-capabilities", {"capabilities": capabilities})
            # announcements to the network use timers in host time, which a machine in virtual time must not have
            await self._client.execute("migrate-set-parameters", {"announce-rounds": 0})
            await self._client.execute(command, {"uri": "fd:hil-state"})
            yield ours
            async for message in listener:
                data: Any = message["data"]
                if data["status"] == "completed":
                    return
                if data["status"] in ("failed", "cancelled"):
                    result: Any = await self._client.execute("query-migrate")
                    raise MigrationError(result.get("error-desc", data["status"]))

    def close(self) -> None:
        """End the session and its thread, also after QEMU has ended."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(Exception):  # whatever the library raises, the session is over
            asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(2.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2.0)
        if not self._thread.is_alive():
            self._loop.close()

    async def _stop(self) -> None:
        # the library fails an assertion if the session is still being established
        with contextlib.suppress(Exception):
            await self._client.disconnect()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, work: Coroutine[Any, Any, T], timeout: float, name: str) -> T:
        return self._answer(self._run(work, name), timeout, name)

    def _run(self, work: Coroutine[Any, Any, T], name: str) -> concurrent.futures.Future[T]:
        if self._loop.is_closed():
            work.close()
            raise InfrastructureError(f"cannot run {name}: QEMU's monitor is closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    @staticmethod
    def _answer(future: concurrent.futures.Future[T], timeout: float, name: str) -> T:
        try:
            return future.result(timeout)
        except ExecuteError as error:
            raise InfrastructureError(f"QEMU refused {name}: {error}") from error
        except Exception as error:  # the library raises many kinds, assertion errors included
            if isinstance(error, TimeoutError) and not future.done():
                future.cancel()
                raise InfrastructureError(f"QEMU's monitor did not answer {name} in {timeout:g} s") from None
            raise InfrastructureError(
                f"QEMU's monitor failed on {name}: {str(error) or type(error).__name__}"
            ) from error

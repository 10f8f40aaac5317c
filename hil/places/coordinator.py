"""A connection to labgrid's coordinator: it runs in a thread, and every wait has a limit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from labgrid.driver import ExecutionError
from labgrid.remote.client import ClientSession, Error
from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
from labgrid.remote.generated.labgrid_coordinator_pb2_grpc import CoordinatorStub
from labgrid.util.proxy import ProxyError, proxymanager

from hil.errors import ConfigurationError, InfrastructureError

CONNECT_LIMIT = 15.0  # seconds
CALL_LIMIT = 30.0  # seconds; the coordinator waits up to 10 for an exporter
CANCEL_LIMIT = 10.0  # seconds for cleaning up after an interruption
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)

CHANNEL = (  # labgrid's options and the last one
    ("grpc.keepalive_time_ms", 7500),
    ("grpc.keepalive_timeout_ms", 10000),
    ("grpc.http2.ping_timeout_ms", 10000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
)

T = TypeVar("T")


class RequestRefused(InfrastructureError):
    """A request that a working coordinator has refused."""


class _Updates:
    """The coordinator's stream of updates. It ends without an exception; `reason` is the cause."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self.reason = ""

    def cancel(self) -> None:
        self._call.cancel()

    async def __aiter__(self) -> AsyncIterator[Any]:
        try:
            async for message in self._call:
                yield message
        except grpc.aio.AioRpcError as error:  # labgrid would log a traceback
            self.reason = f"{error.details() or ''} ({error.code().name})".strip()


class CoordinatorSession(ClientSession):  # type: ignore[misc]
    """labgrid's client session, which also calls `on_change` after each change."""

    on_change: Callable[[], None] = staticmethod(lambda: None)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        # a connection of its own: the coordinator identifies clients by connection, and channels share one by default
        self.channel = grpc.aio.insecure_channel(self.address, options=CHANNEL)
        self.stub = CoordinatorStub(self.channel)
        stream = self.stub.ClientStream
        self.stub.ClientStream = lambda requests: _Updates(stream(requests))

    @property
    def end(self) -> str:
        """The reason why the connection has ended; empty while it is open or if unknown."""
        return getattr(self.stream_call, "reason", "")

    async def on_resource_changed(
        self, exporter: str, group_name: str, resource_name: str, resource: dict[str, Any]
    ) -> None:
        if resource:
            await super().on_resource_changed(exporter, group_name, resource_name, resource)
        elif entry := self.resources.get(exporter, {}).get(group_name, {}).pop(resource_name, None):
            entry.data["avail"] = False  # labgrid leaves an entry without data, which breaks each poll
        self.on_change()

    async def on_place_changed(self, place_pb2: Any) -> None:
        await super().on_place_changed(place_pb2)
        self.on_change()

    async def on_place_deleted(self, name: str) -> None:
        await super().on_place_deleted(name)
        self.on_change()

    async def message_pump(self) -> None:
        await super().message_pump()
        self.on_change()


class Coordinator:
    """A connection to the coordinator at `address`, "HOST[:PORT]"; through LG_PROXY if set, unless `direct`.

    Raises `ConfigurationError` for a malformed address. The constructor and all methods raise `InfrastructureError`
    if the coordinator cannot be reached or does not answer in time. Call `close` at the end.
    """

    def __init__(self, address: str, *, direct: bool = False) -> None:
        self.address = address
        try:
            address.encode()
            target = address if direct else proxymanager.get_grpc_address(address, default_port=20408)
        except (ProxyError, ValueError) as error:
            raise ConfigurationError(
                f"the coordinator's address {address!r} is wrong: {error}",
                hint="give HOST or HOST:PORT, in LG_COORDINATOR for example",
            ) from error
        except (ExecutionError, OSError) as error:
            raise self._unreachable(str(error)) from error
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="hil-coordinator", daemon=True)
        self._thread.start()
        try:
            self.session: CoordinatorSession = self.run(self._connect(target), CONNECT_LIMIT)
        except BaseException:
            self._end_thread()
            raise

    async def _connect(self, target: str) -> CoordinatorSession:
        session = CoordinatorSession(target, self.loop)
        try:
            await session.start()
        except BaseException as error:
            await session.close()
            if isinstance(error, (Error, grpc.RpcError, grpc.aio.UsageError, UnicodeError)):
                raise self._unreachable(session.end if isinstance(error, Error) else str(error)) from error
            raise
        return session

    @property
    def gone(self) -> bool:
        return bool(self.session.stopping.is_set())

    @property
    def user(self) -> str:
        """Our name at the coordinator: "HOST/USER"."""
        return f"{self.session.gethostname()}/{self.session.getuser()}"

    def run(self, work: Coroutine[Any, Any, T], limit: float | None) -> T:
        """Run `work` in the connection's thread within `limit` seconds; an interrupt cancels it."""
        ended = threading.Event()

        async def bounded() -> T:
            try:
                async with asyncio.timeout(limit):
                    return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(bounded(), self.loop)
        try:
            return future.result()
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {limit:g} s" if limit else "no answer in time") from error
        except BaseException:
            if future.cancel():
                ended.wait(CANCEL_LIMIT)
            raise

    async def call(self, method: str, **fields: Any) -> Any:
        """Call a method of the coordinator. Raises `RequestRefused` with its reason."""
        request = getattr(messages, f"{method}Request")(**fields)
        try:
            return await getattr(self.session.stub, method)(request, timeout=CALL_LIMIT)
        except grpc.aio.AioRpcError as error:
            if error.code() in GONE:
                raise self._unreachable(error.details()) from error
            raise RequestRefused(f"the coordinator at {self.address} refused: {error.details()}") from error
        except (grpc.RpcError, grpc.aio.UsageError) as error:  # the channel was closed meanwhile
            raise self._unreachable(str(error)) from error

    async def sync(self) -> None:
        """Wait until all updates sent so far are processed."""
        async with asyncio.timeout(CALL_LIMIT):
            if not await self.session.sync_with_coordinator():
                raise self._unreachable(self.session.end or "the connection has ended")

    async def set_tag(self, place: str, key: str, value: str) -> None:
        """Set a tag of a place; an empty value removes it."""
        await self.call("SetPlaceTags", placename=place, tags={key: value})

    def close(self) -> None:
        async def close() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(CANCEL_LIMIT / 2):
                    self.session.stopping.set()
                    await self.session.stop()
            await self.session.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        with suppress(InfrastructureError):
            self.run(close(), CANCEL_LIMIT)
        self._end_thread()

    def _end_thread(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(CANCEL_LIMIT)
        if not self._thread.is_alive():
            self.loop.close()

    def _unreachable(self, why: str | None) -> InfrastructureError:
        return InfrastructureError(
            f"the coordinator at {self.address} cannot be reached" + (f": {why}" if why else ""),
            hint="check that labgrid-coordinator runs and that LG_COORDINATOR is right",
        )

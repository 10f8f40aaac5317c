"""An acquired place of a lab: kept by a lease, watched for its loss, and released at the end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from labgrid.remote.client import Error
from labgrid.resource.remote import RemotePlaceManager

from hil.errors import InfrastructureError
from hil.places import lease as leases
from hil.places import reservation
from hil.places.coordinator import Coordinator
from hil.places.search import Acquisition, Search
from hil.places.selector import PlaceSelector, Terms

ANSWER_LIMIT = 10.0  # seconds for a working coordinator
NOTICE_LIMIT = 1.0  # seconds for the coordinator to notice the death of an exporter
_users = 0  # acquired places, and waits for one


def acquire(selector: PlaceSelector, address: str, terms: Terms) -> Place:
    """Wait for a matching place at the coordinator at `address` and acquire it.

    Places of dead holders are freed. Raises `ConfigurationError` if there is no such place or it has no tag `board`,
    `InfrastructureError` if none becomes free in time or none has its resources.
    """
    coordinator = Coordinator(address)
    try:
        _count_users(1)
        try:
            found = coordinator.run(Search(coordinator, selector, terms).run(), None)
            return Place(coordinator, found, terms)
        except BaseException:
            _count_users(-1)
            raise
    except BaseException:
        coordinator.close()
        raise


class Place:
    """A place that is acquired until `close`; its lease is renewed each minute. Use `acquire` to get one.

    `board` is the value of its tag `board`, the name of its board file; empty without one. `lost` is the reason why the
    place is not ours any more.
    """

    def __init__(self, coordinator: Coordinator, acquisition: Acquisition, terms: Terms) -> None:
        self.name = acquisition.name
        self.address = coordinator.address
        self.lost = ""
        self._lost_event = threading.Event()
        self._closed = False
        self._coordinator, self._acquisition, self._terms = coordinator, acquisition, terms
        place = self._record
        if place is None:
            raise InfrastructureError(f"place {self.name} was deleted as it was acquired")
        self.board: str = place.tags.get("board", "")
        self._paths: list[list[str]] = [list(path) for path in place.acquired_resources]
        self.exporters = sorted({path[0] for path in self._paths})
        self._resources: list[Any] = []
        coordinator.session.on_change = self._watch
        self._watch()  # changes before this
        self._renewal = asyncio.run_coroutine_threadsafe(self._renew(), coordinator.loop)

    def __str__(self) -> str:
        return f"{self.name} (exporter {', '.join(self.exporters) or 'none'}, coordinator {self.address})"

    @property
    def borrowed(self) -> bool:
        """Whether its user had acquired it before, so that it stays acquired."""
        return self._acquisition.lease is None

    def error(self) -> InfrastructureError:
        """Return the loss as an error."""
        return InfrastructureError(f"place {self.name} was lost: {self.lost}", hint="`labgrid-client -p PLACE show`")

    def confirm(self, *, cut: bool = False) -> None:
        """Update `lost` from the coordinator.

        With the serial line `cut`, also wait a moment: the coordinator may not have noticed the exporter's death yet.
        """
        if self.lost:
            return
        try:
            self._coordinator.run(self._coordinator.sync(), ANSWER_LIMIT)
        except InfrastructureError:
            self.lost = self.lost or f"the coordinator at {self.address} does not answer"
        if cut:
            self._lost_event.wait(NOTICE_LIMIT)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Bind labgrid's `RemotePlace` to this place's resources inside the block.

        Raises `InfrastructureError` if the place is lost by then.
        """
        manager = RemotePlaceManager.get()
        manager.session, manager.loop = self._coordinator.session, self._coordinator.loop
        before = [*manager.resources, *manager.unmanaged_resources]
        try:
            yield
        except Error as error:
            raise InfrastructureError(f"place {self.name}: {error}") from error
        finally:
            now = [*manager.resources, *manager.unmanaged_resources]
            self._resources += [resource for resource in now if resource not in before]

    def close(self) -> None:
        """Release the place; one that its user had acquired stays acquired."""
        if self._closed:
            return
        self._closed = True
        manager = RemotePlaceManager.get()  # it would go on polling the resources
        for resources in (manager.resources, manager.unmanaged_resources):
            resources[:] = [resource for resource in resources if resource not in self._resources]
        self._renewal.cancel()
        try:
            if not self._coordinator.gone:
                self._coordinator.run(self._release(), leases.BEAT)
        except InfrastructureError as error:
            self._terms.report(f"place {self.name} was not released, the next run will do that: {error.message}")
        finally:
            if self._acquisition.lock is not None:
                os.close(self._acquisition.lock)
            self._coordinator.close()
            _count_users(-1)

    @property
    def _record(self) -> Any:
        """labgrid's record of the place; None if it was deleted."""
        return self._coordinator.session.places.get(self.name)

    def _watch(self) -> None:
        if self.lost:
            return
        self.lost = self._why_lost()
        if self.lost:
            self._lost_event.set()
        if self.lost and not self._coordinator.gone and not self._ours:  # our reservation would keep others out
            asyncio.run_coroutine_threadsafe(self._release(), self._coordinator.loop)

    @property
    def _ours(self) -> bool:
        """Whether the place has our lease."""
        place = self._record
        return place is not None and self._acquisition.lease is not None and leases.of(place) == self._acquisition.lease

    def _why_lost(self) -> str:
        session = self._coordinator.session
        if self._coordinator.gone:
            return f"the coordinator at {self.address} is gone"
        place = self._record
        if place is None:
            return "it was deleted"
        if not place.acquired:
            return "somebody has released it"
        if self._acquisition.lease is not None and self._acquisition.lease.mark not in place.allowed:
            return f"it was taken from us, and is held by {leases.holder(place)}"
        for exporter, group, cls, name in self._paths:
            if name not in session.resources.get(exporter, {}).get(group, {}):
                return f"exporter {exporter} with its {cls} is gone"
        return ""

    async def _release(self) -> None:
        """Release the place if it is still ours. The reservation goes last, so that no other lease is removed."""
        lease, coordinator = self._acquisition.lease, self._coordinator
        if lease is None:
            return
        await coordinator.sync()
        if self._ours:
            await coordinator.call("ReleasePlace", placename=self.name, fromuser=coordinator.user)
        place = self._record
        if place is not None and place.tags.get(leases.TAG) == str(lease):
            await coordinator.set_tag(self.name, leases.TAG, "")
        await reservation.cancel(coordinator, self._acquisition.token)

    async def _renew(self) -> None:
        while self._acquisition.lease is not None:
            await asyncio.sleep(leases.BEAT)
            with suppress(InfrastructureError, TimeoutError):  # the next renewal may succeed
                await self._coordinator.sync()
                if self.lost:  # the tag belongs to another holder
                    return
                await self._coordinator.set_tag(self.name, leases.TAG, str(self._acquisition.lease))


def _count_users(change: int) -> None:
    """Count places and waits. While there are some, SIGTERM ends the process as Ctrl-C does, so they are released."""
    global _users  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        return
    _users += change
    handler = signal.getsignal(signal.SIGTERM)
    if _users and handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    elif not _users and handler is _interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt("SIGTERM")

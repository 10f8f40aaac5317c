"""Holding a place by a lease, and giving it back."""

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
from hil.places.coordinator import Coordinator
from hil.places.search import Hold, Search, holder, tag, withdraw
from hil.places.selector import PlaceSelector, Terms

ANSWER = 10.0  # seconds for a coordinator that lives
MOMENT = 1.0  # seconds in which a coordinator knows of an exporter's death


class Place:
    """A place that is held until `close`, with a sign of life each minute; get one with `hold`.

    `board` names the file with its drivers, where it has a tag for that. `lost` says why it is not held any more.
    """

    def __init__(self, coordinator: Coordinator, hold: Hold, terms: Terms) -> None:
        self.name = hold.name
        self.address = coordinator.address
        self.lost = ""
        self._over = threading.Event()  # set once it is lost
        self._closed = False
        self._coordinator, self._hold, self._terms = coordinator, hold, terms
        place = coordinator.session.places.get(hold.name)
        if place is None:
            raise InfrastructureError(f"place {hold.name} was deleted as it was acquired")
        self.board: str = place.tags.get("board", "")
        self._paths: list[list[str]] = [list(path) for path in place.acquired_resources]
        self.exporters = sorted({path[0] for path in self._paths})
        self._resources: list[Any] = []
        coordinator.session.news = self._watch
        self._watch()  # what went on before
        self._beats = asyncio.run_coroutine_threadsafe(self._beat(), coordinator.loop)

    def __str__(self) -> str:
        return f"{self.name} (exporter {', '.join(self.exporters) or 'none'}, coordinator {self.address})"

    @property
    def borrowed(self) -> bool:
        """Whether its user had acquired it before, and keeps it."""
        return self._hold.lease is None

    def error(self) -> InfrastructureError:
        """The loss, as an error."""
        return InfrastructureError(f"place {self.name} was lost: {self.lost}", hint="`labgrid-client -p PLACE show`")

    def confirm(self, *, cut: bool = False) -> None:
        """Ask the coordinator, so that `lost` tells of now.

        With the line `cut` the exporter may have died this instant, which the coordinator is given a moment to notice.
        """
        if self.lost:
            return
        try:
            self._coordinator.run(self._coordinator.sync(), ANSWER)
        except InfrastructureError:
            self.lost = self.lost or f"the coordinator at {self.address} does not answer"
        if cut:
            self._over.wait(MOMENT)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """While entered, labgrid's RemotePlace takes what this place has.

        Raises `InfrastructureError` where the place is lost by then.
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
            self._resources += [one for one in now if one not in before]

    def close(self) -> None:
        """Give the place back as it was found, however it is; one that the user had acquired stays acquired."""
        if self._closed:
            return
        self._closed = True
        manager = RemotePlaceManager.get()  # would look after what is gone for ever
        for several in (manager.resources, manager.unmanaged_resources):
            several[:] = [one for one in several if one not in self._resources]
        self._beats.cancel()
        try:
            if not self._coordinator.gone:
                self._coordinator.run(self._release(), leases.BEAT)
        except InfrastructureError as error:
            self._terms.tell(f"place {self.name} could not be released, the next run will do that: {error.message}")
        finally:
            if self._hold.lock is not None:
                os.close(self._hold.lock)
            self._coordinator.close()
            _terminable(-1)

    def _watch(self) -> None:
        if self.lost:
            return
        self.lost = self._why_lost()
        if self.lost:
            self._over.set()
        if self.lost and not self._coordinator.gone and not self._ours:  # our reservation would keep others out
            asyncio.run_coroutine_threadsafe(self._release(), self._coordinator.loop)

    @property
    def _ours(self) -> bool:
        """Whether we have acquired the place, and nobody has taken it since."""
        place = self._coordinator.session.places.get(self.name)
        return place is not None and self._hold.lease is not None and leases.of(place) == self._hold.lease

    def _why_lost(self) -> str:
        session = self._coordinator.session
        if self._coordinator.gone:
            return f"the coordinator at {self.address} is gone"
        place = session.places.get(self.name)
        if place is None:
            return "it was deleted"
        if not place.acquired:
            return "somebody has released it"
        if self._hold.lease is not None and self._hold.lease.mark not in place.allowed:
            return f"it was taken from us, and is held by {holder(place)}"
        for exporter, group, cls, name in self._paths:
            if name not in session.resources.get(exporter, {}).get(group, {}):
                return f"exporter {exporter} with its {cls} is gone"
        return ""

    async def _release(self) -> None:
        """Free the place where it is still ours. The reservation goes last: nobody's tag but ours is cleared."""
        lease, coordinator = self._hold.lease, self._coordinator
        if lease is None:
            return
        await coordinator.sync()
        if self._ours:
            await coordinator.ask("ReleasePlace", placename=self.name, fromuser=coordinator.user)
        place = coordinator.session.places.get(self.name)
        if place is not None and place.tags.get(leases.TAG) == str(lease):
            await tag(coordinator, self.name, "")
        await withdraw(coordinator, self._hold.token)

    async def _beat(self) -> None:
        while self._hold.lease is not None:
            await asyncio.sleep(leases.BEAT)
            with suppress(InfrastructureError, TimeoutError):  # the next one may do
                await self._coordinator.sync()
                if self.lost:  # the tag is another's
                    return
                await tag(self._coordinator, self.name, str(self._hold.lease))


def hold(wanted: PlaceSelector, address: str, terms: Terms) -> Place:
    """Get a place that will do, as soon as there is one.

    Places whose holders have died are freed, and all that is waited for is told. Raises `ConfigurationError` where
    there is no such place or it has no `board` tag, and `InfrastructureError` where none is to be had in time, or
    only such without resources.
    """
    coordinator = Coordinator(address)
    try:
        _terminable(1)
        try:
            found = coordinator.run(Search(coordinator, wanted, terms).run(), None)
            return Place(coordinator, found, terms)
        except BaseException:
            _terminable(-1)
            raise
    except BaseException:
        coordinator.close()
        raise


_held = 0  # places, or waits for one


def _terminable(more: int) -> None:
    """While a place is held, SIGTERM ends as Ctrl-C does, so that it is released."""
    global _held  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        return
    _held += more
    now = signal.getsignal(signal.SIGTERM)
    if _held and now is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    elif not _held and now is _interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt("SIGTERM")

"""The search for a free place: it waits in the queue of reservations and frees places of dead holders."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import cache_root
from hil.host.disk import disk_errors
from hil.host.locks import try_lock
from hil.places import lease as leases
from hil.places.coordinator import Coordinator, RequestRefused
from hil.places.lease import Lease, holder
from hil.places.reservation import Reservations
from hil.places.selector import PlaceSelector, Terms

RESOURCES_LIMIT = 10.0  # seconds for a place's resources to appear, as in labgrid
LOOK = 2.0  # seconds between two looks at the queue without changes
SHOWN = 3  # places in a message about the wait
STEADY = re.compile("Serial|Power")  # classes of resources that are available in any state of the board


@dataclass(frozen=True)
class Acquisition:
    """An acquired place: by a reservation (`token`) and a lease, or under a `lock` if its user had acquired it."""

    name: str
    token: str = ""
    lease: Lease | None = None
    lock: int | None = None


class Search:
    """One wait for a place. It runs in the connection's thread."""

    def __init__(self, coordinator: Coordinator, selector: PlaceSelector, terms: Terms) -> None:
        self._coordinator, self._selector, self._terms = coordinator, selector, terms
        self._reservations = Reservations(coordinator)
        self._begun = time.monotonic()
        self._usable_at = self._begun  # when a place was usable last
        self._deadline = self._begun + terms.wait
        self._grace = min(RESOURCES_LIMIT, terms.wait)
        self._refused: dict[str, str] = {}  # places allocated to us that are not taken, with the reason
        self._last_resort = False
        self._reported = ""
        self._changed = asyncio.Event()
        coordinator.session.on_change = self._changed.set

    async def run(self) -> Acquisition:
        """Return the first place that becomes free. Raises as `hil.places.acquisition.acquire`."""
        found: Acquisition | None = None
        try:
            while True:
                self._changed.clear()
                begin = time.monotonic()
                found, again = await self._look()
                if found is not None:
                    return found
                if again:
                    continue
                await self._report()
                limit = min(LOOK, max(self._deadline - time.monotonic(), 0.0))
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await self._changed.wait()
                if self._terms.wait and any(lease.sibling for lease in self._leases()):
                    self._deadline += time.monotonic() - begin  # workers of the same run release their places in time
        finally:
            await self._reservations.clear(keep=found.token if found is not None else "")

    async def _look(self) -> tuple[Acquisition | None, bool]:
        """Return a place that can be acquired now, else None and whether to look again at once."""
        places = self._candidates()
        if self._selector.name and (found := self._borrowed(*places.values())):
            return found, False
        self._check_tags(places)
        if await self._free_dead(places):
            return None, True
        tokens = self._reservations.tokens
        for token in list(tokens):
            name = next((name for name, place in places.items() if place.reservation == token), None)
            if name is None:
                continue
            if places[name].acquired:  # by our user in another process
                await self._reservations.remove(token)
            elif why := self._why_not(name, places):
                self._refused[name] = why
            elif found := await self._acquire(name, token):
                return found, False
        ours = {name for name, place in places.items() if place.reservation in tokens}
        self._refused = {name: why for name, why in self._refused.items() if name in ours}
        if len(self._refused) == len(tokens) < len(places):
            await self._reservations.add(dict(self._selector.tags) or {"name": next(iter(self._candidates()))})
            return None, True
        if not self._last_resort and time.monotonic() >= self._deadline and self._terms.avoid.keys() & self._refused:
            self._last_resort = True  # a place that has failed is better than none
            return None, True
        self._check_time(places)
        return None, False

    def _candidates(self) -> dict[str, Any]:
        session = self._coordinator.session
        found = self._selector.among(session.places, session.getuser())
        if self._coordinator.gone:
            raise InfrastructureError(f"the coordinator at {self._coordinator.address} is gone")
        if not found:
            known = ", ".join(sorted(session.places)[:20]) or "none"
            raise ConfigurationError(
                f"the coordinator at {self._coordinator.address} has no place {self._selector}",
                hint=f"`labgrid-client -v places` shows tags and aliases; the places are: {known}",
            )
        return found

    def _check_tags(self, places: dict[str, Any]) -> None:
        if self._selector.tagless or any("board" in place.tags for place in places.values()):
            return
        name = next(iter(places))
        raise ConfigurationError(
            f"place {name} has no tag that names its board file",
            hint=f"labgrid-client -p {name} set-tags board=NAME, with the NAME of boards/NAME.yaml",
        )

    def _borrowed(self, place: Any) -> Acquisition | None:
        """Return a place that our user has acquired by hand, or may share, unless another process of ours uses it."""
        user = self._coordinator.user
        if not place.acquired or leases.of(place) or (place.acquired != user and user not in place.allowed):
            return None
        if why := self._why_unusable(place.name):
            if time.monotonic() >= self._begun + self._grace:
                raise InfrastructureError(f"place {place.name}: {why}", hint="check that labgrid-exporter runs")
            return None
        lock = _lock(f"{self._coordinator.address} {place.name}")
        return None if lock is None else Acquisition(place.name, lock=lock)

    async def _acquire(self, name: str, token: str) -> Acquisition | None:
        """Acquire the place that is allocated to us, and put our lease on it."""
        coordinator, lease = self._coordinator, leases.new()
        try:
            await coordinator.call("AcquirePlace", placename=name)
        except RequestRefused as error:  # another client was faster, or a resource is broken
            self._refused[name] = error.message
            return None
        try:
            await coordinator.call("AllowPlace", placename=name, user=lease.mark)
            await coordinator.set_tag(name, leases.TAG, str(lease))
            await coordinator.sync()
        except BaseException:
            with suppress(InfrastructureError):
                await coordinator.call("ReleasePlace", placename=name, fromuser=coordinator.user)
            raise
        return Acquisition(name, token, lease)

    async def _free_dead(self, places: dict[str, Any]) -> bool:
        """Free the places of dead holders; return whether there was one."""
        freed = False
        for name, place in places.items():
            lease = leases.of(place)
            if lease is None or not self._reservations.tokens:  # the first one shows the coordinator's clock
                continue
            ended = lease.ended(time.time() + self._reservations.skew - place.changed)
            if not ended:
                continue
            text, owner, ticket = holder(place), place.acquired, place.reservation
            if ticket and not await self._cancelled(ticket):  # of several searches one gets past this
                continue
            if await self._free(name, lease, owner):
                freed = True
                self._terms.report(f"place {name} was held by {text}, {ended}: it is free again")
        return freed

    async def _cancelled(self, token: str) -> bool:
        """Cancel a dead holder's reservation; return whether it still existed."""
        try:
            await self._coordinator.call("CancelReservation", token=token)
        except RequestRefused:
            return False
        await self._coordinator.sync()
        return True

    async def _free(self, name: str, lease: Lease, owner: str) -> bool:
        await self._coordinator.sync()
        place = self._coordinator.session.places.get(name)
        if place is None or leases.of(place) != lease:
            return False
        await self._coordinator.call("ReleasePlace", placename=name, fromuser=owner)
        await self._coordinator.sync()
        return True

    def _why_not(self, name: str, places: dict[str, Any]) -> str:
        """Return why a place is not to be taken now; empty if it is.

        A place that has failed is left for another one, unless no other is usable.
        """
        why, avoid = self._why_unusable(name), self._terms.avoid
        if why or name not in avoid or self._last_resort:
            return why
        refused = self._refused.keys() - avoid.keys()  # refused by the coordinator, though allocated to us
        usable = [other for other in places.keys() - refused - {name} if not self._why_unusable(other)]
        if any(other not in avoid for other in usable):  # even if it is acquired now
            return avoid[name]
        earlier = list(avoid)[: list(avoid).index(name)]
        free = (other for other in usable if not places[other].acquired)
        return avoid[name] if any(other in earlier for other in free) else ""

    def _why_unusable(self, name: str) -> str:
        """Return why a place cannot be used, whoever has acquired it; empty if it can."""
        session = self._coordinator.session
        place = session.places.get(name)
        if place is None:
            return "it was deleted"
        if not (self._selector.tagless or "board" in place.tags):
            return "it has no tag `board`"
        exported = {
            (exporter, group, entry.cls, resource): entry
            for exporter, groups in session.resources.items()
            for group, entries in groups.items()
            for resource, entry in entries.items()
        }
        if match := place.unmatched(list(exported)):
            return f"exporter {match.exporter} with its {match.cls} is not there"
        matching = {path: entry for path, entry in exported.items() if place.hasmatch(path)}
        if not matching:
            return "it has no resources: `labgrid-client -p PLACE add-match` gives it some"
        for (exporter, _, cls, _), entry in matching.items():
            if STEADY.search(cls) and not entry.avail:
                return f"the {cls} of exporter {exporter} is not available"
        return ""

    def _check_time(self, places: dict[str, Any]) -> None:
        """Raise `InfrastructureError` if no place has been usable for a while, or the wait is over."""
        now = time.monotonic()
        # includes places reserved for others, who may wait for ours in turn
        reasons = {name: self._refused.get(name) or self._why_unusable(name) for name in places}
        if not all(reasons.values()):
            self._usable_at = now
        elif now >= self._usable_at + self._grace:
            text = "; ".join(f"place {name}: {why}" for name, why in reasons.items())
            raise InfrastructureError(f"no place for {self._selector}: {text}", hint="check that labgrid-exporter runs")
        if self._reservations.tokens and now >= self._deadline:
            raise InfrastructureError(
                f"no place for {self._selector} within {self._terms.wait:g} s: {self._situation(places)}",
                hint="wait longer with --place-wait (pytest: --hil-place-wait); "
                "`labgrid-client who` and `reservations` show the other users",
            )

    def _leases(self) -> list[Lease]:
        return [lease for place in self._candidates().values() if (lease := leases.of(place))]

    def _situation(self, places: dict[str, Any]) -> str:
        """Describe why each of the first `SHOWN` places is not free."""
        found = [
            f"{name} is held by {holder(place)}" + (f", and {why}" if (why := self._why_not(name, places)) else "")
            for name, place in places.items()
            if place.acquired
        ]
        found += [f"{name} is not taken: {why}" for name, why in self._refused.items()]
        found += [
            f"{name} is reserved for others"
            for name, place in places.items()
            if not place.acquired and place.reservation and place.reservation not in self._reservations.tokens
        ]
        more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        return "; ".join(found[:SHOWN]) + more

    async def _report(self) -> None:
        """Keep the reservations alive and report a new position in the queue."""
        everyone, places = await self._reservations.refresh(), self._candidates()
        if position := self._reservations.position(everyone, places):
            text = f"{position} waiting for {self._selector}; {self._situation(places)}"
            if text != self._reported:
                self._reported = text
                self._terms.report(text)


def _lock(name: str) -> int | None:
    """Lock a place against other processes of this user until this one ends; None if another holds the lock."""
    path = cache_root() / "places" / hashlib.sha256(name.encode()).hexdigest()[:16]
    with disk_errors(f"lock place {name} by {path}", "set XDG_CACHE_HOME to a directory of yours"):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    if try_lock(file):
        return file
    os.close(file)
    return None

"""The search for a place: by a reservation, so that all who wait have their turn, past holders that have died."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from labgrid.remote.generated.labgrid_coordinator_pb2 import Reservation

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import cache_root
from hil.host.locks import try_lock
from hil.places import lease as leases
from hil.places.coordinator import Coordinator, RequestRefused
from hil.places.lease import Lease
from hil.places.selector import PlaceSelector, Terms

RESOURCES_LIMIT = 10.0  # seconds for a place's resources to be there, as labgrid has it
LOOK = 2.0  # seconds between two looks at the queue, where nothing changes
REFRESH = 20.0  # seconds; a reservation that nobody polls expires after 60
STEADY = re.compile("Serial|Power")  # resources that are there whatever the board does
WAITING = 0  # the state of a reservation, as the coordinator numbers them
SHOWN = 3  # places of which a waiting one tells


@dataclass(frozen=True)
class Hold:
    """What was got: a place by a reservation and a lease, or without, one that its user had acquired before."""

    name: str
    token: str = ""
    lease: Lease | None = None
    lock: int | None = None


class Search:
    """One wait for a place; runs in the connection's thread."""

    def __init__(self, coordinator: Coordinator, wanted: PlaceSelector, terms: Terms) -> None:
        self._coordinator, self._wanted, self._terms = coordinator, wanted, terms
        self._tokens: list[str] = []
        self._skew = 0.0  # of the coordinator's clock
        self._begun = self._refreshed = time.monotonic()
        self._hopeful = self._begun  # when there was a place of any use last
        self._deadline = self._begun + terms.wait
        self._grace = min(RESOURCES_LIMIT, terms.wait)
        self._useless: dict[str, str] = {}  # places that are allocated to us, and why we do not take them
        self._last_resort = False
        self._said = ""
        self._changed = asyncio.Event()
        coordinator.session.news = self._changed.set

    async def run(self) -> Hold:
        found: Hold | None = None
        try:
            while True:
                self._changed.clear()
                begin = time.monotonic()
                found, again = await self._look()
                if found is not None:
                    return found
                if again:
                    continue
                await self._tell()
                limit = min(LOOK, max(self._deadline - time.monotonic(), 0.0))
                with suppress(TimeoutError):
                    async with asyncio.timeout(limit):
                        await self._changed.wait()
                if self._terms.wait and any(one.sibling for one in self._leases()):
                    self._deadline += time.monotonic() - begin  # they end when there is no more to do
        finally:
            for token in self._tokens:
                if found is None or token != found.token:
                    with suppress(InfrastructureError):
                        await withdraw(self._coordinator, token)

    async def _look(self) -> tuple[Hold | None, bool]:
        """What is to be had at once, and where that is nothing, whether to look again at once."""
        places = self._candidates()
        if self._wanted.name and (found := self._borrowed(*places.values())):
            return found, False
        self._check_tags(places)
        if await self._reclaim(places):
            return None, True
        for token in list(self._tokens):
            name = next((name for name, place in places.items() if place.reservation == token), None)
            if name is None:
                continue
            if places[name].acquired:  # by our user, but not by us
                self._tokens.remove(token)
                await withdraw(self._coordinator, token)
            elif why := self._why_not(name, places):
                self._useless[name] = why
            elif found := await self._acquire(name, token):
                return found, False
        ours = {name for name, place in places.items() if place.reservation in self._tokens}
        self._useless = {name: why for name, why in self._useless.items() if name in ours}
        if len(self._useless) == len(self._tokens) < len(places):
            await self._reserve()
            return None, True
        if not self._last_resort and time.monotonic() >= self._deadline and self._terms.avoid.keys() & self._useless:
            self._last_resort = True  # a place that has failed is better than none
            return None, True
        self._give_up(places)
        return None, False

    def _candidates(self) -> dict[str, Any]:
        session = self._coordinator.session
        found = self._wanted.among(session.places, session.getuser())
        if self._coordinator.gone:
            raise InfrastructureError(f"the coordinator at {self._coordinator.address} is gone")
        if not found:
            known = ", ".join(sorted(session.places)[:20]) or "none"
            raise ConfigurationError(
                f"the coordinator at {self._coordinator.address} has no place {self._wanted}",
                hint=f"`labgrid-client -v places` shows tags and aliases; the places are: {known}",
            )
        return found

    def _check_tags(self, places: dict[str, Any]) -> None:
        if self._wanted.tagless or any("board" in place.tags for place in places.values()):
            return
        name = next(iter(places))
        raise ConfigurationError(
            f"place {name} has no tag that names its board file",
            hint=f"labgrid-client -p {name} set-tags board=NAME, with the NAME of boards/NAME.yaml",
        )

    def _borrowed(self, place: Any) -> Hold | None:
        """A place that our user has acquired by hand, or may share, while no other process of ours is on it."""
        user = self._coordinator.user
        if not place.acquired or leases.of(place) or (place.acquired != user and user not in place.allowed):
            return None
        if why := self._why_useless(place.name):
            if time.monotonic() >= self._begun + self._grace:
                raise InfrastructureError(f"place {place.name}: {why}", hint="is labgrid-exporter running?")
            return None
        lock = _locked(f"{self._coordinator.address} {place.name}")
        return None if lock is None else Hold(place.name, lock=lock)

    async def _reserve(self) -> None:
        tags = dict(self._wanted.tags) or {"name": next(iter(self._candidates()))}
        made = await _reserved(self._coordinator, tags)
        self._tokens.append(made.token)
        self._skew = made.created - time.time()
        await self._coordinator.sync()

    async def _cancelled(self, token: str) -> bool:
        """Cancel a reservation; whether it was still there."""
        try:
            await self._coordinator.ask("CancelReservation", token=token)
        except RequestRefused:
            return False
        await self._coordinator.sync()
        return True

    async def _acquire(self, name: str, token: str) -> Hold | None:
        """Acquire the place that is allocated to us, and say who we are."""
        coordinator, lease = self._coordinator, leases.new()
        hold = Hold(name, token, lease)
        try:
            await coordinator.ask("AcquirePlace", placename=name)
        except RequestRefused as error:  # somebody was faster, or a resource is broken
            self._useless[name] = error.message
            return None
        try:
            await coordinator.ask("AllowPlace", placename=name, user=lease.mark)
            await tag(coordinator, name, str(lease))
            await coordinator.sync()
        except BaseException:
            with suppress(InfrastructureError):
                await coordinator.ask("ReleasePlace", placename=name, fromuser=coordinator.user)
            raise
        return hold

    async def _reclaim(self, places: dict[str, Any]) -> bool:
        """Free the places of holders that have died; whether there was one."""
        freed = False
        for name, place in places.items():
            lease = leases.of(place)
            if lease is None or not self._tokens:  # without one the coordinator's clock is not known
                continue
            ended = lease.ended(time.time() + self._skew - place.changed)
            if not ended:
                continue
            text, owner, ticket = holder(place), place.acquired, place.reservation
            if ticket and not await self._cancelled(ticket):  # of several that find it one gets past this
                continue
            if await self._free(name, lease, owner):
                freed = True
                self._terms.tell(f"place {name} was held by {text}, {ended}: it is free again")
        return freed

    async def _free(self, name: str, lease: Lease, owner: str) -> bool:
        await self._coordinator.sync()
        place = self._coordinator.session.places.get(name)
        if place is None or leases.of(place) != lease:
            return False
        await self._coordinator.ask("ReleasePlace", placename=name, fromuser=owner)
        await self._coordinator.sync()
        return True

    def _why_not(self, name: str, places: dict[str, Any]) -> str:
        """Return why a place is not to be taken; empty for a good one.

        A place that has failed is left for another one, unless no other is usable.
        """
        why, avoid = self._why_useless(name), self._terms.avoid
        if why or name not in avoid or self._last_resort:
            return why
        refused = self._useless.keys() - avoid.keys()  # by the coordinator, which may have allocated it to us
        usable = [one for one in places.keys() - refused - {name} if not self._why_useless(one)]
        if any(one not in avoid for one in usable):  # also one that somebody has now
            return avoid[name]
        earlier = list(avoid)[: list(avoid).index(name)]
        free = (one for one in usable if not places[one].acquired)
        return avoid[name] if any(one in earlier for one in free) else ""

    def _why_useless(self, name: str) -> str:
        """Return why nobody can use a place; empty for a good one."""
        session = self._coordinator.session
        place = session.places.get(name)
        if place is None:
            return "it was deleted"
        if not (self._wanted.tagless or "board" in place.tags):
            return "it has no tag `board`"
        there = {
            (exporter, group, entry.cls, resource): entry
            for exporter, groups in session.resources.items()
            for group, entries in groups.items()
            for resource, entry in entries.items()
        }
        if match := place.unmatched(list(there)):
            return f"exporter {match.exporter} with its {match.cls} is not there"
        matching = {path: entry for path, entry in there.items() if place.hasmatch(path)}
        if not matching:
            return "it has no resources: `labgrid-client -p PLACE add-match` gives it some"
        for (exporter, _, cls, _), entry in matching.items():
            if STEADY.search(cls) and not entry.avail:
                return f"the {cls} of exporter {exporter} is not available"
        return ""

    def _give_up(self, places: dict[str, Any]) -> None:
        now = time.monotonic()
        # those reserved for others, too, who may wait for ours in turn
        useless = {name: self._useless.get(name) or self._why_useless(name) for name in places}
        if not all(useless.values()):
            self._hopeful = now
        elif now >= self._hopeful + self._grace:
            reasons = "; ".join(f"place {name}: {why}" for name, why in useless.items())
            raise InfrastructureError(f"no place for {self._wanted}: {reasons}", hint="is labgrid-exporter running?")
        if self._tokens and now >= self._deadline:
            raise InfrastructureError(
                f"no place for {self._wanted} within {self._terms.wait:g} s: {self._situation(places)}",
                hint="wait longer with --place-wait; `labgrid-client who` and `reservations` tell of the others",
            )

    def _leases(self) -> list[Lease]:
        return [lease for place in self._candidates().values() if (lease := leases.of(place))]

    def _situation(self, places: dict[str, Any]) -> str:
        told = [
            f"{name} is held by {holder(place)}" + (f", and {why}" if (why := self._why_not(name, places)) else "")
            for name, place in places.items()
            if place.acquired
        ]
        told += [f"{name} is not taken: {why}" for name, why in self._useless.items()]
        told += [
            f"{name} is reserved for others"
            for name, place in places.items()
            if not place.acquired and place.reservation and place.reservation not in self._tokens
        ]
        more = f", and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        return "; ".join(told[:SHOWN]) + more

    async def _tell(self) -> None:
        """Keep the reservations alive, forget those that are not, and tell of a new position."""
        every = (await self._coordinator.ask("GetReservations")).reservations
        known = {one.token for one in every}
        self._tokens = [token for token in self._tokens if token in known]
        if time.monotonic() > self._refreshed + REFRESH:
            self._refreshed = time.monotonic()
            for token in self._tokens:
                with suppress(RequestRefused):
                    await self._coordinator.ask("PollReservation", token=token)
        places = self._candidates()
        if position := self._position(every, places):
            text = f"{position} waiting for {self._wanted}; {self._situation(places)}"
            if text != self._said:
                self._said = text
                self._terms.tell(text)

    def _position(self, every: Sequence[Any], places: dict[str, Any]) -> str:
        """As "3rd of 5"; empty where nothing is waited for."""

        def competes(one: Any) -> bool:
            wanted = PlaceSelector(tags=tuple(one.filters["main"].filter.items()))
            return one.state == WAITING and bool(wanted.among(places, ""))

        queue = [one.token for one in sorted(every, key=lambda one: (-one.prio, one.created)) if competes(one)]
        rank = next((rank for rank, token in enumerate(queue, 1) if token in self._tokens), None)
        return f"{_ordinal(rank)} of {len(queue)}" if rank else ""


def _ordinal(number: int) -> str:
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def holder(place: Any) -> str:
    """Who has a place, as far as is known."""
    host, _, user = place.acquired.partition("/")
    lease = leases.of(place)
    return f"{user}@{host}" + (f", {lease.text}" if lease else ", who has acquired it by hand")


async def _reserved(coordinator: Coordinator, tags: dict[str, str]) -> Any:
    fields = {"filters": {"main": Reservation.Filter(filter=tags)}, "prio": 0.0}
    return (await coordinator.ask("CreateReservation", **fields)).reservation


async def withdraw(coordinator: Coordinator, token: str) -> None:
    """Cancel a reservation, where it is still there, so that the next one in the queue has its place at once."""
    with suppress(RequestRefused):
        await coordinator.ask("CancelReservation", token=token)
        # the coordinator looks who is next, then frees the place, and would look again up to 15 s later
        again = await _reserved(coordinator, {"name": token})
        await coordinator.ask("CancelReservation", token=again.token)


async def tag(coordinator: Coordinator, name: str, value: str) -> None:
    await coordinator.ask("SetPlaceTags", placename=name, tags={leases.TAG: value})


def _locked(name: str) -> int | None:
    """A lock that no other process of this user has, and that ends with this one; None where another has it."""
    path = cache_root() / "places" / hashlib.sha256(name.encode()).hexdigest()[:16]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    except OSError as error:
        raise InfrastructureError(
            f"cannot lock place {name}: {path}: {error.strerror}", hint="set XDG_CACHE_HOME to a directory of yours"
        ) from error
    if try_lock(file):
        return file
    os.close(file)
    return None

"""Reservations at the coordinator: the queue of all who wait for a place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from labgrid.remote.generated.labgrid_coordinator_pb2 import Reservation

from hil.errors import InfrastructureError
from hil.places.coordinator import Coordinator, RequestRefused
from hil.places.selector import PlaceSelector

REFRESH = 20.0  # seconds; a reservation without polling expires after 60
WAITING = 0  # the coordinator's number for this state of a reservation


class Reservations:
    """The reservations of one search. `tokens` are theirs, the oldest first."""

    def __init__(self, coordinator: Coordinator) -> None:
        self.tokens: list[str] = []
        self.skew = 0.0  # seconds that the coordinator's clock is ahead of ours
        self._coordinator = coordinator
        self._refreshed = time.monotonic()

    async def add(self, tags: Mapping[str, str]) -> None:
        """Reserve a place with `tags`."""
        made = await _create(self._coordinator, tags)
        self.tokens.append(made.token)
        self.skew = made.created - time.time()
        await self._coordinator.sync()

    async def remove(self, token: str) -> None:
        """Cancel one of the reservations."""
        self.tokens.remove(token)
        await cancel(self._coordinator, token)

    async def refresh(self) -> Sequence[Any]:
        """Keep the reservations alive and forget expired ones; return all reservations at the coordinator."""
        everyone: Sequence[Any] = (await self._coordinator.call("GetReservations")).reservations
        existing = {reservation.token for reservation in everyone}
        self.tokens = [token for token in self.tokens if token in existing]
        if time.monotonic() > self._refreshed + REFRESH:
            self._refreshed = time.monotonic()
            for token in self.tokens:
                with suppress(RequestRefused):
                    await self._coordinator.call("PollReservation", token=token)
        return everyone

    def position(self, everyone: Sequence[Any], places: Mapping[str, Any]) -> str:
        """Return the position among the reservations that compete for `places`, as "3rd of 5"; empty if none waits."""

        def competes(reservation: Any) -> bool:
            selector = PlaceSelector(tags=tuple(reservation.filters["main"].filter.items()))
            return reservation.state == WAITING and bool(selector.among(places, ""))

        in_order = sorted(everyone, key=lambda reservation: (-reservation.prio, reservation.created))
        queue = [reservation.token for reservation in in_order if competes(reservation)]
        rank = next((rank for rank, token in enumerate(queue, 1) if token in self.tokens), None)
        return f"{_ordinal(rank)} of {len(queue)}" if rank else ""

    async def clear(self, *, keep: str = "") -> None:
        """Cancel all reservations except `keep`."""
        for token in self.tokens:
            if token != keep:
                with suppress(InfrastructureError):
                    await cancel(self._coordinator, token)


async def cancel(coordinator: Coordinator, token: str) -> None:
    """Cancel a reservation, if it exists, so that the next in the queue gets its place at once."""
    with suppress(RequestRefused):
        await coordinator.call("CancelReservation", token=token)
        # the coordinator schedules first and frees the place then; a second cancellation makes it schedule again
        # at once, not up to 15 s later
        again = await _create(coordinator, {"name": token})
        await coordinator.call("CancelReservation", token=again.token)


async def _create(coordinator: Coordinator, tags: Mapping[str, str]) -> Any:
    fields = {"filters": {"main": Reservation.Filter(filter=tags)}, "prio": 0.0}
    return (await coordinator.call("CreateReservation", **fields)).reservation


def _ordinal(number: int) -> str:
    teens = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teens else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"

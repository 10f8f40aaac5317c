"""The places of a lab at its coordinator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hil.lab.plan import EXPORTER
from hil.places.coordinator import Coordinator


@dataclass(frozen=True)
class LabPlace:
    """A place: its user (`HOST/USER`, empty if it is free) and the address of its serial line, empty if not served."""

    acquired: str
    serial: str


def create(address: str, names: Iterable[str], tags: dict[str, str], *, kinds: int, limit: float) -> None:
    """Create the places `names` with the resources of the lab's exporter, and wait for these.

    Each place has `kinds` resources. Raises `InfrastructureError` after `limit` seconds.
    """

    async def make() -> None:
        changed = asyncio.Event()
        coordinator.session.on_change = changed.set
        for name in names:
            await coordinator.call("AddPlace", name=name)
            await coordinator.call("AddPlaceMatch", placename=name, pattern=f"{EXPORTER}/{name}/*")
            await coordinator.call("SetPlaceTags", placename=name, tags=tags)
        while not all(sum(entry.avail for entry in _exported(coordinator, name)) == kinds for name in names):
            await changed.wait()
            changed.clear()

    with closing(Coordinator(address, direct=True)) as coordinator:
        coordinator.run(make(), limit)


def look(address: str) -> dict[str, LabPlace]:
    """Return all places of the coordinator, by name. Raises `InfrastructureError` if it does not answer in time."""
    with closing(Coordinator(address, direct=True)) as coordinator:
        places = coordinator.session.places.items()
        return {name: LabPlace(place.acquired or "", _serial(coordinator, name)) for name, place in places}


def _exported(coordinator: Coordinator, name: str) -> list[Any]:
    return list(coordinator.session.resources.get(EXPORTER, {}).get(name, {}).values())


def _serial(coordinator: Coordinator, name: str) -> str:
    for entry in _exported(coordinator, name):
        if entry.cls == "NetworkSerialPort" and entry.args.get("port"):
            return f"{entry.args['host']}:{entry.args['port']}"
    return ""

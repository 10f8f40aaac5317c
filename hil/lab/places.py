"""A lab's places at its coordinator: made, and looked at, over labgrid's client."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hil.errors import InfrastructureError
from hil.lab.plan import EXPORTER

if TYPE_CHECKING:
    from labgrid.remote.client import ClientSession

Result = TypeVar("Result")


@dataclass(frozen=True)
class Place:
    """A place as the coordinator knows it: who has it (`HOST/USER`, empty if nobody), and its serial line's address.

    The address is empty where there is none, as long as nobody has the place.
    """

    acquired: str
    serial: str


def create(address: str, names: Iterable[str], tags: dict[str, str], *, kinds: int, limit: float) -> None:
    """Make places of these names, with what the lab's exporter has under each, and wait until that is there.

    `kinds` is how many resources each has. Raises `InfrastructureError` after `limit` seconds.
    """

    async def make(session: ClientSession) -> None:
        pairs = [f"{key}={value}" for key, value in tags.items()]
        for name in names:
            session.args = Namespace(place=name, patterns=[f"{EXPORTER}/{name}/*"], tags=pairs)
            await session.add_place()
            await session.add_match()
            await session.set_tags()
        while not all(_complete(session, name, kinds) for name in names):
            await asyncio.sleep(0.05)  # updates come meanwhile

    _session(address, make, limit)


def look(address: str, *, limit: float) -> dict[str, Place]:
    """All places of the coordinator, by name. Raises `InfrastructureError` where it does not answer in `limit` s."""

    async def see(session: ClientSession) -> dict[str, Place]:
        return {name: Place(place.acquired or "", _serial(session, name)) for name, place in session.places.items()}

    return _session(address, see, limit)


def _complete(session: ClientSession, name: str, kinds: int) -> bool:
    return len([entry for entry in session.resources.get(EXPORTER, {}).get(name, {}).values() if entry.avail]) == kinds


def _serial(session: ClientSession, name: str) -> str:
    for entry in session.resources.get(EXPORTER, {}).get(name, {}).values():
        if entry.cls == "NetworkSerialPort" and entry.args.get("port"):
            return f"{entry.args['host']}:{entry.args['port']}"
    return ""


def _session(address: str, work: Callable[[ClientSession], Coroutine[None, None, Result]], limit: float) -> Result:
    """Do the work in a session at the coordinator."""
    from labgrid.remote.client import ClientSession, Error  # takes a while

    async def bounded() -> Result:
        session = ClientSession(address, asyncio.get_running_loop())
        try:
            async with asyncio.timeout(limit):
                await session.start()
                return await work(session)
        finally:
            await session.stop()
            await session.close()

    try:
        return asyncio.run(bounded())
    except TimeoutError:
        raise InfrastructureError(f"the coordinator at {address} did not do what was asked in {limit:g} s") from None
    except Error as error:
        raise InfrastructureError(f"the coordinator at {address}: {' '.join(error.args)}") from None

"""The selection of a lab's places by name or tags, and the terms of waiting for one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.text import printable_line

WAIT = 600.0  # seconds
KEY = re.compile(r"[a-z][a-z0-9_]+")  # of labgrid's tags


class PlaceFailed(InfrastructureError):
    """A failure of the test bed at an acquired place; `place` is its name."""

    def __init__(self, place: str, cause: InfrastructureError) -> None:
        super().__init__(cause.message, hint=cause.hint, stage=cause.stage, evidence=cause.evidence, cause=cause.cause)
        self.place = place


@dataclass(frozen=True)
class PlaceSelector:
    """One place by its name or alias, or any one with all `tags`; `tagless` if it needs no tag `board`."""

    name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    tagless: bool = False

    def __str__(self) -> str:
        return self.name or ",".join(f"{key}={value}" for key, value in self.tags)

    def among(self, places: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Return those of labgrid's `places` that match, by name; an alias may belong to `user` alone."""
        if not self.name:
            return {
                name: place
                for name, place in places.items()
                if set(self.tags) <= {*place.tags.items(), ("name", name)}  # the coordinator's rule
            }
        if self.name in places:
            return {self.name: places[self.name]}
        aliases = {self.name, f"{user}:{self.name}"}
        return {name: place for name, place in places.items() if aliases & set(place.aliases)}


def report(message: str) -> None:
    """Print a message on standard error."""
    print(f"hil: {printable_line(message)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Terms:
    """The terms of waiting for a place.

    `wait` is the limit in seconds, 0 for no waiting. `coordinator` is an address that wins over the board file's and
    the environment's. `report` receives messages about the wait. `avoid` names places that have failed, with the
    reason, the latest at the end: they are taken only if no other place is usable, the earliest first.
    """

    wait: float = WAIT
    coordinator: str | None = None
    report: Callable[[str], None] = report
    avoid: Mapping[str, str] = field(default_factory=dict)


def parse(name: str) -> PlaceSelector | None:
    """Parse `place:NAME` or `+TAG=VALUE[,TAG=VALUE]`; return None for a board's own name.

    `place:` alone selects the place in LG_PLACE. Raises `ConfigurationError`.
    """
    if name.startswith("place:"):
        if place := name.removeprefix("place:") or os.environ.get("LG_PLACE", ""):
            return PlaceSelector(name=place)
        raise ConfigurationError("place: names no place", hint="give place:NAME, or set LG_PLACE")
    if not name.startswith("+"):
        return None
    tags: dict[str, str] = {}
    for pair in name[1:].split(","):
        key, _, value = pair.partition("=")
        if not KEY.fullmatch(key) or not value or "=" in value or key in tags:
            raise ConfigurationError(
                f"{name}: {pair!r} is not TAG=VALUE",
                hint="give +TAG=VALUE or +TAG=VALUE,TAG=VALUE, each TAG once, of two or more of a-z, 0-9 and _; "
                "`labgrid-client -v places` shows the tags",
            )
        tags[key] = value
    return PlaceSelector(tags=tuple(tags.items()))


def address(given: str | None, of_file: str | None = None) -> str:
    """Return the coordinator's address: the `given` one, else the board file's, else LG_COORDINATOR."""
    return given or of_file or os.environ.get("LG_COORDINATOR") or "127.0.0.1:20408"

"""Places of a lab that tests may ask for, and on which terms they wait for one."""

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
KEY = re.compile(r"[a-z][a-z0-9_]+")  # as labgrid's tags have them


class PlaceFailed(InfrastructureError):
    """A place was acquired, but what it consists of cannot be used; `place` is its name."""

    def __init__(self, place: str, cause: InfrastructureError) -> None:
        super().__init__(cause.message, hint=cause.hint, stage=cause.stage, evidence=cause.evidence, cause=cause.cause)
        self.place = place


@dataclass(frozen=True)
class PlaceSelector:
    """One place by its name or alias, or any one that has all `tags`; `tagless` where its board file is known."""

    name: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    tagless: bool = False

    def __str__(self) -> str:
        return self.name or ",".join(f"{key}={value}" for key, value in self.tags)

    def among(self, places: Mapping[str, Any], user: str) -> dict[str, Any]:
        """Those of labgrid's `places`, by name, that will do; an alias may be one of `user` alone."""
        if not self.name:
            return {
                name: place
                for name, place in places.items()
                if set(self.tags) <= {*place.tags.items(), ("name", name)}  # as the coordinator has it
            }
        if self.name in places:
            return {self.name: places[self.name]}
        aliases = {self.name, f"{user}:{self.name}"}
        return {name: place for name, place in places.items() if aliases & set(place.aliases)}


def told(message: str) -> None:
    """Say it on standard error."""
    print(f"hil: {printable_line(message)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Terms:
    """How to get a place.

    `wait` is how many seconds to wait for one, 0 for not at all; `coordinator` is an address that wins over the board
    file's and the environment's; `tell` is told what is waited for; `avoid` names places that have failed, with the
    reason, the one that failed last at the end. They are taken only where no other place is usable, the one that
    failed first before the others.
    """

    wait: float = WAIT
    coordinator: str | None = None
    tell: Callable[[str], None] = told
    avoid: Mapping[str, str] = field(default_factory=dict)


def parse(name: str) -> PlaceSelector | None:
    """What `place:NAME` or `+TAG=VALUE[,TAG=VALUE]` asks for; None for a board that is named by itself.

    `place:` alone is the place that LG_PLACE names. Raises `ConfigurationError`.
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
                f"{name}: {pair!r} is no tag to look for",
                hint="give +TAG=VALUE or +TAG=VALUE,TAG=VALUE, each TAG of two or more of a-z, 0-9 and _; "
                "`labgrid-client -v places` shows the tags",
            )
        tags[key] = value
    return PlaceSelector(tags=tuple(tags.items()))


def address(given: str | None, of_file: str | None = None) -> str:
    """Where the coordinator is: what was given by hand, else in the board file, else LG_COORDINATOR."""
    return given or of_file or os.environ.get("LG_COORDINATOR") or "127.0.0.1:20408"

"""The life of a board: the reports that it has come up, and that it goes down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hil.board.boot_report import BootReport

Reason = Literal["fresh", "off", "released", "dead", "failed"]


@dataclass(frozen=True)
class BoardUp:
    """A board that has come up: booted, or restored from a snapshot, to a shell.

    `place` is its place in a lab, empty without one. `image_sha256` is the digest of the image. `clock` is "real time",
    or virtual time with its seed. `report` has the stages of the boot; in a restored board it is the boot of the
    snapshot, and `report.restored` the seconds of the restore. `transcript` is the console's, from now on.
    """

    board: str
    place: str
    image: str
    image_sha256: str
    emulated: bool
    clock: str
    kind: Literal["boot", "restore"]
    report: BootReport
    transcript: Path


@dataclass(frozen=True)
class BoardDown:
    """A board that goes down.

    `reason` is one of

    - `fresh`: it is replaced by a fresh boot or restore;
    - `off`: it is switched off, and not needed for now;
    - `released`: the run or the test's process is done with it, and it is closed;
    - `dead`: it had gone by itself, was switched off by a test, or its place was lost;
    - `failed`: a boot, a restore or the health check after it failed. It had not come up: `up` is None.

    `cause` says more, and is empty where there is no more to say: the error, or why the board is not trusted. `usable`
    is whether its line is still open, so that commands can be typed. `up` is the report that it had come up.
    `transcript` is the console's, None where the line was never opened.
    """

    board: str
    place: str
    image: str
    emulated: bool
    reason: Reason
    cause: str
    usable: bool
    up: BoardUp | None
    transcript: Path | None


class Lifecycle:
    """Reports to `on_up` and `on_down`: each `up` is followed by one `down`, a `down` for a failed boot has no `up`.

    The receivers raise nothing but what ends the run. What they do to the board is not reported to them.
    """

    def __init__(self, on_up: Callable[[BoardUp], None], on_down: Callable[[BoardDown], None]) -> None:
        self.on_up = on_up
        self.on_down = on_down
        self.current: BoardUp | None = None
        self._reporting = False

    def up(self, event: BoardUp) -> None:
        """Report that the board has come up."""
        if self._reporting:
            return
        self.current = event
        self._report(lambda: self.on_up(event))

    def down(self, event: BoardDown) -> None:
        """Report that the board goes down."""
        if self._reporting:
            return
        self.current = None
        self._report(lambda: self.on_down(event))

    def _report(self, report: Callable[[], None]) -> None:
        self._reporting = True
        try:
            report()
        finally:
            self._reporting = False

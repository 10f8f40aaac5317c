"""A proxy in the line that breaks bytes on purpose, repeatably. Its process is `relay`.

with FaultProxy(port, received=Faults(baud=115200, drop=1e-4), seed=1) as proxy:
    console = Console(proxy.port, transcript)
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hil.console.filter import Filter
from hil.errors import ConfigurationError, InfrastructureError
from hil.faults import relay
from hil.host.closing import Closing

ANSWER_LIMIT = 10.0  # seconds for the process to obey
SLOWEST, FASTEST = 50, 100_000_000  # baud
LONGEST = 86_400.0  # seconds of a delay or a stop
MOST_LINES = 10_000  # a second
TEXT = "[foreign {n}]\r\n"


@dataclass(frozen=True)
class Faults:
    """The faults of one direction of a line; none by default.

    `baud` paces it as a UART with 8N1 does, 10 bits a byte (None: no pace); `delay` makes each byte late by so many
    seconds. `drop`, `flip` (one bit), `duplicate` and `inject` (a foreign line before it) are probabilities of each
    byte, 0 to 1. `lines` is the number of foreign lines a second in addition. `text` is the foreign line with its
    line end; `{n}` in it is its number. With `split` it may come within a line, otherwise it waits for a line end.

    Raises `ConfigurationError` for values out of range.
    """

    baud: float | None = None
    delay: float = 0.0
    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    inject: float = 0.0
    lines: float = 0.0
    text: str = TEXT
    split: bool = True

    def __post_init__(self) -> None:
        for name in relay.CHANCES:
            check_range(name, getattr(self, name), 0, 1)
        if self.baud is not None:
            check_range("baud", self.baud, SLOWEST, FASTEST)
        check_range("delay", self.delay, 0, LONGEST)
        check_range("lines", self.lines, 0, MOST_LINES)
        try:
            good = bool(self.text.format(n=1))
        except (LookupError, ValueError, AttributeError):
            good = False
        if not good:
            raise ConfigurationError(
                f"text={self.text!r} is not a template of a foreign line",
                hint="give a format string; {n} is the line's number",
            )


@dataclass(frozen=True)
class Counts:
    """Bytes of one direction that were taken, given out and broken, foreign lines injected, stops made."""

    taken: int
    given: int
    dropped: int
    flipped: int
    duplicated: int
    injected: int
    stops: int


@dataclass(frozen=True)
class Report:
    """The faults made so far; `ended` is the reason why the line has ended, empty while it is open."""

    received: Counts
    sent: Counts
    ended: str


class FaultProxy(Closing):
    """A line through a process that breaks it.

    Takes over the file descriptor `port`; the line is now `self.port`, for a `Console`, which closes it. `received`
    applies to the board's bytes, `sent` to ours. The same `seed` and bytes give the same faults, in whatever chunks
    they come; only pace, delay, timed lines and stops follow the clock, in steps of a millisecond. Without faults
    nothing is lost, and a slow reader makes the sender wait.
    """

    def __init__(self, port: int, *, received: Faults | None = None, sent: Faults | None = None, seed: int = 0) -> None:
        self._filter = Filter(port, Path(relay.__file__))
        self.port = self._filter.port
        self._last: Report | None = None
        try:
            self._ask(seed=seed, set=_directions(received, sent))
        except BaseException:
            self.close()
            os.close(self.port)
            raise

    @property
    def pid(self) -> int:
        """The process id of the relay."""
        return self._filter.pid

    def set(self, *, received: Faults | None = None, sent: Faults | None = None) -> None:
        """Change the faults of a direction for all further bytes; None leaves it unchanged."""
        self._ask(set=_directions(received, sent))

    def stop(self, seconds: float) -> None:
        """Let nothing pass in either direction for `seconds`. Raises `ConfigurationError` for more than a day."""
        check_range("stop", seconds, 0, LONGEST)
        self._ask(stop=seconds)

    def cut(self) -> None:
        """Close both ends of the line now."""
        self._ask(cut=True)

    def report(self) -> Report:
        """Return the report of all faults so far, also after the end of the line."""
        return self._ask()

    def close(self) -> None:
        """End the proxy; harmless when repeated. Bytes written before are passed on if the board takes them."""
        if not self._filter.closed:
            self._filter.finish()
            with suppress(InfrastructureError):
                self._hear()
            self._filter.close()

    def _ask(self, **request: Any) -> Report:
        """Send a request and wait for its report. Raises `InfrastructureError` without an answer."""
        if not self._filter.closed:
            self._filter.send(json.dumps(request).encode())
            self._hear()
        if self._last is None:
            raise InfrastructureError("the fault proxy sent no report")
        return self._last

    def _hear(self) -> None:
        answer = self._filter.receive(ANSWER_LIMIT)
        if answer is not None:
            facts = json.loads(answer)
            self._last = Report(Counts(**facts["received"]), Counts(**facts["sent"]), facts["ended"])
        elif self._last is None or not self._last.ended:
            raise InfrastructureError(
                f"the fault proxy, process {self.pid}, has died", hint="see its standard error, or who killed it"
            )


class Tap(Closing):
    """A line driver's `tap` that puts a proxy into each line the board opens.

    board.line.tap = Tap(received=Faults(lines=50))
    """

    def __init__(self, *, received: Faults | None = None, sent: Faults | None = None, seed: int = 0) -> None:
        self._received, self._sent, self._seed = received, sent, seed
        self._proxy: FaultProxy | None = None

    def __call__(self, port: int) -> int:
        self.close()
        self._proxy = FaultProxy(port, received=self._received, sent=self._sent, seed=self._seed)
        return self._proxy.port

    @property
    def proxy(self) -> FaultProxy:
        """The proxy in the newest line. Raises `InfrastructureError` if no line was opened yet."""
        if self._proxy is None:
            raise InfrastructureError("no line was opened through this tap", hint="set it before the power is on")
        return self._proxy

    def close(self) -> None:
        """End the newest proxy; its report stays."""
        if self._proxy is not None:
            self._proxy.close()


def check_range(name: str, value: float, least: float, most: float) -> None:
    """Raise `ConfigurationError` if the number is out of range."""
    if not least <= value <= most:
        raise ConfigurationError(f"{name}={value} is out of range", hint=f"give {least:g} to {most:g}")


def _directions(received: Faults | None, sent: Faults | None) -> dict[str, Any]:
    given = {"received": received, "sent": sent}
    return {name: asdict(faults) for name, faults in given.items() if faults is not None}

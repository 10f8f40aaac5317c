"""A proxy in the line that breaks what passes, on purpose and repeatably; see `relay` for its process.

with FaultProxy(port, received=Faults(baud=115200, drop=1e-4), seed=1) as proxy:
    console = Console(proxy.port, transcript)
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

from hil.console.filter import Filter
from hil.errors import ConfigurationError, InfrastructureError
from hil.faults import relay

ANSWER_LIMIT = 10.0  # seconds for the process to obey
SLOWEST, FASTEST = 50, 100_000_000  # baud
LONGEST = 86_400.0  # seconds of a delay or a stop
MOST_LINES = 10_000  # a second
TEXT = "[foreign {n}]\r\n"


def _check(good: bool, what: str, hint: str) -> None:
    if not good:
        raise ConfigurationError(what, hint=hint)


def _check_text(text: str) -> None:
    try:
        good = isinstance(text, str) and bool(text.format(n=1))
    except (LookupError, ValueError, AttributeError):
        good = False
    _check(good, f"a foreign line cannot be made of {text!r}", "it is a format string; {n} is the line's number")


@dataclass(frozen=True)
class Drop:
    """Lose the next `count` bytes."""

    count: int = 1
    kind: ClassVar[str] = "drop"

    def __post_init__(self) -> None:
        _check(self.count >= 1, f"cannot drop {self.count} bytes", "give a count from 1 on")


@dataclass(frozen=True)
class Flip:
    """Flip the bits of `mask` (1 to 255) in the next `count` bytes."""

    mask: int = 1
    count: int = 1
    kind: ClassVar[str] = "flip"

    def __post_init__(self) -> None:
        _check(self.count >= 1, f"cannot flip bits in {self.count} bytes", "give a count from 1 on")
        _check(0 < self.mask < 256, f"{self.mask} is no mask of bits in a byte", "give 1 to 255")


@dataclass(frozen=True)
class Duplicate:
    """Pass each of the next `count` bytes twice."""

    count: int = 1
    kind: ClassVar[str] = "duplicate"

    def __post_init__(self) -> None:
        _check(self.count >= 1, f"cannot duplicate {self.count} bytes", "give a count from 1 on")


@dataclass(frozen=True)
class Inject:
    """Put in `text`, in which `{n}` is the number of the foreign line; its line end is part of it."""

    text: str = TEXT
    kind: ClassVar[str] = "inject"

    def __post_init__(self) -> None:
        _check_text(self.text)


@dataclass(frozen=True)
class Stop:
    """Let nothing pass for `length` seconds."""

    length: float
    kind: ClassVar[str] = "stop"

    def __post_init__(self) -> None:
        _check(0 <= self.length <= LONGEST, f"cannot stop for {self.length} s", f"give 0 to {LONGEST:g} seconds")


@dataclass(frozen=True)
class Cut:
    """Close the line, both ends of it."""

    kind: ClassVar[str] = "cut"


Action = Drop | Flip | Duplicate | Inject | Stop | Cut


@dataclass(frozen=True)
class At:
    """An action before the byte at `offset`, or after `seconds`, both counted from when the faults were set."""

    action: Action
    offset: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        _check(
            (self.offset is None) != (self.seconds is None),
            f"when shall {self.action} be?",
            "give either offset=BYTES or seconds=S",
        )
        _check((self.offset or 0) >= 0 and (self.seconds or 0.0) >= 0, f"{self} lies in the past", "give 0 or more")


@dataclass(frozen=True)
class Faults:
    """What becomes of one direction of a line; the default is nothing.

    `baud` paces it as a UART with 8N1 does (10 bits a byte, None: as fast as it goes); `delay` makes each
    byte late by so many seconds. `drop`, `flip` (one bit), `duplicate` and `inject` (a foreign line, before
    it) are the chances, 0 to 1, of each byte; `lines` is the number of foreign lines a second beside that.
    `text` is the foreign line; `{n}` in it counts. With `split` it may come within a line, else it waits for a
    line's end. `script` lists what is to happen at which byte or time.

    Raises `ConfigurationError` for what cannot be.
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
    script: tuple[At, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "script", tuple(self.script))
        for name in relay.CHANCES:
            chance = getattr(self, name)
            _check(0 <= chance <= 1, f"{name}={chance} is no probability", "give 0 to 1, for example 1e-4")
        _check(
            self.baud is None or SLOWEST <= self.baud <= FASTEST,
            f"no line runs at {self.baud} baud",
            f"give {SLOWEST} to {FASTEST}, or None for no pace",
        )
        _check(0 <= self.delay <= LONGEST, f"cannot delay by {self.delay} s", f"give 0 to {LONGEST:g} seconds")
        _check(0 <= self.lines <= MOST_LINES, f"cannot inject {self.lines} lines/s", f"give 0 to {MOST_LINES}")
        _check_text(self.text)
        for step in self.script:
            _check(isinstance(step, At), f"{step!r} is no step of a script", "write At(ACTION, offset=BYTES)")

    def _encoded(self) -> dict[str, Any]:
        steps = [{**asdict(step.action), "kind": step.action.kind} for step in self.script]
        places = [{"offset": step.offset, "seconds": step.seconds} for step in self.script]
        return {**asdict(self), "script": [{**step, **place} for step, place in zip(steps, places, strict=True)]}


@dataclass(frozen=True)
class Counts:
    """What became of one direction: bytes taken in and given out, bytes and lines broken, stops made."""

    taken: int
    given: int
    dropped: int
    flipped: int
    duplicated: int
    injected: int
    stops: int


@dataclass(frozen=True)
class Report:
    """What a proxy did so far; `ended` says why the line has ended, nothing while it is open."""

    received: Counts
    sent: Counts
    ended: str


class FaultProxy:
    """A line through a process that breaks it.

    Takes the file descriptor `port` over; `self.port` is the line then, for a `Console`, which closes it.
    `received` is what becomes of the board's bytes, `sent` of ours. The same `seed` and the same bytes
    give the same faults, however they come in chunks; only pace, delay and what is timed go by the clock
    (in steps of a millisecond). Without faults nothing is lost and a slow reader holds the sender up.
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

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The process id of the relay."""
        return self._filter.pid

    def set(self, *, received: Faults | None = None, sent: Faults | None = None) -> None:
        """Change the faults of a direction for the bytes that come from now on; None leaves it as it is."""
        self._ask(set=_directions(received, sent))

    def stop(self, seconds: float) -> None:
        """Let nothing pass in either direction for `seconds`."""
        self._ask(stop=Stop(seconds).length)

    def cut(self) -> None:
        """Close both ends of the line now."""
        self._ask(cut=True)

    def report(self) -> Report:
        """What was done so far; also once the line has ended or was closed."""
        return self._ask()

    def close(self) -> None:
        """End the proxy; harmless when repeated. What was written before is passed on where the board takes it."""
        if not self._filter.closed:
            self._filter.hang_up()
            try:
                self._hear()
            except InfrastructureError:
                pass
            self._filter.close()

    def _ask(self, **request: Any) -> Report:
        """Have a request obeyed. Raises `InfrastructureError` where the process does not answer."""
        if not self._filter.closed:
            self._filter.tell(json.dumps(request).encode())
            self._hear()
        if self._last is None:
            raise InfrastructureError("the fault proxy told nothing")
        return self._last

    def _hear(self) -> None:
        answer = self._filter.hear(ANSWER_LIMIT)
        if answer is not None:
            self._last = _report(json.loads(answer))
        elif self._last is None or not self._last.ended:
            raise InfrastructureError("the fault proxy has died", hint="was it killed? Its standard error may tell")


class Tap:
    """For a driver's `tap`: puts a proxy into each line that the board opens, one after the other.

    board.line.tap = Tap(received=Faults(lines=50))
    """

    def __init__(self, *, received: Faults | None = None, sent: Faults | None = None, seed: int = 0) -> None:
        self._received, self._sent, self._seed = received, sent, seed
        self._proxy: FaultProxy | None = None

    def __call__(self, port: int) -> int:
        self.close()
        self._proxy = FaultProxy(port, received=self._received, sent=self._sent, seed=self._seed)
        return self._proxy.port

    def __enter__(self) -> Tap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def proxy(self) -> FaultProxy:
        """The proxy in the newest line. Raises `InfrastructureError` where none was opened yet."""
        if self._proxy is None:
            raise InfrastructureError("no line was opened through this tap", hint="set it before the power is on")
        return self._proxy

    def close(self) -> None:
        """End the newest proxy; its report stays."""
        if self._proxy is not None:
            self._proxy.close()


def _directions(received: Faults | None, sent: Faults | None) -> dict[str, Any]:
    given = {"received": received, "sent": sent}
    return {name: faults._encoded() for name, faults in given.items() if faults is not None}


def _report(answer: Mapping[str, Any]) -> Report:
    return Report(Counts(**answer["received"]), Counts(**answer["sent"]), answer["ended"])

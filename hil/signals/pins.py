"""The fixture `pins`: drives the inputs of the partition and observes its outputs, with time stamps of the edges."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from hil.errors import ConfigurationError, Evidence, RunnerError
from hil.measure.units import Amount, amount, shown
from hil.signals.edges import Edges
from hil.signals.signal_map import Analogue
from hil.signals.wiring import INVERTED, Wiring

ANSWER_NS = 10_000_000  # for the answer to the last stimulus, before a module is stopped
MOST = 4_000_000  # edges of one call


@dataclass(frozen=True)
class PinFault:
    """A fault of a pin: what was done to it, from `begin_ns` to `end_ns` by the clock of the wires."""

    pin: str
    done: str
    begin_ns: int
    end_ns: int

    def __str__(self) -> str:
        return f"{self.pin} {self.done} from {shown(self.begin_ns / 1e9)} to {shown(self.end_ns / 1e9)}"


class Pins:
    """The pins of the partition, by name. Times are those of the wires; see `now`.

    `seed` is for bouncing contacts, `evidence` returns the console for an error. In virtual time nothing happens
    between two calls: time passes in `advance`, `wait` and whatever waits for the console. All methods raise
    `ConfigurationError` for an unknown pin, and for a level to an output or in the past.
    """

    def __init__(self, wiring: Wiring, *, seed: int = 1, evidence: Callable[[], Evidence] = Evidence) -> None:
        self.wiring = wiring
        self.faults: list[PinFault] = []
        self.begin_ns = wiring.now_ns()
        self._evidence = evidence
        self._random = random.Random(seed)
        self._last_ns = 0
        self._owners: dict[str, str] = {}
        self._faulty: dict[str, list[tuple[int, int | None]]] = {}  # begin and end of faults, in ns

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.wiring.inputs, *self.wiring.outputs)

    @property
    def now(self) -> Amount:
        """The present time of the wires: in virtual time since power-on."""
        return _time(self.wiring.now_ns())

    def drive(self, pin: str, level: int, *, at: Amount | None = None) -> None:
        """Set the input `pin` to 0 or 1, now or at the time `at`."""
        self._check_owner(pin)
        self._set(pin, [level], [0], at)

    def pulse(self, pin: str, width: Amount, *, at: Amount | None = None, level: int = 1) -> None:
        """Set the input `pin` to `level` for `width`, then to the other level, from now on or from `at`."""
        self.train(pin, period=width, count=1, high=width, at=at, level=level)

    def train(
        self,
        pin: str,
        *,
        period: Amount,
        count: int,
        high: Amount | None = None,
        at: Amount | None = None,
        level: int = 1,
    ) -> None:
        """Give the input `pin` `count` pulses to `level`, one each `period`, of the width `high` (half the period).

        They begin now or at the time `at`. Raises `ConfigurationError` for more than 2,000,000 pulses in one call and
        for pulses that overlap.
        """
        self._check_owner(pin)
        length = _ns(period, "the period")
        width = length // 2 if high is None else _ns(high, "the width of a pulse")
        if not 0 < width <= length or (count > 1 and width == length):
            raise ConfigurationError(f"pulses of {shown(width / 1e9)} do not fit a period of {period}")
        if not 1 <= count <= MOST // 2:
            raise ConfigurationError(f"{count} pulses: give 1 to {MOST // 2} in one call")
        times = [number * length + offset for number in range(count) for offset in (0, width)]
        self._set(pin, [level, 1 - level] * count, times, at)

    def bounce(self, pin: str, level: int, *, within: Amount, times: int = 5, at: Amount | None = None) -> None:
        """Set the input `pin` to `level` as a bouncing contact does: `times` short pulses back `within` that time.

        Their instants depend on the seed of the fixture alone.
        """
        self._check_owner(pin)
        length = _ns(within, "the time of bouncing")
        if length < 2 * times + 1:
            raise ConfigurationError(f"{times} bounces do not fit into {within}")
        instants = sorted(self._random.sample(range(1, length), 2 * times))
        levels = [level, *(level if number % 2 else 1 - level for number in range(2 * times))]
        start = self._set(pin, levels, [0, *instants], at)
        self.faults.append(PinFault(pin, f"bounces {times} times to {level}", start, start + instants[-1]))

    def glitch(self, pin: str, width: Amount, *, at: Amount | None = None) -> None:
        """Invert the wire of `pin` for `width`, whatever drives it, such as a loop, now or at the time `at`.

        The wire has the inverse of its level at the begin until the end. Raises `ConfigurationError` for a `stuck`,
        `glitch` or `fault` of the same pin at the same time.
        """
        self._force_for(pin, INVERTED, f"has a glitch of {width}", width, at)

    def stuck(self, pin: str, level: int, width: Amount, *, at: Amount | None = None) -> None:
        """Keep the wire of `pin` at `level`, 0 or 1, for `width`, now or at the time `at`; raises as `glitch`.

        This is `fault` for a time that is known before.
        """
        if level not in (0, 1):
            raise ConfigurationError(f"pin {pin} cannot be stuck at {level!r}", hint="Give 0 or 1.")
        self._force_for(pin, level, f"is stuck at {level}", width, at)

    @contextmanager
    def fault(self, pin: str, *, stuck: int | None = None, open: bool = False) -> Iterator[None]:
        """Keep the wire of `pin` `stuck` at 0 or 1, or `open` (pulled down to 0), in this context.

        An input then ignores what the test drives; of an output the test sees the wire, not what the partition drives.
        """
        if (stuck is None) == (not open) or stuck not in (None, 0, 1):
            raise ConfigurationError("a pin's fault is stuck=0, stuck=1 or open=True", hint="Give one of them.")
        begin = self.wiring.now_ns()
        self._check_other_fault(pin, begin, None)
        self.wiring.force(pin, 0 if stuck is None else stuck)
        self._faulty[pin] = [(begin, None)]
        try:
            yield
        finally:
            self.wiring.force(pin, None)
            del self._faulty[pin]
            done = "is open" if stuck is None else f"is stuck at {stuck}"
            self.faults.append(PinFault(pin, done, begin, self.wiring.now_ns()))

    def level(self, pin: str) -> int:
        """Return the present level of `pin`."""
        return self.wiring.level(pin)

    def advance(self, duration: Amount) -> None:
        """Let time pass."""
        self.wiring.run_until(self.wiring.now_ns() + _ns(duration, "the duration"))

    def wait(self, *pins: str, timeout: Amount) -> Amount:
        """Let time pass until the next edge of one of `pins`, and return the time then.

        In real time an edge counts that has come since the last stimulus, `advance` or `wait`. Raises `RunnerError` if
        there is none within `timeout`.
        """
        limit = self.wiring.now_ns() + _ns(timeout, "the timeout")
        if not pins:
            raise ConfigurationError("no pin to wait for", hint=f"Give one or more of {', '.join(self.names)}.")
        if not self.wiring.wait_edge(pins, limit):
            raise RunnerError(
                f"no edge of {' or '.join(pins)} came in {timeout}",
                hint="Check that the module runs, may use this pin, and has had its stimulus.",
                evidence=self._evidence(),
            )
        return self.now

    def wait_for(self, pin: str, level: int, *, timeout: Amount) -> Amount:
        """Let time pass until `pin` has `level`, and return the time; return at once if it has. Raises as `wait`."""
        limit = self.wiring.now_ns() + _ns(timeout, "the timeout")
        while self.level(pin) != level:
            if not self.wiring.wait_edge([pin], limit):
                raise RunnerError(
                    f"{pin} did not become {level} in {timeout}",
                    hint="Check that the module runs, may use this pin, and has had its stimulus.",
                    evidence=self._evidence(),
                )
        return self.now

    def edges(self, pin: str, *, since: Amount | None = None) -> Edges:
        """Return the edges of `pin` since the time `since`, by default since the begin of the test."""
        return self.wiring.edges(pin, self.begin_ns if since is None else _ns(since, "the begin"))

    def __getitem__(self, pin: str) -> Edges:
        return self.edges(pin)

    def read(self, channel: Analogue | str) -> float:
        """Return the present value of an analogue channel: raw, 0 to 65535, or in the range of an `Analogue`."""
        if isinstance(channel, Analogue):
            return channel.value(self.wiring.read_analogue(channel.channel))
        return self.wiring.read_analogue(channel)

    def write(self, channel: Analogue | str, value: float) -> None:
        """Set an analogue input of the partition, raw or in the range of an `Analogue`, without its noise.

        Raises `ConfigurationError` for an output and for a value out of range.
        """
        name, raw = (channel.channel, channel.raw(value)) if isinstance(channel, Analogue) else (channel, value)
        self._check_owner(name)
        if raw != int(raw):
            raise ConfigurationError(f"the raw value {raw} for channel {name} is no whole number")
        self.wiring.write_analogue(name, int(raw))

    def let_pass(self) -> None:
        """Let all stimuli pass that were given so far, and 10 ms for the answer to the last one."""
        if self._last_ns:
            self.wiring.run_until(self._last_ns + ANSWER_NS)

    @contextmanager
    def owned(self, pins: Collection[str], owner: str) -> Iterator[None]:
        """Reserve `pins` for `owner`, such as a loop, in this context. Raises `ConfigurationError` for an owned one."""
        for pin in pins:
            self._check_owner(pin)
        self._owners |= dict.fromkeys(pins, owner)
        try:
            yield
        finally:
            for pin in pins:
                del self._owners[pin]

    def _set(self, pin: str, levels: Sequence[int], times_ns: Sequence[int], at: Amount | None) -> int:
        """Set the levels at times that are counted from `at` or from now, and return the time of the first in ns."""
        start = self.wiring.now_ns() if at is None else _ns(at, "the time of an edge")
        if at is None:
            self.wiring.set_levels(pin, levels, times_ns, after_now=True)
        else:
            self.wiring.set_levels(pin, levels, [start + time for time in times_ns])
        self._last_ns = max(self._last_ns, start + times_ns[-1])
        return start

    def _force_for(self, pin: str, level: int, done: str, width: Amount, at: Amount | None) -> None:
        """Force the wire of a pin for a time, and note the fault."""
        length = _ns(width, "the width of a fault")
        start = self.wiring.now_ns() if at is None else _ns(at, "the time of a fault")
        if not length:
            raise ConfigurationError(f"a fault of {pin} lasts 0 s", hint="Give a width above 0 s.")
        self._check_other_fault(pin, start, start + length)
        self.wiring.force(pin, level, at_ns=None if at is None else start, width_ns=length)
        self._faulty.setdefault(pin, []).append((start, start + length))
        self._last_ns = max(self._last_ns, start + length)
        self.faults.append(PinFault(pin, done, start, start + length))

    def _check_other_fault(self, pin: str, begin: int, end: int | None) -> None:
        for other, until in self._faulty.get(pin, ()):
            if (until is None or begin <= until) and (end is None or other <= end):
                lasts = "" if until is None else f" to {shown(until / 1e9)}"
                raise ConfigurationError(
                    f"pin {pin} has another fault at that time, from {shown(other / 1e9)}{lasts}",
                    hint="Let the faults of a pin follow each other.",
                )

    def _check_owner(self, pin: str) -> None:
        if pin in self._owners:
            raise ConfigurationError(
                f"pin {pin} is driven by {self._owners[pin]} already", hint="Let one of them drive it."
            )


def _time(ns: int) -> Amount:
    return Amount(ns / 1e9, "s")


def _ns(time: Amount, what: str) -> int:
    """Return a time, or a duration, in ns. Raises `ConfigurationError` about `what` for a negative one."""
    seconds = amount(time, "s", what)
    if seconds < 0:
        raise ConfigurationError(f"{what} is negative: {time}")
    return round(seconds * 1e9)

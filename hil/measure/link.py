"""The link to a board's shell: how long an exchange takes at least, how fast bytes come, what holds them back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from hil.board.protocol import Transport
from hil.errors import ConfigurationError
from hil.guest import Guest
from hil.measure.units import shown

EXCHANGE = ": link"  # the shell does nothing; the name finds it in a recording
EXCHANGES = 12
EXCHANGE_BYTES = 45  # of what is typed and of the answer's two marks
PAUSES = (0.010, 0.025)  # seconds between two parts of an answer
REPEATS = 5
BYTES = 2048
# no process is started and nothing is echoed that the line would not carry anyway
OUTPUT = f"_l={'link' * 16};_l=$_l$_l$_l$_l$_l$_l$_l$_l;echo $_l$_l$_l$_l;unset _l"
LIMIT = 10.0  # seconds for each command
HELD = (0.035, 0.055)  # seconds; Linux delays an acknowledgement by 40 ms
SLOW = 0.75  # of the nominal rate
LATENCY_TIMER = (0.015, 0.019)  # seconds beside the bytes' own time: an FTDI adapter's 16 ms
STEADY = 0.004  # seconds
TTYS = Path("/sys/class/tty")

ACKNOWLEDGED = (
    "the serial server holds the second part of an answer back until the first is acknowledged: give ser2net "
    "`tcp(nodelay=true)`. labgrid's exporter starts its own without it: reach that one directly, not through SSH or "
    "another proxy, or export a ser2net of your own as NetworkSerialPort"
)


@dataclass(frozen=True)
class Link:
    """What a line adds to what is seen over it, as measured once with the guest's shell at its other end.

    `floor` and `median` are seconds of an exchange of some 45 bytes, typed command to the end of its answer:
    the line, the guest's tty and shell. `rate` is bytes a second as received. `held` is for how many seconds
    the second part of an answer is held back until the first is acknowledged: 0 where it is not, None where the
    guest cannot tell. `latency_timer` is a USB adapter's, in seconds, where it is known.
    """

    transport: Transport
    floor: float
    median: float
    rate: float
    held: float | None = 0.0
    latency_timer: float | None = None

    @property
    def uncertainty(self) -> float:
        """By how many seconds the line may shift the stamp of a byte: what an exchange takes, or what is held back."""
        return max(self.floor, self.held or 0.0)

    @property
    def hints(self) -> tuple[str, ...]:
        """What is wrong with the link and how to mend it, where its figures have the signature."""
        return tuple(self._hints())

    def _hints(self) -> Iterator[str]:
        if self.held:
            yield ACKNOWLEDGED
        baud = self.transport.baud
        if baud and not self.held and self.rate < SLOW * baud / 10:
            yield (
                f"it brings less than the {_per_second(baud / 10)} of {baud} baud: is the board's speed another, "
                "or does flow control or the guest hold it up?"
            )
        remedy = f"setserial {self.transport.where if self.transport.kind == 'serial' else 'DEVICE'} low_latency"
        if self.latency_timer is not None and self.latency_timer > 0.001:
            yield f"the USB adapter keeps what comes for up to {shown(self.latency_timer)}: {remedy}"
        beside = self.floor - (EXCHANGE_BYTES * 10 / baud if baud else 0.0)
        even = self.median - self.floor <= STEADY  # as a timer's are; a busy host's are not
        if self.transport.remote and even and not self.held and LATENCY_TIMER[0] <= beside <= LATENCY_TIMER[1]:
            yield f"16 ms is what a USB adapter's latency timer adds: {remedy}, on the exporter's machine"

    @property
    def facts(self) -> dict[str, str]:
        """What a report has of it."""
        held = "not known: the guest's sleep takes no fractions" if self.held is None else shown(self.held)
        facts = {
            "link": str(self.transport),
            "link floor": f"{shown(self.floor)}, median {shown(self.median)}: line, tty and shell",
            "link rate": _per_second(self.rate),
            "link holds back": "nothing" if self.held == 0 else held,
        }
        return facts | ({"link hint": "; ".join(self.hints)} if self.hints else {})

    def __str__(self) -> str:
        held = f", holds answers back for {shown(self.held)}" if self.held else ""
        return f"{self.transport}: floor {shown(self.floor)}, {_per_second(self.rate)}{held}"


def of(guest: Guest) -> Link | None:
    """The link to `guest`: measured when first asked for, and again where the board's line is another one.

    None in virtual time, which no line delays, and for a recording; there what the recorded session typed to measure
    its link is typed again. Raises as `measure`.
    """
    board = guest.board
    if board.virtual is not None:
        return None
    transport, replayed = board.line.transport, board.line.transport.kind == "recording"
    key = (transport, board.line.tap, board.console.transcript.path if replayed else None)
    if guest not in _known or _known[guest][0] != key:
        link = measure(guest) if not replayed or _measured(board.power.recording.sent()) else None
        _known[guest] = key, None if replayed else link
    return _known[guest][1]


_known: WeakKeyDictionary[Guest, tuple[Hashable, Link | None]] = WeakKeyDictionary()


def _measured(sent: Iterator[object]) -> bool:
    return any(f"'{EXCHANGE}'".encode() in getattr(event, "data", b"") for event in sent)


def measure(guest: Guest) -> Link:
    """Measure the link to `guest`'s shell in some 0.6 s at 115200 baud, at most `LIMIT` seconds for each command.

    What is typed never hangs on what was measured, so that a recording of it can be replayed. Raises what
    `Guest.run` raises.
    """
    times = sorted(_exchange(guest, EXCHANGE)[0] for _ in range(EXCHANGES))
    gaps = [[_exchange(guest, f"sleep {pause}")[1] for _ in range(REPEATS)] for pause in PAUSES]
    whole, between, status = _exchange(guest, OUTPUT)
    if status:
        raise ConfigurationError("the guest's shell does not do what a POSIX shell does", hint=f"it failed at {OUTPUT}")
    transport = guest.board.line.transport
    # both marks in one piece: the whole exchange, which makes the rate a lower limit
    rate = BYTES / (between or whole)
    held = _held(gaps) if transport.remote else 0.0
    return Link(transport, times[0], statistics.median(times), rate, held, _latency_timer(transport))


def _exchange(guest: Guest, command: str) -> tuple[float, float, int]:
    """Seconds from typing `command` to its end, and from its first mark to its last; its status."""
    begin = time.monotonic_ns()
    result = guest.run(command, timeout=LIMIT)
    return (result.end_ns - begin) / 1e9, result.seconds, result.status


def _held(gaps: Sequence[Sequence[float]]) -> float | None:
    """How long the second part of an answer is held back: the parts come so far apart whatever the guest's pause.

    `gaps` are those of each pause. A busy guest's are longer, too, but not alike.
    """
    first, second = map(statistics.median, gaps)
    if second < PAUSES[1] / 2:  # no pause was made
        return None
    alike = abs(second - first) < (PAUSES[1] - PAUSES[0]) / 3
    return first if alike and HELD[0] < min(first, second) and max(first, second) < HELD[1] else 0.0


def _latency_timer(transport: Transport) -> float | None:
    """Of the USB adapter of a serial port of this machine, in seconds; None where it has none."""
    if transport.kind != "serial":
        return None
    try:
        text = (TTYS / Path(transport.where).resolve().name / "device" / "latency_timer").read_text()
        return int(text) / 1000
    except (OSError, ValueError):
        return None


def _per_second(rate: float) -> str:
    return f"{rate / 1000:.4g} kB/s"

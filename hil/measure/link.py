"""The link to the shell of a board: shortest exchange, rate, and delays by servers and adapters."""

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

EXCHANGE = ": link"  # does nothing; the name marks it in a recording
EXCHANGES = 12
EXCHANGE_BYTES = 45  # the command and the two marks of the answer
PAUSES = (0.010, 0.025)  # seconds between two parts of an answer
REPEATS = 5
BYTES = 2048
# starts no process and echoes nothing that the line would not carry anyway
OUTPUT = f"_l={'link' * 16};_l=$_l$_l$_l$_l$_l$_l$_l$_l;echo $_l$_l$_l$_l;unset _l"
LIMIT = 10.0  # seconds for each command
HELD = (0.035, 0.055)  # seconds; Linux delays an acknowledgement by 40 ms
SLOW = 0.75  # of the nominal rate
LATENCY_TIMER = (0.015, 0.019)  # seconds beyond the time of the bytes: the 16 ms of an FTDI adapter
STEADY = 0.004  # seconds
TTYS = Path("/sys/class/tty")

ACKNOWLEDGED = (
    "the serial server holds the second part of an answer back until the first is acknowledged. Give ser2net "
    "`tcp(nodelay=true)`. labgrid's exporter starts its own ser2net without it: connect to that one directly, not "
    "through SSH or another proxy, or export a ser2net of your own as NetworkSerialPort."
)


@dataclass(frozen=True)
class Link:
    """The delays of a line, as measured once with the guest's shell at its other end.

    - `floor`, `median`: seconds of an exchange of some 45 bytes, from the typed command to the end of its answer,
      through the line and the guest's tty and shell.
    - `rate`: received bytes per second.
    - `held`: the seconds for which the second part of an answer is held back until the first is acknowledged; 0 if it
      is not, None if unknown.
    - `latency_timer`: that of a USB adapter in seconds, if known.
    """

    transport: Transport
    floor: float
    median: float
    rate: float
    held: float | None = 0.0
    latency_timer: float | None = None

    @property
    def uncertainty(self) -> float:
        """The largest shift of the stamp of a byte by the line, in seconds: the floor, or the time held back."""
        return max(self.floor, self.held or 0.0)

    @property
    def hints(self) -> tuple[str, ...]:
        """Likely defects of the link by its figures, each with its remedy."""
        return tuple(self._hints())

    def _hints(self) -> Iterator[str]:
        if self.held:
            yield ACKNOWLEDGED
        baud = self.transport.baud
        if baud and not self.held and self.rate < SLOW * baud / 10:
            yield (
                f"the rate is below the {_per_second(baud / 10)} of {baud} baud: check the speed of the board, flow "
                "control and the load of the guest"
            )
        remedy = f"setserial {self.transport.where if self.transport.kind == 'serial' else 'DEVICE'} low_latency"
        if self.latency_timer is not None and self.latency_timer > 0.001:
            yield f"the USB adapter delays input by up to {shown(self.latency_timer)}: run {remedy}"
        beside = self.floor - (EXCHANGE_BYTES * 10 / baud if baud else 0.0)
        even = self.median - self.floor <= STEADY  # a timer is; a busy host is not
        if self.transport.remote and even and not self.held and LATENCY_TIMER[0] <= beside <= LATENCY_TIMER[1]:
            yield f"the latency timer of a USB adapter seems to add 16 ms: run {remedy} on the machine of the exporter"

    @property
    def facts(self) -> dict[str, str]:
        """The link as facts of a report."""
        held = "unknown: the guest's sleep takes no fractions" if self.held is None else shown(self.held)
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
    """Return the link to `guest`; it is measured on first use, and again when the board has another line.

    None in virtual time, which no line delays, and for a recording, where the commands of the recorded measurement are
    typed again. Raises as `measure`.
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
    """Measure the link to the shell of `guest` in about 0.6 s at 115200 baud, at most `LIMIT` seconds for each command.

    The commands do not depend on the results, so that a recording can be replayed. Raises as `Guest.run`.
    """
    times = sorted(_exchange(guest, EXCHANGE)[0] for _ in range(EXCHANGES))
    gaps = [[_exchange(guest, f"sleep {pause}")[1] for _ in range(REPEATS)] for pause in PAUSES]
    whole, between, status = _exchange(guest, OUTPUT)
    if status:
        raise ConfigurationError(
            f"the guest's shell fails at a command for POSIX shells: {OUTPUT}", hint="Use a POSIX shell in the image."
        )
    transport = guest.board.line.transport
    # if both marks come in one piece, the whole exchange gives a lower limit of the rate
    rate = BYTES / (between or whole)
    held = _held(gaps) if transport.remote else 0.0
    return Link(transport, times[0], statistics.median(times), rate, held, _latency_timer(transport))


def _exchange(guest: Guest, command: str) -> tuple[float, float, int]:
    """Return the seconds from typing `command` to its end, those from its first mark to its last, and its status."""
    begin = time.monotonic_ns()
    result = guest.run(command, timeout=LIMIT)
    return (result.end_ns - begin) / 1e9, result.seconds, result.status


def _held(gaps: Sequence[Sequence[float]]) -> float | None:
    """Return the seconds for which the second part of an answer is held back; None if the guest made no pauses.

    `gaps` are the times between the parts, for each of `PAUSES`. Held back, they are alike whatever the pause; those of
    a busy guest are longer, but not alike.
    """
    first, second = map(statistics.median, gaps)
    if second < PAUSES[1] / 2:
        return None
    alike = abs(second - first) < (PAUSES[1] - PAUSES[0]) / 3
    return first if alike and HELD[0] < min(first, second) and max(first, second) < HELD[1] else 0.0


def _latency_timer(transport: Transport) -> float | None:
    """Return the latency timer of a serial port's USB adapter in seconds; None if there is none on this machine."""
    if transport.kind != "serial":
        return None
    try:
        text = (TTYS / Path(transport.where).resolve().name / "device" / "latency_timer").read_text()
        return int(text) / 1000
    except (OSError, ValueError):
        return None


def _per_second(rate: float) -> str:
    return f"{rate / 1000:.4g} kB/s"

"""Frames of a CAN bus and what else happens on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hil.errors import ConfigurationError
from hil.measure.units import shown

PARTITION = "partition"
"""The name of the partition's controller; all other nodes are of the bench."""
BENCH = "bench"
"""The bench's node where none is named."""
BUS = "bus"
"""Stands for all nodes."""

MOST_DATA = 8  # bytes, of a classical frame
BASE_IDS, EXTENDED_IDS = 1 << 11, 1 << 29


@dataclass(frozen=True)
class CanFrame:
    """A classical CAN frame: `id` of 11 bits, or 29 with `extended`, and up to 8 bytes of `data`.

    A `remote` frame has no data but the length that it requests, in `length`. A frame that was on the bus has its
    `sender`, its times `begin_ns` (start of frame) and `end_ns` (end of frame) by the clock of the bus, and with
    `received` whether the partition's controller was there to receive it. Raises `ConfigurationError` for an id out of
    range, and for too much data.
    """

    id: int
    data: bytes = b""
    extended: bool = False
    remote: bool = False
    length: int = -1
    sender: str = ""
    begin_ns: int = 0
    end_ns: int = 0
    received: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.id < (EXTENDED_IDS if self.extended else BASE_IDS):
            raise ConfigurationError(
                f"the CAN id {self.id:#x} is out of range for {29 if self.extended else 11} bits",
                hint="An id above 0x7FF needs extended=True; the highest one is 0x1FFFFFFF.",
            )
        if self.length < 0:
            object.__setattr__(self, "length", len(self.data))
        if self.length > MOST_DATA or (self.data and self.remote):
            raise ConfigurationError(
                f"the CAN frame {self.id:#x} has {self.length} bytes of data{' and is remote' if self.remote else ''}",
                hint="A frame carries 0 to 8 bytes; a remote frame carries none, only length=.",
            )

    @property
    def key(self) -> tuple[int, bool, bool]:
        """What distinguishes frames on the bus: id and format."""
        return self.id, self.extended, self.remote

    def __str__(self) -> str:
        name = f"{self.id:08X}" if self.extended else f"{self.id:03X}"
        content = f"remote {self.length}" if self.remote else self.data.hex(" ").upper() or "no data"
        return f"{name} [{content}]" + (f" from {self.sender} at {shown(self.begin_ns / 1e9)}" if self.sender else "")


@dataclass(frozen=True)
class CanEvent:
    """What happened on the bus at `at_ns` beside frames.

    `kind` is "error" (a destroyed frame), "off" or "on" (the node left the bus by too many errors, or is back), "open"
    or "closed" (the node was disconnected, or is connected again), "lost" (the frame found the node's queue full) or
    "bitrate". `node` is the sender or the node itself.
    """

    at_ns: int
    kind: str
    node: str
    frame: CanFrame | None = None

    def __str__(self) -> str:
        return f"{self.kind} of {self.node} at {shown(self.at_ns / 1e9)}" + (f": {self.frame}" if self.frame else "")


def frame_of(
    id: int,
    data: bytes | bytearray | list[int] | Mapping[str, float] = b"",
    *,
    extended: bool | None = None,
    remote: bool = False,
    length: int | None = None,
) -> CanFrame:
    """Return a frame to send; `extended` is by default whether the id needs it. Raises `ConfigurationError`."""
    try:
        content = bytes(data)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{data!r} is not the data of a CAN frame: {error}", hint="Give bytes.") from None
    long = id >= BASE_IDS if extended is None else extended
    return CanFrame(id, content, long, remote, -1 if length is None else length)

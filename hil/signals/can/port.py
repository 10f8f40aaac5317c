"""The bench's port of a CAN bus, as everything above it uses it, and the open ports by the name of their channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hil.errors import ConfigurationError
from hil.measure.clock import Clock
from hil.signals.can.frame import CanEvent, CanFrame


class CanPort(Protocol):
    """Access to one bus. Times are ns by `clock`. Nodes have names, see `hil.signals.can.frame`.

    With `exact` time stands still between two calls. Methods raise `ConfigurationError` for what this port cannot do,
    `InfrastructureError` if the board is off.
    """

    @property
    def channel(self) -> str: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def exact(self) -> bool: ...

    @property
    def bitrate(self) -> int:
        """The present bitrate in bit/s; 0 if it is unknown."""

    def now_ns(self) -> int:
        """Return the present time of the bus."""

    def run_until(self, at_ns: int) -> None:
        """Let time pass until `at_ns`; return at once if it is over."""

    def wait(self, until_ns: int) -> bool:
        """Let time pass until something happens on the bus, until `until_ns` at most; return whether it did."""

    def frames(self) -> Sequence[CanFrame]:
        """Return all frames that were on the bus since it was switched on, in order. The sequence grows."""

    def seen(self) -> Sequence[CanFrame]:
        """Return `frames` as of the last call of another method; safe in any thread."""

    def events(self) -> Sequence[CanEvent]:
        """Return everything else that has happened on the bus, in order."""

    def send(self, frames: Sequence[CanFrame], node: str, at_ns: int | None = None) -> None:
        """Queue frames of `node`, now or at `at_ns`."""

    def cycle(self, frame: CanFrame, node: str, period_ns: int, at_ns: int | None = None) -> None:
        """Send the frame of `node` each `period_ns`, from now or from `at_ns` on. A period of 0 ends it."""

    def change(self, frame: CanFrame, node: str) -> None:
        """Replace the data of the cyclic frame with the same key from its next time on."""

    def destroy(self, count: int, node: str, bit: int = 0) -> None:
        """Destroy the next `count` frames of `node` or of the whole `BUS` by an error at `bit`, 0 for near the end."""

    def set_off(self, node: str, off: bool, *, recovers: bool = True) -> None:
        """Put `node` off the bus as after too many errors, or back on it."""

    def set_open(self, node: str, open: bool) -> None:
        """Disconnect the wires of `node` or of the whole `BUS`, or connect them again."""

    def set_bitrate(self, bitrate: int) -> None:
        """Set the bitrate, in bit/s, of all nodes from the next frame on."""

    def clear(self) -> None:
        """End all cyclic frames and faults, and forget the frames of the bench that wait."""

    def close(self) -> None:
        """Leave the bus."""


_open: dict[str, CanPort] = {}


def announce(port: CanPort) -> None:
    """Make `port` known under the name of its channel, in place of an earlier one."""
    _open[port.channel] = port


def withdraw(port: CanPort) -> None:
    """Forget `port`."""
    if _open.get(port.channel) is port:
        del _open[port.channel]


def open_port(channel: str) -> CanPort:
    """Return the open port of `channel`. Raises `ConfigurationError` if there is none."""
    if channel in _open:
        return _open[channel]
    names = ", ".join(_open) or "none"
    raise ConfigurationError(
        f"no open board has a CAN channel {channel!r}; open are: {names}",
        hint="Request the fixture `can` in the test before a Bus is made.",
    )

"""The CAN bus of a board: that of its emulator, or an interface of the bench."""

from __future__ import annotations

from hil.board.board import Board
from hil.board.can_resource import HilCanInterface
from hil.errors import ConfigurationError
from hil.qemu.wires import Wires
from hil.signals.can.bench import BenchCan
from hil.signals.can.emulated import EmulatedCan, wires_of
from hil.signals.can.port import CanPort
from hil.signals.emulated import wires_clock


def can_port(board: Board) -> CanPort:
    """Return the port of the partition's bus. Raises `ConfigurationError` for a board without one, with the reason."""
    if not board.emulated:
        return _bench(board)
    machine = board.machine("CAN")
    facts = board.manifest.can
    if facts is None or machine.no_can_reason:
        raise ConfigurationError(
            f"board {board.name} has no CAN bus: "
            + (machine.no_can_reason or f"the manifest of image {board.manifest.name} has no table [can]"),
            hint="Choose an image with a CAN controller, such as reference.",
        )

    def wires() -> Wires | None:
        return None if machine.qemu is None else machine.qemu.wires

    return EmulatedCan(wires_of(wires, board.name), lambda: wires_clock(board.virtual), facts.bitrate)


def _bench(board: Board) -> CanPort:
    found = [resource for resource in board.target.resources if isinstance(resource, HilCanInterface)]
    if len(found) != 1:
        raise ConfigurationError(
            f"board {board.name} has {'several CAN interfaces' if found else 'no CAN interface'}",
            hint="Add one resource `HilCanInterface: {interface: socketcan, channel: can0}` to the board's file.",
        )
    resource = found[0]
    return BenchCan(resource.interface, resource.channel, bitrate=resource.bitrate, options=resource.options)

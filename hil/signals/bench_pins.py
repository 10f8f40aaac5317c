"""The pins of a real board: which driver of its environment drives them, and which analyser channel observes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labgrid import Target
from labgrid.protocol import DigitalOutputProtocol

from hil.board.analyser import HilAnalyserDriver
from hil.board.board import Board
from hil.errors import ConfigurationError
from hil.image.pins import PinFacts

DOCUMENT = "docs/bench-pins.md"


@dataclass(frozen=True)
class BenchPin:
    """A pin: whether it is an input of the partition, its driver, and the analyser's channel of its name.

    `driver` is a labgrid driver with `DigitalOutputProtocol`; None for outputs and for an input that nothing drives.
    `channel` is the analyser's own name; empty if no channel has the pin's name.
    """

    name: str
    is_input: bool
    driver: Any
    channel: str

    @property
    def missing(self) -> str:
        """What the board file lacks for this pin; empty if nothing."""
        lacking = []
        if self.is_input and self.driver is None:
            lacking.append("no digital output drives it")
        if not self.channel:
            lacking.append("no channel of the logic analyser has its name")
        return " and ".join(lacking)


def bench_pins(target: Target, pins: PinFacts | None) -> dict[str, BenchPin]:
    """Return the pins of a board, inputs first.

    They are those of the image's manifest. Without them the inputs are the named digital outputs that no other driver
    uses, and the outputs are the other channels of the analyser.
    """
    drivers, channels = dict(_digital_outputs(target)), _channels(target)
    if pins is not None:
        inputs, outputs = list(pins.inputs), list(pins.outputs)
    else:
        inputs = [name for name, driver in drivers.items() if not driver.clients]
        outputs = [channel for channel in channels if channel not in drivers]
    found = [BenchPin(name, True, drivers.get(name), channels.get(name, "")) for name in inputs]
    found += [BenchPin(name, False, None, channels.get(name, "")) for name in outputs]
    return {pin.name: pin for pin in found}


def analyser_of(board: Board) -> HilAnalyserDriver:
    """Return the logic analyser of a real board. Raises `ConfigurationError` if it has none, or several."""
    found = _analysers(board.target)
    if len(found) != 1:
        raise ConfigurationError(
            f"board {board.name} has {len(found) or 'no'} logic analyser{'s' if found else ''}: pins of a real board "
            "are judged by the stamps of one",
            hint=f"Add a sigrok resource and `HilAnalyserDriver: {{samplerate: ...}}` to {board.path}, and a digital "
            f"output for each input ({DOCUMENT}), or select an emulated board.",
        )
    return found[0]


def _analysers(target: Target) -> list[HilAnalyserDriver]:
    return [driver for driver in target.drivers if isinstance(driver, HilAnalyserDriver)]


def _channels(target: Target) -> dict[str, str]:
    """Return the analyser's own names of its wired channels, by the names of the pins."""
    return {name: channel for analyser in _analysers(target) for name, channel in analyser.channels.items()}


def _digital_outputs(target: Target) -> Iterator[tuple[str, Any]]:
    """Yield each digital output with its name; that of the driver, or else of its resource."""
    for driver in target.drivers:
        if isinstance(driver, DigitalOutputProtocol):
            names = [driver.name, *sorted(str(supplier.name) for supplier in driver.suppliers if supplier.name)]
            if name := next(filter(None, names), None):
                yield name, driver

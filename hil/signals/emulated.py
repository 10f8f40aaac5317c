"""The wiring of an emulated board: its pins by name, over the wires in the emulator's process."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property

import numpy as np

from hil.errors import ConfigurationError, InfrastructureError
from hil.guest import Guest
from hil.host.hints import did_you_mean
from hil.image.store import Image
from hil.measure.board_clocks import INSTRUCTIONS, BoardClocks
from hil.measure.clock import EMULATOR_CLOCK, VIRTUAL, Clock
from hil.measure.host import EMULATOR, HostWindow, Watch
from hil.measure.provenance import provenance
from hil.qemu import wires
from hil.qemu.lockstep import Virtual
from hil.qemu.plant import INPUTS, OUTPUTS, PlantMemory
from hil.qemu.wires import AFTER, RELEASED, Kind, Wires, WiresEnded, signals
from hil.signals.edges import AXIS, Edges, changes_only
from hil.signals.signal_map import RAW
from hil.signals.stimuli import check_times, checked, driven_output, unknown_pin
from hil.signals.wiring import INVERTED

INPUT, OUTPUT = "AI", "AO"


def channels(inputs: int, outputs: int) -> dict[str, int]:
    """Return the words of the analogue channels in the plant's memory, by name."""
    made = {f"{INPUT}{number}": INPUTS + number for number in range(inputs)}
    return made | {f"{OUTPUT}{number}": OUTPUTS + number for number in range(outputs)}


def wires_clock(virtual: Virtual | None, floor: float | None = None) -> Clock:
    """Return the clock of an emulated board's wires; `floor` is its noise floor in real time, in seconds."""
    if virtual is None:
        remark = "QEMU's clock, which follows the host's: the host's scheduling shows"
        return Clock(EMULATOR_CLOCK, 1e-9, remark, floor)
    if virtual.exact:
        return Clock(VIRTUAL, 2e-9, INSTRUCTIONS, 0.0, exact=True)
    return Clock(VIRTUAL, 2e-9, f"NOT EXACT: {virtual.lost or 'not proven'}")


class EmulatedWiring:
    """The pins of the partition of the emulated board of `guest`; see `hil.signals.wiring.Wiring`.

    In real time edges are stamped by QEMU's own clock, which follows the host's. Raises `ConfigurationError` for an
    image without pins and for an emulator that cannot have wires.
    """

    def __init__(self, guest: Guest) -> None:
        board = guest.board
        reason = board.machine("pins").no_pins_reason
        if board.manifest.pins is None or board.qemu.wires is None:
            raise ConfigurationError(f"board {board.name} has no pins: {reason}")
        self._guest, self._board, self._names = guest, board, board.manifest.pins
        self._lines: dict[str, int] = self._names.lines
        facts = board.manifest.analogue
        self._channels = {} if facts is None else channels(facts.inputs, facts.outputs)
        self._set_channels: set[str] = set()
        self._driven: set[str] = set()
        self._forced: set[str] = set()
        self._last_wires = board.qemu.wires
        self._seen = 0  # records that are older than an edge that is waited for, in real time
        self._look()
        self._facts: dict[str, str] = {}
        self.last_ns = 0  # time of the latest stimulus so far
        virtual = board.virtual
        self._counter = None if virtual is not None else BoardClocks(guest).guest_counter()
        self._watch = None if virtual is not None else Watch({EMULATOR: board.qemu.pid})

    @property
    def inputs(self) -> Sequence[str]:
        return tuple(self._names.inputs)

    @property
    def outputs(self) -> Sequence[str]:
        return tuple(self._names.outputs)

    @property
    def observed(self) -> Collection[str]:
        return self._lines

    @property
    def link(self) -> float:
        return 0.0

    @property
    def exact(self) -> bool:
        return self._wires.exact

    @property
    def clock(self) -> Clock:
        return wires_clock(self._board.virtual, self._counter.floor if self._counter else None)

    @property
    def provenance(self) -> Mapping[str, str]:
        with suppress(InfrastructureError):  # a board that is off has no console
            self._facts = provenance(self._guest, image=self._image)
        return self._facts

    @cached_property
    def _image(self) -> Image:
        return self._board.image()

    def now_ns(self) -> int:
        return self._wires.now_ns()

    def set_level(self, pin: str, level: int, at_ns: int | None = None) -> None:
        self.set_levels(pin, [level], [at_ns or 0], after_now=at_ns is None)

    def set_levels(self, pin: str, levels: Sequence[int], times_ns: Sequence[int], *, after_now: bool = False) -> None:
        line = self._input(pin)
        present = self.now_ns()
        values, times = checked(pin, levels, times_ns, present, after_now=after_now)
        if not len(times):
            return
        self._look()
        ns = times.astype(np.uint64) | np.uint64(AFTER if after_now else 0)
        self._wires.command(signals(len(times), ns=ns, kind=Kind.LEVEL, line=line, value=values))
        self._driven.add(pin)
        self.last_ns = max(self.last_ns, int(times[-1]) + (present if after_now else 0))

    def force(self, pin: str, level: int | None, *, at_ns: int | None = None, width_ns: int | None = None) -> None:
        line, after, is_input = self._line(pin), at_ns is None, pin in self._names.inputs
        start = 0 if at_ns is None else at_ns
        begin_and_end = [start] if width_ns is None else [start, start + width_ns]
        present = self.now_ns()
        check_times(pin, np.array(begin_and_end), present, after_now=after)
        ns = np.array(begin_and_end, dtype=np.uint64) | np.uint64(AFTER if after else 0)
        values = [RELEASED if level is None else wires.INVERTED if level == INVERTED else level, RELEASED][: len(ns)]
        self._wires.command(signals(len(ns), ns=ns, kind=Kind.FAULT, line=line, value=values, id=int(is_input)))
        if at_ns is None and width_ns is None:
            self._forced = self._forced - {pin} if level is None else self._forced | {pin}
        else:
            self._forced |= {pin}
            self.last_ns = max(self.last_ns, begin_and_end[-1] + (present if after else 0))

    def level(self, pin: str) -> int:
        return self._wires.level(self._line(pin))

    def run_until(self, at_ns: int) -> None:
        self._wires.run_until(at_ns)
        self._look()

    def _look(self) -> None:
        """Note that the next wait is for edges from now on: in real time they may come before it begins."""
        if not self.exact:
            self._seen = len(self._wires.records())

    def wait_edge(self, pins: Collection[str], until_ns: int) -> bool:
        lines = sum(1 << self._line(pin) for pin in set(pins))
        if self.exact:
            return self._wires.wait(lines, until_ns) > 0
        found = self._wires.wait(lines, until_ns, self._seen)
        self._seen = found or self._seen
        return found > 0

    def edges(self, pin: str, since_ns: int = 0) -> Edges:
        line, wires = self._line(pin), self._recorded
        records = wires.records()
        end = records["ns"][-1] if len(records) else since_ns
        with suppress(WiresEnded):
            end = wires.now_ns()
        records = records[(records["kind"] == Kind.LEVEL) & (records["line"] == line)]
        times = records["ns"].astype(np.int64)
        first = int(np.searchsorted(times, since_ns, side="left"))
        before = int(records["value"][first - 1]) if first else wires.first_level(line)
        ticks = np.concatenate([[since_ns - 1], times[first:]]).astype(np.int64)
        levels = np.concatenate([[before], records["value"][first:]]).astype(np.uint8)
        last = np.append(ticks[1:] != ticks[:-1], True)  # of several levels at one time the last counts
        ticks, levels = changes_only(ticks[last], levels[last])
        facts = {**self.provenance, AXIS: self.clock.name}
        windows = () if self._watch is None else (HostWindow(len(ticks), self._watch.load()),)
        return Edges(pin, ticks, levels, max(int(end), int(ticks[-1])), 1e9, self.clock, facts, windows)

    def read_analogue(self, channel: str) -> int:
        self._wires.now_ns()  # at a pause
        return self._plant.read(self._word(channel)) & RAW

    def write_analogue(self, channel: str, raw: int) -> None:
        word = self._word(channel)
        if not channel.startswith(INPUT):
            raise ConfigurationError(
                f"channel {channel} is an output of the partition and cannot be set",
                hint=f"Set one of {', '.join(name for name in self._channels if name.startswith(INPUT))}.",
            )
        if not 0 <= raw <= RAW:
            raise ConfigurationError(f"{raw} does not fit channel {channel}", hint=f"Give 0 to {RAW}.")
        self._wires.note(f"{channel} {raw}".encode())
        self._plant.write(word, raw)
        self._set_channels.add(channel)

    def reset(self) -> None:
        if not self.last_ns and not self._forced and not self._set_channels:
            return
        commands = [signals(kind=Kind.CLEAR)]
        commands += [signals(kind=Kind.FAULT, line=self._line(pin), value=RELEASED) for pin in sorted(self._forced)]
        commands += [signals(kind=Kind.LEVEL, line=self._line(pin), value=0) for pin in sorted(self._driven)]
        self._wires.command(np.concatenate(commands))
        for channel in sorted(self._set_channels):
            self.write_analogue(channel, 0)
        self._driven, self._forced, self._set_channels, self.last_ns = set(), set(), set(), 0

    def close(self) -> None:
        """Do nothing: the wires are the emulator's."""

    @property
    def _wires(self) -> Wires:
        wires = self._board.qemu.wires
        if wires is None:
            raise InfrastructureError(f"board {self._board.name} has no pins in this boot")
        if wires is not self._last_wires:  # of a new boot
            self._last_wires, self._seen = wires, 0
        return wires

    @property
    def _recorded(self) -> Wires:
        """The wires of this boot, or of the last one if the board is off: what they recorded stays."""
        with suppress(InfrastructureError):
            return self._wires
        return self._last_wires

    def _line(self, pin: str) -> int:
        if pin in self._lines:
            return self._lines[pin]
        raise unknown_pin(self._board.name, pin, self._lines)

    def _input(self, pin: str) -> int:
        line = self._line(pin)
        if pin not in self._names.inputs:
            raise driven_output(pin, self._names.inputs)
        return line

    @property
    def _plant(self) -> PlantMemory:
        plant = self._board.qemu.plant
        if plant is None:
            raise InfrastructureError(f"board {self._board.name} has no analogue channels in this boot")
        return plant

    def _word(self, channel: str) -> int:
        if channel in self._channels:
            return self._channels[channel]
        names = ", ".join(self._channels) or "none"
        raise ConfigurationError(
            f"board {self._board.name} has no analogue channel {channel!r}",
            hint=f"{did_you_mean(channel, self._channels)}The channels are: {names}.",
        )

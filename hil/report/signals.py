"""Attach the signals of a test: its timeline as VCD and as a Perfetto trace, and a picture of each loop."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import allure
import numpy as np

from hil.board.boot_report import BootReport
from hil.console import Console
from hil.errors import HilError
from hil.measure.decision import Check
from hil.measure.series import Series
from hil.plots.loop import Target, loop_picture
from hil.report.evidence import note_instead_of_pictures
from hil.signals.loop.result import LoopResult
from hil.signals.pins import Pins
from hil.signals.trace.axes import merged
from hil.signals.trace.loop_timeline import loop_timeline
from hil.signals.trace.perfetto import perfetto_blocks
from hil.signals.trace.pins_timeline import pins_timeline
from hil.signals.trace.placing import PlacedFault, Traceable, console_timeline, series_timeline
from hil.signals.trace.timeline import Timeline
from hil.signals.trace.vcd_writer import vcd_blocks
from hil.text import counted, printable
from hil.wasm import Execution

CHANGES = 5_000_000  # of all pins and signals, up to which traces are attached
PLAIN = 4 << 20  # bytes; larger files are compressed, which the viewers read as well
PICTURES = 8  # of loops, in one test

HOW = """\
signals.vcd{vcd}: the waveforms of pins and signals, for GTKWave, Surfer or PulseView
signals.pftrace{trace}: everything on one time axis. Save it, open https://ui.perfetto.dev and choose "Open trace file";
  the page reads the file in the browser and uploads it nowhere.
"""


@dataclass(frozen=True)
class SignalEvidence:
    """What a test leaves about its signals.

    `console`, from the offset `start` on, `boot`, `executions`, `faults` and `checked` are placed on the axis of
    `pins`. `traced` are further objects with a timeline, `loops` the results of loops in order. With `follows_host` the
    clock of the wires runs as fast as the host's.
    """

    console: Console
    start: int
    boot: BootReport | None
    executions: Sequence[Execution]
    faults: Sequence[PlacedFault]
    checked: Sequence[tuple[Series, Sequence[Check]]]
    pins: Pins | None
    traced: Sequence[Traceable]
    loops: Sequence[LoopResult]
    follows_host: bool = False

    def timeline(self) -> tuple[Timeline, list[str]]:
        """Return everything on one axis, and the problems of what is missing there."""
        problems: list[str] = []
        wires: list[Timeline] = []
        for make in self._makers():
            try:
                wires.append(make())
            except HilError as error:  # the machine may have died: the rest is all the more important
                problems.append(error.message)
        wires += map(loop_timeline, self.loops)
        others = console_timeline(
            self.console,
            self.start,
            boot=self.boot,
            executions=self.executions,
            faults=self.faults,
            checked=self.checked,
        )
        whole, *more = [*wires, others]
        for other in [series_timeline(whole.clock, self.checked), *more]:
            try:
                whole = merged(whole, other)
            except HilError as error:
                problems.append(error.message)
        return whole, problems

    def _makers(self) -> Iterator[Callable[[], Timeline]]:
        if self.pins is not None:
            yield functools.partial(pins_timeline, self.pins, follows_host=self.follows_host)
        yield from (traced.timeline for traced in self.traced)


def attach_signals(evidence: SignalEvidence, title: str) -> None:
    """Attach a test's signals: how to open them, VCD, Perfetto trace, and pictures of the first loops."""
    timeline, problems = evidence.timeline()
    changes = sum(len(pin.ticks) for pin in timeline.pins) + sum(len(signal.values) for signal in timeline.signals)
    text = [
        f"{counted(len(timeline.pins), 'pin')}, {counted(len(timeline.signals), 'signal')}, "
        f"{counted(len(timeline.frames), 'CAN frame')}, {counted(changes, 'change')}; clock: {timeline.clock}"
    ]
    if timeline.left_out:
        left_out = ", ".join(f"{count} {kind}" for kind, count in sorted(timeline.left_out.items()))
        text.append(f"without a time by this clock, so not in the trace: {left_out}")
    text += [f"missing: {problem}" for problem in problems]
    files = {}
    if changes > CHANGES:
        text.append(f"too many changes for a report, which has up to {CHANGES}")
    else:
        files = {"vcd": _packed(vcd_blocks(timeline)), "pftrace": _packed(perfetto_blocks(timeline))}
        text += ["", HOW.format(vcd=files["vcd"][1], trace=files["pftrace"][1])]
    allure.attach(printable("\n".join(text)), "signals", allure.attachment_type.TEXT)
    for kind, (content, suffix) in files.items():
        name = f"signals.{kind}{suffix}"
        allure.attach(content, name, "application/octet-stream", name.partition(".")[2])
    with note_instead_of_pictures():
        for number, loop in enumerate(evidence.loops[:PICTURES], 1):
            name = "loop" if len(evidence.loops) == 1 else f"loop {number}"
            picture = loop_picture(loop, timeline.pins, targets(loop, evidence.checked), f"{name} of {title}")
            allure.attach(picture, name, allure.attachment_type.SVG)


def targets(loop: LoopResult, checked: Iterable[tuple[Series, Sequence[Check]]]) -> list[Target]:
    """Return the set points of the responses of `loop` that were checked, each once."""
    found: dict[Target, None] = {}
    for series, _ in checked:
        facts, signal = series.response, loop.signals.get(series.subject)
        if facts is not None and signal is not None and np.array_equal(series.samples, signal.samples):
            width = facts.band * facts.span
            low, high = facts.setpoint - width, facts.setpoint + width
            found[Target(signal.name, facts.setpoint, low, high, facts.start)] = None
    return list(found)


def _packed(blocks: Iterable[bytes]) -> tuple[bytes, str]:
    """Return a file's content and the end of its name: `.gz` if it is large, and compressed therefore."""
    content = b"".join(blocks)
    return (content, "") if len(content) <= PLAIN else (gzip.compress(content, 6, mtime=0), ".gz")

"""The picture of a loop: the plant's signals over time, with set points and bands, above the levels of the pins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.measure.units import shown
from hil.plots.canvas import DASHES, POINTS, WIDTH, extremes, picture_of
from hil.plots.picture import FAINT, INK, LINES, OUTCOMES, Axis
from hil.signals.edges import Edges
from hil.signals.loop.result import LoopResult
from hil.signals.loop.sampled import SampledSignal
from hil.signals.trace.loop_timeline import overruns
from hil.signals.trace.timeline import edge_times
from hil.stats.arrays import Floats
from hil.text import counted, printable_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 5  # of signals, one for each unit; signals of further units share the last
LANES = 16  # of pins
LONGEST = 24  # characters of a name
DENSE = 2 * POINTS  # edges of a pin, from which on only stretches with edges are drawn
MARKED = 200  # overruns that are marked
LANE = 0.32  # inches
COLOURS = LINES[:5]  # the sixth, grey, is for levels


@dataclass(frozen=True)
class Target:
    """The set point of a signal and the band around it, from `start` on, in seconds since the start of the loop."""

    signal: str
    setpoint: float
    low: float
    high: float
    start: float = 0.0


@dataclass(frozen=True, eq=False)
class _Lane:
    """The levels of a pin, or of a signal that is only 0 or 1, over time in seconds."""

    name: str
    times: Floats
    levels: Floats


def loop_picture(loop: LoopResult, pins: Sequence[Edges] = (), targets: Sequence[Target] = (), name: str = "") -> str:
    """Draw the signals of `loop` as SVG, those of a unit together, and below them the levels of `pins`.

    Steps that began too late are marked. Of a long signal the extremes of each stretch are drawn, of a pin with many
    edges the stretches that have any. The text for screen readers has the extent of each signal. The same loop gives
    the same bytes. Raises `MissingExtraError` without matplotlib.
    """
    lanes = [_lane(edges, loop) for edges in pins]
    panels: dict[str, list[str]] = {}
    shown_below = {lane.name for lane in lanes}
    for signal, sampled in loop.signals.items():
        if loop.sources.get(signal) in shown_below:
            continue  # the pin itself has more than samples
        unit = sampled.physical_unit
        if not unit and np.isin(sampled.samples, (0.0, 1.0)).all():
            if signal not in shown_below:
                changes = np.flatnonzero(np.diff(sampled.samples, prepend=np.nan))
                lanes.append(_Lane(signal, _times(sampled)[changes], sampled.samples[changes]))
        else:
            panels.setdefault(unit if unit in panels or len(panels) < PANELS else list(panels)[-1], []).append(signal)
    hidden, lanes = max(0, len(lanes) - LANES), lanes[:LANES]
    seconds = max([loop.step, *(float(times[-1]) for times in map(_times, loop.signals.values()) if len(times))])
    axis = Axis.over(0.0, seconds, 0.0, "s")
    late = list(overruns(loop))
    heights = [2.2 if len(panels) < 3 else 1.5] * len(panels) + ([LANE * len(lanes) + 0.2] if lanes else [])
    title, text = _words(loop, name, len(late), seconds, hidden)
    with picture_of(title, text, width=WIDTH, height=1.2 + sum(heights or [1.0])) as picture:
        grid: Any = picture.figure.subplots(
            len(heights) or 1, 1, sharex=True, squeeze=False, height_ratios=heights or None
        )
        rows: list[Axes] = [row[0] for row in grid]
        places = {signal: place for place, signal in enumerate(signal for row in panels.values() for signal in row)}
        for row, (unit, signals) in zip(rows, panels.items(), strict=False):
            _draw_signals(row, axis, loop, {signal: places[signal] for signal in signals}, targets)
            row.set_ylabel(_short(unit) or "value")
        if lanes:
            _draw_lanes(rows[-1], axis, lanes, seconds)
        rows[-1].set_xlim(0, axis.place(seconds))
        if late:
            _mark_overruns(rows, axis, [(span.begin_ns - loop.start_ns) / 1e9 for span in late])
        _add_legend(rows, axis)
    return picture.svg


def _add_legend(rows: Sequence[Axes], axis: Axis) -> None:
    """Label the time, and give the last row, whose labels are the legend, those of all rows."""
    bottom = rows[-1]
    bottom.set_xlabel(axis.label("time since the start of the loop"))
    found = {label: handle for row in rows for handle, label in zip(*row.get_legend_handles_labels(), strict=True)}
    for handle in bottom.get_legend_handles_labels()[0]:
        handle.set_label("")
    for label, handle in found.items():
        look = {key: getattr(handle, f"get_{key}")() for key in ("color", "linestyle", "linewidth", "alpha")}
        bottom.plot([], [], label=label, **look)


def _words(loop: LoopResult, name: str, late: int, seconds: float, hidden: int) -> tuple[str, str]:
    """Return the title, and the description for screen readers."""
    steps = f"{len(loop.lateness)} steps of {shown(loop.step)} in {shown(seconds)}"
    title = f"{printable_line(name) or 'loop'}\n{steps}, {counted(late, 'overrun') if late else 'no overruns'}"
    title += f", {counted(hidden, 'pin')} not drawn" if hidden else ""
    rows = [
        f"{printable_line(signal)}: {samples.min():.6g} to {samples.max():.6g}, at the end {samples[-1]:.6g} "
        f"{printable_line(series.physical_unit)}".rstrip()
        for signal, series in loop.signals.items()
        if len(samples := series.samples)
    ]
    return title, "\n".join([steps, f"clock: {loop.lateness.clock}", *rows])


def _times(signal: SampledSignal) -> Floats:
    assert signal.times is not None
    return signal.times


def _lane(edges: Edges, loop: LoopResult) -> _Lane:
    times = (edge_times(edges) - loop.start_ns) / 1e9
    levels = np.array([0.0, 1.0, 0.5])[np.minimum(edges.levels, 2)]
    since = max(0, int(np.searchsorted(times, 0.0, side="right")) - 1)  # the level at the start of the loop
    return _Lane(edges.channel, times[since:], levels[since:])


def _draw_signals(
    axes: Axes, axis: Axis, loop: LoopResult, signals: Mapping[str, int], targets: Sequence[Target]
) -> None:
    """Draw signals, each with the look of its number, and their set points."""
    for signal, number in signals.items():
        series = loop.signals[signal]
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)][0],
            "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
        }
        kept = extremes(series.samples)
        moments = axis.place(_times(series))[kept]
        axes.plot(moments, series.samples[kept], drawstyle="steps-post", label=_short(signal), **look)
        for target in targets:
            if target.signal == signal:
                begin, end = axis.place(target.start), axis.place(float(_times(series)[-1]))
                axes.fill_between([begin, end], target.low, target.high, color=look["color"], alpha=0.15, linewidth=0)
                axes.plot(
                    [begin, end], [target.setpoint] * 2, color=INK[0], linestyle="--", linewidth=1,
                    label=f"set point {target.setpoint:g} of {_short(signal)}, with its band",
                )  # fmt: skip
    axes.margins(x=0, y=0.08)


def _draw_lanes(axes: Axes, axis: Axis, lanes: Sequence[_Lane], seconds: float) -> None:
    """Draw each lane as a waveform, the first on top; the level 0.5 is unknown."""
    colour = LINES[5][0]
    for number, lane in enumerate(reversed(lanes)):
        axes.axhline(number, color=FAINT[0], linewidth=0.6)
        inside = lane.times <= seconds
        times, levels = np.maximum(lane.times[inside], 0.0), lane.levels[inside]
        if not len(times):
            continue
        if len(times) > DENSE:
            times, levels = _draw_dense(axes, axis, number, times, levels, seconds)
        times, levels = np.append(times, seconds), np.append(levels, levels[-1])
        x, y = axis.place(times), number + 0.7 * levels
        axes.fill_between(x, number, y, step="post", color=colour, alpha=0.25, linewidth=0)
        axes.plot(x, y, drawstyle="steps-post", color=colour, linewidth=1)
    axes.set_yticks(np.arange(len(lanes)) + 0.35, labels=[_short(lane.name) for lane in reversed(lanes)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.15, len(lanes) - 0.1)
    axes.grid(visible=False, axis="y")


def _draw_dense(
    axes: Axes, axis: Axis, number: int, times: Floats, levels: Floats, seconds: float
) -> tuple[Floats, Floats]:
    """Fill the stretches with edges; return the levels between them, with an unknown one for each stretch."""
    stretches = _stretches(times, seconds)
    for begin, end in stretches:
        look: dict[str, Any] = {"color": LINES[0][0], "alpha": 0.5, "linewidth": 0, "zorder": 3}
        axes.fill_between([axis.place(begin), axis.place(end)], number, number + 0.7, **look)
    axes.plot([], [], color=LINES[0][0], alpha=0.5, linewidth=6, label="many edges")
    moments = np.array(stretches).ravel()
    after = levels[np.searchsorted(times, moments[1::2], side="right") - 1]
    return moments, np.column_stack([np.full(len(after), 0.5), after]).ravel()


def _stretches(times: Floats, seconds: float) -> list[tuple[float, float]]:
    """Return the stretches, of `POINTS` equal ones, that have edges; neighbours are joined."""
    width = seconds / POINTS
    busy = np.unique(np.minimum(times / width, POINTS - 1).astype(np.int64))
    cuts = np.flatnonzero(np.diff(busy) > 1) + 1
    return [(float(part[0]) * width, float(part[-1] + 1) * width) for part in np.split(busy, cuts)]


def _mark_overruns(rows: Sequence[Axes], axis: Axis, moments: Sequence[float]) -> None:
    look: dict[str, Any] = {"color": OUTCOMES["fail"][0], "linewidth": 0.8, "alpha": 0.6}
    for row in rows:
        for moment in moments[:MARKED]:
            row.axvline(axis.place(moment), **look)
    label = counted(len(moments), "overrun") + (f", the first {MARKED} marked" if len(moments) > MARKED else "")
    rows[-1].plot([], [], color=OUTCOMES["fail"][0], label=label)


def _short(name: str) -> str:
    line = printable_line(name)
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "\N{HORIZONTAL ELLIPSIS}"

"""The matplotlib figure behind pictures of series: style, axes and bounds."""

from __future__ import annotations

import hashlib
import io
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.host import extras
from hil.measure.decision import Check
from hil.measure.results import CheckResult
from hil.measure.series import Series
from hil.plots.picture import FAINT, FAR, INK, OPEN, OUTCOMES, PAPER, Axis, finished
from hil.stats.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Checks = Iterable[Check | CheckResult]

DASHES = ("-", "--", "-.", ":")
WIDTH, HEIGHT = 9.0, 4.8  # inches
BINS = 160
POINTS = 1500  # drawn of a longer series; each picture says which ones
ON_AXIS = re.compile(r"p(\d+)|min|max|mean")  # figures in the unit of the samples' axis
STYLE: dict[str, Any] = {
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",
    "text.parse_math": False,  # text stays text
    "text.color": INK[0],
    "axes.labelcolor": INK[0],
    "axes.edgecolor": INK[0],
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "grid.color": FAINT[0],
    "figure.facecolor": PAPER[0],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-6, 9),
    "lines.linewidth": 1.4,
    "figure.constrained_layout.use": True,
}


@dataclass
class Picture:
    """A matplotlib figure to draw into, and its SVG text once it is finished."""

    figure: Figure
    svg: str = ""


@contextmanager
def picture_of(title: str, text: str, width: float = WIDTH, height: float = HEIGHT) -> Iterator[Picture]:
    """Draw into a new figure; afterwards `svg` holds its text, with `title` and, for screen readers, `text`.

    Raises `MissingExtraError` without matplotlib.
    """
    extras.require("matplotlib", "no pictures")
    import matplotlib
    from matplotlib.figure import Figure

    mark = hashlib.sha256(f"{title}{text}".encode()).hexdigest()[:12]  # pictures on one page must not share ids
    style: Any = STYLE | {"svg.hashsalt": mark}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # ignore settings of the user
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(width, height))
        picture = Picture(figure)
        yield picture
        figure.suptitle(title, x=0.01, ha="left", size=11)
        figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
        made = io.StringIO()
        figure.savefig(made, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    picture.svg = finished(made.getvalue(), mark, title, text)


def axis_of(several: Sequence[Series]) -> Axis:
    """Return an axis for the samples of `several` series."""
    low, high = min(float(each.ordered[0]) for each in several), max(float(each.ordered[-1]) for each in several)
    return Axis.over(low, high, several[0].median, several[0].unit)


def bin_edges(ordered: Floats, axis: Axis, several: Sequence[Series]) -> Floats:
    """Return the edges of bins of equal width, not finer than the clock; the first and the last hold samples."""
    low, high = float(ordered[0]), float(ordered[-1])
    step = max(each.clock.resolution for each in several) / axis.factor if axis.unit == "s" else 0.0
    width = max((high - low) / BINS or abs(high) / BINS, step) or 1.0
    return np.asarray(low + width * (np.arange(math.floor((high - low) / width + 0.5) + 2) - 0.5))


def extremes(values: Floats) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the places of the samples to draw: all, or the smallest and largest of each of many stretches."""
    if len(values) <= POINTS:
        return np.arange(len(values))
    borders = np.linspace(0, len(values), POINTS // 2 + 1).astype(int)
    spans = list(itertools.pairwise(borders))
    return np.unique([a + function(values[a:b]) for a, b in spans for function in (np.argmin, np.argmax)])


def count_axis(axes: Axes, label: str, *, least: float, most: float) -> None:
    """Scale the y axis logarithmically for counts from `least` to `most`."""
    axes.set_yscale("log")
    axes.set_ylim(least, most * 1.5)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel(label)


def percentile_axis(axes: Axes, n: int) -> None:
    """Scale the x axis as 1/(1-q), logarithmically: there an exponential tail rises like the logarithm."""
    axes.set_xscale("log")
    axes.set_xlim(1, 2.5 * n)
    decades = [d for d in range(1, 12) if 10.0**d < 2.5 * n]
    places = {1.0: "0", 2.0: "50"} | {10.0**d: f"{100 - 10.0 ** (2 - d):.{max(d - 2, 0)}f}" for d in decades}
    axes.set_xticks(list(places), labels=list(places.values()))
    axes.minorticks_off()
    axes.set_xlabel("percentile [%]")


def draw_bounds(
    axes: Axes, axis: Axis, values: Floats, checks: Checks, *, upright: bool = False, quantiles: bool = False
) -> None:
    """Draw a line for each bound on a value; an arrow at the edge for a bound far from all samples.

    So it does not stretch the axis.
    """
    low, high = float(values.min()), float(values.max())
    room = FAR * (high - low or abs(high))
    arrows = 0
    for number, check in enumerate(map(CheckResult.of, checks)):
        found = ON_AXIS.fullmatch(check.figure)
        if not found or check.limit.unit != axis.unit:
            continue
        place = (check.limit.value - axis.origin) / axis.factor
        near = low - room <= place <= high + room
        look: dict[str, Any] = {"color": OUTCOMES.get(check.outcome, OPEN)[0], "linestyle": DASHES[1 + number % 3]}
        bound = f"{check.figure} \N{LESS-THAN OR EQUAL TO} {axis.text(check.limit.value)}"
        label = f"{bound}: {check.outcome}"
        if not near:
            axes.plot([], [], label=f"{label} (beyond the axis)", **look)
            _draw_arrow(axes, bound, look["color"], arrows, above=place > high, upright=upright)
            arrows += 1
        elif upright:
            axes.axvline(place, label=label, **look)
        else:
            axes.axhline(place, label=label, **look)
            if quantiles and found[1]:  # the curve must pass below it
                axes.plot([1 / (1 - float(f"0.{found[1]}"))], [place], marker="D", color=look["color"])
    if not axis.origin and low >= 0 and (low < high / 2 or low == high):
        (axes.set_xlim if upright else axes.set_ylim)(0)


def _draw_arrow(axes: Axes, bound: str, color: str, number: int, *, above: bool, upright: bool) -> None:
    """Write a bound beyond the axis at the edge, with an arrow; `number` counts the arrows from 0."""
    edge = 0.99 if above else 0.01
    where: dict[str, Any]
    if upright:
        text = f"{bound} \N{RIGHTWARDS ARROW}" if above else f"\N{LEFTWARDS ARROW} {bound}"
        where = {"x": edge, "y": 0.98 - 0.07 * number, "ha": "right" if above else "left", "va": "top"}
    else:
        text = f"\N{UPWARDS ARROW} {bound}" if above else f"\N{DOWNWARDS ARROW} {bound}"
        where = {"x": 0.01 + 0.25 * number, "y": edge, "ha": "left", "va": "top" if above else "bottom"}
    paper = {"facecolor": PAPER[0], "edgecolor": "none", "pad": 2}
    axes.text(s=text, color=color, transform=axes.transAxes, bbox=paper, zorder=6, **where)

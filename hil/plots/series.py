"""Pictures of series as SVG text: histogram, percentiles, timeline, comparison.

Colours come in pairs for light and dark, by the viewer's preference. The same series give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.figures import quantile_ranks
from hil.measure.series import Series
from hil.plots import labels
from hil.plots.canvas import (
    DASHES,
    HEIGHT,
    POINTS,
    WIDTH,
    Checks,
    axis_of,
    bin_edges,
    count_axis,
    draw_bounds,
    extremes,
    percentile_axis,
    picture_of,
)
from hil.plots.picture import INK, LINES, Axis
from hil.stats.arrays import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMITS = 80  # percentiles with drawn limits
WORST = 5  # marked samples, as many as in the text of a failure


def histogram(series: Series, checks: Checks = (), baseline: Series | None = None) -> str:
    """Draw the count of each value on a logarithmic scale, as in latency plots, with the maximum marked.

    A `baseline` of the same unit is drawn with its counts scaled to the number of samples.
    """
    both = [series, *([baseline] if baseline is not None else [])]
    axis = axis_of(both)
    values = axis.place(series.ordered)
    every = np.sort(np.concatenate([axis.place(each.ordered) for each in both]))
    with picture_of(labels.title(series), labels.description(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        counts, edges = np.histogram(values, bin_edges(every, axis, both))
        most = float(counts.max())
        if baseline is not None:
            old = np.histogram(axis.place(baseline.ordered), edges)[0] * len(series) / len(baseline)
            axes.stairs(old, edges, color=LINES[5][0], linestyle="--", label=_before(baseline))
            most = max(most, float(old.max()))
        axes.stairs(counts, edges, fill=True, color=LINES[0][0], alpha=0.35)
        axes.stairs(counts, edges, color=LINES[0][0], label="samples")
        largest: dict[str, Any] = {"marker": "v", "linestyle": "", "color": INK[0], "zorder": 5, "clip_on": False}
        axes.plot(values[-1:], [0.7], label=f"max {axis.text(float(series.ordered[-1]))}", **largest)
        count_axis(axes, "samples", least=0.7, most=most)
        axes.set_xlabel(axis.label(series.quantity))
        draw_bounds(axes, axis, every, checks, upright=True)
    return picture.svg


def percentiles(series: Series, checks: Checks = ()) -> str:
    """Draw the percentiles with the tail stretched and one-sided limits at 95 %; by an exact clock without limits."""
    axis = axis_of([series])
    with picture_of(labels.title(series), labels.description(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        _draw_percentiles(axes, axis, series, "samples", LINES[0][0])
        if not series.clock.exact:
            _draw_band(axes, axis, series)
        percentile_axis(axes, len(series))
        axes.set_ylabel(axis.label(series.quantity))
        draw_bounds(axes, axis, axis.place(series.ordered), checks, quantiles=True)
    return picture.svg


def timeline(series: Series, checks: Checks = (), baseline: Series | None = None) -> str:
    """Draw the samples in order, the worst with their numbers; of a long series the extremes of each stretch.

    A `baseline` of the same unit is drawn if both series have times, or neither.
    """
    if baseline is not None and (baseline.times is None) != (series.times is None):
        baseline = None
    both = [series, *([baseline] if baseline is not None else [])]
    axis = axis_of(both)
    values = axis.place(series.samples)
    moments, xlabel = np.arange(1.0, len(series) + 1), "repetition"
    if series.times is not None:
        moments, xlabel = series.times - series.times[0], "time since the first sample [s]"
    kept = extremes(values)
    drawn = "samples" if len(kept) == len(series) else "smallest and largest of each stretch"
    with picture_of(labels.title(series), labels.description(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        dots = "." if len(kept) < POINTS / 3 else ""
        thin: dict[str, Any] = {"linewidth": 0.7, "marker": dots, "markersize": 4}
        if baseline is not None:
            old = axis.place(baseline.samples)
            before = np.arange(1.0, len(old) + 1) if baseline.times is None else baseline.times - baseline.times[0]
            chosen = extremes(old)
            dashed: dict[str, Any] = {"linewidth": 0.7, "linestyle": "--", "color": LINES[5][0]}
            axes.plot(before[chosen], old[chosen], label=_before(baseline), **dashed)
        axes.plot(moments[kept], values[kept], color=LINES[0][0], label=drawn, **thin)
        _mark_worst(axes, moments, values)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(axis.label(series.quantity))
        draw_bounds(axes, axis, np.concatenate([axis.place(each.samples) for each in both]), checks)
    return picture.svg


def _before(baseline: Series) -> str:
    return f"baseline, n = {len(baseline)}"


def compare(several: Sequence[Series]) -> str:
    """Draw histograms, as shares, and percentiles of `several` series, each with its own colour and dash.

    Raises `ConfigurationError` for fewer than two series, for more than can be distinguished, and for different units.
    """
    most = len(LINES) * len(DASHES)
    if not 2 <= len(several) <= most:
        raise ConfigurationError(
            f"cannot compare {len(several)} series in one picture", hint=f"Give 2 to {most} series."
        )
    if len({each.unit for each in several}) > 1:
        raise ConfigurationError("cannot compare series of different units in one picture")
    axis = axis_of(several)
    title, names = labels.names(several)
    text = "\n".join(f"{name}: {labels.numbers(each)}" for name, each in zip(names, several, strict=True))
    label = axis.label(" or ".join(dict.fromkeys(each.quantity for each in several)))
    values = [axis.place(each.ordered) for each in several]
    edges = bin_edges(np.sort(np.concatenate(values)), axis, several)
    with picture_of(title, text, width=1.35 * WIDTH, height=HEIGHT + 0.1 * len(several)) as picture:
        left, right = picture.figure.subplots(1, 2)
        for number, (each, name) in enumerate(zip(several, names, strict=True)):
            # first all colours, then the next dash; few series differ in both
            look: dict[str, Any] = {
                "color": LINES[number % len(LINES)][0],
                "linestyle": DASHES[(number + number // len(LINES)) % len(DASHES)],
            }
            counts = np.histogram(values[number], edges)[0]
            left.stairs(counts * 100 / len(each), edges, **look)
            _draw_percentiles(right, axis, each, name, **look)
        longest = max(map(len, several))
        count_axis(left, "share of the samples [%]", least=70 / longest, most=100)
        left.set_xlabel(label)
        draw_bounds(left, axis, np.concatenate(values), (), upright=True)
        percentile_axis(right, longest)
        right.set_ylabel(label)
    return picture.svg


def _draw_percentiles(axes: Axes, axis: Axis, series: Series, name: str, color: str, linestyle: str = "-") -> None:
    """Draw samples over 1/(1-q); of a long series equally many in each decade, and the hundred largest."""
    n = len(series)
    above = np.concatenate([np.geomspace(1, n, POINTS // 2).round(), np.arange(1, min(n, 100) + 1)])
    ranks = n - np.unique(above)[::-1].astype(int)  # from 0
    marker = "." if n < 50 else ""
    axes.plot(
        n / (n - ranks - 0.5),
        axis.place(series.ordered[ranks]),
        color=color,
        linestyle=linestyle,
        marker=marker,
        label=name,
    )


def _draw_band(axes: Axes, axis: Axis, series: Series) -> None:
    """Draw the limits of each percentile that has both."""
    ordered, n = axis.place(series.ordered), len(series)
    ranks = [
        (share, *quantile_ranks(n, 1 - 1 / share, series.confidence)) for share in np.geomspace(1.01, 2 * n, LIMITS)
    ]
    known = [(share, ordered[lower - 1], ordered[upper - 1]) for share, lower, upper in ranks if lower and upper]
    if known:
        shares, lowest, highest = np.array(known).T
        label = f"limits at {100 * series.confidence:.4g} %, one-sided"
        axes.fill_between(shares, lowest, highest, color=LINES[0][0], alpha=0.2, linewidth=0, label=label)


def _mark_worst(axes: Axes, moments: Floats, values: Floats) -> None:
    worst = np.sort(np.argsort(-values, kind="stable")[:WORST])
    if values.min() == values.max():
        return
    axes.plot(moments[worst], values[worst], linestyle="", marker="o", markersize=5, color=LINES[1][0], label="worst")
    room = (moments[-1] - moments[0]) / 10
    level, before = 0, -math.inf
    for place in worst:
        level = level + 1 if moments[place] - before < room else 0  # stack the labels of neighbours
        before = moments[place]
        where: dict[str, Any] = {"xytext": (0, 6 + 11 * level), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"#{place + 1}", (moments[place], values[place]), color=LINES[1][0], **where)
    axes.margins(y=0.15)

"""Pictures of series as SVG text: histogram, percentiles, timeline, comparison; of a figure over nights: trend.

They are readable on light and on dark: colours come in pairs, of which the viewer's preference takes one.
The same series give the same bytes.
"""

from __future__ import annotations

import collections
import hashlib
import io
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.figures import quantile_ranks
from hil.measure.results import CheckResult, Results
from hil.measure.series import Series
from hil.measure.units import shown
from hil.plots.picture import FAINT, FAR, INK, LINES, OPEN, OUTCOMES, PAPER, Axis, finished
from hil.plots.trend import TrendPoint as TrendPoint
from hil.plots.trend import trend as trend

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hil.measure.decision import Check
    from hil.stats.arrays import Floats

    Checks = Iterable[Check | CheckResult]

DASHES = ("-", "--", "-.", ":")

WIDTH, HEIGHT = 9.0, 4.8  # inches
BINS = 160
LIMITS = 80  # percentiles whose limits are drawn
POINTS = 1500  # drawn of a longer series; which ones, each picture says
WORST = 5  # as many as a failure's text names
ON_AXIS = re.compile(r"p(\d+(?:\.\d+)?)|min|max|mean")  # figures that are values as samples are
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


def histogram(series: Series, checks: Checks = (), baseline: Series | None = None) -> str:
    """How often each value came, counted on a logarithmic scale, as latency plots have it: the maximum marked.

    A `baseline`, of the same unit, is drawn too, its counts scaled to as many samples.
    """
    import numpy as np

    both = [series, *([baseline] if baseline is not None else [])]
    axis = _axis(both)
    values = axis.place(series.ordered)
    every = np.sort(np.concatenate([axis.place(one.ordered) for one in both]))
    with _picture(_title(series), _described(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        counts, edges = np.histogram(values, _edges(every, axis, both))
        most = float(counts.max())
        if baseline is not None:
            old = np.histogram(axis.place(baseline.ordered), edges)[0] * len(series) / len(baseline)
            axes.stairs(old, edges, color=LINES[5][0], linestyle="--", label=_before(baseline))
            most = max(most, float(old.max()))
        axes.stairs(counts, edges, fill=True, color=LINES[0][0], alpha=0.35)
        axes.stairs(counts, edges, color=LINES[0][0], label="samples")
        largest: dict[str, Any] = {"marker": "v", "linestyle": "", "color": INK[0], "zorder": 5, "clip_on": False}
        axes.plot(values[-1:], [0.7], label=f"max {axis.text(float(series.ordered[-1]))}", **largest)
        _count_axis(axes, "samples", least=0.7, most=most)
        axes.set_xlabel(axis.label(series.quantity))
        _draw_bounds(axes, axis, every, checks, upright=True)
    return picture.svg


def percentiles(series: Series, checks: Checks = ()) -> str:
    """The value that a share of the samples keeps, the tail stretched, with one-sided limits at 95 %.

    A clock that is exact has no limits: its figures would repeat.
    """
    axis = _axis([series])
    with _picture(_title(series), _described(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        _draw_percentiles(axes, axis, series, "samples", LINES[0][0])
        if not series.clock.exact:
            _draw_band(axes, axis, series)
        _percentile_axis(axes, len(series))
        axes.set_ylabel(axis.label(series.quantity))
        _draw_bounds(axes, axis, axis.place(series.ordered), checks, quantiles=True)
    return picture.svg


def timeline(series: Series, checks: Checks = (), baseline: Series | None = None) -> str:
    """The samples as they came, the worst with their numbers; of a long series the extremes of each stretch.

    A `baseline`, of the same unit, is drawn too where both have times, or neither.
    """
    import numpy as np

    if baseline is not None and (baseline.times is None) != (series.times is None):
        baseline = None
    both = [series, *([baseline] if baseline is not None else [])]
    axis = _axis(both)
    values = axis.place(series.samples)
    moments, xlabel = np.arange(1.0, len(series) + 1), "repetition"
    if series.times is not None:
        moments, xlabel = series.times - series.times[0], "time since the first sample [s]"
    kept = _extremes(values)
    drawn = "samples" if len(kept) == len(series) else "smallest and largest of each stretch"
    with _picture(_title(series), _described(series, checks)) as picture:
        axes = picture.figure.add_subplot()
        dots = "." if len(kept) < POINTS / 3 else ""
        thin: dict[str, Any] = {"linewidth": 0.7, "marker": dots, "markersize": 4}
        if baseline is not None:
            old = axis.place(baseline.samples)
            before = np.arange(1.0, len(old) + 1) if baseline.times is None else baseline.times - baseline.times[0]
            chosen = _extremes(old)
            dashed: dict[str, Any] = {"linewidth": 0.7, "linestyle": "--", "color": LINES[5][0]}
            axes.plot(before[chosen], old[chosen], label=_before(baseline), **dashed)
        axes.plot(moments[kept], values[kept], color=LINES[0][0], label=drawn, **thin)
        _mark_worst(axes, moments, values)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(axis.label(series.quantity))
        _draw_bounds(axes, axis, np.concatenate([axis.place(one.samples) for one in both]), checks)
    return picture.svg


def _before(baseline: Series) -> str:
    return f"baseline, n = {len(baseline)}"


def compare(several: Sequence[Series]) -> str:
    """Histograms, as shares, and percentiles of `several` series, each in a colour and dash of its own.

    Raises `ConfigurationError` for fewer than two, for more than can be told apart, and for units that differ.
    """
    import numpy as np

    most = len(LINES) * len(DASHES)
    if not 2 <= len(several) <= most:
        raise ConfigurationError(f"{len(several)} series cannot be compared in one picture, 2 to {most} can")
    if len({one.unit for one in several}) > 1:
        raise ConfigurationError("series of different units cannot be compared in one picture")
    axis = _axis(several)
    title, names = _names(several)
    text = "\n".join(f"{name}: {_numbers(one)}" for name, one in zip(names, several, strict=True))
    label = axis.label(" or ".join(dict.fromkeys(one.quantity for one in several)))
    values = [axis.place(one.ordered) for one in several]
    edges = _edges(np.sort(np.concatenate(values)), axis, several)
    with _picture(title, text, width=1.35 * WIDTH, height=HEIGHT + 0.1 * len(several)) as picture:
        left, right = picture.figure.subplots(1, 2)
        for number, (one, name) in enumerate(zip(several, names, strict=True)):
            # the colours first, then the next dash; few series differ in both
            way = {
                "color": LINES[number % len(LINES)][0],
                "linestyle": DASHES[(number + number // len(LINES)) % len(DASHES)],
            }
            counts = np.histogram(values[number], edges)[0]
            left.stairs(counts * 100 / len(one), edges, **way)
            _draw_percentiles(right, axis, one, name, **way)
        longest = max(map(len, several))
        _count_axis(left, "share of the samples [%]", least=70 / longest, most=100)
        left.set_xlabel(label)
        _draw_bounds(left, axis, np.concatenate(values), (), upright=True)
        _percentile_axis(right, longest)
        right.set_ylabel(label)
    return picture.svg


ONE: dict[str, Callable[[Series, Checks], str]] = {
    "histogram": histogram,
    "percentiles": percentiles,
    "timeline": timeline,
}


def write(directory: Path, files: Sequence[Results], kinds: Sequence[str]) -> Iterator[Path]:
    """Draw what is in `files` below `directory` and yield the name of each SVG file.

    `kinds` are those of `ONE`, for each series, and `comparison`: one picture for each quantity that
    several series measured, with several files for each quantity of the same subject.
    Raises `InfrastructureError` where a file cannot be written.
    """
    records = [record for file in files for record in file.records]
    if not records:
        raise ConfigurationError("there are no series in these results", hint="run tests that measure")
    taken: collections.Counter[str] = collections.Counter()
    for record in records:
        for kind in (kind for kind in ONE if kind in kinds):
            name = _file_name(taken, record.series.quantity, record.series.subject, kind)
            yield _save(directory / name, ONE[kind](record.series, record.checks))
    groups: dict[tuple[str, ...], list[Series]] = {}
    for series in [record.series for record in records] if "comparison" in kinds else ():
        subject = (series.subject,) if len(files) > 1 else ()
        groups.setdefault((series.quantity, *subject, series.unit), []).append(series)
    for group, members in groups.items():
        if len(members) > 1:
            yield _save(directory / _file_name(taken, *group[:-1], "comparison"), compare(members))


def _file_name(taken: collections.Counter[str], *parts: str) -> str:
    name = "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:60] for part in parts)
    taken[name] += 1
    return f"{name}.svg" if taken[name] == 1 else f"{name}-{taken[name]}.svg"


def _save(path: Path, svg: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(svg, "utf-8")
    except OSError as error:
        raise InfrastructureError(f"cannot write the picture {path}: {error.strerror}") from error
    return path


def _axis(several: Sequence[Series]) -> Axis:
    low, high = min(float(one.ordered[0]) for one in several), max(float(one.ordered[-1]) for one in several)
    return Axis.over(low, high, float(several[0].ordered[len(several[0]) // 2]), several[0].unit)


def _edges(ordered: Floats, axis: Axis, several: Sequence[Series]) -> Floats:
    """Edges of bins of equal width, not finer than the clock; the lowest and the highest hold samples."""
    import numpy as np

    low, high = float(ordered[0]), float(ordered[-1])
    step = max(one.clock.resolution for one in several) / axis.factor if axis.unit == "s" else 0.0
    width = max((high - low) / BINS or abs(high) / BINS, step) or 1.0
    return np.asarray(low + width * (np.arange(math.floor((high - low) / width + 0.5) + 2) - 0.5))


def _count_axis(axes: Axes, label: str, *, least: float, most: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(least, most * 1.5)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.set_ylabel(label)


def _draw_percentiles(axes: Axes, axis: Axis, series: Series, name: str, color: str, linestyle: str = "-") -> None:
    """Samples over 1/(1-q), of a long series as many at each decade, and each of the largest hundred."""
    import numpy as np

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


def _percentile_axis(axes: Axes, n: int) -> None:
    """1/(1-q) on a logarithmic scale: there an exponential tail rises as the logarithm does."""
    axes.set_xscale("log")
    axes.set_xlim(1, 2.5 * n)
    decades = [d for d in range(1, 12) if 10.0**d < 2.5 * n]
    places = {1.0: "0", 2.0: "50"} | {10.0**d: f"{100 - 10.0 ** (2 - d):.{max(d - 2, 0)}f}" for d in decades}
    axes.set_xticks(list(places), labels=list(places.values()))
    axes.minorticks_off()
    axes.set_xlabel("percentile [%]")


def _draw_band(axes: Axes, axis: Axis, series: Series) -> None:
    """The limits of each percentile that has both."""
    import numpy as np

    ordered, n = axis.place(series.ordered), len(series)
    ranks = [
        (share, *quantile_ranks(n, 1 - 1 / share, series.confidence)) for share in np.geomspace(1.01, 2 * n, LIMITS)
    ]
    known = [(share, ordered[lower - 1], ordered[upper - 1]) for share, lower, upper in ranks if lower and upper]
    if known:
        shares, lowest, highest = np.array(known).T
        label = f"limits at {100 * series.confidence:.4g} %, one-sided"
        axes.fill_between(shares, lowest, highest, color=LINES[0][0], alpha=0.2, linewidth=0, label=label)


def _draw_bounds(
    axes: Axes, axis: Axis, values: Floats, checks: Checks, *, upright: bool = False, quantiles: bool = False
) -> None:
    """A line for each bound on a value; one that lies far from all samples is named, the axis not stretched for it."""
    low, high = float(values.min()), float(values.max())
    room = FAR * (high - low or abs(high))
    for number, check in enumerate(map(CheckResult.of, checks)):
        found = ON_AXIS.fullmatch(check.figure)
        if not found or check.limit.unit != axis.unit:
            continue
        place = (check.limit.value - axis.origin) / axis.factor
        near = low - room <= place <= high + room
        way: dict[str, Any] = {"color": OUTCOMES.get(check.outcome, OPEN)[0], "linestyle": DASHES[1 + number % 3]}
        label = f"{check.figure} \N{LESS-THAN OR EQUAL TO} {axis.text(check.limit.value)}: {check.outcome}"
        if not near:
            axes.plot([], [], label=f"{label} (beyond the axis)", **way)
        elif upright:
            axes.axvline(place, label=label, **way)
        else:
            axes.axhline(place, label=label, **way)
            if quantiles and found[1]:  # where the curve has to be below it
                axes.plot([1 / (1 - float(found[1]) / 100)], [place], marker="D", color=way["color"])
    if not axis.origin and low >= 0 and (low < high / 2 or low == high):
        (axes.set_xlim if upright else axes.set_ylim)(0)


def _extremes(values: Floats) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Places of samples to draw, in order: all, or the smallest and largest of each of many stretches."""
    import numpy as np

    if len(values) <= POINTS:
        return np.arange(len(values))
    borders = np.linspace(0, len(values), POINTS // 2 + 1).astype(int)
    spans = list(itertools.pairwise(borders))
    return np.unique([a + function(values[a:b]) for a, b in spans for function in (np.argmin, np.argmax)])


def _mark_worst(axes: Axes, moments: Floats, values: Floats) -> None:
    import numpy as np

    worst = np.sort(np.argsort(-values, kind="stable")[:WORST])
    if values.min() == values.max():
        return
    axes.plot(moments[worst], values[worst], linestyle="", marker="o", markersize=5, color=LINES[1][0], label="worst")
    room = (moments[-1] - moments[0]) / 10
    level, before = 0, -math.inf
    for place in worst:
        level = level + 1 if moments[place] - before < room else 0  # labels of neighbours one above the other
        before = moments[place]
        where: dict[str, Any] = {"xytext": (0, 6 + 11 * level), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"#{place + 1}", (moments[place], values[place]), color=LINES[1][0], **where)
    axes.margins(y=0.15)


def _title(series: Series) -> str:
    clock = series.clock
    floor = (
        "floor not measured" if clock.floor is None else f"floor {shown(clock.floor)}" if clock.floor else "no floor"
    )
    return f"{series.quantity} of {series.subject}\nn = {len(series)}, {clock.name}, {floor}"


def _numbers(series: Series) -> str:
    ordered, n = series.ordered, len(series)
    ranks = {"min": 1, "p50": -(-n // 2), "p99": -(-n * 99 // 100), "max": n}
    return f"n = {n}, " + ", ".join(f"{name} {shown(float(ordered[r - 1]), series.unit)}" for name, r in ranks.items())


def _described(series: Series, checks: Checks) -> str:
    return "\n".join([f"{_numbers(series)}; clock: {series.clock}", *(CheckResult.of(check).text for check in checks)])


def _names(several: Sequence[Series]) -> tuple[str, list[str]]:
    """A title of what the series have in common, and names of what sets each apart."""
    parts = [
        {"quantity": one.quantity, "subject": one.subject, "clock": one.clock.name}
        | {key: _short(one.provenance.get(key, "")) for key in ("board", "image", "module", "qemu", "seed", "mode")}
        for one in several
    ]
    apart = [key for key in parts[0] if len({part[key] for part in parts}) > 1]
    title = " of ".join(parts[0][key] for key in ("quantity", "subject") if key not in apart) or "comparison"
    names = [
        " ".join(
            part[key] if key in ("quantity", "subject", "clock") else f"{key} {part[key]}" if part[key] else f"no {key}"
            for key in apart
        )
        for part in parts
    ]
    repeated = len(set(names)) < len(names)
    names = [f"{number}: {name}".rstrip(": ") if repeated else name for number, name in enumerate(names, 1)]
    sizes = [f"{name}, n = {len(one)}" for name, one in zip(names, several, strict=True)]
    return f"{title}\n{'' if 'clock' in apart else parts[0]['clock']}".rstrip(), sizes


def _short(told: str) -> str:
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{32,}\b", r"\1", told)


@dataclass
class _Picture:
    figure: Figure
    svg: str = ""


@contextmanager
def _picture(title: str, text: str, width: float = WIDTH, height: float = HEIGHT) -> Iterator[_Picture]:
    """A figure to draw into; afterwards `svg` has its text, with `title` above and `text` for those who cannot see."""
    import matplotlib
    from matplotlib.figure import Figure

    mark = hashlib.sha256(f"{title}{text}".encode()).hexdigest()[:12]  # pictures in one page share no names
    style: Any = STYLE | {"svg.hashsalt": mark}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user has set
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(width, height))
        picture = _Picture(figure)
        yield picture
        figure.suptitle(title, x=0.01, ha="left", size=11)
        figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside lower left", ncols=3, fontsize=9)
        made = io.StringIO()
        figure.savefig(made, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    picture.svg = finished(made.getvalue(), mark, title, text)

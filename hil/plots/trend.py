"""Pictures of a figure over nights, as SVG text: values, limits, bounds, outcomes, changes and notes.

Made without matplotlib, which takes tens of milliseconds for each of the many pictures of a trend page.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hil.plots.picture import FAINT, FAR, INK, LINES, OPEN, OUTCOMES, PAPER, Axis, finished
from hil.stats.change import Change

WIDTH, HEIGHT = 648.0, 180.0  # points; the height of the axes alone
LEFT, RIGHT = 64.0, 16.0  # margins of the axes
TOP, LANE = 54.0, 12.0  # above the axes: titles, then a lane for each row of labels
EACH = 5.3  # maximum width of a letter of 9 points
LABELS = 16  # named nights at the axis, at most
DIGESTS = 8  # images with a digest; more are only marked
NAME, NOTE = 13, 110  # letters in the name of a night, in a note
CHANGED = LINES[2][0]
ORDER = ("pass", "marginal", "inconclusive", "fail")


@dataclass(frozen=True)
class TrendPoint:
    """The value of a figure in one night, in the unit of its series.

    `lower` and `upper` are its limits, `bound` the limit of its bound, `outcome` the outcome of that; None if missing.
    `image` is the digest of the image, empty if missing.
    """

    night: str
    value: float
    lower: float | None = None
    upper: float | None = None
    bound: float | None = None
    outcome: str | None = None
    image: str = ""


def trend(
    points: Sequence[TrendPoint],
    changes: Sequence[Change] = (),
    notes: Sequence[tuple[str, str]] = (),
    *,
    quantity: str,
    subject: str = "",
    figure: str = "",
    unit: str = "s",
    clock: str = "",
) -> str:
    """Return the picture of `points`, at least one, one a night, oldest first; their numbers are finite.

    `changes` refer to the points by index. `notes` are pairs of a night and a text; those of other nights are left out.
    """
    what = " of ".join(filter(None, (figure, quantity, subject)))
    title = f"{what}\n" + ", ".join(filter(None, (f"{len(points)} nights", clock)))
    places = {p.night: place for place, p in reversed(list(enumerate(points)))}
    numbered = sorted((places[night], text) for night, text in notes if night in places)
    return _Drawing(points, changes, numbered, unit, quantity).svg(title)


class _Drawing:
    """The picture of a trend: its scales, and methods that yield its SVG elements."""

    def __init__(
        self,
        points: Sequence[TrendPoint],
        changes: Sequence[Change],
        notes: Sequence[tuple[int, str]],
        unit: str,
        quantity: str,
    ) -> None:
        self.points, self.changes, self.notes, self.quantity = points, changes, notes, quantity
        seen = [n for p in points for n in (p.value, p.lower, p.upper) if n is not None]
        low, high = min(seen), max(seen)
        room = FAR * (high - low or abs(high))
        self.near = [b for p in points if (b := p.bound) is not None and low - room <= b <= high + room]
        low, high = min([low, *self.near]), max([high, *self.near])
        self.axis = Axis.over(low, high, sorted(p.value for p in points)[len(points) // 2], unit)
        self.value = self.axis.text
        self.low, self.high = self._range(self.axis.place(low), self.axis.place(high))
        self.labels = list(self._in_lanes())
        self.top = TOP + LANE * (1 + max((lane for *_, lane in self.labels), default=-1))
        self.bottom = self.top + HEIGHT
        self.pitch = (WIDTH - LEFT - RIGHT) / len(points)

    def _range(self, low: float, high: float) -> tuple[float, float]:
        margin = 0.06 * (high - low)
        if not margin or not math.isfinite(1 / margin):
            margin = max(0.1 * abs(high), 1e-9)
        # like other pictures: start at 0 if that costs no detail
        return (0.0 if not self.axis.origin and 0 <= low < high / 2 else low - margin), high + margin

    def x(self, place: float) -> float:
        return LEFT + (place + 0.5) * (WIDTH - LEFT - RIGHT) / len(self.points)

    def y(self, value: float) -> float:
        return self.bottom - (self.axis.place(value) - self.low) / (self.high - self.low) * HEIGHT

    def _in_lanes(self) -> Iterator[tuple[float, float, str, str, int]]:
        """Yield the labels above the axes: place pointed to, middle, colour, text, lane from the top."""
        labels = [(self._edge(c), str(c), CHANGED) for c in self.changes]
        labels += [(self.x(place), f"({number})", INK[0]) for number, (place, _) in enumerate(self.notes, 1)]
        ends: list[float] = []  # of each lane
        for place, text, colour in sorted(labels):
            half = EACH * len(text) / 2 + 3
            middle = min(max(place, LEFT + half), WIDTH - half)
            lane = next((lane for lane, end in enumerate(ends) if middle - half >= end), len(ends))
            ends[lane : lane + 1] = [middle + half]
            yield place, middle, colour, text, lane

    def _edge(self, change: Change) -> float:
        return self.x(change.at - 0.5) if change.kind == "step" else self.x((change.at - 1 + change.until) / 2)

    def svg(self, title: str) -> str:
        text = self._description()
        mark = hashlib.sha256(f"{title}{text}".encode()).hexdigest()[:12]
        body = [*self._frame(title), *self._nights(), *self._images(), *self._bounds(), *self._limits()]
        body += [*self._line(), *self._changes(), *self._outcomes()]
        below = self.bottom + (26 if self._marks() else 14) + EACH * self._longest() * 0.66 + 12
        body += self._key(below)
        for number, (place, note) in enumerate(self.notes, 1):
            below += LANE
            body.append(_text(8, below, _cut(f"({number}) {self.points[place].night}: {note}", NOTE)))
        height = below + 10
        made = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}pt" height="{height:.0f}pt" '
            f'viewBox="0 0 {WIDTH:g} {height:.0f}">\n'
            f'<rect width="100%" height="100%" style="fill: {PAPER[0]}"/>\n'
            f'<g style="fill: {INK[0]}" font-family="\'DejaVu Sans\', sans-serif" font-size="9">\n'
            + "\n".join(body)
            + "\n</g>\n</svg>\n"
        )
        return finished(made, mark, title, text)

    def _description(self) -> str:
        """Return the picture in words."""
        values = [p.value for p in self.points]
        first, last = self.points[0], self.points[-1]
        counts = [f"{name} {sum(p.outcome == name for p in self.points)}" for name in _outcomes(self.points)]
        lines = [
            f"{first.night} to {last.night}: first {self.value(first.value)}, last {self.value(last.value)}, "
            f"least {self.value(min(values))}, most {self.value(max(values))}",
            *([", ".join(counts)] if counts else []),
            *(f"{change}, {self._when(change)}" for change in self.changes),
            *(f"{self.points[place].night}: {text}" for place, text in self.notes),
        ]
        return "\n".join(lines)

    def _when(self, change: Change) -> str:
        nights = [self.points[place].night for place in dict.fromkeys((change.at, change.until))]
        return f"{' to '.join(nights)}: {self.value(change.old)} to {self.value(change.new)}"

    def _frame(self, title: str) -> Iterator[str]:
        what, _, more = title.partition("\n")
        yield _text(8, 16, what, 'font-size="11"')
        yield _text(8, 30, more)
        yield _text(8, 46, self.axis.label(self.quantity))
        ticks = _ticks(self.low, self.high)
        places = [self.bottom - (tick - self.low) / (self.high - self.low) * HEIGHT for tick in ticks]
        grid = "".join(f"M{LEFT:g} {place:.1f}H{WIDTH - RIGHT:g}" for place in places)
        yield f'<path d="{grid}" style="fill: none; stroke: {FAINT[0]}"/>'
        frame = f"M{LEFT:g} {self.top:g}V{self.bottom:g}H{WIDTH - RIGHT:g}"
        yield f'<path d="{frame}" style="fill: none; stroke: {INK[0]}"/>'
        for tick, place in zip(ticks, places, strict=True):
            yield _text(LEFT - 5, place + 3, f"{tick:.10g}", 'text-anchor="end"')

    def _longest(self) -> int:
        return max(len(_cut(p.night, NAME)) for p in self.points)

    def _nights(self) -> Iterator[str]:
        each = -(-len(self.points) // LABELS)
        below = self.bottom + (26 if self._marks() else 14)
        for place in range((len(self.points) - 1) % each, len(self.points), each):  # the last night is always named
            x = self.x(place)
            turned = f'text-anchor="end" transform="rotate(-40 {x:.1f} {below:.1f})"'
            yield _text(x + 3, below, _cut(self.points[place].night, NAME), turned)

    def _marks(self) -> list[int]:
        """Return the nights with another image than the night before."""
        known = [(place, p.image) for place, p in enumerate(self.points) if p.image]
        return [place for (_, before), (place, image) in itertools.pairwise(known) if image != before]

    def _images(self) -> Iterator[str]:
        """Yield a triangle at each change of the image, with its digest if there is room."""
        marks = self._marks()
        end = -math.inf
        for place in marks:
            x, point = self.x(place - 0.5), self.points[place]
            yield (
                f'<path d="M{x:.1f} {self.bottom:g}l-3.5 7h7z" style="fill: {LINES[3][0]}">'
                f"<title>{html.escape(f'{point.night}: image {point.image}')}</title></path>"
            )
            digest = point.image.rpartition(":")[2][:8]
            if len(marks) <= DIGESTS and x + 5 >= end and x + 5 + EACH * 8 <= WIDTH:
                yield _text(x + 5, self.bottom + 8, digest, f'font-size="8" style="fill: {LINES[3][0]}"')
                end = x + 5 + EACH * 8 + 2

    def _bounds(self) -> Iterator[str]:
        """Yield a dashed line with steps where the bound changed; the key names a bound far from all values."""
        path, before = "", None
        for place, p in enumerate(self.points):
            bound = p.bound if p.bound in self.near else None
            if bound is not None:
                start = f"M{self.x(place - 0.5):.1f} {self.y(bound):.1f}" if before is None else f"V{self.y(bound):.1f}"
                path += f"{start if bound != before else ''}H{self.x(place + 0.5):.1f}"
            before = bound
        if path:
            yield f'<path d="{path}" style="fill: none; stroke: {INK[0]}" stroke-dasharray="6 3"/>'

    def _limits(self) -> Iterator[str]:
        path = ""
        for place, p in enumerate(self.points):
            if p.lower is not None or p.upper is not None:
                ends = [p.value if limit is None else limit for limit in (p.lower, p.upper)]
                path += f"M{self.x(place):.1f} {self.y(ends[0]):.1f}V{self.y(ends[1]):.1f}"
        if path:
            yield f'<path d="{path}" style="fill: none; stroke: {LINES[0][0]}" stroke-width="3" stroke-opacity="0.35"/>'

    def _line(self) -> Iterator[str]:
        path = "L".join(f"{self.x(place):.1f} {self.y(p.value):.1f}" for place, p in enumerate(self.points))
        yield f'<path d="M{path}" style="fill: none; stroke: {LINES[0][0]}"/>'

    def _changes(self) -> Iterator[str]:
        for change in self.changes:
            stroke = 'stroke-width="1.6"' if change.kind == "step" else 'stroke-width="10" stroke-opacity="0.35"'
            title = f"<title>{html.escape(f'{change}, {self._when(change)}')}</title>"
            if change.kind == "step":
                path = f"M{self.x(change.at - 0.5):.1f} {self.top - 1:g}V{self.bottom:g}"
            else:
                old, new = (min(max(self.y(end), self.top), self.bottom) for end in (change.old, change.new))
                path = f"M{self.x(change.at - 1):.1f} {old:.1f}L{self.x(change.until):.1f} {new:.1f}"
            yield f'<path d="{path}" style="fill: none; stroke: {CHANGED}" {stroke}>{title}</path>'
        for place, middle, colour, text, lane in self.labels:
            at = TOP + LANE * (lane + 1) - 3
            yield _text(middle, at, text, f'text-anchor="middle" style="fill: {colour}"')
            if text.startswith("("):
                note = f"M{place:.1f} {self.top:g}v5"
                yield f'<path d="{note}" style="fill: none; stroke: {INK[0]}"/>'

    def _outcomes(self) -> Iterator[str]:
        """Yield the points by outcome, each with its numbers."""
        for outcome in (None, *_outcomes(self.points)):
            points = [(place, p) for place, p in enumerate(self.points) if p.outcome == outcome]
            if points:
                colour, shape = _shape(outcome)
                drawn = "".join(self._point(place, p, shape) for place, p in points)
                yield f'<g style="{colour}" stroke-width="1.8">{drawn}</g>'

    def _point(self, place: int, p: TrendPoint, shape: Callable[[float, float], str]) -> str:
        limits = [self.value(limit) if limit is not None else "?" for limit in (p.lower, p.upper)]
        text = f"{p.night}: {self.value(p.value)}" + (f" ({' .. '.join(limits)})" if limits != ["?", "?"] else "")
        text += f", bound {self.value(p.bound)}" if p.bound is not None else ""
        text += f": {p.outcome}" if p.outcome else ""
        return f"<g><title>{html.escape(text)}</title>{shape(self.x(place), self.y(p.value))}</g>"

    def _key(self, y: float) -> Iterator[str]:
        """Yield the key of the signs, from left to right."""
        x = 12.0
        for outcome in _outcomes(self.points):
            colour, shape = _shape(outcome)
            yield f'<g style="{colour}" stroke-width="1.8">{shape(x, y - 3)}</g>'
            yield _text(x + 7, y, outcome)
            x += 22 + EACH * len(outcome)
        bounds = [p.bound for p in self.points if p.bound is not None]
        if bounds:
            far = "" if bounds[-1] in self.near else " (beyond the axis)"
            name = f"bound {self.value(bounds[-1])}{far}"
            yield f'<path d="M{x - 4:.1f} {y - 3:.1f}h20" style="fill: none; stroke: {INK[0]}" stroke-dasharray="6 3"/>'
            yield _text(x + 20, y, name)
            x += 36 + EACH * len(name)
        if any(p.lower is not None or p.upper is not None for p in self.points):
            bar = f'style="fill: none; stroke: {LINES[0][0]}" stroke-width="3" stroke-opacity="0.35"'
            yield f'<path d="M{x:.1f} {y - 8:.1f}v10" {bar}/>'
            yield _text(x + 6, y, "limits")
            x += 22 + EACH * 6
        if self._marks():
            yield f'<path d="M{x:.1f} {y - 7:.1f}l-3.5 7h7z" style="fill: {LINES[3][0]}"/>'
            yield _text(x + 7, y, "another image")


def _outcomes(points: Sequence[TrendPoint]) -> list[str]:
    names = sorted({p.outcome for p in points if p.outcome})
    return sorted(names, key=lambda name: (*ORDER, name).index(name))


def _shape(outcome: str | None) -> tuple[str, Callable[[float, float], str]]:
    """Return colour and shape of a point: disc for pass, cross for fail, rhomb for marginal, square for inconclusive.

    A small disc has no bound.
    """
    if outcome is None:
        return f"fill: {LINES[0][0]}", lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>'
    if outcome == "pass":
        return f"fill: {OUTCOMES['pass'][0]}", lambda x, y: f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2"/>'
    if outcome == "fail":
        return (
            f"fill: none; stroke: {OUTCOMES['fail'][0]}",
            lambda x, y: f'<path d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0-7l-7 7" pointer-events="all"/>',
        )
    colour = f"fill: {PAPER[0]}; stroke: {OPEN[0]}"
    if outcome == "marginal":
        return colour, lambda x, y: f'<path d="M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4-4z"/>'
    return colour, lambda x, y: f'<path d="M{x - 3:.1f} {y - 3:.1f}h6v6h-6z"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{" " if more else ""}{more}>{html.escape(text)}</text>'


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _ticks(low: float, high: float) -> list[float]:
    """Return 3 to 7 round numbers from `low` to `high`."""
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    count = int((high - low) / step) + 2
    start = math.ceil(low / step)
    return [tick for tick in ((start + number) * step for number in range(count)) if tick <= high]

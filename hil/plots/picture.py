"""The common parts of all pictures: colours in pairs for light and dark, axes with suitable units, the SVG element."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hil.measure.units import NAMES, shown

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

    V = TypeVar("V", float, Floats)

# light, dark: each with a contrast of at least 4.5 to 1 on its paper
PAPER = ("#ffffff", "#1a1a1a")
INK = ("#24292f", "#e6e6e6")
FAINT = ("#d8dee4", "#3d444d")  # of the grid: just visible on both papers
LINES = (
    ("#0969da", "#58a6ff"),
    ("#bc4c00", "#f0883e"),
    ("#8250df", "#bc8cff"),
    ("#1b7c83", "#39c5cf"),
    ("#bf3989", "#f778ba"),
    ("#57606a", "#a2abb5"),
)
OUTCOMES = {"pass": ("#1a7f37", "#3fb950"), "fail": ("#cf222e", "#ff7b72")}
OPEN = ("#9a6700", "#d29922")  # of marginal and inconclusive bounds

FAR = 4.0  # extents of the samples; a bound beyond would leave them no room
NARROW = 2e-3  # of the largest value


@dataclass(frozen=True)
class Axis:
    """An axis: values are shown as (value - origin) / factor, in the unit `name`."""

    unit: str
    name: str
    factor: float
    origin: float = 0.0

    @classmethod
    def over(cls, low: float, high: float, middle: float, unit: str) -> Axis:
        """Return an axis for values from `low` to `high`; if only their last digits differ, it counts from `middle`."""
        size = max(abs(low), abs(high))
        narrow = 0 < high - low < NARROW * size
        return cls(unit, *suitable(high - low if narrow else size, unit), middle if narrow else 0.0)

    def place(self, values: V) -> V:
        return (values - self.origin) / self.factor

    def label(self, quantity: str) -> str:
        about = f" \N{MINUS SIGN} {self.text(self.origin)}" if self.origin else ""
        return f"{quantity}{about}" + (f" [{self.name}]" if self.name else "")

    def text(self, value: float) -> str:
        """Return `value` with so many digits that neighbours on this axis differ."""
        if not self.origin:
            return shown(value, self.unit)
        name, factor = suitable(abs(value), self.unit)
        return f"{value / factor:.10g} {name}".rstrip()


def suitable(size: float, unit: str) -> tuple[str, float]:
    """Return the name and the size of the unit in which `size` is short but not below 1."""
    if unit == "1":
        return "", 1.0
    names = ("MiB", "KiB", "B") if unit == "B" else ("s", "ms", "us", "ns")
    name = next((name for name in names[:-1] if size >= NAMES[name].value or not size), names[-1])
    return name, NAMES[name].value


def finished(svg: str, mark: str, title: str, text: str) -> str:
    """Return the bare SVG element with a title and description for screen readers and colours for dark pages."""
    pairs = (PAPER, INK, FAINT, *LINES, *OUTCOMES.values(), OPEN)
    rules = [
        f'[style*="{key}: {light}"]{{{key}:{dark}!important}}' for light, dark in pairs for key in ("fill", "stroke")
    ]
    inside = (
        f'<title id="t{mark}">{html.escape(title)}</title>\n<desc id="d{mark}">{html.escape(text)}</desc>\n'
        f"<style>@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>\n"
    )
    element, _, rest = svg[svg.index("<svg") :].partition(">")
    return f'{element} role="img" aria-labelledby="t{mark} d{mark}">\n{inside}{rest.lstrip()}'

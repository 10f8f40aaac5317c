"""The page of a test's figures: each with its confidence interval, bound, margin and outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hil.compare.baseline import BaselineComparison
from hil.measure.bound import Estimate, Figure
from hil.measure.decision import Check
from hil.measure.figures import FIGURES
from hil.measure.margins import margin
from hil.measure.series import Series
from hil.measure.units import shown
from hil.report.templates import render

ALWAYS = ("min", "p50", "p99", "max")  # shown without a bound, too
COLUMNS = ("figure", "value", "confidence interval", "bound", "margin", "outcome", "why")
COLOURS = {
    "pass": "good",
    "marginal": "warn",
    "fail": "bad",
    "inconclusive": "warn",
    "same": "good",
    "better": "good",
    "different": "bad",
}
"""Style classes of the outcomes of bounds and of comparisons."""
STYLE = (
    "td,th{padding:2px 14px 2px 0}.figures td:nth-child(-n+6){white-space:nowrap}pre{margin:4px 0;white-space:pre-wrap}"
)


@dataclass(frozen=True, eq=False)
class MeasuredSeries:
    """A series of a test, the outcomes of its bounds, and its comparison to the baseline.

    `compared` is None without a comparison; `unread` is the reason why the baseline could not be read.
    """

    series: Series
    checks: tuple[Check, ...] = ()
    compared: BaselineComparison | None = None
    unread: str = ""

    @property
    def name(self) -> str:
        return f"{self.series.quantity} of {self.series.subject}"

    @property
    def baseline(self) -> Series | None:
        """The baseline, if the series can be drawn against it: it has the same unit."""
        found = self.compared.baseline if self.compared else None
        return found if found is not None and found.unit == self.series.unit else None


def figures_page(several: Sequence[MeasuredSeries]) -> str:
    """Return the page of all series of a test, those with bounds first."""
    ordered = sorted(several, key=lambda measured: not measured.checks)
    return render(
        "figures.html",
        title="figures",
        name="figures",
        styles=[STYLE],
        columns=COLUMNS,
        sections=[_section(measured) for measured in ordered],
    )


def _section(measured: MeasuredSeries) -> dict[str, Any]:
    series = measured.series
    clock = series.clock
    floor = "not measured" if clock.floor is None else "none" if clock.floor == 0 else shown(clock.floor)
    facts = [
        f"n = {len(series)}",
        f"clock: {clock.name}, resolution {shown(clock.resolution)}, noise floor {floor}",
        "exact, it repeats to the bit"
        if clock.exact
        else f"confidence intervals at {100 * series.confidence:.4g} %, one-sided",
        clock.remark,
    ]
    bounded = {check.bound.figure.name for check in measured.checks}
    others = [FIGURES[name] for name in ALWAYS if name not in bounded]
    return {
        "name": measured.name,
        "facts": "; ".join(filter(None, facts)),
        "rows": [
            *(_bounded_row(check, clock.exact) for check in measured.checks),
            *(_row(figure, figure.estimate(series, series.confidence), clock.exact) for figure in others),
        ],
        "unread": measured.unread,
        "baseline": _baseline(measured.compared) if measured.compared and not measured.unread else None,
    }


def _bounded_row(check: Check, exact: bool) -> dict[str, str]:
    bound, estimate = check.bound, check.estimate
    why = [check.why, f"bound's reason: {bound.reason}" if bound.reason else ""]
    return _row(bound.figure, estimate, exact) | {
        "bound": f"at most {estimate.shown(bound.limit.value)}",
        "margin": margin(estimate.value, bound.limit.value),
        "outcome": str(check.outcome),
        "colour": COLOURS[check.outcome],
        "why": "; ".join(filter(None, why)),
    }


def _row(figure: Figure, estimate: Estimate, exact: bool) -> dict[str, str]:
    lower, upper = ("?" if limit is None else estimate.shown(limit) for limit in (estimate.lower, estimate.upper))
    return {
        "figure": figure.name,
        "value": estimate.shown(estimate.value),
        "interval": "exact" if exact else f"{lower} .. {upper}" if figure.interval else "of these samples",
        "bound": "",
        "margin": "",
        "outcome": "no bound",
        "colour": "",
        "why": "",
    }


def _baseline(compared: BaselineComparison) -> dict[str, str]:
    return {
        "outcome": str(compared.outcome),
        "colour": COLOURS.get(compared.outcome, "faint"),
        "text": str(compared).partition("\n")[2],
    }

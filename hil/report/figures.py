"""The figures of one test as a page: each with limits, bound, margin and outcome, and what took it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.compare.baseline import BaselineComparison
from hil.measure.decision import Check
from hil.measure.figure import Estimate, Figure
from hil.measure.figures import FIGURES
from hil.measure.series import Series
from hil.measure.units import shown
from hil.report.markup import escaped, page

ALWAYS = ("min", "p50", "p99", "max")  # shown where no bound speaks of them, too
COLUMNS = ("figure", "value", "limits", "bound", "margin", "outcome", "why")
COLOURS = {
    "pass": "good",
    "marginal": "warn",
    "fail": "bad",
    "inconclusive": "warn",
    "same": "good",
    "better": "good",
    "different": "bad",
}
"""Of the outcomes of bounds and of comparisons."""
STYLE = (
    "td,th{padding:2px 14px 2px 0}.figures td:nth-child(-n+5){white-space:nowrap}pre{margin:4px 0;white-space:pre-wrap}"
)


@dataclass(frozen=True, eq=False)
class MeasuredSeries:
    """A series that a test took, what became of its bounds, and how it stands against its baseline.

    `compared` is None where nobody asked; `unread` says why the baseline could not be read.
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
        """What the series can be drawn against: the same unit, whatever has changed in between."""
        found = self.compared.baseline if self.compared else None
        return found if found is not None and found.unit == self.series.unit else None


def margin(value: float, limit: float) -> str:
    """What is left of the bound, as a share of it: `38 % left`, `over by 12 %`."""
    if limit == 0:
        return "none left" if value <= 0 else "over"
    share = (limit - value) / limit
    return f"{100 * share:.3g} % left" if share >= 0 else f"over by {-100 * share:.3g} %"


def render(several: Sequence[MeasuredSeries]) -> str:
    """The page of all series of a test, those that were judged first."""
    ordered = sorted(several, key=lambda one: not one.checks)
    return page("figures", "".join(map(_section, ordered)), styles=[STYLE])


def _section(taken: MeasuredSeries) -> str:
    series = taken.series
    clock = series.clock
    floor = "not measured" if clock.floor is None else "none" if clock.floor == 0 else shown(clock.floor)
    confidence = f"limits at {100 * series.confidence:.4g} %, one-sided"
    told = "exact, it repeats to the bit: a figure is its own limits" if clock.exact else confidence
    facts = f"n = {len(series)}; clock: {clock.name}, resolution {shown(clock.resolution)}, noise floor {floor}; {told}"
    if clock.remark:
        facts += f"; {clock.remark}"
    judged = {check.bound.figure.name for check in taken.checks}
    rows = [_judged(check, clock.exact) for check in taken.checks]
    others = [FIGURES[name] for name in ALWAYS if name not in judged]
    rows += [_row(one, one.estimate(series, series.confidence), clock.exact) for one in others]
    head = "".join(f"<th>{name}" for name in COLUMNS)
    return (
        f'<h2>{escaped(taken.name)}</h2><p class="faint">{escaped(facts)}'
        f'<table class="figures"><thead><tr>{head}<tbody>{"".join(rows)}</table>{_against(taken)}'
    )


def _judged(check: Check, exact: bool) -> str:
    bound, estimate = check.bound, check.estimate
    why = [check.why, f"bound's reason: {bound.reason}" if bound.reason else ""]
    outcome = f'<span class="{COLOURS[check.outcome]}">{check.outcome}</span>'
    left = margin(estimate.value, bound.limit.value)
    told = "; ".join(filter(None, why))
    return _row(bound.figure, estimate, exact, f"at most {bound.limit}", left, outcome, told)


def _row(
    figure: Figure,
    estimate: Estimate,
    exact: bool,
    bound: str = "",
    left: str = "",
    outcome: str = "no bound",
    why: str = "",
) -> str:
    lower, upper = ("?" if limit is None else shown(limit, estimate.unit) for limit in (estimate.lower, estimate.upper))
    limits = "exact" if exact else f"{lower} .. {upper}" if figure.interval else "of these samples"
    cells = [figure.name, shown(estimate.value, estimate.unit), limits, bound, left]
    return "<tr>" + "".join(f"<td>{escaped(cell)}" for cell in cells) + f"<td>{outcome}<td>{escaped(why)}"


def _against(taken: MeasuredSeries) -> str:
    """How the series stands against its baseline, in words."""
    if taken.unread:
        return f'<p class="warn">baseline: {escaped(taken.unread)}'
    if taken.compared is None:
        return ""
    first, _, rest = str(taken.compared).partition("\n")
    colour = COLOURS.get(taken.compared.outcome, "faint")
    word = first.partition(":")[0]
    return f'<p>against the baseline: <span class="{colour}">{escaped(word)}</span><pre>{escaped(rest)}</pre>'

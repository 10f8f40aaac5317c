"""Figures, their confidence limits, and decisions that never pass by luck."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ConfigurationError
from hil.timing import (
    Bound,
    Bounds,
    Clock,
    Outcome,
    Series,
    maximum,
    mean,
    minimum,
    ms,
    p50,
    p90,
    p99,
    p999,
    peak_to_peak,
    us,
)
from hil.timing.bounds import BoundsNotKept
from hil.timing.figures import FIGURES, quantile_ranks
from hil.timing.series import parse_time, shown

CLOCK = Clock("guest counter", 16e-9)
GOOD = """
[[bound]]
quantity = "response time"
subject = "nbody-c.wasm 10"
figure = "p99"
limit = "2 ms"
reason = "the control loop's period"
"""


def series(*samples: float, clock: Clock = CLOCK) -> Series:
    return Series("response time", "nbody-c.wasm 10", samples, clock)


def exact_ranks(n: int, q: Fraction) -> tuple[int | None, int | None]:
    """The same by exact arithmetic, from the definition."""
    confidence = Fraction(95, 100)
    below = [Fraction(0)]  # below[r] = P(Bin(n, q) < r)
    for k in range(n):
        below.append(below[-1] + math.comb(n, k) * q**k * (1 - q) ** (n - k))
    lower = [rank for rank in range(1, n + 1) if 1 - below[rank] >= confidence]
    upper = [rank for rank in range(1, n + 1) if below[rank] >= confidence]
    return max(lower, default=None), min(upper, default=None)


@pytest.mark.parametrize("q", ["0.5", "0.9", "0.99", "0.999"])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 28, 29, 58, 59, 100, 298, 299, 300, 473])
def test_ranks_are_the_exact_binomial_s(n: int, q: str) -> None:
    assert quantile_ranks(n, float(q)) == exact_ranks(n, Fraction(q))


@pytest.mark.parametrize(("figure", "wanted"), [(p50, 5), (p90, 29), (p99, 299), (p999, 2995)])
def test_how_many_samples_an_upper_limit_wants(figure: object, wanted: int) -> None:
    estimate = figure.estimate(series(*[1.0] * wanted))  # type: ignore[attr-defined]
    assert (estimate.wanted, estimate.upper) == (wanted, 1.0)
    assert figure.estimate(series(*[1.0] * (wanted - 1))).upper is None  # type: ignore[attr-defined]


@pytest.mark.parametrize(("figure", "q"), [(p50, "0.5"), (p90, "0.9"), (p99, "0.99"), (p999, "0.999")])
def test_a_quantile_is_the_sample_of_its_rank(figure: object, q: str) -> None:
    for n in [*range(1, 120), 700, 1000, 2000, 3000]:
        samples = [float(number) for number in range(1, n + 1)]
        random.Random(n).shuffle(samples)
        assert figure.estimate(series(*samples)).value == math.ceil(Fraction(q) * n)  # type: ignore[attr-defined]


def test_limits_hold_the_true_quantile_as_often_as_they_say() -> None:
    numbers = random.Random(11)
    held = sum((p90.estimate(series(*(numbers.random() for _ in range(100)))).upper or 0) >= 0.9 for _ in range(1000))
    assert held >= 930, "95 % of 1000, less three standard deviations"


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50))
def test_limits_enclose_the_value(samples: list[float]) -> None:
    for figure in FIGURES.values():
        estimate = figure.estimate(series(*samples))
        assert estimate.lower is None or estimate.lower <= estimate.value
        assert estimate.upper is None or estimate.upper >= estimate.value
        assert min(samples) * 0.999 <= estimate.value <= max(samples) * 1.001 or figure is peak_to_peak


def test_plain_figures() -> None:
    taken = series(3.0, 1.0, 2.0, 6.0)
    values = {name: figure.estimate(taken).value for name, figure in FIGURES.items()}
    assert (values["min"], values["mean"], values["max"], values["peak-to-peak"]) == (1.0, 3.0, 6.0, 5.0)
    assert values["p50"] == 2.0


def test_a_kept_bound_passes() -> None:
    (one,) = series(*[1 * ms] * 299).check(p99 <= 2 * ms)
    assert one.outcome is Outcome.PASS
    assert str(one) == "pass: p99 <= 2 ms: 1 ms"


def test_a_bound_at_its_very_edge_passes_and_beyond_it_fails() -> None:
    samples = [1 * ms] * 300
    assert (p99 <= 1 * ms).decide(series(*samples)).outcome is Outcome.PASS
    assert (p99 <= 0.999 * ms).decide(series(*samples)).outcome is Outcome.FAIL


def test_a_broken_bound_fails_with_figures_clock_and_worst_samples() -> None:
    taken = series(*[1 * ms] * 99, 9 * ms)
    with pytest.raises(BoundsNotKept) as caught:
        taken.check(maximum <= 5 * ms, p50 <= 5 * ms, peak_to_peak <= 2 * ms)
    text = str(caught.value)
    assert "fail: max <= 5 ms: 9 ms" in text
    assert "pass: p50 <= 5 ms" in text
    assert "fail: peak-to-peak <= 2 ms: 8 ms" in text
    assert "n=100, clock: guest counter, resolution 16 ns, noise floor not measured" in text
    assert "worst samples: #100 9 ms, #1 1 ms" in text
    assert isinstance(caught.value, AssertionError)
    assert [one.outcome for one in caught.value.checks] == [Outcome.FAIL, Outcome.PASS, Outcome.FAIL]


def test_too_few_samples_are_inconclusive_and_not_a_pass() -> None:
    with pytest.raises(BoundsNotKept, match="inconclusive: p99 <= 2 s.* 298 samples, 299 are needed"):
        series(*[1 * ms] * 298).check(p99 <= 2.0)


def test_too_few_samples_that_all_exceed_the_bound_fail() -> None:
    assert (p99 <= 1 * ms).decide(series(*[5 * ms] * 400)).outcome is Outcome.FAIL
    assert (p50 <= 1 * ms).decide(series(*[5 * ms] * 5)).outcome is Outcome.FAIL


def test_a_bound_within_the_interval_is_inconclusive() -> None:
    taken = series(*(number * ms for number in range(1, 101)))
    one = (p50 <= 52 * ms).decide(taken)
    assert one.outcome is Outcome.INCONCLUSIVE
    assert "within the confidence interval" in str(one)
    assert "95 % limits 42 ms .. 59 ms" in str(one)


@pytest.mark.parametrize(
    "clock",
    [Clock("coarse", 1 * ms), Clock("noisy", 1e-9, floor=1 * ms)],
    ids=["resolution", "floor"],
)
def test_a_bound_finer_than_the_clock_is_inconclusive(clock: Clock) -> None:
    taken = series(*[1 * us] * 500, clock=clock)
    assert (maximum <= 2.9 * ms).decide(taken).outcome is Outcome.INCONCLUSIVE
    assert "finer than 3 ms" in str((maximum <= 2.9 * ms).decide(taken))
    assert (maximum <= 3.1 * ms).decide(taken).outcome is Outcome.PASS


def test_the_reason_of_a_bound_is_told_when_it_breaks() -> None:
    with pytest.raises(BoundsNotKept, match="bound's reason: the control loop's period"):
        series(3 * ms).check(Bound(maximum, 2 * ms, "the control loop's period"))


def test_a_check_without_bounds_cannot_pass() -> None:
    with pytest.raises(ConfigurationError, match=r"no bounds for response time of nbody-c\.wasm 10"):
        series(1 * ms).check()


@pytest.mark.parametrize("samples", [(), (1.0, math.nan), (math.inf,)])
def test_a_series_without_meaning_is_refused(samples: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"no samples|holds (nan|inf)"):
        series(*samples)


def test_the_order_of_samples_is_kept() -> None:
    taken = series(3.0, 1.0, 2.0)
    assert taken.samples == (3.0, 1.0, 2.0)
    assert taken.ordered == [1.0, 2.0, 3.0]
    assert (mean.estimate(taken).value, minimum.estimate(taken).value) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ns"), (1.5, "1.5 s"), (1e-3, "1 ms"), (12.345678e-3, "12.35 ms"), (-2e-6, "-2 us"), (1e-12, "0.001 ns")],
)
def test_times_are_shown_with_a_unit_that_suits(seconds: float, text: str) -> None:
    assert shown(seconds) == text


@given(st.floats(1e-9, 1e6))
def test_shown_times_are_read_back(seconds: float) -> None:
    assert parse_time(shown(seconds)) == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize("text", ["", "2", "2ms", "ms", "x ms", "2 m", "nan ms", "inf s", "2 ms ms", "1_0 ms x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|convert"):
        parse_time(text)


# the bounds file


def bounds(directory: Path, text: str | bytes) -> Bounds:
    path = directory / "board.bounds.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Bounds(path)


def test_bounds_are_found_by_quantity_and_subject(tmp_path: Path) -> None:
    found = bounds(tmp_path, GOOD + GOOD.replace("p99", "max") + GOOD.replace("nbody-c.wasm 10", "hello.wasm"))
    chosen = found.of(series(1.0))
    assert [str(bound) for bound in chosen] == ["p99 <= 2 ms", "max <= 2 ms"]
    assert chosen[0].reason == "the control loop's period"
    assert found.of(Series("release jitter", "nbody-c.wasm 10", (1.0,), CLOCK)) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[bound]\n", "not valid TOML"),
        (b"\xff\xfe", "board.bounds.toml"),
        ("", "bound: this key is missing"),
        ("[bound]\nfigure = 'p99'\n", "board.bounds.toml: bound"),
        ("[[bonud]]\n", "bonud"),
        (GOOD + GOOD.replace("limit", "limt"), "bound 2: limt: unknown key; the keys are: quantity"),
        (GOOD + GOOD.replace("limit", "limt"), "bound 2: limit: this key is missing"),
        (GOOD + GOOD.replace('"p99"', '"p98"'), "bound 2: figure: there is no figure 'p98'"),
        (GOOD.replace('"2 ms"', '"2 parsecs"'), "bound 1: limit: '2 parsecs' is not a time"),
        (GOOD.replace('"2 ms"', "2"), "bound 1: limit: "),
        (GOOD.replace('"2 ms"', '"two ms"'), "bound 1: limit: "),
        (GOOD.replace('"2 ms"', '"-2 ms"'), "bound 1: limit: a limit is more than 0"),
        (GOOD.replace('"2 ms"', '"inf ms"'), "bound 1: limit: "),
        (GOOD.replace('"the control loop\'s period"', '""'), "bound 1: reason: "),
        (GOOD.replace('reason = "the control loop\'s period"', ""), "bound 1: reason: this key is missing"),
    ],
)
def test_a_wrong_bounds_file_is_told_by_file_entry_and_key(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bounds(tmp_path, text)
    assert str(tmp_path / "board.bounds.toml") in str(caught.value)
    assert told in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_near_figure_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'p99.9'"):
        bounds(tmp_path, GOOD.replace('"p99"', '"p99,9"'))


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_a_bounds_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read the bounds file .*(No such file|directory)"):
        Bounds(tmp_path / name)


def test_the_project_s_own_bounds_are_good() -> None:
    root = Path(__file__).resolve().parents[2]
    files = list((root / "boards").glob("*.bounds.toml"))
    assert files
    for path in files:
        Bounds(path)

"""Bounds: decisions that never pass by luck, texts that say why, files whose errors point at the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil import (
    BoundsNotKept,
    Clock,
    Series,
    maximum,
    mean,
    miss_count,
    misses,
    ms,
    p50,
    p99,
    peak_to_peak,
    percent,
    ratio,
    rms,
    s,
)
from hil.console import Transcript
from hil.errors import ConfigurationError
from hil.measure.bound import Bound
from hil.measure.bounds_file import Bounds
from hil.measure.decision import Outcome, decide
from hil.measure.interim import interim_counts, samples_needed
from hil.plugin.origins import cause_of

CLOCK = Clock("guest counter", 16e-9)
EXACT = Clock("virtual time", 16e-9, floor=0.0, exact=True)
GOOD = """
[[bound]]
quantity = "response time"
subject = "nbody-c.wasm 10"
figure = "p99"
limit = "2 ms"
reason = "the control loop's period"
"""


def series(samples: Any, clock: Clock = CLOCK, **more: Any) -> Series:
    return Series("response time", "nbody-c.wasm 10", samples, clock, **more)


# the decision


def test_a_kept_bound_passes() -> None:
    (one,) = series([1e-3] * 299).check(p99 <= 2 * ms)
    assert one.outcome is Outcome.PASS
    assert str(one) == "PASS: p99 is 1 ms, limit 2 ms"


def test_the_guard_band_is_the_clock_s_uncertainty_on_either_side() -> None:
    noisy = Clock("host monotonic", 1e-9, floor=0.1e-3)
    taken = series([1e-3] * 300, noisy)
    assert decide(p99 <= 1.101 * ms, taken).outcome is Outcome.PASS
    assert decide(p99 <= 1.099 * ms, taken).outcome is Outcome.INCONCLUSIVE
    assert decide(p99 <= 0.901 * ms, taken).outcome is Outcome.INCONCLUSIVE
    assert decide(p99 <= 0.899 * ms, taken).outcome is Outcome.FAIL
    assert "100 us" in str(decide(p99 <= 1 * ms, taken))


@pytest.mark.parametrize("clock", [Clock("c", 1e-3), Clock("c", 1e-9, floor=1e-3)], ids=["resolution", "floor"])
@pytest.mark.parametrize("value", [1e-6, 1.0], ids=["far below", "far above"])
def test_a_bound_finer_than_the_clock_is_inconclusive_whatever_the_samples_say(clock: Clock, value: float) -> None:
    taken = series([value] * 500, clock)
    for bound in (maximum <= 3.9 * ms, p99 <= 2.9 * ms):
        one = decide(bound, taken)
        assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, True)
        assert "4 ms" in str(one)
    assert decide(maximum <= 4.1 * ms, taken).outcome is (Outcome.PASS if value < 1 else Outcome.FAIL)


def test_a_deadline_finer_than_the_clock_is_inconclusive_too() -> None:
    one = decide(misses(3 * ms) <= 50 * percent, series([1e-6] * 500, Clock("c", 1e-3)))
    assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, True)


def test_too_few_samples_are_inconclusive_and_say_how_many_would_do() -> None:
    with pytest.raises(BoundsNotKept, match="INCONCLUSIVE: p99 .* 2 s.*298.*299"):
        series([1e-3] * 298).check(p99 <= 2 * s)
    with pytest.raises(BoundsNotKept, match="mean.*100"):
        series([1e-3]).check(mean <= 2 * s)
    with pytest.raises(BoundsNotKept, match="99 % .*299.*459"):
        series([1e-3] * 299, interim_analyses=5).check(p99 <= 2 * s)


def test_few_samples_that_all_exceed_the_bound_fail() -> None:
    assert decide(p50 <= 1 * ms, series([5e-3] * 5)).outcome is Outcome.FAIL
    assert decide(p99 <= 1 * ms, series([5e-3] * 10)).outcome is Outcome.FAIL


def test_a_bound_within_the_interval_is_inconclusive() -> None:
    one = decide(p50 <= 52 * ms, series(np.arange(1, 101) * 1e-3))
    assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, False)
    assert "42 ms .. 59 ms" in str(one)


def test_an_exact_clock_needs_one_sample() -> None:
    taken = series([1e-3], EXACT)
    for bound in (p99 <= 2 * ms, mean <= 2 * ms, misses(2 * ms) <= 0 * ratio):
        assert decide(bound, taken).outcome is Outcome.PASS
    assert decide(p99 <= 0.9 * ms, taken).outcome is Outcome.FAIL
    assert "95 %" not in str(decide(p99 <= 0.9 * ms, taken))


def test_misses_pass_and_fail_by_their_limits() -> None:
    taken = series([1e-3] * 3000)
    (one,) = taken.check(misses(2 * ms) <= 0.1 * percent)
    assert str(one).startswith("PASS: misses(2 ms) is 0, limit 0.1 %")
    assert "0 .. 0.09981 %" in str(one)
    assert decide(misses(2 * ms) <= 0.09 * percent, taken).outcome is Outcome.INCONCLUSIVE
    late = series([1e-3] * 900 + [3e-3] * 100)
    assert decide(misses(2 * ms) <= 8 * percent, late).outcome is Outcome.FAIL
    assert decide(miss_count(2 * ms) <= 100 * ratio, late).outcome is Outcome.PASS
    assert decide(miss_count(2 * ms) <= 99 * ratio, late).outcome is Outcome.FAIL


def test_a_marginal_figure_is_kept_and_shown() -> None:
    bound = Bound(p99, 2 * ms, marginal=1 * ms, reason="the control loop's period")
    (one,) = series([1.5e-3] * 300).check(bound)
    assert one.outcome is Outcome.MARGINAL
    assert one.outcome.kept
    assert all(part in str(one) for part in ("MARGINAL: p99 is 1.5 ms, limit 2 ms", "marginal limit 1 ms"))
    assert decide(bound, series([0.5e-3] * 300)).outcome is Outcome.PASS
    assert decide(bound, series([2.5e-3] * 300)).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda: decide(p99 <= 2, series([1.0])), "p99 of response time is compared with 2.0, which has no unit"),
        (lambda: misses(2 * ms) <= 0.001, "0.001"),
        (lambda: misses(2 * ms) <= 1 * ms, "misses.*1 ms"),
        (lambda: p99 <= -1 * ms, "p99 <= -1 ms"),
        (lambda: Bound(p99, 2 * ms, marginal=2 * ms), "p99 <= 2 ms.*marginal.*2 ms"),
        (lambda: Bound(p99, 2 * ms, marginal=1 * percent), "1 %"),
        (lambda: decide(p99 <= 2 * percent, series([1.0])), "p99 of response time.*2 %"),
        (lambda: decide(p99 <= 2 * ms, series([1.0], unit="1")), "2 ms"),
        (lambda: series([1.0]).check(), r"response time of nbody-c\.wasm 10 by guest counter"),
    ],
)
def test_a_bound_without_meaning_is_refused(wrong: Callable[[], object], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        wrong()


def test_a_ratio_s_bound_knows_no_uncertainty_of_the_clock() -> None:
    duty = series([0.5] * 300, Clock("logic analyser", 0.1), unit="1")
    assert decide(p99 <= 50 * percent, duty).outcome is Outcome.PASS
    assert decide(p99 <= 49 * percent, duty).outcome is Outcome.FAIL


# the text of a failure


def test_a_failed_check_shows_figures_clock_and_worst_samples() -> None:
    taken = series([1e-3] * 99 + [9e-3], times=np.arange(100) / 10)
    with pytest.raises(BoundsNotKept) as caught:
        taken.check(maximum <= 5 * ms, p50 <= 5 * ms, Bound(peak_to_peak, 2 * ms, reason="one slot"))
    text = str(caught.value)
    for part in (
        "FAIL: max is 9 ms, limit 5 ms (80 % over",
        "PASS: p50 is",
        "FAIL: peak_to_peak is 8 ms, limit 2 ms (4 times",
    ):
        assert part in text
    assert "one slot" in text
    assert "n=100, clock: guest counter, resolution 16 ns" in text
    assert "#100 9 ms at 9.900000 s\n  #1 1 ms at 0.000000 s\n" in text
    assert isinstance(caught.value, AssertionError)
    assert cause_of(caught.value).startswith("BoundsNotKept: ")
    assert "FAIL: max is 9 ms, limit 5 ms" in cause_of(caught.value)
    assert [one.outcome for one in caught.value.checks] == [Outcome.FAIL, Outcome.PASS, Outcome.FAIL]


def test_a_worst_sample_brings_its_line_of_the_console(tmp_path: Path) -> None:
    data = b"boot\r\nrun 1 done\r\nrun 2 \x1b[31mlate\r\nrun 3"
    (tmp_path / "b.raw").write_bytes(data)
    (tmp_path / "b.tsv").write_text(f"1\t@\t0.0\n5\t<\t{len(data)}\n")
    taken = series(
        [1e-3, 9e-3, 2e-3, 3e-3],
        offsets=[data.index(b"1 done"), data.index(b"late"), data.index(b"run 3"), 10_000],
        provenance={"transcript": str(tmp_path / "b.raw")},
    )
    with pytest.raises(BoundsNotKept) as caught:
        taken.check(maximum <= 5 * ms)
    text = str(caught.value)
    assert f"#2 9 ms, {tmp_path}/b.raw:3: run 2 \\x1b[31mlate\n" in text
    assert f"#3 2 ms, {tmp_path}/b.raw:4: run 3\n" in text
    assert "#4 3 ms\n" in text, "an offset beyond what was recorded"
    assert Transcript(tmp_path / "b.raw").path.exists(), "reading leaves it as it was"


def test_a_transcript_that_is_gone_does_not_hide_the_figures(tmp_path: Path) -> None:
    taken = series([9e-3], offsets=[5], provenance={"transcript": str(tmp_path / "gone.raw")})
    with pytest.raises(BoundsNotKept, match="#1 9 ms"):
        taken.check(maximum <= 5 * ms)


# how many samples


def test_needed_is_enough_when_more_samples_are_alike() -> None:
    def taken(n: int) -> Series:
        return series(-1e-3 * np.log(1 - (np.arange(n) + 0.5) / n))  # exponential: p99 4.6 ms, rms 1 ms

    bounds = [p99 <= 5.2 * ms, rms <= 1.5 * ms]
    assert decide(p99 <= 5.2 * ms, taken(400)).outcome is Outcome.INCONCLUSIVE
    number = samples_needed(taken(400), bounds)
    assert 400 < number < 10_000
    assert all(decide(one, taken(number)).outcome is Outcome.PASS for one in bounds)


def test_needed_reaches_at_least_what_the_figure_wants() -> None:
    assert 299 <= samples_needed(series([1e-3] * 10), [p99 <= 2 * ms]) < 500
    assert samples_needed(series([1e-3] * 10), [misses(2 * ms) <= 0.1 * percent]) >= 2995
    assert samples_needed(series([1e-3] * 10), [p99 <= 2 * ms], limit=100) == 100


@pytest.mark.parametrize(
    ("samples", "bounds"),
    [
        ([1e-3] * 300, [p99 <= 2 * ms]),
        ([9e-3] * 10, [p99 <= 2 * ms, peak_to_peak <= 1 * s]),
        ([9e-3] * 10, [maximum <= 2 * ms, p99 <= 10 * ms]),
        ([1e-6] * 10, [p99 <= 10 * 1e-9 * s]),
        ([1e-3] * 10, [maximum <= 1 * ms]),
    ],
    ids=["decided", "failed", "one failed", "finer than the clock", "within the guard band"],
)
def test_nothing_is_needed_where_more_would_not_help(samples: list[float], bounds: list[Bound]) -> None:
    assert samples_needed(series(samples), bounds) == 0


def test_nothing_is_needed_beyond_the_limit() -> None:
    assert samples_needed(series([1e-3] * 100), [p99 <= 2 * ms], limit=100) == 0


def test_looks_are_planned_beforehand() -> None:
    assert interim_counts(300, 2000) == (300, 600, 1200, 2000)
    assert interim_counts(300, 300) == (300,)
    for first, limit in ((0, 10), (11, 10), (-1, -1)):
        with pytest.raises(ConfigurationError, match=str(first)):
            interim_counts(first, limit)


def test_planned_looks_pass_a_broken_bound_no_more_often_than_they_say() -> None:
    random = np.random.default_rng(8)
    bound = p50 <= np.log(2) * 0.99 * s  # the true median is above it
    planned = interim_counts(50, 800)

    def passes(confidence: float) -> bool:
        samples = random.exponential(1, planned[-1])
        return any(decide(bound, series(samples[:n]), confidence).outcome is Outcome.PASS for n in planned)

    rounds = 1000
    naive = sum(passes(0.95) for _ in range(rounds))
    adjusted = sum(passes(1 - 0.05 / len(planned)) for _ in range(rounds))
    assert adjusted <= 0.05 * rounds + 20, "three standard deviations"
    assert adjusted < naive


# the bounds file


def bounds(directory: Path, text: str | bytes) -> Bounds:
    path = directory / "board.bounds.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Bounds(path)


def test_bounds_are_found_by_quantity_and_subject(tmp_path: Path) -> None:
    found = bounds(tmp_path, GOOD + GOOD.replace("p99", "max") + GOOD.replace("nbody-c.wasm 10", "hello.wasm"))
    chosen = found.of(series([1.0]))
    assert [str(bound) for bound in chosen] == ["p99 <= 2 ms", "max <= 2 ms"]
    assert chosen[0].reason == "the control loop's period"
    assert found.of(Series("release jitter", "nbody-c.wasm 10", (1.0,), CLOCK)) == ()  # type: ignore[arg-type]


def test_bounds_are_found_by_test(tmp_path: Path) -> None:
    found = bounds(tmp_path, GOOD + GOOD.replace("p99", "max") + 'test = "a.py::test_b[board]"\n')
    for test, expected in (("a.py::test_b[board]", ["p99", "max"]), ("a.py::test_b", ["p99"])):
        chosen = found.of(series([1.0], provenance={"test": test}))
        assert [bound.figure.name for bound in chosen] == expected


def test_bounds_are_found_by_clock(tmp_path: Path) -> None:
    found = bounds(
        tmp_path,
        GOOD + 'clock = "virtual time"\n' + GOOD.replace("p99", "p90") + 'clock = "guest counter"\n'
        + GOOD.replace("p99", "max"),
    )  # fmt: skip
    assert [str(bound) for bound in found.of(series([1.0]))] == ["p90 <= 2 ms", "max <= 2 ms"]
    assert [bound.figure.name for bound in found.of(series([1.0], EXACT))] == ["p99", "max"]


def test_bounds_that_name_an_image_are_for_no_other(tmp_path: Path) -> None:
    found = bounds(tmp_path, 'image = "one"\n' + GOOD)
    for origin in ({}, {"image": "one abc"}):
        assert found.of(replace(series([1.0]), provenance=origin))
    with pytest.raises(ConfigurationError, match=r"image one\b.*\bother\b(?s:.*)--board.*--bounds"):
        found.of(replace(series([1.0]), provenance={"image": "other abc"}))
    assert bounds(tmp_path, GOOD).of(replace(series([1.0]), provenance={"image": "other abc"}))


def test_marginal_and_deadline_are_read(tmp_path: Path) -> None:
    missed = GOOD.replace("p99", "misses").replace('"2 ms"', '"0.1 %"')
    text = GOOD + 'marginal = "1.5 ms"\n' + missed + 'deadline = "5 ms"\n'
    text += missed.replace("misses", "miss_count").replace("0.1 %", "0") + 'deadline = "5 ms"\n'
    first, second, third = bounds(tmp_path, text).of(series([1.0]))
    assert first.marginal == 1.5 * ms
    assert str(second) == "misses(5 ms) <= 0.1 %"
    assert str(third) == "miss_count(5 ms) <= 0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[bound]\n", "TOML"),
        (b"\xff\xfe", "UTF-8"),
        ("", "board.bounds.toml: bound: "),
        ("[bound]\nfigure = 'p99'\n", "board.bounds.toml:1: bound"),
        ("[[bonud]]\n", "bonud: "),
        (GOOD + GOOD.replace("limit", "limt"), ":13: bound[1].limt: "),
        (GOOD + GOOD.replace("limit", "limt"), ":9: bound[1].limit: "),
        (GOOD + GOOD.replace('"p99"', '"p98"'), ":12: bound[1].figure: "),
        (GOOD.replace('"p99"', '"p99.9"'), "'p999'"),
        (GOOD.replace('"p99"', "99"), ":5: bound[0].figure: "),
        (GOOD.replace('"2 ms"', '"2 parsecs"'), ":6: bound[0].limit: '2 parsecs'"),
        (GOOD.replace('"2 ms"', "2"), ":6: bound[0].limit: "),
        (GOOD.replace('"2 ms"', '"two ms"'), ":6: bound[0].limit: "),
        (GOOD.replace('"2 ms"', '"inf ms"'), ":6: bound[0].limit: "),
        (GOOD.replace('"2 ms"', '"40"'), ":2: bound[0]: p99 of response time is a time"),
        (GOOD.replace('"2 ms"', '"4 KiB"'), ":2: bound[0]: p99 of response time is a time"),
        (
            GOOD.replace("p99", "misses").replace("2 ms", "1 %") + 'deadline = "3 %"\n',
            ":2: bound[0]: misses of response time is a time",
        ),
        (GOOD.replace('"2 ms"', '"-2 ms"'), ":2: bound[0]: p99 <= -2 ms"),
        (GOOD + 'marginal = "3 ms"\n', ":2: bound[0]: p99 <= 2 ms"),
        (GOOD + 'marginal = "3 %"\n', ":2: bound[0]: 3 %"),
        (GOOD + 'clock = "virtual tim"\n', ":8: bound[0].clock: "),
        (GOOD + "clock = 3\n", ":8: bound[0].clock: "),
        (GOOD + 'deadline = "3 ms"\n', ":2: bound[0]: deadline"),
        (GOOD.replace("p99", "misses"), ":2: bound[0]: deadline"),
        (GOOD.replace("p99", "misses") + "deadline = '1 ms'\n", "misses(1 ms)"),
        (GOOD.replace('"the control loop\'s period"', '""'), ":7: bound[0].reason: "),
        (GOOD.replace('reason = "the control loop\'s period"', ""), ":2: bound[0].reason: "),
    ],
)
def test_a_wrong_bounds_file_is_reported_by_file_line_and_key(tmp_path: Path, text: str | bytes, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bounds(tmp_path, text)
    assert str(tmp_path / "board.bounds.toml") in str(caught.value)
    assert expected in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_wrong_unit_of_a_quantity_of_ones_own_names_the_row(tmp_path: Path) -> None:
    taken = replace(series([1e-3] * 300), quantity="my own quantity")
    found = bounds(tmp_path, "\n\n" + GOOD.replace("response time", "my own quantity").replace("2 ms", "40"))
    with pytest.raises(ConfigurationError, match=r"board\.bounds\.toml:4: p99 of my own quantity"):
        taken.check(*found.of(taken))


def test_a_bound_that_is_not_kept_names_its_row(tmp_path: Path) -> None:
    inline = """bound = [
  # the first
  { quantity = "response time", subject = "other.wasm", figure = "p99", limit = "2 ms", reason = "r" },
  { quantity = "response time", subject = "nbody-c.wasm 10", figure = "p99", limit = "2 ms", reason = "r" },
  { quantity = "response time", subject = "nbody-c.wasm 10", figure = "p50", limit = "2 s", reason = "r" },
]
"""
    for text, place in ((GOOD, ":2"), (inline, ":4")):
        found = bounds(tmp_path, text)
        with pytest.raises(BoundsNotKept) as caught:
            series([9e-3] * 300).check(*found.of(series([9e-3] * 300)))
        assert f"({found.path}{place})" in str(caught.value)
        assert str(caught.value).count(str(found.path)) == 1, "not of a bound that is kept"


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_a_bounds_file_that_cannot_be_read_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(?s)(No such file|directory|regular).*--bounds"):
        Bounds(tmp_path / name)


def test_the_project_s_own_bounds_are_good() -> None:
    root = Path(__file__).resolve().parents[2]
    files = list((root / "boards").glob("*.bounds.toml"))
    assert files
    for path in files:
        Bounds(path)

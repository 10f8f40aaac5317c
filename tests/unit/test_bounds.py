"""Bounds: decisions that never pass by luck, texts that say why, files whose errors point at the line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.console import Transcript
from hil.errors import ConfigurationError
from hil.measure import (
    Bound,
    Bounds,
    BoundsNotKept,
    Clock,
    Outcome,
    Series,
    looks,
    max,
    mean,
    miss_count,
    misses,
    ms,
    needed,
    p50,
    p99,
    peak_to_peak,
    percent,
    ratio,
    rms,
    s,
)
from hil.measure.bounds import check
from hil.plugin.flakes import cause_of

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
    assert str(one) == "pass: p99 <= 2 ms: 1 ms"


def test_the_guard_band_is_the_clock_s_uncertainty_on_either_side() -> None:
    noisy = Clock("host monotonic", 1e-9, floor=0.1e-3)
    taken = series([1e-3] * 300, noisy)
    assert (p99 <= 1.101 * ms).decide(taken).outcome is Outcome.PASS
    assert (p99 <= 1.099 * ms).decide(taken).outcome is Outcome.INCONCLUSIVE
    assert (p99 <= 0.901 * ms).decide(taken).outcome is Outcome.INCONCLUSIVE
    assert (p99 <= 0.899 * ms).decide(taken).outcome is Outcome.FAIL
    assert "nearer than the 100 us that the clock may be off by" in str((p99 <= 1 * ms).decide(taken))


@pytest.mark.parametrize("clock", [Clock("c", 1e-3), Clock("c", 1e-9, floor=1e-3)], ids=["resolution", "floor"])
@pytest.mark.parametrize("value", [1e-6, 1.0], ids=["far below", "far above"])
def test_a_bound_finer_than_the_clock_is_inconclusive_whatever_the_samples_say(clock: Clock, value: float) -> None:
    taken = series([value] * 500, clock)
    for bound in (max <= 3.9 * ms, p99 <= 2.9 * ms):
        one = bound.decide(taken)
        assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, True)
        assert "finer than 4 ms" in str(one)
    assert (max <= 4.1 * ms).decide(taken).outcome is (Outcome.PASS if value < 1 else Outcome.FAIL)


def test_a_deadline_finer_than_the_clock_is_inconclusive_too() -> None:
    one = (misses(3 * ms) <= 50 * percent).decide(series([1e-6] * 500, Clock("c", 1e-3)))
    assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, True)


def test_too_few_samples_are_inconclusive_and_say_how_many_would_do() -> None:
    with pytest.raises(BoundsNotKept, match="inconclusive: p99 <= 2 s.*; 298 samples, 299 are needed"):
        series([1e-3] * 298).check(p99 <= 2 * s)
    with pytest.raises(BoundsNotKept, match="1 samples, 100 are needed for the limits of mean"):
        series([1e-3]).check(mean <= 2 * s)
    with pytest.raises(BoundsNotKept, match=r"\(99 % limits .*299 samples, 459 are needed"):
        check(series([1e-3] * 299), [p99 <= 2 * s], confidence=0.99)


def test_few_samples_that_all_exceed_the_bound_fail() -> None:
    assert (p50 <= 1 * ms).decide(series([5e-3] * 5)).outcome is Outcome.FAIL
    assert (p99 <= 1 * ms).decide(series([5e-3] * 10)).outcome is Outcome.FAIL


def test_a_bound_within_the_interval_is_inconclusive() -> None:
    one = (p50 <= 52 * ms).decide(series(np.arange(1, 101) * 1e-3))
    assert (one.outcome, one.undecidable) == (Outcome.INCONCLUSIVE, False)
    assert "within the confidence interval" in str(one)
    assert "95 % limits 42 ms .. 59 ms" in str(one)


def test_an_exact_clock_needs_one_sample() -> None:
    taken = series([1e-3], EXACT)
    for bound in (p99 <= 2 * ms, mean <= 2 * ms, misses(2 * ms) <= 0 * ratio):
        assert bound.decide(taken).outcome is Outcome.PASS
    assert (p99 <= 0.9 * ms).decide(taken).outcome is Outcome.FAIL
    assert "limits" not in str((p99 <= 0.9 * ms).decide(taken))


def test_misses_pass_and_fail_by_their_limits() -> None:
    taken = series([1e-3] * 3000)
    (one,) = taken.check(misses(2 * ms) <= 0.1 * percent)
    assert str(one) == "pass: misses(2 ms) <= 0.1 %: 0 (95 % limits 0 .. 0.09981 %)"
    assert (misses(2 * ms) <= 0.09 * percent).decide(taken).outcome is Outcome.INCONCLUSIVE
    late = series([1e-3] * 900 + [3e-3] * 100)
    assert (misses(2 * ms) <= 8 * percent).decide(late).outcome is Outcome.FAIL
    assert (miss_count(2 * ms) <= 100 * ratio).decide(late).outcome is Outcome.PASS
    assert (miss_count(2 * ms) <= 99 * ratio).decide(late).outcome is Outcome.FAIL


def test_a_marginal_figure_is_kept_and_shown() -> None:
    bound = Bound(p99, 2 * ms, marginal=1 * ms, reason="the control loop's period")
    (one,) = series([1.5e-3] * 300).check(bound)
    assert one.outcome is Outcome.MARGINAL
    assert one.outcome.kept
    assert str(one).startswith("marginal: p99 <= 2 ms: 1.5 ms; above the marginal limit 1 ms")
    assert bound.decide(series([0.5e-3] * 300)).outcome is Outcome.PASS
    assert bound.decide(series([2.5e-3] * 300)).outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: p99 <= 2, "p99 is compared with 2, which has no unit"),
        (lambda: misses(2 * ms) <= 0.001, "has no unit"),
        (lambda: misses(2 * ms) <= 1 * ms, "is a ratio, but 1 ms is a time"),
        (lambda: p99 <= -1 * ms, "a limit is not negative"),
        (lambda: Bound(p99, 2 * ms, marginal=2 * ms), "is not below the limit"),
        (lambda: Bound(p99, 2 * ms, marginal=1 * percent), "different units"),
        (lambda: (p99 <= 2 * percent).decide(series([1.0])), "p99 of response time is a time, but 2 % is a ratio"),
        (lambda: (p99 <= 2 * ms).decide(series([1.0], unit="1")), "is a ratio, but 2 ms is a time"),
        (lambda: series([1.0]).check(), r"no bounds for response time of nbody-c\.wasm 10 by guest counter"),
    ],
)
def test_a_bound_without_meaning_is_refused(wrong: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        wrong()


def test_a_ratio_s_bound_knows_no_uncertainty_of_the_clock() -> None:
    duty = series([0.5] * 300, Clock("logic analyser", 0.1), unit="1")
    assert (p99 <= 50 * percent).decide(duty).outcome is Outcome.PASS
    assert (p99 <= 49 * percent).decide(duty).outcome is Outcome.FAIL


# what a reader is told


def test_a_broken_bound_tells_figures_clock_and_worst_samples() -> None:
    taken = series([1e-3] * 99 + [9e-3], times=np.arange(100) / 10)
    with pytest.raises(BoundsNotKept) as caught:
        taken.check(max <= 5 * ms, p50 <= 5 * ms, Bound(peak_to_peak, 2 * ms, reason="one slot"))
    text = str(caught.value)
    assert "fail: max <= 5 ms: 9 ms" in text
    assert "pass: p50 <= 5 ms" in text
    assert "fail: peak_to_peak <= 2 ms: 8 ms; bound's reason: one slot" in text
    assert "n=100, clock: guest counter, resolution 16 ns, noise floor not measured" in text
    assert "worst samples:\n  #100 9 ms at 9.900000 s\n  #1 1 ms at 0.000000 s\n" in text
    assert isinstance(caught.value, AssertionError)
    assert cause_of(caught.value).startswith("BoundsNotKept: ")
    assert cause_of(caught.value).endswith(": fail: max <= 5 ms: 9 ms")
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
        taken.check(max <= 5 * ms)
    text = str(caught.value)
    assert f"#2 9 ms, {tmp_path}/b.raw:3: run 2 \\x1b[31mlate\n" in text
    assert f"#3 2 ms, {tmp_path}/b.raw:4: run 3\n" in text
    assert "#4 3 ms\n" in text, "an offset beyond what was recorded"
    assert Transcript(tmp_path / "b.raw").path.exists(), "reading leaves it as it was"


def test_a_transcript_that_is_gone_does_not_hide_the_figures(tmp_path: Path) -> None:
    taken = series([9e-3], offsets=[5], provenance={"transcript": str(tmp_path / "gone.raw")})
    with pytest.raises(BoundsNotKept, match="#1 9 ms"):
        taken.check(max <= 5 * ms)


# how many samples


def test_needed_is_enough_when_more_samples_are_alike() -> None:
    def taken(n: int) -> Series:
        return series(-1e-3 * np.log(1 - (np.arange(n) + 0.5) / n))  # exponential: p99 4.6 ms, rms 1 ms

    bounds = [p99 <= 5.2 * ms, rms <= 1.5 * ms]
    assert (p99 <= 5.2 * ms).decide(taken(400)).outcome is Outcome.INCONCLUSIVE
    number = needed(taken(400), bounds)
    assert 400 < number < 10_000
    assert all(one.decide(taken(number)).outcome is Outcome.PASS for one in bounds)


def test_needed_reaches_at_least_what_the_figure_wants() -> None:
    assert 299 <= needed(series([1e-3] * 10), [p99 <= 2 * ms]) < 500
    assert needed(series([1e-3] * 10), [misses(2 * ms) <= 0.1 * percent]) >= 2995
    assert needed(series([1e-3] * 10), [p99 <= 2 * ms], limit=100) == 100


@pytest.mark.parametrize(
    ("samples", "bounds"),
    [
        ([1e-3] * 300, [p99 <= 2 * ms]),
        ([9e-3] * 10, [p99 <= 2 * ms, peak_to_peak <= 1 * s]),
        ([9e-3] * 10, [max <= 2 * ms, p99 <= 10 * ms]),
        ([1e-6] * 10, [p99 <= 10 * 1e-9 * s]),
        ([1e-3] * 10, [max <= 1 * ms]),
    ],
    ids=["decided", "failed", "one failed", "finer than the clock", "within the guard band"],
)
def test_nothing_is_needed_where_more_would_not_help(samples: list[float], bounds: list[Bound]) -> None:
    assert needed(series(samples), bounds) == 0


def test_nothing_is_needed_beyond_the_limit() -> None:
    assert needed(series([1e-3] * 100), [p99 <= 2 * ms], limit=100) == 0


def test_looks_are_planned_beforehand() -> None:
    assert looks(300, 2000) == (300, 600, 1200, 2000)
    assert looks(300, 300) == (300,)
    for first, limit in ((0, 10), (11, 10), (-1, -1)):
        with pytest.raises(ConfigurationError, match="samples"):
            looks(first, limit)


def test_planned_looks_pass_a_broken_bound_no_more_often_than_they_say() -> None:
    random = np.random.default_rng(8)
    bound = p50 <= np.log(2) * 0.99 * s  # the true median is above it
    planned = looks(50, 800)

    def passes(confidence: float) -> bool:
        samples = random.exponential(1, planned[-1])
        return any(bound.decide(series(samples[:n]), confidence).outcome is Outcome.PASS for n in planned)

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
    with pytest.raises(ConfigurationError, match=r"are for image one, and other was measured(?s:.*)--board.*--bounds"):
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
    ("text", "told"),
    [
        ("[[bound]\n", "not valid TOML"),
        (b"\xff\xfe", "not UTF-8"),
        ("", "board.bounds.toml: bound: this key is missing"),
        ("[bound]\nfigure = 'p99'\n", "board.bounds.toml:1: bound"),
        ("[[bonud]]\n", "bonud: unknown key; did you mean 'bound'?"),
        (GOOD + GOOD.replace("limit", "limt"), ":13: bound[1].limt: unknown key; did you mean 'limit'? known keys: "),
        (GOOD + GOOD.replace("limit", "limt"), ":9: bound[1].limit: this key is missing"),
        (GOOD + GOOD.replace('"p99"', '"p98"'), ":12: bound[1].figure: there is no figure 'p98'; did you mean 'p9"),
        (GOOD.replace('"p99"', '"p99,9"'), ":5: bound[0].figure: there is no figure 'p99,9'; did you mean 'p999'"),
        (GOOD.replace('"p99"', "99"), ":5: bound[0].figure: "),
        (GOOD.replace('"2 ms"', '"2 parsecs"'), ":6: bound[0].limit: '2 parsecs' is no amount"),
        (GOOD.replace('"2 ms"', "2"), ":6: bound[0].limit: write an amount with its unit"),
        (GOOD.replace('"2 ms"', '"two ms"'), ":6: bound[0].limit: "),
        (GOOD.replace('"2 ms"', '"inf ms"'), ":6: bound[0].limit: "),
        (GOOD.replace('"2 ms"', '"-2 ms"'), ":2: bound[0]: p99 <= -2 ms: a limit is not negative"),
        (GOOD + 'marginal = "3 ms"\n', ":2: bound[0]: p99 <= 2 ms: the marginal limit 3 ms is not below the limit"),
        (GOOD + 'marginal = "3 %"\n', ":2: bound[0]: 3 % and 2 ms are amounts of different units"),
        (GOOD + 'clock = "virtual tim"\n', ":8: bound[0].clock: there is no clock 'virtual tim'; did you mean 'virt"),
        (GOOD + "clock = 3\n", ":8: bound[0].clock: "),
        (GOOD + 'deadline = "3 ms"\n', ":2: bound[0]: deadline goes with the figures misses and"),
        (GOOD.replace("p99", "misses"), ":2: bound[0]: deadline goes with"),
        (GOOD.replace("p99", "misses") + "deadline = '1 ms'\n", "is a ratio, but 2 ms is a time"),
        (GOOD.replace('"the control loop\'s period"', '""'), ":7: bound[0].reason: "),
        (GOOD.replace('reason = "the control loop\'s period"', ""), ":2: bound[0].reason: this key is missing"),
    ],
)
def test_a_wrong_bounds_file_is_told_by_file_line_and_key(tmp_path: Path, text: str | bytes, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        bounds(tmp_path, text)
    assert str(tmp_path / "board.bounds.toml") in str(caught.value)
    assert told in str(caught.value)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing.toml", "."])
def test_a_bounds_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"(?s)cannot read the bounds file .*(No such file|directory).*--bounds"
    ):
        Bounds(tmp_path / name)


def test_the_project_s_own_bounds_are_good() -> None:
    root = Path(__file__).resolve().parents[2]
    files = list((root / "boards").glob("*.bounds.toml"))
    assert files
    for path in files:
        Bounds(path)

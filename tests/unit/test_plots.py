"""Pictures: what they say, that they are readable on light and dark, and that extremes are never lost."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from hil import Clock, Series, maximum, misses, ms, p99, percent, us
from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.decision import decide
from hil.measure.figures import FIGURES
from hil.measure.results import CheckResult, load, write
from hil.plots import canvas, files, picture
from hil.plots import series as plots
from hil.plots import trend as trends
from hil.stats.change import changes

COUNTER = Clock("guest counter", 16e-9, floor=1.2e-5)
VIRTUAL = Clock("virtual time", 16e-9, floor=0.0, exact=True)
RANDOM = np.random.default_rng(3)
TIMES = RANDOM.lognormal(-7, 0.5, 800)
KINDS = list(files.SINGLE.values())
PASS = picture.OUTCOMES["pass"][0]


def series(samples: object = TIMES, clock: Clock = COUNTER, **more: object) -> Series:
    return Series(**({"quantity": "response time", "subject": "nbody-c.wasm 10"} | more), samples=samples, clock=clock)  # type: ignore[arg-type]


def strokes(svg: str, colour: str) -> int:
    return svg.partition("</style>")[2].count(f"stroke: {colour}")


def words(svg: str) -> list[str]:
    """The texts that are drawn."""
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(("name", "place"), [("p50", 2), ("p99", 100), ("p999", 1000)])
def test_a_bound_on_a_quantile_is_marked_where_its_curve_must_pass(name: str, place: float) -> None:
    one = series()
    axes = matplotlib.figure.Figure().add_subplot()
    axis = plots.axis_of([one])
    canvas.draw_bounds(axes, axis, axis.place(one.ordered), [decide(FIGURES[name] <= 2 * ms, one)], quantiles=True)
    (mark,) = (line for line in axes.lines if line.get_marker() == "D")
    assert list(mark.get_xdata()) == [pytest.approx(place)]


@pytest.mark.parametrize("draw", KINDS)
def test_a_picture_says_what_by_which_clock_and_how_many(draw: Callable[..., str]) -> None:
    one = series()
    checks = [decide(p99 <= 20 * ms, one), decide(misses(2 * ms) <= 50 * percent, one)]
    svg = draw(one, checks)
    drawn = words(svg)
    assert "response time of nbody-c.wasm 10" in drawn
    assert "n = 800, guest counter, floor 12 us" in drawn
    assert any("response time [" in word for word in drawn)
    root = ET.fromstring(svg)
    title, description, *_ = root
    assert title.text is not None
    assert title.text.startswith("response time of nbody-c.wasm 10")
    assert description.text is not None
    assert all(str(check) in description.text for check in checks)
    assert {title.get("id"), description.get("id")} == set(root.get("aria-labelledby", "").split())


@pytest.mark.parametrize("draw", KINDS)
@pytest.mark.parametrize(
    "samples",
    [[1e-3], [0.0], [-1e-3], [1e-3] * 50, [0.0] * 50, [1e-3, 2e-3], [-5e-6, 5e-6], [0.0, 100.0], TIMES - TIMES.mean()],
    ids=str,
)
def test_any_samples_can_be_drawn(draw: Callable[..., str], samples: object) -> None:
    one = series(samples)
    with np.errstate(all="raise"):
        svg = draw(one, [decide(maximum <= 2 * ms, one)])
    assert "nan" not in svg


@pytest.mark.parametrize("draw", KINDS)
def test_the_same_series_give_the_same_bytes(draw: Callable[..., str]) -> None:
    before = draw(series())
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.fonttype": "path"}):
        assert draw(series()) == before
        assert matplotlib.rcParams["font.size"] == 30, "the user's settings are left alone"
    assert "<dc:" not in before, "nor a date nor a version"


@pytest.mark.parametrize("draw", KINDS)
def test_a_million_samples_make_a_small_file_with_their_extremes(draw: Callable[..., str]) -> None:
    samples = RANDOM.normal(1e-3, 1e-5, 1_000_000)
    samples[[123_456, 765_432]] = 3e-3, 1e-5
    svg = draw(series(samples))
    assert len(svg) < 300_000
    if draw is plots.timeline:
        assert "#123457" in words(svg)
        assert "smallest and largest of each stretch" in words(svg)
    if draw is plots.histogram:
        assert "max 3 ms" in words(svg)


def test_downsampling_keeps_every_extreme_of_a_stretch() -> None:
    values = RANDOM.normal(0, 1, 30_000)
    kept = canvas.extremes(values)
    assert len(kept) <= plots.POINTS
    assert {int(values.argmin()), int(values.argmax())} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    for stretch in np.array_split(np.arange(30_000), 50):
        inside = values[kept[(kept >= stretch[0]) & (kept <= stretch[-1])]]
        assert inside.max() == values[stretch].max()
        assert inside.min() == values[stretch].min()


def test_the_worst_bear_the_numbers_that_a_failure_s_text_names() -> None:
    samples = [1e-3] * 20
    for number, value in ((3, 9e-3), (4, 8e-3), (11, 7e-3), (20, 6e-3), (1, 5e-3), (8, 4e-3)):
        samples[number - 1] = value
    assert sorted(word for word in words(plots.timeline(series(samples))) if word.startswith("#")) == sorted(
        ["#3", "#4", "#11", "#20", "#1"]
    )
    assert not [word for word in words(plots.timeline(series([1e-3] * 20))) if word.startswith("#")], "none is worst"


def test_a_timeline_is_over_time_where_it_is_known() -> None:
    assert "repetition" in words(plots.timeline(series([1.0, 2.0])))
    assert "time since the first sample [s]" in words(plots.timeline(series([1.0, 2.0], times=[5.0, 6.0])))


@pytest.mark.parametrize("draw", KINDS)
def test_bounds_are_drawn_where_they_are_near_and_named_where_they_are_not(draw: Callable[..., str]) -> None:
    one = series([1e-3] * 10 + [2e-3] * 290)
    near = draw(one, [CheckResult("p99", 3 * ms, "pass", "")])
    assert "p99 \N{LESS-THAN OR EQUAL TO} 3 ms: pass" in words(near)
    assert strokes(near, PASS) >= 2, "the line and its key"
    far = draw(one, [CheckResult("p99", 3000 * ms, "pass", "")])
    assert "p99 \N{LESS-THAN OR EQUAL TO} 3 s: pass (beyond the axis)" in words(far)
    assert strokes(far, PASS) == 1, "the key"
    arrow = [word for word in words(far) if "3 s" in word and set(word) & set("\N{RIGHTWARDS ARROW}\N{UPWARDS ARROW}")]
    assert len(arrow) == 1, "at the edge"


@pytest.mark.parametrize("draw", KINDS)
def test_a_bound_beside_equal_samples_is_on_the_axis(draw: Callable[..., str]) -> None:
    svg = draw(series([1.2e-3] * 5), [CheckResult("max", 2 * ms, "pass", "")])
    assert strokes(svg, PASS) == 2


@pytest.mark.parametrize("figure", ["peak_to_peak", "rms", "misses(5 ms)"])
def test_a_figure_that_is_no_sample_s_value_is_in_the_text_only(figure: str) -> None:
    svg = plots.histogram(series(), [CheckResult(figure, 1 * ms, "fail", f"FAIL: {figure} and so on")])
    assert not [word for word in words(svg) if figure in word]
    assert f"FAIL: {figure} and so on" in svg
    assert (
        "100" not in plots.histogram(series(unit="1"), [CheckResult("max", 100 * us, "pass", "")]).split("</desc>")[0]
    )


def test_outcomes_differ_in_words_and_colours() -> None:
    marks = [CheckResult("p50", 1 * ms, outcome, "") for outcome in ("pass", "marginal", "fail", "inconclusive")]
    svg = plots.percentiles(series(), marks)
    for colour in (PASS, picture.OUTCOMES["fail"][0], picture.OPEN[0]):
        assert strokes(svg, colour)
    assert {word.rpartition(" ")[2] for word in words(svg) if word.startswith("p50")} == {
        *("pass", "marginal", "fail", "inconclusive")
    }


def test_limits_are_drawn_where_figures_could_be_otherwise() -> None:
    assert "limits at 95 %, one-sided" in words(plots.percentiles(series()))
    assert "limits at 95 %, one-sided" not in words(plots.percentiles(series(clock=VIRTUAL)))


@pytest.mark.parametrize(
    ("samples", "label"),
    [
        ([1.0, 2.0], "response time [s]"),
        ([1e-3, 0.9], "response time [ms]"),
        ([1e-6, 9e-4], "response time [us]"),
        ([1e-9, 9e-7], "response time [ns]"),
        ([0.251741328 + n * 16e-9 for n in range(9)], "response time \N{MINUS SIGN} 251.741392 ms [ns]"),
    ],
)
def test_the_axis_has_a_unit_that_suits(samples: list[float], label: str) -> None:
    assert label in words(plots.histogram(series(samples)))


def test_a_ratio_has_no_unit() -> None:
    assert "response time" in words(plots.histogram(series([0.1, 0.5], unit="1")))


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_stands_out_from_its_paper(theme: int) -> None:
    for pair in (picture.INK, *picture.LINES, *picture.OUTCOMES.values(), picture.OPEN):
        lighter, darker = sorted(map(luminance, (pair[theme], picture.PAPER[theme])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, pair[theme]


@pytest.mark.parametrize("draw", [*KINDS, lambda one, checks: plots.compare([one] * 6)])
def test_every_colour_has_its_dark_partner(draw: Callable[..., str]) -> None:
    marks = [CheckResult("p50", 1 * ms, outcome, "") for outcome in ("pass", "fail", "inconclusive")]
    style, _, drawn = draw(series(), marks).partition("</style>")
    assert "prefers-color-scheme:dark" in style
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn))
    assert used <= set(re.findall(r": (#[0-9a-f]+)\"", style)), "nothing stays as it is on dark paper"


def test_odd_names_are_texts() -> None:
    odd = series(quantity="a < b & $x$", subject='"m".wasm <i>')
    assert 'a < b & $x$ of "m".wasm <i>' in words(plots.histogram(odd))


def test_a_comparison_names_what_sets_the_series_apart() -> None:
    origin = {"board": "b", "image": "reference " + "1" * 64}
    idle, busy = (series(TIMES * k, provenance=origin | {"seed": seed}) for k, seed in ((1, "7"), (2, "8")))
    drawn = words(plots.compare([idle, busy]))
    assert "response time of nbody-c.wasm 10" in drawn
    assert {"seed 7, n = 800", "seed 8, n = 800"} <= set(drawn)
    drawn = words(
        plots.compare([idle, series(subject="hello.wasm", provenance=origin | {"image": "reference " + "2" * 64})])
    )
    assert "hello.wasm image reference 22222222 no seed, n = 800" in drawn
    assert {"1, n = 800", "2, n = 800"} <= set(words(plots.compare([idle, idle])))


def test_a_seed_sweep_fits_into_one_comparison() -> None:
    ways = [series(provenance={"seed": str(seed)}) for seed in range(24)]
    svg = plots.compare(ways)
    assert len({word for word in words(svg) if word.startswith("seed ")}) == 24
    assert svg == plots.compare(ways)


@pytest.mark.parametrize("several", [[], [series()], [series()] * 25, [series(), series(unit="1")]])
def test_what_cannot_be_compared_is_said(several: list[Series]) -> None:
    with pytest.raises(ConfigurationError, match="compare"):
        plots.compare(several)


def test_files_are_named_after_what_they_show(tmp_path: Path) -> None:
    for file in ("a", "b"):
        write(tmp_path / file, series([1e-3, 2e-3]))
    loaded = [load(tmp_path / file) for file in ("a", "b")]
    made = list(files.write(tmp_path / "new", loaded, ["histogram", "comparison"]))
    assert [path.name for path in made] == [
        "response-time-nbody-c.wasm-10-histogram.svg",
        "response-time-nbody-c.wasm-10-histogram-2.svg",
        "response-time-nbody-c.wasm-10-comparison.svg",
    ]
    assert all(path.read_text().startswith("<svg") for path in made)


def test_one_file_is_compared_across_subjects_several_by_subject(tmp_path: Path) -> None:
    for subject in ("idle", "stressed"):
        write(tmp_path / "a", series([1e-3, 2e-3], subject=subject))
        write(tmp_path / "b", series([1e-3, 3e-3], subject=subject))
    a, b = load(tmp_path / "a"), load(tmp_path / "b")
    assert [path.name for path in files.write(tmp_path, [a], ["comparison"])] == ["response-time-comparison.svg"]
    assert [path.name for path in files.write(tmp_path, [a, b], ["comparison"])] == [
        "response-time-idle-comparison.svg",
        "response-time-stressed-comparison.svg",
    ]


def test_nothing_to_draw_and_nowhere_to_put_it(tmp_path: Path) -> None:
    write(tmp_path / "a", series())
    with pytest.raises(ConfigurationError, match="no series"):
        list(files.write(tmp_path, [], ["histogram"]))
    with pytest.raises(InfrastructureError, match=str(tmp_path)):
        list(files.write(tmp_path / "a", [load(tmp_path / "a")], ["histogram"]))


# trends

NIGHTS = [f"2026-10-{day:02}" for day in range(1, 31)]
LEVELS = [2e-3] * 20 + [2.2e-3] * 10


def night(number: int, value: float, **more: object) -> trends.TrendPoint:
    return trends.TrendPoint(NIGHTS[number] if number < 30 else f"night {number}", value, **more)  # type: ignore[arg-type]


def trend(values: Sequence[float], *more: Any, **labels: Any) -> str:
    points = [night(number, value) for number, value in enumerate(values)]
    return trends.trend(points, *more, **({"quantity": "response time"} | labels))


def tips(svg: str) -> list[str]:
    """What the points say of themselves."""
    return [title.text or "" for title in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")][1:]


def test_a_trend_says_what_and_how_it_changed() -> None:
    found = changes(LEVELS, exact=True)
    svg = trend(LEVELS, found, subject="nbody-c.wasm 10", figure="p99", clock="virtual time")
    drawn = words(svg)
    assert {"p99 of response time of nbody-c.wasm 10", "30 nights, virtual time", "response time [ms]"} <= set(drawn)
    assert "+10.0 % step" in drawn
    assert NIGHTS[-1] in drawn, "the last night is named"
    root = ET.fromstring(svg)
    title, description, *_ = root
    assert (root.get("role"), title.text) == ("img", "p99 of response time of nbody-c.wasm 10\n30 nights, virtual time")
    assert "+10.0 % step, 2026-10-21: 2 ms to 2.2 ms" in (description.text or "")
    assert {title.get("id"), description.get("id")} == set(root.get("aria-labelledby", "").split())
    assert svg == trend(LEVELS, found, subject="nbody-c.wasm 10", figure="p99", clock="virtual time")


def test_a_drift_is_a_slope_from_its_begin_to_its_end() -> None:
    values = [1.0] * 18 + [1 + 0.01 * number for number in range(1, 13)]
    svg = trend(values, changes(values, exact=True))
    assert "+12.0 % drift over 12 nights" in words(svg)
    (path,) = re.findall(rf'<path d="M(\S+) (\S+)L(\S+) (\S+)" style="fill: none; stroke: {picture.LINES[2][0]}"', svg)
    line = re.findall(
        r"[ML]?(\d+\.\d) (\d+\.\d)", re.findall(r'<path d="(M[^"]*L[^"]*)" style="fill: none; stroke: #0969da"', svg)[0]
    )
    assert path == (*line[17], *line[29])


def test_every_point_tells_its_numbers() -> None:
    points = [
        night(0, 1e-3, lower=0.9e-3, upper=1.1e-3, bound=2e-3, outcome="pass"),
        night(1, 3e-3, bound=2e-3, outcome="fail"),
        night(2, 2e-3, upper=2.5e-3),
    ]
    svg = trends.trend(points, quantity="response time")
    assert sorted(tips(svg)) == [
        "2026-10-01: 1 ms (900 us .. 1.1 ms), bound 2 ms: pass",
        "2026-10-02: 3 ms, bound 2 ms: fail",
        "2026-10-03: 2 ms (? .. 2.5 ms)",
    ]


def test_outcomes_of_a_trend_differ_in_shape_and_colour() -> None:
    names = ("pass", "marginal", "inconclusive", "fail")
    svg = trends.trend([night(n, 1.0 + n, bound=9.0, outcome=name) for n, name in enumerate(names)], quantity="q")
    assert set(names) <= set(words(svg))
    shapes = {re.sub(r"[\d.]+ [\d.]+|\"\d+\.\d\"", "", shape) for shape in re.findall(r"</title>(<\w+ [^>]*>)", svg)}
    assert len(shapes) == 4, "by shape alone"
    for colour in (PASS, picture.OUTCOMES["fail"][0], picture.OPEN[0]):
        assert colour in svg.partition("</style>")[2]


def test_a_bound_of_a_trend_may_change_and_may_be_far() -> None:
    svg = trends.trend([night(n, 1e-3, bound=2e-3 if n < 5 else 1.5e-3) for n in range(9)], quantity="q")
    assert "bound 1.5 ms" in words(svg)
    assert len(re.findall(r'd="M[^"]*H[^"]*V[^"]*H[^"]*"[^>]*dasharray', svg)) == 1, "one line with a step"
    svg = trends.trend([night(n, 1e-3, bound=None if n == 4 else 2e-3) for n in range(9)], quantity="q")
    assert len(re.findall(r'd="(M[^"]*M[^"]*)"[^>]*dasharray', svg)) == 1, "with a gap"
    svg = trends.trend([night(n, 1e-3, bound=2.0) for n in range(9)], quantity="q")
    assert "bound 2 s (beyond the axis)" in words(svg)


def test_images_and_notes_are_marked_where_they_changed() -> None:
    points = [night(n, 1.0, image="" if n == 3 else ("ab" if n < 10 else "cd") * 32) for n in range(20)]
    svg = trends.trend(points, (), [("2026-10-06", "host <moved>"), ("2025-01-01", "gone")], quantity="q")
    assert {"cdcdcdcd", "(1)", "(1) 2026-10-06: host <moved>"} <= set(words(svg))
    assert "abababab" not in words(svg), "the first image is no change"
    assert "gone" not in svg
    many = trends.trend([night(n, 1.0, image=f"{n:064x}") for n in range(20)], quantity="q")
    assert len([tip for tip in tips(many) if ": image 0" in tip]) == 19
    assert "00000000" not in words(many), "too many to name"


@pytest.mark.parametrize("count", [1, 2, 3, 30, 90, 300])
def test_a_trend_is_small_and_its_labels_do_not_meet(count: int) -> None:
    points = [
        night(n % 300, 1e-3 + n * 1e-6, lower=1e-3, upper=2e-3, bound=3e-3, outcome="pass", image="ab" * 32)
        for n in range(count)
    ]
    svg = trends.trend(points, quantity="response time")
    assert len(svg) < 30_000 or count > 90
    turned = [float(x) for x in re.findall(r"rotate\(-40 (\S+) ", svg)]
    assert 1 <= len(turned) <= 16
    assert min(np.diff(turned), default=99) >= 12


@pytest.mark.parametrize(
    "values",
    [
        *([0.0], [0.0] * 9, [-1e-3] * 9, [1e-3, -1e-3] * 5, [1e300, -1e300, 0], [1e-300, 2e-300], [5e-324, 0.0]),
        *([0.251741328 + n * 1e-9 for n in range(9)], [1.0, 1.0 + 2e-16], [1e-9, 1e9], [0.0] * 8 + [1.0]),
    ],
    ids=str,
)
@pytest.mark.parametrize("unit", ["s", "B", "1"])
def test_any_trend_can_be_drawn(values: list[float], unit: str) -> None:
    svg = trend(values, changes(values), unit=unit)
    root = ET.fromstring(svg)
    assert not re.search(r"nan|inf\b", svg.partition("</style>")[2])
    height = float((root.get("viewBox") or "").split()[3])
    for x, y in re.findall(r'c[xy]="([\d.e+-]+)" cy="([\d.e+-]+)"', svg):
        assert 0 <= float(x) <= 648
        assert 0 <= float(y) <= height
    assert len([word for word in words(svg) if re.fullmatch(r"-?[\d.]+(e[+-]\d+)?", word)]) >= 2, "ticks"


def test_two_nights_of_one_name_are_two_points() -> None:
    svg = trends.trend([night(0, 1.0), night(0, 2.0)], (), [(NIGHTS[0], "note")], quantity="q")
    assert tips(svg) == ["2026-10-01: 1 s", "2026-10-01: 2 s"]


def test_a_trend_has_its_dark_partners() -> None:
    points = [night(n, 1.0 + n, bound=3.5, outcome=name) for n, name in enumerate(("pass", "fail", "marginal", None))]
    style, _, drawn = trends.trend(points, (), [(NIGHTS[0], "note")], quantity="q").partition("</style>")
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn))
    assert used <= set(re.findall(r": (#[0-9a-f]+)\"", style))
    assert not re.search(r"(?:fill|stroke)=", drawn), "a colour that is an attribute has no partner"

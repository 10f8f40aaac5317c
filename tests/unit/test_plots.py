"""Pictures: what they say, that they are readable on light and dark, and that extremes are never lost."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.timing import Clock, Series, maximum, misses, ms, p99, percent, plots, us
from hil.timing.results import Judged, load, write

COUNTER = Clock("guest counter", 16e-9, floor=1.2e-5)
VIRTUAL = Clock("virtual time", 16e-9, floor=0.0, exact=True)
RANDOM = np.random.default_rng(3)
TIMES = RANDOM.lognormal(-7, 0.5, 800)
KINDS = list(plots.ONE.values())
PASS = plots.OUTCOMES["pass"][0]


def series(samples: object = TIMES, clock: Clock = COUNTER, **more: object) -> Series:
    return Series(**({"quantity": "response time", "subject": "nbody-c.wasm 10"} | more), samples=samples, clock=clock)  # type: ignore[arg-type]


def strokes(svg: str, colour: str) -> int:
    return svg.partition("</style>")[2].count(f"stroke: {colour}")


def words(svg: str) -> list[str]:
    """The texts that are drawn."""
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("draw", KINDS)
def test_a_picture_says_what_by_which_clock_and_how_many(draw: Callable[..., str]) -> None:
    one = series()
    checks = [(p99 <= 20 * ms).decide(one), (misses(2 * ms) <= 50 * percent).decide(one)]
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
        svg = draw(one, [(maximum <= 2 * ms).decide(one)])
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
    kept = plots._extremes(values)
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
    near = draw(one, [Judged("p99", 3 * ms, "pass", "")])
    assert "p99 \N{LESS-THAN OR EQUAL TO} 3 ms: pass" in words(near)
    assert strokes(near, PASS) >= 2, "the line and its key"
    far = draw(one, [Judged("p99", 3000 * ms, "pass", "")])
    assert "p99 \N{LESS-THAN OR EQUAL TO} 3 s: pass (beyond the axis)" in words(far)
    assert strokes(far, PASS) == 1, "the key"


@pytest.mark.parametrize("draw", KINDS)
def test_a_bound_beside_equal_samples_is_on_the_axis(draw: Callable[..., str]) -> None:
    svg = draw(series([1.2e-3] * 5), [Judged("max", 2 * ms, "pass", "")])
    assert strokes(svg, PASS) == 2


@pytest.mark.parametrize("figure", ["peak-to-peak", "rms", "deadline misses (5 ms)"])
def test_a_figure_that_is_no_sample_s_value_is_in_the_text_only(figure: str) -> None:
    svg = plots.histogram(series(), [Judged(figure, 1 * ms, "fail", f"fail: {figure} and so on")])
    assert not [word for word in words(svg) if figure in word]
    assert f"fail: {figure} and so on" in svg
    assert "100" not in plots.histogram(series(unit="1"), [Judged("max", 100 * us, "pass", "")]).split("</desc>")[0]


def test_outcomes_differ_in_words_and_colours() -> None:
    marks = [Judged("p50", 1 * ms, outcome, "") for outcome in ("pass", "marginal", "fail", "inconclusive")]
    svg = plots.percentiles(series(), marks)
    for colour in (PASS, plots.OUTCOMES["fail"][0], plots.OPEN[0]):
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
    for pair in (plots.INK, *plots.LINES, *plots.OUTCOMES.values(), plots.OPEN):
        lighter, darker = sorted(map(luminance, (pair[theme], plots.PAPER[theme])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, pair[theme]


@pytest.mark.parametrize("draw", [*KINDS, lambda one, checks: plots.compare([one] * 6)])
def test_every_colour_has_its_dark_partner(draw: Callable[..., str]) -> None:
    marks = [Judged("p50", 1 * ms, outcome, "") for outcome in ("pass", "fail", "inconclusive")]
    style, _, drawn = draw(series(), marks).partition("</style>")
    assert "prefers-color-scheme:dark" in style
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawn))
    assert used <= set(re.findall(r": (#[0-9a-f]+)\"", style)), "nothing stays as it is on dark paper"


def test_odd_names_are_texts() -> None:
    odd = series(quantity="a < b & $x$", subject='"m".wasm <i>')
    assert 'a < b & $x$ of "m".wasm <i>' in words(plots.histogram(odd))


def test_a_comparison_names_what_sets_the_series_apart() -> None:
    told = {"board": "b", "image": "reference " + "1" * 64}
    idle, busy = (series(TIMES * k, provenance=told | {"seed": seed}) for k, seed in ((1, "7"), (2, "8")))
    drawn = words(plots.compare([idle, busy]))
    assert "response time of nbody-c.wasm 10" in drawn
    assert {"seed 7, n = 800", "seed 8, n = 800"} <= set(drawn)
    drawn = words(
        plots.compare([idle, series(subject="hello.wasm", provenance=told | {"image": "reference " + "2" * 64})])
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
    with pytest.raises(ConfigurationError, match="cannot be compared in one picture"):
        plots.compare(several)


def test_files_are_named_after_what_they_show(tmp_path: Path) -> None:
    for file in ("a", "b"):
        write(tmp_path / file, series([1e-3, 2e-3]))
    loaded = [load(tmp_path / file) for file in ("a", "b")]
    made = list(plots.write(tmp_path / "new", loaded, ["histogram", "comparison"]))
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
    assert [path.name for path in plots.write(tmp_path, [a], ["comparison"])] == ["response-time-comparison.svg"]
    assert [path.name for path in plots.write(tmp_path, [a, b], ["comparison"])] == [
        "response-time-idle-comparison.svg",
        "response-time-stressed-comparison.svg",
    ]


def test_nothing_to_draw_and_nowhere_to_put_it(tmp_path: Path) -> None:
    write(tmp_path / "a", series())
    with pytest.raises(ConfigurationError, match="no series"):
        list(plots.write(tmp_path, [], ["histogram"]))
    with pytest.raises(InfrastructureError, match="cannot write the picture"):
        list(plots.write(tmp_path / "a", [load(tmp_path / "a")], ["histogram"]))

"""The figures on a test's page, and their margins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from report_pages import Page, is_closed

import hil.report.evidence
from hil import Clock, Series, maximum, ms, p99, us
from hil.compare.baseline import Baselines
from hil.measure.decision import decide
from hil.measure.margins import margin
from hil.report.figures import COLUMNS, MeasuredSeries, figures_page


def series(values: Sequence[float], *, exact: bool = False, floor: float | None = 1e-6, **told: str) -> Series:
    clock = Clock("virtual time" if exact else "guest counter", 16e-9, floor=0.0 if exact else floor, exact=exact)
    return Series(
        "response time", "hello.wasm <b>", np.array(values), clock, provenance={"board": "b", "test": "t", **told}
    )


@pytest.mark.parametrize(
    ("value", "limit", "told"),
    [
        (62, 100, "38 %"),
        (112, 100, "12 %"),
        (100, 100, "0 %"),
        (0, 0, "nothing"),
        (1, 0, "over"),
        (432, 2, "216 times"),
        (4, 2, "2 times"),
    ],
)
def test_a_margin_is_the_share_left_or_the_excess(value, limit, told) -> None:  # type: ignore[no-untyped-def]
    assert margin(value, limit).startswith(told)


def test_the_figures_are_a_table_with_limits_bounds_and_margins() -> None:
    one = series([1e-3] * 500 + [1.5e-3])
    checks = tuple(decide(bound, one) for bound in (p99 <= 2 * ms, maximum <= 1 * ms, p99 <= 3 * us))
    page = figures_page([MeasuredSeries(series([5.0])), MeasuredSeries(one, checks)])
    is_closed(page)
    rows = Page(page).rows
    assert rows[0] == list(COLUMNS)
    assert rows[1][:6] == ["p99", "1 ms", "1 ms .. 1 ms", "at most 2 ms", "50 % left", "pass"]
    assert (rows[2][0], rows[2][1], rows[2][5]) == ("max", "1.5 ms", "fail")
    assert rows[2][4].startswith("50 %")
    assert rows[3][5] == "inconclusive"
    assert rows[3][6]
    assert [row[0] for row in rows[4:6]] == ["min", "p50"], "figures without a bound"
    for fact in ("n = 501", "guest counter", "16 ns", "noise floor 1 us", "95 %"):
        assert fact in page
    assert (rows[7][0], rows[7][1], rows[7][3]) == ("min", "5 s", "")
    assert rows[8][:3] == ["p50", "5 s", "? .. ?"], "one sample has no limits"
    assert page.index("n = 501") < page.index("n = 1;"), "what was judged comes first"


def test_an_exact_clock_has_no_limits() -> None:
    page = figures_page([MeasuredSeries(series([1e-3, 2e-3], exact=True))])
    assert {row[2] for row in Page(page).rows[1:]} == {"exact"}
    assert "noise floor none" in page


def test_the_baseline_is_told_in_words_and_drawn(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: list[tuple[str, str]] = []
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.append((name, body)))
    random = np.random.default_rng(1)
    old, new = series(1e-3 + 1e-5 * random.random(300)), series(2e-3 + 1e-5 * random.random(200))
    baselines = Baselines(tmp_path)
    baselines.record([old])
    checks = (decide(p99 <= 9 * ms, new),)
    hil.report.evidence.attach_figures([(new, checks), (new, ())], tmp_path / "results.jsonl", baselines)
    names = [name.partition(":")[0] for name, _ in attached]
    assert names == ["figures", "histogram", "timeline", "percentiles", "samples", "samples"]
    told = attached[0][1]
    assert '<span class="bad">different</span>' in told
    assert "1 ms (+99" in told or "1 ms (+100" in told
    assert all("baseline, n = 300" in body for name, body in attached[1:3] for _ in name)
    assert attached[4][1].startswith("sample,s\n1,0.002")


def test_without_a_baseline_or_with_a_broken_one_the_figures_stand(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name.partition(":")[0], body))
    one, baselines = series([1e-3] * 9), Baselines(tmp_path)
    hil.report.evidence.attach_figures([(one, ())], tmp_path, baselines)
    assert "no baseline" in attached["figures"]
    assert set(attached) == {"figures", "samples"}, "no pictures of what nobody judged"
    (path,) = baselines.record([one])
    path.write_text("{}")
    attached.clear()
    hil.report.evidence.attach_figures([(one, ())], tmp_path, baselines)
    assert f"baseline: {path}:1: " in attached["figures"]
    assert "p99" in attached["figures"]


def test_many_samples_are_left_to_the_results_file(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name.partition(":")[0], body))
    monkeypatch.setattr(hil.report.evidence, "SAMPLES", 3)
    hil.report.evidence.attach_figures([(series([1.0] * 4), ())], tmp_path / "r.jsonl", Baselines(tmp_path))
    assert attached["samples"].startswith("4 samples")
    assert f"{tmp_path}/r.jsonl" in attached["samples"]

"""A night makes its overview, and goes on without one."""

from __future__ import annotations

from pathlib import Path

import pytest
from reviewed import BEGUN, REAL, Plan, history
from support import UNUSED_BOARD

from hil.nightly import evidence
from hil.nightly.evidence import make_review
from hil.nightly.night import NightResult, run_night
from hil.nightly.state import Night, NightState
from hil.review import overview
from hil.review.overview import Review


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(evidence, "make_report", lambda night: "report: none")  # Node.js takes seconds
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's and hypothesis's take seconds
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p hil.plugin -p allure_pytest.plugin -p xdist")
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_suite.py").write_text("def test_one(): pass\ndef test_two(): assert False, 'moon'\n")
    (tmp_path / "one.yaml").write_text(UNUSED_BOARD)
    path = tmp_path / "tiny.toml"
    path.write_text('limit = 5\n[[job]]\nname = "job"\nsuites = ["suite"]\nboards = ["one.yaml"]\n')
    return path


def night(plan: Path) -> NightResult:
    return run_night(plan, plan.parent / "nights", log=lambda _: None)


def test_a_night_has_an_overview_and_its_summary_leads_there(plan: Path) -> None:
    result = night(plan)
    assert result.path is not None
    page = result.path / "overview.html"
    assert f"- overview: {page} (first night of its plan: 1 thing to look at)" in result.text
    assert "test_suite.py::test_two" in page.read_text()
    assert 'href="summary.md"' in page.read_text()
    assert (result.path / "trends" / "index.html").exists()


@pytest.mark.parametrize("error", [RuntimeError("no colours left"), OSError(28, "the disk is full")])
def test_a_night_without_an_overview_is_still_a_night(
    plan: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(overview, "review", fail)
    result = night(plan)
    assert (result.status, result.error) == (1, None)
    assert f"- no overview: {type(error).__name__}: {error}" in result.text


def reviewed(root: Path, plan: Plan, min_effect: float) -> tuple[Review, list[str]]:
    with history(root, plan):
        pass
    night = Night(root / plan.name(plan.nights - 1), NightState(plan=plan.plan, began=BEGUN, min_effect=min_effect))
    night.path.mkdir()
    review, notes = make_review(root / "history.sqlite", night)
    assert review is not None
    return review, notes


def test_any_change_of_an_exact_figure_is_in_the_summary(tmp_path: Path) -> None:
    plan = Plan(nights=2, boards=("one",), level=lambda board, quantity, subject, night: 0.010 + 1e-6 * night)
    review, notes = reviewed(tmp_path, plan, 5.0)
    (note,) = (note for note in notes if note.startswith("exact figures"))
    assert all(datum in note for datum in ("5 of 5", plan.name(0), "hello.wasm", "one"))
    assert review.findings == ()


@pytest.mark.parametrize(("min_effect", "count"), [(2.0, 1), (5.0, 1), (90.0, 0)])
@pytest.mark.parametrize("step", [20, 29], ids=["trend", "night before"])
def test_effects_below_that_of_the_plan_are_no_findings(
    tmp_path: Path, min_effect: float, count: int, step: int
) -> None:
    plan = Plan(
        boards=("one",),
        measured=[("response time", "nbody-c.wasm 10", REAL)],
        level=lambda board, quantity, subject, night: 0.010 if night < step else 0.015,
    )
    assert len(reviewed(tmp_path, plan, min_effect)[0].findings) == count

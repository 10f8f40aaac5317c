"""The commands that list the rows of a bounds file and suggest new ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hil import Clock, Series, ms, p99
from hil.cli import main
from hil.errors import ConfigurationError
from hil.measure import results
from hil.measure.bounds_file import Bounds
from hil.measure.decision import Outcome, decide
from hil.measure.series_data import NO_VERDICT, StepResponse
from hil.measure.suggestions import as_toml, suggest
from hil.measure.units import NAMES

COUNTER = Clock("guest counter", 16e-9, floor=1e-6)
EXACT = Clock("virtual time", 16e-9, floor=0.0, exact=True)
ROOT = Path(__file__).parents[2]


def series(samples: object, clock: Clock = COUNTER, unit: str = "s", subject: str = "hello.wasm") -> Series:
    return Series("response time", subject, samples, clock, unit)  # type: ignore[arg-type]


def hil(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, arguments)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("count", "clock", "figure"),
    [(299, COUNTER, "p99"), (29, COUNTER, "p90"), (5, COUNTER, "p50"), (4, COUNTER, "max"), (1, EXACT, "p99")],
)
def test_the_highest_figure_that_can_be_decided_is_bounded(count: int, clock: Clock, figure: str) -> None:
    (row,) = suggest([series([0.02] * count, clock)], 0.5)
    assert (row.figure, row.clock) == (figure, clock.name)
    assert 30 * ms <= row.limit <= 31 * ms
    assert "20 ms" in row.reason
    assert "50 %" in row.reason


@given(
    st.lists(st.floats(0, 1e5, width=32), min_size=1, max_size=400),
    st.sampled_from(["s", "B", "1"]),
    st.sampled_from([COUNTER, EXACT]),
    st.floats(0.01, 10),
)
def test_what_was_measured_keeps_its_suggestion(samples: list[float], unit: str, clock: Clock, headroom: float) -> None:
    taken = replace(series(samples, clock, unit), quantity="my own quantity")
    (row,) = suggest([taken], headroom)
    assert decide(row.bound(), taken).outcome is Outcome.PASS
    assert row.limit.value <= 1.2 * (1 + headroom) * (max(samples) + 4e-6) or unit != "s"


def test_several_series_of_one_name_have_one_row() -> None:
    rows = suggest([series([0.02] * 300), series([0.04] * 300), series([0.01] * 300, subject="other.wasm")], 1.0)
    assert [(row.subject, str(row.limit)) for row in rows] == [("hello.wasm", "81 ms"), ("other.wasm", "21 ms")]


@pytest.mark.parametrize("headroom", [0.0, -1.0, float("nan"), float("inf")])
def test_a_headroom_that_is_none_is_refused(headroom: float) -> None:
    with pytest.raises(ConfigurationError, match=str(headroom)):
        suggest([series([1.0])], headroom)


def test_a_quantity_in_the_wrong_unit_has_no_row() -> None:
    with pytest.raises(ConfigurationError, match=r"response time of hello\.wasm"):
        suggest([series([1.0] * 9, unit="B")], 0.5)


def test_a_step_response_is_bounded_by_its_figures() -> None:
    times = np.arange(0, 1, 0.001)
    response = StepResponse(setpoint=50, span=30, rising=1, band=0.02, start=0.0, tail=0.1)
    taken = replace(
        series(50 - 30 * np.exp(-times / 0.1), replace(EXACT, resolution=1e-3), unit="1"),
        quantity="step response",
        times=times,
        response=response,
    )
    rows = {row.figure: row for row in suggest([taken], 0.5)}
    assert list(rows) == ["settling_time", "steady_state_error"], "there is no overshoot"
    assert rows["settling_time"].limit == 590 * ms
    assert all(decide(row.bound(), taken).outcome is Outcome.PASS for row in rows.values())


def test_suggested_rows_are_a_bounds_file(tmp_path: Path) -> None:
    taken = series(np.linspace(0.01, 0.02, 300), subject='x.wasm "a" \\ \N{GREEK SMALL LETTER MU}')
    path = tmp_path / "b.bounds.toml"
    path.write_text("\n".join(map(as_toml, suggest([taken], 0.5))))
    (bound,) = Bounds(path).of(taken)
    assert bound.figure is p99
    taken.check(bound)


def test_the_command_suggests_for_series_without_bounds(tmp_path: Path) -> None:
    file = str(tmp_path / "r.jsonl")
    bounded = series([0.02] * 300, subject="bounded.wasm")
    results.write(Path(file), bounded, [decide(p99 <= 1 * NAMES["s"], bounded)])
    assert hil("bounds", "suggest", file)[0] == 2
    along = series([0.01] * 300, subject="along.wasm")
    results.write(Path(file), along)
    assert hil("bounds", "suggest", file)[0] == 2, "no test checks it"
    results.write(Path(file), replace(series([0.02] * 300), provenance=NO_VERDICT))
    status, text = hil("bounds", "suggest", file, "--headroom", "100")
    assert status == 0
    (tmp_path / "b.toml").write_text(text)
    assert [(row.subject, str(row.limit)) for row in Bounds(tmp_path / "b.toml").rows] == [("hello.wasm", "41 ms")]
    assert hil("bounds", "suggest", file, "--all")[1].count("[[bound]]") == 3


def test_the_commands_take_the_directory_of_a_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    status, text = hil("results", "show", str(run))
    assert (status, str(run) in text) == (2, True)
    for name, subject in (("results.jsonl", "one.wasm"), ("results-gw1.jsonl", "two.wasm")):
        results.write(run / name, replace(series([0.02] * 300, subject=subject), provenance=NO_VERDICT))
    assert [row["subject"] for row in json.loads(hil("results", "show", str(tmp_path), "--json")[1])] == [
        "two.wasm",
        "one.wasm",
    ]
    assert hil("bounds", "suggest", str(run))[1].count("[[bound]]") == 2


def test_the_command_lists_each_row_with_its_series() -> None:
    status, text = hil("bounds", "list", "qemu-reference", "--json")
    rows = json.loads(text)
    path = ROOT / "boards" / "qemu-reference.bounds.toml"
    assert status == 0
    assert len(rows) == len(Bounds(path).rows)
    assert rows[0] == {
        "line": "7",
        "quantity": "response time",
        "subject": "hello.wasm",
        "test": "any",
        "clock": "guest counter",
        "bound": "p50 <= 250 ms",
        "marginal": "",
        "reason": "five times what two idle host cores need",
    }
    assert path.read_text().splitlines()[6] == "[[bound]]"
    assert hil("bounds", "list", "place:x")[0] == 2

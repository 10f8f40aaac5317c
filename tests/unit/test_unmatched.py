"""Rows of a bounds file that no series can match: typos are found, what others measure is left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil import Clock, Series, misses, ms, p50, p99, percent
from hil.cli import main
from hil.errors import ConfigurationError
from hil.measure import results
from hil.measure.bound import Bound
from hil.measure.bounds_file import Bounds
from hil.measure.decision import decide
from hil.measure.results import CheckResult, SeriesRecord
from hil.measure.series_data import NO_VERDICT
from hil.measure.unmatched import unjudged, unmatched

ROOT = Path(__file__).parents[2]
ROW = '[[bound]]\nquantity = "{}"\nsubject = "{}"\nfigure = "p50"\nlimit = "1 s"\nreason = "r"\n'


def _row(quantity: str, subject: str) -> str:
    return ROW.format(quantity, subject).replace("1 s", "1 MiB" if "memory" in quantity else "1 s")


def rows(tmp_path: Path, *pairs: tuple[str, str], clock: str = "") -> Bounds:
    path = tmp_path / "b.bounds.toml"
    more = f'clock = "{clock}"\n' if clock else ""
    path.write_text("\n".join(_row(*pair) + more for pair in pairs))
    return Bounds(path)


def series(quantity: str, subject: str, clock: str = "virtual time", test: str = "a.py::test_a") -> Series:
    origin = {"board": "qemu-reference", "test": test}
    return Series(quantity, subject, [0.01] * 9, Clock(clock, 1e-9), provenance=origin)


@pytest.mark.parametrize("board", ["qemu-reference", "qemu-plain", "qemu-uboot"])
def test_the_projects_own_rows_can_match(board: str) -> None:
    assert unmatched(Bounds(ROOT / f"boards/{board}.bounds.toml"), virtual=board != "qemu-uboot") == []


@pytest.mark.parametrize(
    ("quantity", "subject", "expected"),
    [
        ("respnse time", "hello.wasm", "'response time'"),
        ("Response time", "hello.wasm", "'response time'"),
        ("cycle to cycle jitter", "periodic.wasm 5 ms", "'cycle-to-cycle jitter'"),
        ("response time", "helo.wasm", "'hello.wasm'"),
        ("execution time", "nbody_c.wasm 10", "'nbody-c.wasm'"),
        ("release jitter", "patition, 5 ms", "'partition'"),
        ("release jitter", "partition, 5 ms, guest under memry load", "'memory'"),
        ("deployment time", "hello.wasm, sok", "'soak'"),
        ("deployment time", "hello.wasm sok", ""),  # arguments are the module's own affair
        ("my own quantity", "my own subject", ""),
        ("response time", "my-controller.wasm --mode fast", ""),
        ("transfer time", "16MiB.wasm", ""),
        ("QEMU memory taken", "hello.wasm, soak", ""),
    ],
)
def test_a_typo_is_found_without_measuring(tmp_path: Path, quantity: str, subject: str, expected: str) -> None:
    found = unmatched(rows(tmp_path, ("response time", "hello.wasm"), (quantity, subject)))
    assert [one.where.rpartition("toml:")[2] for one in found] == (["8: bound[1]"] if expected else [])
    assert expected in "".join(map(str, found))


def test_a_clock_that_cannot_measure_it_is_found(tmp_path: Path) -> None:
    for clock, expected in (
        ("guest counter", ""),
        ("virtual time", ""),
        ("module (WASI)", "guest counter, virtual time"),
    ):
        found = unmatched(rows(tmp_path, ("response time", "hello.wasm"), clock=clock))
        assert [one.why.rpartition(": ")[2] for one in found] == ([expected] if expected else [])
    (one,) = unmatched(rows(tmp_path, ("response time", "hello.wasm"), clock="virtual time"), virtual=False)
    assert one.row.clock == "virtual time"


def test_what_was_measured_is_known(tmp_path: Path) -> None:
    bounds = rows(tmp_path, ("start-up", "box"), ("strt-up", "box"), ("response time", "Hello.WASM"))
    measured = [series("start-up", "box"), series("response time", "hello.wasm")]
    assert [one.row.quantity for one in unmatched(bounds, measured)] == ["strt-up", "response time"]
    spaced = rows(tmp_path, ("release jitter", "guest, 5ms"))
    (one,) = unmatched(spaced, [series("release jitter", "guest, 5 ms")])
    assert "'guest, 5 ms'" in one.why


def test_a_row_of_a_test_matches_its_series_only(tmp_path: Path) -> None:
    path = rows(tmp_path, ("response time", "hello.wasm")).path
    path.write_text(f'{path.read_text()}test = "a.py::test_b"\n')
    here, there = series("response time", "hello.wasm"), series("response time", "hello.wasm", test="a.py::test_b")
    assert unmatched(Bounds(path), [here]) == [], "test_b did not run"
    assert unmatched(Bounds(path), [here, there], whole=True) == []
    (one,) = unmatched(Bounds(path), [here], whole=True)
    assert "a.py::test_a" in one.why


def test_of_the_whole_each_row_has_to_match(tmp_path: Path) -> None:
    pairs = [("response time", f"nbody-c.wasm {number}") for number in (10, 1000)]
    bounds = rows(tmp_path, *pairs, clock="guest counter")
    assert unmatched(bounds, [series(*pairs[0])]) == [], "of some tests nothing follows for the others"
    (one,) = unmatched(bounds, [series(*pairs[0])], whole=True)
    assert one.row.subject == "nbody-c.wasm 1000"
    assert "'nbody-c.wasm 10'" in one.why


def test_other_arguments_resemble_those_without_bounds(tmp_path: Path) -> None:
    bounds = rows(tmp_path, ("response time", "nbody-c.wasm 11"), ("response time", "hello.wasm"))
    taken = series("response time", "nbody-c.wasm 10")
    assert unmatched(bounds, [taken]) == [], "no test checks it"
    (one,) = unmatched(bounds, [replace(taken, provenance=NO_VERDICT)])
    assert one.row.subject == "nbody-c.wasm 11"
    assert "'nbody-c.wasm 10'" in one.why


def test_a_row_of_a_series_that_no_test_checks_is_found(tmp_path: Path) -> None:
    bounds = rows(tmp_path, ("response time", "hello.wasm"), ("overhead", "hello.wasm"), ("overhead", "other.wasm"))
    (bound,) = bounds.of(response := series("response time", "hello.wasm"))
    checked = SeriesRecord(response, (CheckResult.of(decide(bound, response)),))
    overhead = SeriesRecord(series("overhead", "hello.wasm"))
    (one,) = unjudged(bounds, [checked, overhead])
    assert one.where.endswith("b.bounds.toml:8: bound[1]")
    assert len(unjudged(bounds, [SeriesRecord(response), overhead])) == 2
    own = SeriesRecord(response, (CheckResult.of(decide(p50 <= 1 * ms, response)),))
    assert len(unjudged(bounds, [own])) == 1, "a check against a bound of its own"
    failed = replace(response, provenance=NO_VERDICT)
    assert unjudged(bounds, [SeriesRecord(failed)]) == []


def test_the_command_fails_for_rows_that_match_nothing(tmp_path: Path) -> None:
    def check(*options: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["bounds", "check", "qemu-reference", *options])
        return done.exit_code, done.output

    assert check()[0] == 0
    file = rows(tmp_path, ("response time", "hello.wasm"), ("response time", "nbody-c.wasm 01")).path
    assert check("--bounds", str(file))[0] == 0
    results.write(tmp_path / "r.jsonl", series("response time", "hello.wasm"))
    status, text = check("--bounds", str(file), "--measured", str(tmp_path / "r.jsonl"))
    assert status == 1
    assert f"{file}:8: bound[1]" in text
    assert f"{file}:1: bound[0]" in text, "it was measured, but not checked"
    (bound,) = Bounds(file).of(taken := series("response time", "hello.wasm"))
    results.write(tmp_path / "r.jsonl", taken, [decide(bound, taken)])
    assert f"{file}:1: bound[0]" not in check("--bounds", str(file), "--measured", str(tmp_path / "r.jsonl"))[1]
    file.write_text("bound = 3")
    assert check("--bounds", str(file))[0] == 2


# what a bound is not


def test_a_bound_is_no_truth_value() -> None:
    for use in (lambda: p99 <= 2 * ms and p50 <= 1 * ms, lambda: not p99 <= 2 * ms, lambda: bool(p99 <= 2 * ms)):
        with pytest.raises(ConfigurationError, match="p99 <= 2 ms"):
            use()
    taken = series("q", "s")
    with pytest.raises(ConfigurationError, match="p99 <= 2 ms"):
        taken.check(p99 <= 2 * ms and p50 <= 1 * ms)
    with pytest.raises(ConfigurationError, match="True"):
        taken.check(True)  # type: ignore[arg-type]


def test_a_bound_that_cannot_fail_is_refused() -> None:
    for share in (100 * percent, 150 * percent):
        with pytest.raises(ConfigurationError, match=r"misses\(2 ms\) <= "):
            Bound(misses(2 * ms), share)
    assert (misses(2 * ms) <= 99 * percent).limit == 99 * percent


@pytest.mark.parametrize(
    ("resolution", "floor"), [(float("nan"), None), (0.0, None), (1e-9, float("nan")), (1e-9, -1.0)]
)
def test_a_clock_without_a_sound_resolution_is_refused(resolution: float, floor: float | None) -> None:
    with pytest.raises(ConfigurationError, match=r"clock c .*resolution"):
        Clock("c", resolution, floor=floor)

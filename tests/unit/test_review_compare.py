"""Two sides beside each other: what names stand for, what is paired, what is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from reviewed import REAL, VIRTUAL, Plan, history

from hil import Clock, Series
from hil.cli import main
from hil.errors import ConfigurationError
from hil.measure import results
from hil.review import comparison
from hil.review.comparison import Comparison, compare

MODULES = [("response time", name, clock) for name, clock in (("hello.wasm", VIRTUAL), ("nbody.wasm", REAL))]


def kept(tmp_path: Path, *plans: Plan) -> Path:
    with history(tmp_path, *plans) as store:
        return store.path


def plan() -> Plan:
    def level(board: str, quantity: str, subject: str, night: int) -> float:
        return 0.01 * (1 + 0.5 * (night == 2)) * (2 if board == "two" else 1)

    return Plan(nights=3, suites=("smoke",), tests=1, measured=MODULES, level=level)


def series(samples: Sequence[float], clock: Clock = REAL, unit: str = "s", **told: str) -> Series:
    origin = {"board": "one", "test": "suites/a.py::test_x[one]", **told}
    return Series("response time", "m.wasm", samples, clock, unit, provenance=origin)


def file(path: Path, *several: Series) -> str:
    for one in several:
        results.write(path, one)
    return str(path)


def verdicts(made: Comparison) -> dict[str, list[str]]:
    return {f"{pair.key.subject} {pair.boards}": [row.verdict for row in pair.rows] for pair in made.pairs}


def test_nights_are_compared_board_by_board(tmp_path: Path) -> None:
    made = compare("2026-01-01", "2026-01-03", kept(tmp_path, plan()))
    assert verdicts(made) == {
        f"{module} {board}": ["differs"] * 3 if module == "hello.wasm" else ["B is larger", "inconclusive", ""]
        for board in ("one", "two")
        for module in ("hello.wasm", "nbody.wasm")
    }
    assert (made.only_a, made.only_b) == ((), ())
    assert made.counted.startswith("4 series")
    assert "differs: 2, B is larger: 2" in made.counted
    assert [pair.key.subject for _, pair in made.ranked] == ["nbody.wasm"] * 2 + ["hello.wasm"] * 2
    page = comparison.write(made, tmp_path / "page").read_text()
    assert page.index('href="#h2"') < page.index('href="#h1"')
    virtual = next(pair for pair in made.pairs if (pair.key.subject, pair.boards) == ("hello.wasm", "one"))
    assert virtual.summary.startswith("30 of 30 ")
    assert virtual.summary.endswith("#1: 10 ms, 15 ms")
    assert [row.share for row in virtual.rows] == ["+50.0 %"] * 3


def test_a_shift_has_its_limits(tmp_path: Path) -> None:
    made = compare("2026-01-01:job-one", "2026-01-03:job-one", kept(tmp_path, plan()))
    shift = made.pairs[1].rows[0].shift
    assert shift is not None
    assert shift.lower is not None
    assert shift.upper is not None
    assert shift.lower < shift.value < shift.upper
    p99 = list(made.pairs[1].lines())[1]
    assert ".." not in p99["B - A"], "too few samples for a confidence interval"


def test_boards_and_images_are_compared_by_their_newest_figures(tmp_path: Path) -> None:
    store = kept(tmp_path, plan())
    made = compare("board:one", "board:two", store)
    assert made.a.found == "board one: night 2026-01-03, job-one"
    assert [pair.boards for pair in made.pairs] == ["one and two"] * 2
    same = compare("image:reference", "latest", store)
    assert [pair.summary for pair in same.pairs if pair.key.subject == "hello.wasm"] == ["equal to the bit"] * 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("2026-01-0", "'2026-01-0'.*did you mean '2026-01-0[123]'"),
        ("2026-01-01:job-on", "'job-on'.*did you mean 'job-one'"),
        ("image:plain", "'plain'.*reference"),
        ("board:on", "'on'.*did you mean 'one'"),
        ("board:", "'board:'"),
        ("", "''"),
        ("x" * 300, "x" * 300),
        ("a\0b", r"'a\\x00b'"),
    ],
)
def test_names_that_stand_for_nothing_are_told(tmp_path: Path, name: str, told: str) -> None:
    store = kept(tmp_path, plan())
    with pytest.raises(ConfigurationError, match=told):
        compare("2026-01-01", name, store)


def test_files_and_directories_need_no_history(tmp_path: Path) -> None:
    a = file(tmp_path / "a.jsonl", series([1.0] * 40))
    file(tmp_path / "run" / "results-gw0.jsonl", series([2.0] * 40))
    made = compare(a, str(tmp_path / "run"), tmp_path / "none.sqlite")
    assert made.pairs[0].rows[0].verdict == "B is larger"
    with pytest.raises(ConfigurationError, match="none.sqlite"):
        compare(a, "2026-01-01", tmp_path / "none.sqlite")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ConfigurationError, match="bare"):
        compare(a, str(tmp_path / "bare"), tmp_path / "none.sqlite")


def test_nights_whose_samples_are_gone_are_told(tmp_path: Path) -> None:
    from hil.history.store import History

    store = kept(tmp_path, plan())
    with History(store, write=True) as open_:
        open_.prune(3, 1)
    with pytest.raises(ConfigurationError, match="2026-01-01"):
        compare("2026-01-01", "2026-01-03", store)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (series([1.0], VIRTUAL), "guest counter and virtual time"),
        (series([1.0], Clock("guest counter", 1e-9, exact=True)), "only the second"),
        (series([1.0], unit="B"), "'s' and 'B'"),
    ],
)
def test_what_cannot_be_compared_is_told_and_shown(tmp_path: Path, other: Series, why: str) -> None:
    none = tmp_path / "none.sqlite"
    made = compare(file(tmp_path / "a.jsonl", series([1.0, 2.0])), file(tmp_path / "b.jsonl", other), none)
    (pair,) = made.pairs
    assert pair.why in pair.summary
    assert why in pair.why
    assert [row.verdict for row in pair.rows] == ["", "", ""]
    assert all(line["verdict"] == pair.summary for line in pair.lines())
    text = comparison.write(made, tmp_path / "page").read_text()
    assert why.replace("'", "&#39;") in text
    assert ("<svg" in text) is (other.unit == "s")


def test_a_side_s_own_series_are_named_and_odd_pairs_are_not_made(tmp_path: Path) -> None:
    a = [series([1.0, 2.0], test=f"suites/a.py::test_{name}[one]") for name in "xyz"]
    b = [series([1.0, 2.0], board="two", test=f"suites/a.py::test_{name}[two]") for name in "xvw"]
    none = tmp_path / "none.sqlite"
    made = compare(file(tmp_path / "a.jsonl", *a), file(tmp_path / "b.jsonl", *b), none)
    assert [pair.key.test for pair in made.pairs] == ["suites/a.py::test_x"]
    assert [key.test[-1] for key in made.only_a] == ["y", "z"]
    assert [key.test[-1] for key in made.only_b] == ["v", "w"]
    alone = compare(file(tmp_path / "c.jsonl", a[1]), file(tmp_path / "d.jsonl", b[1]), none)
    assert len(alone.pairs) == 1  # one of its quantity and subject on each side: whatever the tests are called


def test_series_that_were_taken_twice_are_paired_from_the_last(tmp_path: Path) -> None:
    a = file(tmp_path / "a.jsonl", series([1.0] * 40), series([3.0] * 40))
    b = file(tmp_path / "b.jsonl", series([3.0] * 40))
    made = compare(a, b, tmp_path / "none.sqlite")
    assert [(pair.a.samples[0], pair.b.samples[0]) for pair in made.pairs] == [(3.0, 3.0)]
    assert [key.number for key in made.only_a] == [1]


def test_no_series_is_dropped_for_its_clock_or_its_seed(tmp_path: Path) -> None:
    """One quantity of one test by two clocks and, in virtual time that is not exact, with several seeds."""
    unproven = Clock("virtual time", 16e-9)
    several = [series([0.1] * 9), *(series([seed / 10] * 9, unproven, seed=str(seed)) for seed in (1, 2, 3))]
    a = file(tmp_path / "a.jsonl", *several, series([0.7] * 2))
    made = compare(a, a, tmp_path / "none.sqlite")
    assert sorted(pair.a.samples[0] for pair in made.pairs) == [0.1, 0.1, 0.2, 0.3, 0.7]
    assert (made.only_a, made.only_b) == ((), ())
    assert {row.verdict for pair in made.pairs for row in pair.rows} == {"same"}, "a file is the same as itself"


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_the_command_prints_a_table_and_makes_a_page(tmp_path: Path) -> None:
    store = kept(tmp_path, plan())
    done = command("2026-01-01", "2026-01-03", "--history", store, "-o", tmp_path / "page")
    assert done.exit_code == 0, done.output
    assert "B is larger" in done.output
    page = (tmp_path / "page" / "compare.html").read_text()
    assert page.count("<svg") == 4
    assert "<h1>2026-01-01 beside 2026-01-03</h1>" in page
    told = json.loads(command("2026-01-01", "2026-01-03", "--history", store, "--json").output)
    assert len(told["pairs"]) == 4
    assert told["only A"] == []
    assert command("2026-01-01", "nothing", "--history", store).exit_code == 2

"""Nights: plans, outcomes of runs, resuming, retention, summaries; with real pytest processes on tiny suites."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import UNUSED_BOARD, children, gone, until

from hil.errors import ORIGINS, ConfigurationError, InfrastructureError
from hil.history import journal
from hil.history.journal import Account
from hil.history.journal import Tested as Ran
from hil.history.rows import Run, Test
from hil.nightly import evidence, night, plan, state, summary
from hil.nightly.evidence import HistoryImport
from hil.nightly.night import NightResult, run_night
from hil.nightly.outcome import Failure, RunOutcome, exit_reason, retry_reason, run_outcome, status
from hil.nightly.retention import GIB, remove_old_nights
from hil.nightly.scheduler import Scheduler
from hil.nightly.state import DirectoryInUse, Night, NightState, RunState, Try
from hil.report.build import Built
from hil.review.console_pages import NightPages
from hil.review.finding import Finding, FindingKind
from hil.review.overview import Review
from hil.review.review_window import ReviewedNight, ReviewWindow

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "nightly"
# without the report, whose Node.js takes seconds
NO_REPORT = "from hil.report.build import Built; import hil.nightly.evidence as r; r.build = lambda parts, output, **_: Built(output, len(parts), ())"
HIL = [sys.executable, "-c", f"{NO_REPORT}; from hil.cli import main; main()"]
LONG = 60.0  # seconds: beyond any run here
MINIMAL = '[[job]]\nname = "a"\nsuites = ["smoke"]\nboards = ["qemu-reference"]\n'


def quiet(_: str) -> None:
    pass


class Bench:
    """A directory with a plan, a suite that tests write, and the nights of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.nights = root / "nights"
        self.plan = root / "tiny.toml"
        for name in ("one", "two"):
            (root / f"{name}.yaml").write_text(UNUSED_BOARD)

    def suite(self, text: str, name: str = "suite") -> None:
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        (directory / f"test_{name}.py").write_text("import os, signal, time\nimport pytest\n" + textwrap.dedent(text))

    def write(self, text: str = "", job: str = "", boards: Sequence[str] = ("one.yaml",), suite: str = "suite") -> None:
        table = f'[[job]]\nname = "job"\nsuites = ["{suite}"]\nboards = {json.dumps(list(boards))}\n'
        self.plan.write_text(f"limit = 5\n{text}\n{table}{job}\n")

    def run(self, **options: Any) -> NightResult:
        return run_night(self.plan, self.nights, log=quiet, **options)

    def newest(self) -> Night:
        return next(state.nights(self.nights))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(evidence, "build", lambda parts, output, **_: Built(output, len(parts), ()))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's and hypothesis's take seconds
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p hil.plugin -p allure_pytest.plugin -p xdist")
    return Bench(tmp_path)


# plans


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (MINIMAL, "p.toml: limit: "),
        ("limit = 5\n", "p.toml: job: "),
        (f"limit = 0\n{MINIMAL}", "p.toml:1: limit: "),
        (f"limit = 5\nparalel = 1\n{MINIMAL}", "'parallel'?"),
        (f"limit = 5\nkeep = {{gib = 1, night = 2}}\n{MINIMAL}", "'nights'?"),
        (f"limit = 5\n{MINIMAL}marker = 'x'\n", "p.toml:6: job[0].marker: "),
        (f"limit = 5\n{MINIMAL}\n{MINIMAL}", "'a'"),
        (
            f"limit = 5\n{MINIMAL}options = ['--board', 'x']\n",
            "'boards'",
        ),
        (f"limit = 5\n{MINIMAL}options = ['-n2']\n", "'workers'"),
        (f"limit = 5\n{MINIMAL}options = ['--alluredir=x']\n", "'--alluredir=x'"),
        ("limit = 5\n[[job]]\nname = 'A b'\nsuites = ['smoke']\nboards = ['x']\n", "p.toml:3: job[0].name"),
        (
            "limit = 5\n[[job]]\nname = 'a'\nsuites = ['--pdb']\nboards = ['x']\n",
            "'--pdb'",
        ),
        ("limit = 5\n[[job]]\nname = 'a'\nsuites = []\nboards = ['x']\n", "p.toml:4: job[0].suites"),
        ("limit = 5\n[[job]]\nname = 'a'\nsuites = ['x']\nboards = ['x', 'x']\n", "'x'"),
        ("limit = \n", "p.toml"),
    ],
)
def test_a_plan_s_errors_name_the_line(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        plan.load(path)
    assert part in str(error.value)


def test_a_wrong_job_is_no_missing_job(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(f"limit = 5\n{MINIMAL}marker = 'x'\n")
    with pytest.raises(ConfigurationError) as error:
        plan.load(path)
    assert len(error.value.message.splitlines()) == 1
    path.write_text("limit = 5\njob = []\n")
    with pytest.raises(ConfigurationError, match="at least 1"):
        plan.load(path)


def test_a_plan_makes_a_run_of_each_job_and_board(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    (tmp_path / "mine").mkdir()
    path.write_text(
        "limit = 5\nretries = 2\nfresh = 'module'\nimage = 'reference'\n"
        "[[job]]\nname = 'a'\nsuites = ['smoke', 'mine']\nboards = ['+lab=box', 'place:lab/box']\nworkers = 3\n"
        "markers = 'board and not soak'\noptions = ['--hil-retries', '2']\nlimit = 1.5\nretries = 0\n"
        "[[job]]\nname = 'b'\nsuites = ['smok']\nboards = ['qemu-refrence']\nfresh = 'test'\n"
    )
    one, two, wrong = plan.load(path).runs
    assert [one.name, two.name, wrong.name] == ["a-lab-box", "a-box", "b-qemu-refrence"]
    assert one.arguments == (
        *(
            str(ROOT / "suites/smoke"),
            str(tmp_path / "mine"),
            "--board=+lab=box",
            "--image=reference",
            "--fresh=module",
        ),
        *("-m", "board and not soak", "-n", "3", "--hil-retries", "2"),
    )
    assert (one.retries, one.limit, wrong.retries, wrong.limit) == (0, 90.0, 2, None)
    assert (one.problems, two.problems) == ((), ())
    assert "'smoke'?" in wrong.problems[0]
    assert "'qemu-reference'?" in wrong.problems[1]
    assert "--fresh=test" in wrong.arguments


def test_runs_with_like_names_have_directories_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("limit = 5\n[[job]]\nname = 'a'\nsuites = ['smoke']\nboards = ['+x=y', '+x-y', 'place:x-y']\n")
    assert [run.name for run in plan.load(path).runs] == ["a-x-y", "a-x-y-2", "a-place-x-y"]


def test_boards_with_dots_have_directories_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text("limit = 5\n[[job]]\nname = 'a'\nsuites = ['smoke']\nboards = ['qemu-v1.2', 'x/qemu-v1.3.yaml']\n")
    assert [run.name for run in plan.load(path).runs] == ["a-qemu-v1.2", "a-qemu-v1.3"]


def test_a_suite_below_brackets_is_named_from_beside_it(tmp_path: Path) -> None:
    suite = tmp_path / "old [2024]" / "suite"
    suite.mkdir(parents=True)
    path = suite.parent / "p.toml"
    path.write_text("limit = 5\n[[job]]\nname = 'a'\nsuites = ['suite::test_a[1]']\nboards = ['qemu-reference']\n")
    (run,) = plan.load(path).runs
    assert (run.start, run.arguments[0], run.problems) == (suite.parent, "suite::test_a[1]", ())


def test_the_example_is_a_plan_of_all_tests_and_suites() -> None:
    loaded = plan.load(DOCS / "plan.toml")
    assert {run.problems for run in loaded.runs} == {()}
    directories = {
        path.parent.relative_to(ROOT) for top in ("tests", "suites") for path in ROOT.glob(f"{top}/*/test_*.py")
    }
    named = [Path(argument) for run in loaded.runs for argument in run.arguments if Path(argument).is_dir()]
    assert sorted(path.relative_to(ROOT) for path in named) == sorted(directories)
    assert not any("-m" in run.arguments for run in loaded.runs), "slow tests are run, too"


# journals


def line(test: str, when: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"test": test, "when": when, "outcome": outcome, "seconds": 0.5, **more}


def whole(test: str, **more: Any) -> list[dict[str, Any]]:
    return [line(test, when, "passed", **more) for when in ("setup", "call", "teardown")]


def test_an_account_of_a_whole_run() -> None:
    bad = {"fault": "image", "cause": "RunnerError: silent", "transcript": "x.raw:3"}
    spoilt = {"fault": "infrastructure", "cause": "no power"}
    account = journal.account(
        [
            {"collected": ["good", "bad", "worse", "late", "skip", "again", "never", "cut"]},
            *whole("good", board="b"),
            *[
                line("bad", "setup", "passed"),
                line("bad", "call", "failed", place="box-1", **bad),
                line("bad", "teardown", "passed"),
            ],
            *[line("worse", "call", "failed", **spoilt), line("worse", "teardown", "failed", **bad)],
            *[line("late", "call", "passed"), line("late", "teardown", "failed", fault="test", cause="x")],
            *[line("skip", "setup", "skipped"), line("skip", "teardown", "passed")],
            *[line("again", "setup", "rerun", **spoilt), *whole("again")],
            *[{"begin": "cut"}, line("cut", "setup", "passed")],
            {"problem": "broken.py", "cause": "SyntaxError"},
            {"end": 1},
        ]
    )
    tests = account.tests
    assert tests["good"] == Ran("good", "passed", seconds=1.5, board="b")
    assert tests["bad"] == Ran("bad", "failed", "image", "RunnerError: silent", "x.raw:3", 1.5, place="box-1")
    assert (tests["worse"].fault, tests["late"].fault) == ("image", "test")
    assert tests["again"].retried == ("no power",)
    assert tests["again"].outcome == "passed"
    assert (tests["never"].cause, tests["cut"].cause) == ("", "it was cut short")
    counted = {"passed": 2, "image": 2, "test": 1, "skipped": 1, "not run": 2}
    assert account.counts() == counted
    assert (account.reached, account.collected, account.problems) == (True, True, (("broken.py", "SyntaxError"),))


def test_a_worker_that_died_ends_its_test() -> None:
    values = {"fault": "infrastructure", "cause": "worker 'gw0' crashed while running 't'"}
    assert journal.account([line("t", "???", "failed", **values)]).tests["t"].outcome == "failed"


def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    lines = "".join(json.dumps(one) + "\n" for one in [{"collected": ["a", "b"]}, *whole("a")])
    path.write_text(lines + json.dumps(line("b", "call", "failed"))[:-5])
    assert journal.read(path).counts() == {"passed": 1, "not run": 1}
    assert journal.read(tmp_path / "nothing") == Account()


FAILED = {fault: Account({"t": Ran("t", "failed", fault, f"the {fault}")}, collected=True) for fault in ORIGINS}
GOOD = Account({"t": Ran("t", "passed", board="b")}, collected=True)


@pytest.mark.parametrize(
    ("number", "ended", "account", "why"),
    [
        (0, "", GOOD, ""),
        (1, "", FAILED["image"], ""),
        (1, "", FAILED["test"], ""),
        (1, "", FAILED["configuration"], ""),
        (1, "", FAILED["infrastructure"], "no board"),
        (-9, "", GOOD, "SIGKILL"),
        (-9, "", Account(), "SIGKILL"),
        (-9, "", FAILED["image"], ""),
        (3, "", Account(died="ValueError: x"), "ValueError: x"),
        (3, "", FAILED["test"], ""),
        (2, "", GOOD, "interrupted"),
        (2, "", Account(problems=(("a.py", "x"),)), ""),
        (2, "its limit", FAILED["infrastructure"], "no board"),
        (4, "", Account(), ""),
        (5, "", Account(), ""),
    ],
)
def test_only_what_the_test_bed_failed_is_repeated(number: int, ended: str, account: Account, why: str) -> None:
    reason = retry_reason(Try(began=0, status=number, ended=ended), account)
    assert (why in reason, bool(reason)) == (True, bool(why))


def test_a_run_that_had_its_board_keeps_its_infrastructure_failures() -> None:
    account = Account({**FAILED["infrastructure"].tests, "u": Ran("u", "passed", board="b")})
    assert retry_reason(Try(began=0, status=1), account) == ""


def test_what_was_ended_by_us_has_not_died() -> None:
    assert exit_reason(Try(began=0, status=-9, ended="its limit"), Account()) == ""


# state


def made(root: Path, name: str, *, plan: str = "p", began: float = 0.0, **more: Any) -> Night:
    path = root / name
    path.mkdir(parents=True)
    more.setdefault("runs", [RunState(name="r", job="r", board="b")])
    one = Night(path, NightState(plan=plan, began=began, **more))
    one.save()
    return one


def test_nights_are_named_by_date_and_number(tmp_path: Path) -> None:
    began = time.mktime((2026, 11, 24, 1, 0, 0, 0, 0, -1))
    names = [state.begin(tmp_path, NightState(plan="p", began=began + n)).name for n in range(11)]
    assert names[:3] == ["2026-11-24", "2026-11-24-2", "2026-11-24-3"]
    assert [one.name for one in state.nights(tmp_path)] == names[::-1]
    shutil.rmtree(tmp_path / names[0])
    assert state.begin(tmp_path, NightState(plan="p", began=began)).name == "2026-11-24-12", "removed ones stay removed"


def test_a_broken_state_is_no_night(tmp_path: Path) -> None:
    made(tmp_path, "2026-11-24")
    (made(tmp_path, "2026-11-25").path / state.STATE).write_text('{"plan": "p", "beg')
    assert [one.name for one in state.nights(tmp_path)] == ["2026-11-24"]


@pytest.mark.parametrize(
    ("how", "age", "digest", "asked", "found"),
    [
        ("running", 60, "d", False, True),
        ("interrupted", 60, "d", False, True),
        ("running", 13 * 3600, "d", False, False),
        ("running", 13 * 3600, "d", True, True),
        ("running", 60, "other", False, False),
        ("running", 60, "other", True, "2026-11-24"),
        ("done", 60, "d", False, False),
        ("done", 60, "d", True, "p.toml"),
    ],
)
def test_which_night_is_resumed(
    tmp_path: Path, how: Any, age: float, digest: str, asked: bool, found: bool | str
) -> None:
    root = tmp_path / "nights"
    made(root, "2026-11-23", began=1000.0, state="running", digest="d")  # an older one is not taken up
    made(root, "2026-11-24", began=5000.0, state=how, digest="d")
    made(root, "2026-11-25", plan="other", began=5500.0)
    made(root, "2026-11-25-2", began=5600.0, state="did not run", runs=[])
    path = tmp_path / "p.toml"
    path.write_text(f"limit = 5\n{MINIMAL}")
    loaded = plan.LoadedPlan(path, digest, plan.load(path).plan, ())
    if isinstance(found, str):
        with pytest.raises(ConfigurationError, match=found):
            state.to_resume(root, loaded, 5000.0 + age, required=asked)
    else:
        one = state.to_resume(root, loaded, 5000.0 + age, required=asked)
        assert (one.name if one else None) == ("2026-11-24" if found else None)


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    pattern = rf"/a/plan.toml, process {os.getpid()} on .* 20"
    with state.lock(tmp_path, "/a/plan.toml"), pytest.raises(DirectoryInUse, match=pattern), state.lock(tmp_path, "b"):
        pass
    with state.lock(tmp_path, "b"):
        pass


def fill(path: Path, mib: int) -> None:
    (path / "transcripts").mkdir()
    (path / "transcripts" / "x").write_bytes(os.urandom(mib << 20))


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"gib": 1, "nights": 30, "newest": 1}, [1, 2, 3, 4]),
        ({"gib": 1, "nights": 2, "newest": 1}, [3, 4]),
        ({"gib": 2.5 / 1024, "nights": 30, "newest": 1}, [3, 4]),
        ({"gib": 1.5 / 1024, "nights": 30, "newest": 2}, [3, 4]),
        ({"gib": 0.1 / 1024, "nights": 1, "newest": 1}, [4]),
    ],
    ids=str,
)
def test_the_oldest_nights_go_first(tmp_path: Path, given: dict[str, Any], left: list[int]) -> None:
    for day in (1, 2, 3, 4):
        fill(made(tmp_path, f"2026-11-0{day}").path, 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / ".removing-2026-10-30").mkdir()  # somebody was killed
    text = "\n".join(remove_old_nights(tmp_path, plan.RetentionLimits(**given), "2026-11-04"))
    assert sorted(os.listdir(tmp_path)) == [*(f"2026-11-0{day}" for day in left), "mine"]
    removed = [f"2026-11-0{day}" for day in (1, 2, 3, 4) if day not in left]
    assert (", ".join(removed) in text, "removed" in text) == (True, bool(removed))
    assert ("the limit is" in text) == (len(left) << 20 > given["gib"] * GIB)


def test_the_current_night_stays_however_old_it_is(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        made(tmp_path, f"2026-11-0{day}")
    remove_old_nights(tmp_path, plan.RetentionLimits(nights=1, newest=1), "2026-11-01")
    assert sorted(os.listdir(tmp_path)) == ["2026-11-01", "2026-11-03"]


# summaries


def of(account: Account = GOOD, *failures: Failure, name: str = "r", how: Any = "done", **more: Any) -> RunOutcome:
    tries = [Try(began=0, seconds=9, status=0)]
    return RunOutcome(RunState(name=name, job=name, board="b", state=how, tries=tries), account, failures, **more)


def reviewed(night: Night, verdict: str, findings: Sequence[Finding], *runs: str) -> Review:
    """The review of a night of these runs, after another night."""
    made = [Run(name, night.name, name, "p", "b", 0.0, 1.0, 0, "done", {}) for name in runs]
    window = ReviewWindow("p", (ReviewedNight("2026-11-23"), ReviewedNight(night.name, tuple(made))))
    return Review(window, tuple(findings), verdict, night.path / "overview.html", NightPages(night.path))


def failure(origin: str, **more: Any) -> Failure:
    return Failure("r", origin, f"the {origin}", **more)


@pytest.mark.parametrize(
    ("outcomes", "number"),
    [
        ([of()], 0),
        ([of(), of(GOOD, failure("image"))], 1),
        ([of(GOOD, failure("infrastructure"), failure("test"))], 1),
        ([of(GOOD, failure("infrastructure")), of(GOOD, failure("configuration"))], 2),
        ([of(GOOD, failure("infrastructure"))], 3),
        ([of(Account({"t": Ran("t", "not run")}))], 3),
    ],
)
def test_the_status_is_the_gravest(outcomes: list[RunOutcome], number: int) -> None:
    assert status(outcomes) == number


def test_a_summary_is_one_screen_whatever_happened(tmp_path: Path) -> None:
    one = made(tmp_path, "2026-11-24", status=1)
    many = {f"t{n}": Ran(f"t{n}", "failed", "image", f"cause {n} " + "long " * 99, retried=("x",)) for n in range(99)}
    failures = [failure("image"), *(failure("image", test=name) for name in many)]
    outcomes = [of(GOOD, name=f"good{n}") for n in range(20)]
    outcomes += [of(Account(many), *failures, name=f"bad{n}", retries=("it died",)) for n in range(20)]
    found = tuple(Finding(FindingKind.FAILURE, f"finding {n} " + "long " * 99, details=("more",)) for n in range(50))
    review = reviewed(one, "worse", found, *(outcome.state.name for outcome in outcomes))
    text = summary.summary(one, outcomes, review, [f"note {n}" for n in range(99)])
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) < 400
    assert lines[0] == "# Night 2026-11-24: 20 passed, 1980 failed (status 1: image or test failed)"
    assert ("worse" in lines[2], "2026-11-23" in lines[2]) == (True, True)
    assert any(row.startswith("| 32 more") for row in lines)
    assert sum(row.startswith("- **image** r: the image") for row in lines) == 3
    assert any(row.startswith("- **new failure** finding 0 ") for row in lines), "the order is that of the review"
    assert any(row.endswith(" more failures") for row in lines)
    assert any(row.endswith(" more findings") for row in lines)


def test_failures_of_tests_are_those_of_the_review_or_else_of_the_journal(tmp_path: Path) -> None:
    one = made(tmp_path, "2026-11-24", runs=[RunState(name="r", job="r", board="b", state="done")])
    inside = Failure("r", "image", "dark", "t", f"{one.path}/r/try-1/transcripts/a.raw:7")
    outcomes = [of(GOOD, Failure("r", "infrastructure", "it died"), inside)]
    text = summary.summary(one, outcomes, None, [])
    assert "- **image** r: t: dark; transcript r/try-1/transcripts/a.raw, line 7" in text
    findings = (Finding(FindingKind.KILLED, "r was cut short"), Finding(FindingKind.STILL, "r: t: dark", fault="image"))
    text = summary.summary(one, outcomes, reviewed(one, "worse", findings, "r"), [])
    assert text.count("dark") == 1
    assert "- **still failing** (image) r: t: dark" in text
    assert "- **infrastructure** r: it died" in text
    assert "cut short" not in text, "the night has the reason"


def test_a_failure_and_a_finding_link_the_console_page_of_their_test(tmp_path: Path) -> None:
    one = made(tmp_path, "2026-11-24")
    allure = one.path / "r" / "try-1" / "allure"
    allure.mkdir(parents=True)
    (allure / "c-attachment.html").write_text('<p id="fail">')
    attachment = {"name": "console", "source": "c-attachment.html", "type": "text/html"}
    labels = [{"name": "_node", "value": "t.py::x"}]
    (allure / "u-result.json").write_text(json.dumps({"uuid": "u", "labels": labels, "attachments": [attachment]}))
    transcript = f"{one.path}/r/try-1/transcripts/a.raw:7"
    outcomes = [of(GOOD, Failure("r", "image", "dark", "t.py::x", transcript))]
    link = "; [console](r/try-1/allure/c-attachment.html#fail)"
    assert f"- **image** r: t.py::x: dark{link}\n" in summary.summary(one, outcomes, None, [])
    test = Test(run="r", test="t.py::x", nodeid="t.py::x", suite="", clock="", outcome="failed", transcript=transcript)
    finding = Finding(FindingKind.FAILURE, "r: t.py::x: dark", example=test)
    text = summary.summary(one, outcomes, reviewed(one, "worse", [finding], "r"), [])
    assert f"- **new failure** r: t.py::x: dark{link}\n" in text
    assert ".raw" not in text


def tried(night: Night, *lines: dict[str, Any], status: int | None = 0, how: Any = "done") -> RunState:
    """Add a try with this journal to the night's only run."""
    run = night.state.runs[0]
    run.state = how
    run.tries.append(Try(began=0, seconds=1, status=status))
    directory = night.directory(run, len(run.tries))
    directory.mkdir(parents=True)
    (directory / "journal.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    night.save()
    return run


BAD = line("t", "call", "failed", fault="image", cause="dark"), line("t", "teardown", "passed")


def test_a_message_that_is_no_text_ends_no_night(tmp_path: Path) -> None:
    today = made(tmp_path, "2026-11-24", began=2)
    cause = "humidity \udcb0 \ud83d \0 \x1b[2J"
    run = tried(today, line("t", "call", "failed", fault="test", cause=cause), line("t", "teardown", "passed"))
    run.why = cause
    today.save()
    (again,) = state.nights(tmp_path)
    text = summary.summary(again, [run_outcome(again, again.state.runs[0])], None, [cause])
    state.write(today.path / "summary.md", text)
    assert "humidity \\xb0 \\ud83d \\x00 \\x1b[2J" in (today.path / "summary.md").read_text("utf-8")


def test_a_failure_before_a_crash_stands(tmp_path: Path) -> None:
    one = made(tmp_path, "2026-11-24")
    tried(one, *BAD, status=None, how="running")
    run = tried(one, {"collected": ["t"]}, *whole("t"))
    found = run_outcome(one, run)
    assert [(failure.test, failure.origin) for failure in found.failures] == [("t", "image")]
    assert found.retries == ("the night was cut short",)


# whole nights


def test_a_good_night(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Path:
        raise ConfigurationError("Node.js is not installed", hint="pip install it")

    monkeypatch.setattr(evidence, "build", fail)
    monkeypatch.setenv("LG_COORDINATOR", "lab:1234")
    bench.suite("def test_a(): assert os.environ['LG_COORDINATOR'] == 'lab:1234'\ndef test_b(): pytest.skip('no')\n")
    bench.write(job="workers = 2")
    result = bench.run()
    assert result.status == 0, result.text
    one = bench.newest()
    assert result.path == one.path
    assert result.text.startswith(f"# Night {one.name}: 1 passed (status 0: good)\n")
    assert "- no report: Node.js is not installed; what to do: pip install it\n" in result.text
    assert (one.path / "summary.md").read_text() == result.text
    assert (bench.nights / "latest").resolve() == one.path
    assert (one.state.state, one.state.status, one.state.runs[0].state) == ("done", 0, "done")
    names = {"allure", "journal.jsonl", "junit.xml", "output.txt"}
    assert names <= set(os.listdir(one.path / "job-one" / "try-1"))


def test_a_regression_shows_in_the_second_night(bench: Bench) -> None:
    bench.suite("def test_a(): pass\ndef test_b(): pass\n")
    bench.write()
    assert bench.run().status == 0
    first = bench.newest().name
    bench.suite("def test_a(): assert 1 == 2\ndef test_c(): pass\n")
    result = bench.run()
    assert result.status == 1
    assert f"(test) job-one: test_suite.py::test_a (passed on {first}): AssertionError: assert 1 == 2" in result.text
    (gone_tests,) = (row for row in result.text.splitlines() if row.startswith("- **tests gone** "))
    assert (first in gone_tests, "test_suite.py::test_b" in gone_tests) == (True, True)


@pytest.mark.parametrize(
    ("text", "job", "number", "part"),
    [
        ("def test_a(: pass\n", "", 1, "**test** job-one: test_suite.py: SyntaxError: invalid syntax"),
        ("def test_a(): pass\n", "markers = 'nothing'", 2, "**configuration** job-one: "),
        ("def test_a(): pass\n", "options = ['--nothing']", 2, "unrecognized arguments: --nothing"),
        ("def test_a(): pytest.exit('x', 0)\n", "", 3, "# Night 2026-11-24: 0 passed, 1 not run (status 3: "),
    ],
    ids=["collection", "nothing", "option", "left early"],
)
def test_a_night_without_tests_is_never_good(bench: Bench, text: str, job: str, number: int, part: str) -> None:
    bench.suite(text)
    bench.write(job=job)
    result = bench.run()
    assert result.status == number, result.text
    assert part.replace("2026-11-24", bench.newest().name) in result.text


def test_a_run_that_died_is_repeated(bench: Bench) -> None:
    bench.suite(
        f"""
        def test_a():
            open({str(bench.root / "tries")!r}, "a").write("x")
            if len(open({str(bench.root / "tries")!r}).read()) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    bench.write()
    result = bench.run()
    assert result.status == 0, result.text
    assert "- **tried again** job-one: it died by SIGKILL" in result.text
    assert [one.status for one in bench.newest().state.runs[0].tries] == [-9, 0]


def test_a_run_with_a_failure_that_died_is_not_repeated(bench: Bench) -> None:
    bench.suite("def test_a(): assert 0\ndef test_b(): os.kill(os.getpid(), signal.SIGKILL)\ndef test_c(): pass\n")
    bench.write(text="retries = 5")
    result = bench.run()
    assert result.status == 1
    assert len(bench.newest().state.runs[0].tries) == 1
    assert "- **infrastructure** job-one: it died by SIGKILL" in result.text
    assert "1 failed, 2 not run" in result.text
    assert "(test) job-one: test_suite.py::test_a" in result.text


def stopped(bench: Bench, mark: Path) -> Night:
    """A night that is stopped as soon as there is a file `mark`."""
    loaded = plan.load(bench.plan)
    one = state.begin(bench.nights, state.initial_state(loaded, time.time()))
    scheduler = Scheduler(one, loaded, quiet, HistoryImport(bench.nights))

    async def both() -> None:
        running = asyncio.create_task(scheduler.run())
        while not mark.exists():
            await asyncio.sleep(0.02)
        scheduler.stop("it is late")
        await running

    asyncio.run(asyncio.wait_for(both(), LONG))
    return one


def test_a_run_is_ended_politely(bench: Bench) -> None:
    mark, closed = bench.root / "mark", bench.root / "closed"
    bench.suite(
        f"""
        @pytest.fixture
        def board():
            yield
            open({str(closed)!r}, "w")
        def test_a(): pass
        def test_b(board):
            open({str(mark)!r}, "w")
            time.sleep({LONG})
        def test_c(): pass
        """
    )
    bench.write()
    one = stopped(bench, mark)
    assert closed.exists(), "its fixtures were torn down"
    found = run_outcome(one, one.state.runs[0])
    assert {name: test.outcome for name, test in found.account.tests.items()} == {
        "test_suite.py::test_a": "passed",
        "test_suite.py::test_b": "not run",
        "test_suite.py::test_c": "not run",
    }
    assert [(failure.origin, failure.cause) for failure in found.failures] == [("infrastructure", "it is late")]
    assert (found.statuses, found.state.state, found.state.tries[0].status) == ({3}, "done", 2)


def test_a_run_that_ignores_signals_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.nightly.scheduler.SIGINT_LIMIT", 0.3)
    monkeypatch.setattr("hil.nightly.scheduler.SIGTERM_LIMIT", 0.3)
    mark = bench.root / "mark"
    bench.suite(
        f"""
        def test_a():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            open({str(mark)!r}, "w")
            time.sleep({LONG})
        """
    )
    bench.write()
    assert stopped(bench, mark).state.runs[0].tries[0].status == -signal.SIGKILL


def test_a_run_s_limit(bench: Bench) -> None:
    bench.suite(f"def test_a(): time.sleep({LONG})\n")
    bench.write(job="limit = 0.04")
    result = bench.run()
    assert result.status == 3
    assert "- **infrastructure** job-one: its limit of 0.04 min was reached" in result.text
    assert (bench.newest().state.state, len(bench.newest().state.runs[0].tries)) == ("done", 1)


def test_the_night_s_limit_leaves_the_rest_not_run(bench: Bench) -> None:
    bench.suite(f"def test_a(): time.sleep({LONG})\n")
    bench.write(boards=["one.yaml", "two.yaml"])
    bench.plan.write_text(bench.plan.read_text().replace("limit = 5", "limit = 0.04\nparallel = 1"))
    result = bench.run()
    assert result.status == 3
    assert result.text.count("the night's limit of 0.04 min was reached") == 2
    assert [run.state for run in bench.newest().state.runs] == ["done", "waiting"]
    assert bench.newest().state.state == "done"


def test_boards_are_used_side_by_side_and_each_by_one(bench: Bench) -> None:
    log = bench.root / "log"
    bench.suite(
        f"""
        def test_a(request):
            name = request.config.option.board[0][-8:-5]
            def tell(what):
                with open({str(log)!r}, "a") as file: file.write(f"{{what}} {{name}}\\n")
            tell("begin")
            time.sleep(0.5)
            if name == "one":  # the other board is at work meanwhile
                for _ in range(600):
                    if "begin two" in open({str(log)!r}).read(): break
                    time.sleep(0.05)
                else: assert 0
            tell("end")
        """
    )
    bench.write(boards=["one.yaml", "two.yaml"])
    more = bench.plan.read_text()[len("limit = 5") :].replace('"job"', '"more"').replace(', "two.yaml"', "")
    bench.plan.write_text(bench.plan.read_text() + more)
    assert bench.run().status == 0
    lines = log.read_text().splitlines()
    assert [row for row in lines if row.endswith("one")] == ["begin one", "end one"] * 2
    assert lines.count("end two") == 1


# nights that cannot run


def test_a_night_with_a_broken_plan_leaves_a_summary(bench: Bench) -> None:
    bench.plan.write_text("limt = 5\n")
    result = bench.run()
    assert (result.status, bench.newest().state.state) == (2, "did not run")
    text = (bench.newest().path / "summary.md").read_text()
    assert text.startswith(f"# Night {bench.newest().name}: did not run (status 2: the configuration is wrong)")
    assert "'limit'?" in text


def test_a_night_beside_another_one_leaves_a_summary(bench: Bench) -> None:
    bench.write()
    with state.lock(bench.nights, "other.toml"):
        result = bench.run()
    assert result.status == 4
    for text in (result.text, (bench.newest().path / "summary.md").read_text()):
        assert f"other.toml, process {os.getpid()}" in text


def test_a_night_on_a_full_disk_has_a_status(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write()
    monkeypatch.setattr(night, "LEAST_FREE", 1 << 60)
    result = bench.run()
    assert result.status == 3
    assert str(bench.nights) in result.text

    def full(path: Path, text: str) -> None:
        raise InfrastructureError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(state, "write", full)
    result = bench.run()
    assert (result.status, result.path) == (3, None)
    assert isinstance(result.error, InfrastructureError)
    assert "No space left on device" in result.text


def test_a_directory_that_cannot_be_created_is_an_error(bench: Bench) -> None:
    bench.write()
    bench.nights.write_text("a file")
    result = bench.run()
    assert result.status == 3
    assert str(bench.nights) in str(result.error)


def test_a_run_that_cannot_start_does_not_keep_others(bench: Bench) -> None:
    bench.suite("def test_a(): pass\n")
    bench.write(boards=["one.yaml", "nowhere.yaml"])
    result = bench.run()
    assert result.status == 2
    assert "job-nowhere: there is no board file nowhere.yaml" in result.text
    assert "1 passed" in result.text


# signals and crashes


def start(bench: Bench, *more: str) -> subprocess.Popen[str]:
    command = [*HIL, "nightly", str(bench.plan), "--directory", str(bench.nights), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=bench.root)


SLOW = """
def test_a():
    with open({log!r}, "a") as file: file.write("x")
    if not os.path.exists({go!r}): time.sleep({long})
"""


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)], ids=["SIGTERM", "SIGKILL"]
)
def test_a_night_that_was_cut_short_is_resumed(bench: Bench, number: signal.Signals) -> None:
    log, go = bench.root / "log", bench.root / "go"
    bench.suite("def test_quick(): pass\n", "quick")
    bench.suite(SLOW.format(log=str(log), go=str(go), long=LONG))
    bench.write()
    text = bench.plan.read_text()
    quick = text[text.index("[[job]]") :].replace('"job"', '"quick"').replace('"suite"', '"quick"')
    bench.plan.write_text("limit = 5\n" + quick + text[text.index("[[job]]") :])
    with start(bench) as process:
        until(lambda: log.exists() and log.read_text() == "x", LONG)
        (run,) = children(process.pid)
        process.send_signal(number)
        out = process.communicate(timeout=LONG)[0]
    until(lambda: gone(run))
    one = bench.newest()
    assert one.unfinished
    assert [run.state for run in one.state.runs] == ["done", "running"]
    if number == signal.SIGTERM:
        assert process.returncode == 143, out
        assert "interrupted; 1 passed, 1 not run (status 143: interrupted)" in out
        assert "the night was ended by SIGTERM" in (one.path / "summary.md").read_text()
    else:
        assert process.returncode == -9
    go.write_text("")
    with start(bench) as process:
        out = process.communicate(timeout=LONG)[0]
    assert process.returncode == 0, out
    assert f"resuming the unfinished night {one.name}, which began " in out
    assert "2 passed (status 0: good)" in out
    assert log.read_text() == "xx"
    assert [len(run.tries) for run in bench.newest().state.runs] == [1, 2]
    assert [path.name for path in state.directories(bench.nights)] == [one.name]


def test_a_night_can_be_begun_anew(bench: Bench) -> None:
    bench.suite("def test_a(): pass\n")
    bench.write()
    old = made(bench.nights, "2026-11-23", plan="tiny", began=time.time() - 60, digest=plan.load(bench.plan).digest)
    result = bench.run(resume=False)
    assert result.path != old.path


# what others start us with


def test_units_are_valid(tmp_path: Path) -> None:
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("systemd-analyze is not there (Debian package systemd): the units of docs/nightly are not verified")
    for unit in [*DOCS.glob("*.service"), *DOCS.glob("*.timer")]:
        text = (
            unit.read_text()
            .replace("/opt/hil/.venv/bin/hil", shutil.which("true") or "true")
            .replace("/opt/hil", str(ROOT))
        )
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 3
    done = subprocess.run([verifier, "verify", *units], capture_output=True, text=True, timeout=LONG)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_script_of_the_ci_job(bench: Bench) -> None:
    bench.write()
    script = bench.root / "bin"
    script.mkdir()
    (script / "hil").write_text(f'#!/bin/sh\nexec {shlex.join(HIL)} "$@"\n')
    (script / "hil").chmod(0o755)
    env = {**os.environ, "PATH": f"{script}:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix, "PYTHONPATH": str(ROOT)}

    def run() -> subprocess.CompletedProcess[str]:
        words = [str(DOCS / "run"), "tiny.toml", "nights", "out"]
        return subprocess.run(words, cwd=bench.root, env=env, capture_output=True, text=True, timeout=LONG)

    bench.suite("def test_a(): assert 0\n")
    done = run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert set(os.listdir(bench.root / "out")) == {"summary.md", "state.json", "job-one.xml"}
    assert "test_suite.py::test_a" in (bench.root / "out" / "summary.md").read_text()
    bench.plan.write_text("nothing")
    assert run().returncode == 2
    assert set(os.listdir(bench.root / "out")) == {"summary.md", "state.json"}, "nothing of the night before"
    assert "did not run" in (bench.root / "out" / "summary.md").read_text()

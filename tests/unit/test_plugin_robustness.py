"""No input ends a session in a traceback: plugins switched off, odd items, odd text, odd directories, full disks."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from _pytest.config import default_plugins, essential_plugins
from click.testing import CliRunner
from limits import WITH_LABGRID
from test_plugin import LOAD, ROOT, run, stub  # noqa: F401  fixtures

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import cache_root, data_root
from hil.wasm.health_check import check_health

pytest_plugins = ["pytester"]
ALLURE = ("-p", "allure_pytest.plugin", "--alluredir", "al")
REQUIRED = {*essential_plugins, "python"}  # without `python` there are no test functions


@pytest.mark.parametrize("plugin", sorted({*default_plugins} - REQUIRED))
def test_a_builtin_plugin_may_be_switched_off(run, plugin) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    result = run("def test_x(): pass", "-p", f"no:{plugin}", *ALLURE, "--hil-repeat", "2")
    assert result.ret == 0
    assert "Traceback" not in str(result.stdout) + str(result.stderr)


BUILTIN = [pytest.param(plugin, marks=pytest.mark.slow) for plugin in ("terminal", "debugging")]


@pytest.mark.parametrize("plugin", ["labgrid", "allure_pytest", *BUILTIN])
def test_so_may_one_beside_the_others_that_are_installed(tmp_path: Path, plugin: str) -> None:
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    command = [sys.executable, "-m", "pytest", *LOAD, "-p", f"no:{plugin}", "test_x.py"]
    environment = {**os.environ, **WITH_LABGRID, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


ITEMS = """
import pytest
def pytest_collect_file(parent, file_path):
    return CheckFile.from_parent(parent, path=file_path) if file_path.suffix == ".check" else None
class CheckFile(pytest.File):
    def collect(self):
        for name in self.path.read_text().split():
            yield CheckItem.from_parent(self, name=name)
class CheckItem(pytest.Item):
    def runtest(self):
        assert self.name != "bad"
"""


def test_items_that_are_not_functions_run_beside_labgrid_and_allure(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(ITEMS)
    (tmp_path / "wiring.check").write_text("good bad\n")
    command = [sys.executable, "-m", "pytest", *LOAD, "wiring.check", "--alluredir", "al"]
    environment = {**os.environ, **WITH_LABGRID, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert "1 failed, 1 passed" in done.stdout
    assert len(list((tmp_path / "al").glob("*-result.json"))) == 2


def test_a_board_is_had_at_run_time_and_in_a_test_case(run, stub) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    code = """
        import unittest, pytest
        @pytest.mark.parametrize("which", ["guest", "console", "measure"])
        def test_dynamic(request, which): assert request.getfixturevalue(which)
        def test_static(board): assert board.up
        class TestDevice(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _bind(self, board): self.board = board
            def test_up(self): self.assertTrue(self.board.up)
            def test_fails(self): self.fail("as it is to")
    """
    result = run(code, "--board", stub, *ALLURE)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*console, *.raw:*"])


def test_a_board_at_run_time_has_to_be_one(run, stub) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    code = "def test_x(request): request.getfixturevalue('board')"
    result = run(code, "--board", stub, "--board", "qemu-reference")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ConfigurationError (configuration): *at run time*stub, qemu-reference*"])


TEXTS = r"""
    import logging, pytest, warnings
    @pytest.mark.parametrize("text", ["\udcb0", "\x00"])
    def test_fail(text): pytest.fail("said: \x1b[2J" + text)
    def test_log(): logging.getLogger().error("\udcb0"); assert 0
    def test_print(): print("\udcb0")
    def test_warn(): warnings.warn("\udcb0")
    def test_skip(): pytest.skip("\udcb0")
    def test_document(): pass
    test_document.__doc__ = "\udcb0"  # Python 3.13 compiles no such docstring
    def test_several(): raise ExceptionGroup("\udcb0", [ValueError("\ud83d")])
"""


@pytest.mark.parametrize("parallel", [(), ("-p", "xdist.plugin", "-n", "1")])
def test_text_that_is_not_utf_8_ends_no_session(run, pytester, parallel) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    if parallel:
        pytester.makeconftest("pytest_plugins = ['hil.plugin', 'allure_pytest.plugin']")
    result = run(TEXTS, *ALLURE, "--hil-journal", "j.jsonl", "--junitxml", "x.xml", *parallel)
    outcomes = result.parseoutcomes()
    assert (outcomes["failed"], outcomes["skipped"], outcomes["passed"]) == (4, 1, 3)
    results = [json.loads(path.read_bytes().decode()) for path in (pytester.path / "al").glob("*-result.json")]
    assert len(results) == 8
    assert any(
        "said: " in one["statusDetails"]["message"] and "\\xb0" in one["statusDetails"]["message"]
        for one in results
        if "statusDetails" in one
    )
    for line in (pytester.path / "j.jsonl").read_bytes().splitlines():
        json.dumps(json.loads(line), ensure_ascii=False).encode()


@pytest.mark.parametrize("name", [b"suites[old]", b"pr\xfcfung", b"a b'\"", b"x[\xff"])
def test_a_directory_may_have_any_name(run, pytester, name) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    directory = pytester.path / os.fsdecode(name)
    directory.mkdir()
    (directory / "test_in.py").write_text(
        "import pytest\nclass TestX:\n    @pytest.mark.parametrize('v', ['p', 'q'])\n    def test_b(self, v): assert v == 'q'\n"
    )
    result = run("", *ALLURE, "--hil-journal", "j.jsonl", "--junitxml", "x.xml")
    result.assert_outcomes(passed=1, failed=1)
    results = [json.loads(path.read_bytes().decode()) for path in (pytester.path / "al").glob("*-result.json")]
    assert len({one["historyId"] for one in results}) == 2


def test_a_test_may_change_the_directory(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    code = """
        import os
        from hil import Clock, Series, maximum, s
        def check(measure, name): measure.check(Series("q", name, (0.5,), Clock("c", 1e-9)), maximum <= 1 * s)
        def test_there_and_back(measure, tmp_path, monkeypatch):
            monkeypatch.chdir(tmp_path)
            check(measure, "one")
        def test_stays(board, tmp_path): os.chdir(tmp_path); board.dirty = "so that the next one boots"
        def test_measures(measure): check(measure, "two")
        def test_into_nothing(board, tmp_path):
            gone = tmp_path / "gone"
            gone.mkdir()
            os.chdir(gone)
            gone.rmdir()
            board.dirty = "so that the next one boots"
        def test_fails(measure): check(measure, "three"); assert 0
    """
    (pytester.path / "base").mkdir()
    paths = (
        "--hil-transcripts",
        "tr",
        "--hil-results",
        "r.jsonl",
        "--hil-baselines",
        "base",
        "--hil-history",
        "h.sqlite",
    )
    result = run(code, "--board", stub, "--clock", "real", *paths, *ALLURE)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["results: r.jsonl, 3 series*", "transcripts: tr/*", "FAILED *test_fails*"])
    assert len(list((pytester.path / "tr").rglob("*.raw"))) == 3
    assert len(list((pytester.path / "al").glob("*-result.json"))) == 5


def test_a_disk_that_fills_up_costs_the_report_and_not_the_verdicts(run, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "there")

    monkeypatch.setattr("allure_commons.logger.AllureFileLogger._report_item", full)
    result = run("def test_x(): pass", *ALLURE, "--hil-journal", "j.jsonl")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*No space left on device*"])


def test_transcripts_that_cannot_be_written_name_the_option(run, stub, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("hil.console.transcript.Path.touch", full)
    result = run("def test_x(console): pass", "--board", stub)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*InfrastructureError*cannot create a transcript in*No space left*", "*--hil-transcripts*"]
    )


def test_a_user_without_a_home_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HIL_TRANSCRIPTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user that the system does not have
    from hil.console.transcript import default_directory

    for directory in (cache_root, data_root, default_directory):
        with pytest.raises(ConfigurationError, match="has no home directory"):
            directory()
    result = CliRunner().invoke(main, ["snapshot", "list"])
    assert result.exit_code == 2
    assert "has no home directory" in result.stderr
    assert CliRunner().invoke(main, ["image", "list"]).exit_code == 0
    assert isinstance(CliRunner().invoke(main, ["doctor"]).exception, SystemExit)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, InfrastructureError("an error")])
def test_ctrl_c_has_a_status_of_its_own(monkeypatch: pytest.MonkeyPatch, interrupt: BaseException) -> None:
    def ended(_: object) -> None:
        raise interrupt

    monkeypatch.setattr("hil.cli.host_check.run", ended)
    assert CliRunner().invoke(main, ["doctor"]).exit_code == (130 if interrupt is KeyboardInterrupt else 1)


def test_what_repeat_does_not_repeat_is_said_in_one_line(run, pytester) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    pytester.maketxtfile(test_doc=">>> 1 + 1\n2\n")
    code = """
        import unittest
        class TestPlain(unittest.TestCase):
            def test_sum(self): self.assertEqual(1 + 1, 2)
        def test_function(): pass
    """
    result = run(code, "--hil-repeat", "3", "test_what_repeat_does_not_repeat_is_said_in_one_line.py", "test_doc.txt")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*--hil-repeat 3: 2 tests ran once*"])
    again = run(
        "def test_function(): pass", "--hil-repeat", "3", "test_what_repeat_does_not_repeat_is_said_in_one_line.py"
    )
    again.stdout.no_fnmatch_line("*ran once*")


RERUNS = """
import pytest
from _pytest.runner import runtestprotocol
class Reruns:  # as pytest-rerunfailures does it
    def get_reruns_count(self, item): return 1
    def pytest_runtest_protocol(self, item, nextitem):
        for left in (1, 0):
            item._initrequest()
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
            again = left and any(report.failed for report in reports)
            for report in reports:
                if again and report.failed: report.outcome = "rerun"
                item.ihook.pytest_runtest_logreport(report=report)
            if not again: return True
def pytest_configure(config): config.pluginmanager.register(Reruns(), "rerunfailures")
def pytest_addoption(parser): parser.addoption("--reruns", type=int)
"""


def test_tests_of_boards_are_run_again_by_the_plugin_that_does_it(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]  # noqa: F811
    pytester.makeconftest(RERUNS)
    code = """
        ran = []
        def test_flaky(board, record_property):
            record_property("try", len(ran))
            ran.append(board.boots)
            assert len(ran) == 2
        def test_next(board): assert ran == [1, 2]
    """
    result = run(code, "--board", stub, "--reruns", "1", "--fresh", "test", "--hil-journal", "j.jsonl")
    outcomes = result.parseoutcomes()
    assert (outcomes["passed"], outcomes["retried"], outcomes.get("failed")) == (2, 1, None)
    result.stdout.fnmatch_lines(
        ["hil: --reruns 1: *--hil-retries*", "retried after a failure of the image*test_flaky*"]
    )


def test_the_health_check_of_an_image_without_an_agent_asks_the_shell_alone() -> None:
    commands = []
    guest = SimpleNamespace(
        board=SimpleNamespace(manifest=SimpleNamespace(agent=None, name="plain")),
        run=lambda command, **_: commands.append(command),
    )
    check_health(guest)  # type: ignore[arg-type]
    assert commands == ["true"]


def test_a_fixture_named_target_of_pytest_embedded_is_not_labgrid_s(tmp_path: Path) -> None:
    (tmp_path / "pytest_embedded.py").write_text(
        "import pytest\n@pytest.fixture\ndef target(): return None\n"
        "@pytest.fixture(autouse=True)\ndef parametrize_fixtures(target): pass\n"
    )
    (tmp_path / "test_x.py").write_text("def test_x(): pass\n")
    environment = {**os.environ, **WITH_LABGRID, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    environment.pop("LG_ENV", None)
    command = [sys.executable, "-m", "pytest", *LOAD, "-p", "pytest_embedded", "test_x.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert "1 passed" in done.stdout
    assert "hil: the fixture `target` is pytest-embedded's" in done.stdout

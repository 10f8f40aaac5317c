"""What a user sees while a board comes up: one line on a terminal that is gone afterwards, and by -q and -v."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import sys
import time
import warnings
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner, Result
from limits import HANG
from pytest_runs import LOAD, PytestProcess
from support import UNCHECKED, stub_board, until

from hil.cli import main
from hil.host import progress

with warnings.catch_warnings(action="ignore"):  # there is a better emulator, but this one is here
    from pexpect.ANSI import ANSI

ROOT = Path(__file__).resolve().parents[2]
HIL = ["-c", "from hil.cli import main; main()"]
ROWS, COLUMNS = 60, 120
CURSOR = re.compile(r"\x1b\[\?25[lh]")  # the emulator below does not know that a cursor is hidden
TEST = """\
import pytest
@pytest.mark.parametrize("n", range(3))
def test_it(board, n):
    print("seen by the test")
    assert n < 2
"""


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    return str(stub_board(tmp_path))


def pytest_run(directory: Path, *arguments: str, terminal: bool = False) -> str:
    env = {"TERM": "xterm", "COLUMNS": str(COLUMNS)}
    return PytestProcess(directory, *LOAD, "-p", "no:cacheprovider", *arguments, env=env, terminal=terminal).finish()


def hil(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def on_terminal(directory: Path, *arguments: str) -> tuple[str, str]:
    """Run Python on a terminal; return all that it wrote there, and what a user sees in the end."""
    spawned = pexpect.spawn(
        sys.executable,
        [*arguments],
        cwd=str(directory),
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        encoding="utf-8",
        timeout=HANG,
        dimensions=(ROWS, COLUMNS),
    )
    spawned.expect(pexpect.EOF)
    spawned.close()
    return spawned.before, on_screen(spawned.before)


def on_screen(written: str) -> str:
    screen = ANSI(ROWS, COLUMNS)
    screen.write(CURSOR.sub("", written))
    return "\n".join(line.rstrip() for line in str(screen).splitlines())


def test_a_terminal_shows_the_stage_and_in_the_end_the_result_alone(tmp_path: Path, stub: str) -> None:
    written, seen = on_terminal(tmp_path, *HIL, "board", "boot", "--board", stub)
    for stage in ("start", "login", "shell"):
        assert re.search(rf"stub: booting: {stage} \d+\.\d s \(limit 20 s\)", written)
    assert [line.split()[0] for line in seen.split("\n")[:4]] == ["stage", "start", "login", "shell"]
    assert "booting" not in seen


def test_a_pipe_gets_the_stages_with_v_alone(stub: str) -> None:
    boot = ("board", "boot", "--board", stub)
    usual = hil(*boot)
    assert (usual.exit_code, usual.stderr) == (0, "")
    verbose = hil(*boot, "-v").stderr
    assert re.findall(r"stub: booting: (\w+): \d+\.\d s", verbose) == ["start", "login", "shell"]
    assert f"board {stub}, chosen by --board" in verbose, "the source of a setting"
    assert re.search(r"qemu-system-aarch64 .*-kernel .*: \d+\.\d s", verbose), "a command with its time"
    assert "| stub starts" not in verbose
    assert hil("-v", *boot).stderr.count("booting") == verbose.count("booting")


def test_the_console_is_shown_on_request_and_never_in_json(stub: str) -> None:
    result = hil("-v", "board", "boot", "-v", "--json", "--board", stub)
    assert "| stub starts" in result.stderr.splitlines()
    assert [stage["stage"] for stage in json.loads(result.stdout)["stages"]] == ["start", "login", "shell"]
    assert "project" in hil("-v", "board", "list").stderr
    assert hil("board", "boot", "--board", stub).stderr == "", "the next command is as silent as ever"


def test_quiet_leaves_results_and_errors(stub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LG_ENV", stub)
    assert "chosen by LG_ENV" in hil("board", "boot").stderr
    quiet = hil("board", "boot", "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    assert quiet.stdout.startswith("stage")
    wrong = hil("-q", "board", "boot", "--board", "nothing")
    assert (wrong.exit_code, "ConfigurationError" in wrong.stderr) == (2, True)
    assert hil("-q", "board", "boot", "-v").exit_code == 2


def test_the_options_of_a_module_are_its_own() -> None:
    """`hil run` passes on what follows the module."""
    assert ", settings: " in hil("run", "-v", "x.wasm").stderr
    after = hil("run", "x.wasm", "-v").stderr
    assert "x.wasm" in after
    assert ", settings: " not in after


def test_a_log_gets_a_sign_of_life(stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('"# "\nlimit = 20', '"never"\nlimit = 1'))
    quick = functools.partial(progress.signs_of_life, every=0.1)
    monkeypatch.setattr(progress, "signs_of_life", quick)
    signs = re.findall(
        r"^hil: stub: booting: shell (\d+\.\d) s \(limit 1 s\)$", hil("board", "boot", "--board", stub).stderr, re.M
    )
    assert len(signs) > 1
    assert sorted(signs) == signs


def test_signs_of_life_end_with_the_work() -> None:
    stream = io.StringIO()
    with progress.signs_of_life(stream, every=0.01):
        progress.current().step("a step")
        until(lambda: stream.getvalue().count("\n") > 1)
    written = stream.getvalue()
    assert type(progress.current()) is progress.Progress
    time.sleep(0.05)
    assert stream.getvalue() == written


def test_pytest_shows_the_stage_below_its_line_and_nothing_stays(tmp_path: Path, stub: str) -> None:
    (tmp_path / "conftest.py").write_text(UNCHECKED)
    (tmp_path / "test_it.py").write_text(TEST)
    records = ["--junitxml", "junit.xml", "-o", "junit_logging=all", "--alluredir", "allure"]
    written = pytest_run(tmp_path, "--fresh", "test", "--board", stub, *records, terminal=True)
    seen = on_screen(written)
    assert re.search(r"stub: booting: login \d+\.\d s \(limit 20 s\)", written)
    assert re.search(r"^test_it\.py \.\.F +\[100%\]$", seen, re.M), "as without it"
    assert "booting" not in seen
    reports = [tmp_path / "junit.xml", *(tmp_path / "allure").iterdir()]
    texts = [path.read_text("utf-8", "replace") for path in reports]
    assert any("seen by the test" in text for text in texts)
    assert not any("booting" in text for text in texts)
    written = pytest_run(tmp_path, "--board", stub, "-q", "-p", "no:logging", terminal=True)
    assert "booting" not in written
    assert "2 passed" in written


def test_pytest_in_a_pipe_gives_a_sign_of_life(tmp_path: Path, stub: str) -> None:
    (tmp_path / "conftest.py").write_text(
        f"{UNCHECKED}import functools\nfrom hil.host import progress\n"
        "progress.signs_of_life = functools.partial(progress.signs_of_life, every=0.05)\n"
    )
    (tmp_path / "test_it.py").write_text("def test_it(board): pass\n")
    written = pytest_run(tmp_path, "--board", stub)
    assert re.search(r"^test_it\.py \nhil: stub: .* s( \(limit 20 s\))?$", written, re.M), written
    assert "1 passed" in written
    assert "\x1b" not in written

"""`./bootstrap` before it installs anything, and how it judges the tests: help, wrong usage, unknown systems, no root."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from limits import HANG
from support import gone, until

BOOTSTRAP = Path(__file__).parents[2] / "bootstrap"
# all that the script itself calls; what a test leaves out is not there for it
TOOLS = ("awk", "bash", "cat", "dirname", "env", "flock", "grep", "mkdir", "rm", "sed", "tr", "xargs")

Run = Callable[..., subprocess.CompletedProcess[str]]


def add_tool(directory: Path, name: str, body: str) -> None:
    """Put a stand-in for a command into a directory of the path."""
    tool = directory / name
    tool.write_text(f"#!/bin/sh\n{body}\n")
    tool.chmod(0o755)


@pytest.fixture
def bin_dir(tmp_path: Path) -> Path:
    """The only directory on the script's path."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found, f"{name} is missing on this machine"
        (directory / name).symlink_to(found)
    return directory


@pytest.fixture
def run(tmp_path: Path, bin_dir: Path) -> Run:
    """Run a copy of the script, so that nothing is written into this clone."""
    copy = tmp_path / "project" / "bootstrap"
    copy.parent.mkdir()
    shutil.copy2(BOOTSTRAP, copy)

    def run(*arguments: str, os_release: str = 'ID=debian\nVERSION_ID="12"\n') -> subprocess.CompletedProcess[str]:
        release = tmp_path / "os-release"
        release.write_text(os_release)
        return subprocess.run(
            [copy, *arguments],
            env={"PATH": str(bin_dir), "HIL_OS_RELEASE": str(release), "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=HANG,
        )

    return run


@pytest.fixture
def bare_debian(bin_dir: Path) -> Path:
    """A Debian for ordinary users that lacks everything but the C compiler `clang`."""
    add_tool(bin_dir, "dpkg", "echo amd64")
    add_tool(bin_dir, "dpkg-query", "echo clang installed; echo lld config-files")
    add_tool(bin_dir, "id", "echo 1000")
    return bin_dir


def test_it_is_executable() -> None:
    assert os.access(BOOTSTRAP, os.X_OK)


@pytest.mark.parametrize("argument", ["-h", "--help", "help"])
def test_help_names_every_command(run: Run, argument: str) -> None:
    done = run(argument)
    assert (done.returncode, done.stderr) == (0, "")
    for command in ("setup", "demo", "test", "shell"):
        assert f"\n  {command} " in done.stdout


@pytest.mark.parametrize("arguments", [["dmeo"], ["--fast"], ["setup", "now"], ["test", "-k", "x"]])
def test_wrong_usage_is_status_2_and_points_to_help(run: Run, arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "bootstrap: " in done.stderr
    assert "--help" in done.stderr
    assert not (tmp_path / "project" / ".bootstrap").exists()


@pytest.mark.parametrize(
    ("os_release", "name"),
    [
        ('ID=fedora\nVERSION_ID=43\nPRETTY_NAME="Fedora Linux 43"\n', "Fedora Linux 43"),
        ('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian GNU/Linux 11 (bullseye)"\n', "Debian GNU/Linux 11"),
        ("", "this system"),
    ],
)
def test_unknown_system_gets_the_whole_list(run: Run, os_release: str, name: str, tmp_path: Path) -> None:
    done = run(os_release=os_release)
    assert done.returncode == 2
    assert name in done.stderr
    for part in ("qemu-system-aarch64", "aarch64-linux-gnu-gcc", "wasm-ld", "python3", "3.11", "Node.js 20"):
        assert part in done.stderr
    assert not (tmp_path / "project" / ".bootstrap").exists()


def test_unknown_system_names_only_what_is_not_found(run: Run, bin_dir: Path) -> None:
    add_tool(bin_dir, "clang", "true")
    line = next(text for text in run(os_release="ID=arch\n").stderr.splitlines() if text.startswith("Not found:"))
    assert "wasm-ld" in line
    assert "clang" not in line


def test_unknown_system_with_an_old_python(run: Run, bin_dir: Path) -> None:
    add_tool(bin_dir, "python3", "exit 1")
    assert "python3 >= 3.11 with venv" in run(os_release="ID=arch\n").stderr


def test_without_sudo_the_command_for_root_is_shown(run: Run, bare_debian: Path) -> None:
    done = run()
    assert done.returncode == 2
    assert "no sudo" in done.stderr
    assert "  apt-get update && apt-get install --no-install-recommends ca-certificates python3 " in done.stderr
    assert " lld " in done.stderr  # known to dpkg, but not installed
    assert " clang " not in done.stderr


def test_a_password_cannot_be_asked_for_without_a_terminal(run: Run, bare_debian: Path) -> None:
    add_tool(bare_debian, "sudo", "exit 1")
    done = run()
    assert done.returncode == 2
    assert "no terminal" in done.stderr
    assert "apt-get install --no-install-recommends ca-certificates" in done.stderr


def test_a_failed_step_shows_the_end_of_its_log(run: Run, bare_debian: Path, tmp_path: Path) -> None:
    add_tool(bare_debian, "sudo", '[ "$1" = -n ] || exec "$@"')
    add_tool(bare_debian, "apt-get", "echo the mirror is asleep; exit 100")
    # the pauses between tries take no time, the beat of the progress line does
    add_tool(bare_debian, "sleep", f'[ "$1" != 1 ] || exec {shutil.which("sleep")} 1')
    (bare_debian / "tail").symlink_to(str(shutil.which("tail")))
    done = run()
    assert done.returncode == 1
    assert "step 1 of 4 failed (System packages, status 1)" in done.stderr
    assert done.stderr.count("the mirror is asleep") == 3
    assert "run ./bootstrap again" in done.stderr
    assert "try 2 of 3" in (tmp_path / "project" / ".bootstrap" / "log").read_text()


# stands in for pytest: writes its command down, and what a part's tests made of it
PYTEST = """
echo "$@" >>"$TOLD/commands"
case $1 in
  tests/unit) set -- $UNIT "$@" ;;
  tests/integration/test_*.py) set -- $INTEGRATION "$@" ;;
  *) exit 99 ;;
esac
for word; do
  case $word in --junitxml=*)
    echo "<testsuites><testsuite tests='$2' skipped='$3'/></testsuites>" >"${word#*=}" ;;
  esac
done
exit $1
"""


def checks_alone(bin_dir: Path, directory: Path) -> Path:
    """Make a script of the test command without the set-up."""
    for name, found in {"mktemp": shutil.which("mktemp"), "python": sys.executable}.items():
        (bin_dir / name).symlink_to(str(found))
    (directory / "temporary").mkdir()
    text = BOOTSTRAP.read_text()
    parts = [text[: text.index("\n# ---- steps")], text[text.index("\ncheck() ") : text.index("\nshell() ")]]
    traps = re.findall(r"^trap .*$", text, re.M)
    script = directory / "checks"
    script.write_text("\n".join([*parts, *traps, 'checks "$@"\n']))
    return script


def test_what_runs_beside_the_tests_ends_with_them(bin_dir: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    for name in ("ruff", "lint-imports", "hil"):
        add_tool(bin_dir, name, "true")
    sleep = shutil.which("sleep")
    add_tool(bin_dir, "mypy", f"echo $$ >{note}; exec {sleep} 600")
    add_tool(bin_dir, "pytest", f"while ! test -s {note}; do {sleep} 0.05; done; kill -TERM $PPID")
    script, temporary = checks_alone(bin_dir, tmp_path), tmp_path / "temporary"
    environment = {"PATH": str(bin_dir), "TMPDIR": str(temporary)}
    done = subprocess.run(["bash", script], env=environment, stdin=subprocess.DEVNULL, timeout=HANG)
    assert done.returncode == 143
    until(lambda: gone(int(note.read_text())))
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("unit", "integration", "failed"),
    [
        ("0 9 1", "0 9 9", ""),
        ("0 9 9", "0 9 1", ""),
        ("5 0 0", "0 1 0", ""),
        ("0 1 0", "5 0 0", ""),
        ("5 0 0", "5 0 0", "no test ran"),
        ("0 9 9", "0 9 9", "no test ran"),
        ("0 9 9", "5 0 0", "no test ran"),
        ("1 9 0", "0 9 0", "pytest tests/unit"),
        ("0 9 0", "2 9 0", "pytest tests/integration"),
        ("5 0 0", "3 0 0", "pytest tests/integration"),
        ("4 0 0", "1 9 0", "pytest tests/unit, pytest tests/integration"),
        ("0 9 0", "0 9 0", "mypy"),
    ],
)
def test_the_parts_of_the_tests_are_judged_together(
    bin_dir: Path, tmp_path: Path, unit: str, integration: str, failed: str
) -> None:
    for name in ("ruff", "mypy", "lint-imports", "hil"):
        add_tool(bin_dir, name, "false" if name == failed else "true")
    add_tool(bin_dir, "pytest", PYTEST)
    script = checks_alone(bin_dir, tmp_path)
    environment = {"PATH": str(bin_dir), "TOLD": str(tmp_path), "UNIT": unit, "INTEGRATION": integration}
    environment["TMPDIR"] = str(tmp_path / "temporary")
    done = subprocess.run(
        ["bash", script, "-k", "some words"], env=environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == bool(failed), done.stderr
    assert done.stderr == (f"bootstrap: failed: {failed}\n" if failed else "")
    first, second = (tmp_path / "commands").read_text().splitlines()
    assert re.match(r"tests/unit .*-n [2-4] -m not slow ", first)
    assert " tests/integration " in second
    assert " --fresh module " in second
    files = second.partition(" tests/integration ")[0].split()
    assert all((BOOTSTRAP.parent / file).is_file() for file in files)
    assert all(" -k some words " in command for command in (first, second))
    assert not list((tmp_path / "temporary").iterdir())

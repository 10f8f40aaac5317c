"""`hil new-module`: the files of a module in each language, what it refuses, and what a script says without a toolchain."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from limits import HANG
from pytest_runs import LOAD, PytestProcess

from hil.cli import main
from hil.wasm.catalogue import SAMPLES_DIR, languages

New = Callable[..., Result]
MISSING = {
    "assemblyscript": "nodejs npm",
    "c": "clang lld",
    "cpp": "clang lld",
    "rust": "rustc libstd-rust-dev-wasm32 lld",
    "zig": "python3 python3-venv",
}
COREUTILS = ("basename", "cut", "dirname", "find", "head", "readlink", "realpath", "sed", "sha256sum", "wc")


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> New:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ["new-module", *arguments])


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("language", languages())
def test_a_new_module_is_whole(new: New, tmp_path: Path, language: str) -> None:
    done = new("--language", language, "motor")
    assert done.exit_code == 0, done.output
    sources = [path.name for path in (SAMPLES_DIR / "languages" / language).glob("module.*")]
    assert len(sources) == 1
    more = {"assemblyscript": {"package.json", "package-lock.json"}, "javascript": {"engine.wasm", "LICENSE.quickjs"}}
    expected = {"build", "test_motor.py", f"motor{Path(sources[0]).suffix}"} | more.get(language, set())
    assert files(tmp_path).keys() == expected
    assert (tmp_path / "build").stat().st_mode & 0o111
    assert done.output.endswith("Next:\n  ./build\n  pytest test_motor.py --board qemu-reference\n")


def test_the_test_is_collected(new: New, tmp_path: Path) -> None:
    assert new("my-module").exit_code == 0
    output = PytestProcess(tmp_path, *LOAD, "-p", "no:cacheprovider", "--collect-only", "-q").finish()
    assert "test_my-module.py::test_arguments" in output
    assert "1 test collected" in output


def test_the_source_in_c_names_the_headers_of_the_host_functions(new: New, tmp_path: Path) -> None:
    assert new("motor").exit_code == 0
    source = (tmp_path / "motor.c").read_text()
    for header in (SAMPLES_DIR / "include").iterdir():
        assert f"<{header.name}>" in source or header.name == "hil_wires.h"  # which the others include


def test_a_directory_and_a_project_with_a_board(new: New, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.hil]\nboard = "bench"\n')
    done = new("motor", "--into", "my modules/motor")
    assert done.exit_code == 0, done.output
    assert done.output.endswith("Next:\n  'my modules/motor/build'\n  pytest 'my modules/motor/test_motor.py'\n")


def test_a_second_module_of_the_language_uses_the_same_script(new: New, tmp_path: Path) -> None:
    assert new("one").exit_code == 0
    (tmp_path / "one.c").write_text("my own")
    done = new("two")
    assert done.exit_code == 0, done.output
    assert {"one.c", "two.c", "test_one.py", "test_two.py", "build"} == files(tmp_path).keys()
    assert (tmp_path / "one.c").read_text() == "my own"


@pytest.mark.parametrize(
    ("there", "arguments", "named"),
    [
        ("motor.c", ["motor"], "motor.c"),
        ("motor.wasm", ["motor"], "motor.wasm"),
        ("test_motor.py", ["motor"], "test_motor.py"),
        ("build", ["motor"], "build"),
        ("build/there", ["motor"], "build"),
        ("package.json", ["--language", "assemblyscript", "motor"], "package.json"),
    ],
)
def test_what_exists_stays(new: New, tmp_path: Path, there: str, arguments: list[str], named: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine")
    done = new(*arguments)
    assert done.exit_code == 2
    assert f"has {named}\n" in done.output
    assert files(tmp_path) == {there: b"mine"}


@pytest.mark.parametrize("name", ["", "1st", "a.b", "a/b", "-a", "ä", "a b", "a\n"])
def test_a_wrong_name_is_refused(new: New, tmp_path: Path, name: str) -> None:
    done = new("--", name)
    assert done.exit_code == 2
    assert "is not a module's name" in done.output
    assert not files(tmp_path)


def test_a_file_in_place_of_the_directory_is_refused(new: New, tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    done = new("motor", "--into", "there")
    assert done.exit_code == 2
    assert "--into" in done.output
    assert files(tmp_path) == {"there": b""}


@pytest.mark.parametrize("language", sorted(MISSING))
def test_a_script_names_the_packages_of_a_missing_toolchain(new: New, tmp_path: Path, language: str) -> None:
    assert new("--language", language, "motor").exit_code == 0
    script = tmp_path / "build"
    script.write_text(script.read_text().replace("/usr/bin/rustc", "/nonexistent/rustc"))
    (tmp_path / "bin").mkdir()
    for name in COREUTILS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    environment = {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["/bin/sh", script], cwd="/", env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"for Debian 12 and 13: apt-get install --no-install-recommends {MISSING[language]}" in done.stderr
    assert not (tmp_path / "motor.wasm").exists()

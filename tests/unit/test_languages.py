"""The build scripts of languages whose toolchain is at hand everywhere, or missing everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from limits import HANG

from hil.wasm import Module

LANGUAGES = Path(__file__).resolve().parents[2] / "wasm_samples" / "languages"


def build(script: Path, *arguments: str | Path, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(script), *map(str, arguments)]
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=HANG, check=False)


@pytest.mark.parametrize("bytes_of_text", [0, 200_000])
def test_a_script_gets_into_the_interpreter(bytes_of_text: int, tmp_path: Path) -> None:
    source = tmp_path / "own.js"
    source.write_text(f"print('é'); // {'x' * bytes_of_text}")
    done = build(LANGUAGES / "javascript" / "build", source, tmp_path / "own.wasm")
    assert (done.returncode, done.stderr) == (0, "")
    module = Module.load(tmp_path / "own.wasm")
    assert source.read_bytes() + b"\0own.js\0" in module.data
    engine = (LANGUAGES / "javascript" / "engine.wasm").stat().st_size
    assert 0 < len(module.data) - engine - source.stat().st_size < 50


def test_a_directory_of_ones_own_builds_all_its_scripts(tmp_path: Path) -> None:
    for name in ("build", "engine.wasm", "module.js"):
        shutil.copy(LANGUAGES / "javascript" / name, tmp_path)
    done = build(tmp_path / "build")
    assert done.returncode == 0, done.stderr
    assert f"built {tmp_path}/module.wasm: " in done.stdout


def test_what_is_no_script_is_named(tmp_path: Path) -> None:
    source = tmp_path / "own.js"
    source.write_bytes(b"\xff")
    done = build(LANGUAGES / "javascript" / "build", source, tmp_path / "own.wasm")
    assert done.returncode == 1
    assert f"build: {source} to {tmp_path}/own.wasm: 'utf-8' codec" in done.stderr
    assert not (tmp_path / "own.wasm").exists()


@pytest.mark.parametrize(
    ("language", "package"), [("go", "golang-go"), ("swift", "swiftlang"), ("javascript", "python3")]
)
def test_a_missing_toolchain_names_package_and_debian(language: str, package: str, tmp_path: Path) -> None:
    for tool in ("dirname", "id"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    done = build(LANGUAGES / language / "build", "a", "b", path=str(tmp_path))
    assert done.returncode == 2
    assert package in done.stderr
    assert "Debian 13" in done.stderr or "Debian 12 and 13" in done.stderr

"""The wheel: complete, the same bytes each time, and as good as the checkout for who installs it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from limits import HANG

from hil.host.project import packaged
from hil.image import manifest, recipe
from hil.measure import probe

ROOT = Path(__file__).resolve().parents[2]
DATA = ("boards", "images", "suites", "wasm_samples")
PROBE = "hil/measure/probe-aarch64"
REPORTS = ("allurerc.mjs", "package.json", "package-lock.json", "report.mjs")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=kept | environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def files(*directories: str) -> set[str]:
    """Return the files below `directories` of the checkout, relative to it."""
    found = (path for name in directories for path in (ROOT / name).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def build(target: str, directory: Path, source: Path = ROOT) -> Path:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", directory, cwd=source)
    (made,) = directory.iterdir()
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An sdist of the checkout, and a wheel of the sdist."""
    directory = tmp_path_factory.mktemp("dist")
    sdist = build("sdist", directory / "sdist")
    run("tar", "xzf", sdist, cwd=directory)
    return {
        "sdist": sdist,
        "wheel": build("wheel", directory / "wheel", directory / sdist.name.removesuffix(".tar.gz")),
    }


def test_the_bytes_are_the_same_each_time(made: dict[str, Path], tmp_path: Path) -> None:
    again = {target: build(target, tmp_path / target) for target in ("sdist", "wheel")}
    for target, path in again.items():
        assert path.name == made[target].name
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(made[target].read_bytes()).digest()


def test_nothing_is_missing_and_nothing_is_there_twice(made: dict[str, Path]) -> None:
    expected = {name if name.startswith("hil/") else f"hil/data/{name}" for name in files("hil", *DATA)}
    expected |= {f"hil/data/reports/{name}" for name in REPORTS}
    with zipfile.ZipFile(made["wheel"]) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        programs = {info.filename for info in archive.infolist() if info.external_attr >> 16 & 0o100}
    assert len(names) == len(set(names))
    compiled = set(names) - expected
    assert compiled == {f"hil/qemu/preload/lockstep-{platform.machine()}.so", PROBE}
    assert "manylinux" in made["wheel"].name
    assert {"hil/lab/bin/ser2net", "hil/data/images/reference/guest-init"} <= programs
    with tarfile.open(made["sdist"]) as archive:
        members = {member.name.partition("/")[2] for member in archive.getmembers()}
    assert files("hil", "docs", "tests", "bench", "requirements", *DATA) - members == set()


@pytest.fixture
def installed(made: dict[str, Path], tmp_path: Path) -> Path:
    """The programs of an environment with the wheel beside the packages that are installed here."""
    venv.create(tmp_path / "venv", symlinks=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    with zipfile.ZipFile(made["wheel"]) as archive:
        archive.extractall(site)
        for info in archive.infolist():  # as pip does
            (site / info.filename).chmod(info.external_attr >> 16 & 0o777)
    here = next(Path(path) for path in sys.path if (Path(path) / "pytest").is_dir())
    (site / "packages.pth").write_text(f"{here}\n")
    return tmp_path / "venv" / "bin" / "python"


def test_the_probe_is_the_same_from_checkout_and_wheel(installed: Path, tmp_path: Path) -> None:
    code = "from hil.measure.probe import build; print(build())"
    shipped = Path(run(installed, "-c", code, cwd=tmp_path, PATH="/nonexistent").strip())
    assert shipped.is_relative_to(tmp_path / "venv"), "no compiler is needed"
    data = shipped.read_bytes()
    assert data == probe.build().read_bytes()
    shipped.unlink()
    compiled = Path(run(installed, "-c", code, cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "cache")).strip())
    assert compiled.is_relative_to(tmp_path / "cache")
    assert compiled.read_bytes() == data


def test_an_installed_copy_beside_a_checkout_uses_its_own_files(installed: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    hil = (installed, "-c", "from hil.cli import main; main()")
    boards = json.loads(run(*hil, "board", "list", "--json", cwd=project))
    assert {row["from"] for row in boards} == {"package"}
    assert all(Path(row["file"]).is_relative_to(tmp_path / "venv") for row in boards)
    assert {row["name"] for row in boards} == {path.stem for path in packaged("boards").glob("*.yaml")}
    before = sorted(path for path in (tmp_path / "venv").rglob("*") if "__pycache__" not in path.parts)
    run(*hil, "init", "--emulated", cwd=project)
    run(*hil, "new-module", "motor", "--into", "modules", cwd=project)
    assert {path.name for path in (project / "modules").iterdir()} == {"motor.c", "build", "test_motor.py"}
    output = run(installed, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", cwd=project)
    assert "3 tests collected" in output
    code = "from hil.host.project import packaged; from hil.qemu.lockstep import library; print(packaged('suites'), library())"
    own, library = run(installed, "-c", code, cwd=project, PATH="/nonexistent").split()
    assert Path(library).is_relative_to(tmp_path / "venv"), "no compiler is needed"
    output = run(
        installed, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", f"{own}/smoke", cwd=project
    )
    assert "collected" in output
    after = sorted(path for path in (tmp_path / "venv").rglob("*") if "__pycache__" not in path.parts)
    assert after == before, "nothing is written into the installed package"


def test_an_installed_copy_has_the_recipes_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    """So that it can pull an image that was built in the checkout."""
    code = (
        "from hil.image import manifest, recipe; import json;"
        " print(json.dumps(recipe.recipe(manifest.find('reference')).inputs))"
    )
    assert json.loads(run(installed, "-c", code, cwd=tmp_path)) == recipe.recipe(manifest.find("reference")).inputs

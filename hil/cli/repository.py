"""The repository that a new project is in: its CI system, and the tests that its pytest runs."""

from __future__ import annotations

import configparser
import glob
import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

LIMIT = 5.0  # seconds, of git
HOST = re.compile(r"(?:://(?:[^/@\s]*@)?|@)([^/:\s]+)")
PYTEST_FILES = {  # in the order of pytest: the first one that configures it counts
    "pytest.toml": ("pytest",),
    ".pytest.toml": ("pytest",),
    "pytest.ini": ("pytest",),
    ".pytest.ini": ("pytest",),
    "pyproject.toml": ("tool", "pytest"),
    "tox.ini": ("pytest",),
    "setup.cfg": ("tool:pytest",),
}


def ci_systems(root: Path) -> list[str]:
    """Return the CI systems of the repository, `github` or `gitlab`: by its remotes, else by its files; maybe none."""
    hosts = " ".join(HOST.findall(_remotes(root)))
    files = {"github": root / ".github", "gitlab": root / ".gitlab-ci.yml"}
    return [name for name in files if name in hosts] or [name for name, path in files.items() if path.exists()]


def _remotes(root: Path) -> str:
    try:
        command = ["git", "-C", str(root), "remote", "--verbose"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def left_out(root: Path, directory: str) -> str:
    """Return the `testpaths` of pytest's configuration in `root`, with the file, if `directory` is in none of them."""
    name, settings = pytest_settings(root)
    given = settings.get("testpaths", [])
    paths = given.split() if isinstance(given, str) else [str(each) for each in given]
    matches = [glob.glob(path, root_dir=root, recursive=True) for path in paths]  # noqa: PTH207  as pytest does
    found = [(root / match).resolve() for each in matches for match in each]
    inside = (root / directory).resolve()
    if not found or any(inside.is_relative_to(each) for each in found):  # without any path pytest looks everywhere
        return ""
    return f"{name}: testpaths = {' '.join(paths)}"


def pytest_settings(root: Path) -> tuple[str, dict[str, Any]]:
    """Return the name of the file in `root` that configures pytest, and its settings; an empty name without one."""
    for name, keys in PYTEST_FILES.items():
        path = root / name
        with suppress(OSError, ValueError, AttributeError, configparser.Error):  # pytest itself reports them
            if path.is_file() and (table := _table(path, keys)) is not None:
                return name, table
    return "", {}


def _table(path: Path, keys: tuple[str, ...]) -> dict[str, Any] | None:
    """Return pytest's settings in the file, None if it has none: pytest.ini and pytest.toml count even if empty."""
    own = path.name.lstrip(".").startswith("pytest.")
    if path.suffix != ".toml":
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(path.read_text("utf-8"))
        return dict(parser[keys[0]]) if parser.has_section(keys[0]) else {} if own else None
    table: Any = tomllib.loads(path.read_text("utf-8-sig"))
    for key in keys:
        table = table.get(key, {})
    if path.name == "pyproject.toml":
        table = table.get("ini_options", table)
    return table if table or own else None

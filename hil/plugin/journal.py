"""The journal of a run: a JSON line for each event when it happens, complete up to the point where a run is killed.

Written with --hil-journal, --alluredir or --hil-history; read by `hil.history.journal`. With xdist the controller
writes it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hil import slow
from hil.errors import HilError
from hil.history.journal import NAME, VERSION, Head
from hil.host.locks import try_lock
from hil.plugin.session import Session
from hil.text import printable_line, storable_data

PROPERTIES = ("board", "clock", "place", "image", "image_sha256", "transcript")  # set by the fixtures


def register(config: pytest.Config, session: Session) -> None:
    """Register the journal where the options request one; a worker of xdist leaves it to the controller."""
    option, facts = config.option, session.facts
    path: Path | None = option.hil_journal
    if path is None and not option.collectonly:
        directory = facts.allure or (facts.directory if option.hil_history is not None else None)
        path = directory and directory / NAME
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Journal(config, session, path), "hil-journal")


def spare_others(config: pytest.Config) -> None:
    """Ignore `--clean-alluredir` while another run writes its results to the same directory."""
    option = config.option
    directory = getattr(option, "allure_report_dir", None)
    if directory and getattr(option, "clean_alluredir", False) and at_work(Path(directory)):
        option.clean_alluredir = False
        text = f"{directory} is not cleaned: another run is still writing its results there"
        config.issue_config_time_warning(pytest.PytestWarning(text), stacklevel=2)


class Journal:
    """Writes the journal. An error of the disk ends the run: without a journal its results are incomplete."""

    def __init__(self, config: pytest.Config, session: Session, path: Path) -> None:
        self._option = config.option
        self._begun = {
            "id": session.facts.run,
            "command": [str(argument) for argument in config.invocation_params.args],
            "root": str(config.rootpath),
            "choices": {str(selection): selection.expected for selection in session.selections.selected},
            "repeat": config.option.hil_repeat or 1,
            "clock": "auto" if config.option.clock == "auto" else f"{config.option.clock} time",
            "results": str(session.facts.results_file.absolute()),
            "transcripts": str(session.facts.directory.absolute()),
        }
        self._root = config.rootpath
        self.path = path.absolute()
        self._file: Any = None
        self._collected = False
        self._lines: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:  # Allure's plugin has cleaned its directory by now
        try:
            self._file, self.path = _claim(self.path)
        except OSError as error:
            pytest.exit(f"cannot write the journal {self.path}: {error.strerror}", returncode=3)
        software = dict(slow.software(self._root))
        self._write(journal=VERSION, time=time.time(), **Head.here(), **self._begun, software=software)

    def _write(self, **facts: Any) -> None:
        if self._file is None:
            return
        line = memoryview(json.dumps(storable_data(facts), default=str).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.close()
            self._file = None  # no line may follow half a line
            pytest.exit(f"cannot write the journal {self.path}: {error.strerror}: make room on its disk", returncode=3)

    def _collect(self, tests: list[str]) -> None:
        if not self._collected:
            self._collected = True
            digests = {file: _digest(self._root / file) for file in {test.partition("::")[0] for test in tests}}
            self._write(collected=tests, sources={file: digest for file, digest in digests.items() if digest})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            lines = report.longreprtext.strip().splitlines() or ["it could not be collected"]
            cause = next((line for line in reversed(lines) if line.startswith("E ")), lines[-1])
            self._write(problem=report.nodeid, cause=cause.removeprefix("E ").strip())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # the controller of xdist has none
            self._collect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self._collect(list(ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(begin=nodeid, time=time.time())

    @pytest.hookimpl(trylast=True)  # after the failure origin is added
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        boots = [value for name, value in properties if name == "boot"]
        given = {name: value for name, value in properties if name != "boot" and isinstance(value, str)}
        facts: dict[str, Any] = {name: given.get(name) for name in PROPERTIES} | {"boots": boots}
        if report.failed or str(report.outcome) == "rerun":  # of a try that another one follows
            facts |= {"fault": given.get("fault", "test"), "cause": given.get("cause", "")}
            facts |= {name: given.get(name) for name in ("error", "dead_board")}
        facts = {name: value for name, value in facts.items() if value}
        self._write(test=report.nodeid, when=report.when, outcome=report.outcome, seconds=report.duration, **facts)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._write(died=str(excrepr).strip().rpartition("\n")[2])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._write(end=int(session.exitstatus), time=time.time())
        if self._file is not None:
            with self._file:
                self._put_back()
            self._file = None
            self._archive()

    def _put_back(self) -> None:
        """Write the journal again where another run, started at the same moment, has removed it."""
        status = os.fstat(self._file.fileno())
        if status.st_nlink == 0:
            with suppress(OSError):
                file, self.path = _claim(self.path)
                with file:
                    file.write(os.pread(self._file.fileno(), status.st_size, 0))

    def _archive(self) -> None:
        """Add the run to the store of --hil-history."""
        store = self._option.hil_history
        if store is None:
            return

        try:
            self._lines = slow.add_run(store, self.path)
        except HilError as error:  # the journal still holds everything
            later = f"add it later: `hil history add {self.path.parent} --history {store}`"
            self._lines = [f"not added to the history: {error.message}", later]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._lines:
            terminalreporter.write_line(printable_line(line))


def _digest(path: Path) -> str:
    """Return the digest of a file of tests; empty where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def at_work(directory: Path) -> bool:
    """Return whether another run is writing a journal in `directory`."""
    stem, _, suffix = NAME.partition(".")
    return any(_is_locked(path) for path in directory.glob(f"{stem}*.{suffix}"))


def _is_locked(path: Path) -> bool:
    with suppress(OSError), path.open("r+b") as file:
        return not try_lock(file)
    return False


def _claim(path: Path) -> tuple[Any, Path]:
    """Open a journal for this run alone: `path`, or, while another run writes to it, `path` with a number.

    The journal of an earlier run at `path` is renamed with a number: its results are still there. The writer of a
    journal holds the lock on its file, and only the holder renames it. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb", buffering=0)
        with suppress(OSError):  # a file system without locks
            if not try_lock(file):
                file.close()
                return _new(path)
        if not _is_at(file, path):  # another run was quicker
            file.close()
            continue
        if not os.fstat(file.fileno()).st_size:
            return file, path
        with file:
            _move(path)


def _is_at(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _numbered(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in itertools.count(1))


def _new(path: Path) -> tuple[Any, Path]:
    for name in _numbered(path):
        with suppress(FileExistsError):
            file = name.open("xb", buffering=0)
            with suppress(OSError):
                try_lock(file)
            return file, name
    raise AssertionError("the numbers have no end")


def _move(path: Path) -> None:
    """Rename the journal at `path` with the first free number, without replacing another one."""
    for name in _numbered(path):
        try:
            os.link(path, name)
        except FileExistsError:
            continue
        except OSError:  # a file system without hard links
            if name.exists():
                continue
            path.rename(name)
            return
        path.unlink()
        return

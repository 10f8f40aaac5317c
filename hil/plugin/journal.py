"""A journal of a run: a JSON line for whatever happens, as it happens, so that a run that is cut short has told.

Written with --journal, --alluredir or --history; `hil.history.journal` reads it. With xdist the controller writes.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil.errors import HilError
from hil.history.journal import NAME, VERSION, Head
from hil.text import printable_line, storable_data

if TYPE_CHECKING:
    from hil.plugin.session import Session

TRANSCRIPT = re.compile(r"^transcript: (.+)$", re.M)
TOLD = ("board", "place", "image", "image_sha256", "transcript")  # what fixtures say of a test, by user_properties


def add_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--journal",
        type=Path,
        metavar="FILE",
        help="write a JSON line for each thing that happens to FILE instead of journal.jsonl in Allure's directory",
    )
    group.addoption(
        "--history",
        type=Path,
        metavar="FILE",
        help="take the run into the history store FILE at its end; `hil history` reads it",
    )


def register(config: pytest.Config, session: Session) -> None:
    """Begin to write, where somebody wants a journal; a worker of xdist leaves it to the controller."""
    path = path_of(config, session)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Journal(config, session, path), "hil-journal")


def spare_others(config: pytest.Config) -> None:
    """Keep `--clean-alluredir` from removing the results of a run that is still at work in the same directory."""
    option = config.option
    directory = getattr(option, "allure_report_dir", None)
    if directory and getattr(option, "clean_alluredir", False) and at_work(Path(directory)):
        option.clean_alluredir = False
        text = f"{directory} is not cleaned: another run is still writing its results there"
        config.issue_config_time_warning(pytest.PytestWarning(text), stacklevel=2)


def path_of(config: pytest.Config, session: Session) -> Path | None:
    option = config.option
    if option.journal is not None:
        return Path(option.journal)
    if option.collectonly:
        return None
    if session.results is not None:
        return session.results / NAME
    return session.directory / NAME if option.history is not None else None


def transcript_of(report: pytest.TestReport) -> str:
    """The transcript of the boot that the report's failure speaks of; empty where it speaks of none."""
    found = TRANSCRIPT.search(report.longreprtext)
    return found[1] if found else ""


class Journal:
    """The hooks that write. What cannot be written ends the run: it would be worth nothing."""

    def __init__(self, config: pytest.Config, session: Session, path: Path) -> None:
        self._option = config.option
        self._begun = {
            "id": session.run,
            "command": [str(one) for one in config.invocation_params.args],
            "root": str(config.rootpath),
            "choices": {str(chosen): chosen.expected for chosen in session.chosen},
            "repeat": config.option.repeat or 1,
            "clock": "auto" if config.option.clock == "auto" else f"{config.option.clock} time",
            "results": str(session.results_file.absolute()),
            "transcripts": str(session.directory.absolute()),
        }
        self.path = path.absolute()
        self._file: Any = None
        self._collected = False
        self._told: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:  # by now Allure's plugin has cleaned its directory, where it was asked to
        try:
            self._file, self.path = _claim(self.path)
        except OSError as error:
            pytest.exit(f"cannot write the journal {self.path}: {error.strerror}", returncode=3)
        self._write(journal=VERSION, time=time.time(), **Head.here(), **self._begun)

    def _write(self, **facts: Any) -> None:
        if self._file is None:
            return
        line = memoryview(json.dumps(storable_data(facts), default=str).encode() + b"\n")
        try:
            while line:
                line = line[self._file.write(line) :]
        except OSError as error:
            self._file.close()
            self._file = None  # nothing comes behind half a line
            pytest.exit(f"cannot write the journal {self.path}: {error.strerror}: make room on its disk", returncode=3)

    def _collect(self, tests: list[str]) -> None:
        if not self._collected:
            self._collected = True
            self._write(collected=tests)

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

    @pytest.hookimpl(trylast=True)  # when the others have said whose fault it is
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        boots = [value for name, value in properties if name == "boot"]
        told = {name: value for name, value in properties if name != "boot" and isinstance(value, str)}
        facts: dict[str, Any] = {name: told.get(name) for name in TOLD} | {"boots": boots}
        if report.failed or str(report.outcome) == "rerun":  # of a try that another one follows
            facts |= {"fault": told.get("fault", "test"), "cause": told.get("cause", "")}
            facts["transcript"] = facts["transcript"] or transcript_of(report)
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
        """Write the journal again where another run, which began at the same moment, has removed it."""
        status = os.fstat(self._file.fileno())
        if status.st_nlink == 0:
            with suppress(OSError):
                file, self.path = _claim(self.path)
                with file:
                    file.write(os.pread(self._file.fileno(), status.st_size, 0))

    def _archive(self) -> None:
        """Take the run into the store that --history names."""
        store = self._option.history
        if store is None:
            return
        from hil.history.ingest import add_run

        try:
            self._told = add_run(store, self.path)
        except HilError as error:  # the journal is there: nothing is lost
            later = f"`hil history add {self.path.parent} --history {store}` does it later"
            self._told = [f"not taken into the history: {error.message}", later]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._told:
            terminalreporter.write_line(printable_line(line))


def at_work(directory: Path) -> bool:
    """Check whether another run is still writing a journal in `directory`."""
    stem, _, suffix = NAME.partition(".")
    return any(_is_locked(path) for path in directory.glob(f"{stem}*.{suffix}"))


def _is_locked(path: Path) -> bool:
    with suppress(OSError), path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _claim(path: Path) -> tuple[Any, Path]:
    """Open a journal for this run alone: `path`, or, while another run writes that one, `path` with a number.

    The journal of an earlier run gets a number: its results are still there. Whoever writes a journal holds the lock
    on its file, and only the holder gives it another name. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return _new(path)
        except OSError:  # a file system without locks
            pass
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
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file, name
    raise AssertionError("the numbers have no end")


def _move(path: Path) -> None:
    """Give the journal at `path` the first free number, and never the name of another one."""
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

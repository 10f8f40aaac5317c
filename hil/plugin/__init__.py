"""The pytest plugin: it checks the options, and registers the parts that hold fixtures and hooks."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from hil import slow
from hil.errors import ConfigurationError
from hil.host import project
from hil.plugin import checks, hooks, hookspecs, journal, labels, neighbours, options, workers
from hil.plugin.faults import Robustness
from hil.plugin.origins import FailureOrigins
from hil.plugin.page import Pages
from hil.plugin.repetitions import Repetitions
from hil.plugin.retries import Retries
from hil.plugin.session import SESSION, Session
from hil.text import printable_line

BEFORE = pytest.StashKey[project.Project | None]()  # the project in use before this run
pytest_plugins = ["hil.plugin.fixtures", "hil.plugin.markers", "hil.plugin.reports"]


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    options.add_options(parser, pluginmanager)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(hookspecs)


@pytest.hookimpl(tryfirst=True)  # before other plugins read the options and make the directories
def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    config.stash[BEFORE] = project.use(_project(config))
    checks.make_paths_absolute(config)
    options.check_values(option)
    if not hasattr(config, "workerinput"):  # the controller of xdist has checked for its workers
        selection = checks.selection(config)
        checks.check(config, selection)
        checks.check_labgrid_environment(config, selection)
        _remove_results(option.hil_results)
        if option.hil_seeds:
            workers.share_out_seeds(config)
    session = config.stash[SESSION] = Session(config)
    session.labels = session.measurements.labels = labels.register(config, session.facts, session.selections)
    register = config.pluginmanager.register
    register(workers, "hil-workers")
    register(FailureOrigins(session.labels), "hil-origins")
    register(session.spares, "hil-spares")
    register(Retries(config, session.boots), "hil-retries")
    register(Repetitions(config, session.boots, session.facts), "hil-repetitions")
    register(Robustness(session.facts), "hil-faults")
    journal.register(config, session)
    neighbours.resolve(config)
    if session.facts.allure:
        register(Pages(config, session), "hil-pages")


def pytest_unconfigure(config: pytest.Config) -> None:
    if BEFORE in config.stash:
        project.use(config.stash[BEFORE])


def _project(config: pytest.Config) -> project.Project:
    """Return the project of pytest's configuration file, else of its rootdir, else of where it was started.

    Raises `UsageError`.
    """
    root, start = config.rootpath, config.invocation_params.dir
    if root.resolve().is_relative_to(project.packaged("suites")):  # no place for results
        root = start
    try:
        configured = [config.inipath.parent] if config.inipath else []
        return project.of(*configured, root, start, otherwise=root)
    except ConfigurationError as error:
        raise pytest.UsageError(str(error)) from error


def _remove_results(path: Path | None) -> None:
    """Remove the results file of an earlier run. Raises `UsageError` for a file that is none."""
    if path is None or not path.exists():
        return

    if not slow.results.is_ours(path):
        raise pytest.UsageError(f"--hil-results {path}: it exists and is no results file; give another name")
    path.unlink()


def pytest_cmdline_main(config: pytest.Config) -> None:
    journal.spare_others(config)  # before Allure's plugin cleans


def pytest_collection_finish(session: pytest.Session) -> None:
    checks.check_needed(session)


def pytest_report_header(config: pytest.Config) -> list[str]:
    image, session = config.option.image, config.stash[SESSION]
    selections = session.selections
    line = f"hil: board {', '.join(selections.given) or 'none'}" + (f", image {image}" if image else "")
    if any(selection.place for selection in selections.selected):
        line += f", coordinator {session.coordinator}"
    if selections.given:
        line += f", chosen by {selections.source}"
    return [line, *neighbours.report_header(config)]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    if not session.config.stash[SESSION].facts.allure or session.config.option.collectonly:
        return (yield)

    with slow.evidence.mirrored_steps():
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if workers.hand_over(session.config):
        return
    run = session.config.stash[SESSION]
    run.facts.complete_report()
    pooled = session.config.option.hil_seeds and run.measurements.files
    if pooled and not run.measurements.check_pooled() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if run.hooks.lines and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    session = config.stash[SESSION]
    facts, measurements = session.facts, session.measurements
    if measurements.files:
        terminalreporter.section("timing")
        for line in measurements.summary():
            terminalreporter.write_line(printable_line(line))
    for line in (*facts.unwritten, *(f"place: {place}" for place in facts.places), *facts.links):
        terminalreporter.write_line(printable_line(line), red=line in facts.unwritten)
    if session.hooks.lines:
        terminalreporter.section("hooks")
        for line in hooks.summary(session.hooks.lines):
            terminalreporter.write_line(printable_line(line), red=True)
    if facts.directory.is_dir():
        terminalreporter.write_line(f"transcripts: {facts.shown(facts.directory)}")

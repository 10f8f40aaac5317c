"""The options of the plugin, and the checks of their values."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.host import extras

LEAST = {  # values of options
    "hil_place_wait": 0,
    "hil_seeds": 1,
    "hil_spare": 0,
    "hil_soak_deployments": 20,
    "hil_soak_boots": 1,
    "hil_retries": 0,
    "hil_repeat": 1,
}


def add_options(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the options and the ini options."""
    if pluginmanager.is_blocked("terminal"):  # labgrid's plugin reads this option of the terminal's plugin
        parser.addoption("--verbose", action="count", default=0, help=argparse.SUPPRESS)
    group = parser.getgroup("hil", "hardware in the loop")
    if extras.missing("parallel"):  # the options of pytest-xdist; an unknown one would be an error without a hint
        group._addoption("-n", "--numprocesses", dest="hil_without_xdist", help=argparse.SUPPRESS)
    _add_board_options(group)
    _add_file_options(group)
    _add_time_options(group)
    _add_try_options(group)


def _add_board_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--board",
        action="append",
        metavar="NAME",
        help="board to test on: a name of `hil board list`, a path, place:NAME of a lab, or +TAG=VALUE (repeatable)",
    )
    group.addoption("--image", metavar="NAME", help="image to boot instead of the board's own: a name in images/")
    group.addoption(
        "--fresh",
        choices=("test", "module", "session"),
        help="use a fresh board for each test, each module or the whole session: restored from a snapshot where "
        "possible, else booted; default: `test` where it is restored, else `session` (a dirty board never stays)",
    )
    group.addoption("--hil-no-snapshots", action="store_true", help="boot emulated boards instead of restoring them")
    group.addoption(
        "--hil-spare",
        type=int,
        metavar="N",
        help="machines that are restored while a test runs, so that the next tests need not wait, for each board and "
        "worker; none during tests that judge real time; 0: none (default: 1 or 2, by processors and memory)",
    )
    group.addoption(
        "--hil-place-wait",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="time limit for the acquisition of a place of a lab; 0: do not wait (default: 600)",
    )
    group.addoption(
        "--hil-keep-going-on-dead-board",
        action="store_true",
        help="boot a dead board again for every test instead of failing the remaining tests at once",
    )


def _add_time_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--clock",
        choices=("auto", "real", "virtual"),
        default="auto",
        help="auto: on emulated boards run tests that judge time (marker `timing`, fixture `measure`) in virtual time, "
        "in which figures repeat to the bit, and all others in real time; virtual: run all in virtual time "
        "(default: auto)",
    )
    group.addoption("--hil-seed", type=int, default=1, metavar="K", help="seed of virtual time (default: 1)")
    group.addoption(
        "--hil-seeds",
        type=int,
        metavar="N",
        help="run every test with the seeds 1 to N, in as many workers as there are processors, and pool the figures",
    )
    group.addoption(
        "--hil-soak-deployments",
        type=int,
        default=200,
        metavar="N",
        help="deployments of a soak, 20 or more (default: 200)",
    )
    group.addoption("--hil-soak-hours", type=float, metavar="H", help="length of a soak, in place of its deployments")
    group.addoption(
        "--hil-soak-boots", type=int, default=3, metavar="N", help="cold boots of the soak of boots (default: 3)"
    )


def _add_try_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--hil-retries",
        type=int,
        default=1,
        metavar="N",
        help="run a test again, on a fresh board, up to N times after a failure of the infrastructure; "
        "failures of image and test are never retried (default: 1)",
    )
    group.addoption(
        "--hil-repeat", type=int, metavar="N", help="run each test N times and show pass rates with 95 %% intervals"
    )
    group.addoption("--hil-fault-seed", type=int, default=1, metavar="N", help="seed of injected faults (default: 1)")


def _add_file_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--hil-results",
        type=Path,
        metavar="FILE",
        help="results file instead of results.jsonl beside the transcripts; an existing one is replaced",
    )
    group.addoption(
        "--hil-transcripts", type=Path, metavar="DIR", help="directory for transcripts instead of reports/transcripts"
    )
    group.addoption(
        "--hil-baselines",
        type=Path,
        metavar="DIR",
        help="directory with the baselines of the report's figures, see `hil baseline`",
    )
    group.addoption("--hil-bounds", type=Path, metavar="FILE", help="bounds file instead of boards/NAME.bounds.toml")
    group.addoption(
        "--hil-journal",
        type=Path,
        metavar="FILE",
        help="write the journal of the run to FILE instead of journal.jsonl in Allure's directory",
    )
    group.addoption(
        "--hil-history",
        type=Path,
        metavar="FILE",
        help="add the run to the history store FILE at its end; `hil history` reads it",
    )


def check_values(option: argparse.Namespace) -> None:
    """Raise `UsageError` for a value out of range and for options that exclude each other."""
    problem = next(_problems(option), None)
    if problem is not None:
        raise pytest.UsageError(problem)


def _problems(option: argparse.Namespace) -> Iterator[str]:
    if (workers := getattr(option, "hil_without_xdist", None)) is not None:
        yield f"-n {workers}: pytest-xdist is not installed: {extras.command('parallel')}"
    for name, least in LEAST.items():
        if (value := getattr(option, name)) is not None and not value >= least:
            yield f"--{name.replace('_', '-')} {value:g}: give at least {least}"
    if option.hil_soak_hours is not None and not option.hil_soak_hours > 0:
        yield f"--hil-soak-hours {option.hil_soak_hours:g}: give more than 0"
    if option.hil_seeds is not None and option.clock != "virtual":
        yield "--hil-seeds is for tests in virtual time: add --clock virtual"
    if option.hil_seed != 1 and option.clock == "real":
        yield "--hil-seed is for tests in virtual time: leave --clock real out"
    if option.hil_seeds is not None and option.hil_seed != 1:
        yield "--hil-seeds runs the seeds from 1 on: leave --hil-seed out"
    if option.hil_repeat is not None and option.hil_seeds is not None:
        yield "--hil-repeat and --hil-seeds would pool the figures of a seed more than once: choose one"

"""The hooks that other plugins may implement: a `conftest.py`, or an installed plugin of pytest.

A hook is called in the process that runs the test: with pytest-xdist in the worker, never in the controller. It is
called synchronously and without a time limit; the data are frozen. Each implementation is called by itself, the one
registered last first. It need not take all arguments. Wrappers (`wrapper=True`) are not supported.

An exception in a hook is a `HookError` with the names of hook and plugin. Its failure origin is `test`; it is that of
the exception for a `ConfigurationError` and an `InfrastructureError`, after which the test is run again. It is never
`image`. The other implementations are still called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hil import Board, BoardDown, BoardUp, Check, Execution, Guest, Series


def pytest_hil_board_up(config: pytest.Config, board: Board, guest: Guest, up: BoardUp) -> None:
    """Called when a board has come up, before the test gets it.

    The board is booted or restored from a snapshot, and its health check has passed. With `--fresh test`, the default
    for boards with snapshots, that is before each test. Boots within a test are reported too: after a fault, after a
    runner that died, and by `board.boot()`, which checks no health. Boots that are only to be saved as a snapshot are
    not reported.

    The board can be used: `guest.run(...)`. In virtual time the typed commands are part of the run, so that figures
    differ from those of a run without them. Do not switch, boot or restore the board.

    An exception before a test fails the test's set-up, and the next test gets a fresh board; after two in a row all
    later tests on the board fail at once, unless `--hil-keep-going-on-dead-board`. An exception within a test fails the
    test's teardown.

    :param config: pytest's configuration.
    :param board: the board; `board.power` is labgrid's driver of its power.
    :param guest: the guest of the board, with its shell.
    :param up: name, place, image, clock, and the report of the boot.
    """


def pytest_hil_execution(item: pytest.Item, board: Board, execution: Execution) -> None:
    """Called after each deployment of a module by a test, whatever its verdict.

    That is by the fixtures `runner`, `soak`, `faults` and `measure.deployments`; a deployment that was repeated on a
    fresh board is reported twice. Not reported are health checks, and executions that `measure.executions` and
    `measure.parts` repeat within the guest: they are a series.

    The call is within the test, between the deployment and its next step: a slow hook makes the test longer. Use the
    board only to read: the module's test goes on with it. Only a `conftest.py` that applies to the test is called.

    An exception does not disturb the test; it fails the test's teardown.

    :param item: the running test.
    :param board: the board.
    :param execution: module, arguments, verdict, output, and the place in the transcript.
    """


def pytest_hil_series(item: pytest.Item, board: Board, series: Series, checks: tuple[Check, ...]) -> None:
    """Called with each series that is recorded, after it was written to the results file.

    A series is recorded when it is checked, once for each check, and without checks at the end of the test where none
    was made. The series over all seeds of `--hil-seeds` are not reported: they are made of recorded ones.

    The call is before a bound that was not kept fails the test. Only a `conftest.py` that applies to the test is
    called. An exception does not disturb the test; it fails the test's teardown.

    :param item: the running test.
    :param board: the board.
    :param series: the samples with quantity, subject, unit, clock and provenance.
    :param checks: the outcome of each bound; empty for a series that was not checked.
    """


def pytest_hil_board_down(config: pytest.Config, board: Board, guest: Guest | None, down: BoardDown) -> None:
    """Called before a board goes down: is replaced by a fresh one, switched off or released; and after it died.

    Each `pytest_hil_board_up` is followed by one `pytest_hil_board_down` of the same board, unless this process is
    killed. A boot that fails is reported without one (`down.reason` is `failed`, `down.up` is None), while the power is
    still on.

    Where `down.usable` is true, the board still runs with its line open: `guest` is its guest, and
    `guest.run("dmesg", timeout=5)` can collect the board's own log. The test may have left it in any state, so give a
    short time limit. Otherwise `guest` is None. In both cases `board.power` and the transcript, `down.transcript`, are
    there. Do not boot or restore the board.

    A board mostly goes down when the next test needs a fresh one, so an exception is no failure of a test: it is in the
    summary of the run, which then ends with exit status 1.

    :param config: pytest's configuration.
    :param board: the board.
    :param guest: the guest of the board, None where it cannot be used.
    :param down: the reason and its cause, and the report of when the board came up.
    """

"""Second tries of tests that failed by the infrastructure alone."""

from __future__ import annotations

from typing import Any

import pytest
from _pytest.runner import call_and_report  # pytest has no public function for a second try

from hil.plugin import checks
from hil.plugin.accounts import BootCounts
from hil.plugin.record import record_of

RETRIED = "rerun"  # the outcome of a try that another one follows, as in pytest-rerunfailures


class Retries:
    """Runs a test again, on a fresh board, after a failure of the infrastructure."""

    def __init__(self, config: pytest.Config, boots: BootCounts) -> None:
        self._config = config
        self._boots = boots
        interactive = any(checks.of_others(config, name) for name in ("usepdb", "setuponly", "setupshow"))
        self._retries = 0 if interactive else config.option.hil_retries

    def pytest_report_header(self) -> list[str]:
        reruns = checks.of_others(self._config, "reruns")
        if not reruns:
            return []
        return [f"hil: --reruns {reruns}: pytest-rerunfailures runs failed tests again, in place of --hil-retries"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Discard the data of the try before, also one that another plugin has made."""
        record = record_of(item)
        item.user_properties[:] = record.properties
        if "infrastructure" in record.origins and record.board is not None:
            record.board.dirty = f"the infrastructure failed in {item.name}"
        record.begin_try()

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self._retries or not _may_use_board(item) or self._is_rerun_by_others(item):
            return None
        for left in range(self._retries, -1, -1):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            again = self._try(item, nextitem, left)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            if not again:
                break
        return True

    def _is_rerun_by_others(self, item: pytest.Item) -> bool:
        """Return whether pytest-rerunfailures runs `item` again when it fails: it then takes the place of ours."""
        plugin = self._config.pluginmanager.getplugin("rerunfailures")
        count = getattr(plugin, "get_reruns_count", None)
        return bool(count and count(item))

    def _try(self, item: Any, nextitem: pytest.Item | None, left: int) -> bool:
        """Run a test once, and return whether to run it again.

        Reports are held back as soon as another try may follow: it decides about their outcome.
        """
        held: list[pytest.TestReport] = []
        log = item.ihook.pytest_runtest_logreport
        record = record_of(item)

        def phase(when: Any, **more: Any) -> bool:
            report = call_and_report(item, when, log=False, **more)
            passed_call = when == "call" and report.passed  # but its teardown may fail
            if left and (held or passed_call or record.origins == ["infrastructure"]):
                held.append(report)
            else:
                log(report=report)
            return report.passed

        if not item._request:  # the try before has removed it
            item._initrequest()
        try:
            if phase("setup"):
                phase("call")
            phase("teardown", nextitem=None if item.session.shouldfail or item.session.shouldstop else nextitem)
        finally:
            item._request, item.funcargs = False, None
        # failed subtests are reported already, which no second try can undo
        failed = any(report.failed for report in held) and record.origins == ["infrastructure"]
        again = failed and not self._is_dead(item)
        for report in held:
            if again and report.failed:
                vars(report)["outcome"] = RETRIED
            elif again:
                continue  # the test goes on
            log(report=report)
        return again

    def _is_dead(self, item: Any) -> bool:
        """Return whether the test's board is given up, so that each further try would fail alike."""
        record = record_of(item)
        selection, board = record.selection, record.board
        if selection is None:
            return False
        dead = self._boots.dead(str(selection))
        if not selection.any:
            where, incarnation = record.where
            dead = dead or self._boots.dead(where, incarnation=incarnation) or (board is not None and bool(board.lost))
        return dead and not self._config.option.hil_keep_going_on_dead_board

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        return ("retried", "R", ("RETRIED", {"yellow": True})) if report.outcome == RETRIED else None


def _may_use_board(item: pytest.Item) -> bool:
    """Return whether `item` uses a board by its fixtures, or may do so at run time by its marker `board`."""
    if not isinstance(item, pytest.Function):
        return False
    return "hil_session_board" in item.fixturenames or item.get_closest_marker("board") is not None

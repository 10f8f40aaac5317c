"""The scheduler of a night: runs as pytest processes, in parallel on different boards, within time limits.

Runs that the test bed failed are repeated.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from hil.history import journal
from hil.history.journal import Account
from hil.host.disk import disk_errors
from hil.host.processes import signal_group, tied
from hil.nightly.evidence import HistoryImport
from hil.nightly.outcome import OUTPUT, result_line, retry_reason
from hil.nightly.plan import LoadedPlan, PlannedRun
from hil.nightly.state import Night, RunState, Try

# seconds that a run has to end after each signal
SIGINT_LIMIT = 30.0  # it closes its boards and writes its results
SIGTERM_LIMIT = 5.0
SIGKILL_LIMIT = 30.0  # on a busy machine

Log = Callable[[str], None]


class Scheduler:
    """The processes of a night. `stopped` is the signal that ended the night, if one did.

    `log` is called with a line at each run's end.
    """

    def __init__(self, night: Night, loaded: LoadedPlan, log: Log, history: HistoryImport) -> None:
        self.night = night
        self.loaded = loaded
        self.stopped: signal.Signals | None = None
        self._log = log
        self._history = history
        self._end = asyncio.Event()
        self._why_ended = ""

    async def run(self) -> None:
        """Run what is left of the night. Raises `InfrastructureError` where the state cannot be written."""
        plan = self.loaded.plan
        lanes: dict[str, list[tuple[PlannedRun, RunState]]] = {}
        for run, state in zip(self.loaded.runs, self.night.state.runs, strict=True):
            if state.state != "done":
                lanes.setdefault(run.board, []).append((run, state))
        gate = asyncio.Semaphore(plan.parallel)
        self._catch_signals()
        reason = f"the night's limit of {plan.limit:g} min was reached"
        clock = asyncio.get_running_loop().call_later(60 * plan.limit, self.stop, reason)
        try:
            async with asyncio.TaskGroup() as group:
                for lane in lanes.values():
                    group.create_task(self._lane(lane, gate))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            clock.cancel()

    def stop(self, reason: str) -> None:
        """End the runs in progress and begin no more. Of several calls the first `reason` counts."""
        self._why_ended = self._why_ended or reason
        self._end.set()

    def _catch_signals(self) -> None:
        """Stop at SIGINT, also where it was ignored (as in a script's background), at SIGTERM and SIGHUP."""

        def stop(number: signal.Signals) -> None:
            self.stopped = number
            self.stop(f"the night was ended by {number.name}")

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                asyncio.get_running_loop().add_signal_handler(number, stop, number)

    async def _lane(self, lane: Sequence[tuple[PlannedRun, RunState]], gate: asyncio.Semaphore) -> None:
        """Run the runs of one board, one after the other."""
        for run, state in lane:
            async with gate:
                await self._run(run, state)

    async def _run(self, run: PlannedRun, state: RunState) -> None:
        if run.problems:
            state.state, state.why = "not run", "; ".join(run.problems)
        left = run.retries
        while state.state not in ("done", "not run"):
            if self._end.is_set():
                state.why = self._why_ended  # a resumed night runs it
                break
            attempt, account = await self._try(run, state)
            if attempt.ended and self.stopped is not None:
                state.why = self._why_ended
                break
            reason = "" if attempt.ended or not left else retry_reason(attempt, account)
            if reason:
                left -= 1
            else:
                state.state = "done"
            self._log(f"{run.name}: {result_line(attempt, account)}" + (f"; again: {reason}" if reason else ""))
        self.night.save()
        if state.state != "done":
            self._log(f"{run.name}: not run: {state.why}")

    async def _try(self, run: PlannedRun, state: RunState) -> tuple[Try, Account]:
        attempt = Try(began=time.time())
        state.tries.append(attempt)
        state.state, state.why = "running", ""
        directory = self.night.directory(state, len(state.tries))
        begun = time.monotonic()
        with disk_errors(f"run {run.name} in {directory}"):
            directory.mkdir(parents=True)
            self.night.save()
            with (directory / OUTPUT).open("wb") as output:
                process = await asyncio.create_subprocess_exec(
                    *tied(run.command(directory)),
                    cwd=run.start,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
                    start_new_session=True,  # Ctrl-C reaches only the night, which ends its runs in order
                )
            try:
                attempt.ended = await self._until_end(process, run.limit)
                if attempt.ended:
                    await _end(process)
            finally:
                signal_group(process.pid, signal.SIGKILL)  # workers that have outlived it
        attempt.status = process.returncode
        attempt.seconds = round(time.monotonic() - begun, 3)
        self.night.save()
        await asyncio.to_thread(self._history.add, directory, ended=True)
        return attempt, journal.read(directory / journal.NAME)

    async def _until_end(self, process: asyncio.subprocess.Process, limit: float | None) -> str:
        """Wait for the process. Return why it has to be ended; empty where it has ended by itself."""
        waits = [asyncio.create_task(process.wait()), asyncio.create_task(self._end.wait())]
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if process.returncode is not None:
            return ""
        return self._why_ended if self._end.is_set() else f"its limit of {(limit or 0) / 60:g} min was reached"


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a run with ever stronger signals; SIGKILL reaches its workers and their children too."""
    limits = {signal.SIGINT: SIGINT_LIMIT, signal.SIGTERM: SIGTERM_LIMIT, signal.SIGKILL: SIGKILL_LIMIT}
    for number, limit in limits.items():
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                signal_group(process.pid, number)
            else:
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), limit)
            return

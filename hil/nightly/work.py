"""A night at work: runs as pytest processes, side by side on different boards, within limits.

Those that the test bed failed are tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hil.errors import ORIGINS, InfrastructureError
from hil.history import journal
from hil.history.journal import Account
from hil.host.tools import tied
from hil.nightly.archive import NightHistory
from hil.nightly.plan import Loaded, PlannedRun
from hil.nightly.state import Night, RunState, Try

LEAVE = 30.0  # seconds that a run has to end after SIGINT: it closes its boards and writes its results
DIE = 5.0  # after SIGTERM
GONE = 30.0  # after SIGKILL, on a busy machine
DIED = "it died"
OUTPUT = "output.txt"

Tell = Callable[[str], None]


class Work:
    """The runs of a night. `stopped` is the signal that ended it, if one did."""

    def __init__(self, night: Night, loaded: Loaded, tell: Tell, archive: NightHistory | None = None) -> None:
        self.night = night
        self.loaded = loaded
        self.stopped: signal.Signals | None = None
        self._tell = tell
        self._archive = archive or NightHistory(night.path.parent)
        self._end = asyncio.Event()
        self._why = ""

    async def do(self) -> None:
        """Do what is left of the night. Raises `InfrastructureError` where the state cannot be written."""
        plan = self.loaded.plan
        lanes: dict[str, list[tuple[PlannedRun, RunState]]] = {}
        for run, state in zip(self.loaded.runs, self.night.state.runs, strict=True):
            if state.state != "done":
                lanes.setdefault(run.board, []).append((run, state))
        gate = asyncio.Semaphore(plan.parallel)
        with self._signals():
            clock = asyncio.get_running_loop().call_later(
                60 * plan.limit, self.stop, f"the night's limit of {plan.limit:g} min was reached"
            )
            try:
                async with asyncio.TaskGroup() as group:
                    for lane in lanes.values():
                        group.create_task(self._lane(lane, gate))
            except ExceptionGroup as several:
                raise several.exceptions[0] from None
            finally:
                clock.cancel()

    def stop(self, why: str) -> None:
        """End the runs that are at work and begin no more; the first one's `why` is told."""
        self._why = self._why or why
        self._end.set()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Also where SIGINT was ignored, as in a script's background: the runs must not inherit that."""
        loop = asyncio.get_running_loop()

        def stop(number: signal.Signals) -> None:
            self.stopped = number
            self.stop(f"the night was ended by {number.name}")

        caught = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means it
            caught.append(signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in caught}
        for number in caught:
            loop.add_signal_handler(number, stop, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    async def _lane(self, lane: Sequence[tuple[PlannedRun, RunState]], gate: asyncio.Semaphore) -> None:
        """What one board has to do, one after the other."""
        for run, state in lane:
            async with gate:
                await self._run(run, state)

    async def _run(self, run: PlannedRun, state: RunState) -> None:
        if run.problems:
            state.state, state.why = "not run", "; ".join(run.problems)
        left = run.retries
        while state.state not in ("done", "not run"):
            if self._end.is_set():
                state.why = self._why  # and it stays to be done
                break
            one, account = await self._try(run, state)
            if one.ended and self.stopped is not None:
                state.why = self._why
                break
            again = "" if one.ended or not left else again_for(one, account)
            if again:
                left -= 1
            else:
                state.state = "done"
            self._tell(f"{run.name}: {told(one, account)}" + (f"; again: {again}" if again else ""))
        self.night.save()
        if state.state != "done":
            self._tell(f"{run.name}: not run: {state.why}")

    async def _try(self, run: PlannedRun, state: RunState) -> tuple[Try, Account]:
        one = Try(began=time.time())
        state.tries.append(one)
        state.state, state.why = "running", ""
        directory = self.night.directory(state, len(state.tries))
        begun = time.monotonic()
        try:
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
                    start_new_session=True,  # a Ctrl-C is for the night, which ends its runs in order
                )
            try:
                one.ended = await self._until_end(process, run.limit)
                if one.ended:
                    await _end(process)
            finally:
                with contextlib.suppress(ProcessLookupError):  # its workers, where it died without them
                    os.killpg(process.pid, signal.SIGKILL)
        except OSError as error:
            raise InfrastructureError(
                f"cannot run {run.name} in {directory}: {error}", hint="look at the disk"
            ) from error
        one.status = process.returncode
        one.seconds = round(time.monotonic() - begun, 3)
        self.night.save()
        await asyncio.to_thread(self._archive.take, directory, ended=True)
        return one, journal.read(directory / "journal.jsonl")

    async def _until_end(self, process: asyncio.subprocess.Process, limit: float | None) -> str:
        """Wait for the process; why it has to be ended, or nothing where it has ended by itself."""
        waits = [asyncio.create_task(process.wait()), asyncio.create_task(self._end.wait())]
        await asyncio.wait(waits, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()
        if process.returncode is not None:
            return ""
        return self._why if self._end.is_set() else f"its limit of {(limit or 0) / 60:g} min was reached"


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a run: politely, then less so; its workers and what they started go with it."""
    for number, limit in ((signal.SIGINT, LEAVE), (signal.SIGTERM, DIE), (signal.SIGKILL, GONE)):
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), limit)
            return


def died(one: Try, account: Account) -> str:
    """How the process ended where it did not end as pytest does; else nothing."""
    if one.ended or one.status is None:
        return ""
    if one.status < 0:
        with contextlib.suppress(ValueError):
            return f"{DIED} by {signal.Signals(-one.status).name}"
        return f"{DIED} by signal {-one.status}"
    if one.status == 3:
        return f"{DIED} of an error within pytest: {account.died or 'see its output'}"
    if one.status == 2 and not account.problems:
        return "it was interrupted by someone else"
    return ""


def again_for(one: Try, account: Account) -> str:
    """Why a run is to be tried again: it died, or had no board. Never where image or test have failed."""
    failed = account.failed
    if any(test.blamed for test in failed) or account.problems:
        return ""
    if why := died(one, account):
        return why
    if failed and not account.reached and all(test.fault == "infrastructure" for test in failed):
        return f"it had no board: {failed[0].cause}"
    return ""


def told(one: Try, account: Account) -> str:
    """A try in a few words."""
    counts = account.counts()
    words = [f"{counts[name]} {name}" for name in ("passed", *ORIGINS, journal.NOT_RUN, "skipped") if counts[name]]
    why = one.ended or died(one, account)
    return f"{', '.join(words) or 'no tests'}, {one.seconds:.0f} s" + (f"; {why}" if why else "")


SAID = re.compile(r"^(?:ERROR: (?!usage: )|\S.*: error: )(.+)", re.M)


def last_error(output: Path) -> str:
    """What pytest said of options that it did not understand, or else its last words."""
    try:
        text = output.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    found = SAID.search(text)
    return found[1] if found else text.rpartition("\n")[2]

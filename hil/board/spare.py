"""Spare machines of a board: restored and checked in threads while a test runs, so that the next test need not wait.

A spare is a machine of its own, with its own console and transcript. Once it is checked it stands still, and its board
continues with it in place of a restore. Its processor time is the same as that of a restore; only the wait is shorter.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hil.board.boot_report import BootReport
from hil.board.qemu_driver import HilQemuDriver
from hil.console import Console
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.processes import Process
from hil.image.manifest import Manifest
from hil.image.store import Image
from hil.qemu.lockstep import Virtual
from hil.qemu.snapshot import Snapshot

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class SpareBoard:
    """A spare machine as its health check sees it: the attributes of a `Board` that a guest's shell uses."""

    name: str
    manifest: Manifest
    console: Console
    virtual: Virtual | None
    report: BootReport
    dirty: str | None = None
    savable: bool = False


HandOver = Callable[[], None]
"""Gives what the health check has opened, such as the shell's session, to the board. Called in the main thread."""

Check = Callable[[SpareBoard], HandOver]
"""The health check of a spare. Runs in the spare's thread; raises as `Board.health_check`."""


class Spare:
    """A machine that a thread restores from `snapshot` and checks. `machine` is a twin of the board's driver."""

    def __init__(
        self, pool: ThreadPoolExecutor, machine: HilQemuDriver, snapshot: Snapshot, report: BootReport, check: Check
    ) -> None:
        self.machine = machine
        self.snapshot = snapshot
        self._report = report
        self._check = check
        self._cancelled = False
        self._transcript = machine.new_transcript()
        self.checked: Future[HandOver] = pool.submit(self._make)

    def _make(self) -> HandOver:
        machine = self.machine
        try:
            self._refuse_cancelled()
            machine.begin(self._transcript)
            self._refuse_cancelled()
            report, console = self._report, machine.console
            hand_over = self._check(SpareBoard(report.board, machine.manifest, console, machine.virtual, report))
            assert machine.qemu is not None, "it has begun"
            if console.lockstep is None:  # in lock step nothing runs while nobody waits
                machine.qemu.stop()
        except BaseException:
            self._discard()
            raise
        return hand_over

    def _refuse_cancelled(self) -> None:
        if self._cancelled:
            raise InfrastructureError("the spare is not needed any more")

    def hand_over(self) -> None:
        """Continue the machine, which the board has taken over, and give it what the health check has opened.

        Raises `InfrastructureError`.
        """
        if self.machine.console.lockstep is None and self.machine.qemu is not None:
            self.machine.qemu.go_on()
        self.checked.result()()

    def failure(self) -> Exception | None:
        """Wait for the health check and return why the spare cannot be used; None if it can."""
        if error := self.checked.exception():
            return error if isinstance(error, Exception) else InfrastructureError(str(error))
        qemu = self.machine.qemu
        if qemu is None or not qemu.running or self.machine.console.ended:
            self._discard()
            return InfrastructureError(f"the spare has ended: {qemu.exit_reason() if qemu else ''}")
        return None

    def cancel(self) -> None:
        """End the machine and remove its transcript, also while it is restored."""
        self._cancelled = True
        qemu = self.machine.qemu
        if not self.checked.done() and qemu is not None:
            with suppress(InfrastructureError):  # it has ended
                if process := Process.of(qemu.pid):
                    process.kill()  # the thread then ends at once, and cleans up
        if self.checked.exception() is None:
            self._discard()

    def _discard(self) -> None:
        self.machine.end()
        self._transcript.close()
        path = self._transcript.path
        for file in path.parent.glob(f"{path.stem}.*"):
            file.unlink(missing_ok=True)


class Spares:
    """The spares of a board, at most `count`. Nothing is started for `wanted` 0 and without enough memory."""

    def __init__(self, count: int = 0, check: Check | None = None) -> None:
        self.wanted = self._count = count if check is not None else 0
        self._check = check
        self._pool: ThreadPoolExecutor | None = None
        self._spares: list[Spare] = []

    def refill(
        self, machine: HilQemuDriver, snapshot: Snapshot, report: BootReport, image: Callable[[], Image]
    ) -> None:
        """Start to restore as many spares from `snapshot` as are missing; `report` describes the boot of it.

        What cannot be started is only logged: the board is then restored in the foreground, and that reports it.
        """
        try:
            while len(self._spares) < min(self.wanted, self._count) and available_memory() > snapshot.size:
                assert self._check is not None, "without it `_count` is 0"
                if self._pool is None:  # its threads stay: a child may be tied to the one that has started it
                    self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="hil-spare")
                twin = machine.twin(snapshot, image())
                self._spares.append(Spare(self._pool, twin, snapshot, report, self._check))
        except (HilError, OSError, RuntimeError) as error:  # the last where no thread can be started
            _log.info("no spare of %s: %s", report.board, error)

    def take(self, snapshot: Snapshot, failed: Callable[[HilError], None]) -> Spare | None:
        """Return the first usable spare of `snapshot`, when it is checked; None if there is none.

        Calls `failed` for each spare whose restore or health check has failed. The configuration may have been another
        one for the moment in which it was used, so errors in it are only logged.
        """
        for spare in [spare for spare in self._spares if spare.snapshot is snapshot]:
            error = spare.failure()  # `close` ends the spare if this wait is interrupted
            self._spares.remove(spare)
            if error is None:
                return spare
            _log.info("a spare cannot be used: %s", error)
            if isinstance(error, HilError) and not isinstance(error, ConfigurationError):
                failed(error)
        return None

    def settle(self) -> None:
        """Wait until no spare is being restored."""
        wait([spare.checked for spare in self._spares])

    def close(self) -> None:
        """End all spares."""
        while self._spares:
            self._spares.pop().cancel()
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def available_memory() -> int:
    """Return the bytes of memory that this machine can use without swapping; 0 if unknown."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) << 10 if found else 0

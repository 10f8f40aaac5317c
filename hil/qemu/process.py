"""A running QEMU: started, watched and ended without leaving anything behind."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.console.lockstep import Lockstep
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.processes import Process, start_script, tied
from hil.qemu import keeper
from hil.qemu.monitor import MigrationError, Monitor

DEATH_LIMIT = 5.0  # seconds for a killed QEMU to be gone (it unmaps some GB)
OBITUARY_LIMIT = 1.0  # seconds from the end of the monitor to the exit status
CRASHES = (signal.SIGABRT, signal.SIGSEGV)  # QEMU's own; what else ends it comes from outside


class StateRefused(InfrastructureError):
    """QEMU does not take the state of a machine: the state is bad, or is of another QEMU."""


@dataclass(frozen=True)
class LockstepConfig:
    """What keeps a machine's console in lock step: the preload library, seed, prompts, and the file for its stamps.

    `past` is the history of the snapshot that it is restored from.
    """

    library: Path
    seed: int
    prompts: tuple[bytes, ...]
    stamps: Path
    past: str = ""


@dataclass(frozen=True)
class MachineMemory:
    """RAM of `size` bytes in the open `file`: shared with it, or a `private` copy of it, made page by page on write."""

    size: int
    file: int
    private: bool = False

    def arguments(self, file: str) -> list[str]:
        share = "off" if self.private else "on"
        backend = f"memory-backend-file,id=hil-memory,size={self.size},mem-path=/proc/self/fd/{file},share={share}"
        return ["-object", backend, "-machine", "memory-backend=hil-memory"]


class Qemu:
    """One QEMU process with its serial line and its monitor.

    Both are socket pairs handed over at start: no path, no port, nothing to clean up. `command` is
    the machine's command line; `log` takes QEMU's own output. Raises `ConfigurationError` where the
    emulator is missing or older than `oldest` ("7.2"), `InfrastructureError` where it does not start.
    With `stepping` its console is kept in lock step with virtual time, see `lockstep`. With `memory` its RAM is
    there; a machine with a private one waits for its state, see `restore`.

    The machine executes nothing before `go_on` (in lock step not beyond its first line): one that prints while nobody
    reads its console fills the socket (278 bytes, one at a time), and then its monitor does not answer either.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        oldest: str,
        stepping: LockstepConfig | None = None,
        memory: MachineMemory | None = None,
    ) -> None:
        emulator = shutil.which(command[0])
        if emulator is None:
            raise ConfigurationError(
                f"{command[0]} is not installed or not in PATH",
                hint=f"{tools.install_hint(command[0])}; `hil doctor` shows what else is missing",
            )
        self.log = log
        self.memory = memory
        self.command = (emulator, *command[1:], *self._plumbing("FD", "FD"))
        self._status: str | None = None
        self._exit: int | None = None
        console, guest_end = socket.socketpair()
        monitor, qmp_end = socket.socketpair()
        self._lifeline, theirs = socket.socketpair()
        self.lockstep: Lockstep | None = None
        fds = [guest_end.fileno(), qmp_end.fileno()]
        argv = [emulator, *command[1:], *self._plumbing(*map(str, fds))]
        if memory is not None:
            fds.append(memory.file)
            argv += memory.arguments(str(memory.file)) + ["-incoming", "defer"] * memory.private
        self._waits = stepping is None and not (memory is not None and memory.private)
        argv += ["-S"] * self._waits
        with contextlib.ExitStack() as handed_over:
            for end in (guest_end, qmp_end, theirs):
                handed_over.enter_context(end)
            log.touch(mode=0o600)
            output = handed_over.enter_context(log.open("wb"))
            if stepping is not None:
                control, step_end = socket.socketpair()
                handed_over.enter_context(step_end)
                stepping.stamps.touch(mode=0o600)
                stamps = handed_over.enter_context(stepping.stamps.open("ab"))
                self.lockstep = Lockstep(control, stepping.stamps, stepping.past)
                library = handed_over.enter_context(stepping.library.open("rb"))
                fds += [library.fileno(), step_end.fileno(), stamps.fileno()]
                numbers = (fds[0], *fds[-2:], stepping.seed)
                words = " ".join([*map(str, numbers), *(prompt.hex() for prompt in stepping.prompts)])
                argv = ["env", f"LD_PRELOAD=/proc/self/fd/{library.fileno()}", f"HIL_LOCKSTEP={words}", *argv]
            self._keeper = start_script(
                Path(keeper.__file__),
                *(str(theirs.fileno()), ",".join(map(str, fds)), "--"),
                *tied(argv),  # it dies even when the keeper itself is killed
                fds=[*fds, theirs.fileno()],
                output=output,
            )
        self.console_port = console.detach()
        try:
            self.monitor = Monitor(monitor)
        except BaseException as error:
            story = self.exit_reason(OBITUARY_LIMIT)
            activity = "" if story else self._activity()
            self._end_keeper()
            self._close_console()
            monitor.close()
            if isinstance(error, InfrastructureError):
                what = f"QEMU did not start: {story}" if story else f"{error.message}; {activity}"
                raise InfrastructureError(what, hint=f"its output: {log}") from error
            raise
        wanted = tuple(int(part) for part in oldest.split("."))
        if self.monitor.version[: len(wanted)] < wanted:
            found = ".".join(map(str, self.monitor.version))
            self.abandon()
            raise ConfigurationError(
                f"{emulator} is version {found}; the image needs {oldest} or later",
                hint="install a newer QEMU (Debian 12 has 7.2) or put it first in PATH",
            )

    def abandon(self) -> None:
        """End a machine whose console nobody has taken over."""
        self.kill()
        self._close_console()

    def _close_console(self) -> None:
        os.close(self.console_port)
        if self.lockstep is not None:
            self.lockstep.close()

    @staticmethod
    def _plumbing(console: str, monitor: str) -> list[str]:
        return [
            *("-display", "none", "-no-user-config", "-nodefaults"),
            *("-chardev", f"socket,id=hil-console,fd={console}", "-serial", "chardev:hil-console"),
            *("-chardev", f"socket,id=hil-qmp,fd={monitor}", "-mon", "chardev=hil-qmp,mode=control"),
        ]

    @property
    def pid(self) -> int:
        """The process id of the emulator itself. Raises `InfrastructureError` when it has ended."""
        keeper_pid = self._keeper.pid
        try:
            return int(Path(f"/proc/{keeper_pid}/task/{keeper_pid}/children").read_text().split()[0])
        except (OSError, IndexError):
            raise InfrastructureError(self.exit_reason() or "QEMU has ended") from None

    @property
    def running(self) -> bool:
        return self._poll_status(0.0) is None

    @property
    def version(self) -> str:
        return ".".join(map(str, self.monitor.version))

    @functools.cached_property
    def build(self) -> str:
        """QEMU's own word of its version, with its distributor's."""
        return tools.version(self.command[0])

    def exit_reason(self, timeout: float = 1.0) -> str:
        """How QEMU ended and the last it said; empty while it lives (waits `timeout` seconds for its end)."""
        status = self._poll_status(timeout)
        if status is None:
            return ""
        try:
            said = self.log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        except OSError:
            said = []
        return f"QEMU {status}" + ("; it said: " + " / ".join(said) if said else "")

    def stop(self) -> None:
        """Stop the machine; in virtual time at the instant of the pause that it is in. Raises `InfrastructureError`."""
        stopped = self.monitor.begin("stop")
        if self.lockstep is not None:
            self.lockstep.hold()
        stopped()

    def go_on(self) -> None:
        """Let a stopped machine go on; in virtual time it pauses first. Raises `InfrastructureError`."""
        self.monitor.execute("cont")

    def power_on(self) -> None:
        """Let a new machine start, once its console is read. Raises `InfrastructureError`."""
        if self._waits:
            self._waits = False
            self.monitor.execute("cont")

    def restore(self, state: bytes) -> None:
        """Put a machine with private memory into `state`, and let it go on.

        Raises `StateRefused` where QEMU does not take it, `InfrastructureError` where QEMU was killed or is silent.
        """
        try:
            self.monitor.put_state(state)
            self.monitor.execute("cont")
        except InfrastructureError as error:
            story = self.exit_reason(OBITUARY_LIMIT)
            exit_code = None if self._exit is None else os.waitstatus_to_exitcode(self._exit)
            own_end = exit_code is not None and (exit_code >= 0 or -exit_code in CRASHES)
            refused = own_end or (isinstance(error.__cause__, MigrationError) and not story)
            kind = StateRefused if refused else InfrastructureError
            raise kind(f"{error.message}: {story or self._activity()}", hint=f"its output: {self.log}") from error

    def kill(self) -> None:
        """End QEMU at once, as a power cut would."""
        self._end_keeper()
        self.monitor.close()

    def _poll_status(self, timeout: float) -> str | None:
        if self._status is None:
            poll = select.poll()
            poll.register(self._lifeline, select.POLLIN)
            if poll.poll(timeout * 1000):
                data = self._lifeline.recv(16)
                self._exit = int(data) if data else None
                self._status = _describe(int(data)) if data else "was lost with its keeper"
        return self._status

    def _activity(self) -> str:
        """Return what the kernel reports of a QEMU that does not answer."""
        try:
            process = Process.of(self.pid)
            stopped, seconds = (process.state in "Tt", process.seconds) if process is not None else (False, 0.0)
        except InfrastructureError as error:
            return error.message
        state = "is stopped by a signal" if stopped else "runs"
        return (
            f"QEMU {state}, and has used {seconds:.1f} s of processor time; the host's load is {os.getloadavg()[0]:.1f}"
        )

    def _end_keeper(self) -> None:
        if self._lifeline.fileno() < 0:
            return
        if self._poll_status(0.0) is None:
            self._status = "was switched off"
        self._lifeline.close()
        try:
            self._keeper.wait(DEATH_LIMIT)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"

"""A QEMU process: started, watched and ended without leaving anything behind."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.console.lockstep import Lockstep
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.processes import Process, reap, start_script, tied
from hil.qemu import keeper
from hil.qemu.lockstep import LockstepConfig
from hil.qemu.monitor import MigrationError, Monitor
from hil.qemu.plant import PlantMemory
from hil.qemu.wires import Wires, WiresConfig

DEATH_LIMIT = 5.0  # seconds for a killed QEMU to be gone (it unmaps some GB)
EXIT_LIMIT = 1.0  # seconds from the end of the monitor to the exit status
CRASHES = (signal.SIGABRT, signal.SIGSEGV)  # raised by QEMU itself; other signals come from outside


class StateRefused(InfrastructureError):
    """A machine state that QEMU does not accept: it is damaged or of another QEMU."""


@dataclass(frozen=True)
class MachineMemory:
    """RAM of `size` bytes in the open `file`: shared with it, or a `private` copy made page by page on write.

    `saved` RAM is that of a snapshot: its machine waits for `restore`.
    """

    size: int
    file: int
    private: bool = False
    saved: bool = False

    def arguments(self) -> list[str]:
        share = "off" if self.private else "on"
        path = f"/proc/self/fd/{self.file}"
        backend = f"memory-backend-file,id=hil-memory,size={self.size},mem-path={path},share={share}"
        return ["-object", backend, "-machine", "memory-backend=hil-memory", *["-incoming", "defer"] * self.saved]


class Qemu:
    """One QEMU process with its serial line and its monitor.

    Both are socket pairs passed at start: no path, no port, nothing to clean up. `command` is the machine's command
    line; `log` receives QEMU's output. `lockstep` keeps the console in lock step with virtual time. `memory` holds the
    RAM; a machine with saved memory waits for `restore`. `wires` connects its pins. `plant` is closed with
    the machine.

    Raises `ConfigurationError` if the emulator is missing or older than `oldest` ("7.2"), `InfrastructureError` if it
    does not start.

    The machine executes nothing before `power_on` (in lock step nothing after its first line). Otherwise its output
    could fill the console's socket (278 bytes, one at a time) before anybody reads it, and then the monitor hangs too.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        oldest: str,
        lockstep: LockstepConfig | None = None,
        wires: WiresConfig | None = None,
        memory: MachineMemory | None = None,
        plant: PlantMemory | None = None,
    ) -> None:
        emulator = shutil.which(command[0])
        if emulator is None:
            raise ConfigurationError(
                f"{command[0]} is not installed or not in PATH",
                hint=f"{tools.install_hint(command[0])}; `hil doctor` lists what else is missing",
            )
        self.log = log
        self.command = (emulator, *command[1:], *_plumbing("FD", "FD"))
        self.lockstep: Lockstep | None = None
        self.wires: Wires | None = None
        self.plant = plant
        self._status: str | None = None
        self._exit: int | None = None
        self._waits = lockstep is None and not (memory is not None and memory.saved)
        console, guest_end = socket.socketpair()
        monitor, qmp_end = socket.socketpair()
        self._lifeline, keeper_end = socket.socketpair()
        fds = [guest_end.fileno(), qmp_end.fileno()]
        argv = [emulator, *command[1:], *_plumbing(*map(str, fds))]
        if memory is not None:
            fds.append(memory.file)
            argv += memory.arguments()
        if plant is not None:
            fds.append(plant.file)
            argv += plant.arguments()
        argv += ["-S"] * self._waits
        with contextlib.ExitStack() as passed:
            for end in (guest_end, qmp_end, keeper_end):
                passed.enter_context(end)
            log.touch(mode=0o600)
            output = passed.enter_context(log.open("wb"))
            if lockstep is not None or wires is not None:
                control, control_end = socket.socketpair()
                passed.enter_context(control_end)
                fds.append(control_end.fileno())
                argv = self._preloaded(argv, passed, fds, control, lockstep, wires)
            begin = time.monotonic()
            self._keeper = start_script(
                Path(keeper.__file__),
                *(str(keeper_end.fileno()), ",".join(map(str, fds)), "--"),
                *tied(argv),  # it dies even when the keeper itself is killed
                fds=[*fds, keeper_end.fileno()],
                output=output,
            )
        self.console_port = console.detach()
        self._connect(monitor)
        tools.log_command(argv, begin)
        self._check_version(oldest)

    def _preloaded(
        self,
        argv: list[str],
        passed: contextlib.ExitStack,
        fds: list[int],
        control: socket.socket,
        lockstep: LockstepConfig | None,
        wires: WiresConfig | None,
    ) -> list[str]:
        """Return `argv` with the preload library and its settings; add the open files to `passed` and `fds`.

        The last of `fds` is the machine's end of `control`, the first that of its console.
        """
        console_end, control_end, stamps, seed = -1, fds[-1], -1, 0
        prompts: tuple[bytes, ...] = ()
        if lockstep is not None:
            lockstep.stamps.touch(mode=0o600)
            stamps = passed.enter_context(lockstep.stamps.open("ab")).fileno()
            fds.append(stamps)
            console_end, seed, prompts = fds[0], lockstep.seed, lockstep.prompts
            self.lockstep = Lockstep(control, lockstep.stamps, lockstep.history)
        words = [*map(str, (console_end, control_end, stamps, seed)), *(prompt.hex() for prompt in prompts)]
        settings = [f"HIL_LOCKSTEP={' '.join(words)}"]
        if wires is not None:
            wires.log.touch(mode=0o600)
            log = passed.enter_context(wires.log.open("ab")).fileno()
            fds.append(log)
            settings.append(f"HIL_WIRES={log} {wires.controller or '-'}")
            if wires.can:
                settings.append(f"HIL_CAN={wires.can}")
            self.wires = Wires(wires.log, self.lockstep, None if self.lockstep else control, self.exit_reason)
        config = lockstep or wires
        assert config is not None
        library = passed.enter_context(config.library.open("rb")).fileno()
        fds.append(library)
        return ["env", f"LD_PRELOAD=/proc/self/fd/{library}", *settings, *argv]

    def _connect(self, monitor: socket.socket) -> None:
        try:
            self.monitor = Monitor(monitor)
        except BaseException as error:
            reason = self.exit_reason(EXIT_LIMIT)
            activity = "" if reason else self._activity()
            self._end_keeper()
            self._close_console()
            monitor.close()
            if isinstance(error, InfrastructureError):
                message = f"QEMU did not start: {reason}" if reason else f"{error.message}; {activity}"
                raise InfrastructureError(message, hint=f"its output: {self.log}") from error
            raise

    def _check_version(self, oldest: str) -> None:
        required = tuple(int(part) for part in oldest.split("."))
        if self.monitor.version[: len(required)] < required:
            version = self.version
            self.abandon()
            raise ConfigurationError(
                f"{self.command[0]} is version {version}; the image needs {oldest} or later",
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
        if self.wires is not None:
            self.wires.close()

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
        """QEMU's version as it prints it, with the distributor's."""
        return tools.version(self.command[0])

    def exit_reason(self, timeout: float = 1.0) -> str:
        """Return how QEMU ended and its last output; empty while it runs. Waits `timeout` seconds for its end."""
        status = self._poll_status(timeout)
        if status is None:
            return ""
        try:
            output = self.log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        except OSError:
            output = []
        return f"QEMU {status}" + ("; its output: " + " / ".join(output) if output else "")

    def stop(self) -> None:
        """Stop the machine, in virtual time at the instant of its pause. Raises `InfrastructureError`."""
        stopped = self.monitor.begin("stop")
        if self.lockstep is not None:
            self.lockstep.hold()
        stopped()

    def go_on(self) -> None:
        """Continue a stopped machine; in virtual time it pauses first. Raises `InfrastructureError`."""
        self.monitor.execute("cont")

    def power_on(self) -> None:
        """Start a new machine whose console is read by now. Raises `InfrastructureError`."""
        if self._waits:
            self._waits = False
            self.monitor.execute("cont")

    def restore(self, state: bytes, wires: bytes = b"") -> None:
        """Put a machine with saved memory into `state`, its wires into `wires`, and continue it.

        Raises `StateRefused` if QEMU does not accept it, `InfrastructureError` if QEMU was killed or does not answer.
        """
        try:
            self.monitor.put_state(state)
            if self.wires is not None:
                self.wires.restore(wires)
            self.monitor.execute("cont")
        except InfrastructureError as error:
            reason = self.exit_reason(EXIT_LIMIT)
            exit_code = None if self._exit is None else os.waitstatus_to_exitcode(self._exit)
            own_end = exit_code is not None and (exit_code >= 0 or -exit_code in CRASHES)
            refused = own_end or (isinstance(error.__cause__, MigrationError) and not reason)
            kind = StateRefused if refused else InfrastructureError
            raise kind(f"{error.message}: {reason or self._activity()}", hint=f"its output: {self.log}") from error

    def kill(self) -> None:
        """End QEMU at once, as a power cut would."""
        self._end_keeper()
        self.monitor.close()
        if self.wires is not None:
            self.wires.close()
        if self.plant is not None:
            self.plant.close()

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
        """Describe a QEMU that does not answer, from the kernel's view."""
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
        reap(self._keeper, DEATH_LIMIT)


def _plumbing(console: str, monitor: str) -> list[str]:
    return [
        *("-display", "none", "-no-user-config", "-nodefaults"),
        *("-chardev", f"socket,id=hil-console,fd={console}", "-serial", "chardev:hil-console"),
        *("-chardev", f"socket,id=hil-qmp,fd={monitor}", "-mon", "chardev=hil-qmp,mode=control"),
    ]


def _describe(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.waitstatus_to_exitcode(status)}"

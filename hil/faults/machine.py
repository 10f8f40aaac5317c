"""Faults of the machine: power, reset, a machine that is stopped, killed or slow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from labgrid.step import StepEvent, steps

from hil.board.stages import walk
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.faults import modules
from hil.faults.injecting import Injecting, InjectionAccount
from hil.faults.proxy import check_range
from hil.faults.record import Injection
from hil.wasm.loading import Loadable, load_module

STOPPED = "it may be stopped"
PERIOD = 0.05  # seconds in which a slowed process is stopped and let go on once
END_LIMIT = 10.0  # seconds for the thread to end


class MachineFaults(Injecting):
    """Faults of the machine. On a real board power cuts and resets use labgrid's power driver."""

    def cut_power(
        self, *, stage: str | None = None, during: Loadable | None = None, at: float | None = None
    ) -> Injection:
        """Cut the power now, while a boot waits for `stage`, or `at` seconds (None: random) into a deployment.

        Raises `ConfigurationError` for a stage the image does not have.
        """
        name = f"power-cut@{stage}" if stage else "power-cut"
        with self._injecting(name) as account:
            if stage is not None:
                self._cut_in_boot(account, stage)
            else:
                self._during(account, "the power was cut", self._power_off, during, at)
            self.board.dirty = "its power was cut"
        return self.injections[-1]

    def reset(self) -> Injection:
        """Reset the machine (QEMU by `system_reset`, a real one by a power cycle) and wait for it to boot by itself."""
        with self._injecting("reset") as account:
            self.board.dirty = "it was reset"
            console = self.board.console
            console.skip()
            begun = time.monotonic_ns()
            if self.board.emulated:
                wait = self.board.qemu.monitor.begin("system_reset")
                if console.lockstep is not None:  # paused it handles no request; the instant depends on the host
                    console.lockstep.expire()
                    console.lockstep.go_on()
                wait()
            else:
                self.board.target.activate(self.board.power)
                self.board.power.cycle()
            account.done = "the machine was reset"
            with account.watching():
                manifest = self.board.manifest
                stages = walk(
                    console,
                    manifest.stages,
                    power_on_ns=begun,
                    answers=manifest.console.answers,
                    failures=manifest.failures,
                    noise=manifest.console.noise,
                )
                account.restarted = True
                account.note("rebooted", f"it booted again to a shell in {stages[-1].seconds:.1f} s")
        return self.injections[-1]

    def freeze(self, seconds: float = 2.0, *, during: Loadable | None = None, at: float | None = None) -> Injection:
        """Stop QEMU's machine for `seconds` (0 to 60), then let it go on."""
        check_range("freeze", seconds, 0, 60)
        with self._injecting("freeze", emulated=True) as account:
            qemu = self.board.qemu

            def act() -> None:
                # in another thread: the deployment's thread answers the console's pauses
                qemu.stop() if during is None else qemu.monitor.execute("stop")
                dirty, self.board.dirty = self.board.dirty, STOPPED
                try:
                    time.sleep(seconds)
                finally:
                    qemu.go_on()
                if self.board.dirty == STOPPED:  # otherwise the deployment has set it meanwhile
                    self.board.dirty = dirty

            self._during(account, f"the machine was stopped for {seconds:g} s", act, during, at)
        return self.injections[-1]

    def kill_qemu(self, *, during: Loadable | None = None, at: float | None = None) -> Injection:
        """Kill QEMU's process with SIGKILL."""
        with self._injecting("qemu-killed", emulated=True) as account:
            pid = self.board.qemu.pid
            self._during(account, "QEMU was killed with SIGKILL", lambda: os.kill(pid, signal.SIGKILL), during, at)
            self.board.dirty = "its QEMU was killed"
        return self.injections[-1]

    def slow_host(self, share: float = 0.3, *, during: Loadable | None = None) -> Injection:
        """Give QEMU `share` of the time (0.05 to 0.95) while a module is deployed (None: a good one, five times)."""
        module = modules.module("greeting") if during is None else load_module(during)
        with self._injecting("slow-host", emulated=True) as account, account.watching():
            self.runner.place(module)
            begun = time.monotonic()
            with slowed(self.board.qemu.pid, share):
                for _ in range(5 if during is None else 1):
                    account.run(self.runner.run(module, limit=10, restore=False))
            account.done = f"QEMU had {share:.0%} of the host's time for {time.monotonic() - begun:.1f} s"
        return self.injections[-1]

    def _power_off(self) -> None:
        """Switch the power off. Safe in any thread: the reader of the console just sees the end of the line."""
        if self.board.emulated:
            self.board.qemu.kill()
        else:
            self.board.target.activate(self.board.power)
            self.board.power.off()

    def _cut_in_boot(self, account: InjectionAccount, stage: str) -> None:
        """Boot, and cut the power when the boot starts to wait for `stage`."""
        names = [known.name for known in self.board.manifest.stages]
        if stage not in names:
            raise ConfigurationError(
                f"image {self.board.manifest.name} has no stage {stage!r}", hint=f"its stages are: {', '.join(names)}"
            )

        cut: list[str] = []
        tries: list[tuple[str, HilError | None]] = []

        def watch(event: StepEvent) -> None:
            if event.data.get("state") != "start" or not str(event.step.title).startswith("stage "):
                return
            account.transcript, account.start = self.board.console.transcript, 0
            if event.step.title == f"stage {stage}":
                cut.append(stage)
                self._power_off()

        account.done = f"the power was cut while a boot waited for stage {stage!r}"
        charge, self.board.on_attempt = self.board.on_attempt, lambda kind, error: tries.append((kind, error))
        steps.subscribe(watch)
        try:
            with account.watching():
                report = self.board.boot()
                account.note("booted", f"it booted in {report.seconds:.1f} s all the same")
        finally:
            steps.unsubscribe(watch)
            self.board.on_attempt = charge
            if not cut and "booted" not in account.words:  # the image failed by itself: the tries count
                account.done = f"the power was to be cut at stage {stage!r}, which the boot did not reach"
                account.words = ["no-boot"]
                for kind, error in tries:
                    charge(kind, error)


@contextmanager
def slowed(pid: int, share: float) -> Iterator[None]:
    """Let the process `pid` run for `share` (0.05 to 0.95) of the time within the block.

    Afterwards it runs again; if this process is killed, QEMU's keeper ends QEMU. Raises `ConfigurationError` for a
    share out of range, `InfrastructureError` if the process does not exist.
    """
    check_range("share of the time", share, 0.05, 0.95)
    try:
        process = os.pidfd_open(pid)  # identifies the process, also after its end
    except OSError as error:
        raise InfrastructureError(f"cannot slow process {pid} down: {error.strerror}") from error
    ended = threading.Event()

    def work() -> None:
        with suppress(ProcessLookupError):  # it has ended
            while not ended.is_set():
                signal.pidfd_send_signal(process, signal.SIGSTOP)
                ended.wait(PERIOD * (1 - share))
                signal.pidfd_send_signal(process, signal.SIGCONT)
                ended.wait(PERIOD * share)

    thread = threading.Thread(target=work, name="hil-slow-host", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_LIMIT)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGCONT)
        os.close(process)

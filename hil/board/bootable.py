"""A board that boots, or is restored from a given snapshot, and is checked afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hil.board.boot_report import BootReport, StageTime
from hil.board.environment import LABGRID
from hil.board.images import built
from hil.board.lifecycle import BoardDown, BoardUp, Lifecycle, Reason
from hil.board.qemu_driver import HilQemuDriver
from hil.board.replay import HilReplayDriver
from hil.board.spare import Spare, Spares
from hil.board.tracked import TrackedBoard
from hil.console import Console
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import progress, tools
from hil.image.store import Image
from hil.places.selector import Terms
from hil.qemu.arguments import file_stamps
from hil.qemu.determinism import DeterminismCheck, console_trace
from hil.qemu.lockstep import Virtual, source_text
from hil.qemu.process import Qemu
from hil.qemu.snapshot import Snapshot


class BootableBoard(TrackedBoard):
    """One board with its image. Nothing is switched on before it is booted.

    `name` is a board's name or the path of an environment, or `place:NAME` or `+TAG=VALUE` for a place of a lab. A
    place, also one that the environment names, is acquired on `terms` until the board is closed. `image` replaces the
    environment's image. `transcripts` is the directory for transcripts. `seed` selects virtual time on an emulated
    board. With `snapshots` and a `health_check` an emulated board can be saved and restored.

    `health_check` verifies that guest and runner respond, and raises `HilError` if not. `on_attempt` is called after
    each "boot" and "restore", with the error of a failed one; `boots` and `restores` count them. `lifecycle` is
    informed when the board has come up and when it goes down. `spares` are restored while a test runs.

    `dirty` is why the board cannot be trusted any more, None if it can. `no_snapshot_reason` is why it is booted, not
    restored; empty for one that is restored.
    """

    def __init__(
        self,
        name: str,
        *,
        image: str | None = None,
        transcripts: Path | None = None,
        seed: int | None = None,
        snapshots: bool = True,
        health_check: Callable[[Any], None] | None = None,
        on_attempt: Callable[[str, HilError | None], None] = lambda kind, error: None,
        lifecycle: Lifecycle | None = None,
        terms: Terms = Terms(),  # noqa: B008  it is frozen
        spares: Spares | None = None,
    ) -> None:
        self.dirty: str | None = None
        self.spares = spares or Spares()
        self.health_check = health_check
        self.on_attempt = on_attempt
        self.lifecycle = lifecycle
        self.boots = self.restores = 0
        self._seed = seed
        super().__init__(name, image, transcripts, terms)
        self.no_snapshot_reason = "" if snapshots else "snapshots are switched off"
        if not self.emulated:
            self.no_snapshot_reason = "a real board has none"
        if seed is not None:
            try:
                self.machine("virtual time").virtual = Virtual(seed)
            except BaseException:
                self.clean_up()
                raise

    @property
    def clock(self) -> str:
        """The clock of the board, for people."""
        return "real time" if self.virtual is None else str(self.virtual)

    @property
    def incarnation(self) -> str:
        """The board with its clock and seed: one board may run in several, each with its own state."""
        return self.where if self._seed is None else f"{self.where}, virtual time, seed {self._seed}"

    @property
    def emulated(self) -> bool:
        return isinstance(self.power, HilQemuDriver)

    def machine(self, purpose: str) -> HilQemuDriver:
        """Return the driver of an emulated board. Raises `ConfigurationError` with the `purpose` for others."""
        if not isinstance(self.power, HilQemuDriver):
            raise ConfigurationError(
                f"board {self.name} is not emulated, and {purpose} is for emulated ones",
                hint="choose a qemu-* board with --board",
            )
        return self.power

    @property
    def savable(self) -> bool:
        """Whether the machine is up to be saved."""
        return isinstance(self.power, HilQemuDriver) and self.power.savable

    @property
    def qemu(self) -> Qemu:
        """The emulator's process and monitor. Raises `ConfigurationError` for a real board."""
        machine = self.machine("this")
        if machine.qemu is None:
            raise InfrastructureError(f"board {self.name} is off")
        return machine.qemu

    @property
    def virtual(self) -> Virtual | None:
        """The board's virtual time, and whether it is exact so far; None for a board in real time."""
        virtual: Virtual | None = getattr(self.power, "virtual", None)
        if virtual is None or not self.power.get() or self.console.lockstep is None:
            return virtual
        return replace(virtual, lost=virtual.lost or self.console.lockstep.lost)

    @property
    def console(self) -> Console:
        """The open line. Raises `InfrastructureError` if the board is off."""
        return self.line.console

    @property
    def report(self) -> BootReport | None:
        """The report of the last boot; None if the board is not up, for example after a power cut."""
        report: BootReport | None = self.strategy.report
        try:
            return report if report is not None and self.console else None
        except InfrastructureError:
            return None

    def came_up(self) -> BootReport:
        """Return the report of a boot that has just ended. Raises `InfrastructureError` if the board is off again."""
        if (report := self.report) is None:
            raise InfrastructureError(f"board {self.name} went off directly after it came up")
        return report

    @property
    def origin(self) -> Path | None:
        """The transcript of the boot that the board comes from: the same for all restores of a snapshot."""
        return self.report.transcript if self.report is not None else None

    @property
    def up(self) -> bool:
        """Whether the board is booted to a shell and still trusted."""
        return self.report is not None and self.dirty is None and not self.console.ended

    def image(self) -> Image:
        """Return the image's files, built now if necessary, with progress on standard error.

        A replayed board has the recording in their place.
        """
        if isinstance(self.power, HilReplayDriver):
            return self.power.image(self.manifest)
        return built(self.manifest)

    def check_health(self) -> None:
        """Run the `health_check`, if there is one. Raises its errors."""
        if self.health_check is not None:
            with progress.timed(f"{self.where}: health check"):
                self.health_check(self)

    def boot(self) -> BootReport:
        """Boot from power-off to a shell, whatever the state of the board.

        Raises `BootError`, `InfrastructureError`; the board is off then.
        """
        with self._attempt("boot"):
            self._boot()
        return self.reported_up("boot")

    def boot_and_check(self) -> None:
        """Boot as `boot`, and check the board's health."""
        with self._attempt("boot"):
            self._boot()
            self.check_health()

    def _boot(self) -> None:
        self.report_down("fresh", self.dirty or "")
        self.dirty = None
        self.boots += 1
        self._transition_to_shell()
        self._check_determinism("boot", self._transition_to_shell)

    def _transition_to_shell(self) -> None:
        self.strategy.status = "unknown"
        self.strategy.transition("shell")

    def restore(self, snapshot: Snapshot) -> None:
        """Restore the board from a snapshot of it, and check its health. Raises as `boot`, and health check errors."""
        machine, facts = self.machine("a snapshot"), snapshot.facts
        self.report_down("fresh", self.dirty or "")
        report = self._boot_of(snapshot)
        begin_ns = report.power_on_ns
        self.dirty = None
        self.restores += 1

        def bring_up() -> None:
            with progress.timed(f"{self.where}: restoring"):
                self.strategy.restore(report)
            self.check_health()

        machine.snapshot = snapshot
        try:
            with self._attempt("restore"):
                if (spare := self._spare(snapshot)) is None:
                    bring_up()
                else:
                    self.strategy.restore(report, spare.machine)
                    spare.hand_over()
                if damage := snapshot.damage():
                    raise InfrastructureError(f"the snapshot was changed while it was restored: {damage}")
                self.strategy.report = replace(report, restored=(time.monotonic_ns() - begin_ns) / 1e9)
                if machine.virtual is not None and facts["lost"]:
                    machine.virtual = replace(machine.virtual, lost=facts["lost"])
                self._check_determinism("restore", bring_up)
        finally:
            machine.snapshot = None
        self.note_restored()

    def _boot_of(self, snapshot: Snapshot) -> BootReport:
        """Return the report of a boot that begins now, by a restore of `snapshot`."""
        stages = tuple(StageTime(**stage) for stage in snapshot.facts["stages"])
        begin_ns, clock = time.monotonic_ns(), snapshot.facts["clock"]
        return BootReport(self.name, self.manifest.name, begin_ns, stages, snapshot.console, clock, 0.0)

    def _spare(self, snapshot: Snapshot) -> Spare | None:
        """Return a spare of `snapshot` to continue with. One that has failed counts as a failed restore."""
        if self.machine("a spare").savable or self.line.tap is not None:
            return None

        def failed(error: HilError) -> None:
            self.restores += 1
            self.on_attempt("restore", error)

        return self.spares.take(snapshot, failed)

    @contextmanager
    def _attempt(self, kind: str) -> Iterator[None]:
        """Report the attempt to `on_attempt`. If it fails, switch the board off and attribute the error."""
        try:
            yield
        except BaseException as error:
            raised = self.attributed(error)
            if isinstance(raised, HilError):
                self.report_down("failed", raised.brief)
            try:
                if not self.lost:
                    self.off()
            except (HilError, *LABGRID) as second:
                raised.add_note(f"and it could not be switched off: {second}")
            if isinstance(raised, HilError):
                self.on_attempt(kind, raised)
            if raised is error:
                raise
            raise raised from error
        self.on_attempt(kind, None)

    def state_key(self) -> list[str]:
        """Return what the state of the machine and its wires after its boot depends on, apart from its seed."""
        machine, image = self.machine("a snapshot"), self.image()
        facts = [part.model_dump_json() for part in (image.manifest.machine, image.manifest.console)]
        facts += [
            str(image.manifest.analogue),
            str(image.manifest.can),
            *machine.arguments,
            *file_stamps(machine.arguments),
        ]
        return [image.digest, tools.version(image.manifest.machine.emulator), source_text(), *facts]

    def _check_determinism(self, kind: str, again: Callable[[], None]) -> None:
        """Compare the console in virtual time with earlier boots or restores; `again` repeats the first of its kind."""
        virtual = self.virtual
        if virtual is None or virtual.lost:
            return

        def trace() -> str:
            wires = self.qemu.wires
            return console_trace(self.console, self.console.position) + (wires.trace() if wires is not None else "")

        def trace_again() -> str:
            again()
            return trace()

        lockstep = self.console.lockstep
        assert lockstep is not None
        check = DeterminismCheck([*self.state_key(), lockstep.typed], kind)
        self.machine("virtual time").virtual = check.compare(virtual, trace(), trace_again)

    def off(self) -> None:
        """Switch the power off."""
        self.report_down("off", self.dirty or "")
        self.strategy.transition("off")

    def reported_up(self, kind: Literal["boot", "restore"]) -> BootReport:
        """Report that the board has come up, and return the report of its boot. Raises as `came_up`."""
        report, place = self.came_up(), self.place.name if self.place else ""
        if self.lifecycle is None:
            return report
        image, transcript = self.image().digest, self.console.transcript.path
        up = BoardUp(self.name, place, self.manifest.name, image, self.emulated, self.clock, kind, report, transcript)
        self.lifecycle.up(up)
        return report

    def report_down(self, reason: Reason, cause: str = "") -> None:
        """Report that the board goes down, if it had come up or failed to."""
        if self.lifecycle is None:
            return
        up, place = self.lifecycle.current, self.place.name if self.place else ""
        if up is None and reason != "failed":
            return
        gone = "" if up is None else self._gone()
        if gone:
            reason, cause = "dead", gone
        transcript = up.transcript if up is not None else None
        with suppress(InfrastructureError):  # it is off
            transcript = self.console.transcript.path
        usable = up is not None and not gone
        self.lifecycle.down(
            BoardDown(self.name, place, self.manifest.name, self.emulated, reason, cause, usable, up, transcript)
        )

    def _gone(self) -> str:
        """Return why no command can be typed to a board that had come up; empty if its line is open."""
        if self.lost:
            return self.lost
        if self.emulated and not self.power.get():
            return "its machine has ended"
        try:
            console = self.console
        except InfrastructureError as error:
            return error.message
        if console.ended:
            return f"its line has ended ({console.transcript.closed or 'given up'})"
        return "" if self.strategy.report is not None else "it was switched off"

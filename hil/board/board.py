"""A board: what tests hold in their hands, above labgrid's target."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from subprocess import CalledProcessError
from types import TracebackType
from typing import TYPE_CHECKING

from labgrid import Environment, Target
from labgrid.binding import BindingError, StateError
from labgrid.driver import ExecutionError
from labgrid.exceptions import NoDriverFoundError, NoSupplierFoundError
from labgrid.protocol import PowerProtocol
from labgrid.strategy import StrategyError

from hil.board import boardfile, consoles
from hil.board.drivers import HilQemuDriver, manifest_of
from hil.board.protocol import HilConsoleProtocol
from hil.board.replay import HilReplayDriver
from hil.board.seam import described, guarded
from hil.board.selection import name_of
from hil.board.stages import BootReport, StageTime
from hil.board.strategy import HilStrategy
from hil.board.switch import Switch
from hil.console import Console, LineTimeout
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import tools
from hil.host.progress import shown
from hil.image import ensure, manifest
from hil.image.store import Image
from hil.places import selector as places
from hil.places.selector import Terms
from hil.qemu.process import Qemu, StateRefused
from hil.qemu.snapshot import Snapshot, SnapshotStore, stamps
from hil.qemu.virtual_time import DeterminismCheck, Virtual, console_trace, typing_digest

if TYPE_CHECKING:
    from hil.places.acquisition import Place

LABGRID = (NoSupplierFoundError, BindingError, StateError, ExecutionError, StrategyError, OSError, CalledProcessError)
PROMPT_LIMIT = 2.0  # seconds for a shell to ask for more after a command


class Board:
    """One board with the image it boots.

    `name` is a board's name or the path of an environment, or `place:NAME` or `+TAG=VALUE` for a place of a lab, which
    is held on `terms` until the board is closed, as is one that the environment names; `image` overrides the
    environment's image;
    `transcripts` is the directory for its consoles; `seed` has an emulated board run in virtual time.
    With `snapshots` an emulated board is booted once and from then on restored, see `fresh`. `health_check` verifies
    that guest and runner respond, and raises `HilError` where they do not; without one the board is booted, for
    snapshots are only made of healthy boards. `account` is told of each "boot" and
    "restore", with the error of one that failed.
    Nothing is switched on before `fresh` or `boot`. `dirty` says why the board cannot be trusted any more, `boots` and
    `restores` how often it came up, `unsaved` why there is no snapshot of it.
    An environment of labgrid's own drivers is completed with our console and strategy.
    """

    def __init__(
        self,
        name: str,
        *,
        image: str | None = None,
        transcripts: Path | None = None,
        seed: int | None = None,
        snapshots: bool = True,
        health_check: Callable[[Board], None] | None = None,
        account: Callable[[str, HilError | None], None] = lambda kind, error: None,
        terms: Terms = Terms(),  # noqa: B008  it is frozen
    ) -> None:
        self.place: Place | None = None
        self.dirty: str | None = None
        self.health_check = health_check
        self.account = account
        self.boots = self.restores = 0
        self.unsaved = "" if snapshots else "snapshots are switched off"
        self._seed = seed
        self._shelf: SnapshotStore | None = None
        self._snapshot: Snapshot | None = None
        self._switch: Switch | None = None
        try:
            self._env = self._find(name, terms)
            self._prepare(image, transcripts, seed)
        except BaseException as error:
            self._give_back()
            if self.place is not None and isinstance(error, InfrastructureError):
                raise places.PlaceFailed(self.place.name, error) from error
            raise

    def _find(self, name: str, terms: Terms) -> Environment:
        """The board's environment; where its resources are a place's, this is held from now on."""
        wanted = places.parse(name)
        if wanted is not None:
            self.place = self._held(wanted, terms, None)
        self.path = boardfile.find(self.place.board if self.place else name)
        self.name = name_of(self.path)
        env = boardfile.environment(self.path)
        if self.place is None and (remote := boardfile.remote_place(env)) is not None:
            named = places.PlaceSelector(name=remote, tagless=True)
            self.place = self._held(named, terms, env.config.get_option("coordinator_address", ""))
        if self.place is not None:
            boardfile.put_place(env, self.place.name)
        return env

    @staticmethod
    def _held(wanted: places.PlaceSelector, terms: Terms, coordinator: str | None) -> Place:
        from hil.places.acquisition import hold  # brings gRPC, which most boards do without

        return hold(wanted, places.address(terms.coordinator, coordinator), terms)

    def _prepare(self, image: str | None, transcripts: Path | None, seed: int | None) -> None:
        if image is not None:
            path = Path(image) if image.endswith(".toml") else manifest.find(image).path
            self._env.config.data.setdefault("images", {})["main"] = str(path and path.absolute())
        self._complete(transcripts)
        if seed is not None:
            self._machine("virtual time").virtual = Virtual(seed)
        if not self.emulated:
            self.unsaved = "a real board has none"

    def _complete(self, transcripts: Path | None) -> None:
        """Make the target, with the drivers that we need."""
        try:
            consoles.adopt(self._env, self.path)
            with self.place.lent() if self.place else nullcontext():
                target = self._env.get_target("main")
            assert target is not None, "checked with the board file"
            self.target: Target = target
            self.strategy: HilStrategy = self.target.get_driver(HilStrategy, activate=False)
            self.power = self.target.get_driver(PowerProtocol, activate=False)
        except (NoDriverFoundError, NoSupplierFoundError) as error:
            raise ConfigurationError(
                f"{self.path}: {error}",
                hint="a board needs a power driver and a serial port (docs/adding-a-board.md)",
            ) from error
        except HilError:
            raise
        except OSError as error:  # what a driver or a resource needs is not there
            raise InfrastructureError(f"{self.path}: {described(error)}") from error
        except Exception as error:  # whatever else their constructors raise
            cause = f": {error.__cause__.args[0]}" if error.__cause__ and error.__cause__.args else ""
            raise ConfigurationError(f"{self.path}: {described(error)}{cause}", hint=f"correct {self.path}") from error
        consoles.check(self.target, self.strategy, self.path)
        self._switch = Switch(self.power)
        self.line: HilConsoleProtocol = self.strategy.line
        self.line.transcripts = transcripts
        self.manifest = manifest_of(self.strategy, self.strategy.image)

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def where(self) -> str:
        """What tells the board from others of its kind: its place, or its name."""
        return self.place.name if self.place else self.name

    @property
    def clock(self) -> str:
        """The clock that the board runs in, in words."""
        return "real time" if self.virtual is None else str(self.virtual)

    @property
    def incarnation(self) -> str:
        """The board with its clock and seed: one board may run in several, each with its own state."""
        return self.where if self._seed is None else f"{self.where}, virtual time, seed {self._seed}"

    @property
    def lost(self) -> str:
        """Why the board's place is not ours any more; empty where it is, and for a board without one."""
        return self.place.lost if self.place else ""

    def trouble(self) -> str:
        """What is wrong with the test bed, asked now: the place is lost, or the power gone; empty where it is not.

        For a failure whose cause may lie there: a board without power looks like an image that hangs.
        """
        if self.place is not None:
            self.place.confirm(cut=self.cut_off)
            if self.lost:
                return self.place.error().message
        told = self._switch.trouble() if self._switch is not None else ""
        return f"{'place' if self.place else 'board'} {self.where}: {told}" if told else ""

    @property
    def cut_off(self) -> bool:
        """Whether the serial line of a board at a place has ended, though the place is ours."""
        try:
            return self.place is not None and not self.lost and self.console.ended and not self.console.closed
        except InfrastructureError:
            return False

    @property
    def emulated(self) -> bool:
        return isinstance(self.power, HilQemuDriver)

    @property
    def qemu(self) -> Qemu:
        """The emulator's process and monitor. Raises `ConfigurationError` on a real board."""
        machine = self._machine("this")
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

    def _machine(self, purpose: str) -> HilQemuDriver:
        if not isinstance(self.power, HilQemuDriver):
            raise ConfigurationError(
                f"board {self.name} is not emulated, and {purpose} is for emulated ones",
                hint="choose a qemu-* board with --board",
            )
        return self.power

    @property
    def console(self) -> Console:
        """The open line. Raises `InfrastructureError` when the board is off."""
        return self.line.console

    @property
    def report(self) -> BootReport | None:
        """What the last boot went through, None where the board is not up, its power cut by hand for example."""
        report: BootReport | None = self.strategy.report
        try:
            return report if report is not None and self.console else None
        except InfrastructureError:
            return None

    def _came_up(self) -> BootReport:
        """Return the report of a boot that has just ended."""
        if (report := self.report) is None:
            raise InfrastructureError(f"board {self.name} went off right after it came up")
        return report

    @property
    def origin(self) -> Path | None:
        """The transcript of the boot that the board comes from: one for all restores of a snapshot."""
        return self.report.transcript if self.report is not None else None

    @property
    def up(self) -> bool:
        """Booted to a shell, as far as is known, and nothing has spoilt it since."""
        return self.report is not None and self.dirty is None and not self.console.ended

    def image(self) -> Image:
        """The image's files; built now, with progress on standard error, where they are not there yet.

        On a replay board the recording stands for them.
        """
        if isinstance(self.power, HilReplayDriver):
            return self.power.image(self.manifest)
        with shown(sys.stderr) as progress:
            return ensure(self.manifest, progress)

    def fresh(self) -> BootReport:
        """Bring the board up as new and check its health: restored from a snapshot where it can have one, else booted.

        The first time it is booted, checked and saved, unless another run has done so. A snapshot is removed only
        where it is proven bad: its files differ from their digests, or it could not be restored twice in a row and
        a boot of the same machine succeeds. It is then made anew, once; from then on the board is booted. A failure
        of the test bed leaves it. Raises as `boot`, and what `health_check` raises; on a tapped line at once: it may be
        to blame.
        """
        error: HilError | None = None
        for _ in range(2):
            boots, suspect = self.boots, self._snapshot if error is not None else None
            if (snapshot := self._obtain(suspect)) is None:
                break
            if (error := self._restore_twice(snapshot)) is None:
                return self._came_up()
        else:
            self._forget(discard=True)
            self.unsaved = f"two of them could not be restored: {error.message if error else ''}"
        if boots == self.boots or not self._alive():  # else it was booted to be saved, and goes on
            self._boot_and_check()
        return self._came_up()

    def _restore_twice(self, snapshot: Snapshot) -> HilError | None:
        """Restore the board, with a second try; return the error where the snapshot may be to blame.

        Raises where it is not: what the user has to correct, and failures of the test bed.
        """
        failures: list[HilError] = []
        while len(failures) < 2:
            try:
                self._restore(snapshot)
                return None
            except HilError as error:
                if isinstance(error, ConfigurationError) or self.line.tap is not None:
                    raise
                failures.append(error)
                if snapshot.damage():
                    return error
        for failure in failures:
            if failure.origin == "infrastructure" and not isinstance(failure, StateRefused):
                raise failure
        return failures[-1]

    def _alive(self) -> bool:
        try:
            self.check_health()
        except HilError as error:
            self.dirty = f"it did not go on when it could not be saved: {error.message}"
        return self.up

    def check_health(self) -> None:
        """Run the health check, if there is one. Raises what it raises."""
        if self.health_check is not None:
            self.health_check(self)

    def boot(self) -> BootReport:
        """Boot from power-off to a shell, however the board is now.

        Raises `BootError`, `InfrastructureError`; the board is off then.
        """
        with self._bringing_up("boot"):
            self._boot()
        return self._came_up()

    def _boot(self) -> None:
        self.dirty = None
        self.strategy.status = "unknown"
        self.boots += 1
        self.strategy.transition("shell")
        if self.virtual is not None and not self.virtual.lost:
            self._prove_exact("boot", self._boot_again)

    def _boot_and_check(self) -> None:
        with self._bringing_up("boot"):
            self._boot()
            self.check_health()

    @contextmanager
    def _bringing_up(self, kind: str) -> Iterator[None]:
        """Account for it, and leave the board off where it fails. What labgrid fails with is made ours."""
        try:
            yield
        except BaseException as error:
            told = self._ours(error)
            try:
                if not self.lost:
                    self.off()
            except (HilError, *LABGRID) as second:
                told.add_note(f"and it could not be switched off: {second}")
            if isinstance(told, HilError):
                self.account(kind, told)
            if told is error:
                raise
            raise told from error
        self.account(kind, None)

    def _ours(self, error: BaseException) -> BaseException:
        """The error with which a board on a place fails: as it is, but with the place; or that the place is lost.

        What its power switch says is told, too, and then it is no fault of the image's.
        """
        if isinstance(error, ConfigurationError) or not isinstance(error, Exception):
            return error
        trouble = self.trouble()
        if self.place is not None and self.lost:
            return self.place.error()
        if isinstance(error, HilError) and trouble:
            return InfrastructureError(
                f"{error.message}; {trouble}",
                hint=error.hint,
                stage=error.stage,
                evidence=error.evidence,
                cause=f"{error.cause}; {trouble}",
            )
        if isinstance(error, HilError) and self.place is not None:
            error.message += f" (place {self.place.name})"
            error.cause += f" (place {self.place.name})"
        elif isinstance(error, LABGRID):
            where = f"place {self.place}" if self.place else f"board {self.name}"
            hint = "are its power switch and its serial port there?"
            if self.emulated:
                hint = "has this host room on its disk and in its memory, and can it start more processes?"
            return InfrastructureError(f"{where}: {error}", hint=hint)
        return error

    def _obtain(self, suspect: Snapshot | None = None) -> Snapshot | None:
        """Return the board's snapshot, made now where there is none; None where there cannot be one: see `unsaved`.

        The `suspect` is replaced by another one, once a boot has succeeded.
        """
        if self._snapshot is not None and suspect is None and not self._snapshot.damage():
            return self._snapshot
        if self.unsaved or self.health_check is None:
            return None
        machine = self._machine("a snapshot")
        self.unsaved = machine.unsavable()
        if self.unsaved:
            return None
        if self._shelf is None:
            seed = [*machine.virtual.arguments(), typing_digest()] if machine.virtual is not None else []
            self._shelf = SnapshotStore([*self._kind(), *seed])
        boots = self.boots
        try:
            with self._shelf.alone():
                found = self._shelf.find()
                replaced = found is not None and suspect is not None and found.same(suspect)
                if found is not None and replaced:
                    found.close()
                self._forget()
                self._snapshot = self._save(self._shelf, replaced) if found is None or replaced else found
        except InfrastructureError as error:
            if boots != self.boots and not self.up:  # it was the boot
                raise
            self.unsaved = error.message
        return self._snapshot

    def _save(self, shelf: SnapshotStore, replaced: bool) -> Snapshot:
        """Boot the board and make a snapshot of it; one that is to be `replaced` is removed once it is up."""
        machine = self._machine("a snapshot")
        machine.keeps = True
        try:
            self._boot_and_check()
        finally:
            machine.keeps = False
        if replaced:
            shelf.discard()
        self._await_prompt()
        report, lockstep = self._came_up(), self.console.lockstep
        facts = {
            "board": self.name,
            "image": self.manifest.name,
            "made": time.strftime("%Y-%m-%d %H:%M:%S"),
            "stages": [asdict(stage) for stage in report.stages],
            "clock": report.clock,
            "lost": self.virtual.lost if self.virtual is not None else "",
            "history": f"{lockstep.history} {self.console.transcript.size}" if lockstep is not None else "",
        }
        return machine.save(shelf, facts)

    def _await_prompt(self) -> None:
        """See that the shell waits for input, so that it finds all that is typed to a restored one."""
        console, prompt = self.console, self.manifest.console.prompt.encode()
        if not console.transcript.read(max(0, console.position - len(prompt)), console.position).endswith(prompt):
            with suppress(LineTimeout):
                console.wait_for(prompt, timeout=PROMPT_LIMIT)

    def _restore(self, snapshot: Snapshot) -> BootReport:
        machine, facts = self._machine("a snapshot"), snapshot.facts
        begin_ns = time.monotonic_ns()
        self.dirty = None
        self.restores += 1
        stages = tuple(StageTime(**stage) for stage in facts["stages"])
        report = BootReport(self.name, self.manifest.name, begin_ns, stages, snapshot.console, facts["clock"], 0.0)

        def up() -> str:
            self.strategy.restore(report)
            self.check_health()
            return self._song() if self.console.lockstep is not None else ""

        machine.snapshot = snapshot
        try:
            with self._bringing_up("restore"):
                up()
                if damage := snapshot.damage():
                    raise InfrastructureError(f"the snapshot was changed while it was restored: {damage}")
                report = replace(report, restored=(time.monotonic_ns() - begin_ns) / 1e9)
                self.strategy.report = report
                if machine.virtual is not None and facts["lost"]:
                    machine.virtual = replace(machine.virtual, lost=facts["lost"])
                if self.virtual is not None and not self.virtual.lost:
                    self._prove_exact("restore", up)
        finally:
            machine.snapshot = None
        return report

    def _forget(self, *, discard: bool = False) -> None:
        """Close the snapshot; `discard` also removes it from the disk, unless another has taken its place there."""
        if self._snapshot is not None and self._shelf is not None:
            if discard:
                with self._shelf.alone():
                    found = self._shelf.find()
                    if found is not None:
                        if found.same(self._snapshot):
                            self._shelf.discard()
                        found.close()
            self._snapshot.close()
            self._snapshot = None

    def _kind(self) -> list[str]:
        """What the state of the machine hangs on after its boot, its seed aside."""
        machine, image = self._machine("a snapshot"), self.image()
        facts = [part.model_dump_json() for part in (image.manifest.machine, image.manifest.console)]
        facts += [*machine.arguments, *stamps(machine.arguments)]
        return [image.digest, tools.version(image.manifest.machine.emulator), *facts]

    def _prove_exact(self, what: str, again: Callable[[], str]) -> None:
        """Compare what the console has brought so far with earlier times; the first of its kind is made twice."""
        machine, virtual, lockstep = self._machine("virtual time"), self.virtual, self.console.lockstep
        assert virtual is not None
        assert lockstep is not None
        machine.virtual = DeterminismCheck([*self._kind(), lockstep.typed], what).prove(virtual, self._song(), again)

    def _boot_again(self) -> str:
        self.strategy.status = "unknown"
        self.strategy.transition("shell")
        return self._song()

    def _song(self) -> str:
        return console_trace(self.console, self.console.position)

    def off(self) -> None:
        self.strategy.transition("off")

    def close(self) -> None:
        """Let go of everything. Emulated boards are switched off, and those whose place is given back."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        try:
            if self.place is not None and not self.place.borrowed and not self.lost:
                self._off_before_others()
        finally:
            self._give_back()

    def _off_before_others(self) -> None:
        """Switch off, whatever comes of it: others wait for the place."""
        try:
            self.off()
        except Exception as error:
            warnings.warn(f"place {self.where} is given back, but not switched off: {error}", stacklevel=3)

    def _give_back(self) -> None:
        if self._switch is not None:
            self._switch.close()
            self._switch = None
        try:
            if hasattr(self, "_env"):
                with guarded("the board's drivers could not be let go of"):
                    self._env.cleanup()
        finally:
            if self.place is not None:
                self.place.close()

"""A board: what tests hold in their hands, above labgrid's target."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from labgrid import Target
from labgrid.exceptions import InvalidConfigError, NoDriverFoundError, NoSupplierFoundError
from labgrid.protocol import PowerProtocol

from hil.board import boardfile
from hil.board.drivers import HilQemuDriver, HilSerialDriver, manifest_of
from hil.board.exact import Canary, Virtual, song
from hil.board.protocol import HilConsoleProtocol
from hil.board.qemu import Qemu
from hil.board.replay import HilReplayDriver
from hil.board.stages import BootReport
from hil.board.strategy import HilStrategy
from hil.console import Console
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.image import ensure, manifest
from hil.image.progress import shown
from hil.image.store import Image


class Board:
    """One board with the image it boots.

    `name` is a board's name or the path of an environment; `image` overrides the environment's image;
    `transcripts` is the directory for its consoles; `seed` has an emulated board run in virtual time.
    Nothing is switched on before `boot`. `dirty` says why the board cannot be trusted any more, `boots`
    how often it was booted.
    An environment of labgrid's own drivers is completed with our console and strategy.
    """

    def __init__(
        self, name: str, *, image: str | None = None, transcripts: Path | None = None, seed: int | None = None
    ) -> None:
        self.path = boardfile.find(name)
        self.name = self.path.stem
        self.dirty: str | None = None
        self.boots = 0
        self._env = boardfile.environment(self.path)
        if image is not None:
            path = Path(image) if image.endswith(".toml") else manifest.find(image).path
            self._env.config.data.setdefault("images", {})["main"] = str(path and path.absolute())
        self._complete(transcripts)
        if seed is not None:
            self._machine("virtual time").virtual = Virtual(seed)

    def _complete(self, transcripts: Path | None) -> None:
        """Make the target; find, or add, the drivers that we need."""
        try:
            target = self._env.get_target("main")
            assert target is not None, "checked with the board file"
            self.target: Target = target
            drivers = self.target.drivers
            if not any(isinstance(driver, HilConsoleProtocol) for driver in drivers):
                HilSerialDriver(self.target, name=None)  # type: ignore[call-arg]
            if not any(isinstance(driver, HilStrategy) for driver in drivers):
                HilStrategy(self.target, name=None)  # type: ignore[call-arg]
            self.strategy: HilStrategy = self.target.get_driver(HilStrategy, activate=False)
            self.power = self.target.get_driver(PowerProtocol, activate=False)
        except InvalidConfigError as error:
            cause = f": {error.__cause__.args[0]}" if error.__cause__ else ""
            raise ConfigurationError(f"{self.path}: {error}{cause}", hint=f"correct {self.path}") from error
        except (NoDriverFoundError, NoSupplierFoundError) as error:
            raise ConfigurationError(
                f"{self.path}: {error}",
                hint="a board needs a power driver and a serial port (docs/adding-a-board.md)",
            ) from error
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
        """What the last boot went through, None where the board is not up."""
        report: BootReport | None = self.strategy.report
        return report

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

    def boot(self) -> BootReport:
        """Boot from power-off to a shell, however the board is now.

        Raises `BootError`, `InfrastructureError`; the board is off then.
        """
        self.dirty = None
        self.strategy.status = "unknown"
        self.boots += 1
        try:
            self.strategy.transition("shell")
            if self.virtual is not None and not self.virtual.lost:
                self._prove_exact()
        except BaseException as error:
            try:
                self.off()
            except HilError as second:
                error.add_note(f"and it could not be switched off: {second}")
            raise
        report = self.report
        assert report is not None
        return report

    def _prove_exact(self) -> None:
        """Compare this boot with those before it; the first of its kind is made twice."""
        machine, virtual, image = self._machine("virtual time"), self.virtual, self.image()
        assert virtual is not None
        facts = [part.model_dump_json() for part in (image.manifest.machine, image.manifest.console)]
        canary = Canary([image.digest, self.qemu.build, *facts, *machine.arguments])

        def again() -> str:
            self.strategy.status = "unknown"
            self.strategy.transition("shell")
            return self._song()

        machine.virtual = canary.prove(virtual, self._song(), again)

    def _song(self) -> str:
        assert self.report is not None
        return song(self.console, self.report.stages[-1].offset)

    def off(self) -> None:
        self.strategy.transition("off")

    def close(self) -> None:
        """Switch an emulated board off and let go of everything; a real one stays as it is."""
        self._env.cleanup()

"""The labgrid strategy: off, or booted to a shell through the image's stages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attr
from attr.validators import ge, instance_of, le
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.step import step
from labgrid.strategy import Strategy, StrategyError

from hil.board import tftp
from hil.board.boot_report import CLOCK, BootReport
from hil.board.images import built, manifest_of
from hil.board.machine import MachineDriver
from hil.board.power_watch import in_time
from hil.board.protocol import HilConsoleProtocol, board_name
from hil.board.seam import guarded, step_on_bus
from hil.board.stages import walk
from hil.board.uboot import Loader
from hil.errors import ConfigurationError
from hil.host import progress
from hil.image.manifest import Manifest


@target_factory.reg_driver
@attr.s(eq=False)
class HilStrategy(Strategy):  # type: ignore[misc]
    """`transition("shell")` boots from power-off through every stage; `transition("off")` cuts the power.

    `image` is the key of the image's manifest in the environment's `images:`. `rest` is the delay in seconds between
    power-off and power-on. `report` describes the last boot, None after a failed one.

    With a `UBootDriver` in the target the boot waits for its prompt and types its boot command. With a
    `TFTPProviderDriver` too, U-Boot first loads the files of the image: those of `load`, name -> address or U-Boot
    variable, and those that the image's manifest places. Each is a stage.
    """

    bindings = {
        "power": "PowerProtocol",
        "line": HilConsoleProtocol,
        "uboot": {"UBootDriver", None},
        "tftp": {"TFTPProviderDriver", None},
    }

    image: str = attr.ib(default="main", validator=instance_of(str))
    load: dict[str, Any] = attr.ib(factory=dict, validator=instance_of(dict))
    # labgrid requires the name that board files use
    rest: float = attr.ib(default=0.0, validator=[instance_of((int, float)), ge(0), le(60)])
    status: str = attr.ib(default="off", init=False)

    report: BootReport | None = None
    label: str = ""  # the board or place in the steps of the progress; by default the board

    @property
    def manifest(self) -> Manifest:
        """The image's manifest, read now. Raises `ConfigurationError`."""
        return manifest_of(self)

    @step(args=["status"])
    def transition(self, status: str) -> None:
        """Raises `BootError`, `LineClosed`, or `StrategyError` for an unknown state."""
        if status not in ("off", "shell"):
            raise StrategyError(f"there is no state {status!r}; the states are off and shell")
        if status == self.status:
            return
        self.report, self.status = None, "unknown"
        with in_time(self.power):
            self.target.activate(self.power)
        if status == "off":
            with in_time(self.power):
                self.power.off()
        else:
            self.boot()
        self.status = status

    @step()
    def restore(self, report: BootReport, spare: MachineDriver | None = None) -> None:
        """Switch on a machine that is restored from a snapshot, or take over the `spare`, which is.

        `report` describes the boot of the snapshot.
        """
        self.report, self.status = None, "unknown"
        self.target.activate(self.power)
        if spare is None:
            self.power.cycle()
        else:
            self.power.take_over(spare)
        self._hide_passwords(self.manifest)
        self.report, self.status = report, "shell"

    def force(self, status: str) -> None:
        self.target.activate(self.power)
        self.target.activate(self.line)
        self.status = status

    def prepare_export(self) -> dict[Driver, str]:
        return {getattr(self, name): name for name in self.bindings if getattr(self, name) is not None}

    @step()
    def boot(self) -> None:
        manifest = self.manifest
        files = self._boot_files(manifest)
        names = tftp.stage(self.tftp, files) if files else {}
        power_on_ns = self._power_cycle()
        console = self.line.console
        self._hide_passwords(manifest)
        uboot, prompt = None, ""
        if self.uboot is not None:
            uboot = Loader(self.uboot, self.line, power_on_ns, self._stage)
            uboot.prompt()
            for file in files:
                uboot.load(file, names[file.name])
            prompt = uboot.start()
        stages = walk(
            console,
            manifest.stages,
            power_on_ns=power_on_ns,
            answers=manifest.console.answers,
            around=self._stage,
            failures=manifest.failures,
            noise=manifest.console.noise,
            before=uboot.reached if uboot is not None else (),
            loader=prompt,
        )
        self.report = BootReport(
            board_name(self),
            manifest.name,
            power_on_ns,
            stages,
            console.transcript.path,
            CLOCK if console.lockstep is None else "virtual time",
        )

    def _power_cycle(self) -> int:
        """Switch off and on, with a new console; return the host's monotonic time of power-on in ns."""
        progress.current().step(f"{self.label or board_name(self)}: switching on")
        if self.uboot is not None:
            self.target.deactivate(self.uboot)
            self.uboot.on_deactivate()  # otherwise a driver that failed once assumes to be at the prompt
        with in_time(self.power):
            self.power.off()
        if self.line is not self.power:
            with guarded("the serial line cannot be opened", "check that the adapter is plugged in"):
                self.target.deactivate(self.line)  # each boot has its own console, as on an emulated machine
                time.sleep(self.rest)
                self.target.activate(self.line)
            self.line.console.skip()
        power_on_ns = time.monotonic_ns()
        with in_time(self.power):
            self.power.on()
        return power_on_ns

    @contextmanager
    def _stage(self, name: str, limit: float) -> Iterator[None]:
        """Report one stage as a step on labgrid's bus, and of the progress; `limit` is in seconds of the console."""
        virtual = self.line.console.lockstep is not None
        shown = progress.timed(f"{self.label or board_name(self)}: booting: {name}", None if virtual else limit)
        with step_on_bus(f"stage {name}", "stage", self), shown:
            yield

    def _hide_passwords(self, manifest: Manifest) -> None:
        """Keep passwords of the image, and of drivers that log in on its console, out of the transcript."""
        found = [manifest.console.password, *(getattr(client, "password", None) for client in self.line.clients)]
        self.line.console.passwords.secrets = frozenset(password.encode() for password in found if password)

    def _boot_files(self, manifest: Manifest) -> tuple[tftp.BootFile, ...]:
        """Return the files that U-Boot loads. Raises `ConfigurationError`."""
        if self.uboot is not None and self.tftp is not None:
            return tftp.boot_files(built(manifest), self.load)
        if self.load:
            raise ConfigurationError(
                f"{self.target.env.config.filename}: HilStrategy's `load` needs a UBootDriver and a TFTPProviderDriver",
                hint="add them, or remove `load`",
            )
        return ()

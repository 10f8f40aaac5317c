"""The labgrid strategy: off, or booted to a shell through the image's stages."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import Any

import attr
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.step import step, steps
from labgrid.strategy import Strategy, StrategyError

from hil.board.drivers import manifest_of
from hil.board.protocol import HilConsoleProtocol
from hil.board.seam import guarded
from hil.board.selection import name_of
from hil.board.stages import CLOCK, BootReport, StageTime, walk
from hil.board.switch import in_time
from hil.board.uboot import BootFile, Loader, parcels, stage
from hil.errors import ConfigurationError
from hil.host.progress import shown
from hil.image import ensure
from hil.image.manifest import Manifest


@target_factory.reg_driver
@attr.s(eq=False)
class HilStrategy(Strategy):  # type: ignore[misc]
    """`transition("shell")` boots from power-off through every stage; `transition("off")` cuts the power.

    `image` is the key of the image's manifest in the environment's `images:`. `rest` are the seconds that the board
    stays without power before it is switched on. `report` is what the last boot went through, None after a boot that
    failed.

    Where the target has a `UBootDriver` the boot waits for its prompt and gives its boot command. Where it has a
    `TFTPProviderDriver`, too, U-Boot first loads the files of the image: those of `load`, name -> address or
    variable of U-Boot's, and those that the image's manifest places. Each is a stage.
    """

    bindings = {
        "power": "PowerProtocol",
        "line": HilConsoleProtocol,
        "uboot": {"UBootDriver", None},
        "tftp": {"TFTPProviderDriver", None},
    }

    image: str = attr.ib(default="main", validator=attr.validators.instance_of(str))
    load: dict[str, Any] = attr.ib(factory=dict, validator=attr.validators.instance_of(dict))
    rest: float = attr.ib(
        default=0.0,
        validator=[attr.validators.instance_of((int, float)), attr.validators.ge(0), attr.validators.le(60)],
    )
    status: str = attr.ib(default="off", init=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.report: BootReport | None = None

    @step(args=["status"])
    def transition(self, status: str) -> None:
        """Raises `BootError`, `LineClosed`, or `StrategyError` for a state that does not exist."""
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
    def restore(self, report: BootReport) -> None:
        """Switch on a machine that is restored to a shell, from a snapshot of the boot that `report` tells of."""
        self.report, self.status = None, "unknown"
        self.target.activate(self.power)
        self.power.cycle()
        self._hide_passwords(manifest_of(self, self.image))
        self.report, self.status = report, "shell"

    def force(self, status: str) -> None:
        self.target.activate(self.power)
        self.target.activate(self.line)
        self.status = status

    def prepare_export(self) -> dict[Driver, str]:
        return {getattr(self, name): name for name in self.bindings if getattr(self, name) is not None}

    @step()
    def boot(self) -> None:
        manifest = manifest_of(self, self.image)
        wanted = self._wanted(manifest)
        names = stage(self.tftp, wanted) if wanted else {}
        if self.uboot is not None:
            self.target.deactivate(self.uboot)
            self.uboot.on_deactivate()  # else one that failed once takes itself to be at the prompt
        with in_time(self.power):
            self.power.off()
        if self.line is not self.power:
            with guarded("the serial line cannot be opened", "is the adapter plugged in?"):
                self.target.deactivate(self.line)  # each boot has a console of its own, as an emulated machine's has
                time.sleep(self.rest)
                self.target.activate(self.line)
            self.line.console.skip()
        power_on_ns = time.monotonic_ns()
        with in_time(self.power):
            self.power.on()
        console = self.line.console
        self._hide_passwords(manifest)
        before: list[StageTime] = []
        loader = ""
        if self.uboot is not None:
            uboot = Loader(self.uboot, self.line, power_on_ns, lambda name: _step(self, name))
            before.append(uboot.prompt())
            before += [uboot.load(one, names[one.name]) for one in wanted]
            loader = uboot.start()
        stages = walk(
            console,
            manifest.stages,
            power_on_ns=power_on_ns,
            answers=manifest.console.answers,
            around=lambda name: _step(self, name),
            failures=manifest.failures,
            noise=manifest.console.noise,
            before=before,
            loader=loader,
        )
        self.report = BootReport(
            name_of(str(self.target.env.config.filename)),
            manifest.name,
            power_on_ns,
            stages,
            console.transcript.path,
            CLOCK if console.lockstep is None else "virtual time",
        )

    def _hide_passwords(self, manifest: Manifest) -> None:
        """Keep the passwords of the image, and of drivers that log in on its console, out of the transcript."""
        found = [manifest.console.password, *(getattr(driver, "password", None) for driver in self.line.clients)]
        self.line.console.secrets = frozenset(password.encode() for password in found if password)

    def _wanted(self, manifest: Manifest) -> tuple[BootFile, ...]:
        """What U-Boot has to load."""
        if self.uboot is not None and self.tftp is not None:
            with shown(sys.stderr) as progress:
                return parcels(ensure(manifest, progress), self.load)
        if self.load:
            raise ConfigurationError(
                f"{self.target.env.config.filename}: HilStrategy's `load` needs a UBootDriver and a TFTPProviderDriver",
                hint="add them, or leave `load` out",
            )
        return ()


@contextlib.contextmanager
def _step(source: object, name: str) -> Iterator[None]:
    """A step on labgrid's bus for one stage, so that reports show the boot as it went."""
    stage = steps.get_new(f"stage {name}", "stage", source, (__file__, "strategy.py", 0))
    stage.start()
    try:
        yield
    except BaseException as error:
        stage.exception = error
        raise
    finally:
        stage.stop()

"""The labgrid strategy: off, or booted to a shell through the image's stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import attr
from labgrid.factory import target_factory
from labgrid.step import step, steps
from labgrid.strategy import Strategy, StrategyError

from hil.board.drivers import manifest_of
from hil.board.protocol import HilConsoleProtocol
from hil.board.stages import CLOCK, BootReport, walk


@target_factory.reg_driver
@attr.s(eq=False)
class HilStrategy(Strategy):  # type: ignore[misc]
    """`transition("shell")` boots from power-off through every stage; `transition("off")` cuts the power.

    `image` is the key of the image's manifest in the environment's `images:`. `report` is what the
    last boot went through, None after a boot that failed.
    """

    bindings = {"power": "PowerProtocol", "line": HilConsoleProtocol}

    image: str = attr.ib(default="main", validator=attr.validators.instance_of(str))
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
        self.target.activate(self.power)
        if status == "off":
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
        self.report, self.status = report, "shell"

    def force(self, status: str) -> None:
        self.target.activate(self.power)
        self.target.activate(self.line)
        self.status = status

    @step()
    def boot(self) -> None:
        manifest = manifest_of(self, self.image)
        self.power.off()
        if self.line is not self.power:
            self.target.activate(self.line)
            self.line.console.skip()
        power_on_ns = time.monotonic_ns()
        self.power.on()
        console = self.line.console
        stages = walk(
            console,
            manifest.stages,
            power_on_ns=power_on_ns,
            answers=manifest.console.answers,
            around=lambda name: _step(self, name),
            failures=manifest.failures,
            noise=manifest.console.noise,
        )
        self.report = BootReport(
            Path(str(self.target.env.config.filename)).stem,
            manifest.name,
            power_on_ns,
            stages,
            console.transcript.path,
            CLOCK if console.lockstep is None else "virtual time",
        )


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

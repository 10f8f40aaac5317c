"""Our labgrid drivers: a machine under QEMU, and a serial port of a real one."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import ClassVar

import attr
import serial
from labgrid.driver import Driver
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.resource import NetworkSerialPort
from labgrid.step import step

from hil.board.protocol import HilConsoleProtocol
from hil.board.qemu import Qemu
from hil.console import Console, Transcript
from hil.console.transcript import default_directory
from hil.errors import ConfigurationError, InfrastructureError
from hil.image import ensure, manifest
from hil.image.manifest import Manifest
from hil.image.progress import shown

CONNECT_LIMIT = 10.0  # seconds to reach a serial server


def manifest_of(driver: Driver, key: str) -> Manifest:
    """The manifest that the environment's `images:` section names under `key`."""
    config = driver.target.env.config
    try:
        return manifest.load(Path(config.get_image_path(key)))
    except KeyError:
        raise ConfigurationError(
            f"{config.filename} names no image {key!r}",
            hint=f"add `images: {{{key}: ../images/NAME.toml}}` to it, or pass --image NAME",
        ) from None


@target_factory.reg_driver
@attr.s(eq=False)
class HilQemuDriver(Driver, HilConsoleProtocol, PowerProtocol):  # type: ignore[misc]
    """Power and console of a machine under QEMU.

    `image` is the key of the image's manifest in the environment's `images:`; `arguments` are added
    to QEMU's command line. The console exists while the power is on.
    """

    bindings: ClassVar[dict[str, object]] = {}
    priorities = {ConsoleProtocol: 10}

    image: str = attr.ib(default="main", validator=attr.validators.instance_of(str))
    arguments: list[str] = attr.ib(
        factory=list,
        # a string is iterable, too: it would become one argument a character
        validator=attr.validators.deep_iterable(attr.validators.instance_of(str), attr.validators.instance_of(list)),
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self.qemu: Qemu | None = None
        self._console: Console | None = None

    def on_deactivate(self) -> None:
        self._end()

    @property
    def console(self) -> Console:
        if self._console is None:
            raise InfrastructureError("the machine is off: no console", hint="switch it on first")
        return self._console

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Start QEMU, unless it runs. Builds the image first where it is not there yet."""
        if self.qemu is not None and self.qemu.running:
            return
        self._end()
        with shown(sys.stderr) as progress:
            image = ensure(manifest_of(self, self.image), progress)
        transcript = Transcript.create(self.transcripts or default_directory(), Path(self._board_name()).stem)
        try:
            self.qemu = Qemu(
                [*image.command(), *self.arguments],
                log=transcript.path.with_suffix(".qemu.log"),
                oldest=image.manifest.machine.emulator_version,
            )
        except BaseException:
            transcript.close()
            raise
        self._console = Console(self.qemu.console_port, transcript, explain_end=self.qemu.obituary)

    @Driver.check_active
    @step()
    def off(self) -> None:
        """Cut the power: QEMU is killed."""
        self._end()

    @Driver.check_active
    @step()
    def cycle(self) -> None:
        self._end()
        self.on()

    @Driver.check_active
    def get(self) -> bool:
        """Whether the power is on."""
        return self.qemu is not None and self.qemu.running

    def _board_name(self) -> str:
        return str(self.target.env.config.filename)

    def _end(self) -> None:
        if self.qemu is not None:
            self.qemu.kill()
        if self._console is not None:
            self._console.close()
        self.qemu = self._console = None


@target_factory.reg_driver
@attr.s(eq=False)
class HilSerialDriver(Driver, HilConsoleProtocol):  # type: ignore[misc]
    """Console of a real board: a local serial port or a raw TCP one, read with time stamps."""

    bindings = {"port": {"SerialPort", "NetworkSerialPort"}}
    priorities = {ConsoleProtocol: 10}

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self._console: Console | None = None

    def on_activate(self) -> None:
        name = Path(str(self.target.env.config.filename)).stem if self.target.env else self.target.name
        fd = self._connect()
        try:
            transcript = Transcript.create(self.transcripts or default_directory(), name)
        except BaseException:
            os.close(fd)
            raise
        self._console = Console(fd, transcript)

    def on_deactivate(self) -> None:
        if self._console is not None:
            self._console.close()
        self._console = None

    @property
    def console(self) -> Console:
        if self._console is None:
            raise InfrastructureError("the serial line is not open", hint="activate the driver first")
        return self._console

    def _connect(self) -> int:
        port = self.port
        try:
            if not isinstance(port, NetworkSerialPort):
                # pyserial sets the line up; the descriptor outlives its object
                with serial.Serial(port.port, port.speed, exclusive=True) as line:
                    return os.dup(line.fileno())
            if port.protocol != "raw":
                raise ConfigurationError(
                    f"{port.host}:{port.port} speaks {port.protocol}; this driver takes `protocol: raw`",
                    hint="let ser2net serve the port as raw TCP with the speed set there",
                )
            return socket.create_connection((port.host, port.port), CONNECT_LIMIT).detach()
        except (serial.SerialException, OSError) as error:
            where = port.port if not isinstance(port, NetworkSerialPort) else f"{port.host}:{port.port}"
            raise InfrastructureError(
                f"cannot open the serial line {where}: {error}",
                hint="is the adapter plugged in, the name right, and nobody else on it?",
            ) from error

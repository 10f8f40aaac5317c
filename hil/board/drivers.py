"""Our labgrid drivers: a machine under QEMU, and a serial port of a real one."""

from __future__ import annotations

import importlib.metadata
import os
import random
import shutil
import socket
import sys
import termios
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import attr
import serial
from labgrid.driver import Driver, ExecutionError
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol
from labgrid.resource import NetworkSerialPort
from labgrid.util.proxy import proxymanager

from hil.board.machine import Connection, MachineDriver
from hil.board.protocol import HilConsoleProtocol, Transport
from hil.board.selection import name_of
from hil.console import Console, Transcript
from hil.console.console import Pacing
from hil.console.rfc2217 import Rfc2217, ServerNotReady
from hil.console.transcript import default_directory
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.progress import NoProgress, shown
from hil.image import ensure, manifest, store
from hil.image.manifest import Manifest
from hil.qemu import virtual_time as exact
from hil.qemu.process import LockstepConfig, MachineMemory, Qemu
from hil.qemu.snapshot import Snapshot, SnapshotStore, limit, memory_size

CONNECT_LIMIT = 10.0  # seconds for a serial server to be ready, and for it to set the port up
CONNECT_PAUSE = 0.05  # seconds before the second try; each pause is twice the one before
LONGEST_PAUSE = 0.5
PROTOCOLS = ("rfc2217", "raw")


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
class HilQemuDriver(MachineDriver):
    """Power and console of a machine under QEMU; off is a power cut.

    `image` is the key of the image's manifest in the environment's `images:`; the image is built first
    where it is not there yet. `arguments` are added to QEMU's command line.

    To be set before it is switched on: `virtual` where the machine is to run in virtual time, of which it tells while
    it runs how that went; `snapshot` where it is to be restored; `keeps` where it is to be saved later.
    """

    image: str = attr.ib(default="main", validator=attr.validators.instance_of(str))
    arguments: list[str] = attr.ib(
        factory=list,
        # a string is iterable, too: it would become one argument a character
        validator=attr.validators.deep_iterable(attr.validators.instance_of(str), attr.validators.instance_of(list)),
    )

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.qemu: Qemu | None = None
        self.virtual: exact.Virtual | None = None
        self.snapshot: Snapshot | None = None
        self.keeps = False
        self._memory: int | None = None

    def start(self, transcript: Path) -> Connection:
        with shown(sys.stderr) as progress:
            image = ensure(manifest_of(self, self.image), progress)
        command, stepping = image.command(), None
        machine = image.manifest.machine
        if self.virtual is not None:
            command += [*machine.virtual_arguments, *self.virtual.arguments()]
            stepping = self._stepping(image.manifest, transcript)
        command += self.arguments
        self.qemu = Qemu(
            command,
            log=transcript.with_suffix(".qemu.log"),
            oldest=machine.emulator_version,
            stepping=stepping,
            memory=self._ram(command),
        )
        try:
            store.prove(image)  # once more: QEMU has read the files by now
            if self.snapshot is not None:
                self.qemu.restore(self.snapshot.state)
        except BaseException:
            self.qemu.abandon()
            raise
        if self.virtual is None:
            return Connection(self.qemu.console_port, self.qemu.exit_reason)
        chance = random.Random(self.virtual.seed)  # what is typed must repeat, too
        return Connection(
            self.qemu.console_port, self.qemu.exit_reason, self.qemu.lockstep, lambda size: chance.randbytes(size).hex()
        )

    def listened(self) -> None:
        if self.qemu is not None:
            self.qemu.power_on()

    def _ram(self, command: list[str]) -> MachineMemory | None:
        """The memory of the snapshot, or one that can be saved; None for QEMU's own."""
        if self.snapshot is not None:
            return MachineMemory(self.snapshot.size, self.snapshot.memory, private=True)
        size = memory_size(command)
        if not self.keeps or size is None:
            return None
        self._memory = os.memfd_create("hil-memory")
        return MachineMemory(size, self._memory)

    def unsavable(self) -> str:
        """Why the machine cannot be saved, whatever the disk has room for; empty where it can."""
        if limit() == 0:
            return "HIL_SNAPSHOTS_MIB is 0"
        machine = ensure(manifest_of(self, self.image), NoProgress()).manifest.machine
        if shutil.which(machine.emulator) is None:  # of which the boot tells more
            return f"there is no {machine.emulator}"
        if memory_size([*machine.arguments, *self.arguments]) is None:
            return "its memory is not given by -m, or is not one piece"
        return ""

    def save(self, shelf: SnapshotStore, facts: Mapping[str, Any]) -> Snapshot:
        """Make a snapshot of the running machine, which stays stopped. Where that fails it goes on.

        Raises `InfrastructureError`.
        """
        if self.qemu is None or self._memory is None:
            raise InfrastructureError(
                "the machine's memory cannot be saved", hint="set `keeps` before it is switched on"
            )
        self.qemu.stop()
        try:
            blocks = self.qemu.monitor.execute("query-block")
            if disks := [one["device"] for one in blocks if not one.get("inserted", {"ro": True})["ro"]]:
                raise InfrastructureError(f"it can write to {', '.join(disks)}, which a snapshot does not hold")
            return shelf.keep(self._memory, self.qemu.monitor.state(), self.console.transcript, facts)
        except BaseException:
            self.qemu.go_on()
            raise

    def _stepping(self, manifest: Manifest, transcript: Path) -> LockstepConfig | None:
        """How the machine is kept in lock step; None where this QEMU cannot be, which `virtual` then tells."""
        assert self.virtual is not None
        if self.tap is not None:
            raise ConfigurationError(
                "a tapped line cannot be kept in lock step with virtual time",
                hint="use the fault proxy without --clock virtual",
            )
        library = exact.library()
        why = exact.refusal(manifest.machine.emulator, library)
        self.virtual = replace(self.virtual, proof="", lost=why)
        if why:
            return None
        facts = manifest.console
        prompts = [*facts.answers, facts.prompt]
        encoded = tuple(prompt.encode() for prompt in prompts)
        past = self.snapshot.facts["history"] if self.snapshot else ""
        return LockstepConfig(library, self.virtual.seed, encoded, transcript.with_suffix(".virtual.tsv"), past)

    def stop(self) -> None:
        if self.qemu is not None:
            self.qemu.kill()
        self.qemu = None
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None

    @Driver.check_active
    def get(self) -> bool:
        """Whether the power is on."""
        return self.qemu is not None and self.qemu.running


@target_factory.reg_driver
@attr.s(eq=False)
class HilSerialDriver(Driver, HilConsoleProtocol):  # type: ignore[misc]
    """Console of a real board: a serial port here or behind a server (RFC 2217 or raw TCP), with time stamps.

    `txdelay` are the seconds to wait before each `txchunk` bytes that are typed, as labgrid's `SerialDriver` has them.
    """

    bindings = {"port": {"SerialPort", "NetworkSerialPort"}}
    priorities = {ConsoleProtocol: 10}

    txdelay: float = attr.ib(default=0.0, validator=attr.validators.instance_of(float))
    txchunk: int = attr.ib(default=1, validator=[attr.validators.instance_of(int), attr.validators.ge(1)])

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self._console: Console | None = None
        self._filter: Rfc2217 | None = None

    def on_activate(self) -> None:
        name = name_of(str(self.target.env.config.filename)) if self.target.env else self.target.name
        try:
            port = self.tapped(self._connect())
            try:
                transcript = Transcript.create(self.transcripts or default_directory(), name)
            except BaseException:
                os.close(port)
                raise
            self._console = Console(
                port,
                transcript,
                explain_end=self._filter.exit_reason if self._filter else None,
                pacing=Pacing(self.txchunk, self.txdelay) if self.txdelay else None,
            )
        except BaseException:
            self.on_deactivate()
            raise

    def on_deactivate(self) -> None:
        if self._console is not None:
            self._console.close()
        self.untap()
        if self._filter is not None:
            self._filter.close()
        self._console = self._filter = None

    @property
    def console(self) -> Console:
        if self._console is None:
            raise InfrastructureError("the serial line is not open", hint="activate the driver first")
        return self._console

    @property
    def transport(self) -> Transport:
        port = self.port
        if isinstance(port, NetworkSerialPort):
            return Transport(port.protocol, f"{port.host}:{port.port}", port.speed)
        return Transport("serial", port.port, port.speed)

    def _connect(self) -> int:
        _check_pyserial()
        port = self.port
        try:
            if not isinstance(port, NetworkSerialPort):
                # pyserial sets the line up; the descriptor outlives its object
                with serial.Serial(port.port, port.speed, exclusive=True) as line:
                    return os.dup(line.fileno())
            if port.protocol not in PROTOCOLS:
                raise ConfigurationError(
                    f"the serial port at {port.host}:{port.port} has the unknown protocol {port.protocol!r}",
                    hint=f"the protocols are {' and '.join(PROTOCOLS)}",
                )
            return self._connect_to_server(*proxymanager.get_host_and_port(port))
        except (serial.SerialException, termios.error, ExecutionError, OSError, ValueError) as error:
            where = port.port if not isinstance(port, NetworkSerialPort) else f"{port.host}:{port.port}"
            raise InfrastructureError(
                f"cannot open the serial line {where}: {error}",
                hint="is the adapter plugged in, the name right, and nobody else on it?",
            ) from error

    def _connect_to_server(self, host: str, number: int) -> int:
        """Open the line at a serial server, for whose readiness this waits `CONNECT_LIMIT` seconds at most.

        A server that has just been started does not listen yet, and one whose last client has just left may still
        turn the next one away.
        """
        deadline = time.monotonic() + CONNECT_LIMIT
        pause = CONNECT_PAUSE
        while True:
            try:
                connection = _reach(host, number)
                if self.port.protocol == "raw":
                    return connection.detach()
                self._filter = Rfc2217(connection, self.port.speed, timeout=CONNECT_LIMIT)
                return self._filter.port
            except (ConnectionError, ServerNotReady):
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _reach(host: str, port: int) -> socket.socket:
    """A connection to a serial server that neither waits to fill packets nor outlives a dead peer.

    It ends 25 s after the peer has fallen silent, with something sent or without.
    """
    connection = socket.create_connection((host, port), CONNECT_LIMIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)  # ms; what is sent holds keep-alives up
    return connection


def _check_pyserial() -> None:
    """labgrid needs its fork; both install the package `serial`, and the one installed last wins."""
    try:
        upstream = importlib.metadata.version("pyserial")
    except importlib.metadata.PackageNotFoundError:
        return
    raise ConfigurationError(
        f"pyserial {upstream} is installed beside labgrid's fork of it, and one has overwritten the other",
        hint="pip uninstall -y pyserial && pip install --force-reinstall pyserial-labgrid",
    )

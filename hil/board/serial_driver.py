"""The labgrid driver of a real board's serial port, local or behind a server."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import termios
import time

import attr
import serial
from labgrid.driver import Driver, ExecutionError
from labgrid.factory import target_factory
from labgrid.protocol import ConsoleProtocol
from labgrid.resource import NetworkSerialPort
from labgrid.util.proxy import proxymanager

from hil.board.protocol import HilConsoleProtocol, Transport
from hil.console import Console
from hil.console.console import Pacing
from hil.console.rfc2217 import Rfc2217, ServerNotReady
from hil.errors import ConfigurationError, InfrastructureError

CONNECT_LIMIT = 10.0  # seconds for a serial server to be ready, and again to configure the port
CONNECT_PAUSE = 0.05  # seconds before the second attempt; each pause is twice the one before
LONGEST_PAUSE = 0.5
PROTOCOLS = ("rfc2217", "raw")


@target_factory.reg_driver
@attr.s(eq=False)
class HilSerialDriver(Driver, HilConsoleProtocol):  # type: ignore[misc]
    """Console of a real board with time stamps: a local serial port, or one behind a server (RFC 2217 or raw TCP).

    `txdelay` is the pause in seconds before each `txchunk` bytes that are typed, as in labgrid's `SerialDriver`.
    """

    bindings = {"port": {"SerialPort", "NetworkSerialPort"}}
    priorities = {ConsoleProtocol: 10}

    txdelay: float = attr.ib(default=0.0, validator=attr.validators.instance_of(float))
    txchunk: int = attr.ib(default=1, validator=[attr.validators.instance_of(int), attr.validators.ge(1)])

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._filter: Rfc2217 | None = None

    def on_activate(self) -> None:
        try:
            port = self.tapped(self._connect())
            try:
                transcript = self.new_transcript()
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
        self.close_console()
        if close := getattr(self.tap, "close", None):  # until then a tty stays locked
            close()
        if self._filter is not None:
            self._filter.close()
        self._filter = None

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
                # pyserial configures the line; the descriptor outlives its object
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
                hint="check that the adapter is plugged in, that the name is right, and that no other program uses it",
            ) from error

    def _connect_to_server(self, host: str, number: int) -> int:
        """Open the line at a serial server; wait at most `CONNECT_LIMIT` seconds until it is ready.

        A server that was just started does not listen yet, and one may refuse a client directly after the last one.
        """
        deadline = time.monotonic() + CONNECT_LIMIT
        pause = CONNECT_PAUSE
        while True:
            try:
                connection = _open_connection(host, number)
                if self.port.protocol == "raw":
                    return connection.detach()
                self._filter = Rfc2217(connection, self.port.speed, timeout=CONNECT_LIMIT)
                return self._filter.port
            except (ConnectionError, ServerNotReady):
                if time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _open_connection(host: str, port: int) -> socket.socket:
    """Connect to a serial server, without delays for filling packets.

    The connection ends 25 s after the peer has become silent, whether data was sent or not.
    """
    connection = socket.create_connection((host, port), CONNECT_LIMIT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3)):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000)  # ms; unsent data suspends keep-alives
    return connection


def _check_pyserial() -> None:
    """Raise `ConfigurationError` if pyserial has overwritten labgrid's fork: both install the package `serial`."""
    try:
        upstream = importlib.metadata.version("pyserial")
    except importlib.metadata.PackageNotFoundError:
        return
    raise ConfigurationError(
        f"pyserial {upstream} is installed beside labgrid's fork of it, and one has overwritten the other",
        hint="pip uninstall -y pyserial && pip install --force-reinstall pyserial-labgrid",
    )

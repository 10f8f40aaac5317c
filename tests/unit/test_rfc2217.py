"""A serial port behind RFC 2217: every byte passes, refusals are told, no server keeps us waiting."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import serial.rfc2217
from hypothesis import given
from hypothesis import strategies as st
from labgrid import Target
from labgrid.resource import NetworkSerialPort
from support import QUICK, gone, held, no_more_than

from hil.board import serial_driver
from hil.board.serial_driver import HilSerialDriver
from hil.console import LineClosed
from hil.console.rfc2217 import Rfc2217
from hil.console.rfc2217_process import BINARY, COM_PORT, DO, DONT, ECHO, IAC, SB, SE, SGA, WILL, WONT, Telnet
from hil.errors import ConfigurationError, InfrastructureError

ALL = bytes(range(256))
ESCAPED = ALL + b"\xff"
AGREED = bytes((IAC, DO, BINARY, IAC, DO, SGA, IAC, DO, COM_PORT, IAC, WILL, BINARY, IAC, WILL, SGA))


def told(number: int, value: bytes) -> bytes:
    return bytes((IAC, SB, COM_PORT, number)) + value.replace(b"\xff", b"\xff\xff") + bytes((IAC, SE))


def settings(speed: int = 115200, size: int = 8, parity: int = 1, stop: int = 1) -> bytes:
    values = {101: speed.to_bytes(4, "big"), 102: bytes([size]), 103: bytes([parity]), 104: bytes([stop])}
    return b"".join(told(number, value) for number, value in values.items())


def set_up(speed: int = 115200) -> Telnet:
    telnet = Telnet(speed)
    assert telnet.feed(AGREED + settings(speed)) == b""
    assert telnet.ready
    telnet.answer.clear()
    return telnet


# ---- the protocol without sockets ----


def test_it_asks_for_the_port_and_sets_it_up_once_it_may() -> None:
    telnet = Telnet(115200)
    assert bytes((IAC, WILL, COM_PORT)) in telnet.answer
    assert bytes((IAC, SB)) not in telnet.answer
    telnet.answer.clear()
    telnet.feed(AGREED)
    for number, value in ((1, b"\x00\x01\xc2\x00"), (2, b"\x08"), (3, b"\x01"), (4, b"\x01"), (5, b"\x01")):
        assert told(number, value) in telnet.answer
    assert not telnet.ready
    telnet.feed(settings())
    assert telnet.ready


def test_a_speed_with_an_escape_in_it_is_escaped() -> None:
    telnet = Telnet(255)
    telnet.feed(AGREED)
    assert told(1, b"\x00\x00\x00\xff") in telnet.answer
    telnet.feed(settings(255))
    assert telnet.ready


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_every_byte_passes_in_any_chunks_with_commands_between(data: bytes, cuts: list[int]) -> None:
    telnet = set_up()
    wire = data.replace(b"\xff", b"\xff\xff")
    wire = AGREED + told(107, b"\xff\x00") + wire + bytes((IAC, 241)) + wire + told(100, b"a name")
    got, at, turn = b"", 0, 0
    while at < len(wire):
        got += telnet.feed(wire[at : at + cuts[turn % len(cuts)]])
        at, turn = at + cuts[turn % len(cuts)], turn + 1
    assert got == data + data
    assert not telnet.refused
    assert not telnet.answer, "what is agreed already needs no answer: else two peers go on for ever"


def test_other_options_are_refused_and_an_echo_is_borne() -> None:
    telnet = set_up()
    telnet.feed(bytes((IAC, DO, 31, IAC, WILL, 32, IAC, WILL, ECHO)))
    assert telnet.answer == bytes((IAC, WONT, 31, IAC, DONT, 32, IAC, DO, ECHO))
    telnet.answer.clear()
    telnet.feed(bytes((IAC, DONT, 31, IAC, WONT, 32, IAC, WILL, ECHO)))
    assert not telnet.answer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (bytes((IAC, DONT, COM_PORT)), "it refuses control of the serial port"),
        (bytes((IAC, DONT, BINARY)), "it refuses binary transmission"),
        (bytes((IAC, WONT, BINARY)), "it refuses binary transmission"),
        (AGREED + settings(speed=9600), "it sets speed to 9600, not 115200"),
        (AGREED + settings(size=7), "it sets data bits to 7, not 8"),
        (AGREED + settings(parity=3), "it sets parity to 3, not 1"),
        (AGREED + settings(stop=2), "it sets stop bits to 2, not 1"),
        (bytes((IAC, SB)) + b"x" * 5000, "it does not speak telnet"),
    ],
)
def test_refusals_have_a_reason(said: bytes, reason: str) -> None:
    telnet = Telnet(115200)
    telnet.feed(said)
    assert reason in telnet.refused
    assert not telnet.ready


def test_garbage_of_a_server_is_passed_over() -> None:
    telnet = set_up()
    assert telnet.feed(bytes((IAC, SB, 99, IAC, SE, IAC, SB, COM_PORT, IAC, SE)) + told(101, b"") + b"x") == b"x"


# ---- with a server ----


class Server:
    """A serial server: `script` has the connection for itself."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._script = script
        self._error: BaseException | None = None
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            with self._socket:
                connection, _ = self._socket.accept()
            connection.settimeout(QUICK)
            with connection:
                self._script(connection)
        except ConnectionError:  # the client has gone
            pass
        except BaseException as error:
            self._error = error

    def connect(self, *, speed: int = 115200, timeout: float = QUICK) -> Rfc2217:
        return Rfc2217(socket.create_connection(("127.0.0.1", self.port), QUICK), speed, timeout=timeout)

    def join(self) -> None:
        self._thread.join(QUICK)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def agree(connection: socket.socket) -> None:
    """Agree to everything, take in what the client sets, and only then say that it is set."""
    connection.sendall(AGREED)
    got = b""
    while told(11, b"\x00") not in got:
        got += connection.recv(4096)
    connection.sendall(settings())


def exactly(end: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size and (data := end.recv(size - len(got))):
        got += data
    return got


@contextmanager
def opened(script: Callable[[socket.socket], None]) -> Iterator[tuple[Rfc2217, socket.socket]]:
    server = Server(script)
    line = server.connect()
    try:
        with socket.socket(fileno=line.port) as port:
            port.settimeout(QUICK)
            yield line, port
    finally:
        line.close()
        server.join()


def test_every_byte_passes_both_ways() -> None:
    size = 256 * 400

    def script(connection: socket.socket) -> None:
        connection.sendall(b"early \xff\xff")
        agree(connection)
        connection.sendall(ESCAPED * 400)
        assert exactly(connection, size + 400) == ESCAPED * 400
        connection.sendall(b"right")

    with opened(script) as (line, port):
        assert exactly(port, 7) == b"early \xff"
        assert exactly(port, size) == ALL * 400
        port.sendall(ALL * 400)
        assert exactly(port, 5) == b"right"
        assert port.recv(1) == b""
        assert "other side" in line.exit_reason()


def test_a_server_that_dies_ends_the_line_at_once() -> None:
    def script(connection: socket.socket) -> None:
        agree(connection)
        connection.sendall(b"last words")

    with opened(script) as (_, port):
        begin = time.monotonic()
        assert exactly(port, 100) == b"last words"
        assert time.monotonic() - begin < QUICK / 2


def test_a_server_that_resets_is_told() -> None:
    def script(connection: socket.socket) -> None:
        agree(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with opened(script) as (line, port):
        assert port.recv(1) == b""
        assert line.exit_reason().endswith("Connection reset by peer")


def test_what_was_written_before_the_close_arrives() -> None:
    got: list[bytes] = []

    def script(connection: socket.socket) -> None:
        agree(connection)
        got.append(exactly(connection, 1 << 20))

    with opened(script) as (line, port):
        port.sendall(b"x" * 200_000)
        port.close()
        line.close()
        assert line.exit_reason() == ""
    assert got == [b"x" * 200_000]


def test_a_server_may_hold_us_up() -> None:
    def script(connection: socket.socket) -> None:
        agree(connection)
        connection.sendall(told(108, b"") + b"held")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError, match="timed out"):
            connection.recv(1)
        connection.settimeout(QUICK)
        connection.sendall(told(109, b""))
        assert connection.recv(10) == b"typed"
        connection.sendall(b"right")

    with opened(script) as (_, port):
        assert exactly(port, 4) == b"held"
        port.sendall(b"typed")
        assert exactly(port, 5) == b"right"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (bytes((IAC, DONT, COM_PORT)), "it refuses control of the serial port"),
        (AGREED + settings(speed=9600), r"speed.* 9600\b"),
        (b"", ""),
        (b"no telnet at all\r\n", ""),
    ],
)
def test_a_port_that_is_not_set_up_is_told_in_bounded_time(said: bytes, told: str) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(said)
        while connection.recv(4096):
            pass

    server = Server(script)
    before = held()[0]
    begin = time.monotonic()
    with pytest.raises(InfrastructureError, match=rf"127\.0\.0\.1:{server.port}\b.*{told}.*\n.*protocol: raw"):
        server.connect(timeout=0.5)
    assert time.monotonic() - begin < QUICK
    server.join()
    assert held()[0] <= before


def test_a_server_that_hangs_up_while_the_port_is_set_up_is_told() -> None:
    with pytest.raises(InfrastructureError, match="connection"):
        Server(lambda connection: None).connect()


def test_a_killed_filter_is_the_end_of_the_line() -> None:
    def script(connection: socket.socket) -> None:
        agree(connection)
        assert connection.recv(1) == b""

    with opened(script) as (line, port):
        os.kill(line.pid, signal.SIGKILL)
        assert port.recv(1) == b""
        assert line.exit_reason()


def test_pyserial_s_own_server_understands_us() -> None:
    """An independent implementation, with a port that sends back what it gets."""

    class Locked:
        def __init__(self, connection: socket.socket) -> None:
            self.write = connection.sendall

    settled = threading.Event()

    def script(connection: socket.socket) -> None:
        with serial.serial_for_url("loop://", baudrate=9600) as loop:
            manager = serial.rfc2217.PortManager(loop, Locked(connection))
            while data := connection.recv(4096):
                plain = b"".join(manager.filter(data))
                if plain:
                    loop.write(plain)
                    connection.sendall(b"".join(manager.escape(loop.read(loop.in_waiting))))
                if loop.baudrate == 115200 and (loop.bytesize, loop.parity, loop.stopbits) == (8, "N", 1):
                    settled.set()

    with opened(script) as (_, port):
        port.sendall(ALL * 4)
        assert exactly(port, 1024) == ALL * 4
        assert settled.is_set()


# ---- through the driver ----


@pytest.fixture
def driver_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., HilSerialDriver]]:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    targets: list[Target] = []

    def make(port: int, **arguments: object) -> HilSerialDriver:
        target = Target("main")
        targets.append(target)
        NetworkSerialPort(target, None, host="127.0.0.1", port=port, **arguments)
        return HilSerialDriver(target, None)

    yield make
    for target in targets:
        target.cleanup()


def test_labgrid_s_default_protocol_gives_a_console(driver_for: Callable[..., HilSerialDriver]) -> None:
    def script(connection: socket.socket) -> None:
        agree(connection)
        connection.sendall(b"\xff\xfflogin: ")
        assert connection.recv(100) == b"root\n"

    server = Server(script)
    driver = driver_for(server.port)
    driver.target.activate(driver)
    assert driver.console.wait_for(b"\xfflogin: ", timeout=QUICK).end == 8
    driver.sendline("root")
    with pytest.raises(LineClosed, match="serial server"):
        driver.console.wait_for(b"never", timeout=QUICK)
    filter_ = driver._filter
    assert filter_ is not None
    driver.target.deactivate(driver)
    assert gone(filter_.pid)
    server.join()


def test_many_openings_leave_nothing_behind(driver_for: Callable[..., HilSerialDriver]) -> None:
    def idle(connection: socket.socket) -> None:
        agree(connection)
        connection.recv(1)

    def once() -> None:
        server = Server(idle)
        driver = driver_for(server.port)
        driver.target.activate(driver)
        driver.target.deactivate(driver)
        server.join()

    once()
    before = held()
    for _ in range(5):
        once()
    assert no_more_than(before)


def test_the_tap_gets_the_line(driver_for: Callable[..., HilSerialDriver]) -> None:
    near, far = socket.socketpair()
    taken: list[int] = []

    def tap(port: int) -> int:
        taken.append(port)
        return near.detach()

    def script(connection: socket.socket) -> None:
        agree(connection)
        connection.recv(1)

    server = Server(script)
    driver = driver_for(server.port)
    driver.tap = tap
    driver.target.activate(driver)
    with far:
        far.sendall(b"from the tap")
        driver.console.wait_for(b"tap", timeout=QUICK)
    os.close(taken[0])
    driver.target.deactivate(driver)
    server.join()


def dropped(connection: socket.socket) -> None:
    connection.sendall(b"Port already in use\r\n")


def idle(connection: socket.socket) -> None:
    agree(connection)
    connection.recv(1)


@pytest.mark.parametrize(("delay", "scripts"), [(0.2, [idle]), (0.0, [dropped, dropped, idle])])
def test_a_server_that_is_not_ready_yet_is_waited_for(
    delay: float, scripts: list[Callable[[socket.socket], None]], driver_for: Callable[..., HilSerialDriver]
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))  # as long as it does not listen, it refuses

        def serve() -> None:
            time.sleep(delay)
            listener.listen()
            for script in scripts:
                with listener.accept()[0] as connection:
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        driver = driver_for(listener.getsockname()[1])
        driver.target.activate(driver)
        assert not driver.console.ended
        driver.target.deactivate(driver)
        thread.join(QUICK)
        assert not thread.is_alive()


def test_a_server_that_is_never_ready_is_waited_for_with_a_limit_and_quoted(
    driver_for: Callable[..., HilSerialDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_driver, "CONNECT_LIMIT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tries: list[int] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as connection:
                        tries.append(1)
                        dropped(connection)

        threading.Thread(target=serve, daemon=True).start()
        driver = driver_for(listener.getsockname()[1])
        with pytest.raises(InfrastructureError, match="Port already in use"):
            driver.target.activate(driver)
        assert len(tries) > 1


def test_a_server_that_refuses_a_setting_is_not_tried_again(driver_for: Callable[..., HilSerialDriver]) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(AGREED + settings(speed=9600))
        connection.recv(4096)

    server = Server(script)  # which accepts one connection
    driver = driver_for(server.port)
    with pytest.raises(InfrastructureError, match=r"speed.* 9600\b"):
        driver.target.activate(driver)
    server.join()


def test_upstream_pyserial_beside_labgrid_s_is_refused(
    driver_for: Callable[..., HilSerialDriver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_driver.importlib.metadata, "version", lambda name: {"pyserial": "3.5"}[name])
    driver = driver_for(1)
    with pytest.raises(ConfigurationError, match=r"pyserial 3\.5.*\n.*pip uninstall"):
        driver.target.activate(driver)


def test_an_unknown_protocol_is_refused(driver_for: Callable[..., HilSerialDriver]) -> None:
    driver = driver_for(1, protocol="telnets")
    with pytest.raises(ConfigurationError, match=r"'telnets'.*\n.*rfc2217.*raw"):
        driver.target.activate(driver)

"""The process between an RFC 2217 serial server and the console: plain bytes on the console's side.

A script of its own (`python -I -S rfc2217_process.py ...`) that imports only small parts of the standard library.

Arguments: SERVER_FD LINE_FD CONTROL_FD SPEED
- SERVER_FD: the connection to the serial server;
- LINE_FD: the console's end, a socket; when one end closes, the other is closed;
- CONTROL_FD: receives the line `ready` once the port is set up, and at the end `ENDED` or `REFUSED` with the reason,
  which is empty if the console's side ended the line. Its end of file means that the owner has ended.
"""

import os
import re
import select
import socket
import sys
import time
from collections.abc import Callable

CHUNK = 65536
BEFORE = 1 << 20  # bytes of the board kept while the port is being set up
LONGEST = 4096  # bytes of a telnet command
LINGER = 0.5  # seconds to pass on the last bytes after the owner has ended

ENDED, REFUSED = b"ended ", b"refused "  # the connection has ended; the server does not set the port up

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
BINARY, ECHO, SGA, COM_PORT = 0, 1, 3, 44
SUSPEND, RESUME = 108, 109  # the server's
COMMAND = re.compile(rb"\xff(?:(\xff)|([\xfb-\xfe])(.)|\xfa((?:[^\xff]|\xff\xff)*)\xff\xf0|[^\xfa-\xff])", re.DOTALL)

NAMES = {BINARY: "binary transmission", COM_PORT: "control of the serial port (RFC 2217)"}
# numbers of the requests; the number of an answer is 100 more
SPEED, SIZE, PARITY, STOP, CONTROL = 1, 2, 3, 4, 5
LINE_STATE_MASK, MODEM_STATE_MASK = 10, 11


class Telnet:
    """The protocol without sockets: `feed` takes the server's bytes, `answer` holds the bytes to send to it."""

    def __init__(self, speed: int) -> None:
        self.answer = bytearray()
        self.refused = ""
        self.suspended = False
        # None: requested, not yet answered
        self._ours: dict[int, bool | None] = {BINARY: None, SGA: None, COM_PORT: None}
        self._theirs: dict[int, bool | None] = {BINARY: None, SGA: None, ECHO: False, COM_PORT: False}
        self._settings = {SPEED: speed.to_bytes(4, "big"), SIZE: b"\x08", PARITY: b"\x01", STOP: b"\x01"}
        self._open = set(self._settings)
        self._rest = b""
        for option in self._ours:
            self.answer += bytes((IAC, WILL, option))
        for option in (BINARY, SGA):
            self.answer += bytes((IAC, DO, option))

    @property
    def ready(self) -> bool:
        """Whether every byte passes and the port is set up."""
        return not self._open and bool(self._ours[BINARY]) and bool(self._theirs[BINARY])

    def feed(self, data: bytes) -> bytes:
        """Return the board's bytes in `data`."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if b"\xff" not in data:
            return data
        plain = bytearray()
        at = 0
        while (start := data.find(b"\xff", at)) >= 0:
            plain += data[at:start]
            match = COMMAND.match(data, start)
            if match is None:
                self._rest = data[start:]
                if len(self._rest) > LONGEST:
                    self.refused = "it does not speak telnet"
                return bytes(plain)
            if match[1]:
                plain += match[1]
            elif match[2]:
                self._negotiate(match[2][0], match[3][0])
            elif match[4]:
                self._subnegotiate(match[4].replace(b"\xff\xff", b"\xff"))
            at = match.end()
        return bytes(plain + data[at:])

    def _negotiate(self, verb: int, option: int) -> None:
        side, yes, no = (self._ours, WILL, WONT) if verb in (DO, DONT) else (self._theirs, DO, DONT)
        wanted = verb in (DO, WILL)
        before = side.get(option, False)
        if wanted and option not in side:
            self.answer += bytes((IAC, no, option))
        elif before is not wanted and option in side:
            side[option] = wanted
            if before is not None:  # else it answers our request
                self.answer += bytes((IAC, yes if wanted else no, option))
            if wanted and side is self._ours and option == COM_PORT:
                self._set_up()
        if not wanted and before is not False and option in NAMES:
            self.refused = f"it refuses {NAMES[option]}"

    def _set_up(self) -> None:
        # no reports of state changes; some servers do not answer CONTROL, so it is not waited for
        masks = {LINE_STATE_MASK: b"\x00", MODEM_STATE_MASK: b"\x00"}
        for number, value in {**self._settings, CONTROL: b"\x01", **masks}.items():
            escaped = value.replace(b"\xff", b"\xff\xff")
            self.answer += bytes((IAC, SB, COM_PORT, number)) + escaped + bytes((IAC, SE))

    def _subnegotiate(self, text: bytes) -> None:
        if len(text) < 2 or text[0] != COM_PORT:
            return
        number, value = text[1], text[2:]
        if number in (SUSPEND, RESUME):
            self.suspended = number == SUSPEND
        elif number - 100 in self._open:
            wanted = self._settings[number - 100]
            if value[: len(wanted)] == wanted:
                self._open.remove(number - 100)
            else:
                what = {SPEED: "speed", SIZE: "data bits", PARITY: "parity", STOP: "stop bits"}[number - 100]
                has, asked = int.from_bytes(value[: len(wanted)], "big"), int.from_bytes(wanted, "big")
                self.refused = f"it sets {what} to {has}, not {asked}"


class End:
    """One end of the line: `waiting` bytes to write, and the reason why it has `ended`."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.waiting = b""
        self.ended = ""

    def take(self) -> bytes:
        """Return the bytes that can be read now."""
        try:
            data = os.read(self.fd, CHUNK)
        except BlockingIOError:
            return b""
        except OSError as error:
            self.ended = os.strerror(error.errno or 0)
            return b""
        self.ended = "" if data else "closed by the other side"
        return data

    def give(self) -> None:
        """Write as many waiting bytes as the other side takes now."""
        try:
            if self.waiting:
                self.waiting = self.waiting[os.write(self.fd, self.waiting) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self.ended = self.ended or os.strerror(error.errno or 0)
            self.waiting = b""


def watch(poll: select.poll, fd: int, mask: int) -> None:
    if mask:
        poll.register(fd, mask)
        return
    try:  # an empty mask would still report a hang-up, again and again
        poll.unregister(fd)
    except KeyError:
        pass


def copy(server: End, ours: End, control: int, telnet: Telnet, quick_ack: Callable[[], object]) -> bytes:
    """Copy bytes both ways until one side has ended; return the last line for the owner."""
    poll = select.poll()
    ready = False
    leave = 0.0  # monotonic deadline once the owner has ended
    while True:
        server.waiting += bytes(telnet.answer)
        telnet.answer.clear()
        server.give()
        ours.give()
        if telnet.refused:
            return REFUSED + telnet.refused.encode()
        if telnet.ready and not ready:
            ready = True
            os.write(control, b"ready\n")
        if server.ended and not ours.waiting:
            return ENDED + f"the connection to the serial server has ended: {server.ended}".encode()
        if (ours.ended and not server.waiting) or (leave and time.monotonic() > leave):
            return ENDED
        reading = not server.ended and len(ours.waiting) < (CHUNK if ready else BEFORE)
        typing = ready and not (ours.ended or server.waiting or telnet.suspended)
        watch(poll, server.fd, reading * select.POLLIN | bool(server.waiting) * select.POLLOUT)
        watch(poll, ours.fd, typing * select.POLLIN | bool(ours.waiting) * select.POLLOUT)
        watch(poll, control, 0 if leave else select.POLLIN)
        events = dict(poll.poll(max(0.0, leave - time.monotonic()) * 1000 if leave else None))
        if reading and server.fd in events:
            ours.waiting += telnet.feed(server.take())
            quick_ack()
        if typing and ours.fd in events:
            server.waiting += ours.take().replace(b"\xff", b"\xff\xff")
        if control in events:
            leave = time.monotonic() + LINGER
        if leave and not server.waiting and ours.fd not in events:
            return ENDED


def main(server_fd: int, line: int, control: int, speed: int) -> None:
    with socket.socket(fileno=server_fd) as server:

        def quick_ack() -> None:  # see `acknowledge` in the pump
            try:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            except OSError:
                pass

        end = copy(End(server_fd), End(line), control, Telnet(speed), quick_ack)
    try:
        os.write(control, end + b"\n")
    except OSError:
        pass


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:5]))

"""The serial line of the lab's boards: a pty that stays, and keeps nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hil.lab import wire as wires
from hil.lab.wire import Wire

LIMIT = 20.0  # seconds
ALL = bytes(range(256))


def run(test):
    """Run the coroutine function `test` with what makes a wire."""

    async def bounded(tmp: Path, baud: int | None):
        wire = Wire(tmp / "line", baud)
        try:
            async with asyncio.timeout(LIMIT):
                await test(wire)
        finally:
            wire.close()

    def wrapped(tmp_path, baud=None):
        asyncio.run(bounded(tmp_path, baud))

    wrapped.__name__ = test.__name__
    return wrapped


@contextmanager
def port(wire: Wire) -> Iterator[int]:
    fd = os.open(wire.port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


async def board(wire: Wire) -> socket.socket:
    """A board that has just been switched on."""
    connected = wire.connects()
    line = socket.socket(socket.AF_UNIX)
    line.connect(str(wire.path))
    line.setblocking(False)
    await connected
    return line


async def read(fd: int, size: int) -> bytes:
    got = b""
    while len(got) < size:
        try:
            got += os.read(fd, size - len(got))
        except BlockingIOError:
            await asyncio.sleep(0.001)
    return got


async def receive(line: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        got += await asyncio.get_running_loop().sock_recv(line, size - len(got))
    return got


async def settle() -> None:
    await asyncio.sleep(0.05)


def nothing(fd: int) -> bool:
    try:
        return not os.read(fd, 1)
    except BlockingIOError:
        return True


@run
async def _every_byte_passes_both_ways(wire):
    with port(wire) as fd, await board(wire) as line:
        line.send(ALL)
        assert await read(fd, 256) == ALL
        os.write(fd, ALL)
        assert await receive(line, 256) == ALL


@pytest.mark.parametrize("baud", [None, 115200])
def test_every_byte_passes_both_ways(tmp_path, baud):
    _every_byte_passes_both_ways(tmp_path, baud)


@run
async def test_the_port_stays_while_the_board_comes_and_goes(wire):
    with port(wire) as fd:
        for word in (b"first", b"second"):
            with await board(wire) as line:
                line.send(word)
                assert await read(fd, len(word)) == word
            await settle()
            os.write(fd, b"into the dark")
            await settle()
        assert nothing(fd)
        with await board(wire) as line:
            os.write(fd, b"x")
            assert await receive(line, 1) == b"x"


@run
async def test_what_comes_while_nobody_has_the_port_open_is_lost(wire):
    with await board(wire) as line:
        for _ in range(2):
            line.send(b"lost" * 100)
            await settle()
            with port(wire) as fd:
                assert nothing(fd)
                line.send(b"here")
                assert await read(fd, 4) == b"here"
            await settle()
        assert wire.lost == 800


@run
async def test_the_next_reader_does_not_get_what_the_last_one_left(wire):
    with await board(wire) as line:
        with port(wire):
            line.send(b"left" * 500)
            await settle()
        await settle()
        with port(wire) as fd:
            assert nothing(fd)
            line.send(b"now")
            assert await read(fd, 3) == b"now"


@run
async def test_a_reader_who_takes_nothing_does_not_hold_the_board_up(wire):
    with port(wire) as fd, await board(wire) as line:
        sent = 0
        while sent < wires.HELD + 200_000:
            await asyncio.get_running_loop().sock_sendall(line, b"z" * 10_000)
            sent += 10_000
        await settle()
        assert 0 < wire.lost < 400_000
        kept = await read(fd, sent - wire.lost)
        assert len(kept) >= wires.HELD
        await settle()
        assert nothing(fd)


@run
async def test_a_slow_board_holds_up_who_types_and_loses_nothing(wire):
    with port(wire) as fd, await board(wire) as line:
        data, sent = os.urandom(600_000), 0
        held_up = 0
        got = b""
        while len(got) < len(data):
            try:
                sent += os.write(fd, data[sent : sent + 4096])
                await asyncio.sleep(0)
            except BlockingIOError:
                held_up += 1
                got += await receive(line, min(50_000, sent - len(got)))
            if sent == len(data):
                got += await receive(line, len(data) - len(got))
        assert held_up
        assert got == data


@run
async def _a_power_cut_takes_what_was_under_way(wire):
    with port(wire) as fd:
        with await board(wire) as line:
            line.send(b"z" * 200)
            await asyncio.sleep(0.02)
            wire.cut()
            await settle()
            got = len(os.read(fd, 1000))
            assert 0 < got < 200
            with pytest.raises(ConnectionResetError):
                line.recv(1)
        assert nothing(fd)


@pytest.mark.parametrize("direction", ["out", "in"])
def test_a_paced_line_takes_its_time(tmp_path, direction):
    size, baud = 2304, 115200

    @run
    async def measure(wire):
        with port(wire) as fd, await board(wire) as line:
            await settle()  # what opening the port has woken is idle again, however busy the machine is
            for left in range(20, 0, -1):  # what else the host does only makes it longer
                begin = time.monotonic()
                if direction == "out":
                    line.send(b"z" * size)
                    await read(fd, size)
                else:
                    os.write(fd, b"z" * size)
                    await receive(line, size)
                took = time.monotonic() - begin
                assert size * 10 / baud <= took
                if took < 2 * size * 10 / baud:
                    break
                assert left > 1, took
            if direction == "out":  # a line does not save up what it has not sent
                took = 0.0
                for _ in range(5):  # a wire that the host has stalled meanwhile makes up for it, but not each time
                    for _ in range(300):
                        line.send(b".")
                        await asyncio.sleep(0.001)
                    await read(fd, 300)
                    begin = time.monotonic()
                    line.send(b"z" * 576)
                    await read(fd, 576)
                    took = time.monotonic() - begin
                    if took >= 0.04:
                        break
                assert took >= 0.04

    measure(tmp_path, baud)


def test_a_power_cut_takes_what_was_under_way(tmp_path):
    _a_power_cut_takes_what_was_under_way(tmp_path, 38400)

"""The fault proxy: nothing lost without faults, the same faults from the same seed, every action counted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import soonest
from support import QUICK, gone, held, no_more_than, stub_board, until

from hil.board.board import Board
from hil.console import Console, LineClosed, Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.faults import FaultProxy, Faults, Tap
from hil.faults.proxy import Report
from hil.faults.relay import Lane

ALL = bytes(range(256))


class Line:
    """A proxy with a hand at either end."""

    def __init__(self, proxy: FaultProxy, board: socket.socket) -> None:
        self.proxy, self.board = proxy, board
        self.driver = socket.socket(fileno=proxy.port)
        for end in (self.board, self.driver):
            end.settimeout(QUICK)


@contextmanager
def proxied(**options: object) -> Iterator[Line]:
    near, board = socket.socketpair()
    with board, FaultProxy(near.detach(), **options) as proxy:  # type: ignore[arg-type]
        line = Line(proxy, board)
        with line.driver:
            yield line


def exactly(end: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (data := end.recv(size - len(got))):
        got += data
    return bytes(got)


def everything(end: socket.socket) -> bytes:
    got = bytearray()
    while data := end.recv(65536):
        got += data
    return bytes(got)


def filled(end: socket.socket, proxy: FaultProxy) -> int:
    """Send over and over what `ALL` is until nothing more is taken; returns how many bytes were."""
    end.setblocking(False)
    taken = 0
    try:
        while True:
            taken += end.send(ALL[taken % 256 :] + ALL * 200)
            proxy.report()  # answered after what had come was read
    except BlockingIOError:
        end.settimeout(QUICK)
        return taken


def passed(data: bytes, faults: Faults, *, seed: int = 0, chunk: int = 1 << 20) -> tuple[bytes, Report]:
    """What comes of the board's `data`, and what the proxy says it did."""
    with proxied(received=faults, seed=seed) as line:

        def send() -> None:
            for at in range(0, len(data), chunk):
                line.board.sendall(data[at : at + chunk])
            line.board.shutdown(socket.SHUT_RDWR)

        sender = threading.Thread(target=send)
        sender.start()
        got = everything(line.driver)
        sender.join(QUICK)
        return got, line.proxy.report()


def test_without_faults_every_byte_passes_both_ways() -> None:
    data = os.urandom(300_000) + ALL
    with proxied() as line:
        for source, sink, name in ((line.board, line.driver, "received"), (line.driver, line.board, "sent")):
            sender = threading.Thread(target=source.sendall, args=(data,))
            sender.start()
            assert exactly(sink, len(data)) == data
            sender.join(QUICK)
            counts = getattr(line.proxy.report(), name)
            assert (counts.taken, counts.given) == (len(data), len(data))
            assert counts.dropped == counts.flipped == counts.duplicated == counts.injected == counts.stops == 0


def test_without_faults_it_passes_ten_megabytes_a_second() -> None:
    data = bytes(20_000_000)
    begin = time.monotonic()
    got, _ = passed(data, Faults())
    assert len(got) == len(data)
    assert len(data) / (time.monotonic() - begin) > 10e6


def test_a_reader_that_rests_holds_the_sender_up() -> None:
    with proxied() as line:
        taken = filled(line.board, line.proxy)
        assert taken < 4_000_000
        assert exactly(line.driver, taken) == (ALL * (taken // 256 + 1))[:taken]


def test_same_seed_and_bytes_give_the_same_faults_in_any_chunks() -> None:
    data = os.urandom(40_000)
    faults = Faults(drop=1e-2, flip=1e-2, duplicate=1e-2, inject=1e-3, text="<{n}>")
    whole, told = passed(data, faults, seed=7)
    assert passed(data, faults, seed=7, chunk=13) == (whole, told)
    assert passed(data, faults, seed=8)[0] != whole
    for count in (told.received.dropped, told.received.flipped, told.received.duplicated):
        assert 200 < count < 800, "100 are 3 in a million away from 400"
    assert 10 < told.received.injected < 100
    assert told.received.given == len(whole)


def test_directions_have_faults_of_their_own() -> None:
    with proxied(received=Faults(drop=1.0), sent=Faults(flip=1.0)) as line:
        line.board.sendall(ALL)
        line.driver.sendall(bytes(1000))
        got = exactly(line.board, 1000)
        assert all(byte.bit_count() == 1 for byte in got)
        assert len(set(got)) == 8, "any bit may flip"
        until(lambda: line.proxy.report().received.dropped == 256)
        assert line.proxy.report().received.given == 0
        assert line.proxy.report().sent.flipped == 1000


@pytest.mark.parametrize(
    ("faults", "comes"),
    [
        ({"drop": 1.0}, b""),
        ({"duplicate": 1.0}, b"aabbcc"),
        ({"inject": 1.0, "text": "<{n}>"}, b"<1>a<2>b<3>c"),
        ({"drop": 1.0, "duplicate": 1.0, "inject": 1.0, "text": "!"}, b"!!!"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_fault_of_certainty_hits_each_byte(faults: dict[str, object], comes: bytes, chunk: int) -> None:
    lane, written = make_lane(faults)
    lane_through(lane, b"abc", chunk)
    assert written() == comes


def make_lane(faults: dict[str, object]) -> tuple[Lane, Callable[[], bytes]]:
    """A lane without a process; what it has written is read with the function."""
    read, write = os.pipe()
    lane = Lane("received", 1, -1, write, 0.0)
    lane.set({"text": "", **faults}, 0.0)

    def written() -> bytes:
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            return pipe.read()

    return lane, written


def lane_through(lane: Lane, data: bytes, chunk: int, times: Callable[[int], float] = lambda at: 0.0) -> None:
    for at in range(0, len(data), chunk):
        lane._break(data[at : at + chunk], times(at))
        lane.give(times(at))


@settings(max_examples=50)
@given(
    data=st.binary(min_size=1, max_size=400),
    cuts=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    chance=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
    seed=st.integers(0, 5),
)
def test_chunks_never_matter(data: bytes, cuts: list[int], chance: float, seed: int) -> None:
    faults = asdict(Faults(drop=chance, flip=chance / 2, duplicate=chance / 3, inject=chance / 10))
    outcomes = []
    for sizes in ([len(data)], cuts):
        lane, written = make_lane({})
        lane = Lane("received", seed, -1, lane.sink, 0.0)
        lane.set(faults, 0.0)
        at = turn = 0
        while at < len(data):
            size = sizes[turn % len(sizes)]
            lane._break(data[at : at + size], 0.0)
            lane.give(0.0)
            at, turn = at + size, turn + 1
        outcomes.append((written(), lane.counts))
    assert outcomes[0] == outcomes[1]
    counts, text = outcomes[0][1], len("[foreign 1]\r\n")
    bare = len(data) - counts["dropped"] + counts["duplicated"]
    assert bare + counts["injected"] * text <= len(outcomes[0][0]) <= bare + counts["injected"] * (text + 3)


@pytest.mark.parametrize("baud", [300, 115200, 921600])
def test_a_pace_is_exact_in_the_long_run(baud: int) -> None:
    """On a clock of our own: the last of n bytes has left after n times 10 bits, however unpunctual the process."""
    lane, written = make_lane({"baud": baud})
    lane._break(b"x" * 1000, 5.0)
    now = 5.0
    lane.give(now)
    while lane.counts["given"] < 1000:
        now = lane.wake(now) + 0.0007
        lane.give(now)
        assert lane.counts["given"] <= (now - 5.0) * baud / 10 + 1e-3, "ahead of the line"
    assert 10_000 / baud <= now - 5.0 < 10_000 / baud + 0.01
    assert len(written()) == 1000


def test_a_paced_line_takes_the_time_that_a_uart_takes() -> None:
    begin = time.monotonic()
    got, _ = passed(bytes(11_520), Faults(baud=230_400))
    assert len(got) == 11_520
    assert 0.5 <= time.monotonic() - begin < QUICK


def test_both_directions_are_paced_by_themselves() -> None:
    def once() -> float:
        with proxied(received=Faults(baud=115_200), sent=Faults(baud=115_200)) as line:
            begin = time.monotonic()
            line.board.sendall(bytes(11_520))
            line.driver.sendall(bytes(11_520))
            exactly(line.driver, 11_520)
            exactly(line.board, 11_520)
            return time.monotonic() - begin

    assert 1 <= soonest(once, 1.9) < 1.9, "1 s each, at the same time"


def test_a_delay_makes_late_but_not_slow() -> None:
    with proxied(received=Faults(delay=0.2)) as line:
        begin = time.monotonic()
        line.board.sendall(bytes(500_000))
        exactly(line.driver, 500_000)
        assert 0.2 <= time.monotonic() - begin < QUICK


def test_foreign_lines_come_at_their_rate_on_a_silent_line() -> None:
    begin = time.monotonic()
    with proxied(received=Faults(lines=100, text="printk {n}\r\n")) as line:
        got = b""
        while b"printk 50\r\n" not in got:
            got += line.driver.recv(1000)
        assert 0.49 <= time.monotonic() - begin < QUICK
        assert got.splitlines()[:50] == [b"printk %d" % number for number in range(1, 51)]


def test_foreign_lines_cut_into_a_paced_line_unless_told_not_to() -> None:
    data = b"a line of the board's own\r\n" * 40
    cut, whole = (passed(data, Faults(baud=115_200, lines=200, text="@\n", split=split))[0] for split in (True, False))
    assert cut.replace(b"@\n", b"") == whole.replace(b"@\n", b"") == data
    assert any(b"@" in line and line != b"@" for line in cut.split(b"\n"))
    assert b"@" in whole
    assert all(line == b"@" for line in whole.split(b"\n") if b"@" in line)


def test_neither_writer_starves_the_other() -> None:
    """More foreign lines than the line can carry: the board's own bytes still come."""
    got, _ = passed(bytes(200), Faults(baud=115_200, lines=2000, text="x" * 30))
    assert got.count(0) == 200


def test_a_stop_holds_everything_back_for_its_time() -> None:
    with proxied() as line:
        line.proxy.stop(0.3)
        begin = time.monotonic()
        line.board.sendall(b"up")
        line.driver.sendall(b"down")
        assert exactly(line.driver, 2) == b"up"
        assert 0.28 < time.monotonic() - begin < QUICK
        assert exactly(line.board, 4) == b"down"
        report = line.proxy.report()
        assert (report.received.stops, report.sent.stops) == (1, 1)


def test_a_cut_ends_both_sides_at_once() -> None:
    with proxied() as line:
        line.board.sendall(b"before")
        assert exactly(line.driver, 6) == b"before"
        line.proxy.cut()
        assert line.driver.recv(10) == line.board.recv(10) == b""
        assert line.proxy.report().ended == "cut"


def test_faults_change_while_the_line_is_open() -> None:
    with proxied() as line:
        line.proxy.set(received=Faults(inject=1.0, text="."))
        line.board.sendall(b"abc")
        assert exactly(line.driver, 6) == b".a.b.c"
        line.proxy.set(received=Faults(duplicate=1.0))
        line.board.sendall(b"abc")
        assert exactly(line.driver, 6) == b"aabbcc"
        line.proxy.set(sent=Faults(drop=1.0))
        line.board.sendall(b"a")
        assert exactly(line.driver, 2) == b"aa", "the other direction stays as it was"
        line.proxy.set(received=Faults())
        line.board.sendall(b"abc")
        assert exactly(line.driver, 3) == b"abc"
        counts = line.proxy.report().received
        assert (counts.taken, counts.given, counts.injected, counts.duplicated) == (10, 17, 3, 4)


def test_what_was_written_before_the_end_still_comes() -> None:
    with proxied(received=Faults(delay=0.05), sent=Faults(delay=0.05)) as line:
        line.board.sendall(b"last words")
        line.board.shutdown(socket.SHUT_RDWR)
        assert everything(line.driver) == b"last words"
        assert line.proxy.report().ended == "closed by the board"
    with proxied(sent=Faults(baud=9600)) as line:
        line.driver.sendall(b"poweroff\n")
        line.driver.close()
        assert everything(line.board) == b"poweroff\n"
        assert line.proxy.report().ended == "closed by the driver"


def test_closing_the_proxy_closes_the_line_after_what_was_written() -> None:
    near, board = socket.socketpair()
    proxy = FaultProxy(near.detach(), sent=Faults(delay=0.1))
    with board, socket.socket(fileno=proxy.port) as driver:
        board.settimeout(QUICK)
        driver.sendall(b"typed")
        proxy.close()
        proxy.close()
        assert everything(board) == b"typed"
        assert gone(proxy.pid)
        report = proxy.report()
        assert (report.ended, report.sent.given) == ("closed by its owner", 5)


def test_a_board_that_does_not_read_does_not_keep_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.console.filter.STOP_LIMIT", QUICK)
    near, board = socket.socketpair()
    with board, FaultProxy(near.detach()) as proxy, socket.socket(fileno=proxy.port) as driver:
        assert filled(driver, proxy) > 0
        begin = time.monotonic()
        proxy.close()
        assert time.monotonic() - begin < QUICK, "the proxy had to be killed"


def test_a_console_reads_through_it(tmp_path: Path) -> None:
    near, board = socket.socketpair()
    with (
        board,
        FaultProxy(near.detach()) as proxy,
        Console(proxy.port, Transcript.create(tmp_path, "noisy")) as console,
    ):
        board.sendall(b"log")
        console.wait_for(b"log", timeout=QUICK)
        proxy.set(received=Faults(inject=1.0, text="[vm] noise\r\n"))
        board.sendall(b"i")
        console.wait_for(b"i", timeout=QUICK)
        proxy.set(received=Faults())
        board.sendall(b"n: ")
        console.wait_for(b"n: ", timeout=QUICK)
        assert [line.text for line in console.lines()] == ["log[vm] noise", "in: "]
        proxy.cut()
        with pytest.raises(LineClosed, match="ended"):
            console.wait_for(b"never", timeout=QUICK)


def test_a_killed_proxy_is_the_end_of_the_line() -> None:
    with proxied() as line:
        os.kill(line.proxy.pid, signal.SIGKILL)
        assert line.driver.recv(1) == line.board.recv(1) == b""
        with pytest.raises(InfrastructureError, match=str(line.proxy.pid)):
            line.proxy.report()


OWNER = """
import socket, sys
from hil.faults import FaultProxy
near, board = socket.socketpair()
proxy = FaultProxy(near.detach())
print(proxy.pid, flush=True)
sys.stdin.read()
"""


def test_the_proxy_ends_with_a_killed_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert not gone(pid)
        owner.kill()
        until(lambda: gone(pid))


def test_many_proxies_leave_nothing_behind() -> None:
    passed(b"x", Faults())
    before = held()
    for _ in range(5):
        passed(ALL, Faults(drop=0.1))
    assert no_more_than(before)


@pytest.mark.parametrize(
    ("faults", "datum"),
    [
        ({"drop": 1.5}, "drop=1.5"),
        ({"flip": -0.1}, "flip=-0.1"),
        ({"inject": float("nan")}, "inject=nan"),
        ({"baud": 0}, "baud=0"),
        ({"delay": -1}, "delay=-1"),
        ({"lines": 1e6}, "lines=1000000.0"),
        ({"text": "{m}"}, "'{m}'"),
        ({"text": "{"}, "'{'"),
        ({"text": ""}, "''"),
    ],
)
def test_faults_out_of_range_are_refused(faults: dict[str, Any], datum: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Faults(**faults)
    assert datum in caught.value.message


def test_a_stop_out_of_range_is_refused() -> None:
    with proxied() as line, pytest.raises(ConfigurationError, match="-1"):
        line.proxy.stop(-1)


def test_a_tap_puts_a_proxy_into_each_line_of_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    tap = Tap(received=Faults(lines=200, text="[tapped {n}]\r\n", split=False))
    with pytest.raises(InfrastructureError):
        tap.proxy  # noqa: B018
    with tap, Board(str(stub_board(tmp_path))) as board:
        board.line.tap = tap
        for _ in range(20):  # a line comes between two of the stub's, which follow each other closely
            board.boot()
            if any("[tapped 1]" in line.text for line in board.console.lines()):
                break
        else:
            pytest.fail("no line was injected")
        first = tap.proxy
        first.set(received=Faults(lines=200, text="[foreign {n}]\r\n"))
        board.console.wait_for(b"[foreign ", timeout=QUICK)  # its number depends on how long the boot took
        board.power.cycle()
        assert tap.proxy is not first
        assert first.report().received.injected >= 1
        tap.proxy.set(received=Faults(lines=200, text="[again {n}]\r\n"))
        board.console.wait_for(b"[again ", timeout=QUICK)
        tap.proxy.cut()
        with pytest.raises(LineClosed, match="ended"):
            board.console.wait_for(b"never", timeout=QUICK)
    assert gone(tap.proxy.pid)


def test_a_tap_that_fails_leaves_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))

    def broken(port: int) -> int:
        os.close(port)
        raise RuntimeError("no tap")

    with Board(str(stub_board(tmp_path))) as board:
        board.line.tap = broken
        with pytest.raises(RuntimeError, match="no tap"):
            board.boot()
        assert not board.power.get()

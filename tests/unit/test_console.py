"""A live console against a line that floods, stalls, splits its markers and dies."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pexpect
import pytest
from support import QUICK, Wire, arrived, gone, held, make_wire, no_more_than, until

from hil.console import Console, LineClosed, LineTimeout, Transcript, pump

MIB = 1 << 20


def test_a_marker_is_found_with_its_place_and_time(wire: Wire) -> None:
    before = time.monotonic_ns()
    wire.far.sendall(b"boot\r\nlogin: ")
    match = wire.console.wait_for(b"never", b"login: ", timeout=QUICK)
    assert (match.index, match.start, match.end) == (1, 6, 13)
    assert before < match.time_ns < time.monotonic_ns()
    assert wire.console.position == 13


def test_a_marker_in_pieces_is_found(wire: Wire) -> None:
    for at, byte in enumerate(b"xlogin: "):
        wire.far.sendall(bytes([byte]))
        arrived(wire.console, at + 1)
    assert wire.console.wait_for(b"login: ", timeout=QUICK).start == 1


def test_the_marker_that_comes_first_wins(wire: Wire) -> None:
    wire.far.sendall(b"..second..first..")
    assert wire.console.wait_for(b"first", b"second", timeout=QUICK).index == 1
    assert wire.console.wait_for(b"first", b"second", timeout=QUICK).index == 0


def test_markers_are_literal(wire: Wire) -> None:
    wire.far.sendall(b"axb a.b")
    assert wire.console.wait_for(b"a.b", timeout=QUICK).start == 4


def test_a_time_out_names_the_marker_and_leaves_the_position(wire: Wire) -> None:
    wire.far.sendall(b"halfway\r\nlog")
    with pytest.raises(LineTimeout, match=r"0\.2 s.*'login: '.*'ok'.*\b12 bytes") as caught:
        wire.console.wait_for(b"login: ", b"ok", timeout=0.2)
    assert caught.value.evidence is not None
    assert caught.value.evidence.lines == ("halfway", "log")
    assert caught.value.evidence.transcript == wire.console.transcript.path
    wire.far.sendall(b"in: ")
    assert wire.console.wait_for(b"login: ", timeout=QUICK).start == 9


def test_a_time_out_of_nothing_waits_as_long_as_asked(wire: Wire) -> None:
    begin = time.monotonic()
    with pytest.raises(LineTimeout, match=r"\b0 bytes"):
        wire.console.wait_for(b"x", timeout=0.3)
    assert 0.3 <= time.monotonic() - begin < QUICK


def test_ten_megabytes_with_the_marker_at_the_end_in_bounded_memory(wire: Wire) -> None:
    flood = b"VPPI IRQ 27 dropped on vcpu 0\r\n" * (10 * MIB // 31)
    sender = threading.Thread(target=wire.far.sendall, args=(flood + b"login: ",))
    sender.start()
    tracemalloc.start()
    try:
        match = wire.console.wait_for(b"login: ", timeout=60)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        sender.join(QUICK)
    assert match.start == len(flood)
    assert peak < 8 * MIB
    pumping = wire.console.reader
    status = Path(f"/proc/{pumping}/status").read_text()
    assert int(status.partition("VmHWM:")[2].split()[0]) < 32 * 1024, "kB"
    assert wire.console.transcript.path.stat().st_size == match.end


def test_a_big_write_reaches_a_slow_reader_whole(wire: Wire) -> None:
    data = os.urandom(2_000_000)
    received = bytearray()
    wire.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)

    def read() -> None:
        while len(received) < len(data) and (some := wire.far.recv(997)):
            received.extend(some)

    reader = threading.Thread(target=read)
    reader.start()
    wire.console.write(data, timeout=60)
    reader.join(QUICK)
    assert bytes(received) == data


def test_a_write_that_nobody_reads_says_how_much_was_taken(wire: Wire) -> None:
    with pytest.raises(LineTimeout, match=r"\d+ of 2000000 bytes.*0\.2 s") as caught:
        wire.console.write(b"x" * 2_000_000, timeout=0.2)
    taken = int(re.findall(r"(\d+) of 2000000", str(caught.value))[0])
    wire.far.setblocking(False)
    arrived = 0
    with contextlib.suppress(BlockingIOError):
        while some := wire.far.recv(MIB):
            arrived += len(some)
    assert 0 < taken == arrived
    assert caught.value.hint


def test_the_end_of_the_line_is_noticed_at_once_and_explained(tmp_path: Path) -> None:
    wire = make_wire(tmp_path, explain_end=lambda: "QEMU was killed by SIGKILL")
    try:
        threading.Timer(0.1, wire.cut).start()
        begin = time.monotonic()
        with pytest.raises(LineClosed, match=r"eof.*QEMU was killed by SIGKILL"):
            wire.console.wait_for(b"x", timeout=60)
        assert time.monotonic() - begin < QUICK
    finally:
        wire.close()


def test_what_came_before_the_end_is_still_found(wire: Wire) -> None:
    wire.far.sendall(b"last words")
    wire.cut()
    assert wire.console.wait_for(b"last", timeout=QUICK).end == 4
    assert wire.console.read(QUICK) == b" words"
    with pytest.raises(LineClosed) as caught:
        wire.console.read(QUICK)
    assert caught.value.evidence is not None
    assert caught.value.evidence.lines == ("last words",)


def test_a_write_to_a_line_that_has_ended_says_so(wire: Wire) -> None:
    wire.cut()
    with pytest.raises(LineClosed, match="Broken pipe"):
        wire.console.write(b"x" * MIB)


def test_a_pty_whose_other_side_is_gone_has_ended(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with Console(master, Transcript.create(tmp_path, "pty")) as console:
        os.write(slave, b"bye")
        os.close(slave)
        assert console.wait_for(b"bye", timeout=QUICK)
        with pytest.raises(LineClosed, match="Input/output error"):
            console.wait_for(b"x", timeout=QUICK)


def test_a_killed_pump_is_noticed(wire: Wire) -> None:
    pumping = wire.console.reader
    os.kill(pumping, signal.SIGKILL)
    with pytest.raises(LineClosed, match=r"\breads\b"):
        wire.console.wait_for(b"x", timeout=QUICK)


def test_a_full_disk_ends_the_line_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "full.raw").symlink_to("/dev/full")
    (tmp_path / "full.tsv").touch()
    near, far = socket.socketpair()
    with far, Console(near.detach(), Transcript(tmp_path / "full.raw")) as console:
        far.sendall(b"x")
        with pytest.raises(LineClosed, match="transcript.*No space left on device"):
            console.wait_for(b"x", timeout=QUICK)


def test_closed_means_closed(wire: Wire) -> None:
    wire.far.sendall(b"kept")
    wire.console.wait_for(b"kept", timeout=QUICK)
    wire.console.close()
    wire.console.close()
    assert wire.console.closed
    assert wire.console.transcript.read(0, 4) == b"kept"
    for act in (lambda: wire.console.write(b"x"), lambda: wire.console.read(QUICK)):
        with pytest.raises(LineClosed, match="this side"):
            act()


def test_close_keeps_what_had_arrived(wire: Wire) -> None:
    wire.far.sendall(b"x" * 100_000)
    wire.console.close()
    assert wire.console.transcript.size == 100_000


def test_a_flood_that_never_pauses_does_not_keep_the_pump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.console.reader.STOP_LIMIT", QUICK)
    with Console(os.open("/dev/zero", os.O_RDWR), Transcript.create(tmp_path, "flood")) as console:
        console.wait_for(b"\0", timeout=QUICK)
        begin = time.monotonic()
        console.close()
        assert time.monotonic() - begin < QUICK, "the pump had to be killed"


OWNER = """
import os, sys
from pathlib import Path
from hil.console import Console, Transcript
console = Console(int(sys.argv[1]), Transcript.create(Path(sys.argv[2]), "owned"))
console.wait_for(b"ready", timeout=10)
print(console.reader, flush=True)
console.wait_for(b"never", timeout=60)
"""


def test_the_pump_ends_with_a_killed_owner(tmp_path: Path) -> None:
    near, far = socket.socketpair()
    with near, far:
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(near.fileno()), str(tmp_path)],
            pass_fds=[near.fileno()],
            stdout=subprocess.PIPE,
        )
        near.close()
        far.sendall(b"ready")
        try:
            assert owner.stdout is not None
            pumping = int(owner.stdout.readline())
            owner.kill()
            until(lambda: gone(pumping))
        finally:
            owner.kill()
            owner.communicate()


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_pump(wire: Wire) -> None:
    pumping = wire.console.reader
    assert os.getpgid(pumping) != os.getpgrp()


def test_sixty_consoles_leave_nothing_behind(tmp_path: Path) -> None:
    make_wire(tmp_path).close()
    before = held()
    for _ in range(60):
        wire = make_wire(tmp_path)
        wire.far.sendall(b"x")
        wire.console.wait_for(b"x", timeout=QUICK)
        wire.console.expecter  # noqa: B018  makes a cycle of references
        wire.close()
    assert no_more_than(before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 1 << 20, "kB"


def test_a_forgotten_transcript_gives_its_files_back(tmp_path: Path) -> None:
    before = held()[0]
    for _ in range(20):
        wire = make_wire(tmp_path)
        wire.console.close()  # as a power cycle does: the transcript may still be read
        wire.cut()
    del wire
    assert held()[0] == before


def test_read_gives_what_is_there_and_nothing_after_a_time_out(wire: Wire) -> None:
    assert wire.console.read(0.0) == b""
    wire.far.sendall(b"abc")
    assert wire.console.read(QUICK) == b"abc"
    assert wire.console.read(0.05) == b""


def test_skip_forgets_what_has_come(wire: Wire) -> None:
    wire.far.sendall(b"old marker\n")
    arrived(wire.console, 11)
    assert wire.console.skip() == 11
    with pytest.raises(LineTimeout, match="'marker'"):
        wire.console.wait_for(b"marker", timeout=0.05)


def test_the_console_is_selectable(wire: Wire) -> None:
    import select

    assert select.select([wire.console], [], [], 0)[0] == []
    wire.far.sendall(b"x")
    assert select.select([wire.console], [], [], QUICK)[0] == [wire.console]
    assert wire.console.read(0.0) == b"x"
    assert select.select([wire.console], [], [], 0)[0] == []


def test_stamps_follow_the_bytes(wire: Wire) -> None:
    sent = []
    for number in range(5):
        sent.append(time.monotonic_ns())
        wire.far.sendall(b"line %d\r\n" % number)
        wire.console.wait_for(b"%d\r\n" % number, timeout=QUICK)
    sent.append(time.monotonic_ns())
    lines = list(wire.console.lines())
    assert [line.text for line in lines] == [f"line {number}" for number in range(5)]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert all(early < line.time_ns < late for early, line, late in zip(sent, lines, sent[1:], strict=False))


def test_pexpect_s_ways(wire: Wire) -> None:
    console = wire.console
    wire.far.sendall(b"noise value=42 rest login: ")
    assert console.expect([b"nothing", rb"value=(\d+)"], timeout=QUICK) == 1
    assert console.expecter.match[1] == b"42"
    assert console.expecter.before == b"noise "
    assert console.expecter.after == b"value=42"
    assert console.position == len(b"noise value=42")
    assert console.wait_for(b"login: ", timeout=QUICK).start == 20  # both share the position
    wire.far.sendall(b"tail")
    assert console.expect("tail", timeout=QUICK) == 0
    assert console.expecter.before == b""


def test_pexpect_s_time_out_and_end(wire: Wire) -> None:
    console = wire.console
    wire.far.sendall(b"partial")
    arrived(console, 7)
    assert console.expect([b"nothing", pexpect.TIMEOUT], timeout=0.05) == 1
    assert console.expecter.before == b"partial"
    assert console.position == 0, "nothing was taken"
    assert console.wait_for(b"part", timeout=QUICK).end == 4
    with pytest.raises(pexpect.TIMEOUT):
        console.expect(b"nothing", timeout=0.05)
    wire.far.sendall(b" and end")
    wire.cut()
    assert console.expect(b"and", timeout=QUICK) == 0
    assert console.expect([b"nothing", pexpect.EOF], timeout=QUICK) == 1
    with pytest.raises(pexpect.EOF):
        console.expect(b"more", timeout=QUICK)


def test_pexpect_sees_what_wait_for_left(wire: Wire) -> None:
    wire.far.sendall(b"one two three")
    wire.console.wait_for(b"one", timeout=QUICK)
    assert wire.console.expect(b"three", timeout=QUICK) == 0
    assert wire.console.expecter.before == b" two "


def test_pexpect_sends(wire: Wire) -> None:
    wire.console.expecter.sendline("über")
    wire.console.sendline("ls")
    wire.console.expecter.send(b"\x03")
    assert wire.far.recv(100) + wire.far.recv(0) == "über\nls\n\x03".encode()


def test_the_pump_needs_nothing_but_the_standard_library() -> None:
    run = [sys.executable, "-I", "-S", "-X", "importtime", str(Path(pump.__file__))]
    said = subprocess.run(run, capture_output=True, text=True, timeout=QUICK)
    assert "IndexError" in said.stderr
    assert "site-packages" not in said.stderr

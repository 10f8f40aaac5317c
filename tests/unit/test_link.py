"""The figures of a link and what they are signatures of; measured on a real shell, and on recordings."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import ShellLine

from hil.board.protocol import Transport
from hil.guest import Guest
from hil.image.manifest import ConsoleFacts
from hil.measure import link
from hil.measure.board_clocks import BoardClocks
from hil.measure.link import Link
from hil.qemu.lockstep import Virtual

SERVED = Transport("rfc2217", "lab-1:4001", 115200)
USB = Transport("serial", "/dev/ttyUSB0", 115200)


def guest_on(line: ShellLine, transport: Transport = USB, **more: Any) -> Guest:
    board: Any = SimpleNamespace(
        console=line.console,
        manifest=SimpleNamespace(name="none", console=ConsoleFacts()),
        report=None,
        origin=None,
        dirty=None,
        virtual=None,
        line=SimpleNamespace(transport=transport, tap=None),
        **more,
    )
    return Guest(board)


def exchanges(line: ShellLine) -> int:
    return sum(f"'{link.EXCHANGE}'" in one for one in line.typed())


def test_a_shell_is_measured_once_for_a_line(tty_shell: ShellLine) -> None:
    guest: Any = guest_on(tty_shell)
    found = link.of(guest)
    assert found is not None
    assert 0 < found.floor <= found.median < 1
    assert found.rate > 1000
    assert found.held == 0
    assert link.of(guest) is found
    assert exchanges(tty_shell) == link.EXCHANGES
    guest.board.line.transport = SERVED
    again = link.of(guest)
    assert again is not None
    assert again.transport == SERVED
    guest.board.line.tap = lambda port: port
    assert link.of(guest) is not again
    assert exchanges(tty_shell) == 3 * link.EXCHANGES


def test_what_is_typed_never_hangs_on_what_was_measured(tty_shell: ShellLine) -> None:
    def commands() -> list[str]:
        link.measure(guest_on(tty_shell))
        return [re.sub(r"_h \d+", "_h", one) for one in tty_shell.typed() if one.startswith("_h ")]

    first = commands()
    assert len(first) == link.EXCHANGES + len(link.PAUSES) * link.REPEATS + 1
    assert commands() == 2 * first


def test_the_floor_of_the_consoles_clock_is_at_least_the_links(tty_shell: ShellLine) -> None:
    guest = guest_on(tty_shell)
    clock, found = BoardClocks(guest).console(), link.of(guest)
    assert found is not None
    assert clock.floor is not None
    assert clock.floor >= found.floor
    assert clock.remark.endswith(str(found))


def test_nothing_is_typed_in_virtual_time(tty_shell: ShellLine) -> None:
    guest: Any = guest_on(tty_shell)
    guest.board.virtual = Virtual(1, proof="it was seen")
    assert link.of(guest) is None
    assert exchanges(tty_shell) == 0


@pytest.mark.parametrize("recorded", [False, True])
def test_a_replayed_session_types_what_the_recorded_one_did(tty_shell: ShellLine, recorded: bool) -> None:
    events = [SimpleNamespace(data=b"_h 1 4 true\n"), *[SimpleNamespace(data=b"_h 2 6 ': link'\n")] * recorded]
    power = SimpleNamespace(recording=SimpleNamespace(sent=lambda: iter(events)))
    guest = guest_on(tty_shell, Transport("recording", "t.raw"), power=power)
    assert link.of(guest) is None, "its times are the player's"
    assert link.of(guest) is None
    assert exchanges(tty_shell) == link.EXCHANGES * recorded


def test_a_guest_that_cannot_pause_leaves_open_what_is_held_back(tty_shell: ShellLine) -> None:
    guest = guest_on(tty_shell, SERVED)
    guest.run("sleep() { return 1; }")
    found = link.measure(guest)
    assert found.held is None
    assert "nothing" not in found.facts["link holds back"]
    assert found.uncertainty == found.floor


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [
        ((10, 10, 13), (25, 26, 31), 0.0),
        ((41, 43, 44), (40, 41, 43), 0.043),  # each waits for the acknowledgement
        ((40, 41, 90), (10, 41, 80), 0.041),  # one for something else, one not at all
        ((40, 41, 41), (55, 56, 57), 0.0),  # a slow guest: it waits for longer when it is asked to
        ((79, 84, 90), (82, 85, 99), 0.0),  # a busy one
        ((50, 52, 52), (36, 38, 40), 0.0),
        ((0, 0, 0), (0, 0, 1), None),  # it did not wait at all
        ((30, 30, 31), (30, 30, 31), 0.0),  # too early for an acknowledgement
    ],
)
def test_a_held_back_answer_is_distinguished_from_a_slow_guest(
    first: tuple[int, ...], second: tuple[int, ...], held: float | None
) -> None:
    assert link._held([[gap / 1000 for gap in gaps] for gaps in (first, second)]) == held


@pytest.mark.parametrize(("transport", "held"), [(SERVED, 0.041), (USB, 0.0)])
def test_only_a_server_can_hold_back(tty_shell: ShellLine, monkeypatch: Any, transport: Transport, held: float) -> None:
    monkeypatch.setattr(link, "_held", lambda gaps: 0.041)
    assert link.measure(guest_on(tty_shell, transport)).held == held


def test_an_inconspicuous_link_has_no_hints() -> None:
    for transport, rate in ((SERVED, 11_400), (USB, 11_400), (Transport("emulated"), 90_000)):
        found = Link(transport, 0.0066, 0.007, rate)
        assert found.hints == ()
        assert "link hint" not in found.facts
        assert found.uncertainty == 0.0066


def test_each_signature_has_its_hint() -> None:
    held = Link(SERVED, 0.0066, 0.007, 9_000, held=0.041)
    (hint,) = held.hints
    assert "tcp(nodelay=true)" in hint
    assert held.uncertainty == 0.041
    assert all(part in str(held) for part in ("rfc2217 lab-1:4001, 115200 baud", "6.6 ms", "9 kB/s", "41 ms"))
    (hint,) = Link(SERVED, 0.0066, 0.007, 5_000).hints
    assert "11.52 kB/s" in hint
    (hint,) = Link(SERVED, 0.0039 + 0.016, 0.021, 11_000).hints
    assert "low_latency" in hint
    assert Link(SERVED, 0.0039 + 0.016, 0.065, 11_000).hints == (), "a busy host is not as even as a timer"
    assert Link(SERVED, 0.016, 0.017, 11_000).hints == (), "4 ms of it are the bytes' own"
    (hint,) = Link(USB, 0.02, 0.021, 11_000, latency_timer=0.016).hints
    assert "setserial /dev/ttyUSB0 low_latency" in hint
    assert Link(USB, 0.005, 0.006, 11_000, latency_timer=0.001).hints == ()


def test_the_latency_timer_of_an_adapter_is_read_where_it_is_plugged_in(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(link, "TTYS", tmp_path / "tty")
    attribute = tmp_path / "tty" / "ttyUSB0" / "device" / "latency_timer"
    attribute.parent.mkdir(parents=True)
    attribute.write_text("16\n")
    name = tmp_path / "by-id"
    name.symlink_to("/dev/ttyUSB0")
    assert link._latency_timer(Transport("serial", str(name), 115200)) == 0.016
    assert link._latency_timer(SERVED) is None
    shutil.rmtree(tmp_path / "tty")
    assert link._latency_timer(USB) is None

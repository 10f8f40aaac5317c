"""The host's end of the wires, against a machine in real time that a thread plays, and its C library as a program."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hil.console.lockstep import COMMAND_BYTES, MESSAGE, PAUSE, WIRES, Lockstep
from hil.errors import Evidence, InfrastructureError
from hil.qemu import lockstep as qemu_lockstep
from hil.qemu import wires as module
from hil.qemu.wires import SIGNAL, Kind, Wires, signals


class Machine:
    """A machine in real time: its clock is a counter that each asked report moves on by 1 ms."""

    def __init__(self, log: Path) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.log = log
        self.commands: list[tuple[int, ...]] = []
        self.now = 1_000_000
        log.touch()
        threading.Thread(target=self._serve, daemon=True).start()

    def write(self, *records: object) -> None:
        with self.log.open("ab") as file:
            for record in records:
                file.write(np.array([record], SIGNAL).tobytes())

    def _serve(self) -> None:
        while head := self._theirs.recv(MESSAGE.size, socket.MSG_WAITALL):
            count, kind = MESSAGE.unpack(head)
            if kind != WIRES:
                self.now += 1_000_000
                self._theirs.sendall(PAUSE.pack(0, self.now, 0))
                continue
            data = self._theirs.recv(count * COMMAND_BYTES, socket.MSG_WAITALL)
            for command in np.frombuffer(data, SIGNAL).tolist():
                self.commands.append(command[:3])
                self._obey(*command)

    def _obey(self, ns: int, kind: int, line: int, value: int, _length: int, ident: int, _data: object) -> None:
        if kind == Kind.LEVEL:
            self.write((ns or self.now, kind, line, value, 0, 0, [0] * 8))
        elif kind == Kind.REPORT:
            self.now = ns
            self._theirs.sendall(PAUSE.pack(ident, ns, 0))
        elif kind == Kind.SAVE:
            self.write((0, kind, 0, 0, 0, 0, [0] * 8), (0, Kind.STATE | module.SAVED, 3, 6, 0, 2, [0] * 8))

    def die(self) -> None:
        self._theirs.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path / "log.signals")
    yield machine
    machine.die()


@pytest.fixture
def wires(machine: Machine) -> Wires:
    return Wires(machine.log, None, machine.ours, lambda: "QEMU was killed by a test")


def test_commands_become_records_with_their_times(wires: Wires) -> None:
    wires.command(signals(3, ns=[0, 5, 9], kind=Kind.LEVEL, line=2, value=[1, 0, 1]))
    records = wires.records()
    assert records["ns"].tolist() == [1_000_000, 5, 9]
    assert records["value"].tolist() == [1, 0, 1]
    assert wires.level(2) == 1
    assert wires.level(3) == 0


def test_many_records_are_kept_in_order(wires: Wires, machine: Machine) -> None:
    for piece in range(5):
        machine.write(*((n, Kind.LEVEL, 1, n % 2, 0, 0, [0] * 8) for n in range(1000 * piece, 1000 * piece + 1000)))
        assert len(wires.records()) == 1000 * (piece + 1)
    assert wires.records()["ns"].tolist() == list(range(5000))


def test_a_record_that_is_only_half_written_is_read_later(wires: Wires, machine: Machine) -> None:
    record = np.array([(7, Kind.LEVEL, 1, 1, 0, 0, [0] * 8)], SIGNAL).tobytes()
    with machine.log.open("ab") as file:
        file.write(record[:10])
    assert len(wires.records()) == 0
    with machine.log.open("ab") as file:
        file.write(record[10:])
    assert wires.records()["ns"].tolist() == [7]


def test_time_passes_until_the_given_time(wires: Wires, machine: Machine) -> None:
    wires.run_until(50_000_000)
    assert machine.now >= 50_000_000
    assert not wires.wait(1, machine.now + 10_000_000), "no edge came"


def test_an_edge_that_came_before_the_wait_counts_from_the_given_record_on(wires: Wires, machine: Machine) -> None:
    machine.write((1, Kind.LEVEL, 0, 1, 0, 0, [0] * 8), (2, Kind.LEVEL, 3, 1, 0, 0, [0] * 8))
    now = machine.now
    assert wires.wait(1 << 3, now + 10_000_000, since=0) == 2
    assert machine.now < now + 10_000_000, "it did not wait"
    assert wires.wait(1 << 3, machine.now + 10_000_000, since=2) == 0
    assert wires.wait(1 << 3, machine.now + 10_000_000) == 0


def test_a_saved_state_is_no_event_and_is_given_back_as_it_was(wires: Wires, machine: Machine, tmp_path: Path) -> None:
    saved = wires.save()
    assert len(wires.records()) == 1, "the mark of the save itself"
    other = Machine(tmp_path / "restored.signals")
    restored = Wires(other.log, None, other.ours, lambda: "")
    restored.restore(saved)
    assert other.commands == [(0, Kind.STATE, 3)]
    assert restored.level(3) == restored.first_level(3) == 1
    other.die()


def test_a_machine_that_has_ended_is_named(wires: Wires, machine: Machine) -> None:
    machine.write((1, Kind.LEVEL, 0, 1, 0, 0, [0] * 8))
    machine.die()
    with pytest.raises(InfrastructureError, match="killed by a test"):
        wires.now_ns()
    assert len(wires.records()) == 1, "what it has recorded stays"


def test_a_machine_that_does_not_answer_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.1)
    (tmp_path / "log").touch()
    ours, theirs = socket.socketpair()
    with theirs, pytest.raises(InfrastructureError, match="did not answer"):
        Wires(tmp_path / "log", None, ours, lambda: "").now_ns()


def test_stimuli_are_part_of_the_history_and_questions_are_not(tmp_path: Path) -> None:
    def run(*commands: module.Signals) -> tuple[str, str]:
        ours, theirs = socket.socketpair()
        with theirs:
            (tmp_path / "stamps").touch()
            lockstep = Lockstep(ours, tmp_path / "stamps")
            theirs.sendall(PAUSE.pack(0, 5, 0))
            (tmp_path / "log").touch()
            wires = Wires(tmp_path / "log", lockstep, None, lambda: "")
            for command in commands:
                wires.command(command)
            ours.close()
            return lockstep.history, lockstep.typed

    nothing = run()
    assert run(signals(kind=Kind.ARM, id=1)) == nothing
    high, low = (run(signals(kind=Kind.LEVEL, line=0, value=level)) for level in (1, 0))
    assert len({nothing, high, low}) == 3
    assert len({typed for _, typed in (nothing, high, low)}) == 3


def test_a_machine_that_has_ended_shows_the_console(wires: Wires, machine: Machine) -> None:
    wires.evidence = lambda: Evidence(lines=("last words",))
    machine.die()
    with pytest.raises(InfrastructureError, match="last words"):
        wires.now_ns()


def test_a_probe_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator = tmp_path / "emulator"
    emulator.write_text("#!/bin/sh\nsleep 5\n")
    emulator.chmod(0o755)
    preload = tmp_path / "preload"
    preload.touch()
    monkeypatch.setattr(qemu_lockstep, "PROBE_LIMIT", 0.2)
    assert "cannot probe" in qemu_lockstep.refusal(str(emulator), preload).lockstep
    monkeypatch.setattr(
        qemu_lockstep.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, "", "lock step\n")
    )
    assert qemu_lockstep.refusal(str(emulator), preload) == qemu_lockstep.Refusal()

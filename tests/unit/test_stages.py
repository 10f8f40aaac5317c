"""The walk through a boot, on lines that stall, flood, panic and die."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import QUICK, Wire, arrived

from hil.board.stages import BootReport, StageTime, diagnose, walk
from hil.console import LineClosed
from hil.errors import BootError
from hil.image.manifest import Stage

LOADER = Stage(name="loader", marker="ELF-loader started on CPU:", limit=QUICK)
LOGIN = Stage(name="login", marker="login: ", limit=QUICK)
SHELL = Stage(name="shell", marker="# ", limit=QUICK)
# as the real image boots, or does not: one boot in thirty floods for ever
HEAD = b"\r\nELF-loader started on CPU: ARM Ltd. Cortex-A53 r0p4\r\n  paddr=[682f7000..6fed00af]\r\n"
FLOOD = b"vm_vppi_event_handler@vm.c:97 VPPI IRQ 27 dropped on vcpu 0\r\n"


def fed(wire: Wire, data: bytes) -> None:
    wire.far.sendall(data)
    arrived(wire.console, len(data))


def test_each_stage_is_seen_timed_and_answered(wire: Wire) -> None:
    power_on = time.monotonic_ns()
    seen: list[str] = []

    @contextlib.contextmanager
    def around(name: str) -> Iterator[None]:
        seen.append(name)
        if name == "shell":
            assert wire.far.recv(100) == b"root\n"
            wire.far.sendall(b"# ")
        yield

    wire.far.sendall(HEAD + b"buildroot login: ")
    reached = walk(
        wire.console, (LOADER, LOGIN, SHELL), power_on_ns=power_on, answers={"login: ": "root"}, around=around
    )
    assert [stage.name for stage in reached] == seen == ["loader", "login", "shell"]
    times = [stage.seconds for stage in reached]
    assert times == sorted(times)
    assert 0 < times[0] < QUICK
    assert reached[0].offset == 2 + len("ELF-loader started on CPU:")
    report = BootReport("b", "i", power_on, reached, Path("/t"))
    assert report.seconds == times[-1]
    assert report["login"] is reached[1]
    with pytest.raises(KeyError, match="no stage 'nothing'; there are: loader, login, shell"):
        report["nothing"]
    assert BootReport("b", "i", 0, (), Path("/t")).seconds == 0


def test_stages_come_in_order(wire: Wire) -> None:
    fed(wire, b"login: " + HEAD)
    quick = LOGIN.model_copy(update={"limit": 0.1})
    with pytest.raises(BootError, match="did not reach stage 'login'"):
        walk(wire.console, (LOADER, quick), power_on_ns=time.monotonic_ns())


def test_a_stage_that_never_comes_is_named_with_limit_marker_and_last_lines(wire: Wire) -> None:
    fed(wire, HEAD)
    quick = LOGIN.model_copy(update={"limit": 0.2})
    begin = time.monotonic()
    with pytest.raises(BootError) as caught:
        walk(wire.console, (LOADER, quick), power_on_ns=time.monotonic_ns() - 10**9)
    assert time.monotonic() - begin < 2
    error = caught.value
    assert error.stage == "login"
    assert "did not reach stage 'login' (marker 'login: ') in 0.2 s; last reached: loader after 1.0 s" in error.message
    assert "still active" in error.message
    assert error.evidence is not None
    assert error.evidence.lines[-1] == "  paddr=[682f7000..6fed00af]"
    assert error.evidence.transcript == wire.console.transcript.path


def test_the_first_stage_that_never_comes(wire: Wire) -> None:
    quick = LOADER.model_copy(update={"limit": 0.1})
    with pytest.raises(BootError, match="none before it; on the line: silence, not one byte"):
        walk(wire.console, (quick, LOGIN), power_on_ns=time.monotonic_ns())


def test_a_machine_that_dies_is_not_a_stage_that_never_comes(wire: Wire) -> None:
    fed(wire, HEAD)
    wire.cut()
    with pytest.raises(LineClosed):
        walk(wire.console, (LOADER, LOGIN), power_on_ns=time.monotonic_ns())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (HEAD + FLOOD * 2000, "a flood: 'vm_vppi_event_handler@vm.c:97 VPPI IRQ 27 dropped on vcpu 0'"),
        (
            b"".join(b"[ %4d.%06d] rcu stall\r\n" % (number, number) for number in range(100)),
            "a flood: 'rcu stall' 100 times in the last 100 lines",
        ),
        (
            HEAD + b"[    1.2] Kernel panic - not syncing: VFS\r\nend\r\n",
            "a fatal message: Kernel panic - not syncing: VFS",
        ),
        (FLOOD * 100 + b"FAULT HANDLER: data fault\r\n", "a fatal message: FAULT HANDLER: data fault"),
        (HEAD, f"still active, {len(HEAD)} bytes so far"),
        (b"\r\n" * 200, "still active, 400 bytes so far"),
        (b"x" * 100_000, "still active, 100000 bytes so far"),
    ],
    ids=["flood", "stamped flood", "panic", "fault", "active", "blank lines", "no lines"],
)
def test_what_is_on_the_line_is_put_into_words(wire: Wire, data: bytes, told: str) -> None:
    fed(wire, data)
    assert diagnose(wire.console).startswith(told)


def test_silence_is_measured(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    fed(wire, HEAD)
    monkeypatch.setattr("hil.board.stages.SILENCE", 0.0)
    assert f"s after {len(HEAD)} bytes" in diagnose(wire.console)


def test_a_stage_time_is_a_value() -> None:
    assert StageTime("a", 1.0, 2) == StageTime("a", 1.0, 2)

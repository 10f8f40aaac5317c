"""The walk through a boot, on lines that stall, flood, panic and die."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import QUICK, Wire, arrived, make_wire

from hil.board.boot_report import BootReport, StageTime
from hil.board.diagnosis import NOTHING, diagnose
from hil.board.stages import _Watch, walk
from hil.console import LineClosed
from hil.errors import BootError
from hil.image.manifest import Failures, Stage

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
    def around(name: str, limit: float) -> Iterator[None]:
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
    with pytest.raises(KeyError, match="'nothing'.*loader, login, shell"):
        report["nothing"]
    assert BootReport("b", "i", 0, (), Path("/t")).seconds == 0


def test_stages_come_in_order(wire: Wire) -> None:
    fed(wire, b"login: " + HEAD)
    quick = LOGIN.model_copy(update={"limit": 0.1})
    with pytest.raises(BootError, match="'login'"):
        walk(wire.console, (LOADER, quick), power_on_ns=time.monotonic_ns())


def test_a_stage_that_never_comes_is_named_with_limit_marker_and_last_lines(wire: Wire) -> None:
    fed(wire, HEAD)
    quick = LOGIN.model_copy(update={"limit": 0.2})
    begin = time.monotonic()
    with pytest.raises(BootError) as caught:
        walk(wire.console, (LOADER, quick), power_on_ns=time.monotonic_ns() - 10**9)
    assert time.monotonic() - begin < QUICK / 2
    error = caught.value
    assert error.stage == "login"
    assert re.search(r"'login'.*'login: '.* 0\.2 s.*loader.* 1\.0 s", error.message)
    assert "still active" in error.message
    assert error.evidence is not None
    assert error.evidence.lines[-1] == "  paddr=[682f7000..6fed00af]"
    assert error.evidence.transcript == wire.console.transcript.path


def test_the_first_stage_that_never_comes(wire: Wire) -> None:
    quick = LOADER.model_copy(update={"limit": 0.1})
    with pytest.raises(BootError, match=NOTHING):
        walk(wire.console, (quick, LOGIN), power_on_ns=time.monotonic_ns())


def test_a_machine_that_dies_is_not_a_stage_that_never_comes(wire: Wire) -> None:
    fed(wire, HEAD)
    wire.cut()
    with pytest.raises(LineClosed):
        walk(wire.console, (LOADER, LOGIN), power_on_ns=time.monotonic_ns())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (HEAD + FLOOD * 2000, "flood.*'vm_vppi_event_handler@vm.c:97 VPPI IRQ 27 dropped on vcpu 0'"),
        (
            b"".join(b"[ %4d.%06d] rcu stall\r\n" % (number, number) for number in range(100)),
            r"flood.*'rcu stall' 100 .*100 lines",
        ),
        (
            HEAD + b"[    1.2] Kernel panic - not syncing: VFS\r\nend\r\n",
            "fatal.*: Kernel panic - not syncing: VFS",
        ),
        (FLOOD * 100 + b"FAULT HANDLER: data fault\r\n", "fatal.*: FAULT HANDLER: data fault"),
        (HEAD, f"active.* {len(HEAD)} bytes"),
        (b"\r\n" * 200, "active.* 400 bytes"),
        (b"x" * 100_000, "active.* 100000 bytes"),
    ],
    ids=["flood", "stamped flood", "panic", "fault", "active", "blank lines", "no lines"],
)
def test_what_is_on_the_line_is_put_into_words(wire: Wire, data: bytes, told: str) -> None:
    fed(wire, data)
    assert re.search(told, diagnose(wire.console))


def test_what_came_before_the_boot_has_no_part_in_it(wire: Wire) -> None:
    fed(wire, b"#" * 65 + b"\r\n" + FLOOD * 100)
    before = wire.console.transcript.size
    assert diagnose(wire.console, start=before) == NOTHING
    wire.far.sendall(HEAD)
    arrived(wire.console, before + len(HEAD))
    assert re.search(f"active.* {len(HEAD)} bytes", diagnose(wire.console, start=before))


def test_silence_is_measured(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    fed(wire, HEAD)
    monkeypatch.setattr("hil.board.diagnosis.SILENCE", 0.0)
    assert re.search(f"silence.* {len(HEAD)} bytes", diagnose(wire.console))


def test_a_stage_time_is_a_value() -> None:
    assert StageTime("a", 1.0, 2) == StageTime("a", 1.0, 2)


# what ends a boot before its time

KERNEL = Stage(name="kernel", marker="Booting Linux", limit=QUICK)
FAULT = b"FAULT HANDLER: data fault from w.w_0_control (ID 0x1) on address 0x8, pc = 0x10, fsr = 0x9\r\n"


def fails(wire: Wire, stages: tuple[Stage, ...], **options: Any) -> BootError:
    """The error of a boot that fails long before any limit."""
    begin = time.monotonic()
    with pytest.raises(BootError) as caught:
        walk(wire.console, stages, power_on_ns=time.monotonic_ns() - 10**9, **options)
    assert time.monotonic() - begin < QUICK / 2
    assert (caught.value.origin, caught.value.stage) == ("image", stages[-1].name)
    assert re.search(rf"{stages[-2].name} .*\d\.\d s", caught.value.message)
    return caught.value


@pytest.mark.parametrize(
    "line",
    [
        b"[    1.234567] Kernel panic - not syncing: VFS: Unable to mount root fs",
        b"[    1.234567] Unable to handle kernel NULL pointer dereference at virtual address 00000000",
        FAULT.rstrip(),
        b"Caught cap fault in send phase at address 0",
        b"vm fault on data at address 0x72656c646e61 with status 0x92000000",
        b"======= Unhandled VCPU fault from [Linux] =======",
    ],
)
def test_a_fatal_message_ends_the_wait_and_is_heard_out(
    wire: Wire, line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_rest = _Watch._read_rest

    def late(watch: _Watch) -> None:
        wire.far.sendall(b"the dump\r\n")
        read_rest(watch)

    monkeypatch.setattr(_Watch, "_read_rest", late)
    fed(wire, HEAD + line + b"\r\n")
    error = fails(wire, (LOADER, LOGIN))
    told = line.decode().removeprefix("[    1.234567] ").lstrip("= ")
    assert told in error.message
    assert error.evidence is not None
    assert error.evidence.lines[-1] == "the dump"
    assert error.evidence.lines[-2] == line.decode()


@pytest.fixture(params=[1, 3, 7])
def crumbs(request: pytest.FixtureRequest, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Wire:
    """A line that is read a few bytes at a time."""
    read = wire.console.read

    def few(timeout: float) -> bytes:
        data = read(timeout)
        wire.console.position -= len(data[request.param :])
        return data[: request.param]

    monkeypatch.setattr(wire.console, "read", few)
    return wire


def test_stages_in_crumbs(crumbs: Wire) -> None:
    fed(crumbs, HEAD + b"login: root\r\n# ")
    reached = walk(crumbs.console, (LOADER, LOGIN, SHELL), power_on_ns=0)
    assert [stage.offset - len(HEAD) for stage in reached[1:]] == [7, 15]


def test_what_ends_a_boot_in_crumbs(crumbs: Wire) -> None:
    panic = b"[ 1.0] Kernel panic - not syncing: no init\r\n"
    fed(crumbs, HEAD + b"Booting Linux on CPU 0\r\n" + panic + b"[ 1.0] rcu stall\r\n" * 300 + HEAD + b"login: ")
    assert "Kernel panic - not syncing: no init" in fails(crumbs, (LOADER, LOGIN)).message
    crumbs.console.position = 0
    few = Failures(fatal=(), flood_lines=200, flood_bytes=4096)
    assert "'rcu stall' 2" in fails(crumbs, (LOADER, LOGIN), failures=few).message
    crumbs.console.position = 0
    assert "'loader'" in fails(crumbs, (LOADER, KERNEL, LOGIN), failures=Failures(fatal=())).message


def test_a_loader_that_is_back_in_crumbs(crumbs: Wire) -> None:
    before = (StageTime("tftp", 0.5, 10),)
    fed(crumbs, HEAD + b"Bad image\r\nTegra186 (P2771-0000-500) # ")
    error = fails(crumbs, (LOADER, KERNEL), before=before, loader=r"(?<=\n)Tegra186 \(P2771-0000-500\) # ")
    assert re.search(r"'Tegra186 \(P2771-0000-500\) # '.*'Bad image'", error.message)


def test_stages_of_what_loads_come_first(wire: Wire) -> None:
    before = (StageTime("tftp", 0.5, 10),)
    fed(wire, HEAD + b"login: ")
    assert [one.name for one in walk(wire.console, (LOADER, LOGIN), power_on_ns=0, before=before)] == [
        *("tftp", LOADER.name, LOGIN.name)
    ]


def test_noise_and_a_manifest_s_own_list_decide_what_is_fatal(wire: Wire) -> None:
    fed(wire, HEAD + FAULT + b"login: ")
    assert len(walk(wire.console, (LOADER, LOGIN), power_on_ns=0, noise=(r"data fault from w\.",))) == 2
    wire.console.position = 0
    assert len(walk(wire.console, (LOADER, LOGIN), power_on_ns=0, failures=Failures(fatal=()))) == 2
    wire.console.position = 0
    own = Failures(fatal=(r"paddr=\[68.*",))
    assert "paddr=[682f7000..6fed00af]" in fails(wire, (LOADER, LOGIN), failures=own).message
    wire.console.position = 0
    fails(wire, (LOADER, LOGIN), noise=("something else",))


def test_a_stage_that_comes_again_is_a_reset(wire: Wire) -> None:
    fed(wire, HEAD + b"Booting Linux on CPU 0\r\n" + HEAD)
    error = fails(wire, (LOADER, KERNEL, LOGIN))
    assert "on the line: stage 'loader'" in error.message
    wire.console.position = 0
    quick = LOGIN.model_copy(update={"limit": 0.1})
    again = LOADER.model_copy(update={"repeats": True})
    with pytest.raises(BootError, match="in 0.1 s.*kernel"):
        walk(wire.console, (again, KERNEL, quick), power_on_ns=0)


def test_a_login_that_comes_again_is_none(wire: Wire) -> None:
    fed(wire, HEAD + b"login: root\r\nLast login: never\r\n# ")
    assert len(walk(wire.console, (LOADER, LOGIN, SHELL), power_on_ns=0, answers={"login: ": "root"})) == 3


def test_two_stages_may_have_one_marker(wire: Wire) -> None:
    fed(wire, HEAD + HEAD)
    second = LOADER.model_copy(update={"name": "second"})
    assert [stage.name for stage in walk(wire.console, (LOADER, second), power_on_ns=0)] == ["loader", "second"]


def test_a_flood_ends_the_wait(wire: Wire) -> None:
    writer = threading.Thread(target=wire.far.sendall, args=[HEAD + FLOOD * 40_000])
    writer.start()
    error = fails(wire, (LOADER, LOGIN))
    told = re.search(r"flood.*?'(.*)' (\d+) .* (\d+) bytes", error.message)
    assert told is not None, error
    assert told[1] == FLOOD.decode().strip()
    assert 5000 < int(told[2]) <= 40_000
    assert int(told[3]) > 1 << 20
    wire.console.skip()
    writer.join(QUICK)


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(FLOOD * 5000 + b"x" * (1 << 20) + b"\r\n", id="no more than 5000 lines"),
        pytest.param(FLOOD * 15_000, id="less than 1 MiB"),
        pytest.param(b"".join(b"%d\r\n" % number for number in range(200_000)), id="all different"),
        pytest.param(b"\r\n" * 600_000, id="blank lines"),
        pytest.param(b"x" * (3 << 20), id="no lines"),
    ],
)
def test_much_is_not_yet_a_flood(wire: Wire, noise: bytes) -> None:
    writer = threading.Thread(target=wire.far.sendall, args=[HEAD + noise + b"login: "])
    writer.start()
    reached = walk(wire.console, (LOADER, LOGIN), power_on_ns=0)
    writer.join(QUICK)
    assert reached[-1].offset == len(HEAD + noise + b"login: ")


def test_what_floods_is_the_manifest_s_affair(wire: Wire) -> None:
    fed(wire, HEAD + b"[ 1.000] rcu stall\r\n" * 300)
    few = Failures(flood_lines=200, flood_bytes=4096)
    assert "'rcu stall' 300 " in fails(wire, (LOADER, LOGIN), failures=few).message


def test_a_machine_that_dies_in_a_boot_is_told_with_its_stage_and_its_last_words(tmp_path: Path) -> None:
    wire = make_wire(tmp_path, explain_end=lambda: "QEMU ended with status 1: no memory")
    wire.far.sendall(HEAD)
    wire.far.shutdown(1)
    with pytest.raises(LineClosed) as caught:
        walk(wire.console, (LOADER, LOGIN), power_on_ns=time.monotonic_ns() - 10**9)
    error = caught.value
    assert (error.origin, error.stage) == ("infrastructure", "login")
    assert re.search(r"'login'.*loader .*\d+\.\d s", error.message)
    assert "QEMU ended with status 1: no memory" in error.message
    assert error.evidence is not None
    assert error.evidence.lines[-1] == "  paddr=[682f7000..6fed00af]"
    wire.close()


def test_a_fatal_message_is_told_even_when_the_machine_ends_with_it(wire: Wire) -> None:
    fed(wire, HEAD + FAULT)
    wire.cut()
    assert "FAULT HANDLER: data fault from w" in fails(wire, (LOADER, LOGIN)).message


def test_a_line_that_never_says_anything_asks_for_its_cable(wire: Wire) -> None:
    quick = LOADER.model_copy(update={"limit": 0.1})
    with pytest.raises(BootError) as caught:
        walk(wire.console, (quick, LOGIN), power_on_ns=0)
    assert "speed" in (caught.value.hint or "")


def test_a_line_that_never_rests_has_an_end_too(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.monotonic()

    def read(timeout: float) -> bytes:
        assert time.monotonic() < begun + QUICK, "the wait has no end"
        return b"line %d\r\n" % time.monotonic_ns()

    monkeypatch.setattr(wire.console, "read", read)
    with pytest.raises(BootError, match="'x'"):
        walk(wire.console, [Stage(name="x", marker="never", limit=0.1)], power_on_ns=time.monotonic_ns())

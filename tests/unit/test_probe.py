"""The guest probe: records whole, broken and forged, the failure origin of an end, and the program where it can run here."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from limits import HANG
from support import QUICK, until

from hil.errors import ConfigurationError, Evidence, GuestError, InfrastructureError, RunnerError
from hil.guest import CommandTimeout
from hil.host.project import packaged
from hil.image.manifest import AgentFacts
from hil.measure import probe as module
from hil.measure.probe import Probe, build
from hil.measure.probe_record import VERDICTS, Counter, Cycles, Executions, parse, seconds
from hil.measure.units import ms, percent

HZ = 62_500_000
RUNNING = 0xFFFFFFFF


def execution(number: int, verdict: int = 1, code: int = 0) -> bytes:
    stamp = 1000 * number
    stamps = (stamp, 5_000_000_000 + stamp, 5_000_000_000 + stamp + 300, stamp + 500)
    return struct.pack("<QQQQQIIII", *stamps, 25, 0xABCD, verdict, code, 0)


def record(
    kind: int = 1,
    rows: tuple[bytes, ...] = (execution(1), execution(2)),
    planned: int | None = None,
    status: int = 0,
    crc: int | None = None,
    magic: bytes = b"hilprobe",
) -> bytes:
    body = b"".join(rows)
    planned = len(rows) if planned is None else planned
    size = len(rows[0]) if rows else 4
    crc = zlib.crc32(body) if crc is None else crc
    header = struct.pack("<8sIIIIQQIIII", magic, 1, kind, size, planned, HZ, 77, len(rows), status, 0, crc)
    return header + body + bytes(size * max(0, planned - len(rows)))


def words(*values: int) -> tuple[bytes, ...]:
    return tuple(struct.pack("<I", value) for value in values)


def test_executions_are_read():
    found = parse(record())
    assert isinstance(found, Executions)
    assert (found.hz, found.planned, found.done, found.complete, found.transfer) == (HZ, 2, 2, True, 77)
    assert found.response == pytest.approx([8e-6, 8e-6])
    assert found.execution == pytest.approx([4.8e-6, 4.8e-6])
    assert found.times == pytest.approx([0, 16e-6])
    assert list(found.verdict) == [1, 1]
    assert list(found.output_crc) == [0xABCD] * 2


def test_a_runner_that_takes_no_stamps_gives_no_execution_time():
    row = struct.pack("<QQQQQIIII", 1000, 0, 0, 1500, 0, 0, 1, 0, 0)
    found = parse(record(rows=(row,)))
    assert isinstance(found, Executions)
    assert found.execution is None
    assert found.response == pytest.approx([8e-6])


def test_cycles_and_counter_are_read():
    cycles, counter = parse(record(2, words(0, 625, 6250))), parse(record(3, words(0, 1, 2)))
    assert isinstance(cycles, Cycles)
    assert isinstance(counter, Counter)
    assert cycles.lateness == pytest.approx([0, 10e-6, 100e-6])
    assert counter.floor == pytest.approx(2 / HZ, rel=0.02)


def test_a_probe_that_died_leaves_what_it_had():
    found = parse(record(planned=5, status=RUNNING, crc=0))
    assert isinstance(found, Executions)
    assert (found.done, found.planned, found.complete) == (2, 5, False)
    assert len(found.response) == 2
    nothing = parse(record(2, (), planned=3, status=RUNNING))
    assert isinstance(nothing, Cycles)
    assert len(nothing.lateness) == 0


def test_a_record_is_incomplete_when_the_probe_says_so():
    assert not parse(record(status=130)).complete
    assert not parse(record(planned=3)).complete


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "0 bytes"),
        (record()[:55], "55 bytes"),
        (record()[:-1], "167 bytes"),
        (record() + b"x", "169 bytes"),
        (record(magic=b"hilprobf"), "68696c"),
        (record(kind=4), "kind 4"),
        (record(kind=2), "kind 2 .*56 bytes"),
        (record(planned=1), "2 of 1"),
        (record()[:-9] + b"!" + record()[-8:], "CRC"),
        (record(crc=1), "00000001"),
    ],
)
def test_a_damaged_record_is_refused(data, expected):
    with pytest.raises(InfrastructureError, match=expected):
        parse(data)


@pytest.mark.parametrize(
    ("begin", "end", "pair"),
    [
        ([10, 20], [15, 19], 2),
        ([10, 2**64 - 5], [15, 3], 2),
        ([2**64 - 9, 3], [2**64 - 5, 8], 2),
        ([10, 40, 30], [50, 60, 70], 3),
    ],
    ids=["within a pair", "wrapped in a pair", "wrapped between", "backwards between"],
)
def test_a_counter_that_goes_backwards_is_refused(begin, end, pair):
    with pytest.raises(InfrastructureError, match=f"{pair} of {len(begin)}"):
        seconds(np.array(begin, np.uint64), np.array(end, np.uint64), HZ)


def test_large_counters_lose_nothing():
    begin = np.array([2**63, 2**64 - 3], np.uint64)
    assert list(seconds(begin, begin + np.uint64(1), HZ) * HZ) == [1, 1]
    assert len(seconds(begin[:0], begin[:0], HZ)) == 0


def test_a_lateness_that_does_not_fit_is_no_figure():
    found = parse(record(2, words(1, RUNNING, 3)))
    assert isinstance(found, Cycles)
    with pytest.raises(InfrastructureError, match="2 of 3.*69 s"):
        _ = found.lateness


# -- the session ------------------------------------------------------------------------------------


class FakeGuest:
    """A guest whose probe ends with `status` and leaves `file`."""

    def __init__(self, status: int = 0, file: bytes = b"", text: str = "") -> None:
        self.status, self.file, self.text = status, file, text
        self.commands: list[str] = []
        self.sent: list[str] = []
        self.timeout: CommandTimeout | None = None
        self.new_session()
        self.board = SimpleNamespace(dirty=None, manifest=SimpleNamespace(name="fake", agent=AgentFacts()))

    def new_session(self) -> None:
        self.shell = SimpleNamespace(console=SimpleNamespace(evidence=lambda: Evidence(lines=("last words",))))

    def put(self, source: Path, path: str) -> bool:
        self.sent.append(path)
        return True

    def get(self, path: str) -> bytes:
        return self.file

    def run(self, command: str, **options: Any) -> Any:
        self.commands.append(command)
        if command.startswith("test -s"):
            return SimpleNamespace(status=0 if self.file else 1)
        if "--output" in command and self.timeout:
            raise self.timeout
        return SimpleNamespace(status=self.status, text=self.text)


@pytest.fixture(autouse=True)
def _no_compiler(request, monkeypatch):
    if "program" not in request.fixturenames:
        monkeypatch.setattr(module, "build", lambda: Path("/cache/abc"))


def probe_of(guest: FakeGuest) -> Probe:
    return Probe(guest)  # type: ignore[arg-type]


def test_the_probe_is_sent_once_a_boot():
    guest = FakeGuest(file=record())
    probe = probe_of(guest)
    probe.executions("/m.wasm", ["it's"], count=2)
    probe.executions("/m.wasm", count=2)
    assert guest.sent == ["/tmp/hil/probe-abc"]
    assert any("'it'\"'\"'s'" in command for command in guest.commands)
    guest.new_session()
    probe.executions("/m.wasm", count=2)
    assert len(guest.sent) == 2


def test_the_images_own_device_is_used():
    guest = FakeGuest(file=record())
    guest.board.manifest.agent = AgentFacts(device="/dev/uio0")
    probe_of(guest).executions("/m.wasm", count=2)
    assert any("--device /dev/uio0 /m.wasm" in command for command in guest.commands)
    with pytest.raises(ConfigurationError, match="fake"):
        probe_of(guest).cycles(count=2, partition=True)


@pytest.mark.parametrize(
    ("status", "text", "kind", "expected"),
    [
        (1, "probe: not a number, or out of range: 0", ConfigurationError, "range: 0"),
        (255, "probe: no such module: /m.wasm", ConfigurationError, "no such module"),
        (247, "probe: module too large", ConfigurationError, "too large"),
        (245, "probe: no answer from the runner", RunnerError, "no answer from the runner"),
        (246, "probe: another agent is busy", RunnerError, "busy"),
        (248, "probe: cannot write /tmp/x", GuestError, "cannot write /tmp/x"),
        (249, "probe: the kernel refuses priority 80", GuestError, "refuses priority"),
        (127, "sh: not found", GuestError, "not found"),
        (137, "", GuestError, "signal 9"),
        (0, "", GuestError, "probe"),
    ],
)
def test_each_exit_status_has_its_failure_origin(status, text, kind, expected):
    guest = FakeGuest(status, text=text)
    with pytest.raises(kind, match=expected) as caught:
        probe_of(guest).executions("/m.wasm", count=2)
    assert caught.value.evidence.lines == ("last words",)
    assert (guest.board.dirty is not None) == (status == 245)


def test_a_failing_execution_is_named():
    rows = (execution(1), execution(2, verdict=4, code=0x40C))
    guest = FakeGuest(242, record(rows=rows, planned=9, status=242))
    probe = probe_of(guest)
    with pytest.raises(RunnerError, match="2 of 9.*trapped.*1036"):
        probe.executions("/m.wasm", count=9)
    assert probe.last
    assert probe.last.done == 2


def test_what_a_killed_probe_recorded_is_kept():
    guest = FakeGuest(137, record(2, words(1, 2), planned=9, status=RUNNING))
    probe = probe_of(guest)
    with pytest.raises(GuestError, match="signal 9.*2 of 9"):
        probe.cycles(count=9)
    assert isinstance(probe.last, Cycles)
    assert list(probe.last.late) == [1, 2]


@pytest.mark.parametrize("recovered", [True, False])
def test_a_probe_that_takes_too_long(recovered):
    guest = FakeGuest(file=record(planned=9, status=130))
    guest.timeout = CommandTimeout("late", recovered=recovered, output=b"", start=0, end=0, evidence=Evidence())
    probe = probe_of(guest)
    with pytest.raises(CommandTimeout):
        probe.executions("/m.wasm", count=9)
    assert (probe.last is not None) == recovered, "nothing is asked of a shell that is lost"


@pytest.mark.parametrize(
    ("period", "priority", "expected"),
    [
        (2 * percent, 80, "2 %"),
        (0.001, 80, "0.001"),
        (1 * ms, 0, "1 to 98"),
        (1 * ms, 99, "99.*1 to 98"),
    ],
)
def test_bad_loops_are_refused_before_anything_is_sent(period, priority, expected):
    guest = FakeGuest()
    with pytest.raises(ConfigurationError, match=expected):
        probe_of(guest).cycles(period, count=1, priority=priority)
    assert not guest.commands


# -- the program, where this machine can run it -----------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        build.cache_clear()
        made = build()
        assert build.__wrapped__() == made, "what is there is not built again"
        assert [path.name for path in made.parent.iterdir()] == [made.name]
    build.cache_clear()
    return made


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qemu-aarch64", program, *arguments], capture_output=True, text=True, timeout=HANG)


def test_it_is_small_and_names_no_path(program, tmp_path):
    assert len(lzma.compress(program.read_bytes())) < 8192
    assert str(Path(__file__).parents[2]).encode() not in program.read_bytes()


def test_it_counts_and_loops(program, tmp_path):
    file = tmp_path / "record"
    assert run(program, "counter", "--output", str(file), "--count", "1000").returncode == 0
    counter = parse(file.read_bytes())
    assert isinstance(counter, Counter)
    assert counter.complete
    assert run(program, "cycle", "--output", str(file), "--count", "20", "--period-ns", "1000000").returncode == 0
    cycles = parse(file.read_bytes())
    assert isinstance(cycles, Cycles)
    assert cycles.complete
    assert cycles.late.any()


def interrupted(program, file):
    """Return the status of a loop that is terminated while it runs; None if it does not end."""
    command = ["qemu-aarch64", program, "cycle", "--output", file, "--period-ns", "10000000", "--count", "100000"]
    process = subprocess.Popen(command)
    try:
        until(lambda: file.exists() and file.stat().st_size and int.from_bytes(file.read_bytes()[40:44], "little"))
        process.terminate()
        return process.wait(QUICK / 4)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()


def test_an_interrupted_loop_has_ended_by_the_signal(program, tmp_path):
    # qemu-aarch64 loses a signal now and then; a loop that does not end by it fails all attempts
    file, statuses = tmp_path / "record", []
    while len(statuses) < 3 and statuses.count(None) == len(statuses):
        file.unlink(missing_ok=True)
        statuses.append(interrupted(program, file))
    assert statuses[-1] in (-15, 128 + 15)
    found = parse(file.read_bytes())
    assert 0 < found.done < found.planned
    assert not found.complete


def test_requests_are_framed_for_the_real_device(program, tmp_path):
    device, wasm = tmp_path / "uio", tmp_path / "m.wasm"
    device.write_bytes(bytes(8192))
    wasm.write_bytes(b"abc")
    options = ("--output", str(tmp_path / "record"), "--device", str(device))
    ended = run(program, "run", *options, str(wasm), "argument")
    assert (ended.returncode, ended.stderr) == (245, "probe: no answer from the runner: it is dead\n")
    pages = device.read_bytes()
    assert pages[:8] == bytes([1, 0, 0, 0, 0, 0, 0, 0]), "the event"
    assert pages[4096:4112] == struct.pack("<HHQI", 1, 8, 3, 0), "RESET_BUFFER with the size of the module"
    assert run(program, "run", *options, str(wasm), "x" * 4092).returncode == 247
    assert run(program, "run", *options, str(tmp_path)).returncode == 255


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("run", "--output", "OUT"),
        ("counter",),
        ("counter", "--output"),
        ("counter", "--output", "OUT", "--count", "0"),
        ("counter", "--output", "OUT", "--count", "1000001"),
        ("counter", "--output", "OUT", "--count", "99999999999999999999999999"),
        ("counter", "--output", "OUT", "--count", "-1"),
        ("counter", "--output", "OUT", "--count", ""),
        ("cycle", "--output", "OUT"),
        ("cycle", "--output", "OUT", "--period-ns", "1000000", "stray"),
    ],
)
def test_bad_use_ends_with_1(program, tmp_path, arguments):
    file = tmp_path / "record"
    ended = run(program, *(str(file) if word == "OUT" else word for word in arguments))
    assert ended.returncode == 1
    assert ended.stderr.startswith("probe: ")
    assert not file.exists()


def test_the_verdicts_of_a_record_are_numbered_as_the_runner_does() -> None:
    header = (packaged("images") / "reference" / "link.h").read_text()
    block = re.search(r"enum link_verdict \{(.*?)\};", header, re.S)
    assert block
    assert "LINK_EXITED = 1," in block[1]
    names = re.findall(r"LINK_(\w+)", block[1])
    assert [name.replace("LIMIT", "LIMIT_EXCEEDED").replace("_", " ").lower() for name in names] == list(VERDICTS[1:])

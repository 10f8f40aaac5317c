"""The real image's console as it was recorded, read by the manifest that describes it.

What is expected was written down by hand, from the recordings and from the notes of what each command did.
"""

from __future__ import annotations

import ast
import gzip
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import Wire, arrived

from hil.board.stages import walk
from hil.errors import BootError
from hil.image import manifest
from hil.wasm.reading import Reading, read
from hil.wasm.verdict import Failed, Faulted, Verdict, exited, failed, faulted, silent

RECORDINGS = Path(__file__).parents[1] / "recordings"
SEL4 = manifest.find("wasmedge-sel4")
assert SEL4.agent is not None
FACTS = SEL4.agent
STAMP = "[1900-01-00 00:00:00.000] "
STAGES = (
    *("loader", "kernel entry", "kernel", "user space", "VMM"),
    *("guest kernel", "guest init", "agent device", "login", "shell"),
)
BOOTS = (
    *("aot-fault.raw", "bad-input-1.raw", "bad-input-2.raw", "bad-input-3.raw", "bad-input-4.raw"),
    *("bad-input-5.raw", "boot.raw", "interleave.raw", "samples.raw"),
)
HELLO = b"hello, sel4\n1+2-3*4 = -9\n"
NBODY = b"-0.169075164\n-0.169073022\n"
NBODY_1000 = b"-0.169075164\n-0.169087605\n"
NBODY_10000 = b"-0.169075164\n-0.169016441\n"
LONG = b"L" * 4200 + b"\n"
MANY = b"0123456789abcdefghijklmnopqrstuvwxyz\n" * 2000


def recording(name: str) -> bytes:
    path = RECORDINGS / name
    return path.read_bytes() if path.exists() else gzip.decompress((RECORDINGS / f"{name}.gz").read_bytes())


def reading(console: bytes, *foreign: str) -> Reading:
    return read(console, FACTS, foreign=(*SEL4.console.foreign, *foreign))


@dataclass(frozen=True)
class Deployment:
    """A command of a recording, the console bytes until its status, and that status."""

    command: str
    console: bytes
    status: int


TYPED = re.compile(rb"# (wasmedge_emit [^\r\n]*); echo Z\d*\"\"\d*Z \$\?\r\n(.*?)Z\d+Z (\d+)\r\n", re.S)


def deployments(name: str) -> list[Deployment]:
    return [Deployment(one[1].decode(), one[2], int(one[3])) for one in TYPED.finditer(recording(name))]


@dataclass(frozen=True)
class Golden:
    """What must be read: verdict, the module's output, and how many diagnostics; `code` of a `failed`."""

    command: str
    verdict: Verdict
    output: bytes = b""
    code: int | None = None
    diagnostics: int = 0
    foreign: int = 0
    heard: bool = True

    def check(self, got: Reading) -> None:
        assert got.verdict == self.verdict, got
        assert (got.output, got.intact, got.heard) == (self.output, None, self.heard)
        assert (len(got.diagnostics), len(got.foreign)) == (self.diagnostics, self.foreign), got
        if isinstance(got.verdict, Failed):
            assert got.verdict.code == self.code


def good(path: str, output: bytes = b"", code: int = 0, foreign: int = 0) -> Golden:
    return Golden(f"wasmedge_emit {path}", exited(code), output, foreign=foreign)


def bad(path: str, reason: str, code: int, lines: int) -> Golden:
    return Golden(f"wasmedge_emit {path}", failed(reason), code=code, diagnostics=lines)


def dead(path: str) -> Golden:
    return Golden(f"wasmedge_emit {path}", silent(), heard=False)


AFTER = good("/usr/bin/nbody-c.wasm 10", NBODY)  # the run after a bad one, to see whether the runner lives
GOLDEN = {
    "samples.raw": [
        good("/usr/bin/hello.wasm", HELLO, foreign=1),
        AFTER,
        good("/usr/bin/hello.wasm", HELLO),
        AFTER,
        good("/usr/bin/hello.wasm", HELLO),
        AFTER,
        good("/usr/bin/nbody-c.wasm 1000", NBODY_1000),
        good("/usr/bin/nbody-c.wasm 10000", NBODY_10000),
    ],
    "aot-fault.raw": [
        Golden("wasmedge_emit /usr/bin/hello.aot.wasm", faulted(), diagnostics=40 + 5 + 16, foreign=1),
        dead("/usr/bin/hello.wasm"),
        dead("/usr/bin/hello.wasm"),
    ],
    "bad-input-1.raw": [
        good("/tmp/nop.wasm"),
        AFTER,
        bad("/tmp/nostart.wasm", "wasm function not found", 0x05, 2),
        AFTER,
        bad("/tmp/sig.wasm", "function signature mismatch", 0x83, 2),
        AFTER,
        bad("/tmp/import.wasm", "unknown import", 0x62, 5),
        AFTER,
    ],
    "bad-input-2.raw": [
        bad("/tmp/trap.wasm", "unreachable", 0x89, 2),
        AFTER,
        bad("/tmp/div0.wasm", "integer divide by zero", 0x84, 2),
        AFTER,
        bad("/tmp/oob.wasm", "out of bounds memory access", 0x88, 3),
        AFTER,
    ],
    "bad-input-3.raw": [
        good("/tmp/exit7.wasm", code=7),
        AFTER,
        good("/tmp/print.wasm", b"hello print\n"),
        AFTER,
        good("/tmp/stderr.wasm", b"hello stderr\n"),
        AFTER,
        good("/tmp/nonl.wasm", b"no newline at end"),
        AFTER,
    ],
    "bad-input-4.raw": [
        good("/tmp/long4k.wasm", LONG),
        AFTER,
        good("/tmp/many.wasm", MANY),
        AFTER,
        good("/tmp/bin.wasm", bytes(range(256))),
        AFTER,
        good("/tmp/fd9.wasm", code=108),
        AFTER,
    ],
    "bad-input-5.raw": [
        good("/tmp/clock.wasm", code=28),
        AFTER,
        Golden("wasmedge_emit /tmp/stdin.wasm", faulted(), diagnostics=1),
        dead("/usr/bin/nbody-c.wasm 10"),
    ],
}
CASES = [(name, number) for name, golden in GOLDEN.items() for number in range(len(golden))]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_recorded_deployment_is_known(name: str) -> None:
    assert [one.command for one in deployments(name)] == [golden.command for golden in GOLDEN[name]]


@pytest.mark.parametrize(("name", "number"), CASES)
def test_a_recorded_deployment(name: str, number: int) -> None:
    deployment = deployments(name)[number]
    assert deployment.status == 0, "the agent's status says nothing"
    GOLDEN[name][number].check(reading(deployment.console))


def test_the_recorded_fault_of_an_aot_module() -> None:
    verdict = reading(deployments("aot-fault.raw")[0].console).verdict
    assert isinstance(verdict, Faulted)
    assert (verdict.address, verdict.pc) == (0x8, 0x4259868)
    assert str(verdict) == "faulted(data fault from wasmedge.wasmedge_0_control, address 0x8, pc 0x4259868)"
    registers = verdict.registers
    general = [f"x{number}" for number in range(31)]
    assert sorted(registers) == sorted([*general, "pc", "sp", "spsr", "tpidr_el0", "tpidrro_el0"])
    assert (registers["pc"], registers["sp"], registers["spsr"]) == (0x4259868, 0x4745490, 0x60000040)
    assert (registers["x0"], registers["x30"], registers["tpidr_el0"]) == (0x2, 0x425F730, 0x4710EA8)


def test_the_recorded_end_of_a_module_that_reads() -> None:
    verdict = reading(deployments("bad-input-5.raw")[2].console).verdict
    told = 'Assertion failed: !"not implemented" (/src/projects/seL4_libs/libsel4muslcsys/src/sys_io.c: sys_readv: 342)'
    assert str(verdict) == f"faulted({told})"
    assert isinstance(verdict, Faulted)
    assert (verdict.address, verdict.pc, verdict.registers) == (None, None, {})


def test_deployments_that_a_guest_s_loop_and_a_kernel_write_into() -> None:
    """Seven runs of nbody-c, six of them in a loop beside one that prints 400 lines."""
    console = recording("interleave.raw")
    starts = [match.start() for match in re.finditer(re.escape(STAMP.encode()) + rb"\[info\] executing", console)]
    ends = [console.rfind(b"\n", 0, start) + 1 for start in starts[1:]]  # without the line that is cut
    regions = [console[start:end] for start, end in zip(starts, [*ends, len(console)], strict=True)]
    assert len(regions) == 7
    assert sum(console[start - 1 : start] != b"\n" for start in starts) == 2
    read_so = [reading(region, r"guest line \d+ \w+") for region in regions[:5]]
    assert {(one.verdict, one.output, one.diagnostics) for one in read_so} == {(exited(0), NBODY, ())}
    # the lines 1 to 68, 70 to 209 (69 and 210 are cut by the runner's), and 211 to 345
    assert [len(one.foreign) for one in read_so[:3]] == [68, 140, 135]
    last = regions[6][: regions[6].index(b"ALL-DONE")]
    got = reading(last)
    assert (got.verdict, got.output) == (exited(0), NBODY)
    assert [re.sub(r"^\[.{12}\] ", "", line) for line in got.foreign] == [
        f"kmsg {number} " + "K" * 38 for number in range(1, 31)
    ]


# the notes of what each command did, `--- NAME: \`COMMAND\` rc=N`, their console with plain line ends

CUT = {"long4k", "many", "arg 4000", "arg 5000", "2 at once", "2 at once b"}  # the notes have their beginning only
OUTCOMES = {
    "missing": Golden("255", silent(), diagnostics=2),
    "directory": Golden("255", silent(), diagnostics=1),
    "no arg": Golden("1", silent(), diagnostics=2),
    "empty": bad("", "unexpected end", 0x22, 3),
    "truncated nbody (30000 of 52354)": bad("", "unexpected end", 0x22, 7),
    "header only (8 B)": bad("", "wasm function not found", 0x05, 2),
    "4 B": bad("", "unexpected end", 0x22, 3),
    "random 10 kB": bad("", "magic header not detected", 0x23, 3),
    "truncated hello.wasm 1000000": bad("", "unexpected end", 0x22, 4),
    "nop": good(""),
    "nostart": bad("", "wasm function not found", 0x05, 2),
    "sig": bad("", "function signature mismatch", 0x83, 2),
    "import": bad("", "unknown import", 0x62, 5),
    "trap": bad("", "unreachable", 0x89, 2),
    "div0": bad("", "integer divide by zero", 0x84, 2),
    "oob": bad("", "out of bounds memory access", 0x88, 3),
    "exit7": good("", code=7),
    "print": good("", b"hello print\n"),
    "stderr": good("", b"hello stderr\n"),
    "nonl": good("", b"no newline at end"),
    "fd9": good("", code=108),
    "clock": good("", code=28),
    "stdin": Golden("", faulted("sys_readv: 342"), diagnostics=1),
    "rec": Golden("", silent()),
    "grow": Golden("", faulted("sys_mremap_static: 307"), diagnostics=1),
    "mem500": good(""),
    "mem2000": Golden("", faulted("data fault", 0xFFFFFFFFFC9798D0, 0x52F118), diagnostics=9),
    "args 3": good("", b"wasm.wasm\0one\0two words\0three\0", code=4),
    "infinite loop": Golden("", silent()),  # what is there until it is known to be stuck
    "module 3 MiB": good("", b"hello print\n", foreign=1),
    "module 5 MiB": good("", b"hello print\n"),
    "module 8 MiB": good("", b"hello print\n", foreign=1),
    "module 16 MiB": good("", b"hello print\n", foreign=1),
    "module 24 MiB": Golden("", faulted("data fault", 0xFFFFFFFFFFE878D0, 0x52F118), diagnostics=9, foreign=1),
    "module 40 MiB": Golden("", faulted("data fault", 0xFFFFFFFFFF6888D0, 0x52F118), diagnostics=9, foreign=1),
    "module 80 MiB": Golden("", faulted("data fault", 0xFFFFFFFFFF70A8D0, 0x52F118), diagnostics=9),
}
NOTE = re.compile(r"^--- ([^`\n]+): `(.*)` rc=(\w+) .*\n   output: (.*)\n", re.M)


def notes() -> dict[str, tuple[str, bytes]]:
    """The agent's status and the console of each case, without what `ls -l` said after it."""
    text = recording("bad-input-outcomes.txt").decode()
    found = {}
    for name, _, status, output in NOTE.findall(text):
        console = ast.literal_eval(output).encode("latin-1").replace(b"\n", b"\r\n")
        found[name] = status, re.sub(rb"-rw-r--r--[^\n]*\n", b"", console)
    return found


def test_every_noted_case_is_known() -> None:
    # `bin` is in a recording; in the notes its bytes went through a text's universal line ends
    assert set(notes()) == {*OUTCOMES, *CUT, "bin"}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_noted_case(name: str) -> None:
    golden = OUTCOMES[name]
    status, console = notes()[name]
    assert status == (golden.command if golden.command.isdigit() else "None" if name == "infinite loop" else "0")
    got = reading(console)
    golden.check(got)
    if isinstance(golden.verdict, Faulted):
        assert isinstance(got.verdict, Faulted)
        assert golden.verdict.reason in got.verdict.reason
        assert (got.verdict.address, got.verdict.pc) == (golden.verdict.address, golden.verdict.pc)


@pytest.mark.parametrize("name", sorted(CUT))
def test_a_case_whose_end_is_missing_is_never_believed(name: str) -> None:
    assert reading(notes()[name][1]).verdict == silent()


# the genuine image; one with a repaired AOT loader, until it is worn out; the genuine one with each AOT module
HELLO_RUN, NBODY_RUN = good("hello.wasm", HELLO), good("nbody-c.wasm 10", NBODY)
HELLO_AOT, NBODY_AOT = good("hello.aot.wasm", HELLO), good("nbody-c.aot.wasm 10", NBODY)
SAMPLES = [
    good("hello.wasm", HELLO, foreign=1),
    *(NBODY_RUN, HELLO_RUN, NBODY_RUN, HELLO_RUN, NBODY_RUN),
    good("nbody-c.wasm 1000", NBODY_1000),
    good("nbody-c.wasm 10000", NBODY_10000),
    good("hello.wasm", HELLO, foreign=1),
    *(NBODY_RUN, HELLO_AOT, NBODY_AOT, HELLO_RUN, NBODY_RUN, HELLO_AOT, NBODY_AOT, HELLO_RUN, NBODY_RUN),
    Golden("wasmedge_emit hello.aot.wasm", silent()),  # it wears out here, and is dead
    dead("nbody-c.aot.wasm 10"),
    dead("nbody-c.aot.wasm 10000"),
    Golden("wasmedge_emit hello.aot.wasm", faulted("", 0x8, 0x4259868), diagnostics=61, foreign=1),
    dead("hello.wasm"),
    dead("hello.wasm"),
    Golden("wasmedge_emit nbody-c.aot.wasm 10", faulted("", 0x8, 0x42682B0), diagnostics=61),
    dead("hello.wasm"),
]


def test_every_noted_sample_is_read_right() -> None:
    text = (RECORDINGS / "samples-outcomes.txt").read_text()
    found = re.findall(r"^--- (.*) rc=0 wall=.*\n((?:(?!---|=====).+\n)*)", text, re.M)
    assert [f"wasmedge_emit {name}" for name, _ in found] == [golden.command for golden in SAMPLES]
    for golden, (_, console) in zip(SAMPLES, found, strict=True):
        got = reading(console.encode().replace(b"\n", b"\r\n"))
        golden.check(got)
        if isinstance(golden.verdict, Faulted):
            assert isinstance(got.verdict, Faulted)
            assert (got.verdict.address, got.verdict.pc) == (golden.verdict.address, golden.verdict.pc)
            assert len(got.verdict.registers) == 36


# boots


@pytest.mark.parametrize("name", BOOTS)
def test_the_stages_of_a_recorded_boot(wire: Wire, name: str) -> None:
    data = recording(name)
    wire.far.sendall(data)
    arrived(wire.console, len(data))
    noise = SEL4.console.noise
    reached = walk(
        wire.console,
        SEL4.stages,
        power_on_ns=0,
        answers={"buildroot login: ": "root"},
        failures=SEL4.failures,
        noise=noise,
    )
    assert tuple(stage.name for stage in reached) == STAGES
    offsets = [stage.offset for stage in reached]
    assert offsets == sorted(offsets)
    assert data[: offsets[0]] == b"\r\nELF-loader started on CPU:"
    assert data[offsets[-2] : offsets[-1]] == b"root\r\n# "


def test_the_recorded_boot_that_drowns(wire: Wire) -> None:
    data = recording("boot-hang-vppi-flood.raw")
    quick = [stage.model_copy(update={"limit": 0.5}) for stage in SEL4.stages]
    wire.far.sendall(data)
    arrived(wire.console, len(data))
    with pytest.raises(BootError) as caught:
        walk(wire.console, quick, power_on_ns=0, failures=SEL4.failures, noise=SEL4.console.noise)
    assert (caught.value.stage, caught.value.origin) == ("guest kernel", "image")
    assert "VMM" in caught.value.message
    line = "vm_vppi_event_handler@vm.c:97 VPPI IRQ 27 dropped on vcpu 0"
    assert f"'{line}'" in caught.value.message
    assert caught.value.evidence is not None
    assert len(caught.value.evidence.lines) == 20
    assert caught.value.evidence.lines[0] == line

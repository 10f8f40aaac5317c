"""The verdict: read from a line that a module, a kernel and bad luck write on, too."""

from __future__ import annotations

import re
import time
import zlib
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import hil
from hil.cli.runs import STATUS
from hil.faults.record import BREAKS
from hil.image import manifest
from hil.image.manifest import AgentFacts
from hil.measure import soak
from hil.report import kinds
from hil.wasm import verdict
from hil.wasm.reading import Reading, read
from hil.wasm.verdict import Faulted, exited, failed, faulted, no_agent, silent, stuck

FACTS = AgentFacts(seal_option="--seal={nonce}")
FOREIGN = (r"\[ *\d+\.\d{6}\] .*", "partition: .*")
PRINTK = b"[    3.383214] random: fast init done\r\n"
NONCE = "0123456789abcdef"
STAMP = b"[2026-11-23 12:00:00.000] "
EXECUTING = STAMP + b"[info] executing wasm file\r\n"
SUCCESS = STAMP + b"[info] execution success, exit code:0\r\n"


def seal(
    output: bytes, verdict: str = "exited", code: int = 0, reason: str = "", nonce: str = NONCE, **other: str
) -> bytes:
    fields = {
        "nonce": nonce,
        "verdict": verdict,
        "code": str(code),
        "reason": quote(reason, safe=""),
        "bytes": str(len(output)),
        "crc32": f"{zlib.crc32(output):08x}",
        "transfer": "1000",
        "run": "625000",
        "hz": "62500000",
    } | other
    line = "hil-seal v=1 " + " ".join(f"{key}={value}" for key, value in fields.items())
    return f"{line} sum={zlib.crc32(line.encode()):08x}\n".encode()


def deployment(output: bytes, code: int = 0) -> bytes:
    """What a sealed run that exits puts on the line."""
    last = STAMP + b"[info] execution success, exit code:%d\r\n" % code
    return EXECUTING + output + last + seal(output, code=code)


LOOKALIKES = [
    EXECUTING,
    SUCCESS,
    STAMP + b"[info] execution failed:unreachable\r\n",
    seal(b"", nonce="ffffffffffffffff"),
    seal(b"x", nonce="ffffffffffffffff")[:40],
    b"hil-seal v=1 nonce=\xff\xfe sum=00000000\n",
    b"hil-seal v=1 nonce= sum=00000000\n",
    b"hil-seal v=1 nonce=" + NONCE[:8].encode() + b"\n",
    b"# ",
    b"login: ",
    b"@deadbeef.1>0@\n",
    b"[",
    b"\r",
    b"\n",
]
hostile = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(LOOKALIKES)), max_size=10).map(b"".join)


@given(hostile, st.integers(0, 255))
def test_a_sealed_run_is_read_whatever_the_module_writes(output: bytes, code: int) -> None:
    reading = read(deployment(output, code), FACTS, nonce=NONCE, foreign=FOREIGN)
    assert reading.verdict == exited(code)
    assert (reading.output, reading.intact, reading.foreign) == (output, True, ())
    assert reading.seal is not None
    assert (reading.seal.run_ticks, reading.seal.transfer_ticks, reading.seal.hz) == (625000, 1000, 62500000)


@given(hostile, st.sampled_from([b"", SUCCESS, EXECUTING]))
def test_without_the_right_seal_nothing_is_believed(output: bytes, tail: bytes) -> None:
    reading = read(EXECUTING + output + SUCCESS + tail, FACTS, nonce=NONCE, foreign=FOREIGN)
    assert reading.verdict == silent()
    assert not reading.verdict.good
    assert reading.intact is False


@given(hostile, st.data())
def test_one_wrong_byte_in_the_seal_silences_it(output: bytes, data: st.DataObject) -> None:
    line = bytearray(seal(output))
    at = data.draw(st.integers(0, len(line) - 2))
    line[at] ^= 1 << data.draw(st.integers(0, 7))
    # the sum's own digits are the same number in capitals
    assume(bytes(line).lower() != seal(output).lower())
    reading = read(EXECUTING + output + SUCCESS + bytes(line), FACTS, nonce=NONCE)
    assert reading.verdict == silent()
    assert reading.verdict != exited(0)


@given(hostile, st.data())
def test_bytes_lost_from_the_output_are_noticed(output: bytes, data: st.DataObject) -> None:
    assume(output)
    at = data.draw(st.integers(0, len(output) - 1))
    console = EXECUTING + output[:at] + output[at + 1 :] + SUCCESS + seal(output)
    reading = read(console, FACTS, nonce=NONCE, foreign=FOREIGN)
    assert reading.verdict == exited(0), "the seal itself is whole"
    # losing one of two equal bytes at the very end may still be read from what follows: never a wrong text
    assert reading.intact is False or reading.output == output


plain = st.lists(st.sampled_from([b"hello, sel4\r\n", b"1+2-3*4 = -9\r\n", b"no end", b"\xff\x00"]), min_size=1).map(
    b"".join
)


@given(plain, st.lists(st.integers(0, 200), min_size=1, max_size=4))
def test_foreign_lines_anywhere_in_the_output_are_set_apart(output: bytes, places: list[int]) -> None:
    disturbed = output
    for place in sorted((min(place, len(output)) for place in places), reverse=True):
        disturbed = disturbed[:place] + PRINTK + disturbed[place:]
    reading = read(EXECUTING + disturbed + SUCCESS + seal(output), FACTS, nonce=NONCE, foreign=FOREIGN)
    assert reading.verdict == exited(0)
    assert (reading.output, reading.intact) == (output, True)
    assert set(reading.foreign) <= {PRINTK.decode().strip()}
    # lines that came after the last byte of the output need not be taken out of it
    assert reading.foreign or disturbed.startswith(output)


def test_an_unknown_line_in_the_output_is_called_garbled() -> None:
    console = EXECUTING + b"he" + b"BUG: unknown\r\n" + b"llo\r\n" + SUCCESS + seal(b"hello\r\n")
    reading = read(console, FACTS, nonce=NONCE, foreign=FOREIGN)
    assert (reading.verdict, reading.intact) == (exited(0), False)
    assert reading.output == b"heBUG: unknown\r\nllo\r\n"


@pytest.mark.parametrize(
    ("word", "code", "reason", "verdict"),
    [
        ("exited", 0, "", exited(0)),
        ("exited", 300, "", exited(300)),
        ("failed", 0x89, "unreachable", failed("unreachable")),
        ("failed", 0x83, "function signature mismatch", failed("function signature mismatch")),
        ("failed", 1, "100% = a b\nc", failed("100% = a b\nc")),
        ("faulted", 11, "", faulted()),
        ("faulted", 9, "out of memory", faulted()),
    ],
)
def test_each_sealed_verdict(word: str, code: int, reason: str, verdict: object) -> None:
    diagnostic = STAMP + b"[error] what the library says\r\n"
    console = EXECUTING + b"out" + diagnostic + seal(b"out", word, code, reason)
    reading = read(console, FACTS, nonce=NONCE)
    assert reading.verdict == verdict
    assert reading.verdict.good is (verdict == exited(0))
    assert (reading.output, reading.intact) == (b"out", True)
    assert reading.diagnostics == (diagnostic.decode().strip(),)


def test_details_of_verdicts_are_shown_and_not_compared() -> None:
    reading = read(EXECUTING + seal(b"", "failed", 0x89, "unreachable"), FACTS, nonce=NONCE)
    assert getattr(reading.verdict, "code", None) == 0x89
    assert faulted("signal 11") == faulted()
    assert stuck("a") == stuck("b")
    assert no_agent("a") == no_agent()
    assert len({exited(0), exited(1), failed("x"), faulted(), silent(), stuck(), no_agent()}) == 7
    shown = [str(one) for one in (exited(7), failed("x"), faulted(), faulted("r"), silent(), silent("r"), no_agent())]
    assert shown == ["exited(7)", "failed(x)", "faulted", "faulted(r)", "silent", "silent (r)", "no-agent"]


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "fine"},
        {"code": "zero"},
        {"bytes": ""},
        {"crc32": "xyz"},
        {"hz": "1e6"},
    ],
)
def test_a_seal_that_makes_no_sense_is_not_believed(change: dict[str, str]) -> None:
    reading = read(EXECUTING + SUCCESS + seal(b"", **change), FACTS, nonce=NONCE)
    assert reading.verdict == silent()


def test_a_load_failure_comes_without_executing() -> None:
    told = STAMP + b"[error] loading failed: unexpected end, Code: 0x22\r\n"
    reading = read(told + seal(b"", "failed", 0x22, "unexpected end"), FACTS, nonce=NONCE)
    assert reading.verdict == failed("unexpected end")
    assert (reading.output, reading.intact) == (b"", True)
    assert reading.diagnostics == (told.decode().strip(),)


# an agent that cannot seal, as on the real image

OLD = AgentFacts()
OLD_STAMP = b"[1900-01-00 00:00:00.000] "
OLD_EXECUTING = OLD_STAMP + b"[info] executing wasm file\r\n"
OLD_SUCCESS = OLD_STAMP + b"[info] execution success, exit code:0\r\n"


@pytest.mark.parametrize(
    ("console", "verdict", "output"),
    [
        (b"hello, sel4\r\n1+2-3*4 = -9\r\n" + OLD_SUCCESS, exited(0), b"hello, sel4\r\n1+2-3*4 = -9\r\n"),
        (OLD_SUCCESS.replace(b":0", b":7"), exited(7), b""),
        (b"no newline at end" + OLD_SUCCESS, exited(0), b"no newline at end"),
        (b"array [ of\r\n[open\r\n" + OLD_SUCCESS, exited(0), b"array [ of\r\n[open\r\n"),
        (OLD_SUCCESS.replace(b"\r\n", b"\r\r\n"), exited(0), b""),
        (b"x\r\n" + OLD_STAMP + b"[info] execution failed:unexpected end\r\n", failed("unexpected end"), b"x\r\n"),
        (b"", silent(), b""),
        (b"some output\r\n", silent(), b"some output\r\n"),
        (OLD_SUCCESS[:-2], silent(), OLD_SUCCESS[:-2]),
        (OLD_SUCCESS + b"more output\r\n", silent(), None),
        (OLD_SUCCESS + b"FAULT HANDLER: data fault from wasmedge\r\n", silent(), None),
        (OLD_SUCCESS + b"x\r\n" + OLD_STAMP + b"[info] execution failed:unreachable\r\n", failed("unreachable"), None),
        (OLD_SUCCESS + PRINTK, exited(0), b""),
    ],
)
def test_without_a_seal_the_last_line_decides(console: bytes, verdict: object, output: bytes | None) -> None:
    reading = read(OLD_EXECUTING + console, OLD, foreign=FOREIGN)
    assert reading.verdict == verdict
    assert reading.intact is None
    assert output is None or reading.output == output


def test_a_runner_that_says_nothing_is_silent() -> None:
    assert read(b"", OLD).verdict == silent()
    assert read(OLD_SUCCESS, OLD).verdict == silent(), "a verdict without a start is nobody's"
    assert read(OLD_EXECUTING, OLD).verdict == silent()


# recorded on the real image: FILE, then what the console showed
RECORDED_TRAP = (
    b"[1900-01-00 00:00:00.000] [info] executing wasm file\r\n"
    b"[1900-01-00 00:00:00.000] [error] execution failed: unreachable, Code: 0x89\r\n"
    b"[1900-01-00 00:00:00.000] [error]     In instruction: unreachable (0x00) , Bytecode offset: 0x00000023\r\n"
    b'[1900-01-00 00:00:00.000] [error]     When executing function name: "_start"\r\n'
    b"[1900-01-00 00:00:00.000] [error] wasmedge runtime failed: unreachable, Code: 0x89\r\n"
    b"[1900-01-00 00:00:00.000] [info] execution failed:unreachable\r\n"
)


def test_a_recorded_trap() -> None:
    assert read(RECORDED_TRAP, OLD).verdict == failed("unreachable")


@given(hostile)
def test_any_bytes_are_read_without_a_seal(output: bytes) -> None:
    assert read(output, OLD).intact is None
    reading = read(OLD_EXECUTING + output, OLD)
    whole = re.compile(rb"exit code:0\r*\n\s*\Z")
    assert reading.verdict != exited(0) or whole.search(output)


@pytest.mark.parametrize(
    "byte", [b"[", b"[\r\n", b"hil-seal v=1 nonce=", b"hil-seal v=1 nonce=a a=b ", b"\r", b"[ 1.000000] ", SUCCESS[:-3]]
)
def test_half_a_megabyte_of_lookalikes_is_read_in_no_time(byte: bytes) -> None:
    output = byte * ((512 << 10) // len(byte))
    begin = time.process_time()
    assert read(deployment(output), FACTS, nonce=NONCE, foreign=FOREIGN).output == output
    assert read(output, FACTS, nonce=NONCE, foreign=FOREIGN).verdict == silent()
    assert read(OLD_EXECUTING + output, OLD, foreign=FOREIGN).verdict == silent()
    assert read(output, OLD, foreign=FOREIGN).verdict == silent()
    assert time.process_time() - begin < 5


# the real image's: CR LF for LF, error lines before the verdict, and a runner that dies

SEL4 = manifest.find("wasmedge-sel4")
assert SEL4.agent is not None
REAL = SEL4.agent
ERROR = OLD_STAMP + b"[error] execution failed: unreachable, Code: 0x89\r\n"
CONTEXT = OLD_STAMP + b"[error]     In instruction: unreachable (0x00) , Bytecode offset: 0x00000023\r\n"
TRAPPED = OLD_STAMP + b"[info] execution failed:unreachable\r\n"
ASSERTION = b'Assertion failed: !"not implemented" (a.c: sys_readv: 342)\r\n'
DATA_FAULT = b"FAULT HANDLER: data fault from w.w_0_control (ID 0x1) on address 0x8, pc = 0x10, fsr = 0x9\r\n"
DUMP = b"FAULT HANDLER: Register dump:\r\nFAULT HANDLER: pc:\t0x10\r\nFAULT HANDLER: x0:\t0xff\r\n"
CAP_FAULT = b"Caught cap fault in send phase at address 0\r\nvm fault on data at address 0x72 with status 0x9\r\n"


def real(console: bytes) -> Reading:
    return read(OLD_EXECUTING + console, REAL, foreign=FOREIGN)


@pytest.mark.parametrize(
    ("console", "verdict", "output", "diagnostics"),
    [
        (b"a\r\nb\r\r\nc\rd" + OLD_SUCCESS, exited(0), b"a\nb\r\nc\rd", 0),
        (ERROR + CONTEXT + TRAPPED, failed("unreachable"), b"", 2),
        (b"out\r\n" + ERROR + CONTEXT + TRAPPED, failed("unreachable"), b"out\n", 2),
        (b"glued" + ERROR + CONTEXT + TRAPPED, failed("unreachable"), b"glued", 2),
        # a module may write such lines: they are output unless the runner itself says that it failed
        (ERROR + OLD_SUCCESS, exited(0), ERROR.replace(b"\r\n", b"\n"), 0),
        (ERROR + b"out\r\n" + TRAPPED, failed("unreachable"), ERROR.replace(b"\r\n", b"\n") + b"out\n", 0),
        (TRAPPED + OLD_SUCCESS, exited(0), TRAPPED.replace(b"\r\n", b"\n"), 0),
        (ASSERTION + OLD_SUCCESS, exited(0), ASSERTION.replace(b"\r\n", b"\n"), 0),
        (DATA_FAULT + DUMP + ERROR + TRAPPED, failed("unreachable"), None, 1),
        # and a runner that dies says no more
        (b"out" + ASSERTION, faulted(), b"out", 1),
        (OLD_SUCCESS + ASSERTION, faulted(), OLD_SUCCESS.replace(b"\r\n", b"\n"), 1),
        (b"out\r\n" + DATA_FAULT + DUMP + CAP_FAULT, faulted(), b"out\n", 6),
        (PRINTK + b"o" + PRINTK + b"ut" + PRINTK + ASSERTION + PRINTK, faulted(), b"out", 1),
        # a kernel's line that the runner cuts into, and the other way round
        (b"out\r\n[    3.383214] random: fast in" + OLD_SUCCESS + b"it done\r\n", silent(), b"out\n", 1),
        (b"out\r\n[    3.383214] random: init done" + OLD_SUCCESS + b"\r\n", exited(0), b"out\n", 0),
        (b"out\r\n" + OLD_SUCCESS[:40] + PRINTK + OLD_SUCCESS[40:], exited(0), b"out\n", 0),
    ],
)
def test_the_runner_s_last_word_decides(
    console: bytes, verdict: object, output: bytes | None, diagnostics: int
) -> None:
    got = real(console)
    assert got.verdict == verdict
    assert output is None or got.output == output
    assert len(got.diagnostics) == diagnostics, got
    assert got.heard


def test_an_error_number_is_the_verdict_s_own() -> None:
    fake = ERROR.replace(b"0x89", b"0x01")
    assert getattr(real(fake + CONTEXT + ERROR + CONTEXT + TRAPPED).verdict, "code", None) == 0x89
    assert getattr(real(CONTEXT + TRAPPED).verdict, "code", 0) is None


def test_a_fault_is_told_with_what_the_console_tells() -> None:
    verdict = real(b"out" + DATA_FAULT + DUMP + CAP_FAULT).verdict
    assert isinstance(verdict, Faulted)
    assert (verdict.reason, verdict.address, verdict.pc) == ("data fault from w.w_0_control", 8, 16)
    assert verdict.registers == {"pc": 0x10, "x0": 0xFF}
    assert str(verdict) == "faulted(data fault from w.w_0_control, address 0x8, pc 0x10)"
    verdict = real(CAP_FAULT).verdict
    assert str(verdict) == "faulted(Caught cap fault in send phase, address 0x72)"
    early = read(DATA_FAULT + DUMP, REAL)  # a module of 80 MiB: dead before it says that it executes
    assert (early.verdict, early.output, len(early.diagnostics), early.heard) == (faulted(), b"", 4, True)
    assert {faulted("a", 1, 2, {"x0": 3}), faulted()} == {faulted()}, "details are not compared"


def test_a_runner_that_was_dead_before_is_not_heard() -> None:
    assert not read(b"", REAL).heard
    assert not read(PRINTK, REAL, foreign=FOREIGN).heard
    assert read(OLD_EXECUTING, REAL).heard
    told = read(b"Got error code 22 on send_file.\n", REAL)
    assert (told.verdict, told.heard, told.diagnostics) == (silent(), True, ("Got error code 22 on send_file.",))


WORDS = [ERROR, CONTEXT, TRAPPED, ASSERTION, DATA_FAULT, DUMP, CAP_FAULT, OLD_EXECUTING, OLD_SUCCESS, PRINTK]
written = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([*LOOKALIKES, *WORDS])), max_size=8).map(b"".join)


@given(written)
def test_bytes_come_back_as_the_module_wrote_them(output: bytes) -> None:
    assume(not re.search(rb"\[ *\d+\.\d{6}\] ", output))  # not to be told from the kernel's
    got = real(output.replace(b"\n", b"\r\n") + OLD_SUCCESS)
    assert (got.verdict, got.output) == (exited(0), output)


@given(written)
def test_no_bytes_are_a_success_that_the_runner_did_not_end_with(output: bytes) -> None:
    assume(not re.search(rb"exit code:0\r*\n\s*\Z", output))
    assume(b"random: " not in output)
    assert real(output).verdict != exited(0)
    assert real(OLD_SUCCESS + output + ASSERTION).verdict in (faulted(), silent())


@pytest.mark.parametrize(
    "piece",
    [
        *(b"[ 1.000000] ", b"[ 1.000000] x\n", b"[ 1.000000] x\r\n", b"FAULT HANDLER: ", b"Assertion failed: "),
        *(OLD_STAMP + b"[error] ", OLD_STAMP + b"[error] x\r\n", b"FAULT HANDLER: a fault from a", b"vm fault on "),
    ],
)
def test_half_a_megabyte_of_the_runner_s_words_is_read_in_no_time(piece: bytes) -> None:
    output = piece * ((512 << 10) // len(piece))
    begin = time.process_time()
    assert real(output).verdict in (silent(), faulted())
    for ending in (b"", b"\n", b"\r\n"):
        assert real(output + ending + OLD_SUCCESS).verdict == exited(0)
        assert real(output + ending + TRAPPED).verdict == failed("unreachable")
    assert time.process_time() - begin < 5


def test_each_list_of_verdicts_has_all() -> None:
    bases = (verdict.Verdict, verdict._WithReason)
    names = {one.name for base in bases for one in base.__subclasses__() if one not in bases}
    bad = names - {"exited"}
    assert set(STATUS) == set(kinds.VERDICTS) == names
    assert bad <= BREAKS
    assert names == set(soak.WORDS)
    assert {name.replace("-", "_") for name in names} <= set(hil.__all__)

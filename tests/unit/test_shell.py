"""The guest's shell: one command, one frame, whatever else is on the line."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import QUICK, FakeShell, ShellLine, Wire, shell_line

from hil.console import LineClosed, LineTimeout
from hil.errors import GuestError
from hil.guest import CommandTimeout, Guest
from hil.guest import shell as shell_module
from hil.guest.shell import Shell, quote
from hil.image.manifest import ConsoleFacts

FACTS = ConsoleFacts(foreign=(r"\[ *\d+\.\d{6}\] .*", "partition: .*"))
PRINTK = b"[    3.383214] random: fast init done\r\n"
same_shell = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShellLine]:
    with shell_line(tmp_path_factory.mktemp("shell")) as made:
        yield made


@pytest.fixture(scope="module")
def shell(line: ShellLine) -> Shell:
    return Shell(line.console, FACTS)


@pytest.mark.parametrize(
    ("command", "output", "status"),
    [
        ("echo hello", b"hello\n", 0),
        ("printf abc", b"abc", 0),
        ("true", b"", 0),
        ("(exit 239)", b"", 239),
        ("printf 'a\\r\\nb\\001\\000\\377'", b"a\r\nb\x01\x00\xff", 0),
        ("echo one\necho two; false", b"one\ntwo\n", 1),
        ("cat <<'E'\n# \nE", b"# \n", 0),
        ("echo oops >&2", b"oops\n", 0),
        ('echo "it\'s" \'"quoted"\' \\$HOME', b'it\'s "quoted" $HOME\n', 0),
        ("sh -c 'kill -9 $$'", b"", 137),
        ("# nothing", b"", 0),
        ("echo ü", "ü\n".encode(), 0),
    ],
)
def test_a_command_gives_its_output_byte_for_byte_and_its_status(
    shell: Shell, command: str, output: bytes, status: int
) -> None:
    result = shell.run(command, timeout=QUICK)
    assert (result.status, result.foreign) == (status, ())
    # a shell that runs jobs may tell of a killed one
    assert result.output == output or b"Killed" in result.output


def test_a_syntax_error_is_a_result_and_not_the_end(shell: Shell) -> None:
    result = shell.run("if; then", timeout=QUICK)
    assert result.status
    assert "yntax error" in result.text
    assert shell.run("echo alive", timeout=QUICK).text == "alive\n"


def test_commands_share_one_session(shell: Shell) -> None:
    shell.run("cd /; X=5; f() { echo $X; }", timeout=QUICK)
    assert shell.run("f; pwd", timeout=QUICK).lines == ["5", "/"]


def test_tracing_shells_still_answer(shell: Shell) -> None:
    shell.run("set -v -x", timeout=QUICK)
    try:
        result = shell.run("echo seen", timeout=QUICK)
        assert "seen" in result.lines
        assert result.status == 0
    finally:
        shell.run("set +v +x", timeout=QUICK)
    assert shell.run("echo clean", timeout=QUICK).output == b"clean\n"


def test_times_and_offsets_enclose_the_output(line: ShellLine, shell: Shell) -> None:
    before = time.monotonic_ns()
    result = shell.run("echo x", timeout=QUICK)
    assert before < result.begin_ns <= result.end_ns < time.monotonic_ns()
    assert line.console.transcript.read(result.start, result.end) == b"x\n"
    assert 0 <= result.seconds < QUICK


def test_check_makes_a_status_an_error(shell: Shell) -> None:
    with pytest.raises(GuestError, match="'cat /nowhere'.*\\b1\\b.*No such file"):
        shell.run("cat /nowhere", check=True, timeout=QUICK)
    assert shell.run("echo fine", check=True, timeout=QUICK).text == "fine\n"


@pytest.mark.parametrize("text", ["x" * 4090, "ü" * 4090, "'" * 4090, "x" * 50_000], ids=["x", "ü", "quotes", "long"])
def test_a_line_that_no_tty_takes_is_typed_in_pieces(shell: Shell, text: str) -> None:
    assert shell.run(quote(["printf", "%s", text]), timeout=QUICK).text == text


def test_output_is_split_at_line_feeds_alone(shell: Shell) -> None:
    result = shell.run("printf 'a\\fb\\vc\\034d\\302\\205e\\342\\200\\250f\\rg\\n\\nlast'", timeout=QUICK)
    assert result.lines == ["a\fb\vc\x1cd\x85e\u2028f\rg", "", "last"]


def test_a_command_that_returns_or_sets_parameters_ends_its_frame(shell: Shell) -> None:
    assert shell.run("set -- a b c; echo $#; return 7", timeout=QUICK).status == 7
    assert shell.run("echo $#", timeout=QUICK).output == b"0\n"


def test_many_long_lines_arrive_whole(shell: Shell) -> None:
    text = "\n".join(f"{number:04}" + "x" * 900 for number in range(100))
    assert shell.run(f"cat <<'E'\n{text}\nE", timeout=QUICK).text == text + "\n"


def test_a_command_that_does_not_end_is_interrupted_and_the_shell_is_back(shell: Shell) -> None:
    with pytest.raises(CommandTimeout, match=r"'echo begun; sleep 60'.*0\.3 s") as caught:
        shell.run("echo begun; sleep 60", timeout=0.3)
    assert caught.value.recovered
    assert caught.value.output == b"begun\n"
    assert not shell.lost
    assert shell.run("echo back", timeout=QUICK).output == b"back\n"


def test_a_question_that_the_line_damages_is_asked_again(
    line: ShellLine, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 1.5)
    damaged = iter([True])
    line.to_shell = lambda data: data.replace(b"$_n", b"$_m") if b"=$_n" in data and next(damaged, False) else data
    try:
        with pytest.raises(CommandTimeout) as caught:
            shell.run("sleep 60", timeout=0.2)
    finally:
        line.to_shell = lambda data: data
    assert caught.value.recovered
    assert next(damaged, None) is None


def test_a_command_whose_number_arrives_damaged_is_typed_again(
    line: ShellLine, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "START_LIMIT", 0.3)
    damaged = iter([True])
    line.to_shell = lambda data: data.replace(b"_h ", b"_h \xb4", 1) if b"_h" in data and next(damaged, 0) else data
    try:
        assert shell.run("echo fine", timeout=QUICK).output == b"fine\n"
    finally:
        line.to_shell = lambda data: data


def test_a_command_that_eats_the_input_is_interrupted(shell: Shell) -> None:
    with pytest.raises(CommandTimeout) as caught:
        shell.run("cat", timeout=0.3)
    assert caught.value.recovered
    assert shell.run("echo back", timeout=QUICK).output == b"back\n"


def test_the_time_limit_is_one_for_the_whole_command(wire: Wire, fake_shell: FakeShell) -> None:
    shell = Shell(wire.console, FACTS)
    never = threading.Event()

    def script(mark: bytes) -> bytes:
        never.wait(1.0)
        return b"@%s<\n" % mark

    fake_shell.script = script
    begin = time.monotonic()
    with pytest.raises(CommandTimeout) as caught:
        shell.run("anything", timeout=1.5)
    assert time.monotonic() - begin < 2.4, "not 1.5 s for each mark"
    assert caught.value.recovered


def test_a_shell_that_cannot_be_interrupted_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.4)
    with shell_line(tmp_path) as line:
        shell = Shell(line.console, FACTS)
        with pytest.raises(CommandTimeout) as caught:
            shell.run("trap '' INT; sh -c 'trap \"\" INT; sleep 60 & wait'", timeout=0.3)
        assert not caught.value.recovered
        assert shell.lost


def test_a_shell_that_ends_is_the_end_of_the_line(tmp_path: Path) -> None:
    with shell_line(tmp_path) as line:
        shell = Shell(line.console, FACTS)
        with pytest.raises(LineClosed, match="eof|Input/output error"):
            shell.run("exit 3", timeout=QUICK)


def test_no_shell_on_the_line_is_told(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.2)
    with pytest.raises(GuestError, match=r"\b3 .*0\.2 s"):
        Shell(wire.console, FACTS)


def test_an_echo_is_not_taken_for_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.4)
    deaf = ["sh", "-c", "trap '' INT; echo ready; sleep 60"]
    with shell_line(tmp_path, deaf) as line:
        line.console.wait_for(b"ready", timeout=QUICK)
        with pytest.raises(GuestError, match=r"\b3 .*0\.4 s"):
            Shell(line.console, FACTS)  # the tty echoes all that is typed, nobody reads it


def test_echo_and_carriage_returns_that_come_back_do_no_harm(line: ShellLine, shell: Shell) -> None:
    shell.run("stty echo", timeout=QUICK)
    try:
        result = shell.run("echo x", timeout=QUICK)
        assert (result.output, result.status) == (b"x\n", 0)
    finally:
        shell.run("stty -echo", timeout=QUICK)


def test_foreign_lines_are_set_apart(line: ShellLine, shell: Shell) -> None:
    line.to_us = lambda data: data.replace(b"two", PRINTK + b"two").replace(b"@", PRINTK + b"@", 1)
    try:
        result = shell.run("echo one; sleep 0.05; echo two", timeout=QUICK)
    finally:
        line.to_us = lambda data: data
    assert result.output == b"one\ntwo\n"
    assert PRINTK.decode().strip() in result.foreign


def test_a_foreign_line_within_a_line_of_the_output_is_set_apart(
    shell: Shell, fake_shell: FakeShell, wire: Wire
) -> None:
    fake = Shell(wire.console, FACTS)
    fake_shell.script = lambda mark: b"@%s<\nguest li" % mark + PRINTK + b"ne 69\n@%s>0@\n" % mark
    result = fake.run("anything", timeout=QUICK)
    assert (result.output, result.foreign) == (b"guest line 69\n", (PRINTK.decode().strip(),))
    assert fake.console.transcript.read(result.start, result.end) == b"guest li" + PRINTK + b"ne 69\n"


@pytest.mark.parametrize("at", range(24))
def test_a_foreign_line_anywhere_in_the_marks_does_no_harm(wire: Wire, fake_shell: FakeShell, at: int) -> None:
    fake = Shell(wire.console, FACTS)

    def script(mark: bytes) -> bytes:
        begin, end = b"@%s<\n" % mark, b"@%s>239@\n" % mark
        return begin[:at] + PRINTK + begin[at:] + b"out\n" + end[:at] + PRINTK + end[at:]

    fake_shell.script = script
    result = fake.run("anything", timeout=QUICK)
    assert (result.output, result.status) == (b"out\n", 239)


@pytest.mark.parametrize("status", [b"", b"abc", b"1 2", b"\xff", b"-1", b"9" * 30])
def test_a_garbled_status_is_a_guest_s_error(wire: Wire, fake_shell: FakeShell, status: bytes) -> None:
    fake = Shell(wire.console, FACTS)
    fake_shell.script = lambda mark: b"@%s<\n@%s>%s@\n" % (mark, mark, status)
    with pytest.raises(GuestError, match="'anything'"):
        fake.run("anything", timeout=1)
    fake_shell.script = lambda mark: b"@%s<\n@%s>7@\n" % (mark, mark)
    assert fake.run("anything", timeout=QUICK).status == 7


lookalikes = st.sampled_from(
    [b"@", b"@<\n", b"@>0@\n", b"# ", b"\r\n", b"\n", PRINTK, b"login: ", b"@deadbeef.1<\n", b"@deadbeef.1>0@\n"]
)
outputs = st.lists(st.one_of(st.binary(max_size=20), lookalikes), max_size=12).map(b"".join)


@pytest.fixture
def framed(wire: Wire, fake_shell: FakeShell) -> tuple[Shell, FakeShell]:
    return Shell(wire.console, ConsoleFacts()), fake_shell


@pytest.fixture
def known(wire: Wire, fake_shell: FakeShell) -> tuple[Shell, FakeShell]:
    return Shell(wire.console, FACTS), fake_shell


@same_shell
@given(before=outputs, output=outputs, after=outputs, status=st.integers(0, 255))
def test_any_output_comes_through_the_frame(
    framed: tuple[Shell, FakeShell], before: bytes, output: bytes, after: bytes, status: int
) -> None:
    shell, fake = framed
    fake.script = lambda mark: before + b"@%s<\n" % mark + output + b"@%s>%d@\n" % (mark, status) + after
    result = shell.run("anything", timeout=QUICK)
    assert (result.output, result.status) == (output, status)


@same_shell
@given(output=outputs, earlier=st.integers(1, 3))
def test_marks_of_earlier_commands_end_nothing(framed: tuple[Shell, FakeShell], output: bytes, earlier: int) -> None:
    shell, fake = framed

    def script(mark: bytes) -> bytes:
        nonce, _, number = mark.partition(b".")
        old = b"%s.%d" % (nonce, max(1, int(number) - earlier))
        inside = output + b"@%s<\n@%s>0@\n" % (old, old)
        return b"@%s<\n" % mark + inside + b"@%s>3@\n" % mark

    fake.script = script
    result = shell.run("anything", timeout=QUICK)
    assert result.status == 3
    assert result.output.startswith(output)


@same_shell
@given(st.lists(st.tuples(st.sampled_from([b"one\n", b"x: 5\n", b"\n", b"# \n"]), st.booleans()), max_size=8))
def test_foreign_lines_never_change_the_output(known: tuple[Shell, FakeShell], lines: list[tuple[bytes, bool]]) -> None:
    shell, fake = known
    data = b"".join(line + (PRINTK if foreign else b"") for line, foreign in lines)
    fake.script = lambda mark: b"@%s<\n%s@%s>0@\n" % (mark, data, mark)
    result = shell.run("anything", timeout=QUICK)
    assert result.output == b"".join(line for line, _ in lines)
    assert len(result.foreign) == sum(foreign for _, foreign in lines)


def test_a_command_that_arrives_cut_is_not_run_but_typed_again(line: ShellLine, shell: Shell) -> None:
    dropped = iter([True])
    line.to_shell = lambda data: data.replace(b"rm", b"r", 1) if b"rm" in data and next(dropped, False) else data
    before = shell.retyped
    try:
        result = shell.run("echo rm everything", timeout=QUICK)
    finally:
        line.to_shell = lambda data: data
    assert result.output == b"rm everything\n"
    assert shell.retyped == before + 1


@pytest.mark.parametrize("lost", [b"_h", b"'echo", b"\n"])
def test_a_command_whose_frame_is_cut_is_typed_again(
    line: ShellLine, shell: Shell, monkeypatch: pytest.MonkeyPatch, lost: bytes
) -> None:
    monkeypatch.setattr(shell_module, "START_LIMIT", 0.3)
    cut = iter([True])
    line.to_shell = lambda data: data.replace(lost, lost[1:], 1) if b"_h" in data and next(cut, False) else data
    try:
        assert shell.run("echo arrived", timeout=QUICK).output == b"arrived\n"
    finally:
        line.to_shell = lambda data: data


@pytest.mark.parametrize("typed", [b"rm -rf /nowhere", b"echo 'half", b"cat\n", b"if true\n"], ids=repr)
def test_a_session_opens_on_a_line_with_something_on_it(tmp_path: Path, typed: bytes) -> None:
    with shell_line(tmp_path) as line:
        line.console.write(typed)
        assert Shell(line.console, FACTS).run("echo fine", timeout=QUICK).output == b"fine\n"


def test_a_stalled_line_is_told_and_not_waited_for(
    wire: Wire, fake_shell: FakeShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.2)
    shell = Shell(wire.console, FACTS)
    release = threading.Event()

    def script(mark: bytes) -> bytes:
        release.wait(QUICK)
        return b"@%s<\n@%s>0@\n" % (mark, mark)

    fake_shell.script = script
    try:
        with pytest.raises(CommandTimeout) as caught:
            shell.run("anything", timeout=0.1)
        assert not caught.value.recovered
    finally:
        release.set()


def test_a_guest_that_reads_nothing_is_told_and_its_board_spoilt(wire: Wire, fake_shell: FakeShell) -> None:
    board: Any = SimpleNamespace(report=None, console=wire.console, manifest=SimpleNamespace(console=FACTS), dirty=None)
    guest = Guest(board)
    assert guest.run("anything", timeout=QUICK).status == 0
    release = threading.Event()

    def script(mark: bytes) -> bytes:
        release.wait(QUICK)
        return b""

    fake_shell.script = script
    try:
        with pytest.raises(LineTimeout, match=r"\d+ of \d+ bytes"):
            guest.run("\n".join(["# " + "x" * 1000] * 2000), timeout=0.2)
        assert board.dirty
    finally:
        release.set()


def test_a_board_whose_shell_does_not_come_back_is_spoilt(
    wire: Wire, fake_shell: FakeShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.2)
    board: Any = SimpleNamespace(report=None, console=wire.console, manifest=SimpleNamespace(console=FACTS), dirty=None)
    guest = Guest(board)
    fake_shell.script = lambda mark: b""
    with pytest.raises(CommandTimeout) as first:
        guest.run("anything", timeout=0.05)
    assert first.value.recovered
    assert board.dirty is None
    guest.shell  # noqa: B018
    fake_shell.FRAME = re.compile(b"nothing is answered from now on")  # type: ignore[misc]
    with pytest.raises(CommandTimeout) as second:
        guest.run("anything", timeout=0.05)
    assert not second.value.recovered
    assert board.dirty


def test_a_new_boot_is_a_new_session(tmp_path: Path) -> None:
    board: Any = SimpleNamespace(report=None, manifest=SimpleNamespace(console=FACTS), dirty=None)
    guest = Guest(board)
    sessions = []
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        with shell_line(tmp_path / str(number)) as line:
            board.console = line.console
            assert guest.run("echo hello", timeout=QUICK).text == "hello\n"
            sessions.append(guest.shell)
            assert guest.shell is sessions[-1]
    assert sessions[0] is not sessions[1]


def test_words_are_quoted_for_the_shell(shell: Shell) -> None:
    words = ["a b", "it's", "$HOME", "", "*", "\\", "ü", "-n", ";", "a\nb"]
    assert shell.run(f"printf '<%s>' {quote(words)}", timeout=QUICK).text == "".join(f"<{word}>" for word in words)

"""The road from power-on to a verdict, on the reference image: what the suites take for granted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from hil.board.board import Board
from hil.console import LineClosed
from hil.errors import BootError, GuestError, InfrastructureError
from hil.guest import CommandTimeout, Guest
from hil.wasm import Module, Runner
from hil.wasm.verdict import Failed, NoAgent, exited

pytestmark = pytest.mark.board


def test_foreign_lines_are_told_apart(guest):
    result = guest.run("echo one; echo '<1>from the kernel' >/dev/kmsg; usleep 200000; echo two")
    assert result.lines == ["one", "two"]
    assert any("from the kernel" in line for line in result.foreign), result


def test_output_is_exact_to_the_byte(guest):
    octal = "".join(f"\\\\{byte:04o}" for byte in range(256))
    assert guest.run(f"printf '%b' {octal}").output == bytes(range(256))


def test_commands_of_many_lines_and_bad_syntax(guest):
    assert guest.run("for i in 1 2\ndo\n  echo $i\ndone").lines == ["1", "2"]
    broken = guest.run("if; then")
    assert broken.status != 0
    assert guest.run("echo still here").lines == ["still here"]


def test_any_byte_arrives_in_commands_arguments_and_names(guest, runner, sample):
    every = bytes(range(1, 256))
    assert guest.run(b"printf %s '" + every.replace(b"'", b"'\\''") + b"'").output == every
    assert guest.run("printf %s " + "x" * 5000).output == b"x" * 5000
    for argument in (every, os.fsdecode(every), b"\x03\necho INJECTED\n"):
        run = runner.run(sample("args.wasm"), "before", argument, "after", limit=5)
        words = b"before\n%s\nafter\n" % os.fsencode(argument)
        assert (run.verdict, run.output) == (exited(0), b"argc 4\nwasm.wasm\n" + words)
    name = every.replace(b"/", b"")[:200]
    assert guest.put(b"content", b"/tmp/" + name)
    assert guest.get(b"/tmp/" + name) == b"content"
    module = Module.raw(
        os.fsdecode(b"\x03\xff \x1b[2J\n.wasm"), sample("exit.wasm").data + b"\0\2\1x"
    )  # not in the image
    assert runner.run(module, "7").verdict == exited(7)


def test_a_hanging_command_is_interrupted(guest):
    with pytest.raises(CommandTimeout, match="0.5 s.*interrupted") as caught:
        guest.run("echo begun; sleep 1000", timeout=0.5)
    assert b"begun" in caught.value.output
    assert guest.run("echo alive").lines == ["alive"]


def test_failed_check_names_command_and_status(guest):
    with pytest.raises(GuestError, match=r"'false' ended with status 1"):
        guest.run("false", check=True)


def test_a_directory_that_is_not_writable_is_named(guest):
    with pytest.raises(GuestError, match="/proc/nothing"):
        guest.put(b"x", "/proc/nothing/here")


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 240), (b"#!/bin/sh\n", 240), (b"\0asm\1\0\0\0", 242)],
    ids=["empty", "not-wasm", "no-start"],
)
def test_agent_status_tells_the_truth_about_bad_modules(runner, data, status):
    assert runner.run(Module.raw("bad.wasm", data)).agent_status == status


def test_agent_status_is_the_modules_own(runner, sample):
    assert runner.run(sample("exit.wasm"), "42").agent_status == 42
    assert runner.run(sample("hello.wasm")).agent_status == 0
    assert runner.run(sample("trap.wasm"), "unreachable").agent_status == 242
    assert runner.run(sample("loop.wasm"), limit=0.3).agent_status == 243


def test_missing_file_and_missing_argument(guest):
    missing = guest.run("wasmedge_emit /nowhere.wasm")
    assert (missing.status, missing.lines) == (255, ["open wasm file failed", ": No such file or directory"])
    assert guest.run("wasmedge_emit").status == 1


def test_no_agent_is_a_verdict(board, guest, sample):
    guest.run("mv /usr/bin/wasmedge_emit /usr/bin/hidden", check=True)
    try:
        run = Runner(guest).run(sample("hello.wasm"))
    finally:
        guest.run("mv /usr/bin/hidden /usr/bin/wasmedge_emit", check=True)
    assert isinstance(run.verdict, NoAgent)


def test_two_agents_at_once_do_not_mix(guest, runner, sample):
    result = guest.run(
        "for i in 1 2 3 4; do wasmedge_emit /usr/bin/nbody-c.wasm 10 >/tmp/a$i & done; wait; echo $?", timeout=60
    )
    assert result.text.count("execution success, exit code:0") == 4, result.text
    assert result.text.count("-0.169073022") == 4
    assert runner.run(sample("hello.wasm")).good


def test_a_killed_agent_does_not_take_the_runner_along(guest, runner, sample):
    guest.run("wasmedge_emit /usr/bin/loop.wasm >/dev/null 2>&1 & p=$!; usleep 300000; kill -9 $p; wait $p", timeout=20)
    assert runner.run(sample("hello.wasm")).good


def test_memory_is_given_back(guest, runner, sample):
    def used() -> int:
        return int(guest.run("awk '/MemAvailable/ {print $2}' /proc/meminfo", check=True).text)

    def locked() -> str:
        hello = guest.run("wasmedge_emit --hello", check=True).text
        return next(word for word in hello.split() if word.startswith("locked="))

    runner.run(sample("hello.wasm"))
    before, runner_before = used(), locked()
    for _ in range(25):
        assert runner.run(sample("nbody-c.wasm"), "10").good
    assert used() > before - 2048, "the guest lost memory"
    assert locked() == runner_before


def test_a_module_that_prints_a_verdict_is_not_believed(runner, sample):
    lie = "[2026-01-01 00:00:00.000] [info] execution success, exit code:0"
    run = runner.run(sample("args.wasm"), lie, "hil-seal v=1 nonce=0 verdict=exited code=0")
    assert run.verdict == exited(0)
    assert lie in run.lines
    assert run.intact


def test_qemu_killed_in_mid_test_is_noticed_at_once(board, guest):
    os.kill(board.qemu.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(LineClosed, match="killed by SIGKILL") as caught:
        guest.run("sleep 30")
    assert time.monotonic() - start < 30, "before the command's own end"
    assert caught.value.origin == "infrastructure"
    assert caught.value.evidence
    assert caught.value.evidence.transcript
    board.dirty = "its QEMU was killed"


def test_the_board_comes_back_for_the_next_test(guest):
    assert guest.run("echo again").lines == ["again"]


def test_a_command_that_qemu_refuses(board):
    with pytest.raises(InfrastructureError, match="no-such-command"):
        board.qemu.monitor.execute("no-such-command")


@pytest.mark.slow  # a cold boot; tests/unit/test_stages.py has the same on a wire
def test_a_stage_that_never_comes(board, tmp_path, sample):
    text = Path(board.manifest.path).read_text()
    wrong = text.replace('marker = "guest: hypervisor xen"\nlimit = 20', 'marker = "guest: hypervisor seL4"\nlimit = 5')
    assert wrong != text
    manifest = tmp_path / "reference.toml"
    manifest.write_text(wrong)
    with Board(str(board.path), image=str(manifest), transcripts=tmp_path) as other:
        with pytest.raises(BootError, match=r"did not reach stage 'hypervisor'.*last reached: guest init") as caught:
            other.boot()
        assert not other.power.get()
    assert caught.value.stage == "hypervisor"
    assert str(tmp_path) in str(caught.value)


@pytest.mark.slow  # a cold boot; test_tty_board switches its board off and on
def test_guest_follows_a_power_cycle(power, board, guest):
    guest.run("touch /tmp/mark", check=True)
    first = board.console
    report = board.boot()
    assert board.console is not first
    assert report["login"].seconds > 0
    assert guest.run("test -e /tmp/mark").status == 1


def test_runner_reports_failed_with_its_error_number(runner, sample):
    verdict = runner.run(sample("trap.wasm"), "div0").verdict
    assert isinstance(verdict, Failed)
    assert verdict.code


@pytest.mark.destructive  # a second shell on the line leaves the first without its frame
def test_fresh_guest_object_takes_over_the_line(board):
    assert Guest(board).run("echo mine").lines == ["mine"]

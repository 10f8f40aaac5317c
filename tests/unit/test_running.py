"""A module that runs while the test goes on, with a real shell and a stand-in for the agent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import PLAIN, SEALING, line, make, module, runner
from support import QUICK, ShellLine, until

from hil import Measure
from hil.console import LineClosed
from hil.errors import ConfigurationError, RunnerError
from hil.guest import shell as shell_module
from hil.guest.foreground import Foreground
from hil.image.manifest import AnalogueFacts, CanFacts
from hil.image.pins import PinFacts
from hil.wasm import Execution, Module, Runner
from hil.wasm import runner as runner_module
from hil.wasm import running as running_module
from hil.wasm.verdict import exited, failed, silent, stuck

__all__ = ["line", "runner"]

ENDLESS = module("write(b'ready\\r\\n')\nwhile True: time.sleep(0.01)", "endless.wasm")
CHATTY = module("write(b'ready\\r\\n')\nwhile True: write(b'.'); time.sleep(0.01)", "chatty.wasm")
DEAF = "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"


def until_told(name: str) -> str:
    """Code of a module that waits until the file `name` is in its directory."""
    return f"while not os.path.exists({name!r}): time.sleep(0.005)\n"


def cut(line: ShellLine) -> None:
    """End the line at its far end, with the next byte that a module prints."""

    def fail(data: bytes) -> bytes:
        raise OSError

    line.to_us = fail


@pytest.fixture
def seen(runner: Runner) -> list[Execution]:
    executions: list[Execution] = []
    runner._record = executions.append
    return executions


def test_a_module_runs_while_the_test_goes_on(runner: Runner, line: ShellLine, seen: list[Execution]) -> None:
    code = f"write(b'ready, 1\\r\\n')\n{until_told('go')}write(b'went\\r\\n')\n{until_told('end')}end(code=3)"
    with runner.start(module(code), ready="ready") as running:
        assert running.running
        assert (running.output, running.lines) == (b"ready, 1\r\n", ["ready, 1\r"])
        (line.home / "go").touch()
        until(lambda: running.output.endswith(b"went\r\n"))
        assert (running.execution, seen) == (None, [])
        (line.home / "end").touch()
        execution = running.wait()
        assert not running.running
    assert (execution.verdict, execution.output, execution.intact) == (exited(3), b"ready, 1\r\nwent\r\n", True)
    assert not execution.stopped
    assert running.output == execution.output
    assert (running.execution, running.stop(), running.wait(0)) == (execution, execution, execution)
    assert seen == [execution], "recorded once"
    assert runner.guest.board.dirty is None


def test_a_module_is_stopped_at_the_end_of_the_block(runner: Runner, seen: list[Execution]) -> None:
    with runner.start(ENDLESS, ready="ready") as running:
        pass
    assert running.execution is not None
    assert (running.execution.verdict, running.execution.output) == (failed("aborted"), b"ready\r\n")
    assert (running.execution.intact, running.execution.good, running.execution.stopped) == (None, False, True)
    assert "failed(aborted) (stopped by the test)" in str(running.execution)
    assert seen == [running.execution]
    assert runner.guest.board.dirty is None
    assert runner.run(module("end()")).good, "the shell is free"


def test_a_stopped_module_whose_agent_seals_its_abort_is_intact(runner: Runner) -> None:
    sealing = (
        "def abort(*_): end('failed', 5, 'aborted')\nsignal.signal(signal.SIGINT, abort)\n" + ENDLESS.data.decode()
    )
    with runner.start(module(sealing), ready="ready") as running:
        execution = running.stop()
    assert (execution.verdict, execution.intact) == (failed("aborted"), True)


def test_the_first_error_stays_the_test_s_own(runner: Runner, seen: list[Execution]) -> None:
    with pytest.raises(ZeroDivisionError) as caught, runner.start(ENDLESS, ready="ready"):
        _ = 1 / 0
    assert [execution.verdict for execution in seen] == [failed("aborted")]
    assert not hasattr(caught.value, "__notes__")


def test_meanwhile_the_shell_is_occupied(runner: Runner, tmp_path: Path) -> None:
    ways: list[Callable[[], object]] = [
        lambda: runner.guest.run("true"),
        lambda: runner.guest.put(b"x", "/tmp/x"),
        lambda: runner.run(ENDLESS),
        lambda: runner.start(module("end()")),
        lambda: Runner(runner.guest).run(ENDLESS),
        lambda: Measure(tmp_path / "b.toml").deployments(runner, ENDLESS, repeats=1),
        lambda: runner.guest.load("cpu").__enter__(),
    ]
    with runner.start(ENDLESS, "two words", ready="ready") as running:
        for way in ways:
            with pytest.raises(ConfigurationError, match=r"endless\.wasm two words runs in the foreground") as caught:
                way()
            assert "stop()" in (caught.value.hint or "")
        assert running.running
    assert runner.guest.run("echo free", check=True).text == "free\n"


def test_a_module_that_has_ended_leaves_the_shell_free(runner: Runner, line: ShellLine, seen: list[Execution]) -> None:
    running = runner.start(module(f"write(b'ready\\r\\n')\n{until_told('end')}end()"), ready="ready")
    (line.home / "end").touch()
    until(lambda: not running.running)
    assert runner.guest.run("echo free").text == "free\n"
    other = runner.run(module("end()"))
    assert running.execution is not None
    assert seen == [running.execution, other]
    assert running.stop().verdict == exited(0), "it had ended before"


def test_an_end_that_nobody_has_seen_is_read_later(runner: Runner, line: ShellLine) -> None:
    running = runner.start(module(f"write(b'ready\\r\\n')\n{until_told('end')}end(code=4)"), ready="ready")
    (line.home / "end").touch()
    until(lambda: b"hil-seal" in line.console.transcript.path.read_bytes())
    time.sleep(0.1)
    assert runner.guest.run("echo free").text == "free\n"
    assert running.wait().verdict == exited(4)


def test_the_ready_line_is_whole_and_begins_with_the_text(runner: Runner, line: ShellLine) -> None:
    code = f"write(b'not ready\\r\\nready'); {'time.sleep(0.2)'}; write(b' now\\r\\n')\n{ENDLESS.data.decode()}"
    line.to_us = lambda data: data.replace(b"dy now", b"d[    3.383214] random: init done\r\ny now")
    with runner.start(module(code), ready="ready") as running:
        assert running.lines[:2] == ["not ready\r", "ready now\r"]


def test_a_ready_line_that_the_look_for_the_end_has_read_is_seen(
    runner: Runner, line: ShellLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_module, "READY_LIMIT", 1.0)
    poll = Foreground.poll

    def late(foreground: Foreground) -> object:
        until(lambda: b"ready" in line.console.transcript.path.read_bytes())
        return poll(foreground)

    monkeypatch.setattr(Foreground, "poll", late)
    with runner.start(ENDLESS, ready="ready") as running:
        assert running.running


def test_a_sample_has_its_own_ready_text_and_a_caller_another(runner: Runner) -> None:
    own = Module(**{**vars(ENDLESS), "ready": "ready"})
    assert runner.start(own).stop().output == b"ready\r\n"
    silent_one = module("while True: time.sleep(0.01)")
    with runner.start(silent_one) as running:
        assert running.output == b""
    with runner.start(own, ready=None) as running:
        pass
    with pytest.raises(ConfigurationError, match=r"ready is 'a\\nb'"):
        runner.start(own, ready="a\nb")


@pytest.mark.parametrize("ready", ["ready", None])
def test_a_module_that_ends_before_it_is_ready_is_an_error(
    runner: Runner, seen: list[Execution], ready: str | None
) -> None:
    code = "write(b'no sensor\\r\\n'); end(code=9)" if ready else "sys.exit(3)"
    if ready is None:
        code = "\xff"  # the stand-in chokes on it
    with pytest.raises(RunnerError, match=r"m\.wasm ended before it ") as caught:
        runner.start(Module.raw("m.wasm", code.encode("latin-1")), ready=ready)
    if ready:
        assert "exited(9)" in caught.value.message
        assert "> no sensor" in caught.value.message
    assert len(seen) == 1
    assert runner.guest.run("echo free").text == "free\n"


def test_a_module_that_is_never_ready_is_stopped(
    runner: Runner, seen: list[Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_module, "READY_LIMIT", 0.5)
    code = "while True: write(b'waiting\\r\\n'); time.sleep(0.01)"
    with pytest.raises(RunnerError, match=r"'ready' in 0\.5 s: m\.wasm: failed\(aborted\)") as caught:
        runner.start(module(code), ready="ready")
    assert "> waiting" in caught.value.message
    assert [execution.verdict for execution in seen] == [failed("aborted")]
    assert runner.run(module("end()")).good


def test_a_wait_that_is_too_short_leaves_the_module_running(runner: Runner) -> None:
    with runner.start(ENDLESS, ready="ready") as running:
        with pytest.raises(RunnerError, match=r"endless\.wasm did not end in 0\.1 s and still runs"):
            running.wait(0.1)
        assert running.running


def test_a_module_beyond_its_limit_is_stuck(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "OVERHEAD", 0.2)
    with runner.start(ENDLESS, limit=0.8, ready="ready") as running:
        execution = running.wait()
    assert execution.verdict == stuck()
    assert str(execution.verdict) == "stuck (no end in 1 s; interrupted)"
    assert runner.guest.board.dirty == "endless.wasm left the runner stuck"


def test_a_module_that_cannot_be_stopped_is_stuck(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 0.5)
    begin = time.monotonic()
    with runner.start(module(DEAF + ENDLESS.data.decode()), ready="ready") as running:
        execution = running.stop()
    assert time.monotonic() - begin < 5
    assert str(execution.verdict) == "stuck (^C did not stop it; the shell does not respond after ^C)"
    assert execution.output == b"ready\r\n"
    assert runner.guest.board.dirty == "m.wasm left the runner stuck"


def test_a_module_that_ends_while_it_is_being_stopped_keeps_its_verdict(runner: Runner) -> None:
    code = f"{DEAF}write(b'ready\\r\\n'); time.sleep(1); end(code=6)"
    with runner.start(module(code), ready="ready") as running:
        execution = running.stop()
    assert (execution.verdict, execution.intact, execution.stopped) == (exited(6), True, False)
    assert runner.guest.board.dirty is None


def test_a_module_that_ends_late_keeps_its_verdict_too(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 1.0)
    code = f"{DEAF}write(b'ready\\r\\n'); time.sleep(1.4); end(code=6)"
    with runner.start(module(code), ready="ready") as running:
        execution = running.stop()
    assert (execution.verdict, execution.intact) == (exited(6), True)
    assert runner.run(module("end()")).good


def test_an_agent_without_a_seal_is_stopped_too(
    line: ShellLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    runner = make(line, PLAIN)
    with runner.start(ENDLESS, ready="ready") as running:
        assert running.output == b"ready\n"
    assert running.execution is not None
    assert (running.execution.verdict, running.execution.output) == (failed("aborted"), b"ready\n")
    silent_end = DEAF.replace("SIG_IGN", "SIG_DFL") + ENDLESS.data.decode()
    with runner.start(module(silent_end), ready="ready") as running:
        pass
    assert running.execution is not None
    assert running.execution.verdict == silent()
    assert "silent" in (runner.guest.board.dirty or "")


def test_a_line_that_ends_meanwhile_is_reported(runner: Runner, line: ShellLine, seen: list[Execution]) -> None:
    with runner.start(CHATTY, ready="ready") as running:
        cut(line)
        until(lambda: not running.running)
        assert running.output.startswith(b"ready\r\n")
        for _ in range(2):
            with pytest.raises(LineClosed):
                running.wait()
        with pytest.raises(LineClosed):
            running.stop()
    assert seen == []


def test_a_line_that_ends_unnoticed_is_reported_at_the_end_of_the_block(runner: Runner, line: ShellLine) -> None:
    def go_on() -> None:
        with runner.start(CHATTY, ready="ready"):
            cut(line)
            until(lambda: line.console.ended)

    with pytest.raises(LineClosed):
        go_on()
    runner.close()


def test_a_board_that_the_test_switches_off_ends_the_module(runner: Runner, line: ShellLine) -> None:
    with runner.start(ENDLESS, ready="ready") as running:
        line.console.close()
    assert (running.running, running.execution, running.output) == (False, None, b"ready\r\n")
    with pytest.raises(LineClosed, match="closed by this side"):
        running.wait(1)


def test_what_is_pending_passes_before_a_stop_of_a_good_test_only(runner: Runner) -> None:
    calls: list[bool] = []
    with runner.start(ENDLESS, ready="ready") as running:
        runner.let_pass.append(lambda: calls.append(running.running))
    assert calls == [True]
    with pytest.raises(ZeroDivisionError), runner.start(ENDLESS, ready="ready"):
        _ = 1 / 0
    runner.start(ENDLESS, ready="ready")
    runner.close()
    assert calls == [True]

    def fail() -> None:
        raise ZeroDivisionError

    runner.let_pass.append(fail)
    with pytest.raises(ZeroDivisionError), runner.start(ENDLESS, ready="ready") as running:
        pass
    assert running.execution is not None, "stopped all the same"


def test_output_leaves_the_console_s_position(runner: Runner, line: ShellLine) -> None:
    with runner.start(ENDLESS, ready="rea") as running:
        before = line.console.position
        assert running.output
        assert line.console.position == before
        execution = running.stop()
    assert line.console.position >= execution.end > before, "what was waited for has been read"


def test_pins_are_passed_to_the_agent(line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    runner = make(line, SEALING.model_copy(update={"pins_option": "--pins={pins}"}))
    code = module("write(repr(options.get('--pins')).encode()); end()")
    own = Module(**{**vars(code), "pins": ("BUTTON", "LED")})
    assert runner.run(code).text == "None"
    assert runner.run(own).text == "'BUTTON,LED'"
    assert (done := runner.run(own, pins=["AO0", "CAN0"])).text == "'AO0,CAN0'"
    assert done.pins == ("AO0", "CAN0")
    assert runner.run(own, pins=()).text == "None"
    with runner.start(own) as running:
        until(lambda: running.execution or not running.running, QUICK)
    assert running.output == b"'BUTTON,LED'"


@pytest.mark.parametrize(
    ("pins", "problem"),
    [
        ("LED", "'LED', which is no sequence"),
        ({"LED"}, "no sequence"),
        (["LED,HEATER"], "'LED,HEATER' among the pins of m.wasm"),
        ([""], "''"),
        ([3], "3 among"),
        (["LED"], "no option for pins"),
    ],
)
def test_wrong_pins_are_refused_before_anything_is_sent(
    line: ShellLine, runner: Runner, pins: object, problem: str
) -> None:
    before = line.typed()
    with pytest.raises(ConfigurationError, match=problem):
        runner.run(module("end()"), pins=pins)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=problem):
        runner.start(module("end()"), pins=pins)  # type: ignore[arg-type]
    assert line.typed() == before


def wired(line: ShellLine) -> Runner:
    runner = make(line, SEALING.model_copy(update={"pins_option": "--pins={pins}"}))
    facts: Any = runner.guest.board.manifest
    facts.pins = PinFacts(controller="pl061", inputs={"BUTTON": 0, "ENCODER_A": 2}, outputs={"LED": 4})
    facts.analogue, facts.can = AnalogueFacts(inputs=1, outputs=2), CanFacts(bus="canbus0")
    return runner


@pytest.mark.parametrize("how", ["ends", "goes on"])
def test_a_module_that_is_not_ready_for_its_pins_has_them_in_the_hint(
    line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(running_module, "READY_LIMIT", QUICK / 4)
    code = "line(b'[error] pin-not-allowed ENCODER_A')\n" * 2
    code += "end(code=1)" if how == "ends" else ENDLESS.data.decode().replace("ready", "waiting")
    with pytest.raises(RunnerError) as caught:
        wired(line).start(module(code), ready="ready", pins=["LED"])
    assert caught.value.hint == 'The runner refused ENCODER_A: pass pins=["LED", "ENCODER_A"].'


@pytest.mark.parametrize(("name", "meant"), [("ENCODER_B", "ENCODER_A"), ("AO2", "AO1"), ("CAN1", "CAN0")])
def test_names_that_the_image_does_not_have_are_refused(
    line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    runner, own = wired(line), Module(**{**vars(module("end()")), "pins": (name,)})
    with pytest.raises(ConfigurationError, match=f"may use '{name}', but image stand-in has no such") as caught:
        runner.start(own)
    assert str(caught.value.hint).endswith("The names are: BUTTON, ENCODER_A, LED, AI0, AO0, AO1, CAN0.")
    assert f"did you mean '{meant}'" in str(caught.value.hint) or meant == "AO1"
    assert runner.run(own, pins=["BUTTON", "AO1", "CAN0"]).verdict == exited()

"""Deployment end to end, with a real shell and a stand-in for the agent that does whatever the module says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from agents import PLAIN, SEALING, install, line, make, module, runner
from support import ShellLine, shell_line

from hil import Measure
from hil.errors import ConfigurationError, RunnerError
from hil.guest import shell as shell_module
from hil.guest.receiving import PAD
from hil.image.manifest import AgentFacts
from hil.wasm import Execution, Module, Runner
from hil.wasm import (
    runner as runner_module,
)
from hil.wasm.verdict import exited, failed, faulted, no_agent, silent, stuck

__all__ = ["line", "runner"]


@pytest.mark.parametrize(
    ("code", "verdict", "output"),
    [
        ("write(b'hello, sel4\\r\\n'); end()", exited(0), b"hello, sel4\r\n"),
        ("write(bytes(range(256)) * 4); end(code=7)", exited(7), bytes(range(256)) * 4),
        ("write(b'no newline'); end()", exited(0), b"no newline"),
        ("end('failed', 0x89, 'unreachable', status=242)", failed("unreachable"), b""),
        ("end('faulted', 11, '', status=244)", faulted(), b""),
        ("line(b'[info] execution success, exit code:0')", silent(), None),
        ("write(b'# \\r\\n@deadbeef.1>0@\\n'); end()", exited(0), b"# \r\n@deadbeef.1>0@\n"),
        ("sys.exit(0)", silent(), b""),
        ("sys.exit(127)", no_agent(), b""),
        ("print('the runner does not answer'); sys.exit(245)", no_agent(), b""),
    ],
)
def test_each_end_of_a_deployment(runner: Runner, code: str, verdict: object, output: bytes | None) -> None:
    run = runner.run(module(code))
    assert run.verdict == verdict
    assert output is None or run.output == output
    assert run.good is (verdict == exited(0))
    assert (runner.guest.board.dirty is not None) is (
        verdict == silent() or (verdict == no_agent() and run.agent_status == 245)
    )
    assert (run.seal is not None) is (run.intact is True)
    assert run.transcript == runner.guest.board.console.transcript.path


def test_arguments_arrive_word_by_word(runner: Runner) -> None:
    words = ["one", "two words", "it's", "$HOME", "", "--flag", "ü", "*"]
    run = runner.run(module("write(repr(arguments).encode()); end()"), *words)
    assert run.text == repr(words)
    assert run.arguments == tuple(words)


def test_the_limit_is_told_to_the_agent_in_milliseconds(runner: Runner) -> None:
    assert runner.run(module("write(options['--limit'].encode()); end()"), limit=1.5).output == b"1500"
    assert runner.run(module("write(options['--limit'].encode()); end()"), limit=0.0001).output == b"1"


def test_any_byte_arrives_in_an_argument_and_in_a_module_s_name(runner: Runner) -> None:
    every = bytes(range(1, 256))
    echo = module("write(os.fsencode('|'.join(arguments))); end()", os.fsdecode(every.replace(b"/", b"")[-120:]))
    run = runner.run(echo, every, os.fsdecode(every), "\x03\necho INJECTED\n")
    assert (run.verdict, run.output) == (exited(0), b"|".join([every, every, b"\x03\necho INJECTED\n"]))
    assert run.arguments[0] == run.arguments[1] == os.fsdecode(every)
    assert run.call.isprintable()
    assert str(run).startswith(run.call)


def test_lines_of_an_execution_end_at_line_feeds_alone(runner: Runner) -> None:
    text = "a\fb\vc\x1cd\x85e\u2028f\rg\r\n\nlast"
    run = runner.run(module(f"write({text.encode()!r}); end()"))
    assert run.lines == text.split("\n")


def test_each_run_has_its_own_nonce(runner: Runner) -> None:
    code = module("write(options['--seal'].encode()); end()")
    assert len({runner.run(code).output for _ in range(3)}) == 3


def test_lines_of_others_are_set_apart_and_damage_is_told(runner: Runner, line: ShellLine) -> None:
    code = module("write(b'one\\r\\ntwo\\r\\n'); end()")
    line.to_us = lambda data: data.replace(b"two", b"[    3.383214] random: init done\r\ntwo")
    run = runner.run(code)
    assert (run.output, run.intact, run.good) == (b"one\r\ntwo\r\n", True, True)
    assert run.foreign == ("[    3.383214] random: init done",)
    line.to_us = lambda data: data.replace(b"two", b"t?o")
    run = runner.run(code)
    assert (run.verdict, run.intact, run.good) == (exited(0), False, False)
    assert run.intact is False
    line.to_us = lambda data: data.replace(b"hil-seal", b"hil-s?al")
    run = runner.run(code)
    assert run.verdict == silent()


def test_a_module_that_never_ends_is_stuck_and_the_board_spoilt(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.guest.shell  # noqa: B018
    monkeypatch.setattr(runner_module, "OVERHEAD", 0.2)
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 1.0)
    run = runner.run(module("write(b'begun'); time.sleep(60)"), limit=0.4)
    assert run.verdict == stuck()
    assert run.output.startswith(b"begun")
    assert "stuck" in (runner.guest.board.dirty or "")


def test_no_agent_on_the_image(runner: Runner, line: ShellLine) -> None:
    (line.home / "wasmedge_emit").unlink()
    run = runner.run(module("end()"))
    assert run.verdict == no_agent()
    assert "not found" in str(run.verdict)
    runner.guest.board.manifest.agent = None  # type: ignore[misc]
    with pytest.raises(ConfigurationError, match="agent"):
        runner.run(module("end()"))


def test_an_agent_without_a_seal_is_believed_less(
    line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    runner = make(line, AgentFacts())
    run = runner.run(module("write(repr(options).encode() + b'\\r\\n'); end(status=0)"))
    assert (run.verdict, run.output, run.intact, run.seal, run.good) == (exited(0), b"{}\r\n", None, None, True)
    fake = "line(b'[info] execution success, exit code:0'); write(b'Assertion failed'); sys.exit(0)"
    assert runner.run(module(fake)).verdict == silent()


def test_a_module_is_sent_once_and_a_sample_of_the_image_not_at_all(runner: Runner, line: ShellLine) -> None:
    code = module("write(path.encode()); end()")
    first = runner.run(code).text
    before = line.typed()
    assert any("stty raw" in one for one in before)
    assert runner.run(code).text == first
    assert not any("stty raw" in one for one in line.typed()[len(before) :])
    other = module("write(path.encode()); end() #", "m.wasm")
    assert runner.run(other).text != first, "another module of the same name"
    (line.home / "samples").mkdir()
    (line.home / "samples" / "s.wasm").write_bytes(b"write(path.encode()); end() # sample")
    assert runner.run(module("write(path.encode()); end() # sample", "s.wasm")).text == "samples/s.wasm"
    assert "samples" not in runner.run(module("write(path.encode()); end() # mine", "s.wasm")).text


def test_a_path_is_loaded_and_checked(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "bad.wasm").write_bytes(b"end()")
    with pytest.raises(ConfigurationError, match="WebAssembly"):
        runner.run(tmp_path / "bad.wasm")
    with pytest.raises(ConfigurationError, match="nothing.wasm"):
        runner.run(str(tmp_path / "nothing.wasm"))


def test_executions_are_recorded(line: ShellLine, runner: Runner) -> None:
    seen: list[Execution] = []
    recording = Runner(runner.guest, record=seen.append)
    run = recording.run(module("end()"))
    assert seen == [run]


def test_deployments_are_timed_by_the_console_and_recorded_once(runner: Runner, tmp_path: Path) -> None:
    seen = []
    measure = Measure(tmp_path / "b.toml", lambda series, checks: seen.append((series, checks)))
    series = measure.deployments(runner, module("end()"), "10", repeats=3)
    assert (series.quantity, series.subject, len(series)) == ("deployment time", "m.wasm 10", 3)
    assert (series.clock.name, series.clock.exact) == ("host monotonic", False)
    assert series.clock.floor is not None, "it is measured on the link"
    assert ((series.samples > 0) & (series.samples < 10)).all()
    assert list(series.offsets) == sorted(series.offsets)
    measure.flush()
    measure.flush()
    assert seen == [(series, ())]


def test_a_series_of_failures_has_no_meaning(runner: Runner, tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"1 of 3.*m\.wasm: exited\(3\)"):
        Measure(tmp_path / "b.toml").deployments(runner, module("end(code=3)"), repeats=2)


# an agent that cannot seal, whose runner dies without a word


@pytest.fixture
def plain(line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(runner_module, "OVERHEAD", 5.0)
    runner = make(line, PLAIN)
    boots: list[str] = []

    def boot() -> None:
        boots.append("boot")
        (line.home / "dead").unlink(missing_ok=True)
        runner.guest.board.dirty = None

    runner.guest.board.fresh = boot  # type: ignore[method-assign, assignment]
    runner.guest.board.boots = boots  # type: ignore[assignment]
    agent = line.home / "wasmedge_emit"
    dies = f"if os.path.exists({str(line.home / 'dead')!r}): sys.exit(0)\n"
    agent.write_text(agent.read_text().replace("source = open", dies + "source = open"))
    return runner


def kill(runner: Runner, line: ShellLine) -> None:
    runner.guest.run(f"touch {line.home}/dead", check=True)


def test_a_runner_that_was_dead_is_found_and_the_module_not_blamed(plain: Runner, line: ShellLine) -> None:
    seen: list[Execution] = []
    runner = Runner(plain.guest, record=seen.append)
    assert runner.run(module("write(b'one\\r\\n'); end()")).restored is None
    kill(plain, line)
    run = runner.run(module("write(b'one\\r\\n'); end()"))
    assert (run.verdict, run.output, run.heard) == (exited(0), b"one\n", True)
    assert "m.wasm" in (run.restored or "")
    assert run.restored in str(run)
    assert [(one.verdict, one.heard) for one in seen] == [(exited(0), True), (silent(), False), (exited(0), True)]
    assert plain.guest.board.boots == ["boot"]
    assert plain.guest.board.dirty is None


def test_a_runner_that_was_dead_before_a_start_is_found_too(plain: Runner, line: ShellLine) -> None:
    kill(plain, line)
    with plain.start(module("write(b'ready\\r\\n'); time.sleep(60)"), ready="ready") as running:
        assert plain.guest.board.boots == ["boot"]
    assert running.execution is not None
    assert (running.execution.verdict, running.execution.stopped) == (failed("aborted"), True)
    assert "m.wasm" in (running.execution.restored or "")
    kill(plain, line)
    plain.guest.board.fresh = lambda: plain.guest.board.boots.append("in vain")  # type: ignore
    with pytest.raises(RunnerError, match=r"m\.wasm ended before it had been executed: m\.wasm: silent"):
        plain.start(module("end()"))
    assert plain.guest.board.boots == ["boot", "in vain"]


def test_a_second_silence_is_the_module_s_own(plain: Runner, line: ShellLine) -> None:
    kill(plain, line)
    plain.guest.board.fresh = lambda: plain.guest.board.boots.append("in vain")  # type: ignore
    run = plain.run(module("end()"))
    assert (run.verdict, run.heard) == (silent(), False)
    assert run.restored
    assert plain.guest.board.boots == ["in vain"]
    assert "silent on m.wasm" in (plain.guest.board.dirty or "")


def test_silence_after_a_first_word_is_the_module_s_own(plain: Runner) -> None:
    run = plain.run(module("write(b'out\\r\\n'); sys.exit(0)"))
    assert (run.verdict, run.output, run.restored) == (silent(), b"out\n", None)
    assert plain.guest.board.boots == []
    assert "silent on m.wasm" in (plain.guest.board.dirty or "")


def test_the_board_of_a_faulted_runner_is_spoilt(plain: Runner) -> None:
    run = plain.run(module("write(b'out\\r\\nAssertion failed: no (a.c: f: 1)\\r\\n'); sys.exit(0)"))
    assert str(run.verdict) == "faulted(Assertion failed: no (a.c: f: 1))"
    assert (run.output, run.diagnostics) == (b"out\n", ("Assertion failed: no (a.c: f: 1)",))
    assert plain.guest.board.dirty == "m.wasm took the runner down"
    assert plain.guest.board.boots == []


def test_the_agent_s_own_complaint_is_no_sign_of_a_dead_runner(plain: Runner) -> None:
    run = plain.run(Module.raw("m.wasm", b"\xff"))  # the stand-in for the agent chokes on it
    assert run.verdict == silent()
    assert plain.guest.board.boots == []


def test_a_guest_that_boots_with_a_new_console_is_followed(plain: Runner, line: ShellLine, tmp_path: Path) -> None:
    kill(plain, line)
    (tmp_path / "second").mkdir()
    with shell_line(tmp_path / "second") as other:
        install(other)

        def boot() -> None:
            plain.guest.board.console = other.console  # type: ignore[misc]
            plain.guest.run(f"PATH={other.home}:$PATH", check=True)

        plain.guest.board.fresh = boot  # type: ignore[method-assign, assignment]
        run = plain.run(module("end()"))
        assert (run.verdict, run.transcript) == (exited(0), other.console.transcript.path)
        assert run.restored


def test_a_sealed_silence_boots_nothing(runner: Runner) -> None:
    run = runner.run(module("sys.exit(0)"))  # the stand-in has no fresh()
    assert (run.verdict, run.restored) == (silent(), None)


def test_what_a_stuck_module_wrote_is_kept(plain: Runner, line: ShellLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "OVERHEAD", 0.5)
    monkeypatch.setattr(shell_module, "RECOVERY_LIMIT", 1.0)
    line.to_us = lambda data: data.replace(b"begun", b"be[    3.383214] random: init done\r\ngun")
    run = plain.run(module("write(b'begun\\r\\n'); time.sleep(60)"), limit=0.5)
    assert (run.verdict, run.output) == (stuck(), b"begun\n")
    assert run.foreign == ("[    3.383214] random: init done",)
    raw = line.console.transcript.read(run.start, run.end)
    assert raw.startswith(b"[2026-11-23 12:00:00.000] [info] executing wasm file\r\nbe[ ")
    assert raw.endswith(b"gun\r\n")


def test_a_module_larger_than_the_runner_takes_is_refused_before_it_is_sent(line: ShellLine, tmp_path: Path) -> None:
    runner = make(line, SEALING.model_copy(update={"module_limit": 100}))
    with pytest.raises(ConfigurationError, match=r"large\.wasm.*\b101 bytes.*stand-in.*\b100\b"):
        runner.run(Module.raw("large.wasm", b" " * 101))
    assert not runner.guest.open or runner.guest.modules == {}
    assert runner.run(module("end()")).good


def test_why_the_agent_refuses_a_deployment_is_the_verdict_s_reason(runner: Runner) -> None:
    words = "wasmedge_emit: argument 1 has 5000 bytes: 4092 at most"
    run = runner.run(module(f"print({words!r}); sys.exit(247)"))
    assert run.verdict == failed(words)
    assert runner.guest.board.dirty is None


def test_the_last_words_of_an_agent_that_did_not_begin_are_reported(runner: Runner) -> None:
    gone = module("end()")
    runner.guest.modules[gone.sha256] = "/nowhere.wasm"
    verdict = runner.run(gone).verdict
    assert verdict == silent()
    assert "No such file or directory: '/nowhere.wasm'" in str(verdict)


@pytest.mark.parametrize("limit", ["number", "size"])
def test_uploads_that_fill_the_guest_are_removed_oldest_first(
    line: ShellLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str
) -> None:
    uploads = tmp_path / "cache"
    uploads.mkdir()
    (uploads / "probe").touch()
    if limit == "number":
        monkeypatch.setattr(runner_module, "UPLOADED", 3)
    runner = make(line, SEALING.model_copy(update={"modules": str(uploads), "modules_mib": 1}))
    filling = "" if limit == "number" else "#" * (300 << 10)
    modules = [module(f"end(code={code}){filling}", f"{code}.wasm") for code in range(7)]

    def kept() -> set[str]:
        return {path.name for path in uploads.glob("*/*.wasm")}

    for code, each in enumerate(modules):
        assert runner.run(each).verdict == exited(code)
    assert kept() == {"4.wasm", "5.wasm", "6.wasm"}
    before = (uploads / modules[6].sha256[:16] / "6.wasm").stat().st_ino
    assert runner.run(modules[0]).verdict == exited(0), "it was removed, and is sent again"
    assert kept() == {"5.wasm", "6.wasm", "0.wasm"}
    assert runner.run(modules[6]).verdict == exited(6)
    assert (uploads / modules[6].sha256[:16] / "6.wasm").stat().st_ino == before, "it was there"
    assert (uploads / "probe").exists(), "it is nobody's module"


def test_a_directory_that_outlives_the_boot_keeps_modules_and_is_not_trusted(line: ShellLine, tmp_path: Path) -> None:
    facts = SEALING.model_copy(update={"modules": str(tmp_path / "cache")})
    code = module("end(code=3)")

    def sent() -> bool:
        """Whether the module is sent after a boot, of which this guest knows nothing."""
        before = len(line.typed())
        assert make(line, facts).run(code).verdict == exited(3)
        return (code.data + PAD).decode() in line.typed()[before:]

    assert (sent(), sent()) == (True, False)
    (kept,) = (tmp_path / "cache").glob("*/m.wasm")
    kept.write_bytes(b"end(code=4)")
    assert (sent(), sent()) == (True, False)

"""A module argument: the same forms with the same meaning, and the same errors, for all that deploy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from support import ShellLine
from test_oci import WASM, Made
from test_runner import line, make, module

from hil import Guest, Measure, ms, read_vcd, sample_cases
from hil.cli import main
from hil.errors import ConfigurationError, HilError
from hil.faults.injector import Injector
from hil.guest.shell import quote
from hil.guest.typed import text_of
from hil.measure.soak import soak
from hil.wasm import Module, Runner, Samples
from hil.wasm import runner as runner_module
from hil.wasm.catalogue import SAMPLES_DIR
from hil.wasm.loading import load_module

__all__ = ["line"]


def injector() -> Injector:
    """Return an injector on a board that must not be touched."""
    transcript = SimpleNamespace(path=Path("t.raw"), size=0, refresh=lambda: None)
    board = SimpleNamespace(name="b", emulated=True, qemu=SimpleNamespace(pid=1 << 30), dirty=None)
    board.console = SimpleNamespace(transcript=transcript)
    return Injector(Runner(SimpleNamespace(board=board)))  # type: ignore[arg-type]


RUNNER: Any = Runner(None)  # type: ignore[arg-type]
MEASURE = Measure("none.toml")
DEPLOYING: dict[str, Callable[[Any], object]] = {
    "run": RUNNER.run,
    "place": RUNNER.place,
    "check_size": RUNNER.check_size,
    "executions": lambda module: MEASURE.executions(RUNNER, module, repeats=3),
    "parts": lambda module: MEASURE.parts(RUNNER, module, repeats=3),
    "transfers": lambda module: MEASURE.transfers(RUNNER, module, repeats=3),
    "deployments": lambda module: MEASURE.deployments(RUNNER, module, repeats=3),
    "periodic": lambda module: MEASURE.periodic(RUNNER, module, 5 * ms, count=3),
    "ticks": lambda module: MEASURE.ticks(RUNNER, module, 5 * ms, count=3),
    "soak": lambda module: soak(RUNNER, module, deployments=20),
    "cut_power": lambda module: injector().cut_power(during=module),
    "freeze": lambda module: injector().freeze(during=module),
    "kill_qemu": lambda module: injector().kill_qemu(during=module),
    "slow_host": lambda module: injector().slow_host(during=module),
}


@pytest.fixture
def wrong(tmp_path: Path) -> list[Any]:
    """Arguments that name no module."""
    (tmp_path / "text.wasm").write_bytes(b"#!/bin/sh\n")
    missing = tmp_path / "missing.wasm"
    references = ["oci://host/Hello", "oci://localhost:1/m:v"]  # not a name; no registry
    names = ["", "nul\0.wasm", "x" * 5000, "\ud800.wasm"]
    return [missing, str(missing), tmp_path, tmp_path / "text.wasm", *names, *references, WASM, 3, ["a.wasm"]]


def error_of(deploy: Callable[[Any], object], argument: Any) -> tuple[str, str]:
    with pytest.raises(HilError) as caught:
        deploy(argument)
    return caught.value.origin, caught.value.message


@pytest.mark.parametrize("deploy", DEPLOYING.values(), ids=DEPLOYING)
def test_the_error_is_the_same_wherever_a_module_is_deployed(deploy: Callable[[Any], object], wrong: list[Any]) -> None:
    for argument in wrong:
        assert error_of(deploy, argument) == error_of(load_module, argument)


def test_the_command_takes_the_same_with_the_same_errors(wrong: list[Any]) -> None:
    for argument in [text for text in wrong if isinstance(text, str) and text.isascii() and len(text) < 200]:
        done = CliRunner().invoke(main, ["run", "--board", "qemu-reference", "--", argument])
        origin, message = error_of(load_module, argument)
        assert done.exit_code == {"configuration": 64, "infrastructure": 71}[origin]
        assert "".join(message.split()) in "".join(done.stderr.split())


def test_all_forms_are_the_same_module(tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(WASM)
    expected = Module.load(path)
    layout = Made(tmp_path / "layout")
    layout.list(layout.manifest(layout.module()), tag="v1")
    assert [load_module(form) for form in (expected, path, str(path))] == [expected] * 3
    assert Samples()(str(path)) == expected
    assert {load_module(form).data for form in (layout.path, f"oci-layout:{layout.path}:v1")} == {WASM}


def test_a_sample_goes_by_its_name_where_there_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hello.wasm", "hello"):
        assert load_module(name) == Samples()("hello.wasm")
    with pytest.raises(ConfigurationError, match=r"hello\.wasm"):
        load_module(Path("hello.wasm"))
    (tmp_path / "hello.wasm").write_bytes(WASM)
    assert load_module("hello.wasm").data == WASM


def test_paths_may_be_text_in_what_tests_import(tmp_path: Path) -> None:
    path = tmp_path / "m.wasm"
    path.write_bytes(WASM)
    assert Module.load(str(path)) == Module.load(path)
    assert sample_cases(str(SAMPLES_DIR)) == sample_cases()
    assert Samples(str(SAMPLES_DIR))("hello.wasm") == Samples()("hello.wasm")
    capture = tmp_path / "c.vcd"
    capture.write_text("$timescale 1 us $end\n$var wire 1 a x $end\n$enddefinitions $end\n#0\n0a\n#5\n1a\n#9\n")
    assert list(read_vcd(str(capture))) == ["x"]


def test_words_of_the_guest_are_text_or_bytes() -> None:
    for wrong in (lambda: quote(["ls", 5]), lambda: text_of(Path("x"))):  # type: ignore[list-item,arg-type]
        with pytest.raises(ConfigurationError, match=r"the (int 5|PosixPath)"):
            wrong()
    with pytest.raises(ConfigurationError, match="the str 'm.wasm'"):
        Guest.put(None, "m.wasm", "/tmp/m.wasm")  # type: ignore[arg-type]


def test_a_series_is_the_same_whichever_form_its_module_has(
    line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    monkeypatch.setattr(Module, "of", lambda name, data, source, path=None: Module.raw(name, data))  # it is Python
    runner = make(line)
    path = tmp_path / "m.wasm"
    path.write_bytes(module("write(options['--limit'].encode() + os.fsencode(arguments[0])); end()").data)
    runs = []
    recording = Runner(runner.guest, record=runs.append)
    for form in (path, str(path), load_module(path)):
        series = MEASURE.deployments(recording, form, b"\xff", repeats=2, warm_up=0, limit=7)
        assert series.subject == "m.wasm \\xff"
    assert soak(recording, str(path), b"\xff", deployments=2, limit=7).good == 2
    assert {run.output for run in runs} == {b"7000\xff"}


@pytest.mark.parametrize("argument", [3, None, ["x"]])
def test_an_argument_that_is_no_text_is_refused(argument: Any) -> None:
    good = Module.raw("m.wasm", WASM)
    for deploy in (
        lambda: RUNNER.run(good, "x", argument),
        lambda: MEASURE.executions(RUNNER, good, "x", argument, repeats=3),
        lambda: MEASURE.deployments(RUNNER, good, "x", argument, repeats=3),
        lambda: soak(RUNNER, good, "x", argument, deployments=20),
    ):
        with pytest.raises(ConfigurationError, match=rf"argument 2 .*{type(argument).__name__} "):
            deploy()

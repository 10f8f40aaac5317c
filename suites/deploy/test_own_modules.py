"""Modules that are not on the image: a user's own, and each kind of bad one."""

import pytest

from hil import Module, exited, failed

pytestmark = pytest.mark.board

HEADER = b"\0asm\1\0\0\0"
TYPE = b"\x01\x04\x01\x60\x00\x00"  # () -> ()
TYPE_PARAMETER = b"\x01\x05\x01\x60\x01\x7f\x00"  # (i32) -> ()
FUNCTION = b"\x03\x02\x01\x00"
EXPORT = b"\x07\x0a\x01\x06_start\x00\x00"
CODE = b"\x0a\x04\x01\x02\x00\x0b"
IMPORT = b"\x02\x0d\x01\x03env\x05thing\x00\x00"

# the runner's words for each; versions of WasmEdge differ on a module that is cut
BAD = {
    "empty": (b"", {"unexpected end"}),
    "header-cut": (HEADER[:4], {"unexpected end"}),
    "section-cut": ((HEADER + TYPE + FUNCTION + EXPORT + CODE)[:-3], {"unexpected end", "length out of bounds"}),
    "not-wasm": (b"#!/bin/sh\necho no\n", {"magic header not detected"}),
    "no-start": (HEADER, {"wasm function not found"}),
    "wrong-signature": (HEADER + TYPE_PARAMETER + FUNCTION + EXPORT + CODE, {"function signature mismatch"}),
    "unknown-import": (HEADER + TYPE + IMPORT + FUNCTION + EXPORT + CODE, {"unknown import"}),
}


def test_own_module_is_uploaded_and_runs(runner, tmp_path):
    path = tmp_path / "own.wasm"
    path.write_bytes(HEADER + TYPE + FUNCTION + EXPORT + CODE)
    run = runner.run(path)
    assert run.verdict == exited(0)
    assert run.output == b""


@pytest.mark.parametrize("kind", BAD)
def test_bad_module_is_refused_by_name(runner, sample, kind):
    data, reasons = BAD[kind]
    verdict = runner.run(Module.raw(f"{kind}.wasm", data)).verdict
    assert isinstance(verdict, failed), str(verdict)
    assert verdict.reason in reasons
    after = runner.run(sample("hello.wasm"))
    assert after.good
    assert after.restored is None, "the runner did not survive it"


def test_truncated_module_is_refused(runner, sample):
    module = sample("nbody-c.wasm")
    run = runner.run(Module.raw("cut.wasm", module.data[: len(module.data) // 2]))
    assert isinstance(run.verdict, failed), str(run)
    assert run.verdict.reason in BAD["section-cut"][1]


def test_arguments_arrive_whole(runner, sample):
    arguments = ["one", "two words", "$HOME", "'quoted'", '"double"', "a;b|c&d", "back\\slash", "", "x" * 1000]
    run = runner.run(sample("args.wasm"), *arguments)
    assert run.lines == [f"argc {len(arguments) + 1}", "wasm.wasm", *arguments]


def test_exit_code_is_the_modules_own(runner, sample):
    assert runner.run(sample("exit.wasm"), "42").verdict == exited(42)

"""Modules compiled ahead of time, with stand-ins for the outside programs: what is kept, refused and reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from executions import execution
from limits import HANG
from support import until

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.image import manifest as manifests
from hil.image import native, packages
from hil.image.manifest import AotFacts
from hil.image.native import Compiler
from hil.wasm.compiled import check_native, compiled
from hil.wasm.module import Module, NativeCode

CORE = b"\0asm\1\0\0\0"
TAKEN = bytes((1, 1, 2))  # format 1, linux, aarch64
REFERENCE = manifests.find("reference")


def section(facts: bytes) -> bytes:
    return bytes((0, 9 + len(facts), 8)) + b"wasmedge" + facts


def module(data: bytes = CORE, name: str = "m.wasm") -> Module:
    return Module.of(name, data, name)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the script of the compiler, which has `$module` and `$made`; each run adds a line to the file `runs`."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(native, "_EMULATOR", ("qemu-aarch64",))
    (tmp_path / "bin").mkdir()

    def program(name: str, script: str) -> None:
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def compiler(script: str) -> None:
        last_two = 'for word; do module="$made"; made="$word"; done'
        program("qemu-aarch64", f"{last_two}; echo run >>{tmp_path}/runs\n{script}")

    program("aarch64-linux-gnu-gcc", ":")
    compiler(r"""cp "$module" "$made"; printf '\000\014\010wasmedge\001\001\002' >>"$made" """)
    return compiler


def runs(directory: Path) -> int:
    return len((directory / "runs").read_text().splitlines()) if (directory / "runs").exists() else 0


@pytest.fixture
def image(tmp_path: Path, fake: object) -> Any:
    """The reference image, with its packages in the cache."""
    digests = {"libwasmedge0": "ab", "linux-image": "cd"}
    directory = tmp_path / "cache/hil/packages/0123"
    for name in ("xen", "kernel", "busybox", "can", "lib", "include"):
        (directory / name).mkdir(parents=True)
    facts = ", ".join(f'"{name}": {{"sha256": "{digest}", "version": "1"}}' for name, digest in digests.items())
    (directory / "packages.json").write_text(f'{{"packages": {{{facts}}}}}')
    record = {"package_digests": {**digests, "linux-image": "other"}, "packages": {"libwasmedge0": "0.14"}}
    return SimpleNamespace(manifest=REFERENCE, record=record, provenance="built here")


def test_a_compiled_module_keeps_its_name_and_says_for_what_it_is(image: Any) -> None:
    before = replace(module(), pins=("LED",), ready="ok")
    made = compiled(before, REFERENCE, lambda: image)
    assert (made.name, made.pins, made.ready, made.kind) == ("m.wasm", ("LED",), "ok", "aot")
    assert made.native == NativeCode(1, "linux", "aarch64")
    assert made.compiled_from == before.sha256 != made.sha256
    assert made.file == "m.aot.wasm"
    assert compiled(made, REFERENCE, lambda: image) is made


def test_an_execution_is_marked(image: Any) -> None:
    made = compiled(module(), REFERENCE, lambda: image)
    plain, native = execution(), replace(execution(arguments=("a",)), module=made)
    assert (plain.aot, native.aot) == (False, True)
    assert str(native).startswith("m.wasm a (aot): exited(0)")
    assert str(plain).startswith("x.wasm: exited(0)")


def test_each_module_is_compiled_once(image: Any, tmp_path: Path) -> None:
    one, two = module(), module(CORE + b"\0\1\0")
    datas = [compiled(each, REFERENCE, lambda: image).data for each in (one, two, one, two)]
    assert datas == [one.data + section(TAKEN), two.data + section(TAKEN)] * 2
    assert runs(tmp_path) == 2


def test_modules_with_the_same_code_are_compiled_once(image: Any, tmp_path: Path) -> None:
    one, two, three = [
        module(CORE + b"\0\1\0\x0b" + bytes((6 + len(text), 1, 0, 0x41, place, 0x0B, len(text))) + text)
        for place, text in ((0, b"script"), (0, b"another"), (1, b"script"))
    ]
    for each in (one, two):
        assert compiled(each, REFERENCE, lambda: image).data == each.data + section(TAKEN)
    assert runs(tmp_path) == 1
    compiled(three, REFERENCE, lambda: image)
    assert runs(tmp_path) == 2


def test_what_decides_the_code_is_in_the_key(image: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = packages.read(packages.kept()[0])
    assert parts is not None
    key = Compiler.of(parts).key
    assert Compiler.of(replace(parts, digests={**parts.digests, "linux-image": "newer"})).key == key
    assert Compiler.of(replace(parts, digests={**parts.digests, "libwasmedge0": "newer"})).key != key
    monkeypatch.setattr(native, "OPTIONS", ("--optimize", "3"))
    assert Compiler.of(parts).key != key


def test_what_the_builder_has_compiled_is_not_compiled_again(image: Any, tmp_path: Path) -> None:
    parts = packages.read(packages.kept()[0])
    assert parts is not None
    data = CORE + bytes((11, 6, 1, 1, 3)) + b"abc"  # a data segment, which decides nothing
    built = native.compile_module(Compiler.of(parts), "m.wasm", data)
    assert compiled(module(data), REFERENCE, lambda: image).data == built
    assert runs(tmp_path) == 1


@pytest.mark.parametrize("damage", [lambda entry: entry[:-1], lambda entry: b"", lambda entry: entry[:-1] + b"\xff"])
def test_a_damaged_entry_is_made_again(image: Any, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    good = compiled(module(), REFERENCE, lambda: image).data
    (entry,) = (tmp_path / "cache/hil/compiled").glob("*-" + "?" * 64)
    entry.write_bytes(damage(entry.read_bytes()))
    assert compiled(module(), REFERENCE, lambda: image).data == good
    assert runs(tmp_path) == 2


def test_the_cache_keeps_those_used_last(image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = [module(CORE + bytes((0, 2, 1, 97 + number))) for number in range(3)]

    def use(each: Module) -> None:
        compiled(each, REFERENCE, lambda: image)

    def held() -> dict[str, Path]:
        return {path.name[-64:]: path for path in (tmp_path / "cache/hil/compiled").glob("*-" + "?" * 64)}

    use(first)
    use(second)
    for path in held().values():
        os.utime(path, (1, 1))
    use(first)
    monkeypatch.setattr(native, "KEPT", 2 * held()[first.sha256].stat().st_size)
    use(third)
    assert set(held()) == {first.sha256, third.sha256}
    monkeypatch.setattr(native, "KEPT", 1)
    use(second)
    assert set(held()) == {second.sha256}, "the newest is not kept"


CHILD = """
from hil.image import native
from pathlib import Path
native._EMULATOR = ("qemu-aarch64",)
compiler = native.Compiler(Path("lib"), Path("include"), "ab" * 32)
print(len(native.compile_module(compiler, "m.wasm", b"\\0asm\\1\\0\\0\\0")), flush=True)
"""


def child() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE)


def test_two_processes_compile_a_module_once(fake: Callable[[str], None], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    fake(f'read go <{tmp_path}/go; cp "$module" "$made"')
    with child() as one, child() as two:
        try:
            until(lambda: runs(tmp_path) == 1)
            (tmp_path / "go").write_text("go\n")
            assert {one.communicate(timeout=HANG)[0], two.communicate(timeout=HANG)[0]} == {b"8\n"}
        finally:
            one.kill()
            two.kill()
    assert runs(tmp_path) == 1


def test_a_killed_process_leaves_nothing_that_counts(fake: Callable[[str], None], tmp_path: Path) -> None:
    fake('printf half >"$made"; exec sleep 60')
    with child() as one:
        until(lambda: list((tmp_path / "cache/hil/compiled").glob("making-*/native.wasm")))
        one.send_signal(signal.SIGKILL)
    fake('cp "$module" "$made"')
    with child() as two:
        assert two.communicate(timeout=HANG)[0] == b"8\n"
    assert not list((tmp_path / "cache/hil/compiled").glob("making-*"))


def test_a_module_that_the_compiler_refuses(image: Any, fake: Callable[[str], None]) -> None:
    fake(
        "echo '[2026-11-29 23:16:20.745] [error] loading failed: illegal opcode, Code: 0x117'\n"
        "echo '[2026-11-29 23:16:20.745] [error]     This instruction requires enabling GC proposal'; exit 1"
    )
    with pytest.raises(ConfigurationError, match="refuses the module m.wasm: loading failed.*GC proposal") as caught:
        compiled(module(), REFERENCE, lambda: image)
    assert "interpreted" in (caught.value.hint or "")


def test_a_compiler_that_fails_or_hangs(
    image: Any, fake: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("echo LLVM ERROR: out of memory; kill -6 $$")
    with pytest.raises(InfrastructureError, match=r"(?s)m\.wasm: .*qemu-aarch64 failed.*out of memory"):
        compiled(module(), REFERENCE, lambda: image)
    fake("echo '[info] optimize start'; exec sleep 60")
    monkeypatch.setattr(native, "LIMIT", 3.0)
    with pytest.raises(InfrastructureError, match=r"(?s)m\.wasm: .*within 3 s.*optimize start"):
        compiled(module(), REFERENCE, lambda: image)
    fake(":")
    with pytest.raises(InfrastructureError, match="native.wasm"):
        compiled(module(), REFERENCE, lambda: image)
    fake('cp "$module" "$made"')
    with pytest.raises(InfrastructureError, match="made no native code"):
        compiled(module(), REFERENCE, lambda: image)


def test_a_missing_emulator_is_named(image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin/qemu-aarch64").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(InfrastructureError) as caught:
        compiled(module(), REFERENCE, lambda: image)
    assert " qemu-user" in (caught.value.hint or "")


def test_an_image_without_its_packages(image: Any) -> None:
    image.record["package_digests"]["libwasmedge0"] = "newer"
    image.provenance = "pulled from registry.example/reference@sha256:12"
    with pytest.raises(ConfigurationError, match=r"libwasmedge0 0\.14.*pulled from(.*\n)*.*build reference --force"):
        compiled(module(), REFERENCE, lambda: image)
    image.record = {}
    with pytest.raises(ConfigurationError, match="not built from packages"):
        compiled(module(), REFERENCE, lambda: image)


def unused() -> Any:
    raise AssertionError("the image is not needed")


def test_an_image_that_takes_no_compiled_modules(image: Any) -> None:
    sel4 = manifests.find("wasmedge-sel4")
    with pytest.raises(ConfigurationError, match="wasmedge-sel4 takes no compiled modules: .*faults"):
        compiled(module(), sel4, unused)
    native = module(CORE + section(TAKEN))
    check_native(native, sel4)
    with pytest.raises(ConfigurationError, match="takes no compiled modules"):
        compiled(native, sel4, unused)
    assert sel4.agent is not None
    silent = sel4.model_copy(update={"agent": sel4.agent.model_copy(update={"aot": None})})
    with pytest.raises(ConfigurationError, match=r"does not say(.*\n)*.*\[agent\.aot\]"):
        compiled(module(), silent, unused)
    check_native(native, silent)


@pytest.mark.parametrize(
    ("facts", "found"),
    [((2, 1, 2), "linux aarch64, format 2"), ((1, 1, 1), "linux x86_64"), ((1, 9, 9), "system 9 CPU 9"), ((), "0")],
)
def test_native_code_for_another_runner_is_refused(facts: tuple[int, ...], found: str) -> None:
    other = module(CORE + section(bytes(facts))) if facts else module(CORE + section(b"\0"))
    with pytest.raises(ConfigurationError, match=rf"m\.wasm is compiled for .*{found}.*takes linux aarch64, format 1"):
        compiled(other, REFERENCE, unused)
    check_native(module(CORE + section(TAKEN)), REFERENCE)
    check_native(module(), REFERENCE)


@pytest.mark.parametrize("facts", [{"cpu": "arm"}, {"refused": "why", "format": 1}, {}])
def test_facts_that_do_not_fit(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="set cpu, system and format, or refused alone"):
        AotFacts(**facts)


@pytest.mark.parametrize("version", [b"\x0d\0", b"\x0a\0"])
def test_a_component_is_refused(version: bytes) -> None:
    with pytest.raises(ConfigurationError, match=r"x is a component(.*\n)*.*wasm32-wasip1") as caught:
        Module.of("x", b"\0asm" + version + b"\1\0" + b"\0\1\0", "x")
    assert "raw" not in (caught.value.hint or "")


def hil(*words: str) -> Result:
    return CliRunner().invoke(main, ["compile", *words])


def test_the_command_writes_the_module(image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.cli.compiling.ensure", lambda manifest, progress: image)
    (tmp_path / "m.wasm").write_bytes(CORE)
    monkeypatch.chdir(tmp_path)
    by_image, by_board = hil("./m.wasm", "--image", "reference"), hil("m.wasm", "--board", "qemu-plain", "-o", "out")
    assert (by_image.exit_code, by_board.exit_code) == (0, 0), by_image.output + by_board.output
    assert Path("m.aot.wasm").read_bytes() == Path("out").read_bytes() == CORE + section(TAKEN)
    (tmp_path / "other.wasm").write_bytes(CORE + section(bytes((1, 1, 1))))
    assert hil("other.wasm", "--image", "reference").exit_code == 2
    assert not Path("other.aot.wasm").exists()


@pytest.mark.parametrize("words", [("--image", "wasmedge-sel4"), ("--board", "place:x"), ("--image", "none")])
def test_the_command_refuses(words: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.wasm").write_bytes(CORE)
    assert hil("m.wasm", *words).exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["m.wasm"]

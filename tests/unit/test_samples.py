"""The sample modules are what samples.toml says, and can be built again to the same bytes."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from limits import HANG

SAMPLES = Path(__file__).resolve().parents[2] / "wasm_samples"
TABLE: dict[str, Any] = tomllib.loads((SAMPLES / "samples.toml").read_text())
MAGIC = b"\0asm\x01\0\0\0"
LARGEST = {"rust": 100_000, "rust-crate": 5_000, "c": 50_000, "c-tiny": 3_000, "language": 1_000_000}  # bytes
SAMPLE_KEYS = {"name", "file", "source", "kind", "build", "about", "case"}
IN_TREE_KEYS, IN_LANGUAGE_KEYS = {"sha256"}, {"sha256", "language", "prebuilt"}
ON_DEMAND_KEYS = {"language", "on_demand"}
OPTIONAL_SAMPLE_KEYS = {"pins", "ready"}
LANGUAGES = {path.parent.name for path in (SAMPLES / "languages").glob("*/build")}
IN_TREE = [sample for sample in TABLE["sample"] if "on_demand" not in sample]
OF_DEBIAN = {sample["file"] for sample in TABLE["sample"] if "language" not in sample}
WASI = "wasi_snapshot_preview1"
PIN_INTERFACES = {
    "wasi:gpio/digital@0.2.0",
    "hil:gpio/edges@0.1.0",
    "hil:can/frames@0.1.0",
    "hil:analog/channels@0.1.0",
}
CASE_KEYS = {"name", "arguments", "verdict"}
OUTPUT_KEYS = {"lines", "last_line", "patterns", "text"}
VERDICT_KEYS = {"exited": {"code"}, "failed": {"reason"}, "faulted": set[str]()}
OPTIONAL_KEYS = {"limit_ms", "hazard", "bytes", "crc32"}

each_sample = pytest.mark.parametrize("sample", TABLE["sample"], ids=lambda sample: sample["name"])
each_in_tree = pytest.mark.parametrize("sample", IN_TREE, ids=lambda sample: sample["name"])


def load_builder() -> ModuleType:
    loader = SourceFileLoader("sample_builder", str(SAMPLES / "build"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    keep, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        sys.modules[loader.name] = module  # dataclasses look their module up
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = keep
        sys.path.remove(str(SAMPLES))
    return module


@pytest.fixture
def builder() -> ModuleType:
    return load_builder()


@pytest.fixture(scope="session")
def toolchain() -> dict[str, str]:
    """Debian's toolchain, or a skip that names the packages."""
    module = load_builder()
    try:
        versions: dict[str, str] = module.debian.toolchain()
    except module.Failure as missing:
        pytest.skip(f"needs Debian's packages {module.debian.PACKAGES}: {missing}")
    return versions


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The samples in a directory that may be spoilt."""
    return shutil.copytree(SAMPLES, tmp_path / "somewhere else")


@pytest.fixture
def small(copy: Path) -> Path:
    """The same with only the module `nonl`, which builds in no time, and nothing recorded."""
    text = (copy / "samples.toml").read_text()
    blocks = re.split(r"(?m)^(?=\[\[sample\]\])", text.partition(load_builder().GENERATED)[0])
    kept = [block for block in blocks if block.startswith('[[sample]]\nname = "nonl"\n')]
    assert len(kept) == 1
    (copy / "samples.toml").write_text(f'prebuilt = "{load_builder().system()}"\n\n{kept[0]}')
    return copy


def run(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    scratch = directory.parent / "tmp"
    scratch.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, directory / "build", *options],
        capture_output=True,
        text=True,
        timeout=900,
        env={"PATH": "/nonexistent", "TMPDIR": str(scratch)},
        check=False,
    )
    assert not list(scratch.iterdir()), "temporary files were left behind"
    return done


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number and where the next byte is."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def names_in(module: bytes, wanted: int) -> list[str]:
    """Module names of the imports (section 2) or names of the exports (section 7)."""
    at, names = len(MAGIC), []
    while at < len(module):
        section, (size, start) = module[at], unsigned(module, at + 1)
        at = start + size
        if section != wanted:
            continue
        count, here = unsigned(module, start)
        for _ in range(count):
            length, here = unsigned(module, here)
            names.append(module[here : here + length].decode())
            here += length
            if wanted == 2:
                length, here = unsigned(module, here)
                here += length
                assert module[here] == 0, "imports something else than a function"
            here += 1
            _, here = unsigned(module, here)
    return names


@each_sample
def test_table_follows_its_schema(sample: dict[str, Any]) -> None:
    more = ON_DEMAND_KEYS if "on_demand" in sample else IN_LANGUAGE_KEYS if "language" in sample else IN_TREE_KEYS
    assert SAMPLE_KEYS | more <= sample.keys() <= SAMPLE_KEYS | more | OPTIONAL_SAMPLE_KEYS
    assert ("language" in sample) == (sample["build"] == "language") == sample["name"].startswith("lang-")
    assert sample.get("language", "c") in LANGUAGES
    assert sample["file"] == f"{sample['name']}.wasm"
    assert sample["kind"] in {"interpreted", "aot"}
    assert sample["build"] in LARGEST
    assert len({case["name"] for case in sample["case"]}) == len(sample["case"])
    for case in sample["case"]:
        needed = CASE_KEYS | VERDICT_KEYS[case["verdict"]]
        assert needed <= case.keys() <= needed | OUTPUT_KEYS | OPTIONAL_KEYS
        assert len(case.keys() & OUTPUT_KEYS) <= 1
        assert ("bytes" in case) == ("crc32" in case)
        assert re.fullmatch("[0-9A-F]{8}", case.get("crc32", "00000000"))
        for pattern in case.get("patterns", []):
            re.compile(pattern)


@each_in_tree
def test_module_is_the_recorded_one(sample: dict[str, Any]) -> None:
    content = (SAMPLES / sample["file"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert digest == sample["sha256"], "after a change of the sources: wasm_samples/build --record"
    toolchains = TABLE["language"][sample["language"]] if "language" in sample else TABLE["toolchain"]
    assert digest == toolchains[sample.get("prebuilt", TABLE["prebuilt"])]["modules"][sample["file"]]
    assert content.startswith(MAGIC)
    assert len(content) <= LARGEST[sample["build"]]


@each_in_tree
def test_module_asks_for_what_it_may_use_and_names_no_place(sample: dict[str, Any]) -> None:
    content = (SAMPLES / sample["file"]).read_bytes()
    imported = set(names_in(content, 2))
    assert WASI in imported
    assert imported - {WASI} <= (PIN_INTERFACES if sample.get("pins") else set())
    assert ("pins" in sample) == (imported != {WASI})
    assert {"_start", "memory"} <= set(names_in(content, 7))
    content = content.replace(b"/usr/src/rustc-", b"")  # in the messages of Rust's library: where Debian compiled it
    assert not re.search(rb"/(usr|home|root|tmp|build|work|var|opt|rustc)/", content)


def test_every_file_is_in_the_table() -> None:
    assert {path.name for path in SAMPLES.glob("*.wasm")} == {sample["file"] for sample in IN_TREE}
    sources = {f"src/{path.name}" for path in (SAMPLES / "src").iterdir() if path.suffix != ".h"}
    assert sources == {sample["source"] for sample in TABLE["sample"]}
    for recorded in TABLE["toolchain"].values():
        assert recorded["modules"].keys() == OF_DEBIAN
    assert TABLE["language"].keys() == LANGUAGES == {sample.get("language", "c") for sample in TABLE["sample"]}
    for language, toolchains in TABLE["language"].items():
        files = {sample["file"] for sample in TABLE["sample"] if sample.get("language") == language}
        assert all(recorded["modules"].keys() == files for recorded in toolchains.values())


@pytest.mark.slow  # compiles all samples; the quick tests compile one
def test_rebuild_gives_the_recorded_bytes(toolchain: dict[str, str], copy: Path) -> None:
    done = run(copy, "--check")
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert f"{len(OF_DEBIAN)} modules are the same" in done.stdout
    for language in LANGUAGES:
        assert re.search(
            rf"(?m)^{language}: (1 module is the same|left out, its toolchain is not at hand: .+)", done.stdout
        )


def test_the_crate_without_a_sample_compiles(toolchain: dict[str, str], tmp_path: Path) -> None:
    builder, source = load_builder().debian, SAMPLES / "rust/hil-wires/src/lib.rs"
    command = [str(builder.RUSTC), *builder.RUST_LIBRARY, f"--target={builder.BARE_TARGET}", "--crate-type=rlib"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "libhil_wires.rlib"), str(source)], capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr


def test_recording_twice_is_recording_once(toolchain: dict[str, str], small: Path) -> None:
    (small / "nonl.wasm").unlink()
    assert run(small, "--record").returncode == 0
    once = (small / "samples.toml").read_bytes()
    assert (small / "nonl.wasm").read_bytes().startswith(MAGIC)
    assert run(small, "--record").returncode == 0
    assert (small / "samples.toml").read_bytes() == once
    assert run(small, "--check").returncode == 0


def test_changed_source_is_named(toolchain: dict[str, str], small: Path) -> None:
    run(small, "--record")
    source = small / "src" / "nonl.c"
    source.write_text(source.read_text().replace("no newline", "no new line"))
    done = run(small, "--check")
    assert done.returncode == 1
    assert "nonl.wasm: built" in done.stderr


def test_changed_module_is_named(toolchain: dict[str, str], small: Path) -> None:
    run(small, "--record")
    with (small / "nonl.wasm").open("ab") as module:
        module.write(b"\0")
    done = run(small, "--check")
    assert done.returncode == 1
    assert "nonl.wasm: beside samples.toml" in done.stderr


def test_source_that_does_not_compile(toolchain: dict[str, str], small: Path) -> None:
    (small / "src" / "nonl.c").write_text("void _start(void) { nonsense(); }\n")
    before = (small / "samples.toml").read_bytes()
    done = run(small, "--record")
    assert done.returncode == 1
    assert "nonl.c:1:" in done.stderr
    assert "nonsense" in done.stderr
    assert (small / "samples.toml").read_bytes() == before


def test_unrecorded_toolchain_is_named(toolchain: dict[str, str], small: Path) -> None:
    run(small, "--record")
    table = small / "samples.toml"
    table.write_text(table.read_text().replace('"rustc" = "', '"rustc" = "0.'))
    done = run(small, "--check")
    assert done.returncode == 3
    assert f"rustc {toolchain['rustc']}" in done.stderr
    assert f"recorded: {load_builder().system()}" in done.stderr


def test_missing_tool_names_its_package(builder: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.debian, "TOOLS", {Path("/nonexistent/rustc"): "rustc"})
    with pytest.raises(builder.Failure, match=r"missing: rustc|not Debian") as caught:
        builder.debian.toolchain()
    assert caught.value.status == 2


def test_broken_table_names_the_line(copy: Path) -> None:
    (copy / "samples.toml").write_text("prebuilt = \n")
    done = run(copy, "--check")
    assert done.returncode == 2
    assert "samples.toml" in done.stderr
    assert "line 1" in done.stderr


def test_command_line_must_say_what() -> None:
    done = subprocess.run(
        [sys.executable, SAMPLES / "build"], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 2
    assert "--check" in done.stderr


@pytest.fixture
def spoken(copy: Path) -> Path:
    """The samples with one in a language whose "compiler" copies its source, and whose toolchain is `copier 1`."""
    language = copy / "languages" / "copied"
    language.mkdir()
    (language / "build").write_text(
        '[ ! -e "$(dirname "$0")/lost" ] || { echo "build: needs the package copier" >&2; exit 2; }\n'
        'case $1 in --versions) echo "copier 1";; *) cp "$1" "$2";; esac\n'
    )
    (copy / "src" / "lang-copied.txt").write_text("text")
    (copy / "samples.toml").write_text(
        'prebuilt = "none"\n[[sample]]\nname = "lang-copied"\nfile = "lang-copied.wasm"\nsha256 = ""\n'
        'source = "src/lang-copied.txt"\nbuild = "language"\nlanguage = "copied"\n'
        f'prebuilt = "{load_builder().system()}"\n'
    )
    return copy


def test_a_module_in_a_language_is_recorded_and_checked(spoken: Path) -> None:
    assert run(spoken, "copied", "--versions").stdout == "copied: copier 1\n"
    assert run(spoken, "copied", "--check").returncode == 3
    assert run(spoken, "copied", "--record").returncode == 0
    assert (spoken / "lang-copied.wasm").read_text() == "text"
    once = (spoken / "samples.toml").read_text()
    assert "[language.copied." in once
    assert run(spoken, "copied", "--record").returncode == 0
    assert (spoken / "samples.toml").read_text() == once
    assert "copied: 1 module is the same" in run(spoken, "copied", "--check").stdout
    (spoken / "src" / "lang-copied.txt").write_text("other")
    done = run(spoken, "--check")
    assert done.returncode == 1
    assert "copied: not as recorded" in done.stderr


def test_a_missing_toolchain_is_an_error_only_by_name(spoken: Path) -> None:
    (spoken / "languages" / "copied" / "lost").touch()
    done = run(spoken, "--check")
    assert done.returncode == 0
    assert done.stdout == "copied: left out, its toolchain is not at hand: needs the package copier\n"
    for option in ("--check", "--record", "--versions"):
        done = run(spoken, "copied", option)
        assert done.returncode == 2
        assert "needs the package copier" in done.stderr


def test_an_unknown_language_is_named(spoken: Path) -> None:
    done = run(spoken, "copid", "--check")
    assert done.returncode == 2
    assert "no such language: copid; there are: " in done.stderr

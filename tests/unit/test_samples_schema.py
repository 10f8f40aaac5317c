"""The table of samples as the framework reads it, and what it makes of a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from executions import execution

from hil.errors import ConfigurationError, MissingToolchain
from hil.image import manifest
from hil.image.store import Image
from hil.wasm import Samples
from hil.wasm.catalogue import on_demand
from hil.wasm.samples import SAMPLES_DIR, Case
from hil.wasm.verdict import exited, failed, faulted


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES_DIR, tmp_path / "samples", ignore=shutil.ignore_patterns("src")))


def change(directory: Path, old: str, new: str) -> None:
    path = directory / "samples.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_sample_is_found_by_file_and_by_name() -> None:
    samples = Samples()
    assert samples("hello.wasm").sha256 == samples["hello"].sha256
    assert samples["hello"].case[0].expected == exited(0)
    with pytest.raises(KeyError, match=r"hello.*'nothing'"):
        samples["hello"]["nothing"]


def test_an_unknown_sample_is_told_with_near_names() -> None:
    with pytest.raises(ConfigurationError, match=r"'helo\.wasm'\n.*'hello\.wasm'"):
        Samples()("helo.wasm")


def test_a_path_is_a_module_of_your_own(tmp_path: Path) -> None:
    (tmp_path / "own.wasm").write_bytes(b"\0asm\1\0\0\0")
    assert Samples()(str(tmp_path / "own.wasm")).name == "own.wasm"


def test_a_sample_that_was_changed_is_refused(directory: Path) -> None:
    path = directory / "hello.wasm"
    path.write_bytes(path.read_bytes() + b"\0\1\0")
    with pytest.raises(ConfigurationError, match=r"hello\.wasm .*\n.*--record"):
        Samples(directory)("hello.wasm")


def test_a_sample_that_is_gone_is_told(directory: Path) -> None:
    (directory / "hello.wasm").unlink()
    with pytest.raises(ConfigurationError, match=r"hello\.wasm"):
        Samples(directory)("hello.wasm")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("\n[[sample]]\n", "\n[[sample]\n", "samples.toml"),
        ('kind = "interpreted"', 'kind = "compiled"', "kind"),
        ('kind = "interpreted"', 'knid = "interpreted"', "knid"),
        ('verdict = "exited"', 'verdict = "fine"', "verdict"),
        ("\n[[sample]]\n", "\xff", "samples.toml"),
        ('kind = "interpreted"', 'kind = "interpreted"\npins = "LED"', "pins"),
        ('kind = "interpreted"', 'kind = "interpreted"\npins = ["LED,AO0"]', "sample.0.pins.0"),
        ('kind = "interpreted"', 'kind = "interpreted"\nready = ""', "sample.0.ready"),
        ('kind = "interpreted"', 'kind = "interpreted"\nready = "a\\nb"', "sample.0.ready"),
    ],
)
def test_a_wrong_table_is_told(directory: Path, old: str, new: str, told: str) -> None:
    change(directory, old, new)
    if new == "\xff":
        (directory / "samples.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError) as caught:
        Samples(directory)
    assert str(directory / "samples.toml") in str(caught.value)
    assert told in str(caught.value)


def test_a_sample_brings_its_pins_and_its_ready_text(directory: Path, tmp_path: Path) -> None:
    assert (Samples()("hello.wasm").pins, Samples()("hello.wasm").ready) == ((), None)
    assert Samples()("loop.wasm").ready == "looping"
    change(directory, 'kind = "interpreted"', 'kind = "interpreted"\npins = ["LED", "AO0"]\nready = "hello"')
    module = Samples(directory)("hello.wasm")
    assert (module.pins, module.ready) == (("LED", "AO0"), "hello")
    native = Samples(directory).aot("hello.wasm", image(tmp_path, hello=b"\0asm\1\0\0\0\0\x0a\x08wasmedge\0"))
    assert (native.pins, native.ready) == (("LED", "AO0"), "hello")


def test_a_table_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"samples\.toml"):
        Samples(tmp_path)


def image(directory: Path, **files: bytes) -> Image:
    """The reference image with these native modules, by the name of their sample."""
    for name, data in files.items():
        (directory / f"{name}.aot.wasm").write_bytes(data)
    held = {f"{name}.aot.wasm": directory / f"{name}.aot.wasm" for name in files}
    return Image(manifest.find("reference"), directory, held, "d", {})


def test_a_native_sample_comes_from_the_image(tmp_path: Path) -> None:
    native = b"\0asm\1\0\0\0\0\x0a\x08wasmedge\0"
    held = image(tmp_path, hello=native, args=native[:8])
    for name in ("hello.wasm", "hello"):
        module = Samples().aot(name, held)
        assert (module.name, module.kind, module.data) == ("hello.aot.wasm", "aot", native)
    with pytest.raises(ConfigurationError, match=r"nbody-c\.aot\.wasm\n.*args\.aot\.wasm, hello\.aot"):
        Samples().aot("nbody-c.wasm", held)
    with pytest.raises(ConfigurationError, match=r"args\.aot\.wasm.*\n.*build reference --force"):
        Samples().aot("args.wasm", held)
    with pytest.raises(ConfigurationError, match=r"'helo'"):
        Samples().aot("helo", held)
    with pytest.raises(ConfigurationError, match=r"hello\.aot\.wasm\n.*: none"):
        Samples().aot("hello", image(tmp_path))


@pytest.fixture
def large(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Samples with one on demand, in a language whose "compiler" copies its source and counts how often it ran."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    language = directory / "languages" / "copied"
    language.mkdir()
    (language / "build").write_text(
        f'[ ! -e {tmp_path}/lost ] || {{ echo "needs the package copier" >&2; exit 2; }}\n'
        f'case $1 in --versions) echo "copier 1";; *) cp "$1" "$2" && echo >>{tmp_path}/count;; esac\n'
    )
    (directory / "src").mkdir()
    (directory / "src" / "lang-copied.txt").write_bytes(b"\0asm\1\0\0\0")
    (directory / "samples.toml").write_text(
        'prebuilt = "debian-12"\n[[sample]]\nname = "lang-copied"\nfile = "lang-copied.wasm"\n'
        'source = "src/lang-copied.txt"\nkind = "interpreted"\nbuild = "language"\nlanguage = "copied"\n'
        'on_demand = true\nabout = "large"\n[[sample.case]]\nname = "default"\nverdict = "exited"\n[toolchain]\n'
    )
    return directory


def test_a_sample_on_demand_is_built_once(large: Path, tmp_path: Path) -> None:
    assert on_demand(large) == {"lang-copied": "large"}
    for _ in range(2):
        module = Samples(large)("lang-copied.wasm")
        assert (module.name, module.data) == ("lang-copied.wasm", b"\0asm\1\0\0\0")
        assert (tmp_path / "count").read_text() == "\n"
    (large / "src" / "lang-copied.txt").write_bytes(b"\0asm\1\0\0\0\0\1\0")
    assert len(Samples(large)("lang-copied").data) == 11, "a changed source is built again"


def test_a_sample_on_demand_names_its_missing_toolchain(large: Path, tmp_path: Path) -> None:
    (tmp_path / "lost").touch()
    with pytest.raises(MissingToolchain, match=r"copied is not at hand: needs the package copier"):
        Samples(large)("lang-copied.wasm")


def test_a_sample_on_demand_that_does_not_compile_is_no_missing_toolchain(large: Path) -> None:
    (large / "src" / "lang-copied.txt").unlink()
    with pytest.raises(
        ConfigurationError, match=r"cannot build the samples in copied: (.|\n)*lang-copied\.txt"
    ) as caught:
        Samples(large)("lang-copied.wasm")
    assert not isinstance(caught.value, MissingToolchain)


def case(**facts: Any) -> Case:
    return Case.model_validate({"name": "c", "verdict": "exited"} | facts)


@pytest.mark.parametrize(
    ("facts", "output", "verdict", "problem"),
    [
        ({}, b"", exited(0), None),
        ({}, b"", exited(1), "verdict is exited(1), expected exited(0)"),
        ({"code": 7}, b"", exited(7), None),
        ({"verdict": "failed", "reason": "unreachable"}, b"", failed("unreachable"), None),
        ({"verdict": "failed", "reason": "unreachable"}, b"", failed("other"), "expected failed(unreachable)"),
        ({"verdict": "faulted"}, b"", faulted("any"), None),
        ({"lines": ("a", "b")}, b"a\nb\n", exited(0), None),
        ({"lines": ("a", "b")}, b"a\r\n", exited(0), "('a\\r',)"),
        ({"last_line": "b"}, b"a\nb\n", exited(0), None),
        ({"last_line": "b"}, b"", exited(0), "last line is None"),
        ({"text": "a"}, b"a\n", exited(0), "output is 'a\\n'"),
        ({"patterns": (r"t=\d+",)}, b"t=12\n", exited(0), None),
        ({"patterns": (r"t=\d+",)}, b"t=12 s\n", exited(0), "expected to match"),
        ({"patterns": (r"t=\d+",)}, b"t=1\nt=2\n", exited(0), "expected to match"),
        ({"bytes": 3}, b"abc", exited(0), None),
        ({"bytes": 3}, b"ab", exited(0), "2, expected 3"),
        ({"crc32": "352441c2"}, b"abc", exited(0), None),
        ({"crc32": "352441c2"}, b"abd", exited(0), "CRC-32"),
    ],
)
def test_a_run_is_held_against_its_case(
    facts: dict[str, Any], output: bytes, verdict: Any, problem: str | None
) -> None:
    found = case(**facts).problems(execution(verdict, output))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_a_garbled_run_is_never_as_expected() -> None:
    assert case().problems(execution(intact=False)) == ["the output was garbled on the line"]
    assert not execution(intact=False).good
    assert execution(intact=None).good


def test_limits() -> None:
    assert case(limit_ms=1500).limit == 1.5
    assert case().limit == 30

"""What can be told of a module's bytes, and that no bytes at all upset the telling."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hil.errors import ConfigurationError
from hil.wasm import Module, Samples, upload
from hil.wasm.module import symbols_size, unsigned

HEAD = b"\0asm\1\0\0\0"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modules")


def leb(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def text(name: str) -> bytes:
    return leb(len(name.encode())) + name.encode()


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def load(directory: Path, data: bytes) -> Module:
    path = directory / "m.wasm"
    path.write_bytes(data)
    return Module.load(path)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "it is empty"),
        (b"\0as", "starts with"),
        (b"\0asm", "4 bytes"),
        (b"\0asm\1\0\0", "7 bytes"),
        (b"\x7fELF" + bytes(60), "b'\\x7fELF'"),
        (b"#!/bin/sh\n", "b'#!/b'"),
        (b"\0asm\2\0\0\0", "version 2"),
        (b"\0asm\x0d\0\1\0", "component"),
        (HEAD + b"\1", "byte 9"),
        (HEAD + b"\1\5abc", "section 1 at byte 8"),
        (HEAD + b"\1" + b"\xff" * 11, "byte 18"),
        (HEAD + section(2, b"\1\5ab"), "byte 2"),
        (HEAD + section(2, b"\1" + text("a") + text("b")), "import section"),
    ],
)
def test_what_is_not_a_module_is_named(directory: Path, data: bytes, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(directory, data)
    assert str(directory / "m.wasm") in caught.value.message
    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["nothing.wasm", "file/below"])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"(No such|Not a)"):
        Module.load(tmp_path / name)


def test_the_smallest_module(directory: Path) -> None:
    module = load(directory, HEAD)
    assert (module.name, module.kind, module.imports) == ("m.wasm", "interpreted", ())
    assert module.sha256 == hashlib.sha256(HEAD).hexdigest()
    assert "data" not in repr(module)


def test_imports_of_every_sort_are_found(directory: Path) -> None:
    descriptions = {
        "function": b"\0" + leb(300),
        "table": b"\1\x70\0" + leb(1),
        "bounded table": b"\1\x70\1" + leb(1) + leb(2),
        "memory": b"\2\0" + leb(1000),
        "bounded memory": b"\2\1" + leb(1) + leb(70000),
        "shared memory": b"\2\3" + leb(1) + leb(2),
        "global": b"\3\x7f\1",
        "tag": b"\4\0" + leb(5),
        "ünd": b"\0\0",
    }
    content = leb(len(descriptions)) + b"".join(text("env") + text(name) + it for name, it in descriptions.items())
    assert load(directory, HEAD + section(2, content)).imports == tuple(f"env.{name}" for name in descriptions)


def test_native_code_is_seen_and_a_name_section_is_not_taken_for_it(directory: Path) -> None:
    assert load(directory, HEAD + section(0, text("name") + b"wasmedge")).kind == "interpreted"
    assert load(directory, HEAD + section(0, text("wasmedge") + bytes(9))).kind == "aot"


def test_the_samples_are_modules() -> None:
    samples = Samples()
    hello = samples("hello.wasm")
    assert hello.kind == "interpreted"
    assert any(name.startswith("wasi_snapshot_preview1.") for name in hello.imports)


def test_raw_takes_anything() -> None:
    assert Module.raw("bad", b"\xff").sha256 == hashlib.sha256(b"\xff").hexdigest()


@given(st.integers(0, 2**63 - 1), st.binary(max_size=3))
def test_numbers_are_read_back(value: int, after: bytes) -> None:
    stream = io.BytesIO(leb(value) + after)
    assert (unsigned(stream), stream.read()) == (value, after)


sections = st.lists(
    st.builds(
        lambda number, content, lie: bytes([number]) + leb(max(0, len(content) + lie)) + content,
        st.sampled_from([0, 1, 2, 2, 2, 13, 255]),
        st.one_of(st.binary(max_size=30), st.just(leb(2) + text("a") + text("b") + b"\0\0" + text("c"))),
        st.integers(-3, 3),
    ),
    max_size=6,
).map(b"".join)


@given(st.one_of(st.binary(max_size=60), sections.map(lambda tail: HEAD + tail)))
@example(HEAD + section(2, leb(2**62)))
@example(HEAD + section(2, b"\1" + text("a") + text("b") + b"\3"))
@example(HEAD + b"\0" + leb(2**62))
def test_no_bytes_raise_anything_else(directory: Path, data: bytes) -> None:
    try:
        module = load(directory, data)
    except ConfigurationError as error:
        assert error.hint  # noqa: PT017  both ends are fine
    else:
        assert data[:8] == HEAD
        assert module.kind in ("interpreted", "aot")


def test_every_truncation_of_a_real_module_is_a_module_or_named(directory: Path) -> None:
    data = Samples()("exit.wasm").data
    for size in range(len(data)):
        try:
            load(directory, data[:size])
        except ConfigurationError as error:
            assert "m.wasm" in error.message  # noqa: PT017
        else:
            assert size >= 8


@pytest.mark.parametrize("path", ["/dev/zero", "/"])
def test_what_is_no_file_is_not_read(path: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{path}.*regular file"):
        Module.load(Path(path))


def custom(name: str, size: int) -> bytes:
    return section(0, text(name) + bytes(size))


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (HEAD, 0),
        (HEAD + custom("producers", 100), 0),
        (HEAD + custom("name", 100) + custom(".debug_info", 50), 100 + 5 + 50 + 12),
        (HEAD + b"\0\5abc", 0),
        (b"no module", 0),
    ],
)
def test_symbol_names_and_debug_information_are_measured(data: bytes, size: int) -> None:
    assert symbols_size(data) == size


def test_a_long_upload_of_what_could_be_stripped_warns_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_hinted", set())
    clock = iter([0.0, 9.0, 0.0, 11.0, 0.0, 11.0, 0.0, 11.0])
    monkeypatch.setattr("hil.wasm.upload.time.monotonic", lambda: next(clock))
    fat, lean = Module.raw("fat.wasm", HEAD + custom("name", 100)), Module.raw("lean.wasm", HEAD)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for module in (fat, lean, fat, fat):  # quick; nothing to strip; long; long again
            with upload.timed(module):
                pass
    (warning,) = seen
    assert "the upload of fat.wasm took 11 s, and 105 of its 115 bytes are symbol names" in str(warning.message)
    assert "--strip-all" in str(warning.message)

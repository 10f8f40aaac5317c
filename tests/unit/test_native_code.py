"""What decides the native code of a module, and its native code in another one."""

from __future__ import annotations

import pytest

from hil.wasm.native_code import leb128, with_native, without_data

HEAD = b"\0asm\1\0\0\0"
TEXT = b"x" * 200


def data(*segments: bytes) -> bytes:
    content = leb128(len(segments)) + b"".join(segments)
    return b"\x0b" + leb128(len(content)) + content


@pytest.mark.parametrize(
    "kind",
    [
        b"\0\x41\x80\x80\xc0\0\x0b",  # active, at a constant
        b"\0\x42\x7f\x0b",  # at a constant of 64 bits
        b"\0\x23\x81\0\x41\x10\x6a\x0b",  # at a global and a constant
        b"\1",  # passive
        b"\2\x81\0\x41\0\x0b",  # in another memory
    ],
)
def test_data_segments_are_emptied(kind: bytes) -> None:
    code, after = b"\x0a\1\0", b"\0\3\2ab"
    full = data(b"\1\0", kind + leb128(len(TEXT)) + TEXT, b"\1\0")
    assert without_data(HEAD + code + full + after) == HEAD + code + data(b"\1\0", kind + b"\0", b"\1\0") + after


@pytest.mark.parametrize("segment", [b"\3", b"\0\xd2\0\x0b\0", b"\0\x41"])
def test_an_unknown_segment_is_an_error(segment: bytes) -> None:
    with pytest.raises(ValueError, match="data segment"):
        without_data(HEAD + data(segment))


def test_only_the_native_code_is_taken() -> None:
    native = b"\0\x0c\x08wasmedge\1\1\2"
    assert with_native(HEAD + data(), HEAD + b"\0\3\2ab" + native) == HEAD + data() + native
    assert with_native(HEAD, HEAD + b"\0\3\2ab") == HEAD

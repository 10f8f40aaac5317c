"""Text of strangers (consoles, archives, registries, results of others), made safe to print and to store."""

from __future__ import annotations

import re
from typing import Any

# C0 (but for line feed and tab, and a carriage return before a line feed), DEL, C1; what is invisible or changes the
# direction of writing; line and paragraph separators; halves of surrogate pairs. The joiners that scripts and emoji
# need, U+200C and U+200D, stay.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]|\r(?!\n)"
)
_BREAK = re.compile(r"[\t\r\n]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def printable(text: str) -> str:
    """Return `text` without anything that acts on a terminal: each such character becomes its escape, as `\\x1b`.

    Line feeds and tabs stay.
    """
    return _UNSAFE.sub(_escape, text)


def printable_line(text: str) -> str:
    """Return `text` as `printable` does, in one line: for a stranger's text within a message."""
    return _BREAK.sub(_escape, printable(text))


def storable(text: str) -> str:
    """Return `text` without NUL and halves of surrogate pairs, which neither UTF-8 nor SQLite can hold."""
    return _UNSTORABLE.sub(_escape, text)


def storable_data(value: Any) -> Any:
    """Return `value` with `storable` text; of an object of an attrs class the attributes are replaced."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(storable_data, value))
    if isinstance(value, dict):
        return {storable_data(key): storable_data(part) for key, part in value.items()}
    for field in getattr(type(value), "__attrs_attrs__", ()):
        setattr(value, field.name, storable_data(getattr(value, field.name)))
    return value


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, as `surrogateescape` has it
        code -= 0xDC00
    if code < 0x100:
        return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

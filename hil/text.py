"""Text for people: escaping of foreign text, as of consoles and archives, to print and to store it; plurals."""

from __future__ import annotations

import re
from typing import Any

# C0 (except line feed, tab, and a carriage return before a line feed), DEL, C1; invisible characters and those that
# change the direction of writing; line and paragraph separators; halves of surrogate pairs. The joiners U+200C and
# U+200D, which scripts and emoji need, are kept.
_UNSAFE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    r"\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]|\r(?!\n)"
)
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s'\"]*@", re.I)
_QUERY = re.compile(r"([?&][^\s=&?'\"]+=)[^\s&'\")]*")
_BREAK = re.compile(r"[\t\r\n]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def printable(text: str) -> str:
    """Replace each character that acts on a terminal by its escape, as `\\x1b`. Line feeds and tabs are kept."""
    return _UNSAFE.sub(_escape, text)


def printable_line(text: str) -> str:
    """Return `printable` text on one line, for foreign text within a message."""
    return _BREAK.sub(_escape, printable(text))


def without_credentials(text: str) -> str:
    """Mask what a URL may hold of a login: the user and password before its host, and the values of its query."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1***@", text))


def storable(text: str) -> str:
    """Escape NUL and halves of surrogate pairs, which UTF-8 or SQLite cannot hold."""
    return _UNSTORABLE.sub(_escape, text)


def storable_data(value: Any) -> Any:
    """Return `value` with `storable` text; objects of attrs classes are changed in place."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(storable_data, value))
    if isinstance(value, dict):
        return {storable_data(key): storable_data(part) for key, part in value.items()}
    for field in getattr(type(value), "__attrs_attrs__", ()):
        setattr(value, field.name, storable_data(getattr(value, field.name)))
    return value


def counted(number: int, noun: str) -> str:
    """Return `1 run`, `2 runs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8, from `surrogateescape`
        code -= 0xDC00
    if code < 0x100:
        return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

"""Commands of any bytes as text for the guest's tty: printable ASCII in short lines.

A tty acts on control characters, a shell in another locale miscounts characters, and a line has at most 4095 bytes.
So other bytes are typed as octal numbers, and long lines are continued.
"""

from __future__ import annotations

import re

from hil.errors import ConfigurationError
from hil.text import printable_line

LINE = 1000  # bytes of a command per typed line: four times as many, in quotes, still fit into a line of a tty
PRINTABLE = re.compile(rb"[\n -~]*")
# for the guest's printf; it would take a leading minus for an option
ESCAPED = re.compile(rb"[^ -~]|[%\\'!]|\A-")


def text_of(words: str | bytes) -> str:
    """Return bytes as text: bytes that are not UTF-8 become surrogates, as in file names.

    Raises `ConfigurationError` for an object of another type.
    """
    if isinstance(words, str):
        return words
    if isinstance(words, bytes):
        return words.decode("utf-8", "surrogateescape")
    raise ConfigurationError(f"{described(words)} is neither text nor bytes", hint="Give text or bytes.")


def described(value: object) -> str:
    """Return the value with its type, for an error message: `the int 5`."""
    return f"the {type(value).__name__} {printable_line(repr(value)[:80])}"


def bytes_of(text: str) -> bytes:
    """Return the bytes from which `text_of` made `text`.

    Raises `ConfigurationError` for NUL and for half a surrogate pair, which no word of a command can hold.
    """
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"a command cannot hold {text[error.start]!a}, which is half a character", hint="Pass bytes instead."
        ) from None
    if b"\0" in data:
        raise ConfigurationError(
            "a command cannot hold a NUL byte", hint="Put it into a file with guest.put() and use the file."
        )
    return data


def plain(data: bytes) -> bool:
    """Check whether a tty without line editor takes `data` unchanged."""
    return PRINTABLE.fullmatch(data) is not None


def octal(data: bytes) -> bytes:
    """Return a printable printf format without quotes that produces `data`."""
    return ESCAPED.sub(lambda match: b"%%" if match[0] == b"%" else b"\\%03o" % match[0][0], data)


def quoted(data: bytes) -> bytes:
    """Return printable `data` as one word of a shell command, long lines continued."""
    lines = ([line[at : at + LINE] for at in range(0, len(line), LINE)] or [b""] for line in data.split(b"\n"))
    return b"'%s'" % b"\n".join(b"'\\\n'".join(piece.replace(b"'", b"'\\''") for piece in line) for line in lines)
